"""``envcheck doctor``: what is wrong, why, and the command that repairs it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import InputError, UsageError
from ..matrix import Matrix, load
from ..model import Machine
from .common import emit, output_options, use_color
from .whatif import WhatIf, machine_for

FORMATS = ("text", "json", "markdown", "junit", "github")
SIZE_LIMIT = 64 << 20  # bytes of a report; longer ones are cut, not refused

EPILOG = """\b
Examples:
  envcheck doctor
  envcheck doctor --from-report issue.txt
  xclip -o | envcheck doctor --from-report -
  python3 train.py 2>&1 | envcheck doctor --error -
  envcheck doctor --format markdown | gh issue comment 12 -F -
  envcheck doctor --share > share.md        replay it elsewhere with: envcheck doctor --machine share.md

Exit codes: 0 healthy or warnings only, 1 something is broken, 3 could not be told. See `envcheck explain CODE`."""


@click.command("doctor", epilog=EPILOG)
@click.option(
    "--from-report", "report_file", default=None, metavar="FILE|-", help="A pasted report instead of this machine."
)
@click.option("--error", "error_file", default=None, metavar="FILE|-", help="This machine plus a program's error text.")
@click.option("--machine", "machine_file", default=None, metavar="FILE", help="A snapshot, or what --share wrote.")
@click.option("--python", default=None, metavar="PATH", help="The interpreter whose torch is meant.")
@click.option("--deep", is_flag=True, help="Also import torch there and create a CUDA context.")
@click.option("--only", default=None, metavar="CODE,...", help="Run these checks alone.")
@click.option("--skip", default=None, metavar="CODE,...", help="Leave these checks out.")
@click.option(
    "--fail-on",
    type=click.Choice(("warn", "fail")),
    default="fail",
    show_default=True,
    help="What makes the exit code 1.",
)
@click.option("--no-redact", is_flag=True, help="Keep serials, UUIDs, host and user names.")
@click.option("--share", is_flag=True, help="A redacted text to paste that carries its own replayable snapshot.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(FORMATS)
def command(**options: Any) -> int:
    """Find why PyTorch cannot use the GPU, or will not be able to, and print the command that repairs it.

    Looks at this machine, at a pasted report (any mix of collect_env, nvidia-smi, pip list, dmesg, tracebacks), at an
    error text beside this machine, or at a snapshot. Nothing is imported or started on the GPU (but for --deep), and
    nothing needs root.
    """
    from ..checks import run_checks
    from ..report import FORMATS as RENDERINGS

    matrix = load(options["matrix_file"])
    machine = _machine(options, matrix)
    report = run_checks(machine, matrix, _codes(options["only"]), _codes(options["skip"]))
    if not options["no_redact"]:
        report = _redacted(report, _names_of_host(options))
    if options["share"]:
        from ..report.share import as_share

        if options["fmt"] not in (None, "markdown"):
            raise UsageError("--share writes markdown: leave --format away")
        emit(as_share(report), options["output"])
    elif options["fmt"] in (None, "text"):
        emit(_text(report, options), options["output"])
    else:
        emit(RENDERINGS[options["fmt"]](report), options["output"])
    return exit_code(report.verdict, options["fail_on"], bool(report.findings))


def exit_code(verdict: str, fail_on: str, findings: bool) -> int:
    """CONTRACT: 1 beats 3; an undetermined machine is never 0."""
    if verdict == "broken" or (fail_on == "warn" and findings):
        return 1
    return 3 if verdict == "undetermined" else 0


def _codes(words: str | None) -> tuple[str, ...]:
    return tuple(w.strip() for w in words.split(",") if w.strip()) if words else ()


def _machine(options: dict[str, Any], matrix: Matrix) -> Machine:
    given = [n for n in ("report_file", "machine_file") if options[n] is not None]
    if len(given) > 1:
        raise UsageError("--from-report brings a report and --machine a snapshot: give one of them")
    if options["report_file"] == options["error_file"] == "-":
        raise UsageError("standard input can be the report or the error, not both")
    if options["report_file"] is not None:
        if options["deep"]:
            raise UsageError("--deep looks at this machine, and --from-report at another: give one of them")
        from ..detect.pasted import parse_report
        from ..identify import identify

        machine = identify(parse_report(read(options["report_file"], "report")), matrix)
    else:
        machine = _here(options, matrix)
    if options["error_file"] is not None:
        from ..detect.pasted import parse_error_text

        symptoms = parse_error_text(read(options["error_file"], "error text"))
        machine = dataclasses.replace(machine, symptoms=(*machine.symptoms, *symptoms))
    return machine


def _here(options: dict[str, Any], matrix: Matrix) -> Machine:
    """This machine with the details that checks read, or the one of a snapshot or a shared text."""
    if options["machine_file"] is not None:
        if options["deep"]:
            raise UsageError("--deep starts the interpreter of this machine, and --machine brings another: give one")
        return machine_for(WhatIf(machine_file=options["machine_file"]), matrix)
    from ..detect import detect
    from ..host import LiveHost
    from ..identify import identify

    host = LiveHost()
    machine = detect(host, python=options["python"], full=True, interpreters_too=False)
    if options["deep"]:
        from ..detect.deep import look_deeper

        machine = look_deeper(host, machine)
    return identify(machine, matrix)


def read(name: str, what: str) -> str:
    """A file or standard input as text, whatever its encoding. Raises ``InputError`` for one that is unreadable."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(SIZE_LIMIT)
        else:
            with Path(name).open("rb") as file:
                data = file.read(SIZE_LIMIT)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the {what} {name}: {getattr(error, 'strerror', None) or error}") from None
    if not data.strip():
        raise InputError(f"the {what} is empty: pipe the text in, or name a file that holds it")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


def _names_of_host(options: dict[str, Any]) -> dict[str, str]:
    """Names of this user and host are taken out where this host was looked at, or where its text may hold them."""
    import platform

    env = {
        k: os.environ[k] for k in ("HOME", "USERPROFILE", "USER", "LOGNAME", "USERNAME", "SUDO_USER") if k in os.environ
    }
    return {**env, "HOSTNAME": platform.node()}


def _redacted(report: Any, names: dict[str, str]) -> Any:
    from ..detect.redact import Redactor
    from ..report.redact import redacted

    return redacted(report, Redactor(names))


def _text(report: Any, options: dict[str, Any]) -> str:
    from ..report import as_text

    stream = sys.stdout
    to_terminal = options["output"] in (None, "-")
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return as_text(
        report,
        width=min(shutil.get_terminal_size((100, 24)).columns, 120),
        color=use_color(options["color"], stream) and (to_terminal or options["color"] == "always"),
        unicode=not to_terminal or encoding.startswith("utf"),
        verbose=options["verbose"],
    )


__all__ = ["command", "exit_code", "read"]
