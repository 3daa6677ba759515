"""Peaks that this project measured itself, on an H200 and an H100 (benchmarks/memory_gpu.py), beside the estimate.

The first set was fitted (calibration.json, ``torch-2``); the second was written down and frozen before it was measured.
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from envcheck.advise.architectures import find_model
from envcheck.advise.memory import Estimate, estimate
from envcheck.advise.workload import make

HERE = Path(__file__).parent
SETS: list[dict[str, Any]] = json.loads((HERE / "advise_hopper.json").read_text(encoding="utf-8"))["sets"]
EVIDENCE = HERE.parent / "docs" / "evidence" / "memory-hopper-2026-11-26.md"
MEASURED = ("allocated", "reserved", "outside", "seconds")
# (set, family, method) -> (median, largest) share that the reserved bytes may be off
BOUNDS = {
    ("first", "bert", "full"): (0.02, 0.07),
    ("first", "gpt2", "full"): (0.02, 0.02),
    ("first", "decoder", "full"): (0.04, 0.08),
    ("first", "decoder", "lora"): (0.01, 0.03),
    ("first", "decoder", "inference"): (0.08, 0.17),
    ("first", "resnet", "full"): (0.02, 0.03),
    ("second", "bert", "full"): (0.02, 0.13),
    ("second", "gpt2", "full"): (0.13, 0.19),
    ("second", "decoder", "full"): (0.01, 0.03),
    ("second", "decoder", "lora"): (0.01, 0.03),
    ("second", "decoder", "inference"): (0.10, 0.16),
    ("second", "resnet", "full"): (0.15, 0.27),
}


def of_row(row: dict[str, Any], stack: str) -> Estimate:
    words = {key: value for key, value in row.items() if key not in (*MEASURED, "model")}
    words.setdefault("seq", 1)
    return estimate(find_model(row["model"]), make(**words, stack=stack))


def family(row: dict[str, Any]) -> str:
    kind = find_model(row["model"]).kind
    return {"encoder": "bert", "llama": "decoder"}.get(kind, kind)


def rows(name: str, kind: str, method: str) -> list[dict[str, Any]]:
    return [r for s in SETS if s["set"] == name for r in s["rows"] if (family(r), r["method"]) == (kind, method)]


def off(found: list[dict[str, Any]], stack: str = "torch-2") -> list[float]:
    return [of_row(row, stack).reserved / row["reserved"] - 1 for row in found]


@pytest.mark.parametrize("key", BOUNDS, ids=" ".join)
def test_the_estimate_holds(key: tuple[str, str, str]) -> None:
    errors = [abs(error) for error in off(rows(*key))]
    median, largest = BOUNDS[key]
    assert statistics.median(errors) <= median
    assert max(errors) <= largest


def test_every_row_is_in_a_group() -> None:
    assert sum(len(rows(*key)) for key in BOUNDS) == sum(len(s["rows"]) for s in SETS) == 46


def test_older_calibration_is_high_for_encoders_and_says_so() -> None:
    for row in rows("second", "bert", "full"):
        found = of_row(row, "current")
        assert found.peak > row["reserved"] + row["outside"]
        assert any("--stack torch-2" in note for note in found.notes)
        assert not any("--stack torch-2" in note for note in of_row(row, "torch-2").notes)


def test_the_evidence_has_the_scores() -> None:
    text = EVIDENCE.read_text(encoding="utf-8")
    told = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \| (\d+) \| ([\d.]+) % \| ([\d.]+) % \|$", text, re.MULTILINE)
    real = []
    for key in BOUNDS:
        errors = [abs(error) * 100 for error in off(rows(*key))]
        real.append((*key, str(len(errors)), f"{statistics.median(errors):.1f}", f"{max(errors):.1f}"))
    assert told == real
