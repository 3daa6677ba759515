"""How fast: 1/throughput = compute/TFLOPS + bandwidth/(GB/s), fitted on measured training runs (rates.json).

Bandwidth decides more than TFLOPS: alone it ranks the twelve GPUs of the fit nearly as well as both together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from .architectures import Architecture, find_model
from .convolution import resnet_macs
from .memory import weight_bytes
from .specs import Card, rate_table
from .workload import Workload


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Samples per second of one GPU. ``unit`` says of what; ``limit``: the term that weighs more; ``error``: median."""

    value: float
    unit: str
    limit: str  # compute, bandwidth
    error: float | None
    how: str


def _fit(arch: Architecture) -> Mapping[str, Any]:
    rows = {row["id"]: row for row in rate_table()["throughput"]}
    if arch.kind == "resnet":
        chosen = "resnet50"
    else:
        chosen = "bert-base" if arch.params < 2e8 else "bert-large"
    found: Mapping[str, Any] = rows[chosen]
    return found


def speed(card: Card, arch: Architecture, work: Workload) -> Speed:
    """Predicted samples per second of training, or tokens per second of generating for one user.

    Raises ``UsageError`` for a card whose rates are not known.
    """
    if not work.training and arch.kind in ("llama", "gpt2"):
        return _generation(card, arch, work)
    row = _fit(arch)
    rate = _matmul_rate(card)
    compute, bandwidth = row["compute"] / rate, row["bandwidth"] / card.bandwidth
    scale = _scale(arch, work, row["id"])
    direct = arch.id == row["id"] and work.training
    sample = f"images of {work.image_size} pixels" if arch.kind == "resnet" else f"sequences of {work.seq} tokens"
    notes = [] if direct else [f"scaled from {row['id']} by its arithmetic: rough"]
    if card.tensor is None:
        notes.append("outside the fit: no Tensor Cores")
    if card.row.laptop:
        notes.append("a laptop: its maker sets power and clock, the rated boost says little")
    beyond = card.bandwidth > 3500
    if beyond:
        notes.append("beyond the fastest card of the fit: too high by up to half")
    return Speed(
        value=1 / ((compute + bandwidth) * scale),
        unit=f"{sample} per second",
        limit="compute" if compute > bandwidth else "bandwidth",
        error=row["error"] if direct and card.tensor is not None and not card.row.laptop and not beyond else None,
        how="; ".join(notes) or f"fitted on {row['id']}",
    )


def _matmul_rate(card: Card) -> float:
    """TFLOPS of the precision that the chip should train in."""
    rate = card.tensor or card.peak("fp32")
    if rate is None:
        raise UsageError(f"the rates of {card.name} are not known: no throughput can be predicted")
    return rate


def _scale(arch: Architecture, work: Workload, reference: str) -> float:
    """Arithmetic of one sample, relative to the reference's (384 tokens, 224 pixels)."""
    base = find_model(reference)
    if arch.kind == "resnet":
        return resnet_macs(arch.blocks, arch.bottleneck, work.image_size) / resnet_macs(
            base.blocks, base.bottleneck, 224
        )
    active = arch.params - arch.layers * (arch.experts - arch.active_experts) * 3 * arch.hidden * arch.ffn
    passes = (1.0 if not work.training else 2.0 if work.frozen else 3.0) + (1.0 if work.checkpointing else 0.0)
    return (
        (active - (0 if arch.head else arch.embedding))
        * work.seq
        * passes
        / ((base.params - base.embedding) * 384 * 3.0)
    )


def _generation(card: Card, arch: Architecture, work: Workload) -> Speed:
    """Generating reads every weight once per token, so bandwidth bounds it; a good kernel reaches 0.8 of it."""
    dense = weight_bytes(arch, work)
    share = 1.0 if arch.experts == 1 else arch.active_experts / arch.experts
    return Speed(
        value=0.8 * card.bandwidth * 1e9 / (dense * share),
        unit="tokens per second for one user",
        limit="bandwidth",
        error=None,
        how="bound: 0.8 of the bandwidth over the bytes of the weights; the software decides how near it comes",
    )
