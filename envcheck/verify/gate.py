"""What a set of results adds up to: verdict and exit code. Only ``pass`` is a pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..checks.base import BROKEN, DEGRADED, FAIL, HEALTHY, PASS, SKIP, UNDETERMINED, WARN
from .words import Result, Verification


def is_met(code: str, results: Iterable[Result]) -> bool:
    """A required check: it ran on every device, and each time passed, warned, or cannot exist on that chip."""
    own = [r for r in results if r.code == code]
    return bool(own) and all(r.status in (PASS, WARN) or (r.status == SKIP and r.not_applicable) for r in own)


def verdict_of(results: Sequence[Result], required: Sequence[str], *, rehearsal: bool = False) -> str:
    """``broken`` beats ``undetermined``, that beats ``degraded``. A rehearsal is never healthy."""
    if any(r.status == FAIL for r in results):
        return BROKEN
    if rehearsal or not required or not all(is_met(code, results) for code in required):
        return UNDETERMINED
    return DEGRADED if any(r.status == WARN for r in results) else HEALTHY


def exit_code(verification: Verification, fail_on: str = "fail") -> int:
    """0 proven, 1 a check failed (or warned, with ``--fail-on warn``), 3 something required was not proven."""
    if verification.verdict == BROKEN:
        return 1
    if fail_on == "warn" and any(r.status == WARN for r in verification.results):
        return 1
    return 0 if verification.verdict in (HEALTHY, DEGRADED) else 3
