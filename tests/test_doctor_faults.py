"""A driver in trouble, for real: doctor against the compiled fake NVML and fake nvidia-smi programs.

The host is the recorded healthy workstation; only NVML's child process and nvidia-smi run for real. Whatever they do,
the report is complete, names the cause, ends within ten seconds, and the exit code is the contract's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from live_faults import WORKSTATION, raw_copy, unloaded
from test_nvml import broken, two_gpus

from envcheck.checks import CODES
from envcheck.cli import main
from envcheck.host import CommandResult, LiveHost, RecordedHost

MACHINES = Path(__file__).parent / "machines"
PROFILES = Path(__file__).resolve().parent.parent.parent / "shared" / "outputs"
NAMES = sorted(p.name for p in PROFILES.glob("nvml-profile__*.json") if not p.name.endswith(".expected.json"))
LONGEST = 10.0  # seconds
ALIVE = ("envcheck.nvml", "nvidia-smi")  # the commands that are run for real
Run = Callable[..., "Answer"]


class Answer:
    def __init__(self, code: int, out: str, seconds: float) -> None:
        self.code, self.seconds = code, seconds
        self.data: dict[str, Any] = json.loads(out)
        self.fails = [f["code"] for f in self.data["findings"] if f["status"] == "fail"]


class HalfLive(RecordedHost):
    """A recorded host whose driver is asked for real."""

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        if label and label[0] in ALIVE:
            return LiveHost().run(argv, timeout, env=env, label=label)
        return super().run(argv, timeout, env=env, label=label)


@pytest.fixture
def doctor(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    recorded = json.loads((MACHINES / WORKSTATION / "snapshot.json").read_text(encoding="utf-8"))["raw"]

    def run(change: Callable[[dict[str, Any]], None] = lambda raw: None) -> Answer:
        raw = raw_copy(recorded)
        change(raw)
        monkeypatch.setattr("envcheck.host.LiveHost", lambda: HalfLive(raw))
        start = time.monotonic()
        code = main(["doctor", "--format", "json"])
        seconds = time.monotonic() - start
        answer = Answer(code, capfdbinary.readouterr()[0].decode(), seconds)
        assert answer.seconds < LONGEST
        assert [r["code"] for r in answer.data["results"]] == list(CODES)  # the rest of the report came
        assert [r for r in answer.data["results"] if r["status"] in ("crash", "timeout")] == []
        return answer

    return run


def one_gpu() -> dict[str, Any]:
    profile = two_gpus()
    return {**profile, "devices": profile["devices"][:1]}


def no_bus(raw: dict[str, Any]) -> None:
    raw["dirs"]["/sys/bus/pci/devices"] = []


def smi(path: Path, script: str) -> Callable[[dict[str, Any]], None]:
    """A host whose nvidia-smi is this shell script."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)

    def change(raw: dict[str, Any]) -> None:
        raw["which"]["nvidia-smi"] = str(path)

    return change


def test_a_sound_driver_is_healthy(doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(one_gpu())
    answer = doctor()
    assert (answer.code, answer.data["verdict"], answer.fails) == (0, "healthy", [])
    assert answer.data["machine"]["facts"]["gpu"]["0"]["memory_total_mib"] == 24564


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"clocks_event_reasons": 0x48}, "gpu-throttled"),
        ({"remapped_rows": {"corr": 0, "unc": 2, "pending": 0, "failure": 1}}, "gpu-ecc-error"),
        ({"ecc_errors": 3}, "gpu-ecc-error"),
        ({"compute_mode": 2}, "gpu-exclusive-mode"),
        ({"memory_v1": {"total": 25757220864, "free": 1000, "used": 25757219864}}, "gpu-out-of-memory"),
    ],
)
def test_details_of_a_card_are_findings(
    change: dict[str, Any], code: str, doctor: Run, use_fake_nvml: Callable[..., None]
) -> None:
    profile = one_gpu()
    profile["devices"][0].update(change)
    use_fake_nvml(profile)
    assert [f["code"] for f in doctor().data["findings"]] == [code]


@pytest.mark.parametrize(
    ("ret", "code"),
    [
        ("NVML_ERROR_LIB_RM_VERSION_MISMATCH", "driver-library-mismatch"),
        ("NVML_ERROR_NO_PERMISSION", "device-permissions"),
        ("NVML_ERROR_UNKNOWN", "driver"),
    ],
)
def test_what_init_answers_is_the_finding(ret: str, code: str, doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(broken(ret))
    answer = doctor()
    assert (answer.code, answer.data["verdict"], answer.fails[:1]) == (1, "broken", [code])


def test_a_driver_that_is_not_loaded(doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(broken("NVML_ERROR_DRIVER_NOT_LOADED"))
    answer = doctor(unloaded)
    assert (answer.code, answer.fails) == (1, ["kernel-module-not-built"])


@pytest.mark.parametrize(
    ("line", "seconds"), [("- lost_after 0 3", 0), ("- lost_after 0 9", 0), ("- slow_in 0 nvmlInitWithFlags", 0)]
)
def test_a_card_that_is_lost_or_slow(line: str, seconds: int, doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(one_gpu(), [line])
    answer = doctor()
    if "slow" in line:
        assert (answer.code, answer.fails) == (0, [])
    else:
        assert (answer.code, answer.fails[:1]) == (1, ["gpu-fell-off-bus"])


def test_a_hang_in_init_is_a_finding(doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(one_gpu(), ["- hang_in 0 nvmlInitWithFlags"])
    answer = doctor()
    assert (answer.code, answer.fails) == (1, ["driver"])
    assert "nvmlInit did not answer in 5 s" in answer.data["findings"][0]["summary"]


def test_a_hang_midway_keeps_what_was_said(
    doctor: Run, use_fake_nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_nvml(one_gpu(), ["- hang_in 0 nvmlDeviceGetUUID"])
    answer = doctor()
    assert answer.code == 1
    assert answer.data["machine"]["driver"]["version"] == "535.104.05"
    assert "did not answer" in answer.data["machine"]["problems"]["driver"]


@pytest.mark.parametrize(("mode", "signal"), [("abort_in", 6), ("segv_in", 11)])
def test_a_crash_of_nvml_is_a_finding(mode: str, signal: int, doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(one_gpu(), [f"- {mode} 0 nvmlInitWithFlags"])
    answer = doctor()
    assert (answer.code, answer.fails) == (1, ["driver"])
    assert f"NVML crashed with signal {signal}" in answer.data["findings"][0]["summary"]


def test_an_old_driver_lacks_functions_and_nothing_breaks(doctor: Run, use_fake_nvml: Callable[..., None]) -> None:
    use_fake_nvml(one_gpu(), omit=["nvmlSystemGetCudaDriverVersion", "nvmlDeviceGetMigMode"])
    answer = doctor()
    assert (answer.code, answer.fails) == (0, [])


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sleep 60", "nvidia-smi did not answer in 5 s"),
        ("printf '\\377\\376\\351 garbage\\n'; exit 0", "nvidia-smi ended with code 0"),
        ("exit 0", "said 'nothing'"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "reboot to load the new module"),
    ],
)
def test_nvidia_smi_that_does_not_answer(
    script: str, says: str, doctor: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(empty))
    if LiveHost().exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has an NVIDIA driver, whose NVML would answer")
    answer = doctor(smi(tmp_path / "nvidia-smi", script))
    assert (answer.code, answer.data["verdict"]) == (1, "broken")
    assert says in answer.data["machine"]["problems"]["driver"]


def test_nvidia_smi_with_a_name_that_is_no_utf8(doctor: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(empty))
    if LiveHost().exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has an NVIDIA driver, whose NVML would answer")
    row = "printf '0, NVIDIA \\351 RTX 4090, 550.144.03, 24564 MiB, 00000000:01:00.0, GPU-1, 0x268410DE, 0x0\\n'"
    answer = doctor(smi(tmp_path / "nvidia-smi", row))
    assert answer.data["machine"]["driver"]["version"] == "550.144.03"
    assert answer.code in (0, 3)


@pytest.mark.skipif(not NAMES, reason="the recorded profiles (../shared) are not beside this checkout")
@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_profile_gives_a_complete_report(
    name: str, doctor: Run, use_fake_nvml: Callable[..., None]
) -> None:
    profile = json.loads((PROFILES / name).read_text(encoding="utf-8"))
    absent = isinstance(profile["system"]["cuda_driver_version"], dict)
    use_fake_nvml(profile, omit=["nvmlSystemGetCudaDriverVersion"] if absent else [])
    answer = doctor(no_bus)
    undetermined = answer.data["verdict"] == "undetermined"
    assert answer.code == (1 if answer.fails else 3 if undetermined else 0)
    works = profile["init"] == "NVML_SUCCESS"
    lost = [d for d in profile["devices"] if d["handle_ret"] != "NVML_SUCCESS"]
    if not works:
        assert answer.code == 1 and answer.fails
    else:
        assert len(answer.data["machine"]["gpus"]) == len(profile["devices"])
        assert "driver" not in answer.fails
    if works and any(d["handle_ret"] == "NVML_ERROR_GPU_IS_LOST" for d in lost):
        assert "gpu-fell-off-bus" in answer.fails
