"""From an exception, a crash or a silence of the probe to a verdict in words. Pure: text in, verdict out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..checks.base import CRASH, FAIL, SKIP, TIMEOUT, UNKNOWN, WARN
from ..model import Step
from .words import CRASHED, SKIPPED, TIMED_OUT, Judged, TrialRun


@dataclass(frozen=True, kw_only=True)
class Known:
    """A text that libraries print, what it means, and the step that helps."""

    pattern: re.Pattern[str]
    status: str
    summary: str
    fix: tuple[Step, ...] = ()


def _known(pattern: str, status: str, summary: str, *fix: Step) -> Known:
    return Known(pattern=re.compile(pattern, re.IGNORECASE), status=status, summary=summary, fix=fix)


def _plan(title: str) -> Step:
    return Step(id="plan", title=title, argv=("envcheck", "plan", "-o", "install.sh"))


# the first that matches counts; order: causes before consequences
KNOWN = (
    _known(
        r"no kernel image is available|CUDA_ERROR_NO_BINARY_FOR_GPU",
        FAIL,
        "this torch has no code for this GPU's compute capability",
        _plan("choose a build of torch that has"),
    ),
    _known(r"CUDA_ERROR_OUT_OF_MEMORY|out of memory", UNKNOWN, "the GPU has too little free memory for this check"),
    _known(
        r"driver version is insufficient|CUDA driver is insufficient|The NVIDIA driver on your system is too old|"
        r"UnsupportedPtxVersion|unsupported toolchain|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        FAIL,
        "the driver is too old for the CUDA that this torch was built for",
        _plan("choose a build that this driver runs, or the driver that this build needs"),
    ),
    _known(r"CUDA_ERROR_NO_DEVICE|no CUDA-capable device", FAIL, "the driver works and shows no GPU"),
    _known(r"loading (libcuda\.so\.1|nvcuda\.dll)", FAIL, "no NVIDIA driver library (libcuda) can be loaded"),
    _known(r"Torch not compiled with CUDA enabled", FAIL, "this torch is a CPU build", _plan("choose the CUDA build")),
    _known(
        r"uncorrectable ECC|CUDA_ERROR_ECC_UNCORRECTABLE",
        FAIL,
        "the GPU's memory has uncorrectable ECC errors: reset the GPU, then test its memory",
    ),
    _known(
        r"illegal memory access|misaligned address|device-side assert|unspecified launch failure",
        FAIL,
        "a kernel faulted",
    ),
    _known(
        r"CUDNN_STATUS_\w+|cuDNN version incompatib|libcudnn\S*: (?:cannot open|undefined)",
        FAIL,
        "cuDNN failed",
    ),
    _known(r"CUBLAS_STATUS_\w+|libcublas\S*: (?:cannot open|undefined)", FAIL, "cuBLAS failed"),
    _known(r"ncclUnhandledCudaError|ncclSystemError|ncclInternalError|NCCL error", FAIL, "NCCL failed"),
    _known(r"CUDA error|CUDA_ERROR_\w+|cuInit failed", FAIL, "CUDA failed"),
)
# torch.compile needs tools besides torch; without them everything else still works, so these warn. Texts: triton 2.0 to
# 3.5 (common/build.py, runtime/build.py, backends/nvidia/driver.py), torch/_inductor/exc.py, gcc, clang and ld
COMPILE = (
    _known(
        r"Python\.h: No such file|'Python\.h' file not found",
        WARN,
        "torch.compile needs Python.h: install the headers of this Python (python3-dev on Debian and Ubuntu)",
    ),
    _known(
        r"cannot find -l(?::lib)?cuda|libcuda\.so(?!\.1).{0,40}(?:cannot|not) ?found|libcuda\.so cannot found",
        WARN,
        "torch.compile needs the linker's name libcuda.so: make the link beside libcuda.so.1, or run ldconfig",
    ),
    _known(
        r"No such file or directory: '(?:/sbin/)?ldconfig'",
        WARN,
        "triton asks ldconfig where libcuda.so.1 is and this system has none: set TRITON_LIBCUDA_PATH to its directory",
    ),
    _known(
        r"Failed to find C compiler|No working C\+\+ compiler|InvalidCxxCompiler|"
        r"No such file or directory: '(?:\S*/)?(?:gcc|cc|g\+\+|clang)'",
        WARN,
        "torch.compile needs a C compiler and found none: install gcc",
    ),
    _known(
        r"TritonMissing|working triton installation|No module named 'triton'",
        WARN,
        "torch.compile needs triton: it is not installed",
    ),
    _known(
        r"not (?:yet )?supported on Python|Windows not yet supported",
        SKIP,
        "this torch has no torch.compile for this Python or system",
    ),
    _known(
        r"too old to be supported by the triton|GPUTooOldForTriton",
        SKIP,
        "triton, and so torch.compile, does not serve a GPU this old",
    ),
)


def trouble(check: str, run: TrialRun) -> Judged:
    """The verdict on a trial that measured nothing to the end. Never a pass."""
    stderr = tuple(run.stderr.splitlines()[-6:])
    if run.outcome == SKIPPED:
        return Judged(status=SKIP, summary=run.text, not_applicable=run.not_applicable)
    if run.outcome == TIMED_OUT:
        return Judged(status=TIMEOUT, summary=run.text, evidence=stderr)
    if run.outcome == CRASHED:
        return Judged(status=CRASH, summary=f"{run.text}, in: {run.stage}", evidence=stderr)
    said = _one_line(run.text)
    evidence = (f"{run.kind}: {said}",) if said else (run.kind,)
    if run.stage == "importing torch":
        return Judged(status=FAIL, summary=f"torch cannot be imported: {said}", evidence=evidence)
    found = _of_a_compiler(run) if check == "compile" else None
    found = found or next((k for k in KNOWN if k.pattern.search(run.text) or k.pattern.search(run.kind)), None)
    if found is not None:
        text = f"{found.summary}, in: {run.stage} ({said})"
        na = found.status == SKIP
        seen = (*evidence, *stderr) if check == "compile" else evidence
        return Judged(status=found.status, summary=text, evidence=seen, fix=found.fix, not_applicable=na)
    return Judged(status=CRASH, summary=f"{run.kind} in: {run.stage}: {said}", evidence=evidence)


def _of_a_compiler(run: TrialRun) -> Known | None:
    """Triton starts the compiler and raises no more than its command: why it failed stands on stderr alone."""
    said = (run.kind, run.text, run.stderr)
    return next((k for k in COMPILE if any(k.pattern.search(text) for text in said)), None)


def _one_line(text: str) -> str:
    """The first line that says something; CUDA errors come with lines of general advice."""
    for line in text.splitlines():
        if line.strip():
            return line.strip()[:300]
    return ""
