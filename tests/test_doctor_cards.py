"""Cards of nine generations in every kind of trouble: the compiled fake NVML behind the real pynvml, doctor in front.

Names, PCI ids and capabilities are the cards' own; the host is the recorded workstation with torch 2.6.0+cu124.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from live_faults import unloaded
from test_doctor_faults import Run, doctor, no_bus  # noqa: F401 - the fixture
from test_nvml import broken, two_gpus

GIB = 1 << 30
# name, compute capability, PCI device, GiB, how many, MIG, what doctor finds of it with torch 2.6.0+cu124
CARDS: dict[str, tuple[str, tuple[int, int], int, int, int, bool | None, tuple[str, ...]]] = {
    "gtx1080": ("NVIDIA GeForce GTX 1080", (6, 1), 0x1B80, 8, 1, None, ()),
    "gtx1660": ("NVIDIA GeForce GTX 1660", (7, 5), 0x2184, 6, 1, None, ("fp16-gtx16",)),
    "rtx2080ti": ("NVIDIA GeForce RTX 2080 Ti", (7, 5), 0x1E07, 11, 1, None, ()),
    "rtx3090": ("NVIDIA GeForce RTX 3090", (8, 6), 0x2204, 24, 1, None, ()),
    "rtx4090": ("NVIDIA GeForce RTX 4090", (8, 9), 0x2684, 24, 1, None, ()),
    "rtx5090": ("NVIDIA GeForce RTX 5090", (12, 0), 0x2B85, 32, 1, None, ("gpu-arch-too-new",)),
    "v100": ("Tesla V100-SXM2-32GB", (7, 0), 0x1DB5, 32, 1, None, ()),
    "a100-mig": ("NVIDIA A100-SXM4-80GB", (8, 0), 0x20B2, 80, 1, True, ("mig-enabled",)),
    "h100x8": ("NVIDIA H100 80GB HBM3", (9, 0), 0x2330, 80, 8, False, ()),
    "b200": ("NVIDIA B200", (10, 0), 0x2901, 180, 1, False, ("gpu-arch-too-new",)),
}
FAILS = ("gpu-arch-too-new", "mig-enabled")  # MIG is on, and no slice was made
OLD = ("nvmlSystemGetCudaDriverVersion", "nvmlDeviceGetMigMode")


def profile(card: str) -> dict[str, Any]:
    name, capability, device, gib, count, mig, _ = CARDS[card]
    base = two_gpus()["devices"][0]
    gpus = []
    for index in range(count):
        gpu = {**base, "index": index, "name": name, "cuda_compute_capability": list(capability)}
        gpu["uuid"] = f"GPU-00000000-0000-0000-0000-{index:012d}"
        gpu["memory_v1"] = {"total": gib * GIB, "free": (gib - 1) * GIB, "used": GIB}
        gpu["pci"] = {
            "bus_id": f"00000000:{index + 1:02x}:00.0",
            "pci_device_id": device << 16 | 0x10DE,
            "pci_subsystem_id": 0x10DE,
        }
        if mig is not None:
            gpu["mig_mode"] = {"current": int(mig), "pending": int(mig)}
        gpus.append(gpu)
    return {**two_gpus(), "devices": gpus, "system": system("570.148.08", 12080)}


def system(driver: str, cuda: int) -> dict[str, Any]:
    return {"driver_version": driver, "nvml_version": f"12.{driver}", "cuda_driver_version": cuda}


def short_deadline(raw: dict[str, Any]) -> None:
    """The full five seconds are waited for in test_doctor_faults."""
    raw["env"]["ENVCHECK_NVML_TIMEOUT"] = "1.5"


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("age", ["new", "old", "slow"])
def test_a_sound_card(card: str, age: str, doctor: Run, use_fake_nvml: Callable[..., None]) -> None:  # noqa: F811
    name, capability, _, _, count, mig, found = CARDS[card]
    slow = ["- slow_in 0 nvmlInitWithFlags"] if age == "slow" else []
    use_fake_nvml(profile(card), slow, omit=OLD if age == "old" else ())
    answer = doctor(no_bus)
    gpus = answer.data["machine"]["gpus"]
    assert [g["name"] for g in gpus] == [name] * count
    assert {g["compute_capability"] for g in gpus} == {".".join(map(str, capability))}
    if age == "old":
        found = tuple(code for code in found if code != "mig-enabled")  # a driver before MIG cannot tell of it
    codes = [f["code"] for f in answer.data["findings"]]
    assert set(found) <= set(codes)
    assert answer.fails == [code for code in found if code in FAILS]
    assert answer.code == (1 if answer.fails else 0)
    assert answer.data["machine"]["driver"]["version"] == "570.148.08"
    assert all(g["mig"] is (mig if age != "old" else None) for g in gpus)


INIT = {
    "mismatch": ("NVML_ERROR_LIB_RM_VERSION_MISMATCH", "driver-library-mismatch"),
    "no-permission": ("NVML_ERROR_NO_PERMISSION", "device-permissions"),
}
WORDS = {"hang": "nvmlInit did not answer in 1.5 s", "abort": "NVML crashed with signal 6"}
FAULTS = (*INIT, "not-loaded", "lost", *WORDS)


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_card_in_trouble(card: str, fault: str, doctor: Run, use_fake_nvml: Callable[..., None]) -> None:  # noqa: F811
    sound = profile(card)
    if fault in INIT:
        use_fake_nvml({**sound, **broken(INIT[fault][0])})
        expected = INIT[fault][1]
    elif fault == "not-loaded":
        use_fake_nvml(broken("NVML_ERROR_DRIVER_NOT_LOADED"))
        expected = "kernel-module-not-built"
    elif fault == "lost":
        use_fake_nvml(sound, ["- lost_after 0 9"])  # in the middle of what is asked of the first card
        expected = "gpu-fell-off-bus"
    else:
        use_fake_nvml(sound, [f"- {fault}_in 0 nvmlInitWithFlags"])
        expected = "driver"
    answer = doctor(unloaded if fault == "not-loaded" else short_deadline)
    assert (answer.code, answer.data["verdict"], answer.fails[0]) == (1, "broken", expected)
    first = answer.data["findings"][0]
    assert first["fix"]
    if fault in WORDS:
        assert WORDS[fault] in first["summary"]
