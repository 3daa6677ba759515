"""What a rendering says about itself."""

from __future__ import annotations

from ..record import dataclass


@dataclass(frozen=True, kw_only=True)
class Meta:
    """Versions and the command that made a plan. No time: the same plan gives the same bytes."""

    envcheck_version: str
    matrix_version: str
    command: str = "envcheck plan"
