"""Dense fused multiply-adds per SM and clock, by architecture: what the Tensor Cores and the fp32 units can do at most.

Sources: NVIDIA's architecture whitepapers (Volta, Turing, GA100, GA102, Ada, Hopper); torch's own device limits module
for 8.0, 9.0 and 10.0; the GeForce half rate of fp16 with fp32 accumulation from the GA102 whitepaper; 12.0 follows
from the published TFLOPS of its cards. Turing and 12.0 are inferred from published numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rate:
    """FMA per SM per clock: fp32 units, fp16 on the fp32 units, fp16 with fp32 sums on Tensor Cores, bf16."""

    fp32: int
    packed_fp16: int
    tensor_fp16: int | None = None
    tensor_geforce: int | None = None  # where GeForce cards have another rate

    def tensor(self, name: str | None) -> int | None:
        geforce = "geforce" in (name or "").lower()
        return self.tensor_geforce if geforce and self.tensor_geforce else self.tensor_fp16


RATES = {
    "6.0": Rate(fp32=64, packed_fp16=128),
    "6.1": Rate(fp32=128, packed_fp16=2),
    "7.0": Rate(fp32=64, packed_fp16=128, tensor_fp16=512),
    "7.5": Rate(fp32=64, packed_fp16=128, tensor_fp16=512, tensor_geforce=256),
    "8.0": Rate(fp32=64, packed_fp16=256, tensor_fp16=1024),
    "8.6": Rate(fp32=128, packed_fp16=128, tensor_fp16=512, tensor_geforce=256),
    "8.9": Rate(fp32=128, packed_fp16=128, tensor_fp16=512, tensor_geforce=256),
    "9.0": Rate(fp32=128, packed_fp16=256, tensor_fp16=2048),
    "10.0": Rate(fp32=128, packed_fp16=256, tensor_fp16=4096),
    "12.0": Rate(fp32=128, packed_fp16=128, tensor_fp16=512, tensor_geforce=256),
}


def packed_ratio(compute_capability: str | None) -> float:
    """fp16 over fp32 speed without Tensor Cores; an unknown card gets the largest, as on 8.0, to be careful."""
    rate = RATES.get(compute_capability or "")
    return max(1.0, rate.packed_fp16 / rate.fp32) if rate else 4.0


def peak_tflops(compute_capability: str | None, name: str | None, sms: int | None, mhz: float | None) -> float | None:
    """Dense fp16 TFLOPS of the Tensor Cores at a clock; None where the architecture is not in the table."""
    rate = RATES.get(compute_capability or "")
    fma = rate.tensor(name) if rate else None
    if fma is None or not sms or not mhz:
        return None
    return fma * 2 * sms * mhz * 1e6 / 1e12
