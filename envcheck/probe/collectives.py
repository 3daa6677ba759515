"""nccl and p2p: all GPUs of this machine together."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .trial import Skip, Trial

PATTERN_BYTES = 16 << 20
# tried in this order when the collectives hang; the first that works names the cause
RETRIES: Tuple[Tuple[str, Dict[str, str]], ...] = (
    ("as it is", {}),
    ("with P2P off", {"NCCL_P2P_DISABLE": "1"}),
    ("with P2P and shared memory off", {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}),
)


def nccl(trial: Trial) -> None:
    """Ranks of ``distributed.py``, one per GPU (gloo and two ranks in a rehearsal)."""
    torch = trial.torch
    trial.stage("counting devices")
    devices = together(trial) if trial.cuda else [0, 1]
    ranks = len(devices)
    if trial.cuda and not (torch.distributed.is_available() and torch.distributed.is_nccl_available()):
        raise Skip("this torch was built without NCCL")
    trial.facts(ranks=ranks, backend="nccl" if trial.cuda else "gloo", version=_version(torch) if trial.cuda else None)
    budget = float(trial.job.get("deadline") or 120.0)
    each = max(5.0, (budget - 3.0) / len(RETRIES))
    attempts: List[Dict[str, Any]] = []
    for name, extra in RETRIES if trial.cuda else RETRIES[:1]:
        trial.stage("collectives of {} ranks {}".format(ranks, name))
        outcome = launch(devices, "nccl" if trial.cuda else "gloo", extra, each, trial.plant)
        attempts.append(dict(outcome, how=name))
        trial.facts(attempts=attempts)
        if not outcome["hung"]:
            break


def _version(torch: Any) -> Optional[str]:
    found = torch.cuda.nccl.version()
    return ".".join(str(part) for part in found) if isinstance(found, tuple) else str(found)


def launch(
    devices: List[int], backend: str, extra: Dict[str, str], seconds: float, plant: Optional[str]
) -> Dict[str, Any]:
    """Start one rank per device, wait at most ``seconds``, end what is left; what each said last and how it ended."""
    ranks = len(devices)
    folder = tempfile.mkdtemp(prefix="envcheck-ranks-")
    script = str(Path(__file__).resolve().parent / "distributed.py")
    common = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    argv = [sys.executable, script, "--backend", backend, "--timeout", str(seconds - 3.0), "--log-dir", folder]
    # importing torch takes its share: who hangs must be named before the time for all of it is up
    argv += ["--until", "{:.3f}".format(time.time() + seconds - 3.0)]
    argv += ["--plant", plant] if plant and ":" in plant else []
    processes = []
    try:
        for rank, device in enumerate(devices):
            env = dict(os.environ, **dict(common, RANK=str(rank), LOCAL_RANK=str(device)), **extra)
            processes.append(subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL))
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(p.poll() is None for p in processes):
            time.sleep(0.02)
        hung = [rank for rank, p in enumerate(processes) if p.poll() is None]
        codes = [p.poll() for p in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        lines = [_lines(Path(folder) / "rank-{}.jsonl".format(rank)) for rank in range(ranks)]
        shutil.rmtree(folder, ignore_errors=True)
    return _outcome(codes, hung, lines)


def _outcome(codes: List[Any], hung: List[int], lines: List[List[Dict[str, Any]]]) -> Dict[str, Any]:
    failed = [item for rank in lines for item in rank if "failed" in item]
    missing: Dict[str, str] = {}
    for item in failed:
        missing.update(item.get("missing") or {})
    timed_out = bool(hung) or any("no answer" in str(item["failed"]) for item in failed)
    first = lines[0] if lines else []
    return {
        "codes": codes,
        "hung": timed_out,
        "missing": missing,
        "stages": [next((i["stage"] for i in reversed(rank) if "stage" in i), None) for rank in lines],
        "failed": [str(item["failed"])[:300] for item in failed],
        "wrong": sorted({name for rank in lines for item in rank for name in item.get("wrong", [])}),
        "facts": [item["facts"] for item in first if "facts" in item],
    }


def _lines(path: Path) -> List[Dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            item = json.loads(line)
        except ValueError:  # a rank that died while writing
            continue
        if isinstance(item, dict):
            found.append(item)
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def together(trial: Trial) -> List[int]:
    """CUDA's ordinals of the devices that the user chose; all that torch sees where nothing was chosen."""
    chosen = trial.job.get("devices")
    if isinstance(chosen, list) and chosen:
        return [int(n) for n in chosen]
    return list(range(int(trial.torch.cuda.device_count())))


def p2p(trial: Trial) -> None:
    """A pattern from each GPU to each other one, copied and compared: broken P2P gives wrong bytes without an error."""
    torch = trial.torch
    devices = together(trial) if trial.cuda else [0]
    if len(devices) < 2:
        raise Skip("p2p needs two GPUs, {} is here".format(len(devices)), not_applicable=True)
    trial.start_cuda()
    pairs = []
    for source in devices:
        pattern = (torch.arange(PATTERN_BYTES, device=trial.place(source)) * 2654435761 + source) & 0xFF
        pattern = pattern.to(torch.uint8)
        expected = pattern.cpu()
        for target in devices:
            if source == target:
                continue
            trial.stage("copying from GPU {} to GPU {}".format(source, target))
            direct = bool(torch.cuda.can_device_access_peer(source, target))
            copy = pattern.to(trial.place(target))
            torch.cuda.synchronize(target)
            wrong = int((copy.cpu() != expected).sum())
            pairs.append({"from": source, "to": target, "direct": direct, "wrong": wrong})
            trial.facts(pairs=pairs)
