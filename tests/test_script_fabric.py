"""The fabric manager of NVSwitch machines, run by bash on machines in a directory: a new driver's, a kept one's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fakes import apt_machines, dnf_machines, lives, suse_machines
from fakes.drivers import script_of, script_of_roles, system
from fakes.world import World, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden"
VERSION, UNIT = "580.100.01", "nvidia-fabricmanager"
# of each case: whether the driver is there already, its machine, and the package's name there
CASES = {
    "fabric-nvlsm-dnf": (False, "rocky-9", "nvidia-fabricmanager"),
    "fabric-nvlsm-amazon": (False, "amazon-2023", "nvidia-fabricmanager"),
    "fabric-new-dnf": (False, "centos-10", "nvidia-fabricmanager"),
    "fabric-new-amazon": (False, "amazon-2023", "nvidia-fabricmanager"),
    "fabric-kept-dnf": (True, "centos-10", "nvidia-fabric-manager"),
    "fabric-kept-fedora": (True, "fedora-43", "nvidia-fabricmanager"),
    "fabric-kept-apt": (True, "ubuntu-archive", "nvidia-fabricmanager-580"),
    "fabric-kept-zypper": (True, "sles-g07", "nvidia-fabricmanager"),
}


def make(case: str, tmp_path: Path, version: str = VERSION) -> World:
    kept, name, package = CASES[case]
    if name == "ubuntu-archive":
        world = apt_machines.make(name, tmp_path)
        world.offer(packages(package, version=f"{version}-1ubuntu1", services=[UNIT]))
    elif name in suse_machines.CASES:
        world = suse_machines.make(name, tmp_path)
        every = [f"{version}-1", "580.200.01-1"]
        world.offer(packages(package, version=every[0], versions=every, services=[UNIT]))
    else:
        world = dnf_machines.make(name, tmp_path)
        more = {"from": "amazonlinux-nvidia" if name.startswith("amazon") else "baseos" if kept else "nvidia"}
        # dnf takes the newest by itself
        for each in (version, "580.200.01"):
            dnf_machines.offer(world, package, dnf_machines.rpm(each, services=[UNIT], **more))
        dnf_machines.offer(world, "nvlsm", dnf_machines.rpm("2025.10.14", **more))
        dnf_machines.offer(world, "infiniband-diags", dnf_machines.rpm("57.0"))
    if kept:
        world.put("sys/module/nvidia/version", VERSION + "\n")
    return world


def script_for(case: str, world: World) -> str:
    kept, name, _ = CASES[case]
    (module,) = [each for each in (apt_machines, dnf_machines, suse_machines) if name in each.CASES]
    job = module.job_of(name, features=("fabric", "nvlsm") if "nvlsm" in case else ("fabric",))
    return script_of_roles(world, job, "fabric" if kept else "driver", driver=VERSION if kept else None)


def there(world: World, case: str) -> list[str]:
    return [name for name in world.installed if name.startswith(CASES[case][2])]


@pytest.mark.parametrize("case", CASES)
def test_fresh_dry_second_and_undo(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before, files = world.installed, world.files()
    script = script_for(case, world)
    dry = system(world, script, "--dry-run")
    assert (dry.code, world.log(), world.files()) == (0, [], files), dry.output
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    log = "\n".join(line.replace(str(tmp_path), "@") for line in world.log()) + "\n"
    golden = GOLDEN / f"{case}.log"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        golden.write_text(log)
    assert log == golden.read_text()
    (name,) = there(world, case)
    assert VERSION in name or VERSION in world.installed[name]
    assert world.load()["services"][UNIT] == [True, True]
    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert set(world.installed) == set(before)
    assert UNIT not in world.load()["services"]


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if "nvlsm" not in case])  # its steps are of the same functions
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = set(world.installed)
    script = script_for(case, world)
    commands = (GOLDEN / f"{case}.log").read_text().splitlines()
    lives.repaired_in_turn(world, script, commands)
    assert there(world, case)
    assert world.load()["services"][UNIT] == [True, True]
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert set(world.installed) == before


@pytest.mark.parametrize("case", ["fabric-new-dnf", "fabric-kept-dnf", "fabric-kept-apt"])
def test_one_of_another_version_is_never_installed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path, version="580.99.01")
    ended = system(world, script_for(case, world), "--yes")
    assert ended.code == 11, ended.output
    assert f"of the driver's version {VERSION}" in ended.output
    assert not there(world, case)


@pytest.mark.parametrize("case", ["fabric-kept-dnf", "fabric-kept-apt"])
def test_one_that_is_there_is_only_started(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    script = script_for(case, world)
    assert system(world, script, "--yes").code == 0
    world.save(services={UNIT: [False, False]})
    world.log()
    assert system(world, script, "--yes").code == 0
    assert world.log() == [f"systemctl enable -- {UNIT}", f"systemctl start -- {UNIT}"]


def test_a_small_kernel_of_a_cloud_gets_its_infiniband_modules(tmp_path: Path) -> None:
    world = apt_machines.make("nvidia-ubuntu", tmp_path)
    world.offer(packages("nvidia-fabricmanager-610", version="610.100.01-1", services=[UNIT], **{"from": "nvidia"}))
    world.offer(packages("nvlsm", "infiniband-diags", "libibumad3", version="1", **{"from": "nvidia"}))
    kernels = sorted(path.name for path in (world.root / "lib/modules").iterdir())
    for kernel in kernels:
        files = {f"/lib/modules/{kernel}/kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko.zst": "x"}
        world.offer(packages(f"linux-modules-extra-{kernel}", version="6.8", files=files))
    before = world.installed
    script = script_of(world, apt_machines.job_of("nvidia-ubuntu", features=("fabric", "nvlsm")))
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    assert {f"linux-modules-extra-{kernel}" for kernel in kernels} <= set(world.installed)
    assert "modprobe ib_umad" in world.log()
    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert world.installed == before
