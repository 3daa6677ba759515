"""The planner's decisions, one by one, on the real matrix."""

from __future__ import annotations

import dataclasses

import pytest
from planning import MATRIX, RECIPES, chosen, machine, plan

from envcheck.errors import Undetermined, UsageError
from envcheck.model import OS, Driver, Gpu, Machine, Python, Request
from envcheck.plan import all_candidates, make_plan


@pytest.mark.parametrize(
    ("gpu", "driver", "torch", "expected"),
    [
        ("RTX 4090", "535.104.05", "2.0", "2.0.1+cu118"),  # toolkit-exact cu118 over PyPI's cu117
        ("RTX 4090", "535.104.05", "latest", "2.14.1+cu126"),  # 2.15 has no CUDA 12 build
        ("RTX 4090", "580.95.05", "latest", "2.15.0+cu132"),
        ("RTX 5090", "570.86.10", "latest", "2.13.0+cu129"),  # the unlisted build is the only one of 2.13
        ("RTX 5090", "570.86.10", "2.11", "2.11.0+cu128"),  # a listed build before the unlisted one
        ("Tesla V100-SXM2-32GB", "580.95.05", "latest", "2.14.1+cu126"),
        ("Tesla K80", "470.256.02", "latest", "2.7.1+cu118"),
        ("GTX 980", "450.80.02", "latest", "2.7.1+cu118"),
        ("B200", "580.95.05", "2.8", "2.8.0+cu129"),
    ],
)
def test_which_build(gpu: str, driver: str, torch: str, expected: str) -> None:
    answer = plan(machine(gpu, driver=driver), torch=torch)
    assert chosen(answer) == expected
    assert answer.driver is not None
    assert answer.driver.action == "keep"


def test_every_decision_has_its_sentence_and_numpy_is_pinned_for_old_torch() -> None:
    answer = plan(machine("RTX 3090", os="debian-12", driver="550.163.01"), torch="2.0", cuda="cu117")
    assert chosen(answer) == "2.0.1+cu117"
    assert answer.torch is not None
    assert answer.torch.index_url is None  # PyPI's own wheel is this build
    assert dict(answer.companions) == {"torchvision": "0.15.2", "torchaudio": "2.0.2"}
    assert answer.constraints == ("numpy<2",)
    text = " ".join(answer.reasons)
    for word in ("torch 2.0.1", "toolkit-exact", "binary", "Python 3.11", "numpy<2", "PyPI"):
        assert word in text or word == "binary"
    install = next(s for s in answer.steps if s.id == "torch")
    assert "numpy<2" in install.argv


def test_driver_is_changed_only_if_nothing_runs_without() -> None:
    kept = plan(machine("RTX 3090", driver="470.256.02"))
    assert kept.driver is not None
    assert (chosen(kept), kept.driver.action) == ("2.7.1+cu118", "keep")
    changed = plan(machine("RTX 3090", driver="470.256.02"), torch="2.15")
    assert changed.driver is not None
    assert (chosen(changed), changed.driver.action, changed.driver.target) == ("2.15.0+cu132", "upgrade", "580")
    refused = plan(machine("RTX 3090", driver="470.256.02"), torch="2.15", driver_change=False)
    assert not refused.satisfiable
    assert any("--no-driver-change" in c for c in refused.conflicts)
    assert refused.alternatives[0].change == "--driver-change"


@pytest.mark.parametrize(
    ("gpu", "driver", "action", "target", "module"),
    [
        ("RTX 4090", None, "install", "580", "open"),
        ("GTX 1080 Ti", None, "install", "580", "proprietary"),
        ("GTX 1080 Ti", "590.48.01", "downgrade", "580", "proprietary"),  # 590 dropped Pascal
        ("Tesla K80", None, "install", "470", "proprietary"),
        ("RTX 5090", "550.163.01", "upgrade", "580", "open"),
    ],
)
def test_driver_action(gpu: str, driver: str | None, action: str, target: str, module: str) -> None:
    choice = plan(machine(gpu, driver=driver)).driver
    assert choice is not None
    assert (choice.action, choice.target, choice.module) == (action, target, module)


def test_no_driver_serves_volta_and_blackwell_in_one_host() -> None:
    answer = plan(machine("Tesla V100-SXM2-32GB", "RTX 5090", driver="580.95.05"))
    assert not answer.satisfiable
    assert len([c for c in answer.conflicts if "kernel module only" in c]) == 2
    windows = plan(machine("TITAN V", "RTX 5090", os="windows-11", driver="581.00"))
    assert windows.satisfiable or "2.10" in str(windows.conflicts)  # Windows has one flavour for all


def test_module_of_the_wrong_flavour_is_replaced() -> None:
    subject = machine("RTX 5090", driver="580.95.05")
    wrong = dataclasses.replace(subject, driver=dataclasses.replace(subject.driver, module="proprietary"))
    choice = plan(wrong).driver
    assert choice is not None
    assert (choice.action, choice.module) == ("replace", "open")


def test_python_is_supplied_where_no_wheel_fits() -> None:
    answer = plan(machine("RTX 4090", os="ubuntu-24.04", driver="535.104.05"), torch="2.0")
    assert answer.satisfiable
    assert answer.python is not None
    assert (answer.python.version, answer.python.supply) == ("3.11", "uv")
    on_path = dataclasses.replace(
        machine("RTX 4090", os="ubuntu-24.04", driver="535.104.05"),
        pythons=(Python(version="3.10.4", executable="/usr/bin/python3.10"),),
    )
    local = plan(on_path, torch="2.0").python
    assert local is not None
    assert (local.version, local.supply) == ("3.10", "/usr/bin/python3.10")


def test_python_that_was_asked_for_is_never_replaced() -> None:
    subject = machine("RTX 4090", os="ubuntu-24.04", driver="535.104.05", python_version="3.12")
    answer = plan(subject, torch="2.0", python_fixed=True)
    assert not answer.satisfiable
    assert any("Python 3.12" in c for c in answer.conflicts)
    assert any(a.change.startswith("--python-version 3.11") for a in answer.alternatives)


def test_no_gpu_means_a_cpu_plan_that_says_so() -> None:
    answer = plan(machine("none"))
    assert answer.torch is not None
    assert (answer.torch.tag, answer.torch.cuda) == ("cpu", None)
    assert "no NVIDIA GPU" in answer.reasons[0]
    assert answer.driver is not None
    assert answer.driver.action == "none"


@pytest.mark.parametrize(
    "subject",
    [
        Machine(os=OS(id="debian", version="12", arch="x86_64", platform="linux", container="docker")),
        Machine(os=OS(arch="x86_64", platform="linux"), problems={"gpus": "sysfs cannot be read"}),
        Machine(os=OS(arch="x86_64", platform="linux"), tools={"sbatch": "/usr/bin/sbatch"}),
        Machine(os=OS(arch="x86_64", platform="linux"), gpus=(Gpu(name="Graphics Device"),)),
    ],
)
def test_where_a_gpu_may_be_nothing_is_guessed(subject: Machine) -> None:
    with pytest.raises(Undetermined, match="--gpu"):
        make_plan(subject, MATRIX, RECIPES, Request())


def test_a_container_never_gets_a_driver_step() -> None:
    answer = plan(machine("RTX 4090", os="ubuntu-22.04", container="docker"))
    assert answer.satisfiable
    assert answer.driver is not None
    assert answer.driver.action == "none"
    assert all(s.stage != "system" or s.id.startswith("python") for s in answer.steps)
    assert any("the host brings the driver" in w for w in answer.warnings)
    old = plan(machine("RTX 5090", driver="535.104.05", container="docker"))
    assert not old.satisfiable
    assert any("the host's" in c for c in old.conflicts)


def test_wsl_never_gets_a_linux_driver() -> None:
    answer = plan(machine("RTX 4070 Laptop GPU", os="wsl-ubuntu-22.04"))
    step = next(s for s in answer.steps if s.id == "driver-by-hand")
    assert step.argv == ()
    assert "Windows" in step.title
    fine = plan(machine("RTX 4070 Laptop GPU", os="wsl-ubuntu-22.04", driver="560.94"))
    assert fine.satisfiable
    assert all(s.root is False or "venv" in s.id for s in fine.steps)


def test_an_image_that_owns_its_driver_is_left_alone() -> None:
    subject = machine("RTX 5090", driver="535.104.05")
    owned = dataclasses.replace(subject, os=dataclasses.replace(subject.os, driver_owner="dgx-os"))
    answer = plan(owned)
    assert not answer.satisfiable
    assert any("the image's" in c for c in answer.conflicts)


def test_windows_takes_pytorchs_index_since_pypi_is_cpu_only_there() -> None:
    answer = plan(machine("RTX 4090", os="windows-11", driver="560.94"), torch="2.0.1", cuda="cu117")
    assert answer.torch is not None
    assert answer.torch.index_url is not None
    assert answer.torch.index_url.endswith("/cu117")


def test_macos_and_sbsa_and_jetson_are_told_apart() -> None:
    assert chosen(plan(machine("none", os="macos-14"))) == "2.15.0+cpu"
    sbsa = plan(machine("GH200", os="ubuntu-22.04", arch="aarch64", driver="580.95.05"))
    assert chosen(sbsa) == "2.15.0+cu132"
    orin = Machine(
        os=OS(id="ubuntu", version="22.04", arch="aarch64", platform="linux", jetson="36.4.0", glibc="2.35"),
        driver=Driver(version="540.4.0", cuda="12.6", state="ok"),
        gpus=(Gpu(name="Orin", compute_capability="8.7"),),
        python=Python(version="3.10.12", executable="python3"),
    )
    refused = plan(orin)
    assert "jetson-aarch64" in refused.conflicts[0]
    assert [a.change for a in refused.alternatives] == ["--manager conda"]
    assert chosen(plan(orin, manager="conda")) == "2.13.0+cu129"


def test_glibc_and_musl() -> None:
    old = plan(machine("RTX 3090", os="ubuntu-18.04", driver="580.95.05"))
    assert old.torch is not None
    assert old.torch.version == "2.6.0"
    answer = plan(machine("RTX 3090", os="ubuntu-18.04", driver="580.95.05"), torch="2.8")
    assert any("glibc 2.27" in c for c in answer.conflicts)


def test_lives_that_end_are_said() -> None:
    answer = plan(machine("Tesla V100-SXM2-32GB", driver="580.95.05"))
    assert any("last release" in w and "2.14.1" in w for w in answer.warnings)
    assert any("2028-06" in w for w in answer.warnings)


@pytest.mark.parametrize("word", ["9.9", "abc", "2.0.9", "", "1.13", "==x"])
def test_unknown_torch_is_a_usage_error_that_helps(word: str) -> None:
    with pytest.raises(UsageError, match="torch"):
        plan(machine("RTX 4090", driver="535.104.05"), torch=word)


def test_unknown_variant_and_branch_are_usage_errors() -> None:
    subject = machine("RTX 4090", driver="390.157")
    with pytest.raises(UsageError, match="cu118"):
        plan(subject, cuda="cu999")
    with pytest.raises(UsageError, match="580"):
        plan(subject, driver_branch="123")


def test_all_candidates_are_judged_and_ordered() -> None:
    subject = machine("RTX 5090", driver="570.86.10")
    verdicts = all_candidates(subject, MATRIX, RECIPES, Request(torch=">=2.6"))
    running = [v for v in verdicts if v.code is None]
    assert verdicts[: len(running)] == running
    assert running[0].build.torch == "2.13.0"
    assert {v.code for v in verdicts if v.code} >= {"no-kernel-for-gpu", "driver-too-old"}


def test_a_local_version_names_its_variant() -> None:
    answer = plan(machine("RTX 4090", driver="580.95.05"), torch="2.7.1+cu126")
    assert chosen(answer) == "2.7.1+cu126"


def test_the_proprietary_module_is_taken_where_the_archive_has_no_open_one() -> None:
    answer = plan(machine("RTX 4090", os="debian-12"), driver_branch="535")
    assert answer.driver is not None
    assert answer.driver.module == "proprietary"
    assert "nvidia-kernel-dkms" in {word for step in answer.steps for word in step.argv}
    both = plan(machine("RTX 4090", os="debian-13"))
    assert both.driver is not None
    assert both.driver.module == "open"  # NVIDIA's repository has both
