"""NVML through ctypes: what the card says of itself while it works. Everything here may be None.

Only what the trials need; the target environment need not have nvidia-ml-py.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Dict, List, Optional

THROTTLE = {
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
CLOCK_SM, CLOCK_MEMORY = 1, 2
GPM_ANY_TENSOR, GPM_HMMA = 5, 7
GPM_METRICS_ROOM = 1024  # more than any driver's NVML_GPM_METRIC_MAX: the struct ends with that array


class _MetricInfo(ctypes.Structure):
    _fields_ = [("short", ctypes.c_char_p), ("long", ctypes.c_char_p), ("unit", ctypes.c_char_p)]


class _Metric(ctypes.Structure):
    _fields_ = [
        ("id", ctypes.c_uint),
        ("status", ctypes.c_uint),
        ("value", ctypes.c_double),
        ("info", _MetricInfo),
    ]


class _MetricsGet(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("first", ctypes.c_void_p),
        ("second", ctypes.c_void_p),
        ("metrics", _Metric * GPM_METRICS_ROOM),
    ]


class _Support(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint), ("supported", ctypes.c_uint)]


class _Process(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


class Card:
    """One card by its PCI address. ``Card.open`` gives None where NVML cannot be asked."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._lib = library
        self._handle = handle

    @classmethod
    def open(cls, bus_id: Optional[str]) -> Optional[Card]:
        if not bus_id:
            return None
        try:
            library = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
            if library.nvmlInit_v2() != 0:
                return None
            handle = ctypes.c_void_p()
            if library.nvmlDeviceGetHandleByPciBusId_v2(bus_id.encode("ascii"), ctypes.byref(handle)) != 0:
                return None
        except (OSError, AttributeError):
            return None
        return cls(library, handle)

    def _number(self, function: str, *args: Any, kind: Any = ctypes.c_uint) -> Optional[int]:
        value = kind()
        try:
            call = getattr(self._lib, function)
        except AttributeError:  # an older driver
            return None
        return int(value.value) if call(self._handle, *args, ctypes.byref(value)) == 0 else None

    def state(self) -> Dict[str, Any]:
        """Clocks (MHz), power (W), temperature (C), and the reasons why the clocks are not higher."""
        power = self._number("nvmlDeviceGetPowerUsage")
        limit = self._number("nvmlDeviceGetEnforcedPowerLimit")
        bits = self._number("nvmlDeviceGetCurrentClocksThrottleReasons", kind=ctypes.c_ulonglong)
        return {
            "sm_mhz": self._number("nvmlDeviceGetClockInfo", CLOCK_SM),
            "max_sm_mhz": self._number("nvmlDeviceGetMaxClockInfo", CLOCK_SM),
            "memory_mhz": self._number("nvmlDeviceGetClockInfo", CLOCK_MEMORY),
            "power_w": None if power is None else power / 1000.0,
            "power_limit_w": None if limit is None else limit / 1000.0,
            "temperature_c": self._number("nvmlDeviceGetTemperature", 0),
            "throttle": None if bits is None else [name for bit, name in THROTTLE.items() if bits & bit],
        }

    def link(self) -> Dict[str, Optional[int]]:
        """PCIe generation and width, now and at most. At rest a link may train down."""
        return {
            "generation": self._number("nvmlDeviceGetCurrPcieLinkGeneration"),
            "width": self._number("nvmlDeviceGetCurrPcieLinkWidth"),
            "max_generation": self._number("nvmlDeviceGetMaxPcieLinkGeneration"),
            "max_width": self._number("nvmlDeviceGetMaxPcieLinkWidth"),
        }

    def errors(self) -> Dict[str, Any]:
        """Volatile ECC counts and the state of row remapping; None where the card has none."""
        out: Dict[str, Any] = {
            "corrected": self._number("nvmlDeviceGetTotalEccErrors", 0, 0, kind=ctypes.c_ulonglong),
            "uncorrected": self._number("nvmlDeviceGetTotalEccErrors", 1, 0, kind=ctypes.c_ulonglong),
            "remap_pending": None,
            "remap_failed": None,
            "remapped": None,
        }
        numbers = [ctypes.c_uint() for _ in range(4)]
        call = getattr(self._lib, "nvmlDeviceGetRemappedRows", None)
        if call is not None and call(self._handle, *[ctypes.byref(n) for n in numbers]) == 0:
            out["remapped"] = numbers[0].value + numbers[1].value
            out["remap_pending"], out["remap_failed"] = bool(numbers[2].value), bool(numbers[3].value)
        return out

    def compute_processes(self) -> Optional[List[int]]:
        """Process ids that compute on the card, ours left out (ask before creating a context: containers hide ids)."""
        call = getattr(self._lib, "nvmlDeviceGetComputeRunningProcesses_v3", None)
        if call is None:
            return None
        count = ctypes.c_uint(256)
        found = (_Process * 256)()
        if call(self._handle, ctypes.byref(count), found) != 0:
            return None
        return [int(found[i].pid) for i in range(count.value) if found[i].pid != os.getpid()]

    def gpm(self) -> Optional[Gpm]:
        """The GPU performance monitor (Hopper and later); None where the card or the driver has none."""
        support = _Support(version=1)
        call = getattr(self._lib, "nvmlGpmQueryDeviceSupport", None)
        if call is None or call(self._handle, ctypes.byref(support)) != 0 or not support.supported:
            return None
        return Gpm(self._lib, self._handle)


class Gpm:
    """Tensor utilisation between two samples, at least 100 ms apart."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._lib = library
        self._handle = handle
        self._samples: List[Any] = []

    def sample(self) -> bool:
        """Take one sample (the first, then the second). False where the driver refuses."""
        sample = ctypes.c_void_p()
        if self._lib.nvmlGpmSampleAlloc(ctypes.byref(sample)) != 0:
            return False
        if self._lib.nvmlGpmSampleGet(self._handle, sample) != 0:
            self._lib.nvmlGpmSampleFree(sample)
            return False
        self._samples.append(sample)
        return True

    def tensor_percent(self) -> Optional[float]:
        """Tensor pipe utilisation in percent between the two samples, the larger of any-tensor and HMMA."""
        if len(self._samples) != 2:
            return None
        get = _MetricsGet(version=1, count=2, first=self._samples[0].value, second=self._samples[1].value)
        get.metrics[0].id, get.metrics[1].id = GPM_ANY_TENSOR, GPM_HMMA
        status = self._lib.nvmlGpmMetricsGet(ctypes.byref(get))
        for sample in self._samples:
            self._lib.nvmlGpmSampleFree(sample)
        self._samples = []
        values = [float(m.value) for m in get.metrics[:2] if status == 0 and m.status == 0]
        good = [v for v in values if 0.0 <= v <= 100.5]  # NaN falls out too
        return max(good) if good else None
