"""Outputs from public notes, logs and test files that the parsers had not seen when they were written: each value.

Cut and mixed as people keep them; ``test_pasted_elsewhere.json`` holds the text and what stands in it. A key that is
null there must stay unknown: a driver without a CUDA version, a placeholder like ``570.xx``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envcheck.checks.details import xids
from envcheck.checks.view import View
from envcheck.detect.pasted import parse_report
from envcheck.detect.pasted.values import bus_id
from envcheck.matrix import load

SAMPLES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def told(text: str) -> dict[str, Any]:
    machine = parse_report(text)
    torch = machine.torch
    return {
        "driver": machine.driver.version,
        "cuda": machine.driver.cuda,
        "os": machine.os.id,
        "os_version": machine.os.version,
        "kernel": machine.os.kernel,
        "arch": machine.os.arch,
        "nvcc": next((".".join(t.version.split(".")[:2]) for t in machine.toolkits), None),
        "python": machine.python.version if machine.python else None,
        "torch": torch.version if torch else None,
        "torch_cuda": torch.cuda if torch else None,
        "available": torch.cuda_available if torch else None,
        "xids": sorted(xids(View(machine, load()))),
        "gpus": [
            {
                "name": g.name,
                "memory_mib": g.memory_mib,
                "bus_id": g.bus_id,
                "index": g.index,
                "mig": g.mig,
                "uuid": g.uuid,
                "compute_capability": g.compute_capability,
            }
            for g in machine.gpus
        ],
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{i}-{s['kind']}" for i, s in enumerate(SAMPLES)])
def test_every_value_is_found(sample: dict[str, Any]) -> None:
    got = told(sample["text"])
    expect = dict(sample["expect"])
    gpus = expect.pop("gpus", None)
    assert {k: got[k] for k in expect} == expect
    if gpus is not None:
        for gpu in gpus:
            if "bus_id" in gpu:
                gpu["bus_id"] = bus_id(gpu["bus_id"])
        assert len(got["gpus"]) == len(gpus)
        assert [{k: g[k] for k in want} for g, want in zip(got["gpus"], gpus, strict=True)] == gpus
