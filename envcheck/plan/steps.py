"""From a chosen build to the steps of the script: Python, driver, environment, packages, verification."""

from __future__ import annotations

import dataclasses
import functools
import operator
import re
from collections.abc import Iterable

from ..errors import UsageError
from ..managers import get as get_manager
from ..managers.base import InstallJob
from ..managers.mirrors import IndexChoice, resolve
from ..matrix import Build, Constraint, Matrix, version_key
from ..model import Machine, Python, PythonChoice, Request, Step, TorchChoice
from ..recipes import DriverJob, Recipe, Recipes, delivers, driver_steps, venv_support_steps
from . import fabric
from .driver import DriverOption, module_flavours
from .target import Target

UV, CONDA = "uv", "conda"


def choose_python(build: Build, machine: Machine, target: Target, request: Request, section: str) -> PythonChoice:
    """The interpreter of the environment: the target's own, one on PATH, or one that the plan brings."""
    supported = build.pythons
    own = target.python
    if section == "conda":
        return PythonChoice(version=own if own in supported else _middle(own, supported), supported=supported)
    if own in supported and machine.python is not None:
        return PythonChoice(version=own, supported=supported)
    on_path = [p for p in machine.pythons if _minor(p) in supported and p.executable]
    if on_path:
        best = max(on_path, key=lambda p: version_key(_minor(p)))
        return PythonChoice(version=_minor(best), supported=supported, supply=best.executable)
    supply = CONDA if "conda" in machine.tools and "uv" not in machine.tools and own is None else UV
    return PythonChoice(version=_middle(own, supported), supported=supported, supply=supply)


def _minor(python: Python) -> str:
    return ".".join((python.version or "0.0").split(".")[:2])


def _middle(own: str | None, supported: tuple[str, ...]) -> str | None:
    """Which Python to bring: the newest supported below a newer one, else the middle of the range.

    The middle, because the newest Python lacks wheels of third parties and the oldest is near its end of life.
    """
    plain = sorted((p for p in supported if not p.endswith("t")), key=version_key)
    if not plain:
        return None
    if own and version_key(own.rstrip("t")) > version_key(plain[-1]):
        return plain[-1]
    return plain[len(plain) // 2]


def companions_of(build: Build, matrix: Matrix, request: Request) -> tuple[dict[str, str], list[str]]:
    """Versions of the companions that were asked for, and a sentence for each that does not exist."""
    release = matrix.releases.get(build.torch)
    if release is None:
        return {}, []
    paired = release.companions
    if build.index == "pytorch" and release.conda_companions:
        paired = release.conda_companions
    found = {c: paired[c] for c in request.companions if c in paired}
    notes = [
        f"{c} has no release that pairs with torch {build.torch}: it is left out"
        for c in request.companions
        if c not in paired
    ]
    return found, notes


COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@functools.lru_cache(maxsize=4096)
def _applies(specifier: str, torch: str) -> bool:
    """Whether a release is in a matrix range like ``>=2.3,<2.4.1``.

    Ranges of plain releases are compared here, the rest by ``packaging``, whose import costs a tenth of the start-up.
    """
    for part in specifier.split(","):
        match = re.fullmatch(r"(<=?|>=?)(\d+(?:\.\d+)*)", part.strip())
        if match is None:
            from packaging.specifiers import SpecifierSet

            return SpecifierSet(specifier).contains(torch)
        width = max(torch.count("."), match[2].count(".")) + 1
        own, bound = (version_key(v + ".0" * (width - 1 - v.count("."))) for v in (torch, match[2]))
        if not COMPARE[match[1]](own, bound):
            return False
    return True


def constraints_of(build: Build, matrix: Matrix, companions: dict[str, str]) -> tuple[Constraint, ...]:
    """The companion constraints that this build needs pinned, in matrix order."""
    section = "conda" if build.index == "pytorch" else "wheel"
    return tuple(
        c
        for c in matrix.constraints
        if (not c.platforms or build.platform in c.platforms)
        and (c.package is None or c.package in companions or c.package == section)
        and _applies(c.torch, build.torch)
    )


def torch_choice(build: Build, index_url: str | None) -> TorchChoice:
    package = {"pytorch": "conda-pytorch", "conda-forge": "conda-forge"}.get(build.index, "wheel")
    return TorchChoice(
        version=build.torch,
        tag=build.tag,
        cuda=build.cuda,
        cudnn=build.cudnn,
        nccl=build.nccl,
        triton=build.triton,
        index_url=index_url,
        archs=build.archs,
        channel=build.channel,
        verified=build.verified,
        package=package,
        platform=build.platform,
    )


def install_job(
    build: Build,
    machine: Machine,
    target: Target,
    matrix: Matrix,
    request: Request,
    python: PythonChoice,
    companions: dict[str, str],
    constraints: tuple[str, ...],
) -> tuple[InstallJob, str | None]:
    """Everything that a package manager must know, and what the user must read about the index.

    Raises ``UsageError`` for a mirror that cannot serve the build.
    """
    choice = IndexChoice(kind="conda", url=None, pin_local=False)
    if get_manager(request.manager).SECTION != "conda":
        choice = resolve(request, build, matrix)
    active = machine.python.executable if machine.python is not None else None
    if request.venv == "none" and machine.python is not None and machine.python.externally_managed:
        raise UsageError(
            "--venv none: this Python is externally managed (PEP 668) and pip refuses to install into it. "
            "Take the default --venv .venv"
        )
    job = InstallJob(
        platform=machine.os.platform or "linux",
        arch=machine.os.arch or "x86_64",
        torch=torch_choice(build, choice.url),
        companions=companions,
        constraints=constraints,
        python=python,
        request=request,
        index_kind=choice.kind,
        index_url=choice.url,
        pin_local=choice.pin_local,
        active_python=active,
        tools=machine.tools,
        glibc=machine.os.glibc,
        wheel_tag=build.wheel_tag,
    )
    return job, choice.note


def driver_job(machine: Machine, matrix: Matrix, option: DriverOption, request: Request | None = None) -> DriverJob:
    """What a recipe must know. With ``request`` also the file that the user brought for the driver."""
    os = machine.os
    distro = matrix.distro(os.id, os.version)
    return DriverJob(
        os_id=os.id or "",
        os_version=os.version,
        family=os.family,
        arch=os.arch or "x86_64",
        repo=distro.nvidia_repo if distro else None,
        kernel=os.kernel,
        action=option.action,
        branch=option.branch.branch if option.branch else "",
        module=option.module or "proprietary",
        installed=machine.driver.version,
        features=fabric.features(machine),
        wsl=os.wsl is not None,
        file=request.driver_file if request else None,
        file_sha256=request.driver_sha256 if request else None,
    )


def deliverable(
    machine: Machine, target: Target, matrix: Matrix, recipes: Recipes, request: Request, option: DriverOption
) -> DriverOption:
    """The option with the module flavour that a recipe for this system has.

    An archive may hold the proprietary module alone (Debian 12: its security update left the open one behind); every
    GPU from Turing to Hopper runs with either.
    """
    if option.branch is None or target.windows_driver:
        return option
    for flavour in module_flavours(option.branch, target, matrix):
        chosen = dataclasses.replace(option, module=flavour)
        if driver_steps(driver_job(machine, matrix, chosen, request), recipes) is not None:
            return chosen
    return option


def delivered_first(
    machine: Machine, matrix: Matrix, recipes: Recipes, request: Request, options: Iterable[DriverOption]
) -> list[DriverOption]:
    """Supported branches that the system's archives have before others: a rolling system has the current one alone."""

    def elsewhere(option: DriverOption) -> bool:
        ended = option.branch is None or option.branch.ended is True
        return ended or not delivers(driver_job(machine, matrix, option, request), recipes)

    found = list(options)
    ranked = sorted(found, key=elsewhere)
    if ranked and ranked[0] is not found[0] and found[0].branch is not None:
        ranked[0] = dataclasses.replace(ranked[0], instead=found[0].branch.branch)
    return ranked


def system_steps(
    machine: Machine, target: Target, matrix: Matrix, recipes: Recipes, request: Request, option: DriverOption
) -> tuple[Step, ...]:
    """What brings the driver that the option names; nothing where it is there."""
    if option.action == "reboot":
        return (_reboot_step(machine),)
    if option.branch is None:
        return fabric.kept(machine, target, recipes, driver_job(machine, matrix, option), option.action)
    return _driver(machine, target, matrix, recipes, request, option)


def user_support_steps(
    machine: Machine,
    matrix: Matrix,
    recipes: Recipes,
    request: Request,
    option: DriverOption,
    python: PythonChoice,
) -> tuple[Step, ...]:
    """What a virtual environment needs from the distribution; nothing where none is made."""
    if machine.os.platform != "linux" or python.supply == CONDA or request.venv == "none":
        return ()
    return venv_support_steps(driver_job(machine, matrix, option), recipes)


def _reboot_step(machine: Machine) -> Step:
    return Step(
        id="reboot",
        title="reboot, so that the loaded driver and its libraries agree again",
        argv=(),
        stage="system",
        reboot=True,
        why=machine.problems.get("driver")
        or "an update replaced the driver's files while the old module stayed loaded",
        source="https://github.com/canonical/ubuntu-server-documentation (NVIDIA drivers installation, API mismatch)",
    )


def _driver(
    machine: Machine, target: Target, matrix: Matrix, recipes: Recipes, request: Request, option: DriverOption
) -> tuple[Step, ...]:
    assert option.branch is not None
    branch, module = option.branch.branch, option.module
    if target.windows_driver:
        return (_windows_driver(target, option),)
    job = driver_job(machine, matrix, option, request)
    steps = driver_steps(job, recipes)
    if steps is None:
        system = " ".join(p for p in (machine.os.id, machine.os.version, machine.os.arch) if p) or "this system"
        title = f"install NVIDIA driver branch {branch} ({module} kernel module) on {system}, then run this again"
        return (_manual(title, _why_no_recipe(job, recipes, system), option),)
    brought = {step.id for step in steps}
    if "fabric" in job.features and "fabric-manager" not in brought:
        steps += (fabric.by_hand(),)
    return steps


def _windows_driver(target: Target, option: DriverOption) -> Step:
    assert option.branch is not None
    branch = option.branch.branch
    if target.kind == "wsl":
        return _manual(
            f"install NVIDIA driver branch {branch} or newer on the Windows host, from https://www.nvidia.com/drivers, "
            "and run `wsl --update` there",
            "inside WSL no Linux driver may ever be installed: the Windows driver serves it",
            option,
        )
    return _manual(
        f"install NVIDIA driver branch {branch} or newer on Windows, from https://www.nvidia.com/drivers",
        "NVIDIA publishes no package that a script may fetch; the installer's silent line is "
        "setup.exe -s -noreboot -noeula -nofinish -nosplash",
        option,
    )


def _is_file_recipe(recipe: Recipe, job: DriverJob) -> bool:
    return recipe.role == "driver-file" and job.os_id in recipe.os and job.arch in recipe.arch


def _why_no_recipe(job: DriverJob, recipes: Recipes, system: str) -> str:
    if job.file:
        name = job.file.rpartition("/")[2]
        kinds = sorted(
            {str(row.get("file")) for r in recipes.by_id.values() if _is_file_recipe(r, job) for row in r.serves}
        )
        able = (
            f"of files it takes .{' and .'.join(kinds)} here" if kinds else "no recipe takes a file of the driver here"
        )
        return f"envcheck cannot use {name} on {system}: {able}"
    unkeyed = any(
        r.role == "driver"
        and r.keyrings
        and job.os_id in r.os
        and (job.arch not in r.arch or job.repo not in r.keyrings)
        for r in recipes.by_id.values()
    )
    if unkeyed:
        return (
            f"no archive of {system}'s own has it, and envcheck adds NVIDIA's repository only where it knows the "
            "SHA-256 of its key"
        )
    return f"envcheck has no recipe for {system} yet"


def _manual(title: str, why: str, option: DriverOption) -> Step:
    assert option.branch is not None
    return Step(
        id="driver-by-hand",
        title=title,
        argv=(),
        stage="system",
        why=why,
        check=("ec_driver_branch", option.branch.branch),
        source=option.branch.source,
    )
