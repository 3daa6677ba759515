"""Recorded machines: each folder's snapshot must replay to the machine beside it, field by field.

After a wanted change: ``UPDATE_MACHINES=1 python -m pytest tests/test_detect_machines.py``, then read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from envcheck.detect import snapshot
from envcheck.model import Machine, from_plain, to_plain

FOLDERS = sorted(p.parent for p in (Path(__file__).parent / "machines").glob("*/snapshot.json"))


def replay(name: str) -> Machine:
    return snapshot.load(Path(__file__).parent / "machines" / name / "snapshot.json")


@pytest.mark.parametrize("folder", FOLDERS, ids=[f.name for f in FOLDERS])
def test_machine_replays(folder: Path) -> None:
    found = to_plain(snapshot.load(folder / "snapshot.json"))
    expected = folder / "machine.json"
    if os.environ.get("UPDATE_MACHINES"):
        expected.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    want = json.loads(expected.read_text(encoding="utf-8"))
    assert found == want
    assert to_plain(from_plain(Machine, want)) == want
    assert not [p for p in found["problems"].values() if "envcheck could not look" in p]


def summary(name: str) -> dict[str, Any]:
    machine = replay(name)
    driver = machine.driver
    return {
        "os": f"{machine.os.id}-{machine.os.version}",
        "driver": (driver.state, driver.version, driver.cuda, driver.module, driver.source),
        "gpus": [(g.name, g.compute_capability, g.pci_id, g.bus_id, g.driver_bound) for g in machine.gpus],
        "problems": sorted(machine.problems),
    }


def test_healthy_workstation() -> None:
    assert summary("ubuntu-22.04-rtx4090-535.104.05") == {
        "os": "ubuntu-22.04",
        "driver": ("ok", "535.104.05", "12.2", "proprietary", "nvml"),
        "gpus": [("NVIDIA GeForce RTX 4090", "8.9", "10de:2684", "0000:01:00.0", "nvidia")],
        "problems": [],
    }
    machine = replay("ubuntu-22.04-rtx4090-535.104.05")
    assert (machine.gpus[0].memory_mib, machine.gpus[0].ecc, machine.gpus[0].mig) == (24564, False, None)
    assert machine.gpus[0].subsystem_id == "1043:889f"
    assert machine.python is not None and machine.python.abi == "cp310"
    assert machine.tools == {"pip3": "/usr/bin/pip3", "uv": "/usr/local/bin/uv"}


def test_a_card_without_driver_is_told_by_the_bus() -> None:
    assert summary("debian-12-rtx3090-nodriver") == {
        "os": "debian-12",
        "driver": ("missing", None, None, None, None),
        "gpus": [(None, None, "10de:2204", "0000:0a:00.0", None)],
        "problems": [],
    }


def test_wsl_takes_the_windows_driver() -> None:
    found = summary("wsl-ubuntu-22.04-rtx4070super-555.99")
    assert found["driver"] == ("ok", "555.99", "12.5", None, "nvml")
    assert replay("wsl-ubuntu-22.04-rtx4070super-555.99").os.wsl == "2"
    assert found["problems"] == []


def test_without_pynvml_the_nvidia_smi_of_wsl_answers() -> None:
    found = summary("wsl-ubuntu-22.04-rtx5060ti-596.36-smi")
    assert found["driver"] == ("ok", "596.36", None, None, "nvidia-smi")
    assert found["gpus"] == [("NVIDIA GeForce RTX 5060 Ti", None, "10de:2d04", "0000:06:00.0", None)]


def test_a_lost_gpu_is_found_again_on_the_bus() -> None:
    machine = replay("rocky-9.5-rtxpro6000x2-610.57.04-one-lost")
    first, second = machine.gpus
    assert first.errors == () and first.compute_capability == "12.0"
    assert second.errors == ("GPU_IS_LOST on nvmlDeviceGetHandleByIndex",)
    assert (second.index, second.bus_id, second.pci_id) == (1, "0000:34:00.0", "10de:2bb4")
    assert machine.driver.module == "open"


def test_dgx_owns_its_driver_and_switches_are_no_gpus() -> None:
    machine = replay("dgx-os-6-h100x8-550.144.03")
    assert machine.os.driver_owner == "dgx-os"
    assert [g.index for g in machine.gpus] == list(range(8))
    assert machine.facts["pci"]["nvswitches"] == 4


def test_jetson_is_named_by_its_board() -> None:
    machine = replay("jetson-agx-orin-l4t-36.4.0")
    assert (machine.os.jetson, machine.os.arch, machine.os.driver_owner) == ("36.4.0", "aarch64", "l4t")
    assert (machine.driver.state, machine.driver.version, machine.driver.module) == ("ok", "540.4.0", "open")
    assert [g.name for g in machine.gpus] == ["Orin (nvgpu)"]
    assert machine.facts["os"]["device_tree_model"] == "NVIDIA Jetson AGX Orin Developer Kit"
    assert machine.problems == {}


@pytest.mark.parametrize(
    ("name", "state", "version"),
    [
        ("ubuntu-22.04-rtx3090-550.90.07-docker-not-injected", "not-injected", "550.90.07"),
        ("ubuntu-24.04-rtx5090-570-mismatch", "mismatch", "570.86.15"),
        ("fedora-40-gtx1080-nouveau", "nouveau", None),
        ("ubuntu-22.04-a100-535.183.06-nvml-hangs", "broken", "535.183.06"),
        ("debian-12-rtx2060-535.216.03-module-not-built", "broken", "535.216.03"),
    ],
)
def test_states_of_a_driver_in_trouble(name: str, state: str, version: str | None) -> None:
    machine = replay(name)
    assert (machine.driver.state, machine.driver.version) == (state, version)
    assert machine.problems["driver"]
    assert len(machine.gpus) == 1 and machine.gpus[0].pci_id


def test_a_hang_is_named_in_the_problems() -> None:
    assert replay("ubuntu-22.04-a100-535.183.06-nvml-hangs").problems["driver"] == "nvmlInit did not answer in 5 s"


def test_a_mismatch_names_both_versions() -> None:
    text = replay("ubuntu-24.04-rtx5090-570-mismatch").problems["driver"]
    assert "570.86.15" in text and "570.133.07" in text and "reboot" in text


def test_nothing_found_in_a_container_is_no_proof() -> None:
    assert replay("debian-12-none-docker").gpus == ()
    assert "docker container" in replay("debian-12-none-docker").problems["gpus"]


def test_a_login_node_says_that_it_looked_and_which_batch_system_it_has() -> None:
    machine = replay("rocky-9.5-none-login-node")
    assert (machine.gpus, machine.tools, machine.problems) == ((), {"sbatch": "/usr/bin/sbatch"}, {})


def test_a_pod_sees_its_own_gpu_alone() -> None:
    machine = replay("ubuntu-22.04-a100-550.144.03-kubernetes")
    assert machine.os.container == "kubernetes"
    assert [g.bus_id for g in machine.gpus] == ["0000:90:1c.0"]


def test_a_card_of_a_virtual_machine_is_listed_with_its_holder() -> None:
    machine = replay("ubuntu-24.04-rtx4090-580.95.05-rtx3060-vfio")
    assert [(g.pci_id, g.driver_bound, g.errors) for g in machine.gpus] == [
        ("10de:2684", "nvidia", ()),
        ("10de:2504", "vfio-pci", ()),
    ]


def test_windows_with_and_without_driver() -> None:
    found = summary("windows-11-rtx4080super-610.88")
    assert (found["os"], found["driver"][:3]) == ("windows-11", ("ok", "610.88", "13.3"))
    found = summary("windows-11-rtx3070-nodriver")
    assert (found["driver"][0], found["gpus"][0][2]) == ("missing", "10de:2488")


def test_macos_has_nothing_to_look_for() -> None:
    machine = replay("macos-14-m3")
    assert (machine.os.id, machine.os.version, machine.os.arch) == ("macos", "14", "aarch64")
    assert (machine.driver.state, machine.gpus, machine.problems) == ("missing", (), {})


def test_torch_of_a_conda_environment() -> None:
    machine = replay("ubuntu-22.04-rtx3090-535.104.05-conda")
    assert machine.python is not None and machine.python.environment == "conda"
    torch = machine.torch
    assert torch is not None
    assert (torch.version, torch.cuda, torch.cudnn, torch.source) == ("2.0.1", "11.7", "8.5.0", "conda")
    assert machine.packages["torchvision"] == "0.15.2"
    assert machine.env["CUDA_VISIBLE_DEVICES"] == "0"


def test_torch_of_a_venv() -> None:
    machine = replay("debian-12-rtx2060-535.216.03-module-not-built")
    assert machine.python is not None
    assert (machine.python.environment, machine.python.externally_managed) == ("venv", False)
    torch = machine.torch
    assert torch is not None
    assert (torch.version, torch.cuda, torch.cudnn, torch.source) == ("2.4.1+cu121", "12.1", "9.1.0", "pip")
    assert machine.packages["nvidia-nccl-cu12"] == "2.20.5"
