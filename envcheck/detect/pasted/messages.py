"""Error messages that carry facts in numbers, each as the program words it.

::

    NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.
    The current PyTorch install supports CUDA capabilities sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90.
    The NVIDIA driver on your system is too old (found version 11040).
    Your Tesla T4 GPU has compute capability 7.5.
    CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.69 GiB of which 1.50 GiB is free.
    The detected CUDA version (12.1) mismatches the version that was used to compile PyTorch (11.7).
    cuDNN version incompatibility: PyTorch was compiled against (8, 7, 0) but found runtime version (8, 6, 0).
    ... name: NVIDIA GeForce RTX 3090, pci bus id: 0000:01:00.0, compute capability: 8.6        (TensorFlow)
      File "/home/user/.venv/lib/python3.10/site-packages/torch/__init__.py", line 1382, in <module>
"""

from __future__ import annotations

import re
from typing import Any

from ...model import Found
from .lines import Lines
from .part import GpuRow, Part
from .values import bus_id, cuda_number

_TOO_NEW = re.compile(
    r"(?:^|[\s'\"])((?:NVIDIA |GeForce |Tesla |Quadro |TITAN |GRID )?[A-Z][\w +.-]{1,60}?) with CUDA capability sm_"
    r"(\d{2,3})([af]?) is not compatible"
)
_FOUND_GPU = re.compile(
    r"Found GPU(\d{1,2}) (.{3,60}?) which is of (?:cuda capability|compute capability \(CC\)) (\d{1,2}\.\d)"
)
_SUPPORTS = re.compile(r"supports CUDA capabilities ((?:(?:sm|compute)_\d{2,3}[af]?[ ,]{0,2}){1,24})")
_TOO_OLD = re.compile(r"too old \(found version (\d{4,5})\)")
_YOUR_GPU = re.compile(r"Your (.{3,60}?) GPU has compute capability (\d{1,2}\.\d)")
_TENSORFLOW = re.compile(r"name: (.{3,60}?), pci bus id: ([0-9a-fA-F:.]{7,16}), compute capability: (\d{1,2}\.\d)")
_OOM = re.compile(r"Tried to allocate (\d{1,6}(?:\.\d{1,3})?) ([KMG]iB)")
_OOM_TOTAL = re.compile(
    r"GPU (\d{1,2})(?: has a total capaci?ty of|; ) ?(\d{1,6}(?:\.\d{1,3})?) ([KMG]iB)(?: total capacity)?"
)
_OOM_FREE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ([KMG]iB) (?:is )?free")
_DETECTED = re.compile(r"detected CUDA version \((\d{1,2}\.\d{1,2})\)")
_COMPILED = re.compile(r"(?:compile\s{0,2}|^)\s{0,4}PyTorch \((\d{1,2}\.\d{1,2})\)")
_CUDNN = re.compile(
    r"compiled\s{1,3}against \((\d{1,2}), (\d{1,2}), (\d{1,2})\) but (?:found runtime version|linked against) \("
    r"(\d{1,2}), (\d{1,2}), (\d{1,2})\)"
)
_SITE = re.compile(
    r"(?<![\w.~/-])((?:[\w.~+-]{0,60}/){1,16}?)(?:lib(?:64)?/)?python(\d\.\d{1,2})/(?:site|dist)-packages"
)
_SITE_WINDOWS = re.compile(r"([A-Za-z]:\\[^\"*?<>|]{0,200}?)\\[Ll]ib\\site-packages")
_PYTHON_BANNER = re.compile(r"[ \t]*Python (\d\.\d{1,2}\.\d{1,3}\S{0,6}) (?:\(|\|)")
_PYTHON_ANSWER = re.compile(r"[ \t]*Python (\d\.\d{1,2}\.\d{1,3})[ \t]*$")
_CPXY = re.compile(r"cpython-(\d)(\d{1,2})-(x86_64|aarch64)-linux-gnu")
_MIB = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


def parse(lines: Lines) -> Part | None:
    part = Part("messages")
    for _, line in lines:
        text = line.text
        if len(text) < 10:
            continue
        if "capabilit" in text:
            _capabilities(part, text)
        if "found version" in text and (old := _TOO_OLD.search(text)):
            part.driver["cuda"] = cuda_number(int(old.group(1)))
        if "allocate" in text or "total capac" in text:
            _memory(part, text)
        if "ersion" in text or "PyTorch (" in text:
            _versions(part, text)
        if "ython" in text or "ite-packages" in text:
            _python(part, text)
    found = part.driver or part.torch or part.python or part.os or part.gpus or part.facts or part.toolkits
    return part if found else None


def _capabilities(part: Part, text: str) -> None:
    if new := _TOO_NEW.search(text):
        number = new.group(2)
        _gpu(part, new.group(1), f"{number[:-1]}.{number[-1]}")
    if old := _FOUND_GPU.search(text):
        _gpu(part, old.group(2), old.group(3), int(old.group(1)))
    if supports := _SUPPORTS.search(text):
        part.torch["archs"] = tuple(supports.group(1).replace(",", " ").split())
    if yours := _YOUR_GPU.search(text):
        _gpu(part, yours.group(1), yours.group(2))
    if tensorflow := _TENSORFLOW.search(text):
        row = _gpu(part, tensorflow.group(1), tensorflow.group(3))
        row.fields["bus_id"] = bus_id(tensorflow.group(2))


def _gpu(part: Part, name: str, capability: str, index: int | None = None) -> GpuRow:
    for row in part.gpus:
        if row.fields["name"] == name and (index is None or row.index == index):
            return row
    row = GpuRow(len(part.gpus) if index is None else index, {"name": name.strip(), "compute_capability": capability})
    part.gpus.append(row)
    return row


def _memory(part: Part, text: str) -> None:
    facts: dict[str, Any] = part.facts.setdefault("out_of_memory", {})
    if tried := _OOM.search(text):
        facts.setdefault("tried_mib", round(float(tried.group(1)) * _MIB[tried.group(2)]))
    if total := _OOM_TOTAL.search(text):
        facts.setdefault("gpu", int(total.group(1)))
        facts.setdefault("total_mib", round(float(total.group(2)) * _MIB[total.group(3)]))
    if free := _OOM_FREE.search(text):
        facts.setdefault("free_mib", round(float(free.group(1)) * _MIB[free.group(2)]))
    if not facts:
        del part.facts["out_of_memory"]


def _versions(part: Part, text: str) -> None:
    if detected := _DETECTED.search(text):
        part.toolkits.append(Found(version=detected.group(1)))
        part.facts["cuda_home_mismatch"] = {"toolkit": detected.group(1)}
    if "cuda_home_mismatch" in part.facts and (compiled := _COMPILED.search(text)):
        part.torch["cuda"] = compiled.group(1)
        part.facts["cuda_home_mismatch"]["torch"] = compiled.group(1)
    if cudnn := _CUDNN.search(text):
        numbers = cudnn.groups()
        part.facts["cudnn_mismatch"] = {"compiled": ".".join(numbers[:3]), "runtime": ".".join(numbers[3:])}
        part.torch["cudnn"] = ".".join(numbers[:3])


def _python(part: Part, text: str) -> None:
    python = part.python
    if banner := _PYTHON_BANNER.match(text) or _PYTHON_ANSWER.match(text):
        python["version"] = banner.group(1)
        if "conda" in text.lower():
            python.setdefault("environment", "conda")
        if " on linux" in text:
            part.os.setdefault("platform", "linux")
    elif "site-packages" in text or "dist-packages" in text or "cpython-" in text:
        if windows := _SITE_WINDOWS.search(text):
            part.os.update(id="windows", family="windows", platform="windows")
            _environment(part, windows.group(1))
        elif site := _SITE.search(text):
            python.setdefault("version", site.group(2))
            _environment(part, site.group(1) + ("dist-packages" if "dist-packages" in text else ""))
        if tag := _CPXY.search(text):
            python.setdefault("version", f"{tag.group(1)}.{tag.group(2)}")
            part.os.setdefault("arch", tag.group(3))
            part.os.setdefault("platform", "linux")


def _environment(part: Part, prefix: str) -> None:
    lowered = prefix.lower()
    if "conda" in lowered or "miniforge" in lowered or "mamba" in lowered:
        kind = "conda"
    elif "venv" in lowered or "virtualenv" in lowered or "/env/" in lowered:
        kind = "venv"
    elif lowered.startswith(("/usr/", "/opt/python")):
        kind = "system"
    else:
        return
    part.python.setdefault("environment", kind)
    site = part.facts.setdefault("site_packages", [])
    if prefix not in site and len(site) < 20:
        site.append(prefix)
