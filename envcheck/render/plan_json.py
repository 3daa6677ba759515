"""A plan as JSON, with the keys of the contract."""

from __future__ import annotations

import json
from typing import Any

from ..model import Plan, to_plain

SCHEMA = "envcheck.plan/1"


def plan_json(plan: Plan) -> str:
    return json.dumps(plan_object(plan), indent=2, ensure_ascii=False) + "\n"


def plan_object(plan: Plan) -> dict[str, Any]:
    """The same keys whether or not the plan is satisfiable."""
    return {
        "schema": SCHEMA,
        "satisfiable": plan.satisfiable,
        "request": to_plain(plan.request),
        "machine": to_plain(plan.machine),
        "torch": to_plain(plan.torch),
        "companions": to_plain(plan.companions),
        "constraints": list(plan.constraints),
        "python": to_plain(plan.python),
        "driver": to_plain(plan.driver),
        "gpus": to_plain(plan.gpus),
        "steps": to_plain(plan.steps),
        "reasons": list(plan.reasons),
        "rejected": to_plain(plan.rejected),
        "warnings": list(plan.warnings),
        "conflicts": list(plan.conflicts),
        "alternatives": to_plain(plan.alternatives),
    }
