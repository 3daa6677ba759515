"""uv: the same wheels by ``uv pip``, or a project file with an explicit index.

``--torch-backend`` is not used: it never reads the GPU, and ends in a CPU build without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..model import Step
from . import venv, wheels
from .base import InstallJob
from .pyproject import uv_text
from .requirements import requirements_text

NAME = "uv"
SECTION = "builds"
FILES: Mapping[str, Callable[[InstallJob], str]] = {"requirements": requirements_text, "pyproject": uv_text}


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """uv where it is missing, environment, torch with its companions and constraints on one command line."""
    if job.request.offline is not None:
        from . import offline

        return offline.steps(job)
    made = venv.steps(job, by_uv=True)
    tool = () if any(step.id == "uv-tool" for step in made) else venv.tool_steps(job, "uv")
    before = (*tool, *made, other_build(job))
    if job.request.hashes:
        from . import lock

        return (*before, *lock.steps(job, install_argv(job), bring_uv=False))
    return (*before, _install(job))


def target_python(job: InstallJob) -> tuple[str, ...]:
    return (venv.target(job),)


def install_argv(job: InstallJob) -> tuple[str, ...]:
    return (*venv.tool(job, "uv"), "pip", "install", "--python", venv.target(job))


def uninstall_argv(job: InstallJob) -> tuple[str, ...]:
    return (*venv.tool(job, "uv"), "pip", "uninstall", "--python", venv.target(job))


def other_build(job: InstallJob) -> Step:
    return wheels.other_build_step(job, venv.target(job), uninstall_argv(job))


def _install(job: InstallJob) -> Step:
    names = [name for name, _ in wheels.pinned(job)]
    return Step(
        id="torch",
        title=wheels.install_title(job),
        argv=(*install_argv(job), *wheels.requirements(job), *wheels.index_args(job)),
        check=wheels.check(job, venv.target(job)),
        undo=(*uninstall_argv(job), *names),
        why=wheels.install_why(job),
        source="https://docs.astral.sh/uv/guides/integration/pytorch/",
    )
