"""Bytes that the backward pass needs, per transformer layer and sample.

Each coefficient is a count of saved tensors, in bytes per element of the hidden state (``s*h``), of the feed-forward
state (``s*f``) or of the attention matrix (``a*s*s``); Korthikanti et al., arXiv 2205.05198, for the encoder in 16 bit.
The others are counted the same way from the modules' own operations; ``estimate --trace`` counts a real module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .architectures import Architecture
from .convolution import resnet_saved_elements
from .workload import PRECISIONS, Workload


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Coefficients of one layer: ``hidden * s*h + wide * s*f + matrix * a*s*s`` bytes."""

    hidden: float
    wide: float
    matrix: float


# encoder: q, k, v inputs, q, k, v, attention output, two dropout masks (1 byte), two norms, GELU's input and output
ENCODER: Mapping[str, Saved] = {
    "half": Saved(hidden=18, wide=4, matrix=5),
    "fp32": Saved(hidden=34, wide=8, matrix=9),
    # autocast: the residual stream, the norms and the softmax stay fp32, and q, k, v each cast their own input
    "amp": Saved(hidden=26, wide=4, matrix=7),
}
GELU_NEW = 3  # tensors of ffn width that GPT-2's composed GELU keeps besides a fused one
BYTES = {"half": 2, "fp32": 4, "amp": 2}


def layer_bytes(arch: Architecture, work: Workload) -> float:
    """Saved bytes of one layer for one sample of ``work.seq`` tokens."""
    act = PRECISIONS[work.precision].act
    s, h, f = work.seq, arch.hidden, arch.ffn
    if arch.kind == "llama":
        saved = _llama(arch, act, trained=not work.frozen)
        adapters = _adapter_inputs(arch, work) if work.frozen else 0.0
        wide = saved.wide * arch.active_experts
        total = saved.hidden * s * h + wide * s * f + adapters * s
        matrix = 4 + BYTES[act] if act != "fp32" else 4  # softmax in fp32, and its 16-bit copy
        copies = 2 * BYTES[act] * (arch.heads - arch.kv_heads) * arch.head_dim * s  # keys and values repeated per head
        repeated = copies if work.attention != "flash" else 0  # FlashAttention 2 takes grouped heads as they are
        return total + repeated + (matrix * arch.heads * s * s if work.attention == "eager" else 4 * arch.heads * s)
    saved = ENCODER[act]
    wide = saved.wide + (GELU_NEW * BYTES[act] if arch.kind == "gpt2" else 0)
    matrix_bytes = saved.matrix * arch.heads * s * s if work.attention == "eager" else 4 * arch.heads * s
    return saved.hidden * s * h + wide * s * f + matrix_bytes


def _llama(arch: Architecture, act: str, trained: bool) -> Saved:
    """RMSNorm keeps an fp32 copy of its input; the gated feed-forward keeps four tensors of its width."""
    b = BYTES[act]
    qkv = b * (2 * arch.heads + 2 * arch.kv_heads) * arch.head_dim / arch.hidden  # q, k, v, attention output
    norm = {"half": 4 + 2 + (2 if trained else 0), "fp32": 8 + (4 if trained else 0), "amp": 13}[act]
    return Saved(hidden=arch.norms * norm + qkv, wide=4 * b, matrix=0)


def _adapter_inputs(arch: Architecture, work: Workload) -> float:
    """Bytes per token and layer that LoRA adds: its fp32 copy of each input and the dropout's mask."""
    h, q = arch.hidden, arch.heads * arch.head_dim
    inputs = {"qv": h, "attention": h + q, "all": 2 * h + q + arch.ffn * arch.active_experts}[work.lora_targets]
    return 4.0 * inputs


def stored(arch: Architecture, work: Workload) -> float:
    """Bytes of one sample that live through the whole forward pass, in every layer."""
    act = PRECISIONS[work.precision].act
    if arch.kind == "resnet":
        saved = resnet_saved_elements(arch.blocks, arch.bottleneck, work.image_size)
        return saved * BYTES[act]
    if work.checkpointing:
        stream = 2 if act == "half" else 4  # autocast keeps the residual stream in fp32
        return arch.layers * stream * work.seq * arch.hidden
    return arch.layers * layer_bytes(arch, work)


def working_set(arch: Architecture, work: Workload) -> float:
    """Bytes of one sample that one layer needs while it is computed (again): checkpointing and inference."""
    return layer_bytes(arch, work) if arch.kind != "resnet" else 0.0
