"""What other estimators say for the same workload, by their own formulas: to be seen side by side, never to be used."""

from __future__ import annotations

from .architectures import Architecture
from .workload import Workload


def accelerate(arch: Architecture, work: Workload) -> float | None:
    """Bytes by ``accelerate estimate-memory`` (1.15): 4 x the fp32 weights under Adam, 2 x in float16.

    None: for training in int8 and int4 it prints N/A.
    """
    if work.quant is not None:
        return None if work.training else arch.params * (1.0 if work.quant == "int8" else 0.5)
    if not work.training:
        return arch.params * {"fp32": 4.0, "tf32": 4.0}.get(work.precision, 2.0)
    return arch.params * (16.0 if work.precision in ("fp32", "tf32") else 8.0)


def deepspeed(arch: Architecture, work: Workload) -> float | None:
    """Bytes per GPU by DeepSpeed's ``estimate_zero2`` and ``zero3_model_states_mem_needs``. None: it has no answer."""
    if not work.training or work.frozen or arch.kind == "resnet":
        return None
    if work.parallel in ("zero3", "fsdp"):
        return 4.0 * max(arch.layer, arch.embedding) + 18.0 * arch.params / work.gpus
    return 2.0 * arch.params + 18.0 * arch.params / work.gpus
