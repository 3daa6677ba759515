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
from .stacks import stack
from .workload import BITSANDBYTES, PRECISIONS, Workload


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
    act = stream(work)
    s, h, f = work.seq, arch.hidden, arch.ffn
    if arch.kind == "llama":
        saved = _llama(arch, work)
        wide = saved.wide * (f * arch.active_experts + arch.shared_ffn)
        total = saved.hidden * s * h + wide * s + (_adapter_inputs(arch, work) + _kept_inputs(arch, work)) * s
        matrix = 4 + BYTES[act] if act != "fp32" else 4  # softmax in fp32, and its 16-bit copy
        copies = 2 * BYTES[act] * (arch.heads - arch.kv_heads) * arch.head_dim * s  # keys and values repeated per head
        repeated = copies if work.attention != "flash" else 0  # FlashAttention 2 takes grouped heads as they are
        return total + repeated + (matrix * arch.heads * s * s if work.attention == "eager" else 4 * arch.heads * s)
    saved = ENCODER[act]
    wide = saved.wide + (GELU_NEW * BYTES[act] if arch.kind == "gpt2" else 0)
    matrix_bytes = saved.matrix * arch.heads * s * s if work.attention == "eager" else 4 * arch.heads * s
    return saved.hidden * s * h + wide * s * f + matrix_bytes


def stream(work: Workload) -> str:
    """Which column of the formulas holds: an fp32 embedding makes the whole residual stream fp32."""
    return "fp32" if work.upcast else PRECISIONS[work.precision].act


def _llama(arch: Architecture, work: Workload) -> Saved:
    """The gated feed-forward keeps gate, activation and up, and its product where the down projection is trained.

    RMSNorm keeps its input in fp32; its 16-bit result only where a weight behind it is trained.
    """
    act = stream(work)
    b = BYTES[act]
    qkv = b * (2 * arch.heads + 2 * arch.kv_heads) * arch.head_dim / arch.hidden  # q, k, v, attention output
    norm = {"half": 4, "fp32": 4, "amp": 6}[act] if work.frozen else {"half": 8, "fp32": 12, "amp": 13}[act]
    if arch.qk_norm:  # its result is rotated, not multiplied: nothing keeps it in 16 bit
        each = 4 if work.frozen else {"half": 6, "fp32": 8, "amp": 8}[act]
        qkv += each * (arch.heads + arch.kv_heads) * arch.head_dim / arch.hidden
    return Saved(hidden=arch.norms * norm + qkv, wide=(3 if work.frozen else 4) * b, matrix=0)


def _adapter_inputs(arch: Architecture, work: Workload) -> float:
    """Bytes per token and layer that LoRA adds: the inputs of its A matrices.

    PEFT keeps adapters in fp32 whatever the model is in, so each adapted layer casts an input of its own; adapters in
    the model's precision share it, and the output projection's is the attention's output, which is there already.
    """
    if not work.frozen:
        return 0.0
    h, q, f = arch.hidden, arch.heads * arch.head_dim, arch.ffn * arch.active_experts
    width = BYTES[stream(work)] if work.adapter_16bit else 4.0
    if not work.lora_dropout and width == BYTES[stream(work)]:
        return width * {"qv": h, "attention": h, "all": 2 * h + f}[work.lora_targets]
    each = {"qv": 2 * h, "attention": 3 * h + q, "all": 5 * h + q + f}[work.lora_targets]
    return (width + (1.0 if work.lora_dropout else 0.0)) * each


def _kept_inputs(arch: Architecture, work: Workload) -> float:
    """Every input, which older bitsandbytes kept for a gradient of the 4-bit weights that nobody takes."""
    if not (work.frozen and work.quant in BITSANDBYTES and stack(work.stack).get("keeps_inputs")):
        return 0.0
    return BYTES[stream(work)] * (2.0 * arch.hidden + arch.ffn * arch.active_experts)


def stored(arch: Architecture, work: Workload) -> float:
    """Bytes of one sample that live through the whole forward pass, in every layer."""
    act = stream(work)
    if arch.kind == "resnet":
        saved = resnet_saved_elements(arch.blocks, arch.bottleneck, work.image_size)
        return saved * BYTES[act]
    if work.checkpointing:
        kept = 2 if act == "half" else 4  # autocast keeps the residual stream in fp32
        return arch.layers * kept * work.seq * arch.hidden
    return arch.layers * layer_bytes(arch, work)


def working_set(arch: Architecture, work: Workload) -> float:
    """Bytes of one sample that one layer needs while it is computed again, and goes backward (checkpointing)."""
    if arch.kind != "llama":
        return layer_bytes(arch, work)
    act, s = stream(work), work.seq
    feed_forward = 4.0 * BYTES[act] * arch.ffn * arch.active_experts * s  # gradients of product, activation, gate, up
    # eager: gradients of the softmax's output and input, in fp32 with a 16-bit copy, or all of it fp32
    matrix = (16 if act == "fp32" else 10) * arch.heads * float(s) ** 2 if work.attention == "eager" else 0.0
    return layer_bytes(arch, work) + max(feed_forward, matrix)
