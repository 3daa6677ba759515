"""``envcheck verify``: prove on the GPU that PyTorch works."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from typing import Any

import click

from ..checks.base import FAIL, HEALTHY, UNKNOWN, Finding
from ..errors import UsageError
from ..matrix import Matrix, load
from ..model import Machine, Step
from ..verify import Judged, Options, Verification, exit_code, refuse, rehearse, verify
from ..verify.session import chosen_checks
from ..verify.table import PLANTS
from .common import emit, output_options, use_color
from .verify_output import RENDER
from .whatif import WhatIf, machine_for

EPILOG = """\b
Examples:
  envcheck verify                             every check on every GPU
  envcheck verify --quick                     only the four that prove a GPU
  envcheck verify --device 0 --only cudnn,amp
  envcheck verify --python .venv/bin/python --format json -o verify.json
  envcheck verify --device cpu --plant list   the faults that a rehearsal can plant
  envcheck verify --device cpu --plant nan    does the judge notice? (exit 1: it does)

Across nodes: torchrun --nnodes 2 --nproc-per-node gpu ... $(envcheck verify --where-distributed)

Exit: 0 proven, 1 a check failed or there is no GPU, 3 something required was not proven. A rehearsal never exits 0."""


@click.command("verify", epilog=EPILOG)
@click.option("--python", default=None, metavar="PATH", help="The interpreter whose torch is meant.")
@click.option("--device", default="all", show_default=True, help="all, 0,1 (PCI order), a UUID, or cpu: rehearse.")
@click.option("--quick", is_flag=True, help="Only the four checks that prove a GPU.")
@click.option("--only", default="", metavar="CODE,...", help="Only these checks; they are then what is required.")
@click.option("--skip", default="", metavar="CODE,...", help="Not these; a required one leaves the answer open.")
@click.option("--timeout", default=120.0, show_default=True, type=click.FloatRange(1, 3600), help="Seconds per check.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**31 - 1), help="Of every random number.")
@click.option("--force", is_flag=True, help="Also where other processes compute on the GPU.")
@click.option("--plant", default=None, metavar="FAULT|list", help="With --device cpu: plant this fault.")
@click.option(
    "--fail-on", type=click.Choice(["warn", "fail"]), default="fail", show_default=True, help="Exit 1 from here."
)
@click.option("--exit-style", type=click.Choice(["nagios", "npd"]), default=None, help="Exit codes for monitoring.")
@click.option("--no-redact", is_flag=True, help="Keep UUIDs, host and user names in text, markdown, JUnit and GitHub.")
@click.option("--where-distributed", is_flag=True, help="Print the script that torchrun takes, and end.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(tuple(RENDER))
def command(**options: Any) -> int:
    """Prove that PyTorch works on the GPU, by numbers against a float64 reference and not by the absence of an error.

    CUDA context, cuDNN, fp16 products on Tensor Cores and AMP are required; bf16, TF32, fp8, memory, transfers,
    attention, CUDA graphs, torch.compile, NCCL, P2P and two trainings follow. Every check runs in a process of its own
    with a deadline, so a hang or a crash is named by its stage and the others still run.
    """
    if options["where_distributed"]:
        return _where(options)
    if options["plant"] == "list":
        lines = [f"{name:20} {what} ({check})" for name, (what, check) in PLANTS.items()]
        emit("\n".join(lines) + "\n", options["output"])
        return 0
    if options["plant"] is not None and options["device"] != "cpu":
        raise UsageError("--plant spoils a rehearsal, never a GPU: give --device cpu with it")
    chosen_checks(_asked(options, ""))
    matrix = load(options["matrix_file"])
    with _Progress(options["quiet"]) as progress:
        found = _verification(options, matrix, progress.say)
    _write(found, options)
    return _styled(exit_code(found, options["fail_on"]), found, options["exit_style"])


def _where(options: dict[str, Any]) -> int:
    from ..verify.run import SCRIPT

    emit(f"{SCRIPT.with_name('distributed.py')}\n", options["output"])
    return 0


def _asked(options: dict[str, Any], python: str) -> Options:
    return Options(
        python=python,
        device=options["device"],
        quick=options["quick"],
        only=_words(options["only"]),
        skip=_words(options["skip"]),
        timeout=options["timeout"],
        seed=options["seed"],
        force=options["force"],
        plant=options["plant"],
    )


def _verification(options: dict[str, Any], matrix: Matrix, progress: Callable[[str], None]) -> Verification:
    progress("looking at the machine")
    machine = machine_for(WhatIf(python=options["python"]), matrix)
    asked = _asked(options, (machine.python.executable if machine.python else None) or sys.executable)
    no_torch = machine.torch is None and "torch" not in machine.problems
    if options["device"] == "cpu":
        # without torch nothing was rehearsed: an open answer, not a caught fault
        return (
            refuse(asked, machine, (), _no_torch(machine, UNKNOWN)) if no_torch else rehearse(asked, machine, progress)
        )
    refused = _refused(asked, machine, matrix, no_torch)
    if refused is not None:
        return refused
    found = verify(asked, machine, progress)
    if found.verdict == HEALTHY:
        return found
    return dataclasses.replace(found, findings=_failures(machine, matrix))


def _refused(asked: Options, machine: Machine, matrix: Matrix, no_torch: bool) -> Verification | None:
    """The answer where there is nothing to try it on: no GPU, or no torch (that could use one)."""
    if machine.gpus and not no_torch:
        return None
    wrong = _failures(machine, matrix)
    if not machine.gpus and wrong:
        return refuse(asked, machine, wrong, _because(wrong[0]))
    if no_torch:
        return refuse(asked, machine, wrong, _no_torch(machine, FAIL))
    if machine.torch is not None and machine.torch.cuda is None:
        return refuse(asked, machine, wrong, _no_gpu(machine))
    return None


def _failures(machine: Machine, matrix: Matrix) -> tuple[Finding, ...]:
    """What doctor finds wrong on this machine, the likely root cause first."""
    from ..checks import run_checks

    return tuple(f for f in run_checks(machine, matrix).findings if f.status == FAIL)


def _because(finding: Finding) -> Judged:
    return Judged(status=FAIL, summary=finding.summary, evidence=finding.evidence, fix=finding.fix)


def _no_gpu(machine: Machine) -> Judged:
    why = machine.problems.get("gpus") or "no NVIDIA GPU was found on this machine"
    return Judged(status=FAIL, summary=f"{why}, and the torch here is a CPU build")


def _no_torch(machine: Machine, status: str) -> Judged:
    where = (machine.python.executable if machine.python else None) or "this Python"
    argv = ("envcheck", "plan", "-o", "install.sh")
    install = Step(id="plan", title="choose the build and write its install script, then run it", argv=argv)
    return Judged(
        status=status, summary=f"torch is not installed for {where}; `envcheck plan` says how", fix=(install,)
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _redacted(found: Verification) -> Verification:
    """Without names of users and hosts, serials and UUIDs; fixes are left alone, so that they can be copied."""
    import os
    import platform

    from ..detect.redact import Redactor

    hide = Redactor(os.environ, platform.node()).text
    results = tuple(
        dataclasses.replace(r, summary=hide(r.summary), evidence=tuple(hide(e) for e in r.evidence))
        for r in found.results
    )
    findings = tuple(
        dataclasses.replace(f, summary=hide(f.summary), evidence=tuple(hide(e) for e in f.evidence))
        for f in found.findings
    )
    return dataclasses.replace(found, results=results, findings=findings)


def _write(found: Verification, options: dict[str, Any]) -> None:
    name = options["fmt"] or "text"
    if name != "json" and not options["no_redact"]:  # JSON is for a fleet, which tells its cards apart by UUID
        found = _redacted(found)
    to_terminal = options["output"] in (None, "-")
    color = use_color(options["color"], sys.stdout) and (to_terminal or options["color"] == "always")
    width = shutil.get_terminal_size((100, 24)).columns if to_terminal and sys.stdout.isatty() else 100
    emit(RENDER[name](found, width=width, color=color, verbose=options["verbose"]), options["output"])


def _styled(code: int, found: Verification, style: str | None) -> int:
    """Nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Node problem detector: 0 OK, 1 problem, 2 unknown."""
    if style == "nagios":
        return {0: 1 if found.verdict == "degraded" else 0, 1: 2}.get(code, 3)
    if style == "npd":
        return {0: 0, 1: 1}.get(code, 2)
    return code


class _Progress:
    """One line on stderr that is overwritten, where stderr is a terminal; nothing anywhere else."""

    def __init__(self, quiet: bool) -> None:
        self._on = not quiet and sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def say(self, text: str) -> None:
        if self._on:
            room = shutil.get_terminal_size((80, 24)).columns - 1
            printable = "".join(c if c.isprintable() else " " for c in text)
            sys.stderr.write("\r\x1b[K" + printable[:room])
            sys.stderr.flush()
