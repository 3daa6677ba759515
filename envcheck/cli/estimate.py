"""``envcheck estimate``: the memory that a model needs, where it goes, and what to change to fit."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import click

from ..advise.architectures import Architecture
from ..advise.fitting import (
    changes,
    gpus_needed,
    headroom,
    largest_batch,
    largest_seq,
    smallest_cards,
    together,
    usable_bytes,
)
from ..advise.memory import GIB, Estimate, estimate
from ..advise.peers import accelerate, deepspeed
from ..advise.specs import Card, cards, find_card
from ..advise.workload import Workload
from ..errors import UsageError
from ..matrix import load
from .common import emit, folded, label, output_options, terminal_columns, use_color
from .workload_options import model_from, model_options, work_from, workload_options

SIZES = (24, 48, 80)  # GiB of the cards that the answer counts in, where no card is named
EPILOG = """\b
Examples:
  envcheck estimate --model bert-base --batch 32 --seq 128
  envcheck estimate --model llama-3.1-8b --method qlora --seq 2048 --checkpointing --gpu "RTX 4090"
  envcheck estimate --config config.json --precision bf16-amp --gpus 8 --parallel fsdp --gpu "A100 80GB PCIe"
  envcheck estimate --params 7e9 --method inference --precision int8 --memory 12
  envcheck estimate --trace model.py:build --python .venv/bin/python --batch 8 --seq 512

With --gpu or --memory: exit 0 if it fits, 1 if not."""


@click.command("estimate", epilog=EPILOG)
@model_options()
@workload_options
@click.option("--gpu", default=None, help="Does it fit on this card? Largest batch and length, what to change.")
@click.option("--memory", type=float, default=None, metavar="GIB", help="The same for that much memory.")
@click.option("--trace", "target", default=None, metavar="FILE.py:FACTORY", help="Count a real torch module instead.")
@click.option("--python", default=None, metavar="PATH", help="With --trace: the interpreter that has torch.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="With --trace: seconds.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(("text", "json"))
def command(**options: Any) -> int:
    """Estimate the peak GPU memory of inference, full fine-tuning, LoRA or QLoRA, part by part, with an interval.

    The default is what most people do: fine-tuning in fp16 autocast with AdamW. Sizes are GiB
    (2**30 bytes); the peak is what nvidia-smi shows, context included.
    """
    room = _room(options)
    if options["target"] is not None:
        from .trace import traced

        if any(options[k] is not None for k in ("model", "config", "params")):
            raise UsageError("--trace counts a module of yours: leave --model, --config and --params away")
        work = work_from(options)
        arch, found = traced(options, work)
    else:
        arch = model_from(options)
        work = work_from(options, arch.kind)
        found = estimate(arch, work)
    answer = _answer(arch, work, found, room, options)
    if options["fmt"] == "json":
        emit(json.dumps(answer, indent=2) + "\n", options["output"])
    else:
        text = _text(answer, use_color(options["color"], sys.stdout))
        emit(text if options["output"] else folded(text), options["output"])
    return 1 if answer["fit"] is not None and answer["fit"]["verdict"] == "no" else 0


def _room(options: dict[str, Any]) -> tuple[str, float] | None:
    """(what, GiB) of the card that is asked about."""
    if options["gpu"] is not None and options["memory"] is not None:
        raise UsageError("--gpu and --memory both say how much there is: give one of them")
    if options["memory"] is not None:
        if not 0 < options["memory"] < 1e5:
            raise UsageError(f"--memory {options['memory']:g} is no size in GiB")
        return f"{options['memory']:g} GiB", options["memory"]
    if options["gpu"] is not None:
        card = find_card(options["gpu"], load(options["matrix_file"]))
        return card.name, card.memory_gib
    return None


def _answer(
    arch: Architecture, work: Workload, found: Estimate, room: tuple[str, float] | None, options: dict[str, Any]
) -> dict[str, Any]:
    traced = options["target"] is not None
    known = [c for c in cards(load(options["matrix_file"])) if c.row.family != "Jetson" and not c.row.laptop]
    return {
        "schema": "envcheck.estimate/1",
        "model": {
            "id": arch.id,
            "kind": arch.kind,
            "params": arch.params,
            "trained": int(found.trained),
            "source": arch.source,
        },
        "workload": vars(work),
        "bytes": {**{k: round(v) for k, v in found.parts().items()}, "overlap": round(-found.overlap)},
        "tensors": round(found.tensors),
        "reserved": round(found.reserved),
        "peak": round(found.peak),
        "interval": [round(found.low), round(found.high)],
        "peers": {
            "accelerate estimate-memory": _rounded(accelerate(arch, work)),
            "deepspeed": _rounded(deepspeed(arch, work)),
        },
        "notes": list(found.notes),
        "fit": None if room is None else _fit(arch, work, found, room, traced),
        "cards": None if room is not None or traced else _cards(arch, work, known),
    }


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _fit(arch: Architecture, work: Workload, found: Estimate, room: tuple[str, float], traced: bool) -> dict[str, Any]:
    name, gib = room
    verdict = headroom(found, gib)
    out: dict[str, Any] = {"card": name, "memory_gib": gib, "usable": round(usable_bytes(gib)), "verdict": verdict}
    if traced:
        return out
    out["largest_batch"] = largest_batch(arch, work, gib)
    out["largest_seq"] = None if arch.kind == "resnet" else largest_seq(arch, work, gib)
    out["gpus_sharded"] = gpus_needed(arch, work, gib)
    out["changes"] = [
        {"what": c.what, "option": c.option, "saves": round(c.saves), "cost": c.cost, "fits": c.fits}
        for c in (changes(arch, work, gib) if verdict != "fits" else ())
    ]
    out["together"] = None
    if verdict == "no" and not any(c["fits"] for c in out["changes"]):
        steps, last = together(arch, work, gib)
        fits = last <= usable_bytes(gib)
        out["together"] = {"options": [s.option for s in steps], "peak": round(last), "fits": fits} if steps else None
    return out


def _cards(arch: Architecture, work: Workload, known: list[Card]) -> dict[str, Any]:
    smallest = smallest_cards(arch, work, known)
    alone = replace(work, gpus=1, parallel="none")
    return {
        "smallest_gib": smallest[0].memory_gib if smallest else None,
        "smallest": [c.name for c in smallest],
        "sharded": {f"{size} GiB": gpus_needed(arch, alone, size) for size in SIZES},
    }


LABELS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits and loss",
    "kv_cache": "KV cache",
    "temporaries": "temporaries, allocator",
    "context": "CUDA context",
    "overlap": "never at once",
}


def _text(answer: dict[str, Any], color: bool) -> str:
    model, work = answer["model"], answer["workload"]
    words = [work["method"], work["quant"] or "", work["precision"], f"batch {work['batch']}"]
    words += [f"{work['seq']} tokens" if model["kind"] != "resnet" else f"{work['image_size']} pixels"]
    words += [f"{work['gpus']} GPUs ({work['parallel']})"] if work["gpus"] > 1 else []
    words += ["checkpointing"] if work["checkpointing"] else []
    trained = f", {model['trained'] / 1e6:.1f} M trained" if model["trained"] not in (0, model["params"]) else ""
    lines = [
        f"{model['id']}: {model['params'] / 1e6:,.0f} M parameters{trained}; {', '.join(w for w in words if w)}",
        "",
    ]
    most = max(answer["bytes"].values())
    width = max(10, min(40, terminal_columns() - 40))
    for part, size in answer["bytes"].items():
        if abs(size) >= GIB / 1024:
            bar = "#" * round(width * size / most) if size > 0 else ""
            lines.append(f"  {LABELS[part]:<23}{size / GIB:>9.2f}  {bar}".rstrip())
    low, high = (v / GIB for v in answer["interval"])
    lines.append(f"  {'peak on each GPU, GiB':<23}{answer['peak'] / GIB:>9.2f}  ({low:.2f} to {high:.2f})")
    lines.append(f"  {'of it counted by torch':<23}{answer['tensors'] / GIB:>9.2f}")
    lines.append("")
    peers = [f"{n} {v / GIB:.2f}" for n, v in answer["peers"].items() if v is not None]
    if peers:
        lines.append(f"others would say: {', '.join(peers)} GiB (no activations, no context)")
    lines += [f"note: {n}" for n in answer["notes"]]
    if answer["fit"] is not None:
        lines += _fit_text(answer["fit"], color)
    elif answer["cards"] is not None:
        lines += _cards_text(answer["cards"])
    return "\n".join(lines) + "\n"


def _fit_text(fit: dict[str, Any], color: bool) -> list[str]:
    verdict = {
        "fits": ("fits", "green"),
        "tight": ("tight, may run out of memory", "yellow"),
        "no": ("does not fit", "red"),
    }
    word, tone = verdict[fit["verdict"]]
    lines = [
        "",
        f"{label(word, color, tone)} on {fit['card']} ({fit['usable'] / GIB:.1f} of {fit['memory_gib']:g} GiB usable)",
    ]
    if "largest_batch" not in fit:
        return lines
    longest = f", longest sequence at this batch: {fit['largest_seq']}" if fit["largest_seq"] is not None else ""
    lines.append(f"  largest batch at this length: {fit['largest_batch']}{longest}")
    if fit["verdict"] == "no":
        many = fit["gpus_sharded"]
        lines.append(f"  sharded over GPUs of this size: {many if many else 'no number of them is enough'}")
    for c in fit["changes"]:
        enough = "enough" if c["fits"] else "saves"
        lines.append(f"  {enough:<7}{c['saves'] / GIB:>8.2f} GiB  {c['what']} ({c['option']}); {c['cost']}")
    if fit["together"] is not None:
        word = "enough together" if fit["together"]["fits"] else "not even together"
        lines.append(f"  {word}: {' '.join(fit['together']['options'])} ({fit['together']['peak'] / GIB:.2f} GiB)")
    return lines


def _cards_text(found: dict[str, Any]) -> list[str]:
    lines = [""]
    if found["smallest"]:
        names = ", ".join(found["smallest"][:6]) + (", ..." if len(found["smallest"]) > 6 else "")
        lines.append(f"smallest card that holds it: {found['smallest_gib']:g} GiB ({names})")
    else:
        lines.append("no single card holds it")
        many = [f"{n} of {size}" for size, n in found["sharded"].items() if n]
        lines.append(
            f"  sharded (ZeRO-3, FSDP): {', or '.join(many) if many else 'no number of 80 GiB cards is enough'}"
        )
    return lines
