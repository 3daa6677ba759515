"""The three questions every machine must answer: is there a driver, is there a GPU, does torch's build run on them."""

from __future__ import annotations

from .base import FAIL, FAIL_FROM, Outcome, ok, skip, unknown
from .details import mapping
from .fixes import Steps, by_hand, driver_steps, step
from .known import build_archs, coverage, driver_serves
from .place import place
from .view import View

AREA = "machine"


def driver(v: View) -> Outcome:
    """The NVIDIA driver is installed, loaded and answers.

    Why: everything else rests on it. Where it is not well, a check of its own names the reason.
    Fix: what that check says; without one, reinstall the driver of the branch that `envcheck plan` names.
    References: https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/index.html
    """
    if v.flag("macos"):
        return skip("macOS has no NVIDIA driver", not_applicable=True)
    state, version = v.machine.driver.state, v.driver_version
    if state == "ok" or (state is None and version):
        spoken = f", CUDA {v.driver_cuda}" if v.driver_cuda else ""
        return ok(f"driver {version or 'is loaded'}{spoken}")
    if state is None:
        return unknown("nothing here tells the driver", required=_speaks(v))
    if state == "missing" and not v.gpus and v.batch_system and not v.pasted:
        return unknown(f"no driver on this node, which submits jobs ({v.batch_system})", required=True)
    problem = v.machine.problems.get("driver", "")
    return Outcome(
        status=FAIL,
        summary=problem or f"the driver does not answer ({state})",
        evidence=(problem,) if problem else (),
        strength=FAIL_FROM,
        # a driver that hangs or crashes is there: another installation of it would hang as well
        fix=_look_at_the_kernel() if "did not answer" in problem or "crashed" in problem else driver_steps(v),
    )


def _look_at_the_kernel() -> Steps:
    return (
        step("dmesg", "see what the kernel says of the card", "sh", "-c", "dmesg | grep -iE 'nvrm|xid'", root=True),
        *by_hand("reboot; if it comes again, the card, its power or its firmware is at fault", reboot=True),
    )


def gpu(v: View) -> Outcome:
    """An NVIDIA GPU is here and the driver shows it.

    Why: without one there is nothing for CUDA to run on.
    Fix: in a container ask for it (`--gpus all`); on bare metal look at lspci, the slot and its power.
    References: https://docs.nvidia.com/deploy/nvidia-smi/index.html
    """
    if v.flag("macos"):
        return skip("macOS has no NVIDIA GPU", not_applicable=True)
    hidden = [g for g in v.gpus if g.errors]
    if v.gpus and len(hidden) < len(v.gpus):
        names = ", ".join(dict.fromkeys(g.name or g.pci_id or "GPU" for g in v.gpus))
        return ok(f"{len(v.gpus)} x {names}" if len(v.gpus) > 1 else names)
    if hidden:
        return Outcome(
            status=FAIL,
            summary=f"GPU {hidden[0].index} is on the bus and cannot be used",
            evidence=tuple(f"GPU {g.index}: {e}" for g in hidden for e in g.errors)[:8],
            strength=FAIL_FROM,
            fix=by_hand("look at what the kernel says of it: dmesg | grep -iE 'nvrm|xid'"),
        )
    if v.gpu_names:
        return ok(f"the report names {', '.join(v.gpu_names[:4])}")
    if v.machine.problems.get("gpus") or v.machine.symptoms or v.machine.driver.state is None:
        return unknown(v.machine.problems.get("gpus", "nothing here names a GPU"), required=_speaks(v))
    if v.batch_system and not v.pasted:
        return unknown(f"no NVIDIA GPU on this node, which submits jobs ({v.batch_system})", required=True)
    if v.job and not v.pasted:
        return Outcome(
            status=FAIL,
            summary=f"no NVIDIA GPU in this job of {v.job}",
            strength=FAIL_FROM,
            fix=by_hand(
                "ask for one where you submit the job (Slurm: --gres=gpu:1; PBS: -l select=1:ngpus=1; LSF: -gpu)"
            ),
        )
    return Outcome(status=FAIL, summary="no NVIDIA GPU", strength=FAIL_FROM)


def torch(v: View) -> Outcome:
    """The installed torch runs on this driver and these GPUs.

    Why: a build needs a driver for its CUDA and machine code for the card; both can be told without importing it.
    Fix: what the checks of the build say.
    References: https://pytorch.org/get-started/previous-versions/
    """
    version = v.torch_version
    if version is None:
        return skip("torch is not installed" if not v.machine.symptoms else "the report names no torch")
    failed = _deep_failure(v)
    if failed:
        return Outcome(
            status=FAIL,
            summary=f"torch {version}: {failed}",
            evidence=(failed,),
            strength=FAIL_FROM,
            fix=_look_at_the_kernel() if "did not end" in failed or "signal" in failed else (),
        )
    if v.cuda_available is True:
        return ok(f"torch {version}, CUDA {v.torch_cuda or '?'}: CUDA is available")
    if v.cpu_build:
        return ok(f"torch {version} is a CPU build") if not v.gpus else skip("a CPU build: see cpu-only-torch")
    if v.state("missing") and not v.gpus and not v.pasted:
        return skip("no NVIDIA GPU and no driver are here for it")
    serves = driver_serves(v)
    covered = [coverage(v, c) for c in v.capabilities]
    if serves and covered and all(c == "runs" for c in covered):
        if v.cuda_available is False:
            return Outcome(
                status=FAIL,
                summary=f"torch {version} fits driver and GPU, and CUDA is not available",
                strength=FAIL_FROM,
                fix=(
                    step(
                        "deep",
                        "let torch itself say why, in a process of its own",
                        "envcheck",
                        "doctor",
                        "--deep",
                        *(("--python", place(v).python) if place(v).here else ()),
                    ),
                ),
            )
        return ok(
            f"torch {version} (CUDA {v.torch_cuda}) has code for {', '.join(v.capabilities)} and the driver serves it"
        )
    if serves is False or any(c not in ("runs", None) for c in covered):
        return skip("see the checks of the build")
    missing = "the driver" if serves is None else "the architectures of the build or of the GPU"
    return unknown(f"torch {version}: {missing} cannot be told", required=not build_archs(v) and _speaks(v))


def _deep_failure(v: View) -> str | None:
    """What ended the look of ``--deep``: a hang, a crash, or the last line of torch's own traceback."""
    problem = v.machine.problems.get("deep")
    if problem:
        return problem
    error = mapping(v, "deep").get("error")
    if not isinstance(error, dict):
        return None
    lines = [line for line in str(error.get("text", "")).splitlines() if line.strip() and not line.startswith(" ")]
    return f"{str(error.get('stage', 'import torch'))[:60]} failed: {lines[-1][:300] if lines else 'it said nothing'}"


def _speaks(v: View) -> bool:
    """A live machine must answer; a pasted report only for what it speaks of."""
    return not v.pasted


CHECKS = (driver, gpu, torch)
