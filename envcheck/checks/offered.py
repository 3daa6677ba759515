"""What pip said of a torch that it did not find, as a report holds it."""

from __future__ import annotations

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
