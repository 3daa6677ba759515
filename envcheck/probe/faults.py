"""The faults that a rehearsal can plant, and products on the CPU that carry them.

On the CPU a product is emulated as the device should compute it: operands rounded to their format, products summed in
fp32, one rounding to the output's format. A planted fault replaces one of these steps, so the judges see what a broken
GPU, a broken library or a wrong setting would hand them.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from .numerics import round_tf32

# fault -> (what is planted, the check that must notice)
FAULTS: Dict[str, Any] = {
    "flipped-bit": ("one mantissa bit of one element of the product is flipped", "tensor-core-fp16"),
    "dropped-k-tile": ("16 of the K products of every sum are left out", "tensor-core-fp16"),
    "zeroed-row": ("one row of the product is zero", "tensor-core-fp16"),
    "nan": ("one element of the product is NaN", "tensor-core-fp16"),
    "fp16-accumulation": ("sums are kept in fp16 instead of fp32", "tensor-core-fp16"),
    "tf32-on": ("TF32 is on where it was asked to be off", "cudnn"),
    "nondeterministic": ("two runs of one deterministic convolution differ in the last bit", "cudnn"),
    "scaler-no-skip": ("the GradScaler takes the step although a gradient is infinite", "amp"),
    "wrong-dtype": ("an autocast operation runs in the wrong dtype", "amp"),
    "flat-training": ("the training does not learn: its loss stays where it was", "amp"),
}
TILE = 16


def product(trial: Any, left: Any, right: Any, dtype: Any) -> Any:
    """``left @ right`` on the trial's device in ``dtype`` (operands are rounded to it); in a rehearsal emulated."""
    if trial.cuda:
        return left.to(trial.device, dtype) @ right.to(trial.device, dtype)
    return emulate(trial, left.to(dtype).float(), right.to(dtype).float(), dtype)


def emulate(trial: Any, left: Any, right: Any, dtype: Any) -> Any:
    """The product of fp32 tensors that hold rounded operands, with the planted fault, rounded to ``dtype``."""
    torch, fault = trial.torch, trial.plant
    if fault == "dropped-k-tile":
        start = trial.pick(1, max(1, left.shape[1] - TILE + 1))
        left = left.clone()
        left[:, start : start + TILE] = 0
    if fault == "fp16-accumulation" and dtype == torch.float16:
        return _half_sums(torch, left, right)
    return spoil(trial, (left @ right).to(dtype))


def _half_sums(torch: Any, left: Any, right: Any) -> Any:
    """Sums kept in fp16 between tiles of 16 products, as a Tensor Core with an fp16 accumulator keeps them."""
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.float16)
    for start in range(0, left.shape[1], TILE):
        part = left[:, start : start + TILE] @ right[start : start + TILE]
        total = (total.float() + part).half()
    return total


def spoil(trial: Any, result: Any) -> Any:
    """Plant a fault of storage into a result of two or more dimensions, where one is planted."""
    torch, fault = trial.torch, trial.plant
    if fault not in ("flipped-bit", "zeroed-row", "nan"):
        return result
    result = result.clone()
    flat = result.view(-1)
    where = trial.pick(2, flat.numel())
    if fault == "zeroed-row":
        result.view(result.shape[0], -1)[trial.pick(3, result.shape[0])] = 0
    elif fault == "nan":
        flat[where] = float("nan")
    else:
        _flip(torch, flat, where, trial)
    return result


def _flip(torch: Any, flat: Any, where: int, trial: Any) -> None:
    """Flip one mantissa bit of ``flat[where]``, any of them with equal chance."""
    widths = {torch.float16: (torch.int16, 10), torch.bfloat16: (torch.int16, 7), torch.float32: (torch.int32, 23)}
    integer, mantissa = widths[flat.dtype]
    bits = flat.view(integer)
    bits[where] = int(bits[where]) ^ (1 << trial.pick(4, mantissa))


def convolution_operands(trial: Any, tensors: Any, tf32: bool) -> Any:
    """fp32 operands as the unit reads them: rounded to TF32 where that is on, rightly or by the planted fault."""
    if not trial.cuda and (tf32 or trial.plant == "tf32-on"):
        return [round_tf32(trial.torch, t) for t in tensors]
    return list(tensors)


def catcher(fault: Optional[str]) -> Optional[str]:
    """The check that must notice a fault."""
    return FAULTS[fault][1] if fault in FAULTS else None
