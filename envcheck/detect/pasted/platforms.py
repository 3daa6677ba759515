"""Names that people and tools give to systems, to the fields of ``model.OS``. Shared by several parsers."""

from __future__ import annotations

import re
from typing import Any

from ..os import FAMILIES, normal_arch, parse_wsl

_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names.split()}
_V = r"\D{0,12}?(\d{1,2}(?:\.\d{1,3}){0,2})"
# pretty name -> os-release id; the version is group 1. The order matters: derived systems before Ubuntu and Debian.
_NAMES: tuple[tuple[str, str], ...] = (
    (r"(?:Microsoft )?Windows Server\b(?: (\d{4}))?", "windows-server"),
    (r"(?:Microsoft )?Windows(?: |-)?(7|8\.1|8|10|11)\b", "windows"),
    (r"Microsoft Windows\b(?:.{0,40}?\b(7|8\.1|10|11)\b)?", "windows"),
    (r"(?:mac ?OS|Mac OSX|Mac OS X)\b(?:" + _V + ")?", "macos"),
    (r"Pop!_OS(?: (\d\d\.\d\d))?", "pop"),
    (r"Linux Mint(?: (\d\d(?:\.\d)?))?", "linuxmint"),
    (r"KDE neon(?:\D{0,20}(\d\d\.\d\d))?", "neon"),
    (r"Raspbian\b(?:\D{0,14}(\d\d?))?", "raspbian"),
    (r"Kali\b(?:.{0,14}?(\d{4}\.\d))?", "kali"),
    (r"(?:Ubuntu|Kubuntu|Xubuntu)(?: Linux)?[ -]?v?(\d\d\.\d\d)", "ubuntu"),
    (r"Ubuntu\b(?! \d)(?!\d)(?!-\d)", "ubuntu"),
    (r"Debian(?: GNU/Linux)? v?(\d{1,2})(?:\.\d{1,2})?(?![\d.-])", "debian"),
    (r"Debian\b(?: GNU/Linux)?(?! v?\d)", "debian"),
    (r"Red Hat Enterprise Linux\b(?:\D{0,14}(\d{1,2}(?:\.\d{1,2})?))?", "rhel"),
    (r"RHEL[ -]?(\d{1,2}(?:\.\d{1,2})?)", "rhel"),
    (r"CentOS Stream(?: (\d{1,2}))?", "centos"),
    (r"CentOS\b(?:\D{0,20}?(\d{1,2}(?:\.\d{1,2})?))?", "centos"),
    (r"Rocky(?: Linux)?(?: release)? (\d{1,2}(?:\.\d{1,2})?)", "rocky"),
    (r"Rocky Linux\b", "rocky"),
    (r"AlmaLinux(?:(?: release)? (\d{1,2}(?:\.\d{1,2})?))?", "almalinux"),
    (r"Oracle Linux\b(?:\D{0,10}(\d{1,2}(?:\.\d{1,2})?))?", "ol"),
    (r"Scientific Linux\b(?:\D{0,10}(\d{1,2}(?:\.\d{1,2})?))?", "scientific"),
    (r"Springdale\b.{0,14}?(\d{1,2}(?:\.\d{1,2})?)", "rhel"),
    (r"Fedora(?: Linux)?(?: release)? (\d\d)", "fedora"),
    (r"Amazon Linux(?: (?:AMI |release )?(2023|2018\.\d\d|2))?", "amzn"),
    (r"SUSE Linux Enterprise Server (\d\d(?: SP\d)?)", "sles"),
    (r"SLES[ -]?(\d\d(?:\.\d| ?SP\d)?)", "sles"),
    (r"openSUSE Leap (\d\d\.\d)", "opensuse-leap"),
    (r"openSUSE Tumbleweed(?: ?(\d{8}))?", "opensuse-tumbleweed"),
    (r"(?:CBL-Mariner|Mariner)(?:/Linux)?(?: (\d\.\d))?", "mariner"),
    (r"Azure Linux (\d\.\d)", "azurelinux"),
    (r"Container-Optimized OS", "cos"),
    (r"openEuler (\d\d\.\d\d)", "openeuler"),
    (r"Kylin\b.{0,24}?([Vv]\d\d)", "kylin"),
    (r"Manjaro(?: Linux)?", "manjaro"),
    (r"EndeavourOS", "endeavouros"),
    (r"CachyOS", "cachyos"),
    (r"Arch(?: GNU/)?(?: )?Linux", "arch"),
    (r"Garuda Linux", "garuda"),
    (r"Gentoo\b", "gentoo"),
    (r"NixOS\b(?: (\d\d\.\d\d))?", "nixos"),
    (r"Void Linux", "void"),
    (r"Alpine Linux(?: v?(\d\.\d{1,2}))?", "alpine"),
    (r"Clear Linux", "clear-linux-os"),
    (r"Deepin(?: (\d\d(?:\.\d)?))?", "deepin"),
    (r"Zorin OS(?: (\d\d))?", "zorin"),
    (r"elementary OS(?: (\d(?:\.\d)?))?", "elementary"),
    (r"Nobara(?: Linux)?(?: (\d\d))?", "nobara"),
    (r"Bazzite", "bazzite"),
    (r"Bottlerocket", "bottlerocket"),
    (r"Flatcar", "flatcar"),
    (r"Talos\b", "talos"),
)
_COMPILED = tuple((re.compile(rf"(?<![\w/-])(?:{pattern})(?![\w])"), name) for pattern, name in _NAMES)
_HINT = re.compile(
    r"(?i)windows|mac|os|linux|ubuntu|neon|raspbian|kali|debian|red hat|rhel|rocky|springdale|fedora|sles|suse|mariner"
    r"|openeuler|kylin|arch|gentoo|deepin|nobara|bazzite|bottlerocket|flatcar|talos"
)
_ARCH = re.compile(r"\b(x86_64|amd64|AMD64|aarch64|arm64|ppc64le|x64|64-bit|i686)\b")
_BUILD = re.compile(r"10\.0\.(\d{5})")
_PLATFORM = re.compile(
    r"(Linux|Windows|macOS|Darwin)-(\S{1,160}?)(?:-(x86_64|AMD64|amd64|aarch64|arm64|ppc64le|i686|arm))?"
    r"(?:-with-(\S{1,80})|-SP\d|-arm-64bit|-\w{2,8}-64bit|-64bit)?$"
)
_GLIBC = re.compile(r"glibc(\d\.\d{1,2})")
_SP = re.compile(r"(\d\d) ?SP(\d)")
MICROSOFT_BUILD_11 = 22_000  # the first Windows build that is called 11


def from_pretty(text: str) -> dict[str, Any]:
    """Fields of OS out of a name: ``Ubuntu 22.04.2 LTS (x86_64)``, ``Microsoft Windows 11 Pro``, ``macOS 13.2.1``.

    Nothing is found where no known name stands; the first in the text counts.
    """
    if not _HINT.search(text):
        return {}
    best: tuple[int, re.Match[str], str] | None = None
    for pattern, name in _COMPILED:
        found = pattern.search(text)
        if found and (best is None or found.start() < best[0]):
            best = (found.start(), found, name)
    if best is None:
        return {}
    _, found, name = best
    version = found.group(1) if found.groups() else None
    if version and (pack := _SP.match(version)):
        version = f"{pack.group(1)}.{pack.group(2)}"
    fields: dict[str, Any] = {"id": name, "version": version, **_family(name)}
    if name == "windows" and (build := _BUILD.search(text)):
        fields["version"] = fields["version"] or _windows(build.group(1))
    if arch := _ARCH.search(text):
        fields["arch"] = "x86_64" if arch.group(1) == "64-bit" else normal_arch(arch.group(1))
    return {k: v for k, v in fields.items() if v}


def from_platform(text: str) -> dict[str, Any]:
    """Python's ``platform.platform()``: ``Linux-5.15.153.1-microsoft-standard-WSL2-x86_64-with-glibc2.35``,
    ``Windows-10-10.0.22631-SP0``, ``macOS-13.2.1-arm64-arm-64bit``, ``Linux-4.15.0-x86_64-with-debian-buster-sid``.
    """
    found = _PLATFORM.match(text.strip())
    if not found:
        return {}
    system, rest, machine, library = found.groups()
    fields: dict[str, Any] = {"arch": normal_arch(machine) if machine else None}
    if system == "Windows":
        build = _BUILD.search(rest)
        fields.update(id="windows", family="windows", platform="windows", kernel=build.group() if build else None)
        fields["version"] = _windows(build.group(1)) if build else rest.split("-")[0]
        fields["arch"] = fields["arch"] or "x86_64"
    elif system in ("macOS", "Darwin"):
        fields.update(id="macos", family="macos", platform="macos")
        fields["version"] = rest.split("-")[0] if system == "macOS" else None
    else:
        glibc = _GLIBC.search(library or "")
        fields.update(platform="linux", kernel=rest, glibc=glibc.group(1) if glibc else None, wsl=parse_wsl(rest))
    return {k: v for k, v in fields.items() if v}


def from_kernel(release: str, machine: str | None = None) -> dict[str, Any]:
    """``uname -r`` (and ``-m``): the kernel, WSL, and what the distribution writes into its kernels' names."""
    fields: dict[str, Any] = {"kernel": release, "platform": "linux", "wsl": parse_wsl(release)}
    fields["arch"] = normal_arch(machine) if machine else None
    return {k: v for k, v in fields.items() if v}


def _family(name: str) -> dict[str, Any]:
    if name.startswith("windows"):
        return {"family": "windows", "platform": "windows"}
    if name == "macos":
        return {"family": "macos", "platform": "macos"}
    return {"family": _FAMILY_OF.get(name), "platform": "linux"}


def _windows(build: str) -> str:
    return "11" if int(build) >= MICROSOFT_BUILD_11 else "10"
