"""The commands that doctor proposes: of this manager, this system and this version, and no more than is needed."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_faults import GH200, JETSON, SITE, VENV, WINDOWS, WORKSTATION, Raw, both, packages, put, says, torch, unloaded

from envcheck.checks import Finding, run_checks
from envcheck.detect import snapshot
from envcheck.detect.pasted import parse_report
from envcheck.identify import identify
from envcheck.matrix import load
from envcheck.model import Step
from envcheck.report.clean import command

MACHINES = Path(__file__).parent / "machines"
MATRIX = load(None)
CONDA = "ubuntu-22.04-rtx3090-535.104.05-conda"
PREFIX = "/home/user/miniconda3/envs/train"
Change = Callable[[Raw], None]


@functools.cache
def raw_of(name: str) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads((MACHINES / name / "snapshot.json").read_text(encoding="utf-8"))["raw"]
    return raw


def finding(name: str, code: str, *changes: Change) -> tuple[Finding, Callable[[Step], str]]:
    raw = copy.deepcopy(raw_of(name))
    raw["full"] = True
    both(*changes)(raw)
    report = run_checks(identify(snapshot.replay(raw), MATRIX), MATRIX)
    assert [r.summary for r in report.results if r.status == "crash"] == []
    found = next((f for f in report.findings if f.code == code), None)
    assert found is not None, [f.code for f in report.findings]
    return found, lambda step: command(step, report.machine)


def lines(name: str, code: str, *changes: Change) -> list[str]:
    found, shown = finding(name, code, *changes)
    return [shown(s) if s.argv else f"- {s.title}" for s in found.fix]


def made_by(installer: str, config: str = "home = /usr/bin\n", lock: str = "", version: str = "2.6.0+cpu") -> Change:
    """torch in the venv was installed by this program."""
    files = {f"{SITE}/torch-{version}.dist-info/INSTALLER": f"{installer}\n", f"{VENV}/pyvenv.cfg": config}
    return put(files=files, exists={f"/home/user/train/{lock}.lock": True} if lock else {})


CPU = torch("2.6.0+cpu", None)
PY = f"{VENV}/bin/python"
CU124 = "https://download.pytorch.org/whl/cu124"
VISION = packages("torchvision-0.21.0+cpu.dist-info", without="torchvision")


def test_pip_swaps_the_build_and_nothing_else() -> None:
    assert lines(WORKSTATION, "cpu-only-torch", CPU, VISION, made_by("pip")) == [
        f"{PY} -m pip uninstall -y torch torchvision",
        f"{PY} -m pip install torch==2.6.0+cu124 torchvision==0.21.0 --index-url {CU124}",
    ]


def test_uv_by_its_own_command() -> None:
    assert lines(WORKSTATION, "cpu-only-torch", CPU, VISION, made_by("uv", "uv = 0.5.11\n")) == [
        f"uv pip uninstall --python {PY} torch torchvision",
        f"uv pip install --python {PY} torch==2.6.0+cu124 torchvision==0.21.0 --index-url {CU124}",
    ]


def test_uv_where_a_project_locks_torch() -> None:
    told = lines(WORKSTATION, "cpu-only-torch", CPU, made_by("uv", "uv = 0.5.11\n", lock="uv"))
    assert told[:2] == [
        f"uv pip uninstall --python {PY} torch",
        f"uv pip install --python {PY} torch==2.6.0+cu124 --index-url {CU124}",
    ]
    assert "uv.lock" in told[2] and "envcheck plan --manager uv --format pyproject" in told[2]


def test_poetry_names_the_index_and_locks() -> None:
    assert lines(WORKSTATION, "cpu-only-torch", CPU, VISION, made_by("Poetry 1.8.3", lock="poetry")) == [
        f"poetry --directory=/home/user/train source add --priority=explicit pytorch-cu124 {CU124}",
        "poetry --directory=/home/user/train add --source pytorch-cu124 torch==2.6.0+cu124 torchvision==0.21.0",
    ]


def conda_env(torch_build: str, **tools: str) -> Change:
    names = [n for n in raw_of(CONDA)["dirs"][f"{PREFIX}/conda-meta"] if not n.startswith("pytorch")]
    site = f"{PREFIX}/lib/python3.8/site-packages"
    return both(
        put(dirs={f"{PREFIX}/conda-meta": [*names, f"pytorch-{torch_build}.json"]}, which=tools),
        put(files={f"{site}/torch/version.py": "__version__ = '2.0.1'\ncuda: Optional[str] = None\n"}),
    )


@pytest.mark.parametrize("tool", ["conda", "mamba", "micromamba"])
def test_conda_and_its_family(tool: str) -> None:
    which = dict.fromkeys(("conda", "mamba", "micromamba")) | {tool: f"/opt/bin/{tool}"}
    (line,) = lines(CONDA, "cpu-only-torch", conda_env("2.0.1-py3.8_cpu_0"), put(which=which))
    assert line.startswith(f"{tool} install -y -p {PREFIX} pytorch==2.0.1 torchvision==0.15.2 torchaudio==2.0.2 ")
    assert " pytorch-cuda=11.8 " in line and " -c pytorch -c nvidia" in line


def test_pixi_changes_its_manifest() -> None:
    marker = '{"manifest_path": "/home/user/train/pixi.toml", "environment_name": "default"}'
    pixi = put(files={f"{PREFIX}/conda-meta/pixi": marker})
    told = lines(CONDA, "cpu-only-torch", conda_env("2.0.1-py3.8_cpu_0"), pixi)
    assert 'cuda = "11"' in told[0]
    assert told[1].startswith("pixi add --manifest-path=/home/user/train/pixi.toml pytorch==2.0.1 ")


def test_a_wheel_in_a_conda_environment_is_changed_by_pip() -> None:
    site = f"{PREFIX}/lib/python3.8/site-packages"
    wheel = put(
        dirs={f"{PREFIX}/conda-meta": ["numpy-1.24.3-py38.json"], site: ["torch", "torch-2.0.1+cpu.dist-info"]},
        files={
            f"{site}/torch/version.py": "__version__ = '2.0.1+cpu'\ncuda = None\n",
            f"{site}/torch-2.0.1+cpu.dist-info/INSTALLER": "pip\n",
        },
    )
    assert lines(CONDA, "cpu-only-torch", wheel) == [
        f"{PREFIX}/bin/python -m pip uninstall -y torch",
        f"{PREFIX}/bin/python -m pip install torch==2.0.1+cu118 'numpy<2' "
        "--index-url https://download.pytorch.org/whl/cu118",
    ]


def test_a_python_of_the_distribution_is_changed_past_its_mark_or_left_alone() -> None:
    described = json.dumps(
        {
            "version": "3.10.12",
            "executable": "/usr/bin/python3",
            "prefix": "/usr",
            "base_prefix": "/usr",
            "externally_managed": True,
            "path": [SITE],
        }
    )
    system = says(f"{VENV}/bin/python", "-c", "describe", stdout=described)
    told = lines(WORKSTATION, "cpu-only-torch", CPU, system)
    assert told[1].startswith("/usr/bin/python3 -m pip install --break-system-packages torch==2.6.0+cu124 ")
    nothing = put(dirs={SITE: ["numpy-1.26.4.dist-info"]})
    no_gpu = put(dirs={"/sys/bus/pci/devices": []})
    told = lines(WORKSTATION, "no-nvidia-driver", system, nothing, no_gpu, unloaded, put(dirs={LIBRARIES: []}), NO_NVML)
    assert told[0] == "/usr/bin/python3 -m venv .venv"
    assert told[-1].startswith(".venv/bin/python -m pip install torch==")


LIBRARIES = "/usr/lib/x86_64-linux-gnu"
NO_NVML = says("envcheck.nvml", stdout='{"error": {"code": 12, "name": "LIBRARY_NOT_FOUND", "text": "not found"}}\n')


@pytest.mark.parametrize("has_torch", [True, False])
def test_without_a_gpu_the_cpu_build_and_never_a_driver(has_torch: bool) -> None:
    gone = both(put(dirs={"/sys/bus/pci/devices": [], LIBRARIES: []}), unloaded, put(dirs={LIBRARIES: []}), NO_NVML)
    change = both(gone) if has_torch else both(gone, put(dirs={SITE: []}))
    found, shown = finding(WORKSTATION, "no-nvidia-driver", change)
    assert found.summary == "no NVIDIA GPU in this machine"
    told = [shown(s) for s in found.fix]
    assert told[-1].endswith("https://download.pytorch.org/whl/cpu") and "+cpu" in told[-1]
    assert "driver" not in " ".join(told)
    # nothing else of the report offers one either
    raw = copy.deepcopy(raw_of(WORKSTATION))
    change(raw)
    report = run_checks(identify(snapshot.replay(raw), MATRIX), MATRIX)
    words = " ".join(w for f in report.findings for s in f.fix for w in (s.title, *s.argv))
    assert "driver" not in words and "install.sh" not in words


def test_wheels_of_another_major_go_with_the_build() -> None:
    change = both(
        torch("2.13.0+cu130", "13.0"),
        packages("nvidia_cudnn_cu13-9.20.0.48.dist-info", "nvidia_nccl_cu13-2.29.7.dist-info"),
        made_by("pip", version="2.13.0+cu130"),
    )
    told = lines(WORKSTATION, "driver-too-old", change)
    assert told[0] == f"{PY} -m pip uninstall -y torch nvidia-cudnn-cu13 nvidia-nccl-cu13"
    assert told[1].startswith(f"{PY} -m pip install torch==2.13.0+cu12")


def test_torchvision_alone() -> None:
    change = packages("torchvision-0.16.2+cu124.dist-info", without="torchvision")
    made = made_by("pip", version="2.6.0")
    assert lines(WORKSTATION, "torchvision-mismatch", change, made) == [
        f"{PY} -m pip install --force-reinstall --no-deps torchvision==0.21.0 --index-url {CU124}"
    ]
    told = lines(WORKSTATION, "torchvision-mismatch", change, made_by("uv", "uv = 0.5.11\n", version="2.6.0"))
    only = "--reinstall-package torchvision --no-deps torchvision==0.21.0"
    assert told == [f"uv pip install --python {PY} {only} --index-url {CU124}"]


@pytest.mark.parametrize(
    ("installer", "lock", "line"),
    [
        ("pip", "", f"{PY} -m pip install 'numpy<2'"),
        ("uv", "", f"uv pip install --python {PY} 'numpy<2'"),
        ("poetry", "poetry", "poetry --directory=/home/user/train add 'numpy<2'"),
    ],
)
def test_numpy_by_the_same_manager(installer: str, lock: str, line: str) -> None:
    change = both(torch("2.2.2+cu121", "12.1"), made_by(installer, lock=lock, version="2.2.2+cu121"))
    assert lines(WORKSTATION, "numpy2-old-torch", change) == [line]


def test_windows_has_its_own_quotes_and_no_sudo() -> None:
    site = next(d for d in raw_of(WINDOWS)["dirs"] if d.endswith("site-packages"))
    cpu = put(
        dirs={site: ["torch", "torch-2.6.0+cpu.dist-info", "numpy-2.1.2.dist-info"]},
        files={f"{site}/torch/version.py": "__version__ = '2.6.0+cpu'\ncuda: Optional[str] = None\n"},
    )
    python = r"C:\Users\user\train\.venv\Scripts\python.exe"
    assert lines(WINDOWS, "cpu-only-torch", cpu) == [
        f"{python} -m pip uninstall -y torch",
        f"{python} -m pip install torch==2.6.0+cu126 --index-url https://download.pytorch.org/whl/cu126",
    ]


def test_root_needs_no_sudo() -> None:
    exclusive = both(
        unloaded,
        says("modinfo", "-F", "version", "nvidia", stdout="", rc=1, stderr="Module nvidia not found"),
    )
    user = lines(WORKSTATION, "kernel-module-not-built", exclusive)
    assert user[0] == "sudo apt-get install -y linux-headers-5.15.0-130-generic"

    def root(raw: Raw) -> None:
        (look,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.look"]]
        look["stdout"] = look["stdout"].replace("done\n", "uid 0\ndone\n")

    assert lines(WORKSTATION, "kernel-module-not-built", exclusive, root)[0] == user[0].removeprefix("sudo ")


def test_a_jetson_takes_the_index_of_its_release() -> None:
    site = "/usr/lib/python3/dist-packages"
    change = put(
        dirs={site: ["torch", "torch-2.5.1.dist-info"]},
        files={f"{site}/torch/version.py": "__version__ = '2.5.1+cpu'\ncuda = None\n"},
    )
    told = lines(JETSON, "jetson-needs-nvidia-wheel", change)
    assert told[-1].endswith("install torch --index-url https://pypi.jetson-ai-lab.io/jp6/cu126/+simple")


def test_aarch64_takes_a_build_that_exists_there() -> None:
    told = lines(GH200, "aarch64-cpu-wheel", torch("2.6.0", None))
    assert any("download.pytorch.org/whl/cu126" in line for line in told)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("$ uv pip list", "uv pip install torch==2.6.0+cu1"),
        ("$ poetry install", "poetry add --source pytorch-cu1"),
        ("", "python3 -m pip install torch==2.6.0+cu1"),
    ],
)
def test_a_report_is_answered_in_its_own_words(words: str, line: str) -> None:
    text = f"{words}\nPyTorch version: 2.6.0+cpu\nOS: Ubuntu 22.04 (x86_64)\nPython version: 3.10\n"
    text += "Nvidia driver version: 550.144.03\nIs CUDA available: False\nGPU 0: NVIDIA GeForce RTX 4090\n"
    report = run_checks(identify(parse_report(text), MATRIX), MATRIX)
    (found,) = [f for f in report.findings if f.code == "cpu-only-torch"]
    told = [command(s, report.machine) for s in found.fix]
    assert any(t.startswith(line) for t in told), told
    assert not any("--python" in t or "-p " in t for t in told)


def test_a_path_that_is_none_is_not_used() -> None:
    machine = identify(snapshot.replay(raw_of(WORKSTATION)), MATRIX)
    assert machine.python is not None
    evil = dataclasses.replace(machine.python, executable="/tmp/x;touch PWNED")
    facts = {
        **machine.facts,
        "environment": {"manager": "conda", "prefix": "/tmp/$(reboot)"},
        "torch": {"build": "cpu"},
    }
    own = dataclasses.replace(machine.torch, version="2.6.0+cpu", cuda=None)  # type: ignore[type-var]
    report = run_checks(dataclasses.replace(machine, python=evil, torch=own, facts=facts), MATRIX)
    words = " ".join(w for f in report.findings for s in f.fix for w in s.argv)
    assert "cpu-only-torch" in [f.code for f in report.findings]
    assert "PWNED" not in words and "reboot" not in words


def test_the_container_toolkit_with_its_repository() -> None:
    told = lines(WORKSTATION, "container-toolkit-missing", put(which={"docker": "/usr/bin/docker"}))
    assert told == [
        "envcheck plan --with-container-toolkit docker -o install.sh",
        "bash install.sh --stage system",
    ]
    told = lines(WORKSTATION, "container-toolkit-missing", put(which={"podman": "/usr/bin/podman"}))
    assert told[0] == "envcheck plan --with-container-toolkit podman -o install.sh"


def test_the_container_toolkit_where_no_recipe_is() -> None:
    rebuild = "ID=openEuler\nVERSION_ID=22.03\nID_LIKE='rhel fedora'\n"
    change = put(which={"docker": "/usr/bin/docker"}, files={"/etc/os-release": rebuild})
    told = lines(WORKSTATION, "container-toolkit-missing", change)
    assert "nvidia.github.io/libnvidia-container/stable/rpm" in told[0]
    assert told[1] == "sudo dnf install -y nvidia-container-toolkit"
    assert told[2:] == ["sudo nvidia-ctk runtime configure --runtime=docker", "sudo systemctl restart docker"]


def test_the_toolkit_of_torchs_own_cuda() -> None:
    change = put(dirs={"/usr/local": []}, env={"CUDA_HOME": "/usr/local/cuda-12.1"})
    told = lines(WORKSTATION, "cuda-toolkit-missing", change)
    assert told[0] == "envcheck plan --torch 2.6.0 --cuda cu124 --with-toolkit -o install.sh"


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("gpuusers", "sudo sh -c 'usermod -aG gpuusers \"${SUDO_USER:-$USER}\"'"),
        ("root", "NVreg_DeviceFileMode=0666"),
    ],
)
def test_the_group_that_owns_the_nodes(group: str, line: str) -> None:
    def denied(raw: Raw) -> None:
        (look,) = [c for c in raw["commands"] if c["argv"] == ["envcheck.look"]]
        look["stdout"] = look["stdout"].replace("access yes /dev/nvidia0", "access no /dev/nvidia0")
        node = f"crw-rw---- 1 root {group} 195, 0 Oct  6 17:59 /dev/nvidia0"
        kept = [x for x in look["stdout"].splitlines() if not x.endswith("/dev/nvidia0") or "access" in x]
        look["stdout"] = "\n".join([node, *kept]) + "\n"

    assert line in lines(WORKSTATION, "device-permissions", denied)[0]


def shell_lines() -> list[tuple[str, Step]]:
    """Every ``sh -c`` that doctor proposes for any fault that the tests know."""
    from live_faults import FAULTS

    out = []
    for code, (name, fault) in FAULTS.items():
        raw = copy.deepcopy(raw_of(name))
        fault(raw)
        for found in run_checks(identify(snapshot.replay(raw), MATRIX), MATRIX).findings:
            out += [(code, s) for s in found.fix if s.argv[:2] == ("sh", "-c")]
    return out


def test_every_shell_line_parses_and_shellcheck_has_nothing_against_it(tmp_path: Path) -> None:
    told = {step.argv[2]: code for code, step in shell_lines()}
    assert len(told) > 5
    shellcheck = Path(__file__).resolve().parent.parent / ".venv" / "bin" / "shellcheck"
    for number, line in enumerate(told):
        file = tmp_path / f"{number}.sh"
        file.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        assert subprocess.run(["sh", "-n", file], check=False, timeout=30).returncode == 0, line
    if shellcheck.exists():
        files = sorted(tmp_path.glob("*.sh"))
        found = subprocess.run([shellcheck, *files], capture_output=True, text=True, check=False, timeout=180)
        assert found.returncode == 0, found.stdout


def test_no_step_has_an_empty_word_or_text_that_is_no_command() -> None:
    from live_faults import FAULTS

    for code, (name, fault) in FAULTS.items():
        raw = copy.deepcopy(raw_of(name))
        fault(raw)
        report = run_checks(identify(snapshot.replay(raw), MATRIX), MATRIX)
        for found in report.findings:
            assert found.fix or found.status == "warn" or found.code in ("gpu", "torch"), (code, found.code)
            for step in found.fix:
                assert step.title and all(step.argv), (code, step)
                assert not (step.argv and step.argv[0].startswith("ec_")), (code, step)
                assert "\n" not in command(step, report.machine)
