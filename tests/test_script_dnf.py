"""The recipes on dnf, run by bash on machines of Red Hat's family, Fedora and Amazon Linux with fake dnf, rpm, ...

Names of tests say which trap of generated installers they stand for.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from fakes import lives
from fakes.dnf_machines import CASES, EL9_NEW, job_of, make, put, rpm
from fakes.drivers import script_of, system
from fakes.failures import spared
from fakes.world import World

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

ALL = tuple(CASES)
# What dnf keeps of an answer that it was given, and DKMS's own work, go with the packages or say nothing.
OURS = ("sys/module", "proc/driver", "lib/modules", "etc/dnf/modules.d", "etc/dnf/plugins/versionlock.list")


def kept(world: World) -> dict[str, str]:
    return {k: v for k, v in world.files().items() if not k.startswith(OURS)}


def names(world: World) -> set[str]:
    return {v["name"] for v in world.load()["installed"].values()}


@pytest.mark.parametrize("case", ALL)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    lives.reboots_once(world, script_of(world, job_of(case)), case)


@pytest.mark.parametrize("case", ALL)
def test_dry_run_changes_nothing_and_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = world.files(), world.load()
    script = script_of(world, job_of(case))
    lives.dry(world, script)
    lives.loads_at_once(world, script)

    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert set(world.installed) == set(before[1]["installed"])
    assert kept(world) == {k: v for k, v in before[0].items() if not k.startswith(OURS)}
    assert "580" not in locks(world)
    assert not world.var.exists()
    nothing = world.run(script, "--stage", "undo", "--yes")
    assert "nothing to take back" in nothing.output


def locks(world: World) -> str:
    file = world.root / "etc/dnf/plugins/versionlock.list"
    return file.read_text() if file.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(case: str, tmp_path: Path) -> None:
    """Each run goes on to the first command that has not failed yet, in turn before and after that did its work.

    An installation that fails after its packages are in is trap 11's, which lets the script go on.
    """
    world = make(case, tmp_path)
    before = set(world.installed)
    script = script_of(world, job_of(case))
    commands = lives.commands_of(case)
    failed = lives.repaired_in_turn(world, script, commands, spared(commands, ALL.index(case)))
    assert set(commands) <= set(failed)
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert set(world.installed) == before


# --- traps -----------------------------------------------------------------------------------------------------


def test_trap_3_headers_and_a_module_for_every_kernel_and_no_other_kernel(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    system(world, script_of(world, job_of("rocky-9")), "--yes")
    log = "\n".join(world.log())
    assert f"kernel-devel-matched-{EL9_NEW}" in log  # with its version: without it another kernel would come
    assert "kernel-devel-matched " not in log
    assert f"dkms autoinstall -k {EL9_NEW}" in log
    assert "rescue" not in log
    for kernel in (CASES["rocky-9"].kernel, EL9_NEW):
        assert list((world.root / "lib/modules" / kernel).rglob("nvidia.ko*"))


def test_trap_3_the_boot_loaders_default_kernel_must_have_a_module_too(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.add_kernel("5.14.0-427.13.1.el9_4.x86_64")
    world.save(default="5.14.0-427.13.1.el9_4.x86_64")
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 11
    assert (
        "kernel 5.14.0-427.13.1.el9_4.x86_64 has no package kernel-devel-5.14.0-427.13.1.el9_4.x86_64" in ended.output
    )
    assert "nvidia-driver-cuda" not in names(world)


def test_trap_9_a_branch_that_the_archive_has_not_is_refused_before_the_driver(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.save(streams=["610-open"])
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 11
    assert "no module stream nvidia-driver:580-open here (it has: 610-open" in ended.output
    assert "nvidia-driver-cuda" not in names(world)


def test_trap_9_a_package_that_is_gone_is_refused_with_what_there_is(tmp_path: Path) -> None:
    world = make("amazon-2023", tmp_path)
    archive = world.load()["archive"]
    world.save(archive={k: [v for v in vs if not v["version"].startswith("580")] for k, vs in archive.items()})
    ended = system(world, script_of(world, job_of("amazon-2023")), "--yes")
    assert ended.code == 11
    assert "dnf has no nvidia-driver-cuda of branch 580 here (595.100.01" in ended.output


def test_trap_11_a_scriptlet_that_fails_is_no_failure_where_the_module_is_there(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    fail_scriptlets(world)
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 0, ended.output
    assert "dnf ended with exit code 1, and yet the packages are in" in ended.output


def fail_scriptlets(world: World) -> None:
    archive = world.load()["archive"]
    for variant in archive["kmod-nvidia-open-dkms"]:
        variant["scriptlet"] = 1
    world.save(archive=archive)


def test_trap_11_exit_code_0_without_a_module_is_a_failure_before_the_reboot(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    (world.bin / "dkms").unlink()
    (world.bin / "dkms").write_text("#!/bin/sh\nexit 0\n")
    (world.bin / "dkms").chmod(0o755)
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 1
    assert "checks of the steps named above fail" in ended.output


def test_trap_13_undo_keeps_what_others_installed_since(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    script = script_of(world, job_of("rocky-9"))
    system(world, script, "--yes")
    put(world, "htop", rpm("3.3"))
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert "htop" in names(world)


def test_trap_13_undo_stops_where_others_need_what_would_go(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    script = script_of(world, job_of("rocky-9"))
    system(world, script, "--yes")
    put(world, "somebodys-tool", rpm("1", depends=["dkms"]))
    ended = world.run(script, "--stage", "undo", "--yes")
    assert ended.code == 1
    assert "dkms is needed by (installed) somebodys-tool" in ended.output
    assert {"dkms", "somebodys-tool", "nvidia-driver-cuda"} <= names(world)


@pytest.mark.parametrize("case", ALL)
def test_traps_13_14_and_17_what_no_script_does(case: str, tmp_path: Path) -> None:
    script = script_of(make(case, tmp_path), job_of(case))
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    commands = [line.strip() for line in code.splitlines() if re.match(r"\s*(ec_root|EC_ARGV=|ec_run)\b", line)]
    for word in ("autoremove", "nogpgcheck", "allowerasing", "http://", "| bash", "shutdown", "grub2-mkconfig", "apt"):
        assert not [line for line in commands if re.search(rf"\b{re.escape(word)}", line)], word
    assert not re.search(r"dnf[^\n]* (upgrade|update)\b(?!.*(reboot|ec_die|ec_refuse))", "\n".join(commands))
    assert "gpgcheck=0" not in "\n".join(commands)
    assert "systemctl reboot" not in code
    assert "--proto '=https'" in code


def test_trap_17_a_wrong_key_is_thrown_away(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.save(downloads={"D42D0685": "key 0000000000000000000000000000000000000000\n"})
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert ended.code == 1
    assert "is not the key that was expected (610C7B14E068A878070DA4E99CD0A493D42D0685)" in ended.output
    assert not list((world.root / "etc").rglob("*envcheck*"))
    assert list((world.var / "downloads").iterdir()) == []


def test_trap_17_a_second_key_beside_the_right_one_is_no_right_key(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    both = "key 610C7B14E068A878070DA4E99CD0A493D42D0685\nkey 0000000000000000000000000000000000000000\n"
    world.save(downloads={"D42D0685": both})
    assert system(world, script_of(world, job_of("rocky-9")), "--yes").code == 1


def test_trap_17_a_key_that_nobody_vouches_for_is_shown_as_unverified(tmp_path: Path) -> None:
    world = make("fedora-43", tmp_path)
    ended = system(world, script_of(world, job_of("fedora-43")), "--yes")
    assert ended.code == 0, ended.output
    assert "unverified: nobody told envcheck the fingerprint" in ended.output
    assert "is 000000000000000000000000000000001940C73E" in ended.output


def test_trap_17_the_archives_entry_checks_signatures_with_that_key(tmp_path: Path) -> None:
    world = make("centos-10", tmp_path)
    system(world, script_of(world, job_of("centos-10", arch="aarch64")), "--dry-run")
    assert system(world, script_of(world, job_of("centos-10")), "--yes").code == 0
    text = (world.root / "etc/yum.repos.d/envcheck-cuda.repo").read_text().splitlines()
    assert "gpgcheck=1" in text
    assert "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-envcheck-nvidia" in text
    assert "baseurl=https://developer.download.nvidia.com/compute/cuda/repos/rhel10/x86_64" in text


def test_arm_servers_take_the_sbsa_archive(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.save(arch="aarch64")
    assert system(world, script_of(world, job_of("rocky-9", arch="aarch64")), "--yes").code == 0
    text = (world.root / "etc/yum.repos.d/envcheck-cuda.repo").read_text()
    assert "repos/rhel9/sbsa\n" in text
    assert "repos/rhel9/sbsa/D42D0685.pub" in "\n".join(world.log())
