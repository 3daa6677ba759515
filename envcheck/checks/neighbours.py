"""What else could it be: the usual causes that share the text of a pasted report with the one that was found.

A report is a part of the truth. Where it shows a failure, those causes that it reads most like and those that print the
same words are named too, as warnings, with what would tell them apart. Where no rule found anything, the wording alone
speaks (``wording.py``). The data is ``neighbours.json``: families of texts with their causes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .base import DECISIVE, FAIL, SKIP, WARN, Outcome
from .fixes import by_hand
from .view import View
from .wording import LEAST, PLAIN, likely, reads_sound

SHOWN = 3  # findings in all, unless more of them stand by themselves


@functools.cache
def loaded() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name("neighbours.json").read_text(encoding="utf-8"))
    return data


def also_possible(
    v: View, outcomes: Mapping[str, Outcome], ranked: list[str], titles: Mapping[str, str], sound: bool = False
) -> list[str]:
    """Codes to name beside the ``ranked`` findings, likeliest first; ``sound``: the facts show no fault.

    Where nothing was found the wording alone is asked, and against sound facts only a plain one counts. A text that
    reads most like one of no fault of the installation (a TypeError, shapes that do not fit) gets none at all.
    """
    if not v.pasted or len(ranked) >= SHOWN:
        return []
    if not ranked and reads_sound(v.text.lower):
        return []
    if _failure(v, outcomes):
        candidates = _candidates(v, outcomes, ranked)
    elif not ranked:
        candidates = iter(likely(v.text.lower, PLAIN if sound else LEAST))
    else:
        return []
    out: list[str] = []
    for code in candidates:
        outcome = outcomes.get(code)
        if outcome is None or outcome.status != SKIP or outcome.not_applicable or code not in titles or code in out:
            continue
        if all(v.flag(need) for need in loaded()["needs"].get(code, ())):
            out.append(code)
        if len(ranked) + len(out) >= SHOWN:
            break
    return out


def outcome_of(v: View, code: str, title: str, alone: bool = False) -> Outcome:
    """The warning for one of them; ``alone``: no rule found anything beside it."""
    told = v.told(code)
    apart = loaded()["apart"].get(code)
    return Outcome(
        status=WARN,
        summary=f"{'perhaps' if alone else 'also possible'}: {title.rstrip('.')}",
        evidence=(f"line {told[0].line}: {told[0].text}",)
        if told
        else ("the report reads like one of it; no fact shows it",),
        fix=by_hand(f"find out first whether it is this: {apart}" if apart else "read first how it is told apart"),
    )


def _failure(v: View, outcomes: Mapping[str, Outcome]) -> bool:
    """A fault was found, or an error is told of a machine whose CUDA was not shown to work."""
    failed = any(o.status == FAIL for o in outcomes.values())
    if v.cuda_available is True:
        return failed and (v.text.last_error >= 0 or bool(_decisive(v)))
    return failed or v.text.last_error >= 0 or v.cuda_available is False


def _decisive(v: View) -> list[str]:
    return [code for code, proofs in v.symptoms.items() if proofs[0].strength >= DECISIVE - 4]


def _candidates(v: View, outcomes: Mapping[str, Outcome], ranked: list[str]) -> Iterator[str]:
    """Causes that the report reads most like, those whose words were outweighed, those of its texts' families."""
    yield from likely(v.text.lower, LEAST)
    explained = [c for c, o in outcomes.items() if o.summary.startswith("explained by")]
    told = sorted(v.symptoms, key=lambda c: -v.symptoms[c][0].strength)
    yield from (c for c in told if c not in explained)
    families = loaded()["families"]
    own = [f for f in families if ranked[:1] and ranked[0] in f["codes"]]
    spoken = [f for f in families if v.text.has(f["pattern"])]
    for family in (*(f for f in own if f in spoken), *(f for f in spoken if f not in own)):
        yield from family["codes"]
    yield from explained
    for family in own:
        yield from family["codes"]
