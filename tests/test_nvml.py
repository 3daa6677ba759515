"""NVML through the real pynvml against the fake library, and the parser of the child's lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck import nvml
from envcheck.host import CommandResult, LiveHost

PROFILES = Path(__file__).resolve().parent.parent.parent / "shared" / "outputs"
NAMES = sorted(p.name for p in PROFILES.glob("nvml-profile__*.json") if not p.name.endswith(".expected.json"))
CUDA_CALL = "nvmlSystemGetCudaDriverVersion"
Use = Callable[..., None]


def two_gpus(**second: Any) -> dict[str, Any]:
    def gpu(index: int) -> dict[str, Any]:
        return {
            "index": index,
            "handle_ret": "NVML_SUCCESS",
            "name": "NVIDIA GeForce RTX 4090",
            "uuid": f"GPU-00000000-0000-0000-0000-00000000000{index}",
            "cuda_compute_capability": [8, 9],
            "memory_v1": {"total": 25757220864, "free": 25000000000, "used": 757220864},
            "pci": {
                "bus_id": f"00000000:0{index + 1}:00.0",
                "pci_device_id": 0x268410DE,
                "pci_subsystem_id": 0x889F1043,
            },
            "mig_mode": {"ret": "NVML_ERROR_NOT_SUPPORTED"},
            "ecc_mode": {"current": 0, "pending": 0},
            "compute_mode": 0,
        }

    system = {"driver_version": "535.104.05", "nvml_version": "12.535.104.05", "cuda_driver_version": 12020}
    return {"init": "NVML_SUCCESS", "system": system, "devices": [gpu(0), {**gpu(1), **second}]}


def broken(ret: str) -> dict[str, Any]:
    return {"init": ret, "system": {}, "devices": []}


@pytest.mark.skipif(not NAMES, reason="the recorded profiles (../shared) are not beside this checkout")
@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_profile_is_read_as_expected(name: str, use_fake_nvml: Use) -> None:
    profile = json.loads((PROFILES / name).read_text(encoding="utf-8"))
    expect = json.loads((PROFILES / f"{name}.expected.json").read_text(encoding="utf-8"))["expect"]
    absent = isinstance(profile["system"]["cuda_driver_version"], dict)
    use_fake_nvml(profile, omit=[CUDA_CALL] if absent else [])
    report = nvml.query(LiveHost())
    assert report.initialised is expect["ok"]
    assert report.driver_version == expect["driver_version"]
    cuda = expect["cuda_driver_version"]
    assert report.cuda_version == (f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None)
    assert len(report.gpus) == expect["gpu_count"]
    if not expect["ok"]:
        assert (f"NVML_ERROR_{report.error}", report.code) == (
            expect["errors"][0]["error"],
            expect["errors"][0]["code"],
        )
    modes = {True: "Enabled", False: "Disabled", None: None}
    for gpu, want, device in zip(report.gpus, expect["gpus"], profile["devices"], strict=True):
        found = {
            "index": gpu.index,
            "name": gpu.name,
            "uuid": gpu.uuid,
            "memory_total_mib": gpu.memory_mib,
            "compute_capability": gpu.compute_capability,
        }
        assert found == {key: want[key] for key in found}
        if device["handle_ret"] == "NVML_SUCCESS":  # without a handle nothing more can be asked
            assert (modes[gpu.mig], modes[gpu.ecc]) == (want["mig_mode"], want["ecc_mode"])
        failed = [e["error"] for e in expect["errors"] if e.get("gpu_index") == gpu.index]
        assert bool(gpu.errors) is bool(failed)
        for text in failed:
            assert any(error.startswith(text.removeprefix("NVML_ERROR_")) for error in gpu.errors)


@pytest.mark.parametrize(
    ("ret", "name", "code"),
    [
        ("NVML_ERROR_LIB_RM_VERSION_MISMATCH", "LIB_RM_VERSION_MISMATCH", 18),
        ("NVML_ERROR_DRIVER_NOT_LOADED", "DRIVER_NOT_LOADED", 9),
        ("NVML_ERROR_NO_PERMISSION", "NO_PERMISSION", 4),
        ("NVML_ERROR_UNKNOWN", "UNKNOWN", 999),
    ],
)
def test_an_error_of_init_keeps_its_name(ret: str, name: str, code: int, use_fake_nvml: Use) -> None:
    use_fake_nvml(broken(ret))
    report = nvml.query(LiveHost())
    assert (report.error, report.code, report.gpus) == (name, code, ())
    assert report.message is not None and "in nvmlInit" in report.message


def test_a_hang_in_init_is_told_within_the_deadline(use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(), ["- hang_in 0 nvmlInitWithFlags"])
    start = time.monotonic()
    report = nvml.query(LiveHost(), timeout=0.5)
    assert time.monotonic() - start < 2
    assert (report.error, report.message) == ("TIMEOUT", "nvmlInit did not answer in 0.5 s")


def test_a_hang_midway_keeps_what_was_said_before(use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(handle_ret="NVML_SUCCESS"), ["- hang_in 0 nvmlDeviceGetUUID"])
    report = nvml.query(LiveHost(), timeout=0.5)
    assert report.error == "TIMEOUT"
    assert (report.driver_version, report.count) == ("535.104.05", 2)
    assert report.message is not None and report.message.startswith("nvmlDeviceGetHandleByIndex(0)")


@pytest.mark.parametrize(("mode", "signal"), [("abort_in", 6), ("segv_in", 11)])
def test_a_crash_is_a_finding(mode: str, signal: int, use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(), [f"- {mode} 0 nvmlInitWithFlags"])
    report = nvml.query(LiveHost())
    assert (report.error, report.message) == ("CRASHED", f"NVML crashed with signal {signal} in nvmlInit")


def test_what_the_library_prints_is_not_taken_for_an_answer(use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(), ["- print_in 0 nvmlInitWithFlags"])
    report = nvml.query(LiveHost())
    assert (report.error, len(report.gpus)) == (None, 2)


@pytest.mark.parametrize("ret", ["NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_UNKNOWN"])
def test_one_lost_gpu_does_not_lose_the_other(ret: str, use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(handle_ret=ret))
    report = nvml.query(LiveHost())
    first, second = report.gpus
    assert report.error is None
    assert first.compute_capability == "8.9" and first.errors == ()
    assert second == nvml.NvmlGpu(index=1, errors=(f"{ret.removeprefix('NVML_ERROR_')} on nvmlDeviceGetHandleByIndex",))


def test_a_gpu_lost_after_some_calls_keeps_its_errors(use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus(), ["- lost_after 0 9"])
    report = nvml.query(LiveHost())
    assert report.gpus[0].errors == ()
    assert all(error.startswith("GPU_IS_LOST") for error in report.gpus[1].errors)
    assert report.gpus[1].errors


def test_an_old_driver_lacks_functions_and_nothing_breaks(use_fake_nvml: Use) -> None:
    missing = [CUDA_CALL, "nvmlDeviceGetMigMode", "nvmlDeviceGetCudaComputeCapability"]
    use_fake_nvml(two_gpus(), omit=missing)
    report = nvml.query(LiveHost())
    assert (report.error, report.cuda_version) == (None, None)
    assert [(g.mig, g.compute_capability, g.ecc, g.errors) for g in report.gpus] == [(None, None, False, ())] * 2


def test_no_library_is_said_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    host = LiveHost()
    if host.exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has an NVIDIA driver")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert nvml.query(host).error == "LIBRARY_NOT_FOUND"


def test_values_are_written_as_elsewhere(use_fake_nvml: Use) -> None:
    use_fake_nvml(two_gpus())
    gpu = nvml.query(LiveHost()).gpus[1]
    assert (gpu.bus_id, gpu.pci_id, gpu.subsystem_id) == ("0000:02:00.0", "10de:2684", "1043:889f")
    assert (gpu.memory_mib, gpu.compute_mode, gpu.mig, gpu.ecc) == (24564, 0, None, False)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("00000008:06:00.0", "0008:06:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("nonsense", None),
        (None, None),
    ],
)
def test_bus_ids(text: str | None, normal: str | None) -> None:
    assert nvml.normal_bus_id(text) == normal


@given(st.text(), st.text(), st.one_of(st.none(), st.integers(-64, 255)), st.booleans())
def test_any_output_of_the_child_is_survived(stdout: str, stderr: str, rc: int | None, timed_out: bool) -> None:
    result = CommandResult(argv=("x",), rc=rc, stdout=stdout, stderr=stderr, timed_out=timed_out)
    assert nvml.parse_child(result, 5.0).error in ("TIMEOUT", "NOT_RUN", "CRASHED")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["index", "name", "errors"]), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.lists(st.dictionaries(st.sampled_from(["gpu", "system", "error", "stage", "done"]), JSON), max_size=4))
def test_any_json_of_the_child_is_survived(items: list[dict[str, Any]]) -> None:
    result = CommandResult(argv=("x",), rc=0, stdout="\n".join(map(json.dumps, items)))
    report = nvml.parse_child(result, 5.0)
    assert all(gpu.index >= 0 for gpu in report.gpus)
