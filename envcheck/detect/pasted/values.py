"""Words and numbers as NVIDIA's tools print them, to Python values; None for every way of saying "no answer"."""

from __future__ import annotations

import re
from typing import Any

_NOTHING = frozenset({
    "", "n/a", "na", "none", "not supported", "could not collect", "no cuda", "unknown", "unknown error", "err!",
    "gpu is lost", "gpu requires reset", "insufficient permissions", "not active", "function not found",
    "requested functionality has been deprecated", "not available", "not found", "null", "-", "--", "?",
    "gpu access blocked by the operating system", "deprecated",
})  # fmt: skip
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,6}){1,4}")
_NUMBER = re.compile(r"-?\d{1,12}(?:\.\d{1,6})?")
_BUS = re.compile(r"(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.([0-9a-fA-F]))?$")
_MEMORY = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s{0,4}(MiB|MB|GiB|GB|KiB)?", re.IGNORECASE)
_PER_MIB = {"mib": 1.0, "mb": 1.0, "gib": 1024.0, "gb": 1024.0, "kib": 1 / 1024}

DRIVER = re.compile(r"\d{2,4}\.\d{1,4}(?:\.\d{1,4})?(?![\d.])")


def word(text: str | None) -> str | None:
    """The value itself, or None where the tool said that it has none (``N/A``, ``[N/A]``, ``Could not collect``)."""
    if text is None:
        return None
    bare = text.strip().strip("[]").strip()
    return None if bare.lower() in _NOTHING else bare


def mode(text: str | None) -> str | None:
    """As ``word``, where ``None`` is one of the modes (virtualization, addressing) and not an absence."""
    return "None" if text and text.strip() == "None" else word(text)


def version(text: str | None) -> str | None:
    """The first dotted version in ``text`` (``"610.62 [Deprecated; ...]"`` -> ``"610.62"``)."""
    found = _VERSION.search(text) if text else None
    return found.group() if found else None


def driver_version(text: str | None) -> str | None:
    found = DRIVER.search(text) if text else None
    return found.group() if found else None


def release(text: str | None) -> str | None:
    """Major and minor of a version (``"12.2.140"`` -> ``"12.2"``)."""
    found = version(text)
    return ".".join(found.split(".")[:2]) if found else None


def number(text: str | None) -> float | None:
    found = _NUMBER.match(text.strip()) if text else None
    return float(found.group()) if found else None


def integer(text: str | None) -> int | None:
    found = number(text)
    return None if found is None else int(found)


def mib(text: str | None) -> int | None:
    """Mebibytes (``"81559 MiB"``, ``"24 GB"``); a bare number is taken as MiB, as CSV ``nounits`` prints it."""
    found = _MEMORY.match(text.strip()) if text else None
    return round(float(found.group(1)) * _PER_MIB[(found.group(2) or "mib").lower()]) if found else None


def switch(text: str | None) -> bool | None:
    """``Enabled``/``Disabled`` (and their like) as a bool."""
    bare = (word(text) or "").lower().rstrip("*")
    if bare in ("enabled", "on", "yes", "true", "active", "1"):
        return True
    return False if bare in ("disabled", "off", "no", "false", "0") else None


def bus_id(text: str | None) -> str | None:
    """As sysfs writes it: lower case, domain of four digits (``00000000:0C:00.0`` -> ``0000:0c:00.0``)."""
    found = _BUS.search(text.strip()) if text else None
    if not found:
        return None
    domain, bus, device, function = found.groups()
    return f"{int(domain or '0', 16):04x}:{bus.lower()}:{device.lower()}.{function or '0'}"


def pci_id(text: str | None) -> str | None:
    """``0x268410DE`` or ``268410DE`` (device, then vendor) as ``10de:2684``."""
    found = re.fullmatch(r"(?:0x)?([0-9a-f]{4})([0-9a-f]{4})", text.strip().lower()) if text else None
    return f"{found.group(2)}:{found.group(1)}" if found else None


def cudnn_version(value: int) -> str | None:
    """cuDNN's own number: ``8902`` is 8.9.2, ``90100`` is 9.1.0 (cudnn.h: major * 1000 until 8, * 10000 from 9)."""
    if value >= 10_000:
        return f"{value // 10_000}.{value % 10_000 // 100}.{value % 100}"
    return f"{value // 1000}.{value % 1000 // 100}.{value % 100}" if value >= 1000 else None


def cuda_number(value: int) -> str | None:
    """``cudaDriverGetVersion``'s number: ``11040`` is 11.4."""
    return f"{value // 1000}.{value % 1000 // 10}" if 1000 <= value < 100_000 else None


def present(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without what was not said."""
    return {k: v for k, v in values.items() if v is not None and v != {} and v != []}
