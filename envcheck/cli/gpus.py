"""``envcheck gpus``: the cards, their peaks by formula, and what a move from one to another changes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ..advise.chart import draw, text_bars
from ..advise.migrate import Line, compare, migration
from ..advise.specs import Card, cards, find_card, series
from ..errors import UsageError
from ..matrix import load
from .card_page import card_json, page
from .common import emit, folded, output_options, say, terminal_columns, write_whole
from .tables import aligned, as_csv, cell, markdown
from .workload_options import model_from, model_options, work_from, workload_options

FORMATS = ("text", "json", "csv", "markdown")
MATRIX_OPTION = click.option(
    "--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix."
)
# column -> (heading, value). The words of --sort and --plot-by too.
COLUMNS: dict[str, tuple[str, Callable[[Card], Any]]] = {
    "name": ("card", lambda c: c.name),
    "memory": ("GiB", lambda c: c.memory_gib),
    "bandwidth": ("GB/s", lambda c: c.bandwidth),
    "sms": ("SMs", lambda c: c.sm_count),
    "cores": ("cores", lambda c: c.cores),
    "tensor-cores": ("Tensor gen", lambda c: c.row.tensor_cores),
    "capability": ("cc", lambda c: c.compute_capability),
    "fp32": ("FP32", lambda c: c.peak("fp32")),
    "fp16": ("FP16 Tensor", lambda c: c.peak("fp16_acc32")),
    "bf16": ("BF16 Tensor", lambda c: c.peak("bf16")),
    "tf32": ("TF32", lambda c: c.peak("tf32")),
    "fp8": ("FP8", lambda c: c.peak("fp8")),
    "int8": ("INT8", lambda c: c.peak("int8")),
    "power": ("W", lambda c: c.tdp_w),
    "efficiency": ("GFLOPS/W", lambda c: c.per_watt),
    "nvlink": ("NVLink", lambda c: c.row.nvlink_gb_s),
    "pcie": ("PCIe", lambda c: c.row.pcie),
}
SHOWN = (
    "name",
    "memory",
    "bandwidth",
    "sms",
    "tensor-cores",
    "capability",
    "fp32",
    "fp16",
    "bf16",
    "fp8",
    "power",
    "efficiency",
)
# what a narrow terminal does without, first to last
DROPPED = ("efficiency", "tensor-cores", "sms", "fp8", "capability", "bf16")
NUMBERS = tuple(c for c in COLUMNS if c not in ("name", "capability", "pcie"))

EPILOG = """\b
Examples:
  envcheck gpus                                        the GeForce cards of the 10 to 50 series
  envcheck gpus list --all --sort bandwidth --format csv
  envcheck gpus list --series 30,40 --min-memory 12 --plot cards.png
  envcheck gpus list --laptops --series 40,50
  envcheck gpus show "RTX 3080 10GB"
  envcheck gpus compare "RTX 2080 Ti" "RTX 4090" --for bert-large --batch 8"""


@click.group("gpus", invoke_without_command=True, epilog=EPILOG)
@output_options(FORMATS)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Compare cards: memory, bandwidth, and the dense peak of each precision and accumulate type, by formula.

    Every row checks itself (cores = SMs x lanes, bandwidth = bus x rate, TFLOPS = SMs x multiply-adds x 2 x clock).
    """
    if ctx.invoked_subcommand is None:
        return int(ctx.invoke(list_cards, **options))
    return 0


@command.command("list", epilog=EPILOG)
@click.option("--all", "everything", is_flag=True, help="Professional, data-centre, Jetson and laptop GPUs too.")
@click.option("--family", default=None, help="geforce, titan, quadro, rtx, 'data center', jetson.")
@click.option("--series", "series_words", default=None, metavar="10,20,...", help="GeForce series.")
@click.option("--laptops", is_flag=True, help="Laptop GPUs instead: their maker sets power and clock.")
@click.option("--min-memory", type=float, default=None, metavar="GIB")
@click.option("--sort", "sort_by", type=click.Choice(tuple(COLUMNS)), default=None, help="Largest first; names A to Z.")
@click.option("--columns", default=None, help=f"Of {','.join(COLUMNS)}.")
@click.option("--plot", default=None, metavar="FILE.svg|png", help="Also a bar chart.")
@click.option("--bars", is_flag=True, help="Also bars in the terminal.")
@click.option("--plot-by", type=click.Choice(NUMBERS), default=None, help="What the bars show: --sort's, else fp16.")
@MATRIX_OPTION
@output_options(FORMATS)
def list_cards(
    everything: bool = False,
    family: str | None = None,
    series_words: str | None = None,
    laptops: bool = False,
    min_memory: float | None = None,
    sort_by: str | None = None,
    columns: str | None = None,
    plot: str | None = None,
    bars: bool = False,
    plot_by: str | None = None,
    matrix_file: str | None = None,
    **options: Any,
) -> int:
    """List cards, sorted, as text, JSON, CSV or Markdown, with a bar chart if asked."""
    known = [c for c in cards(load(matrix_file)) if c.row.laptop or not laptops]
    known = known if everything or laptops else [c for c in known if not c.row.laptop]
    chosen = _filtered(known, everything, family, series_words, min_memory)
    if sort_by is not None:
        chosen = _sorted(chosen, sort_by)
    names = _columns(columns)
    by = plot_by or (sort_by if sort_by in NUMBERS else "fp16")
    heading, value = COLUMNS[by]
    pairs = [(c.name, float(v)) for c in chosen if (v := value(c)) is not None]
    if plot is not None:
        _write(plot, draw(plot, pairs, f"{heading}: {len(pairs)} cards", heading))
        say(f"wrote {plot}", quiet=bool(options.get("quiet")))
    if columns is None and options.get("fmt") in (None, "text") and sys.stdout.isatty() and not options.get("output"):
        names = _narrowed(chosen, names)
    text = _table(chosen, names, options.get("fmt"))
    if bars and options.get("fmt") in (None, "text"):
        text += f"\n{heading}\n" + text_bars(pairs, terminal_columns())
    emit(text, options.get("output"))
    return 0


def _filtered(
    known: Sequence[Card], everything: bool, family: str | None, series_words: str | None, least: float | None
) -> list[Card]:
    chosen = list(known)
    if family is not None:
        families = sorted({c.row.family for c in known})
        if family.lower() not in [f.lower() for f in families]:
            raise UsageError(f"there is no family {family!r}. Known: {', '.join(families)}")
        chosen = [c for c in chosen if c.row.family.lower() == family.lower()]
    elif series_words is not None or not everything:
        chosen = [c for c in chosen if c.row.family == "GeForce"]
    if series_words is not None:
        words = {w.strip().lower().removesuffix("xx") for w in series_words.split(",")}
        there = {series(c) for c in chosen}
        if words - there:
            raise UsageError(
                f"there is no series {', '.join(sorted(words - there))}. Known: {', '.join(sorted(there))}"
            )
        chosen = [c for c in chosen if series(c) in words]
    if least is not None:
        chosen = [c for c in chosen if c.memory_gib >= least]
    return chosen


def _sorted(chosen: list[Card], by: str) -> list[Card]:
    value = COLUMNS[by][1]
    if by in NUMBERS:
        return sorted(chosen, key=lambda c: (-(v if (v := value(c)) is not None else -math.inf), c.name))
    return sorted(chosen, key=lambda c: str(value(c)))


def _columns(words: str | None) -> tuple[str, ...]:
    names = tuple(w.strip() for w in words.split(",")) if words else SHOWN
    unknown = [n for n in names if n not in COLUMNS]
    if unknown:
        raise UsageError(f"there is no column {unknown[0]!r}. Known: {', '.join(COLUMNS)}")
    return names


def _narrowed(chosen: Sequence[Card], names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that fit side by side on the terminal; ``--columns`` overrules it."""
    for column in DROPPED:
        if max(map(len, _table(chosen, names, None).splitlines())) <= terminal_columns():
            break
        names = tuple(n for n in names if n != column)
    return names


def _table(chosen: Sequence[Card], names: Sequence[str], fmt: str | None) -> str:
    if fmt == "json":
        body = {"schema": "envcheck.gpus/1", "gpus": [card_json(c) for c in chosen]}
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    rows = [[COLUMNS[n][1](c) for n in names] for c in chosen]
    heads = [COLUMNS[n][0] for n in names]
    if fmt == "csv":
        return as_csv(names, rows)
    cells = [[cell(v) for v in row] for row in rows]
    return markdown(heads, cells) if fmt == "markdown" else aligned(heads, cells)


def _write(path: str, data: bytes) -> None:
    try:
        write_whole(path, data, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


@command.command("show")
@click.argument("name")
@MATRIX_OPTION
@output_options(("text", "json"))
def show(name: str, matrix_file: str | None, **options: Any) -> int:
    """Print everything about one card, how each figure is computed, and its sources."""
    card = find_card(name, load(matrix_file))
    if options["fmt"] == "json":
        emit(
            json.dumps({"schema": "envcheck.gpu/1", **card_json(card)}, indent=2, ensure_ascii=False) + "\n",
            options["output"],
        )
        return 0
    text = "\n".join(page(card)) + "\n"
    emit(text if options["output"] else folded(text), options["output"])
    return 0


@command.command("compare", epilog=EPILOG)
@click.argument("old")
@click.argument("new")
@model_options("--for")
@workload_options
@MATRIX_OPTION
@output_options(("text", "json", "markdown"))
def compare_cards(old: str, new: str, matrix_file: str | None, **options: Any) -> int:
    """Compare two cards; with --for MODEL also what changes when that model moves from OLD to NEW."""
    matrix = load(matrix_file)
    pair = find_card(old, matrix), find_card(new, matrix)
    lines = list(compare(*pair, matrix))
    moved: Sequence[Line] = ()
    if any(options[k] is not None for k in ("model", "config", "params")):
        arch = model_from(options)
        moved = migration(*pair, arch, work_from(options, arch.kind), options["precision"] is not None)
    text = _comparison(pair, lines, moved, options["fmt"])
    if options["fmt"] in (None, "text") and not options["output"] and sys.stdout.isatty():
        widest = max(map(len, text.splitlines()))
        text = text if widest <= terminal_columns() else folded(_stacked(pair, (*lines, *moved)))
    emit(text, options["output"])
    return 0


def _stacked(pair: tuple[Card, Card], lines: Sequence[Line]) -> str:
    """The comparison for a terminal that the columns do not fit."""
    out = [f"{pair[0].name} -> {pair[1].name}"]
    for line in lines:
        moved = f"{line.old} -> {line.new}" if line.old != line.new else line.old
        out.append(f"{line.what}: {moved}".rstrip(": ") + (f"  ({line.note})" if line.note else ""))
    return "\n".join(out) + "\n"


def _comparison(pair: tuple[Card, Card], lines: Sequence[Line], moved: Sequence[Line], fmt: str | None) -> str:
    if fmt == "json":
        body = {
            "schema": "envcheck.gpus-compare/1",
            "old": card_json(pair[0]),
            "new": card_json(pair[1]),
            "lines": [vars(line) for line in lines],
            "migration": [vars(line) for line in moved],
        }
        return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    heads = ["", pair[0].name, pair[1].name, "note"]
    rows = [[line.what, line.old, line.new, line.note] for line in (*lines, *moved)]
    if fmt == "markdown":
        return markdown(heads, rows)
    widths = [max(len(r[i]) for r in (heads, *rows)) for i in range(4)]
    return "".join(
        "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() + "\n" for r in (heads, *rows)
    )
