"""The plan for every recorded machine. `UPDATE_MACHINES=1` renews the goldens: read the difference."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from planning import MATRIX, RECIPES

from envcheck.detect.snapshot import load
from envcheck.errors import EnvcheckError
from envcheck.identify import identify
from envcheck.model import Request
from envcheck.plan import make_plan

MACHINES = sorted(p.parent for p in (Path(__file__).parent / "machines").glob("*/snapshot.json"))


def answer(folder: Path, manager: str) -> dict[str, Any]:
    """What a user would read: the choice, the driver's action, the steps; or the refusal and the way out."""
    machine = identify(load(folder / "snapshot.json"), MATRIX)
    try:
        plan = make_plan(machine, MATRIX, RECIPES, Request(manager=manager))
    except EnvcheckError as error:
        return {"exit": error.exit_code, "says": str(error)}
    if not plan.satisfiable:
        ways = [f"{a.change}: {a.gives}" for a in plan.alternatives]
        return {"exit": 1, "conflicts": list(plan.conflicts), "alternatives": ways}
    assert plan.torch is not None
    assert plan.driver is not None
    assert plan.python is not None
    return {
        "exit": 0,
        "torch": f"{plan.torch.version}+{plan.torch.tag}",
        "driver": [plan.driver.action, plan.driver.target, plan.driver.rule],
        "python": [plan.python.version, plan.python.supply],
        "gpus": [f"{g.name} {g.compute_capability} {g.how}" for g in plan.gpus],
        "steps": [s.id for s in plan.steps],
    }


def test_there_are_machines() -> None:
    assert len(MACHINES) >= 20


@pytest.mark.parametrize("folder", MACHINES, ids=lambda p: p.name)
def test_plan_of_a_recorded_machine(folder: Path) -> None:
    found = {manager: answer(folder, manager) for manager in ("pip", "conda")}
    golden = folder / "plan.json"
    if os.environ.get("UPDATE_MACHINES"):
        golden.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert found == json.loads(golden.read_text(encoding="utf-8"))
