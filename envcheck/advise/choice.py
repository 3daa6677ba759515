"""``advise``: which cards a workload fits, ranked by predicted throughput, per watt or per price, with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import UsageError
from .architectures import Architecture
from .fitting import headroom, largest_batch, usable_bytes
from .memory import GIB, Estimate, estimate
from .precision import advise_precision
from .specs import Card
from .throughput import Speed, speed
from .workload import PRECISIONS, Workload

RANKINGS = ("throughput", "watt", "price")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A card that the workload fits. ``batch``: the largest that fits; ``price`` None: the user's file has none."""

    card: Card
    work: Workload
    memory: Estimate
    room: str  # fits, tight
    batch: int
    speed: Speed
    per_watt: float | None
    price: float | None
    per_price: float | None
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Disqualified:
    card: Card
    because: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    ranked: tuple[Candidate, ...]
    disqualified: tuple[Disqualified, ...]


def adapt(work: Workload, card: Card, fixed: bool) -> Workload:
    """The workload in the precision that the chip gains from, unless the user fixed one."""
    if fixed or work.quant is not None:
        return work
    advice = advise_precision(card)
    if not work.training:
        return replace(work, precision=advice.infer)
    if work.frozen:
        # the base model lies in 16 bit in any case; BF16 where the chip computes in it
        return replace(work, precision="bf16" if advice.train.startswith("bf16") else "fp16")
    return replace(work, precision=advice.train)


def rank(
    arch: Architecture,
    work: Workload,
    cards: Iterable[Card],
    *,
    by: str = "throughput",
    prices: Mapping[str, float] | None = None,
    budget: float | None = None,
    fixed_precision: bool = False,
) -> Choice:
    """Every card judged. ``prices``: card name -> price, from the user's file alone.

    Raises ``UsageError`` for a ranking or a budget without prices.
    """
    if by not in RANKINGS:
        raise UsageError(f"there is no ranking {by!r}. Known: {', '.join(RANKINGS)}")
    if (by == "price" or budget is not None) and prices is None:
        raise UsageError("a budget and a ranking by price need your prices: --prices FILE. envcheck invents none")
    ranked, out = [], []
    for card in cards:
        price = None if prices is None else prices.get(card.name)
        judged = _judge(arch, adapt(work, card, fixed_precision), card, price, budget)
        if isinstance(judged, Candidate):
            ranked.append(judged)
        else:
            out.append(judged)
    ranked.sort(key=lambda c: (_merit(c, by) is None, -(_merit(c, by) or 0.0), c.card.name))
    return Choice(ranked=tuple(ranked), disqualified=tuple(out))


def _merit(candidate: Candidate, by: str) -> float | None:
    return {"throughput": candidate.speed.value, "watt": candidate.per_watt, "price": candidate.per_price}[by]


def _judge(
    arch: Architecture, work: Workload, card: Card, price: float | None, budget: float | None
) -> Candidate | Disqualified:
    if budget is not None and price is None:
        return Disqualified(card=card, because="your file names no price for it")
    if budget is not None and price is not None and price * work.gpus > budget:
        return Disqualified(card=card, because=f"{price * work.gpus:g} is more than the budget of {budget:g}")
    if card.rates is None:
        return Disqualified(card=card, because="its rates are not known")
    memory = estimate(arch, work)
    room = headroom(memory, card.memory_gib)
    if memory.peak > usable_bytes(card.memory_gib):
        need = f"needs {memory.peak / GIB:.1f} GiB, the card has {card.memory_gib:g}"
        return Disqualified(card=card, because=need + (": with luck it just fits" if room == "tight" else ""))
    predicted = speed(card, arch, work)
    return Candidate(
        card=card,
        work=work,
        memory=memory,
        room=room,
        batch=largest_batch(arch, work, card.memory_gib),
        speed=predicted,
        per_watt=predicted.value / card.tdp_w if card.tdp_w else None,
        price=price,
        per_price=predicted.value / price if price else None,
        reasons=_reasons(card, work, memory, room, predicted),
    )


def _reasons(card: Card, work: Workload, memory: Estimate, room: str, predicted: Speed) -> tuple[str, ...]:
    out = [f"{memory.peak / GIB:.1f} of {card.memory_gib:g} GiB in {work.precision}"]
    if room == "tight":
        out.append(f"tight: the upper end of the estimate is {memory.high / GIB:.1f} GiB")
    rate = f"{card.tensor:.0f} TFLOPS FP16" if card.tensor else f"{card.peak('fp32') or 0:.0f} TFLOPS FP32"
    out.append(f"limited by {predicted.limit}: {rate}, {card.bandwidth:g} GB/s")
    if card.rates is not None and card.rates.get("caveat"):
        out.append(str(card.rates["caveat"]))
    advice = advise_precision(card)
    if card.tensor is None or advice.train == "fp16-amp":
        out.append(advice.why[0] if card.tensor is None else advice.why[1])
    if work.gpus > 1 and not card.row.nvlink_gb_s:
        said = "has no NVLink" if card.row.nvlink_gb_s == 0 else "has no NVLink that a source names"
        out.append(f"{said}: {work.gpus} of them talk over PCIe ({card.pcie_gb_s or 0:.0f} GB/s one way)")
    if work.training and PRECISIONS[work.precision].act == "amp" and card.row.tensor_cores == 0:
        out.append("autocast brings no speed here")
    return tuple(out)
