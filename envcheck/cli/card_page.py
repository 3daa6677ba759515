"""One card in full: as JSON, and as the page that ``gpus show`` prints."""

from __future__ import annotations

from typing import Any

from ..advise.precision import advise_precision
from ..advise.specs import PEAKS, Card, identities
from .tables import cell


def card_json(card: Card) -> dict[str, Any]:
    """Everything about a card; peaks in dense TFLOPS by precision and accumulate type."""
    return {
        "name": card.name,
        "family": card.row.family,
        "laptop": card.row.laptop,
        "architecture": card.row.architecture,
        "chip": card.row.chip,
        "compute_capability": card.compute_capability,
        "sm_count": card.sm_count,
        "cores": card.cores,
        "tensor_cores": card.row.tensor_cores,
        "memory_gib": card.memory_gib,
        "memory_type": card.memory_type,
        "bus_bits": card.bus_bits,
        "memory_gbps": card.memory_gbps,
        "bandwidth_gb_s": card.bandwidth,
        "boost_mhz": card.boost_mhz,
        "rated_mhz": card.rated_mhz,
        "peak_tflops": {k: None if (p := card.peak(k)) is None else round(p, 1) for k in PEAKS},
        "tdp_w": card.tdp_w,
        "gflops_per_watt": None if card.per_watt is None else round(card.per_watt, 1),
        "pcie": card.row.pcie,
        "pcie_gb_s": None if card.pcie_gb_s is None else round(card.pcie_gb_s, 1),
        "nvlink_gb_s": card.row.nvlink_gb_s,
        "release_date": card.row.release_date,
        "identities": [{"text": i.text, "holds": i.holds} for i in identities(card)],
        "sources": [card.source, *([card.rates["source"]] if card.rates else [])],
    }


def page(card: Card) -> list[str]:
    row = card.row
    lines = [
        card.name,
        f"  {row.architecture} {row.chip}, compute capability {card.compute_capability}, {_tensor(card)}",
    ]
    lines.append(f"  {card.sm_count} SMs, {cell(card.cores)} cores, boost {card.boost_mhz:g} MHz")
    lines.append(
        f"  {card.memory_gib:g} GiB {card.memory_type or ''}, {cell(card.bus_bits)} bit, {card.bandwidth:g} GB/s"
    )
    lines.append(f"  board power {cell(card.tdp_w)} W, PCIe {row.pcie or 'not known'}, NVLink {_nvlink(card)}")
    lines.append("peaks, dense, TFLOPS (SMs x multiply-adds per SM and clock x 2 x clock):")
    rates = card.rates or {}
    for kind, label in PEAKS.items():
        peak = card.peak(kind)
        how = "" if peak is None else f"  {card.sm_count} x {rates[kind]} x 2 x {card.clock_mhz(kind):g} MHz"
        lines.append(f"  {label:<30} {cell(peak):>8}{how}")
    if card.rates is None:
        lines.append("  the rates of this chip are not known here")
    if card.tensor is not None and rates["id"] not in ("GV100", "TU10x GeForce", "TU10x"):
        lines.append("  2:4 sparsity doubles the Tensor figures on paper; dense models do not have it")
    if rates.get("caveat"):
        lines.append(f"  {rates['caveat']}")
    if row.laptop:
        lines.append("  a laptop's maker sets power and clock: 0.98 to 2.1 times these rates were measured")
    lines.append("checks:")
    lines += [
        f"  {'holds' if i.holds else 'FAILS' if i.holds is False else 'not checkable'}: {i.text}"
        for i in identities(card)
    ]
    lines.append("precision:")
    lines += [f"  {w}" for w in advise_precision(card).why]
    lines.append("sources:")
    lines += [f"  {s}" for s in card_json(card)["sources"]]
    return lines


def _tensor(card: Card) -> str:
    generation = card.row.tensor_cores
    return (
        "Tensor Cores not known"
        if generation is None
        else f"Tensor Cores generation {generation}"
        if generation
        else "no Tensor Cores"
    )


def _nvlink(card: Card) -> str:
    link = card.row.nvlink_gb_s
    return "not known" if link is None else f"{link:g} GB/s one way" if link else "none"
