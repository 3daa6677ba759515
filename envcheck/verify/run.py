"""Probe processes: one per trial, each with a deadline that holds whatever the process does.

``host.command`` knows how to end a process group and to abandon a process that the kernel keeps; here a pipe of its
own is added, on which the probe names its stages, and spares: while one trial runs, the next processes already import
torch (which touches no GPU) and wait for their jobs, so that a fresh process per trial costs little.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..host import command
from ..host.base import READ_LIMIT
from .words import CRASHED, DONE, RAISED, SKIPPED, TIMED_OUT, TrialRun

SCRIPT = Path(__file__).resolve().parent.parent / "probe" / "main.py"
TOKEN = "ENVCHECK_PROBE"  # environment variable by which a process that left its group is found
SWEEP_S = 2.0  # seconds that looking through the processes may take
# room for what compilers say: torch.compile's errors name the command only, the reason stands on stderr
TEXT_LIMIT = 4100  # characters of what was raised: all that the probe sends
STDERR_LINES, STDERR_CHARS = 60, 8192
SPARES = 2 if (os.cpu_count() or 1) >= 4 else 1  # processes that import torch beside the one that works


class _Lines(threading.Thread):
    """Reads the probe's pipe; keeps the last stage, the facts and the final word; drops what is no line of ours."""

    def __init__(self, fd: int, watch: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._watch = watch
        self.stage = "starting Python"
        self.times: list[tuple[str, float]] = [(self.stage, time.monotonic())]  # of each stage's beginning
        self.facts: dict[str, Any] = {}
        self.final: dict[str, Any] | None = None
        self.start()

    def run(self) -> None:
        rest, seen = b"", 0
        with contextlib.suppress(OSError):
            while seen < READ_LIMIT and (chunk := os.read(self._fd, 65536)):
                seen += len(chunk)
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    self._take(line)
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _take(self, line: bytes) -> None:
        try:
            item = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        if not isinstance(item, dict):
            return
        if isinstance(item.get("stage"), str):
            self.stage = item["stage"][:200]
            self.times.append((self.stage, time.monotonic()))
            self._watch(self.stage)
        if isinstance(item.get("facts"), dict):
            self.facts.update(item["facts"])
        if item.get("done") is True or isinstance(item.get("skip"), str) or isinstance(item.get("error"), dict):
            self.final = item


class Child:
    """One probe process. ``give`` hands it a job, ``finish`` waits for the end, ``end`` makes sure that it is gone."""

    def __init__(self, python: str, script: Path, environ: Mapping[str, str], check: str = "") -> None:
        """``check``: what its job will be, as far as one knows, so that it can import what that needs."""
        self.token = uuid.uuid4().hex
        self.watch: Callable[[str], None] = lambda stage: None
        read, write = os.pipe()
        try:
            self.process = _spawn(python, script, check, write, {**environ, TOKEN: self.token})
        except (OSError, ValueError) as error:
            os.close(read)
            raise OSError(f"{python} cannot be started: {error}") from None
        finally:
            os.close(write)
        assert self.process.stderr is not None  # asked for as a pipe
        self.lines = _Lines(read, lambda stage: self.watch(stage))
        self.errors = command._Reader(self.process.stderr)

    def give(self, job: Mapping[str, Any]) -> None:
        """Hand over the job. A process that died meanwhile is found out by ``finish``."""
        assert self.process.stdin is not None  # asked for as a pipe
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(dict(job)).encode() + b"\n")
            self.process.stdin.close()

    def finish(self, deadline: float) -> TrialRun:
        """Wait at most ``deadline`` seconds; nothing of the process stays behind that can be ended."""
        began = time.monotonic()
        ended = command._wait(self.process, deadline)
        note = self.end(ended)
        self.lines.join(command.DRAIN_GRACE)  # a grandchild may hold the pipe: it was ended, or is not waited for
        tail = _tail(self.errors.text(command.DRAIN_GRACE))
        return _outcome(self.lines, self.process.returncode if ended else None, deadline, note, tail, began)

    def end(self, ended: bool = False) -> str:
        """Kill the group and what left it; the empty string, or a note on a process that cannot be killed."""
        note = ""
        if ended:
            command._kill_group(self.process)
            self.process.wait()
        else:
            note = command._stop(self.process).strip()
        _sweep(self.token)
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        return note


def _spawn(python: str, script: Path, check: str, write: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    if sys.platform == "win32":
        import msvcrt

        handle = msvcrt.get_osfhandle(write)
        os.set_handle_inheritable(handle, True)
        start = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(
            [python, str(script), str(handle), check],
            stdin=pipe,
            stdout=null,
            stderr=pipe,
            env=dict(environ),
            startupinfo=start,
            creationflags=flags,
        )
    return subprocess.Popen(
        [python, str(script), str(write), check],
        stdin=pipe,
        stdout=null,
        stderr=pipe,
        env=dict(environ),
        pass_fds=(write,),
        start_new_session=True,
    )


def _sweep(token: str) -> None:
    """End processes that left the group (their own session) but still carry the token. Linux alone can tell.

    In a thread that is not waited for long: the kernel may keep whoever reads the environment of a process that a
    driver call holds (both need the same lock), and that must not hold us.
    """
    if not sys.platform.startswith("linux"):
        return
    thread = threading.Thread(target=_kill_marked, args=(f"{TOKEN}={token}".encode(),), daemon=True)
    thread.start()
    thread.join(SWEEP_S)


def _kill_marked(mark: bytes) -> None:
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                carries = mark in file.read().split(b"\0")
        except OSError:  # another user's, or gone
            continue
        if carries:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry), signal.SIGKILL)


def _tail(text: str) -> str:
    """The last lines of stderr: short enough for a report, long enough for an abort's message or a stack."""
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:])[-STDERR_CHARS:]


def _spent(times: Sequence[tuple[str, float]], began: float, ended: float) -> dict[str, float]:
    """Seconds of each stage since the job was given; what a spare did before that cost nothing."""
    spent: dict[str, float] = {}
    for (stage, start), (_, stop) in zip(times, [*times[1:], ("", ended)], strict=True):
        if stop > began:
            spent[stage] = round(spent.get(stage, 0.0) + stop - max(start, began), 3)
    return spent


def _outcome(lines: _Lines, rc: int | None, deadline: float, note: str, tail: str, began: float) -> TrialRun:
    ended = time.monotonic()

    def build(outcome: str, text: str = "", kind: str = "", not_applicable: bool = False) -> TrialRun:
        return TrialRun(
            outcome=outcome,
            stage=lines.stage,
            seconds=ended - began,
            stages=_spent(tuple(lines.times), began, ended),
            facts=dict(lines.facts),
            text=text,
            kind=kind,
            not_applicable=not_applicable,
            stderr=tail,
        )

    if rc is None:
        hung = "ending, after it had measured everything" if lines.final else lines.stage
        return build(TIMED_OUT, f"no answer in {deadline:g} s, in: {hung}" + (f"; {note}" if note else ""))
    final = lines.final
    if final is None:
        return build(CRASHED, _how_it_ended(rc))
    if final.get("done") is True:
        return build(DONE)
    if "skip" in final:
        return build(SKIPPED, str(final["skip"])[:500], not_applicable=final.get("not_applicable") is True)
    error = final["error"]
    return build(RAISED, str(error.get("text", ""))[:TEXT_LIMIT], str(error.get("type", "")))


def _how_it_ended(rc: int) -> str:
    if rc >= 0:
        return f"the probe ended with code {rc} and without a result"
    try:
        name = signal.Signals(-rc).name
    except ValueError:
        name = f"signal {-rc}"
    return f"the probe was ended by {name}"


class Probes:
    """Hands out a fresh process per trial; spares import torch meanwhile. Use as a context manager."""

    def __init__(self, python: str, script: Path = SCRIPT, environ: Mapping[str, str] | None = None) -> None:
        self._python = python
        self._script = script
        # compilers and loaders are to speak the language that verify.trouble reads
        self._environ = {**os.environ, "LC_ALL": "C", **(environ or {})}
        self._spares: list[Child] = []

    def __enter__(self) -> Probes:
        return self

    def __exit__(self, *error: object) -> None:
        while self._spares:
            self._spares.pop().end()

    def run(
        self,
        job: Mapping[str, Any],
        deadline: float,
        *,
        ahead: Sequence[str] = (),
        watch: Callable[[str], None] | None = None,
    ) -> TrialRun:
        """Run one job. ``ahead``: the checks that follow; their processes may start. ``watch`` hears each stage."""
        try:
            child = self._spares.pop(0) if self._spares else self._new(str(job.get("check", "")))
        except OSError as error:
            return TrialRun(outcome=CRASHED, stage="starting Python", seconds=0.0, text=str(error))
        with contextlib.suppress(OSError):  # without a spare the next run starts its own, and says why it cannot
            while len(self._spares) < min(SPARES, len(ahead)):
                self._spares.append(self._new(ahead[len(self._spares)]))
        if watch is not None:
            child.watch = watch
        try:
            child.give({**job, "deadline": deadline})
            return child.finish(deadline)
        except BaseException:  # Ctrl-C while waiting: the process must not outlive us
            child.end()
            raise

    def _new(self, check: str) -> Child:
        return Child(self._python, self._script, self._environ, check)
