"""A driver from NVIDIA's .run file on dnf and zypper, on machines that reach no network (apt: test_script_extras)."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
from fakes import lives, suse_machines
from fakes.dnf_machines import job_of, make, offer, put, rpm, seal, write_repos
from fakes.drivers import script_of, system
from fakes.failures import spared
from fakes.run_file import bring
from fakes.world import World, packages

from envcheck.recipes import DriverJob

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

DNF = ("rocky-9", "fedora-43", "amazon-2023")
ALL = (*DNF, "sles-g07", "tumbleweed-g07")


def offline(case: str, tmp_path: Path) -> tuple[World, DriverJob]:
    """The headers and dkms come from a mirror of the site; nothing of NVIDIA's does. One archive cannot be reached."""
    if case not in DNF:
        return offline_suse(case, tmp_path)
    world = make(case, tmp_path)
    write_repos(world, {"updates": "1"})
    world.save(unreachable=["updates"])
    archive = world.load()["archive"]
    ours = {k: v for k, v in archive.items() if k not in ("dkms", "epel-release", "nvidia-release")}
    world.save(archive={k: v for k, v in ours.items() if "nvidia" not in str(v[0].get("from"))}, downloads={})
    offer(world, "dkms", rpm("3.2.2", arch="noarch"))
    return world, job_of(case, **bring(world.home, "580.100.01"))


def offline_suse(case: str, tmp_path: Path) -> tuple[World, DriverJob]:
    world = suse_machines.make(case, tmp_path)
    editions = [suse_machines.edition(kernel) for kernel in suse_machines.KERNELS[suse_machines.JOBS[case][0]]]
    world.offer(packages("kernel-default-devel", version=editions[-1], versions=editions))
    world.offer(packages("dkms", version="3.0-1"))
    job = suse_machines.job_of(case, branch="580")
    return world, dataclasses.replace(job, **bring(world.home, "580.100.01"))


@pytest.mark.parametrize("case", ALL)
def test_from_no_driver_to_a_working_one_with_one_reboot(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    lives.reboots_once(world, script_of(world, job), f"file-run-{case}")
    assert not [line for line in world.log() if line.startswith("curl")]


@pytest.mark.parametrize("case", ALL)
def test_dry_run_changes_nothing_and_undo_leaves_what_was_there_before(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    before = world.files(), world.installed
    script = script_of(world, job)
    lives.dry(world, script)
    lives.loads_at_once(world, script)
    lives.undone(world, script, before)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL)
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    before = set(world.installed)
    script = script_of(world, job)
    commands = lives.commands_of(f"file-run-{case}")
    lives.repaired_in_turn(world, script, commands, spared(commands, ALL.index(case)))
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert set(world.installed) == before


def test_it_is_never_laid_over_packages(tmp_path: Path) -> None:
    world, job = offline("fedora-43", tmp_path)
    put(world, "akmod-nvidia", rpm("580.95.05"))
    ended = system(world, script_of(world, job), "--yes")
    assert ended.code == 11, ended.output
    assert "akmod-nvidia" in ended.output
    assert not [line for line in world.log() if "install" in line]


def test_without_dkms_it_says_what_to_bring(tmp_path: Path) -> None:
    world, job = offline("amazon-2023", tmp_path)
    world.save(archive={k: v for k, v in world.load()["archive"].items() if k != "dkms"})
    ended = system(world, script_of(world, job), "--yes")
    assert ended.code == 11
    assert "Fedora and Amazon Linux have their own" in ended.output


@pytest.mark.parametrize("case", DNF)
def test_no_archive_at_all_is_needed_where_dkms_and_headers_were_brought(case: str, tmp_path: Path) -> None:
    world, job = offline(case, tmp_path)
    seal(world, case)
    lives.loads_at_once(world, script_of(world, job))
    assert not [line for line in world.log() if line.startswith("dnf")]


def test_on_suse_it_is_never_laid_over_packages_and_without_dkms_it_says_what_to_bring(tmp_path: Path) -> None:
    world, job = offline("sles-g07", tmp_path)
    script = script_of(world, job)
    world.save(archive={k: v for k, v in world.load()["archive"].items() if k != "dkms"})
    ended = system(world, script, "--yes")
    assert ended.code == 11
    assert "zypper install --download-only dkms" in ended.output
    world.install({"nvidia-open-driver-G06-signed-cuda-kmp-default": "580.95.05_k6-1"})
    ended = system(world, script, "--yes")
    assert ended.code == 11
    assert "nvidia-open-driver-G06-signed-cuda-kmp-default" in ended.output
