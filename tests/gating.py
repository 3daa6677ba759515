"""Builders of gate results that several test modules use."""

from __future__ import annotations

from typing import Any

from envcheck.checks.base import CheckResult, Finding, Report
from envcheck.checks.run import verdict
from envcheck.cli.verify_output import as_data, as_report
from envcheck.gate import Policy, Stopped, judge
from envcheck.gate.render import Rendering
from envcheck.model import Driver, Gpu, Machine, Python, Torch
from envcheck.verify import REQUIRED, Device, Result, Verification, verdict_of

UUID = "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"


def machine(name: str = "NVIDIA L4", driver: str = "580.95.05", memory_mib: int | None = 23034) -> Machine:
    return Machine(
        driver=Driver(version=driver, cuda="13.0", state="ok"),
        gpus=(Gpu(name=name, uuid=UUID, memory_mib=memory_mib, compute_capability="8.9"),),
        python=Python(version="3.11.7", executable="python3"),
        torch=Torch(version="2.7.1+cu128", cuda="12.8"),
    )


def doctor(statuses: dict[str, str] | None = None, on: Machine | None = None, summary: str = "as told") -> Report:
    on = on or machine()
    told = {"driver": "pass", "gpu": "pass", "torch": "pass", **(statuses or {})}
    results = tuple(
        CheckResult(code=c, area="machine", status=s, summary=summary, seconds=0.01, required=c in ("driver", "gpu"))
        for c, s in told.items()
    )
    findings = tuple(
        Finding(
            code=r.code,
            status=r.status,
            severity="error" if r.status == "fail" else "warning",
            summary=f"{r.code}: {summary}",
            why="it was told so",
            evidence=(summary,),
            fix=(),
            docs="docs/checks.md",
        )
        for r in results
        if r.status in ("warn", "fail")
    )
    return Report(verdict=verdict(results, on), machine=on, findings=findings, results=results, matrix_version="1")


def verification(
    statuses: dict[str, str] | None = None,
    *,
    not_applicable: bool = False,
    on: Machine | None = None,
    summary: str = "as measured",
) -> Verification:
    on = on or machine()
    told = statuses if statuses is not None else dict.fromkeys(REQUIRED, "pass")
    results = tuple(
        Result(
            code=code,
            device=0,
            status=status,
            stage="measuring",
            seconds=0.5,
            summary=summary,
            evidence=(summary,),
            not_applicable=not_applicable and status == "skip",
        )
        for code, status in told.items()
    )
    device = Device(index=0, ordinal=0, name=on.gpus[0].name if on.gpus else None, uuid=UUID)
    return Verification(
        verdict=verdict_of(results, tuple(told)),
        devices=(device,),
        results=results,
        machine=on,
        required=tuple(told),
    )


def rendering(
    policy: Policy,
    report: Report,
    found: Verification | None,
    *,
    on_undetermined: str = "fail",
    stopped: Stopped | None = None,
    hide: Any = lambda value: value,
) -> Rendering:
    gated = judge(policy, report, found, on_undetermined=on_undetermined, stopped=stopped)
    return Rendering(
        gated=gated,
        proofs=as_report(found) if found else None,
        verify_data=as_data(found) if found else None,
        hide=hide,
        timestamp=1_700_000_000.0,
    )
