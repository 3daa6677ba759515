"""Collectives across GPUs and nodes, on the engine that people already have::

    torchrun --nproc-per-node gpu distributed.py                       # every GPU of this node, NCCL
    torchrun --nnodes 2 --nproc-per-node gpu --rdzv-backend c10d --rdzv-endpoint HOST:29400 distributed.py
    torchrun --nproc-per-node 4 distributed.py --backend gloo          # CPU

Every rank prints JSON lines: where it is (``stage``), what it measured (``facts``), and at the end ``done`` or
``failed`` with the ranks that did not come along. Values are integers that every format holds, so results must be
equal, not close. A rank that dies or hangs is named by the others, which see in the rendezvous store who reached which
stage. Exit: 0 every collective right, 1 a wrong value, 3 a rank that died, hung or could not be told.

Runs alone: stdlib and torch, Python 3.8 syntax.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

GRACE = 2.0  # seconds between a rank's failure and its look at who is missing: the others may be just behind
SIZES = (2, 4096, 1 << 20)  # elements of int64 or fp32


class Report:
    """Lines of one rank, and its marks in the store that all ranks share."""

    def __init__(self, rank: int, world: int, path: Optional[Path]) -> None:
        self.rank = rank
        self.world = world
        self.stage_name = "start"
        self.store: Any = None
        self.lock = threading.Lock()
        self.ended = False
        self.file = open(path, "a", encoding="utf-8") if path else sys.stdout  # noqa: SIM115 - open until we end

    def say(self, **item: Any) -> None:
        with self.lock:
            line = json.dumps(dict(item, rank=self.rank, host=socket.gethostname()))
            self.file.write(line + "\n")
            self.file.flush()

    def stage(self, name: str) -> None:
        self.stage_name = name
        if self.store is not None:
            self.store.set("envcheck/{}/{}".format(name, self.rank), "1")
            self.store.set("envcheck/at/{}".format(self.rank), "{} on {}".format(name, socket.gethostname()))
        self.say(stage=name)

    def missing(self) -> Dict[str, str]:
        """Ranks that have not reached our stage -> the stage that they were last seen in."""
        out = {}
        for rank in range(self.world):
            if self._has("envcheck/{}/{}".format(self.stage_name, rank)):
                continue
            at = "envcheck/at/{}".format(rank)
            out[str(rank)] = self.store.get(at).decode() if self._has(at) else "before the process group"
        return out

    def _has(self, key: str) -> bool:
        return bool(self.store.check([key]))

    def fail(self, why: str, code: int) -> None:
        """Name who is missing, once, and end the process: a hung collective cannot be left otherwise."""
        with self.lock:
            if self.ended:
                return
            self.ended = True
        absent: Optional[Dict[str, str]] = None
        if self.store is not None:
            answer: List[Dict[str, str]] = []
            ask = threading.Thread(target=self._ask, args=(answer,), daemon=True)
            ask.start()
            ask.join(5.0)  # the store's host may be the one that died
            absent = answer[0] if answer else None
        self.say(failed=why, stage=self.stage_name, missing=absent)
        os._exit(code)

    def _ask(self, answer: List[Dict[str, str]]) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone
            answer.append(self.missing())


class Watch(threading.Thread):
    """Ends the process when a stage, or the whole, takes too long; torch's own timeouts differ by backend.

    ``until``: seconds since 1970 by which this process must have named who is missing; its starter kills it soon after.
    """

    def __init__(self, report: Report, seconds: float, until: Optional[float]) -> None:
        super().__init__(daemon=True)
        self._report = report
        self._seconds = seconds
        self._until = until
        self._parent = os.getppid()
        self._since = time.monotonic()
        self._stage = ""
        self.start()

    def run(self) -> None:
        while not self._report.ended:
            time.sleep(0.05)
            if self._report.stage_name != self._stage:
                self._stage, self._since = self._report.stage_name, time.monotonic()
            if time.monotonic() - self._since > self._seconds:
                self._report.fail("no answer in {:g} s".format(self._seconds), 3)
            if self._until is not None and time.time() > self._until:
                self._report.fail("no answer in the time for all of it", 3)
            if self._until is not None and os.getppid() != self._parent:  # our starter is gone: nobody waits for us
                os._exit(3)


def arguments(argv: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="collectives across GPUs and nodes, compared exactly")
    parser.add_argument("--backend", default="nccl", choices=("nccl", "gloo"))
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds per stage")
    parser.add_argument("--until", type=float, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--log-dir", default=None, help="one JSON-lines file per rank instead of stdout")
    parser.add_argument("--plant", default=None, metavar="die:RANK|hang:RANK|wrong:RANK", help="rehearse a fault")
    return parser.parse_args(argv)


def main() -> None:
    options = arguments()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    path = Path(options.log_dir) / "rank-{}.jsonl".format(rank) if options.log_dir else None
    report = Report(rank, world, path)
    signal.signal(signal.SIGTERM, lambda number, frame: report.fail("ended by SIGTERM, another rank failed", 3))
    Watch(report, options.timeout, options.until)
    report.stage("importing torch")
    torch = importlib.import_module("torch")
    dist = importlib.import_module("torch.distributed")
    try:
        wrong = collectives(torch, dist, report, options)
    except Exception as error:  # noqa: BLE001 - whatever a backend raises is this rank's answer
        time.sleep(GRACE)
        report.fail("{}: {}".format(type(error).__name__, str(error)[:800]), 3)
        return
    report.say(done=not wrong, wrong=wrong)
    report.ended = True
    sys.stdout.flush()
    os._exit(1 if wrong else 0)


def collectives(torch: Any, dist: Any, report: Report, options: argparse.Namespace) -> List[str]:
    """Join, then each collective at each size. Returns the names of those that gave a wrong value."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cpu")
    if options.backend == "nccl":
        report.stage("creating the CUDA context")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)
    report.stage("joining the process group")
    deadline = datetime.timedelta(seconds=options.timeout * 2)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29511")
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    dist.init_process_group(options.backend, timeout=deadline)
    report.store = _own_store(dist)
    wrong: List[str] = []
    for size in SIZES:
        for name, operation in (("all_reduce", _all_reduce), ("all_gather", _all_gather), ("broadcast", _broadcast)):
            _misbehave(report, options.plant, name, size)
            report.stage("{} of {} elements".format(name, size))
            began = time.perf_counter()
            right = operation(torch, dist, device, report, size, options.plant)
            seconds = time.perf_counter() - began
            report.say(facts={"collective": name, "elements": size, "right": right, "seconds": seconds})
            if not right:
                wrong.append("{} of {} elements".format(name, size))
    report.stage("leaving")
    dist.barrier()
    return wrong


def _own_store(dist: Any) -> Any:
    """A connection of our own to the rendezvous store: the group's may be held by the very call that hangs."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    try:
        return dist.TCPStore(host, port, None, False, datetime.timedelta(seconds=10), False)
    except (RuntimeError, TypeError, ValueError):  # another kind of rendezvous
        return dist.distributed_c10d._get_default_store()


def _misbehave(report: Report, plant: Optional[str], name: str, size: int) -> None:
    """The planted faults: die or hang before the second size's all_gather."""
    if plant is None or (name, size) != ("all_gather", SIZES[1]):
        return
    fault, _, rank = plant.partition(":")
    if report.rank == int(rank) and fault == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if report.rank == int(rank) and fault == "hang":
        report.ended = True  # a rank that hangs cannot watch itself either
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(3600)


def _ramp(torch: Any, device: Any, size: int, rank: int) -> Any:
    """Integers below 1024 that differ by rank and place; sums over 2**13 ranks stay exact in fp32."""
    return ((torch.arange(size, device=device) * 7 + rank * 131) % 1024).to(torch.float32)


def _all_reduce(torch: Any, dist: Any, device: Any, report: Report, size: int, plant: Optional[str]) -> bool:
    values = _ramp(torch, device, size, report.rank)
    if plant == "wrong:{}".format(report.rank):
        values[size // 2] += 1
    dist.all_reduce(values)
    expected = sum(_ramp(torch, device, size, r) for r in range(report.world))
    return bool(torch.equal(values, expected))


def _all_gather(torch: Any, dist: Any, device: Any, report: Report, size: int, plant: Optional[str]) -> bool:
    values = _ramp(torch, device, size, report.rank)
    found = [torch.empty_like(values) for _ in range(report.world)]
    dist.all_gather(found, values)
    return all(bool(torch.equal(found[r], _ramp(torch, device, size, r))) for r in range(report.world))


def _broadcast(torch: Any, dist: Any, device: Any, report: Report, size: int, plant: Optional[str]) -> bool:
    values = _ramp(torch, device, size, report.rank)
    dist.broadcast(values, src=report.world - 1)
    return bool(torch.equal(values, _ramp(torch, device, size, report.world - 1)))


if __name__ == "__main__":
    main()
