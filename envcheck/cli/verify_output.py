"""The renderings of a verification: text, JSON, markdown, JUnit, GitHub annotations."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any

from ..checks.base import CheckResult, Finding, Report
from ..model import Step, to_plain
from ..report import as_github, as_junit
from ..report.clean import ascii_only, clean, command
from ..report.data import cleaned
from ..report.inert import inert, inert_json
from ..report.markdown import fence, inline_long
from ..verify import Result, Verification
from ..verify.gate import is_met
from ..verify.session import NOTHING_TO_TRY

SCHEMA = "envcheck.verify/1"
DOCS = "docs/verify.md"
COLORS = {"pass": "32", "warn": "33", "fail": "31", "skip": "2", "unknown": "35", "crash": "31", "timeout": "31"}
VERDICT_COLORS = {"healthy": "32", "degraded": "33", "broken": "31", "undetermined": "35"}


def as_data(found: Verification) -> dict[str, Any]:
    """``envcheck.verify/1``, key by key as the contract has it; ``required`` says what the exit code asked for."""
    devices = [{k: v for k, v in to_plain(d).items() if k != "gpu"} for d in found.devices]
    rehearsal = to_plain(found.rehearsal) if found.rehearsal else None
    data = {
        "schema": SCHEMA,
        "verdict": found.verdict,
        "seconds": round(found.seconds, 3),
        "rehearsal": rehearsal,
        "torch": to_plain(found.torch),
        "devices": devices,
        "required": [{"code": code, "met": is_met(code, found.results)} for code in found.required],
        "findings": [_finding(f) for f in found.findings],
        "results": [_result(r) for r in found.results],
        "machine": to_plain(found.machine),
    }
    plain: dict[str, Any] = cleaned(data)
    return plain


def _result(result: Result) -> dict[str, Any]:
    data: dict[str, Any] = to_plain(result)
    data["fix"] = [_step(s) for s in result.fix]
    data["seconds"] = round(result.seconds, 3)
    if not result.not_applicable:
        del data["not_applicable"]
    return data


def _finding(finding: Finding) -> dict[str, Any]:
    data: dict[str, Any] = to_plain(finding)
    data["fix"] = [_step(s) for s in finding.fix]
    return data


def _step(step: Step) -> dict[str, Any]:
    return {
        "title": step.title,
        "argv": list(step.argv),
        "root": step.root,
        "reboot": step.reboot,
        "why": step.why,
    }


def as_json(found: Verification, **_: Any) -> str:
    return inert_json(json.dumps(as_data(found), indent=2, ensure_ascii=False)) + "\n"


def name_of(result: Result) -> str:
    """``cudnn``, or ``cudnn on GPU 1``."""
    return result.code if result.device is None or result.device == "cpu" else f"{result.code} on GPU {result.device}"


def headline(found: Verification) -> str:
    """The verdict in a sentence."""
    if found.rehearsal is not None:
        plant = found.rehearsal.plant
        if plant is None:
            return f"rehearsal on the CPU: {found.verdict}; the judges ran, no GPU was proven"
        if found.rehearsal.caught:
            return f"rehearsal on the CPU: the planted {plant!r} was caught by {', '.join(found.rehearsal.caught_by)}"
        return (
            f"rehearsal on the CPU: the planted {plant!r} was NOT caught; {found.rehearsal.expected_by} must notice it"
        )
    return {
        "healthy": "every required check passed",
        "degraded": "every required check passed, with warnings",
        "broken": "a check failed",
        "undetermined": "something required was not proven",
    }[found.verdict]


def as_text(found: Verification, *, width: int = 100, color: bool = False, verbose: int = 0, **_: Any) -> str:
    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color else text

    lines = [paint(f"envcheck verify: {found.verdict}", VERDICT_COLORS[found.verdict]) + f" - {headline(found)}"]
    version = found.torch.get("version")
    if version:
        lines.append(f"  torch {clean(str(version))}, {found.seconds:.1f} s")
    for device in found.devices:
        card = f"{device.name}, compute capability {device.compute_capability}, {device.memory_mib} MiB"
        lines.append(clean(f"  GPU {device.index}: {card}"))
    lines.append("")
    idle = [] if verbose else [r for r in found.results if r.stage == NOTHING_TO_TRY and r.status == "skip"]
    for result in found.results:
        if result not in idle:
            lines += _text_result(result, width, paint, verbose)
    if idle:
        lines += _wrapped("not run: " + ", ".join(name_of(r) for r in idle), width, "  ", "           ")
    if found.findings:
        lines += ["", "what doctor finds on this machine:"]
        for finding in found.findings:
            lines += _wrapped(f"{finding.code}: {clean(finding.summary)}", width, "  ", "    ")
            lines += _fix(finding.fix)
    return inert("\n".join(lines) + "\n")


def _text_result(result: Result, width: int, paint: Callable[[str, str], str], verbose: int) -> list[str]:
    head = f"  {paint(f'{result.status:8}', COLORS[result.status])} "
    name = name_of(result)
    first, *rest = _wrapped(clean(result.summary), max(width, 60), " " * 11, " " * 11)
    lines = [head + paint(name, "1") + f" ({result.seconds:.1f} s)", first, *rest]
    if verbose or result.status in ("fail", "crash", "timeout", "unknown", "warn"):
        said = [line for line in result.evidence if line != result.summary]
        for line in said[: None if verbose else 4]:
            lines += _wrapped(f"seen: {clean(line, 300)}", width, " " * 11, " " * 17)
    return lines + _fix(result.fix)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    ) or [first.rstrip()]


def _fix(steps: tuple[Step, ...]) -> list[str]:
    lines = []
    for step in steps:
        lines.append(f"    fix: {clean(step.title)}")
        if step.argv:
            lines.append(f"      {ascii_only(command(step))}")
    return lines


def as_markdown(found: Verification, **_: Any) -> str:
    """A table of our own words, and the figures fenced: names of devices are untrusted."""
    lines = [f"## envcheck verify: {found.verdict}", "", f"{inline_long(headline(found))}.", ""]
    cards = [clean(f"GPU {d.index}: {d.name}, compute capability {d.compute_capability}") for d in found.devices]
    version = found.torch.get("version")
    known = [*cards, *([f"torch {clean(str(version))}"] if version else [])]
    if known:
        lines += [fence("\n".join(known)), ""]
    lines += ["| check | status | seconds |", "|---|---|---|"]
    lines += [f"| {name_of(r)} | {r.status} | {r.seconds:.1f} |" for r in found.results]
    for result in found.results:
        if result.status not in ("pass", "skip"):
            lines += ["", f"### {name_of(result)}: {result.status}", ""]
            lines.append(fence("\n".join(clean(t, 300) for t in (result.summary, *result.evidence))))
    for finding in found.findings:
        lines += ["", f"### doctor: {finding.code}", "", fence(clean(finding.summary))]
    return inert("\n".join(lines) + "\n")


def as_report(found: Verification) -> Report:
    """The same results in doctor's words, for the renderings that both share."""
    results = tuple(
        CheckResult(
            code=name_of(r),
            area="verify",
            status=r.status,
            summary=r.summary,
            seconds=r.seconds,
            not_applicable=r.not_applicable,
            required=r.code in found.required,
        )
        for r in found.results
    )
    own = tuple(
        Finding(
            code=name_of(r),
            status=r.status,
            severity="error" if r.status == "fail" else "warning",
            summary=r.summary,
            why=f"it stopped in: {r.stage}",
            evidence=r.evidence,
            fix=r.fix,
            docs=f"{DOCS}#{r.code}",
        )
        for r in found.results
        if r.status in ("fail", "warn")
    )
    said = {f.summary for f in own}
    findings = (*own, *(f for f in found.findings if f.summary not in said))
    return Report(verdict=found.verdict, machine=found.machine, findings=findings, results=results)


def _renamed(text: str) -> str:
    """The one place in each of the shared renderings that names the command, before anything untrusted."""
    return text.replace("envcheck doctor", "envcheck verify", 1)


RENDER: dict[str, Callable[..., str]] = {
    "text": as_text,
    "json": as_json,
    "markdown": as_markdown,
    "junit": lambda found, **_: _renamed(as_junit(as_report(found))),
    "github": lambda found, **_: (
        as_github(as_report(found)).rpartition("envcheck doctor")[0] + f"envcheck verify - {found.verdict}\n"
    ),
}
