"""What a fleet compares and detection has no need of: VBIOS, clocks and link of each card, as nvidia-smi says it.

::

    GPU-5f3b..., 00000000:3B:00.0, 96.00.89.00.01, 16, 16, 4, 4, 1980, 2619, 700.00
"""

from __future__ import annotations

from collections.abc import Mapping

from ..host import Host

FIELDS = (
    "uuid",
    "pci.bus_id",
    "vbios_version",
    "pcie.link.width.current",
    "pcie.link.width.max",
    "pcie.link.gen.current",
    "pcie.link.gen.max",
    "clocks.max.sm",
    "clocks.max.memory",
    "power.limit",
)
DEADLINE = 10.0  # seconds
ABSENT = ("[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "")


def take(host: Host) -> tuple[Mapping[str, str], ...]:
    """One mapping a GPU. Empty where nvidia-smi is not there or does not answer: a fleet then lacks these columns."""
    argv = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    done = host.run(argv, DEADLINE)
    return parse(done.stdout) if done.rc == 0 else ()


def parse(text: str) -> tuple[Mapping[str, str], ...]:
    """Lines of another number of fields are left out; a value that the card has not is left out of its row."""
    rows = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) == len(FIELDS):
            rows.append({k: v[:80] for k, v in zip(FIELDS, values, strict=True) if v not in ABSENT})
    return tuple(rows)
