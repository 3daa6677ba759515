"""The processes below this one, found and ended even if they left their group or emptied their environment.

Only ``/proc/PID/stat`` and ``wchan`` are read, not ``environ`` or ``cmdline``: reading those takes the memory lock of
the process that is read (mm/memory.c, ``__access_remote_vm``), and one that hangs in a driver's mmap holds it.
Linux alone can tell; elsewhere there are none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection

from ..record import dataclass

SET_CHILD_SUBREAPER = 36  # prctl.h
GRACE = 0.5  # seconds that killed processes get to go away
GONE = "ZX"  # states of /proc/PID/stat: a zombie waits for its parent alone
Key = tuple[int, str]  # process id and start time: an id alone may be another's by now


@dataclass(frozen=True, kw_only=True)
class Process:
    """One line of ``/proc/PID/stat``."""

    pid: int
    parent: int
    name: str
    state: str
    started: str


def adopt_orphans(yes: bool) -> None:
    """Whether processes whose parent ends become this one's children, instead of init's (PR_SET_CHILD_SUBREAPER)."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def running() -> dict[Key, Process]:
    """All processes below this one that have not ended."""
    found = {p.pid: p for p in map(_read, _ids()) if p is not None}
    below: dict[int, bool] = {os.getpid(): True}

    def is_below(pid: int) -> bool:
        chain = []
        while pid not in below and pid in found:
            chain.append(pid)
            below[pid] = False  # until told otherwise: parents that were read at other times could form a ring
            pid = found[pid].parent
        answer = below.get(pid, False)
        below.update(dict.fromkeys(chain, answer))
        return answer

    own = os.getpid()
    return {(p.pid, p.started): p for p in found.values() if p.pid != own and p.state not in GONE and is_below(p.pid)}


def end_descendants(before: Collection[Key], grace: float = GRACE) -> tuple[Process, ...]:
    """Kill every process below this one that is not of ``before``. Returns those that stay for ``grace`` seconds."""
    until = time.monotonic() + grace
    while True:
        left = tuple(p for key, p in running().items() if key not in before)
        for process in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGKILL)
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.01)


def where(pid: int) -> str:
    """The kernel function in which a process sleeps, in brackets, where it may be read."""
    try:
        with open(f"/proc/{pid}/wchan", encoding="utf-8", errors="replace") as file:
            name = file.read(80).strip("\0\n ")
    except OSError:
        return ""
    return f" (in {name})" if name and name != "0" else ""


def stays(process: Process) -> str:
    """The sentence on a process that was killed and did not end."""
    name = f"process {process.pid} ({process.name}) does not end even when killed"
    try:
        os.kill(process.pid, 0)
    except PermissionError:
        return f"{name}: it belongs to another user"
    except OSError:
        pass
    return f"{name}: it hangs in the kernel{where(process.pid)}"


def _ids() -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    try:
        return [entry for entry in os.listdir("/proc") if entry.isdigit()]
    except OSError:  # no /proc in this container
        return []


def _read(pid: str) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:  # it ended meanwhile
        return None
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    return Process(
        pid=int(pid),
        parent=int(fields[1]),
        name=head.partition("(")[2],
        state=fields[0],
        started=fields[19],
    )
