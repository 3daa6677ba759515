"""``estimate``: where the memory of a workload goes, in bytes on one GPU.

Formulas: ``docs/gpu-guide.md``. What no formula gives (the CUDA context, temporaries, the allocator's waste) is in
``calibration.json`` with the runs that it was fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from . import activations
from .architectures import Architecture
from .stacks import calibration, stack
from .workload import BITSANDBYTES, OPTIMIZERS, PRECISIONS, QUANTISED, Workload

MIB, GIB = 2**20, 2**30
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "kv_cache", "temporaries", "context")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Peak bytes on one GPU. ``peak`` is what nvidia-smi shows; ``tensors`` what torch counts as allocated."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    kv_cache: float
    temporaries: float
    context: float
    overlap: float  # gradients that take the place of activations: never there at the same time
    error: float  # half width of the interval, as a share of the peak
    trained: float  # parameters that are trained
    notes: tuple[str, ...] = ()

    @property
    def tensors(self) -> float:
        parts = self.weights + self.gradients + self.optimizer + self.activations + self.logits + self.kv_cache
        return parts - self.overlap

    @property
    def reserved(self) -> float:
        return self.tensors + self.temporaries

    @property
    def peak(self) -> float:
        return self.reserved + self.context

    @property
    def low(self) -> float:
        return self.peak * (1 - self.error)

    @property
    def high(self) -> float:
        return self.peak * (1 + self.error)

    def parts(self) -> Mapping[str, float]:
        return {name: getattr(self, name) for name in PARTS}


def estimate(arch: Architecture, work: Workload) -> Estimate:
    """Peak memory on one GPU. Raises ``UsageError`` for a workload that the model cannot have."""
    _check(arch, work)
    row = stack(work.stack)
    kind = {"gpt2": "encoder", "llama": "decoder"}.get(arch.kind, arch.kind)
    factor = row.get(arch.kind, row.get(kind))
    weights, gradients, states, trained = _model(arch, work)
    if not work.training:
        return _inference(arch, work, row, weights)
    kept = activations.stored(arch, work) * work.batch
    logits = _logits(arch, work)
    layer = activations.working_set(arch, work) * work.batch if work.checkpointing else 0.0
    smaller = min(logits, layer)
    if work.checkpointing:  # the logits are gone when the first layer is computed again
        logits, layer = (logits, 0.0) if logits >= layer else (0.0, layer)
    live = kept + layer
    # factors above 1 were fitted on sums that hold both
    together = row.get("gradients_overlap", factor <= 1)
    temporaries = live * (factor - 1) + _gathered(arch, work) + _dequantised(arch, work) + _reserve(arch, work, smaller)
    temporaries += _cached(arch, row, logits, layer) + _split(arch, work, logits, states)
    if PRECISIONS[work.precision].master and not work.frozen:  # the step needs the gradients in fp32 as well
        unscaled = 4.0 * trained / _shards(work, 2)
        temporaries = max(temporaries, unscaled - live - logits)
    if work.parallel == "ddp" and work.gpus > 1:
        # its buckets are another copy of them unless gradient_as_bucket_view is set: torch's DistributedDataParallel
        temporaries += gradients
    return Estimate(
        weights=weights,
        gradients=gradients,
        optimizer=states,
        activations=live,
        logits=logits,
        kv_cache=0.0,
        temporaries=temporaries,
        context=_context(arch, work, row),
        overlap=min(gradients, live + logits) if together and not work.accumulate else 0.0,
        error=_error(arch, work),
        trained=trained,
        notes=_notes(arch, work),
    )


def _check(arch: Architecture, work: Workload) -> None:
    if arch.kind == "resnet" and (work.method != "full" and work.method != "inference"):
        raise UsageError(
            f"{work.method} adapts linear layers of transformers; {arch.id} is a convolutional network. Take full"
        )
    if arch.kind == "resnet" and work.checkpointing:
        raise UsageError(f"checkpointing of {arch.id} is not estimated here: its stages differ too much in size")
    if arch.kind in ("encoder", "gpt2") and arch.positions and work.seq > arch.positions:
        raise UsageError(f"{arch.id} has {arch.positions} positions: --seq {work.seq} cannot be fed to it")


def weight_bytes(arch: Architecture, work: Workload) -> float:
    """The model as it lies in memory, before any sharding; quantised formats keep embedding and output in 16 bit."""
    precision = PRECISIONS[work.precision]
    if work.quant:
        return arch.linear * QUANTISED[work.quant] + (arch.params - arch.linear) * (4 if work.upcast else 2)
    if work.training and not work.frozen:
        return arch.params * (precision.weight + precision.cast)
    width = 2 if precision.act != "fp32" and not work.training else precision.weight
    return arch.params * width


def lora_params(arch: Architecture, work: Workload) -> int:
    """Trained parameters of the adapters (and of the embeddings, where they are trained in full)."""
    r, h, q, kv = work.lora_rank, arch.hidden, arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    attention = {"qv": (h + q) + (h + kv)}.get(work.lora_targets, 2 * (h + q) + 2 * (h + kv))
    gated = 3 if arch.kind == "llama" else 2
    wide = gated * arch.experts * (h + arch.ffn) if work.lora_targets == "all" else 0
    extra = arch.embedding + arch.head if work.lora_embeddings else 0
    return r * arch.layers * (attention + wide) + extra


def _model(arch: Architecture, work: Workload) -> tuple[float, float, float, float]:
    """(weights, gradients, optimizer and master weights, trained parameters) on one GPU."""
    weights = weight_bytes(arch, work)
    if not work.training:
        return weights / _shards(work, 3), 0.0, 0.0, 0
    precision = PRECISIONS[work.precision]
    if work.frozen:
        width = 2.0 if work.adapter_16bit else 4.0  # PEFT's default is fp32 whatever the model is in
        trained, weight, grad, master, state = lora_params(arch, work), width, width, 0.0, width
        weights += trained * weight
        if arch.legacy and work.quant is not None:  # its authors train it under ZeRO-2, which steps on fp32 gradients
            master = 4.0
    else:
        trained, grad, master, state = arch.params, precision.grad, precision.master, precision.state
    states = trained * (OPTIMIZERS[work.optimizer] * state / 4 + master)
    gradients = grad * (_largest(arch) if work.optimizer_in_backward else trained)
    return weights / _shards(work, 3), gradients / _shards(work, 2), states / _shards(work, 1), trained


def _shards(work: Workload, stage: int) -> int:
    """How many GPUs share the weights (3), the gradients (2) or the optimizer's states (1)."""
    level = {"zero1": 1, "zero2": 2, "zero3": 3, "fsdp": 3}.get(work.parallel, 0)
    return work.gpus if level >= stage else 1


def _largest(arch: Architecture) -> int:
    return max(arch.embedding, arch.layer if arch.kind != "resnet" else arch.params // 10)


def _gathered(arch: Architecture, work: Workload) -> float:
    """ZeRO-3 and FSDP hold two layers whole, one computing, one arriving."""
    if work.parallel in ("zero3", "fsdp") and work.gpus > 1:
        return 2.0 * 2 * max(arch.layer, arch.head)
    return 0.0


def _dequantised(arch: Architecture, work: Workload) -> float:
    """The largest 4-bit matrix of bitsandbytes, in 16 bit again for its multiplication."""
    unpacked = work.quant in BITSANDBYTES or (work.quant is not None and arch.legacy)
    return 2.0 * arch.hidden * arch.ffn if unpacked else 0.0


def _reserve(arch: Architecture, work: Workload, smaller: float) -> float:
    """What the allocator holds beyond the tensors of a decoder.

    Blocks that were cut for the logits do not fit a layer's tensors, and the other way round: a share of the
    ``smaller`` of the two stays cached (calibration.json, ``fragmentation``). Models of ``legacy`` code were measured
    as they are (``reserve_mib``).
    """
    if arch.kind != "llama":
        return 0.0
    if arch.legacy and work.frozen and not work.lora_embeddings:
        return float(calibration()["reserve_mib"][work.method]) * MIB
    return 0.0 if arch.legacy else float(calibration()["fragmentation"]) * smaller


def _split(arch: Architecture, work: Workload, logits: float, states: float) -> float:
    """Blocks of the logits that the optimizer's states lie in from the first step on, so that they are allocated again.

    Measured on two cards with two models to 2 % (docs/evidence/memory-hopper-2026-11-26.md); only where checkpointing
    leaves little else that is as large. expandable_segments avoids it.
    """
    return min(logits, states) if arch.kind == "llama" and work.checkpointing and not work.frozen else 0.0


def _cached(arch: Architecture, row: Mapping[str, Any], logits: float, layer: float) -> float:
    """What the allocator holds beyond the tensors of an encoder or GPT-2, where a stack was measured so.

    ``layer``: bytes of the layer that checkpointing computes again, of which a share stays as with decoders.
    """
    if arch.kind not in ("encoder", "gpt2") or "cached_mib" not in row:
        return 0.0
    share = float(calibration()["fragmentation"])
    return float(row["cached_mib"]) * MIB + float(row["cached_logits"]) * logits + share * layer


def _logits(arch: Architecture, work: Workload) -> float:
    """Logits, their shifted and fp32 copies, the log-softmax and the gradients: bytes per token and vocabulary entry.

    Measured to the byte: 14 where 16-bit logits are cast for the loss, 16 where the head itself is fp32
    (docs/gpu-guide.md); 10 for legacy code that takes the loss in fp16. None for a classifier or a chunked loss.
    """
    if arch.kind not in ("llama", "gpt2") or work.fused_loss:
        return 0.0
    if activations.stream(work) == "fp32":
        per = 16.0
    else:
        per = 10.0 if arch.legacy and work.precision in ("fp16", "fp16-o2") else 14.0
    return per * work.batch * work.seq * arch.vocab


def _inference(arch: Architecture, work: Workload, row: Mapping[str, Any], weights: float) -> Estimate:
    width = {"fp32": 4, "int8": 1}.get(work.kv_precision, 2)
    decoder = arch.kind in ("llama", "gpt2")
    layers = 2.0 * width * arch.kv_heads * arch.head_dim * work.seq * work.batch if decoder else 0.0
    kv = layers * arch.layers
    bytes_ = activations.BYTES[PRECISIONS[work.precision].act]
    if arch.kind == "resnet":
        live = 2.0 * bytes_ * work.batch * 64 * (work.image_size // 2) ** 2
    else:
        gated = 3.0 if arch.kind == "llama" else 2.0  # gate, up and their product
        live = bytes_ * work.batch * work.seq * (4.0 * arch.hidden + gated * arch.ffn * arch.active_experts)
        if work.attention == "eager":  # the softmax in fp32 and its copy; in fp32 scores and softmax
            live += (8.0 if bytes_ == 4 else 6.0) * work.batch * arch.heads * float(work.seq) ** 2
    positions = work.seq if work.all_logits else 1
    logits = (bytes_ + 4.0) * work.batch * positions * arch.vocab if decoder else 0.0
    # concatenating copies one layer's cache; code that returns a new tuple of them keeps all of the old one
    growing = 0.0 if work.static_cache else kv if arch.legacy else layers
    return Estimate(
        weights=weights,
        gradients=0.0,
        optimizer=0.0,
        activations=live,
        logits=logits,
        kv_cache=kv,
        temporaries=_dequantised(arch, work) + growing,
        context=_context(arch, work, row),
        overlap=0.0,
        error=_error(arch, work),
        trained=0,
        notes=_notes(arch, work),
    )


def _context(arch: Architecture, work: Workload, row: Mapping[str, Any]) -> float:
    """The CUDA context, and NCCL's buffers where GPUs train together."""
    nccl = float(calibration()["nccl_mib"]) if work.training and work.gpus > 1 else 0.0
    lazy = not work.training or (arch.kind == "llama" and not arch.legacy)
    own = float(row["context_lazy_mib"] if lazy else row["context_mib"])
    return (own + nccl) * MIB


def _error(arch: Architecture, work: Workload) -> float:
    intervals = calibration()["intervals"]
    kind = "inference" if not work.training else f"{'lora' if work.frozen else 'full'}-{arch.kind}"
    return float(intervals.get(kind, intervals.get("other", 0.3)))


def _notes(arch: Architecture, work: Workload) -> tuple[str, ...]:
    notes = [arch.note] if arch.note else []
    if work.training and PRECISIONS[work.precision].act == "amp":
        notes.append(
            "autocast does not halve the memory: weights, gradients and optimizer stay fp32, with a 16-bit copy on top"
        )
    if work.method == "qlora" and work.quant in BITSANDBYTES and not work.upcast and arch.kind == "llama":
        more = (arch.params - arch.linear) * 2 / GIB
        notes.append(
            "PEFT's prepare_model_for_kbit_training casts embedding, norms and head to fp32, and with them what the "
            f"layers keep: if your script calls it, add --upcast (+{more:.1f} GiB of weights alone)"
        )
    if arch.kind == "encoder" and work.training and work.stack == "current":
        newer = estimate(arch, replace(work, stack="torch-2")).peak / GIB
        notes.append(
            "calibrated on torch 1.7 to 1.10. Encoders measured on an H100 and an H200 with torch 2.11 take a fifth "
            f"less: {newer:.1f} GiB with --stack torch-2"
        )
    if arch.experts > 1:
        notes.append(f"every one of the {arch.experts} experts is in memory; {arch.active_experts} compute for a token")
    return tuple(notes)
