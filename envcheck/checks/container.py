"""Checks of containers and of WSL: the driver is the host's, and something between has to hand it in."""

from __future__ import annotations

from collections.abc import Mapping

from .base import CERTAIN, DECISIVE, FAIL_FROM, STRONG, SUPPORTING, WEAK, Outcome, Proof
from .details import container_commands, entries, libraries, mapping
from .fixes import by_hand, container_toolkit, step
from .judge import fact, judge
from .known import driver_serves, limit
from .view import View

AREA = "container"


def container_toolkit_missing(v: View) -> Outcome:
    """The host has no NVIDIA container toolkit, or docker was not restarted after it was installed.

    Why: docker itself knows nothing of GPUs; the toolkit registers the runtime that hands the driver in.
    Fix: install nvidia-container-toolkit on the host, configure the runtime, restart docker.
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html
    """
    told = mapping(v, "container_host")
    engines = told.get("engines") or ()
    runtime = told["runtime"] if isinstance(told.get("runtime"), Mapping) else {}
    return judge(
        v,
        "container-toolkit-missing",
        "the NVIDIA container toolkit is not installed on the host, or docker does not know it",
        # torch on the host is well all the same: a hint, for whoever starts a container
        facts=(
            *fact(
                f"{', '.join(map(str, engines))} is here, and no nvidia-ctk: a container would get no GPU",
                WEAK - 6,
                engines and not told.get("toolkit") and v.gpus and v.state("ok") and not v.flag("wsl"),
            ),
            *fact(
                f"docker's runtime 'nvidia' is {runtime.get('path')}, which is not there",
                WEAK + 10,
                runtime.get("exists") is False,
            ),
        ),
        looked=bool(engines and told.get("toolkit")),
        quiet="the NVIDIA container toolkit is here",
        fix=lambda: container_toolkit(v, tuple(map(str, engines))),
    )


def container_cdi_spec(v: View) -> Outcome:
    """The CDI specification is missing, or stale after a change of the driver.

    Why: podman and newer docker take devices from a CDI file which lists nodes and libraries by path. After a driver
    update those paths are gone.
    Fix: generate it again on the host (nvidia-ctk cdi generate).
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/cdi-support.html
    """
    told = mapping(v, "container_host").get("cdi")
    specifications = [s for s in told if isinstance(s, Mapping)] if isinstance(told, list | tuple) else []
    return judge(
        v,
        "container-cdi-spec",
        "the CDI specification is missing or does not match the host any more",
        facts=tuple(
            Proof(
                text=f"{s.get('path')} mounts files of driver {s.get('driver')}, and {v.driver_version} is installed",
                strength=FAIL_FROM - 5,
            )
            for s in specifications
            if s.get("driver") and v.state("ok") and v.driver_version and s["driver"] != v.driver_version
        ),
        looked=bool(specifications),
        quiet="the CDI specifications are of this driver",
        fix=lambda: (
            step(
                "cdi",
                "on the host: generate it again",
                "nvidia-ctk",
                "cdi",
                "generate",
                "--output=/etc/cdi/nvidia.yaml",
                root=True,
            ),
        ),
    )


def container_host_driver_too_old(v: View) -> Outcome:
    """The image's CUDA is newer than the host's driver allows.

    Why: images state what they need (NVIDIA_REQUIRE_CUDA), and the runtime refuses to start them on an older driver.
    Fix: update the host's driver, or take an image for the driver's CUDA.
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    facts = fact(
        "in this container torch's CUDA is newer than the host's driver serves",
        SUPPORTING,
        driver_serves(v) is False and v.machine.os.container and not v.cuda_available,
    )
    return judge(
        v,
        "container-host-driver-too-old",
        "the image needs a newer driver than the host has",
        facts=facts,
        fix=lambda: by_hand(
            "on the host: update the driver (`envcheck plan` writes the script), or take an image for the driver's CUDA"
        ),
    )


def container_no_gpu_flag(v: View) -> Outcome:
    """The container was started without asking for a GPU.

    Why: without `--gpus` (or the compose and Kubernetes equivalents) nothing of the driver is handed in, and inside
    it looks like a machine without one.
    Fix: start it with `--gpus all`; compose: `deploy.resources.reservations.devices`; Kubernetes: `nvidia.com/gpu`.
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    inside = bool(v.machine.os.container) and not v.pasted
    runs = [c for c in container_commands(v) if c.get("verb") == "run"]
    plain = bool(runs) and not any(c.get("gpus") or c.get("runtime") or c.get("privileged") for c in runs)
    missing = v.machine.driver.state in ("missing", "not-injected")
    trouble = v.cuda_available is False or bool(v.told("no-nvidia-driver"))
    facts = (
        *fact("this is a container, and no part of the driver was handed in", STRONG + 5, inside and missing),
        *fact("the container is started without --gpus", STRONG + 8, plain and trouble),
    )
    return judge(
        v,
        "container-no-gpu-flag",
        "the container was started without a GPU",
        facts=facts,
        looked=inside and v.machine.driver.state == "ok",
        quiet="the container has its GPU",
        at_most=WEAK if v.cuda_available else 100,
        fix=lambda: by_hand("start the container with --gpus all (podman: --device nvidia.com/gpu=all)"),
    )


def container_driver_capabilities(v: View) -> Outcome:
    """libcuda was not handed in, while nvidia-smi was.

    Why: NVIDIA_DRIVER_CAPABILITIES chooses what is mounted; without `compute` nvidia-smi works and CUDA does not.
    Fix: NVIDIA_DRIVER_CAPABILITIES=compute,utility (or all) for the image or the run.
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html
    """
    given = [
        c["env"].get("NVIDIA_DRIVER_CAPABILITIES") for c in container_commands(v) if isinstance(c.get("env"), dict)
    ]
    value = next(filter(None, given), None) or v.machine.env.get("NVIDIA_DRIVER_CAPABILITIES")
    lacks = value is not None and not {"all", "compute"} & {w.strip() for w in value.split(",")}
    half = bool(libraries(v, "libnvidia-ml.so.1")) and not libraries(v, "libcuda.so.1") and not v.pasted
    inside = v.flag("container") and v.cuda_available is not True
    facts = (
        *fact("NVIDIA_DRIVER_CAPABILITIES does not name compute", CERTAIN, lacks and inside),
        *fact("libnvidia-ml is in this container and libcuda is not", CERTAIN, half and v.machine.os.container),
    )
    return judge(
        v,
        "container-driver-capabilities",
        "the container has nvidia-smi and no libcuda: the 'compute' capability was not asked for",
        facts=facts,
        fix=lambda: by_hand("start the container with -e NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
    )


def container_cgroup_lost(v: View) -> Outcome:
    """A running container has lost its GPU.

    Why: `systemctl daemon-reload` on the host rewrites the device rules of containers that the systemd cgroup driver
    manages, and those which the NVIDIA hook added are gone: "Failed to initialize NVML: Unknown Error".
    Fix: restart the container; for good: CDI mode, explicit --device nodes, or the cgroupfs driver.
    References: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/troubleshooting.html
    """
    inside = bool(v.machine.os.container)
    unknown = "unknown error" in v.machine.problems.get("driver", "").lower()
    barred = [str(n.get("path")) for n in entries(v, "device_nodes") if n.get("opens") is False]
    return judge(
        v,
        "container-cgroup-lost",
        "the container has lost access to its GPU",
        facts=(
            *fact("NVML says 'Unknown Error' inside a container", DECISIVE, inside and unknown),
            *fact(
                f"{', '.join(barred)} may be opened by its mode, and the control group denies it",
                CERTAIN,
                inside and barred,
            ),
        ),
        looked=inside and v.state("ok"),
        quiet="the container can open its GPU",
        fix=lambda: by_hand(
            "restart the container; to keep it from coming back use CDI mode (nvidia-ctk cdi generate)"
        ),
    )


def shm_too_small(v: View) -> Outcome:
    """/dev/shm is too small.

    Why: DataLoader workers and NCCL hand tensors over in shared memory, and docker gives 64 MB. The worker dies with
    a bus error.
    Fix: --shm-size=8g or --ipc=host; fewer workers help for a while.
    References: https://docs.pytorch.org/docs/stable/multiprocessing.html
    """
    size = mapping(v, "shm").get("size_mib")
    room = mapping(v, "disk").get("/dev/shm")
    free = room.get("free_mib") if isinstance(room, Mapping) else None
    full = isinstance(free, int) and isinstance(size, int) and free < int(limit(v, "shm_free_mib"))
    small = isinstance(size, int) and size < int(limit(v, "shm_min_mib")) and v.flag("container")
    return judge(
        v,
        "shm-too-small",
        "/dev/shm is too small for the DataLoader's workers or NCCL",
        facts=(
            *fact(f"/dev/shm has {size} MiB", WEAK + 5, small),
            *fact(f"/dev/shm is full: {free} of {size} MiB are free", WEAK + 5, full and not small),
        ),
        looked=isinstance(size, int),
        quiet=f"/dev/shm has {size} MiB",
        fix=lambda: (
            by_hand("remove what ended programs left there (ls -l /dev/shm: torch_* and sem.* without a process)")
            if full and not small
            else by_hand("start the container with --shm-size=8g (or --ipc=host)")
        ),
    )


CHECKS = (
    container_toolkit_missing,
    container_cdi_spec,
    container_cgroup_lost,
    container_driver_capabilities,
    container_host_driver_too_old,
    container_no_gpu_flag,
)
LATE_CHECKS = (shm_too_small,)
