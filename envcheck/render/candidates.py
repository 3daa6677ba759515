"""``plan --all``: every candidate build with its verdict, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("torch", "variant", "verdict", "why")


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        json.dumps({"schema": "envcheck.candidates/1", "candidates": list(rows)}, indent=2, ensure_ascii=False) + "\n"
    )


def as_table(rows: Sequence[Mapping[str, Any]], width: int = 100) -> str:
    """Plain aligned columns, best first; the last column is cut at ``width`` columns."""
    cells = [COLUMNS]
    for row in rows:
        flags = [] if row["verified"] else ["unverified"]
        flags += [row["channel"]] if row["channel"] == "unlisted" else []
        why = row["because"] or f"{row['code']}, {', '.join(dict.fromkeys(row['how'])) or 'no GPU'}"
        if flags:
            why += f" ({', '.join(flags)})"
        cells.append((row["torch"], row["tag"], row["verdict"], why))
    sizes = [max(len(str(line[i])) for line in cells) for i in range(3)]
    out = []
    for line in cells:
        text = "  ".join([*(str(c).ljust(s) for c, s in zip(line, sizes, strict=False)), str(line[3])])
        out.append((text if len(text) <= width else text[: max(width - 3, 20)] + "...").rstrip())
    return "\n".join(out) + "\n"
