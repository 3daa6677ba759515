"""Apple silicon or Intel, and whether the target Python runs translated. There is no CUDA to look for."""

from __future__ import annotations

from typing import Any

from ...host import Host
from ..python import Found

TIMEOUT = 2.0  # seconds


def gather(host: Host, found: Found | None) -> dict[str, Any]:
    """``macos``: ``apple_silicon`` (the chip, also where this process is translated), ``rosetta`` (the target's)."""
    result = host.run(["/usr/sbin/sysctl", "-n", "hw.optional.arm64"], TIMEOUT, label=("sysctl", "hw.optional.arm64"))
    silicon = parse_arm64(result.stdout) or host.platform.machine == "arm64"
    python = found.machine if found else None
    return {"macos": {"apple_silicon": silicon, "python_arch": python, "rosetta": silicon and python == "x86_64"}}


def parse_arm64(text: str) -> bool:
    """``sysctl -n hw.optional.arm64``: ``1`` on Apple silicon, under Rosetta too; an Intel Mac does not know it::

    1
    """
    return text.strip() == "1"
