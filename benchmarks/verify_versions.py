"""Does the probe run with each version of torch? Rehearses every check, and drives the branches that only a GPU takes.

Give it interpreters that have a torch each; nothing is installed. What each gave is added to ``--state``, and the page
is written from all that stands there, so versions can be run one at a time::

    python benchmarks/verify_versions.py --state versions.jsonl --write docs/evidence/verify-versions.md a/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from envcheck.model import Machine
from envcheck.verify import CHECKS, Options, rehearse
from envcheck.verify.run import SCRIPT
from envcheck.verify.session import judge
from envcheck.verify.table import BY_CODE
from envcheck.verify.words import DONE, Context, Device, TrialRun

STAND_IN = Path(__file__).resolve().parent.parent / "tests" / "cuda_stand_in.py"
DEVICE = Device(index=0, ordinal=0, name="NVIDIA L4", compute_capability="8.9", sms=58, tensor_cores=4)
# what a CPU cannot do in the place of a GPU: the call was accepted, and there is no kernel behind it
ACCEPTED = ("Could not run 'aten::_scaled_mm' with arguments from the 'CPU' backend",)


def rehearsed(python: str, timeout: float) -> tuple[str, dict[str, str]]:
    """The versions of torch and Python, and check -> status of a rehearsal."""
    argv = [python, "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=True).stdout.strip()
    found = rehearse(Options(python=python, device="cpu", timeout=timeout), Machine(), lambda text: None)
    if not found.torch.get("version"):
        raise SystemExit(f"{python} has no torch that can be imported: {found.results[0].summary}")
    return f"{found.torch.get('version')} (Python {version})", {r.code: r.status for r in found.results}


def driven(python: str, timeout: float) -> dict[str, str]:
    """Check -> how its GPU branches ended under the stand-in: ``ran``, ``accepted``, or what went wrong."""
    argv = [python, str(STAND_IN), str(SCRIPT.parent)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    out = {}
    for line in done.stdout.splitlines():
        item = json.loads(line)
        out[item["check"]] = _ending(item)
    for check in ("describe", *BY_CODE):
        out.setdefault(check, f"missing: ended with code {done.returncode}")
    return out


def _ending(item: dict[str, Any]) -> str:
    error = item.get("error")
    if error:
        return "accepted" if any(text in error for text in ACCEPTED) else "error: " + error.splitlines()[0]
    if "skip" in item:
        return "skip: " + str(item["skip"])
    if item["check"] in BY_CODE:
        run = TrialRun(outcome=DONE, stage="", seconds=0.0, facts=item["facts"])
        judged = judge(BY_CODE[item["check"]], run, Context(device=DEVICE, machine=Machine()))
        if "did not say" in judged.summary or "not what they should be" in judged.summary:
            return "error: " + judged.summary
    return "ran"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pythons", nargs="+")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds per check and per stand-in run")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--write", type=Path, default=None)
    options = parser.parse_args()
    for python in options.pythons:
        column = (*rehearsed(python, options.timeout), driven(python, options.timeout))
        with options.state.open("a", encoding="utf-8") as file:
            file.write(json.dumps(column) + "\n")
        print(column, flush=True)
    lines = options.state.read_text(encoding="utf-8").splitlines()
    text = page(sorted((json.loads(line) for line in lines), key=lambda column: _order(column[0])))
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    else:
        print(text)


def _order(name: str) -> tuple[int, ...]:
    """``2.13.0+cpu (Python 3.11.7)`` by its numbers."""
    return tuple(int(part) for part in name.partition("+")[0].partition(" ")[0].split("."))


def page(columns: list[tuple[str, dict[str, str], dict[str, str]]]) -> str:
    head = "| check | " + " | ".join(name for name, _, _ in columns) + " |"
    rule = "|---" * (len(columns) + 1) + "|"
    notes: list[str] = []

    def cell(word: str) -> str:
        short, colon, rest = word.partition(": ")
        if not colon:
            return word
        if rest not in notes:
            notes.append(rest)
        return f"{short} ({notes.index(rest) + 1})"

    lines = [
        "# verify: the versions of torch that ran the probe",
        "",
        f"`python benchmarks/verify_versions.py PYTHON...`: {platform.machine()}, {os.cpu_count()} cores, "
        f"{time.strftime('%Y-%m-%d')}. No GPU took part.",
        "",
        "## Rehearsal (`envcheck verify --device cpu`)",
        "",
        head,
        rule,
    ]
    lines += [
        f"| {c.code} | " + " | ".join(cell(col[1].get(c.code, "missing")) for col in columns) + " |" for c in CHECKS
    ]
    lines += [
        "",
        "`unknown` for amp: a torch before 2.3 has no GradScaler for the CPU, so its rules cannot be tried there.",
        "`skip` for cuda-graphs and p2p: they need a GPU, and two.",
        "",
        "## The branches that only a GPU takes, on the CPU",
        "",
        "torch.cuda is replaced by a stand-in (`tests/cuda_stand_in.py`). `ran`: every name and argument exists in",
        "that torch and the judge found every figure that it needs; it says nothing about any GPU. `accepted`: torch",
        "took the call and has no CPU kernel for it. Where the CPU has no fp16 (before torch 2.3), bf16 stands for it.",
        "",
        head,
        rule,
    ]
    for check in ("describe", *BY_CODE):
        lines.append(f"| {check} | " + " | ".join(cell(col[2].get(check, "missing")) for col in columns) + " |")
    if notes:
        lines += ["", *[f"{n}. {note}" for n, note in enumerate(notes, 1)]]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
