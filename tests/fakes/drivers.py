"""The script of one driver recipe for a machine in a directory. The machines themselves: ``apt_machines.py``, ..."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

from fakes.plans import META, plan_of
from fakes.world import DOWNLOAD, Ended, World

from envcheck.model import OS, Driver, DriverChoice, DriverMinimum, Gpu, Machine, Plan, Step
from envcheck.recipes import DriverJob, Recipes, driver_steps, load_recipes, role_steps
from envcheck.render import render


def job(os_id: str, version: str | None, repo: str | None, branch: str, module: str, **changes: Any) -> DriverJob:
    """An installation on x86_64 of a machine without a driver."""
    plain = DriverJob(
        os_id=os_id,
        os_version=version,
        family="debian",
        arch="x86_64",
        repo=repo,
        kernel=None,
        action="install",
        branch=branch,
        module=module,
        installed=None,
    )
    return dataclasses.replace(plain, **changes)


def recipes_of(world: World) -> Recipes:
    """The recipes with this test's state directory and with the sum of the fake download."""
    digest = hashlib.sha256(DOWNLOAD.encode()).hexdigest()
    changed = {
        # fingerprints stay: the fake gpg shows those of the fake keys
        id: dataclasses.replace(recipe, keyrings={r: digest if len(p) == 64 else p for r, p in recipe.keyrings.items()})
        for id, recipe in load_recipes().by_id.items()
    }
    return Recipes(by_id=changed, state_dir=str(world.var))


def driver_plan(job: DriverJob, steps: tuple[Step, ...], driver: str | None = None) -> Plan:
    card = Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9", pci_id="10de:2684", bus_id="0000:01:00.0")
    machine = Machine(
        os=OS(id=job.os_id, version=job.os_version, arch=job.arch, platform="linux"),
        driver=Driver(version=driver),
        gpus=(card,),
    )
    choice = DriverChoice(installed=driver, minimum=DriverMinimum(), rule="none", action=job.action, target=job.branch)
    return plan_of(*steps, machine=machine, driver=choice)


def rendered(world: World, job: DriverJob, steps: Iterable[Step], driver: str | None = None) -> str:
    plan = driver_plan(job, tuple(steps), driver)
    return render(plan, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))


def script_of(world: World, job: DriverJob, driver: str | None = None) -> str:
    steps = driver_steps(job, recipes_of(world))
    assert steps is not None
    return rendered(world, job, steps, driver)


def script_of_roles(world: World, job: DriverJob, *roles: str, driver: str | None = None) -> str:
    """The steps of each role in turn, all of which must have some."""
    steps: list[Step] = []
    for role in roles:
        of_role = role_steps(role, job, recipes_of(world))
        assert of_role
        steps += of_role
    return rendered(world, job, steps, driver)


def system(world: World, script: str, *words: str, **more: object) -> Ended:
    return world.run(script, "--stage", "system", *words, **more)  # type: ignore[arg-type]
