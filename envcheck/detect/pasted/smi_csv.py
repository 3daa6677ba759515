"""``nvidia-smi --query-gpu=... --format=csv``, with its header or (by the form of the values) without.

::

    index, name, driver_version, memory.total [MiB], pci.bus_id
    0, NVIDIA GeForce RTX 5070 Laptop GPU, 616.92,  8151 MiB, 00000000:02:00.0
    1, NVIDIA GeForce RTX 5060 Ti,         616.92, 16311 MiB, 00000000:06:00.0

A value in brackets (``[N/A]``, ``[Unknown Error]``) is no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .lines import Lines
from .part import GpuRow, Part
from .values import bus_id, driver_version, integer, mib, mode, number, pci_id, release, switch, word

_FIELD = re.compile(r'"?([a-z][A-Za-z0-9_]{0,60}(?:\.[A-Za-z0-9_]{1,60}){0,6})(?: \[[\w%/]{1,8}\])?"?$')
_QUERY = re.compile(r"--query-gpu[= ]([\w.,]{3,4000})")
_GPU_NAME = re.compile(r"(?:NVIDIA|GeForce|Tesla|Quadro|GRID|TITAN|A100|A10)\b")

# field -> (field of Gpu, name in facts["gpu"], reader)
_COLUMNS: dict[str, tuple[str | None, str | None, Callable[[str], Any]]] = {
    "name": ("name", None, word),
    "gpu_name": ("name", None, word),
    "uuid": ("uuid", None, word),
    "gpu_uuid": ("uuid", None, word),
    "pci.bus_id": ("bus_id", None, bus_id),
    "gpu_bus_id": ("bus_id", None, bus_id),
    "pci.device_id": ("pci_id", None, pci_id),
    "pci.sub_device_id": ("subsystem_id", None, pci_id),
    "compute_cap": ("compute_capability", None, word),
    "memory.total": ("memory_mib", "memory_total_mib", mib),
    "memory.used": (None, "memory_used_mib", mib),
    "memory.free": (None, "memory_free_mib", mib),
    "memory.reserved": (None, "memory_reserved_mib", mib),
    "mig.mode.current": ("mig", "mig_mode", word),
    "mig.mode.pending": (None, "mig_pending", word),
    "ecc.mode.current": ("ecc", "ecc_mode", word),
    "ecc.mode.pending": (None, "ecc_pending", word),
    "compute_mode": (None, "compute_mode", word),
    "persistence_mode": (None, "persistence_mode", word),
    "addressing_mode": (None, "addressing_mode", mode),
    "driver_model.current": (None, "driver_model", word),
    "display_active": (None, "display_active", word),
    "vbios_version": (None, "vbios", word),
    "gpu_recovery_action": (None, "recovery_action", str.strip),
    "pstate": (None, "performance_state", word),
    "temperature.gpu": (None, "temperature_c", number),
    "fan.speed": (None, "fan_pct", number),
    "utilization.gpu": (None, "utilization_pct", number),
    "power.draw": (None, "power_draw_w", number),
    "power.draw.instant": (None, "power_draw_w", number),
    "power.limit": (None, "power_limit_w", number),
    "enforced.power.limit": (None, "power_limit_w", number),
    "power.default_limit": (None, "power_default_limit_w", number),
    "pcie.link.gen.current": (None, "pcie_gen_current", integer),
    "pcie.link.gen.gpucurrent": (None, "pcie_gen_current", integer),
    "pcie.link.gen.max": (None, "pcie_gen_max", integer),
    "pcie.link.width.current": (None, "pcie_width_current", integer),
    "pcie.link.width.max": (None, "pcie_width_max", integer),
    "clocks_event_reasons.active": (None, "throttle_mask", word),
    "clocks_throttle_reasons.active": (None, "throttle_mask", word),
    "fabric.state": (None, "fabric_state", word),
    "fabric.status": (None, "fabric_status", word),
}
_OTHERS = frozenset({"index", "driver_version", "kmd_version", "cuda_version", "timestamp", "count", "serial"})
_KNOWN = _OTHERS | frozenset(_COLUMNS)
_REASON = re.compile(r"clocks_(?:event|throttle)_reasons\.(\w+)")
_ECC = re.compile(r"ecc\.errors\.(corrected|uncorrected)\.(volatile|aggregate)\.(\w+)")
_REMAP = re.compile(r"remapped_rows\.(\w+)")


def parse(lines: Lines) -> Part | None:
    part = Part("smi-csv")
    fields: list[str] | None = None
    asked: list[str] | None = None
    for position, line in lines:
        text = line.full.strip()
        if not text:
            continue
        if "--query-gpu" in text and (query := _QUERY.search(text)):
            asked = query.group(1).strip(",").split(",")
            continue
        header = _header(text)
        if header:
            fields = header
            part.take(position, "")
        elif fields and (row := _cells(text, len(fields))) and _fits(fields, row):
            _row(part, fields, row)
            part.take(position, line.text)
        elif _headerless(part, text, asked):
            part.take(position, line.text)
        elif fields and "," not in text:
            fields = fields if text.startswith(("WARNING", "Unable")) else None
    return part if part.taken else None


def _header(text: str) -> list[str] | None:
    if "," not in text:
        if not ("a" <= text[:1] <= "z") or len(text) > 80:
            return None
        bare = _FIELD.match(text)
        one = bare.group(1) if bare else ""
        return [one] if one in _KNOWN and (" [" in text or "." in one or "_" in one) else None
    if not text[:1].isalpha() and text[:1] != '"':
        return None
    names = []
    for cell in text.split(","):
        found = _FIELD.match(cell.strip())
        if not found:
            return None
        names.append(found.group(1))
    return names if sum(name in _KNOWN for name in names) > 1 else None


def _cells(text: str, columns: int) -> list[str] | None:
    """The row's cells; a row that was cut off has fewer, and its last cell may be half a value."""
    cells = [cell.strip().strip('"') for cell in text.split(",")]
    if len(cells) == columns:
        return cells
    return cells[:-1] if columns > len(cells) > max(2, columns // 2) else None


def _fits(fields: list[str], cells: list[str]) -> bool:
    row = dict(zip(fields, cells, strict=False))
    if not row.get("index", "0").isdecimal() or len(row.get("index", "0")) > 3:
        return False
    capability = row.get("compute_cap", "[")
    if not re.match(r"\d{1,2}\.\d$|\[", capability):
        return False
    driver = row.get("driver_version", "[")
    return driver.startswith("[") or driver_version(driver) is not None


def _row(part: Part, fields: list[str], cells: list[str]) -> None:
    row = GpuRow()
    for name, cell in zip(fields, cells, strict=False):
        if name == "index":
            row.index = integer(cell)
        elif name in ("driver_version", "kmd_version"):
            part.driver["version"] = driver_version(cell) or part.driver.get("version")
        elif name in ("cuda_version", "cuda_umd_version"):
            part.driver["cuda"] = release(cell) or part.driver.get("cuda")
        elif name in _COLUMNS:
            _file(row, name, cell)
        else:
            _counter(row, name, cell)
    if "pid" in fields or not (row.fields or row.details or row.index is not None):
        return
    if row.index is None:
        row.index = len(part.gpus)
    if part.driver.get("version"):
        part.driver["state"] = "ok"
    part.gpus.append(row)


def _file(row: GpuRow, name: str, cell: str) -> None:
    attribute, detail, reader = _COLUMNS[name]
    value = reader(cell)
    if detail and value is not None:
        row.details[detail] = value
    if attribute in ("mig", "ecc"):
        value = switch(cell)
    if attribute and value is not None:
        row.fields[attribute] = value
    if attribute == "name" and "error" in cell.lower():
        row.fields["errors"] = (cell.strip("[]"),)
    if "gpu is lost" in cell.lower():
        row.details["lost"] = True


def _counter(row: GpuRow, name: str, cell: str) -> None:
    if (reason := _REASON.match(name)) and cell == "Active":
        row.details.setdefault("throttle_reasons", []).append(reason.group(1))
    elif (ecc := _ECC.match(name)) and (count := integer(cell)) is not None:
        kind = "uncorrectable" if ecc.group(1) == "uncorrected" else "correctable"
        where = row.details.setdefault("ecc_errors", {}).setdefault(ecc.group(2), {})
        where[kind if ecc.group(3) == "total" else f"{ecc.group(3)}_{kind}"] = count
    elif (remap := _REMAP.match(name)) and word(cell):
        row.details.setdefault("remapped_rows", {})[remap.group(1)] = cell


def _headerless(part: Part, text: str, asked: list[str] | None) -> bool:
    """``--format=csv,noheader``: the command above tells the fields, else the values do."""
    if "," not in text or len(text) > 4000:
        return False
    cells = [cell.strip() for cell in text.split(",")]
    if asked and len(cells) == len(asked) and _fits(asked, cells):
        _row(part, asked, cells)
        return True
    if not any(_GPU_NAME.match(cell) for cell in cells) or not 2 <= len(cells) <= 12:
        return False
    fields = [_guess(cell) for cell in cells]
    if "" in fields or not {"driver_version", "memory.total", "compute_cap", "uuid"} & set(fields):
        return False
    _row(part, fields, cells)
    return True


def _guess(cell: str) -> str:
    forms = (
        ("name", _GPU_NAME.pattern),
        ("uuid", r"GPU-[0-9a-f-]{8,}"),
        ("memory.total", r"\d{3,7} MiB$"),
        ("pci.bus_id", r"[0-9A-Fa-f]{8}:[0-9A-Fa-f]{2}:"),
        ("driver_version", r"\d{3}\.\d{1,4}(?:\.\d{1,4})?$"),
        ("compute_cap", r"\d{1,2}\.\d$"),
        ("index", r"\d{1,2}$"),
        (
            "other",
            r"(?:\d{1,5}(?:\.\d{1,2})?(?: (?:%|W|MiB|MHz|C))?|P\d|\[.{1,40}\]|Default|Enabled|Disabled"
            r"|0x[0-9a-fA-F]+)$",
        ),
    )
    return next((name for name, pattern in forms if re.match(pattern, cell)), "")
