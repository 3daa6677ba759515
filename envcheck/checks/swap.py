"""Another build of torch in the environment that is there: the planner's own steps, less what exists already.

Nothing is rebuilt: what stays is the environment, its Python and every package that does not depend on the build.
"""

from __future__ import annotations

import dataclasses
import re

from ..errors import EnvcheckError
from ..managers import get as get_manager
from ..managers.base import InstallJob
from ..matrix import Build
from ..model import Python, PythonChoice, Request, Step
from ..plan.steps import companions_of, constraints_of, install_job
from ..plan.target import make_target
from .place import COMPANIONS, CONDA, PEP668, Place, filled, install_argv, place, uninstall_argv
from .view import View, nums

Steps = tuple[Step, ...]
FOREIGN = re.compile(r"nvidia-[a-z0-9-]{2,40}-cu(\d\d)")

KEEP_UV = Step(
    id="lock",
    title="then let the project's pyproject.toml name that index (the lines: `envcheck plan --manager uv --format "
    "pyproject`): uv.lock holds the old build, and the next `uv sync` would bring it back",
    argv=(),
    source="https://docs.astral.sh/uv/guides/integration/pytorch/",
)


def swap(v: View, build: Build, title: str, only: tuple[str, ...] = ()) -> Steps:
    """The commands that put ``build`` in the place of the torch that is installed; () where they cannot be written.

    ``only`` names companions to install alone, beside the torch that stays (``--no-deps``).
    """
    at = place(v)
    try:
        job = _job(v, build, at, only or _companions(v))
        if at.manager == "poetry":
            return _poetry(v, job, at, title, only)
        if at.manager == "pixi":
            return _pixi(job, at, title)
        if only:
            return _companion_alone(v, job, at, title, only)
        return _steps(v, job, at, title)
    except EnvcheckError:
        return ()


def _companions(v: View) -> tuple[str, ...]:
    return tuple(name for name in COMPANIONS if name in v.packages)


def _job(v: View, build: Build, at: Place, companions: tuple[str, ...]) -> InstallJob:
    fresh = _fresh(v, at)
    own = v.python_minor
    version = own if own in build.pythons else None
    machine = filled(v)
    python = Python(version=version, executable=at.python, externally_managed=False)
    tools = {"uv": "uv", "poetry": "poetry", **({at.manager: at.manager} if at.manager in CONDA else {})}
    machine = dataclasses.replace(machine, python=python, gpus=(), tools=tools)
    request = Request(
        torch=build.torch,
        cuda=build.tag,
        manager=at.manager,
        companions=companions,
        venv=".venv" if fresh else "none",
        prefix=at.prefix or "active",
    )
    found, _ = companions_of(build, v.matrix, request)
    pins = tuple(c.requirement for c in constraints_of(build, v.matrix, found))
    choice = PythonChoice(version=version or build.pythons[len(build.pythons) // 2], supported=build.pythons)
    target = make_target(machine, v.matrix)
    job, _ = install_job(build, machine, target, v.matrix, request, choice, found, pins)
    return job


def _fresh(v: View, at: Place) -> bool:
    """Whether nothing is there to be swapped in a Python that pip may not touch (PEP 668): then in a venv."""
    return at.managed and v.torch_version is None and at.manager in ("pip", "uv")


def _steps(v: View, job: InstallJob, at: Place, title: str) -> Steps:
    """The planner's steps for this environment: of pip and uv what must go first, then the one install line."""
    wanted = ("venv", "pip", "pip-newer", "torch") if _fresh(v, at) else ("pip-newer", "torch")
    out = [s for s in get_manager(at.manager).install_steps(job) if s.id in wanted]
    gone = _must_go(v, job) if at.manager in ("pip", "uv") else ()
    if gone:
        why = "the same version of another build counts as installed, and wheels of another CUDA major share its files"
        out.insert(
            -1, Step(id="uninstall", title="take the present build away", argv=(*uninstall_argv(at), *gone), why=why)
        )
    kept = (KEEP_UV,) if at.manager == "uv" and at.project else ()
    return (*(_dressed(v, s, at, job, title) for s in out), *kept)


def _must_go(v: View, job: InstallJob) -> tuple[str, ...]:
    names: list[str] = []
    have = nums(v.torch_version)
    if have is not None and have[:3] == (nums(job.torch.version) or ())[:3]:
        names += ["torch", *(n for n in COMPANIONS if n in v.packages)]
    major = (job.torch.cuda or "").split(".")[0]
    if major:
        names += sorted(n for n in v.packages if (m := FOREIGN.fullmatch(n)) and m[1] != major)
    return tuple(names)


def _dressed(v: View, step: Step, at: Place, job: InstallJob, title: str) -> Step:
    """A step to copy: the title that the check gives, no function of the script's, and the paths as they are known."""
    argv = step.argv
    if not at.here and at.manager == "uv":
        argv = _less(argv, "--python")
    if at.prefix is None:
        argv = _less(argv, "-n")  # the environment that is active
    if at.managed and not _fresh(v, at) and argv[:3] == (at.python, "-m", "pip"):
        argv = (*argv[:4], PEP668, *argv[4:])
    why = f"torch {job.torch.version} built for CUDA {job.torch.cuda or 'none'}: {step.why}" if step.why else ""
    named = dataclasses.replace(step, argv=argv, check=None, undo=None)
    return dataclasses.replace(named, title=title, why=why) if step.id == "torch" else named


def _less(argv: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Without an option and its value."""
    if option not in argv:
        return argv
    place = argv.index(option)
    return (*argv[:place], *argv[place + 2 :])


def _companion_alone(v: View, job: InstallJob, at: Place, title: str, only: tuple[str, ...]) -> Steps:
    """torchvision or torchaudio for the torch that stays: pip and uv leave everything else alone."""
    install = _steps(v, job, at, title)[-1]
    if at.manager in CONDA:
        from ..managers import conda

        wanted = [s for s in conda.specs(job) if s.partition("=")[0] in only]
        where = ("-p", at.prefix) if at.prefix else ()
        argv = (at.manager, "install", "-y", *where, *wanted, *conda.channel_args(job, at.manager))
        return (dataclasses.replace(install, id=only[0], argv=argv),)
    from ..managers import wheels

    pinned = [f"{name}=={version}" for name, version in wheels.pinned(job) if name in only]
    again = ("--force-reinstall",) if at.manager == "pip" else ("--reinstall-package", only[0])
    argv = (*install_argv(at), *again, "--no-deps", *pinned, *wheels.index_args(job))
    return (dataclasses.replace(install, id=only[0], argv=argv),)


def _poetry(v: View, job: InstallJob, at: Place, title: str, only: tuple[str, ...]) -> Steps:
    from ..managers import wheels

    where = (f"--directory={at.project}",) if at.project else ()
    pinned = [f"{n}=={x}" for n, x in wheels.pinned(job) if not only or n in only]
    pinned += list(wheels.constraints(job)) if not only else []
    docs = "https://python-poetry.org/docs/repositories/#explicit-package-sources"
    why = "the lock file then holds this build; a wheel put in by pip would be gone after the next poetry install"
    if not job.index_url or job.index_kind == "pypi":
        return (Step(id="torch", title=title, argv=("poetry", *where, "add", *pinned), why=why, source=docs),)
    name = f"pytorch-{job.torch.tag}"
    add = ("poetry", *where, "source", "add", "--priority=explicit", name, job.index_url)
    return (
        Step(id="source", title="name the index of that build, for torch alone", argv=add, source=docs),
        Step(id="torch", title=title, argv=("poetry", *where, "add", "--source", name, *pinned), why=why, source=docs),
    )


def _pixi(job: InstallJob, at: Place, title: str) -> Steps:
    from ..managers import conda, pixi

    manifest = (f"--manifest-path={at.project}",) if at.project else ()
    feature = ("--feature", at.name) if at.name and at.name != "default" else ()
    steps: list[Step] = []
    if job.torch.cuda:
        major = job.torch.cuda.split(".")[0]
        steps.append(
            Step(
                id="pixi-cuda",
                title=f'in the manifest, under [system-requirements]: cuda = "{major}"',
                argv=(),
                why="without it pixi takes a CPU build and says nothing",
                source=pixi.SYSTEM_DOCS,
            )
        )
    argv = ("pixi", "add", *manifest, *feature, *conda.specs(job))
    why = (
        "pixi.toml and pixi.lock then name this build; another tool's change would be gone after the next pixi install"
    )
    return (*steps, Step(id="torch", title=title, argv=argv, why=why, source=pixi.SYSTEM_DOCS))
