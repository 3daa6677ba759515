"""cudnn: which library, and convolutions against float64, forward and both gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from . import faults, numerics
from .trial import Skip, Trial

# batch, in channels, out channels, side; 3x3 kernels, padding 1
CUDA_SHAPE = (8, 64, 64, 28)
CPU_SHAPE = (2, 8, 8, 10)
WINOGRAD = 8.0  # see _bounds


def loaded_libraries(word: str) -> List[str]:
    """Paths of the mapped libraries whose name contains ``word``, from /proc/self/maps (Linux), sorted."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            paths = {line.split(None, 5)[5].strip() for line in file if word in line and len(line.split(None, 5)) == 6}
    except OSError:
        return []
    return sorted(p for p in paths if word in Path(p).name)


class Operands:
    """x, w and the gradient of the output, fp32 on the CPU, holding values that ``dtype`` can hold."""

    def __init__(self, trial: Trial, dtype: Any) -> None:
        n, c_in, c_out, side = CUDA_SHAPE if trial.cuda else CPU_SHAPE
        self.x, self.w, self.g = (
            t.to(dtype).float()
            for t in (
                trial.normal(n, c_in, side, side),
                trial.normal(c_out, c_in, 3, 3),
                trial.normal(n, c_out, side, side),
            )
        )
        self.depths = {"forward": c_in * 9, "input gradient": c_out * 9, "weight gradient": n * side * side}


def _three(torch: Any, x: Any, w: Any, g: Any) -> Dict[str, Any]:
    """Forward, input gradient and weight gradient of a 3x3 convolution, on the operands' device and dtype.

    The gradient of sum(y * g) with respect to y is g itself, bit for bit, whatever the sum is. Handing g to autograd
    would be the same, only that torch then imports sympy for it (2 s).
    """
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = torch.nn.functional.conv2d(x, w, padding=1)
    dx, dw = torch.autograd.grad((y * g).sum(), (x, w))
    return {"forward": y.detach(), "input gradient": dx, "weight gradient": dw}


def _bounds(trial: Trial, o: Operands, dtype: Any, tf32: bool) -> Dict[str, Any]:
    """Reference and bound of each result, float64.

    As ``numerics.product_bound``, with two differences: |A| |B| is replaced by its maximum, and the term of the sums is
    multiplied by 8, since cuDNN may choose Winograd or FFT algorithms, whose error is bounded for the largest element
    only and exceeds the direct one by a small factor (Lavin and Gray, Fast Algorithms for Convolutional Neural
    Networks, 2015, section 6: F(4x4, 3x3) in fp32 loses up to about one decimal digit).
    """
    torch = trial.torch
    name = str(dtype).replace("torch.", "")
    exact = _three(torch, o.x.double(), o.w.double(), o.g.double())
    size = _three(torch, o.x.double().abs(), o.w.double().abs(), o.g.double().abs())
    # a Winograd kernel in fp16 rounds the transformed operands to fp16, whose unit roundoff is TF32's
    operand = numerics.TF32_OPERANDS if tf32 or dtype == torch.float16 else 0.0
    out = {}
    for what, reference in exact.items():
        largest = torch.full_like(reference, float(size[what].max()) * WINOGRAD)
        bound = numerics.product_bound(reference, largest, o.depths[what], name, operand / WINOGRAD)
        out[what] = (reference, bound)
    return out


def _run(trial: Trial, o: Operands, dtype: Any, tf32: bool) -> Dict[str, Any]:
    """The three results on the device, or emulated: rounded operands, fp32 sums, one rounding."""
    torch = trial.torch
    if trial.cuda:
        found = _three(torch, *(t.to(trial.device, dtype) for t in (o.x, o.w, o.g)))
        trial.sync()
        return found
    operands = (o.x, o.w, o.g)
    if dtype == torch.float32:
        operands = faults.convolution_operands(trial, operands, tf32)
    found = {k: v.to(dtype) for k, v in _three(torch, *operands).items()}
    return dict(found, forward=faults.spoil(trial, found["forward"]))


def _case(trial: Trial, dtype: Any, tf32: bool) -> Dict[str, Any]:
    o = Operands(trial, dtype)
    bounds = _bounds(trial, o, dtype, tf32)
    found = _run(trial, o, dtype, tf32)
    return {k: numerics.compare(trial.torch, found[k], *bounds[k]) for k in bounds}


def cudnn(trial: Trial) -> None:
    torch = trial.torch
    trial.start_cuda()
    flags = torch.backends.cudnn
    if trial.cuda:
        trial.stage("loading cuDNN")
        if not flags.is_available():
            raise Skip("this torch was built without cuDNN")
        trial.facts(compiled=_compiled(torch), loaded=flags.version())
    flags.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False  # without cuDNN a convolution is a matrix product
    cases = (
        ("fp32, TF32 off", torch.float32, False),
        ("fp32, TF32 on", torch.float32, True),
        ("fp16", torch.float16, False),
    )
    for name, dtype, on in cases:
        trial.stage("convolution in " + name)
        flags.allow_tf32 = on
        trial.facts(**{name: _case(trial, dtype, on)})
    flags.allow_tf32 = False
    if trial.cuda:
        trial.facts(paths=loaded_libraries("libcudnn"))
    trial.stage("deterministic convolution, twice")
    trial.facts(deterministic=_twice(trial))
    trial.stage("convolution without cuDNN")
    before = flags.enabled
    flags.enabled = False
    trial.facts(without=_case(trial, torch.float32, False))
    flags.enabled = before


def _twice(trial: Trial) -> Optional[bool]:
    """Whether two runs of the deterministic algorithms agree bit for bit."""
    torch = trial.torch
    torch.backends.cudnn.deterministic = True
    o = Operands(trial, torch.float32)
    first, second = _run(trial, o, torch.float32, False), _run(trial, o, torch.float32, False)
    torch.backends.cudnn.deterministic = False
    if trial.plant == "nondeterministic":
        flat = second["weight gradient"].view(-1)
        where = trial.pick(5, flat.numel())
        flat[where] = torch.nextafter(flat[where], flat[where] + 1)
    return all(_same_bits(torch, first[k], second[k]) for k in first)


def _same_bits(torch: Any, one: Any, other: Any) -> bool:
    """Bitwise, so that a NaN planted in both runs does not make equal runs differ."""
    return bool(torch.equal(one.contiguous().view(torch.int32), other.contiguous().view(torch.int32)))


def _compiled(torch: Any) -> Optional[int]:
    """cuDNN's version as compiled in, numbered like ``cudnn.version()``: 8902, or 90100 from 9 on."""
    try:
        major, minor, patch = (int(p) for p in torch._C._cudnn.getCompileVersion())
    except (AttributeError, ValueError):
        return None
    return major * (10000 if major >= 9 else 1000) + minor * 100 + patch
