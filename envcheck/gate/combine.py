"""Gated -> the one ``Report`` that the shared renderings take, so that every format says the same verdict.

JUnit has failures where the exit code is 1, errors where it is 3, neither where it is 0; so have the others.
"""

from __future__ import annotations

import dataclasses

from ..checks.base import CRASH, FAIL, PASS, SKIP, TIMEOUT, UNKNOWN, WARN, CheckResult, Finding, Report
from ..verify.table import BY_CODE
from .words import Gated, Requirement

DOCS = "docs/gate.md"
GATE, POLICY = "gate", "policy"  # areas of the rows that are the gate's own
WHOLE_RUN = "whole-run"  # the row that says where a run was stopped
STATUS = {"healthy": PASS, "degraded": WARN, "broken": FAIL, "undetermined": UNKNOWN}
OPEN = (UNKNOWN, CRASH, TIMEOUT)


def combine(gated: Gated, proofs: Report | None) -> Report:
    """``proofs``: the verification in doctor's words. The first row of the result is the verdict itself."""
    rows = [_verdict_row(gated), *(_requirement_row(r) for r in gated.requirements)]
    if gated.stopped is not None:
        rows.append(_row(WHOLE_RUN, GATE, gated.stopped.status, gated.stopped.text))
    rows += [*gated.doctor.results, *(proofs.results if proofs else ())]
    # a proof that could not start carries doctor's own sentence: said once, by doctor
    told = {f.summary for f in gated.doctor.findings if f.status == FAIL}
    own = (*(proofs.findings if proofs else ()), *_unmet(gated))
    findings = {(f.code, f.summary): f for f in gated.doctor.findings}
    findings.update({(f.code, f.summary): f for f in own if f.summary not in told})
    return Report(
        verdict=gated.verdict,
        machine=gated.machine,
        findings=tuple(sorted((_promoted(f, gated) for f in findings.values()), key=lambda f: f.status != FAIL)),
        results=tuple(_counted(row, gated) for row in rows),
        matrix_version=gated.doctor.matrix_version,
    )


def headline(gated: Gated) -> str:
    """Verdict, exit code and the weightiest reason in one sentence."""
    why = gated.reasons[0] if gated.reasons else "every requirement is met"
    return f"{gated.verdict} (exit {gated.exit_code}): {why}"


def _row(code: str, area: str, status: str, summary: str) -> CheckResult:
    return CheckResult(code=code, area=area, status=status, summary=summary, seconds=0.0, required=True)


def _verdict_row(gated: Gated) -> CheckResult:
    return dataclasses.replace(_row("gate", GATE, STATUS[gated.verdict], headline(gated)), seconds=gated.seconds)


def _requirement_row(requirement: Requirement) -> CheckResult:
    status = requirement.status
    if not requirement.met:
        status = FAIL if status in (FAIL, WARN) else UNKNOWN if status == SKIP else status
    return _row(requirement.code, POLICY, status, requirement.summary)


def _unmet(gated: Gated) -> list[Finding]:
    """Requirements of the policy that no check speaks for: the machine's own figures, and a proof that only warned."""
    checks = {*BY_CODE, *(r.code for r in gated.doctor.results)}
    out = []
    for r in gated.requirements:
        if r.met or r.status not in (FAIL, WARN) or (r.code in checks and r.status == FAIL):
            continue
        line = f", line {r.line}" if r.line else ""
        why = f"the policy requires it ({gated.policy.path}{line})" if gated.policy.path else "it is required"
        text = f"required, and it only warned: {r.summary}" if r.status == WARN else r.summary
        finding = Finding(
            code=r.code, status=FAIL, severity="error", summary=text, why=why, evidence=(), fix=(), docs=DOCS
        )
        out.append(finding)
    return out


def _promoted(finding: Finding, gated: Gated) -> Finding:
    """Under ``fail-on = "warn"`` a warning is what stops, and is shown as such."""
    if gated.policy.fail_on == "warn" and finding.status == WARN:
        return dataclasses.replace(finding, status=FAIL, severity="error")
    return finding


def _counted(row: CheckResult, gated: Gated) -> CheckResult:
    if row.status == WARN and gated.policy.fail_on == "warn" and gated.verdict == "broken":
        return dataclasses.replace(row, status=FAIL)
    if gated.exit_code == 0 and row.status in OPEN:
        return dataclasses.replace(row, status=UNKNOWN, required=False)
    return row
