"""``doctor --deep``: what torch itself says in the target interpreter, and which libraries it really loaded."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host import CommandResult, Host
from ..model import Machine, Symptom
from .details.loader import WHEELS, wheel_of

TIMEOUT = 60.0  # seconds; a first import of torch from a network file system takes half a minute
PROBE = Path(__file__).resolve().parent.parent / "probe" / "deep.py"
LABEL = ("envcheck.deep",)


def look_deeper(host: Host, machine: Machine, timeout: float = TIMEOUT) -> Machine:
    """The machine with what the probe told. Never raises; a hang or a crash goes to ``problems["deep"]``."""
    python = machine.python.executable if machine.python else None
    if python is None or machine.torch is None:
        why = "no Python was found" if python is None else "torch is not installed there"
        return dataclasses.replace(machine, facts={**machine.facts, "deep": {"skipped": why}})
    source = PROBE.read_text(encoding="utf-8")
    return told(machine, host.run([python, "-c", source], timeout, label=LABEL), timeout)


def told(machine: Machine, result: CommandResult, timeout: float) -> Machine:
    """Merge the probe's lines. Any text is accepted; what is no line of the probe's is left out."""
    said: dict[str, Any] = {"stage": "start"}
    for line in result.stdout.splitlines():
        said.update(_line(line))
    facts = {**machine.facts, "deep": {k: v for k, v in said.items() if k != "libraries"}}
    problems = dict(machine.problems)
    problem = _problem(result, said, timeout)
    if problem:
        problems["deep"] = problem
    paths = [p for p in _list(said.get("libraries")) if isinstance(p, str)]
    facts["mapped_libraries"] = paths
    facts["library_conflicts"] = [*_list(facts.get("library_conflicts")), *loaded_conflicts(paths, machine)]
    torch = machine.torch
    available = said.get("available")
    if torch is not None and isinstance(available, bool):
        # a context that could not be made outweighs is_available(), which may only have asked NVML
        works = available and not ("error" in said and said.get("stage") == "a CUDA context")
        torch = dataclasses.replace(torch, cuda_available=works)
    symptoms = (*machine.symptoms, *_symptoms(said))
    return dataclasses.replace(machine, torch=torch, facts=facts, problems=problems, symptoms=symptoms)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _line(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return item if isinstance(item, dict) else {}


def _problem(result: CommandResult, said: Mapping[str, Any], timeout: float) -> str | None:
    stage = str(said.get("stage"))[:60]
    if result.timed_out:
        return f"{stage} did not end in {timeout:g} s in the target interpreter"
    if said.get("done") is True:
        return None
    if result.rc is None:
        return f"the target interpreter could not be started: {result.stderr.strip()[:160]}"
    how = f"signal {-result.rc}" if result.rc < 0 else f"code {result.rc}"
    return (
        f"the target interpreter ended with {how} during {stage}: {result.stderr.strip()[-160:] or 'it said nothing'}"
    )


def _symptoms(said: Mapping[str, Any]) -> tuple[Symptom, ...]:
    """The traceback and torch's warnings, line by line, as ``--error`` would bring them."""
    error = said.get("error")
    texts = [str(w) for w in _list(said.get("warnings"))]
    if isinstance(error, Mapping):
        texts.append(str(error.get("text")))
    from .pasted import parse_error_text

    return parse_error_text("\n".join(texts)) if texts else ()


def loaded_conflicts(paths: list[str], machine: Machine) -> list[dict[str, Any]]:
    """Libraries that the process took from elsewhere although a wheel of the environment brings them."""
    found = []
    for path in paths:
        match = re.fullmatch(r"(lib[\w+-]+)\.so\.([\d.]+)", path.rpartition("/")[2])
        if not match or match[1] not in WHEELS or "/site-packages/" in path or "/dist-packages/" in path:
            continue
        package, wheel = wheel_of(machine, WHEELS[match[1]])
        if wheel is None:
            continue
        have = tuple(int(p) for p in match[2].split(".") if p.isdigit())
        want = tuple(int(p) for p in wheel.split(".") if p.isdigit())
        size = min(len(have), len(want))
        if have[:size] != want[:size] or size == 1:
            row = {"name": path.rpartition("/")[2], "path": path, "version": match[2], "package": package}
            found.append({**row, "wheel": wheel, "older": have[:size] < want[:size], "loaded": True})
    return found
