"""``envcheck explain``: the page of a check, or the list of all."""

from __future__ import annotations

import json
from typing import Any

import click

from ..errors import UsageError
from .common import emit, output_options


@click.command("explain")
@click.argument("code", required=False)
@output_options(("text", "json", "markdown"))
def command(code: str | None, **options: Any) -> int:
    """Print what a check looks for, why it matters and how it is repaired. Without CODE: the list of all checks.

    \b
    Examples:
      envcheck explain driver-too-old
      envcheck explain
    """
    from ..checks import check_page, checks_list, checks_page

    if code is None:
        rows = checks_list()
        if options["fmt"] == "json":
            text = json.dumps([{"area": a, "code": c, "summary": s} for a, c, s in rows], indent=2) + "\n"
        elif options["fmt"] == "markdown":
            text = checks_page()
        else:
            width = max(len(c) for _, c, _ in rows)
            text = "".join(f"{c:<{width}}  {s}\n" for _, c, s in rows)
        emit(text, options["output"])
        return 0
    if options["fmt"] == "json":
        raise UsageError("one page has no JSON form: leave CODE away for the list, or take --format markdown")
    page = check_page(code)
    emit(page if options["fmt"] == "markdown" else _plain(page), options["output"])
    return 0


def _plain(page: str) -> str:
    """The page for a terminal: without markdown's marks, wrapped."""
    import textwrap

    out = []
    for line in page.splitlines():
        text = line.removeprefix("### ").replace("**", "")
        if text.startswith("- <"):
            out.append("  " + text[3:].rstrip(">"))
        else:
            out.append("\n".join(textwrap.wrap(text, 96, break_long_words=False, break_on_hyphens=False)))
    return "\n".join(out).rstrip() + "\n"
