"""NVIDIA devices on the bus, with or without a driver: sysfs on Linux, CIM on Windows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..host import Host
from ..record import dataclass

DEVICES = "/sys/bus/pci/devices"
NVIDIA = "0x10de"
GPU_CLASSES = ("0x0300", "0x0302")  # VGA and 3D controller; audio, USB-C and NVSwitch (0x0680) are no GPUs
NVSWITCH_CLASS = "0x0680"

_CIM = "Get-CimInstance Win32_VideoController | Select-Object Name,PNPDeviceID,DriverVersion | ConvertTo-Json -Compress"
CIM_LABEL = ("powershell", "Win32_VideoController")


@dataclass(frozen=True, kw_only=True)
class PciGpu:
    bus_id: str | None  # "0000:01:00.0"
    pci_id: str  # "10de:2684"
    subsystem_id: str | None = None
    driver: str | None = None  # nvidia, nouveau, vfio-pci; None for none
    name: str | None = None  # Windows tells it
    driver_version: str | None = None  # Windows tells it


@dataclass(frozen=True, kw_only=True)
class Bus:
    """``readable`` False: nothing could be looked at, which is not the same as finding nothing."""

    readable: bool
    gpus: tuple[PciGpu, ...] = ()
    nvswitches: int = 0
    problem: str | None = None


def parse_hex_id(text: str | None) -> str | None:
    """``"2684"`` of sysfs' ``0x2684\\n``; None for anything else."""
    match = re.fullmatch(r"0x([0-9a-f]{4})", (text or "").strip().lower())
    return match[1] if match else None


def read_sysfs(host: Host) -> Bus:
    """Every NVIDIA GPU in ``/sys/bus/pci/devices``, in bus order (which is CUDA's with PCI_BUS_ID)."""
    names = host.listdir(DEVICES)
    if names is None:
        return Bus(readable=False, problem=f"{DEVICES} cannot be read")
    gpus, switches = [], 0
    for name in names:
        base = f"{DEVICES}/{name}"
        if (host.read_text(f"{base}/vendor") or "").strip() != NVIDIA:
            continue
        kind = (host.read_text(f"{base}/class") or "").strip()[:6]
        device = parse_hex_id(host.read_text(f"{base}/device"))
        if kind == NVSWITCH_CLASS:
            switches += 1
        if kind not in GPU_CLASSES or device is None:
            continue
        driver = (host.readlink(f"{base}/driver") or "").rpartition("/")[2] or None
        gpus.append(PciGpu(bus_id=name, pci_id=f"10de:{device}", subsystem_id=_subsystem(host, base), driver=driver))
    return Bus(readable=True, gpus=tuple(gpus), nvswitches=switches)


def _subsystem(host: Host, base: str) -> str | None:
    vendor = parse_hex_id(host.read_text(f"{base}/subsystem_vendor"))
    device = parse_hex_id(host.read_text(f"{base}/subsystem_device"))
    return f"{vendor}:{device}" if vendor and device and vendor != "0000" else None


def read_windows(host: Host) -> Bus:
    """Video controllers by PowerShell; slow (0.5 to 2 s), so asked only where NVML did not answer."""
    argv = ["powershell", "-NoProfile", "-NonInteractive", "-Command", _CIM]
    result = host.run(argv, 15.0, label=CIM_LABEL)
    if result.rc != 0:
        why = "did not answer in 15 s" if result.timed_out else (result.stderr.strip()[:120] or "failed")
        return Bus(readable=False, problem=f"PowerShell, asked for the video controllers, {why}")
    return Bus(readable=True, gpus=parse_video_controllers(result.stdout))


def parse_video_controllers(text: str) -> tuple[PciGpu, ...]:
    r"""NVIDIA's of ``Win32_VideoController`` as JSON: a list, or one object where there is one controller.

    ::

        [{"Name":"NVIDIA GeForce RTX 4080 SUPER",
          "PNPDeviceID":"PCI\\VEN_10DE&DEV_2702&SUBSYS_16E51043&REV_A1\\4&1C3D25BB&0&0019",
          "DriverVersion":"32.0.15.6094"},
         {"Name":"Microsoft Basic Display Adapter","PNPDeviceID":"ROOT\\BASICDISPLAY\\0000","DriverVersion":null}]
    """
    try:
        data: Any = json.loads(text.strip().lstrip("\ufeff") or "[]")
    except (ValueError, RecursionError):
        return ()
    entries = data if isinstance(data, list) else [data]
    found = [_controller(entry) for entry in entries if isinstance(entry, Mapping)]
    return tuple(gpu for gpu in found if gpu)


def _controller(entry: Mapping[str, Any]) -> PciGpu | None:
    match = re.search(
        r"VEN_10DE&DEV_([0-9A-F]{4})(?:&SUBSYS_([0-9A-F]{4})([0-9A-F]{4}))?", str(entry.get("PNPDeviceID"))
    )
    if not match:
        return None
    subsystem = f"{match[3]}:{match[2]}".lower() if match[2] else None
    name, version = entry.get("Name"), entry.get("DriverVersion")
    return PciGpu(
        bus_id=None,
        pci_id=f"10de:{match[1].lower()}",
        subsystem_id=subsystem,
        # without NVIDIA's driver Windows calls every card "Microsoft Basic Display Adapter"
        name=name if isinstance(name, str) and "microsoft" not in name.lower() else None,
        driver_version=nvidia_windows_version(version) if isinstance(version, str) else None,
    )


def nvidia_windows_version(text: str) -> str | None:
    """NVIDIA's number in Windows' own: ``32.0.15.6094`` is 560.94 (its last five digits)."""
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{4}", text):
        return None
    digits = text.replace(".", "")[-5:]
    return f"{digits[:3]}.{digits[3:]}"
