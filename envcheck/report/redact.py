"""A report without names: the machine, the evidence and the summaries alike, the fixes left alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..checks.base import Report
from ..model import Machine, from_plain, to_plain


def redacted(report: Report, hide: Callable[[Any], Any]) -> Report:
    """``hide`` takes and returns a JSON value (``detect.redact.Redactor``). UUIDs of GPUs go altogether."""
    plain = to_plain(report.machine)
    for gpu in plain["gpus"]:
        gpu["uuid"] = None
    findings = tuple(
        dataclasses.replace(f, summary=hide(f.summary), evidence=tuple(hide(e) for e in f.evidence))
        for f in report.findings
    )
    results = tuple(dataclasses.replace(r, summary=hide(r.summary)) for r in report.results)
    machine = from_plain(Machine, hide(plain))
    return dataclasses.replace(report, machine=machine, findings=findings, results=results)
