"""Paths, names and versions as they may stand in an argv: checked once, here, for every manager."""

from __future__ import annotations

import re
import unicodedata

from ..errors import UsageError
from .base import InstallJob

CONSTRAINT_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def clean_text(text: str, option: str) -> str:
    """``text`` as it is, or ``UsageError`` if it is empty or holds control or unencodable characters."""
    if not text:
        raise UsageError(f"{option} is empty; give a path or a name")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise UsageError(
            f"{option} holds a control or an undecodable character: it could not be shown faithfully; take another name"
        )
    return text


def safe_path(text: str, option: str, platform: str = "linux") -> str:
    """A path that no program mistakes for an option: ``-x`` becomes ``./-x``."""
    clean_text(text, option)
    if text.startswith("-"):
        return (".\\" if platform == "windows" else "./") + text
    return text


def join(platform: str, root: str, *parts: str) -> str:
    """Join path parts for the target's system, which is not always the one that runs this."""
    if platform == "windows":
        return "\\".join((root.rstrip("\\/") or root, *parts))
    return "/".join((root.rstrip("/"), *parts))


def is_path(text: str, platform: str) -> bool:
    """Whether ``--prefix`` names a directory, not an environment."""
    return text in (".", "..") or "/" in text or (platform == "windows" and ("\\" in text or ":" in text))


def minor(job: InstallJob) -> str:
    """The Python of the environment as ``3.11`` (free-threaded: ``3.13t``)."""
    version = job.python.version
    if not version:
        raise UsageError("no Python version was decided for this environment; give --python-version")
    return ".".join(version.split(".")[:2]) + ("t" if version.endswith("t") and version.count(".") > 1 else "")


def distribution(requirement: str) -> str:
    """The normalised name that a requirement is about: ``NumPy<2`` -> ``numpy``."""
    found = CONSTRAINT_NAME.match(requirement)
    if not found:
        raise UsageError(f"{requirement!r} is no requirement: it names no package")
    return re.sub(r"[-_.]+", "-", found[1]).lower()


def companions(job: InstallJob) -> tuple[tuple[str, str], ...]:
    """(name, version) of torchvision and torchaudio, in the order of PyTorch's own commands, then others."""
    official = ("torchvision", "torchaudio")
    ordered = [n for n in official if n in job.companions] + [n for n in job.companions if n not in official]
    return tuple((name, job.companions[name]) for name in ordered)
