"""A machine in a handful of lines, the same for the terminal and for markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import Gpu, Machine
from .clean import clean


def overview(machine: Machine) -> list[tuple[str, str]]:
    """(name, value) of what is known; absent things are said, unknown ones are left out."""
    rows = [
        ("system", _system(machine)),
        ("driver", _driver(machine)),
        ("gpu", _gpus(machine)),
        ("cuda", ", ".join(_found(t.version, t.path) for t in machine.toolkits[:4])),
        ("python", _python(machine)),
        ("torch", _torch(machine)),
    ]
    return [(name, clean(value, 240)) for name, value in rows if value]


def details(machine: Machine) -> list[tuple[str, str]]:
    """CUDA's libraries and where they come from, each GPU (memory in use, link, modes), variables, free space."""
    told = machine.facts.get("gpu")
    rows = [("loads", clean(text, 240)) for text in _libraries(machine)]
    for index, gpu in told.items() if isinstance(told, Mapping) else ():
        if isinstance(gpu, Mapping):
            rows.append((f"gpu {clean(str(index), 4)}", clean(", ".join(_state(gpu)), 240)))
    variables = [f"{name}={value}" for name, value in machine.env.items() if name not in ("PATH", "HOME")]
    rows += [("env", clean(text, 240)) for text in variables]
    disk = machine.facts.get("disk")
    for path, size in disk.items() if isinstance(disk, Mapping) else ():
        if isinstance(size, Mapping):
            rows.append(("space", clean(f"{path}: {size.get('free_mib')} of {size.get('total_mib')} MiB free", 240)))
    return [(name, value) for name, value in rows if value]


def _libraries(machine: Machine) -> list[str]:
    """The copies of CUDA's libraries that torch would load, or (``--deep``) has loaded."""
    mapped, told = machine.facts.get("mapped_libraries"), machine.facts.get("torch_libraries")
    if isinstance(mapped, list | tuple) and mapped:
        return [f"{path} (loaded)" for path in map(str, mapped) if "cud" in path or "nccl" in path or "cublas" in path]
    rows = [e for e in told if isinstance(e, Mapping)] if isinstance(told, list | tuple) else []
    return [f"{e.get('name')} {e.get('version') or ''} {e.get('from')}: {e.get('path')}" for e in rows]


def _state(gpu: Mapping[str, Any]) -> list[str]:
    words = []
    used, total = gpu.get("memory_used_mib"), gpu.get("memory_total_mib")
    if isinstance(used, int) and isinstance(total, int):
        words.append(f"{used} of {total} MiB in use")
    if isinstance(gpu.get("pcie_gen_current"), int) and isinstance(gpu.get("pcie_width_current"), int):
        most = f" (of {gpu['pcie_gen_max']} x{gpu['pcie_width_max']})" if "pcie_gen_max" in gpu else ""
        words.append(f"PCIe {gpu['pcie_gen_current']} x{gpu['pcie_width_current']}{most}")
    if isinstance(gpu.get("temperature_c"), int):
        words.append(f"{gpu['temperature_c']} C")
    if gpu.get("compute_mode"):
        words.append(f"compute mode {gpu['compute_mode']}")
    if gpu.get("driver_model"):
        words.append(f"driver model {gpu['driver_model']}")
    if gpu.get("persistence_mode"):
        words.append(f"persistence {gpu['persistence_mode']}")
    reasons = gpu.get("throttle_reasons")
    if isinstance(reasons, list | tuple) and reasons:
        words.append(f"clocks: {' '.join(map(str, reasons))}")
    if isinstance(gpu.get("mig_devices"), int):
        words.append(f"{gpu['mig_devices']} MIG devices")
    return words


def _system(machine: Machine) -> str:
    os = machine.os
    words = [" ".join(filter(None, (os.id, os.version))), os.arch, os.kernel and f"kernel {os.kernel}"]
    words += [
        os.glibc and f"glibc {os.glibc}",
        os.wsl and f"WSL {os.wsl}",
        os.container,
        os.jetson and f"Jetson {os.jetson}",
    ]
    return ", ".join(w for w in words if w)


def _driver(machine: Machine) -> str:
    driver = machine.driver
    if driver.version is None and driver.state is None:
        return ""
    words = [driver.version, driver.cuda and f"CUDA {driver.cuda}", driver.module and f"{driver.module} module"]
    if driver.state not in (None, "ok"):
        words.append(driver.state)
    origin = machine.facts.get("driver_origin")
    if isinstance(origin, Mapping) and origin.get("run_file"):
        words.append("installed by a .run file")
    return ", ".join(w for w in words if w)


def _gpus(machine: Machine) -> str:
    groups: dict[str, int] = {}
    for gpu in machine.gpus:
        text = _gpu(gpu)
        groups[text] = groups.get(text, 0) + 1
    return "; ".join(f"{count} x {text}" if count > 1 else text for text, count in groups.items())


def _gpu(gpu: Gpu) -> str:
    words = [gpu.name or gpu.pci_id or "unknown GPU"]
    if gpu.compute_capability:
        words.append(f"compute capability {gpu.compute_capability}")
    if gpu.memory_mib:
        words.append(f"{gpu.memory_mib / 1024:.0f} GiB")
    if gpu.mig:
        words.append("MIG on")
    return ", ".join(words)


def _found(version: str | None, path: str | None) -> str:
    return f"{version or '?'} ({path})" if path else version or "?"


def _python(machine: Machine) -> str:
    python = machine.python
    if python is None:
        return ""
    return ", ".join(w for w in (python.version, python.environment, python.executable) if w)


def _torch(machine: Machine) -> str:
    torch = machine.torch
    if torch is None:
        return ""
    words = [torch.version, f"CUDA {torch.cuda}" if torch.cuda else None, torch.source]
    if torch.cuda_available is not None:
        words.append("CUDA available" if torch.cuda_available else "CUDA not available")
    extra = [f"{n} {machine.packages[n]}" for n in ("torchvision", "torchaudio") if n in machine.packages]
    return ", ".join(w for w in [*words, *extra] if w)
