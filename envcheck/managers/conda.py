"""conda, mamba and micromamba: the pytorch channel as PyTorch's page has it, conda-forge after its end.

Without ``--prefix`` the environment is the directory ``./.conda-env``: nothing of the user's own is touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from ..errors import UsageError
from ..model import Step
from . import emit, words
from .base import InstallJob
from .wheels import PREVIOUS_VERSIONS

NAME = "conda"  # of the family: which of the three it is stands in the request
SECTION = "conda"
FAMILY = ("conda", "mamba", "micromamba")
DEFAULT_PREFIX = "./.conda-env"
CONDA_FORGE_DOCS = (
    "https://conda-forge.org/docs/user/tipsandtricks/#installing-cuda-enabled-packages-like-tensorflow-and-pytorch"
)
CREATE_DOCS = "https://docs.conda.io/projects/conda/en/stable/commands/create.html"
FORGE = ("-c", "conda-forge", "--override-channels")
_ENV_NAME = re.compile(r"[^\s/\\:#-][^\s/\\:#]*")


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """The tool, an environment with Python, then PyTorch's own line; two steps, since create replaces what is there."""
    refuse_wheel_options(job)
    tool, where, python = executable(job), _where(job), _python(job)
    return (
        _tool_step(tool),
        _create_step(job, tool, where, _channels_of_python(job, tool), python),
        _install_step(job, tool, where, python),
    )


def target_python(job: InstallJob) -> tuple[str, ...]:
    """Through ``run``, which activates: on Windows the libraries are found only then."""
    tool = executable(job)
    live = ("--no-capture-output",) if tool == "conda" else ()  # the other two never capture
    return (tool, "run", *live, *_where(job), "python")


def executable(job: InstallJob) -> str:
    """The tool that was asked for; for an environment of pip's, one that the machine has."""
    if job.request.manager in FAMILY:
        return job.request.manager
    return next((name for name in FAMILY if name in job.tools), FAMILY[0])


def prefix(job: InstallJob) -> tuple[str | None, str | None]:
    """(name, path) of the environment; one of the two is None."""
    text = job.request.prefix if job.request.prefix is not None else DEFAULT_PREFIX
    if words.is_path(words.clean_text(text, "--prefix"), job.platform):
        return None, words.safe_path(text, "--prefix", job.platform)
    if not _ENV_NAME.fullmatch(text):
        raise UsageError(
            f"--prefix {text!r} is no name that conda takes (no space, ':' or '#', no leading '-'); "
            f"for a directory write ./{text}"
        )
    return text, None


def python_in(platform: str, directory: str) -> str:
    """The interpreter of a conda environment."""
    if platform == "windows":
        return words.join(platform, directory, "python.exe")
    return words.join(platform, directory, "bin", "python")


def python_env_steps(job: InstallJob, directory: str) -> tuple[Step, ...]:
    """An environment with Python and pip alone, for managers that install wheels into it."""
    tool = executable(job)
    python = python_in(job.platform, directory)
    return (_tool_step(tool), _create_step(job, tool, ("-p", directory), FORGE, python, with_pip=True))


def specs(job: InstallJob) -> tuple[str, ...]:
    """The packages of the install line, in the order of PyTorch's page; constraints last."""
    package, torch = job.torch.package, job.torch.version
    companions = words.companions(job)
    if package == "conda-pytorch":
        pins = (f"pytorch=={torch}", *(f"{name}=={version}" for name, version in companions))
        variant = (f"pytorch-cuda={job.torch.cuda}",) if job.torch.cuda else ()
        if not variant and job.platform != "macos":
            variant = ("cpuonly",)
        return (*pins, *variant, *job.constraints)
    # conda-forge's torchvision and torchaudio name the torch they were built for: the solver pairs them exactly.
    names = tuple(name for name, _ in companions)
    if job.torch.cuda:
        return (f"pytorch-gpu={torch}", f"cuda-version={job.torch.cuda}", *names, *job.constraints)
    head = f"pytorch={torch}" if job.platform == "macos" else f"pytorch-cpu={torch}"
    return (head, *names, *job.constraints)


def channels(job: InstallJob, tool: str) -> tuple[str, ...]:
    """The channels of the install line, highest priority first."""
    if job.torch.package != "conda-pytorch":
        return ("conda-forge",)
    own = ("pytorch", "nvidia") if job.torch.cuda else ("pytorch",)
    # micromamba has no default channel that Python and MKL could come from
    return (*own, "conda-forge") if tool == "micromamba" else own


def channel_args(job: InstallJob, tool: str) -> tuple[str, ...]:
    options = tuple(word for name in channels(job, tool) for word in ("-c", name))
    if job.torch.package == "conda-pytorch":
        return options
    return (*options, "--strict-channel-priority", "--override-channels")


def override(job: InstallJob) -> tuple[str, ...]:
    """``env CONDA_OVERRIDE_CUDA=12.9``: a login node or an image build has no driver to ask and solves for CPU."""
    if job.torch.package != "conda-forge" or not job.torch.cuda or job.platform != "linux":
        return ()
    return ("env", f"CONDA_OVERRIDE_CUDA={job.torch.cuda}")


def have(job: InstallJob) -> tuple[str, ...]:
    """What the environment's own metadata must show; conda installs it under the wheels' names."""
    exact = job.torch.package == "conda-pytorch"
    pins = (f"{name}=={version}" if exact else name for name, version in words.companions(job))
    return (f"torch=={job.torch.version}", *pins)


def _where(job: InstallJob) -> tuple[str, str]:
    name, path = prefix(job)
    return ("-p", path) if path is not None else ("-n", name or "")


def _python(job: InstallJob) -> str | None:
    """The interpreter's path; None for a named environment, whose place only conda knows."""
    path = prefix(job)[1]
    return python_in(job.platform, path) if path is not None else None


def _tool_step(tool: str) -> Step:
    homes = {"micromamba": "https://mamba.readthedocs.io/en/latest/installation/micromamba-installation.html"}
    home = homes.get(tool, "https://conda-forge.org/download/")
    return Step(
        id=f"{tool}-present",
        title=f"find {tool}",
        argv=("ec_need_command", tool, f"install it from {home} and run this script again"),
        check=("ec_have_command", tool),
        why=f"the plan was asked for {tool}, and envcheck does not install it",
        source=home,
    )


def _channels_of_python(job: InstallJob, tool: str) -> tuple[str, ...]:
    if job.torch.package == "conda-pytorch":
        return ("-c", "conda-forge") if tool == "micromamba" else ()
    return FORGE


def _create_step(
    job: InstallJob,
    tool: str,
    where: tuple[str, str],
    channel: tuple[str, ...],
    python: str | None,
    with_pip: bool = False,
) -> Step:
    """Its check ends the script where something else is there already: ``create -y`` would delete that."""
    option, place = where
    version = words.minor(job)
    spec = f"python={version}" if not version.endswith("t") else f"python-freethreading={version[:-1]}"
    check = ("ec_have_python", python, version, place) if python else ("ec_have_python_in", tool, place, version)
    return Step(
        id="venv" if with_pip else "environment",
        title=f"create the environment {place} with Python {version} by {tool}",
        argv=(tool, "create", "-y", option, place, spec, *(("pip",) if with_pip else ()), *channel),
        check=check,
        undo=("ec_remove_created", place) if python else (tool, "env", "remove", "-y", "-n", place),
        why="an environment of its own: torch of one channel never meets packages of another",
        source=CREATE_DOCS,
    )


def _install_step(job: InstallJob, tool: str, where: tuple[str, str], python: str | None) -> Step:
    option, place = where
    pytorch = job.torch.package == "conda-pytorch"
    check = ("ec_have", python, *have(job)) if python else ("ec_have_in", tool, place, *have(job))
    return Step(
        id="torch",
        title=f"install torch {job.torch.version} ({job.torch.tag}) into {place} by {tool}",
        argv=(*override(job), tool, "install", "-y", option, place, *specs(job), *channel_args(job, tool)),
        check=check,
        undo=(tool, "remove", "-y", option, place, "pytorch", *(name for name, _ in words.companions(job))),
        why="the channel and the line of PyTorch's own page for this release"
        if pytorch
        else "the pytorch channel ended; conda-forge's pytorch-gpu never falls back to a CPU build, "
        "and cuda-version pins its CUDA",
        source=PREVIOUS_VERSIONS if pytorch else CONDA_FORGE_DOCS,
    )


def refuse_wheel_options(job: InstallJob) -> None:
    """``UsageError`` for an option that conda has no counterpart of, rather than a plan that ignores it."""
    request = job.request
    for option, given, instead in (
        ("--mirror", request.mirror is not None, "set channel_alias or custom_channels in .condarc"),
        ("--index-url", request.index_url is not None, "set channel_alias or custom_channels in .condarc"),
        ("--offline", request.offline is not None, "use --manager pip or uv, or conda-pack on a finished environment"),
        ("--hashes", request.hashes, "conda checks the hashes of its channels' index by itself"),
    ):
        if given:
            raise UsageError(f"{option} is for wheels, and {request.manager} installs none: {instead}")


def environment_text(job: InstallJob) -> str:
    """environment.yml for ``conda env create`` (``mamba``, ``micromamba create -f``)."""
    refuse_wheel_options(job)
    (name, path), tool = prefix(job), executable(job)
    create = f"{tool} create -y" if tool == "micromamba" else f"{tool} env create"
    text = emit.header(
        f"torch {job.torch.version}, {job.torch.tag}, for {job.platform} {job.arch}",
        "made by `envcheck plan --format environment`",
        f"create with: {create} -f THIS_FILE" + (f" -p {path}" if path else ""),
    )
    if override(job):
        text += emit.header(f"where no driver is (login node, image build), set {override(job)[1]} for the solver")
    if name:
        text += f"name: {emit.quoted(name)}\n"
    only = ("nodefaults",) if job.torch.package != "conda-pytorch" else ()
    text += "channels:\n" + "".join(f"  - {emit.quoted(c)}\n" for c in (*channels(job, tool), *only))
    lines = (f"python={words.minor(job)}", *specs(job))
    return text + "dependencies:\n" + "".join(f"  - {emit.quoted(line)}\n" for line in lines)


FILES: Mapping[str, Callable[[InstallJob], str]] = {"environment": environment_text}
