"""What else is named beside a cause that was found: likely others, as warnings, and only where something failed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envcheck import matrix as matrix_module
from envcheck.checks import run_checks
from envcheck.checks.base import Report
from envcheck.checks.neighbours import SHOWN, loaded
from envcheck.checks.patterns import alternatives, compiled
from envcheck.checks.run import CODES, GENERIC
from envcheck.checks.view import View
from envcheck.detect.pasted import parse_report
from envcheck.identify import identify

MATRIX = matrix_module.load()
REPORTS = json.loads(Path(__file__).with_name("test_checks_reports.json").read_text(encoding="utf-8"))


def asked(text: str) -> Report:
    return run_checks(identify(parse_report(text), MATRIX), MATRIX)


def test_every_cause_of_a_family_is_a_check_that_can_be_told_apart() -> None:
    data = loaded()
    codes = {code for family in data["families"] for code in family["codes"]}
    assert codes == set(data["apart"])
    assert codes <= set(CODES) - set(GENERIC)
    assert set(data["needs"]) <= codes
    for family in data["families"]:
        assert [compiled(part) for part in alternatives(family["pattern"])]
        assert len(family["codes"]) == len(set(family["codes"])) >= SHOWN


def test_every_flag_of_a_need_is_known() -> None:
    view = View(parse_report("x"), MATRIX)
    for needs in loaded()["needs"].values():
        assert all(view.flag(need) in (True, False) for need in needs)


@pytest.mark.parametrize(
    ("text", "first", "also"),
    [
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device\nRTX 5080",
         "gpu-arch-too-new", "extension-torch-mismatch"),
        ("AssertionError: Torch not compiled with CUDA enabled", "cpu-only-torch", "driver-too-old"),
        ("$ nvidia-smi\nNVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
         "kernel-module-not-built", "nouveau-loaded"),
    ],
)  # fmt: skip
def test_causes_of_the_same_text_are_named_after_the_first(text: str, first: str, also: str) -> None:
    report = asked(text)
    codes = [f.code for f in report.findings]
    assert codes[0] == first
    assert report.findings[0].status == "fail"
    assert also in codes or len(codes) == SHOWN
    told = [f for f in report.findings if f.summary.startswith("also possible")]
    assert told
    assert all(f.status == "warn" and f.fix and f.evidence for f in told)
    assert report.verdict == "broken"


def test_no_more_than_three_unless_they_stand_by_themselves() -> None:
    for case in REPORTS:
        findings = asked(case["report"]).findings
        near = [f for f in findings if f.summary.startswith("also possible")]
        assert not near or len(findings) <= SHOWN, case["url"]
        assert all(f.status == "warn" for f in near)


@pytest.mark.parametrize(
    "text",
    [
        "PyTorch version: 2.4.0+cu121\nCUDA used to build PyTorch: 12.1\nIs CUDA available: True\nNvidia driver"
        " version: 551.88\nGPU models and configuration: GPU 0: NVIDIA GeForce RTX 4070\n",
        "PyTorch version: 2.4.0\nIs CUDA available: True\nRuntimeError: mat1 and mat2 shapes cannot be multiplied",
        "Feature request: show the driver's version in collect_env",
    ],
)
def test_a_report_without_a_failure_gets_none(text: str) -> None:
    assert not [f for f in asked(text).findings if f.summary.startswith("also possible")]


def test_what_is_undetermined_stays_so() -> None:
    """Candidates are no knowledge: they make nothing ``degraded`` (exit 0) of what could not be told (exit 3)."""
    report = asked("only one process may use the card, the second waits for exclusive\nRuntimeError: it went wrong")
    assert report.findings
    assert all(f.status == "warn" for f in report.findings)
    assert report.verdict == "undetermined"


def test_shapes_that_do_not_fit_are_no_conflict_of_cublas() -> None:
    text = "RuntimeError: CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle )`"
    assert [f.code for f in asked(text).findings if f.status == "fail"] == ["cublas-version-conflict"]
    shapes = f"RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x127 and 128x64)\n{text}"
    assert [f.code for f in asked(shapes).findings if f.status == "fail"] == []


def test_an_error_of_python_code_names_no_candidate() -> None:
    """Nothing of the installation is wrong: families that share a word of it would only mislead."""
    shapes = "File \"train.py\", line 3\nTypeError: Trainer.__init__() got an unexpected keyword argument 'gpus'\n"
    assert asked(f"Traceback (most recent call last):\n{shapes}").findings == ()


def test_a_loss_of_nan_is_no_certain_overflow_where_nobody_speaks_of_fp16() -> None:
    (plain,) = [f for f in asked("loss: nan after 2000 iterations\n").findings if f.code == "fp16-overflow"]
    assert plain.status == "warn" and "learning rate" in plain.summary
    (half,) = [f for f in asked("loss: nan after 2000 iterations with fp16\n").findings if f.code == "fp16-overflow"]
    assert half.status == "fail"
