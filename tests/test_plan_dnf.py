"""Whole plans for Red Hat's family, Fedora and Amazon Linux: which recipe, and a script to trust."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.dnf_machines import write_repos
from fakes.plans import META
from fakes.world import World
from planning import machine, plan

from envcheck.model import Plan
from envcheck.render import render

SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
SYSTEMS = {
    "rhel-8": "580-open",
    "rhel-9.7": "580-open",
    "rhel-10.0": "ec_lock",
    "rhel-10.1": "ec_rhel_drivers",
    "rocky-8": "580-open",
    "rocky-9": "580-open",
    "rocky-10": "ec_lock",
    "centos-9": "580-open",
    "centos-10": "ec_lock",
    "almalinux-9": "580-open",
    "ol-8": "580-open",
    "ol-9": "580-open",
    "ol-10": "ec_lock",
    "fedora-42": "ec_fedora_install",
    "fedora-43": "ec_fedora_install",
    "fedora-44": "ec_fedora_install",
    "amzn-2023": "nvidia-release",
}

LINTED = ("rhel-8", "rhel-10.1", "rocky-10", "fedora-43", "amzn-2023")  # one a recipe: it takes seconds a script


def planned(os: str, gpu: str = "RTX 4090", **request: str) -> Plan:
    answer = plan(machine(gpu, os=os), torch="2.6", **request)
    assert answer.satisfiable, answer.conflicts
    return answer


def words(answer: Plan) -> list[str]:
    return [word for step in answer.steps if step.stage == "system" for word in step.argv]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")
@pytest.mark.parametrize("os", SYSTEMS)
def test_every_release_gets_a_script_that_is_sound_and_whose_dry_run_ends(os: str, tmp_path: Path) -> None:
    answer = planned(os)
    assert answer.driver is not None
    assert (answer.driver.action, answer.driver.target) == ("install", "580")
    assert not [step for step in answer.steps if step.id == "driver-by-hand"]
    id, _, version = os.partition("-")
    world = World(tmp_path, os_id=id, version=version, kernel="6.12.0-55.el10.x86_64", family="dnf")
    world.save(dnf5=id == "fedora", owners={})
    write_repos(world, {"baseos": "1", "crb": "0"})
    script = render(answer, "script", meta=META, sysroot=str(world.root), state_dir=str(world.var))
    assert SYSTEMS[os] in words(answer)
    if SHELLCHECK and os in LINTED:
        file = tmp_path / "plan.sh"
        file.write_text(script)
        checked = subprocess.run([SHELLCHECK, file], capture_output=True, text=True, timeout=120, check=False)
        assert checked.returncode == 0, checked.stdout
    before = world.files(), world.load()
    ended = world.run(script, "--stage", "system", "--dry-run")
    assert ended.code == 0, ended.output
    assert "would stop" not in ended.output
    assert "would end here with exit code 10" in ended.output or "finished" in ended.output
    assert (world.files(), world.load(), world.log()) == (*before, [])


@pytest.mark.parametrize("os", ["rhel-9.7", "rhel-10.1", "almalinux-9", "fedora-43", "amzn-2023"])
def test_before_turing_the_proprietary_module_of_580_and_from_blackwell_on_the_open_one(os: str) -> None:
    old = planned(os, "GTX 1080 Ti")
    assert old.driver is not None
    assert old.driver.target == "580"
    assert "proprietary" in words(old)
    assert "kmod-nvidia-latest-dkms" in words(old) or "ec_fedora_install" in words(old)
    new = plan(machine("RTX 5090", os=os), torch="2.7")
    assert new.driver is not None
    assert new.driver.target == "580"
    assert "open" in words(new)
    assert "proprietary" not in words(new)


def test_almalinuxs_own_modules_come_with_their_branch_alone() -> None:
    assert "almalinux-release-nvidia-driver" in words(planned("almalinux-9", driver_branch="615"))
    assert "almalinux-release-nvidia-driver" not in words(planned("almalinux-9"))


def test_a_release_that_no_recipe_serves_is_told_by_hand() -> None:
    (step,) = [step for step in planned("fedora-40").steps if step.id == "driver-by-hand"]
    assert "fedora 40" in step.title
