"""This machine: files, links, environment and commands."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping, Sequence

from .base import READ_LIMIT, CommandResult, PlatformFacts, matching
from .command import run_command


class LiveHost:
    """This machine."""

    @property
    def platform(self) -> PlatformFacts:
        return _live_platform()

    @property
    def environ(self) -> Mapping[str, str]:
        return os.environ

    def read_bytes(self, path: str) -> bytes | None:
        # O_NONBLOCK: a FIFO in the place of a file must not hold us
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            fd = os.open(path, flags)
        except (OSError, ValueError):
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read(READ_LIMIT)
        except OSError:
            return None
        finally:
            os.close(fd)

    def read_text(self, path: str) -> str | None:
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace")

    def exists(self, path: str) -> bool:
        try:
            return os.path.exists(path)
        except ValueError:
            return False

    def listdir(self, path: str, match: Sequence[str] = ()) -> tuple[str, ...] | None:
        try:
            return matching(os.listdir(path), match)
        except (OSError, ValueError):
            return None

    def readlink(self, path: str) -> str | None:
        try:
            return os.readlink(path)
        except (OSError, ValueError):
            return None

    def realpath(self, path: str) -> str:
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return path

    def which(self, name: str) -> str | None:
        import shutil

        return shutil.which(name)

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        child_env = {**os.environ, "LC_ALL": "C", **(env or {})}
        return run_command(tuple(argv), timeout, child_env, tuple(label or argv))


def _live_platform() -> PlatformFacts:
    if sys.platform == "win32":
        version = sys.getwindowsversion()
        machine = os.environ.get("PROCESSOR_ARCHITEW6432") or os.environ.get("PROCESSOR_ARCHITECTURE", "")
        text = f"{version.major}.{version.minor}.{version.build}"
        return PlatformFacts(sys_platform="win32", machine=machine, release=text, version=text)
    uname = os.uname()
    version_text = ""
    if sys.platform == "darwin":
        import platform

        version_text = platform.mac_ver()[0]
    return PlatformFacts(
        sys_platform=sys.platform, machine=uname.machine, release=uname.release, version=version_text, libc=_libc()
    )


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return ""
