"""Prometheus textfile: gauges without timestamps, HELP and TYPE once each, every series unique.

The collector reads ``*.prom`` while it is written, so the file must appear by a rename (``cli.common.emit`` does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..checks.base import Report
from ..report.clean import clean
from .words import Gated

VERDICTS = ("healthy", "degraded", "broken", "undetermined")
VALUES = {"pass": 0, "warn": 1, "fail": 2, "unknown": 3, "crash": 3, "timeout": 3, "skip": 4}
Series = tuple[Mapping[str, str], float]


def as_prometheus(gated: Gated, report: Report, timestamp: float) -> str:
    """``timestamp``: Unix time of the run, in seconds, as a metric of its own so that a stale file is noticed."""
    machine = gated.machine
    info = {
        "driver": machine.driver.version,
        "cuda": machine.driver.cuda,
        "torch": machine.torch.version if machine.torch else None,
        "node": gated.node,
    }
    lines: list[str] = []
    lines += metric("envcheck_gate_exit_code", "0 yes, 1 no, 3 undetermined.", [({}, gated.exit_code)])
    verdicts: list[Series] = [({"verdict": v}, float(v == gated.verdict)) for v in VERDICTS]
    lines += metric("envcheck_gate_verdict", "1 for the verdict of the last run.", verdicts)
    met: list[Series] = [({"code": r.code}, float(r.met)) for r in gated.requirements]
    lines += metric("envcheck_requirement_met", "1 where the requirement is met.", met)
    help_text = "0 pass, 1 warn, 2 fail, 3 could not be told (unknown, crash, timeout), 4 skip."
    lines += metric("envcheck_check_status", help_text, _checks(gated, report))
    gpus: list[Series] = [
        ({"gpu": g.uuid or str(g.index), "name": g.name or "", "bus_id": g.bus_id or ""}, (g.memory_mib or 0) * 2**20)
        for g in machine.gpus
    ]
    lines += metric("envcheck_gpu_memory_bytes", "Memory of each GPU; 0 where it could not be told.", gpus)
    lines += metric("envcheck_gpus", "GPUs that were found.", [({}, len(machine.gpus))])
    lines += metric("envcheck_info", "Versions.", [({k: v or "" for k, v in info.items()}, 1)])
    lines += metric("envcheck_run_seconds", "How long the run took.", [({}, round(gated.seconds, 3))])
    lines += metric("envcheck_last_run_timestamp_seconds", "When it ended.", [({}, round(timestamp, 3))])
    return "\n".join(lines) + "\n"


def _checks(gated: Gated, report: Report) -> list[Series]:
    uuids = {d.index: d.uuid or str(d.index) for d in gated.verify.devices} if gated.verify else {}
    out: list[Series] = [
        ({"check": r.code, "area": r.area, "gpu": ""}, VALUES[r.status]) for r in report.results if r.area != "verify"
    ]
    for result in gated.verify.results if gated.verify else ():
        gpu = uuids.get(result.device, "") if isinstance(result.device, int) else ""
        out.append(({"check": result.code, "area": "verify", "gpu": gpu}, VALUES[result.status]))
    return out


def metric(name: str, help_text: str, series: Sequence[Series]) -> list[str]:
    unique = {_labels(labels): value for labels, value in series}
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
    return lines + [f"{name}{labels} {value:.15g}" for labels, value in unique.items()]


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return clean(value, 200).replace("\\", "\\\\").replace('"', '\\"')
