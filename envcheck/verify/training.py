"""Judges of amp and workload: dtypes, the GradScaler's rules, and trainings that must learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..checks.base import FAIL, PASS, UNKNOWN
from .numeric import number
from .words import Context, Judged, figures, need

# what autocast gives, from torch/testing/_internal/autocast_test_lists.py. The CPU's list is another one (softmax or
# layer_norm stay in bf16 there), so only what both torch 2.0 and today's agree upon is judged
LOW = ("mm", "matmul", "bmm", "addmm", "linear", "conv2d")
CUDA_SINGLE = ("softmax", "log_softmax", "layer_norm", "exp", "sum", "mse_loss", "cross_entropy", "addcmul")
CPU_SINGLE = ("mse_loss",)
FALLS_TO = 0.8  # of the first loss: see judge_training
CLOSE = 0.05  # of the first loss
TAIL = 5  # steps
SCALES = (1.0, 1.0, 2.0, 1.0, 1.0)  # growth after 2 clean steps, halved by the infinite one, then one clean step
MOVED = (True, True, False, True)


def expected_dtypes(device_type: str, low: str) -> dict[str, str]:
    """Operation -> dtype under autocast, or ``refused``."""
    if device_type == "cpu":
        return {**dict.fromkeys(LOW, low), **dict.fromkeys(CPU_SINGLE, "float32")}
    return {**dict.fromkeys(LOW, low), **dict.fromkeys(CUDA_SINGLE, "float32"), "binary_cross_entropy": "refused"}


def dtype_faults(facts: Mapping[str, Any]) -> list[str]:
    low = str(need(facts, "autocast")).replace("torch.", "")
    found = figures(facts, "dtypes")
    expected = expected_dtypes(str(need(facts, "device_type")), low)
    return [
        f"under autocast {name} gives {found.get(name, 'nothing')}, it must give {dtype}"
        for name, dtype in expected.items()
        if found.get(name) != dtype
    ]


def scaler_faults(scaler: Mapping[str, Any]) -> list[str]:
    """The scale doubles after clean steps, halves on an infinite gradient, and then no parameter may move."""
    scales, moved = list(need(scaler, "scales")), list(need(scaler, "moved"))
    start = number(scales[0]) if scales else None
    out = []
    if moved[2:3] != [False]:
        out.append("the GradScaler let the optimizer step although a gradient was infinite")
    elif tuple(moved) != MOVED:
        out.append("the GradScaler kept the optimizer from a step whose gradients were finite")
    if start is None or [number(s) for s in scales] != [start * factor for factor in SCALES]:
        out.append(f"the GradScaler's scale went {scales}, it must double after two clean steps and halve on infinity")
    return out


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def finite(losses: Any) -> list[float] | None:
    """Losses as numbers; None where one is not finite (the probe sends null) or there are too few."""
    values = [number(x) for x in losses] if isinstance(losses, list) else []
    good = [x for x in values if x is not None]
    return good if len(good) == len(values) and len(good) >= 2 * TAIL else None


def training_faults(name: str, run: Mapping[str, Any]) -> list[str]:
    """30 steps on one batch: finite, falling, close to the fp32 run, parameters and gradients in fp32.

    Falling: the mean of the last 5 losses is at most 0.8 of the first; right runs reached 0.04 to 0.26 over 1,000 seeds
    on the CPU (docs/evidence/verify-rehearsal.md), a learning rate of zero gives 1.0. Close: these means differ from
    the fp32 run's by at most 5 % of the first loss; there they differed by at most 0.11 %, with bf16.
    """
    mixed, plain = finite(need(run, "mixed")), finite(need(run, "fp32"))
    if mixed is None or plain is None:
        which = "with AMP" if mixed is None else "in fp32"
        return [f"{name}: the loss {which} is not finite in every step"]
    out = []
    first, last, twin = plain[0], mean(mixed[-TAIL:]), mean(plain[-TAIL:])
    if not last <= FALLS_TO * mixed[0]:
        out.append(f"{name}: the loss does not fall, {mixed[0]:.3f} at first and {last:.3f} after {len(mixed)} steps")
    if not abs(last - twin) <= CLOSE * first:
        out.append(f"{name}: with AMP the loss ends at {last:.3f}, in fp32 at {twin:.3f}")
    if need(run, "parameters") != ["float32"]:
        out.append(f"{name}: parameters or gradients are in {run['parameters']}, the masters must be float32")
    return out


def judge_amp(facts: Mapping[str, Any], context: Context) -> Judged:
    faults = dtype_faults(facts)
    measured: dict[str, Any] = {"dtypes": dict(figures(facts, "dtypes")), "scaler": need(facts, "scaler")}
    scaler = facts["scaler"]
    if isinstance(scaler, Mapping):
        faults += scaler_faults(scaler)
    for key, name in (
        ("conv", "convolutional net"),
        ("encoder", "encoder"),
        ("conv_bf16", "convolutional net in bf16"),
    ):
        if key == "conv_bf16" and key not in facts:
            continue
        run = figures(facts, key)
        faults += training_faults(name, run)
        measured[key] = {k: run.get(k) for k in ("fp32", "mixed", "scale")}
    expected = {
        "dtypes": expected_dtypes(str(facts["device_type"]), str(facts["autocast"]).replace("torch.", "")),
        "last loss over first": FALLS_TO,
        "distance from fp32 over first loss": CLOSE,
    }
    if faults:
        return Judged(status=FAIL, summary=faults[0], measured=measured, expected=expected, evidence=tuple(faults))
    if scaler is None:
        text = "dtypes and trainings are right; this torch has no GradScaler for the CPU, so its rules were not tried"
        return Judged(status=UNKNOWN, summary=text, measured=measured, expected=expected)
    text = "autocast gives the right dtypes, the GradScaler grows, backs off and skips, training with AMP follows fp32"
    return Judged(status=PASS, summary=text, measured=measured, expected=expected)


def judge_workload(facts: Mapping[str, Any], context: Context) -> Judged:
    """One real-sized training of each kind: finite losses, one below the first; times are reported, not judged."""
    faults, measured, words = [], {}, []
    for key, name in (("bert", "BERT-base size"), ("resnet", "ResNet-18")):
        run = figures(facts, key)
        losses = [number(x) for x in need(run, "losses")]
        measured[key] = dict(run)
        good = [x for x in losses if x is not None]
        if len(good) != len(losses) or not good:
            faults.append(f"{name}: a loss is not finite")
        elif not min(good[1:], default=good[0]) < good[0]:
            faults.append(f"{name}: the loss never falls below the first ({good[0]:.3f})")
        seconds = number(need(run, "seconds")) or 0.0
        peak = number(run.get("peak_bytes"))
        words.append(f"{name} {seconds:.3f} s a step" + (f", {peak / 2**30:.1f} GiB" if peak else ""))
    return Judged(
        status=FAIL if faults else PASS,
        summary=faults[0] if faults else "; ".join(words),
        measured=measured,
        expected={"losses": "finite, falling"},
        evidence=tuple(faults),
    )
