"""Typed view of ``installers/``: one JSON file per system and source, its steps as argv with named parameters.

A recipe says what it can deliver (``serves``), which script parts its steps call (``parts``) and who goes first
(``precedence``), so that choosing one is a query. Adding a system is adding a file.

Rows of ``serves`` and the ``when`` of a step compare with the same keys, each of which may be left out:

| key | holds where |
|---|---|
| ``os``, ``arch``, ``action``, ``module``, ``repo``, ``branch`` | the job has this value, or one of this list |
| ``engine``, ``wsl``, ``file`` (its suffix) | the same |
| ``version`` | the release is it, or below it: ``"9"`` holds for 9 and 9.4, ``"10.1"`` for neither 10 nor 10.10 |
| ``not_version`` | the opposite |
| ``feature`` | the machine has it: ``fabric`` (NVSwitch), ``nvlsm`` (NVLink switches managed over InfiniBand) |
| ``not_feature`` | the machine does not have it |
| ``at_least``, ``before`` | the release is that one or newer, or older: ``"10.1"`` is older than 10.10 |

``inferred`` of a row of ``serves`` names those of its branches that nobody saw or told of for that system.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError
from .matrix import data_path, version_key
from .model import Step
from .record import dataclass

STATE_DIR = "/var/lib/envcheck"
VENV_SUPPORT = "python-venv"
PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")


@dataclass(frozen=True, kw_only=True)
class DriverJob:
    """A decided driver change: the planner chose, a recipe writes it down."""

    os_id: str
    os_version: str | None
    family: str | None
    arch: str
    repo: str | None  # NVIDIA's name of the repository: "ubuntu2404"
    kernel: str | None
    action: str  # install, upgrade, downgrade, replace
    branch: str  # "580"
    module: str  # open, proprietary
    installed: str | None
    features: tuple[str, ...] = ()  # fabric, nvlsm
    wsl: bool = False
    toolkit: str | None = None  # "12.6": the CUDA toolkit to bring
    engine: str | None = None  # docker, podman, containerd: who is to run containers with GPUs
    file: str | None = None  # the user's own file of the driver, and its sum
    file_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file of ``installers/``."""

    id: str
    title: str
    source: str
    os: tuple[str, ...]
    family: tuple[str, ...]
    arch: tuple[str, ...]
    role: str  # driver, driver-file, container-toolkit, cuda-toolkit, fabric, support
    parts: tuple[str, ...]  # files of installers/ that the steps call, beyond driver.sh: "apt.sh"; none: by hand
    precedence: int  # lower first. 10: the distribution's archive, whose updates are tested with it; 20: NVIDIA's
    serves: tuple[Mapping[str, Any], ...]  # {"branches", "module"} and more, see above
    parameters: Mapping[str, Mapping[str, str]]
    keyrings: Mapping[str, str]  # repo -> the proof of its key: SHA-256 of the keyring, or the key's fingerprint
    steps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """Every recipe by id. ``state_dir`` is where a script's system stage keeps what is root's."""

    by_id: Mapping[str, Recipe]
    state_dir: str = STATE_DIR


@functools.lru_cache(maxsize=4)
def load_recipes(path: str | None = None) -> Recipes:
    """Read all recipes. Raises ``InputError`` for a folder or a file that cannot be read or lacks a key."""
    folder = path or data_path("installers")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    files = [os.path.join(folder, name) for name in sorted(names) if name.endswith(".json")]
    if not files:
        raise InputError(f"{folder} holds no recipe; restore it or reinstall envcheck")
    found = [_load(file) for file in files]
    return Recipes(by_id={recipe.id: recipe for recipe in found})


def _load(file: str) -> Recipe:
    try:
        with open(file, encoding="utf-8") as stream:
            data = json.load(stream)
    except OSError as error:
        raise InputError(f"cannot read the recipe {file}: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); restore it or reinstall envcheck") from None
    try:
        return Recipe(
            id=data["id"],
            title=data["title"],
            source=data["source"],
            os=tuple(data["os"]),
            family=tuple(data.get("family", ())),
            arch=tuple(data["arch"]),
            role=data.get("role", "driver"),
            parts=tuple(data["parts"]),
            precedence=data["precedence"],
            serves=tuple(data["serves"]),
            parameters=data["parameters"],
            keyrings=data.get("keyrings", {}),
            steps=tuple(data["steps"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no recipe of this version ({error}); restore it or reinstall envcheck") from None


@functools.lru_cache(maxsize=16)
def script_part(name: str) -> str:
    """The text of a file that scripts embed (``prelude.sh``, ``verify.py``). Raises ``InputError``."""
    file = os.path.join(data_path("installers"), name)
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}; reinstall envcheck") from None


def driver_steps(job: DriverJob, recipes: Recipes) -> tuple[Step, ...] | None:
    """The system-stage steps that bring the driver, or None where no recipe delivers it."""
    return role_steps("driver-file" if job.file else "driver", job, recipes)


def role_steps(role: str, job: DriverJob, recipes: Recipes) -> tuple[Step, ...] | None:
    """The steps of the first recipe of this role (driver, driver-file, container-toolkit, ...), or None."""
    recipe = choose(job, recipes, role)
    return None if recipe is None else _steps(recipe, job, recipes.state_dir)


def delivers(job: DriverJob, recipes: Recipes) -> bool:
    """Whether a recipe brings this driver by itself; one without parts says what a person must do."""
    recipe = choose(job, recipes, "driver-file" if job.file else "driver")
    return recipe is not None and bool(recipe.parts)


def choose(job: DriverJob, recipes: Recipes, role: str = "driver") -> Recipe | None:
    """The first recipe, by precedence, that delivers this branch and module to this system."""
    fitting = [r for r in recipes.by_id.values() if r.role == role and _is_for(r, job) and _serves(r, job)]
    return min(fitting, key=lambda r: (r.precedence, r.id), default=None)


def inferred(job: DriverJob, recipes: Recipes) -> bool:
    """Whether nobody saw or told that this system's source has the branch: it follows from a neighbour's row."""
    recipe = choose(job, recipes, "driver-file" if job.file else "driver")
    if recipe is None:
        return False
    rows = [row for row in recipe.serves if _row_serves(recipe, row, job)]
    return all(job.branch in row.get("inferred", ()) for row in rows)


def _is_for(recipe: Recipe, job: DriverJob) -> bool:
    return job.arch in recipe.arch and (job.os_id in recipe.os or job.family in recipe.family)


def _serves(recipe: Recipe, job: DriverJob) -> bool:
    return any(_row_serves(recipe, row, job) for row in recipe.serves)


def _row_serves(recipe: Recipe, row: Mapping[str, Any], job: DriverJob) -> bool:
    return (
        job.branch in row.get("branches", (job.branch,))
        and _holds(row, job)
        and ("repo" not in row or not recipe.keyrings or job.repo in recipe.keyrings)
    )


def _holds(row: Mapping[str, Any], job: DriverJob) -> bool:
    """Whether the conditions of a row are those of the job: the table at the top of this module."""
    same = {"os": job.os_id, "arch": job.arch, "action": job.action, "module": job.module, "repo": job.repo}
    more = {"branch": job.branch, "engine": job.engine, "wsl": job.wsl, "file": _kind(job.file)}
    for key, value in {**same, **more}.items():
        wanted = row.get(key, value)
        if value not in wanted if isinstance(wanted, list) else value != wanted:
            return False
    if row.get("feature", "") not in ("", *job.features) or row.get("not_feature") in job.features:
        return False
    return _release_holds(row, job.os_version)


def _kind(file: str | None) -> str | None:
    """``deb``, ``rpm`` or ``run``, by the file's name."""
    return file.rpartition(".")[2].lower() if file else None


def _release_holds(row: Mapping[str, Any], version: str | None) -> bool:
    release = _release(version)

    def within(key: str) -> bool:
        wanted = version_key(row[key])
        return release[: len(wanted)] == wanted

    return (
        ("version" not in row or within("version"))
        and ("not_version" not in row or not within("not_version"))
        and ("at_least" not in row or release >= version_key(row["at_least"]))
        and ("before" not in row or () < release < version_key(row["before"]))
    )


def _release(version: str | None) -> tuple[int, ...]:
    """VERSION_ID as numbers: 10.1 is older than 10.10, and 9.7 belongs to 9. A string or a float says otherwise.

    Empty for a rolling or an unreadable release, which is within none, older than none and newer than none.
    """
    try:
        return version_key(version or "")
    except ValueError:
        return ()


def venv_support_steps(job: DriverJob, recipes: Recipes) -> tuple[Step, ...]:
    """What ``python3 -m venv`` needs from the distribution; nothing where its python3 is whole."""
    recipe = recipes.by_id.get(VENV_SUPPORT)
    if recipe is None or not (job.os_id in recipe.os or job.family in recipe.family):
        return ()
    return _steps(recipe, job, recipes.state_dir)


def verify_steps(target_python: Sequence[str], *, cpu: bool) -> tuple[Step, ...]:
    """The last step of every script: torch computes on every GPU (``cpu``: on the CPU), and computes right."""
    what = "torch computes on the CPU" if cpu else "torch computes right on every GPU, with cuDNN"
    return (
        Step(
            id="verify",
            title=f"prove it: {what}",
            argv=("ec_verify", "cpu" if cpu else "gpu", *target_python),
            stage="verify",
            why="an installation that ended well may still not run: wrong driver, no code for the card, NumPy 2",
            source="installers/verify.py",
        ),
    )


def _steps(recipe: Recipe, job: DriverJob, state_dir: str) -> tuple[Step, ...]:
    values = _values(recipe, job, state_dir)
    return tuple(_step(row, values, recipe) for row in recipe.steps if _holds(row.get("when", {}), job))


def _values(recipe: Recipe, job: DriverJob, state_dir: str) -> dict[str, str]:
    values = {
        "branch": job.branch,
        "module": job.module,
        "repo": job.repo or "",
        "nvarch": "sbsa" if job.arch == "aarch64" else job.arch,  # NVIDIA's repositories never say aarch64
        "major": (job.os_version or "").partition(".")[0],
        "arch": job.arch,
        "sha256": recipe.keyrings.get(job.repo or "", ""),
        "state": state_dir,
        "toolkit": (job.toolkit or "").replace(".", "-"),  # as package names have it: cuda-toolkit-12-6
        "engine": job.engine or "",
        "file": job.file or "",
        "file_sha256": job.file_sha256 or "",
    }
    for name, choices in recipe.parameters.items():
        values[name] = _fill(_chosen(choices, job), values)
    return values


def _chosen(choices: Mapping[str, str], job: DriverJob) -> str:
    """A parameter's text for this job, by the first of these that it has: "*" is for all others."""
    major = f"{job.os_id}-{(job.os_version or '').partition('.')[0]}"
    first = ("wsl" if job.wsl else "", job.branch, job.module, job.repo or "")
    keys = (*first, major, job.os_id, job.family or "", job.arch, "*")
    return next((choices[key] for key in keys if key in choices), "")


def _fill(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in values:
            raise InputError(
                f"a recipe names the unknown parameter {{{name}}}; restore installers/ or reinstall envcheck"
            )
        return values[name]

    return PLACEHOLDER.sub(value, text)


def _step(row: Mapping[str, Any], values: Mapping[str, str], recipe: Recipe) -> Step:
    def words(key: str) -> tuple[str, ...] | None:
        return tuple(_fill(word, values) for word in row[key]) if key in row else None

    return Step(
        id=row["id"],
        title=_fill(row["title"], values),
        argv=words("argv") or (),
        why=row.get("why", ""),
        stage="system",
        root=row.get("root", False),
        reboot=row.get("reboot", False),
        check=words("check"),
        undo=words("undo"),
        source=row.get("source", recipe.source),
        parts=recipe.parts,
    )
