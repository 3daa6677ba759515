"""Where pip and uv would take packages from: their variables and pip's configuration files, without credentials."""

from __future__ import annotations

import re
from typing import Any

from ...host import Host
from ..env import without_credentials
from ..python import Found

VARIABLES = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
)
KEYS = ("index-url", "extra-index-url", "find-links")


def gather(host: Host, found: Found | None) -> dict[str, Any]:
    """``pip_indexes``: ``[{"url", "from"}]``, every address that is set anywhere but on a command line."""
    out = []
    for name in VARIABLES:
        out += [{"url": url, "from": name} for url in addresses(host.environ.get(name, ""))]
    for path in _files(host, found):
        out += [{"url": url, "from": path} for url in parse_pip_conf(host.read_text(path) or "")]
    return {"pip_indexes": out[:40]}


def _files(host: Host, found: Found | None) -> list[str]:
    """https://pip.pypa.io/en/stable/topics/configuration/, the most special last."""
    home = host.environ.get("HOME") or host.environ.get("USERPROFILE") or ""
    if host.platform.sys_platform == "win32":
        own = [rf"{host.environ.get('APPDATA', home)}\pip\pip.ini"]
        return [*own, *([rf"{found.prefix}\pip.ini"] if found and found.prefix else [])]
    user = [f"{home}/.config/pip/pip.conf", f"{home}/.pip/pip.conf"] if home else []
    return ["/etc/pip.conf", *user, *([f"{found.prefix}/pip.conf"] if found and found.prefix else [])]


def addresses(text: str) -> list[str]:
    """Addresses of a value that may hold several: ``name=https://...`` of uv, white space between them."""
    return [without_credentials(u) for u in re.findall(r"(?:https?|file)://[^\s,;\"']{3,300}", text)]


def parse_pip_conf(text: str) -> list[str]:
    """::

    [global]
    index-url = https://internal.example/simple
    extra-index-url =
        https://download.pytorch.org/whl/cu121
        https://user:secret@other.example/simple
    """
    out: list[str] = []
    key = ""
    for line in text.splitlines()[:2_000]:
        if line.strip().startswith(("#", ";", "[")):
            key = ""
            continue
        match = re.match(r"([A-Za-z_-]{2,40})\s{0,8}[=:]\s{0,8}(.*)", line)
        if match:
            key = match[1].lower().replace("_", "-")
        if key in KEYS:
            out += addresses(match[2] if match else line)
    return out
