"""``nvidia-smi -q``, whole or in pieces, its indentation kept or lost.

::

    ==============NVSMI LOG==============
    Timestamp                                              : Wed Aug 12 21:53:45 2026
    Driver Version                                         : 610.57.04 [Deprecated; will be removed in CUDA 14.0. ...]
    CUDA Version                                           : 13.3 [Deprecated; ...]
    KMD Version                                            : 610.57.04
    CUDA UMD Version                                       : 13.3

    Attached GPUs                                          : 1
    GPU 00000000:0C:00.0
        Product Name                                       : NVIDIA GeForce RTX 2080 SUPER
        MIG Mode
            Current                                        : N/A
        FB Memory Usage
            Total                                          : 8192 MiB

A heading is a line without a colon. Where indentation is lost, the last heading counts; the keys that repeat
("Current", "Total") come right after theirs.
"""

from __future__ import annotations

import re

from .lines import Lines
from .part import GpuRow, Part
from .smi_details import PLAIN, REASONS, SECTIONED, key_of, put
from .values import bus_id, driver_version, integer, mib, release, version

_PAIR = re.compile(r"([ \t]*)([A-Za-z][^:]{0,60}?)[ \t]{0,80}:(?: (.*)|)$")
_HEADING = re.compile(r"([ \t]*)([A-Z][A-Za-z0-9 ()/.-]{1,60})$")
_GPU = re.compile(r"[ \t]*GPU ((?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])(?:[ \t].{0,40})?$")
_TIME = re.compile(r"\d\d:\d\d:\d\d")

_SECTIONS = frozenset({section for section, _ in SECTIONED}) | set(REASONS) | {
    "ecc_errors", "volatile", "aggregate", "remapped_rows", "retired_pages", "fabric", "mig_device", "health",
    "vgpu_software_licensed_product", "gpu_power_readings", "power_readings", "gpu_virtualization_mode",
    "gpu_memory_power_readings", "module_power_readings", "clocks_event_reasons_counters", "shared_fb_memory_usage",
}  # fmt: skip
# keys that nothing else prints: a piece of -q that begins in the middle is known by them
_OPENERS = frozenset({
    "product_name", "product_brand", "product_architecture", "gpu_uuid", "vbios_version", "license_status",
    "hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown", "sw_power_cap", "gpu_recovery_action", "attached_gpus",
    "remapping_failure_occurred", "dram_uncorrectable", "sram_uncorrectable", "persistence_mode", "gpu_current_temp",
    "single_bit_ecc", "double_bit_ecc", "pending_page_blacklist", "cliqueid", "hw_power_brake_slowdown",
    "kmd_version", "cuda_umd_version", "performance_state",
})  # fmt: skip


class _State:
    def __init__(self, part: Part) -> None:
        self.part = part
        self.inside = False
        self.misses = 0
        self.headings: list[tuple[int, str]] = []
        self.in_mig = False
        self.current = GpuRow(index=0)
        self.listed = False

    def start_gpu(self, address: str | None) -> None:
        self.current = GpuRow(len(self.part.gpus), {"bus_id": bus_id(address)} if address else {})
        self.part.gpus.append(self.current)
        self.headings, self.in_mig, self.listed = [], False, True

    def heading(self, indent: int, key: str) -> None:
        while self.headings and self.headings[-1][0] >= indent:
            self.headings.pop()
        self.headings.append((indent, key))
        if key == "mig_device":
            self.in_mig = True
            self.current.details.setdefault("mig_devices", []).append({})

    def place(self, indent: int) -> tuple[str, str]:
        """Section and the one above it, for a value at ``indent``; the last heading where all stand at one column."""
        if self.headings and indent and indent <= self.headings[0][0]:
            self.headings = []
        while len(self.headings) > 1 and 0 < indent <= self.headings[-1][0]:
            self.headings.pop()
        names = [name for _, name in self.headings[-2:]]
        return (names[-1] if names else ""), (names[-2] if len(names) > 1 else "")


def parse(lines: Lines) -> Part | None:
    if not lines.has(" : ", "nvsmi log"):
        return None
    part = Part("smi-q")
    state = _State(part)
    for position, line in lines:
        text = line.text
        if not text:
            continue
        if "NVSMI LOG" in text:
            state.inside = True
            state.current, state.listed, state.headings = GpuRow(index=0), False, []
            part.take(position, "")
        elif state.inside and (gpu := _GPU.match(text)):
            state.start_gpu(gpu.group(1))
            part.take(position, "")
        elif _line(state, text):
            part.take(position, text)
    if not part.taken:
        return None
    if not state.listed and state.current.details:  # a piece without the GPU's own lines: facts of the first GPU
        part.facts["gpu"] = {"0": state.current.details}
    if part.driver.get("version") and part.gpus:
        part.driver["state"] = "ok"
    return part


def _line(state: _State, text: str) -> bool:
    """Is this line part of the listing?"""
    pair = _PAIR.match(text)
    if pair and (" :" in text or state.inside):
        indent, key, value = len(pair.group(1).expandtabs()), key_of(pair.group(2)), (pair.group(3) or "").strip()
        spaced = text[pair.end(2) : pair.end(2) + 1] == " "
        if not spaced and not (state.inside and key in PLAIN):
            return False
        if not state.inside:
            section, _ = state.place(indent)
            if key not in _OPENERS and (section, key) not in SECTIONED:
                return False
            state.inside = True
        state.misses = 0
        _value(state, indent, key, value)
        return True
    heading = _HEADING.match(text)
    if heading and (key := key_of(heading.group(2))) in _SECTIONS:
        state.heading(len(heading.group(1).expandtabs()), key)
        return state.inside or key == "vgpu_software_licensed_product"
    if heading and state.inside and heading.group(1):
        state.heading(len(heading.group(1).expandtabs()), key_of(heading.group(2)))
        return True
    if heading and state.inside and state.misses < 3:  # a heading whose indentation was lost, or somebody's words
        state.misses += 1
        state.heading(0, key_of(heading.group(2)))
        return False
    state.inside = False
    state.headings = []
    return False


def _value(state: _State, indent: int, key: str, value: str) -> None:
    if key in ("driver_version", "kmd_version") and not state.listed:
        state.part.driver["version"] = driver_version(value) or state.part.driver.get("version")
        return
    if key in ("cuda_version", "cuda_umd_version") and not state.listed:
        state.part.driver["cuda"] = release(version(value)) or state.part.driver.get("cuda")
        return
    if key == "attached_gpus":
        state.part.facts.setdefault("nvidia_smi", {})["attached_gpus"] = integer(value)
        return
    if key == "product_name" and (not state.listed or "name" in state.current.fields):
        state.start_gpu(None)
    if key == "accounting_mode":
        state.in_mig = False
    section, above = state.place(indent)
    if state.in_mig:
        _mig(state, section, key, value)
    else:
        put(state.current, section, key, value, above)


def _mig(state: _State, section: str, key: str, value: str) -> None:
    devices = state.current.details.get("mig_devices") or [{}]
    names = {"index": "index", "gpu_instance_id": "gi", "compute_instance_id": "ci", "multiprocessor_count": "sm_count"}
    if key in names:
        devices[-1][names[key]] = integer(value)
    elif key == "total" and section.endswith("fb_memory_usage"):
        devices[-1]["memory_total_mib"] = mib(value)
