"""What only the doctor asks of a GPU through NVML. Runs in the child of ``envcheck.nvml``, which hands pynvml in.

The names are those that a pasted ``nvidia-smi -q`` gives (``detect.pasted``), so that a check reads one shape. Every
value is left out where the card or the driver has none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Get = Callable[..., Any]

COMPUTE_MODES = ("Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process")  # nvmlComputeMode_t
# nvmlClocksEventReason*, as nvidia-smi words them
REASONS = (
    (0x1, "gpu_idle"),
    (0x2, "applications_clocks_setting"),
    (0x4, "sw_power_cap"),
    (0x8, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
    (0x100, "display_clock_setting"),
)
DRIVER_MODELS = {0: "WDDM", 1: "TCC", 2: "MCDM"}  # nvmlDriverModel_t; of Windows alone
FABRIC_STATES = ("Not Supported", "Not Started", "In Progress", "Completed")
UNCORRECTED, VOLATILE = 1, 0  # nvmlMemoryErrorType_t, nvmlEccCounterType_t
VGPU = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU


def describe(pynvml: Any, get: Get, handle: Any, device: dict[str, Any]) -> dict[str, Any]:
    """Details of one GPU; ``device`` is what was already said of it."""
    found: dict[str, Any] = {}
    memory = get("nvmlDeviceGetMemoryInfo", handle)
    if memory is not None:
        found["memory_total_mib"] = int(memory.total) >> 20
        found["memory_used_mib"] = int(memory.used) >> 20
        found["memory_free_mib"] = int(memory.free) >> 20
    mode = device.get("compute_mode")
    if isinstance(mode, int) and 0 <= mode < len(COMPUTE_MODES):
        found["compute_mode"] = COMPUTE_MODES[mode]
    found.update(_clocks(get, handle))
    found.update(_repairs(get, handle))
    for name, function in (
        ("pcie_gen_current", "nvmlDeviceGetCurrPcieLinkGeneration"),
        ("pcie_gen_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
        ("pcie_width_current", "nvmlDeviceGetCurrPcieLinkWidth"),
        ("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
    ):
        value = get(function, handle)
        if isinstance(value, int):
            found[name] = value
    persistence = get("nvmlDeviceGetPersistenceMode", handle)
    if persistence is not None:
        found["persistence_mode"] = "Enabled" if persistence else "Disabled"
    model = get("nvmlDeviceGetDriverModel", handle) if sys.platform == "win32" else None
    if isinstance(model, list | tuple) and model and model[0] in DRIVER_MODELS:
        found["driver_model"] = DRIVER_MODELS[model[0]]
    found.update(_licence(pynvml, get, handle))
    found.update(_fabric(pynvml, handle))
    if device.get("mig"):
        found["mig_devices"] = _slices(pynvml, get, handle)
    processes = get("nvmlDeviceGetComputeRunningProcesses", handle)
    if processes is not None:
        found["compute_processes"] = len(processes)
    return found


def _clocks(get: Get, handle: Any) -> dict[str, Any]:
    """``throttle_reasons``; the function got its new name with driver branch 535."""
    mask = get("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    if mask is None:
        mask = get("nvmlDeviceGetCurrentClocksEventReasons", handle)
    found: dict[str, Any] = {}
    if isinstance(mask, int):
        found["throttle_reasons"] = [name for bit, name in REASONS if mask & bit]
    temperature = get("nvmlDeviceGetTemperature", handle, 0)
    if isinstance(temperature, int):
        found["temperature_c"] = temperature
    for name, function in (
        ("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit"),
        ("power_default_limit_w", "nvmlDeviceGetPowerManagementDefaultLimit"),
    ):
        watts = get(function, handle)
        if isinstance(watts, int):
            found[name] = watts // 1000
    return found


def _repairs(get: Get, handle: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    errors = get("nvmlDeviceGetTotalEccErrors", handle, UNCORRECTED, VOLATILE)
    if isinstance(errors, int):
        found["ecc_errors"] = {"volatile": {"uncorrectable": errors}}
    rows = get("nvmlDeviceGetRemappedRows", handle)
    if isinstance(rows, tuple | list) and len(rows) == 4:
        words = ("correctable", "uncorrectable", "pending", "failure")
        found["remapped_rows"] = dict(zip(words, map(int, rows), strict=True))
    pending = get("nvmlDeviceGetRetiredPagesPendingStatus", handle)
    if isinstance(pending, int):
        found["retired_pages"] = {"pending": "Yes" if pending else "No"}
    return found


def _licence(pynvml: Any, get: Get, handle: Any) -> dict[str, Any]:
    """``vgpu_license`` of a virtual GPU: a card of one's own needs none."""
    if get("nvmlDeviceGetVirtualizationMode", handle) != VGPU:
        return {}
    found: dict[str, Any] = {"virtualization_mode": "VGPU"}
    features = get("nvmlDeviceGetGridLicensableFeatures", handle)
    if features is not None and features.isGridLicenseSupported:
        count = min(int(features.licensableFeaturesCount), 3)
        states = [int(features.gridLicensableFeatures[i].featureState) for i in range(count)]
        found["vgpu_license"] = "Licensed" if any(states) else "Unlicensed"
    return found


def _fabric(pynvml: Any, handle: Any) -> dict[str, Any]:
    """``fabric`` of an NVSwitch system, by the structure that the caller has to bring."""
    try:
        info = pynvml.c_nvmlGpuFabricInfo_t()
        pynvml.nvmlDeviceGetGpuFabricInfo(handle, pynvml.byref(info))
    except (pynvml.NVMLError, AttributeError, TypeError):
        return {}
    state = int(info.state)
    if not 0 < state < len(FABRIC_STATES):
        return {}
    return {"fabric": {"state": FABRIC_STATES[state], "status": int(info.status)}}


def _slices(pynvml: Any, get: Get, handle: Any) -> int:
    """How many MIG devices were made on this GPU."""
    most, count = get("nvmlDeviceGetMaxMigDeviceCount", handle), 0
    for index in range(min(most, 64) if isinstance(most, int) else 0):
        try:
            pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except (pynvml.NVMLError, AttributeError):
            continue
        count += 1
    return count
