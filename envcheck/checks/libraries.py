"""Checks of the libraries beside torch: pairs, duplicates, and which of several copies the loader takes."""

from __future__ import annotations

import re

from .base import CERTAIN, STRONG, SUPPORTING, WEAK, Outcome, Proof
from .details import entries, mapping
from .fixes import Steps, again, by_hand, step
from .judge import fact, judge
from .known import less_equal, limit
from .place import packages, wheels, without
from .view import View, nums

AREA = "libraries"
UNSET = "start the program without LD_LIBRARY_PATH: the wheel brings its own libraries"


def _unset(v: View) -> Steps:
    return (
        step(
            "unset", UNSET, "env", "-u", "LD_LIBRARY_PATH", "python3", "-c", "import torch; print(torch.version.cuda)"
        ),
    )


def _looked(v: View) -> bool:
    return v.fact("pins") is not None and v.fact("library_conflicts") is not None


def _plain(requirement: str) -> bool:
    """Whether it is nothing but ``nvidia-name-cu12==1.2.3``: it comes from a file of the machine."""
    return re.fullmatch(r"nvidia-[a-z-]{2,30}(?:-cu\d\d)?==\d{1,4}(?:\.\d{1,6}){1,4}", requirement) is not None


def _repair(v: View, stem: str) -> Steps:
    """The wheel in the version that torch pins where that is what differs, else the loader's path."""
    wanted = [
        f"{r.get('name')}=={r.get('wanted')}"
        for r in entries(v, "pins")
        if r.get("have") is not None and re.fullmatch(re.escape(stem) + r"(?:-cu\d\d)?", str(r.get("name")))
    ]
    plain = [w for w in wanted if _plain(w)]
    return (wheels(v, "pin", "the version that this torch wants", *plain),) if plain else _unset(v)


def _library_path(v: View, word: str) -> str | None:
    """The first entry of LD_LIBRARY_PATH that holds a word ("cuda", "cudnn")."""
    path = v.machine.env.get("LD_LIBRARY_PATH") or ""
    return next((p for p in path.split(":") if word in p.lower()), None)


def _beside(v: View, *names: str, older: int = WEAK + 5) -> tuple[Proof, ...]:
    """Copies that LD_LIBRARY_PATH or LD_PRELOAD puts before the wheel's, of another version.

    A hint: torch's own libraries name their neighbours by DT_RPATH, which comes first. ``older`` is the strength of an
    older copy of a library that is searched for by DT_RUNPATH, which comes after LD_LIBRARY_PATH.
    """
    rows = [
        r for r in entries(v, "library_conflicts") if str(r.get("name", "")).startswith(tuple(f"{n}." for n in names))
    ]
    return tuple(
        Proof(
            text=f"{r.get('path')} is {r.get('version')}, and the wheel {r.get('package')} is {r.get('wheel')}",
            strength=STRONG if r.get("loaded") else older if r.get("older") else WEAK + 5,
        )
        for r in rows
    )


def _pinned(v: View, stem: str, lower: int, other: int) -> tuple[Proof, ...]:
    """A wheel that torch's metadata pins and that is installed in another version (a missing one is left out).

    ``lower`` and ``other`` are the strengths for an older one and for any other.
    """
    out = []
    for row in entries(v, "pins"):
        name, have, wanted = str(row.get("name")), row.get("have"), str(row.get("wanted"))
        if have is None or not re.fullmatch(re.escape(stem) + r"(?:-cu\d\d)?", name):
            continue
        older = (nums(str(have)) or ()) < (nums(wanted) or ())
        out.append(
            Proof(text=f"{name} {have} is installed, and torch wants {wanted}", strength=lower if older else other)
        )
    return tuple(out)


def cudnn_not_found(v: View) -> Outcome:
    """A program cannot find cuDNN's libraries, or finds the wrong major.

    Why: CTranslate2, ONNX Runtime and others load cuDNN by name and do not look into torch's wheels; and cuDNN 9 does
    not serve a program built for 8.
    Fix: put the wheel's directory on LD_LIBRARY_PATH, or install the major that is wanted.
    References: https://docs.nvidia.com/deeplearning/cudnn/latest/installation/overview.html
    """
    hit = v.text.find(r"cudnn\w*\.so\.(\d)|cudnn\w*64_(\d)\.dll")
    major = next((g for g in hit.groups() if g), None) if hit else None
    own = mapping(v, "bundled").get("cudnn")
    pinned = [r for r in entries(v, "pins") if str(r.get("name")).startswith("nvidia-cudnn") and r.get("have") is None]
    system = any(str(e.get("name", "")).startswith("libcudnn.so") for e in entries(v, "loaded_libraries"))
    lost = own is False and bool(v.torch_cuda) and not system and not v.pasted
    repair = f"{pinned[0]['name']}=={pinned[0]['wanted']}" if pinned else None
    suffix = {"8": "nvidia-cudnn-cu12==8.*", "9": "nvidia-cudnn-cu12==9.*"}.get(major or "")
    return judge(
        v,
        "cudnn-not-found",
        "cuDNN's libraries are not found, or only those of another major",
        facts=(
            *fact("torch is built for CUDA, and neither its wheels nor the system have a libcudnn", CERTAIN, lost),
            *fact(
                f"torch wants the wheel {repair}, which is not installed", WEAK + 10, repair and not lost and not own
            ),
        ),
        looked=own is True,
        quiet="torch's own cuDNN is there",
        fix=lambda: (
            *((wheels(v, "cudnn", "the cuDNN that this torch wants", repair),) if repair and _plain(repair) else ()),
            *((wheels(v, "cudnn", f"cuDNN {major} as a wheel", suffix),) if suffix else ()),
            *by_hand("put its directory (site-packages/nvidia/cudnn/lib) on LD_LIBRARY_PATH for this program"),
        ),
    )


def cudnn_version_conflict(v: View) -> Outcome:
    """Another cuDNN than the bundled one is loaded.

    Why: LD_LIBRARY_PATH, a system package or another wheel brings an older or newer libcudnn, and the loader takes it
    first.
    Fix: take that directory off LD_LIBRARY_PATH, or align the versions.
    References: https://github.com/pytorch/pytorch/blob/main/torch/backends/cudnn/__init__.py
    """
    place = _library_path(v, "cudnn")
    copies, pins = _beside(v, "libcudnn"), _pinned(v, "nvidia-cudnn", STRONG, WEAK + 5)
    return judge(
        v,
        "cudnn-version-conflict",
        "another cuDNN than the one that torch brings is loaded",
        facts=(
            *fact(f"LD_LIBRARY_PATH names {place}", WEAK, place and v.cuda_available is not True),
            *copies,
            *pins,
        ),
        looked=v.fact("pins") is not None and not place,
        quiet="one cuDNN, the one that torch wants",
        bonus=3 if place else 0,
        fix=lambda: _repair(v, "nvidia-cudnn"),
    )


def cublas_version_conflict(v: View) -> Outcome:
    """libcublas and libcublasLt come from two CUDA versions.

    Why: the wheel's libcublas meets the toolkit's libcublasLt (or the other way round) through LD_LIBRARY_PATH or a
    second wheel; they only work as a pair.
    Fix: keep one; the wheel's directory first.
    References: https://docs.nvidia.com/cuda/cublas/index.html
    """
    return judge(
        v,
        "cublas-version-conflict",
        "libcublas and libcublasLt are of two CUDA versions",
        facts=(*_beside(v, "libcublas", "libcublasLt"), *_pinned(v, "nvidia-cublas", WEAK + 10, WEAK)),
        looked=_looked(v),
        quiet="one cuBLAS",
        fix=lambda: _repair(v, "nvidia-cublas"),
    )


def nvjitlink_version_conflict(v: View) -> Outcome:
    """The wheel's libcusparse gets an older libnvJitLink.

    Why: the toolkit's lib64 on LD_LIBRARY_PATH holds an older libnvJitLink.so.12, and the loader takes it.
    Fix: unset LD_LIBRARY_PATH, or put nvidia/nvjitlink/lib first.
    References: https://github.com/pytorch/pytorch/issues/111469
    """
    return judge(
        v,
        "nvjitlink-version-conflict",
        "an older libnvJitLink than torch's is loaded",
        facts=(*_beside(v, "libnvJitLink", older=SUPPORTING), *_pinned(v, "nvidia-nvjitlink", STRONG, WEAK - 10)),
        looked=_looked(v),
        quiet="one libnvJitLink",
        fix=lambda: _repair(v, "nvidia-nvjitlink"),
    )


def cuda_runtime_lib_conflict(v: View) -> Outcome:
    """The system toolkit's libcudart, libcupti or NVRTC is loaded in place of the wheel's.

    Why: an older copy on LD_LIBRARY_PATH or in ld.so.conf lacks the symbols that torch's libraries import.
    Fix: take the toolkit off the loader's path; one CUDA install.
    References: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html
    """
    place = _library_path(v, "cuda")
    return judge(
        v,
        "cuda-runtime-lib-conflict",
        "a CUDA runtime library of another version than torch's is loaded",
        facts=(
            *fact(
                f"LD_LIBRARY_PATH names {place}",
                WEAK - 5,
                place and not v.machine.symptoms and v.fact("library_conflicts") is None,
            ),
            *_beside(v, "libcudart", "libnvrtc", "libcusparse"),
            *_pinned(v, "nvidia-cuda-runtime", WEAK + 10, WEAK),
            *_pinned(v, "nvidia-cuda-nvrtc", WEAK + 10, WEAK),
        ),
        looked=_looked(v),
        quiet="no other CUDA runtime comes before torch's",
        bonus=2 if place else 0,
        fix=lambda: _repair(v, "nvidia-cuda-runtime"),
    )


def nccl_symbol_conflict(v: View) -> Outcome:
    """An older libnccl than torch needs is loaded first.

    Why: a system package, cupy or conda brings its own libnccl.so.2; torch imports functions that it does not have.
    Fix: remove it, or load the wheel's.
    References: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    """
    return judge(
        v,
        "nccl-symbol-conflict",
        "an older NCCL than torch's is loaded",
        facts=(*_beside(v, "libnccl"), *_pinned(v, "nvidia-nccl", STRONG, WEAK)),
        looked=_looked(v),
        quiet="one NCCL, the one that torch wants",
        at_most=SUPPORTING if len(nvidia_majors(v)) > 1 or v.told("mixed-cuda-majors") else 100,
        fix=lambda: _repair(v, "nvidia-nccl"),
    )


def nvidia_majors(v: View) -> dict[str, list[str]]:
    """CUDA major -> the nvidia-*-cuNN wheels of it."""
    found: dict[str, list[str]] = {}
    named = {**v.packages}
    for hit in v.text.matches(r"nvidia-[a-z-]{2,24}-cu(?:11|12|13)\b"):
        named.setdefault(hit[0].lower(), "")
    for name in named:
        match = re.fullmatch(r"nvidia-([a-z0-9-]+)-cu(\d\d)", name)
        if match:
            found.setdefault(match[2], []).append(name)
    return found


def mixed_cuda_majors(v: View) -> Outcome:
    """nvidia-* wheels of two CUDA majors share one site-packages.

    Why: nvidia-nccl-cu11 and nvidia-nccl-cu12 write the same files into site-packages/nvidia; the last one wins.
    Fix: uninstall those of the other major, reinstall torch.
    References: https://docs.nvidia.com/cuda/cuda-installation-guide-linux/index.html
    """
    majors = nvidia_majors(v)
    own = (v.torch_cuda or "").split(".")[0]
    foreign = [n for m, names in majors.items() if m != own for n in names] if own in majors else []
    stems = [{n.rsplit("-cu", 1)[0] for n in names} for names in majors.values()]
    clash = len(stems) > 1 and bool(set.intersection(*stems[:2]))
    names = ", ".join(sorted(n for ns in majors.values() for n in ns))[:200]
    works = v.cuda_available is True
    return judge(
        v,
        "mixed-cuda-majors",
        f"nvidia-* wheels of CUDA {' and '.join(sorted(majors))} are mixed"
        if len(majors) > 1
        else "nvidia-* wheels of two CUDA majors are mixed",
        facts=fact(names, (SUPPORTING - 10) if works else (CERTAIN if clash else STRONG), len(majors) > 1),
        looked=len(majors) == 1,
        quiet="one CUDA major",
        fix=lambda: (
            *((without(v, "uninstall", "remove those of the other major", *sorted(foreign)[:20]),) if foreign else ()),
            *again(v),
        ),
    )


def mkl_2024_1(v: View) -> Outcome:
    """Conda's MKL 2024.1 no longer has a symbol that torch builds of the time import.

    Why: libtorch_cpu.so imports iJIT_NotifyEvent, which MKL lost in 2024.1.
    Fix: an older MKL in the environment.
    References: https://github.com/pytorch/pytorch/issues/123097
    """
    mkl = v.packages.get("mkl")
    conda = v.machine.torch is not None and v.machine.torch.source == "conda"
    bad = (
        mkl is not None
        and less_equal(limit(v, "mkl_without_ijit"), mkl)
        and conda
        and less_equal(v.torch_version, limit(v, "mkl_ijit_until_torch"))
    )
    return judge(
        v,
        "mkl-2024-1",
        "MKL 2024.1 lacks a symbol (iJIT_NotifyEvent) that this torch imports",
        facts=fact(f"conda's mkl {mkl}", SUPPORTING, bad and v.cuda_available is not True),
        fix=lambda: (packages(v, "mkl", "an older MKL", f"mkl<{limit(v, 'mkl_without_ijit')}"),),
    )


CHECKS = (
    mixed_cuda_majors,
    nvjitlink_version_conflict,
    cublas_version_conflict,
    nccl_symbol_conflict,
    cuda_runtime_lib_conflict,
    cudnn_version_conflict,
    cudnn_not_found,
    mkl_2024_1,
)
