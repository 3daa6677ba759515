"""Version facts of the matrix that checks alone read, and the comparisons that several checks share."""

from __future__ import annotations

import re

from ..errors import InputError
from ..matrix import Matrix, OldTorch, version_key
from .view import View, nums

RECALLED = " (unverified: a row of the matrix that was written down from memory)"


def limit(v: View, name: str) -> str:
    """A row of the matrix' section ``limits``."""
    row = v.matrix.limits.get(name)
    if row is None:
        raise InputError(f"{v.matrix.path}: section 'limits' has no row {name!r}, which a check needs")
    return row.value


def needs_capability(v: View) -> dict[str, str]:
    """Package -> the lowest compute capability that it runs on."""
    return {row.package: row.compute_capability for row in v.matrix.package_needs.values()}


def newest_gcc(v: View, toolkit: str | None) -> str | None:
    """The newest gcc that a toolkit ("12.4") accepts; None where the table does not say."""
    row = v.matrix.host_compilers.get(toolkit or "")
    return row.gcc if row else None


def old_torch(v: View) -> OldTorch | None:
    """The row of a torch before 2.0 that is installed."""
    version = nums(v.torch_version)
    return v.matrix.old_torch.get(f"{version[0]}.{version[1]}") if version and len(version) > 1 else None


def doubt(v: View) -> str:
    """What has to be said of a sentence about the CUDA of an old build, where nobody read its source again."""
    row = old_torch(v)
    return RECALLED if row and row.evidence == "recalled" and v.torch_cuda is None else ""


def archs_doubt(v: View) -> str:
    """The same of its architectures."""
    if v.archs or (nums(v.torch_version) or (9,))[0] >= 2:
        return ""
    row = v.matrix.old_builds.get(".".join((likely_cuda(v) or "").split(".")[:2]))
    return RECALLED if row and row.evidence == "recalled" else ""


def old_tags(matrix: Matrix) -> frozenset[str]:
    """Variants (``cu113``) that the PyTorch index has for releases before 2.0 alone."""
    return frozenset("cu" + cuda.replace(".", "") for cuda in {*matrix.old_cuda, *matrix.old_builds}) | {"cu75"}


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
    old = matrix.old_cuda.get(major_minor)
    return (old.windows if windows else old.linux) if old else None


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
    row = v.matrix.old_builds.get(".".join(cuda.split(".")[:2]))
    return tuple("sm_" + a.replace(".", "") for a in row.archs) if row else ()


def only_assumed(v: View, capability: str) -> bool:
    """Whether a paste leaves the build open and another build of that release than PyPI's has code for the GPU."""
    if not v.pasted or v.archs or v.torch_cuda is not None or v.cpu_build or _asked_cuda(v) is not None:
        return False
    torch, have = nums(v.torch_version), nums(capability)
    rows = v.matrix.builds(v.platform) if v.platform and torch else ()
    exact = {capability_of(a) for r in rows if r.key[: len(torch or ())] == (torch or ())[:3] for a in r.archs}
    return have is not None and any(a[0] == have[0] and a[1] <= have[1] for a in exact)


def newer_than_toolkit(capability: str, toolkit: tuple[int, ...], matrix: Matrix) -> bool:
    """Whether a compute capability came after a CUDA toolkit: by driver branch, before CUDA 11 by what it compiled."""
    row, cuda = matrix.architectures.get(capability), matrix.cuda.get(".".join(map(str, toolkit[:2])))
    if row is not None and row.first_branch and cuda is not None and cuda.linux:
        return int(row.first_branch) > int(cuda.linux.split(".")[0])
    old = {cuda: r for cuda, r in matrix.old_builds.items() if cuda in matrix.old_cuda}
    rows = [r for cuda, r in old.items() if (nums(cuda) or ()) <= toolkit[:2]]
    oldest = min((nums(cuda) or () for cuda in old), default=())
    common = matrix.limits.get("common_arch_from")
    if toolkit[:2] < oldest or rows:
        compiled = max(
            (nums(a) or () for r in rows for a in r.archs), default=nums(common.value if common else "") or ()
        )
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
