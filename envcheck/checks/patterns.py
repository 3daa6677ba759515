"""Patterns of the symptom table: taken apart into alternatives and plain words, so that most are never compiled.

A megabyte is searched for a word with ``str.find`` a thousand times faster than for an expression.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-/:,'\"=<>!@#%&~;`")
SHORTEST = 3  # characters of a plain word


def _class_end(pattern: str, start: int) -> int:
    """Index of the ``]`` that closes the class which opens at ``start``."""
    i = start + 1
    i += pattern[i : i + 1] == "^"
    i += pattern[i : i + 1] == "]"
    while i < len(pattern) and pattern[i] != "]":
        i += 2 if pattern[i] == "\\" else 1
    return i


def _syntax(pattern: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """The characters that are syntax, with their places: none that is escaped or stands in a class."""
    i = start
    while i < len(pattern):
        char = pattern[i]
        if char == "\\":
            i += 1
        elif char == "[":
            i = _class_end(pattern, i)
        else:
            yield i, char
        i += 1


def alternatives(pattern: str) -> list[str]:
    """Split at the ``|`` of the top level."""
    out, depth, start = [], 0, 0
    for i, char in _syntax(pattern):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "|" and depth == 0:
            out.append(pattern[start:i])
            start = i + 1
    return [*out, pattern[start:]]


def anchors(pattern: str) -> tuple[str, ...]:
    """Plain lower-case words of which every match holds one; empty where none is sure.

    Of those that are ``required`` the longest, as it is the rarest.
    """
    return max(required(pattern), key=lambda c: (min(map(len, c)), -len(c)), default=())


@functools.cache
def required(pattern: str) -> tuple[tuple[str, ...], ...]:
    """Sets of plain lower-case words: every match holds at least one word of each set.

    A run of plain characters is such a word; so is a group that must occur, with one word for each of its branches.
    """
    choices: list[tuple[str, ...]] = []
    text, i, run = pattern.lower(), 0, ""
    while i < len(text):
        char = text[i]
        if char == "\\":
            follow = text[i + 1 : i + 2]
            if follow and not follow.isalnum():
                run += follow
            else:
                choices.append((run,))
                run = ""
            i += 2
            continue
        if char in PLAIN:
            run += char
            i += 1
            continue
        if char in "?*{":
            run = run[:-1]
        choices.append((run,))
        run = ""
        if char == "[":
            i = _class_end(text, i)
        elif char == "{":
            i = text.index("}", i)
        elif char == "(":
            end = _group_end(text, i)
            body = text[i + 1 : end]
            if text[end + 1 : end + 2] not in ("?", "*", "{") and not body.startswith(("?!", "?<", "?=")):
                branches = [anchors(x) for x in alternatives(body.removeprefix("?:"))]
                if all(branches):
                    choices.append(tuple(w for branch in branches for w in branch))
            i = end
        i += 1
    choices.append((run,))
    return tuple(c for c in choices if min(map(len, c)) >= SHORTEST)


def _group_end(pattern: str, start: int) -> int:
    """Index of the parenthesis that closes the group which opens at ``start``."""
    depth = 0
    for i, char in _syntax(pattern, start):
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return i
    return len(pattern) - 1


def spread(pattern: str) -> str:
    """One space becomes any short run of white space, also a line break; ``" ?"`` becomes optional white space."""
    out, i, inside = [], 0, False
    while i < len(pattern):
        char, follow = pattern[i], pattern[i + 1 : i + 2]
        if char == "\\":
            out.append(pattern[i : i + 2])
            i += 2
            continue
        if char == "[" and not inside:
            inside = True
        elif char == "]" and inside:
            inside = False
        if char == " " and not inside:
            if follow == "?":
                out.append(r"\s{0,12}")
                i += 2
                continue
            char = char if follow in ("{", "*", "+") else r"\s{1,12}"
        out.append(char)
        i += 1
    return "".join(out)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(spread(pattern), re.IGNORECASE | re.MULTILINE)


@functools.cache
def compiled_lower(pattern: str) -> re.Pattern[str]:
    """The same for a text in lower case: without ``IGNORECASE`` an expression finds its plain beginning far faster."""
    return re.compile(lowered(spread(pattern)), re.MULTILINE)


def lowered(pattern: str) -> str:
    """Lower case but for escapes: ``\\S`` is not ``\\s``."""
    return re.sub(r"(\\.)|([^\\]+)", lambda m: m[1] or m[2].lower(), pattern)
