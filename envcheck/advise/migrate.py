"""``gpus compare OLD NEW --for MODEL``: what changes when a model moves from one card to another."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..matrix import Build, Matrix, version_key
from .architectures import Architecture
from .choice import adapt
from .fitting import headroom, largest_batch, largest_seq
from .memory import GIB, estimate
from .precision import advise_precision
from .specs import Card
from .throughput import speed
from .workload import Workload

PLATFORM = "linux-x86_64"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the comparison. ``note`` is empty where the two agree or speak for themselves."""

    what: str
    old: str
    new: str
    note: str = ""


def runs_on(build: Build, capability: str, matrix: Matrix) -> bool:
    """Whether a wheel has machine code or PTX for a compute capability (same major, not newer)."""
    row = matrix.architectures.get(capability)
    wanted = version_key(capability)
    native = {capability, *(row.runs or ())} if row and row.runs is not None else None
    for code in build.sass:
        own = version_key(code)
        if code in native if native is not None else own[0] == wanted[0] and own <= wanted:
            return True
    return any(version_key(code) <= wanted for code in build.ptx)


def torch_range(capability: str, matrix: Matrix) -> tuple[str, str] | None:
    """(oldest, newest) torch release whose CUDA wheels for Linux run on a chip; None: no listed one does."""
    found = sorted(
        {b.torch for b in matrix.builds(PLATFORM) if b.cuda and runs_on(b, capability, matrix)}, key=version_key
    )
    return (found[0], found[-1]) if found else None


def compare(old: Card, new: Card, matrix: Matrix) -> tuple[Line, ...]:
    """The two cards, figure by figure."""
    lines = [
        Line(what="memory, GiB", old=f"{old.memory_gib:g}", new=f"{new.memory_gib:g}"),
        Line(
            what="bandwidth, GB/s",
            old=f"{old.bandwidth:g}",
            new=f"{new.bandwidth:g}",
            note=_ratio(old.bandwidth, new.bandwidth),
        ),
        Line(what="SMs", old=str(old.sm_count), new=str(new.sm_count)),
        Line(what="compute capability", old=old.compute_capability, new=new.compute_capability),
    ]
    for kind, label in (
        ("fp32", "FP32, TFLOPS"),
        ("fp16_acc32", "FP16 Tensor (FP32 accumulate), TFLOPS"),
        ("bf16", "BF16 Tensor, TFLOPS"),
        ("tf32", "TF32 Tensor, TFLOPS"),
        ("fp8", "FP8 Tensor, TFLOPS"),
    ):
        a, b = old.peak(kind), new.peak(kind)
        if a is not None or b is not None:
            lines.append(Line(what=label, old=_figure(a), new=_figure(b), note=_ratio(a, b)))
    lines.append(Line(what="board power, W", old=_figure(old.tdp_w), new=_figure(new.tdp_w)))
    lines.append(Line(what="PCIe", old=old.row.pcie or "not known", new=new.row.pcie or "not known"))
    lines.append(Line(what="NVLink, GB/s one way", old=_link(old), new=_link(new)))
    lines.append(_torch(old, new, matrix))
    return tuple(lines)


def migration(old: Card, new: Card, arch: Architecture, work: Workload, fixed: bool) -> tuple[Line, ...]:
    """What changes for one model: precision, batch, length, attention kernel, speed."""
    works = [adapt(work, card, fixed) for card in (old, new)]
    pair = list(zip((old, new), works, strict=True))
    advice = [advise_precision(card) for card in (old, new)]
    need = [estimate(arch, w) for w in works]
    rooms = [headroom(e, c.memory_gib) for e, c in zip(need, (old, new), strict=True)]
    batches = [largest_batch(arch, w, c.memory_gib) for c, w in pair]
    lines = [
        Line(
            what="precision",
            old=works[0].precision,
            new=works[1].precision,
            note=_precision_note(advice[0].train, advice[1].train),
        ),
        Line(what="GradScaler", old=_scaler(works[0]), new=_scaler(works[1])),
        Line(
            what="attention kernel",
            old=advice[0].attention,
            new=advice[1].attention,
            note="" if advice[0].attention == advice[1].attention else "flash needs compute capability 8.0",
        ),
        Line(
            what=f"memory at batch {work.batch}, GiB",
            old=f"{need[0].peak / GIB:.1f} ({rooms[0]})",
            new=f"{need[1].peak / GIB:.1f} ({rooms[1]})",
        ),
        Line(what="largest batch", old=str(batches[0]), new=str(batches[1]), note=_ratio(batches[0], batches[1])),
    ]
    if arch.kind != "resnet":
        longest = [largest_seq(arch, w, c.memory_gib) for c, w in pair]
        lines.append(Line(what=f"longest sequence at batch {work.batch}", old=str(longest[0]), new=str(longest[1])))
    try:
        rates = [speed(c, arch, w) for c, w in pair]
    except UsageError as error:
        return (*lines, Line(what="speed", old="", new="", note=str(error)))
    lines.append(
        Line(
            what=f"predicted {rates[0].unit}",
            old=f"{rates[0].value:.3g}",
            new=f"{rates[1].value:.3g}",
            note=_ratio(rates[0].value, rates[1].value),
        )
    )
    return tuple(lines)


def _torch(old: Card, new: Card, matrix: Matrix) -> Line:
    ranges = [torch_range(c.compute_capability, matrix) for c in (old, new)]
    said = [f"{r[0]} to {r[1]}" if r else "none listed" for r in ranges]
    note = ""
    if ranges[1] and (not ranges[0] or version_key(ranges[1][0]) > version_key(ranges[0][0])):
        note = f"a torch older than {ranges[1][0]} has no code for the new card"
    elif ranges[0] and ranges[1] and version_key(ranges[1][1]) < version_key(ranges[0][1]):
        note = f"a torch newer than {ranges[1][1]} has no code for the new card"
    return Line(what="torch wheels with its code", old=said[0], new=said[1], note=note)


def _precision_note(old: str, new: str) -> str:
    if old == new:
        return ""
    if new == "bf16-amp":
        return "BF16 is native on the new card"
    return "the new card has no native BF16: weights saved in BF16 must be cast" if old == "bf16-amp" else ""


def _scaler(work: Workload) -> str:
    return (
        "needed"
        if work.precision in ("fp16-amp", "fp16-o2") or (work.frozen and work.precision == "fp16")
        else "not needed"
    )


def _link(card: Card) -> str:
    link = card.row.nvlink_gb_s
    return "not known" if link is None else "none" if link == 0 else f"{link:g}"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _ratio(old: float | None, new: float | None) -> str:
    return f"x {new / old:.2f}" if old and new and old != new else ""
