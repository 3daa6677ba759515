"""Hosts that write a record and that answer from one; see ``detect.snapshot`` for the file."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from .base import CommandResult, Host, PlatformFacts, matching


class RecordingHost:
    """Answers like the host that it wraps, and keeps every question and answer for a snapshot."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._files: dict[str, str | None] = {}
        self._dirs: dict[str, list[str] | None] = {}
        self._links: dict[str, str | None] = {}
        self._real: dict[str, str] = {}
        self._exists: dict[str, bool] = {}
        self._which: dict[str, str | None] = {}
        self._commands: dict[tuple[str, ...], dict[str, Any]] = {}

    def record(self, env_names: Sequence[str]) -> dict[str, Any]:
        """The raw part of a snapshot; of the environment only the named variables, never the whole."""
        env = self._host.environ
        return {
            "platform": {k: getattr(self._host.platform, k) for k in PlatformFacts.__dataclass_fields__},
            "files": dict(sorted(self._files.items())),
            "dirs": dict(sorted(self._dirs.items())),
            "links": dict(sorted(self._links.items())),
            "realpaths": dict(sorted(self._real.items())),
            "exists": dict(sorted(self._exists.items())),
            "which": dict(sorted(self._which.items())),
            "commands": [self._commands[key] for key in sorted(self._commands)],
            "env": {name: env[name] for name in sorted(env_names) if name in env},
        }

    @property
    def platform(self) -> PlatformFacts:
        return self._host.platform

    @property
    def environ(self) -> Mapping[str, str]:
        return self._host.environ

    def read_bytes(self, path: str) -> bytes | None:
        data = self._host.read_bytes(path)
        self._files[path] = None if data is None else data.decode("utf-8", "replace")
        return data

    def read_text(self, path: str) -> str | None:
        data = self._host.read_text(path)
        self._files[path] = data
        return data

    def exists(self, path: str) -> bool:
        return self._exists.setdefault(path, self._host.exists(path))

    def listdir(self, path: str, match: Sequence[str] = ()) -> tuple[str, ...] | None:
        names = self._host.listdir(path, match)
        self._dirs[path] = None if names is None else sorted({*(self._dirs.get(path) or ()), *names})
        return names

    def readlink(self, path: str) -> str | None:
        return self._links.setdefault(path, self._host.readlink(path))

    def realpath(self, path: str) -> str:
        return self._real.setdefault(path, self._host.realpath(path))

    def which(self, name: str) -> str | None:
        return self._which.setdefault(name, self._host.which(name))

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        result = self._host.run(argv, timeout, env=env, label=label)
        entry = {
            "argv": list(result.argv),
            "rc": result.rc,
            "stdout": result.stdout,
            "stderr": result.stderr,
            "timed_out": result.timed_out,
            "seconds": round(result.seconds, 3),
        }
        with self._lock:
            self._commands[result.argv] = entry
        return result


class RecordedHost:
    """A host replayed from the ``raw`` part of a snapshot. What was never recorded reads as absent.

    Raises ``ValueError`` that names the place of the first value of a wrong type.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        if not isinstance(raw, Mapping):
            raise ValueError(f"raw: expected an object, found {type(raw).__name__}")
        self._files: dict[str, str | None] = _table(raw, "files", str)
        self._links: dict[str, str | None] = _table(raw, "links", str)
        self._real: dict[str, str | None] = _table(raw, "realpaths", str)
        self._which: dict[str, str | None] = _table(raw, "which", str)
        self._exists: dict[str, bool | None] = _table(raw, "exists", bool)
        self._dirs: dict[str, list[str] | None] = _table(raw, "dirs", list)
        for path, names in self._dirs.items():
            if not all(isinstance(name, str) for name in names or ()):
                raise ValueError(f"raw.dirs[{path!r}]: expected a list of names")
        self._env = {k: v for k, v in _table(raw, "env", str).items() if v is not None}
        known = PlatformFacts.__dataclass_fields__
        self._platform = PlatformFacts(**{k: v for k, v in _table(raw, "platform", str).items() if k in known and v})
        commands = raw.get("commands", [])
        if not isinstance(commands, list):
            raise ValueError(f"raw.commands: expected a list, found {type(commands).__name__}")
        results = [_command(entry, f"raw.commands[{i}]") for i, entry in enumerate(commands)]
        self._commands = {result.argv: result for result in results}

    @property
    def platform(self) -> PlatformFacts:
        return self._platform

    @property
    def environ(self) -> Mapping[str, str]:
        return self._env

    def read_bytes(self, path: str) -> bytes | None:
        text = self.read_text(path)
        return None if text is None else text.encode("utf-8", "surrogatepass")

    def read_text(self, path: str) -> str | None:
        return self._files.get(path)

    def exists(self, path: str) -> bool:
        known = self._exists.get(path)
        if known is not None:
            return known
        if self._files.get(path) is not None or self._dirs.get(path) is not None or self._links.get(path):
            return True
        parent, _, name = path.rstrip("/").rpartition("/")
        return name in (self._dirs.get(parent or "/") or ())

    def listdir(self, path: str, match: Sequence[str] = ()) -> tuple[str, ...] | None:
        names = self._dirs.get(path)
        return None if names is None else matching(names, match)

    def readlink(self, path: str) -> str | None:
        return self._links.get(path)

    def realpath(self, path: str) -> str:
        known = self._real.get(path)
        if known is not None:
            return known
        target = self._links.get(path)
        return posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path

    def which(self, name: str) -> str | None:
        return self._which.get(name)

    def run(
        self,
        argv: Sequence[str],
        timeout: float,
        *,
        env: Mapping[str, str] | None = None,
        label: Sequence[str] | None = None,
    ) -> CommandResult:
        key = tuple(label or argv)
        found = self._commands.get(key)
        if found is not None:
            return found
        return CommandResult(argv=key, rc=None, stdout="", stderr="not in the record", timed_out=False, seconds=0.0)


def _table(raw: Mapping[str, Any], name: str, kind: type) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"raw.{name}: expected an object, found {type(table).__name__}")
    for key, value in table.items():
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"raw.{name}[{key!r}]: expected {kind.__name__} or null, found {type(value).__name__}")
    return dict(table)


def _command(entry: Any, where: str) -> CommandResult:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected an object, found {type(entry).__name__}")
    argv, rc = entry.get("argv"), entry.get("rc")
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        raise ValueError(f"{where}.argv: expected a list of words")
    if rc is not None and (isinstance(rc, bool) or not isinstance(rc, int)):
        raise ValueError(f"{where}.rc: expected a number or null, found {type(rc).__name__}")
    stdout, stderr, seconds = entry.get("stdout", ""), entry.get("stderr", ""), entry.get("seconds", 0.0)
    if not isinstance(stdout, str) or not isinstance(stderr, str):
        raise ValueError(f"{where}: stdout and stderr must be text")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise ValueError(f"{where}.seconds: expected a number, found {type(seconds).__name__}")
    timed_out = entry.get("timed_out") is True
    return CommandResult(
        argv=tuple(argv), rc=rc, stdout=stdout, stderr=stderr, timed_out=timed_out, seconds=float(seconds)
    )
