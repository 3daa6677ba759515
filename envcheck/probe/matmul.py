"""Products against references: tensor-core-fp16, bf16, tf32 and fp8."""

from __future__ import annotations

import contextlib
from typing import Any, Dict

from . import faults, numerics, proof
from .trial import Skip, Trial

REFERENCE_ROWS = 256
EXACT_SIDE = 1024  # of the exact product on a GPU; every element is compared
ODD_SHAPE = (511, 1021, 509)  # no multiple of 8: other kernels


def _settings(trial: Trial) -> None:
    """Sums in full precision: split-K in fp16 or bf16 is allowed by default and would need a wider bound."""
    matmul = trial.torch.backends.cuda.matmul
    for name in ("fp16_reduced_precision_reduction", "bf16_reduced_precision_reduction", "fp16_accumulation", "tf32"):
        # a torch that does not know a setting says so by AssertionError (2.0) or AttributeError
        with contextlib.suppress(AttributeError, AssertionError):
            setattr(matmul, "allow_" + name, False)


def exact_product(trial: Trial, dtype: Any, depth: int) -> Dict[str, Any]:
    """Entries -1, 0, 1: every partial sum is an integer of at most ``depth``, so there is nothing to tolerate.

    fp16 holds every integer up to 2048 and bf16 up to 256; with ``depth`` at most that, any order of summation, split-K
    and TF32 give the same bits. A single flipped bit anywhere shows.
    """
    side = EXACT_SIDE if trial.cuda else 96
    left, right = trial.signs(side, depth), trial.signs(depth, side)
    reference = (left @ right).double()  # integers below 2**24: exact in fp32
    result = faults.product(trial, left, right, dtype)
    trial.sync()
    return dict(numerics.exact(trial.torch, result, reference), shape=[side, depth, side])


def bounded_product(trial: Trial, dtype: Any, shape: Any, tf32: bool = False) -> Dict[str, Any]:
    """N(0, 1) operands rounded to ``dtype``, compared on up to 256 rows with float64. ``shape`` is (M, K, N)."""
    torch = trial.torch
    m, k, n = shape
    left, right = trial.normal(m, k).to(dtype), trial.normal(k, n).to(dtype)
    rows = numerics.sample_rows(torch, m, REFERENCE_ROWS, trial.rng)
    a, b = left[rows].double(), right.double()
    reference, magnitude = a @ b, a.abs() @ b.abs()
    if trial.cuda or dtype != torch.float32:
        result = faults.product(trial, left, right, dtype)
    else:
        operands = faults.convolution_operands(trial, (left, right), tf32)
        result = faults.emulate(trial, operands[0], operands[1], dtype)
    trial.sync()
    name = str(dtype).replace("torch.", "")
    bound = numerics.product_bound(reference, magnitude, k, name, numerics.TF32_OPERANDS if tf32 else 0.0)
    figures = numerics.compare(torch, result[rows.to(result.device)], reference, bound)
    return dict(figures, shape=[m, k, n], rows=int(rows.numel()), rounding=numerics.ROUNDING[name])


def _shape(trial: Trial) -> Any:
    if not trial.cuda:
        return (96, 1024, 96)
    side = 4096 if trial.free_memory() > (2 << 30) else 1024
    return (side, side, side)


def tensor_core_fp16(trial: Trial) -> None:
    trial.start_cuda()
    _settings(trial)
    half = trial.torch.float16
    trial.stage("exact fp16 product")
    trial.facts(exact=exact_product(trial, half, 2048 if trial.cuda else 1024))
    trial.stage("bounded fp16 product")
    trial.facts(bounded=bounded_product(trial, half, _shape(trial)))
    if trial.cuda:
        trial.stage("bounded fp16 product of an odd shape")
        trial.facts(odd=bounded_product(trial, half, ODD_SHAPE))
        proof.tensor_cores(trial)


def bf16(trial: Trial) -> None:
    trial.start_cuda()
    if trial.cuda and trial.capability < (8, 0):
        raise Skip("bf16 arithmetic is native from compute capability 8.0 on", not_applicable=True)
    _settings(trial)
    dtype = trial.torch.bfloat16
    trial.stage("exact bf16 product")
    trial.facts(exact=exact_product(trial, dtype, 256))
    trial.stage("bounded bf16 product")
    trial.facts(bounded=bounded_product(trial, dtype, _shape(trial)))
    if trial.cuda:
        trial.stage("timing bf16 products")
        trial.facts(tflops=proof.rate(trial, dtype, proof.side_for(trial)))


def tf32(trial: Trial) -> None:
    """The error itself says whether TF32 ran, on and off."""
    trial.start_cuda()
    if trial.cuda and trial.capability < (8, 0):
        raise Skip("TF32 is there from compute capability 8.0 on", not_applicable=True)
    _settings(trial)
    single = trial.torch.float32
    for word, on in (("off", False), ("on", True)):
        trial.stage("fp32 product with TF32 " + word)
        trial.torch.backends.cuda.matmul.allow_tf32 = on
        trial.facts(**{word: bounded_product(trial, single, _shape(trial), tf32=on)})
    trial.torch.backends.cuda.matmul.allow_tf32 = False


def fp8(trial: Trial) -> None:
    """``torch._scaled_mm`` in e4m3 with bf16 output: exact on small integers, bounded on N(0, 1)."""
    torch = trial.torch
    trial.start_cuda()
    if trial.cuda and trial.capability < (8, 9):
        raise Skip("fp8 is there from compute capability 8.9 on", not_applicable=True)
    if not hasattr(torch, "float8_e4m3fn") or not hasattr(torch, "_scaled_mm"):
        raise Skip("this torch has no fp8 product; torch 2.1 brought it")
    trial.stage("exact fp8 product")
    side = 256 if trial.cuda else 64
    left, right = trial.signs(side, 256), trial.signs(256, side)
    trial.facts(exact=numerics.exact(torch, _scaled(trial, left, right), (left @ right).double()))
    trial.stage("bounded fp8 product")
    left = trial.normal(side, 1024).to(torch.float8_e4m3fn).float()
    right = trial.normal(1024, side).to(torch.float8_e4m3fn).float()
    reference = left.double() @ right.double()
    # Hopper's fp8 Tensor Cores keep about 14 bits of a partial sum until it is promoted to fp32, every 128 products
    # (DeepSeek-V3 technical report, 3.3.2): four additions of 32 products, each wrong by up to 2**-13
    bound = numerics.product_bound(
        reference, left.double().abs() @ right.double().abs(), 1024, "bfloat16", operand=4 * 2.0**-13
    )
    figures = numerics.compare(torch, _scaled(trial, left, right), reference, bound)
    trial.facts(bounded=dict(figures, rounding=numerics.ROUNDING["bfloat16"]))


def _scaled(trial: Trial, left: Any, right: Any) -> Any:
    """e4m3 product with scales of one, bf16 out. ``right`` must be column-major on the device."""
    torch = trial.torch
    if not trial.cuda:
        return faults.emulate(trial, left, right, torch.bfloat16)
    one = torch.ones((), device=trial.device)
    a = left.to(trial.device).to(torch.float8_e4m3fn)
    b = right.to(trial.device).to(torch.float8_e4m3fn).t().contiguous().t()
    try:
        result = torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except RuntimeError as error:
        if "only supported" not in str(error):
            raise
        raise Skip("this torch has no fp8 product for this GPU: {}".format(str(error)[:200])) from None
    trial.sync()
    return result[0] if isinstance(result, tuple) else result
