"""distributed.py under torchrun: four ranks on the CPU. One that dies and one that hangs are named by the others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from envcheck.model import Machine
from envcheck.probe import collectives, distributed
from envcheck.verify.run import SCRIPT
from envcheck.verify.system import judge_nccl
from envcheck.verify.words import Context

DISTRIBUTED = SCRIPT.with_name("distributed.py")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun with gloo is tried on Linux and macOS")


@pytest.fixture(autouse=True)
def need_torch() -> None:
    pytest.importorskip("torch.distributed.run", reason="needs torchrun")


def torchrun(tmp_path: Path, *extra: str, timeout: float = 120) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and all lines of all ranks."""
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4", "--standalone", str(DISTRIBUTED)]
    argv += ["--backend", "gloo", "--log-dir", str(tmp_path), *extra]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    lines = []
    for path in sorted(tmp_path.glob("rank-*.jsonl")):
        lines += [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return process.returncode, lines


@pytest.mark.slow
def test_four_ranks_agree(tmp_path: Path) -> None:
    code, lines = torchrun(tmp_path)
    assert code == 0
    assert sorted(item["rank"] for item in lines if item.get("done") is True) == [0, 1, 2, 3]
    assert sum("facts" in item for item in lines) == 4 * 9


def named(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Rank -> stage, as those that survived tell it."""
    out: dict[str, str] = {}
    for item in lines:
        out.update(item.get("missing") or {})
    for stage in out.values():
        assert stage.endswith(f" on {socket.gethostname()}")
    return {rank: stage.rpartition(" on ")[0] for rank, stage in out.items()}


@pytest.mark.slow
def test_a_rank_that_dies_is_named(tmp_path: Path) -> None:
    code, lines = torchrun(tmp_path, "--plant", "die:2", "--timeout", "30")
    assert code != 0
    assert named(lines) == {"2": "all_reduce of 4096 elements"}


@pytest.mark.slow
def test_a_rank_that_hangs_is_named(tmp_path: Path) -> None:
    code, lines = torchrun(tmp_path, "--plant", "hang:3", "--timeout", "12")
    assert code != 0
    assert named(lines) == {"3": "all_reduce of 4096 elements"}
    assert not any("done" in item for item in lines)


def test_a_hang_after_a_slow_start_is_named_in_time() -> None:
    """The budget counts from the start: whoever needs most of it for importing torch still says who is missing."""
    report = distributed.Report(0, 2, None)
    said: list[str] = []
    report.fail = lambda why, code: (said.append(why), setattr(report, "ended", True))  # type: ignore[method-assign,assignment]
    began = time.monotonic()
    distributed.Watch(report, 60.0, time.time() + 0.3).join(10)
    assert said == ["no answer in the time for all of it"]
    assert time.monotonic() - began < 10


def test_a_wrong_value_is_no_pass(tmp_path: Path) -> None:
    outcome = collectives.launch([0, 1], "gloo", {"OMP_NUM_THREADS": "1"}, 60.0, "wrong:1")
    assert all(code != 0 for code in outcome["codes"])
    found = judge_nccl({"attempts": [outcome], "ranks": 2, "backend": "gloo"}, Context(device=None, machine=Machine()))
    assert found.status == "fail"
    assert "all_reduce" in found.summary


def test_the_nccl_trial_names_a_dead_rank() -> None:
    """The launcher that verify itself uses, without torchrun."""
    outcome = collectives.launch([0, 1], "gloo", {"OMP_NUM_THREADS": "1"}, 60.0, "die:1")
    assert outcome["codes"][1] == -signal.SIGKILL
    found = judge_nccl({"attempts": [outcome], "ranks": 2, "backend": "gloo"}, Context(device=None, machine=Machine()))
    assert found.status == "fail"
    assert "rank 1 stopped in: all_reduce of 4096 elements" in found.summary
