"""NVSwitch joins the GPUs of some machines: their fabric manager, of exactly the driver's version."""

from __future__ import annotations

import dataclasses
import re

from ..model import Machine, Step
from ..recipes import DriverJob, Recipes, role_steps
from .target import Target

# B200, B300 and GB300 boards, whose switches are not on the host's PCI bus. Source: Getty/rex-gpu (proven installer)
NVLINK5 = ("10de:2901", "10de:2909", "10de:3182")

# eight of these are on one HGX board with switches. Source: NVIDIA fabric manager user guide
HGX = re.compile(r"\b(?:A[18]00-SXM4?|H[12]00 80GB HBM3|H200$|H20$|B200$|B300 SXM)")
HGX_GPUS = 8


def features(machine: Machine) -> tuple[str, ...]:
    """What this machine needs beside the driver: a fabric manager where switches join its GPUs."""
    pci = machine.facts.get("pci")
    switches = pci.get("nvswitches") if isinstance(pci, dict) else 0
    if any((g.pci_id or "").lower() in NVLINK5 for g in machine.gpus):
        return ("fabric", "nvlsm")
    return ("fabric",) if switches else ()


def unread(machine: Machine, target: Target) -> tuple[str, ...]:
    """A sentence where the planned machine was not looked at and its boards have switches."""
    boards = [g.name for g in target.gpus if g.name and HGX.search(g.name)]
    if target.kind != "bare" or "pci" in machine.facts or len(boards) < HGX_GPUS:
        return ()
    return (
        f"eight {boards[0]} stand on a board with NVSwitch, and CUDA fails there (error 802) without a fabric manager "
        "of exactly the driver's version. This plan was made without a look at the machine and brings none: make it "
        "there, or from its snapshot (envcheck snapshot, then envcheck plan --machine FILE)",
    )


def kept(machine: Machine, target: Target, recipes: Recipes, job: DriverJob, action: str) -> tuple[Step, ...]:
    """A driver that stays needs its fabric manager too; where one is known to run there is nothing to do.

    Where its state is unknown the steps' own checks tell it. An image that owns the driver owns the fabric manager.
    """
    version = machine.driver.version
    if action != "keep" or target.kind != "bare" or "fabric" not in job.features or not version:
        return ()
    if _runs(machine.facts.get("fabric_manager"), version):
        return ()
    return role_steps("fabric", dataclasses.replace(job, branch=version.partition(".")[0]), recipes) or (by_hand(),)


def _runs(fabric: object, version: str) -> bool:
    return isinstance(fabric, dict) and bool(fabric.get("active")) and fabric.get("version") in (None, version)


def by_hand() -> Step:
    return Step(
        id="fabric-by-hand",
        title="install the fabric manager of exactly the driver's version and start it, then run this again",
        argv=(),
        stage="system",
        why="NVSwitch joins the GPUs here: without it CUDA fails with error 802. No archive that envcheck uses has it",
        check=("ec_service_serves", "nvidia-fabricmanager"),
        source="https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html",
    )
