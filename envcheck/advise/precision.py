"""Which precision a chip gains from: judged by the chip, not by its compute capability."""

from __future__ import annotations

from dataclasses import dataclass

from .specs import Card


@dataclass(frozen=True, kw_only=True)
class Advice:
    """``train`` and ``infer`` are words of ``--precision``; ``attention`` the fastest kernel that torch has for it."""

    train: str
    infer: str
    attention: str
    why: tuple[str, ...]


def advise_precision(card: Card) -> Advice:
    """What to train and to run in on this chip, and why."""
    generation = card.row.tensor_cores
    cc = tuple(int(n) for n in card.compute_capability.split("."))
    if not generation:
        return _without_tensor_cores(card, cc)
    if generation in (1, 2):
        return Advice(
            train="fp16-amp",
            infer="fp16",
            attention="sdpa",
            why=(
                "FP16 on Tensor Cores, with GradScaler: its range is small",
                "no native BF16: torch emulates it, measured 7 to 18 times slower than FP16 on RTX 20, T4 and V100 "
                "(torch.cuda.is_bf16_supported() says yes all the same: it counts emulation)",
                "no TF32: FP32 runs on the CUDA cores",
                "FlashAttention 2 needs an Ampere chip: torch takes its memory-efficient kernel",
            ),
        )
    why = ["BF16 on Tensor Cores: as fast as FP16, with the range of FP32, so no GradScaler"]
    why.append("TF32 for what stays FP32: torch.backends.cuda.matmul.allow_tf32 = True")
    if card.peak("fp8"):
        why.append(f"FP8 doubles the rate on paper ({card.peak('fp8'):.0f} TFLOPS dense); it needs Transformer Engine")
    half, full = card.peak("fp16_acc16"), card.peak("fp16_acc32")
    if half and full and half > full:
        why.append(f"FP16 accumulates in FP32 at half the rate ({full:.0f} of {half:.0f} TFLOPS): torch.matmul does so")
    return Advice(train="bf16-amp", infer="bf16", attention="flash", why=tuple(why))


def _without_tensor_cores(card: Card, cc: tuple[int, ...]) -> Advice:
    if cc >= (7, 5):
        text = (
            "no Tensor Cores although its compute capability is 7.5: FP16 matmul was measured up to 9 times slower "
            "than FP32 (0.3 to 0.6 against 2 to 5 TFLOPS), so autocast does harm"
        )
    elif cc in ((6, 0), (6, 2)):
        text = "no Tensor Cores; FP16 runs at twice the FP32 rate on the CUDA cores, without their speed-up for matmul"
    elif card.row.tensor_cores is None:
        text = "it is not known whether its Tensor Cores work (mining board): FP32 is safe"
    else:
        text = (
            "no Tensor Cores and FP16 arithmetic at 1/64 of FP32: FP16 matmul was measured equal to FP32 "
            "(GTX 1080 Ti 9.6 against 10.1 TFLOPS), so autocast saves some memory and no time"
        )
    return Advice(
        train="fp32", infer="fp16", attention="sdpa", why=(text, "FP16 weights still halve the memory of inference")
    )
