"""What is to be done with a model: method, precision, optimizer, batch, parallelism; and what cannot be combined."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import UsageError

METHODS = ("inference", "full", "lora", "qlora")


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Bytes of one element. ``act``: which column of the activation formulas holds; ``cast``: a cached 16-bit copy."""

    weight: float
    grad: float
    master: float
    cast: float
    act: str  # fp32, half, amp
    state: float  # of an optimizer's state that is kept in 4 bytes under fp32


FP32 = Precision(weight=4, grad=4, master=0, cast=0, act="fp32", state=4)
AMP = Precision(weight=4, grad=4, master=0, cast=2, act="amp", state=4)
MASTER = Precision(weight=2, grad=2, master=4, cast=0, act="half", state=4)
PURE = Precision(weight=2, grad=2, master=0, cast=0, act="half", state=2)
PRECISIONS: Mapping[str, Precision] = {
    "fp32": FP32,
    "tf32": FP32,  # the same bytes: TF32 is how the multiplication rounds
    "fp16-amp": AMP,
    "bf16-amp": AMP,
    "fp16-o2": MASTER,  # Apex O2, DeepSpeed fp16: 16-bit model, fp32 master weights
    "bf16-master": MASTER,
    "bf16": PURE,
    "fp16": PURE,
}
# bytes per weight of a linear layer; block constants of the formats themselves. int8 and int4: groups of 128 with a
# 16-bit scale and zero point each, as GPTQ keeps them
QUANTISED: Mapping[str, float] = {
    "int8": 1.0 + 4 / 128,
    "int4": 0.5 + 4 / 128,  # as int8
    "nf4": 0.5 + 4 / 64,  # blocks of 64, an fp32 scale each
    "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256),  # scales in 8 bit, fp32 scales of 256 of those
}
BITSANDBYTES = ("nf4", "nf4-dq")  # int8 and int4 are GPTQ's: their kernels unpack as they multiply
ALIASES = {
    "float32": "fp32",
    "32": "fp32",
    "amp": "fp16-amp",
    "fp16-mixed": "fp16-amp",
    "16-mixed": "fp16-amp",
    "bf16-mixed": "bf16-amp",
    "float16": "fp16",
    "half": "fp16",
    "apex-o2": "fp16-o2",
    "o2": "fp16-o2",
    "bfloat16": "bf16",
    "bf16-true": "bf16",
    "8bit": "int8",
    "8-bit": "int8",
    "4bit": "nf4",
    "4-bit": "nf4",
    "gptq": "int4",
}
# bytes of state per trained parameter with fp32 states
OPTIMIZERS: Mapping[str, float] = {
    "adamw": 8,
    "adam": 8,
    "adam8bit": 2 + 2 * 4 / 2048,  # two 8-bit states, an fp32 scale per block of 2048
    "adafactor": 0.02,  # row and column sums of each matrix
    "lion": 4,
    "sgd-momentum": 4,
    "sgd": 0,
    "paged-adam8bit": 0,  # its states leave for host memory when the GPU is full
}
OPTIMIZER_ALIASES = {"adamw8bit": "adam8bit", "paged-adamw8bit": "paged-adam8bit", "adamw-8bit": "adam8bit"}
ATTENTIONS = ("eager", "sdpa", "flash")
PARALLEL = ("none", "ddp", "zero1", "zero2", "zero3", "fsdp")
TARGETS = ("qv", "attention", "all")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One training step or one generation. ``batch`` is per GPU; ``seq`` counts prompt and new tokens together."""

    method: str = "full"
    precision: str = "fp16-amp"
    quant: str | None = None  # of the frozen base model: int8, int4, nf4, nf4-dq
    optimizer: str = "adamw"
    batch: int = 1
    seq: int = 512
    checkpointing: bool = False
    attention: str = "sdpa"
    optimizer_in_backward: bool = False
    accumulate: bool = False  # gradients of earlier micro-batches are there while the next one runs forward
    fused_loss: bool = False  # chunked cross-entropy: the logits never exist at once
    lora_rank: int = 16
    lora_targets: str = "all"
    lora_embeddings: bool = False  # embedding and output layer trained in full
    lora_dropout: bool = False  # its mask, one byte an element, and a dropped copy of each input
    adapter_16bit: bool = False  # adapters in the model's precision; PEFT's own default is fp32
    upcast: bool = False  # QLoRA after PEFT's prepare_model_for_kbit_training: embedding, norms and head in fp32
    gpus: int = 1
    parallel: str = "none"
    kv_precision: str = "bf16"
    static_cache: bool = False  # allocated once; else it grows by concatenation, layer by layer
    all_logits: bool = False  # inference: of every position, as scoring does and older transformers did
    image_size: int = 224
    stack: str = "current"  # which calibration row: see calibration.json

    @property
    def training(self) -> bool:
        return self.method != "inference"

    @property
    def frozen(self) -> bool:
        """Whether the base model's weights stay as they are."""
        return self.method in ("lora", "qlora")


def choose(word: str, known: Iterable[str], aliases: Mapping[str, str], what: str) -> str:
    """The known spelling of a word. ``UsageError`` names the nearest."""
    plain = word.strip().lower().replace("_", "-")
    plain = aliases.get(plain, plain)
    names = list(known)
    if plain in names:
        return plain
    near = difflib.get_close_matches(plain, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"there is no {what} {word[:40]!r}.{hint} Known: {', '.join(names)}")


def make(
    *,
    method: str = "full",
    precision: str | None = None,
    quant: str | None = None,
    optimizer: str = "adamw",
    attention: str = "sdpa",
    parallel: str | None = None,
    lora_targets: str = "all",
    kv_precision: str = "bf16",
    gpus: int = 1,
    batch: int = 1,
    seq: int = 512,
    **rest: object,
) -> Workload:
    """A checked workload. Raises ``UsageError`` for an unknown word or a combination that does not exist."""
    method = choose(
        method, METHODS, {"full-finetune": "full", "fine-tune": "full", "train": "full", "infer": "inference"}, "method"
    )
    word = choose(precision or _default(method), (*PRECISIONS, *QUANTISED), ALIASES, "precision")
    if method == "full" and word == "fp16":
        word = "fp16-o2"  # pure fp16 does not converge: whoever trains "in fp16" without autocast keeps fp32 masters
    if word in QUANTISED:
        quant, word = quant or word, "bf16"
    if quant is not None:
        quant = choose(quant, QUANTISED, ALIASES, "weight format")
    if method == "qlora" and quant is None:
        quant = "nf4-dq"
    _reject(method, word, quant, batch, seq, gpus)
    if rest.get("upcast") and (method != "qlora" or quant not in BITSANDBYTES):
        raise UsageError(
            "--upcast is what PEFT's prepare_model_for_kbit_training does to a 4-bit model of bitsandbytes: "
            "it goes with --method qlora and nf4 or nf4-dq"
        )
    parallel = choose(
        parallel or ("ddp" if gpus > 1 else "none"),
        PARALLEL,
        {"zero-1": "zero1", "zero-2": "zero2", "zero-3": "zero3"},
        "parallelism",
    )
    if gpus > 1 and parallel == "none":
        raise UsageError(f"{gpus} GPUs need a way to share the work: --parallel ddp, zero1, zero2, zero3 or fsdp")
    return Workload(
        method=method,
        precision=word,
        quant=quant,
        optimizer=choose(optimizer, OPTIMIZERS, OPTIMIZER_ALIASES, "optimizer"),
        attention=choose(attention, ATTENTIONS, {"flash-2": "flash", "flash-attention": "flash"}, "attention kernel"),
        parallel=parallel,
        lora_targets=choose(lora_targets, TARGETS, {"q,v": "qv", "linear": "all"}, "set of LoRA targets"),
        kv_precision=choose(kv_precision, ("fp32", "bf16", "fp16", "int8"), ALIASES, "precision of the KV cache"),
        gpus=gpus,
        batch=batch,
        seq=seq,
        **rest,  # type: ignore[arg-type]
    )


def _default(method: str) -> str:
    return {"inference": "bf16", "full": "fp16-amp"}.get(method, "bf16")


def _reject(method: str, precision: str, quant: str | None, batch: int, seq: int, gpus: int) -> None:
    if min(batch, seq, gpus) < 1:
        raise UsageError("--batch, --seq and --gpus must be at least 1")
    if method == "full" and quant is not None:
        raise UsageError(
            f"full fine-tuning of {quant} weights does not exist: quantised weights have no gradient. "
            "Take --method qlora (trains adapters on them), or --optimizer adam8bit with --precision bf16-amp"
        )
    if method == "inference" and PRECISIONS[precision].master:
        raise UsageError(f"{precision} is a way to train: there are no master weights in inference. Take fp16 or bf16")
