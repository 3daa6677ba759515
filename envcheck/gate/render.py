"""Gated -> every format, from one combined report. The JSON keeps node and UUIDs, the formats for people do not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from ..checks.base import Report
from ..model import to_plain
from ..report import as_data, as_junit, as_markdown, as_text
from ..report.clean import ascii_only, clean
from ..report.data import cleaned
from ..report.inert import inert, inert_json, inert_xml
from ..report.markdown import inline_long
from ..report.redact import redacted
from .combine import GATE, POLICY, WHOLE_RUN, combine, headline
from .github import as_annotations
from .gitlab import as_gitlab
from .lines import as_nagios, as_npd
from .policy import as_plain
from .prometheus import as_prometheus
from .words import Gated

SCHEMA = "envcheck.gate/1"
FORMATS = ("text", "json", "markdown", "junit", "github", "gitlab", "prometheus", "nagios", "npd")
SIGNS = {"pass": "ok", "warn": "!!", "fail": "XX", "skip": "--"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rendering:
    """All that the formats are made of. ``hide`` takes names of hosts, users and units out of a JSON value."""

    gated: Gated
    proofs: Report | None  # the verification in doctor's words
    verify_data: Mapping[str, Any] | None  # the verification as envcheck.verify/1
    hide: Callable[[Any], Any]
    timestamp: float  # Unix time, seconds

    def shown(self) -> tuple[Gated, Report]:
        """What people see: nothing that names a host, a user or a unit."""
        gated = self.gated
        hidden = dataclasses.replace(
            gated,
            policy=dataclasses.replace(gated.policy, path=self.hide(gated.policy.path)),
            reasons=tuple(self.hide(r) for r in gated.reasons),
            requirements=tuple(dataclasses.replace(r, summary=self.hide(r.summary)) for r in gated.requirements),
            doctor=redacted(gated.doctor, self.hide),
            differences=tuple(
                dataclasses.replace(d, before=self.hide(d.before), now=self.hide(d.now)) for d in gated.differences
            ),
            stopped=gated.stopped and dataclasses.replace(gated.stopped, text=self.hide(gated.stopped.text)),
            node="",
        )
        proofs = redacted(self.proofs, self.hide) if self.proofs else None
        return hidden, combine(hidden, proofs)


def render(name: str, source: Rendering, **options: Any) -> str:
    """One of ``FORMATS``. ``options`` (width, color, unicode, verbose) are for text. None holds a runner's command."""
    text = _rendered(name, source, **options)
    if name in ("json", "gitlab"):
        return inert_json(text)
    if name == "junit":
        return inert_xml(text)
    return text if name == "github" else inert(text)


def _rendered(name: str, source: Rendering, **options: Any) -> str:
    if name == "json":
        return json.dumps(as_json_data(source), indent=2, ensure_ascii=False) + "\n"
    if name == "prometheus":
        report = combine(source.gated, source.proofs)
        return as_prometheus(source.gated, report, source.timestamp)
    gated, report = source.shown()
    if name == "text":
        return _text(gated, report, **options)
    if name == "markdown":
        return _markdown(gated, report)
    if name == "junit":
        return as_junit(report).replace("envcheck doctor", "envcheck gate", 1)
    if name == "github":
        return as_annotations(gated, report)
    if name == "gitlab":
        return as_gitlab(gated, report)
    return as_nagios(gated) if name == "nagios" else as_npd(gated)


def as_json_data(source: Rendering) -> dict[str, Any]:
    """``envcheck.gate/1``, as the contract has it; ``node``, ``inventory`` and the UUIDs are for ``fleet merge``."""
    gated = source.gated
    data: dict[str, Any] = cleaned(
        {
            "schema": SCHEMA,
            "verdict": gated.verdict,
            "exit_code": gated.exit_code,
            "reasons": list(gated.reasons),
            "node": gated.node,
            "date": gated.date,
            "seconds": round(gated.seconds, 3),
            "stopped": to_plain(gated.stopped),
            "policy": as_plain(gated.policy),
            "requirements": [to_plain(r) for r in gated.requirements],
            "differences": [to_plain(d) for d in gated.differences],
            "inventory": to_plain(gated.inventory),
        }
    )
    return {**data, "doctor": as_data(gated.doctor), "verify": source.verify_data or {}}


def _without_own_rows(report: Report) -> Report:
    return dataclasses.replace(report, results=tuple(r for r in report.results if r.area not in (GATE, POLICY)))


def _text(gated: Gated, report: Report, *, unicode: bool = True, **options: Any) -> str:
    lines = [f"envcheck gate: {clean(headline(gated))}", ""]
    if gated.stopped is not None:
        lines.append(f"  ?? {WHOLE_RUN:<22} {gated.stopped.status:<8} {clean(gated.stopped.text, 600)}")
    for r in gated.requirements:
        sign = SIGNS.get(r.status, "??") if r.met or r.status != "pass" else "??"
        lines.append(f"  {sign} {r.code:<22} {r.status:<8} {clean(r.summary, 300)}")
    for d in gated.differences:
        lines.append(f"  {'!!' if d.matters else '--'} {clean(d.what)}: {clean(d.before)} -> {clean(d.now)} {d.why}")
    head = "\n".join(lines) + "\n"
    body = as_text(_without_own_rows(report), unicode=unicode, **options).partition("\n")[2]
    return (head if unicode else ascii_only(head)) + body


def _markdown(gated: Gated, report: Report) -> str:
    body = as_markdown(_without_own_rows(report)).partition("\n")[2]
    rows = [f"| {r.code} | {r.status} | {_cell(r.summary)} |" for r in gated.requirements]
    if gated.stopped is not None:
        rows.insert(0, f"| {WHOLE_RUN} | {gated.stopped.status} | {_cell(gated.stopped.text)} |")
    table = ["| required | status | |", "|---|---|---|", *rows, ""] if rows else []
    changes = [f"| {_cell(d.what)} | {_cell(d.before)} | {_cell(d.now)} | {_cell(d.why)} |" for d in gated.differences]
    changed = ["| differs | before | now | |", "|---|---|---|---|", *changes, ""] if changes else []
    return (
        "\n".join([f"## envcheck gate: {gated.verdict}", "", inline_long(headline(gated)), "", *table, *changed]) + body
    )


def _cell(text: str) -> str:
    return inline_long(text[:300])
