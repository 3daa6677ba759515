"""Machines with the archives of their distribution, and the script of one driver recipe for each."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from fakes.plans import META, plan_of
from fakes.world import DOWNLOAD, OPEN, PROPRIETARY, Ended, World, module_files, packages

from envcheck.model import OS, Driver, DriverChoice, DriverMinimum, Gpu, Machine, Plan, Step
from envcheck.recipes import DriverJob, Recipes, driver_steps, load_recipes
from envcheck.render import render

CASES = ("ubuntu-archive", "debian-archive", "nvidia-ubuntu", "nvidia-debian")
JOBS = {
    "ubuntu-archive": ("ubuntu", "24.04", "ubuntu2404", "580", "open"),
    "debian-archive": ("debian", "12", "debian12", "535", "proprietary"),
    "nvidia-ubuntu": ("ubuntu", "24.04", "ubuntu2404", "595", "open"),
    "nvidia-debian": ("debian", "13", "debian13", "580", "open"),
}
UBUNTU, UBUNTU_NEW, DEBIAN, DEBIAN_NEW = "6.8.0-45-generic", "6.8.0-151-generic", "6.1.0-21-amd64", "6.1.0-37-amd64"


def job_of(case: str, **changes: str) -> DriverJob:
    os_id, version, repo, branch, module = JOBS[case]
    job = DriverJob(
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
    return dataclasses.replace(job, **changes)  # type: ignore[arg-type]


def recipes_of(world: World) -> Recipes:
    """The recipes with this test's state directory and with the sum of the fake download."""
    loaded = load_recipes()
    sums = dict.fromkeys(loaded.by_id["nvidia-apt"].keyrings, hashlib.sha256(DOWNLOAD.encode()).hexdigest())
    nvidia = dataclasses.replace(loaded.by_id["nvidia-apt"], keyrings=sums)
    return Recipes(by_id={**loaded.by_id, "nvidia-apt": nvidia}, state_dir=str(world.var))


def driver_plan(job: DriverJob, steps: tuple[Step, ...], driver: str | None = None) -> Plan:
    card = Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9", pci_id="10de:2684", bus_id="0000:01:00.0")
    machine = Machine(
        os=OS(id=job.os_id, version=job.os_version, arch=job.arch, platform="linux"),
        driver=Driver(version=driver),
        gpus=(card,),
    )
    choice = DriverChoice(installed=driver, minimum=DriverMinimum(), rule="none", action=job.action, target=job.branch)
    return plan_of(*steps, machine=machine, driver=choice)


def script_of(world: World, job: DriverJob, driver: str | None = None) -> str:
    steps = driver_steps(job, recipes_of(world))
    assert steps is not None
    plan = driver_plan(job, steps, driver)
    return render(plan, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))


def make(case: str, tmp_path: Path) -> World:
    """A machine with an old running kernel, a newer installed one, and the archive of its distribution."""
    os_id, version, _, branch, module = JOBS[case]
    ubuntu = os_id == "ubuntu"
    kernel, newer, meta = (UBUNTU, UBUNTU_NEW, "generic") if ubuntu else (DEBIAN, DEBIAN_NEW, "amd64")
    world = World(tmp_path, os_id=os_id, version=version, kernel=kernel)
    world.add_kernel(newer)
    world.install({f"linux-image-{kernel}": "1", f"linux-image-{newer}": "1", f"linux-image-{meta}": "1", "bash": "5"})
    for each in (kernel, newer):
        world.offer(packages(f"linux-headers-{each}", files={f"/lib/modules/{each}/build/Makefile": ""}))
    world.offer(packages(f"linux-headers-{meta}", depends=[f"linux-headers-{newer}"]))
    world.offer(packages("nvidia-modprobe", **{"from": "contrib"}))
    full, license_ = f"{branch}.100.01", OPEN if module == "open" else PROPRIETARY
    if case == "ubuntu-archive":
        offer_ubuntu(world, full, license_)
    elif case == "debian-archive":
        built = {"dkms": f"{full} {license_}"}
        world.offer(packages("nvidia-kernel-dkms", version=f"{full}-1", **{"from": "non-free"}, **built))
        world.offer(
            packages("libcuda1", "nvidia-smi", "nvidia-persistenced", version=f"{full}-1", **{"from": "non-free"})
        )
    else:
        world.offer(packages("cuda-keyring", version="1.1-1", **{"from": "deb"}))
        world.offer(packages(f"nvidia-driver-pinning-{branch}", version=branch, **{"from": "nvidia"}))
        depends = ["libnvidia-compute"]
        world.offer(packages("libnvidia-compute", version=f"{full}-1", **{"from": "nvidia"}))
        more = {"from": "nvidia", "dkms": f"{full} {license_}", "depends": depends}
        world.offer(packages("nvidia-open", "cuda-drivers", version=f"{full}-1", **more))
    return world


def offer_ubuntu(world: World, full: str, license_: str, branch: str = "580") -> None:
    suffix = "-open" if license_ == OPEN else ""
    for kernel in (UBUNTU, UBUNTU_NEW):
        name = f"linux-modules-nvidia-{branch}-server{suffix}-{kernel}"
        world.offer(packages(name, version="6.8", files=module_files(kernel, full, license_)))
    newest = f"linux-modules-nvidia-{branch}-server{suffix}-{UBUNTU_NEW}"
    world.offer(packages(f"linux-modules-nvidia-{branch}-server{suffix}-generic", version="6.8", depends=[newest]))
    conflicts = ["nvidia-utils-*", "libnvidia-compute-*"]
    library = f"libnvidia-compute-{branch}-server"
    world.offer(packages(library, version=f"{full}-0ubuntu1", conflicts=conflicts))
    world.offer(
        packages(
            f"nvidia-headless-no-dkms-{branch}-server{suffix}",
            f"nvidia-utils-{branch}-server",
            f"nvidia-driver-{branch}-server{suffix}",
            version=f"{full}-0ubuntu1",
            depends=[library],
        )
    )
    world.offer(packages(f"nvidia-dkms-{branch}-server{suffix}", version=f"{full}-0", dkms=f"{full} {license_}"))


def system(world: World, script: str, *words: str, **more: object) -> Ended:
    return world.run(script, "--stage", "system", *words, **more)  # type: ignore[arg-type]
