"""The CUDA toolkit on dnf, run by bash on machines in a directory (apt: test_script_extras)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import lives
from fakes.dnf_machines import job_of, make, offer, put, rpm
from fakes.drivers import script_of_roles, system
from fakes.world import World

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden" / "cuda-toolkit-dnf.log"
TOOLKIT = "cuda-toolkit-12-6"


def machine(tmp_path: Path, case: str = "rocky-9", **more: Any) -> World:
    world = make(case, tmp_path)
    plain = {"from": "nvidia", "depends": ["cuda-nvcc-12-6"]}
    offer(world, TOOLKIT, rpm("12.6.3", **{**plain, **more}))
    offer(world, "cuda-nvcc-12-6", rpm("12.6.85", **{"from": "nvidia"}))
    offer(world, "cuda-drivers", rpm("610.43.02", **{"from": "nvidia"}))
    return world


def script_for(world: World, *roles: str, toolkit: str = "12.6", case: str = "rocky-9") -> str:
    return script_of_roles(world, job_of(case, toolkit=toolkit), *roles)


def names(world: World) -> set[str]:
    return {v["name"] for v in world.load()["installed"].values()}


def test_fresh_dry_second_and_undo(tmp_path: Path) -> None:
    world = machine(tmp_path)
    before, files = world.installed, world.files()
    script = script_for(world, "cuda-toolkit")
    dry = system(world, script, "--dry-run")
    assert (dry.code, world.log(), world.files()) == (0, [], files), dry.output
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    log = "\n".join(line.replace(str(tmp_path), "@") for line in world.log()) + "\n"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        GOLDEN.write_text(log)
    assert log == GOLDEN.read_text()
    assert {TOOLKIT, "cuda-nvcc-12-6"} <= names(world)
    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert (set(world.installed), world.files()) == (set(before), files)


@pytest.mark.parametrize("case", ["fedora-43", "amazon-2023"])
def test_from_the_repository_of_another_system_with_the_key_of_that(case: str, tmp_path: Path) -> None:
    world = machine(tmp_path, case)
    before, files = world.installed, world.files()
    script = script_for(world, "cuda-toolkit", case=case)
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    entry = (world.root / "etc/yum.repos.d/envcheck-cuda-toolkit.repo").read_text()
    assert f"/cuda/repos/{job_of(case).repo}/x86_64" in entry
    assert [line.split()[0] for line in world.log()] == ["curl", "dnf"]
    assert {TOOLKIT, "cuda-nvcc-12-6"} <= names(world)
    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (0, []), again.output
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert (set(world.installed), world.files()) == (set(before), files)


@pytest.mark.slow
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(tmp_path: Path) -> None:
    world = machine(tmp_path)
    before = set(world.installed)
    script = script_for(world, "cuda-toolkit")
    commands = GOLDEN.read_text().splitlines()
    lives.repaired_in_turn(world, script, commands)
    assert TOOLKIT in names(world)
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert set(world.installed) == before


def test_the_entry_for_toolkits_gives_no_driver_and_is_no_source_of_one(tmp_path: Path) -> None:
    world = machine(tmp_path)
    assert system(world, script_for(world, "cuda-toolkit"), "--yes").code == 0
    text = (world.root / "etc/yum.repos.d/envcheck-cuda-toolkit.repo").read_text()
    assert "gpgcheck=1\n" in text
    (excluded,) = [line for line in text.splitlines() if line.startswith("excludepkgs=")]
    assert {"nvidia-*", "kmod-nvidia*", "cuda-drivers*", "cuda"} <= set(excluded.partition("=")[2].split())
    ended = system(world, script_for(world, "driver"), "--yes")
    assert ended.code == 0, ended.output
    assert (world.root / "etc/yum.repos.d/envcheck-cuda.repo").exists()


def test_with_the_drivers_repository_there_is_no_second_entry_and_undo_takes_all_back(tmp_path: Path) -> None:
    world = machine(tmp_path)
    before = set(world.installed)
    script = script_for(world, "driver", "cuda-toolkit")
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert not (world.root / "etc/yum.repos.d/envcheck-cuda-toolkit.repo").exists()
    assert {TOOLKIT, "nvidia-driver-cuda"} <= names(world)
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert set(world.installed) == before


@pytest.mark.parametrize("driver", ["cuda-drivers", "kmod-nvidia-open-dkms"])
def test_one_that_would_bring_a_driver_is_refused(driver: str, tmp_path: Path) -> None:
    world = machine(tmp_path)
    offer(world, driver, rpm("610.43.02"))  # from the system's own archive, which nothing leaves out
    offer(world, TOOLKIT, rpm("12.6.4", depends=[driver], **{"from": "nvidia"}))
    ended = system(world, script_for(world, "cuda-toolkit"), "--yes")
    assert ended.code == 11, ended.output
    assert f"would bring a driver, which is no part of it: {driver}" in ended.output
    assert TOOLKIT not in names(world)


def test_one_of_which_dnf_does_not_say_what_it_brings_is_refused(tmp_path: Path) -> None:
    world = machine(tmp_path, depends=["nobody-has-this"])
    ended = system(world, script_for(world, "cuda-toolkit"), "--yes")
    assert ended.code == 11, ended.output
    assert f"what {TOOLKIT} would bring along cannot be told" in ended.output
    assert TOOLKIT not in names(world)


def test_one_that_the_archive_has_not_is_refused(tmp_path: Path) -> None:
    world = machine(tmp_path)
    put(world, "htop", rpm("3.3"))
    ended = system(world, script_for(world, "cuda-toolkit", toolkit="11.7"), "--yes")
    assert ended.code == 11, ended.output
    assert "no archive here has cuda-toolkit-11-7" in ended.output
