"""gate --against: what differs from a machine that worked, and which of it matters."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from gating import machine

from envcheck.cli import main
from envcheck.gate.against import differences_of
from envcheck.model import Gpu

MACHINES = Path(__file__).resolve().parent / "machines"


def test_equal_machines_do_not_differ() -> None:
    assert differences_of(machine(), machine()) == ()


@pytest.mark.parametrize(
    ("now", "what", "matters"),
    [
        (machine(driver="580.99.01"), "driver", False),
        (machine(driver="570.10.01"), "driver", True),
        (machine(driver="590.10.01"), "driver", True),
        (machine(name="NVIDIA T4"), "GPUs: NVIDIA L4", True),
        (machine(memory_mib=11000), "memory of GPU 0", True),
        (dataclasses.replace(machine(), torch=None), "torch", True),
        (dataclasses.replace(machine(), packages={"tqdm": "4.66"}), "tqdm", False),
        (dataclasses.replace(machine(), packages={"triton": "3.1"}), "triton", True),
        (dataclasses.replace(machine(), env={"CUDA_VISIBLE_DEVICES": ""}), "", False),
        (dataclasses.replace(machine(), env={"LD_LIBRARY_PATH": "/opt"}), "$LD_LIBRARY_PATH", True),
    ],
)
def test_what_differs_and_whether_it_matters(now: object, what: str, matters: bool) -> None:
    found = differences_of(machine(), now)  # type: ignore[arg-type]
    if what:
        assert {d.what: d.matters for d in found}[what] is matters


def test_what_matters_stands_first() -> None:
    now = dataclasses.replace(machine(), gpus=(*machine().gpus, Gpu(index=1, name="NVIDIA A2")), torch=None)
    flags = [d.matters for d in differences_of(machine(), now)]
    assert flags == sorted(flags, reverse=True) and True in flags and False in flags


def test_the_command_shows_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    now = MACHINES / "ubuntu-22.04-rtx4090-535.104.05" / "snapshot.json"
    before = MACHINES / "ubuntu-22.04-rtx3090-535.104.05-conda" / "snapshot.json"
    path = tmp_path / "gate.json"
    arguments = ["gate", "--machine", str(now), "--against", str(before)]
    assert main([*arguments, "--report", f"json={path}", "--report", f"markdown={tmp_path / 'gate.md'}"]) in (1, 3)
    assert "NVIDIA GeForce RTX 3090: 1 -> none" in capsys.readouterr().out
    assert any(d["matters"] for d in json.loads(path.read_text())["differences"])
    assert "| differs | before | now |" in (tmp_path / "gate.md").read_text()
    assert main(["gate", "--against", str(tmp_path / "none.json")]) == 4
    capsys.readouterr()
    main(["gate", "--machine", str(now), "--against", str(now)])
    assert "does not differ from" in capsys.readouterr().err
