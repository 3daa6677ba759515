"""``envcheck matrix``: show, validate or refresh the compatibility data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from ..errors import InputError, UsageError
from ..matrix import ROW_SECTIONS, data_path, dumps, load
from .common import emit, output_options, say

MATRIX_OPTION = click.option(
    "--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another file than the packaged one."
)


@click.group("matrix")
def command() -> None:
    """Read, validate or refresh compat_matrix.json.

    \b
    Examples:
      envcheck matrix show builds --torch 2.6.0
      envcheck matrix check
      envcheck matrix update
    """


@command.command("show")
@click.argument("section", required=False, type=click.Choice(ROW_SECTIONS))
@click.option("--torch", default=None, help="Only rows of this release.")
@MATRIX_OPTION
@output_options(("text", "json"))
def show(section: str | None, torch: str | None, matrix_file: str | None, **options: Any) -> int:
    """Print a section's rows, or without SECTION the sections with their sizes and date."""
    matrix = load(matrix_file)
    if section is None:
        head = {"schema": matrix.data["schema"], "version": matrix.version, "date": matrix.date}
        sizes = {name: len(matrix.data[name]) for name in ROW_SECTIONS}
        if options["fmt"] == "json":
            emit(json.dumps({**head, "rows": sizes}, indent=2) + "\n", options["output"])
        else:
            lines = [f"{k:<16} {v}" for k, v in head.items()] + [f"{k:<16} {v} rows" for k, v in sizes.items()]
            emit("\n".join(lines) + "\n", options["output"])
        return 0
    rows = [r for r in matrix.data[section] if torch is None or r.get("torch") == torch]
    if torch is not None and not rows:
        raise UsageError(f"no row of {section!r} speaks of torch {torch}. Known: {', '.join(matrix.releases)}")
    if options["fmt"] == "json":
        emit(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", options["output"])
    else:
        emit("\n".join(_line(r) for r in rows) + "\n", options["output"])
    return 0


def _line(row: dict[str, Any]) -> str:
    shown = {k: v for k, v in row.items() if v not in (None, [], "")}
    return "  ".join(f"{k}={' '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in shown.items())


@command.command("check")
@MATRIX_OPTION
@output_options(("text", "json"))
def check(matrix_file: str | None, **options: Any) -> int:
    """Validate schema, references, order and self-consistency. Exit 4 where anything is wrong."""
    from ..matrix_check import check_text

    path = Path(matrix_file or data_path("compat_matrix.json"))
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    problems = check_text(text)
    if options["fmt"] == "json":
        emit(
            json.dumps({"schema": "envcheck.matrix-check/1", "problems": problems}, indent=2) + "\n", options["output"]
        )
    elif problems:
        emit("".join(f"{p}\n" for p in problems), options["output"])
    if problems:
        raise InputError(f"{path}: {len(problems)} problem(s)")
    say(f"{path.name}: no problem found", quiet=options["quiet"])
    return 0


@command.command("update")
@MATRIX_OPTION
@click.option("--dry-run", is_flag=True, help="Print the difference, write nothing.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds for each request.")
@output_options(("text", "json"))
def update(matrix_file: str | None, dry_run: bool, timeout: float, **options: Any) -> int:
    """Rebuild what the package index knows: METADATA pins, Python tags, pairs, uploads. Nothing else changes.

    The index is the one that pip itself would use. Prints the difference; a second run changes nothing.
    """
    from ..matrix_update import rebuild, session

    path = Path(matrix_file or data_path("compat_matrix.json"))
    matrix = load(str(path))
    new, difference = rebuild(matrix.data, session(timeout=timeout))
    if options["fmt"] == "json":
        emit(json.dumps({"schema": "envcheck.matrix-update/1", "difference": difference}, indent=2) + "\n", None)
    else:
        for line in difference:
            click.echo(line)
    if not difference:
        say("the matrix already says all that the index knows", quiet=options["quiet"])
        return 0
    if dry_run:
        say(f"{len(difference)} difference(s); nothing was written (--dry-run)", quiet=options["quiet"])
        return 0
    if not os.access(path, os.W_OK):
        raise UsageError(f"{path} cannot be written: name a copy with --matrix FILE, or look with --dry-run")
    emit(dumps(new), str(path))
    say(
        f'{path}: {len(difference)} difference(s) written; note them under "Matrix" in CHANGELOG.md',
        quiet=options["quiet"],
    )
    return 0
