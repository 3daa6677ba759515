"""The recipes of SLES, openSUSE and MicroOS, run by bash on a machine in a directory with fake zypper, rpm, ...

Names of tests say which trap of generated installers they stand for.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from fakes import lives
from fakes.drivers import script_of, system
from fakes.failures import places
from fakes.suse_machines import CASES, JOBS, KERNELS, boot, job_of, make
from fakes.world import SECURE_BOOT, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

PLAIN = tuple(case for case in CASES if case != "microos")


@pytest.mark.parametrize("case", CASES)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.reboots_once(world, script_of(world, job_of(case)), f"suse-{case}", boot)


@pytest.mark.parametrize("case", PLAIN)
def test_without_a_driver_in_the_way_no_reboot_is_needed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    if case == "tumbleweed-g07":  # its module is for the newest kernel alone
        world.save(kernel=KERNELS[JOBS[case][0]][1])
    lives.loads_at_once(world, script_of(world, job_of(case)))


@pytest.mark.parametrize("case", CASES)
def test_dry_run_changes_nothing_and_shows_the_commands(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    ended = lives.dry(world, script_of(world, job_of(case)))
    assert "would stop" not in ended.output
    assert "addrepo --gpgcheck https://developer.download.nvidia.com/compute/cuda/repos/" in ended.output
    assert "asked when the repositories are there" in ended.output
    assert "=VERSION" in ended.output


@pytest.mark.parametrize("case", CASES)
def test_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = world.files(), world.installed
    script = script_of(world, job_of(case))
    assert system(world, script, "--yes").code in (0, 10)
    ours = ("sys/module", "proc/", "lib/modules", "run/")
    lives.undone(world, script, before, ours, boot if case == "microos" else None)
    assert world.load()["keys"] == []


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_failure_of_any_command_is_repaired_by_a_second_run(case: str, tmp_path: Path) -> None:
    """In turn before and after the command did its work, so that each kind of command meets both."""
    count = len(lives.commands_of(f"suse-{case}"))
    for number in places(count, CASES.index(case)):
        home = tmp_path / str(number)
        home.mkdir()
        world = make(case, home)
        script = script_of(world, job_of(case))
        first, second = lives.fails_at(world, script, number, after=bool((number + CASES.index(case)) % 2))
        assert second.code in (0, 10), f"{number}: {first.output}\n---\n{second.output}"
        boot(world)
        third = system(world, script, "--yes")
        assert third.code == 0, third.output


def test_module_and_libraries_are_of_one_version_although_newer_libraries_are_there(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0
    assert {v.split("-")[0].split("_")[0] for n, v in world.installed.items() if "nvidia" in n} == {"595.71.05"}
    assert world.load()["archive"]["nvidia-persistenced"]["versions"] == ["595.71.05-1", "595.99.01-1"]


def test_module_and_libraries_without_a_common_version_stop_before_anything_is_installed(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.offer(packages("nvidia-persistenced", version="595.99.01-1", **{"from": "nvidia"}))
    ended = system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert ended.code == 11
    assert "in no common version" in ended.output
    assert not any("nvidia" in name for name in world.installed)


def test_trap_3_on_tumbleweed_the_module_must_be_for_the_kernel_that_boots_next(tmp_path: Path) -> None:
    world = make("tumbleweed-g07", tmp_path)
    world.add_kernel("7.3.0-1-default")
    ended = system(world, script_of(world, job_of("tumbleweed-g07")), "--yes")
    assert ended.code == 11
    assert "is not for kernel 7.3.0-1-default, the one that boots next" in ended.output
    assert "your own decision" in ended.output


def test_an_update_of_a_rolling_system_makes_it_no_other_machine(tmp_path: Path) -> None:
    world = make("tumbleweed-g07", tmp_path)
    script = script_of(world, job_of("tumbleweed-g07"))
    world.put("etc/os-release", "ID=opensuse-tumbleweed\nVERSION_ID=20261201\n")
    assert system(world, script, "--yes").code == 10


def test_trap_3_and_4_headers_of_exactly_each_kernel(tmp_path: Path) -> None:
    world = make("sles-dkms", tmp_path)
    assert system(world, script_of(world, job_of("sles-dkms")), "--yes").code == 0
    assert world.installed["kernel-default-devel"] == world.installed["kernel-default"]
    for kernel in KERNELS["sles"]:
        assert list((world.root / "lib/modules" / kernel).rglob("nvidia.ko*"))


def test_a_needed_kernel_without_headers_stops_before_the_driver(tmp_path: Path) -> None:
    world = make("sles-dkms", tmp_path)
    world.add_kernel("6.12.99-1-default")
    ended = system(world, script_of(world, job_of("sles-dkms")), "--yes")
    assert ended.code == 11
    assert "no headers of kernel 6.12.99-1-default" in ended.output
    assert "nvidia-driver-G06" not in world.installed


def test_undo_keeps_the_users_own_headers(tmp_path: Path) -> None:
    world = make("sles-dkms", tmp_path)
    older = world.installed["kernel-default"].split()[0]
    world.install({"kernel-default-devel": older})
    world.put(f"lib/modules/{KERNELS['sles'][0]}/build/Makefile", "")
    script = script_of(world, job_of("sles-dkms"))
    assert system(world, script, "--yes").code == 0
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert world.installed["kernel-default-devel"] == older


@pytest.mark.parametrize("case", ["sles-g07", "microos"])
def test_trap_9_a_branch_that_the_repositories_moved_on_from_is_refused(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    name = "nvidia-open-driver-G07-signed-cuda-kmp-default"
    world.offer(packages(name, version="620.1.2_k9.9.9-1.1"))
    ended = system(world, script_of(world, job_of(case)), "--yes")
    assert ended.code == 11
    assert f"hold {name} 620.1.2_k9.9.9-1.1, and the plan needs branch" in ended.output
    assert not any(name in world.installed for name in ("nvidia-persistenced", name))


def test_trap_11_a_failed_package_script_is_found_by_the_missing_module(tmp_path: Path) -> None:
    world = make("sles-dkms", tmp_path)
    world.save(notice=107)
    (world.bin / "dkms").unlink()
    (world.bin / "dkms").write_text("#!/bin/sh\nexit 0\n")
    (world.bin / "dkms").chmod(0o755)
    name = "nvidia-driver-G06"
    built = {**world.load()["archive"][name], "dkms": None}
    world.offer({name: built})
    ended = system(world, script_of(world, job_of("sles-dkms")), "--yes")
    assert ended.code == 1
    assert "zypper ended with notice 107" in ended.output
    assert "checks of the steps named above fail" in ended.output


@pytest.mark.parametrize("notice", [102, 103])
def test_notices_of_zypper_are_no_failures(notice: int, tmp_path: Path) -> None:
    world = make("leap-g06", tmp_path)
    world.save(notice=notice)
    assert system(world, script_of(world, job_of("leap-g06")), "--yes").code == 0


def test_trap_13_packages_that_are_no_driver_are_never_removed(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.install({"nvidia-driver-G06-kmp-default": "570.1-1", "x11-desktop": "1-1"})
    script = script_of(world, job_of("sles-g07"))
    zypper = (world.bin / "suse.py").read_text()
    removes = 'names = [g.partition("=")[0] for g in gone]'
    assert removes in zypper
    (world.bin / "suse.py").write_text(zypper.replace(removes, removes[:-1] + '] + (["x11-desktop"] if gone else [])'))
    ended = system(world, script, "--yes")
    assert ended.code == 11, ended.output
    assert "zypper would remove x11-desktop" in ended.output
    assert "x11-desktop" in world.installed


def test_another_generation_goes_in_the_same_transaction_and_undo_brings_it_back(tmp_path: Path) -> None:
    """Mixed or outdated: parts of two drivers. What is locked cannot go, so its lock comes later."""
    world = make("sles-g07", tmp_path)
    old = {"nvidia-driver-G06-kmp-default": "570.1-1", "nvidia-compute-G06": "570.1-1"}
    world.install({**old, "nvidia-container-toolkit": "1.20-1"})
    for name, version in old.items():
        world.offer(packages(name, version=version))
    world.put("sys/module/nvidia/version", "570.1.2\n")
    script = script_of(world, job_of("sles-g07", action="upgrade"), driver="570.1.2")
    ended = system(world, script, "--yes")
    assert ended.code == 10, ended.output
    log = world.log()
    (install,) = [line for line in log if " install " in line]
    assert install.endswith(" !nvidia-compute-G06 !nvidia-driver-G06-kmp-default")
    assert log.index(install) < log.index("zypper --non-interactive addlock nvidia-driver-G06-kmp-default")
    assert not set(old) & set(world.installed)
    assert "nvidia-container-toolkit" in world.installed
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 0, ended.output
    assert {k: v for k, v in world.installed.items() if k in old} == old
    assert not any("G07" in name for name in world.installed)


def test_half_of_the_driver_is_completed_without_a_second_module(tmp_path: Path) -> None:
    """Broken: the libraries of another version, and no module."""
    world = make("sles-g07", tmp_path)
    world.install({"nvidia-compute-utils-G07": "595.99.01-1"})
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0
    assert world.installed["nvidia-compute-utils-G07"].startswith("595.71.05")


def test_undo_keeps_the_users_locks_repository_and_key(tmp_path: Path) -> None:
    world = make("tumbleweed-g07", tmp_path)
    world.put(
        "etc/zypp/locks",
        "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: nvidia-gfxG05-kmp-default\n",
    )
    url = "https://developer.download.nvidia.com/compute/cuda/repos/suse16/x86_64"
    world.put("etc/zypp/repos.d/cuda.repo", f"[cuda]\nenabled=1\nbaseurl={url}\n")
    key = next(iter(world.load()["downloads"].values())).split()[1]
    world.save(keys=[key])
    before = world.files()
    script = script_of(world, job_of("tumbleweed-g07"))
    assert system(world, script, "--yes").code == 10  # the module is for the newer kernel
    log = world.log()
    assert "zypper --non-interactive refresh cuda" in log
    assert not [line for line in log if "addrepo" in line or "--import" in line or line.startswith("curl")]
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert world.load()["keys"] == [key]
    now = world.files()
    assert {k: v for k, v in now.items() if k.startswith("etc/")} == {
        k: v for k, v in before.items() if k.startswith("etc/")
    }


@pytest.mark.parametrize(("text", "same"), [("enabled=0", False), ("enabled=1", True)])
def test_a_disabled_repository_is_none(text: str, same: bool, tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    url = "https://developer.download.nvidia.com/compute/cuda/repos/sles15/x86_64/"
    lines = f"[a]\nenabled=1\nbaseurl=https://other.example/\n[cuda]\n{text}\nbaseurl={url}\n"
    world.put("etc/zypp/repos.d/cuda.repo", lines)
    system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert any("addrepo" in line for line in world.log()) is not same


def test_a_key_with_another_fingerprint_is_thrown_away(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    url = next(iter(world.load()["downloads"]))
    world.save(downloads={url: "key " + "F" * 40 + "\n"})
    ended = system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert ended.code == 1
    assert "was expected. Nothing of it was used" in ended.output
    assert world.load()["keys"] == []
    assert [line.split()[0] for line in world.log()] == ["curl"]
    assert list((world.var / "downloads").iterdir()) == []


def test_trap_17_signatures_are_checked_and_no_key_is_taken_blindly(tmp_path: Path) -> None:
    for case in CASES:
        home = tmp_path / case
        home.mkdir()
        script = script_of(make(case, home), job_of(case))
        code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
        for word in ("--no-gpg-checks", "--gpg-auto-import-keys", "gpgcheck=0", "http://", "apt-get", "zypper up"):
            assert word not in code, word
        assert not re.search(r"https://\S+\.repo", code)
        assert "\n  reboot" not in code
        assert "zypper dup" not in code.replace("(sudo zypper dup on Tumbleweed; your own decision)", "")
        assert "addrepo --gpgcheck" in code


def test_a_busy_zypper_is_waited_for_and_then_named(tmp_path: Path) -> None:
    """The fake refuses to work where it is not told how long to wait."""
    world = make("sles-g07", tmp_path)
    world.save(zypp_lock=True)
    ended = system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert ended.code == 11
    assert "has used zypper's lock for five minutes" in ended.output
    world.save(zypp_lock=None)
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        (None, 11, "Enroll MOK"),
        ("absent", 11, "mokutil --import /var/lib/dkms/mok.pub --root-pw"),
        ("queued", 10, "reboot, choose"),
        ("enrolled", 0, ""),
    ],
)
def test_secure_boot_stops_before_any_change_unless_the_key_of_dkms_is_enrolled(
    key: str | None, code: int, words: str, tmp_path: Path
) -> None:
    world = make("sles-dkms", tmp_path)
    ended = lives.secure_boot(world, script_of(world, job_of("sles-dkms")), key, code, words)
    if code == 11:  # SLES has dkms from nowhere else
        url = "https://developer.download.nvidia.com/compute/cuda/repos/suse16/x86_64/"
        assert f"sudo zypper addrepo {url} cuda, then sudo zypper install mokutil openssl dkms" in ended.output


@pytest.mark.parametrize("case", ["sles-g07", "microos"])
def test_secure_boot_does_not_concern_the_module_that_suse_signed(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    world.put(SECURE_BOOT, b"\x06\x00\x00\x00\x01")
    assert system(world, script_of(world, job_of(case)), "--yes").code == (10 if case == "microos" else 0)


def test_a_desktop_keeps_its_screen(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.install({"gdm": "1-1"})
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0
    assert world.installed["nvidia-video-G07"].startswith("595.71.05")


def test_a_root_that_forgets_changes_is_refused(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.put("proc/mounts", "/dev/sda2 / btrfs ro,relatime,subvol=/@/.snapshots/3/snapshot 0 0\n")
    ended = system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "snapper rollback" in ended.output
    world.put("proc/mounts", "proc /proc proc ro 0 0\n/dev/sda2 / btrfs rw,relatime,errors=ro 0 0\n")
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0


def test_microos_boots_a_waiting_snapshot_first(tmp_path: Path) -> None:
    world = make("microos", tmp_path)
    world.put("run/reboot-needed", "")
    script = script_of(world, job_of("microos"))
    ended = system(world, script, "--yes")
    assert (ended.code, world.log()) == (10, [])
    assert "waits for its reboot" in ended.output
    boot(world)
    assert system(world, script, "--yes").code == 10
    assert world.load()["snapshot"]


def test_microos_changes_the_running_system_in_nothing_but_etc(tmp_path: Path) -> None:
    world = make("microos", tmp_path)
    before = world.installed
    assert system(world, script_of(world, job_of("microos")), "--yes").code == 10
    assert world.installed == before
    assert world.load()["keys"] == []
    assert not [
        line for line in world.log() if line.startswith(("zypper --non-interactive install", "rpm", "modprobe"))
    ]


def test_microos_with_parts_of_another_driver_says_what_to_do(tmp_path: Path) -> None:
    world = make("microos", tmp_path)
    world.install({"nvidia-driver-G06-kmp-default": "580.1-1"})
    ended = system(world, script_of(world, job_of("microos")), "--yes")
    assert ended.code == 11
    assert "transactional-update pkg remove" in ended.output


@pytest.mark.parametrize(
    ("path", "text", "words"),
    [
        (".dockerenv", "", "belongs to the host"),
        ("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n", "the one on Windows"),
    ],
)
def test_no_driver_in_a_container_or_in_wsl(path: str, text: str, words: str, tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.put(path, text)
    lives.refused(world, script_of(world, job_of("sles-g07")), words)


def test_a_run_file_driver_is_refused_with_its_way_out(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    lives.refused_for_a_run_file(world, script_of(world, job_of("sles-g07")))
    world.save(owned=["/usr/bin/nvidia-uninstall"])
    assert system(world, script_of(world, job_of("sles-g07")), "--yes").code == 0


def test_programs_on_the_gpu_are_named(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.install({"nvidia-compute-utils-G06": "580.1-1"})
    script = script_of(world, job_of("sles-g07", action="upgrade"), driver="580.1.2")
    lives.refused_for_programs(world, script, "580.1.2")


def test_a_lock_on_the_driver_is_named(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    world.put("etc/zypp/locks", "solvable_name: nvidia-persistenced\n")
    ended = system(world, script_of(world, job_of("sles-g07")), "--yes")
    assert ended.code == 11
    assert "sudo zypper removelock nvidia-persistenced" in ended.output


def test_installed_and_not_loaded_needs_the_reboot_alone(tmp_path: Path) -> None:
    world = make("sles-g07", tmp_path)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    script = script_of(world, job_of("sles-g07"))
    assert system(world, script, "--yes").code == 10
    world.put("proc/sys/kernel/random/boot_id", "second\n")
    ended = system(world, script, "--yes")
    assert ended.code == 1
    assert "was rebooted, and yet" in ended.output
