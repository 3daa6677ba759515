"""Judges of cuda-context, memory, transfer, nccl and p2p."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks.base import FAIL, PASS, WARN
from .numeric import count, number
from .words import Context, Device, Judged, figures, need

# GB/s (10**9 bytes) per lane and direction, after line coding: PCI Express base specifications 1.0 to 6.0
LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
# packets of 256 bytes with 20 to 30 bytes of header leave 0.9 of the link (PCI Express base specification, transaction
# layer); pinned copies of 256 MiB reached 0.86 on an H100 and an H200 (docs/evidence), so half is a fault
LINK_SHARE = 0.5


def pair_in_words(driver: str | None, runtime: str | None) -> str:
    """How the driver's CUDA and the one that torch was built for get along."""
    if not driver or not runtime:
        return f"driver speaks CUDA {driver or 'unknown'}, torch was built for CUDA {runtime or 'unknown'}"
    have, want = (tuple(int(p) for p in v.split(".")[:2]) for v in (driver, runtime))
    if have >= want:
        how = "toolkit-exact"
    elif have[0] == want[0]:
        how = "by minor-version compatibility"
    else:
        how = "by a forward-compatibility package"
    return f"driver speaks CUDA {driver}, torch was built for CUDA {runtime}: {how}"


def property_faults(facts: Mapping[str, Any], device: Device | None) -> list[str]:
    """Where torch's properties contradict NVML's or the matrix. Memory: torch's total is what the driver leaves of it.

    It keeps some hundred MiB (0.6 % of an H100), and ECC on GDDR memory takes a sixteenth (inferred, not measured
    here): below 0.85 or above 1.01 they are not figures of one card.

    ``gpu`` holds what NVML said, and what the matrix knows of the card where NVML did not say; where these two
    disagree, identification has written it into ``gpu.errors``.
    """
    gpu = device.gpu if device else None
    if gpu is None:
        return []
    out = [text for text in gpu.errors if "compute capability" in text]
    if gpu.mig or "MIG" in str(facts.get("name")):
        return out  # a slice has a name and a memory of its own
    for key, own in (("name", gpu.name), ("compute_capability", gpu.compute_capability)):
        if own and facts.get(key) and str(facts[key]) != own:
            out.append(f"torch says {key.replace('_', ' ')} {facts[key]}, the driver and the matrix say {own}")
    memory = number(facts.get("memory_mib"))
    if gpu.memory_mib and memory and not 0.85 * gpu.memory_mib <= memory <= 1.01 * gpu.memory_mib:
        out.append(f"torch sees {memory:.0f} MiB of memory, the driver {gpu.memory_mib} MiB")
    return out


def judge_context(facts: Mapping[str, Any], context: Context) -> Judged:
    """The sum and the copy are exact. The events enclose less than the wall clock does, which also counts launching and
    waiting: their time is positive and at most the wall time, with 5 % and 0.1 ms for two clocks that differ (events
    resolve half a microsecond: CUDA Runtime API, cudaEventElapsedTime)."""
    faults = []
    if need(facts, "sum") != need(facts, "expected_sum"):
        faults.append(f"the first kernel gave {facts['sum']}, right is {facts['expected_sum']}")
    if need(facts, "round_trip") is not True:
        faults.append("data copied to the device and back are not what they were")
    keys = (
        "sum",
        "round_trip",
        "event_ms",
        "wall_ms",
        "name",
        "compute_capability",
        "memory_mib",
        "sms",
        "archs",
        "driver_cuda",
        "runtime",
    )
    measured = {k: facts[k] for k in keys if k in facts}
    wall = number(need(facts, "wall_ms")) or 0.0
    if context.rehearsal:
        return _context_verdict(faults, [], "a kernel gave the right sum and data came back unchanged", measured)
    event = number(need(facts, "event_ms"))
    if event is None or not 0.0 < event <= wall * 1.05 + 0.1:
        faults.append(f"events measured {event} ms for work that took {wall:.2f} ms")
    warnings = property_faults(facts, context.device)
    pair = pair_in_words(facts.get("driver_cuda"), facts.get("runtime"))
    name = facts.get("name") or "the GPU"
    return _context_verdict(faults, warnings, f"{name} computes, copies and keeps time; {pair}", measured)


def _context_verdict(faults: list[str], warnings: list[str], good: str, measured: Mapping[str, Any]) -> Judged:
    status = FAIL if faults else WARN if warnings else PASS
    said = [*faults, *warnings]
    return Judged(
        status=status,
        summary=said[0] if said else good,
        measured=measured,
        expected={"round_trip": True},
        evidence=tuple(said),
    )


def judge_memory(facts: Mapping[str, Any], context: Context) -> Judged:
    """Nothing is tolerated: what was written must be read. Counters are compared with themselves before the test."""
    wrong, size = count(facts, "wrong"), count(facts, "bytes")
    before = facts.get("before") if isinstance(facts.get("before"), Mapping) else {}
    after = facts.get("after") if isinstance(facts.get("after"), Mapping) else {}
    assert isinstance(before, Mapping) and isinstance(after, Mapping)  # for the type checker
    faults, warnings = [], []
    if size <= 0:
        faults.append("no memory could be allocated")
    if wrong:
        faults.append(f"{wrong} of the values read back differ from what was written")
    new = (number(after.get("uncorrected")) or 0) - (number(before.get("uncorrected")) or 0)
    if new > 0:
        faults.append(f"{new:.0f} uncorrected ECC errors appeared during the test")
    if after.get("remap_failed"):
        faults.append("row remapping failed: the card is due for replacement")
    if after.get("remap_pending"):
        warnings.append("a row is waiting to be remapped: the GPU needs a reset")
    rows = (number(after.get("remapped")) or 0) - (number(before.get("remapped")) or 0)
    if rows > 0:
        warnings.append(f"{rows:.0f} rows of memory were remapped during the test")
    repaired = (number(after.get("corrected")) or 0) - (number(before.get("corrected")) or 0)
    if repaired > 0:
        warnings.append(f"{repaired:.0f} ECC errors were corrected during the test")
    said = [*faults, *warnings]
    counted = number(before.get("uncorrected")) is not None and number(after.get("uncorrected")) is not None
    ecc = "ECC counters stood still" if counted else "the card has no ECC counters"
    return Judged(
        status=FAIL if faults else WARN if warnings else PASS,
        summary=said[0] if said else f"{size / 2**30:.1f} GiB kept five patterns, {ecc}",
        measured={"bytes": size, "wrong": wrong, "before": dict(before) or None, "after": dict(after) or None},
        expected={"wrong": 0},
        evidence=tuple(said),
    )


def judge_transfer(facts: Mapping[str, Any], context: Context) -> Judged:
    rates, equal = figures(facts, "rates"), figures(facts, "equal")
    link = facts.get("link") if isinstance(facts.get("link"), Mapping) else {}
    assert isinstance(link, Mapping)  # for the type checker
    faults = [f"{how} copies changed the data" for how, same in equal.items() if same is not True]
    warnings = _link_warnings(link, rates) if not context.rehearsal else []
    said = [*faults, *warnings]
    words = ", ".join(f"{what} {number(rate) or 0:.1f} GB/s" for what, rate in rates.items())
    return Judged(
        status=FAIL if faults else WARN if warnings else PASS,
        summary=said[0] if said else words,
        measured={"rates": dict(rates), "equal": dict(equal), "link": dict(link) or None},
        expected={"equal": True, "share of the link": LINK_SHARE},
        evidence=(*said, words),
    )


def _link_warnings(link: Mapping[str, Any], rates: Mapping[str, Any]) -> list[str]:
    """A link below its best under load, and pinned copies far below what the link carries."""
    generation, width = number(link.get("generation")), number(link.get("width"))
    most, widest = number(link.get("max_generation")), number(link.get("max_width"))
    if not generation or not width:
        return []
    out = []
    if (most and generation < most) or (widest and width < widest):
        best = f"PCIe {most or generation:.0f} x{widest or width:.0f}"
        out.append(f"the link runs at PCIe {generation:.0f} x{width:.0f} under load, the card and slot can {best}")
    carries = LANE.get(int(generation), 0.0) * width
    for what, rate in rates.items():
        value = number(rate)
        if what.startswith("pinned") and value is not None and value < LINK_SHARE * carries:
            out.append(f"{what}: {value:.1f} GB/s, the link carries {carries:.1f} GB/s")
    return out


def judge_nccl(facts: Mapping[str, Any], context: Context) -> Judged:
    """The first attempt must be right; after a hang, the first retry that works names the cause."""
    attempts = list(need(facts, "attempts"))
    ranks = count(facts, "ranks")
    backend = str(facts.get("backend", "nccl")).upper()
    first = attempts[0] if attempts else {}
    measured = {"ranks": ranks, "version": facts.get("version"), "attempts": attempts}
    expected = {"codes": [0] * ranks}
    if not attempts:
        return Judged(status=FAIL, summary="no collective ran", measured=measured, expected=expected)
    lost = [f"rank {rank} stopped in: {stage}" for rank, stage in sorted((first.get("missing") or {}).items())]
    evidence = (*lost, *[str(f) for f in first.get("failed") or ()])
    if first.get("wrong"):
        text = f"{backend} gave wrong values: {', '.join(first['wrong'])}"
        return Judged(status=FAIL, summary=text, measured=measured, expected=expected, evidence=evidence)
    if first.get("codes") == [0] * ranks:
        done = len(first.get("facts") or ())
        text = f"{backend}: {done} collectives across {ranks} {'ranks' if ranks > 1 else 'rank'}, every value exact"
        return Judged(status=PASS, summary=text, measured=measured, expected=expected)
    if first.get("hung"):
        cured = next((a for a in attempts[1:] if a.get("codes") == [0] * ranks), None)
        text = f"{backend} hangs" + (
            f", and does not {cured['how']}: that is the cause" if cured else f" in: {first.get('stages')}"
        )
        return Judged(status=FAIL, summary=text, measured=measured, expected=expected, evidence=evidence)
    text = lost[0] if lost else f"ranks ended with codes {first.get('codes')}"
    return Judged(status=FAIL, summary=f"{backend}: {text}", measured=measured, expected=expected, evidence=evidence)


def judge_p2p(facts: Mapping[str, Any], context: Context) -> Judged:
    """Bytes are copied, so nothing is tolerated."""
    pairs = list(need(facts, "pairs"))
    bad = [f"GPU {p['from']} to GPU {p['to']}: {p['wrong']} wrong bytes" for p in pairs if p.get("wrong") != 0]
    direct = sum(1 for p in pairs if p.get("direct"))
    return Judged(
        status=FAIL if bad or not pairs else PASS,
        summary=bad[0] if bad else f"{len(pairs)} copies between GPUs arrived unchanged, {direct} of them peer to peer",
        measured={"pairs": pairs},
        expected={"wrong": 0},
        evidence=tuple(bad),
    )
