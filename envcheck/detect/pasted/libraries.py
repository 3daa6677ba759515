"""Which libraries the loader finds: ``ldconfig -p``, ``ldd``, ``/proc/PID/maps``; device nodes and /dev/shm too.

::

        libcuda.so.1 (libc6,x86-64) => /usr/local/cuda-13.0/compat/libcuda.so.1
        libcudart.so.12 => /usr/local/cuda/lib64/libcudart.so.12 (0x00007f...)      (ldd; "not found" too)
    7f2c...-7f2c... r-xp 00000000 08:01 1234  /usr/lib/x86_64-linux-gnu/libcuda.so.535.129.03
    crw-rw-rw- 1 root root 195,   0 Oct  6 17:59 /dev/nvidia0
    shm              64M     0   64M   0% /dev/shm
"""

from __future__ import annotations

import re
from typing import Any

from ...model import Found
from ..os import normal_arch
from .lines import Lines
from .part import Part
from .values import mib

MAX_ENTRIES = 1000
_ARCH = re.compile(r"\b(x86-64|AArch64|aarch64|x86_64)\b")
_OURS = re.compile(r"lib(?:cu|nv|nccl|caffe2|torch|c10|stdc|gomp|curand|nvidia)")
_LDCONFIG = re.compile(r"[ \t]*(lib[\w+.-]{2,60}) \(([^)]{3,60})\) => (\S{2,300})[ \t]*$")
_LDD = re.compile(r"[ \t]*(lib[\w+.-]{2,60}) => (not found|\S{2,300})(?: \(0x[0-9a-f]{4,16}\))?[ \t]*$")
_MAPS = re.compile(
    r"[ \t]*[0-9a-f]{6,16}-[0-9a-f]{6,16} [rwxps-]{4} [0-9a-f]{8} \S{4,8} \d{1,20}[ \t]{1,60}(/\S{4,300})$"
)
_NODE = re.compile(
    r"[ \t]*(c[rwxsStT-]{9})[+.@]?[ \t]{1,8}\d{1,4}[ \t]{1,8}(\S{1,32})[ \t]{1,8}(\S{1,32})[ \t]{1,8}"
    r"(\d{1,4}, {0,8}\d{1,6}) .{4,40}?(/?\S{0,40}(?:nvidia|dxg|renderD|card)\S{0,24})$"
)
_NODE_SHORT = re.compile(r"(c[rwxsStT-]{9})[+.@]? \d{1,4} (\S{1,32}) (\S{1,32}) (195, {0,6}\d{1,4})\b")
_SHM = re.compile(
    r"[ \t]*(?:shm|tmpfs|none|/dev/shm)[ \t]{1,40}(\d{1,12}"
    r"(?:\.\d{1,3})?[KMGT]?)[ \t]{1,20}\S{1,14}[ \t]{1,20}\S{1,14}[ \t]{1,20}\d{1,3}%[ \t]{1,20}/dev/shm$"
)
_LIBCUDNN = re.compile(r"libcudnn\.so\.(\d{1,2}(?:\.\d{1,3}){1,3})$")
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


def parse(lines: Lines) -> Part | None:
    if not lines.has("=>", "crw", "/dev/shm", " r-xp ", " r--p "):
        return None
    part = Part("libraries")
    libraries: list[dict[str, Any]] = []
    nodes: list[dict[str, str]] = []
    for position, line in lines:
        text = line.text
        entry = _library(text)
        if entry:
            if entry["from"] == "ldconfig" or "-linux-gnu/" in text:
                part.os.setdefault("platform", "linux")
                if arch := _ARCH.search(text):
                    part.os.setdefault("arch", normal_arch(arch.group(1)))
            if len(libraries) < MAX_ENTRIES and _OURS.match(entry["name"]):
                libraries.append(entry)
                _cudnn(part, entry)
            part.taken.add(position)
            if entry["path"] is None:
                part.kept.add(position)
        elif "crw" in text and (node := _NODE.match(text) or _NODE_SHORT.search(text)):
            keys = ("mode", "owner", "group", "device", "path")
            nodes.append(dict(zip(keys, node.groups(), strict=False)))
        elif "/dev/shm" in text and (shm := _SHM.match(text)):
            part.facts["shm"] = {"size_mib": _size(shm.group(1))}
            part.take(position, "")
    if libraries:
        part.facts["loaded_libraries"] = libraries
    if nodes:
        part.facts["device_nodes"] = nodes[:100]
    return part if part.facts or part.taken else None


def _library(text: str) -> dict[str, Any] | None:
    if "=>" in text:
        if found := _LDCONFIG.match(text):
            return {"name": found.group(1), "path": found.group(3), "from": "ldconfig"}
        if ldd := _LDD.match(text):
            path = None if ldd.group(2) == "not found" else ldd.group(2)
            return {"name": ldd.group(1), "path": path, "from": "ldd"}
    elif maps := _MAPS.match(text):
        path = maps.group(1)
        return {"name": path.rpartition("/")[2], "path": path, "from": "maps"}
    return None


def _cudnn(part: Part, entry: dict[str, Any]) -> None:
    found = _LIBCUDNN.search(entry["path"] or "")
    if found and entry["from"] != "maps":
        part.cudnn.append(Found(version=found.group(1), path=entry["path"]))


def _size(text: str) -> int | None:
    """df's sizes: ``64M``, ``32G``, or 1K blocks."""
    unit = text[-1]
    if unit in _UNITS:
        return round(float(text[:-1]) * _UNITS[unit])
    return mib(f"{float(text) / 1024:.0f}")
