"""What only the checks read: kernel, device nodes, memory, the loader's libraries, the target environment.

``doctor`` and ``snapshot`` ask for it (``detect(full=True)``); ``plan`` does not wait for it. Every name that is
written to ``Machine.facts`` is described in ``envcheck/checks/details.py``. Nothing here needs root: what may not be
read goes to ``facts["unseen"]``, which says what root would add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...host import Host
from ...model import Machine
from ..python import Found
from . import containers, devices, environment, indexes, kernel, loader, manager, memory

Run = Callable[..., Any]


class Early:
    """Facts that need no driver: gathered while NVML is still being asked."""

    def __init__(self, host: Host, machine_os: Any, found: Found | None, run: Run) -> None:
        self.facts: dict[str, Any] = {}
        linux = machine_os.platform == "linux"
        if linux:
            seen = run("devices", {}, devices.look, host)
            shm_mount = str(seen.pop("shm_mount", ""))
            self._add(seen)
            self._add(run("memory", {}, memory.gather, host, shm_mount))
            self._add(run("kernel", {}, kernel.modules_and_firmware, host, machine_os))
        if found is not None:
            self._add(run("environment", {}, environment.gather, host, machine_os, found))
        if machine_os.platform == "windows":
            from . import windows

            self._add(run("windows", {}, windows.gather, host, found))
        if machine_os.platform == "macos":
            from . import macos

            self._add(run("macos", {}, macos.gather, host, found))

    def _add(self, facts: Mapping[str, Any]) -> None:
        self.facts.update(facts)


def unknown_uuids(machine: Machine) -> list[str]:
    """The first entry of CUDA_VISIBLE_DEVICES where it is the UUID of no GPU here: CUDA then sees none at all.

    A prefix is enough for CUDA. Told here, as a report leaves UUIDs out.
    """
    first = machine.env.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    known = [g.uuid for g in machine.gpus if g.uuid]
    if not first.startswith("GPU-") or not known or len(known) < len(machine.gpus):
        return []
    return [] if any(uuid.lower().startswith(first.lower()) for uuid in known) else [first]


def late(host: Host, machine: Machine, found: Found | None, run: Run) -> dict[str, Any]:
    """Facts that depend on what was found of driver, GPUs and torch."""
    facts: dict[str, Any] = {}
    if machine.os.platform == "linux":
        facts.update(run("kernel", {}, kernel.gather, host, machine))
        facts.update(run("devices", {}, devices.on_the_bus, host, machine))
        facts.update(run("libraries", {}, loader.gather, host, machine, found))
        facts.update(run("containers", {}, containers.gather, host, machine))
        hidden = facts.pop("hidden_acs", None)
        if hidden:
            facts["unseen"] = {**facts.get("unseen", {}), "PCIe ACS": hidden}
    strangers = unknown_uuids(machine)
    if strangers:
        facts["unknown_uuids"] = strangers
    facts.update(run("tools", {}, environment.tools, host, machine, found))
    facts.update(run("indexes", {}, indexes.gather, host, found))
    if found is not None:
        facts.update(run("manager", {}, manager.gather, host, found, machine.tools))
    return facts
