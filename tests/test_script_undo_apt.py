"""What undo promises where apt installed the driver: dpkg's selections as they were before. See ``installers/apt.sh``.

What the script added is purged; a part of a driver that apt upgraded goes back where the older version can still be
had, others stay up to date, and what stays is said. Real machines showed each of the faults (``docs/evidence``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.apt_machines import job_of, make
from fakes.drivers import script_of, system
from fakes.world import Ended, World, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")


PART = "nvidia-egl-common"


def debian(tmp_path: Path, **driver: Any) -> tuple[World, str]:
    """Debian 12 with two packages at 1; ``driver`` is what its archive says of nvidia-persistenced besides."""
    world = make("debian-archive", tmp_path)
    for name in (PART, "liblzma5"):
        world.install({name: "1"})
        world.offer(packages(name, version="2", older=["1"]))
    world.offer(packages("nvidia-persistenced", version="535.100.01-1", **{"from": "non-free"}, **driver))
    return world, script_of(world, job_of("debian-archive"))


def undo(world: World, script: str) -> Ended:
    world.log()
    return world.run(script, "--stage", "undo", "--yes")


def test_a_part_of_a_driver_that_apt_upgraded_goes_back(tmp_path: Path) -> None:
    world, script = debian(tmp_path, upgrades={PART: "2"})
    world.save(automatic=[PART])
    before = world.installed
    assert system(world, script, "--yes").code == 0
    assert world.installed[PART] == "2"
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert world.installed == before
    assert world.load()["automatic"] == [PART]  # naming a version makes it a person's wish
    assert [line for line in world.log() if line.startswith("apt-mark")] == [f"apt-mark auto {PART}"]


def test_a_library_of_the_system_that_apt_upgraded_beside_the_driver_stays_and_is_said(tmp_path: Path) -> None:
    """Seen on Ubuntu 24.04: undo took glibc and dpkg back to the release's first versions, without their fixes."""
    world, script = debian(tmp_path, upgrades={"liblzma5": "2"})
    before = world.installed
    assert system(world, script, "--yes").code == 0
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert undone.output.count("liblzma5 stays at 2 (it was 1)") == 1
    assert world.installed == {**before, "liblzma5": "2"}
    assert not [line for line in world.log() if "liblzma5=" in line]


def test_an_older_version_that_no_archive_has_any_more_is_said(tmp_path: Path) -> None:
    world, script = debian(tmp_path, upgrades={PART: "2"})
    before = world.installed
    assert system(world, script, "--yes").code == 0
    world.offer(packages(PART, version="2"))
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert undone.output.count(f"{PART} stays at 2: no archive here has 1 any more") == 1
    assert world.installed == {**before, PART: "2"}


def test_what_others_upgraded_again_since_stays(tmp_path: Path) -> None:
    world, script = debian(tmp_path, upgrades={PART: "2"})
    before = world.installed
    assert system(world, script, "--yes").code == 0
    world.install({PART: "3"})
    assert undo(world, script).code == 0
    assert world.installed == {**before, PART: "3"}


def test_an_older_version_that_others_cannot_live_with_stays_and_the_driver_goes(tmp_path: Path) -> None:
    world, script = debian(tmp_path, upgrades={PART: "2"})
    before = world.installed
    assert system(world, script, "--yes").code == 0
    world.install({"egl-tools": "2"})
    world.offer(packages(PART, version="2", older=["1"], needed_by=["egl-tools"]))
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert f"not put back: {PART}=1 (egl-tools needs what would go and was not installed" in undone.output
    assert world.installed == {**before, "egl-tools": "2", PART: "2"}


def test_an_undo_that_broke_off_between_removing_and_purging_is_finished_by_the_next(tmp_path: Path) -> None:
    world, script = debian(tmp_path, config=True)
    before = world.installed
    assert system(world, script, "--yes").code == 0
    left = world.installed
    del left["nvidia-persistenced"]
    world.save(installed=left, unpurged=["nvidia-persistenced"])
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert (world.installed, world.load()["unpurged"]) == (before, [])


@pytest.mark.parametrize("unpurged", [[], ["nvidia-persistenced"]])
def test_configuration_that_an_earlier_removal_left_is_left_again(unpurged: list[str], tmp_path: Path) -> None:
    world, script = debian(tmp_path, config=True)
    world.offer(packages("libcuda1", version="535.100.01-1", config=True, **{"from": "non-free"}))
    world.save(unpurged=unpurged)
    before = world.installed
    assert system(world, script, "--yes").code == 0
    undone = undo(world, script)
    assert undone.code == 0, undone.output
    assert (world.installed, world.load()["unpurged"]) == (before, unpurged)
