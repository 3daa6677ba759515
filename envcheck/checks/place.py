"""Where torch is installed, and whose commands change it there: pip, uv, conda and its family, pixi, poetry.

A live machine is known by the marks that a manager leaves (``detect.details.manager``); of a pasted report only the
words of the commands in it tell, and nothing of its text but those words is used.
"""

from __future__ import annotations

import dataclasses
import re

from ..managers import MANAGERS
from ..model import Machine, Step
from ..record import dataclass
from .view import View

COMPANIONS = ("torchvision", "torchaudio")
CONDA = ("conda", "mamba", "micromamba")
WHEELS = ("pip", "uv", "poetry")  # managers that install wheels; the others install conda packages
PEP668 = "--break-system-packages"
CONDA_NAMES = {"torch": "pytorch"}
# A path from a file or a device that no shell reads otherwise, even if it is pasted without its quotes' meaning
PATH = re.compile(r"(?:/|[A-Za-z]:[\\/])[\w./\\~@+ -]{1,400}\Z")
# What a report's author types, most special first
SPOKEN = (
    ("pixi", r"\bpixi (?:add|install|run|shell)\b|[/\\]\.pixi[/\\]envs"),
    ("poetry", r"\bpoetry (?:add|install|run|lock|update|shell)\b|\[tool\.poetry"),
    ("uv", r"\buv (?:pip|add|sync|run|venv|lock)\b"),
    ("micromamba", r"\bmicromamba (?:install|create|activate|env)\b"),
    ("mamba", r"\bmamba (?:install|create|activate|env)\b"),
    ("conda", r"\bconda (?:install|create|env)\b"),
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One environment. Paths are None (``python``: a plain name) where they are not known, or are no plain paths."""

    manager: str
    python: str
    prefix: str | None = None
    project: str | None = None  # the directory (pixi: the manifest) of a project that locks torch's version
    name: str | None = None  # of a pixi environment
    managed: bool = False  # PEP 668: pip refuses to change it without a word more
    here: bool = True  # this machine, not one of a report


def plain_path(text: object) -> str | None:
    return text if isinstance(text, str) and PATH.match(text) else None


def section(at: Place) -> str:
    """The section of the matrix: wheels, or the packages of conda's channels."""
    return "builds" if at.manager in WHEELS else "conda"


def filled(v: View) -> Machine:
    """The machine with what nearly every report leaves out: a plain PC, and a card of the capability that is told."""
    os = v.machine.os
    platform = os.platform or ("windows" if v.flag("windows") else "macos" if v.flag("macos") else "linux")
    arch = os.arch or ("aarch64" if v.flag("aarch64") else "x86_64")
    return dataclasses.replace(v.machine, os=dataclasses.replace(os, platform=platform, arch=arch, container=None))


def place(v: View) -> Place:
    """Of the torch that is meant. What nothing tells is pip's, as most are."""
    python = v.machine.python
    generic = "python" if v.flag("windows") else "python3"
    if v.pasted:
        return Place(manager=_spoken(v), python=generic, here=False)
    told = v.fact("environment")
    facts = told if isinstance(told, dict) else {}
    manager = facts.get("manager")
    if manager not in MANAGERS:
        manager = "conda" if v.machine.torch is not None and v.machine.torch.source == "conda" else "pip"
    seen = v.fact("python")
    prefix = facts.get("prefix") or (seen.get("prefix") if isinstance(seen, dict) else None)
    return Place(
        manager=str(manager),
        python=(plain_path(python.executable) if python else None) or generic,
        prefix=plain_path(prefix),
        project=plain_path(facts.get("project")),
        name=facts.get("name") if re.fullmatch(r"[\w.-]{1,60}", str(facts.get("name"))) else None,
        managed=bool(python and python.externally_managed),
    )


def _spoken(v: View) -> str:
    """By the commands that the report shows; conda where its torch is conda's."""
    torch = v.machine.torch
    if torch is not None and torch.source == "conda":
        family = (name for name, words in SPOKEN if name not in WHEELS and v.has(words))
        return next(family, "conda")
    return next((name for name, words in SPOKEN if name in WHEELS and v.has(words)), "pip")


def install_argv(at: Place) -> tuple[str, ...]:
    """The command that installs requirements here, without them."""
    return (*_verb(at, "install"), *_past_pep668(at))


def uninstall_argv(at: Place) -> tuple[str, ...]:
    return (*_verb(at, "uninstall"), *_past_pep668(at))


def _past_pep668(at: Place) -> tuple[str, ...]:
    """What is in a Python of the distribution's was put there past the mark, and leaves only past it."""
    return (PEP668,) if at.managed and at.manager in ("pip", "uv") else ()


def _verb(at: Place, verb: str) -> tuple[str, ...]:
    if at.manager == "pip":
        return (at.python, "-m", "pip", verb, *(("-y",) if verb == "uninstall" else ()))
    if at.manager == "uv":
        return ("uv", "pip", verb, *(("--python", at.python) if at.here else ()))
    if at.manager == "poetry":
        project = (f"--directory={at.project}",) if at.project else ()
        return ("poetry", *project, "add" if verb == "install" else "remove")
    if at.manager == "pixi":
        manifest = (f"--manifest-path={at.project}",) if at.project else ()
        return ("pixi", "add" if verb == "install" else "remove", *manifest)
    prefix = ("-p", at.prefix) if at.prefix else ()
    return (at.manager, "install" if verb == "install" else "remove", "-y", *prefix)


def packages(v: View, id: str, title: str, *requirements: str, why: str = "") -> Step:
    """Install requirements that both worlds know (``numpy<2``) beside torch, by the manager that serves here."""
    at = place(v)
    channel = ("-c", "conda-forge") if at.manager == "micromamba" else ()  # it has no default one
    return Step(id=id, title=title, argv=(*install_argv(at), *requirements, *channel), why=why)


def wheels(v: View, id: str, title: str, *requirements: str, why: str = "") -> Step:
    """Install wheels in the versions that torch pins; a project's own lock brings them back where there is one."""
    at = place(v)
    if at.manager == "poetry":
        where = (f"--directory={at.project}",) if at.project else ()
        return Step(id=id, title=title, argv=("poetry", *where, "install", "--sync"), why=why)
    if at.manager == "uv" and at.project:
        return Step(id=id, title=title, argv=("uv", "sync", "--project", at.project), why=why)
    if at.manager not in WHEELS:  # a wheel in a conda environment is pip's
        at = Place(manager="pip", python=at.python, here=at.here)
    return Step(id=id, title=title, argv=(*install_argv(at), *requirements), why=why)


def without(v: View, id: str, title: str, *names: str, why: str = "") -> Step:
    """Uninstall by the manager that serves here; conda knows torch as ``pytorch``."""
    at = place(v)
    conda = at.manager not in WHEELS
    return Step(
        id=id,
        title=title,
        argv=(*uninstall_argv(at), *(CONDA_NAMES.get(n, n) if conda else n for n in names)),
        why=why,
    )
