"""``envcheck init``: writes the CI pieces into a repository, as files that stand in installers/templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..matrix import data_path
from .common import emit, say

# system -> (file in installers/templates, where it goes in the repository)
PIECES: dict[str, tuple[tuple[str, str], ...]] = {
    "github": (
        ("github/gpu-gate.yml", ".github/workflows/gpu-gate.yml"),
        ("github/job-started.sh", ".github/envcheck/job-started.sh"),
        ("policy.toml", ".github/envcheck/policy.toml"),
    ),
    "gitlab": (
        ("gitlab/envcheck.gitlab-ci.yml", ".gitlab/envcheck.gitlab-ci.yml"),
        ("policy.toml", ".gitlab/envcheck-policy.toml"),
    ),
    "slurm": (
        ("slurm/envcheck-prolog.sh", "slurm/envcheck-prolog.sh"),
        ("slurm/envcheck-healthcheck.sh", "slurm/envcheck-healthcheck.sh"),
        ("policy-fast.toml", "slurm/policy-fast.toml"),
    ),
    "kubernetes": (
        ("kubernetes/init-container.yaml", "kubernetes/envcheck/init-container.yaml"),
        ("kubernetes/job.yaml", "kubernetes/envcheck/job.yaml"),
        ("kubernetes/daemonset.yaml", "kubernetes/envcheck/daemonset.yaml"),
        ("kubernetes/node-problem-detector.json", "kubernetes/envcheck/node-problem-detector.json"),
        ("policy.toml", "kubernetes/envcheck/policy.toml"),
        ("policy-fast.toml", "kubernetes/envcheck/policy-fast.toml"),
    ),
    "systemd": (
        ("systemd/envcheck-gate.service", "systemd/envcheck-gate.service"),
        ("systemd/envcheck-gate.timer", "systemd/envcheck-gate.timer"),
        ("policy-fast.toml", "systemd/policy-fast.toml"),
    ),
    "pre-commit": (("pre-commit/.pre-commit-config.yaml", ".pre-commit-config.yaml"),),
}
NEXT = {
    "github": "set the variable ENVCHECK_WHEEL; the hook's own text says how to set up the runner",
    "gitlab": "include the file in .gitlab-ci.yml and set the variable ENVCHECK_WHEEL",
    "slurm": "copy scripts and policy to the nodes; each script's text names its line of slurm.conf",
    "kubernetes": "kubectl create configmap envcheck-policy --from-file=kubernetes/envcheck/ and set your image",
    "systemd": "copy the units to /etc/systemd/system and the policy to /etc/envcheck; enable the timer",
    "pre-commit": "pre-commit install",
}


@click.command("init")
@click.argument("system", type=click.Choice(tuple(PIECES)))
@click.option("--dir", "directory", default=".", show_default=True, type=click.Path(), help="The repository's root.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("-q", "--quiet", is_flag=True, help="Errors only on stderr.")
def command(system: str, directory: str, **options: Any) -> int:
    """Write the pieces that gate GPU machines on this system: workflow, hook, prolog, manifests, units.

    No file that is there is written over without --force; then nothing at all is written.

    \b
    Examples:
      envcheck init github
      envcheck init slurm --dir /srv/cluster-config
    """
    root = Path(directory)
    if not root.is_dir():
        raise UsageError(f"--dir {directory}: no such folder")
    pieces = [(source, root / target) for source, target in PIECES[system]]
    there = [str(target) for _, target in pieces if target.exists() or target.is_symlink()]
    if there and not options["force"]:
        raise UsageError(f"{', '.join(there)}: there already; nothing was written. --force writes over it")
    for source, target in pieces:
        text = Path(data_path("installers"), "templates", source).read_text(encoding="utf-8")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {target.parent}: {error.strerror or error}") from None
        emit(text, str(target), executable=target.suffix == ".sh")
        say(f"wrote {target}", quiet=options["quiet"])
    say(f"next: {NEXT[system]}", quiet=options["quiet"])
    return 0
