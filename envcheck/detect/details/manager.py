"""Which package manager made the target environment, and which one installed torch into it, by the marks they leave."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ...host import Host
from ..python import Found

CONDA = ("conda", "mamba", "micromamba")
_DIST = re.compile(r"torch-\d[^-]*\.dist-info")


def parse_pyvenv(text: str) -> dict[str, str]:
    """Keys of a ``pyvenv.cfg``, in lower case; uv writes its own version into it::

    home = /usr/bin
    implementation = CPython
    uv = 0.5.11
    version_info = 3.11.2
    include-system-site-packages = false
    """
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip()[:200] for key, _, value in pairs}


def parse_installer(text: str) -> str | None:
    """The first word of a dist-info's ``INSTALLER``, in lower case: pip, uv, ``Poetry 1.8.3``, conda, debian."""
    words = text.split()
    return words[0].lower() if words and re.fullmatch(r"[A-Za-z][\w-]{1,30}", words[0]) else None


def parse_pixi(text: str) -> dict[str, str]:
    """``manifest_path`` and ``environment_name`` of the marker that pixi writes into ``conda-meta``::

    {"manifest_path": "/home/user/train/pixi.toml", "environment_name": "default", "pixi_version": "0.39.5"}
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    keys = ("manifest_path", "environment_name")
    return {k: data[k][:400] for k in keys if isinstance(data.get(k), str)} if isinstance(data, dict) else {}


def gather(host: Host, found: Found, tools: Iterable[str]) -> dict[str, Any]:
    """``environment``: ``manager`` (whose commands change torch here), ``installer``, ``prefix``, ``project``."""
    if not found.prefix:
        return {}
    prefix = found.prefix.rstrip("/\\") or found.prefix
    installer = _installer(host, found)
    pixi = host.read_text(f"{prefix}/conda-meta/pixi")
    facts: dict[str, Any] = {"manager": None, "installer": installer, "prefix": prefix, "project": None}
    if pixi is not None:
        marker = parse_pixi(pixi)
        facts.update(manager="pixi", project=marker.get("manifest_path"), name=marker.get("environment_name"))
    elif found.python.environment == "conda":
        own = host.listdir(f"{prefix}/conda-meta", ("pytorch-[0-9]*.json", "libtorch-*.json"))
        by_wheel = not own and installer in ("pip", "uv")
        facts["manager"] = installer if by_wheel else _conda(host, set(tools))
    else:
        facts.update(_virtual(host, prefix, installer))
    return {"environment": facts}


def _installer(host: Host, found: Found) -> str | None:
    """Of the torch that would be imported, that is of the first directory that has one."""
    for directory in found.path:
        for name in host.listdir(directory, ("torch-[0-9]*",)) or ():
            if _DIST.fullmatch(name):
                return parse_installer(host.read_text(f"{directory}/{name}/INSTALLER") or "")
    return None


def _conda(host: Host, tools: set[str]) -> str:
    """One of the family that is here; micromamba is a function of the shell, its program need not be on PATH."""
    shell = re.split(r"[/\\]", host.environ.get("MAMBA_EXE", ""))[-1].removesuffix(".exe")
    return next((n for n in CONDA if n in tools), shell if shell in CONDA else CONDA[0])


def _virtual(host: Host, prefix: str, installer: str | None) -> dict[str, Any]:
    """uv's and poetry's projects lock torch's version, so their own commands have to change it."""
    config = parse_pyvenv(host.read_text(f"{prefix}/pyvenv.cfg") or "")
    parent = re.match(r"(.+)[/\\][^/\\]+$", prefix)
    beside = parent[1] if parent else None
    locks = {name: beside if beside and host.exists(f"{beside}/{name}.lock") else None for name in ("uv", "poetry")}
    if installer == "poetry" or (installer is None and locks["poetry"]):
        return {"manager": "poetry", "project": locks["poetry"]}
    if installer == "uv" or (installer is None and "uv" in config):
        return {"manager": "uv", "project": locks["uv"]}
    return {"manager": "pip"}
