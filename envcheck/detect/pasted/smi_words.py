"""What nvidia-smi says where it prints no table: its failures, and ``nvidia-smi --version``.

::

    NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA ...
    Failed to initialize NVML: Driver/library version mismatch
    NVML library version: 580.126
    Unable to determine the device handle for GPU 0000:CB:00.0: Unknown Error
    WARNING: infoROM is corrupted at gpu 0000:0B:00.0
    No devices were found

    NVIDIA-SMI version  : 610.62
    NVML version        : 610.62
    DRIVER version      : Deprecated, see "KMD version" instead
    KMD version         : 610.62
    CUDA UMD version    : 13.3

Failures stay symptoms; this module names them (``facts["nvidia_smi"]["error"]``) and what they say of the driver.
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import Part
from .values import bus_id, driver_version, release

# what it says -> (facts["nvidia_smi"]["error"], Driver.state); NVML's own names where it has one. First match wins.
FAILURES: tuple[tuple[str, str, str | None], ...] = (
    ("driver/library version mismatch", "LIB_RM_VERSION_MISMATCH", "mismatch"),
    ("couldn't communicate with the nvidia driver", "DRIVER_NOT_LOADED", "not-loaded"),
    ("couldn’t communicate with the nvidia driver", "DRIVER_NOT_LOADED", "not-loaded"),
    ("failed to initialize nvml: driver not loaded", "DRIVER_NOT_LOADED", "not-loaded"),
    ("driver is not loaded", "DRIVER_NOT_LOADED", "not-loaded"),
    ("gpu access blocked by the operating system", "OPERATING_SYSTEM", "broken"),
    ("failed to initialize nvml: insufficient permissions", "NO_PERMISSION", "broken"),
    ("couldn't find libnvidia-ml", "LIBRARY_NOT_FOUND", "broken"),
    ("nvml shared library", "LIBRARY_NOT_FOUND", "broken"),
    ("failed to initialize nvml: unknown error", "UNKNOWN", "broken"),
    ("failed to initialize nvml", "NVML_INIT_FAILED", "broken"),
    ("unable to determine the device handle", "DEVICE_HANDLE", None),
    ("gpu is lost", "GPU_IS_LOST", None),
    ("no devices were found", "NO_DEVICES", None),
    ("is not a valid field to query", "INVALID_FIELD", None),
)
_MISSING = re.compile(
    r"nvidia-smi\S{0,3}[: ].{0,12}(?:command not found|not found|no such file)"
    r"|(?:command not found|not found)[^a-z]{0,4}nvidia-smi|command ['\"‘“]nvidia-smi['\"’”] not found"
    r"|['\"‘“]?nvidia-smi['\"’”]? is not recognized|exec: \"nvidia-smi\": executable file not found",
    re.IGNORECASE,
)
# the shell's own words in another language: the name in quotes, or before a colon, on a line that is not ASCII
_MISSING_ELSEWHERE = re.compile(
    r"[“\"'‘«„]\s?nvidia-smi\s?[”\"'’»“]|nvidia-smi\s?:\s?[^\x00-\x7f]|: nvidia-smi: \S{0,20}[^\x00-\x7f]"
)
# bash names the program and says "not found" in the user's language
_MISSING_IN_SHELL = re.compile(
    r"(?:^|[\s/-])(?:ba|z|da|k|fi)?sh: .{0,24}\bnvidia-smi: (?!.{0,20}(?:ermission|denied))\w"
)
_LIBRARY = re.compile(r"NVML library version:?\s{0,4}(\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)")
_HANDLE = re.compile(
    r"device handle for (?:gpu\s?)?(\d{0,3})[:\s]{0,3}([0-9A-Fa-f:.]{7,16}?):? (.{1,60})", re.IGNORECASE
)
_INFOROM = re.compile(r"infoROM is corrupted at gpu ([0-9A-Fa-f:.]{7,16})", re.IGNORECASE)
_VERSIONS = re.compile(
    r"[ \t]*(NVIDIA-SMI|NVML|DRIVER|KMD|CUDA|CUDA UMD) version[ \t]{0,8}:[ \t]{0,4}(\d[\d.]{0,16}|Deprecated.*)$",
    re.IGNORECASE,
)
_FIELD = re.compile(r'Field "([^"]{1,60})" is not a valid field to query')

# words of the lines that are read, besides those of the failures
_READ = ("version", "nvidia-smi", "nvml library", "device handle", "inforom", "valid field")


def parse(lines: Lines) -> Part | None:
    if not lines.has(
        "nvidia-smi", "nvml", "device handle", "inforom", "devices were found", "gpu is lost", "valid field"
    ):
        return None
    part = Part("smi-words")
    facts: dict[str, Any] = {}
    failures = [row for row in FAILURES if row[0] in lines.lower]
    for position, line in lines.at(*_READ, *(words for words, _, _ in failures)):
        text = line.text
        lowered = text.lower()
        if "version" in lowered and (found := _VERSIONS.match(text)) and _in_version_output(lines, position):
            _version(part, facts, found)
            part.take(position, "")
        elif "|" not in text[:3]:
            _failure(part, facts, failures, text, lowered, line.number)
    if facts:
        part.facts["nvidia_smi"] = facts
    return part if facts or part.taken else None


def _in_version_output(lines: Lines, position: int) -> bool:
    """``CUDA Version: 12.2`` is prose unless ``NVIDIA-SMI version`` or ``NVML version`` stands close by."""
    near = lines.lines[max(0, position - 6) : position + 6]
    return any(line.text.strip().lower().startswith(("nvidia-smi version", "nvml version")) for line in near)


def _version(part: Part, facts: dict[str, Any], found: re.Match[str]) -> None:
    label, value = found.group(1).upper(), found.group(2)
    if label in ("DRIVER", "KMD"):
        part.driver["version"] = driver_version(value) or part.driver.get("version")
        part.driver["state"] = "ok"
    elif label.startswith("CUDA"):
        part.driver["cuda"] = release(value) or part.driver.get("cuda")
    else:
        facts["version" if label == "NVIDIA-SMI" else "nvml_version"] = value


def _is_missing(text: str) -> bool:
    return bool(
        _MISSING.search(text)
        or _MISSING_IN_SHELL.search(text)
        or (not text.isascii() and _MISSING_ELSEWHERE.search(text))
    )


def _failure(
    part: Part, facts: dict[str, Any], failures: list[tuple[str, str, str | None]], text: str, lowered: str, number: int
) -> None:
    for words, error, state in failures:
        if words in lowered:
            facts.setdefault("error", error)
            facts.setdefault("message", text.strip()[:300])
            facts.setdefault("line", number)
            if state:
                part.driver.setdefault("state", state)
            break
    else:
        if "nvidia-smi" in lowered and not facts.get("error") and _is_missing(text):
            facts.update(error="NOT_FOUND", message=text.strip()[:300], line=number)
    if "NVML library" in text and (library := _LIBRARY.search(text)):
        facts["nvml_library_version"] = library.group(1)
    if "device handle" in lowered and (handle := _HANDLE.search(text)):
        gpu = {
            "index": int(handle.group(1)) if handle.group(1) else None,
            "bus_id": bus_id(handle.group(2).rstrip(":")),
        }
        facts.setdefault("lost", []).append({**gpu, "error": handle.group(3).strip(" .")})
    if "inforom" in lowered and (inforom := _INFOROM.search(text)):
        facts.setdefault("inforom_corrupted", []).append(bus_id(inforom.group(1)))
    if "Field" in text and (field := _FIELD.search(text)):
        facts["invalid_field"] = field.group(1)
