"""The kernel's own lines about NVIDIA: dmesg, journalctl -k, /var/log/messages, and modprobe's errors.

::

    [6781741.548779] NVRM: Xid (PCI:0000:91:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
    Okt 06 17:59:27 host kernel: NVRM: Xid (PCI:0000:01:00): 79, pid=1122, GPU has fallen off the bus.
    [...] NVRM: Xid (0000:03:00): 14, Channel 00000001
    NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  610.43.02  Release Build  (dvs-builder@...)
    NVRM: API mismatch: the client has the version 415.27, but
    modprobe: ERROR: could not insert 'nvidia': No such device

They stay symptoms; here they become facts: ``facts["xid"]`` and ``facts["kernel_events"]``.
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import Part
from .values import bus_id

MAX_EVENTS = 1000
_XID = re.compile(
    r"\bXid \((?:PCI:)?([0-9a-fA-F:.]{4,16})\): (\d{1,4})(?:, pid='?([^,']{1,24})'?)?(?:, name=([^,]{1,40}))?,?"
    r"(.{0,300})"
)
_XID_LOOSE = re.compile(r"\bX[Ii][Dd](?: error)?[ :=#]{1,3}(\d{1,3})\b(?!:\d)")
_MODULE = re.compile(
    r"NVIDIA UNIX (Open )?(?:\w{2,10} )?Kernel Module (?:for (\w{2,10}) )? {0,2}(\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)"
)
_NVRM_VERSION = re.compile(r"[ \t]*(?:NVRM version: NVIDIA UNIX|GCC version: )")
_CLIENT = re.compile(r"API mismatch: the client has the version (\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)")
_KERNEL_HAS = re.compile(r"this kernel module has the version (\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)")
_GPU_AT = re.compile(r"GPU (?:at )?(?:PCI:)?([0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?)")
_OTHER_DRIVER = re.compile(r"GPU ([0-9a-fA-F:.]{7,16}) is already bound to ([\w-]{2,20})")
_REFUSED = re.compile(r"could not insert '?(nvidia[\w-]{0,12})'?: (.{3,80})$")

# words of a line (lower case) -> the event; the first that fits
_EVENTS: tuple[tuple[str, str], ...] = (
    ("has fallen off the bus", "gpu_lost"),
    ("api mismatch", "api_mismatch"),
    ("module verification failed", "module_unsigned_loaded"),
    ("loading of unsigned module is rejected", "module_refused"),
    ("unsigned module loading is restricted", "module_refused"),
    ("required key not available", "module_refused"),
    ("key was rejected by service", "module_refused"),
    ("kernel is locked down", "lockdown"),
    ("taints kernel", "taint"),
    ("is already bound to", "bound_elsewhere"),
    ("the nvidia probe routine was not called for", "probe_not_called"),
    ("the nvidia probe routine failed", "probe_failed"),
    ("rminitadapter failed", "init_failed"),
    ("this pci i/o region assigned to your nvidia device is invalid", "bar_invalid"),
    ("is not supported by open nvidia.ko", "open_module_unsupported"),
    ("not supported by the nvidia", "gpu_unsupported"),
    ("no nvidia graphics adapter", "no_adapter"),
    ("nouveau 0000:", "nouveau_bound"),
    ("out of memory: kill", "oom_kill"),
    ("secureboot: secure boot enabled", "secure_boot_enabled"),
    ("secure boot: enabled", "secure_boot_enabled"),
    ("surprise down", "pcie_surprise_down"),
    ("aer: uncorrected", "pcie_uncorrected"),
    ("suspend exit", "resume"),
)
# words of the other lines that are read
_READ = ("xid", "kernel module", "gcc version:", "api mismatch", "could not insert")


def parse(lines: Lines) -> Part | None:
    if not lines.has("nvrm", "xid", "nvidia", "nouveau", "modprobe", "lockdown", "out of memory: kill", "secure boot"):
        return None
    part = Part("kernel-log")
    xids: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    known = [pair for pair in _EVENTS if pair[0] in lines.lower]
    for position, line in lines.at(*_READ, *(words for words, _ in known)):
        text = line.text
        if len(text) < 8:
            continue
        if len(xids) < MAX_EVENTS and (xid := _xid(text)):
            xids.append({**xid, "line": line.number})
        if "Kernel Module" in text and (module := _MODULE.search(text)):
            _module(part, events, module, line.number)
            if _NVRM_VERSION.match(text):
                part.take(position, "")
                part.facts["proc_version"] = module.group(3)
        elif "GCC version:" in text and "proc_version" in part.facts and _NVRM_VERSION.match(text):
            part.take(position, "")
        elif len(events) < MAX_EVENTS:
            _event(part, events, known, text, line.number)
    if xids:
        part.facts["xid"] = xids
    if events:
        part.facts["kernel_events"] = events
        _nouveau(part, lines, events)
    return part if part.facts or part.driver else None


def _nouveau(part: Part, lines: Lines, events: list[dict[str, Any]]) -> None:
    """nouveau speaks of the device and NVIDIA's module never came, or NVIDIA's module says who was first."""
    names = {event["event"] for event in events}
    first = "probe_not_called" in names and "nouveau" in lines.lower
    if first or ("nouveau_bound" in names and "module_loaded" not in names):
        part.driver["state"] = "nouveau"


def _xid(text: str) -> dict[str, Any] | None:
    if "id" not in text:
        return None
    if full := _XID.search(text):
        pci, number, pid, name, rest = full.groups()
        found: dict[str, Any] = {"xid": int(number), "pci": pci}
        found["pid"] = int(pid) if pid and pid.isdigit() else None
        found["process"] = name if name and not name.startswith("<") else None
        found["text"] = rest.strip(" ,")
        return found
    loose = _XID_LOOSE.search(text)
    return {"xid": int(loose.group(1)), "pci": None} if loose else None


def _module(part: Part, events: list[dict[str, Any]], module: re.Match[str], number: int) -> None:
    """The last module that was loaded is the one that runs."""
    flavour = "open" if module.group(1) else "proprietary"
    part.driver.update(version=module.group(3), module=flavour)
    events.append({"event": "module_loaded", "version": module.group(3), "module": flavour, "line": number})


def _event(part: Part, events: list[dict[str, Any]], known: list[tuple[str, str]], text: str, number: int) -> None:
    lowered = text.lower()
    if "API mismatch" in text and (client := _CLIENT.search(text)):
        part.facts.setdefault("api_mismatch", {})["client"] = client.group(1)
        part.driver["state"] = "mismatch"
    if "this kernel module" in text and (has := _KERNEL_HAS.search(text)):
        part.facts.setdefault("api_mismatch", {})["module"] = has.group(1)
    if "could not insert" in text and (refused := _REFUSED.search(text)):
        events.append(
            {"event": "module_refused", "module": refused.group(1), "reason": refused.group(2), "line": number}
        )
        return
    for words, name in known:
        if words in lowered:
            event: dict[str, Any] = {"event": name, "line": number}
            if bound := _OTHER_DRIVER.search(text):
                event["driver"] = bound.group(2)
            if at := _GPU_AT.search(text):
                event["bus_id"] = bus_id(at.group(1) if "." in at.group(1) else f"{at.group(1)}.0")
            events.append(event)
            return
