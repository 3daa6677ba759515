"""The checks of verify: name, what it shows, its judge, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import numeric, system, tensor, training
from .words import Context, Judged

Judge = Callable[[Mapping[str, Any], Context], Judged]


@dataclass(frozen=True, kw_only=True)
class Check:
    code: str
    title: str
    judge: Judge
    together: bool = False  # one trial for all devices
    required: bool = False
    quick: bool = False


CHECKS = (
    Check(
        code="cuda-context",
        title="a context, a kernel, copies, event timing",
        judge=system.judge_context,
        required=True,
        quick=True,
    ),
    Check(
        code="cudnn",
        title="convolutions and gradients against float64",
        judge=numeric.judge_cudnn,
        required=True,
        quick=True,
    ),
    Check(
        code="tensor-core-fp16",
        title="fp16 products: exact, bounded, and computed by Tensor Cores",
        judge=tensor.judge_tensor_core,
        required=True,
        quick=True,
    ),
    Check(
        code="amp",
        title="autocast, GradScaler, training beside fp32",
        judge=training.judge_amp,
        required=True,
        quick=True,
    ),
    Check(code="bf16", title="bf16 products: exact and bounded", judge=numeric.judge_bf16),
    Check(code="tf32", title="TF32 on when allowed, off when not", judge=numeric.judge_tf32),
    Check(code="fp8", title="fp8 products: exact and bounded", judge=numeric.judge_fp8),
    Check(code="memory", title="patterns through the free memory", judge=system.judge_memory),
    Check(code="transfer", title="copies over the link, contents and speed", judge=system.judge_transfer),
    Check(code="sdpa", title="each attention backend against float64", judge=numeric.judge_sdpa),
    Check(code="cuda-graphs", title="capture and replay", judge=numeric.judge_graphs),
    Check(code="compile", title="torch.compile against eager", judge=numeric.judge_compile),
    Check(code="nccl", title="collectives across all GPUs, exact", judge=system.judge_nccl, together=True),
    Check(code="p2p", title="copies between GPUs, both directions", judge=system.judge_p2p, together=True),
    Check(code="workload", title="one training of BERT-base size, one of ResNet-18", judge=training.judge_workload),
)
BY_CODE = {check.code: check for check in CHECKS}
REQUIRED = tuple(check.code for check in CHECKS if check.required)

# planted fault -> (what it is, the check that must notice). The probe plants them: probe/faults.py has the same names
PLANTS = {
    "flipped-bit": ("one mantissa bit of one element of a product is flipped", "tensor-core-fp16"),
    "dropped-k-tile": ("16 of the K products of every sum are left out", "tensor-core-fp16"),
    "zeroed-row": ("one row of a product is zero", "tensor-core-fp16"),
    "nan": ("one element of a product is NaN", "tensor-core-fp16"),
    "fp16-accumulation": ("sums are kept in fp16 instead of fp32", "tensor-core-fp16"),
    "tf32-on": ("TF32 is on where it was asked to be off", "cudnn"),
    "nondeterministic": ("two runs of one deterministic convolution differ in the last bit", "cudnn"),
    "scaler-no-skip": ("the GradScaler takes the step although a gradient is infinite", "amp"),
    "wrong-dtype": ("an operation under autocast runs in the wrong dtype", "amp"),
    "flat-training": ("the training does not learn: its loss stays where it was", "amp"),
}
