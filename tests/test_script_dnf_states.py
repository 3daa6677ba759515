"""The states that a machine of the dnf family can be in, and the sources of its driver: see ``test_script_dnf.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fakes import lives
from fakes.dnf_machines import FC_NEW, job_of, make, offer, put, rpm
from fakes.drivers import script_of, system
from fakes.world import OPEN, PROPRIETARY, SECURE_BOOT, World

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")


def names(world: World) -> set[str]:
    return {v["name"] for v in world.load()["installed"].values()}


def locks(world: World) -> str:
    file = world.root / "etc/dnf/plugins/versionlock.list"
    return file.read_text() if file.exists() else ""


# --- states ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "certificate", "hint"),
    [
        ("rocky-9", "/var/lib/dkms/mok.pub", "sudo dkms generate_mok"),
        ("amazon-2023", "/var/lib/dkms/mok.pub", "sudo dnf install mokutil openssl dkms"),
        ("fedora-43-rpmfusion", "/etc/pki/akmods/certs/public_key.der", "sudo kmodgenca -a"),
    ],
)
@pytest.mark.parametrize("key", [None, "absent", "queued", "enrolled"])
def test_secure_boot_stops_before_any_change_unless_the_key_is_enrolled(
    case: str, certificate: str, hint: str, key: str | None, tmp_path: Path
) -> None:
    world = make(case, tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    if key:
        world.put(certificate.lstrip("/"), "key")
        world.save(mok=key)
    ended = system(world, script_of(world, job_of(case)), "--yes")
    assert ended.code == {"enrolled": 0, "queued": 10}.get(key or "", 11), ended.output
    if key != "enrolled":
        assert world.log() == []
    if key is None:
        assert hint in ended.output
        assert f"sudo mokutil --import {certificate}" in ended.output


@pytest.mark.parametrize("case", ["rhel-10.1", "almalinux-9"])
def test_secure_boot_does_not_concern_modules_that_the_distribution_signed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    assert system(world, script_of(world, job_of(case)), "--yes").code == 0


@pytest.mark.parametrize("case", ["rocky-9", "fedora-43", "amazon-2023", "rhel-10.1"])
def test_an_upgrade_takes_the_old_branch_away_and_undo_brings_it_back(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    old = "570.1"
    keys = set()
    source = {"from": "nvidia"} if case in ("rocky-9", "fedora-43") else {}
    stream = {"stream": "570-open"} if case == "rocky-9" else {}
    if case == "rocky-9":
        world.put("etc/dnf/modules.d/nvidia-driver.module", "[nvidia-driver]\nstream=570-open\nstate=enabled\n")
        world.save(streams=["570-open", "580-open"])
    for name in ("nvidia-driver-cuda", "kmod-nvidia-open-dkms", "nvidia-imex"):
        more = {"dkms": f"{old} {OPEN}"} if name.startswith("kmod") else {}
        variant = rpm(old, **source, **stream, **more)
        keys.add(put(world, name, variant))
        offer(world, name, variant)
    if case == "rhel-10.1":
        offer(world, "nvidia-imex", rpm("580.71.09"))
    world.put("sys/module/nvidia/version", f"{old}\n")
    before = set(world.installed)
    script = script_of(world, job_of(case, action="upgrade"), driver=old)
    ended = system(world, script, "--yes")
    assert ended.code == 10, ended.output
    assert not keys & set(world.installed)
    assert any(key.startswith("nvidia-driver-cuda-580") for key in world.installed)
    # IMEX refuses a driver of another version, and was here: it comes back with the new one's
    assert [key for key in world.installed if key.startswith("nvidia-imex-580")]
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    assert set(world.installed) == before
    if case == "rocky-9":
        assert "stream=570-open\n" in (world.root / "etc/dnf/modules.d/nvidia-driver.module").read_text()


def test_open_and_proprietary_packages_side_by_side_become_one(tmp_path: Path) -> None:
    world = make("centos-10", tmp_path)
    for name, license_ in (("kmod-nvidia-open-dkms", OPEN), ("kmod-nvidia-latest-dkms", PROPRIETARY)):
        put(world, name, rpm("580.100.01", dkms=f"580.100.01 {license_}"))
    put(world, "nvidia-driver-cuda", rpm("580.100.01"))
    ended = system(world, script_of(world, job_of("centos-10", action="replace")), "--yes")
    assert ended.code == 0, ended.output
    assert {n for n in names(world) if n.startswith("kmod")} == {"kmod-nvidia-open-dkms"}


def test_packages_without_a_module_are_repaired_by_building_it(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    script = script_of(world, job_of("rocky-9"))
    assert system(world, script, "--yes").code == 0
    world.log()
    for module in (world.root / "lib/modules").rglob("nvidia.ko*"):
        module.unlink()
    for path in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
        (world.root / path).unlink()
    (world.root / "sys/module/nvidia").rmdir()
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert [line for line in world.log() if line.startswith("dkms autoinstall")]


def test_a_run_file_driver_is_refused_with_its_way_out(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    lives.refused_for_a_run_file(world, script_of(world, job_of("rocky-9")))


def test_programs_on_the_gpu_are_named(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    put(world, "nvidia-driver-cuda", rpm("570.1"))
    lives.refused_for_programs(world, script_of(world, job_of("rocky-9", action="upgrade"), driver="570.1"), "570.1")


def test_a_busy_dnf_is_waited_for(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.put("var/run/dnf.pid", "4711\n")
    world.put("proc/4711/comm", "dnf\n")
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 0, ended.output
    assert "dnf (process 4711) holds the package database: waiting" in ended.output


def test_a_dnf_that_never_ends_is_named_after_five_minutes(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.put("var/run/dnf.pid", "4711\n")
    world.put("proc/4711/comm", "dnf\n")
    world.save(busy_for=1000)
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "has held the package database for five minutes" in ended.output


def test_akmods_in_the_background_are_waited_for_half_an_hour_at_most(tmp_path: Path) -> None:
    world = make("fedora-43-rpmfusion", tmp_path)
    world.put("proc/4712/comm", "akmods\n")
    ended = system(world, script_of(world, job_of("fedora-43-rpmfusion")), "--yes")
    assert ended.code == 0, ended.output
    assert "akmods builds the module in the background: waiting" in ended.output
    (tmp_path / "stuck").mkdir()
    stuck = make("fedora-43-rpmfusion", tmp_path / "stuck")
    stuck.put("proc/4712/comm", "akmods\n")
    stuck.save(busy_for=10000)
    ended = system(stuck, script_of(stuck, job_of("fedora-43-rpmfusion")), "--yes")
    assert ended.code == 1
    assert "akmods has been building for half an hour" in ended.output


# --- sources ---------------------------------------------------------------------------------------------------


def test_rpm_fusions_open_flavour_and_fedoras_two_sources_never_both(tmp_path: Path) -> None:
    world = make("fedora-43-rpmfusion", tmp_path)
    assert system(world, script_of(world, job_of("fedora-43-rpmfusion")), "--yes").code == 0
    assert (world.root / "etc/rpm/macros.envcheck-nvidia-kmod").read_text() == "%_with_kmod_nvidia_open 1\n"
    assert not (world.root / "etc/yum.repos.d/envcheck-cuda.repo").exists()
    assert f"kmod-nvidia-580xx-{FC_NEW}" in names(world)


def nvidia_entry(gpgcheck: str = "1") -> str:
    url = "https://developer.download.nvidia.com/compute/cuda/repos/rhel9/x86_64"
    return f"[cuda]\nname=cuda\nbaseurl={url}\nenabled=1\ngpgcheck={gpgcheck}\n"


@pytest.mark.parametrize(
    ("case", "path", "text", "words"),
    [
        ("fedora-43-rpmfusion", "etc/yum.repos.d/cuda.repo", nvidia_entry(), "another source (nvidia)"),
        ("almalinux-9", "etc/yum.repos.d/cuda.repo", nvidia_entry(), "another source (nvidia)"),
        (
            "almalinux-9",
            "etc/yum.repos.d/epel-nvidia.repo",
            "[epel-nvidia]\nenabled=1\n",
            "another source (negativo17)",
        ),
        ("rhel-10.1", "etc/yum.repos.d/cuda.repo", nvidia_entry(), "another source (nvidia)"),
        ("amazon-2023", "etc/yum.repos.d/cuda.repo", nvidia_entry(), "another source (nvidia)"),
        ("rocky-9", "etc/yum.repos.d/epel-nvidia.repo", "[epel-nvidia]\nenabled=1\n", "another source (negativo17)"),
        ("rocky-9", "etc/yum.repos.d/cuda.repo", nvidia_entry("0"), "unsigned packages"),
    ],
)
def test_one_source_alone(case: str, path: str, text: str, words: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    world.put(path, text)
    ended = system(world, script_of(world, job_of(case)), "--yes")
    assert ended.code == 11, ended.output
    assert words in ended.output
    assert not any("nvidia" in name for name in names(world))
    assert world.log() == []


def test_nvidias_repository_that_is_there_already_is_used_and_stays(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.put("etc/yum.repos.d/cuda.repo", nvidia_entry())
    script = script_of(world, job_of("rocky-9"))
    assert system(world, script, "--yes").code == 0
    assert not (world.root / "etc/yum.repos.d/envcheck-cuda.repo").exists()
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert (world.root / "etc/yum.repos.d/cuda.repo").read_text() == nvidia_entry()


def test_almalinux_with_its_own_packages_takes_no_other_branch_from_nvidia(tmp_path: Path) -> None:
    world = make("almalinux-9", tmp_path)
    put(world, "almalinux-release-nvidia-driver", rpm("9", arch="noarch"))
    ended = system(world, script_of(world, job_of("almalinux-9", branch="580")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "another source (almalinux)" in ended.output


def test_an_images_lock_on_another_branch_is_respected(tmp_path: Path) -> None:
    world = make("amazon-2023", tmp_path)
    lines = "kernel-0:6.12.37-61.105.amzn2023.*\nnvidia-driver-cuda-3:595.100.01-1.*\n"
    world.put("etc/dnf/plugins/versionlock.list", lines)
    ended = system(world, script_of(world, job_of("amazon-2023")), "--yes")
    assert ended.code == 11
    assert "this image pins its driver" in ended.output
    assert locks(world) == lines


def test_a_locked_branch_holds_what_is_not_installed_yet_and_undo_keeps_others_locks(tmp_path: Path) -> None:
    world = make("amazon-2023", tmp_path)
    kernel = "kernel-0:6.12.37-61.105.amzn2023.*\n"
    world.put("etc/dnf/plugins/versionlock.list", kernel)
    script = script_of(world, job_of("amazon-2023"))
    assert system(world, script, "--yes").code == 0
    # measured on a 580 host whose installed packages alone were locked: `dnf install nvidia-imex` brings 595
    assert "nvidia-imex*-580.*\n" in locks(world)
    assert "nvidia-container" not in locks(world)
    for name in ("nvidia-imex", "nvidia-container-toolkit"):
        offer(world, name, rpm("1.20.0" if "container" in name else "595.200.01"))
        done = subprocess.run([world.bin / "dnf", "install", "-y", name], env=world.env(), timeout=20, check=False)
        assert done.returncode == 0
    assert {"nvidia-imex-580.100.01-1.x86_64", "nvidia-container-toolkit-1.20.0-1.x86_64"} <= set(world.installed)
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert locks(world) == kernel


def test_a_desktop_keeps_its_screen(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    put(world, "gdm", rpm("40"))
    assert system(world, script_of(world, job_of("rocky-9")), "--yes").code == 0
    assert "nvidia-driver" in names(world)


def test_rhel_without_a_subscription_is_told_to_register(tmp_path: Path) -> None:
    world = make("rhel-10.1", tmp_path)
    (world.root / "etc/yum.repos.d/redhat.repo").write_text("[x]\nname=x\nenabled=1\ngpgcheck=1\n")
    ended = system(world, script_of(world, job_of("rhel-10.1")), "--yes")
    assert ended.code == 11
    assert "register the machine first" in ended.output


def test_a_kernel_newer_than_the_signed_modules_is_named_before_the_reboot(tmp_path: Path) -> None:
    world = make("almalinux-9", tmp_path)
    world.add_kernel("5.14.0-700.1.1.el9_8.x86_64")
    ended = system(world, script_of(world, job_of("almalinux-9")), "--yes")
    assert ended.code == 1
    assert "kernel 5.14.0-700.1.1.el9_8.x86_64 has no signed NVIDIA module of branch 615 yet" in ended.output
