"""Rows against the bytes: architectures, cuDNN and Python tags of every release as read from the wheels themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envcheck.matrix import Build, Matrix, load, version_key

PLATFORMS = {"linux_x86_64": "linux-x86_64", "linux_aarch64": "linux-aarch64", "win_amd64": "windows-x86_64"}


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return load()


def facts(shared: Path, name: str) -> list[dict[str, Any]]:
    file = shared / "facts" / "data" / name
    if not file.exists():
        pytest.skip(f"{name} is not beside this checkout")
    records: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["records"]
    return records


def served(matrix: Matrix, torch: str, platform: str) -> Build:
    return next(b for b in matrix.builds(platform) if b.torch == torch and b.on_pypi)


def python_of(tag: str) -> str:
    """``cp313-cp313t`` -> ``3.13t``."""
    abi = tag.partition("-")[2]
    return f"{abi[2]}.{abi[3:]}"


def test_architectures_equal_the_wheels(matrix: Matrix, shared: Path) -> None:
    seen = set()
    for record in facts(shared, "wheel_archs.json"):
        build = served(matrix, record["torch"], PLATFORMS[record["platform"]])
        assert list(build.archs) == record["arch_list"], record["file"]
        assert (build.cuda is not None) == record["cuda_build"]
        assert not record["ptx_in_libtorch_cuda"]
        assert build.evidence == "bytes"
        seen.add((record["torch"], record["platform"]))
    assert len([key for key in seen if key[1] == "linux_x86_64"]) == len(matrix.releases)


def test_cuda_cudnn_and_python_equal_the_index(matrix: Matrix, shared: Path) -> None:
    records = facts(shared, "torch_cuda_variants.json")
    assert [r["torch"] for r in records] == list(matrix.releases)
    for record in records:
        torch = record["torch"]
        build = served(matrix, torch, "linux-x86_64")
        assert [build.cuda] == record["pypi_default_cuda_linux_x86_64"]
        assert [build.wheel_tag] == record["pypi_platform_tag"]
        cudnn = {v["cudnn"] for v in record["variants"] if v["is_pypi_default_linux_x86_64"]}
        assert {build.cudnn} == cudnn
        assert list(build.pythons) == [python_of(tag) for tag in record["pypi_python_tags_linux_x86_64"]]
        windows = served(matrix, torch, "windows-x86_64")
        assert list(windows.pythons) == [python_of(tag) for tag in record["pypi_python_tags_windows"]]
        assert windows.cuda is None
        assert matrix.releases[torch].released == record["released"]


def test_every_official_pip_command_has_a_row(matrix: Matrix, shared: Path) -> None:
    """Each variant that PyTorch's previous-versions page lists is a row with that index."""
    rows = {(b.torch, b.platform, b.index) for p in PLATFORMS.values() for b in matrix.builds(p)}
    systems = {"linux": "linux-x86_64", "windows": "windows-x86_64"}
    checked = 0
    for record in facts(shared, "official_commands.json"):
        if record["page"] != "previous-versions" or record["pm"] != "pip" or record["rocm"]:
            continue
        if record["os"] not in systems or record["variant"] == "default":
            continue
        index = record["command"].partition("/whl/")[2] or "pypi"
        # trap: the page gives the bare command for CUDA 11.7 on Windows, where it installs the CPU build
        if record["os"] == "windows" and index == "pypi":
            index = record["variant"]
        assert (record["torch"], systems[record["os"]], index) in rows, record["command"]
        checked += 1
    assert checked > 150


def test_every_official_conda_command_has_a_row(matrix: Matrix, shared: Path) -> None:
    rows = {
        (b.torch, b.platform, b.tag)
        for p in PLATFORMS.values()
        for b in matrix.builds(p, "conda")
        if b.index == "pytorch"
    }
    systems = {"linux": "linux-x86_64", "windows": "windows-x86_64"}
    checked = 0
    for record in facts(shared, "official_commands.json"):
        if record["page"] == "previous-versions" and record["pm"] == "conda" and record["os"] in systems:
            assert (record["torch"], systems[record["os"]], record["variant"]) in rows, record["command"]
            checked += 1
    assert checked > 80


def test_releases_ascend(matrix: Matrix) -> None:
    keys = [version_key(torch) for torch in matrix.releases]
    assert keys == sorted(keys)
