"""Undo of the driver's packages where a step that comes before them had nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.apt_machines import DEBIAN, DEBIAN_NEW, UBUNTU, UBUNTU_NEW, job_of, make
from fakes.drivers import script_of, system
from fakes.world import World

HEADERS = {
    "debian-archive": (f"linux-headers-{DEBIAN}", f"linux-headers-{DEBIAN_NEW}", "linux-headers-amd64"),
    "nvidia-debian": (f"linux-headers-{DEBIAN}", f"linux-headers-{DEBIAN_NEW}", "linux-headers-amd64"),
    "nvidia-ubuntu": (f"linux-headers-{UBUNTU}", f"linux-headers-{UBUNTU_NEW}", "linux-headers-generic"),
}


def have(world: World, *names: str) -> None:
    archive = world.load()["archive"]
    world.install({name: archive[name]["version"] for name in names})
    for name in names:
        for path, text in archive[name].get("files", {}).items():
            world.put(path.lstrip("/"), text)


@pytest.mark.parametrize("case", sorted(HEADERS))
def test_undo_takes_the_driver_back_where_the_headers_were_there(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    have(world, *HEADERS[case])
    before = world.installed
    script = script_of(world, job_of(case))
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    assert world.installed != before
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before


@pytest.mark.parametrize("case", ["nvidia-debian", "nvidia-ubuntu"])
def test_undo_takes_the_driver_back_and_leaves_a_repository_that_was_there(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    have(world, "cuda-keyring")
    before = world.installed
    script = script_of(world, job_of(case))
    assert system(world, script, "--yes").code == 0
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before


def test_undo_takes_the_libraries_back_where_the_modules_were_there(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    have(world, *(n for n in world.load()["archive"] if n.startswith("linux-modules-nvidia-580-server-open-")))
    before = world.installed
    script = script_of(world, job_of("ubuntu-archive"))
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before
