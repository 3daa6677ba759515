"""``envcheck advise``: which card to take for a model, ranked, with reasons; ``--here``: the card that is here."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ..advise.architectures import Architecture
from ..advise.chart import draw, text_bars
from ..advise.choice import RANKINGS, Candidate, Choice, Disqualified, rank
from ..advise.precision import advise_precision
from ..advise.specs import Card, cards, expand, find_card
from ..advise.workload import Workload
from ..errors import InputError, UsageError
from ..matrix import Matrix, load
from .common import emit, folded, output_options, say, terminal_columns, write_whole
from .tables import markdown
from .workload_options import model_from, model_options, work_from, workload_options

EPILOG = """\b
Examples:
  envcheck advise --model bert-large --batch 8 --seq 384
  envcheck advise --model llama-3.1-8b --method qlora --checkpointing --seq 2048 --all
  envcheck advise --model qwen2.5-7b --method lora --checkpointing --budget 2000 --prices prices.csv --by price
  envcheck advise --model bert-base --here

prices.csv has two columns, card and price; JSON {"RTX 4090": 1599} does as well. envcheck knows no prices."""


@click.command("advise", epilog=EPILOG)
@model_options()
@workload_options
@click.option("--all", "everything", is_flag=True, help="Professional and data-centre cards too.")
@click.option("--card", "names", multiple=True, help="Only these cards. Repeatable.")
@click.option("--by", type=click.Choice(RANKINGS), default="throughput", show_default=True, help="What ranks.")
@click.option("--prices", default=None, metavar="FILE", help="Your prices: CSV (card,price) or JSON.")
@click.option("--budget", type=float, default=None, help="Only cards that --gpus of cost no more. Needs --prices.")
@click.option("--top", type=int, default=10, show_default=True, help="How many candidates the text shows.")
@click.option("--plot", default=None, metavar="FILE.svg|png", help="Also a bar chart of the ranking.")
@click.option("--here", is_flag=True, help="Judge the GPU that is in this machine; ends in the plan for it.")
@click.option("--machine", "machine_file", default=None, metavar="FILE", help="With --here: a snapshot instead.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(("text", "json", "markdown"))
def command(**options: Any) -> int:
    """Rank the cards that a model fits on by predicted throughput, per watt, or per price of your own list.

    1/throughput = A/TFLOPS + B/bandwidth, fitted on measured training runs. Exit 0 if a card fits, 1 if none does.
    """
    matrix = load(options["matrix_file"])
    arch = model_from(options)
    work = work_from(options, arch.kind)
    machine = None
    if options["here"]:
        chosen, machine = _here(options, matrix)
    else:
        if options["machine_file"] is not None:
            raise UsageError("--machine names the machine of --here: give both or none")
        chosen = _cards(options, matrix)
    prices = None if options["prices"] is None else read_prices(options["prices"], matrix)
    choice = rank(
        arch,
        work,
        chosen,
        by=options["by"],
        prices=prices,
        budget=options["budget"],
        fixed_precision=options["precision"] is not None,
    )
    if options["plot"] is not None:
        _plot(options["plot"], choice, arch, options["quiet"])
    plan = None if machine is None else _plan(machine, matrix)
    if options["fmt"] == "json":
        emit(json.dumps(_json(arch, work, choice, plan, options["by"]), indent=2) + "\n", options["output"])
    else:
        marked = options["fmt"] == "markdown"
        text = _markdown(choice, options["by"]) if marked else _text(arch, work, choice, options)
        text += "" if plan is None else "\n" + plan[0]
        emit(text if marked or options["output"] else folded(text), options["output"])
    return 0 if choice.ranked else 1


def _cards(options: dict[str, Any], matrix: Matrix) -> Sequence[Card]:
    if options["names"]:
        return [find_card(name, matrix) for name in options["names"]]
    families = None if options["everything"] else ("GeForce", "TITAN")
    boards = [c for c in cards(matrix) if c.row.family != "Jetson" and not c.row.laptop]
    return [c for c in boards if families is None or c.row.family in families]


def _here(options: dict[str, Any], matrix: Matrix) -> tuple[Sequence[Card], Any]:
    """(the distinct cards of the machine, the machine). Raises ``UsageError`` where there is none with figures."""
    from dataclasses import replace

    from .whatif import WhatIf, machine_for

    machine = machine_for(WhatIf(machine_file=options["machine_file"]), matrix)
    named = [g for g in machine.gpus if g.name]
    if not named:
        raise UsageError("--here: no NVIDIA GPU with a name was found in this machine. `envcheck doctor` says why")
    found: dict[str, Card] = {}
    for gpu in named:
        same = _figures(str(gpu.name), matrix)
        gib = (gpu.memory_mib or 0) / 1024
        card = min(same, key=lambda c: abs(c.memory_gib - gib)) if gib else same[0]
        # what the driver counts is what there is: a MIG slice or a cut-down board has less than the data sheet
        found[card.name] = replace(card, memory_gib=round(gib, 1)) if 0 < gib < 0.9 * card.memory_gib else card
    return list(found.values()), machine


def _figures(name: str, matrix: Matrix) -> Sequence[Card]:
    from ..identify import find_gpu

    try:
        return expand(find_gpu(name, matrix)) or (find_card(name, matrix),)
    except UsageError as error:
        raise UsageError(f"--here: {error}. What its memory holds: `envcheck estimate --memory GIB`") from None


def _plan(machine: Any, matrix: Matrix) -> tuple[str, dict[str, Any]]:
    """(text, JSON) of the plan for this machine with the defaults of ``envcheck plan``."""
    from ..model import Request
    from ..plan import make_plan
    from ..recipes import load_recipes
    from ..render import Meta, render

    meta = Meta(envcheck_version=_version(), matrix_version=matrix.version, command="envcheck advise --here")
    plan = make_plan(machine, matrix, load_recipes(), Request())
    said = json.loads(render(plan, "json", meta=meta, width=100))
    if plan.torch is None:
        return "plan: none; " + "; ".join(plan.conflicts) + "\n", said
    text = f"plan for this machine: torch {plan.torch.version}+{plan.torch.tag}\n"
    return text + "".join(f"  {r}\n" for r in plan.reasons) + "  envcheck plan > install.sh\n", said


def _version() -> str:
    from .. import __version__

    return __version__


def read_prices(path: str, matrix: Matrix) -> dict[str, float]:
    """Card name -> price from the user's file. ``InputError`` names the first line that is none."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if text.lstrip().startswith("{"):
        try:
            rows = [(str(k), v) for k, v in json.loads(text).items()]
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is not valid JSON ({error})") from None
    else:
        try:
            read = [r for r in csv.reader(text.splitlines()) if r and r[0].strip()]
        except csv.Error as error:
            raise InputError(f"{path} is not valid CSV ({error})") from None
        rows = [(r[0].strip(), r[1] if len(r) > 1 else "") for r in read]
        rows = [r for r in rows if not r[0].startswith("#")]
        if rows and rows[0][0].lower() in ("card", "gpu", "name"):
            rows = rows[1:]
    prices: dict[str, float] = {}
    for name, value in rows:
        try:
            price = float(str(value).strip())
        except ValueError:
            raise InputError(f"{path}: the price of {name!r} is {value!r}, which is no number") from None
        if not 0 < price < 1e9:
            raise InputError(f"{path}: the price of {name!r} is {price:g}: it must be above 0")
        try:
            prices[find_card(name, matrix).name] = price
        except UsageError as error:
            raise InputError(f"{path}: {error}") from None
    if not prices:
        raise InputError(f"{path} names no price: two columns are needed, card and price, as in: RTX 4090,1599")
    return prices


def _value(candidate: Candidate, by: str) -> float | None:
    return {"throughput": candidate.speed.value, "watt": candidate.per_watt, "price": candidate.per_price}[by]


def _plot(path: str, choice: Choice, arch: Architecture, quiet: bool) -> None:
    bars = [(c.card.name, c.speed.value) for c in choice.ranked]
    unit = choice.ranked[0].speed.unit if choice.ranked else ""
    data = draw(path, bars, f"{arch.id}: predicted {unit}", "")
    try:
        write_whole(path, data, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    say(f"wrote {path}", quiet=quiet)


def _json(arch: Architecture, work: Workload, choice: Choice, plan: Any, by: str) -> dict[str, Any]:
    return {
        "schema": "envcheck.advise/1",
        "model": {"id": arch.id, "params": arch.params},
        "workload": vars(work),
        "by": by,
        "candidates": [_candidate(c) for c in choice.ranked],
        "disqualified": [{"name": d.card.name, "because": d.because} for d in choice.disqualified],
        "plan": None if plan is None else plan[1],
    }


def _candidate(c: Candidate) -> dict[str, Any]:
    return {
        "name": c.card.name,
        "precision": c.work.precision,
        "peak": round(c.memory.peak),
        "interval": [round(c.memory.low), round(c.memory.high)],
        "memory_gib": c.card.memory_gib,
        "room": c.room,
        "largest_batch": c.batch,
        "throughput": float(f"{c.speed.value:.4g}"),
        "unit": c.speed.unit,
        "limit": c.speed.limit,
        "error": c.speed.error,
        "how": c.speed.how,
        "per_watt": None if c.per_watt is None else float(f"{c.per_watt:.4g}"),
        "price": c.price,
        "per_price": None if c.per_price is None else float(f"{c.per_price:.4g}"),
        "reasons": list(c.reasons),
        "precision_advice": list(advise_precision(c.card).why),
    }


def _text(arch: Architecture, work: Workload, choice: Choice, options: dict[str, Any]) -> str:
    by, top = options["by"], max(1, options["top"])
    lines = [f"{arch.id}, {work.method}, batch {work.batch}: {_cards_hold(len(choice.ranked))} it, ranked by {by}", ""]
    bars = [(c.card.name, float(v)) for c in choice.ranked[:top] if (v := _value(c, by)) is not None]
    unit = choice.ranked[0].speed.unit if choice.ranked else ""
    if bars:
        lines.append(unit + {"watt": " and watt", "price": " and unit of price"}.get(by, ""))
    lines.append(text_bars(bars, terminal_columns()))
    for number, c in enumerate(choice.ranked[:top], 1):
        lines.append(f"{number}. {c.card.name}: {c.speed.value:.3g} {c.speed.unit}, largest batch {c.batch}")
        lines += [f"     {reason}" for reason in c.reasons]
    if choice.ranked:
        first = choice.ranked[0].speed
        error = (
            f"median error {first.error:.0%} on the cards it was fitted on, each left out" if first.error else first.how
        )
        lines += ["", f"prediction: {error}"]
    lines += _out(choice.disqualified, options["verbose"])
    return "\n".join(lines) + "\n"


def _cards_hold(count: int) -> str:
    return "1 card holds" if count == 1 else f"{count} cards hold"


def _out(out: Sequence[Disqualified], verbose: int) -> list[str]:
    if not out:
        return []
    largest = sorted(out, key=lambda d: -d.card.memory_gib)  # who missed it by the least
    shown = largest if verbose else largest[:5]
    lines = ["", f"{len(out)} disqualified{'' if verbose or len(out) <= 5 else ' (all with -v)'}:"]
    return lines + [f"  {d.card.name}: {d.because}" for d in shown]


def _markdown(choice: Choice, by: str) -> str:
    heads = ["card", "throughput", by if by != "throughput" else "room", "largest batch", "reasons"]
    rows = []
    for c in choice.ranked:
        value = _value(c, by)
        second = c.room if by == "throughput" else "-" if value is None else f"{value:.3g}"
        rows.append([c.card.name, f"{c.speed.value:.3g}", second, str(c.batch), "; ".join(c.reasons)])
    return markdown(heads, rows)
