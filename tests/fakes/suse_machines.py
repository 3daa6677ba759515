"""Machines of SLES, openSUSE and MicroOS with what SUSE's and NVIDIA's repositories hold, one for each kind of plan."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from fakes.drivers import job
from fakes.world import OPEN, PROPRIETARY, World, packages

from envcheck.recipes import DriverJob, load_recipes

CASES = ("sles-g07", "leap-g06", "tumbleweed-g07", "sles-dkms", "microos")
JOBS = {
    "sles-g07": ("sles", "15.6", "sles15", "595", "open"),
    "leap-g06": ("opensuse-leap", "15.5", "opensuse15", "580", "open"),
    "tumbleweed-g07": ("opensuse-tumbleweed", "20261120", "suse16", "615", "open"),
    "sles-dkms": ("sles", "16.0", "suse16", "580", "proprietary"),
    "microos": ("opensuse-microos", "20261120", "suse16", "615", "open"),
}
# uname -r of the running kernel and of the newest, and the rpm's edition of each
KERNELS = {
    "sles": ("6.4.0-150600.23.47-default", "6.4.0-150600.23.65-default"),
    "opensuse-leap": ("5.14.21-150500.55.91-default", "5.14.21-150500.55.133-default"),
    "opensuse-tumbleweed": ("7.2.8-1-default", "7.2.9-1-default"),
    "opensuse-microos": ("7.2.9-1-default", "7.2.9-1-default"),
}
KEYS = load_recipes().by_id["suse-cuda"].parameters
URL = "https://developer.download.nvidia.com/compute/cuda/repos/{}/x86_64"


def job_of(case: str, **changes: Any) -> DriverJob:
    return dataclasses.replace(job(*JOBS[case], family="suse"), **changes)


def edition(kernel: str) -> str:
    return kernel.rpartition("-")[0] + ".1"


def make(case: str, tmp_path: Path) -> World:
    os_id, version, repo, branch, module = JOBS[case]
    running, newest = KERNELS[os_id]
    world = World(tmp_path, os_id=os_id, version=version, kernel=running, family="suse")
    world.add_kernel(newest)
    kernels = list(dict.fromkeys((running, newest)))
    world.save(keys=[], snapshot=None)
    world.save(downloads={f"{URL.format(repo)}/{KEYS['key'][repo]}.pub": f"key {KEYS['fingerprint'][repo]}\n"})
    world.install({"kernel-default": " ".join(edition(k) for k in kernels), "bash": "5-1"})
    full, license_ = f"{branch}.71.05", OPEN if module == "open" else PROPRIETARY
    generation = "G06" if branch == "580" else "G07"
    if module == "open":
        offer_signed(world, generation, full, kernels)
    else:
        editions = [edition(k) for k in kernels]
        world.offer(packages("kernel-default-devel", version=editions[-1], versions=editions))
        world.offer(packages("dkms", version="3.0-1", **{"from": "nvidia"}))
        name = f"nvidia-driver-{generation}"
        more = {"from": "nvidia", "dkms": f"{full} {license_}", "depends": ["dkms"]}
        world.offer(packages(name, version=f"{full}-1", **more))
    # NVIDIA is ahead of SUSE: the newest libraries are of a release that has no module yet
    newer = f"{branch}.99.01-1"
    libraries = {"versions": [f"{full}-1", newer], "from": "nvidia"}
    world.offer(packages("nvidia-persistenced", version=f"{full}-1", **libraries))
    world.offer(packages(f"nvidia-compute-{generation}", version=f"{full}-1", **{"from": "nvidia"}))
    depends = [f"nvidia-compute-{generation}"]
    world.offer(packages(f"nvidia-compute-utils-{generation}", version=f"{full}-1", depends=depends, **libraries))
    world.offer(packages(f"nvidia-video-{generation}", version=f"{full}-1", **libraries))
    return world


def offer_signed(world: World, generation: str, full: str, kernels: list[str]) -> None:
    """SUSE builds for the newest kernel; where the interface is kept, older ones get a link to the module."""
    kept = "150" in kernels[-1]
    text = f"{full} {OPEN}"
    files = {f"/lib/modules/{k}/updates/nvidia.ko.zst": text for k in (kernels if kept else kernels[-1:])}
    version = f"{full}_k{kernels[-1].rpartition('-')[0].replace('-', '_')}-1.2"
    old = f"{int(full[:3]) - 5}.10.01_k1-1.1"
    gone = ["nvidia-open-driver-G06-*", "nvidia-driver-G06*"] if generation == "G07" else ["nvidia-driver-G06*"]
    name = f"nvidia-open-driver-{generation}-signed-cuda-kmp-default"
    world.offer(packages(name, version=version, versions=[old, version], files=files, conflicts=gone))


def boot(world: World) -> None:
    """A reboot; on a transactional system into the snapshot that was made."""
    made = world.load()["snapshot"]
    if made:
        for path, text in made["files"].items():
            world.put(path.lstrip("/"), text)
        world.save(installed=made["installed"], keys=made["keys"], snapshot=None)
    needed = world.root / "run/reboot-needed"
    if os.path.exists(needed):
        needed.unlink()
    world.reboot()
