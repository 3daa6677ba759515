"""Every driver recipe on every machine that it must not touch: first, second and dry run, and undo.

What each recipe does where it may work is in the tests of its family.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fakes import apt_machines, arch_machines, dnf_machines, lives, suse_machines
from fakes.drivers import script_of, system
from fakes.failures import places
from fakes.world import World

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")


def with_a_program(world: World) -> None:
    lives.with_a_program(world, "470.1.2")
    world.put("usr/bin/nvidia-smi", "")


# what is put on the machine, and what the script then says
STATES: dict[str, tuple[Callable[[World], object], str]] = {
    "run file": (lives.by_a_run_file, "sudo nvidia-uninstall --silent"),
    "container": (lambda w: w.put(".dockerenv", ""), "belongs to the host"),
    "wsl": (
        lambda w: w.put("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n"),
        "the one on Windows",
    ),
    "image": (lambda w: w.put("run/ostree-booted", ""), "this system is an image (ostree)"),
    "jetson": (lambda w: w.put("etc/nv_tegra_release", "# R36\n"), "this is a Jetson"),
    "program": (with_a_program, "4711, python"),
    "another card": (lambda w: w.card("0x2204"), "the set of NVIDIA GPUs (PCI ids) is 10de:2204 here"),
}


FAMILIES = (apt_machines, dnf_machines, suse_machines, arch_machines)
ALL = [(family, case, state) for family in FAMILIES for case in family.CASES for state in STATES]
# each recipe at least once, and each state with several; all with ENVCHECK_ALL_FAILURES=1
SOME = slice(None) if os.environ.get("ENVCHECK_ALL_FAILURES") else slice(None, None, 2)
CHOSEN = [
    pytest.param(*ALL[number - 1], id=f"{ALL[number - 1][1]}-{ALL[number - 1][2]}")
    for number in places(len(ALL), 0)[SOME]
]


@pytest.mark.parametrize(("family", "case", "state"), CHOSEN)
def test_a_machine_that_must_stay_as_it_is_stays_so(family: ModuleType, case: str, state: str, tmp_path: Path) -> None:
    world: World = family.make(case, tmp_path)
    change, words = STATES[state]
    change(world)
    job = family.job_of(case, action="upgrade" if state == "program" else "install")
    script = script_of(world, job, driver="470.1.2" if state == "program" else None)
    before = world.files(), world.installed
    for _ in range(2):
        ended = system(world, script, "--yes")
        assert (ended.code, world.log()) == (11, []), ended.output
        assert words in ended.output
    dry = system(world, script, "--dry-run")
    assert (dry.code in (0, 11), world.log()) == (True, []), dry.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert (world.files(), world.installed, world.log()) == (*before, [])
