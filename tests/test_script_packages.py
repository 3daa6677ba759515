"""What every package manager's part tells of the packages that are here, run by bash on machines in a directory."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fakes import arch_machines, dnf_machines, suse_machines
from fakes.drivers import driver_plan, script_of, system
from fakes.plans import META
from fakes.world import OPEN, PROPRIETARY, World, packages

from envcheck.model import Step
from envcheck.render import render

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

INSTALLERS = Path(__file__).resolve().parent.parent / "installers"
# of each manager: a machine, its part, the driver's package with its version, a package of that version in the archive
MANAGERS = {
    "dnf": (dnf_machines, "centos-10", "dnf.sh", "nvidia-driver-cuda", "580.100.01", "nvidia-imex-580.100.01"),
    "zypper": (
        suse_machines,
        "sles-g07",
        "zypper.sh",
        "nvidia-persistenced",
        "595.71.05",
        "nvidia-video-G07=595.71.05-1",
    ),
    "pacman": (arch_machines, "linux", "pacman.sh", "nvidia-utils", arch_machines.VERSION, "nvidia-open"),
}


def ask(world: World, module: ModuleType, case: str, part: str, *argv: str) -> list[str]:
    """The lines that one function prints, then the script's own. The check fails, so that it is asked every time."""
    parts = (part,) if part == "pacman.sh" else ("rpm.sh", part)
    step = Step(id="ask", title="ask", argv=argv, stage="system", check=("false",), parts=parts)
    plan = driver_plan(module.job_of(case), (step,))
    text = render(plan, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))
    text = re.sub(r"ec_bind_driver \S+", "ec_bind_driver ''", text)
    for path in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
        (world.root / path).unlink(missing_ok=True)
    return system(world, text, "--yes").output.splitlines()


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_version_that_is_here_and_a_package_of_exactly_that_version(manager: str, tmp_path: Path) -> None:
    module, case, part, driver, version, exact = MANAGERS[manager]
    world = module.make(case, tmp_path)
    assert version not in ask(world, module, case, part, "ec_packages_version", driver)
    assert system(world, script_of(world, module.job_of(case)), "--yes").code in (0, 10)
    assert version in ask(world, module, case, part, "ec_packages_version", driver)
    name = re.split(r"[-=]\d", exact)[0]
    assert exact in ask(world, module, case, part, "ec_packages_exact", name, version)
    for other in (version[:-1], ""):
        answer = ask(world, module, case, part, "ec_packages_exact", name, other)
        assert not [line for line in answer if line.startswith(name)]


@pytest.mark.parametrize(
    ("manager", "mixed"),
    [
        ("dnf", {"kmod-nvidia-open-dkms": OPEN, "kmod-nvidia-latest-dkms": PROPRIETARY}),
        ("zypper", {"nvidia-open-driver-G06-signed-kmp-default": OPEN, "nvidia-driver-G06-kmp-default": PROPRIETARY}),
        ("pacman", {"nvidia-open": OPEN, "nvidia-580xx-dkms": PROPRIETARY}),
    ],
)
def test_the_state_of_the_driver_is_told_on_every_manager(manager: str, mixed: dict[str, str], tmp_path: Path) -> None:
    module, case, *_ = MANAGERS[manager]
    world = module.make(case, tmp_path)
    script = script_of(world, module.job_of(case))
    assert "(missing), kernels" in system(world, script, "--dry-run").output
    for number, name in enumerate(mixed):
        if manager == "dnf":
            dnf_machines.put(world, name, dnf_machines.rpm("570.1"))
        else:
            world.install({name: "570.1-1"})
        assert f"({('broken', 'mixed')[number]}), kernels" in system(world, script, "--dry-run").output


def test_what_akmods_built_is_of_the_flavour_that_its_macro_says(tmp_path: Path) -> None:
    world = dnf_machines.make("fedora-43-rpmfusion", tmp_path)
    dnf_machines.put(world, "akmod-nvidia-580xx", dnf_machines.rpm("580.1"))

    def of(flavour: str) -> list[str]:
        return ask(world, dnf_machines, "fedora-43-rpmfusion", "dnf.sh", "ec_module_packages", flavour)

    assert "akmod-nvidia-580xx" in of("proprietary")
    assert "akmod-nvidia-580xx" not in of("open")
    world.put("etc/rpm/macros.nvidia-kmod", "%_with_kmod_nvidia_open 1\n")
    assert "akmod-nvidia-580xx" in of("open")
    assert "akmod-nvidia-580xx" not in of("proprietary")


@pytest.mark.parametrize("manager", MANAGERS)
def test_packages_that_were_dropped_come_back_with_undo(manager: str, tmp_path: Path) -> None:
    module, case, part, *_ = MANAGERS[manager]
    world = module.make(case, tmp_path)
    name = "nvidia-modprobe"
    if manager == "dnf":
        variant = dnf_machines.rpm("580.1")
        dnf_machines.put(world, name, variant)
        dnf_machines.offer(world, name, variant)
    else:
        world.offer(packages(name, version="580.1-1"))
        world.install({name: "580.1-1"})
    before = world.installed
    step = Step(
        id="drop",
        title="drop",
        argv=("ec_packages_drop", name),
        undo=("ec_undo_packages", "drop"),
        stage="system",
        root=True,
        parts=(part,),
    )
    plan = driver_plan(module.job_of(case), (step,))
    text = render(plan, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))
    assert system(world, text, "--yes").code == 0
    assert len(world.installed) == len(before) - 1
    assert world.run(text, "--stage", "undo", "--yes").code == 0
    assert world.installed == before


def test_no_part_defines_a_function_twice() -> None:
    for file in INSTALLERS.glob("*.sh"):
        names = re.findall(r"^(ec_[a-z_0-9]+)\(\)", file.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)), file.name


def test_a_download_that_is_not_https_is_refused(tmp_path: Path) -> None:
    world = dnf_machines.make("centos-10", tmp_path)
    output = ask(world, dnf_machines, "centos-10", "dnf.sh", "ec_download", "http://mirror.example/key", "/nowhere/key")
    assert "http://mirror.example/key is not https" in "\n".join(output)
    assert world.log() == []
