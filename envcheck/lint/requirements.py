"""requirements.txt, and lists of requirements inside other files."""

from __future__ import annotations

import re
import shlex

from ..plan.line import Line
from .pip import TORCH, install_faults, wheel_tag
from .words import Fault, Target

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*)")
OPTIONS = {"-i": "index", "--index-url": "index", "--extra-index-url": "extra", "-f": "links", "--find-links": "links"}


def lint(text: str, target: Target) -> list[Fault]:
    return faults_of(list(enumerate(text.splitlines(), 1)), target)


def faults_of(lines: list[tuple[int, str]], target: Target) -> list[Fault]:
    """``lines``: (number in the file, text). Options hold for the whole list, as pip has it."""
    packages: dict[str, str] = {}
    numbers: dict[str, int] = {}
    said: dict[str, list[str]] = {"index": [], "extra": [], "links": []}
    for number, raw in lines:
        text = re.sub(r"(?:^|\s)#.*", "", raw).strip().rstrip("\\").strip()
        if not text:
            continue
        if text.startswith("-"):
            kind, value = _option(text)
            if kind:
                said[kind].append(value)
                numbers.setdefault(kind, number)
            continue
        if wheel_tag(text) and "://" in text.split()[0]:
            text = f"torch @ {text}"
        found = NAME.match(text.partition(";")[0])
        if found and (not found[2].startswith("@") or wheel_tag(found[2])):
            packages[found[1].lower()] = re.sub(r"\s--\S.*", "", found[2]).strip()
            numbers[found[1].lower()] = number
    line = Line(
        manager="pip",
        packages=packages,
        index_url=said["index"][-1] if said["index"] else None,
        extra_index_urls=tuple(said["extra"]),
        find_links=tuple(said["links"]),
    )
    at = next((numbers[name] for name in TORCH if name in numbers), 1)
    return list(install_faults(line, at, target))


def _option(text: str) -> tuple[str | None, str]:
    try:
        words = shlex.split(text.replace("=", " ", 1))
    except ValueError:
        return None, ""
    return (OPTIONS.get(words[0]), words[1]) if len(words) > 1 else (None, "")
