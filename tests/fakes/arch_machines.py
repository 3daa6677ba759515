"""Machines of Arch Linux with its archives, one for each way to the module."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fakes.drivers import job
from fakes.world import OPEN, World, packages

from envcheck.recipes import DriverJob

CASES = ("linux", "lts", "zen")
# package base -> uname -r; the first is the running one
KERNELS = {
    "linux": {"linux": "7.2.6-arch2-1"},
    "lts": {"linux-lts": "6.18.9-1-lts", "linux": "7.2.6-arch2-1"},
    "zen": {"linux-zen": "7.2.6-zen1-1-zen", "linux-lts": "6.18.9-1-lts"},
}
BUILT = {"linux": "nvidia-open", "linux-lts": "nvidia-open-lts"}
VERSION = "615.71.09"


def job_of(case: str, **changes: Any) -> DriverJob:
    return dataclasses.replace(job("arch", None, None, "615", "open", family="arch"), **changes)


def make(case: str, tmp_path: Path) -> World:
    kernels = KERNELS[case]
    world = World(tmp_path, os_id="arch", version="", kernel=next(iter(kernels.values())), family="arch")
    world.put("etc/os-release", 'NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n')
    world.offer(packages("pacman", version="7.1.0-1"))
    world.install({"pacman": "7.1.0-1", "base": "3-2"})
    for base, kernel in kernels.items():
        world.add_kernel(kernel)
        world.put(f"lib/modules/{kernel}/pkgbase", base + "\n")
        world.install({base: "1-1"})
        headers = {f"/lib/modules/{kernel}/build/Makefile": ""}
        world.offer(packages(f"{base}-headers", version="1-1", files=headers))
        if base in BUILT:
            files = {f"/lib/modules/{kernel}/extramodules/nvidia.ko.zst": f"{VERSION} {OPEN}"}
            epoch = "1:" if base == "linux-lts" else ""
            more = {"files": files, "depends": ["nvidia-utils"], "conflicts": ["nvidia-open-dkms"]}
            world.offer(packages(BUILT[base], version=f"{epoch}{VERSION}-4", **more))
    built = {"dkms": f"{VERSION} {OPEN}", "depends": ["nvidia-utils", "dkms"]}
    gone = {"conflicts": ["nvidia-open", "nvidia-open-lts"]}
    world.offer(packages("nvidia-open-dkms", version=f"{VERSION}-1", **built, **gone))
    world.offer(packages("dkms", version="3.2-1"))
    world.offer(packages("nvidia-utils", version=f"{VERSION}-1"))
    return world
