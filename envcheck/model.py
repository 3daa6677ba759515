"""The words that the layers exchange: frozen, keyword-only dataclasses, to and from JSON.

``docs/architecture.md`` draws who makes and who reads them. A value that was looked for and is absent
is ``None`` (lists: empty); one that could not be told is ``None`` *and* named in ``Machine.problems``.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .record import dataclass, field

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class OS:
    """Operating system. ``id`` and ``version`` as in os-release (``windows``/``macos`` elsewhere)."""

    id: str | None = None
    version: str | None = None
    family: str | None = None  # debian, rhel, fedora, suse, arch, amazon, windows, macos, ...
    kernel: str | None = None  # uname -r
    glibc: str | None = None  # "2.35"; None on musl, Windows and macOS
    arch: str | None = None  # x86_64, aarch64
    wsl: str | None = None  # "1" or "2"
    container: str | None = None  # docker, podman, kubernetes, lxc, ...
    platform: str | None = None  # linux, windows, macos
    jetson: str | None = None  # L4T release ("36.4.0") on a Jetson, else None
    driver_owner: str | None = None  # who owns the driver of an image ("dgx-os", "cos", ...)


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The NVIDIA driver. ``version`` is the kernel module's; on WSL it is the Windows driver's."""

    version: str | None = None
    cuda: str | None = None  # newest CUDA that the driver's libcuda speaks ("12.2")
    module: str | None = None  # proprietary, open
    state: str | None = None  # ok, missing, mismatch, not-loaded, not-injected, no-permission, nouveau, broken, ...
    source: str | None = None  # nvml, sysfs, procfs, nvidia-smi, what-if, report


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU. ``tensor_cores`` is the generation, 0 for a chip that has none."""

    index: int = 0
    name: str | None = None
    uuid: str | None = None
    pci_id: str | None = None  # "10de:2684"
    subsystem_id: str | None = None  # "1043:889f"
    bus_id: str | None = None  # "0000:01:00.0"
    memory_mib: int | None = None
    compute_capability: str | None = None  # "8.9"
    architecture: str | None = None  # "Ada"
    tensor_cores: int | None = None
    mig: bool | None = None
    ecc: bool | None = None
    driver_bound: str | None = None  # nvidia, nouveau, vfio-pci, ...
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """A toolkit or a library: which version, where."""

    version: str | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Python:
    """The target interpreter, that is the one whose torch is meant."""

    version: str | None = None  # "3.10.12"
    executable: str | None = None
    abi: str | None = None  # "cp310", "cp313t"
    environment: str | None = None  # venv, conda, system
    externally_managed: bool | None = None  # PEP 668


@dataclass(frozen=True, kw_only=True)
class Torch:
    """The torch installed in the target environment, read without importing it."""

    version: str | None = None  # "2.4.1+cu121"
    cuda: str | None = None  # "12.1"; None for a CPU build
    cudnn: str | None = None
    archs: tuple[str, ...] = ()  # "sm_50", ...
    source: str | None = None  # pip, conda
    cuda_available: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """A line of a report or of a program's output that means something to a check."""

    text: str = ""
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything that the checks and the planner may know about a machine."""

    os: OS = field(default_factory=OS)
    driver: Driver = field(default_factory=Driver)
    gpus: tuple[Gpu, ...] = ()
    toolkits: tuple[Found, ...] = ()
    cudnn: tuple[Found, ...] = ()
    python: Python | None = None
    pythons: tuple[Python, ...] = ()  # further interpreters on PATH
    tools: Mapping[str, str] = field(default_factory=dict)  # uv, conda, ... -> version or path
    torch: Torch | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    symptoms: tuple[Symptom, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)  # what only one check reads, by probe name


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action of a fix or of a script. ``argv`` is run as it stands: no shell ever parses it.

    ``check`` exits 0 where the step is already done; ``undo`` takes the step back. ``argv[0]`` may be a
    function of a script part in ``installers/`` (they all start with ``ec_``); ``parts`` names those beyond the
    common ones: the package manager's.
    """

    id: str
    title: str
    argv: tuple[str, ...]
    why: str = ""
    stage: str = "user"  # system, user, verify
    root: bool = False
    reboot: bool = False
    check: tuple[str, ...] | None = None
    undo: tuple[str, ...] | None = None
    source: str = ""
    parts: tuple[str, ...] = ()  # "apt.sh"


@dataclass(frozen=True, kw_only=True)
class TorchChoice:
    """The build that a plan installs. ``index_url`` None is the user's own default index."""

    version: str
    tag: str  # cu118, cpu
    cuda: str | None
    cudnn: str | None
    nccl: str | None
    triton: str | None
    index_url: str | None
    archs: tuple[str, ...]  # sm_50 (SASS), compute_90 (PTX)
    channel: str  # stable, legacy, unlisted
    verified: bool
    package: str = "wheel"  # wheel, conda-pytorch, conda-forge
    platform: str = ""


@dataclass(frozen=True, kw_only=True)
class PythonChoice:
    """``supply`` None: the target's own interpreter serves; else how the plan brings one."""

    version: str | None
    supported: tuple[str, ...]
    supply: str | None = None  # an interpreter's path, "uv", "conda"


@dataclass(frozen=True, kw_only=True)
class DriverMinimum:
    toolkit_exact: str | None = None
    minor_version: str | None = None


@dataclass(frozen=True, kw_only=True)
class DriverChoice:
    installed: str | None
    minimum: DriverMinimum
    rule: str  # toolkit-exact, minor-version, none
    action: str  # keep, install, upgrade, downgrade, replace, reboot, none, refuse
    target: str | None = None  # a branch ("580")
    module: str | None = None  # open, proprietary


@dataclass(frozen=True, kw_only=True)
class GpuCoverage:
    name: str | None
    compute_capability: str | None
    how: str  # sass, binary-compatible, ptx, unsupported, not-used


@dataclass(frozen=True, kw_only=True)
class Rejected:
    torch: str
    tag: str
    code: str
    because: str


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A nearby request that can be met; ``gives`` was found by planning it."""

    change: str
    gives: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked ``plan`` for. See docs/cli.md for the words."""

    torch: str = "latest"
    cuda: str = "auto"
    manager: str = "pip"
    companions: tuple[str, ...] = ("torchvision", "torchaudio")
    venv: str = ".venv"
    prefix: str | None = None
    driver_change: bool = True
    driver_branch: str | None = None
    mirror: str | None = None
    index_url: str | None = None
    offline: str | None = None
    hashes: bool = False
    python_fixed: bool = False  # --python-version was given: never supply another
    toolkit: bool = False  # the CUDA toolkit too, for who compiles
    container_toolkit: str | None = None  # docker, podman, containerd
    driver_file: str | None = None  # a local repository's package or a .run file, for a machine without a network
    driver_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An answer of the planner; ``satisfiable`` False carries ``conflicts`` and no ``torch``."""

    satisfiable: bool
    request: Request
    machine: Machine
    torch: TorchChoice | None = None
    companions: Mapping[str, str] = field(default_factory=dict)
    constraints: tuple[str, ...] = ()
    python: PythonChoice | None = None
    driver: DriverChoice | None = None
    gpus: tuple[GpuCoverage, ...] = ()
    steps: tuple[Step, ...] = ()
    reasons: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    warnings: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    alternatives: tuple[Alternative, ...] = ()


@functools.cache
def _fields(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings to what ``json.dumps`` takes, field order kept."""
    if value is None or isinstance(value, str | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(getattr(value, name)) for name in _fields(type(value))}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(v) for v in value]
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def from_plain(cls: type[T], data: Any, where: str = "machine") -> T:
    """Build ``cls`` from parsed JSON. Unknown keys are ignored (a newer envcheck may have written them).

    Raises ``ValueError`` that names the place of the first value of a wrong type.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(data).__name__}")
    hints = _hints(cls)  # type: ignore[arg-type]
    known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {k: _convert(hints[k], v, f"{where}.{k}") for k, v in data.items() if k in known}
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = [a for a in typing.get_args(hint) if a is not type(None)]
        if value is None and len(options) < len(typing.get_args(hint)):
            return None
        return _convert(options[0], value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: expected a list, found {type(value).__name__}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
        item = typing.get_args(hint)[1]
        return {str(k): _convert(item, v, f"{where}.{k}") for k, v in value.items()}
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_plain(hint, value, where)  # type: ignore[arg-type]
    if (hint is int and isinstance(value, bool)) or not isinstance(value, hint):
        raise ValueError(f"{where}: expected {hint.__name__}, found {type(value).__name__}")
    return value
