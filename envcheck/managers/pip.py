"""pip: a virtual environment, one pinned install command on one index, a requirements file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..model import Step
from . import venv, wheels
from .base import InstallJob
from .requirements import requirements_text, with_hashes

__all__ = ["FILES", "NAME", "SECTION", "install_steps", "target_python", "with_hashes"]

NAME = "pip"
SECTION = "builds"
FILES: Mapping[str, Callable[[InstallJob], str]] = {"requirements": requirements_text}


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """Environment, pip itself, torch with its companions and constraints on one command line."""
    if job.request.offline is not None:
        from . import offline

        return offline.steps(job)
    environment = (*venv.steps(job), *pip_steps(job, wheels.default_index_args(job)))
    if job.request.hashes:
        from . import lock

        return (*environment, other_build(job), *lock.steps(job, install_argv(job)))
    return (*environment, other_build(job), _install(job))


def target_python(job: InstallJob) -> tuple[str, ...]:
    return (venv.target(job),)


def install_argv(job: InstallJob) -> tuple[str, ...]:
    return (venv.target(job), "-m", "pip", "install")


def uninstall_argv(job: InstallJob) -> tuple[str, ...]:
    return (venv.target(job), "-m", "pip", "uninstall", "-y")


def other_build(job: InstallJob) -> Step:
    return wheels.other_build_step(job, venv.target(job), uninstall_argv(job))


def pip_steps(job: InstallJob, source: tuple[str, ...]) -> tuple[Step, ...]:
    """pip in the environment, and new enough. ``source``: where a newer pip comes from, as pip's options.

    The first step repairs what Debian leaves behind where python3-venv was missing: an environment without pip.
    """
    python = venv.target(job)
    steps = []
    if venv.root(job) is not None:
        steps.append(
            Step(
                id="pip",
                title="put pip into the environment",
                argv=(python, "-m", "ensurepip", "--upgrade"),
                check=("ec_have", python, "pip"),
                why="an environment that was made before python3-venv was installed has none",
                source="https://docs.python.org/3/library/ensurepip.html",
            )
        )
    newer = wheels.installer_constraints(job, "pip")
    if newer:
        steps.append(
            Step(
                id="pip-newer",
                title=f"upgrade pip to {', '.join(newer)}",
                argv=(python, "-m", "pip", "install", "--upgrade", *newer, *source),
                check=("ec_have", python, *newer),
                why="an older pip does not know the platform tags of today's wheels and says 'from versions: none'",
                source="https://peps.python.org/pep-0600/#installer-compatibility",
            )
        )
    return tuple(steps)


def _install(job: InstallJob) -> Step:
    names = [name for name, _ in wheels.pinned(job)]
    return Step(
        id="torch",
        title=wheels.install_title(job),
        argv=(*install_argv(job), *wheels.requirements(job), *wheels.index_args(job)),
        check=wheels.check(job, venv.target(job)),
        undo=(*uninstall_argv(job), *names),
        why=wheels.install_why(job),
        source=wheels.PREVIOUS_VERSIONS,
    )
