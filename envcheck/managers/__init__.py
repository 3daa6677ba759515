"""The package managers that a plan can be written for, each loaded when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from ..errors import UsageError

if TYPE_CHECKING:
    from .base import Manager

# One line per manager: its module, and the file formats that it alone can have.
_MODULES = {"pip": "pip", "uv": "uv", "conda": "conda", "mamba": "conda", "micromamba": "conda"} | {
    "pixi": "pixi",
    "poetry": "poetry",
}
_FILES = {
    "pip": ("requirements",),
    "uv": ("requirements", "pyproject"),
    "conda": ("environment",),
    "pixi": ("pixi",),
    "poetry": ("pyproject",),
}
COMMON_FORMATS = ("script", "powershell", "json", "text", "dockerfile")


class _Managers(Mapping[str, "Manager"]):
    """Name to module; a module is imported by the look-up, since start-up time counts."""

    def __getitem__(self, name: str) -> Manager:
        return cast("Manager", importlib.import_module(f"{__name__}.{_MODULES[name]}"))

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


MANAGERS: Mapping[str, Manager] = _Managers()


def get(name: str) -> Manager:
    """The module of one manager. Raises ``UsageError`` for a name that is none."""
    _known(name)
    return MANAGERS[name]


def formats(manager: str) -> tuple[str, ...]:
    """The values of ``--format`` that this manager can have. Raises ``UsageError`` for an unknown manager."""
    _known(manager)
    return COMMON_FORMATS + _FILES[_MODULES[manager]]


def managers_with(fmt: str) -> tuple[str, ...]:
    """The managers that can have a format, for the message that says which can."""
    return tuple(name for name in _MODULES if fmt in formats(name))


def _known(name: str) -> None:
    if name not in _MODULES:
        raise UsageError(f"{name!r} is no package manager that envcheck knows; it knows {', '.join(_MODULES)}")
