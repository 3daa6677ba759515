"""One command with a deadline that holds whatever the command does.

``subprocess.run(timeout=)`` is not enough: it leaves grandchildren alive, waits for whoever keeps the output
pipe open, and waits for ever on a child in uninterruptible sleep. Here the child leads its own session and the
whole group is killed; the pipes are read by daemon threads that nobody has to wait for; a child that survives
SIGKILL (a driver call that hangs in the kernel) is abandoned and reported.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

from .base import READ_LIMIT, CommandResult
from .descendants import where

KILL_GRACE = 0.5  # seconds that a killed child gets to go away
DRAIN_GRACE = 0.25  # seconds that the output gets to arrive after the end of the child

# a child in uninterruptible sleep cannot be reaped; a reference keeps Popen.__del__ from warning about it
_abandoned: list[subprocess.Popen[bytes]] = []


class _Reader(threading.Thread):
    """Collects one pipe, up to ``READ_LIMIT`` bytes; then closes it, which ends a writer without end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._data = bytearray()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            fd = self._pipe.fileno()
            while len(self._data) < READ_LIMIT:
                chunk = os.read(fd, 65536)
                if not chunk:
                    break
                self._data += chunk
        with contextlib.suppress(OSError):
            self._pipe.close()

    def text(self, grace: float) -> str:
        self.join(grace)
        return bytes(self._data[:READ_LIMIT]).decode("utf-8", "replace")


def run_command(argv: tuple[str, ...], timeout: float, env: Mapping[str, str], label: tuple[str, ...]) -> CommandResult:
    """Run ``argv`` for at most ``timeout`` seconds (plus the grace periods). Never raises for what it does."""
    start = time.monotonic()
    try:
        process = _start(argv, env)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return CommandResult(argv=label, rc=None, stderr=_reason(error), seconds=time.monotonic() - start)
    assert process.stdout is not None and process.stderr is not None  # both were asked for as pipes
    out, err = _Reader(process.stdout), _Reader(process.stderr)
    ended = _wait(process, timeout)
    note = ""
    if ended:
        _kill_group(process)  # before reaping, so that the number cannot belong to another process yet
        rc: int | None = process.wait()
    else:
        rc, note = None, _stop(process)
    grace = time.monotonic() + DRAIN_GRACE
    stdout = out.text(DRAIN_GRACE)
    stderr = err.text(max(0.0, grace - time.monotonic()))
    return CommandResult(
        argv=label,
        rc=rc,
        stdout=stdout,
        stderr=stderr + note,
        timed_out=not ended,
        seconds=time.monotonic() - start,
    )


def _start(argv: tuple[str, ...], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(argv, stdin=null, stdout=pipe, stderr=pipe, env=dict(env), creationflags=flags)
    return subprocess.Popen(argv, stdin=null, stdout=pipe, stderr=pipe, env=dict(env), start_new_session=True)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """True when the child ended in time. With a pidfd (Linux) it is not reaped yet and no time is lost in polls."""
    if hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(process.pid)
        except OSError:  # a kernel before 5.3, or a seccomp filter
            pass
        else:
            try:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                return bool(poller.poll(timeout * 1000))
            finally:
                os.close(fd)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever the command left behind in its session."""
    if process.returncode is None and sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> str:
    """Kill a child that passed its deadline; the empty string, or a note on one that cannot be killed."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            argv = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.run(argv, capture_output=True, timeout=KILL_GRACE, check=False)
        with contextlib.suppress(OSError):
            process.kill()
    else:
        _kill_group(process)
        with contextlib.suppress(OSError):
            process.kill()
    try:
        process.wait(KILL_GRACE)
    except subprocess.TimeoutExpired:
        _abandoned.append(process)
        return f"\nprocess {process.pid} does not end even when killed: it hangs in the kernel{where(process.pid)}"
    return ""
