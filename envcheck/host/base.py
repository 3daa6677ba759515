"""The words of the host layer: the Protocol, what a command gave, what the platform says of itself."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ..record import dataclass

WILD = re.compile(r"[*?[\]]")
READ_LIMIT = 1 << 20  # bytes; every file that a probe reads is far smaller


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a command gave. ``rc`` None: it did not start (``stderr`` says why) or did not end in time."""

    argv: tuple[str, ...]
    rc: int | None  # negative: the signal that ended it
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlatformFacts:
    """What the running interpreter knows about its system without reading a file."""

    sys_platform: str = "linux"  # as sys.platform: linux, win32, darwin
    machine: str = ""  # as uname -m: x86_64, AMD64, aarch64, arm64
    release: str = ""  # as uname -r
    version: str = ""  # Windows: "10.0.22631"; macOS: "14.5"
    libc: str = ""  # "glibc 2.36"; empty where confstr does not know it (musl, Windows, macOS)


class Host(Protocol):
    """Everything that detection may ask. Paths are absolute; text is UTF-8 with replacement characters."""

    @property
    def platform(self) -> PlatformFacts: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    def read_bytes(self, path: str) -> bytes | None:
        """At most ``READ_LIMIT`` bytes of a regular file; None where it is absent or unreadable."""
        ...

    def read_text(self, path: str) -> str | None: ...

    def exists(self, path: str) -> bool: ...

    def listdir(self, path: str, match: Sequence[str] = ()) -> tuple[str, ...] | None:
        """Sorted names; None where the directory is absent or may not be read.

        ``match`` holds shell patterns of the names that are wanted: nothing else gets into a record.
        """
        ...

    def readlink(self, path: str) -> str | None:
        """The link's own text; None where the path is no link."""
        ...

    def realpath(self, path: str) -> str: ...

    def which(self, name: str) -> str | None: ...

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        """Run one command with a deadline in seconds. ``env`` is added to the inherited environment.

        ``label`` is the name under which a record keeps the command, where argv differs from host to host.
        """
        ...


def matching(names: Iterable[str], match: Sequence[str]) -> tuple[str, ...]:
    """The names that fit one of the shell patterns (all of them where there is no pattern), sorted."""
    if not match:
        return tuple(sorted(names))
    plain, heads, others = _sorted_out(tuple(match))
    fitting = (n for n in names if n in plain or n.startswith(heads) or (others is not None and others.match(n)))
    return tuple(sorted(fitting))


@functools.lru_cache(maxsize=64)
def _sorted_out(match: tuple[str, ...]) -> tuple[frozenset[str], tuple[str, ...], re.Pattern[str] | None]:
    """Whole names, beginnings (``torch-*``), and one expression for the rest: a pattern each is slow by the hundred."""
    plain = {m for m in match if not WILD.search(m)}
    heads = {m[:-1] for m in match if m.endswith("*") and not WILD.search(m[:-1])}
    rest = [fnmatch.translate(m) for m in match if m not in plain and m[:-1] not in heads]
    return frozenset(plain), tuple(heads), re.compile("|".join(rest)) if rest else None


def glob(host: Host, pattern: str) -> Iterator[str]:
    """Paths that match a pattern with wildcards in any component, sorted. Uses ``listdir`` alone."""
    head, _, tail = pattern.partition("*")
    base, _, part = head.rpartition("/")
    component, slash, rest = (part + "*" + tail).partition("/")
    for name in host.listdir(base or "/", (component,)) or ():
        path = f"{base}/{name}"
        if not slash:
            yield path
        elif "*" in rest:
            yield from glob(host, f"{path}/{rest}")
        elif host.exists(f"{path}/{rest}"):
            yield f"{path}/{rest}"
