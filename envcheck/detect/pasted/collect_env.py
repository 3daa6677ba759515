"""``python -m torch.utils.collect_env`` of torch 1.0 to 2.15, its forks, and every list of ``key: value`` like it.

::

    PyTorch version: 2.4.0+cu121
    CUDA used to build PyTorch: 12.1
    OS: Ubuntu 22.04.2 LTS (x86_64)
    Python version: 3.12.3 | packaged by Anaconda, Inc. | (main, May  6 2024, 19:46:43) [GCC 11.2.0] (64-bit runtime)
    Python platform: Linux-5.15.153.1-microsoft-standard-WSL2-x86_64-with-glibc2.35
    Is CUDA available: True
    CUDA runtime version: 12.4.131                 <- this is nvcc's, not the runtime's
    GPU models and configuration: GPU 0: NVIDIA GeForce RTX 4070 Laptop GPU
    Nvidia driver version: 551.88
    cuDNN version: Probably one of the following:
    /usr/lib/x86_64-linux-gnu/libcudnn.so.8.9.5

The forks: vLLM and sglang (aligned columns), mmengine (``CUDA available``, ``NVCC``, ``PyTorch compiling details``),
detectron2 (columns without colons), transformers-cli and accelerate (``- PyTorch version (GPU?): 2.3.0+cu121 (True)``),
Lightning, ds_report, xformers. Keys are compared in lower case, without marks, so one table knows them all.
"""

from __future__ import annotations

import functools
import re

from .env_values import KEYS, apply
from .lines import Lines
from .part import Part

_PAIR = re.compile(r"[\s#*•·_`-]{0,16}([A-Za-z🤗][^:=|]{1,58}?)[ \t*_`.]{0,60}:[*_` \t]{0,60}(.*)$")
_COLUMNS = re.compile(r"[ \t]{0,8}([A-Za-z][\w()/. ]{1,40}?)(?:[ \t]{2,60}|[ \t]?\.{3,60}[ \t]?)(\S.*)$")
_CELLS = re.compile(
    r"[ \t]*\|[ \t]{0,40}\**([A-Za-z][^|]{1,58}?)\**[ \t]{0,60}\|[ \t]{0,60}([^|]{1,300}?)[ \t]{0,60}\|?[ \t]*$"
)
_LIGHTNING = re.compile(r"[ \t]*- (available|version):[ \t]{1,20}(\S{1,20})$")
_CPU_FLAGS = re.compile(r"[ \t]*[Ff]lags[ \t]*:[ \t]*(fpu [a-z0-9_ ]{20,6000})$")  # of lscpu and /proc/cpuinfo
_CUDNN_PATH = re.compile(r"[ \t]*(?:/\S{1,300}/libcudnn\S{0,60}\.so[\d.]{0,16}|[A-Za-z]:\\.{1,300}cudnn\S{0,40}\.dll)$")
_HEADS = ("collecting environment information", "cuda used to build pytorch", "is cuda available")
# mmengine's and detectron2's list of what torch was built with
_BUILT_LINE = re.compile(r"[ \t]*[-*] (?:CUDA Runtime|CuDNN) \d")
# the forks that print columns without colons
_COLUMN_FORKS = ("sys.platform ", "detectron2", "torch install path", "deepspeed c++/cuda")


@functools.lru_cache(maxsize=4096)
def key_of(text: str) -> str:
    """A key as ``KEYS`` has it: lower case, single spaces, without marks and without ``(GPU?)``."""
    text = re.sub(r"[*`🤗]|\(GPU\?\)|\?", "", text.strip().lstrip("-*•· "))
    return re.sub(r"[\s.]+", " ", text.lower()).strip(" _")


def parse(lines: Lines) -> Part | None:
    part = Part("collect-env")
    after: str | None = None
    genuine = lines.has(*_HEADS)
    columns = lines.has(*_COLUMN_FORKS)
    lightning = "* cuda:" in lines.lower
    driver_line = -9
    for position, line in lines:
        text = line.text
        if "fpu " in text and (flags := _CPU_FLAGS.match(line.full)):
            part.facts["cpu_flags"] = flags.group(1).split()
            part.take(position, "")
        if not text or len(text) > 1200:
            continue
        if after == "cudnn version" and _CUDNN_PATH.match(text):
            apply(part, "cudnn path", text.strip(), line.number)
            part.take(position, "")
            continue
        if ("CUDA Runtime " in text or "CuDNN " in text) and _BUILT_LINE.match(text):
            apply(part, "build settings", text, line.number)
            continue
        pair = _pair(text, columns) or (_lightning(text) if lightning else None)
        if pair is None:
            if genuine and text.startswith("Collecting environment information"):
                part.take(position, "")
            continue
        after, value = pair
        if after in ("driver version", "driver", "nvidia driver version"):
            driver_line = position
        if after == "cuda version" and not 0 < position - driver_line <= 2:
            continue
        if apply(part, after, value, line.number):
            part.take(position, "" if genuine else text)
            if not genuine:
                part.kept.add(position)
    if not part.taken:
        return None
    part.facts.setdefault("collect_env", {})["genuine"] = genuine
    return part


def _lightning(text: str) -> tuple[str, str] | None:
    """Lightning's tree: ``- available: True`` and ``- version: 11.3`` stand under ``* CUDA:``."""
    found = _LIGHTNING.match(text)
    if not found:
        return None
    key = "cuda available" if found.group(1) == "available" else "torch cuda version"
    return (key, found.group(2)) if key == "cuda available" or found.group(2)[:1].isdigit() else None


def _pair(text: str, columned: bool) -> tuple[str, str] | None:
    if (":" not in text and "|" not in text and not columned) or text.startswith((">>>", "$", "+-")):
        return None
    if "://" in text[:60]:
        return None
    found = _PAIR.match(text) or _CELLS.match(text)
    if found is None or key_of(found.group(1)) not in KEYS:
        columns = _COLUMNS.match(text) if columned else None
        if columns and key_of(columns.group(1)) in KEYS and KEYS[key_of(columns.group(1))].columns:
            found = columns
    if found is None:
        return None
    key = key_of(found.group(1))
    rule = KEYS.get(key)
    if rule is None or (rule.loose and len(found.group(2)) > 160):
        return None
    return key, found.group(2).strip().strip("*`").strip()
