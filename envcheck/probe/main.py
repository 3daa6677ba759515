"""Entry of the probe: ``python main.py FD [CHECK]``. One process runs one trial and ends; CHECK says which to expect.

Lines on the pipe FD, in this order: ``{"stage": ...}`` before each step that may hang or crash, ``{"facts": {...}}``
with what was measured, then one of ``{"done": true}``, ``{"skip": "why", "not_applicable": bool}`` or
``{"error": {"type": ..., "text": ...}}``. stdout belongs to the libraries and goes to stderr.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Dict

PACKAGE = "envcheck_probe"
# torch's optimizers import it at the first call: seconds that can pass while another check runs
OPTIMIZERS = "torch._dynamo"
WITH_OPTIMIZER = ("amp", "workload", "compile")


def load_package() -> None:
    """Make this folder importable as ``envcheck_probe`` and take it off ``sys.path``."""
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != here]
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        PACKAGE, str(Path(here) / "__init__.py"), submodule_search_locations=[here]
    )
    if spec is None or spec.loader is None:
        raise ImportError("the probe's own folder cannot be loaded: " + here)
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


def main() -> None:
    load_package()
    channel_module = importlib.import_module(PACKAGE + ".channel")
    channel = channel_module.Channel(channel_module.open_pipe(sys.argv[1]))
    channel_module.end_with_parent()
    os.dup2(2, 1)
    faulthandler.enable()
    channel.stage("importing torch")
    try:
        torch = importlib.import_module("torch")
    except BaseException as error:  # noqa: BLE001 - a broken torch raises anything, SystemExit included
        channel.error(error, traceback.format_exc())
        leave()
    channel.facts(torch=channel_module.describe_torch(torch), python=sys.version.split()[0])
    if len(sys.argv) > 2 and sys.argv[2] in WITH_OPTIMIZER:
        channel.stage("importing " + OPTIMIZERS)
        with contextlib.suppress(Exception):  # whoever needs it meets the same error in its own stage
            importlib.import_module(OPTIMIZERS)
    channel.stage("waiting for a job")
    line = sys.stdin.readline()
    if not line.strip():
        leave()
    run(torch, channel, json.loads(line))
    leave()


def share_the_cpu(torch: Any) -> None:
    """Leave cores to the processes that import torch meanwhile: OpenMP's threads wait for the slowest at each step.

    On 16 cores a convolution in float64 beside two such processes took 1 s with all threads, 0.05 s without them.
    """
    cores = os.cpu_count() or 1
    if cores > 4:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 4)))


def run(torch: Any, channel: Any, job: Dict[str, Any]) -> None:
    """Run one job; whatever it raises becomes a line."""
    trials = importlib.import_module(PACKAGE + ".trials")
    budget = job.get("deadline")
    if isinstance(budget, (int, float)) and budget > 2:
        # shortly before the parent kills us, say on stderr where every thread is
        faulthandler.dump_traceback_later(budget - 1.0, exit=False)
    try:
        share_the_cpu(torch)
        trials.run(torch, channel, job)
    except trials.Skip as skip:
        channel.skip(str(skip), skip.not_applicable)
    except BaseException as error:  # noqa: BLE001 - SystemExit of a library must not look like an end without a word
        channel.error(error, traceback.format_exc())
    else:
        channel.done()
    faulthandler.cancel_dump_traceback_later()


def leave() -> None:
    """End without destructors: tearing down a broken CUDA context can hang."""
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
