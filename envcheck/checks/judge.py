"""From proofs to an outcome: the one place that decides between fail, warn, pass and skip."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model import Step
from .base import DECISIVE, FAIL, FAIL_FROM, PASS, SKIP, WARN, WARN_FROM, Outcome, Proof
from .view import View

Steps = tuple[Step, ...]
MAX_EVIDENCE = 8


def fact(text: str, strength: int, when: object = True) -> tuple[Proof, ...]:
    """A proof by facts, or nothing where ``when`` does not hold."""
    return (Proof(text=text, strength=strength),) if when else ()


def judge(
    v: View,
    code: str,
    summary: str,
    *,
    facts: Iterable[Proof] = (),
    fix: Callable[[], Steps] | Steps = (),
    looked: bool = False,
    quiet: str = "",
    at_most: int = 100,
    bonus: int = 0,
    why: str = "",
) -> Outcome:
    """Weigh facts and symptoms of one code.

    ``looked``: the facts alone suffice to say that nothing is wrong, so silence is a pass, not a skip.
    ``at_most``: a cap where facts speak against the text. ``bonus``: where facts lean towards this cause.
    """
    proofs = sorted([*facts, *v.told(code)], key=lambda p: -p.strength)
    top = proofs[0].strength if proofs else 0
    strength = min(top + bonus if top else 0, at_most)
    if v.cuda_available is True and proofs and proofs[0].line is not None and top < DECISIVE - 4:
        # CUDA works there: a text that several faults print is a hint, no fault. The order among hints stays.
        strength = strength * (FAIL_FROM - 1) // 100
    if strength < WARN_FROM:
        if looked:
            return Outcome(status=PASS, summary=quiet or f"no sign of it: {summary}")
        return Outcome(status=SKIP, summary="nothing here speaks of it")
    return Outcome(
        status=FAIL if strength >= FAIL_FROM else WARN,
        summary=summary,
        why=why,
        evidence=_evidence(proofs),
        fix=fix() if callable(fix) else fix,
        strength=strength,
    )


def _evidence(proofs: list[Proof]) -> tuple[str, ...]:
    texts = (f"line {p.line}: {p.text}" if p.line is not None else p.text for p in proofs)
    return tuple(dict.fromkeys(texts))[:MAX_EVIDENCE]
