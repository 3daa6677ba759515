"""Workflow commands of GitHub Actions: one annotation per finding, escaped as actions/toolkit does."""

from __future__ import annotations

from ..checks.base import Report
from .clean import clean, command


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_github(report: Report) -> str:
    """``::error title=code::summary`` lines, then the verdict as a plain line that cannot be a command."""
    lines = []
    for finding in report.findings:
        fix = "\n".join(command(s, report.machine) if s.argv else clean(s.title) for s in finding.fix)
        body = clean(finding.summary) + (f"\nfix: {fix}" if fix else "")
        kind = "error" if finding.status == "fail" else "warning"
        lines.append(f"::{kind} title={_property('envcheck ' + finding.code)}::{_data(body)}")
    for result in report.results:
        if result.status in ("crash", "timeout") or (result.status == "unknown" and result.required):
            lines.append(f"::warning title={_property('envcheck ' + result.code)}::{_data(clean(result.summary))}")
    lines.append(f"envcheck doctor - {report.verdict}")
    return "\n".join(lines).replace("##[", "## [") + "\n"
