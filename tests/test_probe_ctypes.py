"""The probe's own ctypes calls against libraries compiled from C with the types of cuda.h and nvml.h."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envcheck.probe import nvml

HERE = Path(__file__).parent
CODE = """
import json, sys
sys.path.insert(0, {root!r})
from envcheck.probe import driver, nvml
def asked(function):
    try:
        return function()
    except driver.DriverError as error:
        return {{"name": error.name, "code": error.code}}
out = {{"init": asked(driver.initialise), "version": driver.version(), "ids": asked(lambda: driver.device_ids(0)),
       "second": asked(lambda: driver.device_ids(1))}}
card = nvml.Card.open("0000:3b:00.0")
out["other"] = nvml.Card.open("0000:99:00.0") is None
out["none"] = nvml.Card.open(None) is None
out["state"], out["link"], out["errors"] = card.state(), card.link(), card.errors()
out["processes"] = card.compute_processes()
gpm = card.gpm()
out["gpm"] = None if gpm is None else [gpm.tensor_percent(), gpm.sample(), gpm.sample(), gpm.tensor_percent()]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    folder = tmp_path_factory.mktemp("gpu")
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        argv = [
            compiler,
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{name}",
            "-o",
            str(folder / name),
            str(HERE / "verify_probes" / "fake_gpu.c"),
        ]
        subprocess.run(argv, check=True, capture_output=True, timeout=120)
    return folder


def ask(libraries: Path, **env: str) -> dict[str, Any]:
    code = CODE.format(root=str(HERE.parent))
    everything = {**os.environ, "LD_LIBRARY_PATH": str(libraries), **env}
    done = subprocess.run(
        [sys.executable, "-c", code], env=everything, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_call_reads_what_the_library_wrote(libraries: Path) -> None:
    found = ask(libraries)
    assert found["init"] is None
    assert found["version"] == "12.2"
    assert found["ids"] == {"bus_id": "0000:3b:00.0", "uuid": "GPU-00112233-4455-6677-8899-aabbccddeeff"}
    assert found["second"] == {"name": "CUDA_ERROR_UNKNOWN", "code": 101}
    assert found["other"] and found["none"]
    assert found["state"] == {
        "sm_mhz": 1500,
        "max_sm_mhz": 2040,
        "memory_mhz": 6251,
        "power_w": 71.5,
        "power_limit_w": 72.0,
        "temperature_c": 61,
        "throttle": ["software power cap", "hardware thermal slowdown"],
    }
    assert found["link"] == {"generation": 3, "width": 8, "max_generation": 4, "max_width": 16}
    assert found["errors"] == {
        "corrected": 2,
        "uncorrected": 5_000_000_000,
        "remapped": 3,
        "remap_pending": True,
        "remap_failed": False,
    }
    assert found["processes"] == [4711, 4712]  # not ourselves
    assert found["gpm"] == [None, True, True, 61.5]


def test_an_old_driver_gives_nothing_rather_than_a_wrong_thing(libraries: Path) -> None:
    found = ask(libraries, FAKE_OLD="1")
    assert (found["processes"], found["gpm"]) == (None, None)


def test_cuda_names_its_own_failure(libraries: Path) -> None:
    assert ask(libraries, FAKE_CU="100")["init"] == {"name": "CUDA_ERROR_NO_DEVICE", "code": 100}


def layout(struct: Any) -> list[tuple[int, int]]:
    """Offset and size of every field: what the library sees of it."""
    fields = [getattr(struct, item[0]) for item in struct._fields_]
    return [(field.offset, field.size) for field in fields]


def test_structs_and_numbers_are_those_of_nvml() -> None:
    """Against nvidia-ml-py, which NVIDIA generates from nvml.h; the target's environment need not have it."""
    import pynvml

    for ours, theirs in (
        (nvml._Metric, pynvml.c_nvmlGpmMetric_t),
        (nvml._MetricInfo, pynvml.c_metricInfo_t),
        (nvml._Support, pynvml.c_nvmlGpmSupport_t),
        (nvml._Process, pynvml.c_nvmlProcessInfo_v3_t),
    ):
        assert layout(ours) == layout(theirs), ours
        assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
    # the array at the end has more room than any driver fills; all that lies before it must agree
    assert layout(nvml._MetricsGet)[:-1] == layout(pynvml.c_nvmlGpmMetricsGet_t)[:-1]
    assert nvml._MetricsGet.metrics.offset == pynvml.c_nvmlGpmMetricsGet_t.metrics.offset
    assert pynvml.NVML_GPM_METRIC_MAX < nvml.GPM_METRICS_ROOM
    assert pynvml.NVML_GPM_METRICS_GET_VERSION == pynvml.NVML_GPM_SUPPORT_VERSION == 1
    assert (nvml.GPM_ANY_TENSOR, nvml.GPM_HMMA) == (
        pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
        pynvml.NVML_GPM_METRIC_HMMA_TENSOR_UTIL,
    )
    assert (nvml.CLOCK_SM, nvml.CLOCK_MEMORY) == (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM)
    reasons = {
        0x2: pynvml.nvmlClocksThrottleReasonApplicationsClocksSetting,
        0x4: pynvml.nvmlClocksThrottleReasonSwPowerCap,
        0x8: pynvml.nvmlClocksThrottleReasonHwSlowdown,
        0x10: pynvml.nvmlClocksThrottleReasonSyncBoost,
        0x20: pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
        0x40: pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        0x80: pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    assert all(bit == value for bit, value in reasons.items())
    assert set(nvml.THROTTLE) == set(reasons)
