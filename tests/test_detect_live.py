"""Detection of the machine that runs the tests, with the fake NVML and a fake nvidia-smi in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envcheck.detect import detect, gpus, python
from envcheck.detect.torch import detect_torch
from envcheck.host import CommandResult, LiveHost, PlatformFacts, RecordedHost
from envcheck.model import OS, Gpu, Machine, from_plain, to_plain
from envcheck.nvml import NvmlReport

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at Linux's own files")

GPU = {
    "index": 0,
    "handle_ret": "NVML_SUCCESS",
    "name": "NVIDIA GeForce RTX 3090",
    "uuid": "GPU-00000000-0000-0000-0000-000000000001",
    "cuda_compute_capability": [8, 6],
    "memory_v1": {"total": 24576 << 20, "free": 24000 << 20, "used": 576 << 20},
    "pci": {"bus_id": "00000000:7F:00.0", "pci_device_id": 0x220410DE, "pci_subsystem_id": 0x38811462},
}
PROFILE: dict[str, Any] = {
    "system": {"driver_version": "525.147.05", "nvml_version": "12.525.147.05", "cuda_driver_version": 12000},
    "devices": [GPU],
}


@pytest.fixture
def no_driver_here() -> None:
    if LiveHost().exists("/proc/driver/nvidia/version"):
        pytest.skip("this machine has an NVIDIA driver of its own")


def test_this_machine_is_told_soon_and_whole() -> None:
    start = time.monotonic()
    machine = detect(LiveHost(), python=sys.executable)
    assert time.monotonic() - start < 5
    assert from_plain(Machine, to_plain(machine)) == machine
    assert machine.os.platform in ("linux", "windows", "macos")
    assert machine.os.arch
    assert not [p for p in machine.problems.values() if "envcheck could not look" in p]
    assert machine.python is not None
    assert machine.python.version == ".".join(map(str, sys.version_info[:3]))
    assert machine.python.abi is not None and machine.python.abi.startswith("cp3")


@linux
def test_through_the_fake_nvml(use_fake_nvml: Callable[..., None], no_driver_here: None) -> None:
    use_fake_nvml(PROFILE)
    machine = detect(LiveHost(), python=sys.executable)
    assert (machine.driver.version, machine.driver.cuda, machine.driver.state) == ("525.147.05", "12.0", "ok")
    assert [(g.name, g.compute_capability, g.pci_id) for g in machine.gpus] == [
        ("NVIDIA GeForce RTX 3090", "8.6", "10de:2204")
    ]
    assert "gpus" not in machine.problems


@linux
def test_a_hang_costs_its_deadline_and_nothing_else(
    use_fake_nvml: Callable[..., None], no_driver_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_nvml(PROFILE, ["- hang_in 0 nvmlInitWithFlags"])
    monkeypatch.setenv("ENVCHECK_NVML_TIMEOUT", "1")
    start = time.monotonic()
    machine = detect(LiveHost(), python=sys.executable)
    assert time.monotonic() - start < 5
    assert machine.problems["driver"] == "nvmlInit did not answer in 1 s"
    assert machine.problems["gpus"] == "nvmlInit did not answer in 1 s"
    assert machine.driver.state == "broken" or machine.os.container
    assert machine.os.id and machine.python


@linux
def test_a_hang_midway_keeps_the_driver_and_says_how_many_answered(
    use_fake_nvml: Callable[..., None], no_driver_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fake_nvml(PROFILE, ["- hang_in 0 nvmlDeviceGetEccMode"])
    monkeypatch.setenv("ENVCHECK_NVML_TIMEOUT", "1")
    machine = detect(LiveHost(), python=sys.executable)
    assert machine.driver.version == "525.147.05"
    assert machine.problems["gpus"].startswith("0 of 1 GPUs answered: nvmlDeviceGetHandleByIndex(0) did not answer")


@linux
def test_hostile_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_driver_here: None) -> None:
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nprintf '\\377\\376 not a table\\n'\nexit 255\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    machine = detect(LiveHost(), python=sys.executable)
    assert machine.facts["driver"]["smi_error"] == "GARBAGE"
    assert machine.driver.version is None


@linux
def test_an_nvidia_smi_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_driver_here: None) -> None:
    from envcheck.detect import smi

    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\nsleep 60 &\nwait\n")
    script.chmod(0o755)
    monkeypatch.setattr(smi, "TIMEOUT", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    start = time.monotonic()
    machine = detect(LiveHost(), python=sys.executable)
    assert time.monotonic() - start < 5
    assert machine.problems["nvidia-smi"] == "nvidia-smi did not answer in 0.5 s"


class _Refusing(RecordedHost):
    """A host on which one question after the other raises what no host should raise."""

    def __init__(self, method: str) -> None:
        super().__init__({"platform": {"sys_platform": "linux", "machine": "x86_64"}, "env": {"PATH": "/usr/bin"}})
        self._method = method

    def _check(self, method: str) -> None:
        if self._method == method:
            raise RuntimeError("refused")

    def read_text(self, path: str) -> str | None:
        self._check("read_text")
        return super().read_text(path)

    def listdir(self, path: str, match: Sequence[str] = ()) -> tuple[str, ...] | None:
        self._check("listdir")
        return super().listdir(path, match)

    def which(self, name: str) -> str | None:
        self._check("which")
        return super().which(name)

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        self._check("run")
        return super().run(argv, timeout, env=env, label=label)


@pytest.mark.parametrize("method", ["read_text", "listdir", "which", "run"])
def test_a_probe_that_raises_is_a_problem_and_no_traceback(method: str) -> None:
    machine = detect(_Refusing(method))
    refused = [k for k, v in machine.problems.items() if "RuntimeError: refused" in v]
    assert refused
    assert from_plain(Machine, to_plain(machine)) == machine


def test_an_unreadable_bus_is_not_an_empty_one() -> None:
    host = RecordedHost({"platform": {"sys_platform": "linux"}, "files": {"/etc/os-release": "ID=debian\n"}})
    assert detect(host).problems["gpus"] == "/sys/bus/pci/devices cannot be read"
    host = RecordedHost({"platform": {"sys_platform": "linux"}, "dirs": {"/sys/bus/pci/devices": []}})
    assert "gpus" not in detect(host).problems


def test_a_wanted_interpreter_that_is_none_is_named() -> None:
    machine = detect(LiveHost(), python="/no/such/python")
    assert machine.python is None
    assert "/no/such/python could not be started" in machine.problems["python"]


def test_the_target_is_the_active_environment_before_path() -> None:
    raw = {
        "env": {"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c"},
        "exists": {"/v/bin/python": True, "/c/bin/python": True},
        "which": {"python3": "/usr/bin/python3", "mypython": "/opt/mypython"},
    }
    assert python.target_executable(RecordedHost(raw), None) == "/v/bin/python"
    raw["exists"]["/v/bin/python"] = False
    assert python.target_executable(RecordedHost(raw), None) == "/c/bin/python"
    raw["env"] = {}
    assert python.target_executable(RecordedHost(raw), None) == "/usr/bin/python3"
    assert python.target_executable(RecordedHost(raw), "mypython") == "/opt/mypython"
    assert python.target_executable(RecordedHost(raw), "./bin/py") == "./bin/py"


def test_torch_in_a_real_venv_by_its_files(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=60)
    executable = next(p for p in (venv / "bin" / "python", venv / "Scripts" / "python.exe") if p.exists())
    found, why = python.describe(LiveHost(), str(executable))
    assert why is None and found is not None
    assert found.python.environment == "venv" and found.python.externally_managed is False
    site = next(Path(p) for p in found.path if p.startswith(str(venv)) and p.endswith("site-packages"))
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text("__version__ = '2.0.1+cu117'\ncuda = '11.7'\n")
    (site / "torch-2.0.1.dist-info").mkdir()
    (site / "numpy-1.26.4.dist-info").mkdir()
    torch, packages = detect_torch(LiveHost(), found)
    assert torch is not None
    assert (torch.version, torch.cuda, torch.source) == ("2.0.1+cu117", "11.7", "pip")
    assert packages == {"numpy": "1.26.4"}


def test_a_gpu_of_another_container_is_not_ours() -> None:
    from envcheck.detect.pci import Bus, PciGpu
    from envcheck.nvml import NvmlGpu

    bus = Bus(
        readable=True,
        gpus=tuple(PciGpu(bus_id=f"0000:0{i}:00.0", pci_id="10de:20b0", driver="nvidia") for i in range(1, 4)),
    )
    report = NvmlReport(
        driver_version="550.1",
        count=1,
        gpus=(NvmlGpu(index=0, name="A100", bus_id="0000:02:00.0", pci_id="10de:20b0"),),
    )
    inside = gpus.merge(OS(container="docker"), bus, report, None)
    outside = gpus.merge(OS(), bus, report, None)
    assert [g.bus_id for g in inside] == ["0000:02:00.0"]
    assert [(g.index, g.bus_id, g.errors) for g in outside] == [
        (0, "0000:02:00.0", ()),
        (1, "0000:01:00.0", (gpus.NOT_SHOWN,)),
        (2, "0000:03:00.0", (gpus.NOT_SHOWN,)),
    ]


def test_two_lost_gpus_are_told_apart_only_where_the_bus_allows_it() -> None:
    from envcheck.detect.pci import Bus, PciGpu
    from envcheck.nvml import NvmlGpu

    device = PciGpu(bus_id="0000:01:00.0", pci_id="10de:2204", driver="nvidia")
    lost = tuple(NvmlGpu(index=i, errors=("GPU_IS_LOST on nvmlDeviceGetHandleByIndex",)) for i in range(2))
    report = NvmlReport(driver_version="550.1", count=2, gpus=lost)
    found = gpus.merge(OS(container="docker"), Bus(readable=True, gpus=(device,)), report, None)
    assert [g.bus_id for g in found] == [None, None]


def test_wsl_without_a_library_is_no_proof_of_no_gpu() -> None:
    from envcheck.detect.pci import Bus

    report = NvmlReport(error="LIBRARY_NOT_FOUND", message="NVML Shared Library Not Found")
    with_device = RecordedHost({"exists": {"/dev/dxg": True}})
    nothing: tuple[Gpu, ...] = ()
    assert gpus.problem(with_device, OS(wsl="2", platform="linux"), Bus(readable=True), nothing, report)
    assert gpus.problem(RecordedHost({}), OS(wsl="1", platform="linux"), Bus(readable=True), nothing, report) is None


def test_windows_and_macos_import_nothing_of_posix() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios'): sys.modules[name] = None\n"
        "import envcheck.host, envcheck.nvml, envcheck.detect.snapshot\n"
        "print('pynvml' in sys.modules or 'distro' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "False", "")


def test_platform_facts_are_enough_for_windows_and_macos() -> None:
    assert PlatformFacts().sys_platform == "linux"
    windows = RecordedHost({"platform": {"sys_platform": "win32", "machine": "AMD64", "version": "10.0.19045"}})
    assert detect(windows).os == OS(
        id="windows", version="10", family="windows", kernel="10.0.19045", arch="x86_64", platform="windows"
    )
