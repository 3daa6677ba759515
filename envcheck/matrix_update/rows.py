"""What one index says of every release, per platform: Python tags, wheel tags, pins, upload dates, pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..errors import NetworkError
from . import archs
from .index import IndexFile, Session
from .pins import Pins, pins, requirements
from .wheels import Wheel, parse_all

Progress = Callable[[str], None]


def python_key(text: str) -> tuple[tuple[int, ...], bool]:
    """Sorts ``3.9 < 3.13 < 3.13t < 3.14``."""
    return tuple(int(part) for part in text.rstrip("t").split(".")), text.endswith("t")


@dataclass
class OnIndex:
    """The wheels of one release for one platform."""

    wheels: list[Wheel] = field(default_factory=list)

    @property
    def pythons(self) -> list[str]:
        return sorted({p for wheel in self.wheels for p in wheel.cpythons}, key=python_key)

    @property
    def wheel_tag(self) -> str:
        """The platform tag of most wheels; of equals, the first in the alphabet."""
        counts = Counter(wheel.platform_tag for wheel in self.wheels)
        return min(counts, key=lambda tag: (-counts[tag], tag))

    @property
    def released(self) -> str | None:
        return min((w.file.uploaded for w in self.wheels if w.file.uploaded), default=None)

    def sample(self) -> Wheel:
        """The wheel whose METADATA is read: that of the middle CPython, in its newest build."""
        python = self.pythons[len(self.pythons) // 2]
        return max((w for w in self.wheels if python in w.cpythons), key=lambda w: w.build)


def by_release(files: Iterable[IndexFile], project: str) -> dict[str, dict[str, OnIndex]]:
    """Final releases (no previews) -> platform key -> wheels."""
    found: dict[str, dict[str, OnIndex]] = {}
    for wheel in parse_all(files, project):
        if wheel.version.is_prerelease or wheel.version.local or not wheel.cpythons:
            continue
        platforms = found.setdefault(wheel.version.base_version, {})
        for key in wheel.platforms:
            platforms.setdefault(key, OnIndex()).wheels.append(wheel)
    return found


def metadata(session: Session, file: IndexFile) -> str:
    """The METADATA of a wheel: beside it (PEP 658), else read out of it, since proxies drop the former."""
    text = session.text(f"{file.url}.metadata") if file.has_metadata else None
    if text is not None:
        return text
    wheel = archs.open_wheel(file.url, session)
    names = [name for name in wheel.members if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
    if not names:
        raise NetworkError(f"{file.filename} on the index holds no METADATA; is it a wheel?")
    return wheel.read(names[0]).decode("utf-8", "replace")


def pins_of(session: Session, found: OnIndex, platform: str) -> Pins:
    """The pins of the newest Python that has a triton pin, else of the newest Python.

    Some releases pin no triton on the Python that was new then (3.12 for torch 2.3).
    """
    text = metadata(session, found.sample().file)
    every = [pins(text, platform, python) for python in found.pythons]
    return next((p for p in reversed(every) if p.triton), every[-1])


@dataclass
class Pairs:
    """What the METADATA of a companion says about torch."""

    exact: dict[str, str] = field(default_factory=dict)  # torch -> newest companion that pins exactly that torch
    loose: list[tuple[SpecifierSet, str, str]] = field(default_factory=list)  # (torch range, day uploaded, companion)

    def by_day(self, torch: str, released: str) -> str | None:
        """The companion that allows ``torch``, pins none, and was uploaded on the day of its release."""
        return next((v for spec, day, v in reversed(self.loose) if day == released and spec.contains(torch)), None)


def pairs(session: Session, files: Iterable[IndexFile], project: str, progress: Progress) -> Pairs:
    """Read the METADATA of one wheel of every final release of a companion.

    A pin with a local version (``torch==2.0.0+cu117``) cannot be installed from the index that holds it: no pair.
    """
    chosen: dict[Version, IndexFile] = {}
    for wheel in parse_all(files, project):
        if not wheel.version.is_prerelease and not wheel.version.local:
            chosen.setdefault(wheel.version, wheel.file)
    found = Pairs()
    for version in sorted(chosen):
        progress(f"{project} {version}")
        for requirement in requirements(metadata(session, chosen[version])):
            if requirement.name.lower() != "torch":
                continue
            exact = [s.version for s in requirement.specifier if s.operator == "=="]
            if len(exact) == 1 and "+" not in exact[0]:
                found.exact[exact[0]] = str(version)
            elif not exact:
                found.loose.append((requirement.specifier, chosen[version].uploaded or "", str(version)))
    return found
