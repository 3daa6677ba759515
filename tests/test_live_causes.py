"""Each cause that a live machine can tell fires from a recorded host, and is quiet on the same host without it."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from live_faults import FAULTS, MIG, WINDOWS, WORKSTATION, gpu, raw_copy, says, torch

from envcheck.checks import Report, run_checks
from envcheck.detect import snapshot
from envcheck.identify import identify
from envcheck.matrix import load

MACHINES = Path(__file__).parent / "machines"
MATRIX = load(None)
# what no recorded state of a machine can tell: a fault of the model, and one that leaves no trace
NOT_LIVE = {"fp16-overflow", "power-insufficient", "healthy"}


@functools.cache
def raw_of(name: str) -> str:
    return json.dumps(json.loads((MACHINES / name / "snapshot.json").read_text(encoding="utf-8"))["raw"])


def report_of(raw: dict[str, object]) -> Report:
    return run_checks(identify(snapshot.replay(raw), MATRIX), MATRIX)


@functools.cache
def healthy(name: str) -> Report:
    return report_of(json.loads(raw_of(name)))


@pytest.mark.parametrize("code", FAULTS)
def test_the_fault_is_told_without_any_symptom_text(code: str) -> None:
    name, fault = FAULTS[code]
    raw = raw_copy(json.loads(raw_of(name)))
    fault(raw)
    report = report_of(raw)
    assert report.machine.symptoms == ()
    assert [r.summary for r in report.results if r.status == "crash"] == []
    assert [p for p in report.machine.problems.values() if "envcheck could not look" in p] == []
    assert code in [f.code for f in report.findings]


@pytest.mark.parametrize("code", FAULTS)
def test_the_healthy_twin_is_quiet(code: str) -> None:
    report = healthy(FAULTS[code][0])
    assert code not in [f.code for f in report.findings]
    assert [f.code for f in report.findings if f.status == "fail"] == []


@pytest.mark.parametrize("name", sorted({name for name, _ in FAULTS.values()}))
def test_the_twins_are_healthy_altogether(name: str) -> None:
    assert (healthy(name).verdict, healthy(name).findings) == ("healthy", ())


def test_every_cause_that_can_be_told_live_has_a_fault(shared: Path) -> None:
    causes = json.loads((shared / "cases" / "causes.json").read_text(encoding="utf-8"))["causes"]
    live = {c["slug"] for c in causes if not c["live_check"].startswith("no ")} - NOT_LIVE
    assert live - set(FAULTS) == set()


def test_mig_without_a_slice_is_a_fault() -> None:
    raw = raw_copy(json.loads(raw_of(MIG)))
    gpu(details={"mig_devices": 0})(raw)
    assert [(f.code, f.status) for f in report_of(raw).findings] == [("mig-enabled", "fail")]


def test_a_uuid_of_another_machine_hides_every_gpu() -> None:
    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    raw["env"]["CUDA_VISIBLE_DEVICES"] = "GPU-00000000-0000-0000-0000-000000000001"
    assert report_of(raw).findings == ()
    raw["env"]["CUDA_VISIBLE_DEVICES"] = "GPU-deadbeef"
    assert [f.code for f in report_of(raw).findings] == ["cuda-visible-devices"]


def test_verbose_shows_the_state_of_each_gpu() -> None:
    from envcheck.report import as_text

    text = as_text(healthy(WORKSTATION), verbose=1)
    assert "gpu 0     400 of 24564 MiB in use, PCIe 4 x16 (of 4 x16), 38 C, compute mode Default" in text
    assert "gpu 0 " not in as_text(healthy(WORKSTATION))


def test_what_root_would_add_is_said() -> None:
    from envcheck.report import as_text

    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    says("envcheck.kernel-log", stdout="dmesg: read kernel buffer failed: Operation not permitted\nenvcheck-done\n")(
        raw
    )
    report = report_of(raw)
    assert report.verdict == "healthy"
    assert "not looked at: kernel log: only root may read it here" in as_text(report)


def test_an_intel_python_on_apple_silicon() -> None:
    fires = [f.code for f in report_of(json.loads(raw_of("macos-14-m2-rosetta"))).findings]
    quiet = [f.code for f in report_of(json.loads(raw_of("macos-14-m3"))).findings]
    assert fires == ["macos-no-cuda", "macos-rosetta-python"]
    assert quiet == ["macos-no-cuda"]


def test_a_driver_of_windows_without_cuda() -> None:
    raw = raw_copy(json.loads(raw_of(WINDOWS)))
    raw["exists"][r"C:\Windows\System32\nvcuda.dll"] = False
    (finding,) = report_of(raw).findings
    assert (finding.code, finding.status) == ("no-nvidia-driver", "fail")
    assert "nvcuda.dll" in finding.evidence[0]


def test_torch_2_4_0_wants_another_dll() -> None:
    raw = raw_copy(json.loads(raw_of(WINDOWS)))
    torch("2.4.0+cu124", "12.4")(raw)
    assert "windows-missing-runtime-dll" in [f.code for f in report_of(raw).findings]
    raw["exists"][r"C:\Windows\System32\libomp140.x86_64.dll"] = True
    assert "windows-missing-runtime-dll" not in [f.code for f in report_of(raw).findings]


def test_a_card_of_a_virtual_machine_is_the_one_finding() -> None:
    name, fault = FAULTS["gpu-bound-to-vfio"]
    raw = raw_copy(json.loads(raw_of(name)))
    fault(raw)
    assert [f.code for f in report_of(raw).findings if f.status == "fail"] == ["gpu-bound-to-vfio"]


def test_a_full_shm_on_any_machine() -> None:
    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    (look,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.look"]]
    look["stdout"] += "tmpfs 33554432 33550000 4432 100% /dev/shm\n"
    (finding,) = report_of(raw).findings
    assert (finding.code, finding.status) == ("shm-too-small", "warn")
    assert finding.evidence == ("/dev/shm is full: 4 of 32768 MiB are free",)


def test_a_run_file_over_packages() -> None:
    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    raw["exists"]["/usr/bin/nvidia-uninstall"] = True
    assert report_of(raw).findings == ()  # alone it is a driver like any other
    raw["dirs"]["/var/lib/dpkg/info"] = ["libnvidia-compute-550:amd64.list", "nvidia-driver-550.list", "bash.list"]
    (finding,) = report_of(raw).findings
    assert (finding.code, finding.status) == ("driver-library-mismatch", "warn")
    assert "libnvidia-compute-550, nvidia-driver-550" in finding.evidence[0]
    assert [s.argv[0] for s in finding.fix] == ["nvidia-uninstall", "apt-get"]
    assert finding.fix[1].argv[-2:] == ("libnvidia-compute-550", "nvidia-driver-550")


def test_a_driver_of_a_run_file_is_uninstalled_before_packages_come() -> None:
    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    FAULTS["driver-too-old"][1](raw)
    raw["exists"]["/usr/bin/nvidia-uninstall"] = True
    finding = next(f for f in report_of(raw).findings if f.code == "driver-too-old")
    steps = [s.argv[:2] for s in finding.fix]
    assert steps.index(("nvidia-uninstall", "--silent")) < steps.index(("bash", "install.sh"))


def test_verbose_shows_variables_and_space() -> None:
    from envcheck.report import as_text

    raw = raw_copy(json.loads(raw_of(WORKSTATION)))
    raw["env"]["CUDA_LAUNCH_BLOCKING"] = "1"
    (look,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.look"]]
    look["stdout"] += "tmpfs 33554432 1024 33553408 1% /dev/shm\n"
    text = as_text(report_of(raw), verbose=1)
    assert "env       CUDA_LAUNCH_BLOCKING=1" in text
    assert "space     /dev/shm: 32767 of 32768 MiB free" in text
