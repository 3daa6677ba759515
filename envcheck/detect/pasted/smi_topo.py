"""``nvidia-smi topo -m``, tabs kept or turned into spaces.

::

        GPU0	GPU1	NIC0	CPU Affinity	NUMA Affinity	GPU NUMA ID
    GPU0	 X 	NV12	SYS	32-63,96-127	1		N/A
    GPU1	NV12	 X 	SYS	32-63,96-127	1		N/A
    NIC0	SYS	SYS	 X

    Legend:
      X    = Self
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import Part

_NAME = r"(?:GPU\d{1,3}|NIC\d{1,3}|mlx\d_\w{1,8}|\w{2,12}_bond_\d)"
_HEADER = re.compile(rf"[ \t]*({_NAME}(?:[ \t]{{1,20}}{_NAME}){{0,64}})(?:[ \t]{{1,20}}(?:CPU|NUMA|GPU NUMA)\b.*)?$")
_ROW = re.compile(
    rf"[ \t]*({_NAME})((?:[ \t]{{1,20}}(?:X|NV\d{{1,2}}|SYS|NODE|PHB|PXB|PIX|SOC|PSB|N/A)(?=[ \t]|$)){{1,64}})(.*)$"
)
_LEGEND = re.compile(
    r"[ \t]*(?:Legend:?|(?:X|SYS|SOC|NODE|PHB|PXB|PIX|PSB|NV#)[ \t]{0,6}= \S.*|NIC Legend:|NIC\d+: \S+)$"
)


def parse(lines: Lines) -> Part | None:
    if "GPU0" not in lines.text:
        return None
    part = Part("smi-topo")
    columns: list[str] = []
    facts: dict[str, Any] = {}
    for position, line in lines:
        text = line.text
        row = _ROW.match(text)
        if row and columns:
            part.take(position, "")
            _row(facts, columns, row)
        elif "GPU0" in text and (header := _HEADER.match(text)):
            columns = header.group(1).split()
            facts = {"gpus": [], "nics": [], "matrix": {}, "cpu_affinity": {}, "numa_affinity": {}}
            part.take(position, "")
        elif columns and _LEGEND.match(text):
            part.take(position, "")
    if not facts or not facts["matrix"]:
        return None
    facts["gpus"] = [name for name in columns if name.startswith("GPU")]
    facts["nics"] = [name for name in columns if not name.startswith("GPU")]
    part.facts["topology"] = facts
    return part


def _row(facts: dict[str, Any], columns: list[str], row: re.Match[str]) -> None:
    name, links, rest = row.group(1), row.group(2).split(), row.group(3).split()
    facts["matrix"][name] = dict(zip(columns, links, strict=False))
    if name.startswith("GPU") and rest and rest[0][:1].isdigit():
        facts["cpu_affinity"][name] = rest[0]
        facts["numa_affinity"][name] = rest[1] if len(rest) > 1 and rest[1].isdigit() else None
