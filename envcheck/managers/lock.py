"""``--hashes``: lock the whole resolution with SHA-256 first, then install nothing that differs from it."""

from __future__ import annotations

from ..model import Step
from . import venv, wheels, words
from .base import InstallJob

LOCK_DOCS = "https://pip.pypa.io/en/stable/topics/secure-installs/"


def steps(job: InstallJob, install: tuple[str, ...], bring_uv: bool = True) -> tuple[Step, ...]:
    """Write what is wanted, let uv resolve and hash it, install exactly that.

    ``install`` is the argv that installs, of pip or of uv. An existing lock file is kept: it is the record
    of what was installed first, and may have been reviewed.
    """
    folder = venv.root(job) or "."
    wanted = words.join(job.platform, folder, "envcheck-requirements.in")
    locked = words.join(job.platform, folder, "envcheck-requirements.txt")
    python = venv.target(job)
    index = wheels.index_args(job)
    names = [name for name, _ in wheels.pinned(job)]
    return (
        *(venv.tool_steps(job, "uv") if bring_uv and job.python.supply != "uv" else ()),
        Step(
            id="wanted",
            title=f"write what is wanted to {wanted}",
            argv=("ec_write_file", wanted, *wheels.requirements(job)),
            check=("ec_file_is", wanted, *wheels.requirements(job)),
            why="uv resolves from a file",
            source=LOCK_DOCS,
        ),
        Step(
            id="lock",
            title=f"resolve and hash every wheel into {locked}",
            argv=(
                *(*venv.tool(job, "uv"), "pip", "compile", wanted, "--python", python),
                *("--generate-hashes", "--only-binary", ":all:", "--no-header", "--output-file", locked, *index),
            ),
            check=("ec_file_exists", locked),
            why="with hashes pip and uv refuse a file that changed, of torch and of all that it depends on",
            source=LOCK_DOCS,
        ),
        Step(
            id="torch",
            title=wheels.install_title(job) + ", by SHA-256",
            argv=(*install, "--require-hashes", "-r", locked, *index),
            check=wheels.check(job, python),
            undo=_undo(install, names),
            why=wheels.install_why(job),
            source=LOCK_DOCS,
        ),
    )


def _undo(install: tuple[str, ...], names: list[str]) -> tuple[str, ...]:
    """The uninstall command that mirrors an install command."""
    swapped = tuple("uninstall" if word == "install" else word for word in install)
    return (*swapped, *(() if "--python" in install else ("-y",)), *names)
