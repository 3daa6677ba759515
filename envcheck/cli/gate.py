"""``envcheck gate``: the CI step. One run, a policy, many reports, an exit code to trust."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..checks import CODES, run_checks
from ..errors import UsageError
from ..gate import Difference, Gated, Policy, find_policy, judge, load_policy, proofs_of
from ..gate.github import outputs, summary
from ..gate.lines import style_code
from ..gate.render import FORMATS, Rendering, render
from ..gate.run import Job, Look, look
from ..matrix import Matrix, load
from ..verify.table import BY_CODE
from .common import emit, output_options, say, use_color
from .whatif import WhatIf, machine_for

EPILOG = """\b
Examples:
  envcheck gate
  envcheck gate --policy /etc/envcheck/policy.toml --timeout 120
  envcheck gate --report json=gate.json --report junit=gate.xml --report github
  envcheck gate --report prometheus=/var/lib/prometheus/node-exporter/envcheck.prom -q
  envcheck gate --exit-style nagios
  srun envcheck gate --report json=reports/%N.json; envcheck fleet merge reports

Exit: 0 go, 1 stop, 2 usage, 3 something required could not be told, 4 the policy cannot be read. docs/gate.md has more.
"""
STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")  # by another name: two formats there would be none


@click.command("gate", epilog=EPILOG)
@click.option("--policy", "policy_file", default=None, metavar="FILE", help="What is required. Default: envcheck.toml.")
@click.option("--report", "reports", multiple=True, metavar="FORMAT=PATH", help="Repeatable; - is stdout, %N the node.")
@click.option(
    "--timeout",
    default=300.0,
    show_default=True,
    type=click.FloatRange(2, 86400),
    help="Seconds for the whole run, whatever the driver does.",
)
@click.option("--against", default=None, metavar="SNAPSHOT", help="How this machine differs from one that worked.")
@click.option("--on-undetermined", type=click.Choice(["fail", "pass"]), default=None, help="Exit 3, or 0. [fail]")
@click.option("--fail-on", type=click.Choice(["warn", "fail"]), default=None, help="What makes the exit code 1. [fail]")
@click.option("--machine", "machine_file", default=None, metavar="FILE", help="A snapshot; no proof is then known.")
@click.option("--python", default=None, metavar="PATH", help="The interpreter whose torch is meant.")
@click.option("--device", default="all", show_default=True, help="all, 0,1 (PCI order) or a UUID.")
@click.option("--force", is_flag=True, help="Prove also where other processes compute on the GPU.")
@click.option("--exit-style", type=click.Choice(["nagios", "npd"]), default=None, help="Exit codes for monitoring.")
@click.option("--no-redact", is_flag=True, help="Keep host and user names in the reports for people, too.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(FORMATS)
def command(**options: Any) -> int:
    """Say in one CI step whether this machine may run GPU jobs: doctor and verify, judged by a policy.

    Without a policy the driver, a GPU and the four proofs of `envcheck verify` are required. The run ends after
    --timeout seconds even where a call into the driver never returns, and every report is written whatever happens.
    """
    began = time.monotonic()
    wanted = _wanted(options)
    policy = _policy(options)
    matrix = load(options["matrix_file"])
    if options["against"] is not None:
        machine_for(WhatIf(machine_file=options["against"]), matrix)  # a bad file ends here, before anything is started
    found = _found(options, policy)
    gated = _judged(found, policy, matrix, options)
    now = datetime.datetime.now(datetime.timezone.utc)
    gated = dataclasses.replace(
        gated,
        node=platform.node(),
        date=now.isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        inventory=found.inventory,
    )
    source = _rendering(gated, options, now.timestamp())
    failed = _write(source, wanted, options)
    code = style_code(gated, options["exit_style"])
    return 2 if failed and code == 0 else code


def _wanted(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(format, path) of every rendering; ``-`` is stdout, and at most one goes there."""
    wanted: list[tuple[str, str]] = []
    for word in options["reports"]:
        name, equals, path = word.partition("=")
        if name not in FORMATS or (equals and not path):
            raise UsageError(f"--report {word!r}: write FORMAT=PATH, with one of {', '.join(FORMATS)}")
        path = path.replace("%N", _file_word(platform.node())) or "-"
        wanted.append((name, "-" if path in STDOUT else path))
    own = "-" if options["output"] in (None, *STDOUT) else options["output"]
    if options["fmt"] or own != "-" or not any(path == "-" for _, path in wanted):
        default = options["exit_style"] or "text"
        wanted.append((options["fmt"] or default, own))
    places = [path if path == "-" else str(Path(path).absolute()) for _, path in wanted]
    twice = next((p for p in places if places.count(p) > 1), None)
    if twice is not None:
        where = "stdout" if twice == "-" else twice
        raise UsageError(f"two reports would go to {where}: give each --report a PATH of its own")
    return wanted


def _file_word(name: str) -> str:
    """A node's name as part of a file's: nothing that leads elsewhere."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".") or "node"


def _policy(options: Mapping[str, Any]) -> Policy:
    path = Path(options["policy_file"]) if options["policy_file"] else find_policy(Path())
    policy = load_policy(path, {*CODES, *BY_CODE}) if path else Policy()
    if options["fail_on"]:
        policy = dataclasses.replace(policy, fail_on=options["fail_on"])
    if options["on_undetermined"]:
        policy = dataclasses.replace(policy, on_undetermined=options["on_undetermined"])
    return policy


def _found(options: Mapping[str, Any], policy: Policy) -> Look:
    if options["machine_file"] is not None:
        flags = WhatIf(machine_file=options["machine_file"])
        return Look(machine=machine_for(flags, load(options["matrix_file"])))
    job = Job(
        proofs=proofs_of(policy),
        python=_absolute(options["python"]),
        device=options["device"],
        matrix=options["matrix_file"] and str(Path(options["matrix_file"]).absolute()),
        force=options["force"],
        deadline=options["timeout"],
    )
    return look(job)


def _absolute(python: str | None) -> str | None:
    """The worker runs in a folder of its own. A bare name is looked up on PATH, not here."""
    return str(Path(python).absolute()) if python and ("/" in python or "\\" in python) else python


def _judged(found: Look, policy: Policy, matrix: Matrix, options: Mapping[str, Any]) -> Gated:
    differences: tuple[Difference, ...] = ()
    if options["against"] is not None:
        from ..gate.against import differences_of

        before = machine_for(WhatIf(machine_file=options["against"]), matrix)
        differences = differences_of(before, found.machine)
        if not differences:
            say(f"this machine does not differ from {options['against']}", quiet=options["quiet"])
    return judge(
        policy,
        run_checks(found.machine, matrix, only=policy.only, skip=policy.skip),
        found.verification,
        on_undetermined=policy.on_undetermined or "fail",
        stopped=found.stopped,
        differences=differences,
    )


def _rendering(gated: Gated, options: Mapping[str, Any], timestamp: float) -> Rendering:
    from ..detect.redact import Redactor
    from .doctor import _names_of_host
    from .verify_output import as_data, as_report

    hide = (lambda value: value) if options["no_redact"] else Redactor(_names_of_host({}))
    found = gated.verify
    return Rendering(
        gated=gated,
        proofs=as_report(found) if found else None,
        verify_data=as_data(found) if found else None,
        hide=hide,
        timestamp=timestamp,
    )


def _write(source: Rendering, wanted: list[tuple[str, str]], options: Mapping[str, Any]) -> bool:
    """Every report, even after one that could not be written. True where one failed."""
    failed = False
    for name, path in wanted:
        try:
            if path != "-":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            emit(render(name, source, **(_text_options(path, options) if name == "text" else {})), path)
            if name == "github":
                _step_files(source)
        except (UsageError, OSError, ValueError) as error:
            failed = True
            say(f"envcheck: the {name} report was not written: {error}")
    return failed


def _text_options(path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    terminal = path == "-"
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return {
        "width": min(shutil.get_terminal_size((100, 24)).columns, 120),
        "color": use_color(options["color"], sys.stdout) and (terminal or options["color"] == "always"),
        "unicode": not terminal or encoding.startswith("utf"),
        "verbose": options["verbose"],
    }


def _step_files(source: Rendering) -> None:
    """The step summary and the outputs, where GitHub's runner names files for them. Other steps wrote there, too."""
    for variable, text in (
        ("GITHUB_STEP_SUMMARY", summary(render("markdown", source))),
        ("GITHUB_OUTPUT", outputs(source.shown()[0])),
    ):
        if path := os.environ.get(variable):
            with Path(path).open("ab") as file:
                file.write(text.encode("utf-8", "replace"))
