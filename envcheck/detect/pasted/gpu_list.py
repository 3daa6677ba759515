"""``nvidia-smi -L``, and the ``GPU n: name`` lines that every collect_env prints.

::

    GPU 0: A100-SXM4-40GB (UUID: GPU-d41927f8-38c7-52e7-6fc8-1c628db3cdcb)
      MIG 3g.20gb Device 0: (UUID: MIG-GPU-d41927f8-38c7-52e7-6fc8-1c628db3cdcb/2/0)
    GPU models and configuration: GPU 0: NVIDIA GeForce RTX 3060 Ti
    GPU 0,1: NVIDIA GeForce RTX 3090                       (mmengine)
    GPU 0                   Tesla V100-SXM2-16GB (arch=7.0)  (detectron2)
"""

from __future__ import annotations

import re

from .lines import Lines
from .part import GpuRow, Part

_GPU = re.compile(
    r"(?:.{0,60}?\bconfiguration\s{0,20}:\s{0,4})?[-*\s]{0,12}"
    r"GPU (\d{1,3}(?:,\s?\d{1,3}){0,31})(?::[ \t]{0,4}|[ \t]{2,40})(\S.{1,80}?)"
    r"[ \t]*(?:\(UUID: (GPU-[0-9A-Fa-f-]{8,40})\)?.{0,8}|\((?:arch=|compute capability )(\d{1,2}\.\d).{0,40})?$"
)
_MIG = re.compile(
    r"[-*\s]{0,12}MIG (\S{2,24})[ \t]{1,20}Device[ \t]{1,6}(\d{1,3}):(?:[ \t]*\(UUID: (MIG-[^)\s]{8,80}))?"
)
_NO_NAME = re.compile(
    r"\d|.*(?:error|fail|temperature|utili[sz]ation|%|\bMiB\b|\bMB\b|memory|=|\bUUID\b|\bis\b|\bhas\b|lost"
    r"|compute cap)",
    re.IGNORECASE,
)


def parse(lines: Lines) -> Part | None:
    if "GPU " not in lines.text:
        return None
    part = Part("smi-L")
    rows: dict[int, GpuRow] = {}
    current: GpuRow | None = None
    for position, line in lines:
        text = line.text
        if "GPU " in text and (found := _GPU.match(text)) and not _NO_NAME.match(found.group(2)):
            indices, name, uuid, capability = found.groups()
            for index in map(int, indices.split(",")):
                current = rows.setdefault(index, GpuRow(index))
                current.fields.setdefault("name", name.strip())
                if uuid:
                    current.fields.setdefault("uuid", uuid)
                if capability:
                    current.fields.setdefault("compute_capability", capability)
            part.take(position, "")
        elif current and "MIG " in text and (mig := _MIG.match(text)):
            device = {"index": int(mig.group(2)), "profile": mig.group(1), "uuid": mig.group(3)}
            devices = current.details.setdefault("mig_devices", [])
            if device not in devices:
                devices.append(device)
            current.fields["mig"] = True
            current.details["mig_mode"] = "Enabled"
            part.take(position, "")
    part.gpus = [rows[index] for index in sorted(rows)]
    return part if rows else None
