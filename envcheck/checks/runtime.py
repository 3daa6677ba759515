"""Checks of what a program meets when it runs: which GPU it sees, memory, compilers, precision, several GPUs."""

from __future__ import annotations

import dataclasses
import re

from .base import CERTAIN, DECISIVE, FAIL, STRONG, WARN, WEAK, Outcome
from .details import events, gpu_details, mapping
from .fixes import by_hand, step
from .judge import fact, judge
from .view import View

SELECTION, MEMORY, NUMERICS, MULTI = "selection", "memory", "numerics", "multi-gpu"
FULL, SCARCE = 95, 5  # per cent of a memory in use, and still free
GTX16 = re.compile(r"GTX ?16[356]0|\bT(?:400|500|550|600|1000|1200)\b|MX ?(?:450|550)", re.IGNORECASE)
FP16 = (
    r"fp[ _-]?16|float16|\bhalf\b|\.half\(|\bamp\b|mixed[ -]precision"
    r"|precision|autocast|apex|\bt5\b|flan|minimum loss scale|already at minimum"
)


def cuda_visible_devices(v: View) -> Outcome:
    """CUDA_VISIBLE_DEVICES hides every GPU.

    Why: an empty value, -1, an ordinal that does not exist or a UUID of another card makes CUDA see no device, and a
    wrong ordinal anywhere in the list hides those after it.
    Fix: unset it, or name an ordinal or UUID that `nvidia-smi -L` shows.
    References: https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars
    """
    value = v.machine.env.get("CUDA_VISIBLE_DEVICES")
    wrong = value is not None and _selects_nothing(value, len(v.gpus), bool(v.gpus))
    foreign = v.fact("unknown_uuids")
    strangers = [str(x) for x in foreign] if isinstance(foreign, list | tuple) else []
    ordinal = _ordinal_in_text(v)
    beyond = ordinal is not None and len(v.gpus or v.gpu_names) == 1 and ordinal >= 1
    facts = (
        *fact(f"CUDA_VISIBLE_DEVICES={value!r} and {len(v.gpus)} GPU(s)", CERTAIN, wrong),
        *fact(f"CUDA_VISIBLE_DEVICES names {strangers[:1]}, which is no GPU of this machine", CERTAIN, strangers),
        *fact(f"CUDA_VISIBLE_DEVICES names GPU {ordinal}, and one GPU is here", DECISIVE, beyond),
    )
    return judge(
        v,
        "cuda-visible-devices",
        "CUDA_VISIBLE_DEVICES (or the device number asked for) names no GPU that is here",
        facts=facts,
        looked=value is None and not v.machine.symptoms,
        quiet="CUDA_VISIBLE_DEVICES is not set",
        fix=lambda: by_hand(
            "unset CUDA_VISIBLE_DEVICES (in the script that starts the program too), or name a GPU of nvidia-smi -L"
        ),
    )


def _selects_nothing(value: str, count: int, known: bool) -> bool:
    first = value.split(",")[0].strip()
    if first in ("", "-1", "NoDevFiles"):
        return True
    return known and first.isdigit() and int(first) >= count


def _ordinal_in_text(v: View) -> int | None:
    hit = v.text.find(r"CUDA_VISIBLE_DEVICES[\"'\]]*\s{0,2}[=:]\s{0,2}[\"']?(\d{1,2})\b")
    return int(hit[1]) if hit else None


def mig_enabled(v: View) -> Outcome:
    """MIG is on, and no slice was named.

    Why: with MIG a process sees one slice, and only if one was made and CUDA_VISIBLE_DEVICES names it. Without
    instances the card has no device at all.
    Fix: name the slice (CUDA_VISIBLE_DEVICES=MIG-uuid), create instances, or turn MIG off.
    References: https://docs.nvidia.com/datacenter/tesla/mig-user-guide/index.html
    """
    on = [g for g in v.gpus if g.mig]
    named = "MIG-" in v.machine.env.get("CUDA_VISIBLE_DEVICES", "")
    trouble = v.cuda_available is False or v.has(
        r"No CUDA GPUs|no CUDA-capable|device_count|only (?:one|1|sees)|invalid device|No devices|num_gpus"
    )
    empty = [i for i, d in gpu_details(v) if d.get("mig_devices") == 0 and not v.pasted]
    facts = (
        *fact(f"MIG is on for GPU {', '.join(empty)}, and no slice was made: CUDA sees nothing", STRONG, on and empty),
        *fact(
            f"MIG is on for GPU {', '.join(str(g.index) for g in on)}",
            STRONG + 10 if trouble else WEAK,
            on and not named and v.cuda_available is not True,
        ),
    )
    return judge(
        v,
        "mig-enabled",
        "MIG is on: a program sees one slice at most, and only if it is named",
        facts=facts,
        looked=bool(v.gpus) and not on,
        quiet="MIG is off",
        bonus=4 if on and trouble else 0,
        fix=lambda: (
            step("mig-list", "list the slices", "nvidia-smi", "-L"),
            *by_hand("export CUDA_VISIBLE_DEVICES=MIG-<uuid of a slice>; or sudo nvidia-smi -mig 0 to turn MIG off"),
        ),
    )


def gpu_exclusive_mode(v: View) -> Outcome:
    """The compute mode is exclusive, and another process has the GPU.

    Why: in mode E. Process one process may hold a context; the next one ends with "all CUDA-capable devices are busy
    or unavailable".
    Fix: the default mode, or another GPU.
    References: https://docs.nvidia.com/deploy/nvidia-smi/index.html
    """
    modes = [str(d.get("compute_mode")) for _, d in gpu_details(v) if d.get("compute_mode")]
    exclusive = any(m.lower().startswith(("e.", "excl")) for m in modes)
    prohibited = any(m.lower().startswith("prohib") for m in modes)
    return judge(
        v,
        "gpu-exclusive-mode",
        "the GPU is in exclusive mode and taken",
        facts=(
            *fact("the compute mode is 'prohibited': no program may compute on this GPU", STRONG, prohibited),
            *fact("the compute mode is exclusive", DECISIVE if v.told("gpu-exclusive-mode") else WEAK, exclusive),
        ),
        fix=lambda: (step("mode", "let processes share the GPU", "nvidia-smi", "-c", "0", root=True),),
    )


def _share(used: object, total: object) -> float:
    """Per cent, 0 where one of the two is not known."""
    if isinstance(used, int | float) and isinstance(total, int | float) and total > 0:
        return 100.0 * used / total
    return 0.0


def gpu_out_of_memory(v: View) -> Outcome:
    """The GPU's memory is used up.

    Why: the program, or others on the same card, have taken it. It also shows as CUBLAS or
    CUDNN_STATUS_NOT_INITIALIZED, when the library cannot get its workspace.
    Fix: end what holds the memory, or a smaller batch or model.
    References: https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management
    """
    full = [i for i, d in gpu_details(v) if _share(d.get("memory_used_mib"), d.get("memory_total_mib")) >= FULL]
    return judge(
        v,
        "gpu-out-of-memory",
        "the GPU's memory is used up",
        facts=fact(f"GPU {', '.join(full)}: more than {FULL} % of the memory is in use", WEAK, full),
        looked=any(True for _ in gpu_details(v)) and not full,
        quiet="the GPUs have free memory",
        fix=lambda: (
            step("who", "see who holds the memory", "nvidia-smi"),
            *by_hand("end those processes, or take a smaller batch, a smaller model or gradient checkpointing"),
        ),
    )


def host_out_of_memory(v: View) -> Outcome:
    """The host's memory runs out, and the kernel ends a process.

    Why: workers and pinned buffers use host memory; a cgroup or a batch job has a limit of its own. The process is
    gone with signal 9 and says nothing.
    Fix: more memory, fewer workers, a higher limit for the job or container.
    References: https://www.kernel.org/doc/html/latest/admin-guide/mm/concepts.html
    """
    memory = mapping(v, "memory")
    kills = memory.get("oom_kills")
    killed = "oom_kill" in events(v) or (isinstance(kills, int) and kills > 0)
    tight = (
        memory.get("available_mib") is not None and _share(memory["available_mib"], memory.get("total_mib")) < SCARCE
    )
    return judge(
        v,
        "host-out-of-memory",
        "the host's memory ran out and a process was killed",
        facts=(
            *fact("the kernel killed a process for want of memory", STRONG if v.pasted else WEAK + 5, killed),
            *fact(f"less than {SCARCE} % of the memory is free", WEAK, tight),
        ),
        looked=bool(memory),
        quiet="the host has free memory",
        fix=lambda: by_hand(
            "fewer DataLoader workers, a higher memory limit for the job or container, or more memory or swap"
        ),
    )


def fp16_gtx16(v: View) -> Outcome:
    """A GTX 16xx gives NaN in half precision.

    Why: TU116 and TU117 have no Tensor Cores, and cuDNN's half-precision convolutions give NaN on them: black images,
    loss nan.
    Fix: run in FP32.
    References: https://github.com/pytorch/pytorch/issues/58123
    """
    here = any(GTX16.search(n) for n in v.gpu_names)
    return judge(
        v,
        "fp16-gtx16",
        "a GTX 16xx gives NaN in half precision",
        facts=fact("a GTX 16xx: half precision gives NaN in some convolutions", WEAK - 6, here and not v.pasted),
        looked=bool(v.gpu_names) and not here,
        quiet="no GTX 16xx",
        bonus=4 if here else 0,
        at_most=100 if here or not v.gpu_names else WEAK,
        fix=lambda: by_hand("run in FP32: --no-half, --precision full, autocast off"),
    )


def fp16_overflow(v: View) -> Outcome:
    """FP16 overflows in a model that was made for bfloat16.

    Why: FP16 ends at 65504. Models trained in bfloat16 (the T5 family) go beyond it, on any sound GPU.
    Fix: bfloat16 where the GPU has it (compute capability 8.0), else FP32.
    References: https://docs.pytorch.org/docs/stable/notes/amp_examples.html
    """
    found = judge(
        v,
        "fp16-overflow",
        "FP16 overflows in this model: it is a matter of precision, not of the installation",
        fix=lambda: by_hand("use bfloat16 (compute capability 8.0 or newer) or FP32 for this model"),
    )
    if found.status != FAIL or v.has(FP16):
        return found
    return dataclasses.replace(
        found,
        status=WARN,
        summary="a loss of nan or an overflow that may come of FP16: a learning rate too high does the same",
    )


def _many(v: View) -> bool:
    return len(v.gpus) > 1 or v.has(
        r"\b(?:[2-9]|1[06]|two|four|eight|multiple|multi)[ -]?(?:x|×|\*)?"
        r" ?(?:gpus?\b|GPUs|RTX|GeForce|NVIDIA|A\d{2,4}|H\d{3}|cards)"
    )


def _no_p2p(v: View) -> bool:
    names = " ".join(v.gpu_names)
    consumer = re.search(
        r"RTX ?(?:40[5-9]0|50[5-9]0)|\b4090\b|\b5090\b|RTX 6000 Ada|RTX (?:4[05]00|5000) Ada", names, re.IGNORECASE
    )
    return bool(consumer)


def nccl_p2p_unsupported_geforce(v: View) -> Outcome:
    """GeForce RTX 40 and later have no peer-to-peer over PCIe.

    Why: the driver does not offer it, and programs or NCCL releases of the time that try it fail or hang.
    Fix: NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1, or a newer NCCL.
    References: https://github.com/huggingface/accelerate/blob/main/src/accelerate/utils/environment.py
    """
    told = bool(v.told("nccl-p2p-acs-iommu")) and _no_p2p(v) and _many(v)
    several = len(v.gpus) > 1 and _no_p2p(v) and "NCCL_P2P_DISABLE" not in v.machine.env and not v.pasted
    facts = (
        *fact(
            "several GeForce cards without peer-to-peer, and a collective that hangs",
            STRONG + 3,
            told and not v.has(r"iommu|\bACS\b"),
        ),
        *fact("several GeForce cards without peer-to-peer: old NCCL releases hang", WEAK - 6, several),
    )
    return judge(
        v,
        "nccl-p2p-unsupported-geforce",
        "these GeForce cards have no peer-to-peer, and NCCL was not told",
        facts=facts,
        at_most=WEAK if v.gpus and not _no_p2p(v) and not v.has(r"RTX 4000 series|4090|5090|40 series") else 100,
        fix=lambda: by_hand("start the program with NCCL_P2P_DISABLE=1 NCCL_IB_DISABLE=1"),
    )


def nccl_p2p_acs_iommu(v: View) -> Outcome:
    """Peer-to-peer over PCIe does not work: ACS or the IOMMU redirects it.

    Why: with ACS or an IOMMU in translating mode, writes from card to card go through the root complex or get lost:
    NCCL hangs at the first collective with 100 % use, or gives wrong data.
    Fix: turn ACS and the IOMMU off (or iommu=pt); NCCL_P2P_DISABLE=1 goes round it.
    References: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html
    """
    bridges = v.fact("acs_bridges") if isinstance(v.fact("acs_bridges"), list | tuple) else ()
    named = ", ".join(map(str, bridges))[:120]
    return judge(
        v,
        "nccl-p2p-acs-iommu",
        "peer-to-peer between the GPUs does not work: ACS or the IOMMU is in the way",
        facts=fact(f"ACS is on above the GPUs: {named}", WEAK, bridges and len(v.gpus) > 1),
        looked=v.fact("acs_bridges") is not None or len(v.gpus) == 1,
        quiet="ACS is off above the GPUs",
        bonus=2 if _many(v) else 0,
        fix=lambda: by_hand(
            "for a test: NCCL_P2P_DISABLE=1; for good: ACS off in the firmware, iommu=pt on the kernel's command line",
            reboot=True,
        ),
    )


SELECTION_CHECKS = (cuda_visible_devices, mig_enabled, gpu_exclusive_mode)
MEMORY_CHECKS = (gpu_out_of_memory, host_out_of_memory)
NUMERICS_CHECKS = (fp16_gtx16, fp16_overflow)
MULTI_CHECKS = (nccl_p2p_unsupported_geforce, nccl_p2p_acs_iommu)
