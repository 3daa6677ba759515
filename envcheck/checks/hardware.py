"""Checks of the card itself: bus, memory, clocks, power. They come first: nothing above works on broken hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .base import CERTAIN, STRONG, WEAK, Outcome, Proof
from .details import entries, events, gpu_details, positive, truthy, xids
from .fixes import by_hand, step
from .judge import fact, judge
from .view import View

AREA = "hardware"
FULL_USE = 90  # per cent
SLOW_FACTOR = 3  # clocks this many times below the highest seen are no ordinary boost behaviour


def _gpu_errors(v: View, *words: str) -> Iterable[Proof]:
    for gpu in v.gpus:
        for error in gpu.errors:
            if any(w in error.lower() for w in words):
                yield Proof(text=f"GPU {gpu.index}: {error}", strength=CERTAIN)


def gpu_fell_off_bus(v: View) -> Outcome:
    """A GPU has left the PCIe bus.

    Why: the driver can no longer reach the card (Xid 79, or NVML's GPU_IS_LOST). Programs that use it hang or fail,
    and only a reboot brings it back. Power, seating, riser, heat and firmware are the usual reasons.
    Fix: power the machine off completely, reseat the card and its power connectors, then look at temperature and at
    the PCIe link; `nvidia-smi -pl` lowers the load for a test.
    References: https://docs.nvidia.com/deploy/xid-errors/index.html
    """
    silent = [e for e in entries(v, "lspci") if str(e.get("revision", e.get("rev", ""))).lower() == "ff"]
    facts = (
        *fact("the kernel logged Xid 79: GPU has fallen off the bus", CERTAIN, 79 in xids(v)),
        *fact("the kernel logged that a GPU is lost", CERTAIN, "gpu_lost" in events(v)),
        *_gpu_errors(v, "lost", "fallen off"),
        *fact("lspci shows the card with revision ff: it does not answer on the bus", STRONG, silent),
    )
    return judge(
        v,
        "gpu-fell-off-bus",
        "a GPU has fallen off the PCIe bus",
        facts=facts,
        looked=bool(v.gpus),
        quiet="every GPU answers",
        fix=lambda: by_hand(
            "power the machine off (not only a reboot), reseat the card, its riser and its power connectors",
            reboot=True,
        ),
    )


# the counters say that nothing is wrong, and no program says that it ran into an error
REMAP_CLEAN = r"Pending\s{0,40}: No[\s\S]{0,200}Remapping Failure Occurred\s{0,40}: No"
ECC_HIT = (
    r"ECC error encountered|CUDA error|\bXid\b|CUDA_ERROR_ECC|cudaErrorECC|Uncorrectable(?: Error)?\s{0,40}: [1-9]"
)


def gpu_ecc_error(v: View) -> Outcome:
    """The GPU's memory has an uncorrectable error, or a row remap is pending or has failed.

    Why: results computed since then cannot be trusted, and the driver ends the processes that touched the page
    (Xid 48, 63, 64, 94, 95). A pending remap needs a reset of the GPU; a failed one means that the card is worn out.
    Fix: drain the node, reset the GPU or reboot; return the card when it comes again or a remap fails.
    References: https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html
    """
    bad = sorted(xids(v) & {48, 63, 64, 94, 95})
    facts = (
        *fact(f"the kernel logged Xid {', '.join(map(str, bad))}", CERTAIN, bad),
        *_gpu_errors(v, "ecc", "remap", "retired"),
        *_memory_errors(v),
    )
    return judge(
        v,
        "gpu-ecc-error",
        "the GPU's memory has uncorrectable errors",
        facts=facts,
        looked=bool(v.gpus),
        quiet="no ECC error was reported",
        at_most=WEAK if not facts and v.has(REMAP_CLEAN) and not v.has(ECC_HIT) else 100,
        fix=lambda: (
            step(
                "gpu-reset", "reset the GPU while nothing uses it (or reboot)", "nvidia-smi", "--gpu-reset", root=True
            ),
            *by_hand("if it comes again, or `nvidia-smi -q -d ROW_REMAPPER` shows a failure: return the card"),
        ),
    )


def _memory_errors(v: View) -> Iterable[Proof]:
    """Pending or failed repairs, and uncorrectable errors that were counted since the last reset."""
    for index, details in gpu_details(v):
        rows = details.get("remapped_rows")
        if isinstance(rows, Mapping):
            for key in ("pending", "failure"):
                if truthy(rows.get(key)):
                    yield Proof(text=f"GPU {index}: row remap {key}: yes", strength=CERTAIN)
        retired = details.get("retired_pages")
        if isinstance(retired, Mapping) and any(truthy(x) and "pending" in k for k, x in retired.items()):
            yield Proof(text=f"GPU {index}: page retirement is pending", strength=CERTAIN)
        volatile = (
            (details.get("ecc_errors") or {}).get("volatile")
            if isinstance(details.get("ecc_errors"), Mapping)
            else None
        )
        for key, count in volatile.items() if isinstance(volatile, Mapping) else ():
            if "uncorrect" in key.lower() and positive(count):
                yield Proof(text=f"GPU {index}: {count} uncorrectable ECC errors ({key})", strength=STRONG)


def pci_bar_unassigned(v: View) -> Outcome:
    """The firmware or the kernel gave the card's memory no address.

    Why: a GPU with much memory needs a large window of 64-bit addresses. Without it the driver loads and finds no
    usable device: `RmInitAdapter failed`, `BAR1 is 0M`, "No devices were found".
    Fix: turn "Above 4G decoding" on in the firmware, or boot with `pci=realloc`; in a virtual machine the
    hypervisor must give it more MMIO space.
    References: https://www.kernel.org/doc/html/latest/PCI/index.html
    """
    unassigned = v.fact("unassigned_bars")
    windows = [str(x) for x in unassigned] if isinstance(unassigned, list | tuple) else []
    return judge(
        v,
        "pci-bar-unassigned",
        "the GPU's memory window (BAR) has no address",
        facts=(
            *_gpu_errors(v, "bar ", "i/o region"),
            *fact("the kernel logged that the card's PCI I/O region is invalid", CERTAIN, "bar_invalid" in events(v)),
            *fact(f"{', '.join(windows)[:120]} has no address", CERTAIN, windows and not v.pasted),
        ),
        looked=v.fact("unassigned_bars") is not None and not windows,
        quiet="the cards' memory windows have addresses",
        fix=lambda: by_hand(
            "turn on 'Above 4G decoding' in the firmware (or boot with pci=realloc; in a VM: a larger MMIO window)",
            reboot=True,
        ),
    )


def power_insufficient(v: View) -> Outcome:
    """The power supply cannot carry the load: the machine resets or freezes and logs nothing.

    Why: a GPU draws short peaks far above its average. A supply, a cable or a slot that cannot follow cuts out, and
    as the kernel dies with the power nothing is written to the log.
    Fix: a larger supply, one cable for each connector; `nvidia-smi -pl WATTS` shows whether a lower limit helps.
    References: https://docs.nvidia.com/deploy/gpu-debug-guidelines/index.html
    """
    return judge(
        v,
        "power-insufficient",
        "the machine goes down under GPU load without a word in the log: power is the likely cause",
        at_most=STRONG + 10,
        fix=lambda: by_hand(
            "lower the limit for a test (sudo nvidia-smi -pl WATTS); if it holds, a larger supply and separate cables"
        ),
    )


def _throttled_details(v: View) -> Iterable[Proof]:
    for index, details in gpu_details(v):
        for reason in details.get("throttle_reasons") or ():
            if any(w in str(reason).lower() for w in ("slowdown", "thermal", "power_brake")):
                yield Proof(text=f"GPU {index}: clocks held down by {reason}", strength=STRONG)


def _slow_at_full_use(v: View) -> Iterable[Proof]:
    """``nvidia-smi dmon``: a clock far below the highest one seen, at full use."""
    rows = [r for r in entries(v, "dmon") if isinstance(r.get("pclk"), int | float)]
    highest = max((r["pclk"] for r in rows), default=0)
    for row in rows:
        used = row.get("sm")
        if isinstance(used, int | float) and used >= FULL_USE and row["pclk"] * SLOW_FACTOR < highest:
            yield Proof(
                text=f"GPU {row.get('gpu')}: {row['pclk']} MHz at {used} % use, and {highest} MHz before",
                strength=STRONG + 5,
            )
            return


def gpu_throttled(v: View) -> Outcome:
    """The GPU's clocks are held down by temperature, battery or the power brake.

    Why: everything is right and slow: the card runs at a fraction of its clock, for instance at 139 MHz with 100 %
    use on a laptop without its power cord.
    Fix: mains power, cooling, the power limit; on Linux laptops also the thermal daemon.
    References: https://docs.nvidia.com/deploy/nvidia-smi/index.html
    """
    return judge(
        v,
        "gpu-throttled",
        "the GPU is throttled: its clocks are held down",
        facts=(*_throttled_details(v), *_slow_at_full_use(v)),
        fix=lambda: (
            step("throttle", "see what holds the clocks", "nvidia-smi", "-q", "-d", "PERFORMANCE,CLOCK,TEMPERATURE"),
            *by_hand("connect mains power, clean or improve the cooling, raise the power limit"),
        ),
    )


CHECKS = (gpu_fell_off_bus, gpu_ecc_error, pci_bar_unassigned)
LATE_CHECKS = (gpu_throttled, power_insufficient)
