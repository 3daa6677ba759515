"""What a report is likeliest about, by its words alone: a guess where no rule knows a text.

A linear classifier over the different words of the text (binary tf-idf, one weight per cause and word). Its weights
were learned from labelled reports by ``tests/learn_wording.py``; how often it is right is in docs/evidence.
"""

from __future__ import annotations

import functools
import json
import math
import re
from pathlib import Path

HEALTHY = "healthy"
SCALE = 100.0  # the weights of wording.json are whole hundredths
LEAST = -0.5  # score of a cause that is still worth a word; below it most guesses are wrong
PLAIN = -0.4  # the same against facts that show a sound machine
MOST_TEXT = 200_000  # characters that are read of a long log: its end, where errors stand
_TOKEN = re.compile(r"[a-z_][a-z_0-9]+|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]+")


@functools.cache
def _model() -> tuple[dict[str, float], dict[str, tuple[float, dict[str, float]]]]:
    """Word -> its rarity, and cause -> (bias, word -> weight)."""
    data = json.loads(Path(__file__).with_name("wording.json").read_text(encoding="utf-8"))
    rarity = {word: value / SCALE for word, value in data["rarity"].items()}
    causes = {
        code: (row["bias"] / SCALE, {w: value / SCALE for w, value in row["words"].items()})
        for code, row in data["causes"].items()
    }
    return rarity, causes


def tokens(text: str) -> set[str]:
    """The different words of ``text`` (lower case); scripts without spaces by pairs of characters."""
    out: set[str] = set()
    for word in set(_TOKEN.findall(text)):
        if word[0] > "\u3000":
            out.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            out.add(word)
            out.update(part for part in word.split("_") if len(part) > 1)
    return out


def scores(text: str) -> list[tuple[str, float]]:
    """(cause or ``healthy``, score) for a text in lower case, the likeliest first; empty without a known word."""
    rarity, causes = _model()
    known = {word: rarity[word] for word in tokens(text[-MOST_TEXT:]) if word in rarity}
    length = math.sqrt(sum(value * value for value in known.values()))
    if not length:
        return []
    out = [
        (code, bias + sum(weights[word] * value for word, value in known.items() if word in weights) / length)
        for code, (bias, weights) in causes.items()
    ]
    return sorted(out, key=lambda item: -item[1])


def likely(text: str, least: float) -> list[str]:
    """Causes worth naming, the likeliest first; none where the text reads most like one about no such fault."""
    ranked = scores(text)
    if not ranked or ranked[0][0] == HEALTHY:
        return []
    return [code for code, score in ranked if code != HEALTHY and score > least]


def reads_sound(text: str) -> bool:
    """``text`` (lower case) reads most like one about no fault of the installation."""
    return scores(text)[:1] != [] and scores(text)[0][0] == HEALTHY
