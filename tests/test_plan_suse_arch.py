"""From ``envcheck plan --os`` to the script of SLES, openSUSE and Arch: which branch, which recipe, a sound script."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import arch_machines, suse_machines
from fakes.plans import META
from fakes.world import World
from planning import MATRIX, RECIPES, machine, plan

from envcheck.cli.whatif import WhatIf, machine_for
from envcheck.errors import UsageError
from envcheck.model import Plan
from envcheck.recipes import choose
from envcheck.render import render

NEW, OLD = ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090"), "NVIDIA GeForce GTX 1080"
# branch for Turing and newer, branch for older, and the case of the fakes that is nearest
SYSTEMS = {
    "sles-15.4": ("580", "580", "sles-g07"),
    "sles-15.6": ("595", "580", "sles-g07"),
    "sles-15.7": ("595", "580", "sles-g07"),
    "sles-16.0": ("595", "580", "sles-g07"),
    "opensuse-leap-15.5": ("580", "580", "leap-g06"),
    "opensuse-leap-15.6": ("595", "580", "leap-g06"),
    "opensuse-leap-16.0": ("595", "580", "leap-g06"),
    "opensuse-tumbleweed": ("615", "580", "tumbleweed-g07"),
    "opensuse-microos": ("615", "580", "microos"),
    "sl-micro-6.1": ("580", "580", "microos"),
    "arch": ("615", "580", "linux"),
    "endeavouros": ("615", "580", "linux"),
    "manjaro": ("580", "580", "linux"),
    "cachyos": ("580", "580", "linux"),
}
BY_HAND = {(os, OLD) for os in ("arch", "endeavouros", "manjaro", "cachyos", "opensuse-microos", "sl-micro-6.1")}
BY_HAND |= {(os, gpu) for os in ("manjaro", "cachyos") for gpu in NEW}
LINTED = ("sles-15.6", "opensuse-leap-15.6", "opensuse-tumbleweed", "opensuse-microos", "arch")
ALL = [(os, gpu) for os in SYSTEMS for gpu in (*NEW, OLD)]
TOOL = Path(sys.executable).parent / "shellcheck"
SHELLCHECK = shutil.which("shellcheck") or (str(TOOL) if TOOL.exists() else None)


def made(os: str, gpu: str) -> Plan:
    return plan(machine(gpu, os=os, driver="none"))


@pytest.mark.parametrize(("os", "gpu"), ALL)
def test_the_branch_is_one_that_the_systems_archives_have(os: str, gpu: str) -> None:
    answer = made(os, gpu)
    assert answer.satisfiable
    assert answer.driver is not None
    assert answer.driver.target == SYSTEMS[os][gpu == OLD]
    assert answer.driver.module == ("proprietary" if gpu == OLD else "open")
    ids = [step.id for step in answer.steps if step.stage == "system"]
    assert (ids == ["driver-by-hand"]) == ((os, gpu) in BY_HAND)
    default = MATRIX.data["defaults"]["driver_branch"]
    said = any(f"this system's archives have it, and not {default}" in reason for reason in answer.reasons)
    assert said == (answer.driver.target != default)


@pytest.mark.parametrize("os", ["ubuntu-24.04", "debian-12", "debian-13", "debian-11", "ubuntu-20.04"])
@pytest.mark.parametrize("gpu", [NEW[0], OLD])
def test_other_systems_keep_the_default_branch(os: str, gpu: str) -> None:
    answer = made(os, gpu)
    assert answer.driver is not None
    assert answer.driver.target == MATRIX.data["defaults"]["driver_branch"]


def test_a_branch_that_was_asked_for_is_not_replaced() -> None:
    answer = plan(machine(NEW[0], os="sles-15.6", driver="none"), driver_branch="610")
    assert answer.driver is not None
    assert answer.driver.target == "610"
    assert [step.id for step in answer.steps if step.stage == "system"] == ["driver-by-hand"]


@pytest.mark.parametrize(
    ("word", "id", "version"),
    [
        ("opensuse-tumbleweed", "opensuse-tumbleweed", None),
        ("opensuse-tumbleweed-20261120", "opensuse-tumbleweed", "20261120"),
        ("opensuse-leap-15.6", "opensuse-leap", "15.6"),
        ("opensuse-microos", "opensuse-microos", None),
        ("sl-micro-6.1", "sl-micro", "6.1"),
        ("arch", "arch", None),
        ("wsl-opensuse-tumbleweed", "opensuse-tumbleweed", None),
    ],
)
def test_rolling_systems_are_named_without_a_version(word: str, id: str, version: str | None) -> None:
    described = machine_for(WhatIf(os=word, gpus=("none",)), MATRIX).os
    assert (described.id, described.version) == (id, version)


def test_an_unknown_system_is_still_refused() -> None:
    with pytest.raises(UsageError, match="Did you mean"):
        machine_for(WhatIf(os="opensuse-tumbelweed", gpus=("none",)), MATRIX)


@pytest.mark.parametrize(("os", "gpu"), ALL)
def test_the_whole_script_is_sound_and_dry_runs(os: str, gpu: str, tmp_path: Path) -> None:
    answer = made(os, gpu)
    world = world_of(os, answer, tmp_path)
    script = render(answer, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))
    file = tmp_path / "checked.sh"
    file.write_text(script)
    assert subprocess.run(["bash", "-n", file], check=False, timeout=30).returncode == 0
    # the two generations of cards differ in the header alone
    if SHELLCHECK is not None and os in LINTED and gpu != NEW[1]:
        checked = subprocess.run([SHELLCHECK, file], capture_output=True, text=True, timeout=120, check=False)
        assert checked.returncode == 0, checked.stdout
    before = world.files(), world.load()
    ended = world.run(script, "--dry-run", "--stage", "system")
    assert ended.code == 0, ended.output
    assert "this is not the machine" not in ended.output
    assert (world.files(), world.load()) == before
    assert world.log() == []


def world_of(os: str, answer: Plan, tmp_path: Path) -> World:
    """A machine of this system; its kernels are those of the nearest one that the fakes know."""
    case = SYSTEMS[os][2]
    world = arch_machines.make(case, tmp_path) if case == "linux" else suse_machines.make(case, tmp_path)
    system = answer.machine.os
    version = f"VERSION_ID={system.version}\n" if system.version else ""
    world.put("etc/os-release", f"ID={system.id}\n{version}")
    return world


def test_every_recipe_of_these_systems_is_chosen_by_some_plan() -> None:
    from envcheck.plan.driver import DriverOption
    from envcheck.plan.steps import driver_job

    found = set()
    for os, gpu in ALL:
        answer = made(os, gpu)
        assert answer.driver is not None
        option = DriverOption(
            view=None,  # type: ignore[arg-type]
            action="install",
            branch=MATRIX.branches[answer.driver.target or ""],
            module=answer.driver.module,
        )
        recipe = choose(driver_job(answer.machine, MATRIX, option), RECIPES)
        found.add(recipe.id if recipe else None)
    assert {"suse-cuda", "suse-micro", "arch", "arch-by-hand"} <= found
