"""Markdown to paste into an issue. Everything untrusted stands in fences longer than any run of backticks in it."""

from __future__ import annotations

import re

from ..checks.base import Finding, Report
from .clean import clean, command
from .inert import inert
from .overview import overview

SIGNS = {"healthy": "healthy", "degraded": "degraded", "broken": "broken", "undetermined": "undetermined"}


def fence(text: str, language: str = "text") -> str:
    """A code block that no content can close."""
    longest = max((len(m) for m in re.findall(r"`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def inline(text: str) -> str:
    """One line of untrusted text inside a sentence: no markup, no mention, no link, no HTML."""
    text = clean(text, 300)
    text = re.sub(r"([\\`*_{}\[\]<>()#+!|~$&])", r"\\\1", text)
    return _inert(text)


def _inert(text: str) -> str:
    """No mention and no link: a zero-width space after ``@`` and inside ``://``."""
    return text.replace("@", "@\u200b").replace("://", ":\u200b//")


def as_markdown(report: Report) -> str:
    errors = sum(f.status == "fail" for f in report.findings)
    parts = [f"## envcheck doctor: {report.verdict}", ""]
    parts += [fence("\n".join(f"{name:9} {value}" for name, value in overview(report.machine))), ""]
    if not report.findings:
        parts += ["Nothing wrong was found." if report.verdict == "healthy" else "No finding.", ""]
    for finding in report.findings:
        parts += [*_finding(finding, report), ""]
    parts.append(
        f"{errors} error(s), {len(report.findings) - errors} warning(s); matrix {inline(report.matrix_version)}"
    )
    return inert("\n".join(parts) + "\n")


def _finding(finding: Finding, report: Report) -> list[str]:
    windows = report.machine.os.platform == "windows"
    lines = [
        f"### {finding.severity}: {finding.code}",
        "",
        inline(finding.summary),
        "",
        f"why: {inline_long(finding.why.strip())}",
        "",
    ]
    if finding.evidence:
        lines += [fence("\n".join(clean(e, 300) for e in finding.evidence)), ""]
    commands = [command(s, report.machine) for s in finding.fix if s.argv]
    hands = [s for s in finding.fix if not s.argv]
    if commands:
        lines += ["fix:", "", fence("\n".join(commands), "powershell" if windows else "bash")]
    lines += [f"- {inline_long(s.title)}" for s in hands]
    return lines


def inline_long(text: str) -> str:
    """Our own sentences: longer than untrusted ones may be, escaped all the same."""
    return _inert(re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", clean(text, 1_200)))
