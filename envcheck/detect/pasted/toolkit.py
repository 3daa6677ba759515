"""``nvcc --version`` (and ptxas), ``cudnn.h``, and compilers.

::

    nvcc: NVIDIA (R) Cuda compiler driver
    Built on Wed_Aug_20_01:58:59_PM_PDT_2025
    Cuda compilation tools, release 13.0, V13.0.88
    Build cuda_13.0.r13.0/compiler.36424714_0

    #define CUDNN_MAJOR 8
    #define CUDNN_MINOR 9
    #define CUDNN_PATCHLEVEL 2

    CUDA Version 11.8.89                       (version.txt)      {"cuda": {"name": "CUDA SDK", "version": "12.4.1"}}
    gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0
    ldd (Ubuntu GLIBC 2.35-0ubuntu3.1) 2.35
"""

from __future__ import annotations

import re
from typing import Any

from ...model import Found
from ..os import parse_libc
from .lines import Lines
from .part import Part

_TOOL = re.compile(r"[ \t]*(nvcc|ptxas|nvlink|cuobjdump|nvdisasm|fatbinary): NVIDIA \(R\)")
_COPYRIGHT = re.compile(r"[ \t]*Copyright \(c\) \d{4}-\d{4} NVIDIA Corporation$")
_BUILT = re.compile(r"[ \t]*Built on [A-Z][a-z]{2}_[A-Z][a-z]{2}_\S{1,60}$")
_RELEASE = re.compile(
    r"Cuda compilation tools, release (\d{1,2}\.\d{1,2})(?:, V(\d{1,2}\.\d{1,2}\.\d{1,4}))?", re.IGNORECASE
)
_BUILD = re.compile(r"[ \t]*Build (cuda_\d\S{1,80})$")
_DEFINE = re.compile(
    r"[ \t]*#[ \t]*define[ \t]{1,20}(CUDNN_MAJOR|CUDNN_MINOR|CUDNN_PATCHLEVEL"
    r"|CUDNN_MAX_SM_M\w{2}OR_NUMBER)[ \t]{1,20}(\d{1,3})\b"
)
_DEFINE_OTHER = re.compile(
    r"[ \t]*(?:[\w./-]{1,120}:)?#[ \t]*(?:define[ \t]{1,20}CUDNN_\w{1,60}|include \"driver_types\.h\"|endif|ifndef"
    r"|undef|if )"
)
_VERSION_TXT = re.compile(r"[ \t]*CUDA Version (\d{1,2}\.\d{1,2}\.\d{1,4})[ \t]*$")
_VERSION_JSON = re.compile(r'"name"\s?:\s?"CUDA SDK"\s?,\s?"version"\s?:\s?"(\d{1,2}\.\d{1,2}\.\d{1,3})"')
_GCC = re.compile(
    r"[ \t]*(gcc|g\+\+|cc|clang|x86_64-linux-gnu-gcc\S{0,6})(?:-\d{1,2})?(?:\.exe)? (?:\(.{1,120}?\)"
    r"|version) {1,2}v?(\d{1,2}\.\d{1,2}\.\d{1,2})"
)
_GCC_SAYS = re.compile(r"\bgcc --version`? (?:says|gives|is|shows) v?(\d{1,2}(?:\.\d{1,2}){0,2})")
_MISSING = re.compile(r"nvcc: (?:command )?not found|command not found: nvcc|['\"“‘]nvcc['\"”’]")


def parse(lines: Lines) -> Part | None:
    part = Part("toolkit")
    if lines.has("cuda compilation tools", "nvcc"):
        _nvcc(lines, part)
    if "CUDNN_MAJOR" in lines.text:
        _cudnn(lines, part)
    if lines.has("cuda version ", "cuda sdk"):
        _files(lines, part)
    if lines.has("gcc ", "clang ", "ldd (", "g++"):
        _compilers(lines, part)
    return part if part.taken or part.facts else None


def _nvcc(lines: Lines, part: Part) -> None:
    facts: dict[str, Any] = {}
    inside = False
    for position, line in lines:
        text = line.text
        if tool := _TOOL.match(text):
            facts.setdefault("tool", tool.group(1))
            inside = True
        elif found := _RELEASE.search(text):
            inside = True
            if "NVCC:" in text or "NVCC " in text[:12]:  # mmengine's line: collect_env takes it
                continue
            part.toolkits.append(Found(version=found.group(1)))
            facts.setdefault("release", found.group(1))
            if found.group(2):
                facts.setdefault("version", found.group(2))
        elif inside and (_COPYRIGHT.match(text) or _BUILT.match(text)):
            if "_Daylight_Time_" in text or "_Standard_Time_" in text:  # Windows writes its time zones out
                facts["host"] = "windows"
                part.os.update(id="windows", family="windows", platform="windows")
        elif inside and (build := _BUILD.match(text)):
            facts.setdefault("build", build.group(1))
            inside = False
        else:
            if (
                "nvcc" in text
                and _MISSING.search(text)
                and not facts
                and (text.isascii() is False or "not found" in text)
            ):
                facts["error"] = "NOT_FOUND"
            inside = inside and not text
            continue
        part.take(position, "")
    if facts:
        part.facts["nvcc"] = facts


def _cudnn(lines: Lines, part: Part) -> None:
    values: dict[str, int] = {}
    path = None
    for position, line in lines:
        if "CUDNN" not in line.text and not line.text.lstrip().startswith("#"):
            continue
        text = line.text.replace("​", "")
        prefix, separator, rest = text.partition(":#")
        if separator:
            text, path = "#" + rest, prefix.strip()
        if found := _DEFINE.match(text):
            values.setdefault(found.group(1), int(found.group(2)))
            part.take(position, "")
        elif _DEFINE_OTHER.match(text):
            part.take(position, "")
    if "CUDNN_MAJOR" not in values:
        return
    number = [values.get(f"CUDNN_{name}") for name in ("MAJOR", "MINOR", "PATCHLEVEL")]
    part.cudnn.append(Found(version=".".join(str(n) for n in number if n is not None), path=path))
    if "CUDNN_MAX_SM_MAJOR_NUMBER" in values:
        minor = values.get("CUDNN_MAX_SM_MINOR_NUMBER", 0)
        part.facts["cudnn"] = {"max_compute_capability": f"{values['CUDNN_MAX_SM_MAJOR_NUMBER']}.{minor}"}


def _files(lines: Lines, part: Part) -> None:
    """version.txt and version.json of a toolkit, and the banner of NVIDIA's CUDA images, which words it the same."""
    for position, line in lines:
        found = _VERSION_TXT.match(line.text) or _VERSION_JSON.search(line.text)
        if found:
            part.toolkits.append(Found(version=".".join(found.group(1).split(".")[:2])))
            part.take(position, "")


def _compilers(lines: Lines, part: Part) -> None:
    compilers: dict[str, str] = {}
    for _, line in lines.at("cc", "g++", "clang", "ldd ("):
        text = line.text
        if found := _GCC.match(text):
            name = "clang" if found.group(1) == "clang" else "gcc"
            compilers.setdefault(name, found.group(2))
        elif says := _GCC_SAYS.search(text):
            compilers.setdefault("gcc", says.group(1))
        elif text.lstrip().startswith("ldd (") and (glibc := parse_libc(text.strip())):
            part.os["glibc"] = glibc
    if compilers:
        part.facts["compilers"] = compilers
