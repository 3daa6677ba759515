"""Generates docs/cli.md and docs/checks.md from the code; `python tests/docs_in_step.py --write` renews them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))

from pictures import PICTURES, svg

ROOT = Path(__file__).resolve().parent.parent


def page() -> str:
    from envcheck.cli import COMMANDS, cli

    out = ["# Commands", "", "Generated from `--help`; `python tests/docs_in_step.py --write` renews this page.", ""]
    context = click.Context(cli, info_name="envcheck", max_content_width=100, terminal_width=100)
    out += ["## envcheck", "", "```", cli.get_help(context), "```", ""]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        out += _command(command, name, context, level=2)
    return "\n".join(out).rstrip() + "\n"


def _command(command: click.Command, name: str, parent: click.Context, level: int) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    out = [f"{'#' * level} {context.command_path}", "", "```", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            assert child is not None
            out += _command(child, sub, context, level + 1)
    return out


def checks() -> str:
    from envcheck.checks import checks_page

    return checks_page()


PAGES: dict[str, Callable[[], str]] = {"cli.md": page, "checks.md": checks}
for _name, _argv in PICTURES.items():
    PAGES[f"pictures/{_name}"] = functools.partial(svg, _argv)


def stale() -> list[str]:
    """Names of pages that differ from what the code says."""
    return [name for name, make in PAGES.items() if _read(name) != make()]


def _read(name: str) -> str | None:
    path = ROOT / "docs" / name
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    if "--write" in sys.argv:
        for name, make in PAGES.items():
            (ROOT / "docs" / name).write_text(make(), encoding="utf-8")
    elif stale():
        import difflib

        for name in stale():
            sys.stderr.writelines(
                difflib.unified_diff(
                    (_read(name) or "").splitlines(True), PAGES[name]().splitlines(True), name, "code", n=1
                )
            )
        sys.exit("out of step: python tests/docs_in_step.py --write")
