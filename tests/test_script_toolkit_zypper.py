"""The CUDA toolkit on zypper, run by bash on machines in a directory (dnf: test_script_toolkit)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.drivers import script_of_roles, system
from fakes.suse_machines import job_of, make
from fakes.world import World, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden" / "cuda-toolkit-zypper.log"
TOOLKIT = "cuda-toolkit-12-6"
CASES = ("sles-g07", "leap-g06", "tumbleweed-g07")


def machine(tmp_path: Path, case: str = "sles-g07", **more: Any) -> World:
    world = make(case, tmp_path)
    world.offer(packages("cuda-nvcc-12-6", version="12.6.85-1", **{"from": "nvidia"}))
    plain = {"from": "nvidia", "depends": ["cuda-nvcc-12-6"], "version": "12.6.3-1"}
    world.offer(packages(TOOLKIT, **{**plain, **more}))
    return world


def script_for(world: World, *roles: str, case: str = "sles-g07", toolkit: str = "12.6") -> str:
    return script_of_roles(world, job_of(case, toolkit=toolkit), *roles)


@pytest.mark.parametrize("case", CASES)
def test_fresh_dry_second_and_undo(case: str, tmp_path: Path) -> None:
    world = machine(tmp_path, case)
    before, files = world.installed, world.files()
    script = script_for(world, "cuda-toolkit", case=case)
    dry = system(world, script, "--dry-run")
    assert (dry.code, world.log(), world.files()) == (0, [], files), dry.output
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    log = "\n".join(line.replace(str(tmp_path), "@") for line in world.log()) + "\n"
    if case == CASES[0]:
        if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
            GOLDEN.write_text(log)
        assert log == GOLDEN.read_text()
    assert {TOOLKIT, "cuda-nvcc-12-6"} <= set(world.installed)
    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert (world.installed, world.files(), world.load()["keys"]) == (before, files, [])


@pytest.mark.slow
def test_a_failure_of_any_command_is_repaired_by_a_second_run(tmp_path: Path) -> None:
    for number in range(1, len(GOLDEN.read_text().splitlines()) + 1):
        home = tmp_path / str(number)
        home.mkdir()
        world = machine(home)
        script = script_for(world, "cuda-toolkit")
        world.save(fail_at=number, fail_after=bool(number % 2))
        first = system(world, script, "--yes")
        assert first.code not in (0, 10, 11), first.output
        world.save(fail_at=None)
        second = system(world, script, "--yes")
        assert second.code == 0, f"{number}: {first.output}\n---\n{second.output}"


def test_with_the_drivers_repository_there_is_no_second_one_and_undo_takes_all_back(tmp_path: Path) -> None:
    world = machine(tmp_path)
    before = world.installed
    script = script_for(world, "driver", "cuda-toolkit")
    ended = system(world, script, "--yes")
    assert ended.code in (0, 10), ended.output
    if ended.code == 10:
        world.reboot()
        assert system(world, script, "--yes").code == 0
    assert not (world.root / "etc/zypp/repos.d/envcheck-cuda-toolkit.repo").exists()
    assert TOOLKIT in world.installed
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before


@pytest.mark.parametrize(
    "driver", ["cuda-drivers", "nvidia-compute-G07", "nvidia-open-driver-G07-signed-cuda-kmp-default"]
)
def test_one_that_would_bring_a_driver_is_refused(driver: str, tmp_path: Path) -> None:
    world = machine(tmp_path, depends=[driver])
    if driver == "cuda-drivers":
        world.offer(packages(driver, version="610.43.02-1", **{"from": "nvidia"}))
    ended = system(world, script_for(world, "cuda-toolkit"), "--yes")
    assert ended.code == 11, ended.output
    assert f"would bring a driver, which is no part of it: {driver}" in ended.output
    assert TOOLKIT not in world.installed


def test_one_of_which_zypper_does_not_say_what_it_brings_is_refused(tmp_path: Path) -> None:
    world = machine(tmp_path, depends=["nobody-has-this"])
    ended = system(world, script_for(world, "cuda-toolkit"), "--yes")
    assert ended.code == 11, ended.output
    assert f"what {TOOLKIT} would bring along cannot be told" in ended.output


def test_one_that_the_repository_has_not_is_refused(tmp_path: Path) -> None:
    world = machine(tmp_path)
    ended = system(world, script_for(world, "cuda-toolkit", toolkit="11.7"), "--yes")
    assert ended.code == 11, ended.output
    assert "no archive here has cuda-toolkit-11-7" in ended.output
