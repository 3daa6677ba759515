"""torch.cuda replaced by a stand-in on the CPU, so that the branches that only a GPU takes can run without one.

This finds a wrong name, a wrong argument, an interface that a version of torch does not have, or a figure that a judge
misses. It says nothing about any GPU. ``tests/test_probe_gpu_branches.py`` uses it in its own process; with another
interpreter's torch it runs as a script (the standard library and torch, Python 3.8 syntax)::

    python tests/cuda_stand_in.py envcheck/probe [CHECK...]

prints one JSON object a line: ``check``, ``facts``, ``stages``, and ``error`` (with ``trace``) or ``skip`` where it did
not end well.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

CHECKS = (
    "describe",
    "cuda-context",
    "cudnn",
    "tensor-core-fp16",
    "amp",
    "bf16",
    "tf32",
    "fp8",
    "memory",
    "transfer",
    "sdpa",
    "cuda-graphs",
    "compile",
    "nccl",
    "p2p",
    "workload",
)


class Event:
    def __init__(self, **_: Any) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, other: Event) -> float:
        return (other.at - self.at) * 1000.0


class Stream:
    def wait_stream(self, other: Any) -> None:
        pass


class Graph:
    """Captures nothing: its replay leaves the old values, as a broken graph would."""

    def replay(self) -> None:
        pass


class Card:
    """NVML's answers, by the names that the trials use."""

    def state(self) -> dict[str, Any]:
        return {"sm_mhz": 1500, "power_w": 70.0, "power_limit_w": 72.0, "throttle": []}

    def link(self) -> dict[str, Any]:
        return {"generation": 1, "width": 1, "max_generation": 1, "max_width": 1}

    def errors(self) -> dict[str, Any]:
        return {"corrected": 0, "uncorrected": 0, "remapped": 0, "remap_pending": False, "remap_failed": False}

    def compute_processes(self) -> list[int]:
        return []

    def gpm(self) -> Card:
        return self

    def sample(self) -> bool:
        return True

    def tensor_percent(self) -> float:
        return 80.0


class Properties:
    name, major, minor, total_memory, multi_processor_count = "NVIDIA L4", 8, 9, 22492 << 20, 58


@contextlib.contextmanager
def passing(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


def install(torch: Any, package: str, patch: Callable[[Any, str, Any], None], devices: int = 1) -> None:
    """Replace what only a GPU has. ``patch`` is ``setattr``, or pytest's that is undone."""
    part = {
        name: importlib.import_module(package + "." + name)
        for name in (
            "attention",
            "collectives",
            "convolution",
            "driver",
            "matmul",
            "memory",
            "nvml",
            "proof",
            "trial",
            "workload",
        )
    }
    with contextlib.suppress(ImportError):  # from torch 2.1 on: it looks at the classes of torch.cuda when imported
        importlib.import_module("torch._dynamo.device_interface")
    torch.set_num_threads(1)  # the tensors are small: on a busy machine threads only wait for each other
    cuda = torch.cuda
    for name in ("set_device", "init", "synchronize", "reset_peak_memory_stats"):
        patch(cuda, name, lambda *args: None)
    for name, value in (
        ("Event", Event),
        ("get_device_capability", lambda *args: (8, 9)),
        ("get_device_properties", lambda *args: Properties()),
        ("mem_get_info", lambda *args: (40 << 20, 1 << 30)),
        ("max_memory_allocated", lambda *args: 1 << 30),
        ("device_count", lambda: devices),
        ("can_device_access_peer", lambda one, other: True),
        ("get_arch_list", lambda: ["sm_89"]),
        ("Stream", Stream),
        ("current_stream", Stream),
        ("stream", passing),
        ("CUDAGraph", Graph),
        ("graph", passing),
    ):
        patch(cuda, name, value)
    patch(torch.Tensor, "pin_memory", lambda self: self)
    patch(torch.backends.cudnn, "is_available", lambda: True)
    patch(torch.backends.cudnn, "version", lambda: 90100)
    patch(part["trial"].Trial, "place", lambda self, ordinal: torch.device("cpu"))
    patch(part["driver"], "initialise", lambda: None)
    patch(part["driver"], "version", lambda: "12.2")
    patch(part["driver"], "device_ids", lambda ordinal: {"bus_id": "0000:01:00.0", "uuid": "GPU-1"})
    patch(part["nvml"].Card, "open", classmethod(lambda cls, bus: Card()))
    for module, name, value in (  # what is large on a GPU is small here
        ("matmul", "EXACT_SIDE", 32),
        ("matmul", "ODD_SHAPE", (31, 61, 29)),
        ("matmul", "_shape", lambda trial: (64, 512, 64)),
        ("proof", "side_for", lambda trial: 64),
        ("proof", "BURST_S", 0.002),
        ("proof", "GPM_S", 0.12),
        ("proof", "QUEUE_S", 0.01),
        ("convolution", "CUDA_SHAPE", part["convolution"].CPU_SHAPE),
        ("attention", "SHAPE", (1, 2, 32, 16)),
        ("memory", "CHUNK", 1 << 20),
        ("collectives", "PATTERN_BYTES", 1 << 12),
        ("workload", "NEEDED", 0),
    ):
        patch(part[module], name, value)
    _small_networks(part["workload"].models, patch)
    if _needs_other_half(torch):
        patch(torch, "float16", torch.bfloat16)


def _needs_other_half(torch: Any) -> bool:
    """Whether this torch has no fp16 arithmetic on the CPU, nor autocast to it (before 2.3)."""
    try:
        torch.ones(2, 2, dtype=torch.float16) @ torch.ones(2, 2, dtype=torch.float16)
        with torch.autocast("cpu", dtype=torch.float16):
            return False
    except RuntimeError:
        return True


def _small_networks(models: Any, patch: Callable[[Any, str, Any], None]) -> None:
    """Small networks in the place of the real-sized ones; how the steps are taken and timed is the GPU's way."""
    encoder, images = models.encoder, models.image_batch

    def small(torch: Any, **size: Any) -> Any:
        size = dict(size, layers=1, width=24, heads=4, inner=24) if size.get("width") == 768 else size
        return encoder(torch, **size)

    def few(trial: Any, **size: Any) -> Any:
        return images(trial, **dict(size, count=8, classes=4)) if size.get("count") == 128 else images(trial, **size)

    patch(models, "encoder", small)
    patch(models, "resnet18", lambda nn, classes=10: models.conv_net(nn))
    patch(models, "image_batch", few)


class Collector:
    """Stands in for the pipe: what passes is JSON, as it would be."""

    def __init__(self, plain: Callable[[Any], Any]) -> None:
        self.plain = plain
        self.kept: dict[str, Any] = {}
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def facts(self, **items: Any) -> None:
        self.kept.update(json.loads(json.dumps(self.plain(items), allow_nan=False)))


def run(torch: Any, package: str, check: str) -> dict[str, Any]:
    """One trial with ``install``ed stand-ins; what it said and how it ended."""
    trials = importlib.import_module(package + ".trials")
    collector = Collector(importlib.import_module(package + ".channel").plain)
    out: dict[str, Any] = {"check": check, "facts": collector.kept, "stages": collector.stages}
    try:
        trials.run(torch, collector, {"check": check, "device": 0, "seed": 1, "deadline": 60})
    except trials.Skip as skip:
        out["skip"] = str(skip)
    except Exception as error:  # noqa: BLE001 - whatever a version of torch raises is what this is for
        out["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        out["trace"] = traceback.format_exc()[-2000:]
    return out


def main() -> None:
    folder, checks = sys.argv[1].rstrip("/"), sys.argv[2:] or CHECKS
    spec = importlib.util.spec_from_file_location("main_of_probe", folder + "/main.py")
    assert spec is not None and spec.loader is not None  # a path to a file gives both
    entry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(entry)
    entry.load_package()
    torch = importlib.import_module("torch")
    install(torch, entry.PACKAGE, setattr)
    for check in checks:
        print(json.dumps(run(torch, entry.PACKAGE, check)), flush=True)


if __name__ == "__main__":
    main()
