"""A driver from NVIDIA's local repository package, on machines of Red Hat's family that reach no network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fakes import lives
from fakes.dnf_machines import NVIDIA_KEY, job_of, make, offer, offer_branch, rpm, seal, write_repos
from fakes.drivers import script_of, system
from fakes.failures import spared
from fakes.run_file import brought
from fakes.world import OPEN, World

from envcheck.recipes import DriverJob

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

ALL = ("rocky-9", "rhel-8", "centos-10", "fedora-43", "amazon-2023")
FOLDER = "/var/nvidia-driver-local-repo-{repo}-580.100.01"
ENTRY = """[nvidia-driver-local-{repo}-580.100.01]
name=nvidia-driver-local-{repo}-580.100.01
baseurl=file://{folder}
enabled=1
gpgcheck=1
gpgkey=file://{folder}/D42D0685.pub
"""


def offline(case: str, tmp_path: Path, entry: str = ENTRY) -> tuple[World, DriverJob]:
    """dkms comes from a mirror of the site; what is NVIDIA's, from the file alone. One archive cannot be reached."""
    world = make(case, tmp_path)
    write_repos(world, {"updates": "1"})
    world.save(unreachable=["updates"])
    job = job_of(case)
    folder = FOLDER.format(repo=job.repo)
    archive = world.load()["archive"]
    # the local repository has one branch alone
    archive = {
        k: [v for v in vs if "nvidia" not in v.get("from", "") or v["version"] == "580.100.01"]
        for k, vs in archive.items()
        if k not in ("dkms", "epel-release", "nvidia-release")
    }
    if case.startswith("amazon"):  # NVIDIA's packages instead of Amazon's copies, and in streams
        archive = {k: vs for k, vs in archive.items() if "nvidia" not in str(vs[0].get("from"))}
        world.save(streams=["580-open", "580-dkms"])
    world.save(archive=archive, downloads={})
    if case.startswith("amazon"):
        for stream in ("580-open", "580-dkms"):
            offer_branch(world, "580", stream, {"from": "nvidia"}, OPEN)
    offer(world, "dkms", rpm("3.2.2", arch="noarch"))
    files = {
        f"/etc/yum.repos.d/nvidia-driver-local-{job.repo}.repo": entry.format(repo=job.repo, folder=folder),
        f"{folder}/D42D0685.pub": NVIDIA_KEY,
    }
    offer(world, "nvidia-driver-local-repo", rpm("580.100.01", files=files, **{"from": "file"}))
    file = world.home / f"nvidia-driver-local-repo-{job.repo}-580.100.01-1.0-1.x86_64.rpm"
    return world, job_of(case, **brought(file, "an archive\n"))


@pytest.mark.parametrize("case", ALL)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    lives.reboots_once(world, script_of(world, job), f"file-rpm-{case}")
    assert not [line for line in world.log() if line.startswith("curl")]


@pytest.mark.parametrize("case", ALL)
def test_dry_run_changes_nothing_and_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    before = world.files(), world.installed
    script = script_of(world, job)
    lives.dry(world, script)
    lives.loads_at_once(world, script)
    lives.undone(world, script, before, (*lives.OURS, "etc/dnf/modules.d", "etc/dnf/plugins/versionlock.list"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    before = set(world.installed)
    script = script_of(world, job)
    commands = lives.commands_of(f"file-rpm-{case}")
    lives.repaired_in_turn(world, script, commands, spared(commands, ALL.index(case)))
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert set(world.installed) == before


def test_a_file_of_another_sum_is_not_used(tmp_path: Path) -> None:
    world, job = offline("rocky-9", tmp_path)
    Path(str(job.file)).write_text("another archive\n")
    ended = system(world, script_of(world, job), "--yes")
    assert ended.code == 1
    assert "is not the file that was named" in ended.output
    assert not [line for line in world.log() if line.startswith("dnf ")]


@pytest.mark.parametrize(
    ("was", "is_"),
    [
        ("gpgcheck=1", "gpgcheck=0"),
        ("gpgkey=file://{folder}/D42D0685.pub\n", ""),
        ("D42D0685.pub", "another.pub"),
    ],
)
def test_packages_whose_signatures_nobody_would_check_are_refused(was: str, is_: str, tmp_path: Path) -> None:
    world, job = offline("rocky-9", tmp_path, ENTRY.replace(was, is_))
    ended = system(world, script_of(world, job), "--yes")
    assert ended.code == 11, ended.output
    assert "dnf would not check the packages of the local repository" in ended.output
    assert not [v for v in world.load()["installed"].values() if v["name"] == "nvidia-driver-cuda"]


def test_without_dkms_it_says_what_to_bring(tmp_path: Path) -> None:
    world, job = offline("rocky-9", tmp_path)
    archive = world.load()["archive"]
    world.save(archive={k: v for k, v in archive.items() if k != "dkms"})
    ended = system(world, script_of(world, job), "--yes")
    assert ended.code == 11
    assert "dkms is not installed, and no archive that this machine reaches has it" in ended.output
    assert "dnf download --resolve --alldeps dkms" in ended.output


@pytest.mark.parametrize("case", ["rocky-9", "fedora-43", "amazon-2023"])
def test_no_archive_at_all_is_needed_where_dkms_and_headers_were_brought(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    seal(world, case)
    lives.loads_at_once(world, script_of(world, job))
