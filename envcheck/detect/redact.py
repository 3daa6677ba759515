"""Takes out of a record what names a person, a host or a unit, the same way everywhere.

The same value always becomes the same stand-in, in contents as in the paths that are keys, so that detection
from the redacted record finds the same machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .env import without_credentials

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_SERIAL = re.compile(r"(?i)(\bserial(?:[ _-]?(?:number|no))?\b[\"']?\s*[:=]\s*[\"']?)([A-Za-z0-9._-]{4,40})")
_HOME = re.compile(r"(/home/|/Users/|[A-Za-z]:\\{1,2}Users\\{1,2})([^/\\\s:;\"'<>|]+)")

# no stand-in for these: they name no one, and they are parts of paths that detection looks for
_COMMON = frozenset(
    (
        "root",
        "admin",
        "administrator",
        "user",
        "users",
        "home",
        "host",
        "localhost",
        "ubuntu",
        "debian",
        "fedora",
        "centos",
        "rocky",
        "ec2-user",
        "azureuser",
        "nvidia",
        "cuda",
        "torch",
        "python",
        "conda",
        "miniconda3",
        "anaconda3",
        "local",
        "linux",
        "docker",
        "jovyan",
        "runner",
        "vscode",
        "opt",
        "usr",
        "lib",
        "bin",
        "etc",
        "var",
        "tmp",
        "proc",
        "sys",
        "dev",
        "run",
        "mnt",
        "data",
        "public",
        "default",
        "shared",
        "work",
        "src",
        "app",
    )
)
_EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # the same on every machine, and part of a path that is read
_SHORTEST = 3  # characters; a shorter name would be found inside other words


class Redactor:
    """``Redactor(environ, node)(value)`` returns a copy of a JSON value without names, serials and UUIDs."""

    def __init__(self, environ: Mapping[str, str], node: str = "") -> None:
        self._numbers: dict[str, dict[str, str]] = {"uuid": {}, "user": {}}
        home = environ.get("HOME") or environ.get("USERPROFILE") or ""
        users = {environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
        users |= {re.split(r"[/\\]", home.rstrip("/\\"))[-1]}
        hosts = {node, node.partition(".")[0]} | {environ.get(n, "") for n in ("HOSTNAME", "COMPUTERNAME")}
        self._numbers["user"].update((w, "user") for w in users if self._names_someone(w))
        self._words = {w: "user" for w in users if self._names_someone(w)}
        self._words.update({w: "host" for w in hosts if self._names_someone(w) and w not in self._words})
        alternatives = "|".join(re.escape(w) for w in sorted(self._words, key=len, reverse=True))
        # a word of its own: "alice" in /data/alice/venv, never in "malice"
        self._names = re.compile(rf"(?<![A-Za-z0-9_])(?:{alternatives})(?![A-Za-z0-9_])") if alternatives else None

    @staticmethod
    def _names_someone(word: str) -> bool:
        return len(word) >= _SHORTEST and word.lower() not in _COMMON and not word.isdigit()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(k): self(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self(v) for v in value]
        return value

    def text(self, text: str) -> str:
        text = without_credentials(text)
        if text.count("-") > 3:
            text = _UUID.sub(self._number("uuid", lambda n: f"00000000-0000-0000-0000-{n:012d}"), text)
        if "erial" in text.lower():  # the pattern takes a long s too
            text = _SERIAL.sub(r"\g<1>0000000000", text)
        if "/home/" in text or "Users" in text:
            text = _HOME.sub(lambda m: m[1] + self._user(m[2]), text)
        return self._names.sub(lambda m: self._words[m[0]], text) if self._names else text

    def _user(self, name: str) -> str:
        if name.lower() in _COMMON:
            return name
        known = self._numbers["user"]
        return known.setdefault(name, f"user{len(known) + 1 if known else ''}")

    def _number(self, kind: str, make: Callable[[int], str]) -> Callable[[re.Match[str]], str]:
        known = self._numbers[kind]
        made = set(known.values())

        def replace(match: re.Match[str]) -> str:
            value = match[0].lower()
            if value in made or value == _EFI_GLOBAL or not value.strip("0-"):
                return match[0]  # a stand-in already, or nobody's
            return known.setdefault(value, make(len(known) + 1))

        return replace
