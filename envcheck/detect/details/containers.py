"""What a host would hand into a container: the NVIDIA toolkit, docker's runtimes, the CDI specifications."""

from __future__ import annotations

import json
import re
from typing import Any

from ...host import Host
from ...model import Machine

TOOLKIT = ("nvidia-ctk", "nvidia-container-cli", "nvidia-container-runtime", "nvidia-container-runtime-hook")
DAEMON = "/etc/docker/daemon.json"
CDI = ("/etc/cdi", "/var/run/cdi")
_DRIVER_FILE = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.(\d{3,4}\.\d{1,3}(?:\.\d{1,3})?)\b")


def gather(host: Host, machine: Machine) -> dict[str, Any]:
    """``container_host``: ``engines``, ``toolkit``, ``runtime``, ``cdi``; of a host that has a container engine."""
    engines = [name for name in ("docker", "podman") if host.which(name)]
    if machine.os.container or not engines:
        return {}
    toolkit = next((path for name in TOOLKIT if (path := host.which(name))), None)
    runtime = parse_daemon(host.read_text(DAEMON) or "")
    found: dict[str, Any] = {"engines": engines, "toolkit": toolkit, "runtime": None, "cdi": _specifications(host)}
    if runtime is not None:
        there = host.exists(runtime) if runtime.startswith("/") else host.which(runtime) is not None
        found["runtime"] = {"path": runtime, "exists": there}
    return {"container_host": found}


def parse_daemon(text: str) -> str | None:
    """The program of the runtime ``nvidia`` in docker's daemon.json::

    {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
    """
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for key in ("runtimes", "nvidia", "path"):
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, str) and re.fullmatch(r"[\w./+-]{1,200}", data) else None


def _specifications(host: Host) -> list[dict[str, Any]]:
    out = []
    for directory in CDI:
        for name in host.listdir(directory, ("nvidia*.yaml", "nvidia*.json")) or ():
            text = host.read_text(f"{directory}/{name}")
            out.append({"path": f"{directory}/{name}", "driver": parse_cdi(text or "")})
    return out


def parse_cdi(text: str) -> str | None:
    """The driver version whose files a CDI specification mounts::

    - hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.144.03
      containerPath: /usr/lib/x86_64-linux-gnu/libcuda.so.550.144.03
    """
    match = _DRIVER_FILE.search(text)
    return match[1] if match else None
