"""What a plan brings beside driver and torch, only where it was asked for: a container toolkit, the CUDA toolkit."""

from __future__ import annotations

import dataclasses

from ..errors import UsageError
from ..matrix import Build
from ..model import Machine, Request, Step
from ..recipes import DriverJob, Recipes, role_steps
from .target import Target

ENGINES = ("docker", "podman", "containerd")


def extra_steps(
    machine: Machine, target: Target, recipes: Recipes, request: Request, job: DriverJob, build: Build
) -> tuple[Step, ...]:
    """The system-stage steps of ``--with-container-toolkit`` and ``--with-toolkit``.

    Raises ``UsageError`` where such a thing has no place. Never a system cuDNN: torch's wheels carry their own.
    """
    steps: tuple[Step, ...] = ()
    if request.container_toolkit:
        steps += _container_toolkit(machine, target, recipes, request.container_toolkit, job)
    if request.toolkit:
        steps += _cuda_toolkit(machine, target, recipes, job, build)
    return steps


def _container_toolkit(
    machine: Machine, target: Target, recipes: Recipes, engine: str, job: DriverJob
) -> tuple[Step, ...]:
    if target.kind not in ("bare", "wsl", "vgpu"):
        owner = {"container": "it belongs to the host", "jetson": "JetPack brings it", "image": "the image brings it"}
        raise UsageError(f"--with-container-toolkit: {owner.get(target.kind, 'it is for Linux hosts')}")
    steps = role_steps("container-toolkit", dataclasses.replace(job, engine=engine), recipes)
    if steps is not None:
        return steps
    return (
        _by_hand(
            "container-toolkit-by-hand",
            f"install NVIDIA's container toolkit for {engine}, then run this again",
            f"envcheck has no recipe of it for {_system(machine)} yet",
            ("nvidia-ctk", "--version"),
            "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
        ),
    )


def _cuda_toolkit(machine: Machine, target: Target, recipes: Recipes, job: DriverJob, build: Build) -> tuple[Step, ...]:
    if build.cuda is None:
        raise UsageError(f"--with-toolkit: torch {build.torch}+{build.tag} has no CUDA, so no toolkit fits it")
    if machine.os.platform != "linux":
        raise UsageError(
            f"--with-toolkit writes steps for Linux. Here: CUDA {build.cuda} from "
            "https://developer.nvidia.com/cuda-toolkit-archive, without its driver"
        )
    if target.kind == "jetson":
        raise UsageError("--with-toolkit: on a Jetson JetPack brings the CUDA toolkit")
    steps = role_steps("cuda-toolkit", dataclasses.replace(job, toolkit=build.cuda), recipes)
    if steps is not None:
        return steps
    return (
        _by_hand(
            "cuda-toolkit-by-hand",
            f"install the CUDA toolkit {build.cuda} without a driver, then run this again",
            f"envcheck has no recipe of it for {_system(machine)} yet; the package is cuda-toolkit-"
            f"{build.cuda.replace('.', '-')}, never cuda, which may bring a driver",
            ("nvcc", "--version"),
            "https://docs.nvidia.com/cuda/cuda-installation-guide-linux/",
        ),
    )


def _by_hand(id: str, title: str, why: str, check: tuple[str, ...], source: str) -> Step:
    return Step(id=id, title=title, argv=(), stage="system", why=why, check=check, source=source)


def _system(machine: Machine) -> str:
    return " ".join(p for p in (machine.os.id, machine.os.version, machine.os.arch) if p) or "this system"
