"""The branches that only a GPU takes, with torch.cuda replaced by a stand-in on the CPU (cuda_stand_in.py).

This finds a wrong name, a wrong argument or a figure that the judge misses. It says nothing about any GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cuda_stand_in
import pytest
from cuda_stand_in import Collector, Properties, install

from envcheck.model import Machine
from envcheck.probe import amp, attention, collectives, context, convolution, graphs, matmul, memory, workload
from envcheck.probe.channel import plain
from envcheck.probe.trial import Skip, Trial
from envcheck.verify import training
from envcheck.verify.session import judge
from envcheck.verify.table import BY_CODE
from envcheck.verify.trouble import trouble
from envcheck.verify.words import DONE, RAISED, Context, Device, Judged, TrialRun

DEVICE = Device(index=0, ordinal=0, name="NVIDIA L4", compute_capability="8.9", sms=58, tensor_cores=4)
torch = pytest.importorskip("torch", reason="the probe's figures need a real torch")


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(torch, "envcheck.probe", monkeypatch.setattr)


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32)
    yield
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32 = before


def run(function: Any, check: str, **job: Any) -> tuple[Judged, dict[str, Any]]:
    collector = Collector(plain)
    trial = Trial(torch, collector, {"check": check, "device": 0, "seed": 1, "deadline": 60, **job})
    assert trial.cuda
    function(trial)
    found = TrialRun(outcome=DONE, stage="", seconds=0, facts=collector.kept)
    if check not in BY_CODE:
        return Judged(status="pass", summary=""), collector.kept
    return judge(BY_CODE[check], found, Context(device=DEVICE, machine=Machine())), collector.kept


def test_describe() -> None:
    _, facts = run(context.describe, "describe")
    assert facts["devices"][0]["compute_capability"] == "8.9"
    assert facts["devices"][0]["others"] == []
    assert facts["devices"][0]["memory_mib"] == 22492
    assert facts["devices"][0]["uuid"] == "GPU-1"


def test_a_slice_is_named_as_nvml_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Properties, "name", "NVIDIA A100-SXM4-40GB MIG 1g.5gb")
    _, facts = run(context.describe, "describe")
    assert facts["devices"][0]["uuid"] == "MIG-1"


def test_a_slice_is_not_judged_by_the_boards_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Properties, "name", "NVIDIA A100-SXM4-40GB MIG 1g.5gb")
    _, facts = run(matmul.tensor_core_fp16, "tensor-core-fp16")
    assert facts["gpm"] is None
    assert facts["load"]["sm_mhz"] == 1500


@pytest.mark.parametrize(
    ("function", "check"),
    [
        (context.cuda_context, "cuda-context"),
        (matmul.bf16, "bf16"),
        (memory.memory, "memory"),
        (memory.transfer, "transfer"),
        (attention.sdpa, "sdpa"),
    ],
)
def test_right_arithmetic_passes(function: Any, check: str) -> None:
    found, _ = run(function, check)
    assert found.status == "pass", found.summary


def test_tensor_cores_by_the_counter() -> None:
    found, facts = run(matmul.tensor_core_fp16, "tensor-core-fp16")
    assert facts["gpm"] == 80.0
    assert facts["load"]["sm_mhz"] == 1500
    assert {"fp16_tflops", "fp32_tflops", "ratio", "sms", "side", "kernels"} <= set(facts)
    assert found.measured["tensor_cores"] == "used", found.summary


def test_the_cpu_has_no_tf32_and_the_judges_see_it() -> None:
    """fp32 without TF32 in every case: right where it is off, noticed where it is on."""
    found, _ = run(matmul.tf32, "tf32")
    assert found.status == "warn"
    found, facts = run(convolution.cudnn, "cudnn")
    assert found.status == "pass", found.summary
    assert facts["loaded"] == 90100


def test_amp_on_the_cpu_is_not_mistaken_for_a_gpu() -> None:
    """fp16 with a GradScaler, as on a GPU: every part is right but the dtypes, which are the CPU's own."""
    try:
        found, facts = run(amp.amp, "amp")
    except RuntimeError as error:
        pytest.skip(f"this torch has no fp16 autocast on the CPU: {error}")
    assert training.scaler_faults(facts["scaler"]) == []
    for name in ("conv", "encoder", "conv_bf16"):
        assert training.training_faults(name, facts[name]) == []
    assert facts["conv"]["scale"] >= 1
    facts["device_type"] = "cuda"
    assert {text.split()[2] for text in training.dtype_faults(facts)} <= set(training.CUDA_SINGLE) | {
        "binary_cross_entropy"
    }
    assert found.status == "pass"


def test_workload() -> None:
    _, facts = run(workload.workload, "workload")
    assert facts["resnet"]["peak_bytes"] == 1 << 30
    assert len(facts["bert"]["losses"]) == 6
    assert facts["bert"]["seconds"] > 0


def test_graphs_call_what_torch_has() -> None:
    found, _ = run(graphs.cuda_graphs, "cuda-graphs")
    assert found.status == "fail"  # a graph that does not replay gives old values


def test_only_the_chosen_gpus_are_used_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--device 1,3`` of four: nothing of ours may run on the others."""
    started: list[list[int]] = []

    def launch(devices: list[int], *args: Any) -> dict[str, Any]:
        started.append(devices)
        return {"codes": [0] * len(devices), "hung": False, "facts": [{}]}

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(collectives, "launch", launch)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 21, 5))
    found, facts = run(collectives.nccl, "nccl", devices=[1, 3])
    assert (started, facts["ranks"], facts["version"]) == ([[1, 3]], 2, "2.21.5")
    assert found.status == "pass", found.summary
    found, facts = run(collectives.p2p, "p2p", devices=[1, 3])
    assert [(p["from"], p["to"], p["wrong"]) for p in facts["pairs"]] == [(1, 3, 0), (3, 1, 0)]
    assert found.status == "pass", found.summary
    with pytest.raises(Skip):
        run(collectives.p2p, "p2p", devices=[2])


def compiled_by_inductor(**environ: str) -> dict[str, Any]:
    """The compile check as a GPU runs it, with inductor's code for the CPU, in a process of its own."""
    argv = [sys.executable, str(Path(cuda_stand_in.__file__)), str(Path(graphs.__file__).parent), "compile"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_inductor_compiles_and_agrees_with_eager() -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler")
    found = compiled_by_inductor()
    assert "error" not in found, found["error"]
    judged = judge(
        BY_CODE["compile"],
        TrialRun(outcome=DONE, stage="", seconds=0, facts=found["facts"]),
        Context(device=DEVICE, machine=Machine()),
    )
    assert judged.status == "pass", judged.summary
    assert found["facts"]["gradient"]["elements"] == 64 * 64


def test_torchs_own_words_for_a_missing_compiler_are_known(tmp_path: Path) -> None:
    found = compiled_by_inductor(PATH=str(tmp_path), CXX=str(tmp_path / "g++"))
    run = TrialRun(outcome=RAISED, stage="compiling", seconds=0, text=found["error"], kind="InductorError")
    judged = trouble("compile", run)
    assert (judged.status, "C compiler" in judged.summary) == ("warn", True), found["error"]


CURES = [
    ("NCCL_P2P_DISABLE", 2, "and does not with P2P off: that is the cause"),
    ("NCCL_SHM_DISABLE", 3, "and does not with P2P and shared memory off: that is the cause"),
    ("nothing", 3, "hangs in"),
]


def nccl_that_hangs_without(cures: str, launch: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Judged, list[Any]]:
    def attempt(devices: list[int], backend: str, extra: dict[str, str], seconds: float, plant: Any) -> Any:
        assert (backend, plant) == ("nccl", None)
        return launch(devices, extra, cures in extra)

    monkeypatch.setattr(collectives, "launch", attempt)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 21, 5))
    found, facts = run(collectives.nccl, "nccl", devices=[0, 1])
    return found, facts["attempts"]


@pytest.mark.parametrize(("cures", "attempts", "words"), CURES)
def test_a_hang_is_named_by_its_cure(cures: str, attempts: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(devices: list[int], extra: dict[str, str], cured: bool) -> dict[str, Any]:
        return {"codes": [0, 0] if cured else [3, None], "hung": not cured, "stages": ["a", "b"], "facts": [{}]}

    found, tried = nccl_that_hangs_without(cures, launch, monkeypatch)
    assert [a["hung"] for a in tried] == [True] * (attempts - 1) + [cures == "nothing"]
    assert (found.status, words in found.summary) == ("fail", True), found.summary


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo across processes is tried on Linux and macOS")
def test_real_ranks_that_hang_are_named_by_their_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """On gloo; one rank hangs unless the variable is set that would cure NCCL of a shared memory that is too small."""
    real = collectives.launch

    def launch(devices: list[int], extra: dict[str, str], cured: bool) -> dict[str, Any]:
        plant, seconds = (None, 120.0) if cured else ("hang:1", 40.0)
        return real(devices, "gloo", {**extra, "OMP_NUM_THREADS": "1"}, seconds, plant)

    found, tried = nccl_that_hangs_without("NCCL_SHM_DISABLE", launch, monkeypatch)
    assert [a["hung"] for a in tried] == [True, True, False]
    assert "does not with P2P and shared memory off" in found.summary
    assert any("rank 1 stopped in: all_reduce of 4096 elements" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("function", "capability"), [(matmul.bf16, (7, 5)), (matmul.tf32, (7, 0)), (matmul.fp8, (8, 6))]
)
def test_chips_without_it_skip_for_good(function: Any, capability: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *args: capability)
    with pytest.raises(Skip) as skip:
        run(function, "bf16")
    assert skip.value.not_applicable
