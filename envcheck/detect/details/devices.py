"""Device nodes, the GPUs of other makers, windows and bridges on the PCI bus."""

from __future__ import annotations

import re
from typing import Any

from ...host import Host
from ...model import Machine
from ..pci import DEVICES

TIMEOUT = 3.0  # seconds
LABEL = ("envcheck.look",)
DISPLAY_CLASSES = ("0x0300", "0x0302", "0x0380")
MAKERS = {"0x1002": "AMD", "0x8086": "Intel"}
IORESOURCE_MEM = 0x200  # linux/ioport.h
IORESOURCE_UNSET = 0x20000000

# One shell for all that no file tells, or one that is too long or tells too much to be kept in a record: whether this
# user may use a node, the CPU's flags (a block for each core), the mount of /dev/shm (among all others). Of the nodes
# only nvidiactl is opened: opening a GPU's own node would wake the GPU up.
SCRIPT = r"""
grep -m1 -a '^flags' /proc/cpuinfo
grep -a ' /dev/shm ' /proc/mounts
ls -l /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/nvidia-modeset /dev/dxg 2>/dev/null
for node in /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm /dev/dxg; do
  if [ -c "$node" ]; then
    if [ -r "$node" ] && [ -w "$node" ]; then echo "access yes $node"; else echo "access no $node"; fi
  fi
done
if [ -c /dev/nvidiactl ] && [ -r /dev/nvidiactl ] && [ -w /dev/nvidiactl ]; then
  if (exec 3<>/dev/nvidiactl) 2>/dev/null; then echo "open yes /dev/nvidiactl"; else echo "open no /dev/nvidiactl"; fi
fi
echo "uid $(id -u)"
echo done
df -Pk /dev/shm /tmp 2>/dev/null
"""
_NODE = re.compile(r"c([rwxsStT-]{9})[+.@]? +\d+ +(\S+) +(\S+) +(\d+, *\d+) .*?(/dev/\S+)$")


def look(host: Host) -> dict[str, Any]:
    """``device_nodes``, ``root``, ``cpu_flags``, ``shm_mount`` and ``disk``; {} without a shell."""
    result = host.run(["/bin/sh", "-c", SCRIPT], TIMEOUT, label=LABEL)
    return parse_look(result.stdout) if "done" in result.stdout.split() else {}


def parse_look(text: str) -> dict[str, Any]:
    """::

    flags : fpu vme de pse tsc msr avx avx2
    shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k,inode64 0 0
    crw-rw---- 1 root video 195, 0 Oct  6 17:59 /dev/nvidia0
    access no /dev/nvidia0
    open yes /dev/nvidiactl
    uid 1000
    done
    Filesystem     1024-blocks  Used Available Capacity Mounted on
    shm                  65536     0     65536       0% /dev/shm
    """
    nodes: dict[str, dict[str, Any]] = {}
    facts: dict[str, Any] = {}
    for line in text.splitlines():
        node = _NODE.match(line)
        words = line.split()
        if node:
            mode, owner, group, device, path = node.groups()
            nodes[path] = {"path": path, "mode": "c" + mode, "owner": owner, "group": group, "device": device}
        elif words[1:2] == ["/dev/shm"]:
            facts["shm_mount"] = line
        elif len(words) == 6 and words[4].endswith("%") and words[1].isdigit() and words[3].isdigit():
            size = {"total_mib": int(words[1]) >> 10, "free_mib": int(words[3]) >> 10}
            facts.setdefault("disk", {})[words[5]] = size
        elif line.startswith("flags"):
            facts["cpu_flags"] = line.partition(":")[2].split()
        elif len(words) == 3 and words[0] in ("access", "open"):
            key = "accessible" if words[0] == "access" else "opens"
            nodes.setdefault(words[2], {"path": words[2]})[key] = words[1] == "yes"
        elif len(words) == 2 and words[0] == "uid" and words[1].isdigit():
            facts["root"] = int(words[1]) == 0
    facts["device_nodes"] = list(nodes.values())
    return facts


def on_the_bus(host: Host, machine: Machine) -> dict[str, Any]:
    """``other_gpus``, ``unassigned_bars``, and ``acs_bridges`` where there are several GPUs."""
    names = host.listdir(DEVICES)
    if names is None:
        return {}
    facts: dict[str, Any] = {"other_gpus": _others(host, names), "unassigned_bars": _unassigned(host, machine)}
    if len(machine.gpus) > 1 and not machine.os.container and not machine.os.wsl:
        bridges = _acs(host, machine)
        if bridges is not None:
            facts["acs_bridges"] = bridges
        elif host.which("lspci"):
            facts["hidden_acs"] = "`sudo lspci -vvv` would show whether ACS redirects traffic between the GPUs"
    return facts


def _others(host: Host, names: tuple[str, ...]) -> list[str]:
    found = []
    for name in names:
        base = f"{DEVICES}/{name}"
        maker = MAKERS.get((host.read_text(f"{base}/vendor") or "").strip())
        if maker and (host.read_text(f"{base}/class") or "").strip()[:6] in DISPLAY_CLASSES:
            device = (host.read_text(f"{base}/device") or "").strip().removeprefix("0x")
            found.append(f"{maker} GPU {device}".rstrip())
    return found


def _unassigned(host: Host, machine: Machine) -> list[str]:
    """``BAR 1 of 0000:01:00.0``: memory windows of the GPUs that have no address."""
    found = []
    for gpu in machine.gpus:
        if gpu.bus_id:
            text = host.read_text(f"{DEVICES}/{gpu.bus_id}/resource") or ""
            found += [f"BAR {bar} of {gpu.bus_id}" for bar in parse_resource(text)]
    return found


def parse_resource(text: str) -> list[int]:
    """Memory BARs without an address, of a device's ``resource``: start, end, flags of each region::

    0x00000000f6000000 0x00000000f6ffffff 0x0000000000040200
    0x0000000000000000 0x00000007ffffffff 0x000000002014220c
    0x0000000000000000 0x0000000000000000 0x0000000000000000
    """
    found = []
    for bar, line in enumerate(text.splitlines()[:6]):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags & IORESOURCE_MEM and (flags & IORESOURCE_UNSET or (start == 0 and end > 0)):
            found.append(bar)
    return found


def _acs(host: Host, machine: Machine) -> list[str] | None:
    """Bridges above a GPU with ACS redirection; None where lspci is not there or may not see it (not root)."""
    lspci = host.which("lspci")
    if lspci is None:
        return None
    script = '"$1" -D -vvv 2>/dev/null | grep -aE "^[0-9a-f]{4}:|ACSCtl|access denied"'
    result = host.run(["/bin/sh", "-c", script, "sh", lspci], TIMEOUT, label=("lspci", "ACSCtl"))
    above: set[str] = set()
    for gpu in machine.gpus:
        if gpu.bus_id:
            path = host.realpath(f"{DEVICES}/{gpu.bus_id}")
            above |= set(re.findall(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9]", path)) - {gpu.bus_id}
    return parse_acs(result.stdout, above)


def parse_acs(text: str, above: set[str]) -> list[str] | None:
    """::

    0000:00:01.0 PCI bridge: Intel Corporation ...
            ACSCtl: SrcValid+ TransBlk- ReqRedir+ CmpltRedir+ UpstreamFwd+ EgressCtrl- DirectTrans-
    """
    slot, found, seen = "", [], False
    for line in text.splitlines():
        head = re.match(r"([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9]) ", line)
        if head:
            slot = head[1]
        elif "ACSCtl:" in line:
            seen = True
            if slot in above and "ReqRedir+" in line:
                found.append(slot)
    return found if seen else None
