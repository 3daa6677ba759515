"""``lspci`` with any of ``-n -nn -k -v -vv``, piped through grep or not; and ``lshw -C display``, ``inxi -G``.

::

    01:00.0 VGA compatible controller [0300]: NVIDIA Corporation GA102 [GeForce RTX 3080] [10de:2206] (rev a1)
            Subsystem: ZOTAC International (MCO) Ltd. GA102 [GeForce RTX 3080] [19da:1612]
            Kernel driver in use: nvidia
            Kernel modules: nvidiafb, nouveau, nvidia_drm, nvidia
    0005:00:00.0 Bridge [0680]: NVIDIA Corporation Device [10de:1af1] (rev a1)
    01:00.0 0300: 10de:2204 (rev a1)

``rev ff`` is what a device reads as that no longer answers.
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import GpuRow, Part
from .values import bus_id

MAX_DEVICES = 500
_DEVICE = re.compile(
    r"[ \t]{0,12}((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]) ([A-Z3][^:\[]{2,50}?)(?: \["
    r"([0-9a-f]{4})\])?: (.{2,300})$"
)
_NUMERIC = re.compile(
    r"[ \t]{0,12}((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]) (?:\"?)([0-9a-f]{4})(?:\"?): "
    r"([0-9a-f]{4}:[0-9a-f]{4})(.{0,60})$"
)
_IDS = re.compile(r"\[([0-9a-f]{4}:[0-9a-f]{4})\]")
_REV = re.compile(r"\(rev ([0-9a-f]{2})\)")
_TAIL = re.compile(r"\s*(?:\[[0-9a-f]{4}:[0-9a-f]{4}\]|\(rev [0-9a-f]{2}\)|\(prog-if .{1,40}\))")
_MARKETING = re.compile(r"\[([^\[\]]{2,80})\]")
_DETAIL = re.compile(
    r"[ \t]*(Subsystem|Kernel driver in use|Kernel modules|DeviceName|Flags|Physical Slot|NUMA node|Control|Status"
    r"|Latency|Interrupt|IOMMU group|LnkSta|LnkCap|Capabilities|Region \d|Memory at|I/O ports at|Expansion ROM at"
    r"|!!! Unknown header type 7f)(.{0,300})"
)
_MORE = re.compile(r"[ \t]+(?:\S.{0,300})$")
_LINK = re.compile(r"Speed (\d{1,3}(?:\.\d)?)GT/s.{0,24}?Width x(\d{1,2})")
_INXI = re.compile(
    r"(?:Device-\d{1,2}|Card-?\d{0,2}): ?(NVIDIA .{2,60}?) (?:vendor: .{1,60}? )?driver: (\S{2,20})(?: v: (\S{3,20}))?"
)
_LSHW_DRIVER = re.compile(r"[ \t]*configuration: .{0,80}?driver=(\w{2,20})")
_LSHW = re.compile(r"[ \t]*(product|vendor|bus info): (.{2,160})$")


def parse(lines: Lines) -> Part | None:
    part = Part("lspci")
    devices: list[dict[str, Any]] = []
    current: dict[str, Any] | None = None
    for position, line in lines:
        text = line.text
        device = _device(text)
        if device:
            current = device
            if len(devices) < MAX_DEVICES:
                devices.append(device)
            part.take(position, "")
        elif current is not None and text:
            detail = _DETAIL.match(text)
            if detail:
                _detail(current, detail.group(1), detail.group(0).strip())
                part.take(position, "")
            elif not (_MORE.match(text) and position - 1 in part.taken and "verbose" in current):
                current = None
            else:
                part.take(position, "")
    _lshw(lines, devices, part)
    if not devices:
        return _inxi(lines, part)
    for device in devices:
        device.pop("verbose", None)
    part.facts["lspci"] = devices
    part.os["platform"] = "linux"
    part.gpus = [_gpu(i, d) for i, d in enumerate(d for d in devices if d["vendor"] == "nvidia" and d["gpu"])]
    drivers = {d["driver_in_use"] for d in devices if d["vendor"] == "nvidia" and d["gpu"]}
    if "nouveau" in drivers and "nvidia" not in drivers:
        part.driver["state"] = "nouveau"
    return part


def _device(text: str) -> dict[str, Any] | None:
    if not text[:13].strip()[:1].isalnum() or ":" not in text[:20]:
        return None
    found = _DEVICE.match(text)
    if found:
        slot, kind, code, rest = found.groups()
    elif numeric := _NUMERIC.match(text):
        slot, code, ids, more = numeric.groups()
        kind, rest = {"0300": "VGA compatible controller", "0302": "3D controller"}.get(code, code), f"[{ids}]{more}"
    else:
        return None
    all_ids = _IDS.findall(rest)
    revision = _REV.search(rest)
    name = _TAIL.sub("", rest).strip()
    vendor = _vendor(name, all_ids[-1] if all_ids else "")
    graphic = code in ("0300", "0302", "0380") or kind.strip() in (
        "VGA compatible controller",
        "3D controller",
        "Display controller",
    )
    return {
        "slot": slot,
        "class": kind.strip(),
        "name": re.sub(r"^(?:NVIDIA Corporation|nVidia Corporation)\s+", "", name),
        "vendor": vendor,
        "gpu": graphic,
        "ids": all_ids[-1] if all_ids else None,
        "rev": revision.group(1) if revision else None,
        "driver_in_use": None,
        "modules": [],
    }


def _vendor(name: str, ids: str) -> str | None:
    known = {"10de": "nvidia", "1002": "amd", "8086": "intel", "1022": "amd"}
    lowered = name.lower()
    if ids:
        return known.get(ids[:4])
    return next(
        (
            v
            for v, w in (("nvidia", "nvidia"), ("amd", "advanced micro"), ("amd", "amd/ati"), ("intel", "intel"))
            if w in lowered
        ),
        None,
    )


def _detail(device: dict[str, Any], key: str, text: str) -> None:
    value = text.partition(":")[2].strip()
    if key == "Kernel driver in use":
        device["driver_in_use"] = value or None
    elif key == "Kernel modules":
        device["modules"] = [name for name in re.split(r"[,\s]+", value) if name][:20]
    elif key == "Subsystem" and (ids := _IDS.search(text)):
        device["subsystem"] = ids.group(1)
    elif key == "LnkSta" and (link := _LINK.search(text)):
        device["link"] = {
            "speed_gts": float(link.group(1)),
            "width": int(link.group(2)),
            "downgraded": "downgraded" in text,
        }
    elif "unassigned" in text or "<ignored>" in text:
        device["unassigned_bars"] = device.get("unassigned_bars", 0) + 1
    if key not in ("Kernel driver in use", "Kernel modules", "Subsystem", "DeviceName"):
        device["verbose"] = True
    if key.startswith("!!! Unknown"):
        device["unresponsive"] = True


def _gpu(index: int, device: dict[str, Any]) -> GpuRow:
    title = _MARKETING.search(device["name"])
    fields = {
        "name": title.group(1) if title else None,
        "pci_id": device["ids"],
        "bus_id": bus_id(device["slot"]),
        "subsystem_id": device.get("subsystem"),
        "driver_bound": device["driver_in_use"],
    }
    row = GpuRow(index, {k: v for k, v in fields.items() if v})
    if device["rev"] == "ff" or device.get("unresponsive"):
        row.fields["errors"] = ("rev ff: the device does not answer (powered off or off the bus)",)
    return row


def _lshw(lines: Lines, devices: list[dict[str, Any]], part: Part) -> None:
    if "*-display" not in lines.text:
        return
    current: dict[str, Any] | None = None
    for position, line in lines:
        if "*-" in line.text[:16]:
            current = None
            if "*-display" in line.text:
                current = {"slot": None, "class": "display", "name": "", "vendor": None, "gpu": True, "ids": None,
                           "rev": None, "driver_in_use": None, "modules": [],
                           "unclaimed": "UNCLAIMED" in line.text}  # fmt: skip
                devices.append(current)
                part.take(position, "")
        elif current is not None:
            if pair := _LSHW.match(line.text):
                key = {"product": "name", "vendor": "vendor", "bus info": "slot"}[pair.group(1)]
                value = pair.group(2).strip()
                current[key] = _vendor(value, "") if key == "vendor" else value.removeprefix("pci@")
                part.take(position, "")
            elif driver := _LSHW_DRIVER.match(line.text):
                current["driver_in_use"] = driver.group(1)
                part.take(position, "")


def _inxi(lines: Lines, part: Part) -> Part | None:
    if "Device-" not in lines.text and "Card" not in lines.text:
        return None
    for _, line in lines:
        if found := _INXI.search(line.text):
            name, driver, version = found.groups()
            part.gpus.append(
                GpuRow(len(part.gpus), {"name": name, "driver_bound": None if driver == "N/A" else driver})
            )
            if driver == "nvidia" and version and version[:1].isdigit():
                part.driver.setdefault("version", version)
            elif driver == "nouveau":
                part.driver["state"] = "nouveau"
    return part if part.gpus else None
