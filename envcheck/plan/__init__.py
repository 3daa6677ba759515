"""``make_plan(machine, matrix, recipes, request) -> Plan``: pure, so that a fleet or a test can plan thousands.

The order in which builds are preferred is CONTRACT's "Which build"; ``choose.preference`` writes it down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..errors import Undetermined, UsageError
from ..managers import get as get_manager
from ..matrix import Build, Matrix
from ..model import (
    DriverChoice,
    DriverMinimum,
    GpuCoverage,
    Machine,
    Plan,
    Rejected,
    Request,
    Step,
)
from ..recipes import Recipes, verify_steps
from ..record import dataclass
from . import explain, fabric
from .choose import DriverView, Verdict, judge, minimum, preference, wanted
from .driver import DriverOption, changes, present, serves
from .lives import warnings as lives_warnings
from .steps import (
    choose_python,
    companions_of,
    constraints_of,
    deliverable,
    delivered_first,
    driver_job,
    install_job,
    system_steps,
    user_support_steps,
)
from .target import Target, make_target

__all__ = ["all_candidates", "make_plan"]

CPU = "cpu"
QUEUES = ("sbatch", "qsub", "bsub")  # a batch system's submit command: this may be its login node


@dataclass(frozen=True, kw_only=True)
class Context:
    machine: Machine
    matrix: Matrix
    recipes: Recipes
    request: Request
    target: Target
    section: str  # builds, conda
    builds: tuple[Build, ...]
    notes: tuple[str, ...] = ()


def make_plan(machine: Machine, matrix: Matrix, recipes: Recipes, request: Request) -> Plan:
    """The plan, or the refusal (``satisfiable`` False), for one machine and one request.

    Raises ``UsageError`` for a request that names nothing known, ``Undetermined`` where a GPU may be and nothing
    tells which.
    """
    answer = _try_plan(machine, matrix, recipes, request)
    if answer.satisfiable:
        return answer
    from . import refuse  # a plan that exists does not pay for the refusal's code

    context = _context(machine, matrix, recipes, request)
    found = refuse.alternatives(
        machine, context.target, request, matrix, lambda m, r: _quiet_plan(m, matrix, recipes, r)
    )
    return dataclasses.replace(answer, alternatives=tuple(found))


def _quiet_plan(machine: Machine, matrix: Matrix, recipes: Recipes, request: Request) -> Plan:
    """An alternative that cannot even be asked for is no alternative."""
    try:
        return _try_plan(machine, matrix, recipes, request)
    except (UsageError, Undetermined):
        return Plan(satisfiable=False, request=request, machine=machine)


def _try_plan(machine: Machine, matrix: Matrix, recipes: Recipes, request: Request) -> Plan:
    context = _context(machine, matrix, recipes, request)
    accept = wanted(context.request, matrix, context.builds)
    pool = [b for b in context.builds if accept(b)]
    seen: list[Verdict] = []
    for option in _options(context):
        verdicts = [judge(b, context.target, option.view, matrix, python_fixed=request.python_fixed) for b in pool]
        running = [v for v in verdicts if v.code is None]
        if running:
            best = max(running, key=lambda v: preference(v, option.view))
            return _satisfied(context, option, best, verdicts)
        seen = seen or verdicts
    return _refused(context, seen)


def all_candidates(machine: Machine, matrix: Matrix, recipes: Recipes, request: Request) -> list[Verdict]:
    """Every build of the platform that the request allows, best first, judged on the driver as it is.

    Without a driver they are judged on the branch that a plan would install.
    """
    context = _context(machine, matrix, recipes, request)
    accept = wanted(context.request, matrix, context.builds)
    option = next(iter(_options(context)), None)
    view = option.view if option else DriverView(version=None, cuda=None, windows=context.target.windows_driver)
    verdicts = [
        judge(b, context.target, view, matrix, python_fixed=request.python_fixed) for b in context.builds if accept(b)
    ]
    return sorted(verdicts, key=lambda v: (v.code is None, preference(v, view)), reverse=True)


def _context(machine: Machine, matrix: Matrix, recipes: Recipes, request: Request) -> Context:
    target = make_target(machine, matrix)
    section = get_manager(request.manager).SECTION
    builds = matrix.builds(target.platform, section)
    request, notes = _gpu_or_cpu(machine, target, request)
    return Context(
        machine=machine,
        matrix=matrix,
        recipes=recipes,
        request=request,
        target=target,
        section=section,
        builds=builds,
        notes=notes,
    )


def _gpu_or_cpu(machine: Machine, target: Target, request: Request) -> tuple[Request, tuple[str, ...]]:
    """Without any NVIDIA device the plan is a CPU one and says so; where one may be, nothing is guessed."""
    if target.gpus or request.cuda.strip().lower() == CPU or request.torch.endswith("+cpu"):
        return request, ()
    if target.kind == "macos":
        return dataclasses.replace(request, cuda=CPU), ("macOS has no CUDA: the build is the one with MPS and CPU",)
    doubt = machine.problems.get("gpus")
    queue = next((q for q in QUEUES if q in machine.tools), None)
    if doubt or target.kind == "container" or queue:
        where = doubt or (
            "no GPU is visible in this container" if target.kind == "container" else f"{queue} is here: a login node?"
        )
        raise Undetermined(
            f"no GPU can be seen ({where}), and one may be there. "
            'Name it with --gpu "NVIDIA GeForce RTX 4090", or ask for the CPU build with --cuda cpu'
        )
    if machine.gpus:
        raise Undetermined("every NVIDIA GPU here is bound to vfio-pci, that is given to a virtual machine")
    if request.cuda != "auto":
        raise UsageError(
            f"--cuda {request.cuda} asks for a CUDA build and no NVIDIA GPU is here. "
            'Name the GPU that it is for with --gpu "NAME", or take --cuda cpu'
        )
    return dataclasses.replace(request, cuda=CPU), ("no NVIDIA GPU on this machine: this is the CPU build",)


def _options(context: Context) -> Iterator[DriverOption]:
    """The drivers that may serve, in the order in which a plan prefers them: as it is, then a change."""
    machine, target, matrix, request = context.machine, context.target, context.matrix, context.request
    nothing = DriverView(version=None, cuda=None, windows=target.windows_driver)
    if not target.gpus or request.cuda.strip().lower() == CPU or request.torch.endswith("+cpu"):
        yield DriverOption(view=nothing, action="none")
        return
    own = present(machine, target, matrix)
    fits_request = request.driver_branch is None or (
        own is not None and own.view.key is not None and str(own.view.key[0]) == request.driver_branch
    )
    if own is not None and fits_request and serves(machine, own.view, target, matrix):
        yield own
    if own is None and target.kind in ("container", "jetson") and machine.driver.state in (None, "missing"):
        for option in changes(machine, target, matrix, request, nothing):
            yield dataclasses.replace(option, action="none", branch=None)
            break
    if not target.driver_fixed and request.driver_change:
        found = changes(machine, target, matrix, request, own.view if own else nothing)
        yield from delivered_first(machine, matrix, context.recipes, request, found)


def _satisfied(context: Context, option: DriverOption, best: Verdict, verdicts: list[Verdict]) -> Plan:
    machine, target, matrix, request = context.machine, context.target, context.matrix, context.request
    build = best.build
    option = deliverable(machine, target, matrix, context.recipes, request, option)
    python = choose_python(build, machine, target, request, context.section)
    companions, absent = companions_of(build, matrix, request)
    pinned = constraints_of(build, matrix, companions)
    requirements = tuple(c.requirement for c in pinned)
    job, note = install_job(build, machine, target, matrix, request, python, companions, requirements)
    manager = get_manager(request.manager)
    system = system_steps(machine, target, matrix, context.recipes, request, option)
    if request.toolkit or request.container_toolkit:
        from .extras import extra_steps  # most plans do not pay for it

        system += extra_steps(machine, target, context.recipes, request, driver_job(machine, matrix, option), build)
    support = (
        user_support_steps(machine, matrix, context.recipes, request, option, python)
        if context.section == "builds"
        else ()
    )
    verify = verify_steps(manager.target_python(job), cpu=build.cuda is None)
    steps: tuple[Step, ...] = (*support, *system, *manager.install_steps(job), *verify)
    exact, minor = minimum(build, matrix, target.windows_driver)
    choice = DriverChoice(
        installed=machine.driver.version,
        minimum=DriverMinimum(toolkit_exact=exact, minor_version=minor),
        rule=best.rule,
        action=option.action,
        target=option.branch.branch if option.branch else None,
        module=option.module if option.branch else None,
    )
    reasons = explain.reasons(context.notes, request, target, option, best, verdicts, python, pinned, job, absent)
    warnings = (
        *((note,) if note else ()),
        *explain.offline_warning(request, target, option),
        *explain.container_warning(target, option, build, exact, minor, machine),
        *explain.recipe_warning(driver_job(machine, matrix, option, request), context.recipes, option),
        *fabric.unread(machine, target),
        *lives_warnings(machine, target, matrix, context.section, best, option),
    )
    return Plan(
        satisfiable=True,
        request=request,
        machine=machine,
        torch=job.torch,
        companions=companions,
        constraints=requirements,
        python=python,
        driver=choice,
        gpus=_coverages(target, best.how),
        steps=steps,
        reasons=tuple(reasons),
        rejected=_rejected(verdicts, build),
        warnings=tuple(warnings),
    )


def _coverages(target: Target, how: tuple[str, ...]) -> tuple[GpuCoverage, ...]:
    return tuple(
        GpuCoverage(name=g.name, compute_capability=g.compute_capability, how=h)
        for g, h in zip(target.gpus, how, strict=True)
    )


def _rejected(verdicts: list[Verdict], chosen: Build | None) -> tuple[Rejected, ...]:
    """The builds that were not chosen although they are as new: rejected ones, newest first."""
    return tuple(
        Rejected(torch=v.build.torch, tag=v.build.tag, code=v.code, because=v.because())
        for v in sorted(verdicts, key=lambda v: (v.build.key, v.build.cuda_key), reverse=True)
        if v.code is not None and v.because is not None and (chosen is None or v.build.key >= chosen.key)
    )


def _refused(context: Context, verdicts: list[Verdict]) -> Plan:
    from . import refuse

    machine, target, matrix, request = context.machine, context.target, context.matrix, context.request
    own = present(machine, target, matrix)
    view = own.view if own else None
    needed = refuse.requirements(machine, target, matrix, request, view, context.section)
    drivers = [
        DriverView(version=b.first or b.branch, cuda=b.cuda, windows=target.windows_driver)
        for b in matrix.branches.values()
        if ("windows" if target.windows_driver else "linux") in b.platforms
    ]
    if view is not None:
        drivers.append(view)
    conflicts = refuse.smallest_conflict(needed, context.builds, drivers, target, matrix)
    if not context.builds:
        conflicts = (refuse.nothing_for(target, context.section, matrix),)
    choice = DriverChoice(
        installed=machine.driver.version, minimum=DriverMinimum(), rule="none", action="refuse", target=None
    )
    return Plan(
        satisfiable=False,
        request=request,
        machine=machine,
        driver=choice,
        gpus=_coverages(target, tuple("unsupported" for _ in target.gpus)),
        conflicts=conflicts,
        rejected=_rejected(verdicts, None),
        reasons=context.notes,
    )
