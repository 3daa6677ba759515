"""What the planner does about the driver: whose it is, which recipe and flavour, what stands beside it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from click.testing import CliRunner
from planning import RECIPES, machine, plan

from envcheck.cli import cli
from envcheck.detect.os import _owner
from envcheck.errors import UsageError
from envcheck.host import RecordedHost
from envcheck.model import Machine, Plan
from envcheck.plan.target import OWNERS, VGPU

SUM = "0123456789abcdef" * 4
RUN = "/media/usb stick/NVIDIA-Linux-x86_64-580.95.05.run"
DEB = "/media/usb/nvidia-driver-local-repo-ubuntu2404-580.95.05_1.0-1_amd64.deb"
RPM = "/media/usb/nvidia-driver-local-repo-580.95.05-1.0-1.x86_64.rpm"


def steps(answer: Plan) -> list[str]:
    return [step.id for step in answer.steps if step.stage == "system"]


def with_facts(subject: Machine, **facts: Any) -> Machine:
    return dataclasses.replace(subject, facts={**subject.facts, **facts})


@pytest.mark.parametrize("owner", sorted(OWNERS))
def test_a_driver_that_an_image_owns_is_not_touched_and_its_owner_is_named(owner: str) -> None:
    subject = machine("RTX 3090", driver="470.256.02")
    name = "NVIDIA A10-8Q" if owner == "vgpu" else "NVIDIA GeForce RTX 3090"
    subject = dataclasses.replace(
        subject,
        os=dataclasses.replace(subject.os, driver_owner=None if owner == "vgpu" else owner),
        gpus=tuple(dataclasses.replace(gpu, name=name) for gpu in subject.gpus),
    )
    answer = plan(subject, torch="2.9")
    assert not answer.satisfiable
    assert any(OWNERS[owner] in sentence for sentence in answer.conflicts)


@pytest.mark.parametrize(
    ("name", "guest"),
    [
        ("NVIDIA A10-8Q", True),
        ("GRID T4-16C", True),
        ("GRID A100-1-5C MIG 1g.5gb", True),
        ("NVIDIA A100-SXM4-80GB", False),
        ("Tesla V100-PCIE-32GB", False),
        ("NVIDIA H100 80GB HBM3", False),
        ("NVIDIA GeForce RTX 4090", False),
    ],
)
def test_a_vgpu_is_told_by_its_name(name: str, guest: bool) -> None:
    assert bool(VGPU.fullmatch(name)) is guest


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/opt/aws/dlami", "aws-dlami"),
        ("/opt/deeplearning/driver-version.sh", "gcp-dlvm"),
        ("/opt/google/cuda-installer", "gcp-cuda-installer"),
        ("/run/ostree-booted", "ostree"),
    ],
)
def test_images_of_the_clouds_are_told_by_their_marks(path: str, owner: str) -> None:
    assert _owner(RecordedHost({"exists": {path: True}}), "ubuntu") == owner
    assert owner in OWNERS


def test_switches_ask_for_the_fabric_manager_of_the_same_source() -> None:
    subject = with_facts(machine("H100 SXM5:8", os="ubuntu-24.04"), pci={"readable": True, "nvswitches": 4})
    answer = plan(subject)
    assert {"fabric-manager", "fabric-service"} <= set(steps(answer))
    (fabric,) = [step for step in answer.steps if step.id == "fabric-manager"]
    assert fabric.argv == ("ec_fabric_install", "nvidia-utils-580-server", "nvidia-fabricmanager-580")
    assert "fabric-manager" not in steps(plan(machine("H100 SXM5:8", os="ubuntu-24.04")))


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        ("H100 SXM5:8", True),
        ("A100 SXM4 80GB:8", True),
        ("B200:8", True),
        ("H100 SXM5:4", False),
        ("H100 PCIe:8", False),
    ],
)
def test_a_plan_made_elsewhere_says_that_eight_sxm_cards_want_a_fabric_manager(cards: str, said: bool) -> None:
    subject = machine(cards, os="ubuntu-24.04")
    assert any("fabric manager" in text for text in plan(subject).warnings) is said
    looked_at = with_facts(subject, pci={"readable": True, "nvswitches": 4 if said else 0})
    assert not any("fabric manager" in text for text in plan(looked_at).warnings)


@pytest.mark.parametrize("system", ["ubuntu-24.04", "debian-12", "rocky-9.7"])
def test_a_driver_that_stays_gets_its_fabric_manager_too(system: str) -> None:
    bare = machine("H100 SXM5:8", os=system, driver="580.95.05")
    assert not [step for step in steps(plan(bare)) if step.startswith("fabric")]
    subject = with_facts(bare, pci={"readable": True, "nvswitches": 4})
    answer = plan(subject)
    assert answer.driver is not None
    assert answer.driver.action == "keep"
    assert steps(answer)[-2:] == ["fabric-manager", "fabric-service"]
    (fabric,) = [step for step in answer.steps if step.id == "fabric-manager"]
    assert fabric.argv[:2] == ("ec_fabric_install", "loaded")
    off = with_facts(subject, fabric_manager={"active": False, "state": "inactive", "version": None})
    assert "fabric-service" in steps(plan(off))
    for version, needed in (("580.95.05", False), (None, False), ("580.82.07", True)):
        on = with_facts(subject, fabric_manager={"active": True, "state": "active", "version": version})
        assert ("fabric-manager" in steps(plan(on))) is needed


def test_where_the_driver_is_not_the_machines_own_its_fabric_manager_is_not_either() -> None:
    subject = with_facts(machine("H100 SXM5:8", os="ubuntu-24.04", driver="580.95.05"), pci={"nvswitches": 4})
    owned = dataclasses.replace(subject, os=dataclasses.replace(subject.os, driver_owner="dgx-os"))
    assert not [step for step in steps(plan(owned)) if step.startswith("fabric")]
    arch = with_facts(machine("H100 SXM5:8", os="arch", driver="580.95.05"), pci={"nvswitches": 4})
    assert "fabric-by-hand" in steps(plan(arch))


def test_a_source_without_a_fabric_manager_says_it() -> None:
    subject = with_facts(machine("A100-SXM4-80GB:8", os="debian-12"), pci={"readable": True, "nvswitches": 6})
    answer = plan(subject, driver_branch="535")
    assert "fabric-by-hand" in steps(answer)


def test_b200_boards_bring_their_subnet_manager() -> None:
    subject = machine("B200:8", os="ubuntu-24.04")
    gpus = tuple(dataclasses.replace(gpu, pci_id="10de:2901") for gpu in subject.gpus)
    answer = plan(dataclasses.replace(subject, gpus=gpus), driver_branch="595")
    assert {"fabric-manager", "fabric-nvlsm", "fabric-umad"} <= set(steps(answer))


def test_without_a_known_key_the_repository_is_not_added_and_that_is_said() -> None:
    subject = machine("GH200 480GB", os="ubuntu-24.04", arch="aarch64")
    (by_hand,) = [s for s in plan(subject, driver_branch="595").steps if s.id == "driver-by-hand"]
    assert "only where it knows the SHA-256 of its key" in by_hand.why
    assert not by_hand.argv


def test_in_wsl_there_is_no_step_but_that_on_windows() -> None:
    answer = plan(machine("RTX 4090", os="wsl-ubuntu-22.04", driver="470.76"))
    (step,) = [s for s in answer.steps if s.id == "driver-by-hand"]
    assert "on the Windows host" in step.title
    assert "wsl --update" in step.title
    assert not [s for s in answer.steps if "nvidia" in " ".join(s.argv)]


def test_the_toolkit_comes_only_when_asked_for_and_brings_no_driver_and_no_cudnn() -> None:
    subject = machine("RTX 4090", os="ubuntu-24.04", driver="580.95.05")
    assert "cuda-toolkit" not in steps(plan(subject))
    answer = plan(subject, toolkit=True)
    assert answer.torch is not None
    assert answer.torch.cuda is not None
    (step,) = [s for s in answer.steps if s.id == "cuda-toolkit"]
    assert step.argv[-1] == "cuda-toolkit-" + answer.torch.cuda.replace(".", "-")
    words = {word for s in answer.steps for word in s.argv if s.stage == "system"}
    assert not [word for word in words if "cudnn" in word or word in ("cuda", "cuda-drivers", "nvidia-open")]


def test_in_wsl_the_toolkit_is_from_the_repository_for_wsl() -> None:
    answer = plan(machine("RTX 4090", os="wsl-ubuntu-22.04", driver="581.15"), toolkit=True)
    (archive,) = [s for s in answer.steps if s.id == "toolkit-archive"]
    assert any("/repos/wsl-ubuntu/" in word for word in archive.argv)
    assert not [s for s in answer.steps if s.id.startswith("driver")]


@pytest.mark.parametrize(
    ("subject", "request_", "words"),
    [
        ({"os": "ubuntu-22.04"}, {"cuda": "cpu", "toolkit": True}, "has no CUDA"),
        ({"os": "windows-11"}, {"toolkit": True}, "writes steps for Linux"),
        ({"os": "windows-11"}, {"container_toolkit": "docker"}, "for Linux hosts"),
        ({"os": "ubuntu-22.04", "container": "docker"}, {"container_toolkit": "docker"}, "it belongs to the host"),
    ],
)
def test_what_has_no_place_here_is_a_usage_error(subject: dict[str, Any], request_: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan(machine("RTX 4090", driver="580.95.05", **subject), **request_)


def test_systems_without_a_recipe_get_the_container_toolkit_by_hand() -> None:
    answer = plan(machine("RTX 4090", os="arch", driver="580.95.05"), container_toolkit="docker")
    assert "container-toolkit" in " ".join(steps(answer))


@pytest.mark.parametrize(
    ("os", "file", "recipe"),
    [
        ("ubuntu-24.04", RUN, "driver-file-run-apt"),
        ("ubuntu-24.04", DEB, "driver-file-deb"),
        ("rhel-9.6", RPM, "driver-file-rpm"),
        ("fedora-43", RPM, "driver-file-rpm"),
        ("amzn-2023", RPM, "driver-file-rpm"),
        ("sles-15.6", RUN, "driver-file-run-zypper"),
        ("rhel-9.6", RUN, "driver-file-run-dnf"),
        ("fedora-43", RUN, "driver-file-run-dnf"),
        ("amzn-2023", RUN, "driver-file-run-dnf"),
    ],
)
def test_a_file_of_the_users_is_taken_instead_of_a_network(os: str, file: str, recipe: str) -> None:
    answer = plan(machine("RTX 4090", os=os), driver_branch="580", driver_file=file, driver_sha256=SUM)
    (keep,) = [s for s in answer.steps if s.id == "driver-file"]
    assert keep.argv[:3] == ("ec_keep_file", file, SUM)
    assert keep.source == RECIPES.by_id[recipe].source
    assert not [s for s in answer.steps if s.stage == "system" and s.argv and s.argv[0] == "ec_fetch"]


def test_offline_says_that_the_driver_is_not_carried_along() -> None:
    subject = machine("RTX 4090", os="ubuntu-24.04")
    assert any("--driver-file FILE" in text for text in plan(subject, offline="/wheels").warnings)
    quiet = plan(subject, offline="/wheels", driver_branch="580", driver_file=DEB, driver_sha256=SUM)
    assert not any("--driver-file FILE" in text for text in quiet.warnings)
    kept = plan(machine("RTX 4090", os="ubuntu-24.04", driver="580.95.05"), offline="/wheels")
    assert not any("--driver-file FILE" in text for text in kept.warnings)


def test_a_file_that_this_system_cannot_use_is_said() -> None:
    answer = plan(machine("RTX 4090", os="arch"), driver_branch="580", driver_file=DEB, driver_sha256=SUM)
    (by_hand,) = [s for s in answer.steps if s.id == "driver-by-hand"]
    assert "envcheck cannot use nvidia-driver-local-repo-ubuntu2404-580.95.05_1.0-1_amd64.deb on arch" in by_hand.why


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--driver-file", RUN], "go together"),
        (["--driver-sha256", SUM], "go together"),
        (["--driver-file", RUN, "--driver-sha256", "12"], "is no SHA-256"),
        (["--driver-file", "x.run", "--driver-sha256", SUM], "the whole path"),
        (["--driver-file", "/x/$(touch pwned)-580.95.05.run", "--driver-sha256", SUM], "the whole path"),
        (["--driver-file", RUN, "--driver-sha256", SUM, "--driver-branch", "535"], "contradict each other"),
        (["--driver-file", RUN, "--driver-sha256", SUM, "--no-driver-change"], "forbids it"),
    ],
)
def test_a_driver_file_is_checked_before_it_is_planned_with(words: list[str], says: str) -> None:
    target = ["plan", "--os", "ubuntu-24.04", "--gpu", "NVIDIA GeForce RTX 4090"]
    ended = CliRunner().invoke(cli, [*target, *words])
    assert isinstance(ended.exception, UsageError)  # exit code 2: tests/test_cli.py
    assert says in str(ended.exception)


@pytest.mark.parametrize("branch", ["580", "595"])
def test_b200_boards_take_their_driver_where_the_subnet_manager_is(branch: str) -> None:
    """Canonical's archive has the fabric manager and no nvlsm, without which it does not start on these boards."""
    subject = machine("B200:8", os="ubuntu-24.04")
    gpus = tuple(dataclasses.replace(gpu, pci_id="10de:2901") for gpu in subject.gpus)
    answer = plan(dataclasses.replace(subject, gpus=gpus), driver_branch=branch)
    assert {"driver-repository", "fabric-nvlsm"} <= set(steps(answer)), steps(answer)
    assert "driver-repository" not in steps(plan(subject, driver_branch=branch))
