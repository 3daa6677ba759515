"""Every pip and conda command of PyTorch's previous-versions page, 2.0.0 to 2.12.1, comes out of the planner."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from planning import SHARED, machine, plan

from envcheck.plan.line import index_tag, parse

PAGE = SHARED / "facts" / "data" / "official_commands.json"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the shared facts are not beside this checkout")
SYSTEMS = {"linux": "ubuntu-22.04", "windows": "windows-11", "macos": "macos-14"}


def commands() -> list[dict[str, Any]]:
    if not PAGE.is_file():
        return []
    rows = json.loads(PAGE.read_text())["records"]
    return [
        r
        for r in rows
        if r["page"] == "previous-versions"
        and r["command"]
        and not (r["variant"] or "").startswith(("rocm", "xpu"))
        and not r.get("rocm")
    ]


def known_trap(row: dict[str, Any]) -> bool:
    """planning.md 1.6: on Windows the bare command of 2.0.x gives CPU wheels although the page says CUDA 11.7."""
    return (
        row["os"] == "windows"
        and row["variant"] == "cu117"
        and "--index-url" not in row["command"]
        and row["pm"] == "pip"
    )


def planned(row: dict[str, Any]) -> Any:
    cuda = "cpu" if row["variant"] in ("cpu", "default") else row["variant"]
    gpus = ("none",) if cuda == "cpu" else ("GeForce RTX 3090",)
    if cuda in ("cu128", "cu129", "cu130", "cu132"):
        gpus = ("GeForce RTX 4090",)
    subject = machine(
        *gpus, os=SYSTEMS[row["os"]], driver=None if cuda == "cpu" else "595.71.05", python_version="3.10"
    )
    manager = "conda" if row["pm"] == "conda" else "pip"
    return plan(subject, torch=row["torch"], cuda=cuda, manager=manager, python_fixed=True)


@pytest.mark.parametrize("row", commands(), ids=lambda r: f"{r['torch']}-{r['os']}-{r['pm']}-{r['variant']}")
def test_official_command(row: dict[str, Any]) -> None:
    answer = planned(row)
    assert answer.satisfiable, answer.conflicts
    official = parse(row["command"])
    step = next(s for s in answer.steps if any(a.startswith(("torch==", "pytorch==", "pytorch=")) for a in s.argv))
    ours = parse(shlex.join(a for a in step.argv if not a.startswith("CONDA_OVERRIDE")))
    companions = {n: v for n, v in official.packages.items() if n in ("torchvision", "torchaudio")}
    assert {n: f"=={v}" for n, v in answer.companions.items()} == companions
    if row["pm"] == "conda":
        for name in ("pytorch", "pytorch-cuda", "cpuonly"):
            assert ours.packages.get(name) == official.packages.get(name)
        assert set(official.channels) <= set(ours.channels)
    else:
        if known_trap(row):
            assert index_tag(ours.index_url) == "cu117"
        else:
            assert ours.index_url == official.index_url
        assert ours.packages["torch"].partition("+")[0] == official.packages["torch"]
