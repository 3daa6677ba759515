"""Checks of what CUDA needs of a driver that is loaded: its age, the fabric, libcuda, nvidia_uvm, rights, licences."""

from __future__ import annotations

import re

from .base import CERTAIN, DECISIVE, STRONG, SUPPORTING, WEAK, Outcome
from .details import denied_nodes, entries, gpu_details, libraries, mapping, modules
from .fixes import Steps, by_hand, cuda_torch, driver_steps, os_install, step
from .judge import fact, judge
from .known import doubt, driver_minimum, driver_serves, likely_cuda
from .view import View, nums

AREA = "driver"
FABRIC_GPU = re.compile(r"SXM|HBM3|\bHGX|\b(?:V100|A100|A800|H100|H800|H200|H20|B[123]00|GB[23]00)\b")
CONSUMER = re.compile(r"GeForce|\bGTX\b|Quadro|TITAN|\bMX\d|\bNVS\b|NVIDIA (?:RTX|T)\b|NVIDIA T\d{3,4}\b")


def driver_too_old(v: View) -> Outcome:
    """The driver is older than the CUDA version of the torch build needs.

    Why: a CUDA 12 build needs a driver of 525.60.13 or newer on Linux, CUDA 13 one of 580.65.06; within one major a
    newer minor is no fault (minor-version compatibility). Older CUDA releases need their own driver exactly.
    Fix: update the driver, or install the build for the driver's own CUDA.
    References: https://docs.nvidia.com/deploy/cuda-compatibility/index.html
    """
    serves = driver_serves(v)
    cuda = likely_cuda(v) or ""
    minimum = driver_minimum(cuda, v.matrix, v.windows_driver) if cuda else None
    have = v.driver_version or f"for CUDA {v.driver_cuda}"
    too_old = serves is False and v.cuda_available is not True
    need = f"it needs {minimum or 'a newer one'}{doubt(v)}"
    sentence = f"driver {have} is too old for torch {v.torch_version or ''} (CUDA {cuda}): {need}"
    return judge(
        v,
        "driver-too-old",
        sentence.replace("  ", " ") if serves is False else "the driver is too old for the CUDA version of this build",
        facts=fact(sentence, CERTAIN if v.torch_cuda else STRONG + 5, too_old),
        looked=serves is True,
        quiet=f"driver {have} serves CUDA {cuda}",
        # The text speaks of the program's CUDA; facts that contradict it are of another build.
        at_most=WEAK if v.cuda_available else (STRONG if serves is True else 100),
        fix=lambda: (*cuda_torch(v, "either: the build of torch for this driver"), *driver_steps(v)),
    )


def _no_fabric(v: View) -> bool:
    """The report names its GPUs, and none is of a kind that sits on NVSwitches: the service has nothing to do there."""
    return bool(v.gpus) and not v.has(r"\b[HD]GX\b") and not any(FABRIC_GPU.search(g.name or "") for g in v.gpus)


def fabric_manager(v: View) -> Outcome:
    """An NVSwitch system without a running fabric manager of the driver's version.

    Why: on HGX and DGX systems the GPUs initialise only after nvidia-fabricmanager has set up the NVLink fabric.
    nvidia-smi works, and every CUDA program ends with error 802, "system not yet initialized".
    Fix: install the fabric manager of exactly the driver's version, enable and start it. In a container or VM the
    host has to do it.
    References: https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html
    """
    switches = mapping(v, "pci").get("nvswitches")
    active = mapping(v, "fabric_manager").get("active")
    version = mapping(v, "fabric_manager").get("version")
    waiting = [i for i, d in gpu_details(v) if "progress" in str((d.get("fabric") or {}).get("state", "")).lower()]
    facts = (
        *fact(
            "NVSwitches are on the bus and nvidia-fabricmanager is not active", CERTAIN, switches and active is False
        ),
        *fact(
            f"fabric manager {version} and driver {v.driver_version}: they must be the same",
            STRONG,
            switches and version and v.driver_version and version != v.driver_version,
        ),
        *fact(f"GPU {', '.join(waiting)}: fabric state 'in progress'", STRONG, waiting and not v.cuda_available),
    )
    return judge(
        v,
        "fabric-manager",
        "the NVSwitch fabric is not up: nvidia-fabricmanager is not running",
        facts=facts,
        looked=switches == 0 or active is True,
        quiet="no NVSwitch system, or its fabric manager runs",
        at_most=WEAK if v.cuda_available or _no_fabric(v) else 100,
        fix=lambda: _fabric(v, installed=bool(version) and version == v.driver_version),
    )


def _fabric(v: View, *, installed: bool) -> Steps:
    """Start it where it is there; else install it first. In a container the host has to."""
    if v.machine.os.container:
        return by_hand("on the host: install and start nvidia-fabricmanager of the driver's own version")
    branch = (v.driver_version or "").split(".")[0]
    package = f"nvidia-fabricmanager-{branch}" if branch.isdigit() else "nvidia-fabricmanager"
    title = f"install the fabric manager of the driver's version ({v.driver_version or 'see nvidia-smi'})"
    unit = ("systemctl", "enable", "--now", "nvidia-fabricmanager")
    start = step("fabric-start", "start it now and on every boot", *unit, root=True)
    return (start,) if installed else (*os_install(v, "fabric", title, {"debian": (package,)}), start)


def compat_libcuda_mismatch_803(v: View) -> Outcome:
    """A cuda-compat libcuda that does not match the kernel driver is loaded in place of the driver's own.

    Why: images for newer CUDA carry /usr/local/cuda/compat/libcuda.so.1. Where the loader finds it first and it does
    not fit the kernel module, every call ends with error 803.
    Fix: take the compat directory off LD_LIBRARY_PATH and out of /etc/ld.so.conf.d.
    References: https://docs.nvidia.com/deploy/cuda-compatibility/index.html
    """
    path = v.machine.env.get("LD_LIBRARY_PATH", "")
    found = libraries(v, "libcuda.so.1")
    compat, newer = mapping(v, "compat"), compat_is_newer(v)
    facts = (
        *fact(
            f"{compat.get('path')} is of driver {compat.get('version')}, and the kernel has {v.driver_version}",
            STRONG + 5,
            newer is False,
        ),
        *fact(f"LD_LIBRARY_PATH has {path}", SUPPORTING, "/compat" in path and v.cuda_available is not True),
        *fact("the loader finds libcuda.so.1 in a compat directory", SUPPORTING, found[:1] and "/compat" in found[0]),
    )
    return judge(
        v,
        "compat-libcuda-mismatch-803",
        "a compat libcuda that does not match the driver is loaded",
        facts=facts,
        # newer than the driver is what forward compatibility is for, on the cards that have it
        at_most=WEAK - 10 if newer and not v.machine.symptoms else 100,
        fix=lambda: (
            step(
                "compat",
                "find what brings it",
                "sh",
                "-c",
                'ldconfig -p | grep libcuda; grep -rs compat /etc/ld.so.conf.d; echo "$LD_LIBRARY_PATH"',
            ),
            *by_hand("remove the compat directory from LD_LIBRARY_PATH and /etc/ld.so.conf.d, then run ldconfig"),
        ),
    )


def compat_is_newer(v: View) -> bool | None:
    """Whether the libcuda of a compat directory that comes first is newer than the driver; None where there is none."""
    compat, driver = nums(mapping(v, "compat").get("version")), nums(v.driver_version)
    return compat > driver if compat and driver else None


def forward_compat_804(v: View) -> Outcome:
    """A compat libcuda newer than the driver is loaded on a card that does not support that.

    Why: forward compatibility works on data-centre cards only; on GeForce and Quadro every call ends with error 804.
    Fix: update the host's driver, use an image for the driver's CUDA, or take the compat libcuda off the path.
    References: https://docs.nvidia.com/deploy/cuda-compatibility/index.html
    """
    consumer = [n for n in v.gpu_names if CONSUMER.search(n)]
    newer = compat_is_newer(v)
    compat = mapping(v, "compat")
    return judge(
        v,
        "forward-compat-804",
        "forward compatibility was tried on a card that has none",
        facts=fact(
            f"{compat.get('path')} ({compat.get('version')}) comes before the driver's libcuda, on {consumer[:1]}",
            STRONG + 5,
            newer and consumer and v.cuda_available is not True,
        ),
        fix=lambda: (
            *by_hand(
                "in an image: take /usr/local/cuda/compat off the loader's path, or use the image for the driver's CUDA"
            ),
            *driver_steps(v),
        ),
    )


def cuda_unknown_error_uvm(v: View) -> Outcome:
    """CUDA ends with "unknown error" (999) as the module nvidia_uvm is missing or stale.

    Why: CUDA needs nvidia_uvm besides nvidia. After suspend and resume, or in a login that began before the
    driver was complete, its state is stale: nvidia-smi works and cuInit does not.
    Fix: load the module again, or reboot; NVreg_PreserveVideoMemoryAllocations=1 keeps it from coming back.
    References: https://download.nvidia.com/XFree86/Linux-x86_64/580.65.06/README/powermanagement.html
    """
    loaded = modules(v)
    uvm = any(m.replace("-", "_") == "nvidia_uvm" for m in loaded) if loaded and not v.pasted else None
    helper = mapping(v, "uvm")
    needed = v.state("ok") and not v.windows_driver and not v.flag("jetson") and bool(v.gpus)
    facts = (
        *fact(
            "the driver works, nvidia_uvm is not loaded, and no nvidia-modprobe is here to load it",
            STRONG,
            uvm is False and needed and not helper.get("loadable"),
        ),
        *fact(
            "nvidia_uvm is loaded, and there is no /dev/nvidia-uvm",
            STRONG,
            uvm and needed and helper.get("node") is False and (v.machine.os.container or not helper.get("loadable")),
        ),
    )
    return judge(
        v,
        "cuda-unknown-error-uvm",
        "CUDA cannot initialise: nvidia_uvm is missing or stale",
        facts=facts,
        looked=uvm is not None,
        quiet="nvidia_uvm is loaded" if uvm else "nvidia_uvm is loaded when it is needed",
        fix=lambda: (
            step("uvm-off", "unload the stale module (end what uses the GPU first)", "rmmod", "nvidia_uvm", root=True),
            step("uvm-on", "load it again", "modprobe", "nvidia_uvm", root=True),
        ),
    )


def device_permissions(v: View) -> Outcome:
    """The user may not open the device nodes.

    Why: /dev/nvidia* belong to a group (video, render) with mode 0660, so CUDA works with sudo and not without.
    Fix: add the user to that group and log in again, or set NVreg_DeviceFileMode=0666.
    References: https://download.nvidia.com/XFree86/Linux-x86_64/580.65.06/README/faq.html
    """
    denied = denied_nodes(v)
    facts = (
        *fact("NVML says: insufficient permissions", CERTAIN, v.state("no-permission")),
        *fact(f"no access to {', '.join(denied)[:120]}", CERTAIN if not v.pasted else STRONG, denied),
    )
    return judge(
        v,
        "device-permissions",
        "the user may not open the NVIDIA device nodes",
        facts=facts,
        looked=v.state("ok"),
        quiet="the device nodes can be opened",
        fix=lambda: _into_group(v, denied),
    )


def _into_group(v: View, denied: list[str]) -> Steps:
    """The group that owns the nodes, where they have one of their own; nodes of root's alone need another mode."""
    if v.machine.os.container:
        return by_hand("start the container as a user that may open /dev/nvidia*, or with --group-add of their group")
    owners = {str(n.get("group")) for n in entries(v, "device_nodes") if n.get("path") in denied}
    named = sorted(g for g in owners if re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", g) and g not in ("root", "none"))
    if owners and not named:
        line = "echo 'options nvidia NVreg_DeviceFileMode=0666' > /etc/modprobe.d/nvidia-nodes.conf"
        title = "let every user open the nodes, then reboot"
        return (step("mode", title, "sh", "-c", line, root=True, reboot=True),)
    return (
        step(
            "group",
            "add yourself to the group that owns the nodes, then log in again",
            "sh",
            "-c",
            f'usermod -aG {",".join(named) or "video,render"} "${{SUDO_USER:-$USER}}"',
            root=True,
        ),
    )


def vgpu_unlicensed(v: View) -> Outcome:
    """A vGPU without a licence: CUDA is refused or slowed down.

    Why: a virtual GPU asks a licence server. Without an answer it is throttled, and after a while CUDA contexts are
    refused: "CUDA-capable device(s) is/are busy or unavailable".
    Fix: restore the licence: the client token, gridd.conf, the way to the licence server.
    References: https://docs.nvidia.com/vgpu/latest/grid-licensing-user-guide/index.html
    """
    status = next((str(d["vgpu_license"]) for _, d in gpu_details(v) if d.get("vgpu_license")), "")
    return judge(
        v,
        "vgpu-unlicensed",
        "the vGPU has no licence",
        facts=fact(f"licence status: {status}", DECISIVE + 2, "unlicensed" in status.lower()),
        fix=lambda: (
            step(
                "licence",
                "see what the licence client says",
                "sh",
                "-c",
                "nvidia-smi -q | grep -i license; journalctl -u nvidia-gridd -n 20",
            ),
            *by_hand("restore the client token in /etc/nvidia/ClientConfigToken and restart nvidia-gridd"),
        ),
    )


CHECKS = (
    device_permissions,
    vgpu_unlicensed,
    fabric_manager,
    forward_compat_804,
    compat_libcuda_mismatch_803,
    driver_too_old,
    cuda_unknown_error_uvm,
)
