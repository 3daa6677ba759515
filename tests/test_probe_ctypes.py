"""The probe's own ctypes calls against libraries compiled from C with the types of cuda.h and nvml.h."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
