"""Machines of Debian and Ubuntu with the archives of their distribution, one for each recipe on apt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fakes.drivers import job
from fakes.world import OPEN, PROPRIETARY, World, module_files, packages

from envcheck.recipes import DriverJob

CASES = ("ubuntu-archive", "debian-archive", "nvidia-ubuntu", "nvidia-debian")
JOBS = {
    "ubuntu-archive": ("ubuntu", "24.04", "ubuntu2404", "580", "open"),
    "debian-archive": ("debian", "12", "debian12", "535", "proprietary"),
    "nvidia-ubuntu": ("ubuntu", "24.04", "ubuntu2404", "610", "open"),
    "nvidia-debian": ("debian", "13", "debian13", "580", "open"),
}
UBUNTU, UBUNTU_NEW, DEBIAN, DEBIAN_NEW = "6.8.0-45-generic", "6.8.0-151-generic", "6.1.0-21-amd64", "6.1.0-37-amd64"


def job_of(case: str, **changes: Any) -> DriverJob:
    return dataclasses.replace(job(*JOBS[case]), **changes)


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
            f"xserver-xorg-video-nvidia-{branch}-server",
            f"libnvidia-gl-{branch}-server",
            version=f"{full}-0ubuntu1",
            depends=[library],
        )
    )
    built = f"nvidia-dkms-{branch}-server{suffix}"  # which a metapackage of modules provides, and none is here
    world.offer(packages(f"nvidia-driver-{branch}-server{suffix}", version=f"{full}-0ubuntu1", depends=[built]))
    world.offer(packages(f"nvidia-dkms-{branch}-server{suffix}", version=f"{full}-0", dkms=f"{full} {license_}"))


LOCAL = "nvidia-driver-local"
BESIDE = ("container-toolkit", "cuda-toolkit", "driver-file-deb", "driver-file-run", "fabric")


def beside(case: str, tmp_path: Path) -> World:
    """A machine for what stands beside the driver, or for a driver from a file of the user's."""
    world = make("ubuntu-archive" if case in ("container-toolkit", "fabric") else "nvidia-ubuntu", tmp_path)
    if case == "container-toolkit":
        world.link("docker", "podman")
        world.save(services={"docker": [True, True]})
        world.offer(packages("nvidia-container-toolkit", version="1.20.0-1", **{"from": "container"}))
    elif case == "cuda-toolkit":
        world.offer(packages("cuda-toolkit-12-6", version="12.6.3-1", **{"from": "toolkit"}))
    elif case == "fabric":
        exact = {"services": ["nvidia-fabricmanager"], "version": "580.100.01-1ubuntu1"}
        world.offer(packages("nvidia-fabricmanager-580", **exact))
    elif case == "driver-file-deb":
        repository = f"var/{LOCAL}-repo-ubuntu2404-595.100.01"
        files = {
            f"{repository}/{LOCAL}-580-keyring.gpg": "key\n",
            f"etc/apt/sources.list.d/{LOCAL}-ubuntu2404.list": "deb file:/var/...\n",
        }
        world.offer(packages(f"{LOCAL}-repo", version="1.0-1", files=files, **{"from": "deb"}))
        more = {"dkms": f"595.100.01 {OPEN}", "version": "595.100.01-1", "from": "local"}
        world.offer(packages("nvidia-open", **more))
    else:
        world.offer(packages("dkms"))
    return world
