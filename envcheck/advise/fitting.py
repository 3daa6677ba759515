"""The estimate turned round: the largest batch or length on a card, the cards that suffice, what to change to fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ..errors import UsageError
from .architectures import Architecture
from .memory import GIB, Estimate, estimate
from .specs import Card
from .workload import Workload

LARGEST = 1 << 20
MOST_GPUS = 4096
# what a card keeps for itself: nvidia-smi's total is below the printed size, and a desktop needs some
USABLE = 0.97


def usable_bytes(memory_gib: float) -> float:
    """What a program can have of a card with that much memory."""
    return memory_gib * GIB * USABLE


def fits(arch: Architecture, work: Workload, memory_gib: float) -> bool:
    return estimate(arch, work).peak <= usable_bytes(memory_gib)


def _largest(holds: Callable[[int], bool], limit: int = LARGEST) -> int:
    """The largest number up to ``limit`` that holds, by bisection; 0 where 1 does not. ``holds`` must be monotone."""
    if not holds(1):
        return 0
    low, high = 1, 2
    while high <= limit and holds(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def largest_batch(arch: Architecture, work: Workload, memory_gib: float) -> int:
    """Per GPU; 0 where not even one sample fits."""
    return _largest(lambda n: fits(arch, replace(work, batch=n), memory_gib))


def largest_seq(arch: Architecture, work: Workload, memory_gib: float) -> int:
    """Tokens; no more than the model has positions for."""
    limit = arch.positions if arch.kind in ("encoder", "gpt2") else LARGEST
    return _largest(lambda n: fits(arch, replace(work, seq=n), memory_gib), limit or LARGEST)


def gpus_needed(arch: Architecture, work: Workload, memory_gib: float) -> int | None:
    """GPUs of that size with everything sharded (ZeRO-3, FSDP); None where the activations alone are too much."""

    def sharded(n: int) -> Workload:
        return replace(work, gpus=n, parallel="fsdp" if n > 1 else "none")

    if fits(arch, sharded(1), memory_gib):
        return 1
    if not fits(arch, sharded(MOST_GPUS), memory_gib):
        return None
    low, high = 1, MOST_GPUS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(arch, sharded(middle), memory_gib) else (middle, high)
    return high


def smallest_cards(arch: Architecture, work: Workload, known: Iterable[Card]) -> tuple[Card, ...]:
    """The cards of the smallest memory that one copy fits in."""
    enough = [c for c in known if fits(arch, work, c.memory_gib)]
    least = min((c.memory_gib for c in enough), default=0.0)
    return tuple(c for c in enough if c.memory_gib == least)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing to change, the bytes that it saves, and whether it is enough alone."""

    what: str
    option: str
    saves: float
    cost: str
    fits: bool


def changes(arch: Architecture, work: Workload, memory_gib: float) -> tuple[Change, ...]:
    """What makes the workload smaller: what is enough alone first, then by the bytes that each saves."""
    now = estimate(arch, work)
    found = []
    for what, cost, other in _alternatives(arch, work):
        try:
            then = estimate(arch, other)
        except UsageError:
            continue
        if now.peak - then.peak > now.peak * 0.005:
            fit = then.peak <= usable_bytes(memory_gib)
            found.append(
                Change(what=what, option=option_of(work, other), saves=now.peak - then.peak, cost=cost, fits=fit)
            )
    return tuple(sorted(found, key=lambda c: (not c.fits, -c.saves)))


def together(arch: Architecture, work: Workload, memory_gib: float) -> tuple[tuple[Change, ...], float]:
    """Changes on top of each other until it fits, the cheapest kinds first; and the peak that they lead to, in bytes.

    No GPU is added and the method stays: what one card can do for this very training.
    """
    taken: list[Change] = []
    peak = estimate(arch, work).peak
    while peak > usable_bytes(memory_gib) and len(taken) < 8:
        steps = []
        for what, cost, other in _alternatives(arch, work):
            if other.gpus == work.gpus and other.method == work.method:
                saves = peak - estimate(arch, other).peak
                if saves > peak * 0.005:
                    fit = peak - saves <= usable_bytes(memory_gib)
                    steps.append((not cost.startswith("none"), -saves, option_of(work, other), what, cost, fit, other))
        if not steps:
            break
        _, less, option, what, cost, fit, work = min(steps, key=lambda s: s[:3])
        taken.append(Change(what=what, option=option, saves=-less, cost=cost, fits=fit))
        peak += less
    return tuple(taken), peak


def option_of(work: Workload, other: Workload) -> str:
    """The command-line options that turn one workload into the other, whatever was given for the first."""
    words = []
    for field in ("method", "quant", "precision", "batch", "accumulate", "seq", "attention", "checkpointing"):
        words += _word(work, other, field)
    for field in ("fused_loss", "optimizer", "gpus", "parallel", "kv_precision"):
        words += _word(work, other, field)
    return " ".join(words)


def _word(work: Workload, other: Workload, field: str) -> list[str]:
    value = getattr(other, field)
    implied = field == "quant" and other.method == "qlora" and work.quant is None
    if value == getattr(work, field) or implied:
        return []
    flag = "--kv-cache" if field == "kv_precision" else "--" + field.replace("_", "-")
    return [flag] if value is True else [flag, str(value)]


def _alternatives(arch: Architecture, work: Workload) -> Iterable[tuple[str, str, Workload]]:
    """(what, its cost, the workload) of each thing that could be changed."""
    text = arch.kind != "resnet"
    if work.batch > 1:
        half = work.batch // 2
        # when training, the batch is made up of several: their gradients stay
        cost = "none: gradients accumulate" if work.training else "less throughput"
        smaller = replace(work, accumulate=work.training)
        yield f"batch {half}", cost, replace(smaller, batch=half)
        yield "batch 1", cost, replace(smaller, batch=1)
    if text and work.seq > 128:
        yield f"sequences of {work.seq // 2}", "shorter texts", replace(work, seq=work.seq // 2)
    if text and work.attention == "eager":
        yield "fused attention", "none", replace(work, attention="sdpa")
    if work.training:
        yield from _training_alternatives(arch, work, text)
    elif text and work.quant != "nf4":
        if work.quant is None:
            yield "8-bit weights", "slight loss of quality", replace(work, quant="int8", precision="bf16")
        yield "4-bit weights", "some loss of quality", replace(work, quant="nf4", precision="bf16")
        if work.kv_precision != "int8":
            yield "8-bit KV cache", "slight loss of quality", replace(work, kv_precision="int8")


def _training_alternatives(arch: Architecture, work: Workload, text: bool) -> Iterable[tuple[str, str, Workload]]:
    if text and not work.checkpointing:
        yield "gradient checkpointing", "about a third more time", replace(work, checkpointing=True)
    if text and arch.kind != "encoder" and not work.fused_loss:
        yield "chunked cross-entropy", "none", replace(work, fused_loss=True)
    if work.optimizer == "adamw" and not work.frozen:
        yield "8-bit Adam", "bitsandbytes", replace(work, optimizer="adam8bit")
        yield "Adafactor", "other hyperparameters", replace(work, optimizer="adafactor")
    if work.method == "full":
        if work.precision != "bf16":
            yield "pure bf16", "small updates are rounded away", replace(work, precision="bf16")
        if text:
            yield "LoRA", "adapters only are trained", replace(work, method="lora", precision="bf16")
    if text and work.method in ("full", "lora"):
        qlora = replace(work, method="qlora", precision="bf16", quant="nf4-dq")
        yield "QLoRA", "adapters only, on 4-bit weights, slower", qlora
    for gpus in (2, 4, 8):
        if gpus > work.gpus and not work.frozen:
            yield f"{gpus} GPUs, sharded", f"{gpus} GPUs and a fast link", replace(work, gpus=gpus, parallel="fsdp")


def headroom(peak: Estimate, memory_gib: float) -> str:
    """``fits`` with the whole interval, ``no`` not even with its lower end, ``tight`` between the two."""
    room = usable_bytes(memory_gib)
    if peak.high <= room:
        return "fits"
    return "tight" if peak.low <= room else "no"
