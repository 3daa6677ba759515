"""What a verification is made of: devices, what a trial said, what was judged, and the report of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..checks.base import Finding
from ..model import Gpu, Machine, Step

# the outcome of one probe process, before anyone judges what it measured
DONE, SKIPPED, RAISED, CRASHED, TIMED_OUT = "done", "skipped", "raised", "crashed", "timed-out"


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device that torch can see. ``index`` counts in PCI order among the visible; ``ordinal`` is CUDA's own."""

    index: int
    ordinal: int
    name: str | None = None
    uuid: str | None = None
    bus_id: str | None = None  # "0000:3b:00.0"
    compute_capability: str | None = None
    memory_mib: int | None = None
    sms: int | None = None  # streaming multiprocessors
    tensor_cores: int | None = None  # generation; 0 none in this chip; None could not be told
    others: tuple[int, ...] = ()  # ids of other processes that compute on it
    gpu: Gpu | None = None  # what detection knows of the same card


@dataclass(frozen=True, kw_only=True)
class TrialRun:
    """What one probe process did. ``stage`` is the last that it named; ``facts`` all that it measured until then."""

    outcome: str
    stage: str
    seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""  # why it was skipped, what was raised, how it crashed
    kind: str = ""  # the exception's type
    not_applicable: bool = False
    stderr: str = ""  # the last lines
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds of each stage, in their order


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The verdict on one trial's figures."""

    status: str
    summary: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    fix: tuple[Step, ...] = ()
    not_applicable: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """One check on one device, as the JSON shows it. ``device`` None: all of them together; "cpu": a rehearsal."""

    code: str
    device: int | str | None
    status: str
    stage: str
    seconds: float
    summary: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    fix: tuple[Step, ...] = ()
    not_applicable: bool = False


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A run of the judges on the CPU: which fault was planted, the check that must notice, and who did."""

    plant: str | None = None
    expected_by: str | None = None  # the check that must notice
    caught: bool | None = None
    caught_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that ``verify`` has to say; ``exit_code`` follows from it alone."""

    verdict: str
    devices: tuple[Device, ...]
    results: tuple[Result, ...]
    machine: Machine
    required: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    torch: Mapping[str, Any] = field(default_factory=dict)
    rehearsal: Rehearsal | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a judge may know besides the figures."""

    device: Device | None
    machine: Machine
    rehearsal: bool = False


class Missing(Exception):
    """The probe ended well and did not say something that the judge needs."""


def need(facts: Mapping[str, Any], key: str) -> Any:
    """A figure that must be there. Raises ``Missing``."""
    if key not in facts:
        raise Missing(key)
    return facts[key]


def figures(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A group of figures that must be there. Raises ``Missing``."""
    value = need(facts, key)
    if not isinstance(value, Mapping):
        raise Missing(key)
    return value
