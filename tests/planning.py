"""What the planner tests share: the real matrix and recipes, and machines described in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from envcheck.cli.whatif import WhatIf, machine_for
from envcheck.matrix import Matrix, load
from envcheck.model import Machine, Plan, Request
from envcheck.plan import make_plan
from envcheck.recipes import load_recipes

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MATRIX: Matrix = load()
RECIPES = load_recipes()


def machine(*gpus: str, os: str = "ubuntu-22.04", driver: str | None = None, **flags: Any) -> Machine:
    return machine_for(WhatIf(os=os, gpus=gpus or ("none",), driver=driver, **flags), MATRIX)


def plan(subject: Machine, **request: Any) -> Plan:
    return make_plan(subject, MATRIX, RECIPES, Request(**request))


def chosen(answer: Plan) -> str | None:
    return f"{answer.torch.version}+{answer.torch.tag}" if answer.torch is not None else None
