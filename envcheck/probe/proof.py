"""Evidence that an fp16 product ran on Tensor Cores, and how fast.

Three kinds, strongest first: the tensor utilisation that the GPU's own monitor counts (Hopper and later), the names of
the kernels that ran (profiler), the speed against fp32 with TF32 off on the same shape, interleaved so that clocks and
power limits hit both alike. The parent weighs them; the chip's own veto comes before all of them.
"""

from __future__ import annotations

import importlib
import inspect
import time
import warnings
from typing import Any, List, Optional

from . import driver, nvml
from .trial import Trial

BURST_S = 0.12  # one timed burst
GPM_S = 0.30  # between two samples of GPM, which wants at least 0.1
QUEUE_S = 0.1  # of products that are queued at a time: NVML's answers take tens of milliseconds
ROUNDS = 3


def side_for(trial: Trial) -> int:
    """Side of the square product that is timed: 8192 where memory and speed allow, else less."""
    free = trial.free_memory()
    side = 8192 if free > (6 << 30) else 4096 if free > (1 << 30) else 1024
    while side > 1024:
        left, right = _operands(trial, trial.torch.float32, side // 2)
        seconds = _timed(trial, left, right, 1)
        if seconds * 8 < 0.1:  # eight times the work at twice the side
            break
        side //= 2
    return side


def _operands(trial: Trial, dtype: Any, side: int) -> List[Any]:
    torch = trial.torch
    return [torch.randn(side, side, device=trial.device).to(dtype) for _ in range(2)]


def _timed(trial: Trial, left: Any, right: Any, repeats: int) -> float:
    """Seconds of ``repeats`` products, by CUDA events, after one product to warm up."""
    torch = trial.torch
    left @ right
    trial.sync()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        left @ right
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000.0


def rate(trial: Trial, dtype: Any, side: int, operands: Optional[List[Any]] = None) -> float:
    """TFLOPS (10**12 floating-point operations a second) of square products, best of the rounds."""
    left, right = operands or _operands(trial, dtype, side)
    once = max(_timed(trial, left, right, 1), 1e-6)
    repeats = max(1, min(2000, int(BURST_S / once)))
    best = min(_timed(trial, left, right, repeats) / repeats for _ in range(1 if operands else ROUNDS))
    return 2.0 * side**3 / best / 1e12


def tensor_cores(trial: Trial) -> None:
    torch = trial.torch
    side = side_for(trial)
    half, single = _operands(trial, torch.float16, side), _operands(trial, torch.float32, side)
    trial.stage("timing fp16 against fp32")
    pairs = []
    for _ in range(ROUNDS):
        pairs.append((rate(trial, torch.float16, side, half), rate(trial, torch.float32, side, single)))
    fp16, fp32 = max(p[0] for p in pairs), max(p[1] for p in pairs)
    ratios = sorted(a / b for a, b in pairs)
    trial.facts(side=side, fp16_tflops=fp16, fp32_tflops=fp32, ratio=ratios[len(ratios) // 2])
    trial.facts(sms=torch.cuda.get_device_properties(trial.ordinal).multi_processor_count)
    trial.stage("asking NVML under load")
    _under_load(trial, half, fp16, side)
    trial.stage("profiling one fp16 product")
    trial.facts(**kernel_names(trial, half))


def _under_load(trial: Trial, operands: List[Any], tflops: float, side: int) -> None:
    """Clocks, power and GPM while fp16 products run."""
    card = nvml.Card.open(driver.device_ids(trial.ordinal)["bus_id"])
    if card is None:
        trial.facts(load=None, gpm=None)
        return
    # a MIG slice has no card of its own: the board's counter would count the neighbours, or nothing
    slice_ = "MIG" in str(trial.torch.cuda.get_device_properties(trial.ordinal).name)
    gpm = None if slice_ else card.gpm()
    busy = Busy(trial, operands, 2.0 * side**3 / (tflops * 1e12))
    busy.keep(QUEUE_S)
    began = gpm.sample() if gpm else False
    busy.keep(GPM_S / 2.0)
    state = card.state()
    busy.keep(GPM_S / 2.0)
    ended = gpm.sample() if gpm and began else False
    trial.sync()
    trial.facts(load=state, gpm=gpm.tensor_percent() if gpm and ended else None)


class Busy:
    """Keeps the device at products: always one batch is queued behind the one that runs, and never so many that
    launching waits for room (CUDA queues 1024), so whoever asks in between asks under load."""

    def __init__(self, trial: Trial, operands: List[Any], seconds: float) -> None:
        self._trial = trial
        self._operands = operands
        self._batch = max(1, min(400, int(QUEUE_S / max(seconds, 1e-9))))
        self._last: Any = None

    def keep(self, seconds: float) -> None:
        """Products for at least so many seconds."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(self._batch):
                self._operands[0] @ self._operands[1]
            done = self._trial.torch.cuda.Event()
            done.record()
            if self._last is not None:
                self._last.synchronize()
            self._last = done


def kernel_names(trial: Trial, operands: List[Any]) -> Any:
    """Names of the CUDA kernels of one product; ``kernels`` None with the reason where the profiler cannot tell."""
    try:
        operands[0] @ operands[1]
        trial.sync()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # use_cuda is called old from torch 2.4 on, and was never taken away
            with _profiler() as profiled:
                operands[0] @ operands[1]
                trial.sync()
        events = list(profiled.function_events or ())
        names = [str(e.name) for e in events if str(e.device_type).endswith("CUDA")]
        names += [str(k.name) for e in events for k in getattr(e, "kernels", ())]
    except (RuntimeError, ImportError, AttributeError, TypeError) as error:
        return {"kernels": None, "kernels_why": str(error)[:300]}
    names = sorted({n for n in names if not n.lower().startswith(("memcpy", "memset", "aten::", "cuda"))})
    return {"kernels": names or None, "kernels_why": None if names else "the profiler saw no kernel (CUPTI)"}


def _profiler() -> Any:
    """torch.autograd's profiler over CUPTI: what torch.profiler wraps, without the 3 s that its imports take."""
    profiler = importlib.import_module("torch.autograd.profiler")
    known = inspect.signature(profiler.profile.__init__).parameters
    device = {"use_cuda": True} if "use_cuda" in known else {"use_device": "cuda"}
    return profiler.profile(use_kineto=True, **device)
