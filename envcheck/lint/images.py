"""Rules on images and on what is installed into one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..matrix import version_key
from .words import Fault, Target, error, warning

CUDA_IMAGE = re.compile(
    r"(?:^|/)(?:nvidia/cuda:(?P<base>\d{1,2}\.\d{1,2})|pytorch/pytorch:\S*cuda(?P<torch>\d{1,2}\.\d{1,2}))"
)
# packages whose file is the driver itself, as apt, dnf, zypper and pacman name them
DRIVER_PACKAGE = re.compile(
    r"^(?:nvidia-driver(?:-.*)?|nvidia-open(?:-.*)?|cuda-drivers(?:-.*)?|nvidia-(?:kernel-)?(?:dkms|open|source|common)(?:-.*)?|nvidia-utils(?:-.*)?"
    r"|libnvidia-compute(?:-.*)?|nvidia-compute-utils.*|nvidia-smi|libcuda1|cuda|cuda-\d{1,2}-\d{1,2}|akmod-nvidia|nvidia-headless-.*)$"
)
COMPILERS = re.compile(
    r"^(?:gcc(?:-\d+)?|g\+\+(?:-\d+)?|build-essential|clang(?:-\d+)?|base-devel|gcc-c\+\+|build-base)$"
)
WITHOUT_COMPILER = re.compile(
    r"python:[\w.]*-?slim|nvidia/cuda:\S*-(?:base|runtime)|^(?:ubuntu|debian|rockylinux|fedora)\b|ubi\d*-minimal"
)


def image_faults(image: str, number: int, target: Target) -> Iterable[Fault]:
    """A CUDA image that is newer than what the machines' driver speaks."""
    found = CUDA_IMAGE.search(image)
    if found is None or target.driver is None:
        return
    cuda, own = found["base"] or found["torch"], target.matrix.driver_cuda(target.driver)
    if own is None or version_key(cuda) <= version_key(own):
        return
    text = f"the image has CUDA {cuda}, the driver {target.driver} speaks CUDA {own}"
    fix = f"take an image with CUDA {own} or older, or ask for a newer driver in the policy"
    if cuda.split(".")[0] == own.split(".")[0]:
        summary = f"{text}: within one major version most things run, the image may refuse to start all the same"
        yield warning("container-host-driver-too-old", number, summary, fix)
    else:
        yield error("container-host-driver-too-old", number, f"{text}: the container will not start on it", fix)


def package_faults(packages: Iterable[str], number: int) -> Iterable[Fault]:
    """The driver belongs to the host: a copy in the image is another version than the kernel's module."""
    drivers = [p for p in (re.split(r"[=<>]", name)[0] for name in packages) if DRIVER_PACKAGE.match(p)]
    if drivers:
        yield error(
            "driver-library-mismatch",
            number,
            f"{drivers[0]} puts a driver into the image; the host's own is handed in when the container starts",
            "leave it out; for nvcc install cuda-toolkit-X-Y, or take an image nvidia/cuda:X.Y.Z-devel",
        )


def runfile_fault(number: int) -> Fault:
    return error(
        "driver-library-mismatch",
        number,
        "a driver's .run file is executed in the image; the host's own driver is handed in when the container starts",
        "leave it out; the CUDA .run file takes --toolkit --silent for the toolkit alone",
    )


def compiler_fault(number: int, image: str) -> Fault:
    return warning(
        "triton-no-compiler",
        number,
        f"torch is installed on {image[:80]} and no C compiler is: torch.compile (triton) needs one when it runs",
        "install gcc and the headers of this Python in the same image, or do without torch.compile",
    )
