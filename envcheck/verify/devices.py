"""From what the probe said of its devices to ``Device``, and which of them the user means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from ..model import Gpu, Machine
from .words import Device


def found_by_probe(facts: Mapping[str, Any], machine: Machine) -> tuple[Device, ...]:
    """The devices that torch can see, in PCI order. Lines of a wrong shape are left out."""
    raw = [d for d in facts.get("devices") or () if isinstance(d, Mapping) and isinstance(d.get("ordinal"), int)]
    ordered = sorted(raw, key=lambda d: (str(d.get("bus_id") or "~"), d["ordinal"]))
    return tuple(_device(index, item, machine) for index, item in enumerate(ordered))


def _device(index: int, item: Mapping[str, Any], machine: Machine) -> Device:
    gpu = same_card(item, machine)
    others = item.get("others")
    return Device(
        index=index,
        ordinal=int(item["ordinal"]),
        name=_text(item.get("name")),
        uuid=_text(item.get("uuid")),
        bus_id=_text(item.get("bus_id")),
        compute_capability=_text(item.get("compute_capability")),
        memory_mib=_number(item.get("memory_mib")),
        sms=_number(item.get("sms")),
        tensor_cores=tensor_cores(item, gpu or _namesake(item, machine)),
        others=tuple(int(p) for p in others) if isinstance(others, list) else (),
        gpu=gpu,
    )


def same_card(item: Mapping[str, Any], machine: Machine) -> Gpu | None:
    """The detected GPU that a device is: by PCI address, by UUID, or because there is one of that name alone."""
    bus, uuid, name = (_text(item.get(k)) for k in ("bus_id", "uuid", "name"))
    for gpu in machine.gpus:
        if (bus and gpu.bus_id and gpu.bus_id.lower() == bus) or (uuid and gpu.uuid == uuid):
            return gpu
    named = [g for g in machine.gpus if g.name and g.name == name and not g.bus_id]
    return named[0] if len(named) == 1 else None


def _namesake(item: Mapping[str, Any], machine: Machine) -> Gpu | None:
    """A detected GPU of that name, where which one it is could not be told: its chip is the same all the same."""
    return next((g for g in machine.gpus if g.name and g.name == _text(item.get("name"))), None)


def tensor_cores(item: Mapping[str, Any], gpu: Gpu | None) -> int | None:
    """The chip's generation of Tensor Cores; None where the capability does not tell and the chip is unknown.

    Before 7.0 no chip has them. 7.5 is had by chips with and without, so only the detected card can tell.
    """
    if gpu is not None and gpu.tensor_cores is not None:
        return gpu.tensor_cores
    try:
        major, minor = (int(part) for part in str(item.get("compute_capability")).split("."))
    except ValueError:
        return None
    if (major, minor) < (7, 0):
        return 0
    return None if (major, minor) == (7, 5) else 1


def choose(devices: Sequence[Device], word: str) -> tuple[Device, ...]:
    """``all``, indices (``0,1``) or UUIDs (a beginning is enough). Raises ``UsageError`` for any other word."""
    if word == "all":
        return tuple(devices)
    out: list[Device] = []
    for part in (p.strip() for p in word.split(",")):
        if part.isdigit():
            match = [d for d in devices if d.index == int(part)]
        else:
            match = [d for d in devices if part and d.uuid and d.uuid.lower().startswith(part.lower())]
        if len(match) != 1:
            have = ", ".join(f"{d.index} ({d.name})" for d in devices)
            raise UsageError(
                f"--device {part!r} is {'no' if not match else 'more than one'} device here. Devices: {have}"
            )
        out += [d for d in match if d not in out]
    return tuple(out)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
