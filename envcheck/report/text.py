"""The terminal: the machine, a line per area, details of what is wrong, and commands to copy."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from ..checks.base import CheckResult, Finding, Report
from ..checks.run import DRIVER_CAUSES
from .clean import ascii_only, clean, words
from .inert import inert
from .overview import details, overview

UNICODE = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "–", "unknown": "?", "crash": "?", "timeout": "?"}
ASCII = {"pass": "ok", "warn": "!!", "fail": "XX", "skip": "--", "unknown": "??", "crash": "??", "timeout": "??"}
COLORS = {"pass": "32", "warn": "33", "fail": "31", "skip": "2", "unknown": "35", "crash": "35", "timeout": "35"}
VERDICT_STATUS = {"healthy": "pass", "degraded": "warn", "broken": "fail", "undetermined": "unknown"}
WORST = ("fail", "crash", "timeout", "warn", "unknown", "pass", "skip")
NARROW = 40  # columns below which nothing is wrapped further


class _Pen:
    def __init__(self, width: int, color: bool, unicode: bool) -> None:
        self.width = max(width, NARROW)
        self.color = color
        self.signs = UNICODE if unicode else ASCII
        self.unicode = unicode
        self.lines: list[str] = []

    def paint(self, text: str, status: str, bold: bool = False) -> str:
        if not self.color:
            return text
        return f"\x1b[{'1;' if bold else ''}{COLORS[status]}m{text}\x1b[0m"

    def sign(self, status: str) -> str:
        return self.paint(self.signs[status], status)

    def wrapped(self, text: str, first: str, rest: str) -> None:
        """``first`` and ``rest`` are indents; long words stay whole, so that paths can be copied."""
        text = text if self.unicode else ascii_only(text)
        body = textwrap.wrap(
            text,
            self.width,
            initial_indent=first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        self.lines += body or [first.rstrip()]


def as_text(report: Report, width: int = 100, color: bool = False, unicode: bool = True, verbose: int = 0) -> str:
    """``width`` in columns; ``verbose`` shows every check and all evidence."""
    pen = _Pen(width, color, unicode)
    errors = sum(f.status == "fail" for f in report.findings)
    warnings = len(report.findings) - errors
    counts = ", ".join(
        f"{n} {word}{'s' if n > 1 else ''}" for n, word in ((errors, "error"), (warnings, "warning")) if n
    )
    status = VERDICT_STATUS[report.verdict]
    pen.lines.append(
        pen.paint(f"envcheck doctor: {report.verdict}", status, bold=True) + (f" ({counts})" if counts else "")
    )
    pen.lines.append("")
    for name, value in [*overview(report.machine), *(details(report.machine) if verbose else ())]:
        pen.wrapped(value, f"  {name:<9} ", " " * 12)
    pen.lines.append("")
    _areas(pen, report, verbose)
    for index, finding in enumerate(report.findings):
        pen.lines.append("")
        _finding(pen, finding, report, verbose, index == 0)
    _missing(pen, report)
    return inert("\n".join(pen.lines).rstrip() + "\n")


def _areas(pen: _Pen, report: Report, verbose: int) -> None:
    areas: dict[str, list[CheckResult]] = {}
    for result in report.results:
        areas.setdefault(result.area, []).append(result)
    for area, results in areas.items():
        worst = min(results, key=lambda r: WORST.index(r.status))
        if area == "machine" or verbose > 1:
            # the overview above has said what is well with driver, GPU and torch
            for result in results if verbose else [r for r in results if r.status not in ("pass", "skip")]:
                _line(pen, result.code, result.status, result.summary)
        elif worst.status != "skip" or verbose:
            _line(pen, area, worst.status, _area_summary(results, worst))


def _area_summary(results: list[CheckResult], worst: CheckResult) -> str:
    if worst.status in ("fail", "warn"):
        return ", ".join(r.code for r in results if r.status in ("fail", "warn"))
    if worst.status == "pass":
        passed = sum(r.status == "pass" for r in results)
        left = len(results) - passed
        return f"{passed} passed" + (f", {left} with nothing to look at" if left else "")
    return worst.summary


def _line(pen: _Pen, name: str, status: str, summary: str) -> None:
    sign = pen.signs[status]
    start = len(pen.lines)
    pen.wrapped(clean(summary), f"  {sign} {name:<12} ", " " * (len(sign) + 16))
    pen.lines[start] = pen.lines[start].replace(sign, pen.sign(status), 1)


def _finding(pen: _Pen, finding: Finding, report: Report, verbose: int, first: bool) -> None:
    head = f"{pen.signs[finding.status]} {finding.code}"
    pen.lines.append(pen.paint(head, finding.status, bold=True))
    pen.wrapped(clean(finding.summary), "  ", "  ")
    if first or verbose or finding.status == "fail":
        pen.wrapped(clean(finding.why).strip(), "  why:  ", "        ")
    evidence = [e for e in finding.evidence if e != finding.summary]
    shown = evidence if verbose else evidence[:3]
    for line in shown:
        pen.wrapped(clean(line, 300), "  seen: ", "        ")
    _fix(pen, finding, report)


def _fix(pen: _Pen, finding: Finding, report: Report) -> None:
    if not finding.fix:
        return
    pen.lines.append("  fix:")
    for step in finding.fix:
        if step.argv:
            pen.wrapped(f"# {clean(step.title)}", "    ", "    # ")
            line = _broken(words(step, report.machine), pen.width, report.machine.os.platform == "windows")
            pen.lines += line if pen.unicode else map(ascii_only, line)
        else:
            pen.wrapped(clean(step.title), "    - ", "      ")
    if any(s.reboot for s in finding.fix):
        pen.lines.append("    (then reboot)")


def _broken(command: list[str], width: int, windows: bool) -> list[str]:
    """A command in lines of the terminal's width that can be copied as they stand: the shell joins them again."""
    mark = " `" if windows else " \\"
    lines, line = [], "    " + command[0]
    for word in command[1:]:
        if len(line) + 1 + len(word) + len(mark) > width and line.strip():
            lines.append(line + mark)
            line = "      " + word
        else:
            line += " " + word
    return [*lines, line]


def _missing(pen: _Pen, report: Report) -> None:
    """What could not be told is said, so that silence is never taken for health."""
    open_ = [r for r in report.results if r.status in ("crash", "timeout") or (r.status == "unknown" and r.required)]
    shown = {text for f in report.findings for text in (f.summary, *f.evidence)}
    explained = any(f.status == "fail" and f.code in DRIVER_CAUSES for f in report.findings)
    for name, problem in report.machine.problems.items():
        if problem in shown or (explained and name in ("driver", "gpus")):
            continue  # a finding above has said it
        pen.wrapped(f"could not be told: {clean(name)}: {clean(problem, 300)}", "  ? ", "    ")
    for result in open_:
        if result.summary not in report.machine.problems.values():
            pen.wrapped(f"{result.code}: {clean(result.summary)}", "  ? ", "    ")
    unseen = report.machine.facts.get("unseen")
    for name, why in unseen.items() if isinstance(unseen, Mapping) else ():
        pen.wrapped(f"not looked at: {clean(str(name))}: {clean(str(why), 300)}", "  ? ", "    ")
