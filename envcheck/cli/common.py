"""Options and habits that every command shares."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def output_options(formats: tuple[str, ...]) -> Callable[[F], F]:
    """``--format``, ``-o``, ``-q``, ``-v``, ``--color``: the same words everywhere."""

    def decorate(function: F) -> F:
        for option in (
            click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour."),
            click.option("-v", "--verbose", count=True, help="Say more (on stderr)."),
            click.option("-q", "--quiet", is_flag=True, help="Errors only on stderr."),
            click.option("-o", "--output", type=click.Path(), help="Write here instead of stdout, all or nothing."),
            click.option("--format", "fmt", type=click.Choice(formats), help="Output format."),
        ):
            function = option(function)
        return function

    return decorate


def use_color(choice: str, stream: Any) -> bool:
    """--color, then NO_COLOR, then FORCE_COLOR/CLICOLOR_FORCE, then a terminal that is not dumb."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR") or os.environ.get("CLICOLOR_FORCE"):
        return True
    return os.environ.get("TERM") != "dumb" and bool(getattr(stream, "isatty", bool)())


def terminal_columns() -> int:
    """How wide the terminal is (COLUMNS, else asked); 80 where there is none."""
    return shutil.get_terminal_size((80, 24)).columns


def folded(text: str) -> str:
    """The text with its long lines broken at the edge of the terminal; as it is where standard output is none."""
    if not sys.stdout.isatty():
        return text
    columns = max(20, terminal_columns())
    out = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())] + "  "
        out += textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return "\n".join(out) + "\n"


def emit(text: str, output: str | None, *, executable: bool = False) -> None:
    """Primary output: stdout, or a file that appears whole or not at all (scripts get mode 0755)."""
    if output is None or output == "-":
        sys.stdout.buffer.write(text.encode("utf-8", errors="replace"))
        sys.stdout.flush()
        return
    try:
        write_whole(output, text.encode("utf-8", errors="replace"), 0o755 if executable else 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None


def write_whole(output: str, data: bytes, mode: int) -> None:
    """Write a file all or nothing, through symbolic links. A device or a pipe is written to, never replaced:
    renaming over it would take /dev/null from the whole machine. Raises ``OSError``.
    """
    import tempfile  # with pathlib 6 ms that a plan on stdout need not pay
    from pathlib import Path

    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            stream.write(data)
        return
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def say(text: str, *, quiet: bool = False) -> None:
    """A line for the person, on stderr. Whether it is coloured was decided by ``use_color``, not by click."""
    if not quiet:
        click.echo(text, err=True, color=True)


def label(word: str, color: bool, fg: str) -> str:
    return click.style(word, fg=fg, bold=True) if color else word
