"""JUnit XML: one test case per check. Well-formed whatever the machine says."""

from __future__ import annotations

import html  # xml.sax.saxutils imports urllib, and with it ssl: 40 ms of every start

from ..checks.base import CheckResult, Report
from .clean import clean, command
from .inert import inert_xml

SKIPPED = ("skip",)
ERRORS = ("unknown", "crash", "timeout")


def as_junit(report: Report) -> str:
    """A failed check is a failure, one that could not be told an error if it is required, else skipped."""
    results = report.results
    failures = sum(r.status == "fail" for r in results)
    errors = sum(_is_error(r) for r in results)
    skipped = sum(r.status in SKIPPED or (r.status in ERRORS and not _is_error(r)) for r in results)
    seconds = sum(r.seconds for r in results)
    head = (
        f'<testsuite name="envcheck doctor" tests="{len(results)}" failures="{failures}" errors="{errors}" '
        f'skipped="{skipped}" time="{seconds:.3f}">'
    )
    text = "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            "<testsuites>",
            head,
            *(_case(r, report) for r in results),
            "</testsuite>",
            "</testsuites>",
            "",
        ]
    )
    return inert_xml(text)


def _attribute(text: str) -> str:
    return f'"{html.escape(text)}"'


def _is_error(result: CheckResult) -> bool:
    return result.status in ("crash", "timeout") or (result.status == "unknown" and result.required)


def _case(result: CheckResult, report: Report) -> str:
    opening = f'<testcase classname="envcheck.{result.area}" name="{result.code}" time="{result.seconds:.3f}"'
    message = _attribute(clean(result.summary))
    if result.status in ("fail", "warn"):
        details = html.escape(_details(result.code, report))
        if result.status == "fail":
            return f'{opening}><failure message={message} type="fail">{details}</failure></testcase>'
        return f"{opening}><system-out>warning: {html.escape(clean(result.summary))}\n{details}</system-out></testcase>"
    if _is_error(result):
        return f'{opening}><error message={message} type="{result.status}"/></testcase>'
    if result.status in SKIPPED or result.status in ERRORS:
        return f"{opening}><skipped message={message}/></testcase>"
    return f"{opening}/>"


def _details(code: str, report: Report) -> str:
    for finding in report.findings:
        if finding.code == code:
            steps = [command(s, report.machine) if s.argv else clean(s.title) for s in finding.fix]
            return "\n".join([f"why: {clean(finding.why).strip()}", *map(clean, finding.evidence), "fix:", *steps])
    return ""
