"""The symptom table: error texts of the software itself -> codes. The table is data, ``symptoms.json``.

A row: ``code``; ``pattern`` (regular expression, matched without regard to case; one space matches any short run of
white space, so that wrapped messages count); ``kind`` (decisive, strong, supporting, weak); ``needs`` (flags of the
``View``, ``!`` negates); ``with`` (patterns that must stand somewhere too); ``unless`` (patterns that must not);
``source`` and ``date``; ``seen`` (an alternative of the pattern was read in that source; false where it was not opened
or says it in other words).

A row's regular expression is compiled only when the longest plain word of the pattern occurs in the text: most
reports compile a handful of them, which keeps the start fast, and a megabyte is searched with ``str.find``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .base import DECISIVE, STRONG, SUPPORTING, WEAK, Proof
from .patterns import alternatives, anchors, compiled, compiled_lower, required
from .words import Words

KINDS = {"decisive": DECISIVE, "strong": STRONG, "supporting": SUPPORTING, "weak": WEAK}
MAX_TEXT = 400_000  # characters that are searched: the head and the tail of anything longer
MAX_LINE = 2_000
MAX_HITS = 12  # of one row
MAX_PLACES = 48  # of the plain words of one alternative
BEFORE, AFTER, FAR = 240, 400, 5_000  # characters around the word; FAR where a pattern spans lines on purpose
ERROR_LINE = re.compile(r"^\s*(?:[\w.]+(?:Error|Exception|Failed|Missing)\b|E\s{2,}\w|fatal|error\b|ERROR\b|raise \w)")
# nvidia-smi -q and its like: what a field is called is no news where its value says that there is nothing of it
NOTHING = re.compile(
    r"\s*[\w .()/-]{3,70}?\s*(:)\s*(?:No|N/A|0(?: [\w()%]{1,8})?|None|Not Active|Disabled)\s*", re.IGNORECASE
)
WARNING_LINE = re.compile(r"\bwarn(?:ing|ings)?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    code: str
    pattern: str
    kind: str
    source: str
    date: str
    seen: bool = False
    needs: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    @functools.cached_property
    def parts(self) -> tuple[str, ...]:
        """The alternatives: each is searched alone, and only near its plain words."""
        return tuple(alternatives(self.pattern))


@functools.cache
def loaded() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name("symptoms.json").read_text(encoding="utf-8"))
    return data


def flags() -> dict[str, str]:
    """Name of a flag -> the pattern of words that stand for it where no fact tells."""
    return dict(loaded()["flags"])


@functools.cache
def table() -> tuple[Row, ...]:
    return tuple(
        Row(
            code=row["code"],
            pattern=row["pattern"],
            kind=row["kind"],
            source=row["source"],
            date=row["date"],
            seen=row["seen"],
            needs=tuple(row.get("needs", ())),
            also=tuple(row.get("with", ())),
            unless=tuple(row.get("unless", ())),
        )
        for row in loaded()["rows"]
    )


@dataclass(frozen=True)
class Text:
    """The lines of a report joined for searching, with the way back to their numbers."""

    text: str
    starts: tuple[int, ...]  # offset of each line
    numbers: tuple[int | None, ...]  # its number in the report

    @functools.cached_property
    def lower(self) -> str:
        return self.text.lower()

    def has(self, pattern: str) -> bool:
        return any(True for part in alternatives(pattern) for _ in self.spans(part))

    def find(self, pattern: str) -> re.Match[str] | None:
        """The first match of the first alternative that occurs."""
        for part in alternatives(pattern):
            hit = next(self.matches(part), None)
            if hit is not None:
                return hit
        return None

    @functools.cached_property
    def words(self) -> Words:
        return Words(self.lower)

    def matches(self, part: str) -> Iterator[re.Match[str]]:
        """Matches of one alternative, with its groups as they were written."""
        return self._matches(part, self.text, compiled)

    def spans(self, part: str) -> Iterator[tuple[int, int]]:
        """Where one alternative matches: faster than ``matches``, as an expression without ``IGNORECASE`` is."""
        same = len(self.lower) == len(self.text)  # a few letters (the dotted capital I) become two in lower case
        hits = self._matches(part, self.lower, compiled_lower) if same else self.matches(part)
        return (hit.span() for hit in hits)

    def _matches(self, part: str, text: str, compile_: Callable[[str], re.Pattern[str]]) -> Iterator[re.Match[str]]:
        """Only the lines around the plain words of ``part`` are searched, and only where all of these stand there."""
        words = anchors(part)
        if not words:
            yield from compile_(part).finditer(text)
            return
        others = [choice for choice in required(part) if choice != words] if len(text) == len(self.lower) else []
        done, after = 0, FAR if r"[\s\S]" in part else AFTER
        for at in sorted(place for word in words for place in self.words.places(word))[:MAX_PLACES]:
            if at < done:
                continue
            begin = max(text.rfind("\n", 0, max(at - BEFORE, 0)) + 1, done)
            end = text.find("\n", at + after)
            end = len(text) if end < 0 else end
            if all(any(self.lower.find(word, begin, end) >= 0 for word in choice) for choice in others):
                for hit in compile_(part).finditer(text, begin, end):
                    yield hit
                    done = max(done, hit.end())

    def index(self, offset: int) -> int:
        """Which line holds this offset."""
        import bisect

        return bisect.bisect_right(self.starts, offset) - 1

    def line(self, index: int) -> str:
        end = self.starts[index + 1] - 1 if index + 1 < len(self.starts) else len(self.text)
        return self.text[self.starts[index] : end]

    @functools.cached_property
    def last_error(self) -> int:
        """Index of the last line that looks like the end of a traceback, -1 for none."""
        last = -1
        for i, start in enumerate(self.starts):
            if ERROR_LINE.match(self.text[start : start + 120]):
                last = i
        return last


def join(lines: list[tuple[str, int | None]]) -> Text:
    """Lines with their numbers -> searchable text, cut to ``MAX_LINE`` a line and ``MAX_TEXT`` in all.

    Of lines that are the same the first and the last stay: a log repeats itself.
    """
    last = {text: i for i, (text, _) in enumerate(lines)}
    if len(last) < len(lines):
        first: dict[str, int] = {}
        for i, (text, _) in enumerate(lines):
            first.setdefault(text, i)
        lines = [x for i, x in enumerate(lines) if i in (first[x[0]], last[x[0]])]
    size = sum(min(len(t), MAX_LINE) + 1 for t, _ in lines)
    if size > MAX_TEXT:
        lines = _ends(lines)
    parts, starts, numbers, offset = [], [], [], 0
    for line, number in lines:
        part = line[:MAX_LINE]
        parts.append(part)
        starts.append(offset)
        numbers.append(number)
        offset += len(part) + 1
    return Text("\n".join(parts), tuple(starts), tuple(numbers))


def _ends(lines: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    head, tail, room = [], [], MAX_TEXT // 2
    for line in lines:
        room -= min(len(line[0]), MAX_LINE) + 1
        if room < 0:
            break
        head.append(line)
    room = MAX_TEXT // 2
    for line in reversed(lines[len(head) :]):
        room -= min(len(line[0]), MAX_LINE) + 1
        if room < 0:
            break
        tail.append(line)
    return head + tail[::-1]


def match(text: Text, flag: Callable[[str], bool]) -> Mapping[str, list[Proof]]:
    """Every row that applies -> its proofs, strongest first within each code. ``flag`` answers ``needs``."""
    found: dict[str, list[Proof]] = {}
    if not text.text:
        return found
    for row in table():
        if not all(flag(n) for n in row.needs):
            continue
        hits = _hits(text, row)
        if not hits or not all(text.has(p) for p in row.also) or any(text.has(p) for p in row.unless):
            continue
        found.setdefault(row.code, []).extend(hits)
    return {code: sorted(proofs, key=lambda p: -p.strength) for code, proofs in found.items()}


def _hits(text: Text, row: Row) -> list[Proof]:
    base = KINDS[row.kind]
    out: list[Proof] = []
    for start, end in (span for part in row.parts for span in text.spans(part)):
        index = text.index(start)
        line = text.line(index)
        field = NOTHING.fullmatch(line)
        if field and end <= text.starts[index] + field.start(1):
            continue
        bonus = 0
        if index == text.last_error or text.index(max(end - 1, start)) == text.last_error:
            bonus = 4
        elif ERROR_LINE.match(line):
            bonus = 2
        elif WARNING_LINE.search(line) and row.kind != "decisive":
            bonus = -4
        out.append(Proof(text=line.strip()[:300], strength=base + bonus, line=text.numbers[index]))
        if len(out) >= MAX_HITS:
            break
    return out
