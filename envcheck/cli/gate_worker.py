"""The process that ``envcheck gate`` starts: looks at the machine, tries the GPU, writes down each thing at once."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..errors import EnvcheckError
from ..gate import inventory
from ..gate.run import JOB, LINES
from ..host import LiveHost
from ..host.descendants import adopt_orphans, end_descendants
from ..matrix import load
from ..model import Machine, to_plain
from ..verify import Options, Verification, verify
from .verify import _refused
from .whatif import WhatIf, machine_for

MARGIN = 1.5  # seconds before the end of the run by which a check must have ended, so that it can say how far it came
CHECK_DEADLINE = 120.0  # seconds, as verify's own


def main(directory: str) -> None:
    """Reads the job from ``directory``, appends to its lines. What goes wrong is a line, too."""
    began = time.monotonic()
    job: dict[str, Any] = json.loads(Path(directory, JOB).read_text(encoding="utf-8"))
    os.chdir(directory)  # private and empty: no interpreter that is asked here can import what a job's folder holds
    adopt_orphans(True)
    threading.Thread(target=_guard, args=(int(job["parent"]),), daemon=True).start()
    with Path(directory, LINES).open("a", encoding="utf-8", buffering=1) as file:

        def say(kind: str, value: Any) -> None:
            file.write(json.dumps({kind: value}) + "\n")

        try:
            _work(job, began, say)
        except EnvcheckError as error:
            say("error", [error.exit_code, str(error)])
        say("done", True)


def _work(job: dict[str, Any], began: float, say: Any) -> None:
    say("stage", "looking at the machine")
    matrix = load(job["matrix"])
    machine = machine_for(WhatIf(python=job["python"], full=True), matrix)
    say("machine", to_plain(machine))
    if machine.driver.state == "ok" and "driver" not in machine.problems and "nvidia-smi" not in machine.problems:
        say("inventory", [dict(row) for row in inventory.take(LiveHost())])
    if job["proofs"]:
        say("verification", to_plain(_proofs(job, machine, matrix, began, say)))


def _proofs(job: dict[str, Any], machine: Machine, matrix: Any, began: float, say: Any) -> Verification:
    left = job["deadline"] - (time.monotonic() - began) - MARGIN
    asked = Options(
        python=(machine.python.executable if machine.python else None) or sys.executable,
        device=job["device"],
        only=tuple(job["proofs"]),
        force=job["force"],
        timeout=max(1.0, min(CHECK_DEADLINE, left)),
    )
    refused = _refused(asked, machine, matrix, machine.torch is None and "torch" not in machine.problems)
    if refused is not None:
        return refused
    # each result is written down when it is there: whoever ends this process finds what was finished
    return verify(
        asked,
        machine,
        lambda text: say("stage", text),
        deadline=max(0.0, left),
        on_result=lambda so_far: say("verification", to_plain(so_far)),
    )


def _guard(parent: int) -> None:
    """A gate that was killed outright (Slurm after 60 s) cannot end its worker: the worker sees it and ends itself."""
    while os.getppid() == parent or sys.platform == "win32":
        time.sleep(0.5)
    end_descendants(())
    os._exit(1)
