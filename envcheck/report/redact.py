"""A report without names: the machine, the evidence and the summaries alike, the fixes left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..checks.base import Report
from ..model import Machine, Symptom, from_plain, to_plain


def redacted(report: Report, hide: Callable[[Any], Any]) -> Report:
    """``hide`` takes and returns a JSON value (``detect.redact.Redactor``). UUIDs of GPUs go altogether."""
    # symptoms apart: of a long report they are thousands of lines, and hold nothing but text and number
    symptoms = tuple(Symptom(text=hide(s.text), line=s.line) for s in report.machine.symptoms)
    plain = to_plain(dataclasses.replace(report.machine, symptoms=()))
    for gpu in plain["gpus"]:
        gpu["uuid"] = None
    findings = tuple(
        dataclasses.replace(f, summary=hide(f.summary), evidence=tuple(hide(e) for e in f.evidence))
        for f in report.findings
    )
    results = tuple(dataclasses.replace(r, summary=hide(r.summary)) for r in report.results)
    machine = dataclasses.replace(from_plain(Machine, hide(plain)), symptoms=symptoms)
    return dataclasses.replace(report, machine=machine, findings=findings, results=results)
