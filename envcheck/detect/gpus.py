"""One list of GPUs out of what NVML, nvidia-smi and the bus each know."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..host import Host
from ..model import OS, Gpu
from ..nvml import NvmlGpu, NvmlReport
from .pci import Bus, PciGpu
from .smi import SmiGpu, SmiReport

NOT_SHOWN = "on the bus, and the driver does not show it"
NOT_INJECTED = "on the host's bus, and not injected into this container"


def merge(os: OS, bus: Bus, nvml: NvmlReport, answered: SmiReport | None) -> tuple[Gpu, ...]:
    """GPUs in NVML's order (that of the bus), then those that only the bus knows.

    In a container where NVML answers, its list is the whole truth: the bus also shows GPUs of other containers.
    """
    if nvml.gpus:
        shown = [_from_nvml(g) for g in nvml.gpus]
    elif answered and answered.gpus:
        shown = [_from_smi(g, i) for i, g in enumerate(answered.gpus)]
    else:
        return tuple(_from_bus(g, i, _silence(os, nvml)) for i, g in enumerate(bus.gpus))
    by_bus = {g.bus_id: g for g in bus.gpus if g.bus_id}
    unclaimed = [g for g in bus.gpus if g.bus_id not in {s.bus_id for s in shown}]
    unnamed = [i for i, s in enumerate(shown) if s.bus_id is None]
    held = [g for g in unclaimed if g.driver == "nvidia"]
    if len(unnamed) == len(held):  # NVML numbers by bus order, so the nth unknown is the nth unclaimed
        for i, device in zip(unnamed, held, strict=True):
            shown[i] = dataclasses.replace(shown[i], bus_id=device.bus_id)
            unclaimed.remove(device)
    merged = [_add_bus(gpu, by_bus.get(gpu.bus_id or "")) for gpu in shown]
    if not os.container and bus.gpus and all(g.bus_id for g in bus.gpus):
        for device in unclaimed:
            error = (NOT_SHOWN,) if device.driver in ("nvidia", None) else ()
            merged.append(_from_bus(device, len(merged), error))
    return tuple(merged)


def problem(host: Host, os: OS, bus: Bus, gpus: tuple[Gpu, ...], nvml: NvmlReport) -> str | None:
    """Why an empty list is no proof that there is no GPU; None where it was looked at and is true."""
    if os.container and gpus and all(NOT_INJECTED in g.errors for g in gpus):
        return f"the host has an NVIDIA GPU, and none was injected into this {os.container} container (--gpus all)"
    if nvml.error and len(nvml.gpus) < (nvml.count or 0):
        return f"{len(nvml.gpus)} of {nvml.count} GPUs answered: {nvml.message}"
    if gpus or os.platform == "macos":
        return None
    if nvml.error == "TIMEOUT":
        return nvml.message
    if os.wsl == "2" and host.exists("/dev/dxg"):
        return f"WSL has its GPU device, and no NVIDIA library answers: {nvml.message}"
    if os.wsl:
        return None
    if os.container:
        return f"no NVIDIA GPU is visible in this {os.container} container; the host may have one (--gpus all shows it)"
    if nvml.initialised and nvml.count:
        return "NVML counts GPUs and describes none of them"
    if nvml.error == "NO_PERMISSION":
        return nvml.message
    return None if bus.readable or os.jetson else bus.problem


def _silence(os: OS, nvml: NvmlReport) -> tuple[str, ...]:
    if os.container and nvml.error == "LIBRARY_NOT_FOUND":
        return (NOT_INJECTED,)
    return (NOT_SHOWN,) if nvml.initialised else ()


# the integrated GPU by the chip that the device tree names, as NVML calls it where there is one
TEGRA = {
    "tegra210": "Tegra X1",
    "tegra186": "Tegra X2",
    "tegra194": "Xavier",
    "tegra234": "Orin (nvgpu)",
    "tegra264": "Thor",
}


def jetson_gpu(os: OS, facts: Mapping[str, Any]) -> tuple[Gpu, ...]:
    """The integrated GPU of a Jetson is on no bus, and L4T before JetPack 6 has no NVML: chip and board name it."""
    name = TEGRA.get(str(facts.get("tegra"))) or facts.get("device_tree_model")
    return (Gpu(name=name, driver_bound="nvgpu"),) if os.jetson and isinstance(name, str) else ()


def _from_nvml(gpu: NvmlGpu) -> Gpu:
    return Gpu(
        index=gpu.index,
        name=gpu.name,
        uuid=gpu.uuid,
        pci_id=gpu.pci_id,
        subsystem_id=gpu.subsystem_id,
        bus_id=gpu.bus_id,
        memory_mib=gpu.memory_mib,
        compute_capability=gpu.compute_capability,
        mig=gpu.mig,
        ecc=gpu.ecc,
        errors=gpu.errors,
    )


def _from_smi(gpu: SmiGpu, position: int) -> Gpu:
    return Gpu(
        index=position if gpu.index is None else gpu.index,
        name=gpu.name,
        uuid=gpu.uuid,
        pci_id=gpu.pci_id,
        subsystem_id=gpu.subsystem_id,
        bus_id=gpu.bus_id,
        memory_mib=gpu.memory_mib,
        compute_capability=gpu.compute_capability,
        mig=gpu.mig,
        ecc=gpu.ecc,
    )


def _from_bus(device: PciGpu, index: int, errors: tuple[str, ...]) -> Gpu:
    return Gpu(
        index=index,
        name=device.name,
        pci_id=device.pci_id,
        subsystem_id=device.subsystem_id,
        bus_id=device.bus_id,
        driver_bound=device.driver,
        errors=errors,
    )


def _add_bus(gpu: Gpu, device: PciGpu | None) -> Gpu:
    if device is None:
        return gpu
    return dataclasses.replace(
        gpu,
        pci_id=gpu.pci_id or device.pci_id,
        subsystem_id=gpu.subsystem_id or device.subsystem_id,
        driver_bound=device.driver,
    )
