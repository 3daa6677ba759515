"""Probe processes that die, hang, babble or leave others behind: the right outcome each time, and nothing left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stuck_files import state_of, stuck_folder

from envcheck.model import Machine
from envcheck.verify import Options, rehearse, run
from envcheck.verify.run import Probes
from envcheck.verify.trouble import trouble
from envcheck.verify.words import CRASHED, DONE, RAISED, SKIPPED, TIMED_OUT, TrialRun

SCRIPT = Path(__file__).parent / "verify_probes" / "misbehaving.py"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals and /proc")


MARK = "ENVCHECK_TEST_RUN"  # tells our processes from those of another run of these tests on the same machine


def carriers() -> list[int]:
    """Processes that this test started, or that these started, and that are not gone."""
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in environ.split(b"\0") and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(MARK, uuid.uuid4().hex)
    yield
    end = time.monotonic() + 2
    while carriers() and time.monotonic() < end:
        time.sleep(0.05)
    assert carriers() == []


def once(what: str, deadline: float = 10.0) -> TrialRun:
    with Probes(sys.executable, SCRIPT) as probes:
        return probes.run({"check": "x", "misbehave": {"x": what}}, deadline)


@pytest.mark.parametrize(
    ("what", "outcome", "text"),
    [
        ("good", DONE, ""),
        ("killed", CRASHED, "SIGKILL"),
        ("aborted", CRASHED, "SIGABRT"),
        ("segfault", CRASHED, "SIGSEGV"),
        ("garbage", CRASHED, "code 0 and without a result"),
        ("silent", CRASHED, "code 0 and without a result"),
        ("code_three", CRASHED, "code 3"),
        ("raises", RAISED, "illegal memory access"),
        ("skips", SKIPPED, "no such thing"),
    ],
)
def test_each_end_has_its_outcome_and_stage(what: str, outcome: str, text: str) -> None:
    found = once(what)
    assert (found.outcome, found.stage) == (outcome, f"stage of {what}")
    assert text in found.text
    assert found.seconds < 8


def test_what_an_abort_printed_is_kept() -> None:
    assert "c10::Error" in once("aborted").stderr


@pytest.mark.parametrize("what", ["hang", "deaf", "flood", "done_and_hangs"])
def test_a_probe_without_an_end_is_ended_at_its_deadline(what: str) -> None:
    began = time.monotonic()
    found = once(what, deadline=0.8)
    assert found.outcome == TIMED_OUT or (what == "flood" and found.outcome == CRASHED)
    assert time.monotonic() - began < 5
    assert found.stage == f"stage of {what}"
    if what == "hang":
        assert "in: stage of hang" in found.text
        assert found.facts["sum"] == 4
    if what == "done_and_hangs":
        assert "after it had measured everything" in found.text


@pytest.mark.parametrize("what", ["holder", "deserter"])
def test_a_grandchild_that_holds_the_pipe_is_not_waited_for_and_not_left(what: str) -> None:
    if what == "deserter" and not sys.platform.startswith("linux"):
        pytest.skip("only /proc can find a process that left its group")
    began = time.monotonic()
    found = once(what, deadline=20)
    assert found.outcome == DONE
    assert time.monotonic() - began < 8


def test_an_interpreter_that_cannot_be_started() -> None:
    with Probes("/nonexistent/python", SCRIPT) as probes:
        found = probes.run({"check": "x"}, 5, ahead=["x", "x", "x"])
    assert (found.outcome, found.stage) == (CRASHED, "starting Python")
    assert "/nonexistent/python" in found.text


def test_an_interpreter_that_is_no_python() -> None:
    with Probes("/bin/false", SCRIPT) as probes:
        found = probes.run({"check": "x"}, 5)
    assert (found.outcome, found.stage) == (CRASHED, "starting Python")


def test_the_spare_is_ended_when_no_job_comes() -> None:
    with Probes(sys.executable, SCRIPT) as probes:
        probes.run({"check": "x", "misbehave": {"x": "good"}}, 10, ahead=["x", "x", "x"])
        assert carriers()


def test_a_keyboard_interrupt_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(process: object, timeout: float) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.command, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        once("hang")


KILLED = """
import sys
from envcheck.verify.run import Probes
with Probes(sys.executable) as probes:
    print("started", flush=True)
    probes.run({"check": "describe", "device": 0}, 600, ahead=["x", "x", "x"])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_takes_its_probes_along(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled job: nobody is left to hold the deadline of a probe that hangs."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    root = str(Path(__file__).resolve().parent.parent)
    parent = subprocess.Popen([sys.executable, "-c", KILLED], cwd=root, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    end = time.monotonic() + 60
    while len(carriers()) < 3 and time.monotonic() < end:  # the parent, the probe and the spare
        time.sleep(0.05)
    time.sleep(1.0)
    assert len(carriers()) == 3
    parent.send_signal(number)
    parent.wait(10)
    parent.stdout.close()
    end = time.monotonic() + 20
    while carriers() and time.monotonic() < end:
        time.sleep(0.05)
    assert carriers() == []


def test_a_process_that_the_kernel_keeps_is_abandoned_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = run.command._stop

    def stop(process: Any) -> str:
        real(process)
        return "\nprocess 4711 does not end even when killed: it hangs in the kernel (in nv_drm_wait)"

    monkeypatch.setattr(run.command, "_stop", stop)
    found = once("hang", deadline=0.5)
    assert found.outcome == TIMED_OUT
    assert "hangs in the kernel (in nv_drm_wait)" in found.text


def test_a_process_in_state_d_is_abandoned_and_the_other_checks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No patch: a probe that the kernel really keeps, as a hung driver call does."""
    states: list[str] = []
    with stuck_folder(tmp_path) as folder:
        monkeypatch.setenv("STUCK_FILE", str(folder / "nvidia"))
        plan = {"cuda-context": "kernel", "cudnn": "skips", "tensor-core-fp16": "segfault", "amp": "kernel"}
        for check, what in plan.items():
            monkeypatch.setenv("MISBEHAVE_" + check.upper().replace("-", "_"), what)
        options = Options(python=sys.executable, device="cpu", quick=True, timeout=1.0, script=SCRIPT)
        began = time.monotonic()
        found = rehearse(options, Machine(), lambda text: None)
        assert time.monotonic() - began < 12
        states += [state_of(pid) for pid in carriers()]
    assert [(r.status, r.stage) for r in found.results] == [
        ("timeout", "stage of kernel"),
        ("skip", "stage of skips"),
        ("crash", "stage of segfault"),
        ("timeout", "stage of kernel"),
    ]
    for result in (found.results[0], found.results[3]):
        assert "does not end even when killed: it hangs in the kernel" in result.summary
    assert states == ["D", "D"]
    for process in run.command._abandoned:  # the file system is gone: now they can go
        process.wait(5)
    run.command._abandoned.clear()


def test_a_process_list_that_hangs_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading /proc/PID/environ of a process that a driver call keeps can itself never return."""
    monkeypatch.setattr(run, "_kill_marked", lambda mark: time.sleep(60))
    began = time.monotonic()
    found = once("good")
    assert found.outcome == DONE
    assert time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("source", "extra", "word"),
    [
        ("#include <Python.h>\nint main(void) { return 0; }\n", [], "Python.h"),
        ("int main(void) { return 0; }\n", ["-lcuda"], "libcuda.so"),
    ],
)
def test_what_the_compiler_said_names_what_is_missing(
    source: str, extra: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real compiler that fails under torch.compile: the exception holds its command alone."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    file = tmp_path / "main.c"
    file.write_text(source, encoding="utf-8")
    for name in ("C_INCLUDE_PATH", "CPATH", "LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")  # a compiler that speaks German would not be understood
    monkeypatch.setenv("BUILD", json.dumps([str(file), "-o", str(tmp_path / "out"), *extra]))
    found = once("build")
    assert (found.outcome, found.kind) == (RAISED, "CalledProcessError")
    assert word not in found.text
    judged = trouble("compile", found)
    assert (judged.status, word in judged.summary) == ("warn", True), judged
    assert "LC_ALL=C" in found.stderr
    assert any(word in line or "cuda" in line for line in judged.evidence)
    # no other check may take a compiler's words for its own
    assert trouble("cudnn", found).status == "crash"


def test_stages_are_told_as_they_come() -> None:
    heard: list[str] = []
    with Probes(sys.executable, SCRIPT) as probes:
        probes.run({"check": "x", "misbehave": {"x": "good"}}, 10, watch=heard.append)
    assert heard[-1] == "stage of good"


def test_the_other_checks_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four checks: one segfaults, one hangs, one babbles, and the last is still judged on its own figures."""
    plan = {"cuda-context": "segfault", "cudnn": "hang", "tensor-core-fp16": "garbage", "amp": "skips"}
    for check, what in plan.items():
        monkeypatch.setenv("MISBEHAVE_" + check.upper().replace("-", "_"), what)
    options = Options(python=sys.executable, device="cpu", quick=True, timeout=1.5, script=SCRIPT)
    found = rehearse(options, Machine(), lambda text: None)
    assert [(r.code, r.status) for r in found.results] == [
        ("cuda-context", "crash"),
        ("cudnn", "timeout"),
        ("tensor-core-fp16", "crash"),
        ("amp", "skip"),
    ]
    assert [r.stage for r in found.results] == [f"stage of {what}" for what in plan.values()]
    assert "SIGSEGV" in found.results[0].summary
    assert found.verdict == "undetermined"


@pytest.mark.parametrize("what", ["wrong_shapes", "silent", "garbage"])
def test_figures_of_a_wrong_shape_never_pass(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISBEHAVE_CUDA_CONTEXT", what)
    options = Options(python=sys.executable, device="cpu", only=("cuda-context",), timeout=10, script=SCRIPT)
    found = rehearse(options, Machine(), lambda text: None)
    assert found.results[0].status in ("unknown", "crash", "fail")
    assert found.verdict in ("undetermined", "broken")
