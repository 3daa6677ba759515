"""``envcheck plan``: choose the build, print a complete install script."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from ..errors import UsageError
from ..managers import COMMON_FORMATS, MANAGERS, formats, managers_with
from ..matrix import Matrix, load
from ..model import Machine, Plan, Request
from .common import emit, label, output_options, say, use_color
from .whatif import WhatIf, machine_for

FILE_FORMATS = ("requirements", "pyproject", "environment", "pixi")
SCRIPTS = ("script", "powershell")

EPILOG = """\b
Examples:
  envcheck plan --torch 2.0 > install.sh
  envcheck plan --torch latest --manager uv -o install.sh
  envcheck plan --os ubuntu-22.04 --gpu "RTX 4090" --driver 535.104.05 --format text
  envcheck plan --gpu "Tesla V100-SXM2-32GB:8" --driver 550.54.15 --os rhel-9 --format json
  envcheck plan --check "pip install torch==2.0.1"
  envcheck plan --all --torch ">=2.6"

A plan says no with exit 1 (why and the nearest plans on stderr), and 3 where a GPU may be that nothing names."""


@click.command("plan", epilog=EPILOG)
@click.option("--torch", default="latest", show_default=True, help="2.0 (any 2.0.x), 2.0.1, '>=2.4,<2.7' or latest.")
@click.option("--cuda", default="auto", show_default=True, help="auto, cpu, 11.8 or cu118.")
@click.option("--manager", default="pip", show_default=True, type=click.Choice(tuple(MANAGERS)), help="Who installs.")
@click.option("--with", "companions", default=None, help="torchvision,torchaudio (the default), or none.")
@click.option("--venv", default=".venv", show_default=True, help="The environment; 'none' uses the active interpreter.")
@click.option("--prefix", default=None, help="The conda environment, a name or a path.")
@click.option("--driver-change/--no-driver-change", default=True, help="Whether the plan may change the driver.")
@click.option("--driver-branch", default=None, help="The driver branch to install, if one must be: 580.")
@click.option(
    "--driver-file", default=None, metavar="FILE", help="The driver without a network: NVIDIA's .deb, .rpm or .run."
)
@click.option("--driver-sha256", default=None, metavar="SUM", help="Of --driver-file, as NVIDIA's page gives it.")
@click.option("--with-toolkit", "toolkit", is_flag=True, help="Bring the CUDA toolkit too, to compile with.")
@click.option(
    "--with-container-toolkit",
    "container_toolkit",
    default=None,
    type=click.Choice(("docker", "podman", "containerd")),
    help="Let containers of this engine use the GPUs.",
)
@click.option("--mirror", default=None, help="A mirror of PyTorch's index: a name of the matrix, or a URL.")
@click.option("--index-url", default=None, help="An index to use as it stands, instead of PyTorch's.")
@click.option("--offline", default=None, metavar="DIR", help="Fill a wheelhouse in DIR, install from it elsewhere.")
@click.option("--hashes", is_flag=True, help="Install with every wheel's SHA-256 pinned.")
@click.option("--all", "show_all", is_flag=True, help="List every candidate build with its verdict.")
@click.option("--online", is_flag=True, help="Ask the index whether the chosen wheels are there.")
@click.option("--check", "check_line", default=None, metavar="COMMAND", help="What would this install line do here?")
@click.option("--os", "os_word", default=None, help="What if: ubuntu-22.04, windows-11, macos-14, wsl-ubuntu-22.04.")
@click.option("--arch", default=None, help="What if: x86_64 or aarch64.")
@click.option("--gpu", "gpus", multiple=True, help="What if: a card's name, NAME:8, sm_89, or none. Repeatable.")
@click.option("--driver", default=None, help="What if: 535.104.05, or none.")
@click.option("--python-version", default=None, help="What if: 3.10. The plan then supplies no other Python.")
@click.option("--glibc", default=None, help="What if: 2.31.")
@click.option("--container", default=None, help="What if: docker, podman, ... or none.")
@click.option("--machine", "machine_file", default=None, metavar="FILE", help="A snapshot instead of this machine.")
@click.option("--python", default=None, metavar="PATH", help="The interpreter that the environment is made from.")
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(COMMON_FORMATS + FILE_FORMATS)
def command(**options: Any) -> int:
    """Choose torch version, CUDA variant, driver action and install lines for a machine, and print the script.

    Of the releases that --torch allows the newest is taken that has code for every GPU on the driver as it is; the
    driver is changed only if nothing runs without. Default format: a bash script (PowerShell for Windows) on stdout,
    the short why on stderr.
    """
    matrix = load(options["matrix_file"])
    flags = WhatIf(
        os=options["os_word"],
        arch=options["arch"],
        gpus=options["gpus"],
        driver=options["driver"],
        python_version=options["python_version"],
        glibc=options["glibc"],
        container=options["container"],
        machine_file=options["machine_file"],
        python=options["python"],
    )
    request = _request(options)
    _check_format(options["fmt"], request.manager)
    machine = machine_for(flags, matrix, honour_env=True)
    if options["show_all"]:
        return _all(machine, matrix, request, options)
    if options["check_line"] is not None:
        from .check_line import check

        return check(options["check_line"], machine, matrix, request, options)
    return _plan(machine, matrix, request, options)


def _request(options: dict[str, Any]) -> Request:
    word = options["companions"]
    names: tuple[str, ...] = ("torchvision", "torchaudio")
    if word is not None:
        names = () if word.strip().lower() == "none" else tuple(w.strip().lower() for w in word.split(",") if w.strip())
        unknown = [n for n in names if n not in ("torchvision", "torchaudio")]
        if unknown:
            raise UsageError(f"--with {word!r}: only torchvision and torchaudio (or none) are paired with torch")
    for option in ("venv", "prefix", "offline", "mirror", "index_url"):
        value = options[option]
        if value is not None and (not value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value)):
            raise UsageError(f"--{option.replace('_', '-')} must not be empty or hold control characters")
    if options["mirror"] and options["index_url"]:
        raise UsageError("--mirror and --index-url both say where the wheels come from: give one of them")
    branch = options["driver_branch"]
    if branch is not None and not branch.isdigit():
        raise UsageError(f"--driver-branch {branch!r} is no branch: write its number, 580")
    if options["driver_file"] is not None or options["driver_sha256"] is not None:
        branch = _driver_file(options["driver_file"], options["driver_sha256"], branch, options["driver_change"])
    return Request(
        torch=options["torch"],
        cuda=options["cuda"],
        manager=options["manager"],
        companions=names,
        venv=options["venv"],
        prefix=options["prefix"],
        driver_change=options["driver_change"],
        driver_branch=branch,
        mirror=options["mirror"],
        index_url=options["index_url"],
        offline=options["offline"],
        hashes=options["hashes"],
        python_fixed=options["python_version"] is not None,
        toolkit=options["toolkit"],
        container_toolkit=options["container_toolkit"],
        driver_file=options["driver_file"],
        driver_sha256=options["driver_sha256"].lower() if options["driver_sha256"] else None,
    )


# nvidia-driver-local-repo-ubuntu2404-580.95.05_1.0-1_amd64.deb, NVIDIA-Linux-x86_64-580.95.05.run
DRIVER_FILE = re.compile(
    r"/(?:[\w.+@ -]+/)*[\w.+-]*?-(\d{3,4})\.\d{1,3}(?:\.\d{1,3})?[\w.+-]*\.(?:deb|rpm|run)", re.ASCII
)


def _driver_file(file: str | None, digest: str | None, branch: str | None, change: bool) -> str:
    """The branch that the file's name says. It is used on the target machine, so it need not be here."""
    if file is None or digest is None:
        raise UsageError("--driver-file and --driver-sha256 go together: a driver is not installed unchecked")
    if not change:
        raise UsageError("--driver-file brings a driver, and --no-driver-change forbids it: give one of them")
    match = DRIVER_FILE.fullmatch(file)
    if match is None:
        raise UsageError(
            f"--driver-file {file!r}: give the whole path that it has on the target machine and the name that NVIDIA "
            "gave it, as /media/usb/NVIDIA-Linux-x86_64-580.95.05.run or .../nvidia-driver-local-repo-...deb"
        )
    if re.fullmatch(r"[0-9a-fA-F]{64}", digest) is None:
        raise UsageError(f"--driver-sha256 {digest!r} is no SHA-256: 64 hexadecimal digits")
    if branch not in (None, match[1]):
        raise UsageError(f"--driver-branch {branch} and --driver-file of branch {match[1]} contradict each other")
    return match[1]


def _check_format(fmt: str | None, manager: str) -> None:
    if fmt in FILE_FORMATS and fmt not in formats(manager):
        able = " or ".join(managers_with(fmt))
        raise UsageError(f"--format {fmt}: {manager} has no such file. It goes with --manager {able}")


def _plan(machine: Machine, matrix: Matrix, request: Request, options: dict[str, Any]) -> int:
    from ..plan import make_plan
    from ..recipes import load_recipes

    plan = make_plan(machine, matrix, load_recipes(), request)
    fmt = options["fmt"] or ("powershell" if machine.os.platform == "windows" else "script")
    color = use_color(options["color"], sys.stderr)
    notes: tuple[str, ...] = ()
    hashes: dict[tuple[str, str], list[str]] = {}
    if options["online"] and plan.satisfiable:
        from .online import ask

        notes = ask(plan, matrix)
    if options["hashes"] and fmt == "requirements" and plan.satisfiable:
        if not options["online"]:
            raise UsageError(
                "--format requirements --hashes needs the digests of everything that torch pulls in: add --online. "
                "(A script resolves them on its own machine.)"
            )
        from .hashes import resolve

        hashes = resolve(plan, matrix)
    if not (fmt == "text" and options["output"] is None):
        _why(plan, color, quiet=options["quiet"], verbose=options["verbose"])
    for note in notes:
        say(note, quiet=options["quiet"])
    text = _render(plan, matrix, fmt, options, hashes)
    if text or plan.satisfiable:
        emit(text, options["output"], executable=fmt in SCRIPTS)
    if plan.satisfiable and fmt in SCRIPTS:
        _next_step(plan, options, color)
    return 0 if plan.satisfiable else 1


def _render(
    plan: Plan, matrix: Matrix, fmt: str, options: dict[str, Any], hashes: dict[tuple[str, str], list[str]]
) -> str:
    from ..plan.file import file_text
    from ..render import Meta, render

    if fmt in FILE_FORMATS:
        return file_text(plan, matrix, fmt, hashes) if plan.satisfiable else ""
    from .. import __version__

    meta = Meta(envcheck_version=__version__, matrix_version=matrix.version, command="envcheck plan")
    return render(plan, fmt, meta=meta, width=_terminal_width() if fmt == "text" else 100)


def _terminal_width() -> int:
    import shutil

    return min(shutil.get_terminal_size((100, 24)).columns, 120)


def _why(plan: Plan, color: bool, *, quiet: bool, verbose: int) -> None:
    """The short why, on stderr. A refusal is never quiet: it is the answer."""
    if not plan.satisfiable:
        say(label("no plan: ", color, "red") + "these cannot hold together")
        for sentence in plan.conflicts:
            say(f"  - {sentence}")
        if plan.alternatives:
            say("what can be had:")
        for alternative in plan.alternatives:
            say(f"  {alternative.change:<40} gives {alternative.gives}")
        return
    assert plan.torch is not None
    chosen = f"torch {plan.torch.version}+{plan.torch.tag}"
    rest = " ".join(f"{name} {version}" for name, version in plan.companions.items())
    say(label("plan: ", color, "green") + f"{chosen} {rest}".rstrip(), quiet=quiet)
    for reason in plan.reasons:
        say(f"  - {reason}", quiet=quiet)
    for warning in plan.warnings:
        say(label("warning: ", color, "yellow") + warning, quiet=quiet)
    if verbose:
        for row in plan.rejected:
            say(f"  not {row.torch}+{row.tag}: {row.because}", quiet=quiet)


def _next_step(plan: Plan, options: dict[str, Any], color: bool) -> None:
    if options["output"] or not sys.stdout.isatty():
        file = options["output"] or "install.sh"
        run = (
            f"powershell -ExecutionPolicy Bypass -File {file}"
            if plan.machine.os.platform == "windows"
            else f"bash {file}"
        )
        say(label("next: ", color, "cyan") + f"read it, then `{run}`", quiet=options["quiet"])


def _all(machine: Machine, matrix: Matrix, request: Request, options: dict[str, Any]) -> int:
    from ..plan import all_candidates
    from ..recipes import load_recipes
    from ..render.candidates import as_json, as_table

    verdicts = all_candidates(machine, matrix, load_recipes(), request)
    rows = [
        {
            "torch": v.build.torch,
            "tag": v.build.tag,
            "verdict": "runs" if v.code is None else "rejected",
            "code": v.code or v.rule,
            "because": v.because() if v.because else "",
            "how": list(v.how),
            "channel": v.build.channel,
            "verified": v.build.verified,
            "archs": list(v.build.archs),
        }
        for v in verdicts
    ]
    text = as_json(rows) if options["fmt"] == "json" else as_table(rows, _terminal_width())
    emit(text, options["output"])
    return 0 if any(v.code is None for v in verdicts) else 1
