"""One line for monitoring: Nagios and Icinga, and the Kubernetes node-problem-detector."""

from __future__ import annotations

from ..report.clean import clean
from ..report.inert import inert
from .combine import headline
from .words import Gated

NPD_LIMIT = 80  # bytes; node-problem-detector cuts there
NAGIOS = {0: "OK", 1: "WARNING", 2: "CRITICAL", 3: "UNKNOWN"}
NPD_UNKNOWN = 2


def style_code(gated: Gated, style: str | None) -> int:
    """The exit code as the caller reads it. Nagios: 1 WARNING, 2 CRITICAL, 3 UNKNOWN; npd: 1 problem, 2 unknown."""
    code = gated.exit_code
    if style == "nagios":
        return {0: 1 if gated.verdict == "degraded" else 0, 1: 2}.get(code, 3)
    if style == "npd":
        return code if code in (0, 1) else NPD_UNKNOWN
    return code


def as_nagios(gated: Gated) -> str:
    """``ENVCHECK CRITICAL - why | failed=1;;1;0;9 ...``: text before the bar, performance data behind it."""
    word = NAGIOS[style_code(gated, "nagios")]
    failed = sum(not r.met for r in gated.requirements)
    why = clean(headline(gated), 400).replace("|", "/")
    data = f"failed={failed};;0;0;{len(gated.requirements)} time={gated.seconds:.1f}s gpus={len(gated.machine.gpus)}"
    return f"ENVCHECK {word} - {why} | {data}\n"


def as_npd(gated: Gated) -> str:
    """The condition's message: ASCII, so that a cut never splits a character."""
    why = gated.reasons[0] if gated.reasons else "every requirement is met"
    line = inert(f"{gated.verdict}: {clean(why, 400)}").encode("ascii", "replace")[:NPD_LIMIT]
    return line.decode("ascii") + "\n"
