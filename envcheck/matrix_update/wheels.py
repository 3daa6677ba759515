"""Which wheels an index holds: file names taken apart, and the one that a plan needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from .index import IndexFile, Session

MACHINES = {"x86_64": ("x86_64", "amd64"), "aarch64": ("aarch64",), "arm64": ("arm64", "universal2")}
PREFIXES = {"linux": ("manylinux", "linux_"), "windows": ("win_",), "macos": ("macosx_",)}
PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64", "macos-x86_64")


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """One wheel of an index, its file name taken apart."""

    file: IndexFile
    version: Version
    build: tuple[int, str] | tuple[()]
    pythons: frozenset[tuple[str, str]]  # (interpreter, abi): ("cp313", "cp313t")
    platform_tag: str  # as the file name writes it: "manylinux_2_28_x86_64"

    @property
    def local(self) -> str | None:
        return self.version.local

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform keys that the wheel serves."""
        return tuple(key for key in PLATFORMS if any(_fits(tag, key) for tag in self.platform_tag.split(".")))

    @property
    def cpythons(self) -> tuple[str, ...]:
        """``("3.13t",)`` for cp313-cp313t, ``("3.9",)`` for cp39-none; empty for wheels of no one CPython."""
        found = []
        for interpreter, abi in self.pythons:
            if interpreter.startswith("cp") and abi in (interpreter, f"{interpreter}t", "none"):
                found.append(f"{interpreter[2]}.{interpreter[3:]}" + ("t" if abi.endswith("t") else ""))
        return tuple(found)


def _fits(tag: str, platform: str) -> bool:
    system, _, machine = platform.partition("-")
    if tag == "any":
        return True
    return tag.startswith(PREFIXES[system]) and tag.endswith(MACHINES[machine])


def parse(file: IndexFile) -> Wheel | None:
    """None for what is no wheel (a source archive, a signature) or has a name of no known form."""
    try:
        _, version, build, tags = parse_wheel_filename(file.filename)
    except (InvalidWheelFilename, InvalidVersion):
        return None
    return Wheel(
        file=file,
        version=version,
        build=build,
        pythons=frozenset((tag.interpreter, tag.abi) for tag in tags),
        platform_tag=file.filename.removesuffix(".whl").rpartition("-")[2],
    )


def parse_all(files: Iterable[IndexFile], project: str) -> Iterator[Wheel]:
    """The wheels of ``project`` that are not yanked."""
    for file in files:
        name = file.filename.partition("-")[0]
        if not file.yanked and canonicalize_name(name) == project:
            wheel = parse(file)
            if wheel:
                yield wheel


def runs_on(wheel: Wheel, python: str) -> bool:
    """Whether a CPython (``3.11``, free-threaded ``3.13t``) can install the wheel, by its tags."""
    major, _, rest = python.partition(".")
    minor, free = int(rest.rstrip("t")), rest.endswith("t")
    own = f"cp{major}{minor}"
    for interpreter, abi in wheel.pythons:
        if abi == "none" and interpreter in (f"py{major}", own):
            return True
        if interpreter == own and abi == own + ("t" if free else ""):
            return True
        if abi == "abi3" and not free and interpreter.startswith(f"cp{major}") and int(interpreter[3:]) <= minor:
            return True
    return False


def find_wheel(
    session: Session,
    index_url: str,
    project: str,
    version: str,
    *,
    tag: str | None,
    python: str,
    platform: str,
    flat: bool = False,
) -> IndexFile | None:
    """The wheel of one release on an index (file name, address, SHA-256 where the index says it), or None.

    ``tag`` (``cu118``) is the local version that PyTorch's own index gives its wheels; wheels without one match too
    (the default index, macOS). ``flat`` is a directory listing (pip's ``--find-links``) instead of an index.
    Raises ``NetworkError`` if the index does not answer; 403 and 404 mean that it has no such project.
    """
    name = canonicalize_name(project)
    files = session.listing(index_url) if flat else session.project(index_url, name)
    wanted = Version(version)
    fitting = [
        wheel
        for wheel in parse_all(files or [], name)
        if wheel.version.public == wanted.public
        and wheel.local in (None, tag or wanted.local)
        and platform in wheel.platforms
        and runs_on(wheel, python)
    ]
    best = max(fitting, key=lambda w: (w.local is not None, w.build, w.file.filename), default=None)
    return best.file if best else None


def newest_version(session: Session, index_url: str, project: str) -> str | None:
    """The newest final release of a project, without its local version; None if the index has none."""
    name = canonicalize_name(project)
    found = [w.version for w in parse_all(session.project(index_url, name) or [], name) if not w.version.is_prerelease]
    return max(found).public if found else None
