"""Checks of the torch build: does it have CUDA, code for this GPU, and wheels for this system."""

from __future__ import annotations

import re

from .base import CERTAIN, DECISIVE, STRONG, SUPPORTING, WEAK, Outcome, Proof, skip
from .details import mapping
from .fixes import Steps, by_hand, cpu_torch, cuda_torch, step
from .judge import fact, judge
from .known import archs_doubt, build_archs, coverage, limit, needs_capability, newer_than_toolkit, only_assumed
from .place import COMPANIONS, install_argv, place, without
from .view import View, less, nums

AREA = "build"


def macos_no_cuda(v: View) -> Outcome:
    """CUDA is asked for on macOS.

    Why: no CUDA has existed for macOS since 10.13; on Apple silicon the GPU is reached through MPS.
    Fix: device "mps" (or "cpu") in the program, and the plain wheel.
    References: https://docs.pytorch.org/docs/stable/notes/mps.html
    """
    if not v.flag("macos"):
        return skip("not macOS", not_applicable=True)
    return judge(
        v,
        "macos-no-cuda",
        "macOS has no CUDA",
        facts=fact("this is macOS: torch runs on the CPU, and on Apple silicon on MPS", STRONG, not v.pasted),
        bonus=6,
        fix=lambda: by_hand(
            'in the program take device="mps" (Apple silicon) or device="cpu"; the plain wheel of torch serves both'
        ),
    )


def macos_rosetta_python(v: View) -> Outcome:
    """An x86_64 Python runs translated on Apple silicon.

    Why: a translated Python takes Intel wheels. torch has had none for macOS on Intel for years, and those that are
    left know nothing of MPS: pip says "from versions: none" or brings an old release.
    Fix: a native (arm64) Python.
    References: https://developer.apple.com/documentation/apple-silicon/about-the-rosetta-translation-environment
    """
    if not v.flag("macos"):
        return skip("not macOS", not_applicable=True)
    told = v.fact("macos")
    facts = told if isinstance(told, dict) else {}
    last = max((r.key for r in v.matrix.builds("macos-x86_64")), default=None)
    newest = f"the last torch for it is {'.'.join(map(str, last))}" if last else "torch has no wheel for it"
    return judge(
        v,
        "macos-rosetta-python",
        "this Python is an Intel one on Apple silicon: it runs under Rosetta and gets neither MPS nor new torch",
        facts=fact(f"the chip is arm64, and this Python is x86_64: {newest}", STRONG, facts.get("rosetta")),
        looked=facts.get("python_arch") is not None,
        quiet=f"this Python is native ({facts.get('python_arch')})",
        fix=lambda: by_hand(
            "install a native Python (python.org's universal installer, Homebrew in /opt/homebrew, or Miniforge for "
            "arm64) and make the environment with it; turn off 'Open using Rosetta' for the terminal"
        ),
    )


def amd_gpu(v: View) -> Outcome:
    """The GPU is an AMD one, and the build or the program is for CUDA.

    Why: CUDA runs on NVIDIA cards only. AMD cards need a ROCm build (Linux), or DirectML or ZLUDA (Windows).
    Fix: the ROCm build, or the CPU.
    References: https://rocm.docs.amd.com/projects/install-on-linux/en/latest/reference/system-requirements.html
    """
    others = [str(n) for n in (v.fact("other_gpus") or mapping(v, "prose").get("other_gpus") or ())]
    amd = [n for n in others if re.search(r"amd|radeon|\brx\b|instinct|vega", n, re.IGNORECASE)]
    # the bus of a live machine leaves no doubt; the words of a report do
    sure = CERTAIN + 1 if mapping(v, "pci").get("readable") and not v.pasted else STRONG
    facts = fact(f"{', '.join(amd)[:120]} and no NVIDIA GPU", sure, amd and not v.gpus)
    return judge(
        v,
        "amd-gpu",
        "the GPU is an AMD one: a CUDA build cannot use it",
        facts=facts,
        at_most=WEAK if v.gpus or v.cuda_available else 100,
        bonus=4 if v.flag("amd") else 0,
        fix=lambda: by_hand(
            "on Linux: the ROCm build from the PyTorch index (whl/rocm...); on Windows: torch-directml or ZLUDA"
        ),
    )


def jetson_needs_nvidia_wheel(v: View) -> Outcome:
    """A generic aarch64 wheel on a Jetson.

    Why: Jetson's GPU is driven by its own (Tegra) stack, which the wheels on PyPI and download.pytorch.org for
    servers do not use.
    Fix: NVIDIA's wheel for the JetPack release, or the Jetson index.
    References: https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform/index.html
    """
    if not v.flag("jetson"):
        return skip("not a Jetson", not_applicable=True)
    version = v.torch_version or ""
    missed = any(p.strength >= DECISIVE for p in v.told("cpu-only-torch"))
    generic = bool(version) and "nv" not in version and v.cuda_available is not True
    facts = (
        *fact(
            f"torch {version} on a Jetson is a CPU build".replace("  ", " "),
            CERTAIN,
            (generic and v.cpu_build) or missed,
        ),
        *fact(
            f"torch {version} is not NVIDIA's build for Jetson, and CUDA is not available",
            STRONG,
            generic and v.cuda_available is False,
        ),
        *fact("CUDA is not available on a Jetson", SUPPORTING, not version and v.cuda_available is False),
    )
    return judge(
        v,
        "jetson-needs-nvidia-wheel",
        "a Jetson needs NVIDIA's own build of torch",
        facts=facts,
        bonus=8,
        at_most=WEAK if v.cuda_available else 100,
        fix=lambda: _jetson_wheel(v),
    )


def _jetson_wheel(v: View) -> Steps:
    """NVIDIA's wheel from the index for this L4T release; that index must be the only one that is asked."""
    major = (v.machine.os.jetson or "").split(".")[0]
    index = next((i for i in v.matrix.indexes.values() if i.kind == "jetson" and i.l4t == major), None)
    at = place(v)
    if index is None or at.manager not in ("pip", "uv"):
        return by_hand("install NVIDIA's wheel for this JetPack release: see the reference")
    names = ("torch", *(n for n in COMPANIONS if n in v.packages))
    return (
        without(v, "uninstall", "take the generic wheel away", *names),
        step("torch", "install the build for this JetPack", *install_argv(at), *names, "--index-url", index.url),
    )


def aarch64_cpu_wheel(v: View) -> Outcome:
    """On Linux aarch64 PyPI's torch is CPU-only before 2.11.

    Why: GH200, GB200 and DGX Spark are aarch64, and `pip install torch` brought the CPU build there.
    Fix: the index of a CUDA variant, or NVIDIA's container.
    References: https://pytorch.org/get-started/previous-versions/
    """
    if not v.flag("aarch64") or v.flag("jetson") or v.flag("macos"):
        return skip("not Linux on aarch64", not_applicable=True)
    told = bool(v.told("cpu-only-torch")) and v.told("cpu-only-torch")[0].strength >= DECISIVE
    cpu = (
        told
        or v.cpu_build is True
        or (
            v.torch_cuda is None
            and v.cuda_available is False
            and less(v.torch_version, limit(v, "aarch64_cuda_on_pypi_from_torch"))
        )
    )
    facts = fact(f"torch {v.torch_version or ''} on aarch64 has no CUDA", CERTAIN + 2, cpu)
    return judge(
        v,
        "aarch64-cpu-wheel",
        "torch on this aarch64 machine is the CPU build that PyPI had",
        facts=facts,
        bonus=6,
        looked=v.torch_cuda is not None,
        quiet="the build has CUDA",
        at_most=WEAK if v.torch_cuda or v.cuda_available else 100,
        fix=lambda: cuda_torch(v),
    )


def cpu_only_torch(v: View) -> Outcome:
    """The torch that is installed was built without CUDA.

    Why: PyPI's Windows wheels, `+cpu` wheels, conda's `cpuonly` and some resolver decisions bring a build without
    CUDA; no driver can change that.
    Fix: swap torch for a CUDA build from the PyTorch index.
    References: https://pytorch.org/get-started/locally/
    """
    if v.flag("macos"):
        return judge(
            v, "cpu-only-torch", "this build of torch has no CUDA", at_most=SUPPORTING, fix=lambda: cpu_torch(v)
        )
    wants = bool(v.gpus) or v.driver_works or bool(v.gpu_names)
    # A report that shows a CPU build was written as CUDA was missed; a live machine without a GPU is content with it.
    missed = (STRONG if v.cuda_available is False else SUPPORTING) if v.pasted else 0
    strength = CERTAIN if wants else missed
    facts = fact(f"torch {v.torch_version or ''} was built without CUDA".replace("  ", " "), strength, v.cpu_build)
    from_pypi = v.pypi_build == "cpu" and v.cpu_build is None and v.torch_cuda is None and v.cuda_available is False
    facts += fact(f"torch {v.torch_version} from PyPI has no CUDA on this system", STRONG, from_pypi)
    contradicted = v.torch_cuda is not None or v.cuda_available is True
    return judge(
        v,
        "cpu-only-torch",
        "the installed torch is a CPU build",
        facts=facts,
        looked=v.torch_cuda is not None,
        quiet=f"torch is built for CUDA {v.torch_cuda}",
        at_most=WEAK
        if contradicted and not v.told("cpu-only-torch")[:1]
        else (SUPPORTING + 5 if v.torch_cuda is not None else 100),
        fix=lambda: cuda_torch(v),
    )


def _arch(v: View, code: str, verdicts: tuple[str, ...], summary: str) -> Outcome:
    """The shared half of too new and too old: each capability against the build."""
    found = {c: coverage(v, c) for c in v.capabilities}
    hit = [c for c, how in found.items() if how in verdicts]
    other = [c for c, how in found.items() if how is not None and how not in verdicts and how != "runs"]
    fine = bool(found) and all(how == "runs" for how in found.values())
    archs = build_archs(v)
    told = bool(v.told(code))
    lean = _lean(v) if not any(found.values()) else ""
    sentence = f"compute capability {', '.join(hit)} and a build for {' '.join(archs)[:160]}{archs_doubt(v)}"
    strength = CERTAIN if told or v.cuda_available is not True else STRONG
    if not told and hit and (archs_doubt(v) or all(only_assumed(v, c) for c in hit)):
        strength = WEAK
    refused = _refused_by_nvcc(v)
    if refused is not None:
        lean = refused[0]
    return judge(
        v,
        code,
        summary,
        facts=(
            *fact(sentence, strength, hit),
            *fact(refused[1] if refused else "", CERTAIN, refused and refused[0] in verdicts),
        ),
        looked=fine,
        quiet="the build has code for every GPU here",
        at_most=_arch_limit(bool(other and not hit), bool(lean and lean not in verdicts), fine, told),
        bonus=DECISIVE - SUPPORTING if lean in verdicts and told else 0,
        fix=lambda: cuda_torch(v, "install a build with code for this GPU"),
    )


def _refused_by_nvcc(v: View) -> tuple[str, str] | None:
    """``Unsupported gpu architecture 'compute_61'`` and the toolkit that says so: which of the two is the newer one."""
    hit = v.text.find(r"Unsupported gpu architecture 'compute_(\d{1,2})(\d)[af]?'")
    told = next((t.version for t in v.machine.toolkits if t.version), None) or mapping(v, "prose").get("cuda")
    toolkit = nums(str(told)) if told else None
    if hit is None or toolkit is None:
        return None
    capability = f"{hit[1]}.{hit[2]}"
    how = "too-new" if newer_than_toolkit(capability, toolkit, v.matrix) else "too-old"
    return how, f"CUDA {told} does not know compute capability {capability}"


def _arch_limit(contradicted: bool, unlikely: bool, fine: bool, told: bool) -> int:
    """The same message stands for both directions: where the facts say the other one, this is not it."""
    if contradicted:
        return WEAK - 10
    if unlikely:
        return WEAK
    if fine:
        return SUPPORTING + 3 if told else WEAK - 10
    return 100


def _lean(v: View) -> str:
    """Where the build is not known: which end of all builds the cards here are nearer to."""
    known = [k for k in (nums(c) for c in v.capabilities) if k]
    if not known:
        return ""
    oldest, newest_common = nums(limit(v, "newest_builds_from")) or (), nums(limit(v, "common_arch_until")) or ()
    if min(known) < oldest:
        return "too-old"
    return "too-new" if max(known) > newest_common else ""


def gpu_arch_too_new(v: View) -> Outcome:
    """The GPU is newer than the build: it has no code for it.

    Why: a wheel carries machine code for a list of architectures. A card of a later generation finds none: "no kernel
    image is available for execution on the device".
    Fix: a build for a newer CUDA (sm_120 needs cu128 or later, sm_90 cu118, sm_86 cu111).
    References: https://github.com/pytorch/pytorch/blob/main/torch/cuda/__init__.py
    """
    return _arch(v, "gpu-arch-too-new", ("too-new",), "this build of torch has no code for so new a GPU")


def gpu_arch_too_old(v: View) -> Outcome:
    """The build has dropped the GPU's architecture.

    Why: old generations leave the wheels: Kepler with CUDA 12, Maxwell and Pascal with cu128, Volta with cu130.
    Fix: an older CUDA variant of the release, or an older torch.
    References: https://github.com/pytorch/pytorch/blob/main/RELEASE.md
    """
    return _arch(v, "gpu-arch-too-old", ("too-old", "dropped"), "this build of torch has dropped so old a GPU")


def gpu_feature_unsupported(v: View) -> Outcome:
    """The program asks for something that this generation of GPU lacks.

    Why: bfloat16 needs compute capability 8.0, FlashAttention Ampere, FP8 8.9, vLLM 7.0 (7.5).
    Fix: another dtype or attention back end, or a newer GPU.
    References: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html
    """
    below = [c for c in v.capabilities if less(c, limit(v, "bf16_capability"))]
    return judge(
        v,
        "gpu-feature-unsupported",
        "the program asks for a feature that this GPU generation does not have",
        facts=tuple(
            Proof(text=f"{name} {v.packages[name]} needs {need}, and the GPU has {below_need[0]}", strength=WEAK)
            for name, need in needs_capability(v).items()
            if name in v.packages and (below_need := [c for c in v.capabilities if less(c, need)])
        ),
        looked=bool(v.capabilities) and not v.machine.symptoms,
        quiet="nothing that is installed asks more of the GPU than it has",
        bonus=2 if below else 0,
        fix=lambda: by_hand(
            "in the program: dtype float16 in place of bfloat16, another attention back end (sdpa, xformers), no FP8"
        ),
    )


CHECKS = (
    macos_no_cuda,
    macos_rosetta_python,
    amd_gpu,
    jetson_needs_nvidia_wheel,
    aarch64_cpu_wheel,
    cpu_only_torch,
    gpu_arch_too_new,
    gpu_arch_too_old,
)
LATE_CHECKS = (gpu_feature_unsupported,)
