"""What nobody saw is said before anything is installed."""

from __future__ import annotations

import pytest

from envcheck.matrix import load
from envcheck.model import OS, Driver, Gpu, Machine, Request
from envcheck.plan import make_plan
from envcheck.recipes import load_recipes


@pytest.mark.parametrize(
    ("os_id", "version", "doubtful"),
    [
        ("sles", "15.6", True),
        ("sles", "15.7", False),
        ("opensuse-leap", "16.0", True),
        ("endeavouros", None, True),
        ("arch", None, False),
    ],
)
def test_a_branch_that_nobody_saw_on_a_system_is_unverified(os_id: str, version: str | None, doubtful: bool) -> None:
    family = "arch" if version is None else "suse"
    machine = Machine(
        os=OS(id=os_id, version=version, family=family, arch="x86_64", platform="linux", glibc="2.38"),
        driver=Driver(state="missing"),
        gpus=(Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9"),),
    )
    plan = make_plan(machine, load(), load_recipes(), Request(torch="latest"))
    assert plan.satisfiable, plan.conflicts
    assert any(w.startswith("unverified: that ") for w in plan.warnings) == doubtful, plan.warnings
