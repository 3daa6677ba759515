"""What a gate is made of: its requirements, and the one result that every report is rendered from."""

from __future__ import annotations

from collections.abc import Mapping

from ..checks.base import Report
from ..model import Machine
from ..record import dataclass
from ..verify import Verification
from .policy import Policy


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One thing that must hold. ``met`` is what counts; ``status`` says how it stands."""

    code: str
    status: str
    summary: str
    met: bool
    line: int | None = None  # of the policy, where it stands there


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A run that ended before it was done: its time was up (``timeout``), or its process died (``crash``)."""

    status: str
    text: str  # a sentence that names what it was at


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How this machine differs from one that worked."""

    what: str
    before: str
    now: str
    matters: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Gated:
    """The judgement. ``exit_code`` follows from ``verdict`` and ``on_undetermined`` alone."""

    verdict: str
    exit_code: int
    policy: Policy
    requirements: tuple[Requirement, ...]
    doctor: Report
    verify: Verification | None
    reasons: tuple[str, ...] = ()  # why the verdict is no `healthy`, the weightiest first
    differences: tuple[Difference, ...] = ()
    stopped: Stopped | None = None
    node: str = ""
    date: str = ""  # UTC, ISO 8601
    seconds: float = 0.0
    inventory: tuple[Mapping[str, str], ...] = ()  # per GPU: VBIOS, clocks, link width

    @property
    def machine(self) -> Machine:
        return self.doctor.machine
