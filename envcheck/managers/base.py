"""What every package manager module is given and must provide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ..model import PythonChoice, Request, Step, TorchChoice
from ..record import dataclass, field


@dataclass(frozen=True, kw_only=True)
class InstallJob:
    """A decided installation: the planner chose, a manager writes it down."""

    platform: str  # linux, windows, macos
    arch: str  # x86_64, aarch64, arm64
    torch: TorchChoice
    companions: Mapping[str, str]
    constraints: tuple[str, ...]  # "numpy<2"
    python: PythonChoice
    request: Request
    index_kind: str  # pypi, pytorch, find-links, jetson, conda
    index_url: str | None  # None: the user's own default index; for find-links the page of links
    pin_local: bool  # torch is pinned with its local version (2.0.1+cu118)
    active_python: str | None = None  # the interpreter for --venv none
    tools: Mapping[str, str] = field(default_factory=dict)
    glibc: str | None = None  # of the target, for the platform tags of a wheelhouse
    wheel_tag: str | None = None  # the build's own platform tag (manylinux_2_28_x86_64)


class Manager(Protocol):
    """One module per package manager satisfies this; ``managers.MANAGERS`` lists them."""

    NAME: str
    SECTION: str  # the matrix section that it installs from: builds, conda
    FILES: Mapping[str, Callable[[InstallJob], str]]  # format name -> text of that file

    def install_steps(self, job: InstallJob) -> tuple[Step, ...]:
        """The user-stage steps: environment, packages. Each with a check that makes a second run a no-op."""
        ...

    def target_python(self, job: InstallJob) -> tuple[str, ...]:
        """argv prefix that runs the environment's interpreter, for the verify stage."""
        ...
