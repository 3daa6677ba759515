"""What a card can do, by formula: TFLOPS = SMs x multiply-adds per SM per clock x 2 x clock, bandwidth = bus x rate.

The numbers are columns of ``gpus`` in compat_matrix.json; ``rates.json`` holds the multiply-adds of each kind of SM.
Every card checks itself (``identities``): a figure that no formula gives was copied from somewhere wrong.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..identify import find_gpu
from ..matrix import GpuRow, Matrix, version_key

RATES = Path(__file__).with_name("rates.json")
# what a person reads first: the precision, and what the products are added up in
PEAKS = {
    "fp32": "FP32",
    "fp16": "FP16 without Tensor Cores",
    "fp16_acc32": "FP16 Tensor, FP32 accumulate",
    "fp16_acc16": "FP16 Tensor, FP16 accumulate",
    "bf16": "BF16 Tensor, FP32 accumulate",
    "tf32": "TF32 Tensor, FP32 accumulate",
    "fp8": "FP8 Tensor, FP32 accumulate",
    "int8": "INT8 Tensor (TOPS)",
}
MODELS = {"ti", "super", "d", "a"}  # words that make another card of the same number
TOLERANCE = 0.025  # of a published bandwidth: data sheets round (B200: 8.18 computed, 8.0 printed)
# GB/s of one lane, one direction: 8b/10b coding below 3.0, then 128b/130b
LANE = {"1.0": 0.25, "1.1": 0.25, "2.0": 0.5, "3.0": 0.985, "4.0": 1.969, "5.0": 3.938}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One product with one memory size. None: no source says."""

    name: str
    row: GpuRow
    memory_gib: float
    sm_count: int
    cores: int | None
    boost_mhz: float
    rated_mhz: float | None
    memory_type: str | None
    bus_bits: int | None
    memory_gbps: float | None
    bandwidth: float  # GB/s
    tdp_w: float | None
    source: str

    @property
    def compute_capability(self) -> str:
        return self.row.compute_capability

    def clock_mhz(self, kind: str) -> float:
        """The clock of a published peak: Tensor rates of some data-centre cards are printed for less than boost."""
        return self.boost_mhz if kind in ("fp32", "fp16") else self.rated_mhz or self.boost_mhz

    @functools.cached_property
    def rates(self) -> Mapping[str, Any] | None:
        return rates_of(self.row)

    def peak(self, kind: str) -> float | None:
        """Dense TFLOPS (TOPS for int8) of one of ``PEAKS``; None where the chip has no such unit."""
        per_clock = (self.rates or {}).get(kind)
        return None if per_clock is None else self.sm_count * per_clock * 2 * self.clock_mhz(kind) / 1e6

    @property
    def tensor(self) -> float | None:
        """What ``torch.matmul`` in FP16 can reach: Tensor Cores, FP32 accumulate."""
        return self.peak("fp16_acc32")

    @property
    def per_watt(self) -> float | None:
        """GFLOPS per watt of board power: FP16 Tensor where there is one, else FP32."""
        best = self.tensor or self.peak("fp32")
        return None if best is None or not self.tdp_w else best * 1000 / self.tdp_w

    @property
    def pcie_gb_s(self) -> float | None:
        """One direction, all lanes."""
        generation, _, lanes = (self.row.pcie or "").partition(" x")
        return LANE[generation] * int(lanes) if generation in LANE and lanes.isdecimal() else None


@functools.cache
def rate_table() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(RATES.read_text(encoding="utf-8"))
    return loaded


def rates_of(row: GpuRow) -> Mapping[str, Any] | None:
    """The first row of ``rates.json`` that fits a card; None for a chip whose rates are not known."""
    for rates in rate_table()["rates"]:
        if row.compute_capability not in rates["compute_capability"]:
            continue
        if "names" in rates and row.name not in rates["names"]:
            continue
        if "families" in rates and row.family not in rates["families"]:
            continue
        if "tensor_cores" in rates and row.tensor_cores != rates["tensor_cores"]:
            continue
        found: Mapping[str, Any] = rates
        return found
    return None


def expand(row: GpuRow) -> tuple[Card, ...]:
    """The cards of a row: one, or one for each variant that shares the name."""
    variants: tuple[Mapping[str, Any], ...] = row.variants or ({},)
    return tuple(card for variant in variants if (card := _card(row, variant)) is not None)


def _card(row: GpuRow, variant: Mapping[str, Any]) -> Card | None:
    def value(name: str) -> Any:
        return variant.get(name, getattr(row, name))

    memory, sms, boost, bandwidth = (value(n) for n in ("memory_gib", "sm_count", "boost_mhz", "memory_bandwidth_gb_s"))
    if row.name is None or not all(isinstance(v, int | float) for v in (memory, sms, boost, bandwidth)):
        return None
    return Card(
        name=f"{row.name} {memory:g}GB" if variant else row.name,
        row=row,
        memory_gib=memory,
        sm_count=sms,
        cores=value("cores"),
        boost_mhz=boost,
        rated_mhz=row.rated_mhz,
        memory_type=row.memory_type,
        bus_bits=value("bus_bits"),
        memory_gbps=value("memory_gbps"),
        bandwidth=bandwidth,
        tdp_w=value("tdp_w"),
        source=value("spec_source") or row.source,
    )


@functools.lru_cache(maxsize=2)
def cards(matrix: Matrix) -> tuple[Card, ...]:
    """Every card with known figures, in the matrix' order."""
    found = [i for i, row in enumerate(matrix.data["gpus"]) if row.get("variants") or row.get("sm_count")]
    return tuple(card for row in matrix.gpu_rows(found) for card in expand(row))


def find_card(name: str, matrix: Matrix) -> Card:
    """The card of that name. ``UsageError`` names the nearest, or the memory sizes that the name was sold with."""
    known = cards(matrix)
    plain = re.sub(r"^NVIDIA ", "", name.strip())
    # nvidia-smi writes a laptop's "RTX 2080 Super" and a board's "RTX 2080 SUPER": letters count first, then boards
    if (same_case := next((c for c in known if c.name == plain), None)) is not None:
        return same_case
    order = sorted(known, key=lambda c: not c.row.laptop)
    by_name = {_key(n): c for c in order for n in (c.name, *(c.row.aliases if not c.row.variants else ()))}
    if (exact := by_name.get(_key(name))) is not None:
        return exact
    try:
        row = find_gpu(name, matrix)
    except UsageError as error:
        near = _near(name, known) if "Did you mean" not in str(error) else ""
        raise UsageError(f"{error}{'.' if near else ''}{near}") from None
    if row.name is None:
        raise UsageError(f"{name!r} is an architecture, not a card: its memory and clock are not known. Name a card")
    same = [c for c in known if c.row.name == row.name]
    if row.variants and isinstance(row.memory_gib, int | float):
        same = [c for c in same if c.memory_gib == row.memory_gib]
    if not same:  # a name that several rows share, or one without figures
        words = set(_words(row.name))
        more = [(c, set(_words(c.name))) for c in known if c.row.chip == row.chip]
        same = [c for c, own in more if words <= own and not (own - words) & MODELS]
        if isinstance(row.memory_gib, int | float):
            same = [c for c in same if c.memory_gib == row.memory_gib]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"{name!r} is the name of several cards: {', '.join(c.name for c in same[:8])}. Say which")
    raise UsageError(
        f"no source gives the figures of {row.name}.{_near(row.name, known)} `envcheck gpus list` shows the rest"
    )


def _key(name: str) -> str:
    low = re.sub(r"\b(nvidia|geforce|tesla|gb|generation)\b", " ", re.sub(r"(\d)\s*g[bi]+\b", r"\1gb", name.lower()))
    return "".join(c for c in low if c.isalnum())


def _words(name: str) -> list[str]:
    return [w for w in re.split(r"[\s-]+", name.lower()) if w]


def _near(name: str, known: tuple[Card, ...]) -> str:
    spelled = {c.name.lower().removeprefix("geforce "): c.name for c in known}
    wanted = re.sub(r"^(nvidia )?(geforce )?", "", name.lower())
    near = [spelled[n] for n in difflib.get_close_matches(wanted, list(spelled), n=3, cutoff=0.62)]
    return f" Nearest that have some: {', '.join(near)}." if near else ""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One equation between a card's figures. ``holds`` None: a figure is missing, so nothing was checked."""

    text: str
    holds: bool | None


def identities(card: Card) -> tuple[Identity, ...]:
    """cores = SMs x lanes, bandwidth = bus x rate, and that the Tensor rate agrees with the generation."""
    out = []
    lanes = (card.rates or {}).get("fp32")
    known = card.cores is not None and lanes is not None
    text = f"{card.cores} cores = {card.sm_count} SMs x {lanes}"
    out.append(Identity(text=text, holds=card.cores == card.sm_count * lanes if known and lanes else None))
    if card.bus_bits is not None and card.memory_gbps is not None:
        computed = card.bus_bits / 8 * card.memory_gbps
        text = f"{card.bandwidth:g} GB/s = {card.bus_bits} bit / 8 x {card.memory_gbps:g} Gbit/s ({computed:.1f})"
        out.append(Identity(text=text, holds=abs(computed / card.bandwidth - 1) <= TOLERANCE))
    else:
        out.append(Identity(text="bandwidth = bus x rate: the bus or the rate is not known", holds=None))
    has = card.tensor is not None
    text = f"Tensor Core generation {card.row.tensor_cores} {'has' if has else 'has no'} FP16 Tensor rate"
    settled = card.row.tensor_cores is not None and card.rates is not None
    out.append(Identity(text=text, holds=has == bool(card.row.tensor_cores) if settled else None))
    return tuple(out)


def series(card: Card) -> str:
    """The GeForce series (``30``), else the family."""
    match = re.search(r"[GR]TX? (\d{2,4})", card.name)
    if card.row.family == "GeForce" and match:
        return match[1][:2]
    return card.row.family.lower()


def order_key(card: Card) -> tuple[Any, ...]:
    return (card.row.family != "GeForce", version_key(card.compute_capability), card.name)
