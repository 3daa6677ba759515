"""poetry: a project of its own with an explicit source; the environment lies in it.

The project is the directory ``envcheck-torch``, or the one that ``--prefix`` names; a pyproject.toml that
is already there is never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import UsageError
from ..model import Step
from . import venv, wheels, words
from .base import InstallJob
from .pyproject import PROJECT, poetry_text

NAME = "poetry"
SECTION = "builds"
FILES: Mapping[str, Callable[[InstallJob], str]] = {"pyproject": poetry_text}
SOURCES_DOCS = "https://python-poetry.org/docs/repositories/#explicit-package-sources"
_SETTINGS = ("[virtualenvs]", "in-project = true")  # poetry.toml: so that it takes the environment made here


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """poetry where it is missing, the environment, the two files, then poetry's own lock and install."""
    if job.request.offline is not None:
        raise UsageError("--offline fills a directory of wheels, which poetry cannot read: use --manager pip or uv")
    project, python = _project(job), target_python(job)[0]
    tool = venv.tool(job, "poetry")
    return (
        *venv.tool_steps(job, "poetry"),
        _write(job, "pyproject.toml", tuple(poetry_text(job).split("\n")[:-1]), "torch from its own source"),
        _write(job, "poetry.toml", _SETTINGS, "poetry then uses the environment inside the project"),
        *venv.steps(job, directory=_environment(job)),
        Step(
            id="torch",
            title=wheels.install_title(job),
            argv=(*tool, f"--directory={project}", "install", "--no-root", "--no-interaction"),
            check=wheels.check(job, python),
            why=wheels.install_why(job) + "; poetry.lock holds the hash of every file",
            source=SOURCES_DOCS,
        ),
    )


def target_python(job: InstallJob) -> tuple[str, ...]:
    if job.python.supply == "conda":
        from .conda import python_in

        return (python_in(job.platform, _environment(job)),)
    return (venv.python_in(job.platform, _environment(job)),)


def _project(job: InstallJob) -> str:
    return words.safe_path(job.request.prefix if job.request.prefix is not None else PROJECT, "--prefix", job.platform)


def _environment(job: InstallJob) -> str:
    return words.join(job.platform, _project(job), ".venv")


def _write(job: InstallJob, name: str, lines: tuple[str, ...], why: str) -> Step:
    path = words.join(job.platform, _project(job), name)
    return Step(
        id=name.replace(".", "-"),
        title=f"write {path}",
        argv=("ec_write_file", path, *lines),
        check=("ec_file_is", path, *lines),
        undo=("ec_remove_created", path),
        why=why,
        source=SOURCES_DOCS,
    )
