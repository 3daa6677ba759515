"""What stands beside the driver, run by bash on a machine in a directory: toolkits, files of the user's, the fabric."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

import pytest
from fakes.apt_machines import BESIDE, beside, job_of, make
from fakes.drivers import script_of, script_of_roles, system
from fakes.failures import places
from fakes.run_file import bring, brought
from fakes.world import DOWNLOAD, World, packages

from envcheck.recipes import DriverJob

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the driver scripts are for Linux")

GOLDEN = Path(__file__).parent / "fakes" / "golden"
KEY = "c880576d6cf75a48e5027a871bac70fd0421ab07d2b55f30877b21f1c87959c9"
DEB = "nvidia-driver-local-repo-ubuntu2404-595.100.01_1.0-1_amd64.deb"


def job_for(case: str, world: World) -> tuple[str, DriverJob]:
    if case == "container-toolkit":
        return case, job_of("ubuntu-archive", engine="docker")
    if case == "cuda-toolkit":
        return case, job_of("ubuntu-archive", toolkit="12.6")
    if case == "fabric":
        return "driver", job_of("ubuntu-archive", features=("fabric",))
    if case == "driver-file-run":
        return "driver-file", job_of("nvidia-ubuntu", branch="595", **bring(world.home, "595.100.01"))
    return "driver-file", job_of("nvidia-ubuntu", branch="595", **brought(world.home / DEB, "an archive\n"))


def script_for(case: str, world: World, **changes: object) -> str:
    role, job = job_for(case, world)
    for name, value in changes.items():
        object.__setattr__(job, name, value)
    text = script_of_roles(world, job, role)
    return text.replace(KEY, hashlib.sha256(DOWNLOAD.encode()).hexdigest())


@pytest.mark.parametrize("case", BESIDE)
def test_fresh_dry_second_and_undo(case: str, tmp_path: Path) -> None:
    world = beside(case, tmp_path)
    before = world.files(), world.installed
    script = script_for(case, world)
    dry = system(world, script, "--dry-run")
    assert (dry.code, world.log(), world.files()) == (0, [], before[0]), dry.output
    first = system(world, script, "--yes")
    assert first.code == 0, first.output
    log = [re.sub(r"/tmp/\S*/pytest\S*/", "@/", line) for line in world.log()]
    golden = GOLDEN / f"{case}.log"
    if os.environ.get("ENVCHECK_WRITE_GOLDEN"):
        golden.write_text("\n".join(log) + "\n")
    assert "\n".join(log) + "\n" == golden.read_text()

    second = system(world, script, "--yes")
    assert (second.code, world.log()) == (0, []), second.output
    undone = world.run(script, "--stage", "undo", "--yes")
    assert undone.code == 0, undone.output
    assert world.installed == before[1]
    ours = ("sys/module", "proc/driver", "lib/modules")
    assert {k: v for k, v in world.files().items() if not k.startswith(ours)} == {
        k: v for k, v in before[0].items() if not k.startswith(ours)
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", BESIDE)
def test_a_failure_of_any_command_is_repaired_by_a_second_run(case: str, tmp_path: Path) -> None:
    commands = (GOLDEN / f"{case}.log").read_text().splitlines()
    for number in places(len(commands), len(case)):
        command = commands[number - 1]
        home = tmp_path / str(number)
        home.mkdir()
        world = beside(case, home)
        script = script_for(case, world)
        world.save(fail_at=number, fail_after=bool(number % 2))
        first = system(world, script, "--yes")
        # a module that does not load yet is what a reboot is for
        assert first.code in (0, 10) if command == "modprobe nvidia" else first.code not in (0, 10, 11), first.output
        world.save(fail_at=None)
        if first.code == 10:
            world.reboot()
        second = system(world, script, "--yes")
        assert second.code == 0, f"{number}: {first.output}\n---\n{second.output}"


def test_a_fabric_manager_of_another_version_is_never_installed(tmp_path: Path) -> None:
    world = beside("fabric", tmp_path)
    world.offer(packages("nvidia-fabricmanager-580", version="580.99.01-1", services=["nvidia-fabricmanager"]))
    ended = system(world, script_for("fabric", world), "--yes")
    assert ended.code == 11, ended.output
    assert "no fabric manager (nvidia-fabricmanager-580) of the driver's version 580.100.01" in ended.output
    assert "nvidia-fabricmanager-580" not in world.installed


def test_containers_that_run_are_not_stopped(tmp_path: Path) -> None:
    world = beside("container-toolkit", tmp_path)
    world.save(containers="0f1e2d3c4b5a\n")
    ended = system(world, script_for("container-toolkit", world), "--yes")
    assert ended.code == 0, ended.output
    assert "containers are running, which a restart would stop" in ended.output
    assert not [line for line in world.log() if "restart" in line]


def test_dockers_own_configuration_comes_back(tmp_path: Path) -> None:
    world = beside("container-toolkit", tmp_path)
    world.put("etc/docker/daemon.json", '{"log-driver": "journald"}\n')
    script = script_for("container-toolkit", world)
    assert system(world, script, "--yes").code == 0
    assert "nvidia-container-runtime" in (world.root / "etc/docker/daemon.json").read_text()
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert (world.root / "etc/docker/daemon.json").read_text() == '{"log-driver": "journald"}\n'


def test_podman_gets_a_description_of_the_gpus_of_the_running_driver(tmp_path: Path) -> None:
    world = beside("container-toolkit", tmp_path)
    script = script_for("container-toolkit", world, engine="podman")
    assert system(world, script, "--yes").code == 0
    assert not [line for line in world.log() if "cdi" in line]  # no driver runs: there is nothing to describe
    world.put("sys/module/nvidia/version", "580.100.01\n")
    world.put("etc/cdi/.keep", "")
    assert system(world, script.replace("ec_bind_driver ''", "ec_bind_driver 580.100.01"), "--yes").code == 0
    assert "cdiVersion" in (world.root / "etc/cdi/nvidia.yaml").read_text()


def test_an_engine_that_is_not_there_is_said_before_any_change(tmp_path: Path) -> None:
    world = beside("container-toolkit", tmp_path)
    script = script_for("container-toolkit", world, engine="containerd")
    if Path("/usr/bin/containerd").exists():
        pytest.skip("this machine has containerd")
    ended = system(world, script, "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "containerd is not installed here" in ended.output


def test_a_toolkit_that_would_bring_a_driver_is_refused(tmp_path: Path) -> None:
    world = beside("cuda-toolkit", tmp_path)
    world.offer(packages("cuda-drivers", version="610.1", **{"from": "toolkit"}))
    extra = {"from": "toolkit", "depends": ["cuda-drivers"]}
    world.offer(packages("cuda-toolkit-12-6", version="12.6.3-1", **extra))
    ended = system(world, script_for("cuda-toolkit", world), "--yes")
    assert ended.code == 11, ended.output
    assert "would bring a driver" in ended.output
    assert "cuda-toolkit-12-6" not in world.installed


def test_a_toolkit_that_the_archive_has_not_is_refused(tmp_path: Path) -> None:
    world = beside("cuda-toolkit", tmp_path)
    ended = system(world, script_for("cuda-toolkit", world, toolkit="11.7"), "--yes")
    assert ended.code == 11, ended.output
    assert "no archive here has cuda-toolkit-11-7" in ended.output


def test_inside_wsl_the_toolkit_is_that_of_wsl_and_no_driver_can_come(tmp_path: Path) -> None:
    world = beside("cuda-toolkit", tmp_path)
    world.put("proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n")
    script = script_for("cuda-toolkit", world, wsl=True)
    assert system(world, script, "--yes").code == 0
    archive = (world.root / "etc/apt/sources.list.d/envcheck-cuda-toolkit.sources").read_text()
    assert "/cuda/repos/wsl-ubuntu/x86_64\n" in archive
    pins = (world.root / "etc/apt/preferences.d/00-envcheck-cuda-toolkit").read_text()
    assert re.search(r"Package: nvidia-\* .*cuda-drivers.*\nPin: .*\nPin-Priority: -1\n", pins)
    assert "ec_driver_preflight 5" not in script


@pytest.mark.parametrize("case", ["driver-file-deb", "driver-file-run"])
def test_a_file_of_another_sum_is_not_used(case: str, tmp_path: Path) -> None:
    world = beside(case, tmp_path)
    script = script_for(case, world, file_sha256="a" * 64)
    ended = system(world, script, "--yes")
    assert ended.code == 1, ended.output
    assert "SHA-256 differs" in ended.output
    assert not list(world.var.rglob("driver-file*"))
    assert not [line for line in world.log() if "install" in line]


def test_a_run_file_is_never_laid_over_packages(tmp_path: Path) -> None:
    world = beside("driver-file-run", tmp_path)
    world.install({"nvidia-dkms-580-open": "580.1"})
    ended = system(world, script_for("driver-file-run", world), "--yes")
    assert (ended.code, world.log()) == (11, [])
    assert "nvidia-dkms-580-open" in ended.output


def test_persistence_starts_with_every_boot_where_the_driver_brings_its_service(tmp_path: Path) -> None:
    world = make("debian-archive", tmp_path)
    service = {"services": ["nvidia-persistenced"], "from": "non-free"}
    world.offer(packages("nvidia-persistenced", version="535.100.01-1", **service))
    script = script_of(world, job_of("debian-archive"))
    assert system(world, script, "--yes").code == 0
    assert world.load()["services"] == {"nvidia-persistenced": [True, True]}
    assert world.run(script, "--stage", "undo", "--yes").code == 0
    assert "systemctl disable --now -- nvidia-persistenced" in world.log()
