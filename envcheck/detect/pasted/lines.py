"""A pasted report as clean, numbered lines.

What people do to a report on the way, undone here once so that no parser has to: terminal escapes, control and
bidirectional characters, ``\\r\\n``, a report inside a JSON string, quote marks, code fences, HTML tags, time stamps
of CI logs, ``service-1  |`` of docker compose, box-drawing characters, no-break spaces and full-width colons.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_LINE = 16_000  # characters of a line that are read; a row of the fullest CSV query has about 6,000
MAX_TEXT = 2_000  # characters of a line that patterns (and symptoms) see
MAX_LINES_HEAD = 30_000
MAX_LINES_TAIL = 10_000
MAX_ESCAPED = 2_000_000  # characters of one line in which literal "\n" are looked for

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\-_])?|\x9b[0-?]*[ -/]*[@-~]?")
# two expressions, as one that may begin with either is ten times slower
_ANSI_WITHOUT_ESCAPE = [re.compile(start + r"\[\d{1,3}(?:;\d{1,3}){0,6}[mK]") for start in (r"\^\[", "")]
# C0 and C1 but tab, newline, return; soft hyphen, zero-width and bidirectional marks, BOM, lone surrogates
_DELETED = dict.fromkeys([
    *range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0), 0xAD, *range(0x200B, 0x2010), 0x061C,
    *range(0x2028, 0x202F), *range(0x2060, 0x206A), 0xFEFF, *range(0xD800, 0xE000),
])  # fmt: skip
_REPLACED = {
    **dict.fromkeys((0xA0, 0x2002, 0x2003, 0x2007, 0x2009, 0x202F, 0x3000), " "),
    **dict.fromkeys(map(ord, "│┃║╎╏┆┇┊┋"), "|"),
    **dict.fromkeys(map(ord, "─━╌╍┄┅┈┉"), "-"),
    ord("═"): "=",
    **dict.fromkeys([*range(0x250C, 0x254C), *range(0x2552, 0x256D)], "+"),
    ord("："): ":",
    ord("，"): ",",
    ord("（"): "(",
    ord("）"): ")",
}
_CLEANED = {chr(code): to or "" for code, to in {**_DELETED, **_REPLACED}.items()}
_UNCLEAN = re.compile("[" + re.escape("".join(_CLEANED)) + "]+")
# Chinese, Japanese and Korean run into Latin words without a space, so that no pattern would see where these begin
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_MIXED = re.compile(rf"(?<=[{_IDEOGRAPH}])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[{_IDEOGRAPH}])")
_WORD = re.compile(r"[^\s,;:()\"'\u3001\u3002\u201c\u201d]{2,400}")  # of a sentence; one with a slash may be a path
_TAGS = re.compile(r"</?(?:pre|code|details|summary|br|p|tt|samp)\s{0,3}/?>", re.IGNORECASE)
_QUOTE = re.compile(r"(?:[ \t]{0,3}>(?!>))+ ?|[ \t]{0,3}>>(?!>)[ \t]?")
_STAMP = re.compile(
    r"\[?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?[ \t]"
    r"|\[\d\d:\d\d:\d\d\][ \t]"
)
_SERVICE = re.compile(r"([A-Za-z0-9][\w.-]{0,40})[ \t]{1,20}\|[ \t]?")
_BETWEEN_TAGS = re.compile(r">[ \t]{0,80}<(?=[a-z]|/[a-z_]{1,40}>[ \t]{0,80}<)")
_BEFORE_KEY = re.compile(
    r" (?=(?:PyTorch version|Is debug build|CUDA used to build PyTorch|ROCM used to build PyTorch|OS|GCC version"
    r"|Clang version|CMake version|Libc version|Python version|Python platform|Is CUDA available|CUDA runtime version"
    r"|CUDA_MODULE_LOADING set to|GPU models and configuration|Nvidia driver version|cuDNN version|HIP runtime version"
    r"|MIOpen runtime version|Is XNNPACK available|CPU|Versions of relevant libraries): )"
    r"| (?=\[(?:pip3?|conda)\] )| (?=GPU \d{1,3}: )"
)
_FENCE = re.compile(r"[ \t]*(?:```|~~~)[\w.+-]{0,20}[ \t]*$")


class Line(NamedTuple):
    """``number`` counts from 1 in the text as it was pasted. ``text`` is what patterns see, ``full`` the whole."""

    number: int
    text: str
    full: str


@dataclass(frozen=True)
class Lines:
    """The report. ``text`` is all of it, cleaned, for cheap tests before a parser looks closer."""

    lines: tuple[Line, ...]
    text: str
    dropped: int = 0  # lines in the middle of a huge report that were not read
    lower: str = field(default="", repr=False)

    def __iter__(self) -> Iterator[tuple[int, Line]]:
        return iter(enumerate(self.lines))

    def __len__(self) -> int:
        return len(self.lines)

    @functools.cached_property
    def _starts(self) -> list[int]:
        """Where each line begins in ``lower``; empty where lower case has another length than the line."""
        return _starts([line.full for line in self.lines]) if len(self.lower) == len(self.text) else []

    def holding(self, words: Iterable[str]) -> AbstractSet[int]:
        """Positions of the lines that hold one of ``words`` (lower case)."""
        return (
            _holding(self.lower, self._starts, words) if self._starts else holding([x.full for x in self.lines], words)
        )

    def at(self, *words: str) -> Iterator[tuple[int, Line]]:
        """The lines that hold one of ``words`` (lower case), in order, with their positions."""
        return ((position, self.lines[position]) for position in sorted(self.holding(words)))

    def has(self, *words: str) -> bool:
        """Does any of ``words`` (lower case) stand anywhere in the report?"""
        return any(word in self.lower for word in words)


def holding(texts: Sequence[str], words: Iterable[str]) -> AbstractSet[int]:
    """Positions of the ``texts`` that hold one of ``words`` (lower case)."""
    lower = [text.lower() for text in texts]
    return _holding("\n".join(lower), _starts(lower), words)


def _starts(texts: Iterable[str]) -> list[int]:
    return [0, *itertools.accumulate(len(text) + 1 for text in texts)]


def _holding(lower: str, starts: Sequence[int], words: Iterable[str]) -> AbstractSet[int]:
    """The whole is searched for each word, which is far faster than to look at each line."""
    positions: set[int] = set()
    for word in words:
        at = lower.find(word)
        while at >= 0:
            line = bisect.bisect_right(starts, at) - 1
            positions.add(line)
            at = lower.find(word, starts[line + 1])
    return positions


def read(text: str) -> Lines:
    """Clean ``text`` and number its lines. Never raises, whatever the text."""
    numbered, dropped = _split(text)
    cleaned = _clean("\n".join(piece for _, piece in numbered)).split("\n")
    services = _services(cleaned)
    lines = []
    for (number, _), piece in zip(numbered, cleaned, strict=True):
        piece = _unprefix(piece, services)
        lines.append(Line(number=number, text=piece[:MAX_TEXT], full=piece))
    whole = "\n".join(line.full for line in lines)
    return Lines(lines=tuple(lines), text=whole, dropped=dropped, lower=whole.lower())


def _split(text: str) -> tuple[list[tuple[int, str]], int]:
    pieces: list[tuple[int, str]] = []
    raw = text.split("\n")
    numbers: Sequence[int] = range(len(raw))
    dropped = max(0, len(raw) - MAX_LINES_HEAD - MAX_LINES_TAIL)
    if dropped:
        numbers = [*range(MAX_LINES_HEAD), *range(len(raw) - MAX_LINES_TAIL, len(raw))]
    for index in numbers:
        line = raw[index]
        if "\\n" in line and _escaped(line):
            parts = (
                line[:MAX_ESCAPED]
                .strip()
                .strip("\"'")
                .replace("\\r", "")
                .replace("\\t", "\t")
                .replace('\\"', '"')
                .split("\\n")
            )
        elif len(line) > 400 and (split := _collapsed(line)):
            parts = split
        elif "\r" in line:
            parts = [part for part in line[: MAX_LINE * 4].split("\r") if part] or [""]
        else:
            if len(pieces) < MAX_LINES_HEAD + MAX_LINES_TAIL:
                pieces.append((index + 1, line[:MAX_LINE]))
            continue
        room = MAX_LINES_HEAD + MAX_LINES_TAIL - len(pieces)
        pieces.extend((index + 1, part[:MAX_LINE]) for part in parts[: max(room, 0)])
    return pieces, dropped


def _escaped(line: str) -> bool:
    """Is this a text inside a JSON or Python string? ``C:\\new`` has one too, so a few need a quote in front."""
    return line.count("\\n", 0, MAX_ESCAPED) > (0 if line.lstrip()[:1] in "\"'{[" else 4)


def _collapsed(line: str) -> list[str] | None:
    """XML or a collect_env whose line breaks were lost, broken again where a tag or a key begins."""
    if "</" in line and "<gpu" in line:
        return _BETWEEN_TAGS.sub(">\n<", line[:MAX_ESCAPED]).split("\n")
    if "PyTorch version:" in line and "Is CUDA available:" in line:
        return _BEFORE_KEY.sub("\n", line[:MAX_ESCAPED]).split("\n")
    return None


def _clean(text: str) -> str:
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    text = _UNCLEAN.sub(lambda found: "".join(map(_CLEANED.__getitem__, found[0])), text)
    for escape in _ANSI_WITHOUT_ESCAPE:
        text = escape.sub("", text)
    if "&lt;" in text or "&gt;" in text or "&nbsp;" in text:
        for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", " "), ("&quot;", '"'), ("&amp;", "&")):
            text = text.replace(entity, char)
    if not text.isascii() and _MIXED.search(text):
        lines = text.split("\n")
        text = "\n".join(line if line.isascii() else _WORD.sub(_apart, line) for line in lines)
    return _TAGS.sub("", text) if "<" in text else text


def _apart(word: re.Match[str]) -> str:
    found = word.group()
    return found if found.isascii() or "/" in found or "\\" in found else _MIXED.sub(" ", found)


def _services(lines: list[str]) -> frozenset[str]:
    """Names before ``|`` on many lines: docker compose's prefixes (``vllm-1``), not the first column of a table."""
    seen = Counter(m.group(1) for line in lines if "|" in line and (m := _SERVICE.match(line)))
    numbered = re.compile(r"[A-Za-z][\w.-]*[-_]\d{1,3}$")
    return frozenset(
        name
        for name, count in seen.items()
        if count > 1 and (numbered.match(name) or (count > 4 and count * 2 > len(lines) and name.isidentifier()))
    )


def _unprefix(line: str, services: frozenset[str]) -> str:
    if ">" in line[:8] and (quote := _QUOTE.match(line)):
        line = line[quote.end() :]
    if services and (service := _SERVICE.match(line)) and service.group(1) in services:
        line = line[service.end() :]
    if line[:1] in "[12" and (stamp := _STAMP.match(line)):
        line = line[stamp.end() :]
    return "" if ("```" in line or "~~~" in line) and _FENCE.match(line) else line.rstrip()
