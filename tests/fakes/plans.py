"""Plans made of given steps, without a planner."""

from __future__ import annotations

import dataclasses
import platform
import sys
from typing import Any

from envcheck.model import (
    OS,
    Driver,
    DriverChoice,
    DriverMinimum,
    GpuCoverage,
    Machine,
    Plan,
    PythonChoice,
    Request,
    Step,
    TorchChoice,
)
from envcheck.render import Meta

META = Meta(envcheck_version="1.0", matrix_version="2026.1", command="envcheck plan --torch 2.0")
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
TORCH = TorchChoice(
    version="2.0.1",
    tag="cu118",
    cuda="11.8",
    cudnn="8.7.0.84",
    nccl="2.14.3",
    triton="2.0.0",
    index_url="https://download.pytorch.org/whl/cu118",
    archs=("sm_50", "compute_90"),
    channel="stable",
    verified=True,
)


def plan_of(*steps: Step, machine: Machine | None = None, cpu: bool = False, **changes: Any) -> Plan:
    """A satisfiable plan for a machine of which nothing is bound."""
    torch = dataclasses.replace(TORCH, tag="cpu", cuda=None) if cpu else TORCH
    plan = Plan(
        satisfiable=True,
        request=Request(torch="2.0"),
        machine=machine or Machine(os=OS(platform="linux")),
        torch=torch,
        companions={"torchvision": "0.15.2"},
        constraints=("numpy<2",),
        python=PythonChoice(version=MINOR, supported=(MINOR,)),
        driver=DriverChoice(
            installed=None, minimum=DriverMinimum(minor_version="450.80.02"), rule="none", action="none"
        ),
        steps=steps,
        reasons=("because",),
    )
    return dataclasses.replace(plan, **changes)


def this_machine(**os: Any) -> Machine:
    """What a script of a plan for ``World``'s machine is bound to."""
    known = {"id": "debian", "version": "12", "arch": platform.machine(), "platform": "linux", **os}
    return Machine(os=OS(**known), driver=Driver())


def covered(name: str) -> tuple[GpuCoverage, ...]:
    return (GpuCoverage(name=name, compute_capability="8.6", how="sass"),)


def refused() -> Plan:
    return Plan(
        satisfiable=False,
        request=Request(torch="9.9'; touch pwned #"),
        machine=Machine(),
        conflicts=("there is no torch 9.9",),
    )
