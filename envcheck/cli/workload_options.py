"""The options of a model and of a workload, for ``estimate``, ``advise`` and ``gpus compare --for``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ..advise.architectures import Architecture, by_numbers, find_model, from_config
from ..advise.stacks import calibration
from ..advise.workload import ATTENTIONS, METHODS, OPTIMIZERS, PARALLEL, PRECISIONS, QUANTISED, TARGETS, Workload, make
from ..errors import UsageError

STACKS = tuple(row["id"] for row in calibration()["stacks"])
F = TypeVar("F", bound=Callable[..., Any])


def _words(names: Any) -> str:
    return ", ".join(names)


def model_options(name: str = "--model") -> Callable[[F], F]:
    """``--model`` (or another word for it), ``--config``, ``--params`` and the parts of a shape."""

    def decorate(function: F) -> F:
        for option in (
            click.option("--vocab", type=int, default=None, help="With --params: vocabulary."),
            click.option("--ffn", type=int, default=None, help="With --params: width of the feed-forward layer."),
            click.option("--kv-heads", type=int, default=None, help="With --params: key and value heads."),
            click.option("--heads", type=int, default=None, help="With --params: attention heads."),
            click.option("--hidden", type=int, default=None, help="With --params: hidden size."),
            click.option("--layers", type=int, default=None, help="With --params: layers."),
            click.option("--params", type=float, default=None, help="A model by numbers: 7e9 parameters."),
            click.option("--config", default=None, metavar="FILE", help="A Hugging Face config.json."),
            click.option(name, "model", default=None, help="A built-in model: bert-base, llama-3.1-8b, resnet50, ..."),
        ):
            function = option(function)
        return function

    return decorate


def workload_options(function: F) -> F:
    """What is done with the model."""
    for option in (
        click.option("--stack", default="current", show_default=True, help=f"Calibration: {_words(STACKS)}."),
        click.option("--image-size", type=int, default=224, show_default=True, help="Pixels (convolutional networks)."),
        click.option("--all-logits", is_flag=True, help="Inference: logits of every position, as for scoring."),
        click.option("--static-cache", is_flag=True, help="The KV cache is allocated once (vLLM, StaticCache)."),
        click.option(
            "--kv-cache", default="bf16", show_default=True, help="Precision of the KV cache: bf16, int8, fp32."
        ),
        click.option("--parallel", default=None, help=f"How GPUs share: {_words(PARALLEL[1:])} [default: ddp]."),
        click.option("--gpus", type=int, default=1, show_default=True, help="GPUs."),
        click.option("--lora-embeddings", is_flag=True, help="Embedding and output layer are trained in full too."),
        click.option("--lora-targets", default="all", show_default=True, help=f"{_words(TARGETS)}."),
        click.option("--lora-rank", type=int, default=16, show_default=True, help="Rank of the adapters."),
        click.option("--lora-dropout", is_flag=True, help="Dropout in the adapters: a mask and a copy of each input."),
        click.option("--adapter-16bit", is_flag=True, help="Adapters in the model's precision (PEFT's default: fp32)."),
        click.option(
            "--upcast", is_flag=True, help="QLoRA after PEFT's prepare_model_for_kbit_training (fp32 stream)."
        ),
        click.option("--fused-loss", is_flag=True, help="Chunked cross-entropy: no logits in memory."),
        click.option("--optimizer-in-backward", is_flag=True, help="Each gradient is used and freed at once."),
        click.option(
            "--attention", default=None, help=f"{_words(ATTENTIONS)} [default: eager for BERT and GPT-2, else sdpa]."
        ),
        click.option("--accumulate", is_flag=True, help="Gradient accumulation: gradients stay between micro-batches."),
        click.option("--checkpointing", is_flag=True, help="Gradient checkpointing in every layer."),
        click.option("--seq", type=int, default=512, show_default=True, help="Tokens of a sample (prompt + new ones)."),
        click.option("--batch", type=int, default=1, show_default=True, help="Samples per GPU and step."),
        click.option("--optimizer", default="adamw", show_default=True, help=f"{_words(OPTIMIZERS)}."),
        click.option("--quant", default=None, help=f"Format of a frozen base model: {_words(QUANTISED)}."),
        click.option("--precision", default=None, help=f"{_words((*PRECISIONS, *QUANTISED))}."),
        click.option("--method", default="full", show_default=True, help=f"{_words(METHODS)}."),
    ):
        function = option(function)
    return function


def model_from(options: Mapping[str, Any]) -> Architecture:
    """The model that the options name. ``UsageError`` unless exactly one way was used."""
    ways = [k for k in ("model", "config", "params") if options[k] is not None]
    if len(ways) != 1:
        said = "nothing says" if not ways else f"--{' and --'.join(ways)} both say"
        raise UsageError(f"{said} which model: give --model NAME, --config config.json or --params 7e9")
    shape = {k: options[k] for k in ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab")}
    if options["params"] is None and any(v is not None for v in shape.values()):
        raise UsageError("--layers, --hidden and the like describe a model by numbers: they go with --params")
    if options["model"] is not None:
        return find_model(options["model"])
    if options["config"] is not None:
        return from_config(options["config"])
    return by_numbers(options["params"], **shape)


def work_from(options: Mapping[str, Any], kind: str = "llama") -> Workload:
    """The checked workload of the options, for a model of that kind."""
    if options["stack"] not in STACKS:
        raise UsageError(f"there is no calibration for the stack {options['stack']!r}. Known: {', '.join(STACKS)}")
    if options["lora_rank"] < 1 or options["image_size"] < 32:
        raise UsageError("--lora-rank must be at least 1, --image-size at least 32")
    names = (
        *("method", "precision", "quant", "optimizer", "batch", "seq", "checkpointing"),
        *("optimizer_in_backward", "accumulate", "fused_loss", "lora_rank", "lora_targets", "lora_embeddings"),
        *("lora_dropout", "adapter_16bit", "upcast", "gpus", "parallel", "static_cache", "all_logits"),
        *("image_size", "stack"),
    )
    # the runs that encoders are calibrated on computed attention in separate steps; fused attention needs less
    attention = options["attention"] or ("eager" if kind in ("encoder", "gpt2") else "sdpa")
    return make(attention=attention, kv_precision=options["kv_cache"], **{n: options[n] for n in names})
