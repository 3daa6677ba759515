"""Every recorded output of ../shared/outputs against its sidecar: the share of right values by kind, and each value.

Run as a script for a table: ``python tests/test_pasted_outputs.py [part of a name]``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envcheck.detect.pasted import parse_report
from envcheck.detect.pasted.values import bus_id
from envcheck.model import Machine, from_plain, to_plain

OUTPUTS = Path(__file__).resolve().parents[2] / "shared" / "outputs"
CASES = OUTPUTS.parent / "cases"
Check = tuple[str, Any, Any]

DETAILS = (
    "memory_used_mib", "memory_reserved_mib", "persistence_mode", "compute_mode", "driver_model", "virtualization_mode",
    "architecture", "pcie_gen_max", "pcie_gen_current", "pcie_width_current", "gsp_firmware", "remapped_rows",
)  # fmt: skip
MODES = {"Enabled": True, "Disabled": False}


def samples() -> list[Path]:
    if not OUTPUTS.is_dir():
        return []
    found = (OUTPUTS / p.name.removesuffix(".expected.json") for p in sorted(OUTPUTS.glob("*.expected.json")))
    return [p for p in found if p.exists() and not p.name.startswith("nvml")]


def smi(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    facts = machine.facts
    yield "driver", expect.get("driver_version"), machine.driver.version
    yield "cuda", expect.get("cuda_version"), machine.driver.cuda
    yield "count", len(expect.get("gpus") or []), len(machine.gpus)
    for want, gpu in zip(expect.get("gpus") or [], machine.gpus, strict=False):
        details = facts.get("gpu", {}).get(str(gpu.index), {})
        for key, got in (
            ("index", gpu.index),
            ("name", gpu.name),
            ("memory_total_mib", gpu.memory_mib),
            ("compute_capability", gpu.compute_capability),
            ("uuid", gpu.uuid),
        ):
            yield key, want.get(key), got
        yield "bus_id", bus_id(want.get("bus_id")), gpu.bus_id
        for key, mode in (("mig_mode", gpu.mig), ("ecc_mode", gpu.ecc)):
            if key in want:
                yield f"{key} is {want[key]}", MODES.get(want[key], "none"), "none" if mode is None else mode
        for key in DETAILS:
            yield key, want.get(key), details.get(key)
        if want.get("power_limit_w"):
            yield "power_limit_w", float(want["power_limit_w"]), details.get("power_limit_w")
        yield "lost", want.get("lost") or None, details.get("lost")
        yield "fabric", (want.get("fabric") or {}).get("state"), (details.get("fabric") or {}).get("state")
        if want.get("clocks_reasons_active"):
            reasons = sorted(details.get("throttle_reasons", []))
            yield "throttle reasons", sorted(want["clocks_reasons_active"]), reasons
        volatile = (details.get("ecc_errors") or {}).get("volatile", {})
        yield "ecc errors", want.get("ecc_dram_uncorrectable_volatile"), volatile.get("dram_uncorrectable")
        yield "mig devices", len(want.get("mig_devices") or []) or None, len(details.get("mig_devices", []))
    yield "processes", len(expect.get("processes") or []) or None, len(facts.get("gpu_processes", []))
    if expect.get("errors"):
        said = facts.get("nvidia_smi", {})
        yield "errors", True, bool(said.keys() & {"error", "inforom_corrupted"} or any(g.errors for g in machine.gpus))


def collect_env(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    torch = machine.torch
    assert torch is not None
    yield "torch", expect["torch_version"] or expect["pip_torch"], torch.version
    yield "cuda", expect["cuda_build"], torch.cuda
    yield "cuda_available", expect["cuda_available"], torch.cuda_available
    yield "driver", expect["driver_version"], machine.driver.version
    yield "driver's cuda", expect.get("driver_cuda_version"), machine.driver.cuda
    yield "python", expect["python"], machine.python and machine.python.version
    yield "gpus", expect["gpus"], [g.name for g in machine.gpus]
    yield "nvcc", expect["cuda_runtime_nvcc"], machine.facts["collect_env"].get("cuda_runtime")
    yield "cudnn", expect["cudnn_system"], machine.cudnn[0].version if machine.cudnn else None
    yield "wsl", "2" if expect["wsl"] else "no", machine.os.wsl or "no"


def packages(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    for name, version in expect["packages"].items():
        yield name, version, machine.packages.get(name.lower().replace("_", "-"))
    yield "torch", expect.get("torch_version_in_list"), machine.torch and machine.torch.version
    yield "torch.cuda", (expect.get("torch_cuda_build") or {}).get("cuda"), machine.torch and machine.torch.cuda


def lspci(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    ours = [d for d in machine.facts["lspci"] if d["vendor"] == "nvidia" and d["gpu"]]
    names = {"pci_id": "ids", "kernel_modules": "modules"}
    yield "count", expect["nvidia_gpu_count"], len(ours)
    for want, device in zip(expect["gpus"], ours, strict=False):
        for key, value in want.items():
            yield key, value, device[names.get(key, key)]


def dmesg(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    xids = [(e["xid"], e["bus"], e["pid"], e["process"]) for e in expect["events"] if e["type"] == "xid"]
    yield "xid", xids, [(x["xid"], x["pci"], x["pid"], x["process"]) for x in machine.facts.get("xid", [])]
    seen = {event["event"] for event in machine.facts.get("kernel_events", [])}
    for event in expect["events"]:
        if event["type"] != "xid":
            yield event["type"], True, event["type"] in seen
            yield "driver", event.get("driver_version"), machine.driver.version
            yield "module", event.get("module_flavor"), machine.driver.module


def nvcc(expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    facts = machine.facts["nvcc"]
    yield "error", None if expect["ok"] else "NOT_FOUND", facts.get("error")
    yield "release", expect["cuda_release"], machine.toolkits[0].version if machine.toolkits else None
    for want, key in (("cuda_version_full", "version"), ("build_id", "build"), ("tool", "tool")):
        if expect["ok"]:
            yield key, expect[want], facts.get(key)


def others(kind: str, expect: dict[str, Any], machine: Machine) -> Iterator[Check]:
    facts, os, torch = machine.facts, machine.os, machine.torch
    if kind == "os-release":
        yield "id", expect["id_lower"], os.id
        yield "version", expect["version_id"], os.version
        yield "family", expect["family"], os.family
    elif kind == "smi-topo":
        for key in ("gpus", "nics", "matrix", "cpu_affinity", "numa_affinity"):
            yield key, expect[key], facts["topology"][key]
    elif kind == "cudnn-h":
        yield "version", expect["cudnn_version"], machine.cudnn[0].version
        yield "capability", expect["max_compute_capability"], facts["cudnn"]["max_compute_capability"]
    elif kind == "mokutil":
        yield "secure_boot", expect["secure_boot"], facts["mokutil"]["secure_boot"]
        yield "error", bool(expect["errors"]), "error" in facts["mokutil"]
    elif kind == "proc-nvidia-version":
        yield "version", expect["driver_version"], machine.driver.version
        yield "module", expect["module_flavor"], machine.driver.module
    elif kind == "proc-version":
        yield "kernel", expect["kernel"], os.kernel
        yield "wsl", str(expect["wsl"] or "no"), os.wsl or "no"
    elif kind == "torch-probe":
        assert torch is not None
        yield "version", expect["torch_version"], torch.version
        yield "cuda", expect["cuda_build"], torch.cuda
        yield "archs", expect["arch_list"], list(torch.archs)
        yield "available", expect["cuda_available"], torch.cuda_available


def checks(path: Path) -> list[Check]:
    sidecar = json.loads(path.with_name(path.name + ".expected.json").read_text(encoding="utf-8"))
    kind, expect = sidecar["kind"], sidecar["expect"]
    machine = parse_report(path.read_text(encoding="utf-8", errors="replace"))
    by_kind = {
        "collect-env": collect_env, "conda-list": packages, "pip-list": packages, "lspci": lspci, "dmesg": dmesg,
        "nvcc": nvcc,
        **dict.fromkeys(("smi-table", "smi-q", "smi-xml", "smi-csv", "smi-L", "smi-err", "smi-version"), smi),
    }  # fmt: skip
    found = by_kind[kind](expect, machine) if kind in by_kind else others(kind, expect, machine)
    return [(what, want, got) for what, want, got in found if want not in (None, "", [])]


@pytest.mark.skipif(not OUTPUTS.is_dir(), reason="the recorded outputs are not here")
@pytest.mark.parametrize("path", samples(), ids=lambda p: p.name)
def test_every_value_of_the_sidecar_is_found(path: Path) -> None:
    assert [(what, want, got) for what, want, got in checks(path) if want != got] == []


@pytest.mark.skipif(not CASES.is_dir(), reason="the labelled reports are not here")
def test_every_labelled_report_survives_a_round_trip_through_json() -> None:
    read = 0
    for path in sorted(CASES.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if "report" in report:
            machine = parse_report(report["report"])
            assert from_plain(Machine, json.loads(json.dumps(to_plain(machine)))) == from_plain(
                Machine, to_plain(machine)
            )
            assert machine.symptoms or machine.facts["report"]["kinds"], path.name
            read += 1
    assert read > 100


if __name__ == "__main__":
    right, total = Counter[str](), Counter[str]()
    for sample in samples():
        if len(sys.argv) < 2 or sys.argv[1] in sample.name:
            name = sample.name.split("__")[0]
            for what, want, got in checks(sample):
                total[name] += 1
                right[name] += want == got
                if want != got:
                    print(f"{sample.name}: {what}: want {want!r}, got {got!r}")
    for name in sorted(total):
        print(f"{name:22} {right[name]}/{total[name]}")
    print(f"{'all':22} {right.total()}/{total.total()}")
