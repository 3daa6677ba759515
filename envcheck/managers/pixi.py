"""pixi: a workspace whose ``system-requirements`` declare CUDA, without which pixi takes CPU builds silently.

The workspace is the directory ``envcheck-torch``, or the one that ``--prefix`` names; a pixi.toml that is
already there is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..model import Step
from . import conda, emit, words
from .base import InstallJob
from .pyproject import PROJECT, by_name

NAME = "pixi"
SECTION = "conda"
SYSTEM_DOCS = "https://pixi.sh/latest/workspace/system_requirements/"
_PLATFORMS = {
    ("linux", "x86_64"): "linux-64",
    ("linux", "aarch64"): "linux-aarch64",
    ("windows", "x86_64"): "win-64",
    ("macos", "arm64"): "osx-arm64",
    ("macos", "aarch64"): "osx-arm64",
    ("macos", "x86_64"): "osx-64",
}


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """pixi.toml in a directory of its own, then ``pixi install``."""
    conda.refuse_wheel_options(job)
    path, lines = _file(job), tuple(pixi_text(job).split("\n")[:-1])
    home = "https://pixi.sh/latest/installation/"
    return (
        Step(
            id="pixi-present",
            title="find pixi",
            argv=("ec_need_command", "pixi", f"install it from {home} and run this script again"),
            check=("ec_have_command", "pixi"),
            why="the plan was asked for pixi, and envcheck does not install it",
            source=home,
        ),
        Step(
            id="pixi-toml",
            title=f"write {path}",
            argv=("ec_write_file", path, *lines),
            check=("ec_file_is", path, *lines),
            undo=("ec_remove_created", path),
            why="system-requirements declare CUDA: without them pixi takes a CPU build and says nothing",
            source=SYSTEM_DOCS,
        ),
        Step(
            id="torch",
            title=f"install torch {job.torch.version} ({job.torch.tag}) by pixi",
            argv=(*_override(job), "pixi", "install", f"--manifest-path={path}"),
            check=("ec_have", _python(job), *conda.have(job)),
            undo=("ec_remove_created", words.join(job.platform, _project(job), ".pixi")),
            why="pixi.lock beside it pins every package by hash",
            source=SYSTEM_DOCS,
        ),
    )


def target_python(job: InstallJob) -> tuple[str, ...]:
    return ("pixi", "run", f"--manifest-path={_file(job)}", "python")


def pixi_text(job: InstallJob) -> str:
    """pixi.toml."""
    conda.refuse_wheel_options(job)
    channels = list(conda.channels(job, NAME))
    if "conda-forge" not in channels:
        channels.append("conda-forge")  # Python and MKL: pixi has no default channel
    platform = _PLATFORMS.get((job.platform, job.arch), f"{job.platform}-{job.arch}")
    text = emit.header(
        f"torch {job.torch.version}, {job.torch.tag}, for {job.platform} {job.arch}",
        "made by `envcheck plan --format pixi`; install with: pixi install",
    )
    text += (
        "[workspace]\n"
        f"name = {emit.quoted(PROJECT)}\n"
        f"channels = [{', '.join(emit.quoted(c) for c in channels)}]\n"
        f"platforms = [{emit.quoted(platform)}]\n"
    )
    text += _system(job) + "\n[dependencies]\n"
    for name, spec in _dependencies(job).items():
        text += f"{emit.quoted(name)} = {emit.quoted(spec)}\n"
    return text


def _system(job: InstallJob) -> str:
    lines = ""
    if job.torch.cuda:
        lines += f"cuda = {emit.quoted(job.torch.cuda.split('.')[0])}\n"
    if job.glibc and job.platform == "linux":
        lines += f'libc = {{ family = "glibc", version = {emit.quoted(job.glibc)} }}\n'
    return f"\n[system-requirements]\n{lines}" if lines else ""


def _dependencies(job: InstallJob) -> dict[str, str]:
    """Package -> conda version spec, from the same list that conda's own line is made of."""
    count = len(job.constraints)
    specs = conda.specs(job)
    named = specs[: len(specs) - count]
    found = {"python": f"{words.minor(job).rstrip('t')}.*"}
    for spec in named:
        name, _, version = spec.partition("=")
        if not version:
            found[name] = "*"
        elif version.startswith("="):
            found[name] = f"={version}"
        else:
            found[name] = f"{version}.*"
    return found | {name: spec for name, (spec, _) in by_name(job.constraints).items()}


def _override(job: InstallJob) -> tuple[str, ...]:
    """Where no driver is (login node, image build) pixi would refuse what the file declares."""
    if not job.torch.cuda or job.platform != "linux":
        return ()
    return ("env", f"CONDA_OVERRIDE_CUDA={job.torch.cuda}")


def _project(job: InstallJob) -> str:
    return words.safe_path(job.request.prefix if job.request.prefix is not None else PROJECT, "--prefix", job.platform)


def _file(job: InstallJob) -> str:
    return words.join(job.platform, _project(job), "pixi.toml")


def _python(job: InstallJob) -> str:
    directory = words.join(job.platform, _project(job), ".pixi", "envs", "default")
    return conda.python_in(job.platform, directory)


FILES: Mapping[str, Callable[[InstallJob], str]] = {"pixi": pixi_text}
