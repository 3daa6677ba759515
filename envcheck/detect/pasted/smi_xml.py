"""``nvidia-smi -q -x``, whole or cut.

::

    <?xml version="1.0" ?>
    <!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v13.dtd">
    <nvidia_smi_log>
        <driver_version>580.65.06</driver_version>
        <cuda_version>13.0</cuda_version>
        <gpu id="0000:0A:00.0">
            <product_name>NVIDIA GB200</product_name>
            <fb_memory_usage>
                <total>196608 MiB</total>

Read tag by tag and never by an XML library: a paste is often cut, and a reader that knows no entities cannot be made to
expand any. A document that declares entities is refused whole.
"""

from __future__ import annotations

import re

from .lines import Lines
from .part import GpuRow, Part
from .smi_details import put
from .values import bus_id, driver_version, integer, mib, release, version

_TAG = re.compile(r"<(/?)([A-Za-z_][\w.-]{0,80})([^<>]{0,200})>([^<]{0,500})")
_ID = re.compile(r'id\s?=\s?["\']([0-9A-Fa-f:.]{7,20})["\']')
_MARKS = ("<nvidia_smi_log", "<gpu id=", "<product_name>", "<driver_version>")
_MIG_KEYS = {"index": "index", "gpu_instance_id": "gi", "compute_instance_id": "ci", "multiprocessor_count": "sm_count"}
_RENAMED = {
    "clocks_throttle_reasons": "clocks_event_reasons", "link_widths": "link_width", "pcie_gen": "pcie_generation",
}  # fmt: skip


def parse(lines: Lines) -> Part | None:
    if not any(mark in lines.text for mark in _MARKS):
        return None
    part = Part("smi-xml")
    for position, line in lines:
        stripped = line.text.lstrip()
        if stripped.startswith("<") or (stripped.endswith(">") and "</" in stripped):
            part.take(position, line.text)
    if "<!ENTITY" in lines.text:
        part.problems["report"] = "the XML in the report declares entities, so it was not read: nvidia-smi writes none"
        return part
    _read(lines.text, part)
    _bare_text(lines, part)
    if part.driver.get("version") and part.gpus:
        part.driver["state"] = "ok"
    return part


def _read(text: str, part: Part) -> None:
    stack: list[str] = []
    row: GpuRow | None = None
    for tag in _TAG.finditer(text):
        closing, name, attributes, content = tag.groups()
        if closing:
            if name in stack:
                while stack.pop() != name:
                    pass
            if name == "gpu":
                row = None
            continue
        if name in ("br", "p", "pre") or attributes.endswith("/"):
            continue
        if name == "gpu":
            found = _ID.search(attributes)
            row = GpuRow(len(part.gpus), {"bus_id": bus_id(found.group(1))} if found else {})
            part.gpus.append(row)
            stack = ["gpu"]
            continue
        if content.strip():
            row = _leaf(part, row, stack, name, content.strip())
        if len(stack) < 40:
            stack.append(name)


def _leaf(part: Part, row: GpuRow | None, stack: list[str], name: str, content: str) -> GpuRow | None:
    if row is None:
        if name in ("driver_version", "kmd_version"):
            part.driver["version"] = driver_version(content) or part.driver.get("version")
        elif name in ("cuda_version", "cuda_umd_version"):
            part.driver["cuda"] = release(version(content)) or part.driver.get("cuda")
        elif name == "attached_gpus":
            part.facts.setdefault("nvidia_smi", {})["attached_gpus"] = integer(content)
        elif name == "product_name":  # the head was cut off
            row = GpuRow(len(part.gpus))
            part.gpus.append(row)
        if row is None:
            return None
    if "mig_device" in stack:
        devices = row.details.setdefault("mig_devices", [])
        if name == "index" or not devices:
            devices.append({})
        if name in _MIG_KEYS:
            devices[-1][_MIG_KEYS[name]] = integer(content)
        elif name == "total" and "fb_memory_usage" in stack:
            devices[-1]["memory_total_mib"] = mib(content)
        return row
    if "process_info" in stack:
        _process(part, row, name, content)
        return row
    section = _RENAMED.get(stack[-1], stack[-1]) if stack else ""
    put(row, section, name, content, stack[-2] if len(stack) > 1 else "")
    return row


def _process(part: Part, row: GpuRow, name: str, content: str) -> None:
    processes = part.facts.setdefault("gpu_processes", [])
    if name == "pid":
        processes.append({"gpu": row.index, "pid": integer(content)})
    elif processes and name in ("type", "process_name"):
        processes[-1][name.removeprefix("process_")] = content
    elif processes and name == "used_memory":
        processes[-1]["memory_mib"] = mib(content)


def _bare_text(lines: Lines, part: Part) -> None:
    """A value that stands on a line of its own between two tags belongs to the document."""
    for position, line in lines:
        if position not in part.taken and {position - 1, position + 1} <= part.taken:
            part.take(position, line.text)
