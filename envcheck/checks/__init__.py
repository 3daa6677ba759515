"""(Machine, Matrix) -> Report: one function per check, an explicit order, the docstring is the docs page."""

from __future__ import annotations

from .base import CheckResult, Finding, Outcome, Report
from .pages import check_page, checks_list, checks_page
from .run import CHECKS, CODES, run_checks

__all__ = [
    "CHECKS",
    "CODES",
    "CheckResult",
    "Finding",
    "Outcome",
    "Report",
    "check_page",
    "checks_list",
    "checks_page",
    "run_checks",
]
