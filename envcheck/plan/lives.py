"""What a chosen build costs later: warnings about code that is missing, lives that end, facts nobody confirmed."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from ..matrix import Build, Matrix, version_key
from ..model import Machine
from .choose import Verdict, coverage, drives, name
from .driver import DriverOption, branch_number
from .target import Target


@functools.lru_cache(maxsize=512)
def span(matrix: Matrix, platform: str, section: str, cc: str) -> tuple[Build, Build] | None:
    """(first, last) build of a platform with code for a compute capability; None where there is none."""
    found = [b for b in matrix.builds(platform, section) if b.cuda and coverage(b, cc, matrix, None) != "unsupported"]
    if not found:
        return None
    key = lambda b: (b.key, b.channel != "unlisted", b.cuda_key)  # noqa: E731 - one expression, used twice
    return min(found, key=lambda b: (b.key, b.channel == "unlisted", b.cuda_key)), max(found, key=key)


@functools.lru_cache(maxsize=64)
def newest(matrix: Matrix, platform: str, section: str) -> tuple[int, ...]:
    return max((b.key for b in matrix.builds(platform, section)), default=(0,))


def warnings(
    machine: Machine, target: Target, matrix: Matrix, section: str, verdict: Verdict, option: DriverOption
) -> Iterator[str]:
    """Sentences for the user, most pressing first."""
    build = verdict.build
    yield from _unconfirmed(build)
    if build.cuda is None:
        return
    if option.action == "keep" and machine.problems.get("driver"):
        yield f"the driver is kept as it is, but it may not work: {machine.problems['driver']}. Ask `envcheck doctor`"
    if verdict.rule == "minor-version":
        yield (
            f"{name(build)} runs on {option.view.label} by minor-version compatibility: kernels that are compiled at "
            "run time to PTX of the newer CUDA (torch.compile, custom extensions) may ask for a newer driver"
        )
    if "ptx" in verdict.how:
        yield (
            f"{name(build)} reaches a GPU here by PTX alone: the driver compiles it at the first start, which takes "
            "minutes, and CUDA's own libraries in it were not made for that GPU"
        )
    yield from _last_release(target, matrix, section)
    yield from _cudnn(build, target, matrix)
    yield from _branch(target, matrix, option)
    distro = matrix.distro(machine.os.id, machine.os.version)
    if distro is not None and distro.ended:
        yield f"{distro.name} is out of support: its mirrors may be gone and its glibc stays old"


def _unconfirmed(build: Build) -> Iterator[str]:
    ask = "`envcheck plan --online` asks the index whether it is there"
    if build.channel == "unlisted":
        yield (
            f"{name(build)} is unlisted{'' if build.verified else ' and unverified'}: it is on PyTorch's index but on "
            f"none of its pages, and may go without notice (source: {build.source}). {ask}"
        )
    elif not build.verified:
        yield (
            f"{name(build)} is unverified: neither its bytes nor an official install command was seen "
            f"(source: {build.source}). {ask}"
        )


def _last_release(target: Target, matrix: Matrix, section: str) -> Iterator[str]:
    seen = set()
    for gpu in target.gpus:
        cc = gpu.compute_capability or ""
        life = span(matrix, target.platform, section, cc)
        if cc in seen or life is None or life[1].key >= newest(matrix, target.platform, section):
            continue
        seen.add(cc)
        yield (
            f"torch {life[1].torch} is the last release with code for compute capability {cc}"
            f"{f' ({gpu.name})' if gpu.name else ''}: later ones have none"
        )


def _cudnn(build: Build, target: Target, matrix: Matrix) -> Iterator[str]:
    row = matrix.cudnn.get((build.cudnn or "", (build.cuda or "").partition(".")[0]))
    if row is None:
        return
    for gpu in target.gpus:
        own = version_key(gpu.compute_capability or "0")
        held = [version_key(s) for s in row.sass]
        if not any(s[0] == own[0] and s <= own for s in held) and not any(version_key(p) <= own for p in row.ptx):
            yield (
                f"cuDNN {build.cudnn} of {name(build)} has no code for {gpu.name or 'this GPU'} "
                f"(compute capability {gpu.compute_capability}): convolutions fail unless cuDNN is turned off "
                "(torch.backends.cudnn.enabled = False)"
            )


def _branch(target: Target, matrix: Matrix, option: DriverOption) -> Iterator[str]:
    if option.branch is not None or not option.view.version or target.kind == "jetson":
        return
    branch = matrix.branch_of(option.view.version, option.view.windows)
    if branch is None or int(branch.branch) != branch_number(option.view):
        return
    last = {
        row.last_branch
        for g in target.gpus
        if (row := matrix.architectures.get(g.compute_capability or "")) is not None
        and drives(int(branch.branch), g.compute_capability or "", matrix)
    }
    if branch.ended:
        when = f" ({branch.eol})" if branch.eol else ""
        yield f"driver branch {branch.branch} is out of support{when}: it gets no security fixes any more"
    if branch.branch in last:
        yield (
            f"driver branch {branch.branch} is the last one for this GPU"
            + (f"; its life ends {branch.eol}" if branch.eol and not branch.ended else "")
        )
