"""``calibration.json``: what was measured and no formula gives, by software stack."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError

CALIBRATION = Path(__file__).with_name("calibration.json")


@functools.cache
def calibration() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return loaded


def stack(name: str) -> Mapping[str, Any]:
    """The calibration row of a software stack. ``UsageError`` for one that there is none of."""
    rows = {row["id"]: row for row in calibration()["stacks"]}
    if name not in rows:
        raise UsageError(f"there is no calibration for the stack {name!r}. Known: {', '.join(rows)}")
    found: Mapping[str, Any] = rows[name]
    return found
