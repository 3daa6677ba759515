"""Comparing a device's result with a reference, and the bounds that a correct result keeps.

The device's arithmetic is not judged by torch.testing's defaults: for fp16 these fail a correct product at K = 4096 and
accept a wrong one where |C| is large. The bound used instead is the a-priori error bound of a floating-point dot
product (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1), componentwise::

    |C - R| <= 1.1 * (u_out * |R|  +  2 * K * u_acc * (|A| |B|)  +  operand * (|A| |B|)  +  2**-24)

* ``u_out``: unit roundoff of the format that C is stored in (``ROUNDING``): one rounding of the final sum.
* ``K * u_acc``: K additions in fp32. The factor 2 is for Tensor Cores, which truncate where fp32 units round
  (Fasi et al., Numerical behavior of NVIDIA tensor cores, PeerJ CS 7:e330, 2021).
* ``operand``: relative error of the products that rounding the operands brings, 0 where R was computed from the rounded
  operands; 2 * 2**-11 for TF32, which rounds both fp32 operands to 11 significant bits.
* ``2**-24``: the least spacing of fp16 numbers, where results are subnormal.
* 1.1: terms of second order, and the rounding of R and of the bound themselves.

The second figure is the relative Frobenius error. Rounding alone gives at most ``u_out``; TF32 gives 2.95e-4 whatever
K is, fp32 2e-7 to 3e-7, accumulation in fp16 6e-4 and more for K >= 256, growing as sqrt(K) (measured on emulations,
256 x K x 256, N(0, 1) operands). So it tells which precision was really used.
"""

from __future__ import annotations

from typing import Any, Dict

ROUNDING = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "float8_e4m3fn": 2.0**-4,
    "float8_e5m2": 2.0**-3,
}
ACCUMULATE = 2.0**-24
TF32_OPERANDS = 2.0 * 2.0**-11
SMALLEST = 2.0**-24
SLACK = 1.1


def product_bound(reference: Any, magnitude: Any, depth: int, out: str, operand: float = 0.0) -> Any:
    """The bound above, float64, of the shape of ``reference``.

    ``magnitude`` is |A| |B| (float64, same shape), ``depth`` the number of products summed (K), ``out`` a key of
    ``ROUNDING``.
    """
    return SLACK * (ROUNDING[out] * reference.abs() + (2.0 * depth * ACCUMULATE + operand) * magnitude + SMALLEST)


def compare(torch: Any, result: Any, reference: Any, bound: Any) -> Dict[str, Any]:
    """Figures about ``result`` against a float64 ``reference`` under ``bound`` (all of one shape, any device).

    ``outside`` counts elements that are not within the bound, NaN and infinity included (``not (d <= bound)``: a
    comparison ``d > bound`` would let NaN pass). ``worst`` is the largest |C - R| / bound of the finite elements,
    ``relative`` the relative Frobenius error (None when anything is not finite).
    """
    got = result.detach().to("cpu", torch.float64)
    distance = (got - reference).abs()
    finite = torch.isfinite(got)
    ratio = torch.where(finite, distance / bound, torch.zeros_like(bound))
    every = bool(finite.all())
    norm = float(torch.linalg.vector_norm(reference))
    relative = float(torch.linalg.vector_norm(got - reference)) / norm if every and norm else None
    return {
        "elements": int(got.numel()),
        "outside": int((~(distance <= bound)).sum()),
        "nonfinite": int((~finite).sum()),
        "worst": float(ratio.max()) if ratio.numel() else 0.0,
        "relative": relative,
    }


def exact(torch: Any, result: Any, reference: Any) -> Dict[str, Any]:
    """How many elements differ at all; NaN differs from everything."""
    got = result.detach().to("cpu", torch.float64)
    return {"elements": int(got.numel()), "mismatches": int((~(got == reference)).sum())}


def sample_rows(torch: Any, rows: int, count: int, generator: Any) -> Any:
    """Up to ``count`` sorted row numbers of ``rows``: a float64 reference of a large product stays under a second."""
    if rows <= count:
        return torch.arange(rows)
    return torch.randperm(rows, generator=generator)[:count].sort().values


def round_tf32(torch: Any, values: Any) -> Any:
    """fp32 rounded to TF32's 10 stored mantissa bits, to nearest even, as an fp32 tensor."""
    bits = values.contiguous().view(torch.int32)
    odd = (bits >> 13) & 1
    rounded = ((bits + 0xFFF + odd) >> 13) << 13
    return rounded.view(torch.float32)
