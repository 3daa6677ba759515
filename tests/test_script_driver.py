"""The driver recipes, run by bash on a machine in a directory with fake apt-get, dpkg, nvidia-smi, ... on PATH.

Names of tests say which trap of generated installers they stand for.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from fakes import lives
from fakes.apt_machines import CASES, DEBIAN, DEBIAN_NEW, job_of, make, offer_ubuntu
from fakes.drivers import job, script_of, system
from fakes.failures import places
from fakes.world import PROPRIETARY, SECURE_BOOT, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")


@pytest.mark.parametrize("case", CASES)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.reboots_once(world, script_of(world, job_of(case)), case)


@pytest.mark.parametrize("case", CASES)
def test_without_a_driver_in_the_way_no_reboot_is_needed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.loads_at_once(world, script_of(world, job_of(case)))


@pytest.mark.parametrize("case", CASES)
def test_dry_run_changes_nothing_and_shows_the_commands(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    ended = lives.dry(world, script_of(world, job_of(case)))
    assert "apt-get -o DPkg::Lock::Timeout=300 install -y" in ended.output


@pytest.mark.parametrize("case", CASES)
def test_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = world.files(), world.installed
    script = script_of(world, job_of(case))
    assert system(world, script, "--yes").code == 0
    lives.undone(world, script, before)


@pytest.mark.parametrize(
    ("case", "version", "branch", "archives"),
    [
        ("debian-archive", "11", "470", "Components: contrib non-free\n"),  # bullseye has no non-free-firmware
        ("ubuntu-archive", "20.04", "570", ""),
    ],
)
def test_older_releases_from_the_first_run_to_undo(
    case: str, version: str, branch: str, archives: str, tmp_path: Path
) -> None:
    world = make(case, tmp_path)
    os_id = case.partition("-")[0]
    world.put("etc/os-release", f"ID={os_id}\nVERSION_ID={version}\n")
    if case == "ubuntu-archive":
        offer_ubuntu(world, f"{branch}.211.01", PROPRIETARY, branch=branch)
    else:
        more = {"from": "non-free", "version": f"{branch}.256.02-1"}
        world.offer(packages("nvidia-kernel-dkms", dkms=f"{branch}.256.02 {PROPRIETARY}", **more))
        world.offer(packages("libcuda1", "nvidia-smi", "nvidia-persistenced", **more))
    before = world.installed
    script = script_of(world, job(os_id, version, None, branch, "proprietary"))
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    added = world.root / "etc/apt/sources.list.d/envcheck-debian.sources"
    assert not archives or added.read_text().count(archives) == 2
    world.log()
    assert (system(world, script, "--yes").code, world.log()) == (0, [])
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert world.installed == before


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_failure_of_any_command_is_repaired_by_a_second_run(case: str, tmp_path: Path) -> None:
    """In turn before and after the command did its work, so that each kind of command meets both."""
    count = len(lives.commands_of(case))
    for number in places(count, CASES.index(case)):
        home = tmp_path / str(number)
        home.mkdir()
        world = make(case, home)
        script = script_of(world, job_of(case))
        first, second = lives.fails_at(world, script, number, after=bool((number + CASES.index(case)) % 2))
        assert second.code == 0, f"{number}: {first.output}\n---\n{second.output}"


def test_trap_2_the_repository_is_ranked_below_the_distribution(tmp_path: Path) -> None:
    world = make("nvidia-debian", tmp_path)
    system(world, script_of(world, job_of("nvidia-debian")), "--yes")
    folder = world.root / "etc/apt/preferences.d"
    general = (folder / "00-envcheck-nvidia").read_text()
    assert general == "Package: *\nPin: origin developer.download.nvidia.com\nPin-Priority: 100\n"
    names = [*sorted(p.name for p in folder.iterdir()), "cuda-repository-pin-600", "nvidia-driver-pinning-580"]
    # apt takes the first entry that matches: general before cuda-keyring's, special after the pinning package's
    assert sorted(names)[0] == "00-envcheck-nvidia"
    assert sorted(names)[-1] == "zz-envcheck-nvidia"


@pytest.mark.parametrize("case", ["debian-archive", "nvidia-debian"])
def test_traps_3_4_and_6_headers_and_modules_for_every_kernel_that_can_boot(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    system(world, script_of(world, job_of(case)), "--yes")
    assert f"dkms autoinstall -k {DEBIAN_NEW}" in world.log()
    for kernel in (DEBIAN, DEBIAN_NEW):
        assert f"linux-headers-{kernel}" in world.installed
        # Debian's name of the file: a glob for nvidia.ko and `modinfo nvidia` both miss it
        built = [file.name for file in (world.root / "lib/modules" / kernel).rglob("*.ko*")]
        assert built == ["nvidia-current.ko.xz"]


def test_trap_7_a_kernel_too_new_for_the_driver_is_named_before_the_reboot(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    newest = "7.2.12+deb12-amd64"
    world.add_kernel(newest)
    world.offer(packages(f"linux-headers-{newest}", files={f"/lib/modules/{newest}/build/Makefile": ""}))
    world.save(too_new=[newest])
    ended = system(world, script_of(world, job_of("debian-archive")), "--yes")
    assert ended.code == 1, ended.output  # not 10, dkms's own code, which here asks for a reboot
    assert f"could not build the module for kernel {newest}" in ended.output


def test_trap_7_a_package_whose_module_cannot_be_built_is_named_and_taken_back(tmp_path: Path) -> None:
    """Seen in Debian 13: the postinst fails, the package stays half configured, and apt builds again at each call."""
    world = make("debian-archive", tmp_path)
    before = world.installed
    world.offer(packages("nvidia-kernel-dkms", version="535.100.01-1", unbuildable=True, **{"from": "non-free"}))
    script = script_of(world, job_of("debian-archive"))
    assert system(world, script, "--yes").code == 100
    again = system(world, script, "--yes")
    assert again.code == 11, again.output
    assert "could not be built" in again.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before


def test_undo_leaves_sudo_which_refuses_to_go(tmp_path: Path) -> None:
    """Seen in Debian 12: dkms brings sudo, whose prerm fails without a password of root's, and apt stops half way."""
    world = make("debian-archive", tmp_path)
    before = world.installed
    world.offer(packages("sudo"))
    world.offer(packages("nvidia-persistenced", version="535.100.01-1", depends=["sudo"], **{"from": "non-free"}))
    script = script_of(world, job_of("debian-archive"))
    assert system(world, script, "--yes").code == 0
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == {**before, "sudo": "1"}


def test_trap_3_a_module_that_was_not_built_stops_before_the_reboot(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    (world.bin / "dkms").unlink()
    (world.bin / "dkms").write_text("#!/bin/sh\nexit 0\n")
    (world.bin / "dkms").chmod(0o755)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    ended = system(world, script_of(world, job_of("debian-archive")), "--yes")
    assert ended.code == 1
    assert "checks of the steps named above fail" in ended.output


def test_a_needed_kernel_without_headers_stops_before_the_driver(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    world.add_kernel("7.2.12+deb13-amd64")
    ended = system(world, script_of(world, job_of("debian-archive")), "--yes")
    assert ended.code == 11
    assert "7.2.12+deb13-amd64 has no package linux-headers-" in ended.output
    assert "nvidia-kernel-dkms" not in world.installed


def test_trap_5_libcuda_and_nvidia_smi_are_named(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    system(world, script_of(world, job_of("debian-archive")), "--yes")
    log = "\n".join(world.log())
    assert "install -y nvidia-kernel-dkms libcuda1 nvidia-smi nvidia-persistenced" in log
    assert "--no-install-recommends" not in log


def test_trap_9_a_branch_that_the_archive_moved_on_from_is_refused(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.offer(packages("nvidia-headless-no-dkms-580-server-open", version="610.1-0ubuntu1"))
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert ended.code == 11
    assert "the plan needs branch 580" in ended.output
    assert [line for line in world.log() if "install" in line] == []


def test_trap_12_debians_own_sources_are_not_edited(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    text = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: bookworm\nComponents: main non-free-firmware\n"
    world.put("etc/apt/sources.list.d/debian.sources", text)
    assert system(world, script_of(world, job_of("debian-archive")), "--yes").code == 0
    folder = world.root / "etc/apt/sources.list.d"
    assert (folder / "debian.sources").read_text() == text
    added = (folder / "envcheck-debian.sources").read_text()
    assert "Components: contrib non-free non-free-firmware" in added
    assert "URIs: http://mirror.example/debian/" in added


def test_trap_12_components_that_are_on_are_not_added_again(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    world.save(components=["non-free-firmware"])
    assert system(world, script_of(world, job_of("debian-archive")), "--yes").code == 0
    added = (world.root / "etc/apt/sources.list.d/envcheck-debian.sources").read_text()
    assert added.count("Components: contrib non-free\n") == 2


def test_packages_that_apt_cannot_install_together_are_refused_before_the_headers(tmp_path: Path) -> None:
    """Debian 12's security archive once held a newer libcuda1 than any open module."""
    world = make("debian-archive", tmp_path)
    extra = {"from": "non-free", "depends": ["firmware-nvidia-gsp"]}
    world.offer(packages("nvidia-kernel-dkms", version="535.100.01-1", **extra))
    ended = system(world, script_of(world, job_of("debian-archive")), "--yes")
    assert ended.code == 11, ended.output
    assert "apt cannot install nvidia-kernel-dkms libcuda1 nvidia-smi here: E: Unable to locate" in ended.output
    assert not [line for line in world.log() if "install" in line]


def test_a_dry_run_does_not_say_that_it_would_stop_for_an_archive_to_come(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    ended = system(world, script_of(world, job_of("debian-archive")), "--dry-run")
    assert "would stop" not in ended.output
    assert "its branch is asked for once its archive is there" in ended.output


def test_trap_13_packages_that_are_no_driver_are_never_removed(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.install({"desktop": "1"})
    world.offer(packages("libnvidia-compute-580-server", version="580.100.01-0ubuntu1", conflicts=["desktop"]))
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert ended.code == 11
    assert "apt would remove desktop" in ended.output
    assert "desktop" in world.installed


def test_trap_13_undo_keeps_what_others_installed_since_and_says_so(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    script = script_of(world, job_of("ubuntu-archive"))
    system(world, script, "--yes")
    world.put("etc/modprobe.d/envcheck-nouveau.conf", "blacklist nouveau\n")
    world.install({"linux-headers-by-hand": "1"})
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert "linux-headers-by-hand" in world.installed
    assert (world.root / "etc/modprobe.d/envcheck-nouveau.conf").exists()  # not this script's: it never wrote it


def test_upgrade_replaces_the_old_branch_and_undo_brings_it_back(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    old = {"libnvidia-compute-535": "535.1", "nvidia-utils-535": "535.1"}
    world.install(old)
    for name, version in old.items():
        world.offer(packages(name, version=version))
    world.put("sys/module/nvidia/version", "535.1.2\n")
    job = job_of("ubuntu-archive", action="upgrade")
    script = script_of(world, job, driver="535.1.2")
    ended = system(world, script, "--yes")
    assert ended.code == 10, ended.output
    assert not set(old) & set(world.installed)
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    assert {k: v for k, v in world.installed.items() if k in old} == old
    assert not any("580" in name for name in world.installed)


def test_trap_13_nouveau_is_blocked_where_no_package_does_it(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    (world.root / "lib/modprobe.d/nvidia.conf").unlink()
    system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    conf = world.root / "etc/modprobe.d/envcheck-nouveau.conf"
    assert conf.read_text() == "blacklist nouveau\noptions nouveau modeset=0\n"
    assert "update-initramfs -u -k all" in world.log()


@pytest.mark.parametrize("case", CASES)
def test_traps_13_14_and_17_no_upgrade_no_reboot_no_pipe_to_a_shell(case: str, tmp_path: Path) -> None:
    script = script_of(make(case, tmp_path), job_of(case))
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    for word in (
        "apt upgrade",
        "dist-upgrade",
        "autoremove",
        "trusted=yes",
        "apt-key",
        "http://",
        "shutdown",
        "| bash",
    ):
        assert word not in code
    assert "systemctl reboot" not in code
    assert "\n  reboot" not in code
    assert "--proto '=https'" in code


def test_trap_16_unattended_upgrades_leave_a_driver_built_here_alone(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    system(world, script_of(world, job_of("debian-archive")), "--yes")
    text = (world.root / "etc/apt/apt.conf.d/52envcheck-nvidia").read_text()
    assert text.startswith("Unattended-Upgrade::Package-Blacklist {")


def test_trap_17_a_wrong_download_is_thrown_away(tmp_path: Path) -> None:
    world = make("nvidia-debian", tmp_path)
    world.save(download="something else\n")
    ended = system(world, script_of(world, job_of("nvidia-debian")), "--yes")
    assert ended.code == 1
    assert "SHA-256 differs" in ended.output
    assert "cuda-keyring" not in world.installed
    assert list((world.var / "downloads").iterdir()) == []


@pytest.mark.parametrize(("key", "code", "words"), lives.KEYS)
def test_secure_boot_stops_before_any_change_unless_the_key_is_enrolled(
    key: str | None, code: int, words: str, tmp_path: Path
) -> None:
    world = make("debian-archive", tmp_path)
    lives.secure_boot(world, script_of(world, job_of("debian-archive")), key, code, words)


def test_secure_boot_does_not_concern_modules_that_canonical_signed(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    assert system(world, script_of(world, job_of("ubuntu-archive")), "--yes").code == 0


def test_a_kernel_without_signed_modules_gets_one_of_dkms_and_its_key_is_asked_for(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.add_kernel("6.8.0-200-custom")
    world.offer(packages("linux-headers-6.8.0-200-custom", files={"/lib/modules/6.8.0-200-custom/build/Makefile": ""}))
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert ended.code == 11
    assert "/var/lib/shim-signed/mok/MOK.der" in ended.output


def test_a_desktop_keeps_its_screen(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.install({"gdm3": "1"})
    assert system(world, script_of(world, job_of("ubuntu-archive")), "--yes").code == 0
    assert {"xserver-xorg-video-nvidia-580-server", "libnvidia-gl-580-server"} <= set(world.installed)


def test_a_desktop_of_ubuntu_gets_no_module_of_dkms_beside_canonicals(tmp_path: Path) -> None:
    """Seen on Ubuntu 24.04 without a metapackage of modules: nvidia-driver-580-server-open brought dkms and gcc."""
    world = make("ubuntu-archive", tmp_path)
    world.install({"gdm3": "1"})
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert ended.code == 0, ended.output
    assert not [name for name in world.installed if "dkms" in name and "no-dkms" not in name]


def test_a_run_file_driver_is_refused_with_its_way_out(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    lives.refused_for_a_run_file(world, script_of(world, job_of("ubuntu-archive")))
    world.save(owned=["/usr/bin/nvidia-uninstall"])
    assert system(world, script_of(world, job_of("ubuntu-archive")), "--yes").code == 0


def test_programs_on_the_gpu_are_named(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.install({"nvidia-utils-535": "535.1"})
    script = script_of(world, job_of("ubuntu-archive", action="upgrade"), driver="535.1.2")
    lives.refused_for_programs(world, script, "535.1.2")


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (".dockerenv", "", "belongs to the host"),
        ("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n", "the one on Windows"),
    ],
)
def test_no_driver_in_a_container_or_in_wsl(path: str, text: str, words: str, tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.put(path, text)
    lives.refused(world, script_of(world, job_of("ubuntu-archive")), words)


def test_an_interrupted_dpkg_is_named(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    world.save(audit="The following packages are only half configured\n")
    ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes")
    assert ended.code == 11
    assert "dpkg --configure -a" in ended.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("card", "0x2204"), "the set of NVIDIA GPUs (PCI ids) is 10de:2204 here and 10de:2684 in the plan"),
        (("put", "etc/os-release"), "the system is debian 12"),
        (("put", "sys/module/nvidia/version"), "the NVIDIA driver is 470.1.2 here and absent in the plan"),
    ],
)
def test_another_machine_is_refused_with_what_differs(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    script = script_of(world, job_of("ubuntu-archive"))
    if change[0] == "card":
        world.card(change[1])
    else:
        world.put(change[1], "470.1.2\n" if "nvidia" in change[1] else "ID=debian\nVERSION_ID=12\n")
    ended = system(world, script, "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert words in ended.output


def test_a_reboot_that_did_not_help_is_said(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    script = script_of(world, job_of("ubuntu-archive"))
    assert system(world, script, "--yes").code == 10
    world.put("proc/sys/kernel/random/boot_id", "second\n")
    ended = system(world, script, "--yes")
    assert ended.code == 1
    assert "was rebooted, and yet" in ended.output


def test_nobody_to_ask_stops_before_any_change(tmp_path: Path) -> None:
    world = make("ubuntu-archive", tmp_path)
    ended = system(world, script_of(world, job_of("ubuntu-archive")))
    assert (ended.code, world.log()) == (11, [])
    assert "pass --yes" in ended.output


@pytest.mark.skipif(os.geteuid() != 0, reason="switches to another user, which only root can")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="the other user needs a Python that it may start")
def test_as_a_user_sudo_is_asked_for_single_commands_only() -> None:
    with tempfile.TemporaryDirectory() as name:
        world = make("ubuntu-archive", Path(name))
        for path in (Path(name), *Path(name).rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
        ended = system(world, script_of(world, job_of("ubuntu-archive")), "--yes", user=65534, group=65534)
        assert ended.code == 0, ended.output
        asked = Path(str(world.file) + ".sudo").read_text().splitlines()
        assert asked
        assert all(line.startswith("env DEBIAN_FRONTEND=noninteractive ") for line in asked)
        assert not any("install.sh" in line for line in asked)
