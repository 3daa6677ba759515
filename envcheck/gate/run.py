"""The run behind a gate: a worker process looks at the machine and tries the GPU, this one waits, at most so long.

Whoever asks the driver may be held by the kernel for ever, so this process never does: the worker writes what it has
learnt, line by line, into a file that is read when the worker has ended or its time is up. Nothing of it stays
behind that can be ended: its own group is killed, then every process that it left; what does not end is named.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..checks.base import CRASH, TIMEOUT
from ..errors import EnvcheckError, InputError, UsageError
from ..host.command import run_command
from ..host.descendants import Process, adopt_orphans, end_descendants, running, stays
from ..model import Machine, from_plain
from ..record import dataclass
from ..verify import Result, Verification, verdict_of
from ..verify.table import BY_CODE
from .words import Stopped

LINES, JOB = "lines.jsonl", "job.json"
SIZE_LIMIT = 64 << 20  # bytes of the worker's file
NAMED = 4  # processes that could not be ended
# the worker must not import from the current directory, which a pull request fills
BOOT = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [sys.argv[1]]; "
    "from envcheck.cli.gate_worker import main; main(sys.argv[2])"
)
LABEL = ("envcheck.gate",)
FAILURES: dict[int, type[EnvcheckError]] = {2: UsageError, 4: InputError}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the worker is asked. ``proofs`` are checks of verify; none of them: nothing is started on the GPU."""

    proofs: tuple[str, ...]
    python: str | None = None
    device: str = "all"
    matrix: str | None = None
    force: bool = False
    deadline: float = 300.0  # seconds for the whole run


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a run brought: the machine and the verification as far as it came."""

    machine: Machine
    verification: Verification | None = None
    inventory: tuple[Mapping[str, str], ...] = ()
    stopped: Stopped | None = None


def look(job: Job, boot: str = BOOT) -> Look:
    """Run the worker for at most ``job.deadline`` seconds. Raises the worker's own ``UsageError`` or ``InputError``."""
    root = str(Path(__file__).resolve().parent.parent.parent)
    with tempfile.TemporaryDirectory(prefix="envcheck-gate-", ignore_cleanup_errors=True) as directory:
        Path(directory, JOB).write_text(json.dumps(_plain(job)), encoding="utf-8")
        argv = (sys.executable, "-c", boot, root, directory)
        began = time.monotonic()
        with _ends() as left:
            done = run_command(argv, job.deadline, os.environ, LABEL)
        said = read_lines(Path(directory, LINES))
    stage = said.get("stage") or "starting Python"
    if "error" in said:
        code, text = said["error"]
        raise FAILURES.get(code, EnvcheckError)(text)
    stopped = None
    if "done" not in said:
        stopped = _stopped(done.timed_out, done.rc, done.stderr, stage, job.deadline, time.monotonic() - began)
    elif job.proofs and "verification" not in said:
        stopped = Stopped(status=CRASH, text="the worker ended well and its verification could not be read")
    if left:
        kept = "; ".join(stays(process) for process in left[:NAMED])
        stopped = dataclasses.replace(stopped, text=f"{stopped.text}; {kept}") if stopped else _kept(kept)
    verification = said.get("verification")
    return Look(
        machine=said.get("machine") or Machine(problems={"machine": stopped.text if stopped else "nothing was said"}),
        verification=_completed(verification, job, stopped) if verification and stopped else verification,
        inventory=said.get("inventory", ()),
        stopped=stopped,
    )


def _completed(found: Verification, job: Job, stopped: Stopped) -> Verification:
    """A verification that was cut off: what it did not come to, on any of the devices, has the status of the stop."""
    done = {(r.code, r.device) for r in found.results}
    if any(r.device is None and not BY_CODE[r.code].together for r in found.results):
        return found  # there was nothing to try it on: its results speak for no device
    devices = [d.index for d in found.devices]
    asked: list[tuple[str, int | None]] = [
        (code, d) for d in devices for code in job.proofs if not BY_CODE[code].together
    ]
    asked += [(code, None) for code in job.proofs if BY_CODE[code].together]
    text = f"not reached: {stopped.text}"
    open_ = [
        Result(code=code, device=device, status=stopped.status, stage="not reached", seconds=0.0, summary=text)
        for code, device in asked
        if (code, device) not in done
    ]
    results = (*found.results, *open_)
    return dataclasses.replace(found, results=results, verdict=verdict_of(results, found.required))


def _plain(job: Job) -> dict[str, Any]:
    return {
        "proofs": list(job.proofs),
        "python": job.python,
        "device": job.device,
        "matrix": job.matrix,
        "force": job.force,
        "deadline": job.deadline,
        "parent": os.getpid(),
    }


def _stopped(timed_out: bool, rc: int | None, stderr: str, stage: str, deadline: float, seconds: float) -> Stopped:
    if timed_out:
        return Stopped(status=TIMEOUT, text=f"the time for the whole run ({deadline:g} s) was up, in: {stage}")
    how = f"with code {rc}" if rc is None or rc >= 0 else f"by signal {-rc}"
    tail = " / ".join(stderr.strip().splitlines()[-2:])[-300:]
    text = f"the process that looks at the machine ended {how} after {seconds:.1f} s, in: {stage}"
    return Stopped(status=CRASH, text=f"{text} ({tail})" if tail else text)


def _kept(text: str) -> Stopped:
    """All was answered, and something that the answers came from hangs in the kernel: its driver does not work."""
    return Stopped(status=TIMEOUT, text=f"all checks had ended, and {text}")


def read_lines(path: Path) -> dict[str, Any]:
    """What the worker wrote, the last of each kind. A line that was cut, or that is no line of ours, is left out."""
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_LIMIT)
    except OSError:
        return {}
    said: dict[str, Any] = {}
    for line in raw.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            for kind, value in dict(json.loads(line)).items():
                said[kind] = READ[kind](value)
    return said


READ: dict[str, Callable[[Any], Any]] = {
    "stage": lambda value: str(value)[:200],
    "machine": lambda value: from_plain(Machine, value),
    "verification": lambda value: from_plain(Verification, value, "verification"),
    "inventory": lambda value: tuple({str(k): str(v) for k, v in row.items()} for row in value),
    "error": lambda value: (int(value[0]), str(value[1])),
    "done": bool,
}


@contextlib.contextmanager
def _ends() -> Iterator[list[Process]]:
    """Whatever happens inside, a cancelled job (SIGTERM) included, no process of the run stays that can be ended.

    The list holds the others, once the block has ended.
    """

    def terminated(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    left: list[Process] = []
    before: Any = None
    with contextlib.suppress(ValueError):  # not the main thread: then nobody sends us the signal either
        before = signal.signal(signal.SIGTERM, terminated)
    bystanders = running()
    adopt_orphans(True)
    try:
        yield left
    finally:
        left += end_descendants(bystanders)
        adopt_orphans(False)
        if before is not None:
            signal.signal(signal.SIGTERM, before)
