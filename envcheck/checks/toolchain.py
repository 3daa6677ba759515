"""Checks of compilers and headers: what building an extension, or torch.compile, needs."""

from __future__ import annotations

import re

from .base import SUPPORTING, WEAK, Outcome
from .details import build_tool, libraries, mapping
from .fixes import Steps, by_hand, current_build, has_recipe, os_install, script, step
from .judge import fact, judge
from .known import newest_gcc
from .place import WHEELS, install_argv, packages, place
from .view import View, nums

AREA = "toolchain"


def cuda_toolkit_missing(v: View) -> Outcome:
    """An extension is built, and no CUDA toolkit is found.

    Why: wheels bring the runtime and no compiler; building an extension needs nvcc and the headers.
    Fix: install the toolkit of torch's CUDA version and set CUDA_HOME.
    References: https://github.com/pytorch/pytorch/blob/main/torch/utils/cpp_extension.py
    """
    none = build_tool(v, "nvcc") is False and not v.machine.toolkits
    home = mapping(v, "cuda_home")
    return judge(
        v,
        "cuda-toolkit-missing",
        "an extension is to be built, and there is no CUDA toolkit (nvcc)",
        # a machine without a toolkit is in order until something wants one
        facts=fact(
            f"CUDA_HOME is {home.get('path')}, where there is no nvcc, and no toolkit is elsewhere",
            WEAK + 5,
            home.get("nvcc") is False and none,
        ),
        looked=bool(v.machine.toolkits) or none,
        quiet="a CUDA toolkit is here" if v.machine.toolkits else "no CUDA toolkit, and nothing names one",
        at_most=SUPPORTING if v.machine.toolkits and not v.machine.symptoms else 100,
        fix=lambda: _toolkit(v),
    )


def _toolkit(v: View) -> Steps:
    cuda = nums(v.torch_cuda)
    if not cuda or len(cuda) < 2:
        return by_hand("install the CUDA toolkit of torch.version.cuda's version, and set CUDA_HOME to it")
    dotted = f"{cuda[0]}.{cuda[1]}"
    if v.flag("windows"):
        return by_hand(f"install NVIDIA's CUDA Toolkit {dotted}, then open a new shell: its installer sets CUDA_PATH")
    if place(v).manager not in WHEELS:
        argv = (*install_argv(place(v)), "-c", "nvidia", f"cuda-toolkit={dotted}")
        return (step("toolkit", f"the CUDA {dotted} toolkit, inside the environment", *argv),)
    package, home = f"cuda-toolkit-{cuda[0]}-{cuda[1]}", by_hand(f"then export CUDA_HOME=/usr/local/cuda-{dotted}")
    build = current_build(v)
    if build is not None and has_recipe(v, "cuda-toolkit"):
        title = f"write the script that installs the CUDA {dotted} toolkit from NVIDIA's repository"
        return (*script(title, "--torch", build.torch, "--cuda", build.tag, "--with-toolkit"), *home)
    title = f"NVIDIA's package {package}, from NVIDIA's repository for this system"
    return (*os_install(v, "toolkit", title, dict.fromkeys(("debian", "rhel", "suse"), (package,))), *home)


def cuda_home_mismatch(v: View) -> Outcome:
    """nvcc's CUDA differs from torch's.

    Why: an extension is compiled by nvcc and linked with torch; the majors must be the same.
    Fix: the toolkit of torch's version, or a torch of the toolkit's.
    References: https://github.com/pytorch/pytorch/blob/main/torch/utils/cpp_extension.py
    """
    own = nums(v.torch_cuda)
    versions = [t.version for t in v.machine.toolkits if t.version]
    others = bool(own and versions) and all((nums(x) or (0,))[0] != (own or (0,))[0] for x in versions)
    builds = v.has(r"setup\.py|building wheel|cpp_extension|ninja|build_ext|nvcc")
    return judge(
        v,
        "cuda-home-mismatch",
        "nvcc is of another CUDA version than torch",
        facts=fact(
            f"toolkit {', '.join(versions)} and torch built for CUDA {v.torch_cuda}",
            # a toolkit beside a wheel is no fault until CUDA_HOME points every build at it
            SUPPORTING
            if builds and v.cuda_available is not True
            else WEAK + 5
            if mapping(v, "cuda_home").get("nvcc")
            else WEAK - 10,
            others,
        ),
        fix=lambda: _toolkit(v),
    )


def host_compiler_too_new(v: View) -> Outcome:
    """nvcc refuses the host's compiler.

    Why: each toolkit accepts gcc and MSVC up to a version; a newer distribution brings a later one.
    Fix: an older compiler (CC, CXX, CUDAHOSTCXX), or a newer toolkit.
    References: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html
    """
    hit = v.text.find(r"gcc versions later than (\d{1,2}) are not supported")
    toolkit = next((t.version for t in v.machine.toolkits if t.version), None)
    gcc, most = mapping(v, "compilers").get("gcc"), newest_gcc(v, toolkit)
    newer = not v.pasted and bool(gcc and most) and (nums(gcc) or (0,))[0] > (nums(most) or (99,))[0]
    wanted = hit[1] if hit else (most or "").split(".")[0] or None
    return judge(
        v,
        "host-compiler-too-new",
        "the C++ compiler is newer than this CUDA toolkit accepts",
        facts=fact(f"gcc {gcc}, and CUDA {toolkit} accepts gcc up to {most}", WEAK + 5, newer),
        looked=not v.pasted and bool(gcc and most) and not newer,
        quiet=f"CUDA {toolkit} accepts gcc {gcc}",
        fix=lambda: _older_gcc(v, wanted),
    )


def _older_gcc(v: View, wanted: str | None) -> Steps:
    if not wanted or not wanted.isdigit():
        return by_hand("take an older compiler for the build (CC, CXX, CUDAHOSTCXX), or a newer CUDA toolkit")
    names = {
        "debian": (f"gcc-{wanted}", f"g++-{wanted}"),
        "suse": (f"gcc{wanted}", f"gcc{wanted}-c++"),
        "rhel": (f"gcc-toolset-{wanted}",),
        "arch": (),
    }
    if v.machine.os.family == "fedora":  # has one compiler, the newest
        names["rhel"] = ()
    after = f"then export CC=gcc-{wanted} CXX=g++-{wanted} CUDAHOSTCXX=g++-{wanted} for the build"
    if v.machine.os.family == "rhel":
        after = f"then build inside: scl enable gcc-toolset-{wanted} bash"
    steps = os_install(v, "gcc", f"gcc {wanted} beside the present one", names)
    return (
        (*steps, *by_hand(after)) if steps[0].argv else by_hand(f"install gcc {wanted} beside the present one: {after}")
    )


def triton_missing(v: View) -> Outcome:
    """torch.compile needs Triton, and none that fits is installed.

    Why: PyPI has no Triton wheel for Windows, and each torch wants its own minor version.
    Fix: triton-windows of the matching minor, the Triton that torch names, or no torch.compile.
    References: https://github.com/pytorch/pytorch/blob/main/torch/_inductor/exc.py
    """
    rows = [r for r in (v.matrix.builds("linux-x86_64")) if nums(v.torch_version) == r.key and r.triton]
    pin = nums(rows[0].triton) if rows else None
    name = "triton-windows" if v.flag("windows") else "triton"
    wanted = f"{name}=={pin[0]}.{pin[1]}.*" if pin and len(pin) > 1 else name
    have = v.package("triton", "triton-windows", "pytorch-triton") if not v.machine.symptoms else None
    absent = not v.pasted and v.torch_cuda and v.packages and have is None
    differs = bool(pin and have and not v.pasted and (nums(have) or ())[:2] != pin[:2])
    return judge(
        v,
        "triton-missing",
        "torch.compile finds no Triton that fits",
        facts=(
            *fact("no Triton is installed: torch.compile will not work", WEAK, absent),
            *fact(f"triton {have}, and torch {v.torch_version} wants {wanted}", WEAK + 10, differs),
        ),
        looked=have is not None and not differs,
        quiet=f"triton {have}",
        fix=lambda: (packages(v, "triton", "the Triton of this torch", wanted),),
    )


def triton_no_compiler(v: View) -> Outcome:
    """Triton finds no C compiler when the program runs.

    Why: Triton compiles a small C launcher at run time; runtime images and bare servers have no gcc.
    Fix: install gcc, or set CC.
    References: https://github.com/triton-lang/triton/blob/main/python/triton/runtime/build.py
    """
    names = {
        "debian": ("build-essential",),
        "rhel": ("gcc",),
        "suse": ("gcc",),
        "arch": ("gcc",),
        "alpine": ("gcc", "musl-dev"),
    }
    absent = build_tool(v, "cc") is False
    windows = by_hand("install the Visual Studio build tools (C++), and start from their developer prompt")
    return judge(
        v,
        "triton-no-compiler",
        "torch.compile finds no C compiler",
        facts=fact("no C compiler is on PATH: torch.compile will not work", WEAK, absent and v.torch_cuda),
        looked=build_tool(v, "cc") is True,
        quiet="a C compiler is here",
        fix=lambda: windows if v.flag("windows") else os_install(v, "gcc", "install a C compiler", names),
    )


def triton_no_libcuda(v: View) -> Outcome:
    """Triton's link step finds libcuda.so.1 and no libcuda.so.

    Why: the linker wants the name without a number, which only development packages and `ldconfig` links bring.
    Fix: make the link, or set TRITON_LIBCUDA_PATH.
    References: https://github.com/triton-lang/triton/blob/main/third_party/nvidia/backend/driver.py
    """
    lone = bool(libraries(v, "libcuda.so.1")) and not libraries(v, "libcuda.so") and not v.pasted
    return judge(
        v,
        "triton-no-libcuda",
        "the linker finds no libcuda.so",
        facts=fact("the loader knows libcuda.so.1 and no libcuda.so", WEAK - 6, lone and v.torch_cuda),
        looked=bool(libraries(v, "libcuda.so")),
        quiet="libcuda.so is there",
        fix=lambda: (
            step("ldconfig", "refresh the loader's cache", "ldconfig", root=True),
            step(
                "link",
                "make the link",
                "sh",
                "-c",
                'f=$(ldconfig -p | awk \'/libcuda.so.1 /{print $NF; exit}\') && ln -s "$f" "${f%.1}"',
                root=True,
            ),
        ),
    )


def python_headers_missing(v: View) -> Outcome:
    """Python.h is missing for the Python in use.

    Why: extensions and Triton's launcher are compiled against Python's headers, which distributions ship apart.
    Fix: the -dev package of that Python.
    References: https://docs.python.org/3/extending/building.html
    """
    minor = v.python_minor if v.python_minor and re.fullmatch(r"3\.\d{1,2}", v.python_minor) else "3"
    names = {
        "debian": (f"python{minor}-dev",),
        "rhel": (f"python{minor}-devel",),
        "suse": (f"python{minor.replace('.', '')}-devel",),
        "alpine": ("python3-dev",),
    }
    return judge(
        v,
        "python-headers-missing",
        "Python.h is missing for this Python",
        facts=fact("this Python has no headers", WEAK, build_tool(v, "python_headers") is False and v.torch_cuda),
        looked=build_tool(v, "python_headers") is True,
        quiet="Python's headers are here",
        bonus=3,
        fix=lambda: os_install(v, "headers", "install the headers of this Python", names),
    )


CHECKS = (
    cuda_toolkit_missing,
    cuda_home_mismatch,
    host_compiler_too_new,
    python_headers_missing,
    triton_no_libcuda,
    triton_no_compiler,
    triton_missing,
)
