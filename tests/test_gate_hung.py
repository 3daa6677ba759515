"""A driver that hangs in the kernel: real processes in state D, which no signal ends. The gate ends in time.

A FUSE mount that answers nothing (``stuck_files.py``) stands for the driver: to the caller it is the same wait.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stuck_files import state_of, stuck_folder
from test_gate_run import REPORTS, gate, has_gpu, reports_into

from envcheck.gate.run import Job, look
from envcheck.host.descendants import end_descendants, running

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder into which nobody can look without hanging for good."""
    with stuck_folder(tmp_path_factory.mktemp("silent")) as folder:
        yield folder


def test_the_mount_makes_a_process_that_cannot_be_ended(silent: Path) -> None:
    process = subprocess.Popen(["cat", str(silent / "x")], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    process.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert state_of(process.pid) == "D"


def test_a_worker_that_the_kernel_keeps_is_named_and_not_waited_for(silent: Path) -> None:
    boot = f"import os; os.stat({str(silent / 'driver')!r})"
    began = time.monotonic()
    found = look(Job(proofs=("cudnn",), deadline=4), boot=boot)
    assert time.monotonic() - began < 12  # 5 on a machine that does nothing else
    assert found.stopped is not None and found.stopped.status == "timeout"
    assert "the time for the whole run (4 s) was up" in found.stopped.text
    assert "does not end even when killed" in found.stopped.text and "(python" in found.stopped.text


def test_a_grandchild_that_the_kernel_keeps_is_named_though_it_left_its_group(silent: Path) -> None:
    child = f"import os; os.setsid() if os.fork() == 0 else os._exit(0); os.stat({str(silent / 'driver')!r})"
    boot = (
        f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {child!r}], env={{}}); time.sleep(1); "
        "from pathlib import Path; Path(sys.argv[2], 'lines.jsonl').write_text('{\"done\": true}')"
    )
    found = look(Job(proofs=(), deadline=20), boot=boot)
    assert found.stopped is not None
    assert found.stopped.status == "timeout" and "does not end even when killed" in found.stopped.text


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_nvidia_smi_in_the_kernel_costs_no_report(silent: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nexec cat {silent}/nvidiactl\n")
    (folder / "nvidia-smi").chmod(0o755)
    began = time.monotonic()
    done = gate(tmp_path, "--timeout", "20", *reports_into(tmp_path / "out"), PATH=f"{folder}:{os.environ['PATH']}")
    assert time.monotonic() - began < 25
    assert done.returncode in (1, 3), done.stdout + done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(REPORTS)
    data = json.loads((tmp_path / "out" / "json").read_text())
    assert "(cat) does not end even when killed" in data["stopped"]["text"]
    assert "(cat) does not end even when killed" in (tmp_path / "out" / "junit").read_text()
    assert "(cat) does not end even when killed" in done.stdout


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_a_library_that_hangs_in_the_kernel_is_left_in_twenty_seconds(
    silent: Path, tmp_path: Path, use_fake_nvml: Callable[..., None]
) -> None:
    use_fake_nvml({}, [f"- open_in 0 nvmlInitWithFlags {silent}/nvidiactl"])
    began = time.monotonic()
    done = gate(tmp_path, "--timeout", "20", *reports_into(tmp_path / "out"))
    assert time.monotonic() - began < 25
    assert done.returncode in (1, 3), done.stdout + done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(REPORTS)
    assert "does not end even when killed" in json.loads((tmp_path / "out" / "json").read_text())["stopped"]["text"]


def test_only_what_was_started_inside_is_ended() -> None:
    bystander = subprocess.Popen(["sleep", "30"])
    try:
        before = running()
        inside = subprocess.Popen(["sh", "-c", "setsid sleep 30 & sleep 30"])
        time.sleep(0.3)
        began = time.monotonic()
        assert end_descendants(before) == ()
        assert time.monotonic() - began < 5
        assert inside.wait(5) == -9 and bystander.poll() is None
        assert set(running()) - set(before) == set()
    finally:
        bystander.kill()
        bystander.wait()
