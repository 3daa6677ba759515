"""sdpa: each backend of scaled_dot_product_attention against float64."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any, Dict

from . import numerics
from .trial import Skip, Trial

SHAPE = (2, 8, 256, 64)  # batch, heads, length, width
BACKENDS = ("MATH", "FLASH_ATTENTION", "EFFICIENT_ATTENTION", "CUDNN_ATTENTION")
OLD_FLAGS = {"MATH": "enable_math", "FLASH_ATTENTION": "enable_flash", "EFFICIENT_ATTENTION": "enable_mem_efficient"}


def _only(torch: Any, name: str) -> Any:
    """A context in which one backend alone may be used; None where this torch does not have it."""
    module: Any = None
    with contextlib.suppress(ImportError):
        module = importlib.import_module("torch.nn.attention")
    if not hasattr(module, "sdpa_kernel"):  # torch before 2.3
        if name not in OLD_FLAGS:
            return None
        return torch.backends.cuda.sdp_kernel(**{flag: key == name for key, flag in OLD_FLAGS.items()})
    backend = getattr(module.SDPBackend, name, None)
    return None if backend is None else module.sdpa_kernel([backend])


def reference(torch: Any, q: Any, k: Any, v: Any, dtype: str) -> Any:
    """float64 attention and a bound for one computed in ``dtype``.

    With u the unit roundoff of ``dtype``: scores S may be rounded to it (the math backend does), which changes a
    probability by up to 2 u max|S|; the probabilities P are rounded once more, the result once; so
    |O - R| <= 1.5 * u * ((2 max|S| + 2) * (P |V|) + |R|). Standard rounding-error analysis of softmax(S) V; 1.5 covers
    the fp32 sums and terms of second order.
    """
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = torch.softmax(scores, dim=-1)
    exact = weights @ v
    u = numerics.ROUNDING[dtype]
    bound = 1.5 * u * ((2.0 * float(scores.abs().max()) + 2.0) * (weights @ v.abs()) + exact.abs())
    return exact, bound


def sdpa(trial: Trial) -> None:
    torch = trial.torch
    call = getattr(torch.nn.functional, "scaled_dot_product_attention", None)
    if call is None:
        raise Skip("this torch has no scaled_dot_product_attention")
    trial.start_cuda()
    dtype = torch.float16 if trial.cuda else torch.float32
    shape = SHAPE if trial.cuda else (1, 2, 32, 16)
    q, k, v = (trial.normal(*shape).to(dtype) for _ in range(3))
    name = str(dtype).replace("torch.", "")
    exact, bound = reference(torch, q, k, v, name)
    here = [t.to(trial.device) for t in (q, k, v)]
    found: Dict[str, Any] = {}
    for backend in BACKENDS if trial.cuda else ("MATH",):
        trial.stage("attention with " + backend)
        context = _only(torch, backend) if trial.cuda else contextlib.nullcontext()
        if context is None:
            found[backend] = {"unavailable": "this torch does not have it"}
            continue
        try:
            with context:
                result = call(*here)
            trial.sync()
        except RuntimeError as error:
            if "CUDA error" in str(error):  # sticky: nothing after it would mean anything
                raise
            absent = "No available kernel" in str(error) or "No viable backend" in str(error)
            found[backend] = {"unavailable" if absent else "raised": str(error)[:200]}
            continue
        found[backend] = numerics.compare(torch, _planted(trial, result), exact, bound)
    trial.facts(backends=found, dtype=name, capability=list(trial.capability))


def _planted(trial: Trial, result: Any) -> Any:
    from . import faults

    return result if trial.cuda else faults.spoil(trial, result.contiguous())
