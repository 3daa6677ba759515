"""Machines of Red Hat's family, Fedora and Amazon Linux with their archives, one for each recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.drivers import job
from fakes.world import OPEN, PROPRIETARY, World

from envcheck.recipes import DriverJob

NVIDIA_KEY = "key 610C7B14E068A878070DA4E99CD0A493D42D0685\n"
EPEL_KEYS = {
    "8": "key 94E279EB8D8F25B21810ADF121EA45AB2F86D6A1\n",
    "9": "key FF8AD1344597106ECE813B918A3872BF3228467C\n",
    "10": "key 7D8D15CBFC4E62688591FB2633D98517E37ED158\n",
}
FEDORA_KEYS = {"43": "key 00000000000000000000000000000000" + "1940C73E\n"}


@dataclass(frozen=True)
class Case:
    os_id: str
    version: str
    repo: str
    branch: str
    module: str
    kernel: str
    newer: str
    family: str = "rhel"
    owner: str = "kernel-core"
    repos: Mapping[str, str] = field(default_factory=dict)  # identifier -> enabled
    dnf5: bool = False


EL9, EL9_NEW = "5.14.0-503.14.1.el9_5.x86_64", "5.14.0-611.9.1.el9_7.x86_64"
EL8, EL8_NEW = "4.18.0-553.16.1.el8_10.x86_64", "4.18.0-553.84.1.el8_10.x86_64"
EL10, EL10_NEW = "6.12.0-55.9.1.el10_0.x86_64", "6.12.0-124.8.1.el10_1.x86_64"
UEK, UEK_NEW = "5.15.0-300.163.18.el9uek.x86_64", "5.15.0-312.187.5.el9uek.x86_64"
FC, FC_NEW = "6.17.1-300.fc43.x86_64", "6.17.10-300.fc43.x86_64"
AMZN, AMZN_NEW = "6.12.37-61.105.amzn2023.x86_64", "6.12.58-82.121.amzn2023.x86_64"
RHEL10 = {
    "rhel-10-for-x86_64-baseos-rpms": "1",
    "rhel-10-for-x86_64-extensions-rpms": "0",
    "rhel-10-for-x86_64-supplementary-rpms": "0",
}
CASES = {
    "rocky-9": Case("rocky", "9.7", "rhel9", "580", "open", EL9, EL9_NEW, repos={"extras": "1", "crb": "0"}),
    "rhel-8": Case(
        *("rhel", "8.10", "rhel8", "580", "proprietary", EL8, EL8_NEW),
        repos={"codeready-builder-for-rhel-8-x86_64-rpms": "0"},
    ),
    "oracle-9": Case(
        *("ol", "9.7", "rhel9", "580", "open", UEK, UEK_NEW),
        owner="kernel-uek-core",
        repos={"extras": "1", "ol9_codeready_builder": "0"},
    ),
    "centos-10": Case("centos", "10", "rhel10", "580", "open", EL10, EL10_NEW, repos={"extras": "1", "crb": "0"}),
    "rhel-10.1": Case("rhel", "10.1", "rhel10", "580", "open", EL10, EL10_NEW, repos=RHEL10),
    "almalinux-9": Case("almalinux", "9.7", "rhel9", "615", "open", EL9, EL9_NEW, repos={"extras": "1", "crb": "0"}),
    "fedora-43": Case("fedora", "43", "fedora43", "580", "open", FC, FC_NEW, family="fedora", dnf5=True),
    "fedora-43-rpmfusion": Case(
        *("fedora", "43", "fedora43", "580", "open", FC, FC_NEW),
        family="fedora",
        dnf5=True,
        repos={"rpmfusion-nonfree": "1"},
    ),
    "amazon-2023": Case(
        *("amzn", "2023", "amzn2023", "580", "open", AMZN, AMZN_NEW), family="amazon", owner="kernel6.12"
    ),
}


def job_of(name: str, **changes: Any) -> DriverJob:
    c = CASES[name]
    plain = job(c.os_id, c.version, c.repo, c.branch, c.module, family=c.family)
    return dataclasses.replace(plain, **changes)


def rpm(version: str, release: str = "1", arch: str = "x86_64", **more: Any) -> dict[str, Any]:
    return {"version": version, "release": release, "arch": arch, **more}


def offer(world: World, name: str, *variants: dict[str, Any]) -> None:
    archive = world.load()["archive"]
    world.save(archive={**archive, name: [*archive.get(name, []), *variants]})


def put(world: World, name: str, variant: dict[str, Any]) -> str:
    """Installed already, and (unless the archive has it) nowhere else."""
    key = f"{name}-{variant['version']}-{variant['release']}.{variant['arch']}"
    world.save(installed={**world.load()["installed"], key: {"name": name, **variant}})
    return key


def make(name: str, tmp_path: Path) -> World:
    """A machine with an old running kernel, a newer installed one, RHEL's rescue kernel, and its archives."""
    c = CASES[name]
    world = World(tmp_path, os_id=c.os_id, version=c.version, kernel=c.kernel, family="dnf")
    world.add_kernel(c.newer)
    world.put("boot/vmlinuz-0-rescue-d4f1a2b3c4d5e6f708192a3b4c5d6e7f", "")
    world.save(owners={c.kernel: c.owner, c.newer: c.owner}, dnf5=c.dnf5, default=c.newer)
    if c.os_id != "rhel":
        (world.bin / "subscription-manager").unlink()
    write_repos(world, {"baseos": "1", **c.repos})
    kernels(world, c)
    extras(world, c)
    drivers(world, c, name)
    major = c.version.split(".")[0]
    keys = {"D42D0685": NVIDIA_KEY, "RPM-GPG-KEY-EPEL": EPEL_KEYS.get(major, ""), "1940C73E": FEDORA_KEYS.get("43", "")}
    world.save(downloads={key: text for key, text in keys.items() if text})
    return world


def write_repos(world: World, repos: Mapping[str, str]) -> None:
    for id, on in repos.items():
        file = "redhat" if "-for-rhel-" in id or id.startswith("rhel-10") else id
        text = f"[{id}]\nname={id}\nbaseurl=https://mirror.example/{id}/\nenabled={on}\ngpgcheck=1\n"
        path = world.root / f"etc/yum.repos.d/{file}.repo"
        world.put(f"etc/yum.repos.d/{file}.repo", (path.read_text() if path.exists() else "") + text)


def parts_of(kernel: str) -> tuple[str, str, str]:
    """Version, release and architecture of a kernel's package."""
    version, _, rest = kernel.partition("-")
    release, arch = rest.rsplit(".", 1)
    return version, release, arch


def kernels(world: World, c: Case) -> None:
    base = c.owner.removesuffix("-core")
    for kernel in (c.kernel, c.newer):
        version, release, arch = parts_of(kernel)
        put(world, c.owner, rpm(version, release, arch))
        files = {f"/lib/modules/{kernel}/build/Makefile": ""}
        offer(world, f"{base}-devel", rpm(version, release, arch, files=files, installonly=True))
        offer(world, f"{base}-modules-extra", rpm(version, release, arch, installonly=True))
    if c.owner == "kernel-core" and c.os_id != "rhel":
        offer(world, "kernel-devel-matched", rpm(version, release, arch, depends=[f"kernel-devel-{c.newer}"]))


def seal(world: World, name: str) -> None:
    """No archive can be reached, and somebody brought dkms and the headers of both kernels."""
    c = CASES[name]
    put(world, "dkms", rpm("3.2.2", arch="noarch"))
    base = c.owner.removesuffix("-core")
    for kernel in (c.kernel, c.newer):
        version, release, arch = parts_of(kernel)
        put(world, f"{base}-devel", rpm(version, release, arch))
        world.put(f"lib/modules/{kernel}/build/Makefile", "")
    if c.owner == "kernel-core":
        put(world, "kernel-devel-matched", rpm(version, release, arch))
    world.save(unreachable=["baseos", "extras", "crb", "updates"])


def extras(world: World, c: Case) -> None:
    major = c.version.split(".")[0]
    on = "[epel]\nname=epel\nbaseurl=https://mirror.example/epel/\nenabled=1\ngpgcheck=1\n"
    if c.os_id in ("rocky", "centos", "almalinux"):
        offer(
            world,
            "epel-release",
            rpm("1", arch="noarch", **{"from": "extras"}, files={"/etc/yum.repos.d/epel.repo": on}),
        )
    if c.os_id == "ol":
        name = f"oracle-epel-release-el{major}"
        offer(world, name, rpm("1", arch="noarch", files={"/etc/yum.repos.d/oracle-epel.repo": on}))
    offer(world, "dkms", rpm("3.2.2", arch="noarch", **{"from": "baseos" if c.family != "rhel" else "epel"}))
    offer(world, "dnf-plugins-core", rpm("4.3.0", arch="noarch"))
    offer(world, "python3-dnf-plugin-versionlock", rpm("4.3.0", arch="noarch"))
    if c.os_id in ("rocky", "amzn"):
        put(world, "dnf-plugins-core", rpm("4.3.0", arch="noarch"))


def drivers(world: World, c: Case, name: str) -> None:
    license_ = OPEN if c.module == "open" else PROPRIETARY
    if name == "fedora-43-rpmfusion":
        rpmfusion(world)
    elif name in ("rhel-10.1", "almalinux-9"):
        signed(world, c, name)
    else:
        source = {"from": "nvidia"} if c.os_id != "amzn" else {"from": "amazonlinux-nvidia"}
        if c.os_id == "amzn":
            text = "[amazonlinux-nvidia]\nname=x\nbaseurl=https://al2023.example/nvidia/\nenabled=1\ngpgcheck=1\n"
            offer(
                world,
                "nvidia-release",
                rpm("2023.1", arch="noarch", files={"/etc/yum.repos.d/amazonlinux-nvidia.repo": text}),
            )
        streams = ("580-open", "580-dkms", "610-open") if c.repo in ("rhel8", "rhel9") else ("", "")
        world.save(streams=[s for s in streams if s])
        for stream, branch in zip(streams, ("580", "580", "610") if streams[0] else ("580", "595"), strict=True):
            offer_branch(world, branch, stream, source, license_)


def offer_branch(world: World, branch: str, stream: str, source: dict[str, Any], license_: str) -> None:
    more = {**source, **({"stream": stream} if stream else {})}
    full = f"{branch}.100.01"
    offer(world, "nvidia-driver-cuda", rpm(full, **more, depends=["nvidia-kmod-common"]))
    offer(world, "nvidia-kmod-common", rpm(full, arch="noarch", **more))
    offer(world, "nvidia-driver", rpm(full, **more))
    offer(world, "nvidia-imex", rpm(full, **more))
    for kmod, flavour, stream_end in (
        ("kmod-nvidia-open-dkms", OPEN, "-open"),
        ("kmod-nvidia-latest-dkms", PROPRIETARY, "-dkms"),
    ):
        if stream and not stream.endswith(stream_end):
            continue
        other = "kmod-nvidia-latest-dkms" if flavour == OPEN else "kmod-nvidia-open-dkms"
        offer(world, kmod, rpm(full, **more, depends=["dkms"], conflicts=[other], dkms=f"{full} {flavour}"))


def signed(world: World, c: Case, name: str) -> None:
    """Prebuilt modules: one package a kernel, pulled by the name without one."""
    rhel = name.startswith("rhel")
    kmods = {"from": "rhel-10-for-x86_64-extensions-rpms" if rhel else "almalinux-nvidia"}
    libs = {"from": "rhel-10-for-x86_64-supplementary-rpms" if rhel else "nvidia"}
    for branch in (c.branch, "595") if rhel else (c.branch,):
        full = f"{branch}.71.09"
        files = {f"/lib/modules/{k}/extra/nvidia/nvidia.ko.xz": f"{full} {OPEN}" for k in (c.kernel, c.newer)}
        offer(world, "kmod-nvidia-open", rpm(full, **kmods, files=files))
        offer(world, "nvidia-driver-cuda", rpm(full, **libs))
        offer(world, "nvidia-driver", rpm(full, **libs))
        if not rhel:
            offer(world, "nvidia-open-kmod", rpm(full, **kmods, depends=["kmod-nvidia-open"]))
    if rhel:
        offer(world, "rhel-drivers", rpm("0.3", **kmods))
        return
    both = (
        "[almalinux-nvidia]\nname=x\nbaseurl=https://repo.example/nvidia/\nenabled=1\ngpgcheck=1\n"
        "[nvidia-cuda]\nname=x\nbaseurl=https://developer.download.nvidia.com/compute/cuda/repos/rhel9/x86_64\n"
        "enabled=1\ngpgcheck=1\n"
    )
    release = rpm(
        "9",
        arch="noarch",
        **{"from": "extras"},
        depends=["epel-release"],
        files={"/etc/yum.repos.d/almalinux-nvidia.repo": both},
    )
    offer(world, "almalinux-release-nvidia-driver", release)


def rpmfusion(world: World) -> None:
    for branch, suffix in (("580", "-580xx"), ("595", "")):
        full, more = f"{branch}.100.01", {"from": "rpmfusion-nonfree"}
        offer(world, f"akmod-nvidia{suffix}", rpm(full, **more, depends=["akmods"], akmod=full))
        offer(world, f"xorg-x11-drv-nvidia{suffix}-cuda", rpm(full, **more))
        offer(world, f"xorg-x11-drv-nvidia{suffix}", rpm(full, **more))
    offer(world, "akmods", rpm("0.6.2", arch="noarch"))
    world.save(akmod_suffix="-580xx")
