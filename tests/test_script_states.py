"""What a driver script finds before it changes anything: whose driver it is, its state, the GPU's own tools."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from fakes.apt_machines import CASES, UBUNTU, job_of, make
from fakes.drivers import job, script_of, system
from fakes.world import SECURE_BOOT, World, packages

from envcheck.recipes import Recipes, driver_steps, load_recipes, script_part

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

AZURE = "var/lib/waagent/Microsoft.HpcCompute.NvidiaGpuDriverLinux-1.12.0.0/config/0.settings"


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n", "its driver is part of L4T"),
        ("proc/device-tree/compatible", "nvidia,p3737\0nvidia,tegra234\0", "its driver is part of L4T"),
        ("etc/dgx-release", 'DGX_NAME="DGX Server"\n', "DGX OS"),
        ("run/ostree-booted", "", "this system is an image"),
        ("opt/aws/dlami/info/x", "", "AWS Deep Learning AMI"),
        ("opt/deeplearning/driver-version.sh", "", "Google Deep Learning VM"),
        ("opt/google/cuda-installer/cuda_installer.pyz", "", "cuda_installer"),
        (AZURE, "{}", "NVIDIA GPU Driver Extension"),
        ("etc/nvidia/gridd.conf", "FeatureType=0\n", "GRID driver"),
    ],
)
def test_a_driver_that_is_another_owners_is_refused_and_the_owner_named(
    path: str, text: str, words: str, tmp_path: Path
) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.put(path, text)
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert (ended.code, world.log()) == (11, []), ended.output
    assert words in ended.output
    assert "Nothing was changed" in ended.output


@pytest.mark.parametrize("system_id", ["cos", "bottlerocket", "flatcar", "talos"])
def test_image_systems_are_told_by_their_name(system_id: str, tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    script = script_of(world, job_of("ubuntu-archive"))
    assert "ec_bind_os ubuntu 24.04" in script  # which would refuse first
    world.put("etc/os-release", f"ID={system_id}\nVERSION_ID=24.04\n")
    ended = system(world, script.replace("ec_bind_os ubuntu 24.04", "ec_bind_os '' ''"), "--yes")
    assert (ended.code, world.log()) == (11, []), ended.output
    assert "image" in ended.output or "cos-extensions" in ended.output


def test_a_vgpu_guest_is_told_by_its_running_driver(tmp_path: Path) -> None:
    world = loaded(make("ubuntu-archive", tmp_path), "535.1.2")
    world.save(virtual="VGPU")
    ended = system(world, script_of(world, job_of("ubuntu-archive", action="upgrade"), driver="535.1.2"), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "a guest with a vGPU" in ended.output


def loaded(world: World, version: str) -> World:
    world.put("sys/module/nvidia/version", f"{version}\n")
    world.install({"nvidia-utils-535": version})
    return world


def test_packages_of_both_flavours_are_told_and_the_wrong_ones_go_and_come_back(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    mixed = {f"linux-modules-nvidia-535-{UBUNTU}": "6.8", "nvidia-dkms-535-open": "535.1-0"}
    world.install(mixed)
    for name, version in mixed.items():
        world.offer(packages(name, version=version))
    script = script_of(world, job_of("ubuntu-archive"))
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert "(mixed)" in ended.output
    assert f"linux-modules-nvidia-535-{UBUNTU}" not in world.installed
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert mixed.items() <= world.installed.items()


def test_packages_without_a_module_are_broken_and_repaired(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    script = script_of(world, job_of("debian-archive"))
    assert system(world, script, "--yes").code == 0
    shutil.rmtree(world.var)
    for folder in ("sys/module/nvidia", "proc/driver/nvidia"):
        shutil.rmtree(world.root / folder)
    for file in (world.root / "lib/modules").rglob("nvidia-current*"):
        file.unlink()
    world.log()
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert "(broken)" in ended.output
    log = world.log()
    assert [line for line in log if line.startswith("dkms")]
    assert not [line for line in log if " install " in line]


def test_everything_built_and_not_loaded_is_a_reboot_that_is_pending(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    script = script_of(world, job_of("ubuntu-archive"))
    assert system(world, script, "--yes").code == 10
    shutil.rmtree(world.var)  # another script, or a person, did it
    world.log()
    ended = system(world, script, "--yes")
    assert ended.code == 10, ended.output
    assert "(reboot-pending)" in ended.output
    assert not [line for line in world.log() if "install" in line]


@pytest.mark.parametrize("case", ["nvidia-ubuntu", "nvidia-debian"])
@pytest.mark.parametrize(("key", "code"), [(None, 11), ("absent", 11), ("queued", 10), ("enrolled", None)])
def test_secure_boot_of_modules_that_are_built_here(
    case: str, key: str | None, code: int | None, tmp_path: Path
) -> None:
    """Of an enrolled key the preflight says nothing; the installation goes on (a dry run of it here)."""
    world = make(case, tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    if key:
        certificate = "var/lib/shim-signed/mok/MOK.der" if "ubuntu" in case else "var/lib/dkms/mok.pub"
        world.put(certificate, "key")
        world.save(mok=key)
    words = ("--yes",) if code else ("--dry-run",)
    ended = system(world, script_of(world, job_of(case)), *words)
    assert ended.code == (code or 0), ended.output
    assert world.log() == []
    assert ("Secure Boot is on" in ended.output) is bool(code)


def test_trap_1_no_word_of_nvidia_smis_banner_is_read(tmp_path: Path) -> None:
    """From 610 on it says "KMD Version" where "Driver Version" was: the scripts ask for single values."""
    world = make("ubuntu-archive", tmp_path)
    tool, calls = world.bin / "nvidia-smi", tmp_path / "calls"
    tool.unlink()
    tool.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$1\" >>{calls}\n"
        "case $1 in\n  --query-gpu=driver_version) echo 610.43.02 ;;\n  --query-gpu=pci.device_id) echo 0x268410DE ;;\n"
        "  -q | --query-compute-apps*) ;;\n"
        "  *) echo 'KMD Version: 610.43.02  CUDA UMD Version: 13.3' ;;\nesac\n"
    )
    tool.chmod(0o755)
    ended = system(world, script_of(world, job_of("ubuntu-archive"), driver="610.43.02"), "--dry-run")
    assert "found: driver 610.43.02" in ended.output
    assert "would stop" not in ended.output
    asked = set(calls.read_text().splitlines())
    assert asked <= {"-L", "-q", *(word for word in asked if word.startswith("--query-"))}
    for part in ("machine.sh", "driver.sh", "state.sh", "apt.sh", "extras.sh"):
        assert not re.search(r"(Driver|CUDA|KMD) Version", script_part(part)), part


def test_trap_8_the_repository_is_the_one_of_this_release_and_its_signature_is_never_waived() -> None:
    recipe = load_recipes().by_id["nvidia-apt"]
    for row in recipe.serves:
        os_id, digits = re.match(r"(\D+)(\d+)", row["repo"]).groups()  # type: ignore[union-attr]
        version = digits if os_id == "debian" else f"{digits[:2]}.{digits[2:]}"
        steps = driver_steps(
            job(os_id, version, row["repo"], row["branches"][-1], row["module"]), Recipes(by_id={"x": recipe})
        )
        assert steps is not None
        fetched = [step.argv for step in steps if step.argv[0] == "ec_fetch"]
        assert [(argv[1].split("/")[-3], argv[2]) for argv in fetched] == [(row["repo"], recipe.keyrings[row["repo"]])]
        words = " ".join(word for step in steps for word in step.argv).lower()
        for waiver in ("trusted=yes", "trusted: yes", "allow-unauthenticated", "allow-insecure", "allowunauth"):
            assert waiver not in words


def test_trap_8_lists_that_apt_refuses_stop_the_script(tmp_path: Path) -> None:
    """As a key that this release's apt no longer takes does: apt-get update fails, and nothing is installed."""
    world = make("nvidia-debian", tmp_path)
    lines = (Path(__file__).parent / "fakes/golden/nvidia-debian.log").read_text().splitlines()
    world.save(fail_at=max(i for i, line in enumerate(lines, 1) if line == "apt-get update"))
    ended = system(world, script_of(world, job_of("nvidia-debian")), "--yes")
    assert ended.code == 100, ended.output
    assert "step apt-lists failed" in ended.output
    assert not {"nvidia-open", "nvidia-driver-pinning-580"} & set(world.installed)


@pytest.mark.parametrize("case", CASES)
def test_trap_14_the_script_ends_with_a_code_where_others_reboot(case: str, tmp_path: Path) -> None:
    script = script_of(make(case, tmp_path), job_of(case))
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(
        r"^\s*(ec_root |ec_run |sudo )?(/sbin/)?(reboot|shutdown|poweroff|systemctl reboot)\b", code, re.M
    )
    assert "exit 10" in code


def test_trap_15_a_damaged_inforom_is_an_answer_all_the_same(tmp_path: Path) -> None:
    """nvidia-smi ends with NVML's 14 then; the driver is in force, and doctor warns of it."""
    world = make("ubuntu-archive", tmp_path)
    world.save(smi_code=14)
    script = script_of(world, job_of("ubuntu-archive"))
    assert system(world, script, "--yes").code == 0
    world.log()
    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (0, [])


def test_trap_15_a_lost_gpu_is_not_a_driver_in_force(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.save(smi_code=15)
    assert system(world, script_of(world, job_of("ubuntu-archive")), "--yes").code == 10


@pytest.mark.parametrize("there", ["Dual MIT/GPL", "NVIDIA"])
def test_a_module_of_one_flavour_is_none_of_the_other(there: str, tmp_path: Path) -> None:
    """Seen on Ubuntu 24.04: Canonical's open module passed for the proprietary one."""
    world = make("ubuntu-archive", tmp_path)
    for kernel in (world.root / "lib/modules").iterdir():
        world.put(f"lib/modules/{kernel.name}/kernel/nvidia-580srv/nvidia.ko", f"580.178.04 {there}")
    functions = script_of(world, job_of("ubuntu-archive")).rpartition("{ ec_main")[0]
    ask = functions + 'exec 3>&2\nec_plan_constants\nEC_TMP=$(mktemp -d)\n"$@"\n'
    answers = {flavour: world.run(ask, "ec_modules_built", "580", flavour) for flavour in ("open", "proprietary")}
    right, wrong = ("proprietary", "open") if there == "NVIDIA" else ("open", "proprietary")
    assert answers[right].code == 0, answers[right].output
    assert answers[wrong].code == 1, answers[wrong].output
    assert world.run(ask, "ec_modules_built", "595", right).code == 1
