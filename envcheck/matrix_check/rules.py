"""Rules that rows of builds and releases keep among themselves. ``check`` runs them; nothing else needs them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ..matrix import least_glibc, version_key

Row = Mapping[str, Any]
PLATFORMS = ("linux-x86_64", "linux-aarch64", "windows-x86_64", "macos-arm64", "macos-x86_64", "jetson-aarch64")
CHANNELS = ("pytorch", "conda-forge")
COMPANIONS = ("torchvision", "torchaudio")
WHEEL_TAGS = {
    "linux-x86_64": re.compile(r"(manylinux\w+|linux)_x86_64"),
    "linux-aarch64": re.compile(r"(manylinux\w+|linux)_aarch64"),
    "windows-x86_64": re.compile(r"win_amd64"),
    "macos-arm64": re.compile(r"macosx_\d+_\d+_arm64"),
    "macos-x86_64": re.compile(r"macosx_\d+_\d+_x86_64"),
}


def _cuda_rank(row: Row) -> tuple[int, ...]:
    return version_key(row["cuda"]) if row["cuda"] else ()


def build_rank(row: Row) -> tuple[Any, ...]:
    """Order of ``builds``: release, platform, CPU first, then CUDA ascending."""
    return version_key(row["torch"]), _place(row["platform"], PLATFORMS), _cuda_rank(row)


def conda_rank(row: Row) -> tuple[Any, ...]:
    """Order of ``conda``: release, channel, platform, CPU first, then CUDA ascending."""
    channel = _place(row["index"], CHANNELS)
    return version_key(row["torch"]), channel, _place(row["platform"], PLATFORMS), _cuda_rank(row)


def _place(value: str, known: tuple[str, ...]) -> int:
    return known.index(value) if value in known else len(known)


def python_rank(text: str) -> tuple[tuple[int, ...], bool]:
    """``3.9 < 3.13 < 3.13t < 3.14``."""
    return version_key(text.rstrip("t")), text.endswith("t")


def build_problems(data: Row, schema: Row) -> Iterator[str]:
    """``schema`` holds ``x-least-compute-capability``: the least that a CUDA major can compile for."""
    least = schema["x-least-compute-capability"]
    for section in ("builds", "conda"):
        for row in data[section]:
            what = f"{section} {row['torch']} {row['tag']} {row['platform']}"
            for problem in (*_variant(row, least), *_place_problems(section, row), *_pythons(row)):
                yield f"{what}: {problem}"
    yield from _wheels(data)


def _variant(row: Row, least: Mapping[str, str]) -> Iterator[str]:
    tag, cuda, code = row["tag"], row["cuda"], [*row["sass"], *row["ptx"]]
    expected = "cu" + cuda.replace(".", "") if cuda else "cpu"
    if tag != expected:
        yield f"the tag does not agree with CUDA {cuda}: it would be {expected}"
    if cuda is None and (code or row["cudnn"] or row["nccl"]):
        yield "a CPU build has GPU code, cuDNN or NCCL"
    if cuda is not None and not row["sass"]:
        yield "a CUDA build without machine code for any GPU"
    floor = least.get(cuda.partition(".")[0]) if cuda else None
    below = [a for a in code if floor and version_key(a) < version_key(floor)]
    if below:
        yield f"code for {', '.join(below)}, but CUDA {cuda} compiles for {floor} and newer only"
    for key in ("sass", "ptx"):
        if sorted(set(row[key]), key=version_key) != row[key]:
            yield f"{key} is not ascending or holds something twice"


def _place_problems(section: str, row: Row) -> Iterator[str]:
    if section == "conda":
        if row["index"] not in CHANNELS:
            yield f"{row['index']!r} is no conda channel that is known"
        if row["on_pypi"] or row["wheel_tag"]:
            yield "a conda build is no wheel"
        return
    if row["index"] not in ("pypi", row["tag"]):
        yield f"index {row['index']!r} is neither pypi nor the build's own tag"
    if row["index"] == "pypi" and not row["on_pypi"]:
        yield "installed from pypi, but not said to be there"
    if row["on_pypi"] and row["evidence"] != "bytes":
        yield "its wheel can be read, so its evidence is bytes"


def _pythons(row: Row) -> Iterator[str]:
    if not row["pythons"]:
        yield "no Python is named"
    if sorted(set(row["pythons"]), key=python_rank) != row["pythons"]:
        yield "the Pythons are not ascending or one is there twice"


def _wheels(data: Row) -> Iterator[str]:
    for row in data["builds"]:
        what = f"builds {row['torch']} {row['tag']} {row['platform']}"
        pattern = WHEEL_TAGS.get(row["platform"])
        if pattern is None or not pattern.fullmatch(row["wheel_tag"] or ""):
            yield f"{what}: wheel tag {row['wheel_tag']!r} is none of that platform"
        elif row["glibc"] != least_glibc(row["wheel_tag"]):
            yield f"{what}: glibc {row['glibc']} does not agree with {row['wheel_tag']}"
    counts = Counter((row["torch"], row["platform"]) for row in data["builds"] if row["on_pypi"])
    for (torch, platform), count in counts.items():
        if count > 1:
            yield f"builds {torch} {platform}: {count} variants are said to be the one on pypi"


def release_problems(data: Row) -> Iterator[str]:
    """Pairs of known companions only, and at least one build of every release."""
    built = {row["torch"] for row in data["builds"]}
    for row in data["releases"]:
        if row["torch"] not in built:
            yield f"releases {row['torch']}: no build of it has a row"
        for pairs in (row["companions"], row.get("conda_companions") or {}):
            strange = sorted(pairs.keys() - set(COMPANIONS))
            if strange:
                yield f"releases {row['torch']}: unknown companion {', '.join(strange)}"
