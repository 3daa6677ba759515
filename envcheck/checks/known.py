"""Version facts of ``known.json``, and the comparisons that several checks share."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from ..matrix import Matrix, version_key
from .view import View, nums


@functools.cache
def data() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("known.json").read_text(encoding="utf-8"))
    return loaded


def limit(name: str) -> str:
    return str(data()["limits"][name]["value"])


def needs_capability() -> dict[str, str]:
    """Package -> the lowest compute capability that it runs on."""
    return {str(row["package"]): str(row["capability"]) for row in data()["package_needs"]}


def newest_gcc(toolkit: str | None) -> str | None:
    """The newest gcc that a toolkit ("12.4") accepts; None where the table does not say."""
    return next((str(r["gcc"]) for r in data()["nvcc_gcc"] if r["cuda"] == toolkit), None)


def old_pypi_cuda(torch: tuple[int, ...]) -> str | None:
    """The CUDA of the Linux wheel that PyPI has of a torch before 2.0."""
    key = f"{torch[0]}.{torch[1]}"
    return next((str(r["cuda"]) for r in data()["pypi_cuda_of_old_torch"] if r["torch"] == key), None)


def old_tags() -> frozenset[str]:
    """Variants (``cu113``) that the PyTorch index has for releases before 2.0 alone."""
    rows = [*data()["old_cuda"], *data()["old_torch_archs"]]
    return frozenset("cu" + str(r["cuda"]).replace(".", "") for r in rows) | {"cu75"}


def likely_cuda(v: View) -> str | None:
    """The build's CUDA as it is told, else that of PyPI's wheel of this version."""
    if v.torch_cuda is not None or v.cpu_build:
        return v.torch_cuda
    return _asked_cuda(v) or (v.pypi_build if v.pypi_build != "cpu" else None)


def _asked_cuda(v: View) -> str | None:
    """The CUDA variant of the one index that the report's install commands name for torch."""
    install = v.fact("install")
    if not v.pasted or not isinstance(install, dict) or install.get("not_found"):
        return None
    tags = {
        hit[1]
        for command in install.get("commands") or ()
        if "torch" in command.get("packages", {})
        for index in command.get("indexes") or ()
        if (hit := re.search(r"/whl/(?:nightly/|test/)?cu(\d{2,3})\b", str(index)))
    }
    tag = tags.pop() if len(tags) == 1 else ""
    return f"{tag[:-1]}.{tag[-1]}" if tag else None


def less_equal(low: str | None, high: str | None) -> bool:
    """Whether both versions are known and ``low <= high``, compared to the precision of the shorter one."""
    a, b = nums(low), nums(high)
    if a is None or b is None:
        return False
    size = min(len(a), len(b))
    return a[:size] <= b[:size]


def driver_minimum(cuda: str, matrix: Matrix, windows: bool) -> str | None:
    """The oldest driver that runs a build of this CUDA (minor-version compatibility from CUDA 11 on)."""
    major_minor = ".".join(cuda.split(".")[:2])
    row = matrix.cuda.get(major_minor)
    if row is not None:
        return (row.minor_windows or row.windows) if windows else (row.minor_linux or row.linux)
    same = [r for r in matrix.cuda.values() if r.cuda.split(".")[0] == major_minor.split(".")[0]]
    if same:
        return same[0].minor_windows if windows else same[0].minor_linux
    old = next((r for r in data()["old_cuda"] if r["cuda"] == major_minor), None)
    return str(old["windows" if windows else "linux"]) if old else None


def driver_serves(v: View) -> bool | None:
    """Whether the driver runs torch's CUDA; None where one of the two is not known.

    A container may bring a newer libcuda (forward compatibility): the driver's own number is judged all the same,
    as only data-centre cards may use that.
    """
    cuda = likely_cuda(v)
    if cuda is None or nums(cuda) is None:
        return None
    version = nums(v.driver_version)
    minimum = driver_minimum(cuda, v.matrix, v.windows_driver)
    if version is not None and minimum is not None:
        return version >= version_key(minimum)
    spoken = nums(v.driver_cuda)
    wanted = nums(cuda)
    if spoken is None or wanted is None:
        return None
    if spoken[0] != wanted[0]:
        return spoken[0] > wanted[0]
    return spoken[0] >= 11 or spoken >= wanted[:2]


def build_archs(v: View) -> tuple[str, ...]:
    """Architectures of the build: what the wheel says, the matrix, else those of that CUDA's old builds."""
    if v.archs:
        return v.archs
    cuda, torch = likely_cuda(v), nums(v.torch_version)
    if cuda is None or torch is None:
        return ()
    if torch[0] >= 2:
        rows = v.matrix.builds(v.platform) if v.platform else ()
        return next((r.archs for r in rows if r.key[: len(torch)] == torch[:3] and r.cuda == cuda), ())
    key = ".".join(cuda.split(".")[:2])
    old = [*data()["old_cuda"], *data()["old_torch_archs"]]
    found = next((r["archs"] for r in old if r["cuda"] == key), ())
    return tuple("sm_" + a.replace(".", "") for a in found)


def newer_than_toolkit(capability: str, toolkit: tuple[int, ...], matrix: Matrix) -> bool:
    """Whether a compute capability came after a CUDA toolkit: by driver branch, before CUDA 11 by what it compiled."""
    row, cuda = matrix.architectures.get(capability), matrix.cuda.get(".".join(map(str, toolkit[:2])))
    if row is not None and row.first_branch and cuda is not None and cuda.linux:
        return int(row.first_branch) > int(cuda.linux.split(".")[0])
    rows = [r for r in data()["old_cuda"] if (nums(str(r["cuda"])) or ()) <= toolkit[:2]]
    oldest = min((nums(str(r["cuda"])) or () for r in data()["old_cuda"]), default=())
    if toolkit[:2] < oldest or rows:
        compiled = max((nums(a) or () for r in rows for a in r["archs"]), default=nums(limit("common_arch_from")) or ())
        have = nums(capability) or ()
        return have > compiled if rows else have >= compiled
    return False


def capability_of(arch: str) -> tuple[int, int]:
    digits = arch.split("_")[-1].rstrip("af")
    return int(digits[:-1]), int(digits[-1])


def coverage(v: View, capability: str) -> str | None:
    """ "runs", "too-new" or "too-old" for one compute capability on this build; None where the build is not known.

    Machine code runs on its own major with an equal or higher minor; PTX runs on anything newer.
    """
    archs = build_archs(v)
    parts = nums(capability)
    if not archs or parts is None or len(parts) < 2:
        return None
    have = (parts[0], parts[1])
    row = v.matrix.architectures.get(capability)
    exact = {capability_of(a) for a in archs if a.startswith("sm_")}
    ptx = {capability_of(a) for a in archs if a.startswith("compute_")}
    if row is not None and row.runs is not None:
        extra = {(int(r.split(".")[0]), int(r.split(".")[1])) for r in row.runs}
        runs = have in exact or bool(exact & extra)
    else:
        runs = any(a[0] == have[0] and a[1] <= have[1] for a in exact)
    if runs or any(p <= have for p in ptx):
        return "runs"
    lowest = min(exact | ptx)
    if have < lowest:
        return "too-old"
    return "too-new" if have > max(exact | ptx) else "dropped"
