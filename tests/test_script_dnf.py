"""The recipes on dnf, run by bash on machines of Red Hat's family, Fedora and Amazon Linux with fake dnf, rpm, ...

Names of tests say which trap of generated installers they stand for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.dnf_machines import CASES, EL9_NEW, FC_NEW, job_of, make, offer, put, rpm
from fakes.drivers import script_of, system
from fakes.world import OPEN, PROPRIETARY, SECURE_BOOT, World

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden"
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
    (world.root / "sys/module/nouveau").mkdir(parents=True)
    script = script_of(world, job_of(case))
    first = system(world, script, "--yes")
    assert first.code == 10, first.output
    log = "\n".join(world.log()) + "\n"
    golden = GOLDEN / f"{case}.log"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        golden.write_text(log)
    assert log == golden.read_text()

    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (10, []), again.output

    world.reboot()
    resumed = system(world, script, "--yes")
    assert (resumed.code, world.log()) == (0, []), resumed.output
    assert "nothing to do" in resumed.output


@pytest.mark.parametrize("case", ALL)
def test_dry_run_changes_nothing_and_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before = world.files(), world.load()
    script = script_of(world, job_of(case))
    dry = system(world, script, "--dry-run")
    assert dry.code == 0, dry.output
    assert (world.files(), world.load(), world.log()) == (*before, [])
    assert not world.var.exists()

    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output  # nothing held the card, so the module was loaded at once
    assert world.log()[-1] == "modprobe nvidia"
    again = system(world, script, "--yes")
    assert (again.code, world.log()) == (0, []), again.output

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
    commands = (GOLDEN / f"{case}.log").read_text().splitlines()
    world.save(failed=[])
    runs = 0
    while (ended := system(world, script, "--yes")).code and runs <= len(commands):
        assert ended.code not in (10, 11), ended.output
        runs += 1
    assert ended.code == 0, ended.output
    assert set(commands) <= set(world.load()["failed"])
    world.save(failed=None)
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
    world.put("usr/bin/nvidia-uninstall", "#!/bin/sh\n")
    (world.root / "usr/bin/nvidia-uninstall").chmod(0o755)
    ended = system(world, script_of(world, job_of("rocky-9")), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "sudo nvidia-uninstall --silent" in ended.output


def test_programs_on_the_gpu_are_named(tmp_path: Path) -> None:
    world = make("rocky-9", tmp_path)
    world.put("sys/module/nvidia/version", "570.1\n")
    put(world, "nvidia-driver-cuda", rpm("570.1"))
    world.save(process="4711, python")
    ended = system(world, script_of(world, job_of("rocky-9", action="upgrade"), driver="570.1"), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "4711, python" in ended.output


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
