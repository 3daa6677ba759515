"""The JSON of doctor, key by key as CONTRACT.md has it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from ..checks.base import CheckResult, Finding, Report
from ..model import Machine, Step, to_plain
from .clean import clean
from .inert import inert_json

SCHEMA = "envcheck.doctor/1"


def as_data(report: Report) -> dict[str, Any]:
    """``envcheck.doctor/1`` as plain data; strings of the machine are cleaned."""
    return {
        "schema": SCHEMA,
        "verdict": report.verdict,
        "machine": _machine(report.machine),
        "findings": [_finding(f) for f in report.findings],
        "results": [_result(r) for r in report.results],
        "matrix": clean(report.matrix_version),
    }


def _machine(machine: Machine) -> dict[str, Any]:
    """``to_plain``, cleaned. The symptoms of a long report are thousands of pairs of a text and a number."""
    plain: dict[str, Any] = cleaned(to_plain(dataclasses.replace(machine, symptoms=())))
    plain["symptoms"] = [{"text": clean(s.text, 4_000), "line": s.line} for s in machine.symptoms]
    return plain


def as_json(report: Report) -> str:
    return inert_json(json.dumps(as_data(report), indent=2, ensure_ascii=False)) + "\n"


def cleaned(value: Any) -> Any:
    """Every string of a JSON value cleaned."""
    if isinstance(value, str):
        return clean(value, 4_000)
    if isinstance(value, dict):
        return {clean(k): cleaned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(v) for v in value]
    return value


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "status": finding.status,
        "severity": finding.severity,
        "summary": clean(finding.summary),
        "why": clean(finding.why).strip(),
        "evidence": [clean(e) for e in finding.evidence],
        "fix": [_step(s) for s in finding.fix],
        "docs": finding.docs,
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "title": clean(step.title),
        "argv": [clean(a) for a in step.argv],
        "root": step.root,
        "reboot": step.reboot,
        "why": clean(step.why),
    }


def _result(result: CheckResult) -> dict[str, Any]:
    out: dict[str, Any] = {
        "code": result.code,
        "area": result.area,
        "status": result.status,
        "summary": clean(result.summary),
        "seconds": result.seconds,
    }
    if result.not_applicable:
        out["not_applicable"] = True
    return out
