"""The kernel's side of the driver: modules, its log, Secure Boot, DKMS, the fabric manager, driver packages."""

from __future__ import annotations

import re
from typing import Any

from ...host import Host
from ...model import OS, Machine

TIMEOUT = 4.0  # seconds
MODULES = ("nvidia", "nouveau", "nova", "amdgpu", "radeon", "i915", "xe", "vfio_pci", "nvgpu", "nvmap", "tegra")
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DEBIAN_DRIVER = ("nvidia-driver-[0-9]*.list", "nvidia-driver*.list", "libnvidia-compute-*.list", "libcuda1*.list")
LOG_LABEL = ("envcheck.kernel-log",)
DENIED = re.compile(r"Operation not permitted|Permission denied|not seeing messages from other users", re.IGNORECASE)
TROUBLE = ("missing", "not-loaded", "broken", "mismatch", "nouveau")

# only the lines that a check can use, so that a record holds nothing else of the log
_WORDS = (
    "nvrm|nvidia|nouveau|nova_core|xid|pcieport|secure ?boot|locked down|lockdown|required key|unsigned module"
    "|out of memory: kill|suspend exit|not permitted|permission denied|not seeing messages"
)
_LOG = f"""
(dmesg || journalctl -k -b -q --no-pager) 2>&1 | grep -aiE '{_WORDS}' | tail -n 400
echo envcheck-done
"""


def modules_and_firmware(host: Host, os: OS) -> dict[str, Any]:
    """``modules``, ``mokutil``, ``kernel_headers``, ``driver_origin`` and ``uvm``."""
    facts: dict[str, Any] = {}
    text = host.read_text("/proc/modules")
    if text is not None:
        names = [line.split(" ", 1)[0] for line in text.splitlines()]
        facts["modules"] = [n for n in names if n.startswith(MODULES)]
    facts["uvm"] = {
        "node": host.exists("/dev/nvidia-uvm"),
        # CUDA calls this helper (set-uid) for a module that is not loaded yet
        "loadable": any(map(host.exists, ("/usr/bin/nvidia-modprobe", "/usr/sbin/nvidia-modprobe"))),
    }
    if os.container or os.wsl:
        return facts
    facts["driver_origin"] = _origin(host, os)
    data = host.read_bytes(SECURE_BOOT)
    if data is not None and len(data) > 4:
        facts["mokutil"] = {"secure_boot": data[4] == 1}  # four bytes of attributes, then the value
    elif host.exists("/sys/firmware") and not host.exists("/sys/firmware/efi"):
        facts["mokutil"] = {"secure_boot": False}  # started by a BIOS: there is none
    if os.kernel:
        facts["kernel_headers"] = host.exists(f"/lib/modules/{os.kernel}/build")
    return facts


def _origin(host: Host, os: OS) -> dict[str, Any]:
    """Who put the driver's files here: NVIDIA's .run file leaves its own uninstaller, dpkg a list of files each.

    ``packages`` is None where the package manager would have to be asked, which takes too long to do always.
    """
    run_file = host.exists("/usr/bin/nvidia-uninstall") or host.exists("/usr/local/bin/nvidia-uninstall")
    names = host.listdir("/var/lib/dpkg/info", DEBIAN_DRIVER) if os.family == "debian" else None
    listed = None if names is None else sorted({n.removesuffix(".list").partition(":")[0] for n in names})
    return {"run_file": run_file, "packages": listed}


def gather(host: Host, machine: Machine) -> dict[str, Any]:
    """``xid``, ``kernel_events``, ``unseen``; of a driver in trouble ``modinfo``, ``dkms``, ``os_packages`` too."""
    facts: dict[str, Any] = {}
    nvidia = bool(machine.gpus) or machine.driver.state not in ("missing", None)
    if nvidia and not machine.os.container and not machine.os.wsl:
        facts.update(_log(host))
        facts.update(_fabric(host, machine))
        if machine.driver.state in TROUBLE:
            facts.update(_modinfo(host))
            facts.update(_dkms(host))
    if machine.os.wsl or (nvidia and machine.driver.state in TROUBLE):
        facts.update(_packages(host, machine.os))
    return facts


def _log(host: Host) -> dict[str, Any]:
    result = host.run(["/bin/sh", "-c", _LOG], TIMEOUT, label=LOG_LABEL)
    if "envcheck-done" not in result.stdout:
        return {"unseen": {"kernel log": "it could not be read in time"}}
    return parse_log(result.stdout.replace("envcheck-done", ""))


def parse_log(text: str) -> dict[str, Any]:
    """Xids and events since boot; the parser of pasted kernel logs reads them."""
    from ..pasted import kernel_log
    from ..pasted.lines import read

    part = kernel_log.parse(read(text)) if text.strip() else None
    found = {k: part.facts.get(k, []) for k in ("xid", "kernel_events")} if part else {"xid": [], "kernel_events": []}
    if DENIED.search(text) and not found["xid"] and not found["kernel_events"]:
        why = "only root may read it here: `sudo dmesg | grep -iE 'nvrm|xid'` would show Xid errors and refused modules"
        return {"unseen": {"kernel log": why}}
    return found


def _fabric(host: Host, machine: Machine) -> dict[str, Any]:
    pci = machine.facts.get("pci")
    if not isinstance(pci, dict) or not pci.get("nvswitches") or host.which("systemctl") is None:
        return {}
    result = host.run(["systemctl", "is-active", "nvidia-fabricmanager"], TIMEOUT)
    word = result.stdout.strip()
    if result.rc is None or not word:
        return {}
    return {"fabric_manager": {"active": word == "active", "state": word[:40], "version": _fabric_version(host)}}


def _fabric_version(host: Host) -> str | None:
    path = host.which("nv-fabricmanager")
    if path is None:
        return None
    result = host.run([path, "--version"], TIMEOUT, label=("nv-fabricmanager", "--version"))
    match = re.search(r"\b(\d{3,4}\.\d{1,3}(?:\.\d{1,3})?)\b", result.stdout)
    return match[1] if match else None


def _modinfo(host: Host) -> dict[str, Any]:
    path = host.which("modinfo") or next((p for p in ("/usr/sbin/modinfo", "/sbin/modinfo") if host.exists(p)), None)
    if path is None:
        return {}
    result = host.run([path, "nvidia"], TIMEOUT, label=("modinfo", "nvidia"))
    return {"modinfo": parse_modinfo(result.stdout + result.stderr)} if result.rc is not None else {}


def parse_modinfo(text: str) -> dict[str, Any]:
    """``license``, ``signer``, ``version``, ``kernel`` of the module that modprobe would load; ``error`` for none.

    ::

        filename:       /lib/modules/5.15.0-91-generic/updates/dkms/nvidia.ko
        license:        NVIDIA                       ("Dual MIT/GPL" is the open module)
        signer:         workstation Secure Boot Module Signature key
        vermagic:       5.15.0-91-generic SMP mod_unload modversions
    """
    found: dict[str, Any] = {}
    for key, value in re.findall(r"^(filename|version|license|signer|vermagic):\s+(\S.*)$", text, re.MULTILINE):
        found.setdefault(key, value.strip()[:200])
    if not found:
        return {"error": "module nvidia not found"}
    found["kernel"] = found.get("vermagic", "").partition(" ")[0] or None
    found.setdefault("signer", None)
    return found


def _dkms(host: Host) -> dict[str, Any]:
    path = host.which("dkms") or ("/usr/sbin/dkms" if host.exists("/usr/sbin/dkms") else None)
    if path is None:
        return {}
    result = host.run([path, "status"], TIMEOUT, label=("dkms", "status"))
    return {"dkms": parse_dkms(result.stdout)}


def parse_dkms(text: str) -> list[dict[str, str]]:
    """``nvidia/535.129.03, 5.15.0-91-generic, x86_64: installed``; older ones write ``nvidia, 535.129.03, ...``."""
    found = []
    for line in text.splitlines():
        match = re.match(
            r"(nvidia[\w-]{0,20})(?:/|, )([\w.~-]{3,40})(?:, ([\w.+-]{3,60}), (\w{3,10}))?: ([^(]{2,60})", line
        )
        if match:
            keys = ("module", "version", "kernel", "arch", "state")
            found.append({k: x.strip() for k, x in zip(keys, match.groups(), strict=True) if x})
    return found


def _packages(host: Host, os: OS) -> dict[str, Any]:
    """Installed packages of the driver, with the distribution's own tool."""
    if os.family == "debian" and host.which("dpkg-query"):
        wanted = ("libnvidia-*", "nvidia-*", "cuda-drivers*", "linux-modules-nvidia-*")
        argv = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\\n", *wanted]
        text = host.run(argv, TIMEOUT, label=("dpkg-query", "nvidia")).stdout
        rows = re.findall(r"^ii  ?([\w.+-]{3,80}) (\S{1,80})$", text, re.MULTILINE)
    elif os.family in ("rhel", "fedora", "suse", "amazon", "azurelinux") and host.which("rpm"):
        argv = ["rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\\n", "*nvidia*", "cuda-drivers*"]
        text = host.run(argv, TIMEOUT, label=("rpm", "nvidia")).stdout
        rows = re.findall(r"^([\w.+-]{3,80}) (\S{1,80})$", text, re.MULTILINE)
    else:
        return {}
    return {"os_packages": dict(sorted(rows))}
