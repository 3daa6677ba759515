"""Typed view of ``installers/``: one JSON file per system and source, its steps as argv with named parameters.

A recipe says what it can deliver (``serves``), so that choosing one is a query. Adding a system is adding a file.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import InputError
from .matrix import data_path
from .model import Step
from .record import dataclass

STATE_DIR = "/var/lib/envcheck"
# The distribution's own archive comes before a third party's: its updates are tested with it.
ORDER = ("ubuntu-archive", "debian-archive", "nvidia-apt")
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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One file of ``installers/``."""

    id: str
    title: str
    source: str
    os: tuple[str, ...]
    family: tuple[str, ...]
    arch: tuple[str, ...]
    serves: tuple[Mapping[str, Any], ...]  # {"version" or "repo", "module", "branches"}
    parameters: Mapping[str, Mapping[str, str]]
    keyrings: Mapping[str, str]  # repo -> SHA-256
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
    recipe = choose(job, recipes)
    return None if recipe is None else _steps(recipe, job, recipes.state_dir)


def choose(job: DriverJob, recipes: Recipes) -> Recipe | None:
    """The first recipe, in ``ORDER``, that delivers this branch and module to this system."""
    known = [recipes.by_id[i] for i in ORDER if i in recipes.by_id]
    return next((r for r in known if job.os_id in r.os and job.arch in r.arch and _serves(r, job)), None)


def _serves(recipe: Recipe, job: DriverJob) -> bool:
    return any(
        job.branch in row["branches"]
        and job.module == row["module"]
        and ("version" not in row or row["version"] == job.os_version)
        and ("repo" not in row or (row["repo"] == job.repo and job.repo in recipe.keyrings))
        for row in recipe.serves
    )


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
    return tuple(_step(row, values, recipe) for row in _wanted(recipe, job))


def _wanted(recipe: Recipe, job: DriverJob) -> Iterator[Mapping[str, Any]]:
    for row in recipe.steps:
        when = row.get("when", {})
        if (
            when.get("os", job.os_id) == job.os_id
            and when.get("version", job.os_version) == job.os_version
            and ("not_version" not in when or when["not_version"] != job.os_version)
            and when.get("action", job.action) == job.action
        ):
            yield row


def _values(recipe: Recipe, job: DriverJob, state_dir: str) -> dict[str, str]:
    values = {
        "branch": job.branch,
        "module": job.module,
        "repo": job.repo or "",
        "nvarch": "sbsa" if job.arch == "aarch64" else job.arch,  # NVIDIA's repositories never say aarch64
        "sha256": recipe.keyrings.get(job.repo or "", ""),
        "state": state_dir,
    }
    for name, choices in recipe.parameters.items():
        text = choices.get(job.module, choices.get(job.os_id, ""))
        values[name] = _fill(text, values)
    return values


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
    )
