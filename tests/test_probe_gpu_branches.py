"""The branches that only a GPU takes, with torch.cuda replaced by a stand-in on the CPU.

This finds a wrong name, a wrong argument or a figure that the judge misses. It says nothing about any GPU.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from test_probe import Collector

from envcheck.model import Machine
from envcheck.probe import amp, attention, context, convolution, driver, graphs, matmul, memory, nvml, proof, workload
from envcheck.probe.trial import Skip, Trial
from envcheck.verify.session import judge
from envcheck.verify.table import BY_CODE
from envcheck.verify.words import DONE, Context, Device, Judged, TrialRun

DEVICE = Device(index=0, ordinal=0, name="NVIDIA L4", compute_capability="8.9", sms=58, tensor_cores=4)
torch = pytest.importorskip("torch", reason="the probe's figures need a real torch")


class FakeEvent:
    def __init__(self, **_: Any) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: FakeEvent) -> float:
        return (other.at - self.at) * 1000.0


class FakeCard:
    """NVML's answers, by the names that the trials use."""

    def state(self) -> dict[str, Any]:
        return {"sm_mhz": 1500, "power_w": 70.0, "power_limit_w": 72.0, "throttle": []}

    def link(self) -> dict[str, Any]:
        return {"generation": 4, "width": 16, "max_generation": 4, "max_width": 16}

    def errors(self) -> dict[str, Any]:
        return {"corrected": 0, "uncorrected": 0, "remapped": 0, "remap_pending": False, "remap_failed": False}

    def compute_processes(self) -> list[int]:
        return []

    def gpm(self) -> FakeCard:
        return self

    def sample(self) -> bool:
        return True

    def tensor_percent(self) -> float:
        return 80.0


class FakeProperties:
    name, major, minor, total_memory, multi_processor_count = "NVIDIA L4", 8, 9, 22492 << 20, 58


@contextlib.contextmanager
def passing(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.cuda
    for name in ("set_device", "init", "synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(cuda, name, lambda *args: None)
    monkeypatch.setattr(cuda, "Event", FakeEvent)
    monkeypatch.setattr(cuda, "get_device_capability", lambda *args: (8, 9))
    monkeypatch.setattr(cuda, "get_device_properties", lambda *args: FakeProperties())
    monkeypatch.setattr(cuda, "mem_get_info", lambda *args: (40 << 20, 1 << 30))
    monkeypatch.setattr(cuda, "max_memory_allocated", lambda *args: 1 << 30)
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cuda, "get_arch_list", lambda: ["sm_89"])
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(driver, "initialise", lambda: None)
    monkeypatch.setattr(driver, "version", lambda: "12.2")
    monkeypatch.setattr(driver, "device_ids", lambda ordinal: {"bus_id": "0000:01:00.0", "uuid": "GPU-1"})
    monkeypatch.setattr(nvml.Card, "open", classmethod(lambda cls, bus: FakeCard()))
    monkeypatch.setattr(matmul, "EXACT_SIDE", 32)
    monkeypatch.setattr(matmul, "ODD_SHAPE", (31, 61, 29))
    monkeypatch.setattr(matmul, "_shape", lambda trial: (64, 512, 64))
    monkeypatch.setattr(proof, "side_for", lambda trial: 64)
    monkeypatch.setattr(proof, "BURST_S", 0.002)
    monkeypatch.setattr(proof, "GPM_S", 0.12)
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 90100)
    for module, name, value in (
        (convolution, "CUDA_SHAPE", convolution.CPU_SHAPE),
        (attention, "SHAPE", (1, 2, 32, 16)),
        (memory, "CHUNK", 1 << 20),
        (workload, "NEEDED", 0),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32)
    yield
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, products.allow_tf32 = before


def run(function: Any, check: str) -> tuple[Judged, dict[str, Any]]:
    collector = Collector()
    trial = Trial(torch, collector, {"check": check, "device": 0, "seed": 1, "deadline": 60})
    assert trial.cuda
    trial.device = torch.device("cpu")
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
    """The parts run to their end; the CPU's dtypes are not a GPU's, and the judge says so."""
    try:
        _, facts = run(amp.amp, "amp")
    except RuntimeError as error:
        pytest.skip(f"this torch has no fp16 autocast on the CPU: {error}")
    assert {"dtypes", "scaler", "conv", "encoder", "conv_bf16"} <= set(facts)


def test_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks in the place of the real ones; how the steps are taken and timed is the GPU's way."""
    real, images = workload.models.encoder, workload.models.image_batch

    def encoder(module: Any, **size: Any) -> Any:
        return real(module, **{**size, "layers": 1, "width": 24, "inner": 24, "words": 30522})

    monkeypatch.setattr(workload.models, "encoder", encoder)
    monkeypatch.setattr(workload.models, "resnet18", workload.models.conv_net)
    monkeypatch.setattr(workload.models, "image_batch", lambda trial, **_: images(trial, 8))
    _, facts = run(workload.workload, "workload")
    assert facts["resnet"]["peak_bytes"] == 1 << 30
    assert len(facts["bert"]["losses"]) == 6
    assert facts["bert"]["seconds"] > 0


def test_graphs_call_what_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: Any) -> None:
            pass

    class Graph:
        def replay(self) -> None:
            pass

    for name, value in (
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", passing),
        ("CUDAGraph", Graph),
        ("graph", passing),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    found, _ = run(graphs.cuda_graphs, "cuda-graphs")
    assert found.status == "fail"  # a graph that does not replay gives old values


@pytest.mark.parametrize(
    ("function", "capability"), [(matmul.bf16, (7, 5)), (matmul.tf32, (7, 0)), (matmul.fp8, (8, 6))]
)
def test_chips_without_it_skip_for_good(function: Any, capability: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *args: capability)
    with pytest.raises(Skip) as skip:
        run(function, "bf16")
    assert skip.value.not_applicable
