"""What one parser found: partial values, and which lines it read. ``merge.py`` puts the parts together."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...model import Found
from .lines import Lines

# A line inside a table that says that something is wrong still is a symptom.
_TROUBLE = re.compile(
    r"err!|error|fail|corrupt|lost|unlicensed|unable|unknown err|cannot|could not load|mismatch|requires? reset"
    r"|warning|not compatible|no devices|has fallen|denied|blocked|e\. ?process|e\. ?thread|prohibited",
    re.IGNORECASE,
)


@dataclass
class GpuRow:
    """``fields`` are those of ``model.Gpu``; ``details`` go to ``facts["gpu"]``. ``index`` None: position counts."""

    index: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Part:
    """``os``, ``driver``, ``python`` and ``torch`` hold fields of those dataclasses, as far as this kind tells them."""

    kind: str
    taken: set[int] = field(default_factory=set)  # positions in Lines, not line numbers
    kept: set[int] = field(default_factory=set)  # taken, and a symptom none the less
    os: dict[str, Any] = field(default_factory=dict)
    driver: dict[str, Any] = field(default_factory=dict)
    python: dict[str, Any] = field(default_factory=dict)
    torch: dict[str, Any] = field(default_factory=dict)
    gpus: list[GpuRow] = field(default_factory=list)
    toolkits: list[Found] = field(default_factory=list)
    cudnn: list[Found] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def take(self, position: int, text: str) -> None:
        """This line was read; it stays a symptom if it speaks of trouble."""
        self.taken.add(position)
        if _TROUBLE.search(text):
            self.kept.add(position)


Parser = Callable[[Lines], "Part | None"]
