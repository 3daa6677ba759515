"""The recipes of Arch Linux, run by bash on a machine in a directory with fake pacman, mkinitcpio, nvidia-smi, ...

Names of tests say which trap of generated installers they stand for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fakes import lives
from fakes.arch_machines import CASES, KERNELS, job_of, make
from fakes.drivers import script_of, system
from fakes.failures import places
from fakes.world import SECURE_BOOT, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")


@pytest.mark.parametrize("case", CASES)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.reboots_once(world, script_of(world, job_of(case)), f"arch-{case}")


@pytest.mark.parametrize("case", CASES)
def test_without_a_driver_in_the_way_no_reboot_is_needed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.loads_at_once(world, script_of(world, job_of(case)))


@pytest.mark.parametrize("case", CASES)
def test_dry_run_changes_nothing_and_shows_the_commands(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    ended = lives.dry(world, script_of(world, job_of(case)))
    assert "would stop" not in ended.output
    assert "pacman -S --noconfirm --needed nvidia-open" in ended.output


@pytest.mark.parametrize("case", CASES)
def test_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = world.files(), world.installed
    script = script_of(world, job_of(case))
    assert system(world, script, "--yes").code == 0
    lives.undone(world, script, before)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_failure_of_any_command_is_repaired_by_a_second_run(case: str, tmp_path: Path) -> None:
    """In turn before and after the command did its work, so that each kind of command meets both."""
    count = len(lives.commands_of(f"arch-{case}"))
    for number in places(count, CASES.index(case)):
        for after in (False, True):
            home = tmp_path / f"{number}-{after}"
            home.mkdir()
            world = make(case, home)
            script = script_of(world, job_of(case))
            first, second = lives.fails_at(world, script, number, after=after)
            assert second.code == 0, f"{number}: {first.output}\n---\n{second.output}"


def test_linux_and_linux_lts_get_arch_s_own_modules_and_others_dkms_for_all(tmp_path: Path) -> None:
    wanted = {
        "linux": {"nvidia-open"},
        "lts": {"nvidia-open", "nvidia-open-lts"},
        "zen": {"nvidia-open-dkms", "linux-zen-headers", "linux-lts-headers", "dkms"},
    }
    for case, names in wanted.items():
        home = tmp_path / case
        home.mkdir()
        world = make(case, home)
        before = set(world.installed)
        assert system(world, script_of(world, job_of(case)), "--yes").code == 0
        assert set(world.installed) - before == {*names, "nvidia-utils"}
        for kernel in KERNELS[case].values():
            assert list((world.root / "lib/modules" / kernel).rglob("nvidia.ko*")), kernel


def test_no_partial_upgrade_lists_that_are_newer_than_the_system_stop_everything(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.save(behind=["glibc", "linux"])
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "(2 packages, such as glibc)" in ended.output
    assert "your own decision" in ended.output
    world.save(behind=[], ignored=["firefox"])
    assert system(world, script_of(world, job_of("linux")), "--yes").code == 0


def test_no_lists_at_all_stop_everything(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.save(listed=[])
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "no package lists" in ended.output


@pytest.mark.parametrize("version", ["610.57.04-1", "620.1.2-1"])
def test_trap_9_another_branch_in_the_lists_is_refused_with_both_ways_out(version: str, tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.offer(packages("nvidia-open", "nvidia-utils", version=version))
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert f"nvidia-open {version.split('-')[0]} here, and the plan needs branch 615" in ended.output
    assert "pacman -Syu" in ended.output
    assert "then envcheck plan, which keeps a driver that serves" in ended.output


def test_a_mirror_in_the_middle_of_an_update_is_named(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.offer(packages("nvidia-utils", version="615.80.01-1"))
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "different versions" in ended.output


def test_a_module_for_another_kernel_is_found_before_the_reboot(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    files = {"/lib/modules/7.2.9-arch1-1/extramodules/nvidia.ko.zst": "615.71.09 Dual MIT/GPL"}
    world.offer(packages("nvidia-open", version="615.71.09-9", files=files, depends=["nvidia-utils"]))
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert ended.code == 11
    assert "not for the kernels that are installed" in ended.output


def test_a_kernel_whose_modules_an_update_took_away_is_rebooted_first(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.save(kernel="7.2.4-arch1-1")
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (10, [])
    assert "was replaced by an update" in ended.output


def test_trap_4_a_kernel_without_headers_stops_before_the_driver(tmp_path: Path) -> None:
    world = make("zen", tmp_path)
    world.add_kernel("7.9.1-mine")
    world.put("lib/modules/7.9.1-mine/pkgbase", "linux-mine\n")
    ended = system(world, script_of(world, job_of("zen")), "--yes")
    assert ended.code == 11
    assert "no linux-mine-headers" in ended.output
    assert "nvidia-utils" not in world.installed


def test_a_busy_pacman_is_waited_for(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.put("var/lib/pacman/db.lck", "")
    script = script_of(world, job_of("linux"))
    assert "EC_PACMAN_WAIT=300" in script
    ended = system(world, script.replace("EC_PACMAN_WAIT=300", "EC_PACMAN_WAIT=1"), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "db.lck) for 1 seconds" in ended.output
    assert (world.root / "var/lib/pacman/db.lck").exists()  # another's lock is not ours to break


def test_pacman_that_ends_in_time_is_no_failure(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    lock = world.root / "var/lib/pacman/db.lck"
    lock.parent.mkdir(parents=True)
    lock.touch()
    sleep = world.bin / "sleep"
    sleep.write_text(f"#!/bin/sh\nrm -f '{lock}'\n")
    sleep.chmod(0o755)
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert ended.code == 0, ended.output
    assert "pacman is busy" in ended.output


def test_the_old_proprietary_module_makes_way_and_undo_brings_back_what_pacman_has(tmp_path: Path) -> None:
    world = make("zen", tmp_path)
    world.install({"nvidia-open-lts": "1:610.57.04-9", "nvidia-utils": "610.57.04-1"})
    world.put("sys/module/nvidia/version", "610.57.04\n")
    script = script_of(world, job_of("zen", action="upgrade"), driver="610.57.04")
    # a system that is whole has the lists' version: nvidia-utils comes with it
    world.install({"nvidia-utils": "615.71.09-1"})
    ended = system(world, script, "--yes")
    assert ended.code == 10, ended.output
    assert "nvidia-open-lts" not in world.installed
    assert "nvidia-open-dkms" in world.installed
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    assert "nvidia-open-lts" in world.installed
    assert "nvidia-open-dkms" not in world.installed


def test_mixed_with_packages_of_the_aur_is_refused(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.install({"nvidia-580xx-dkms": "580.1-1", "nvidia-580xx-utils": "580.1-1"})
    world.save(foreign=["nvidia-580xx-dkms", "nvidia-580xx-utils"])
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "sudo pacman -R nvidia-580xx-dkms nvidia-580xx-utils" in ended.output


def test_trap_13_undo_keeps_what_others_need(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    script = script_of(world, job_of("linux"))
    assert system(world, script, "--yes").code == 0
    world.offer(packages("cuda", depends=["nvidia-utils"]))
    world.install({"cuda": "13.4-1"})
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 1
    assert "everything stays" in ended.output
    assert {"nvidia-open", "nvidia-utils", "cuda"} <= set(world.installed)


def test_secure_boot_stops_only_where_the_kernel_takes_signed_modules_alone(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    world.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    ended = system(world, script_of(world, job_of("linux")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "signed modules only" in ended.output
    world.put("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
    world.put("sys/module/module/parameters/sig_enforce", "N\n")
    assert system(world, script_of(world, job_of("linux")), "--yes").code == 0


def test_endeavouros_rebuilds_its_images_by_its_own_tool(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    (world.bin / "mkinitcpio").unlink()
    for name in ("reinstall-kernels", "dracut"):
        (world.bin / name).write_text(f"#!/bin/sh\necho ran {name} >&2\n")
        (world.bin / name).chmod(0o755)
    world.put("etc/os-release", "ID=endeavouros\n")
    ended = system(world, script_of(world, job_of("linux", os_id="endeavouros")), "--yes")
    assert ended.code == 0, ended.output
    assert "ran reinstall-kernels" in ended.output
    assert "ran dracut" not in ended.output


@pytest.mark.parametrize(
    ("os_id", "branch", "module", "words"),
    [
        ("arch", "580", "proprietary", "https://aur.archlinux.org/nvidia-580xx-utils.git"),
        ("endeavouros", "580", "proprietary", "nvidia-580xx-dkms"),
        ("manjaro", "580", "open", "sudo mhwd -a pci nonfree 0300"),
        ("cachyos", "580", "proprietary", "sudo chwd -a"),
    ],
)
def test_what_is_a_person_s_to_do_is_printed_and_never_run(
    os_id: str, branch: str, module: str, words: str, tmp_path: Path
) -> None:
    world = make("linux", tmp_path)
    world.put("etc/os-release", f"ID={os_id}\n")
    job = job_of("linux", os_id=os_id, branch=branch, module=module)
    script = script_of(world, job)
    ended = system(world, script, "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert words in ended.output
    assert "pacman -S --noconfirm" not in script  # no part of pacman's is in it
    dry = system(world, script, "--dry-run")
    assert dry.code == 0
    assert "by hand: " in dry.output
    # done by hand, with what the archive had: a newer branch serves as well
    world.put("sys/module/nvidia/version", "615.71.09\n")
    world.install({"nvidia-utils": "615.71.09-1"})
    assert system(world, script, "--yes").code == 0
    ended = world.run(script_of(world, job), "--stage", "verify")
    assert "not the machine that the plan was made for" not in ended.output


@pytest.mark.parametrize("case", CASES)
def test_traps_13_14_and_17_no_upgrade_no_reboot_no_lists(case: str, tmp_path: Path) -> None:
    script = script_of(make(case, tmp_path), job_of(case))
    code = [line for line in script.splitlines() if not line.lstrip().startswith("#")]
    run = [line for line in code if "ec_refuse" not in line and "ec_die" not in line]
    for word in ("pacman -Sy", "-Syu", "--overwrite", "-Rdd", "makepkg", "aur.archlinux.org", "http://", "apt-get"):
        assert not [line for line in run if word in line], word
    assert "\n  reboot" not in script


def test_programs_on_the_gpu_are_named(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.install({"nvidia-utils": "610.57.04-1"})
    script = script_of(world, job_of("linux", action="upgrade"), driver="610.57.04")
    lives.refused_for_programs(world, script, "610.57.04")


def test_a_run_file_driver_is_refused_with_its_way_out(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    lives.refused_for_a_run_file(world, script_of(world, job_of("linux")))


def test_no_driver_in_a_container(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    world.put(".dockerenv", "")
    lives.refused(world, script_of(world, job_of("linux")), "belongs to the host")


def test_a_reboot_that_did_not_help_is_said(tmp_path: Path) -> None:
    world = make("linux", tmp_path)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    script = script_of(world, job_of("linux"))
    assert system(world, script, "--yes").code == 10
    world.put("proc/sys/kernel/random/boot_id", "second\n")
    ended = system(world, script, "--yes")
    assert ended.code == 1
    assert "was rebooted, and yet" in ended.output
