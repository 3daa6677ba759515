"""The environment of pip, uv and poetry: whose Python makes it, where it lies, and tools that must come first."""

from __future__ import annotations

from ..errors import UsageError
from ..model import Step
from . import words
from .base import InstallJob
from .wheels import default_index_args

VENV_DOCS = "https://docs.python.org/3/library/venv.html"
UV_DOCS = "https://docs.astral.sh/uv/concepts/python-versions/"
TOOL_DOCS = {
    "uv": "https://docs.astral.sh/uv/getting-started/installation/",
    "poetry": "https://python-poetry.org/docs/#installation",
}


def root(job: InstallJob) -> str | None:
    """The directory of the environment; None for ``--venv none``, which uses the active interpreter."""
    if job.request.venv == "none":
        return None
    path = words.safe_path(job.request.venv, "--venv", job.platform)
    separator = ";" if job.platform == "windows" else ":"
    if separator in path:
        raise UsageError(
            f"--venv {path!r} holds {separator!r}, which separates paths: Python makes no environment there"
        )
    return path


def python_in(platform: str, directory: str) -> str:
    """The interpreter of a virtual environment."""
    if platform == "windows":
        return words.join(platform, directory, "Scripts", "python.exe")
    return words.join(platform, directory, "bin", "python")


def target(job: InstallJob) -> str:
    """The interpreter that torch is installed into."""
    directory = root(job)
    if directory is None:
        return _active(job)
    if job.python.supply == "conda":
        from .conda import python_in as conda_python

        return conda_python(job.platform, directory)
    return python_in(job.platform, directory)


def _active(job: InstallJob) -> str:
    return job.active_python or ("python" if job.platform == "windows" else "python3")


def base_python(job: InstallJob) -> tuple[str, ...]:
    """argv prefix of the interpreter that makes the environment."""
    supply = job.python.supply
    if supply not in (None, "uv", "conda"):
        return (words.safe_path(supply, "the interpreter's path", job.platform),)
    if job.active_python:
        return (job.active_python,)
    if job.platform == "windows":
        return ("py", f"-{words.minor(job)}")
    return (f"python{words.minor(job)}",)


def steps(job: InstallJob, by_uv: bool = False, directory: str | None = None) -> tuple[Step, ...]:
    """Make the environment with the Python that was decided; nothing for ``--venv none``.

    ``by_uv`` lets uv make it in every case; ``directory`` overrides ``--venv``.
    """
    where = directory or root(job)
    if where is None:
        if job.python.supply is not None and job.python.supply != job.active_python:
            raise UsageError(
                f"--venv none uses the active interpreter, and torch {job.torch.version}+{job.torch.tag} has no wheel "
                f"for it: it needs Python {words.minor(job)}. Leave --venv at its default, .venv"
            )
        return ()
    if job.python.supply == "conda":
        from .conda import python_env_steps

        return python_env_steps(job, where)
    if by_uv or job.python.supply == "uv":
        return (*tool_steps(job, "uv"), _uv_venv(job, where))
    return (_venv(job, where),)


def _venv(job: InstallJob, where: str) -> Step:
    return Step(
        id="venv",
        title=f"create the virtual environment {where} with Python {words.minor(job)}",
        argv=(*base_python(job), "-m", "venv", where),
        check=_is_made(job, where),
        undo=("ec_remove_created", where),
        why="an environment of its own leaves the system's packages alone, as PEP 668 asks",
        source=VENV_DOCS,
    )


def _uv_venv(job: InstallJob, where: str) -> Step:
    supply = job.python.supply
    wanted = base_python(job)[0] if supply not in (None, "uv") else words.minor(job)
    if supply is None and job.active_python:
        wanted = job.active_python
    # pip is seeded for whoever needs it; uv itself does not, and offline it could not be fetched
    seed = () if job.request.manager == "uv" else ("--seed", *default_index_args(job))
    brought = "" if supply != "uv" else f": this machine has no Python that torch {job.torch.version} has a wheel for"
    return Step(
        id="venv",
        title=f"create the virtual environment {where} with Python {words.minor(job)} by uv",
        argv=(*tool(job, "uv"), "venv", *seed, "--python", wanted, where),
        check=_is_made(job, where),
        undo=("ec_remove_created", where),
        why=f"uv finds or fetches Python {words.minor(job)}{brought}",
        source=UV_DOCS,
    )


def _is_made(job: InstallJob, where: str) -> tuple[str, ...]:
    """The last word is what must not exist otherwise: an environment of another Python is never built over."""
    return ("ec_have_python", python_in(job.platform, where), words.minor(job), where)


def tool_home(name: str) -> str:
    return f".envcheck-{name}"


def tool(job: InstallJob, name: str) -> tuple[str, ...]:
    """How a tool is called: the one of the machine, else the one that ``tool_steps`` installs."""
    if name in job.tools:
        found = job.tools[name]
        return (found if "/" in found or "\\" in found else name,)
    if job.platform == "windows":
        return (words.join(job.platform, tool_home(name), "Scripts", f"{name}.exe"),)
    return (words.join(job.platform, tool_home(name), "bin", name),)


def _any_python(job: InstallJob) -> tuple[str, ...]:
    """Any Python that can run pip; the tool's own environment need not have the target's version."""
    if job.active_python:
        return (job.active_python,)
    if job.python.supply not in (None, "uv", "conda"):
        return base_python(job)
    return ("py",) if job.platform == "windows" else ("python3",)


def tool_steps(job: InstallJob, name: str, source: tuple[str, ...] | None = None) -> tuple[Step, ...]:
    """Bring a tool that the machine lacks, in an environment of its own. ``source``: pip's index options."""
    if name in job.tools:
        return ()
    home = tool_home(name)
    python = python_in(job.platform, home)
    index = default_index_args(job) if source is None else source
    return (
        Step(
            id=f"{name}-venv",
            title=f"create {home}, an environment for {name} alone",
            argv=(*_any_python(job), "-m", "venv", home),
            check=(python, "-m", "pip", "--version"),
            undo=("ec_remove_created", home),
            why=f"{name} is not installed on this machine",
            source=VENV_DOCS,
        ),
        Step(
            id=f"{name}-tool",
            title=f"install {name} into {home}",
            argv=(python, "-m", "pip", "install", name, *index),
            check=(*tool(job, name), "--version"),
            why=f"{name} is not installed on this machine",
            source=TOOL_DOCS[name],
        ),
    )
