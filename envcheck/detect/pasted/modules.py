"""Kernel modules and Secure Boot: ``modinfo``, ``lsmod``, ``dkms status``, ``mokutil``, ``dpkg -l`` of driver packages.

::

    SecureBoot enabled
    Platform is in Setup Mode

    filename:       /lib/modules/5.15.0-91-generic/updates/dkms/nvidia.ko
    version:        535.129.03
    license:        NVIDIA                       ("Dual MIT/GPL" is the open module)
    vermagic:       5.15.0-91-generic SMP mod_unload modversions

    nvidia/535.129.03, 5.15.0-91-generic, x86_64: installed
    nvidia_uvm           1540096  0
    ii  nvidia-driver-535   535.129.03-0ubuntu0.22.04.1   amd64   NVIDIA driver metapackage
"""

from __future__ import annotations

import re
from typing import Any

from .lines import Lines
from .part import Part
from .values import driver_version

_SECURE = re.compile(r"[ \t]*Secure ?Boot:?(?: is)?[ :]{1,20}(enabled|disabled|on|off)\b", re.IGNORECASE)
_SETUP = re.compile(r"Platform is in Setup Mode", re.IGNORECASE)
_NO_EFI = re.compile(
    r"EFI variables are not supported on this system|mokutil: command not found|mokutil:? not found", re.IGNORECASE
)
_MODINFO = re.compile(
    r"[ \t]*(filename|version|license|signer|sig_id|vermagic|srcversion|firmware|alias|depends|retpoline|name"
    r"|sig_key|sig_hashalgo|supported):[ \t]{1,20}(\S.{0,300})$"
)
_MODINFO_MISSING = re.compile(r"modinfo: ERROR: Module (\w{1,24}) not found")
_DKMS = re.compile(
    r"[ \t]*(nvidia[\w-]{0,24})(?:/|, )(\d{2,4}\.\d{1,4}(?:\.\d{1,4})?)(?:, ([\w.+~-]{4,80}), (\w{2,10}))?: "
    r"(\w{2,12}.{0,80})$"
)
_LSMOD = re.compile(
    r"[ \t]*((?:nvidia|nouveau|nova|i2c_nvidia|amdgpu|vfio)\w{0,20})[ \t]{1,30}(\d{3,10})[ \t]{1,10}(-?\d{1,6})"
    r"(?:[ \t].{0,120})?$"
)
_WORDS = ("nvidia", "nouveau", "cuda", "nova", "amdgpu", "vfio")
_NVREG = re.compile(r"(NVreg_\w{2,60})=(\w{1,40})")
_DPKG = re.compile(
    r"[ \t]*(ii|rc|iU|iF|hi|pi|un)[ \t]{1,8}((?:lib)?(?:nvidia|cuda|xserver-xorg-video-nvidia|cudnn)[\w.+-]{0,60})"
    r"(?::\w{2,8})?[ \t]{1,60}(\S{3,80})"
)
_RPM = re.compile(
    r"[ \t]*((?:kmod-|akmod-|xorg-x11-drv-)?nvidia[\w-]{0,40}|cuda-drivers\w{0,10})-(?:\d:)?(\d{3}\.\d{1,4}"
    r"(?:\.\d{1,4})?)-\S{1,60}$"
)


def parse(lines: Lines) -> Part | None:
    part = Part("modules")
    if lines.has("secureboot", "secure boot", "mokutil", "efi variables", "setup mode"):
        _mokutil(lines, part)
    if lines.has("vermagic", "modinfo", "filename:"):
        _modinfo(lines, part)
    rows: dict[str, list[Any]] = {"dkms": [], "lsmod": [], "system_packages": []}
    words = [word for word in _WORDS if word in lines.text]
    for position, line in lines if words else ():
        if any(word in line.text for word in words) and _row(rows, line.text):
            part.take(position, "")
    _options(lines, part)
    part.facts.update({name: entries[:300] for name, entries in rows.items() if entries})
    _judge(part, rows)
    return part if part.taken or part.facts else None


def _row(rows: dict[str, list[Any]], text: str) -> bool:
    if dkms := _DKMS.match(text):
        module, version, kernel, arch, state = dkms.groups()
        rows["dkms"].append(
            {"module": module, "version": version, "kernel": kernel, "arch": arch, "state": state.strip()}
        )
    elif lsmod := _LSMOD.match(text):
        if lsmod.group(1) not in rows["lsmod"]:
            rows["lsmod"].append(lsmod.group(1))
    elif dpkg := _DPKG.match(text):
        rows["system_packages"].append({"name": dpkg.group(2), "version": dpkg.group(3), "state": dpkg.group(1)})
    elif rpm := _RPM.match(text):
        rows["system_packages"].append({"name": rpm.group(1), "version": rpm.group(2), "state": "ii"})
    else:
        return False
    return True


def _options(lines: Lines, part: Part) -> None:
    """``options nvidia NVreg_DeviceFileMode=0660`` of /etc/modprobe.d."""
    if "NVreg_" in lines.text:
        found = {name: value for _, line in lines for name, value in _NVREG.findall(line.text)}
        part.facts["module_options"] = dict(list(found.items())[:40])


def _judge(part: Part, rows: dict[str, list[Any]]) -> None:
    """nouveau's module alone in lsmod has the GPU; a driver package tells the version that was installed."""
    modules = rows["lsmod"]
    if "nouveau" in modules and not any(name.startswith("nvidia") for name in modules):
        part.driver["state"] = "nouveau"
    if modules:
        part.os["platform"] = "linux"
    for entry in rows["system_packages"]:
        if (
            re.match(r"nvidia-(?:driver|dkms)|kmod-nvidia|akmod-nvidia|xorg-x11-drv-nvidia$", entry["name"])
            and entry["state"] == "ii"
        ):
            part.driver.setdefault("version", driver_version(entry["version"]))
    for entry in rows["dkms"]:
        part.driver.setdefault("version", entry["version"])


def _mokutil(lines: Lines, part: Part) -> None:
    facts: dict[str, Any] = {}
    for position, line in lines.at("secure", "setup mode", "efi variables", "mokutil"):
        text = line.text
        if secure := _SECURE.match(text):
            facts.setdefault("secure_boot", secure.group(1).lower() in ("enabled", "on"))
            part.taken.add(position)
            part.kept.add(position)
        elif _SETUP.search(text):
            facts["setup_mode"] = True
            part.take(position, "")
        elif _NO_EFI.search(text):
            facts["error"] = "not found" if "not found" in text else "no EFI"
    if facts:
        part.facts["mokutil"] = {"secure_boot": None, **facts}


def _modinfo(lines: Lines, part: Part) -> None:
    facts: dict[str, Any] = {}
    for position, line in lines:
        text = line.text
        if ":" not in text:
            continue
        pair = _MODINFO.match(text)
        if pair and (facts or pair.group(1) == "filename"):
            key, value = pair.group(1), pair.group(2).strip()
            if key == "filename" and "nvidia" not in value:
                continue
            if key in ("filename", "version", "license", "signer", "vermagic"):
                facts.setdefault(key, value)
            part.take(position, "")
        elif missing := _MODINFO_MISSING.search(text):
            facts["error"] = f"module {missing.group(1)} not found"
    if not facts:
        return
    if vermagic := facts.get("vermagic"):
        facts["kernel"] = vermagic.split()[0]
    if license := facts.get("license"):
        part.driver["module"] = "open" if "MIT" in license else "proprietary" if "NVIDIA" in license else None
    if version := driver_version(facts.get("version")):
        part.driver["version"] = version
    part.facts["modinfo"] = facts
