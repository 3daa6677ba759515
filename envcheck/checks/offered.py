"""What pip said of a torch that it did not find, as a report holds it."""

from __future__ import annotations

import re

from .view import View, nums


def not_found(v: View) -> tuple[str, tuple[str, ...] | None] | None:
    """What pip did not find of torch and what it offers instead; () for none, None where it did not say."""
    install = v.fact("install")
    refused = install.get("not_found") if isinstance(install, dict) else None
    for entry in refused or ():
        name, _, version = str(entry.get("requirement", "")).partition("==")
        if name.strip().lower() in ("torch", "pytorch") and nums(version.lstrip("=")):
            versions = entry.get("versions")
            return version.lstrip("="), None if versions is None else tuple(map(str, versions))
    return None


def begins_later(v: View) -> str:
    """The oldest release that pip offers this Python, where it is newer than the one asked for.

    The source packages of 2017 (0.1.2) are what is left where no wheel at all fits.
    """
    wanted = not_found(v)
    if wanted is None or not wanted[1]:
        return ""
    offered = sorted((k, o) for o in wanted[1] if (k := nums(o)) and k > (0, 2))
    if not offered:
        return wanted[1][0] if (nums(wanted[0]) or ()) > (0, 2) else ""
    return offered[0][1] if offered[0][0] > (nums(wanted[0]) or (99,)) else ""


def pythons_of(v: View, version: str) -> frozenset[str]:
    """Pythons with a wheel of this release, of any variant; empty where the matrix does not know the release."""
    key = nums(version) or ()
    if key >= (2,):
        rows = [r for r in v.matrix.builds(v.platform or "linux-x86_64") if r.key[: len(key)] == key]
        return frozenset(p for r in rows for p in r.pythons)
    old = v.matrix.old_torch.get(".".join(map(str, key[:2])))
    return frozenset(old.pythons) if old else frozenset()


def asked_without_wheel(v: View) -> str:
    """The torch that a command in the report asks for, which has no wheel for this Python; "" for none."""
    install, minor = v.fact("install"), v.python_minor
    for command in (install.get("commands") or ()) if isinstance(install, dict) and minor else ():
        version = str(command.get("packages", {}).get("torch", "")).removeprefix("==")
        pythons = pythons_of(v, version) if version[:1].isdigit() else frozenset()
        if pythons and minor not in pythons:
            return version
    return ""


def tags_of(v: View) -> tuple[str, ...]:
    """CUDA variants of the release that the report names, where it names one that was never built."""
    told = re.fullmatch(r"(\d+\.\d+\.\d+)\+(cu\d{2,3})", v.torch_version or "")
    if told is None or not v.pasted or v.cuda_available or (v.machine.torch and v.machine.torch.source):
        return ()
    rows = [r for r in v.matrix.builds(v.platform or "linux-x86_64") if r.key == nums(told[1])]
    tags = sorted({r.tag for r in rows if r.tag.startswith("cu")})
    return () if told[2] in tags else tuple(tags)
