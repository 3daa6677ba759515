"""What a check returns, and what a run of all checks adds up to."""

from __future__ import annotations

from ..model import Machine, Step
from ..record import dataclass

PASS, WARN, FAIL, SKIP, UNKNOWN, CRASH, TIMEOUT = "pass", "warn", "fail", "skip", "unknown", "crash", "timeout"
HEALTHY, DEGRADED, BROKEN, UNDETERMINED = "healthy", "degraded", "broken", "undetermined"

# How sure a piece of evidence makes a check, 0-100. Only the order and the two thresholds matter.
CERTAIN = 95  # facts that leave no other reading
DECISIVE = 90  # a text that only this fault prints
STRONG = 75  # facts or text that this fault explains best
SUPPORTING = 55  # text that several faults print
WEAK = 28  # fits, and so do others
FAIL_FROM = 50
WARN_FROM = 20


@dataclass(frozen=True, kw_only=True)
class Proof:
    """One piece of evidence: the sentence or line to show, and how sure it makes the check (0-100)."""

    text: str
    strength: int
    line: int | None = None  # of the report, where it came from one


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer of one check. ``strength`` orders findings; ``not_applicable`` marks a skip for good."""

    status: str
    summary: str = ""
    why: str = ""
    evidence: tuple[str, ...] = ()
    fix: tuple[Step, ...] = ()
    strength: int = 0
    not_applicable: bool = False
    required: bool = False  # an `unknown` of this check leaves the verdict undetermined


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    code: str
    area: str
    status: str
    summary: str
    seconds: float
    not_applicable: bool = False
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    code: str
    status: str  # warn, fail
    severity: str  # error, warning
    summary: str
    why: str
    evidence: tuple[str, ...]
    fix: tuple[Step, ...]
    docs: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that doctor has to say; ``findings`` holds warn and fail, most likely root cause first."""

    verdict: str
    machine: Machine
    findings: tuple[Finding, ...]
    results: tuple[CheckResult, ...]
    matrix_version: str = ""


def ok(summary: str) -> Outcome:
    return Outcome(status=PASS, summary=summary)


def skip(summary: str, *, not_applicable: bool = False) -> Outcome:
    return Outcome(status=SKIP, summary=summary, not_applicable=not_applicable)


def unknown(summary: str, *, required: bool = False) -> Outcome:
    return Outcome(status=UNKNOWN, summary=summary, required=required)
