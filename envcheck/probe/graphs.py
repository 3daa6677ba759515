"""cuda-graphs and compile: the two ways in which torch stops launching kernels one by one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from . import numerics
from .trial import Skip, Trial


def cuda_graphs(trial: Trial) -> None:
    """Capture on a side stream, replay with a changed input, compare with eager bit for bit."""
    torch = trial.torch
    if not trial.cuda:
        raise Skip("CUDA graphs exist on a GPU only", not_applicable=True)
    trial.start_cuda()
    # small integers: whichever algorithm the library picks inside and outside of a capture, the sums are the same
    weight = trial.signs(256, 256).to(trial.device)
    static = trial.signs(64, 256).to(trial.device)

    def step() -> Any:
        return torch.relu(static @ weight) + 1.0

    trial.stage("warming up on a side stream")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    trial.stage("capturing")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    wrong = 0
    trial.stage("replaying")
    for _ in range(3):
        static.copy_(trial.signs(64, 256))
        graph.replay()
        trial.sync()
        wrong += numerics.exact(torch, captured, step().cpu().double())["mismatches"]
    trial.facts(mismatches=wrong)


def compiled(trial: Trial) -> None:
    """torch.compile with a cache of its own, forward and backward, against eager; a rehearsal leaves inductor out."""
    torch = trial.torch
    if not hasattr(torch, "compile"):
        raise Skip("this torch has no torch.compile")
    cache = tempfile.mkdtemp(prefix="envcheck-inductor-")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache) / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(Path(cache) / "triton")
    try:
        trial.start_cuda()
        _compile(trial)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _compile(trial: Trial) -> None:
    torch = trial.torch
    x = trial.normal(64, 64).to(trial.device)

    def function(t: Any) -> Any:
        # divided, so that no probability is near one: gradients near zero would compare nothing
        return (torch.nn.functional.gelu(t @ t.t() / 8.0) * 0.5 + 1.0).softmax(dim=-1).sum(dim=0)

    eager_in, fast_in = x.clone().requires_grad_(), x.clone().requires_grad_()
    eager = function(eager_in)
    eager.square().sum().backward()
    trial.stage("compiling")
    fast = torch.compile(function, backend="inductor" if trial.cuda else "aot_eager")(fast_in)
    trial.stage("running compiled code")
    fast.square().sum().backward()
    trial.sync()
    trial.facts(
        **{
            word: _close(torch, a, b)
            for word, a, b in (("forward", fast, eager), ("gradient", fast_in.grad, eager_in.grad))
        }
    )


def _close(torch: Any, result: Any, other: Any) -> Any:
    """fp32 against fp32: both round differently, so 1e-4 of the largest value, some 40 K roundings at K = 64."""
    reference = other.detach().cpu().double()
    bound = torch.full_like(reference, 1e-4 * float(reference.abs().max()))
    return numerics.compare(torch, result, reference, bound)
