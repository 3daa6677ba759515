"""verify on a real GPU: ``pytest -m gpu``. Each test skips, with the reason, where there is none.

With ``ENVCHECK_EVIDENCE=docs/evidence`` the figures of the full run are written there as a page named after the card.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_verify_session import BARE, L4, answers, device, fake

from envcheck.matrix import load
from envcheck.verify.table import CHECKS, REQUIRED

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import verify_gpu

__all__ = ["fake"]
HOLD = "import torch, sys\ntorch.zeros(1, device='cuda')\nprint('ready', flush=True)\nsys.stdin.read()\n"


@pytest.fixture(scope="module")
def quick() -> verify_gpu.Run:
    """The quick run, or a skip that says what is missing: a GPU, its driver, or a torch that can use it."""
    found = verify_gpu.run_verify("--quick")
    if not found[2]["devices"]:
        pytest.skip(f"needs a real GPU: {found[2]['results'][0]['summary']}")
    return found


@pytest.fixture(scope="module")
def full(quick: verify_gpu.Run) -> verify_gpu.Run:
    found = verify_gpu.run_verify()
    folder = os.environ.get("ENVCHECK_EVIDENCE")
    if folder:
        text = verify_gpu.page(found, quick, load(None))
        (Path(folder) / verify_gpu.file_name(found[2])).write_text(text, encoding="utf-8")
    return found


@pytest.mark.gpu
class TestOnAGpu:
    def test_quick_proves_the_gpu_in_twenty_seconds(self, quick: verify_gpu.Run) -> None:
        code, seconds, data = quick
        assert code == 0, [(r["code"], r["status"], r["summary"]) for r in data["results"]]
        assert all(item["met"] for item in data["required"])
        assert seconds < verify_gpu.QUICK_S * len(data["devices"])

    def test_every_check_ends_with_a_verdict_in_two_minutes(self, full: verify_gpu.Run) -> None:
        code, seconds, data = full
        said = {(r["code"], r["device"]): (r["status"], r["summary"]) for r in data["results"]}
        assert {c for c, _ in said} == {c.code for c in CHECKS}
        assert {k: v for k, v in said.items() if v[0] not in ("pass", "warn", "skip")} == {}
        assert code == 0
        assert seconds < verify_gpu.FULL_S * len(data["devices"])

    def test_the_figures_are_there(self, full: verify_gpu.Run) -> None:
        for r in full[2]["results"]:
            if r["code"] == "tensor-core-fp16" and r["status"] in ("pass", "warn"):
                assert r["measured"]["tensor_cores"] == "used"
                assert r["measured"]["tflops"] > 1
                assert r["measured"]["load"]["sm_mhz"] > 0
                assert r["measured"]["kernels"], "the profiler named no kernel"
            if r["code"] == "cudnn":
                assert r["measured"]["loaded"] and r["measured"]["paths"]
            if r["code"] == "workload" and r["status"] == "pass":
                assert r["measured"]["bert"]["peak_bytes"] > 110e6 * 4

    def test_another_process_leaves_it_open(self, quick: verify_gpu.Run) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert holder.stdout is not None
            if "ready" not in holder.stdout.readline():
                pytest.skip("the torch of these tests does not use the GPU")
            code, _, data = verify_gpu.run_verify("--quick", "--device", "0")
            others = data["devices"][0]["others"]
            if not others:
                pytest.skip("the driver does not say here which processes compute (WSL, some containers)")
            assert code == 3
            assert {r["status"] for r in data["results"]} == {"unknown"}
            assert verify_gpu.run_verify("--quick", "--device", "0", "--force")[0] == 0
        finally:
            holder.kill()
            holder.wait()

    def test_tf32_that_the_environment_forbids_is_noticed(
        self, full: verify_gpu.Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = [r for r in full[2]["results"] if r["code"] == "tf32" and r["status"] == "pass"]
        if not before:
            pytest.skip("this GPU has no TF32")
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
        _, _, data = verify_gpu.run_verify("--only", "tf32", "--device", str(before[0]["device"]))
        assert data["results"][0]["status"] == "warn"


@pytest.fixture
def data(fake: Any) -> Iterator[dict[str, Any]]:
    from envcheck.cli.verify_output import as_data

    yield as_data(fake(answers(device(0, L4.bus_id or "", name="NVIDIA L4", sms=58)), quick=True))


def test_the_page_holds_what_the_runs_gave(data: dict[str, Any]) -> None:
    """The page of a probe that answers from a file: the writer is tried before a GPU is there."""
    text = verify_gpu.page((0, 61.2, data), (0, 14.9, data), load(None))
    assert text.startswith("# verify on NVIDIA L4\n")
    assert "| `envcheck verify --quick` | 0 | 14.9 | 20 per GPU |" in text
    row = next(line for line in text.splitlines() if line.startswith("| 0 | used |"))
    # 58 SMs x 512 FMA x 2 at the boost clock of the matrix: NVIDIA's sheet says 121 TFLOPS for the L4, dense
    assert "| 100.0 | 121" in row, row
    assert all(f"| {code} |" in text for code in REQUIRED)
    assert verify_gpu.file_name(data) == "verify-nvidia-l4.md"


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from envcheck.cli.verify_output import as_data
    from envcheck.verify import Judged, Options, refuse

    none = refuse(Options(python="x"), BARE, (), Judged(status="fail", summary="no NVIDIA GPU was found"))
    monkeypatch.setattr(verify_gpu, "run_verify", lambda *options: (1, 0.1, as_data(none)))
    monkeypatch.setattr(sys, "argv", ["verify_gpu.py", "--write", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        verify_gpu.main()
    assert ended.value.code == 3
    assert list(tmp_path.iterdir()) == []
