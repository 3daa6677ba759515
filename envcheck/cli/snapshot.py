"""``envcheck snapshot``: this machine in one file that replays everywhere."""

from __future__ import annotations

import json
from typing import Any

import click

from .common import emit, output_options, say


@click.command("snapshot")
@click.option("--no-redact", is_flag=True, help="Keep serials, UUIDs, host and user names.")
@click.option("--python", default=None, metavar="PATH", help="The interpreter whose torch is meant.")
@output_options(("json",))
def command(**options: Any) -> int:
    """Write what envcheck sees of this machine into one JSON file: the files read, the commands run, their output.

    Serials, UUIDs, host and user names are left out unless --no-redact. Whoever has the file can ask every question
    of it: detection runs again on what was recorded.

    \b
    Examples:
      envcheck snapshot -o machine.json
      envcheck plan --machine machine.json --torch 2.6 --format text
    """
    from ..detect.snapshot import take
    from ..host import LiveHost

    snapshot = take(LiveHost(), python=options["python"], redact=not options["no_redact"])
    emit(json.dumps(snapshot, indent=2, ensure_ascii=False) + "\n", options["output"])
    if options["output"]:
        say(f"replay it with: envcheck plan --machine {options['output']}", quiet=options["quiet"])
    return 0
