"""The trials by name. A trial module is imported when its trial runs."""

from __future__ import annotations

import importlib
from typing import Any, Dict

from .trial import Skip, Trial

__all__ = ["TRIALS", "Skip", "run"]

TRIALS = {
    "describe": ("context", "describe"),
    "cuda-context": ("context", "cuda_context"),
    "cudnn": ("convolution", "cudnn"),
    "tensor-core-fp16": ("matmul", "tensor_core_fp16"),
    "amp": ("amp", "amp"),
    "bf16": ("matmul", "bf16"),
    "tf32": ("matmul", "tf32"),
    "fp8": ("matmul", "fp8"),
    "memory": ("memory", "memory"),
    "transfer": ("memory", "transfer"),
    "sdpa": ("attention", "sdpa"),
    "cuda-graphs": ("graphs", "cuda_graphs"),
    "compile": ("graphs", "compiled"),
    "nccl": ("collectives", "nccl"),
    "p2p": ("collectives", "p2p"),
    "workload": ("workload", "workload"),
}


def run(torch: Any, channel: Any, job: Dict[str, Any]) -> None:
    """Run the trial that the job names. Raises ``Skip``, or whatever the trial raises."""
    module_name, function_name = TRIALS[str(job["check"])]
    module = importlib.import_module("." + module_name, __package__)
    trial = Trial(torch, channel, job)
    if not trial.cuda:
        torch.set_num_threads(1)  # the tensors are small: on a busy machine threads only wait for each other
    getattr(module, function_name)(trial)
