"""``--offline DIR``: fill a directory of wheels where there is a network, install from it where there is none.

One script does both. While ``DIR/SHA256SUMS`` is missing, the user stage fills DIR and ends there: DIR and
the script are then carried to the target, where the same stage checks the manifest and installs. uv resolves,
since it judges markers for the target (pip judges them for the machine that it runs on); pip downloads exactly that.
Once the manifest is there no step fills any more: what got lost on the way is then said by the comparison with it
(the two ``ec_have_..wheels`` of the prelude look for it first).
"""

from __future__ import annotations

import re

from ..errors import UsageError
from ..model import Step
from . import pip, uv, venv, wheels, words
from .base import InstallJob

MANIFEST = "SHA256SUMS"
WANTED, LOCKED = "requirements.in", "requirements.txt"
FILL = ".envcheck-fill"
DOWNLOAD_DOCS = "https://pip.pypa.io/en/stable/cli/pip_download/"
# PEP 600: the oldest glibc of the dotted form in use, which pip calls manylinux2014 too
_OLDEST, _LEGACY = 17, "manylinux2014"
_UV_NEWEST = 28  # the platform that uv takes for "linux"; all wheels of torch and its dependencies fit it


def steps(job: InstallJob) -> tuple[Step, ...]:
    """Both halves in one stage: the first ends the run, the second needs what the first left."""
    return (*download_steps(job, last=True), *install_steps(job))


def download_steps(job: InstallJob, last: bool = False) -> tuple[Step, ...]:
    """Fill the directory on a connected machine, which needs nothing but a python3 with venv.

    ``last``: the script ends after the manifest. Raises ``UsageError`` for what a wheelhouse cannot hold.
    """
    _possible(job)
    folder, python = directory(job), venv.python_in(job.platform, FILL)
    wanted, locked, manifest = _in(job, WANTED), _in(job, LOCKED), _in(job, MANIFEST)
    index = wheels.index_args(job)
    tools = ("pip", "uv") if job.request.manager == "uv" else ("pip",)
    tool_specs = tuple(spec for name in tools for spec in wheels.installer_constraints(job, name) or (name,))
    download = (python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *platform_args(job))
    return (
        _fill(
            "venv",
            f"create {FILL}, an environment for downloading",
            ("py" if job.platform == "windows" else "python3", "-m", "venv", FILL),
            check=("ec_file_exists", manifest, _fill_program(job, "pip")),
            undo=("ec_remove_created", FILL),
        ),
        _fill(
            "uv",
            f"install uv into {FILL}",
            (python, "-m", "pip", "install", "uv"),
            check=("ec_file_exists", manifest, _fill_program(job, "uv")),
        ),
        _fill(
            "wanted",
            f"write what is wanted to {wanted}",
            ("ec_write_file", wanted, *wheels.requirements(job)),
            check=("ec_file_is", wanted, *wheels.requirements(job)),
        ),
        _fill(
            "lock",
            f"resolve and hash every wheel into {locked}",
            (
                *(_fill_program(job, "uv"), "pip", "compile", wanted, "--python", python),
                *("--python-platform", uv_platform(job), "--python-version", words.minor(job).rstrip("t")),
                *("--generate-hashes", "--only-binary", ":all:", "--no-header", "--output-file", locked, *index),
            ),
            check=("ec_file_exists", manifest, locked),
        ),
        _fill(
            "wheels",
            f"download the wheels into {folder}",
            (*download, "-r", locked, "-d", folder, *index),
            check=("ec_have_locked_wheels", folder, locked),
        ),
        _fill(
            "tools",
            f"download {' and '.join(tools)} into {folder}",
            (*download, *tool_specs, "-d", folder, *wheels.default_index_args(job)),
            check=("ec_have_wheels", folder, *tools),
        ),
        _fill(
            "manifest",
            f"write {MANIFEST} of {folder}" + (", and end here" if last else ""),
            ("ec_offline_filled" if last else "ec_sha256_manifest", folder),
            check=("ec_file_exists", manifest),
        ),
    )


def install_steps(job: InstallJob) -> tuple[Step, ...]:
    """Install on the target from the directory alone. Raises ``UsageError`` where Python itself would be fetched."""
    _possible(job)
    folder, locked = directory(job), _in(job, LOCKED)
    source = ("--no-index", "--find-links", folder)
    check = Step(
        id="wheelhouse",
        title=f"compare {folder} with its {MANIFEST}",
        argv=("ec_sha256_check", folder),
        check=("ec_sha256_check", folder),
        why="a carrier may have damaged or changed a file",
        source=DOWNLOAD_DOCS,
    )
    names = [name for name, _ in wheels.pinned(job)]
    if job.request.manager == "uv":
        made = tuple(step for step in venv.steps(job, by_uv=True) if not step.id.startswith("uv-"))
        before = (*venv.tool_steps(job, "uv", source), *made, uv.other_build(job))
        install, undo = (*uv.install_argv(job), "--offline"), (*uv.uninstall_argv(job), *names)
    else:
        before = (*venv.steps(job), *pip.pip_steps(job, source), pip.other_build(job))
        install, undo = pip.install_argv(job), (*pip.uninstall_argv(job), *names)
    return (
        check,
        *before,
        Step(
            id="torch",
            title=wheels.install_title(job) + f" from {folder}",
            argv=(*install, *source, "--require-hashes", "-r", locked),
            check=wheels.check(job, venv.target(job)),
            undo=undo,
            why=f"nothing but {folder} is read, and every wheel must have the SHA-256 of its index",
            source=DOWNLOAD_DOCS,
        ),
    )


def directory(job: InstallJob) -> str:
    return words.safe_path(job.request.offline or "", "--offline", job.platform)


def platform_args(job: InstallJob) -> tuple[str, ...]:
    """pip's ``--platform`` and the like for the target, whichever machine downloads."""
    version = words.minor(job)
    abi = ("--abi", f"cp{version.replace('.', '')}", "--abi", "none") if version.endswith("t") else ()
    options = tuple(word for tag in platform_tags(job) for word in ("--platform", tag))
    return (*options, "--implementation", "cp", "--python-version", version.rstrip("t"), *abi)


def platform_tags(job: InstallJob) -> tuple[str, ...]:
    """Every platform tag that the target can install, best first.

    pip widens only manylinux2014 to its older names, so each manylinux_2_N is listed; torch's own index has
    plain linux_x86_64 besides.
    """
    if job.platform == "windows":
        return ("win_arm64",) if job.arch in ("aarch64", "arm64") else ("win_amd64",)
    if job.platform == "macos":
        arm = job.arch in ("aarch64", "arm64")
        return (job.wheel_tag or ("macosx_11_0_arm64" if arm else "macosx_10_9_x86_64"),)
    dotted = tuple(f"manylinux_2_{n}_{job.arch}" for n in range(_glibc_minor(job), _OLDEST - 1, -1))
    return (*dotted, f"{_LEGACY}_{job.arch}", f"linux_{job.arch}")


def uv_platform(job: InstallJob) -> str:
    """uv's name for the target."""
    if job.platform == "windows":
        return "aarch64-pc-windows-msvc" if job.arch in ("aarch64", "arm64") else "windows"
    if job.platform == "macos":
        return "aarch64-apple-darwin" if job.arch in ("aarch64", "arm64") else "x86_64-apple-darwin"
    if _glibc_minor(job) < _UV_NEWEST:
        return f"{job.arch}-{_LEGACY}"
    return f"{job.arch}-manylinux_2_{_UV_NEWEST}"


def _glibc_minor(job: InstallJob) -> int:
    """N of the target's glibc 2.N; where it is not known, of the build's own wheel; else what uv assumes."""
    for pattern, text in ((r"2\.(\d+)", job.glibc), (r"manylinux_2_(\d+)_.*", job.wheel_tag)):
        found = re.fullmatch(pattern, text or "")
        if found:
            return max(int(found[1]), _OLDEST)
    return _UV_NEWEST


def _in(job: InstallJob, name: str) -> str:
    return words.join(job.platform, directory(job), name)


def _fill_program(job: InstallJob, name: str) -> str:
    if job.platform == "windows":
        return words.join(job.platform, FILL, "Scripts", f"{name}.exe")
    return words.join(job.platform, FILL, "bin", name)


def _fill(
    name: str, title: str, argv: tuple[str, ...], check: tuple[str, ...], undo: tuple[str, ...] | None = None
) -> Step:
    return Step(
        id=f"fill-{name}",
        title=title,
        argv=argv,
        check=check,
        undo=undo,
        why="this machine has a network and the target has none",
        source=DOWNLOAD_DOCS,
    )


def _possible(job: InstallJob) -> None:
    if job.python.supply in ("uv", "conda"):
        raise UsageError(
            f"--offline carries wheels, not Python: torch {job.torch.version}+{job.torch.tag} needs Python "
            f"{words.minor(job)}, which is not on the target. Install it there first, or ask for a torch "
            "that has a wheel for the Python that is there"
        )
