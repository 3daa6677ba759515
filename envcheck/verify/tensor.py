"""tensor-core-fp16: are the products right, and did Tensor Cores compute them?

The chip decides first. Compute capability 7.5 does not imply Tensor Cores (GTX 16xx, T400 to T1200 have none) and
kernels for them run there without an error, only slowly; so neither the capability nor a kernel's name may speak
against the chip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..checks.base import FAIL, PASS, SKIP, UNKNOWN, WARN
from .numeric import LIMITS, brief, exact_faults, faults_of, number
from .rates import packed_ratio, peak_tflops
from .words import Context, Device, Judged, figures

USED, NOT_USED, NONE, UNDETERMINED = "used", "not used", "none in this GPU", "undetermined"
# percent of the time that the tensor pipe was active (nvml.h, NVML_GPM_METRIC_ANY_TENSOR_UTIL): elementwise kernels
# leave it at 0, large products keep it far above 5 (83 to 94 on an H100 and an H200); in between nothing is said
GPM_USED, GPM_IDLE = 5.0, 1.0
# over what the fp32 units alone could give (rates.py): healthy GeForce cards from Ampere on reach only 2 with Tensor
# Cores, since they sum in fp32 at half the rate (GA102 whitepaper)
CLEAR_RATIO = 1.3
SHARE_EXPECTED = 0.4  # of the peak at the clock that was seen; an H100 reached 0.93, an H200 0.91 (docs/evidence)

# names of kernels on the fp32 units: looked for first, since their names may hold fp16 as the storage type
SIMT = re.compile(
    r"simt|ffma|gemv|gemmk1_|gemmsn|[a-z]_(?:fp16_)?[sh]gemm(?!.*(?:1688|tf32|tensorop))|magma_\w*gemm", re.IGNORECASE
)
# Tensor Core kernels: cuBLAS since Volta (h884, s1688, s16816), CUTLASS, xmma with its operand types, Hopper and
# Blackwell
TENSOR = re.compile(
    r"nvjet|hmma|imma|wgmma|gmma|tcgen05|utcmma|tensorop|(?<!x)mma_|gemm\w*tf32|[hsi](?:884|1688|16816|8816)|c1688|"
    r"xmma_(?:gemm|implicit_gemm|warp_specialized_implicit_gemm|sparse_gemm|sparse_conv|fprop|dgrad|wgrad)"
    r"\w*(?:f16f16|bf16bf16|tf32|e4m3|e5m2|i8)",
    re.IGNORECASE,
)


def classify_kernel(name: str) -> str | None:
    """``tensor``, ``simt``, or None for a kernel that is no product or has an unknown name."""
    if SIMT.search(name):
        return "simt"
    return "tensor" if TENSOR.search(name) else None


def tensor_core_use(
    tensor_cores: int | None,
    gpm: float | None,
    kernels: Iterable[str] | None,
    ratio: float | None,
    packed: float,
) -> tuple[str, list[str]]:
    """The verdict and its reasons. Strongest evidence first: the GPU's own counter, kernel names, the speed ratio.

    ``gpm``: percent of tensor pipe activity while products ran. ``ratio``: fp16 speed over fp32 speed with TF32 off.
    ``packed``: the ratio that the chip's fp32 units reach without Tensor Cores (``rates.packed_ratio``).
    """
    if tensor_cores == 0:
        return NONE, ["this chip has no Tensor Cores"]
    reasons: list[str] = []
    kinds = {classify_kernel(name) for name in kernels or ()}
    verdict = UNDETERMINED
    if gpm is not None:
        reasons.append(f"tensor pipe {gpm:.0f} % active while fp16 products ran (GPM)")
        verdict = USED if gpm >= GPM_USED else NOT_USED if gpm <= GPM_IDLE else UNDETERMINED
    if kernels and "tensor" in kinds:
        reasons.append(f"Tensor Core kernel: {next(k for k in kernels if classify_kernel(k) == 'tensor')}")
    elif kernels and "simt" in kinds:
        reasons.append(f"kernel of the fp32 units: {next(k for k in kernels if classify_kernel(k) == 'simt')}")
    if ratio is not None:
        reasons.append(f"fp16 runs {ratio:.2f} times as fast as fp32 (without Tensor Cores at most {packed:g} times)")
    if gpm is None:
        verdict = _without_counter(kinds, ratio, packed, reasons)
    elif verdict == NOT_USED and _without_counter(kinds, ratio, packed, []) == USED:
        # a counter that stands still is rather one that this card, driver or slice does not serve
        reasons.append("the counter contradicts kernel names or speed")
        verdict = UNDETERMINED
    if tensor_cores is None and verdict == USED and gpm is None:
        return UNDETERMINED, [*reasons, "whether this chip has Tensor Cores could not be told"]
    return verdict, reasons


def _without_counter(kinds: set[str | None], ratio: float | None, packed: float, reasons: list[str]) -> str:
    slow = ratio is not None and ratio < 1.1
    fast = ratio is not None and ratio >= CLEAR_RATIO * packed
    if "tensor" in kinds:
        if slow:
            reasons.append("kernel names and speed contradict each other")
        return UNDETERMINED if slow else USED
    if "simt" in kinds:
        if fast:
            reasons.append("kernel names and speed contradict each other")
        return UNDETERMINED if fast else NOT_USED
    return USED if fast else NOT_USED if slow else UNDETERMINED


def judge_tensor_core(facts: Mapping[str, Any], context: Context) -> Judged:
    exact, bounded = figures(facts, "exact"), figures(facts, "bounded")
    faults = exact_faults("exact fp16 product", exact) + faults_of("fp16 product", bounded, "fp16")
    measured: dict[str, Any] = {"exact": brief(exact), "bounded": brief(bounded)}
    if not context.rehearsal:
        odd = figures(facts, "odd")
        faults += faults_of("fp16 product of an odd shape", odd, "fp16")
        measured["odd"] = brief(odd)
    expected = {"mismatches": 0, "outside": 0, "relative": LIMITS["fp16"]}
    if faults:
        return Judged(status=FAIL, summary=faults[0], measured=measured, expected=expected, evidence=tuple(faults))
    right = "fp16 products are exact on integers and within the rounding bound on N(0, 1)"
    if context.rehearsal:
        return Judged(status=PASS, summary=right, measured=measured, expected=expected)
    return _with_proof(facts, context, measured, expected, right)


def _with_proof(
    facts: Mapping[str, Any], context: Context, measured: dict[str, Any], expected: dict[str, Any], right: str
) -> Judged:
    device = context.device
    chip = device.tensor_cores if device else None
    kernels = facts.get("kernels")
    names = [str(k) for k in kernels] if isinstance(kernels, list) else None
    packed = packed_ratio(device.compute_capability if device else None)
    verdict, reasons = tensor_core_use(chip, number(facts.get("gpm")), names, number(facts.get("ratio")), packed)
    speed, notes, slow = _speed(facts, device)
    measured.update(speed, tensor_cores=verdict)
    expected.update(tensor_cores=NONE if chip == 0 else USED)
    if facts.get("kernels_why"):
        notes.append(f"kernel names: {facts['kernels_why']}")
    evidence = (*reasons, *notes)
    if verdict == NONE:
        text = f"{right}; this GPU has no Tensor Cores, so fp16 saves memory and is not faster: train in fp32"
        return Judged(
            status=SKIP, summary=text, measured=measured, expected=expected, evidence=evidence, not_applicable=True
        )
    tflops = number(facts.get("fp16_tflops"))
    at = f", {tflops:.1f} TFLOPS" if tflops is not None else ""
    status, text = {
        USED: (WARN if slow else PASS, f"{right}; Tensor Cores computed them{at}" + (f"; {slow}" if slow else "")),
        NOT_USED: (FAIL, f"{right}, and Tensor Cores did not compute them{at}"),
        UNDETERMINED: (UNKNOWN, f"{right}; whether Tensor Cores computed them could not be told{at}"),
    }[verdict]
    return Judged(status=status, summary=text, measured=measured, expected=expected, evidence=evidence)


def _speed(facts: Mapping[str, Any], device: Device | None) -> tuple[dict[str, Any], list[str], str]:
    """Figures of the speed, notes on it, and the sentence on what is wrong with it ("" where nothing is)."""
    load = facts.get("load") if isinstance(facts.get("load"), Mapping) else {}
    assert isinstance(load, Mapping)  # for the type checker: the line above made it one
    tflops, mhz = number(facts.get("fp16_tflops")), number(load.get("sm_mhz"))
    keys = ("side", "fp16_tflops", "fp32_tflops", "ratio", "gpm", "kernels")
    out: dict[str, Any] = {k: facts.get(k) for k in keys}
    out.update(tflops=tflops, load=dict(load) or None)
    peak = peak_tflops(device.compute_capability, device.name, device.sms, mhz) if device else None
    notes, slow = [], ""
    throttle = [str(t) for t in load.get("throttle") or ()]
    if mhz is not None:
        notes.append(f"under load: {mhz:.0f} MHz, {load.get('power_w')} W of {load.get('power_limit_w')} W")
    if throttle:
        notes.append(f"clocks were held back by: {', '.join(throttle)}")
    if peak and tflops is not None:
        out.update(peak_tflops=peak, share=tflops / peak)
        notes.append(f"{tflops:.1f} TFLOPS are {100 * tflops / peak:.0f} % of the peak at that clock")
        if tflops / peak < SHARE_EXPECTED:
            slow = f"that is {100 * tflops / peak:.0f} % of the peak at its clock, large products reach 60 % and more"
    if any("hardware" in t for t in throttle):
        slow = "the hardware slows the clocks down (heat or power supply)"
    return out, notes, slow
