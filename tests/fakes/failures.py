"""At which of a script's commands a run is made to fail. Each place takes two runs of bash on a machine of its own."""

from __future__ import annotations

import os

SHARE = 3


def places(count: int, salt: int) -> list[int]:
    """Every third of ``count`` commands (from 1), other ones for another ``salt``; all with ENVCHECK_ALL_FAILURES=1."""
    every = range(1, count + 1)
    if os.environ.get("ENVCHECK_ALL_FAILURES"):
        return list(every)
    return [number for number in every if number % SHARE == salt % SHARE]


def spared(commands: list[str], salt: int) -> list[str]:
    """The commands that are not made to fail: what a world's ``failed`` starts with."""
    chosen = places(len(commands), salt)
    return [command for number, command in enumerate(commands, 1) if number not in chosen]
