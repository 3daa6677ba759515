"""Memory of the host and of its control group, and the size of /dev/shm."""

from __future__ import annotations

import re
from typing import Any

from ...host import Host

CGROUP = "/sys/fs/cgroup"  # version 2; inside a container its own group
UNITS = {"": 1 << 20, "k": 1 << 10, "m": 1, "g": 1 / 1024}  # divisors to MiB


def gather(host: Host, shm_mount: str) -> dict[str, Any]:
    """``memory`` and ``shm`` (MiB); no name where nothing told it. ``shm_mount``: a line of /proc/mounts."""
    facts: dict[str, Any] = {}
    total, available = parse_meminfo(host.read_text("/proc/meminfo") or "")
    limit, used = _mib(host, "memory.max"), _mib(host, "memory.current")
    if limit is not None and (total is None or limit < total):
        total = limit
        if used is not None:
            available = max(limit - used, 0) if available is None else min(available, max(limit - used, 0))
    if total is not None:
        facts["memory"] = {"available_mib": available, "total_mib": total}
        kills = re.search(r"^oom_kill (\d{1,12})$", host.read_text(f"{CGROUP}/memory.events") or "", re.MULTILINE)
        if kills:
            facts["memory"]["oom_kills"] = int(kills[1])
    mounted = parse_shm(shm_mount)
    if mounted is not None:
        # without a size= a tmpfs may grow to half of the memory
        size = mounted if mounted >= 0 else parse_meminfo(host.read_text("/proc/meminfo") or "")[0]
        if size is not None:
            facts["shm"] = {"size_mib": size if mounted >= 0 else size // 2}
    return facts


def _mib(host: Host, name: str) -> int | None:
    text = (host.read_text(f"{CGROUP}/{name}") or "").strip()
    return int(text) >> 20 if text.isdigit() and len(text) < 20 else None  # "max" is no limit


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """(total, available) in MiB::

    MemTotal:       65758432 kB
    MemAvailable:   61234567 kB
    """
    found = {m[1]: int(m[2]) >> 10 for m in re.finditer(r"^(Mem\w+):\s+(\d{1,15}) kB$", text, re.MULTILINE)}
    return found.get("MemTotal"), found.get("MemAvailable")


def parse_shm(text: str) -> int | None:
    """MiB of /dev/shm in /proc/mounts, -1 for one without a limit of its own, None for none::

    shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=65536k,inode64 0 0
    """
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[1] == "/dev/shm" and words[2] in ("tmpfs", "ramfs"):
            size = re.search(r"(?:^|,)size=(\d{1,15})([kmg]?)(?:,|$)", words[3])
            return int(int(size[1]) / UNITS[size[2]]) if size else -1
    return None
