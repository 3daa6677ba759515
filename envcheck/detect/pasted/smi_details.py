"""The same facts under the names of ``nvidia-smi -q`` and of its XML: (section, key) of either to one fact's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .part import GpuRow
from .values import bus_id, integer, mib, mode, number, pci_id, switch, word


def key_of(text: str) -> str:
    """``"FB Memory Usage"`` and ``fb_memory_usage`` are both ``fb_memory_usage``."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


Reader = Callable[[str], Any]

# key -> (field of Gpu or None, name in facts["gpu"] or None, reader)
PLAIN: dict[str, tuple[str | None, str | None, Reader]] = {
    "product_name": ("name", None, word),
    "product_architecture": (None, "architecture", word),
    "product_brand": (None, "brand", word),
    "persistence_mode": (None, "persistence_mode", word),
    "addressing_mode": (None, "addressing_mode", mode),
    "display_active": (None, "display_active", word),
    "uuid": ("uuid", None, word),
    "gpu_uuid": ("uuid", None, word),
    "vbios_version": (None, "vbios", word),
    "gpu_recovery_action": (None, "recovery_action", str.strip),
    "gsp_firmware_version": (None, "gsp_firmware", word),
    "performance_state": (None, "performance_state", word),
    "compute_mode": (None, "compute_mode", word),
    "virtualization_mode": (None, "virtualization_mode", mode),
    "host_vgpu_mode": (None, "host_vgpu_mode", word),
    "license_status": (None, "vgpu_license", str.strip),
    "pci_device_id": ("pci_id", None, pci_id),
    "device_id": ("pci_id", None, pci_id),
    "sub_system_id": ("subsystem_id", None, pci_id),
    "pci_sub_system_id": ("subsystem_id", None, pci_id),
    "bus_id": ("bus_id", None, bus_id),
    "pci_bus_id": ("bus_id", None, bus_id),
    "gpu_current_temp": (None, "temperature_c", number),
    "gpu_temp": (None, "temperature_c", number),
    "gpu_temp_tlimit": (None, "temperature_headroom_c", number),
    "gpu_t_limit_temp": (None, "temperature_headroom_c", number),
    "gpu_slowdown_temp": (None, "temperature_slowdown_c", number),
    "gpu_temp_slow_threshold": (None, "temperature_slowdown_c", number),
    "fan_speed": (None, "fan_pct", number),
    "power_draw": (None, "power_draw_w", number),
    "instantaneous_power_draw": (None, "power_draw_w", number),
    "instant_power_draw": (None, "power_draw_w", number),
    "average_power_draw": (None, "power_draw_w", number),
    "power_limit": (None, "power_limit_w", number),
    "current_power_limit": (None, "power_limit_w", number),
    "enforced_power_limit": (None, "power_limit_w", number),
    "default_power_limit": (None, "power_default_limit_w", number),
    "gpu_util": (None, "utilization_pct", number),
    "current_mig": ("mig", "mig_mode", word),
    "pending_mig": (None, "mig_pending", word),
    "current_ecc": ("ecc", "ecc_mode", word),
    "pending_ecc": (None, "ecc_pending", word),
    "current_dm": (None, "driver_model", word),
    "max_link_gen": (None, "pcie_gen_max", integer),
    "current_link_gen": (None, "pcie_gen_current", integer),
    "max_link_width": (None, "pcie_width_max", integer),
    "current_link_width": (None, "pcie_width_current", integer),
    "replay_counter": (None, "pcie_replays", integer),
    "replays_since_reset": (None, "pcie_replays", integer),
}
# section and key, where the key alone says too little
SECTIONED: dict[tuple[str, str], tuple[str | None, str | None, Reader]] = {
    ("mig_mode", "current"): ("mig", "mig_mode", word),
    ("mig_mode", "pending"): (None, "mig_pending", word),
    ("ecc_mode", "current"): ("ecc", "ecc_mode", word),
    ("ecc_mode", "pending"): (None, "ecc_pending", word),
    ("driver_model", "current"): (None, "driver_model", word),
    ("fb_memory_usage", "total"): ("memory_mib", "memory_total_mib", mib),
    ("fb_memory_usage", "reserved"): (None, "memory_reserved_mib", mib),
    ("fb_memory_usage", "used"): (None, "memory_used_mib", mib),
    ("fb_memory_usage", "free"): (None, "memory_free_mib", mib),
    ("bar1_memory_usage", "total"): (None, "bar1_total_mib", mib),
    ("utilization", "gpu"): (None, "utilization_pct", number),
    ("pcie_generation", "max"): (None, "pcie_gen_max", integer),
    ("pcie_generation", "current"): (None, "pcie_gen_current", integer),
    ("link_width", "max"): (None, "pcie_width_max", integer),
    ("link_width", "current"): (None, "pcie_width_current", integer),
}  # fmt: skip
MEMORY_POWER = ("gpu_memory_power_readings", "module_power_readings")
REASONS = ("clocks_event_reasons", "clocks_throttle_reasons", "clocks_event_reason", "clocks_throttle_reason")
_REASON = re.compile(r"clocks_(?:event|throttle)_reason_(\w{1,60})")
_REMAP = {
    "correctable_error": "correctable", "uncorrectable_error": "uncorrectable", "pending": "pending",
    "remapping_failure_occurred": "failure", "remapped_row_corr": "correctable", "remapped_row_unc": "uncorrectable",
    "remapped_row_pending": "pending", "remapped_row_failure": "failure",
}  # fmt: skip
_RETIRED = {
    "single_bit_ecc": "single_bit", "double_bit_ecc": "double_bit", "pending_page_blacklist": "pending",
    "pending_retirement": "pending", "pending_blacklist": "pending",
}  # fmt: skip
_LOST = ("gpu is lost", "gpu requires reset")


def put(row: GpuRow, section: str, key: str, value: str, above: str = "") -> None:
    """File one value. ``section`` is the heading it stands under, ``above`` that one's; both are keys."""
    if value.lower() in _LOST:
        row.details["lost"] = True
        row.fields["errors"] = (value,)
        if section == "fabric":
            row.details.setdefault("fabric", {})[key] = value
        return
    if value.lower() in ("unknown error", "[unknown error]", "err!") and key in ("product_name", "gpu_uuid", "uuid"):
        row.fields["errors"] = (value.strip("[]"),)
    rule = SECTIONED.get((section, key))
    if rule is None and section not in MEMORY_POWER:
        rule = PLAIN.get(key)
    if rule is not None:
        _file(row, rule, value)
    elif section in REASONS or above in REASONS or _REASON.match(key):
        reason = _REASON.match(key)
        name = reason.group(1) if reason else key
        reasons = row.details.setdefault("throttle_reasons", [])
        if value.lower() == "active" and name not in reasons:
            reasons.append(name)
    elif above == "ecc_errors" or section in ("volatile", "aggregate"):
        _ecc(row, section, key, value)
    elif section == "remapped_rows" and key in _REMAP:
        row.details.setdefault("remapped_rows", {})[_REMAP[key]] = value
    elif section == "retired_pages" and key in _RETIRED:
        row.details.setdefault("retired_pages", {})[_RETIRED[key]] = value
    elif section == "fabric":
        row.details.setdefault("fabric", {})[
            key.replace("cliqueid", "clique_id").replace("clusteruuid", "cluster_uuid")
        ] = value
    elif above == "fabric":
        row.details.setdefault("fabric", {})[f"{section}_{key}"] = value


def _file(row: GpuRow, rule: tuple[str | None, str | None, Reader], value: str) -> None:
    attribute, name, reader = rule
    read = reader(value)
    if name is not None and (read is not None or name not in row.details):
        row.details[name] = read
    if attribute is None:
        return
    if attribute in ("mig", "ecc"):
        read = switch(value)
    if read is not None:
        row.fields[attribute] = read


def _ecc(row: GpuRow, section: str, key: str, value: str) -> None:
    """Counts, and the yes or no of pending repairs, by volatile and aggregate."""
    counted: Any = integer(value)
    if counted is None:
        counted = switch(value)
    if counted is not None:
        where = section if section in ("volatile", "aggregate") else "repair"
        row.details.setdefault("ecc_errors", {}).setdefault(where, {})[key] = counted
