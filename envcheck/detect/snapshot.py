"""One file that holds a machine: what was detected, and everything that detection read, replayable anywhere.

::

    {"schema": "envcheck.snapshot/1", "envcheck": "0.1.0", "date": "2026-11-23T12:00:00+00:00",
     "machine": {...}, "raw": {"platform": {}, "files": {}, "dirs": {}, "links": {}, "commands": [], "env": {}}}
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..host import Host, RecordedHost, RecordingHost
from ..model import Machine, from_plain, to_plain
from . import detect
from .env import NAMES, REPLAY_NAMES, without_credentials
from .redact import Redactor

SCHEMA = "envcheck.snapshot/1"
SIZE_LIMIT = 64 << 20  # bytes; a real snapshot has some 100 KiB
MACHINE_KEYS = ("os", "driver", "gpus")


def take(
    host: Host,
    *,
    python: str | None = None,
    redact: bool = True,
    now: datetime.datetime | None = None,
    full: bool = True,
) -> dict[str, Any]:
    """Detect ``host`` and record what was asked. ``machine`` is what ``raw`` replays to.

    ``python`` is the target interpreter, as for ``detect``; it is kept, so that a replay asks for the same one.
    """
    recorder = RecordingHost(host)
    detect(recorder, python=python, full=full)
    raw = recorder.record((*NAMES, *REPLAY_NAMES))
    raw["env"] = {name: without_credentials(value) for name, value in raw["env"].items()}
    # pip's configuration holds addresses, and those may hold passwords: no record ever keeps one
    raw["files"] = {path: text if text is None else without_credentials(text) for path, text in raw["files"].items()}
    raw["python"] = python
    raw["full"] = full
    if redact:
        raw = Redactor(host.environ, _node(host))(raw)
    date = now or datetime.datetime.now(datetime.timezone.utc)
    return {
        "schema": SCHEMA,
        "envcheck": __version__,
        "date": date.isoformat(timespec="seconds"),
        "redacted": redact,
        "machine": to_plain(replay(raw)),
        "raw": raw,
    }


def _node(host: Host) -> str:
    return (host.read_text("/proc/sys/kernel/hostname") or host.read_text("/etc/hostname") or "").strip()


def replay(raw: Mapping[str, Any]) -> Machine:
    """Run detection again on a record. Raises ``ValueError`` that names the place where it is malformed."""
    python = raw.get("python")
    if python is not None and not isinstance(python, str):
        raise ValueError(f"raw.python: expected text or null, found {type(python).__name__}")
    # a record of a plain detection has nothing of the details: what nobody looked at must not read as absent
    return detect(RecordedHost(raw), python=python, full=raw.get("full") is True)


def dumps(snapshot: Mapping[str, Any]) -> str:
    return json.dumps(snapshot, indent=1, ensure_ascii=False) + "\n"


def load(path: str | Path) -> Machine:
    """The machine of a snapshot file. Raises ``InputError`` for a file that is unreadable or no snapshot."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the snapshot {path}: {reason}") from None
    if len(data) > SIZE_LIMIT:
        raise InputError(f"{path} is larger than {SIZE_LIMIT >> 20} MiB: that is no snapshot of envcheck")
    return loads(data.decode("utf-8", "replace"), str(path))


def loads(text: str, name: str = "the snapshot") -> Machine:
    """The machine of a snapshot's text: replayed from ``raw``, or as written where it has only ``machine``.

    A bare machine object, and the JSON of ``doctor`` and ``plan``, which carry one, are taken too.
    """
    data = _parsed(text, name)
    try:
        if isinstance(data.get("raw"), Mapping):
            return replay(data["raw"])
        if isinstance(data.get("machine"), Mapping):
            return from_plain(Machine, data["machine"])
        if any(key in data for key in MACHINE_KEYS):
            return from_plain(Machine, data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is damaged: {error}; take it again with `envcheck snapshot -o FILE`") from None
    raise InputError(
        f"{name} is JSON and no snapshot: it has neither `machine` nor `raw`. `envcheck snapshot -o FILE` writes one"
    )


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        data = json.loads(text.lstrip("\ufeff"))
    except RecursionError:
        raise InputError(f"{name} is nested too deeply to be a snapshot") from None
    except ValueError as error:
        cut = " (the file ends too early: was it copied in full?)" if _cut(text) else ""
        raise InputError(f"{name} is not valid JSON: {error}{cut}") from None
    if not isinstance(data, dict):
        raise InputError(f"{name} is no snapshot: expected an object, found {type(data).__name__}")
    schema = data.get("schema", SCHEMA)
    if not isinstance(schema, str) or not schema.startswith("envcheck."):
        raise InputError(f"{name} is no snapshot of envcheck: its schema is {str(schema)[:60]!r}, not {SCHEMA!r}")
    if schema.startswith("envcheck.snapshot/") and schema != SCHEMA:
        raise InputError(f"{name} has schema {schema[:60]!r}, which this envcheck does not read yet: upgrade envcheck")
    return data


def _cut(text: str) -> bool:
    stripped = text.strip()
    return stripped.startswith("{") and not stripped.endswith("}")
