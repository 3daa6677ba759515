"""Where a plain word stands in a long text: each different word of the text is searched once, not the text."""

from __future__ import annotations

import bisect
import functools
import itertools
import re

MOST = 24  # places of a word that are told: the first and the last, as errors come last
_WORD = re.compile(r"\S+")


class Words:
    """An index of ``text``, which is in lower case. A log says a few thousand words over and over."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[str, tuple[int, ...]] = {}

    @functools.cached_property
    def _index(self) -> tuple[str, list[int], list[list[int]]]:
        """The different words on a line each, where each line begins, and where each word stands in the text."""
        places: dict[str, list[int]] = {}
        for word in _WORD.finditer(self._text):
            places.setdefault(word[0], []).append(word.start())
        starts = [0, *itertools.accumulate(len(word) + 1 for word in places)]
        return "\n".join(places), starts, [_ends(at) for at in places.values()]

    def places(self, part: str) -> tuple[int, ...]:
        """Offsets of ``part``, a word or a part of one, in order: the first and the last of more than ``MOST``."""
        found = self._found.get(part)
        if found is None:
            found = self._found[part] = tuple(_ends(sorted(self._all(part))))
        return found

    def _all(self, part: str) -> list[int]:
        if not _WORD.fullmatch(part):
            return [hit.start() for hit in re.finditer(re.escape(part), self._text)]
        words, starts, places = self._index
        out: list[int] = []
        at = words.find(part)
        while at >= 0:
            word = bisect.bisect_right(starts, at) - 1
            out.extend(place + at - starts[word] for place in places[word])
            at = words.find(part, at + len(part))
        return out


def _ends(places: list[int]) -> list[int]:
    return places if len(places) <= MOST else places[: MOST // 2] + places[-MOST // 2 :]
