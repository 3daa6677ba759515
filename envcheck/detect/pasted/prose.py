"""What people write in their own words. The weakest source: it fills only what nothing else says.

::

    Ubuntu 20.04, RTX 3060, NVIDIA driver 535.86, CUDA 12.2
    torch 2.7.0 (cuda 12.8), flash_attn 2.7.4.post1
    python: 3.10.6  torch: 1.13.1+cu117  xformers: N/A
    L4T Release: R35.4.1 (JetPack 5.1.2)
    WSL2, 112 GB for the VM, 4x RTX 6000 Ada
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from .gpu_names import nvidia, others
from .lines import Lines, holding
from .part import GpuRow, Part
from .platforms import from_pretty
from .torch_version import describe, torch_version
from .values import driver_version, release

MAX_LINES = 3000
PIECE = 2000  # lines
# a line without any of these (lower case) says nothing of interest here
_HINTS = (
    "torch", "driver", "cuda", "python", "ubuntu", "debian", "windows", "mac", "wsl", "linux", "centos",
    "red hat", "rhel", "rocky", "fedora", "suse", "sles", "_os", "kernel", "jetson", "jetpack", "tegra", "l4t",
    "rtx", "gtx", "tesla", "quadro", "titan", "geforce", "nvidia", "radeon", "amd", "intel", "x86", "aarch",
    "arm64", ":\\", "colab", "dgx", "gb10", "gh200", "gb200", "gb300", "gpu", "a100", "a10", "a30", "a40", "h100",
    "h200", "h20", "h800", "a800", "b200", "b300", "v100", "p100", "p40", "l40", "l4", "t4", "k80", "m60",
    "nixos", "gentoo", "neon", "kylin", "manjaro", "cachyos", "bazzite", "nobara", "zorin", "numpy", "flash",
    "xformers", "triton", "vllm", "bitsandbytes", "ctranslate2", "mkl", "openeuler", "azure", "mariner",
    "raspbian", "kali", "alpine", "deepin", "vega", "mi200", "mi300", "mi250", "rx ", "bottlerocket", "flatcar",
    "talos", "arch", "ti", "3090", "4090", "5090", "2080", "1080", " os ", "os:", "apple", "m1 ", "m2 ", "m3 ",
    "m4 ",
)  # fmt: skip
_JETSON_WORDS = ("jetson", "jetpack", "tegra", "l4t")
_ARCHES = ("x86", "amd64", "aarch64", "arm64")
MAX_LENGTH = 600  # a longer line is a log's, not a person's
_TORCH = re.compile(
    r"(?<![\w/.-])(?:[Pp]y)?[Tt]orch(?:[ -]?version)?(?:\s{0,4}[:=]{1,2}\s{0,4}|\s{1,3}(?:is\s|v(?=\d))?|-"
    r"(?=\d\.))['\"`v]?(\d{1,2}\.\d[\w.+-]{0,50})"
)
_TORCH_IN_DRIVER = re.compile(r"(?i)\bdriver")
_REQUEST = re.compile(
    r"(?:pip3?|conda|mamba|uv|poetry)\b.{0,40}\b(?:install|add|create)|\b[Rr]equire|>=|<=|~=|\bneeds?\b|Collecting"
    r"|satisf|matching distribution|lists no|no torch"
)
_DRIVER = re.compile(
    r"(?i)\b(?:nvidia[ -])?drivers?(?:[ -]?version)?(?: is)?[ :=(v-]{1,4}(?:nvidia[ -])?v?"
    r"(\d{3}\.\d{1,4}(?:\.\d{1,4})?)(?![\d.])|nvidia-drivers?-(\d{3}\.\d{1,4}(?:\.\d{1,4})?)"
)
_BRANCH = re.compile(r"(?i)\b(?:nvidia[ -])?driver(?:[ -]?version)?[ :=-]{1,3}(\d{3})(?![\d.])|nvidia-driver-(\d{3})\b")
_CUDA = re.compile(r"(?i)(?<![\w/.-])cuda(?:[ -]?version)?[ :=v]{1,3}(\d{1,2}\.\d{1,2})(?:\.\d{1,3})?(?![\d])")
_WINDOWS = re.compile(r"(?<![\w/-])Windows\b(?! (?:driver|host|side|Terminal|Subsystem|path|user))")
_CUDA_PAREN = re.compile(r"(?i)torch \S{1,30} ?\((?:cuda|cu) ?(\d{1,2}\.\d)\)")
_CUDNN = re.compile(r"(?i)\bcudnn[ :=v-]{1,3}(\d(?:\.\d{1,2}){1,3})\b")
_PYTHON = re.compile(r"\b[Pp]ython(?:[ -]?[Vv]ersion)?(?:[ :=v]{1,3}|(?=3\.))(\d\.\d{1,2}(?:\.\d{1,2})?)\b(?![\w/])")
_KERNEL = re.compile(
    r"(?i)\bkernel (?:version )?[:=]? ?v?(\d{1,2}\.\d{1,3}(?:\.\d{1,3})[\w.+-]{0,60}"
    r"|\d{1,2}\.\d{1,3}-[\w.+-]{3,60})"
)
_WSL = re.compile(r"\bWSL(?: ?version:?)? ?(2|1)?\b|microsoft-standard-WSL(2)")
_JETSON = re.compile(r"(?i)\bjetson\b|\bjetpack\b|\btegra\b|\bL4T\b")
_L4T = re.compile(r"(?:L4T|R)(?: Release:?)? ?R?(\d{2}\.\d{1,2}(?:\.\d{1,2})?)")
_ARCH = re.compile(r"\b(x86_64|amd64|aarch64|arm64)\b", re.IGNORECASE)
_MAC = re.compile(r"(?i)\bmac(?:book| ?mini|os| studio)\b|\bapple (?:m\d|silicon)\b|\bM[1-5] (?:Pro|Max|Ultra)\b")
_WINDOWS_PATH = re.compile(r"\b[A-Za-z]:\\(?:Users|Program|Windows|\w{1,40}\\)|^PS [A-Z]:\\")
_ARM = re.compile(r"(?i)\bDGX Spark\b|\bGB10\b|\bGH200\b|\bGB[23]00\b|\bGrace\b")
_COLAB = re.compile(r"(?i)\bgoogle colab\b|\bcolab\b")
_GPU_CONTEXT = re.compile(
    r"If you want to use the|supported by|doesn't support|not support|e\.g\.|such as|unlike|instead of"
)
_PACKAGES = ("vision", "audio", "numpy", "xformers", "flash", "transf", "triton", "vllm", "bitsand", "ctrans", "mkl")
_PACKAGE = re.compile(
    r"(?<![\w/.-])(torchvision|torchaudio|numpy|xformers|flash[_-]attn|transformers|triton|vllm|bitsandbytes"
    r"|ctranslate2|mkl)[ :=v]{1,3}(\d{1,4}\.\d[\w.+-]{0,40})",
    re.IGNORECASE,
)


def parse(lines: Lines, skip: AbstractSet[int] = frozenset()) -> Part | None:
    """``skip``: positions of the lines that a listing took."""
    part = Part("prose")
    facts: dict[str, Any] = {}
    names: dict[str, int] = {}
    for text in itertools.islice(_speaking(lines, skip), MAX_LINES):
        lowered = text.lower()
        _software(part, facts, text, lowered)
        _system(part, facts, text, lowered)
        if not _GPU_CONTEXT.search(text):
            for count, name in nvidia(text):
                names[name] = max(count, names.get(name, 0))
            for name in others(text):
                foreign = part.facts.setdefault("other_gpus", [])
                if name not in foreign and len(foreign) < 20:
                    foreign.append(name)
    if not part.os.get("id") and not part.os.get("wsl") and (facts.get("windows_paths") or facts.pop("windows", None)):
        part.os.update(id="windows", family="windows", platform="windows")
    facts.pop("windows", None)
    for name, count in _distinct(names).items():
        part.gpus.extend(GpuRow(None, {"name": name}) for _ in range(count))
    if facts:
        part.facts["prose"] = facts
    return part


def _speaking(lines: Lines, skip: AbstractSet[int]) -> Iterator[str]:
    """The lines that may say something, each text once; looked for piece by piece, as a long log has enough early."""
    texts = dict.fromkeys(line.text for position, line in lines if position not in skip)
    rest = [text for text in texts if 2 < len(text) <= MAX_LENGTH]
    for start in range(0, len(rest), PIECE):
        piece = rest[start : start + PIECE]
        yield from (piece[i] for i in sorted(holding(piece, _HINTS)))


def _distinct(names: dict[str, int]) -> dict[str, int]:
    """``RTX 5090`` and ``NVIDIA GeForce RTX 5090`` are one card: the longer name stays."""
    kept: dict[str, int] = {}
    for name in sorted(names, key=len, reverse=True)[:40]:
        bare = re.sub(r"(?i)nvidia |geforce |tesla |quadro ", "", name).lower().replace(" ", "")
        longer = next((k for k in kept if bare in k.lower().replace(" ", "")), None)
        if longer is None:
            kept[name] = names[name]
        else:
            kept[longer] = max(kept[longer], names[name])
    return {name: kept[name] for name in names if name in kept}


def _software(part: Part, facts: dict[str, Any], text: str, lowered: str) -> None:
    if "torch" in lowered and not _REQUEST.search(text):
        found = _TORCH.search(text)
        version = torch_version(found.group(1).rstrip(".,")) if found else None
        if version:
            part.torch.setdefault("version", version)
            for key, value in describe(version).items():
                part.torch.setdefault(key, value)
        if paren := _CUDA_PAREN.search(text):
            part.torch.setdefault("cuda", paren.group(1))
    if "driver" in lowered:
        if driver := _DRIVER.search(text):
            part.driver.setdefault("version", driver_version(driver.group(1) or driver.group(2)))
        elif branch := _BRANCH.search(text):
            facts.setdefault("driver_branch", branch.group(1) or branch.group(2))
    if "cuda" in lowered and (cuda := _CUDA.search(text)):
        facts.setdefault("cuda", release(cuda.group(1)))
    if "cudnn" in lowered and (cudnn := _CUDNN.search(text)):
        facts.setdefault("cudnn", cudnn.group(1))
    if "ython" in lowered and (python := _PYTHON.search(text)):
        part.python.setdefault("version", python.group(1))
    if any(word in lowered for word in _PACKAGES) and not _REQUEST.search(text):
        for name, version in _PACKAGE.findall(text):
            part.packages.setdefault(name.lower().replace("_", "-"), version.rstrip(".,").removesuffix(".x"))


def _system(part: Part, facts: dict[str, Any], text: str, lowered: str) -> None:
    if not part.os.get("id") and ("/" not in text[:60] or " " in text[:40]):
        found = from_pretty(text)
        if found:
            part.os.update({k: v for k, v in found.items() if k != "arch"})
    if "WSL" in text and (wsl := _WSL.search(text)):
        part.os.setdefault("wsl", wsl.group(1) or wsl.group(2) or "2")
    if "kernel" in lowered and (kernel := _KERNEL.search(text)):
        part.os.setdefault("kernel", kernel.group(1))
    if any(word in lowered for word in _ARCHES) and (arch := _ARCH.search(text)):
        part.os.setdefault("arch", "aarch64" if arch.group(1).lower() in ("arm64", "aarch64") else "x86_64")
    if any(word in lowered for word in _JETSON_WORDS) and _JETSON.search(text):
        facts["jetson"] = True
        if l4t := _L4T.search(text):
            part.os.setdefault("jetson", l4t.group(1))
    if not part.os.get("id") and _MAC.search(text):
        part.os.update(id="macos", family="macos", platform="macos")
    if "Windows" in text and _WINDOWS.search(text):
        facts["windows"] = True
    if ":\\" in text and _WINDOWS_PATH.search(text):
        facts["windows_paths"] = True
    if "arm_server" not in facts and _ARM.search(text):
        facts["arm_server"] = True
    if "colab" in lowered and _COLAB.search(text):
        facts["colab"] = True
