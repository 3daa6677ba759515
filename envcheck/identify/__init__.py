"""Names and PCI ids become compute capability, architecture, Tensor Cores: (Machine, Matrix) -> Machine. Pure.

What NVML or the driver said always stands; a name or a PCI id that contradicts it is reported, never believed.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ..errors import UsageError
from ..matrix import GpuRow, Matrix
from ..model import OS, Driver, Gpu, Machine
from .names import find_gpu, full_name

__all__ = ["find_gpu", "full_name", "gpu_from_pci", "identify"]

PCI_PAIR = re.compile(r"(?:0x)?([0-9a-fA-F]{4}):(?:0x)?([0-9a-fA-F]{4})")
NVIDIA = "10DE"


def identify(machine: Machine, matrix: Matrix) -> Machine:
    """Fill what the matrix knows about the GPUs, the driver's CUDA and the distribution's family.

    Values that are there stay. A GPU whose compute capability nobody could tell is named in ``problems``.
    """
    gpus = tuple(_gpu(gpu, matrix) for gpu in machine.gpus)
    problems = dict(machine.problems)
    for gpu in gpus:
        key = f"gpus[{gpu.index}].compute_capability"
        if gpu.compute_capability is None:
            label = gpu.name or gpu.pci_id or "a GPU without a name"
            problems.setdefault(key, f"{label} is not in the compatibility matrix and the driver did not say")
        else:
            problems.pop(key, None)
    os = _os(machine.os, matrix)
    return replace(machine, os=os, gpus=gpus, driver=_driver(machine.driver, os, matrix), problems=problems)


def gpu_from_pci(vendor_device: str, subsystem: str | None, matrix: Matrix) -> GpuRow | None:
    """The row of a PCI id (``10de:2684``, subsystem ``1043:889f`` or None); None for an unlisted or foreign one.

    A name that only some subsystems carry (a laptop's "with Max-Q Design") wins over the device's plain one.
    """
    pair = PCI_PAIR.fullmatch(vendor_device.strip())
    if pair is None or pair[1].upper() != NVIDIA:
        return None
    device = pair[2].upper()
    keys = [device]
    sub = PCI_PAIR.fullmatch(subsystem.strip()) if subsystem else None
    if sub is not None:
        keys = [f"{device}:{sub[1].upper()}:{sub[2].upper()}", f"{device}:*:{sub[2].upper()}", device]
    positions = matrix.gpu_positions
    for key in keys:
        if key in positions:
            return matrix.gpu_rows([positions[key]])[0]
    return _shared_device(device, matrix)


def _shared_device(device: str, matrix: Matrix) -> GpuRow | None:
    """A device that is listed with subsystems only: its row where all of them agree on what matters, else None."""
    found = sorted({i for key, i in matrix.gpu_positions.items() if key.startswith(device + ":")})
    rows = matrix.gpu_rows(found)
    if not rows or len({(r.compute_capability, r.tensor_cores) for r in rows}) > 1:
        return None
    first = rows[0]
    same = len(rows) == 1
    return replace(
        first,
        name=first.name if same else " / ".join(sorted(r.name or "" for r in rows)),
        aliases=(),
        memory_gib=first.memory_gib if same else None,
    )


def _gpu(gpu: Gpu, matrix: Matrix) -> Gpu:
    by_pci = gpu_from_pci(gpu.pci_id, gpu.subsystem_id, matrix) if gpu.pci_id else None
    by_name = _named(gpu.name, matrix)
    said = gpu.compute_capability
    fits = [r for r in (by_pci, by_name) if r is not None and (said is None or r.compute_capability == said)]
    cc = said or (fits[0].compute_capability if fits else None)
    row = fits[0] if fits else None
    arch = matrix.architectures.get(cc or "")
    tensor_cores = gpu.tensor_cores
    if tensor_cores is None:
        told = next((r.tensor_cores for r in fits if r.compute_capability == cc and r.tensor_cores is not None), None)
        tensor_cores = told if told is not None else arch.tensor_cores if arch and row is None else None
    return replace(
        gpu,
        name=gpu.name or (full_name(row.name) if row and row.name else None),
        compute_capability=cc,
        architecture=gpu.architecture or (arch.architecture if arch else row.architecture if row else None),
        tensor_cores=tensor_cores,
        memory_mib=gpu.memory_mib if gpu.memory_mib is not None else _memory_mib(row),
        errors=gpu.errors + tuple(e for e in _disagreements(gpu, by_pci, by_name) if e not in gpu.errors),
    )


def _named(name: str | None, matrix: Matrix) -> GpuRow | None:
    if not name:
        return None
    try:
        row = find_gpu(name, matrix, hint=False)
    except UsageError:
        return None  # a name that settles nothing ("Graphics Device") is no fault of the machine
    return row if row.name else None


def _memory_mib(row: GpuRow | None) -> int | None:
    memory = row.memory_gib if row else None
    return int(memory * 1024) if isinstance(memory, int | float) else None


def _disagreements(gpu: Gpu, by_pci: GpuRow | None, by_name: GpuRow | None) -> list[str]:
    out = []
    said = gpu.compute_capability
    if by_pci is not None and said is not None and by_pci.compute_capability != said:
        out.append(f"the driver says compute capability {said}, PCI id {gpu.pci_id} is {_label(by_pci)}")
    if by_name is not None and said is not None and by_name.compute_capability != said:
        out.append(f"the driver says compute capability {said}, the name is that of {_label(by_name)}")
    if said is None and by_pci and by_name and by_pci.compute_capability != by_name.compute_capability:
        out.append(f"PCI id {gpu.pci_id} is {_label(by_pci)}, the name is that of {_label(by_name)}")
    return out


def _label(row: GpuRow) -> str:
    return f"{row.name} ({row.compute_capability})"


def _driver(driver: Driver, os: OS, matrix: Matrix) -> Driver:
    # a Jetson's driver number is L4T's: it is no branch of the table
    if driver.version is None or driver.cuda is not None or os.jetson:
        return driver
    windows = os.platform == "windows" or os.wsl is not None
    try:
        cuda = matrix.driver_cuda(driver.version, windows)
    except ValueError:
        return driver  # not a version: detection has named it already
    return replace(driver, cuda=cuda)


def _os(os: OS, matrix: Matrix) -> OS:
    if os.family is not None:
        return os
    if os.platform in ("windows", "macos"):
        return replace(os, family=os.platform)
    row = matrix.distro(os.id, os.version)
    if row is not None:
        return replace(os, family=row.family)
    families = {r.family for r in matrix.distros if r.id == os.id}
    return replace(os, family=families.pop()) if len(families) == 1 else os
