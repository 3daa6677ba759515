"""``envcheck gate`` as a command: it ends in time, leaves no process, writes every report."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from gating import doctor, machine, verification
from test_verify_session import answers

from envcheck.gate import Policy, judge
from envcheck.gate.inventory import FIELDS, parse
from envcheck.gate.run import Job, look, read_lines
from envcheck.model import to_plain
from envcheck.verify import REQUIRED

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ("json", "junit", "github", "gitlab", "markdown", "prometheus", "nagios", "npd")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def gate(cwd: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", "import sys; sys.path[0] = sys.argv.pop(1); from envcheck.cli import run; run()"]
    return subprocess.run(
        [*argv, str(ROOT), "gate", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, **env},
    )


def reports_into(directory: Path) -> list[str]:
    return [word for name in REPORTS for word in ("--report", f"{name}={directory / name}")]


def has_gpu() -> bool:
    return Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_without_a_gpu_it_says_why_and_writes_every_report(tmp_path: Path) -> None:
    began = time.monotonic()
    done = gate(tmp_path, *reports_into(tmp_path / "out"))
    assert time.monotonic() - began < 12  # under 4 s on a machine that does nothing else
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("envcheck gate: broken (exit 1): ")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(REPORTS)
    data = json.loads((tmp_path / "out" / "json").read_text())
    assert (data["schema"], data["verdict"], data["exit_code"]) == ("envcheck.gate/1", "broken", 1)
    assert data["doctor"]["schema"] == "envcheck.doctor/1" and data["verify"]["schema"] == "envcheck.verify/1"
    assert {r["code"] for r in data["requirements"]} == {"cuda-context", "cudnn", "tensor-core-fp16", "amp"}
    assert data["node"]


@LINUX
@pytest.mark.skipif(has_gpu(), reason="there is a GPU here")
def test_a_hung_driver_does_not_outlast_the_timeout(
    tmp_path: Path, tag: str, use_fake_nvml: Callable[..., None]
) -> None:
    use_fake_nvml({}, ["- hang_in 0 nvmlInitWithFlags"])
    began = time.monotonic()
    done = gate(tmp_path, "--timeout", "4", *reports_into(tmp_path / "out"), ENVCHECK_NVML_TIMEOUT="100")
    assert time.monotonic() - began < 14  # 5 on a machine that does nothing else
    assert done.returncode in (1, 3), done.stdout + done.stderr
    assert "the time for the whole run (4 s) was up, in: looking at the machine" in done.stdout
    assert len(list((tmp_path / "out").iterdir())) == len(REPORTS)
    data = json.loads((tmp_path / "out" / "json").read_text())
    assert data["stopped"]["status"] == "timeout"
    assert {r["status"] for r in data["requirements"]} == {"timeout"}
    assert processes_with(tag) == []


TAG = "ENVCHECK_TEST_TAG"  # inherited by all that a test starts, so that tests beside it do not count


@pytest.fixture
def tag(monkeypatch: pytest.MonkeyPatch) -> str:
    value = uuid.uuid4().hex
    monkeypatch.setenv(TAG, value)
    return value


def processes_with(tag: str) -> list[int]:
    """Processes that carry the tag: a gate that a test started, the worker, and all that it started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"{TAG}={tag}".encode() in environ:
                found.append(int(entry.name))
    return found


@LINUX
def test_what_left_its_group_is_ended_too(tag: str) -> None:
    child = "import os, time; os.setsid() if os.fork() == 0 else None; time.sleep(60)"
    boot = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    found = look(Job(proofs=(), deadline=1.5), boot=boot)
    assert found.stopped is not None and found.stopped.status == "timeout"
    time.sleep(0.2)
    assert processes_with(tag) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_worker_that_dies_is_a_crash_with_its_last_words() -> None:
    boot = "import os, sys; print('the library aborted', file=sys.stderr, flush=True); os.abort()"
    found = look(Job(proofs=("cudnn",), deadline=20), boot=boot)
    assert found.stopped is not None
    assert found.stopped.status == "crash"
    assert "by signal 6" in found.stopped.text and "the library aborted" in found.stopped.text


@LINUX
def test_a_cancelled_job_leaves_nothing(tmp_path: Path, tag: str) -> None:
    code = (
        "import sys; sys.path[0] = sys.argv[1]\n"
        "from envcheck.gate.run import Job, look\n"
        "look(Job(proofs=(), deadline=60), boot='import time; print(1, flush=True); time.sleep(60)')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(ROOT)], cwd=tmp_path)
    waited = time.monotonic() + 20
    while len(processes_with(tag)) < 2 and time.monotonic() < waited:  # the gate and its worker
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert processes_with(tag) == []


@LINUX
def test_a_gate_that_is_killed_outright_leaves_no_worker(
    tmp_path: Path, tag: str, use_fake_nvml: Callable[..., None]
) -> None:
    use_fake_nvml({}, ["- hang_in 0 nvmlInitWithFlags"])
    argv = [sys.executable, "-c", "import sys; sys.path[0] = sys.argv.pop(1); from envcheck.cli import run; run()"]
    env = {**os.environ, "ENVCHECK_NVML_TIMEOUT": "60"}
    process = subprocess.Popen([*argv, str(ROOT), "gate"], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL)
    waited = time.monotonic() + 20
    while len(processes_with(tag)) < 3 and time.monotonic() < waited:  # gate, worker, and the child that asks NVML
        time.sleep(0.05)
    process.kill()
    process.wait(10)
    waited = time.monotonic() + 10
    while processes_with(tag) and time.monotonic() < waited:
        time.sleep(0.1)
    assert processes_with(tag) == []


def test_a_policy_of_a_pull_request_is_not_read_when_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "envcheck.toml").write_text("[gate]\nrequire = []\n")
    own = tmp_path / "etc" / "policy.toml"
    own.parent.mkdir()
    own.write_text('[gate]\nrequire = ["cudnn"]\n')
    data = json.loads(gate(tmp_path, "--policy", str(own), "--format", "json").stdout)
    assert [r["code"] for r in data["requirements"]] == ["cudnn"]


def test_nothing_is_imported_from_the_directory_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "envcheck").mkdir()
    (tmp_path / "envcheck" / "__init__.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "json.py").write_text("raise SystemExit('hijacked')")
    done = gate(tmp_path, "--format", "json")
    assert "hijacked" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["stopped"] is None


def test_a_snapshot_proves_nothing(tmp_path: Path) -> None:
    snapshot = ROOT / "tests" / "machines" / "ubuntu-22.04-rtx4090-535.104.05" / "snapshot.json"
    done = gate(tmp_path, "--machine", str(snapshot), "--format", "json")
    data = json.loads(done.stdout)
    assert {r["status"] for r in data["requirements"]} == {"unknown"}
    assert done.returncode == (1 if data["verdict"] == "broken" else 3)


def test_only_the_checks_that_the_policy_names_count(tmp_path: Path) -> None:
    snapshot = ROOT / "tests" / "machines" / "ubuntu-22.04-rtx4090-535.104.05" / "snapshot.json"
    policy = tmp_path / "p.toml"
    policy.write_text('[gate]\nrequire = ["driver"]\nonly = ["driver", "gpu"]\n')
    done = gate(tmp_path, "--machine", str(snapshot), "--policy", str(policy), "--format", "json")
    data = json.loads(done.stdout)
    assert [r["code"] for r in data["doctor"]["results"]] == ["driver", "gpu"]
    assert (done.returncode, data["verdict"]) == (0, "healthy")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--report", "pdf=x"], 2, "write FORMAT=PATH"),
        (["--report", "json", "--report", "junit"], 2, "two reports would go to stdout"),
        (["--report", "json=a", "--report", "junit=./a"], 2, "two reports would go to"),
        (["--policy", "none.toml"], 4, "cannot read the policy"),
        (["--timeout", "0"], 2, "--timeout"),
    ],
)
def test_bad_requests_end_before_anything_runs(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = gate(tmp_path, *arguments)
    assert done.returncode == code
    assert said in done.stderr and done.stdout == ""


def test_one_report_on_stdout_is_alone_there(tmp_path: Path) -> None:
    done = gate(tmp_path, "--report", "json")
    assert json.loads(done.stdout)["schema"] == "envcheck.gate/1"
    assert gate(tmp_path, "--exit-style", "nagios").stdout.startswith("ENVCHECK ")


@pytest.mark.skipif(sys.platform == "win32", reason="names of stdout")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_stdout_by_another_name_is_stdout(tmp_path: Path, name: str) -> None:
    snapshot = ROOT / "tests" / "machines" / "ubuntu-22.04-rtx4090-535.104.05" / "snapshot.json"
    done = gate(tmp_path, "--machine", str(snapshot), "--report", f"json={name}")
    assert json.loads(done.stdout)["schema"] == "envcheck.gate/1"
    twice = gate(tmp_path, "--report", f"json={name}", "--report", "junit")
    assert (twice.returncode, twice.stdout) == (2, "")


def test_github_files_are_appended_to(tmp_path: Path) -> None:
    files = {"GITHUB_STEP_SUMMARY": tmp_path / "summary", "GITHUB_OUTPUT": tmp_path / "output"}
    for path in files.values():
        path.write_text("before\n")
    done = gate(tmp_path, "--report", "github", **{k: str(v) for k, v in files.items()})
    assert done.stdout.splitlines()[-1].startswith("envcheck gate - ")
    assert files["GITHUB_STEP_SUMMARY"].read_text().startswith("before\n## envcheck gate: ")
    assert files["GITHUB_OUTPUT"].read_text().startswith("before\nverdict<<envcheck_")


def test_a_report_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = gate(tmp_path, "--report", "json=file/x", "--report", "nagios=line")
    assert "the json report was not written" in done.stderr
    assert (tmp_path / "line").read_text().startswith("ENVCHECK ")
    assert done.returncode != 0


def test_lines_that_were_cut_or_are_not_ours_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"stage": "a"}\nnoise\n{"other": 1}\n[1]\n{"machine": {"gpus": 3}}\n{"stage": "b"}\n{"done": tr')
    assert read_lines(path) == {"stage": "b"}
    assert read_lines(tmp_path / "none") == {}


def test_a_verification_survives_the_way_from_the_worker(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    found = verification({"cudnn": "pass", "amp": "skip"}, not_applicable=True)
    path.write_text(json.dumps({"verification": to_plain(found)}) + "\n" + json.dumps({"machine": to_plain(machine())}))
    assert read_lines(path) == {"verification": found, "machine": machine()}


def test_an_answer_that_cannot_be_read_is_no_pass() -> None:
    boot = (
        "import json, sys; from pathlib import Path; "
        "Path(sys.argv[2], 'lines.jsonl').write_text(json.dumps({'verification': 3}) + chr(10) + '{\"done\": true}')"
    )
    found = look(Job(proofs=("cudnn",), deadline=20), boot=boot)
    assert found.stopped is not None and found.stopped.status == "crash"


HANGS = (
    "import shutil, sys, time; from pathlib import Path; "
    "shutil.copy({lines!r}, Path(sys.argv[2], 'lines.jsonl')); time.sleep(60)"
)


def test_what_was_finished_before_the_time_was_up_keeps_its_status(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    so_far = [verification({"cuda-context": "pass"}), verification({"cuda-context": "pass", "cudnn": "fail"})]
    lines.write_text("".join(json.dumps({"verification": to_plain(v)}) + "\n" for v in so_far) + '{"verification": {"')
    found = look(Job(proofs=REQUIRED, deadline=3), boot=HANGS.format(lines=str(lines)))
    assert found.verification is not None
    assert [(r.code, r.status) for r in found.verification.results] == [
        ("cuda-context", "pass"),
        ("cudnn", "fail"),
        ("tensor-core-fp16", "timeout"),
        ("amp", "timeout"),
    ]
    assert "the time for the whole run (3 s) was up" in found.verification.results[2].summary
    gated = judge(Policy(), doctor(), found.verification, stopped=found.stopped)
    assert (gated.verdict, gated.exit_code) == ("broken", 1)
    assert [r.met for r in gated.requirements] == [True, False, False, False]


def test_a_pass_on_one_gpu_of_two_is_no_pass_when_the_time_was_up(tmp_path: Path) -> None:
    one = verification({"cudnn": "pass"})
    both = dataclasses.replace(one, devices=(*one.devices, dataclasses.replace(one.devices[0], index=1, ordinal=1)))
    lines = tmp_path / "lines"
    lines.write_text(json.dumps({"verification": to_plain(both)}) + "\n")
    found = look(Job(proofs=("cudnn", "nccl"), deadline=3), boot=HANGS.format(lines=str(lines)))
    assert found.verification is not None
    told = [(r.code, r.device, r.status) for r in found.verification.results]
    assert told == [("cudnn", 0, "pass"), ("cudnn", 1, "timeout"), ("nccl", None, "timeout")]
    gated = judge(Policy(require=("cudnn", "nccl")), doctor(), found.verification, stopped=found.stopped)
    assert (gated.exit_code, [r.met for r in gated.requirements]) == (3, [False, False])


def test_the_worker_tells_each_result_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "answers.json").write_text(json.dumps(answers(cudnn={"sleep": 60})))
    monkeypatch.setenv("FAKE_PROBE", str(tmp_path / "answers.json"))
    probe = ROOT / "tests" / "verify_probes" / "answering.py"
    boot = (
        "import functools, sys; from pathlib import Path; sys.path[:] = [*filter(None, sys.path), sys.argv[1]]\n"
        "import envcheck.cli.gate_worker as worker; from envcheck.model import Gpu, Machine, Torch\n"
        f"worker.Options = functools.partial(worker.Options, script=Path({str(probe)!r}))\n"
        "worker.machine_for = lambda *_: Machine(gpus=(Gpu(name='NVIDIA L4'),), torch=Torch(version='2.4.1'))\n"
        "worker._refused = lambda *_: None\n"
        "worker.main(sys.argv[2])"
    )
    began = time.monotonic()
    found = look(Job(proofs=REQUIRED, deadline=12), boot=boot)
    assert time.monotonic() - began < 20
    assert found.stopped is None and found.verification is not None
    assert [(r.code, r.status) for r in found.verification.results] == [
        ("cuda-context", "pass"),
        ("cudnn", "timeout"),
        ("tensor-core-fp16", "timeout"),
        ("amp", "timeout"),
    ]


def test_inventory_rows() -> None:
    row = "GPU-1, 00000000:3B:00.0, 96.00.89.00.01, 16, 16, 4, [N/A], 1980, 2619, 700.00"
    (found,) = parse(f"{row}\nNVIDIA-SMI has failed\n")
    assert found["vbios_version"] == "96.00.89.00.01" and "pcie.link.gen.max" not in found
    assert len(FIELDS) == 10
