"""A plan for a person: what, why, the steps as commands, warnings, what else could be had."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ..model import Plan, Step
from .quoting import bash, powershell, shown

STAGES = {"system": "system, needs root", "user": "user", "verify": "verify"}


def text(plan: Plan, width: int = 100) -> str:
    """Plain lines of at most ``width`` columns; commands are never wrapped, so that they can be copied."""
    if not plan.satisfiable:
        return ""
    return "\n".join(_lines(plan, max(width, 40))) + "\n"


def _lines(plan: Plan, width: int) -> Iterator[str]:
    assert plan.torch is not None
    companions = "".join(f", {name} {version}" for name, version in plan.companions.items())
    yield from _wrap(f"torch {plan.torch.version} ({plan.torch.tag}){companions}", width, "")
    for gpu in plan.gpus:
        yield from _wrap(f"{gpu.name or 'GPU'} ({gpu.compute_capability or '?'}): {gpu.how}", width, "  ")
    yield from _section("why", plan.reasons, width)
    yield from _section("warnings", plan.warnings, width)
    number = 0
    for stage, title in STAGES.items():
        steps = [s for s in plan.steps if s.stage == stage]
        if steps:
            yield from ("", f"{title}:")
        for step in steps:
            number += 1
            yield from _step(step, number, width, plan.machine.os.platform == "windows")
    alternatives = [f"{a.change} gives {a.gives}" for a in plan.alternatives]
    yield from _section("what else could be had", alternatives, width)


def _section(title: str, sentences: Sequence[str], width: int) -> Iterator[str]:
    if sentences:
        yield from ("", f"{title}:")
    for sentence in sentences:
        yield from _wrap(sentence, width, "  - ", "    ")


def _step(step: Step, number: int, width: int, windows: bool) -> Iterator[str]:
    head = f"  {number}. "
    yield from _wrap(step.title, width, head, " " * len(head))
    if step.argv and not step.argv[0].startswith("ec_"):
        # a word that would take a person's terminal along is shown as its quoted form
        quote = powershell if windows else bash
        line = " ".join(quote(word) for word in step.argv)
        call = "& " if windows and line.startswith(("'", "(")) else ""
        yield f"     $ {'sudo ' if step.root and not windows else ''}{call}{line}"
    elif step.argv:
        yield "     (the script does this itself)"
    elif step.why:
        yield from _wrap(step.why, width, "     by hand: ", "     ")
    if step.reboot:
        yield "     then reboot and run the script again"


def _wrap(line: str, width: int, first: str, rest: str | None = None) -> list[str]:
    indent = first if rest is None else rest
    return textwrap.wrap(
        shown(line),
        width,
        initial_indent=first,
        subsequent_indent=indent or "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
