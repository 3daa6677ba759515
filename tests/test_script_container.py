"""The container toolkit on dnf, zypper and pacman, run by bash on machines in a directory (apt: test_script_extras)."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from fakes import arch_machines, dnf_machines, lives, suse_machines
from fakes.drivers import script_of_roles, system
from fakes.world import World, packages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden"
SUM = "c880576d6cf75a48e5027a871bac70fd0421ab07d2b55f30877b21f1c87959c9"
KEY = "key C95B321B61E88C1809C4F759DDCAE044F796ECB0\n"
CASES = {
    "container-dnf": (dnf_machines, "rocky-9"),
    "container-dnf5": (dnf_machines, "fedora-43"),
    "container-zypper": (suse_machines, "sles-g07"),
    "container-pacman": (arch_machines, "linux"),
}
TOOLKIT = "nvidia-container-toolkit"


def make(case: str, tmp_path: Path) -> World:
    module, name = CASES[case]
    world = module.make(name, tmp_path)
    world.link("docker", "podman")
    world.save(services={"docker": [True, True]})
    world.save(downloads={"libnvidia-container/gpgkey": KEY, **world.load().get("downloads", {})})
    if module is dnf_machines:
        dnf_machines.offer(world, TOOLKIT, dnf_machines.rpm("1.20.0", **{"from": "envcheck-container-toolkit"}))
    elif module is suse_machines:
        world.offer(packages(TOOLKIT, version="1.20.0-1", **{"from": "container"}))
    else:
        world.offer(packages(TOOLKIT, version="1.20.0-1"))
    return world


def script_for(case: str, world: World, engine: str = "docker") -> str:
    module, name = CASES[case]
    job = module.job_of(name, engine=engine)
    text = script_of_roles(world, job, "container-toolkit")
    return text.replace(SUM, hashlib.sha256(KEY.encode()).hexdigest())


@pytest.mark.parametrize("case", CASES)
def test_fresh_dry_second_and_undo(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before, there, keys = world.files(), world.installed, world.load().get("keys")
    script = script_for(case, world)
    dry = system(world, script, "--dry-run")
    assert (dry.code, world.log(), world.files()) == (0, [], before), dry.output
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    log = "\n".join(line.replace(str(tmp_path), "@") for line in world.log()) + "\n"
    golden = GOLDEN / f"{case}.log"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        golden.write_text(log)
    assert log == golden.read_text()
    assert "nvidia-container-runtime" in (world.root / "etc/docker/daemon.json").read_text()
    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert (world.installed, world.files(), world.load().get("keys")) == (there, before, keys)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_failure_of_each_command_in_turn_is_repaired_by_the_next_run(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    before, files = world.installed, world.files()
    script = script_for(case, world)
    commands = (GOLDEN / f"{case}.log").read_text().splitlines()
    failed = lives.repaired_in_turn(world, script, commands)
    assert set(commands) <= {line.replace(str(tmp_path), "@") for line in failed}
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert (world.installed, world.files()) == (before, files)


@pytest.mark.parametrize("case", ["container-dnf", "container-zypper"])
def test_another_key_is_thrown_away(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    world.save(downloads={"libnvidia-container/gpgkey": KEY + "key 0000000000000000000000000000000000000000\n"})
    ended = system(world, script_for(case, world), "--yes")
    assert ended.code == 1, ended.output
    assert "SHA-256 differs" in ended.output
    assert not list((world.root / "etc").rglob("*envcheck*"))
    assert not world.load().get("keys")


def test_dnf_takes_signed_lists_with_that_key_alone(tmp_path: Path) -> None:
    world = make("container-dnf", tmp_path)
    assert system(world, script_for("container-dnf", world), "--yes").code == 0
    lines = (world.root / "etc/yum.repos.d/envcheck-container-toolkit.repo").read_text().splitlines()
    assert "repo_gpgcheck=1" in lines
    assert "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-envcheck-container-toolkit" in lines
    assert "baseurl=https://nvidia.github.io/libnvidia-container/stable/rpm/$basearch" in lines


def test_zyppers_driver_keeps_its_own_repository_and_key(tmp_path: Path) -> None:
    """One script brings both: undo takes each back by its own name."""
    world = make("container-zypper", tmp_path)
    before = world.files(), world.installed
    job = suse_machines.job_of("sles-g07", engine="docker")
    text = script_of_roles(world, job, "driver", "container-toolkit")
    text = text.replace(SUM, hashlib.sha256(KEY.encode()).hexdigest())
    assert system(world, text, "--yes").code == 0
    assert len(world.load()["keys"]) == 2
    undone = world.run(text, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert (world.installed, world.load()["keys"]) == (before[1], [])
    assert not list((world.root / "etc/zypp/repos.d").iterdir())


def test_on_arch_a_partial_upgrade_is_refused(tmp_path: Path) -> None:
    world = make("container-pacman", tmp_path)
    world.save(behind=["glibc"])
    ended = system(world, script_for("container-pacman", world), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "partial upgrade" in ended.output


@pytest.mark.parametrize("case", CASES)
def test_podman_gets_a_description_and_a_missing_engine_is_said(case: str, tmp_path: Path) -> None:
    world = make(case, tmp_path)
    world.put("sys/module/nvidia/version", "580.100.01\n")
    world.put("etc/cdi/.keep", "")
    script = script_for(case, world, engine="podman").replace("ec_bind_driver ''", "ec_bind_driver 580.100.01")
    ended = system(world, script, "--yes")
    assert ended.code == 0, ended.output
    assert "cdiVersion" in (world.root / "etc/cdi/nvidia.yaml").read_text()
    if case == "container-dnf":
        ended = system(world, script_for(case, world, engine="containerd"), "--yes")
        assert ended.code == 11
