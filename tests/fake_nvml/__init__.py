"""Builds the fake NVML and writes the profiles that it answers from. See ``fake_nvml.c`` for the format."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("fake_nvml.c")

# nvml.h
RETURN_CODES = {
    "NVML_SUCCESS": 0,
    "NVML_ERROR_NOT_SUPPORTED": 3,
    "NVML_ERROR_NO_PERMISSION": 4,
    "NVML_ERROR_DRIVER_NOT_LOADED": 9,
    "NVML_ERROR_FUNCTION_NOT_FOUND": 13,
    "NVML_ERROR_GPU_IS_LOST": 15,
    "NVML_ERROR_RESET_REQUIRED": 16,
    "NVML_ERROR_OPERATING_SYSTEM": 17,
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": 18,
    "NVML_ERROR_UNKNOWN": 999,
}


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(directory: Path, omit: Iterable[str] = ()) -> Path:
    """Compile ``libnvidia-ml.so.1`` into a directory, without the symbols in ``omit``. Returns the directory."""
    cc = compiler()
    assert cc is not None, "no C compiler"
    directory.mkdir(parents=True, exist_ok=True)
    library = directory / "libnvidia-ml.so.1"
    flags = [f"-DOMIT_{symbol}" for symbol in omit]
    argv = [cc, "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1", *flags, "-o", str(library), str(SOURCE)]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return directory


def profile_text(profile: Mapping[str, Any], extra: Iterable[str] = ()) -> str:
    """An nvml-profile object in the line format. ``extra`` holds further lines, such as faults."""
    lines = [*extra, f"- init {RETURN_CODES[profile.get('init', 'NVML_SUCCESS')]}"]
    for key, value in (profile.get("system") or {}).items():
        lines.append(_line("-", key, value, [value]))
    devices = profile.get("devices") or []
    lines.append(f"- count 0 {len(devices)}")
    for device in devices:
        index = str(device["index"])
        lines.append(f"{index} handle {RETURN_CODES[device['handle_ret']]}")
        for key, target, parts in _FIELDS:
            if key in device:
                value = device[key]
                lines.append(_line(index, target, value, parts(value) if _answers(value) else []))
    return "\n".join(lines) + "\n"


_FIELDS = (
    ("name", "name", lambda v: [v]),
    ("uuid", "uuid", lambda v: [v]),
    ("serial", "serial", lambda v: [v]),
    ("cuda_compute_capability", "compute_capability", lambda v: v),
    ("memory_v1", "memory_v1", lambda v: [v["total"], v["free"], v["used"]]),
    ("memory_v2", "memory_v2", lambda v: [v["total"], v["reserved"], v["free"], v["used"]]),
    ("pci", "pci", lambda v: [v["bus_id"], v.get("pci_device_id", 0), v.get("pci_subsystem_id", 0)]),
    ("mig_mode", "mig_mode", lambda v: [v["current"], v["pending"]]),
    ("ecc_mode", "ecc_mode", lambda v: [v["current"], v["pending"]]),
    ("persistence_mode", "persistence_mode", lambda v: [v["enum"] if isinstance(v, dict) else v]),
    ("virtualization_mode", "virtualization_mode", lambda v: [v["enum"] if isinstance(v, dict) else v]),
    ("temperature_gpu_c", "temperature", lambda v: [v]),
    ("clocks_event_reasons", "throttle_reasons", lambda v: [v]),
    ("ecc_errors", "ecc_errors", lambda v: [v]),
    ("remapped_rows", "remapped_rows", lambda v: [v["corr"], v["unc"], v["pending"], v["failure"]]),
    ("compute_mode", "compute_mode", lambda v: [v["enum"] if isinstance(v, dict) else v]),
)


def _answers(value: Any) -> bool:
    return value is not None and not (isinstance(value, dict) and "ret" in value)


def _line(device: str, key: str, value: Any, parts: list[Any]) -> str:
    if isinstance(value, dict) and "ret" in value:
        return f"{device} {key} {RETURN_CODES[value['ret']]}"
    if value is None:
        return f"{device} {key} {RETURN_CODES['NVML_ERROR_NOT_SUPPORTED']}"
    return f"{device} {key} 0 {' '.join(map(str, parts))}"
