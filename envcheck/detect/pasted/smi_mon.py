"""``nvidia-smi dmon`` and ``pmon``.

::

    # gpu   pwr gtemp mtemp    sm   mem   enc   dec  mclk  pclk
    # Idx     W     C     C     %     %     %     %   MHz   MHz
        0    26    65     -     6     0     0     0  4006  1404

    # gpu         pid   type     sm    mem    enc    dec    command
        0       26820      C      0      0      -      -    ollama
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import Part
from .values import number

MAX_ROWS = 500
_HEADER = re.compile(r"[ \t]*#[ \t]*((?:date[ \t]+time[ \t]+)?gpu(?:[ \t]{1,20}\w{1,12}){2,24})$", re.IGNORECASE)
_UNITS = re.compile(r"[ \t]*#[ \t]*(?:YYYYMMDD[ \t]+\S+[ \t]+)?Idx\b", re.IGNORECASE)
_VALUE = re.compile(r"(?:-|\d{1,10}(?:\.\d{1,3})?|[CGM+]{1,3})$")


def parse(lines: Lines) -> Part | None:
    if not lines.has("# gpu", "#gpu", "gpu "):
        return None
    part = Part("smi-mon")
    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    for position, line in lines:
        header = _HEADER.match(line.text)
        if header:
            columns = header.group(1).lower().split()
            part.take(position, "")
        elif columns and _UNITS.match(line.text):
            part.take(position, "")
        elif columns and (row := _row(columns, line.text)):
            part.take(position, "")
            rows.append(row)
    if not columns:
        return None
    name = "pmon" if any("pid" in row for row in rows) else "dmon"
    part.facts[name] = rows[:MAX_ROWS]
    return part


def _row(columns: list[str], text: str) -> dict[str, Any] | None:
    cells = text.split()
    if len(cells) < 3 or not cells[0].isdigit() or not all(_VALUE.match(cell) for cell in cells[1:4]):
        return None
    row: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        value = number(cell) if re.match(r"\d", cell) else None
        row[column] = int(value) if value is not None and value == int(value) else value
        if column in ("type", "command"):
            row[column] = cell
    return row
