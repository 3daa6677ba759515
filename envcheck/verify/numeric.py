"""Judges of figures that the probe compared with a float64 reference.

The probe counts elements outside the a-priori bound (``probe/numerics.py`` derives it) and gives the relative Frobenius
error; here stands what these may be. ``LIMITS`` bounds the relative error:

* one rounding to the output's format moves an element by at most u |R|, so the norm of all by at most u: 2**-11 for
  fp16, 2**-8 for bf16. Sums kept in fp16 give 6e-4 and more for K >= 256, above 2**-11 = 4.9e-4 (measured on
  emulations).
* fp32 gives 2e-7 to 3e-7 and TF32 2.95e-4 whatever the size (measured on emulations); 3e-5 lies between them, and
  leaves room for Winograd and FFT convolutions in fp32, which lose up to two decimal digits.
* TF32 may give up to 2 * 2**-11, the rounding of both operands; that it ran shows in an error above 3e-5.
* an fp16 convolution may use a Winograd kernel, which rounds transformed operands to fp16 too: 8 * 2**-11.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..checks.base import FAIL, PASS, WARN
from .words import Context, Judged, figures, need

SINGLE_OR_TF32 = 3e-5
LIMITS = {
    "fp16": 2.0**-11,
    "bf16": 2.0**-8,
    "fp32": SINGLE_OR_TF32,
    "tf32": 2.0 * 2.0**-11,
    "fp16 convolution": 8 * 2.0**-11,
    # attention rounds scores, probabilities and the result, the scores' error multiplied by their size
    "attention": 16 * 2.0**-11,
}


def number(value: Any) -> float | None:
    """A finite JSON number, else None (the probe sends null for what is not finite)."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(group: Mapping[str, Any], key: str) -> int:
    """A count that must be there. Raises ``Missing``."""
    return int(need(group, key))


def faults_of(what: str, compared: Mapping[str, Any], limit: str) -> list[str]:
    """What is wrong with one comparison, in sentences; empty where it is right."""
    outside, bad, elements = count(compared, "outside"), count(compared, "nonfinite"), count(compared, "elements")
    out = []
    if elements <= 0:
        return [f"{what}: nothing was compared"]
    if bad:
        out.append(f"{what}: {bad} of {elements} elements are not finite")
    if outside > bad:
        worst = number(compared.get("worst"))
        text = f", the worst by a factor of {worst:.3g}" if worst is not None else ""
        out.append(
            f"{what}: {outside - bad} of {elements} elements differ from the reference by more than the bound{text}"
        )
    relative = number(need(compared, "relative"))
    if not bad and (relative is None or not relative <= LIMITS[limit]):
        shown = "unknown" if relative is None else f"{relative:.3g}"
        out.append(f"{what}: the relative error is {shown}, at most {LIMITS[limit]:.3g} is right for {limit}")
    return out


def exact_faults(what: str, compared: Mapping[str, Any]) -> list[str]:
    wrong, elements = count(compared, "mismatches"), count(compared, "elements")
    if elements <= 0:
        return [f"{what}: nothing was compared"]
    return [f"{what}: {wrong} of {elements} elements differ from the exact integers"] if wrong else []


def brief(compared: Mapping[str, Any]) -> dict[str, Any]:
    """The figures worth showing of one comparison."""
    keys = ("elements", "outside", "nonfinite", "mismatches", "worst", "relative", "shape")
    return {k: compared[k] for k in keys if k in compared}


def conclude(
    faults: list[str], good: str, measured: Mapping[str, Any], limits: tuple[str, ...], evidence: tuple[str, ...] = ()
) -> Judged:
    """Fail with the faults, or pass with one good sentence."""
    return Judged(
        status=FAIL if faults else PASS,
        summary=faults[0] if faults else good,
        measured=measured,
        expected={"outside": 0, "relative": {name: LIMITS[name] for name in limits}},
        evidence=(*faults, *evidence),
    )


def judge_product(name: str, facts: Mapping[str, Any], good: str) -> Judged:
    """bf16 and fp8: an exact product and a bounded one, both into a format of 8 significant bits (bf16)."""
    exact, bounded = figures(facts, "exact"), figures(facts, "bounded")
    faults = exact_faults(f"exact {name} product", exact) + faults_of(f"{name} product", bounded, "bf16")
    measured: dict[str, Any] = {"exact": brief(exact), "bounded": brief(bounded)}
    if number(facts.get("tflops")) is not None:
        measured["tflops"] = facts["tflops"]
    return conclude(faults, good, measured, ("bf16",))


def judge_bf16(facts: Mapping[str, Any], context: Context) -> Judged:
    return judge_product("bf16", facts, "bf16 products are exact on integers and within the rounding bound on N(0, 1)")


def judge_fp8(facts: Mapping[str, Any], context: Context) -> Judged:
    return judge_product("fp8", facts, "e4m3 products with bf16 output are exact on integers and within the bound")


def judge_tf32(facts: Mapping[str, Any], context: Context) -> Judged:
    """Off must be fp32, on must be TF32: the relative error tells them apart by three decades."""
    off, on = figures(facts, "off"), figures(facts, "on")
    faults = faults_of("fp32 product with TF32 off", off, "fp32") + faults_of("fp32 product with TF32 on", on, "tf32")
    measured = {"off": brief(off), "on": brief(on)}
    relative = number(on.get("relative"))
    if not faults and relative is not None and relative <= SINGLE_OR_TF32:
        return Judged(
            status=WARN,
            summary=f"TF32 was allowed and not used: the error of {relative:.2g} is that of fp32",
            measured=measured,
            expected={"relative": {"on": [SINGLE_OR_TF32, LIMITS["tf32"]]}},
            evidence=("NVIDIA_TF32_OVERRIDE=0 in the environment has this effect",),
        )
    return conclude(
        faults,
        "TF32 runs where it is allowed and nowhere else, by the error of the products",
        measured,
        ("fp32", "tf32"),
    )


CONVOLUTIONS = {"fp32, TF32 off": "fp32", "fp32, TF32 on": "tf32", "fp16": "fp16 convolution", "without": "fp32"}


def judge_cudnn(facts: Mapping[str, Any], context: Context) -> Judged:
    """Forward and both gradients in each mode, the deterministic pair, and which library was loaded."""
    faults: list[str] = []
    measured: dict[str, Any] = {}
    for name, limit in CONVOLUTIONS.items():
        group = figures(facts, name)
        where = "without cuDNN" if name == "without" else f"in {name}"
        for what in ("forward", "input gradient", "weight gradient"):
            compared = figures(group, what)
            faults += faults_of(f"convolution {where}, {what}", compared, limit)
            measured.setdefault(name, {})[what] = brief(compared)
    if need(facts, "deterministic") is not True:
        faults.append("two runs of one deterministic convolution differ")
    measured["deterministic"] = facts["deterministic"] is True
    paths = [str(p) for p in facts.get("paths") or ()]
    measured.update({k: facts[k] for k in ("compiled", "loaded") if facts.get(k) is not None}, paths=paths)
    good = (
        "convolutions and their gradients agree with float64 in fp32, TF32 and fp16; deterministic runs are bit-equal"
    )
    if context.rehearsal:
        return conclude(faults, good, measured, tuple(LIMITS))
    loaded = facts.get("loaded")
    evidence = [f"cuDNN {loaded} loaded, torch was compiled with {facts.get('compiled')}", *paths]
    verdict = conclude(faults, f"cuDNN {loaded}: {good}", measured, tuple(LIMITS), tuple(evidence))
    folders = sorted({p.rpartition("/")[0] for p in paths})
    if not faults and len(folders) > 1:
        text = f"cuDNN's libraries were loaded from {len(folders)} directories at once: {', '.join(folders)}"
        return dataclasses.replace(verdict, status=WARN, summary=text)
    return verdict


def judge_sdpa(facts: Mapping[str, Any], context: Context) -> Judged:
    """Every backend that is available, against float64; the math backend always is."""
    faults: list[str] = []
    measured: dict[str, Any] = {}
    good: list[str] = []
    absent: list[str] = []
    raised: list[str] = []
    for name, compared in figures(facts, "backends").items():
        if "unavailable" in compared:
            absent.append(f"{name}: {compared['unavailable']}")
            measured[name] = None
            continue
        if "raised" in compared:
            raised.append(f"attention with {name} raised: {compared['raised']}")
            measured[name] = None
            continue
        limit = "fp32" if facts.get("dtype") == "float32" else "attention"
        faults += faults_of(f"attention with {name}", compared, limit)
        measured[name] = brief(compared)
        good.append(name)
    if "MATH" not in good and not faults:
        faults.append("not even the math backend is available")
    verdict = conclude(
        faults, f"attention is right with {', '.join(good)}", measured, ("attention",), (*raised, *absent)
    )
    if raised and not faults:
        return dataclasses.replace(verdict, status=WARN, summary=raised[0])
    return verdict


def judge_graphs(facts: Mapping[str, Any], context: Context) -> Judged:
    wrong = count(facts, "mismatches")
    text = f"a replayed CUDA graph differs from eager execution in {wrong} elements"
    return Judged(
        status=FAIL if wrong else PASS,
        summary=text if wrong else "a captured graph, replayed with new input, gives eager's bits",
        measured={"mismatches": wrong},
        expected={"mismatches": 0},
    )


def judge_compile(facts: Mapping[str, Any], context: Context) -> Judged:
    faults, measured = [], {}
    for what in ("forward", "gradient"):
        compared = figures(facts, what)
        faults += faults_of(f"compiled {what}", compared, "fp32")
        measured[what] = brief(compared)
    return conclude(faults, "compiled code agrees with eager, forward and backward", measured, ("fp32",))
