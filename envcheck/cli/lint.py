"""``envcheck lint``: faults that can be read off the files that describe an environment."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click

from ..checks import CODES
from ..errors import UsageError
from ..gate import find_policy, load_policy
from ..lint import KINDS, Fault, Target, kind_of, lint
from ..matrix import load
from ..model import to_plain
from ..report.clean import clean
from ..report.inert import inert, inert_json
from ..verify.table import BY_CODE
from .common import emit, output_options
from .doctor import read

SCHEMA = "envcheck.lint/1"
EPILOG = """\b
Examples:
  envcheck lint Dockerfile compose.yaml requirements.txt
  envcheck lint Dockerfile --driver 535.104.05      is the base image too new for that driver?
  envcheck lint --kind dockerfile docker/gpu.build --format github

Exit: 0 no fault, 1 a fault (warnings count with --fail-on warn), 2 usage, 4 a file cannot be read.
"""


@click.command("lint", epilog=EPILOG)
@click.argument("files", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(KINDS), default=None, help="What the files are. Default: told by the name.")
@click.option(
    "--policy", "policy_file", default=None, metavar="FILE", help="Its driver.min is what images must run on."
)
@click.option("--driver", default=None, metavar="VERSION", help="The machines' driver, instead of the policy's.")
@click.option(
    "--fail-on", type=click.Choice(["warn", "fail"]), default="fail", show_default=True, help="Exit 1 from here."
)
@click.option("--matrix", "matrix_file", envvar="ENVCHECK_MATRIX", default=None, help="Another compatibility matrix.")
@output_options(("text", "json", "github", "gitlab"))
def command(files: tuple[str, ...], **options: Any) -> int:
    """Find faults in a Dockerfile, compose.yaml, environment.yml, requirements.txt or pyproject.toml.

    A CPU wheel, an index that does not have the build, a CUDA image newer than the driver, a service without a GPU,
    --extra-index-url, a driver installed into an image, no compiler for torch.compile: before anything is built. A file
    that says in its name that it is for the CPU or for another maker's GPU is not told so.
    """
    kinds = [options["kind"] or kind_of(name) for name in files]
    matrix = load(options["matrix_file"])
    driver = options["driver"] or _policy_driver(options)
    if driver is not None and matrix.driver_cuda(driver) is None:
        raise UsageError(f"--driver {driver!r} is no driver that the matrix knows: write it as `nvidia-smi` shows it")
    target = Target(matrix=matrix, driver=driver)
    faults: list[Fault] = []
    for name, kind in zip(files, kinds, strict=True):
        text = "" if _is_empty(name) else read(name, kind)
        faults += lint(text, name, target, kind)
    render = {"json": as_json, "github": as_github, "gitlab": as_gitlab}.get(options["fmt"], as_text)
    emit(render(faults), options["output"])
    bad = [f for f in faults if f.severity == "error" or options["fail_on"] == "warn"]
    return 1 if bad else 0


def _is_empty(name: str) -> bool:
    return name != "-" and Path(name).is_file() and Path(name).stat().st_size == 0


def _policy_driver(options: dict[str, Any]) -> str | None:
    path = Path(options["policy_file"]) if options["policy_file"] else find_policy(Path())
    return load_policy(path, {*CODES, *BY_CODE}).driver_min if path else None


def as_text(faults: list[Fault]) -> str:
    lines = []
    for fault in faults:
        lines.append(f"{clean(fault.file, 200)}:{fault.line}: {fault.severity}: {fault.code}: {clean(fault.summary)}")
        lines.append(f"  fix: {clean(fault.fix)}")
    errors = sum(f.severity == "error" for f in faults)
    lines.append(f"{errors} error(s), {len(faults) - errors} warning(s)")
    return inert("\n".join(lines) + "\n")


def as_json(faults: list[Fault]) -> str:
    return inert_json(json.dumps({"schema": SCHEMA, "faults": [to_plain(f) for f in faults]}, indent=2)) + "\n"


def as_github(faults: list[Fault]) -> str:
    def escaped(text: str, more: str = "") -> str:
        text = clean(text).replace("%", "%25").replace("##[", "## [")
        return text.replace(":", "%3A").replace(",", "%2C") if more else text

    lines = [
        f"::{f.severity} file={escaped(f.file, 'property')},line={f.line},title=envcheck {f.code}::"
        f"{escaped(f.summary)}%0Afix: {escaped(f.fix)}"
        for f in faults
    ]
    return "\n".join([*lines, f"envcheck lint - {len(faults)} found"]) + "\n"


def as_gitlab(faults: list[Fault]) -> str:
    issues = [
        {
            "description": f"{clean(f.summary)}; {clean(f.fix)}",
            "check_name": f"envcheck/{f.code}",
            "fingerprint": hashlib.sha256(f"{f.file}\0{f.code}\0{f.summary}".encode()).hexdigest(),
            "severity": "critical" if f.severity == "error" else "minor",
            "location": {"path": clean(f.file.removeprefix("./")), "lines": {"begin": f.line}},
        }
        for f in faults
    ]
    return inert_json(json.dumps(issues, indent=2)) + "\n"
