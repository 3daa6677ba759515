"""GPUs x drivers against an oracle that is computed from other data by other code: the facts beside the repository.

The oracle knows architecture lists, CUDA floors and driver branches, and asks for the newest torch; the planner must
find the same release for every pair, or refuse where the oracle finds none.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from planning import SHARED, chosen, machine, plan

FACTS = SHARED / "facts" / "data"
pytestmark = pytest.mark.skipif(not FACTS.is_dir(), reason="the shared facts are not beside this checkout")

# name -> compute capability, first and last driver branch (CUDA's driver and architecture matrix)
GPUS = {
    "GeForce GTX 980": ("5.2", 0, 580),
    "GeForce GTX 1080 Ti": ("6.1", 0, 580),
    "Tesla P100-PCIE-16GB": ("6.0", 0, 580),
    "Tesla V100-SXM2-32GB": ("7.0", 0, 580),
    "GeForce GTX 1660 Ti": ("7.5", 418, 999),
    "Tesla T4": ("7.5", 410, 999),
    "GeForce RTX 2080 Ti": ("7.5", 410, 999),
    "NVIDIA A100-SXM4-80GB": ("8.0", 450, 999),
    "GeForce RTX 3090": ("8.6", 455, 999),
    "GeForce RTX 4090": ("8.9", 520, 999),
    "NVIDIA H100 PCIe": ("9.0", 520, 999),
    "NVIDIA B200": ("10.0", 570, 999),
    "GeForce RTX 5090": ("12.0", 570, 999),
}
DRIVERS = (
    "390.157",
    "418.226.00",
    "440.100",
    "450.80.02",
    "460.106.00",
    "470.256.02",
    "495.46",
    "510.108.03",
    "515.105.01",
    "525.147.05",
    "530.41.03",
    "535.274.02",
    "545.29.06",
    "550.163.01",
    "560.35.05",
    "570.195.03",
    "580.95.05",
    "590.48.01",
)
FLOORS = {"11": (450, 80, 2), "12": (525, 60, 13), "13": (580, 65, 6)}


def key(text: str) -> tuple[int, ...]:
    return tuple(int(p) for p in text.split("."))


@cache
def facts() -> list[dict[str, Any]]:
    return json.loads((FACTS / "torch_cuda_variants.json").read_text())["records"]


def runs(cc: str, archs: list[str]) -> bool:
    own = key(cc)
    for arch in archs:
        plain = key(arch.removesuffix("+PTX"))
        if plain[0] == own[0] and plain <= own:
            return True
    return False


def archs_of(record: dict[str, Any], variant: dict[str, Any]) -> list[str]:
    """cu129 of 2.11 and later: PYTORCH_RELEASES_CODE_CC of those wheels gives 7.5 to 12.0."""
    return variant["archs_linux_x86_64"] or ["7.5", "8.0", "8.6", "9.0", "10.0", "12.0"]


def oracle(cc: str, driver: str, pinned: str | None = None) -> str | None:
    """The newest torch of PyTorch's own wheels that runs; None where none does."""
    best = None
    for record in facts():
        if pinned and ".".join(record["torch"].split(".")[:2]) != pinned:
            continue
        for variant in record["variants"]:
            floor = FLOORS[variant["cuda"].split(".")[0]]
            fits = runs(cc, archs_of(record, variant)) and key(driver) >= floor
            if fits and (best is None or key(record["torch"]) > key(best)):
                best = record["torch"]
    return best


def cells() -> list[tuple[str, str]]:
    """Every pair in which the driver supports the GPU at all."""
    return [
        (gpu, driver)
        for gpu, (_, first, last) in GPUS.items()
        for driver in DRIVERS
        if first <= int(driver.split(".")[0]) <= last
    ]


def compare(pinned: str | None) -> list[str]:
    wrong = []
    for gpu, driver in cells():
        cc = GPUS[gpu][0]
        want = oracle(cc, driver, pinned)
        answer = plan(machine(gpu, driver=driver), torch=pinned or "latest", driver_change=False)
        got = answer.torch.version if answer.torch else None
        if got != want:
            wrong.append(f"{gpu} on {driver}, torch {pinned or 'latest'}: want {want}, got {chosen(answer)}")
    return wrong


def test_the_newest_working_build_or_a_refusal_in_every_cell() -> None:
    assert len(cells()) >= 145
    assert compare(None) == []


@pytest.mark.parametrize("pinned", [f"2.{m}" for m in range(6, 16)])
def test_the_same_with_torch_pinned(pinned: str) -> None:
    assert compare(pinned) == []
