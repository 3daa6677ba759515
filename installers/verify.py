"""Proves an installation of torch; run by the interpreter that torch was installed for.

Python 3.8 syntax, stdlib and torch alone. Exit 0 only if everything passed; "gpu" wants every GPU to compute right.

* python verify.py gpu --torch 2.0.1 --cuda 11.8
* python verify.py cpu --torch 2.0.1 --cuda ''
"""

import argparse
import sys

# Inner length of the products: long enough to fill the pipes of a Tensor Core, short enough for tight bounds.
K = 512
UNIT = {"float16": 2.0**-11, "float32": 2.0**-24}


class Report:
    def __init__(self):
        self.failed = False

    def line(self, good, name, text):
        self.failed = self.failed or not good
        print("{} {}: {}".format("PASS" if good else "FAIL", name, text), flush=True)
        return good


def import_torch(report):
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken library raises OSError, ImportError, RuntimeError, ...
        report.line(False, "import", "import torch failed: {}: {}".format(type(error).__name__, error))
        return None
    report.line(True, "import", "torch {} from {}".format(torch.__version__, torch.__file__))
    return torch


def check_build(report, torch, wanted, cuda):
    have = torch.__version__.split("+")[0]
    report.line(have == wanted, "version", "torch {} is installed, {} was planned".format(have, wanted))
    built = torch.version.cuda or ""
    same = built.split(".")[:2] == cuda.split(".")[:2]
    report.line(same, "build", "built for {}, planned for {}".format(_cuda(built), _cuda(cuda)))


def _cuda(version):
    return "CUDA " + version if version else "the CPU"


def check_numpy(report, torch):
    try:
        import numpy
    except ImportError:
        return
    try:
        total = float(torch.from_numpy(numpy.ones(4, dtype=numpy.float32)).sum())
    except Exception as error:  # noqa: BLE001 - torch built for NumPy 1 beside NumPy 2 raises RuntimeError
        report.line(False, "numpy", "torch.from_numpy fails with numpy {}: {}".format(numpy.__version__, error))
        return
    report.line(total == 4.0, "numpy", "torch.from_numpy works with numpy {}".format(numpy.__version__))


def check_product(report, torch, device, name):
    """A matmul against float64 on the CPU, by the componentwise bound of its rounding errors.

    |error| <= u_out |C| + 2 K u_acc |A||B| + the smallest subnormal, with u_acc of float32 accumulation, doubled since
    Tensor Cores truncate. Inputs are exact: they are rounded to the type before the reference is computed.
    """
    kind = getattr(torch, name)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(K, K, generator=generator).to(kind) for _ in range(2))
    exact = a.double() @ b.double()
    bound = UNIT[name] * exact.abs() + 2 * K * UNIT["float32"] * (a.double().abs() @ b.double().abs()) + 2.0**-24
    got = (a.to(device) @ b.to(device)).cpu().double()
    worst = float(((got - exact).abs() / bound).max())
    report.line(worst <= 1.0, name, "matmul on {}: {:.2f} of the error that rounding allows".format(device, worst))


def check_exact(report, torch, device):
    """Entries of -1, 0, 1: every partial sum is an integer below 2048, exact in FP16, so no bit may differ."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randint(-1, 2, (K, K), generator=generator).half() for _ in range(2))
    same = bool(torch.equal((a.to(device) @ b.to(device)).cpu().double(), a.double() @ b.double()))
    report.line(same, "float16-exact", "integer matmul on {}: {}".format(device, "bit for bit" if same else "differs"))


def check_convolution(report, torch, device):
    """A convolution against float64 on the CPU.

    cuDNN may take Winograd's algorithm, which amplifies rounding: 64 times the direct sum's bound covers F(4x4, 3x3).
    """
    if not torch.backends.cudnn.is_available():
        report.line(False, "cudnn", "cuDNN is not available to torch")
        return
    generator = torch.Generator().manual_seed(2)
    x, w = torch.randn(4, 16, 32, 32, generator=generator), torch.randn(32, 16, 3, 3, generator=generator)
    convolve = torch.nn.functional.conv2d
    exact = convolve(x.double(), w.double(), padding=1)
    terms = 16 * 3 * 3
    bound = 64 * terms * UNIT["float32"] * convolve(x.double().abs(), w.double().abs(), padding=1)
    got = convolve(x.to(device), w.to(device), padding=1).cpu().double()
    worst = float(((got - exact).abs() / bound).max())
    text = "convolution on {} by cuDNN {}: {:.2f} of what is allowed".format(
        device, torch.backends.cudnn.version(), worst
    )
    report.line(worst <= 1.0, "cudnn", text)


def check_gpus(report, torch):
    if not torch.cuda.is_available() or torch.cuda.device_count() == 0:
        why = _why_no_gpu(torch)
        report.line(False, "gpu", "torch sees no NVIDIA GPU here" + (": " + why if why else ""))
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    for index in range(torch.cuda.device_count()):
        device = "cuda:{}".format(index)
        name = torch.cuda.get_device_name(index)
        report.line(True, "gpu", "{} is {}, sm_{}{}".format(device, name, *torch.cuda.get_device_capability(index)))
        for trial, more in (
            (check_product, ("float32",)),
            (check_product, ("float16",)),
            (check_exact, ()),
            (check_convolution, ()),
        ):
            try:
                trial(report, torch, device, *more)
                torch.cuda.synchronize(index)
            except Exception as error:  # noqa: BLE001 - CUDA errors are classes that differ between releases
                report.line(False, "gpu", "{}: {}: {}".format(device, type(error).__name__, str(error).split("\n")[0]))


def _why_no_gpu(torch):
    try:
        torch.cuda.init()
    except Exception as error:  # noqa: BLE001 - AssertionError for a CPU build, RuntimeError without a driver
        return str(error).strip().split("\n")[0]
    return ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("gpu", "cpu"))
    parser.add_argument("--torch", required=True)
    parser.add_argument("--cuda", required=True)
    wanted = parser.parse_args()
    report = Report()
    torch = import_torch(report)
    if torch is not None:
        check_build(report, torch, wanted.torch, wanted.cuda)
        check_numpy(report, torch)
        if wanted.kind == "gpu":
            check_gpus(report, torch)
        else:
            check_product(report, torch, "cpu", "float32")
    print("not verified: see the lines with FAIL" if report.failed else "verified", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
