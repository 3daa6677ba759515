"""``envcheck plan --check LINE``: what an install line would do here, and the line that would work."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

from ..errors import Undetermined, UsageError
from ..matrix import Matrix
from ..model import Machine, Plan, Request
from ..plan.assess import Assessment, assess
from ..plan.line import Line, parse
from .common import emit


def check(text: str, machine: Machine, matrix: Matrix, request: Request, options: dict[str, Any]) -> int:
    """Exit 0: it runs on this machine's GPUs; 1: it does not; 3: what its index serves cannot be told."""
    line = parse(text)
    answer = assess(line, machine, matrix)
    plan = _instead(line, machine, matrix, request, answer)
    better = install_line(plan) if plan is not None and plan.satisfiable else None
    if options["fmt"] == "json":
        emit(_json(text, answer, better, plan), options["output"])
    else:
        emit(_text(answer, better, plan), options["output"])
    if answer.runs is None:
        return Undetermined.exit_code
    return 0 if answer.runs else 1


def _instead(line: Line, machine: Machine, matrix: Matrix, request: Request, answer: Assessment) -> Plan | None:
    """The plan for the same torch, or the newest that runs where that one cannot."""
    from ..plan import make_plan
    from ..recipes import load_recipes

    version = answer.build.torch if answer.build is not None else request.torch
    manager = line.manager if line.manager in ("pip", "uv", "conda") else "pip"
    for torch in dict.fromkeys((version, "latest")):
        wish = dataclasses.replace(request, torch=torch, manager=manager)
        try:
            plan = make_plan(machine, matrix, load_recipes(), wish)
        except (UsageError, Undetermined):
            continue
        if plan.satisfiable:
            return plan
    return None


def install_line(plan: Plan) -> str | None:
    """The plan's package line, as one would type it in a fresh environment."""
    for step in plan.steps:
        if step.stage == "user" and any("torch==" in a or a.startswith("pytorch") for a in step.argv):
            return shlex.join(step.argv)
    return None


def _json(text: str, answer: Assessment, better: str | None, plan: Plan | None) -> str:
    build = answer.build
    body = {
        "schema": "envcheck.plan-check/1",
        "line": text,
        "installs": None if build is None else {"torch": build.torch, "tag": build.tag, "archs": list(build.archs)},
        "runs": answer.runs,
        "findings": [{"code": code, "summary": sentence} for code, sentence in answer.findings],
        "instead": better,
        "driver_action": plan.driver.action if plan is not None and plan.driver is not None else None,
    }
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _text(answer: Assessment, better: str | None, plan: Plan | None) -> str:
    build = answer.build
    out = []
    if build is None:
        out.append("installs: no torch 2 that this matrix knows")
    else:
        out.append(f"installs: torch {build.torch}+{build.tag}")
    out.append({True: "runs here: yes", False: "runs here: no", None: "runs here: cannot be told"}[answer.runs])
    out += [f"  - {sentence} [{code}]" for code, sentence in answer.findings]
    if better is not None and (not answer.runs or answer.findings):
        out.append(f"instead:  {better}")
        if plan is not None and plan.driver is not None and plan.driver.target:
            out.append(f"          after: {plan.driver.action} NVIDIA driver branch {plan.driver.target}")
    return "\n".join(out) + "\n"
