"""One sentence per decision, in the order in which the decisions were made."""

from __future__ import annotations

from collections.abc import Iterator

from ..managers.base import InstallJob
from ..matrix import Build, Constraint
from ..model import Machine, PythonChoice, Request
from ..recipes import DriverJob, Recipes, inferred
from .choose import Verdict, name
from .driver import DriverOption
from .target import Target


def reasons(
    notes: tuple[str, ...],
    request: Request,
    target: Target,
    option: DriverOption,
    best: Verdict,
    verdicts: list[Verdict],
    python: PythonChoice,
    pinned: tuple[Constraint, ...],
    job: InstallJob,
    absent: list[str],
) -> Iterator[str]:
    build = best.build
    yield from notes
    yield _torch(request, option, build, verdicts)
    if build.cuda is not None:
        yield _variant(option, best)
        yield from _gpus(target, best)
        yield from _driver(target, option)
    yield _python(python, target, build)
    for constraint in pinned:
        yield f"{constraint.requirement} beside it: {constraint.why}"
    yield from absent
    yield _index(job)


def _torch(request: Request, option: DriverOption, build: Build, verdicts: list[Verdict]) -> str:
    asked = "of all releases" if request.torch == "latest" else f"that --torch {request.torch} allows"
    newer = [v for v in verdicts if v.build.key > build.key and v.because is not None]
    if build.cuda is None:
        return f"torch {build.torch}: the newest {asked}"
    text = f"torch {build.torch}: the newest {asked} with code for every GPU here on {option.view.label}"
    if newer:
        top = max(newer, key=lambda v: (v.build.key, v.code != "no-kernel-for-gpu", v.build.cuda_key))
        assert top.because is not None
        text += f"; {top.because()}"
    return text


def _variant(option: DriverOption, best: Verdict) -> str:
    build = best.build
    if best.rule == "toolkit-exact":
        why = f"{option.view.label} has all that CUDA {build.cuda} needs (toolkit-exact)"
    else:
        why = f"{option.view.label} runs CUDA {build.cuda} by minor-version compatibility within its major"
    return f"{name(build)}: {why}"


def _gpus(target: Target, best: Verdict) -> Iterator[str]:
    words = {
        "sass": "its own machine code is in the build",
        "binary-compatible": "it runs the machine code of a lower minor capability of its major",
        "ptx": "the driver compiles the build's PTX for it",
    }
    for gpu, how in dict.fromkeys(zip(((g.name, g.compute_capability) for g in target.gpus), best.how, strict=True)):
        label = f"{gpu[0]} ({gpu[1]})" if gpu[0] else f"compute capability {gpu[1]}"
        yield f"{label}: {words.get(how, how)}"


def _driver(target: Target, option: DriverOption) -> Iterator[str]:
    if option.branch is not None:
        flavour = f", {option.module} kernel module" if option.module and not target.windows_driver else ""
        life = f"; its life ends {option.branch.eol}" if option.branch.eol and not option.branch.ended else ""
        why = f"; this system's archives have it, and not {option.instead}" if option.instead else ""
        yield f"driver: {option.action} branch {option.branch.branch}{flavour}: it drives every GPU here{why}{life}"
    elif option.action == "reboot":
        yield "driver: a reboot is due before it can serve"
    elif option.action == "keep":
        yield f"{option.view.label} stays as it is"


def _python(python: PythonChoice, target: Target, build: Build) -> str:
    if python.supply is None:
        return f"Python {python.version}: torch {build.torch} has a wheel for it"
    here = f"Python {target.python} has no wheel of torch {build.torch}" if target.python else "no Python was found"
    bring = {"uv": "uv brings", "conda": "conda brings"}.get(python.supply, f"{python.supply} is")
    return f"{here} (it has {', '.join(build.pythons)}): {bring} Python {python.version}"


def _index(job: InstallJob) -> str:
    if job.index_kind == "conda":
        channel = "pytorch and nvidia" if job.torch.package == "conda-pytorch" else "conda-forge"
        return f"packages come from the conda channel {channel}"
    if job.index_url is None:
        return "packages come from your own default index (PyPI): its wheel is this very build"
    return f"packages come from {job.index_url}, instead of the default index and never mixed with it"


def offline_warning(request: Request, target: Target, option: DriverOption) -> Iterator[str]:
    """Wheels from a directory need no network; the driver's packages do, unless the user brings a file."""
    if (
        request.offline is not None
        and option.branch is not None
        and not request.driver_file
        and not target.windows_driver
    ):
        yield (
            f"--offline carries wheels, not the driver: branch {option.branch.branch} would be fetched from a network. "
            "Bring NVIDIA's local repository package (or .run file) and name it: --driver-file FILE --driver-sha256 SUM"
        )


def recipe_warning(job: DriverJob, recipes: Recipes, option: DriverOption) -> Iterator[str]:
    """Where a recipe's row follows from a neighbour's: the script finds out, and the user should know before."""
    if option.branch is not None and inferred(job, recipes):
        system = " ".join(p for p in (job.os_id, job.os_version) if p)
        yield (
            f"unverified: that {system} can get driver branch {job.branch} ({job.module} kernel module) is inferred, "
            "nobody saw it there; the script asks the archive first, and stops with 11 before a driver is changed if "
            "it has none"
        )


def container_warning(
    target: Target, option: DriverOption, build: Build, exact: str | None, minor: str | None, machine: Machine
) -> Iterator[str]:
    """Inside a container the host's driver decides, and it may not be visible while the image is built."""
    if (
        build.cuda is None
        or target.kind not in ("container", "jetson")
        or machine.driver.version
        or machine.driver.cuda
    ):
        return
    owner = "the host" if target.kind == "container" else "L4T"
    yield (
        f"{owner} brings the driver and it cannot be seen from here: {name(build)} needs {minor or exact} or newer"
        + (f", better {exact}" if exact and exact != minor else "")
    )
