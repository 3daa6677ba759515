"""Operating system, architecture, C library, WSL, container, Jetson, and who owns the driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..host import Host
from ..model import OS

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")

# the files that say who made the image, and with it who brings the driver
OWNER_FILES = {
    "/etc/dgx-release": "dgx-os",
    "/run/ostree-booted": "ostree",
    # told by the images' own scripts in public repositories; DMI tells the cloud only, where plain images own no driver
    "/opt/aws/dlami": "aws-dlami",
    "/opt/deeplearning/driver-version.sh": "gcp-dlvm",
    "/opt/google/cuda-installer": "gcp-cuda-installer",
}
OWNER_IDS = {
    "cos": "cos",
    "bottlerocket": "bottlerocket",
    "flatcar": "flatcar",
    "talos": "talos",
    "nvidia-base-os": "dgx-os",
}

# ID_LIKE misleads (Amazon Linux, Oracle) or is absent (SLES 12, openEuler), so known ids come first
FAMILIES = {
    "debian": "debian ubuntu linuxmint pop neon raspbian parrot kali deepin elementary zorin devuan mx nvidia-base-os",
    "rhel": "rhel centos rocky almalinux ol scientific tencentos openeuler anolis opencloudos virtuozzo",
    "fedora": "fedora nobara ultramarine bazzite",
    "suse": "sles sled sle_hpc suse opensuse opensuse-leap opensuse-tumbleweed opensuse-slowroll suse-microos "
    "opensuse-microos sl-micro sle-micro opensuse-leap-micro",
    "arch": "arch archarm manjaro endeavouros cachyos garuda artix steamos",
    "amazon": "amzn",
    "azurelinux": "azurelinux mariner",
    "clear": "clear-linux-os",
    "alpine": "alpine postmarketos",
    "gentoo": "gentoo",
    "nixos": "nixos",
    "void": "void",
    "cos": "cos",
    "bottlerocket": "bottlerocket",
    "flatcar": "flatcar",
    "talos": "talos",
}
_FAMILY_OF = {id: family for family, ids in FAMILIES.items() for id in ids.split()}
_LIKE_ORDER = ("debian", "ubuntu", "suse", "opensuse", "arch", "fedora", "rhel", "centos", "gentoo", "alpine")

# systems whose root is an image or a transaction: a package manager cannot simply add a kernel module
IMAGE_IDS = ("bottlerocket", "cos", "flatcar", "talos", "suse-microos", "opensuse-microos", "sl-micro", "sle-micro")
IMAGE_VARIANTS = ("coreos", "silverblue", "kinoite", "iot", "sericea", "onyx", "aurora", "bluefin", "bazzite")

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def parse_os_release(text: str) -> dict[str, str]:
    r"""Assignments of an os-release file, unquoted. Lines that are none are skipped; the last one wins.

    ::

        NAME="Red Hat Enterprise Linux"
        ID="rhel"
        ID_LIKE='centos fedora'
        VERSION_ID=10.0
        PRETTY_NAME="a \"quoted\" name"
    """
    found: dict[str, str] = {}
    for line in text.replace("\r", "\n").split("\n"):
        match = _LINE.match(line)
        if match:
            found[match[1]] = _unquote(match[2].strip())
    return found


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1]
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return _ESCAPE.sub(r"\1", value[1:-1])
    return value.strip("\"'")


def os_family(release: Mapping[str, str]) -> str | None:
    """``debian``, ``rhel``, ``fedora``, ``suse``, ... of parsed os-release fields; None where nothing tells.

    Two ids are shared by an rpm and a deb system: kylin (the desktop says ID_LIKE=debian, the server nothing) and
    uos (the server says PLATFORM_ID=platform:uelc20).
    """
    id = (release.get("ID") or release.get("NAME", "")).lower()
    like = release.get("ID_LIKE", "").lower().split()
    platform = release.get("PLATFORM_ID", "")
    if id == "kylin":
        return "debian" if "debian" in like else "rhel"
    if id == "uos":
        return "rhel" if platform.startswith("platform:uel") else "debian"
    if id in _FAMILY_OF:
        return _FAMILY_OF[id]
    if platform.startswith("platform:el"):
        return "rhel"
    for word in _LIKE_ORDER:
        if word in like:
            return "rhel" if word == "fedora" and ("rhel" in like or "centos" in like) else _FAMILY_OF[word]
    return None


def is_image_based(release: Mapping[str, str]) -> bool:
    """Whether the system is an image (CoreOS, COS, Bottlerocket, MicroOS, ...), by parsed os-release fields."""
    id = (release.get("ID") or release.get("NAME", "")).lower()
    return id in IMAGE_IDS or release.get("VARIANT_ID", "").lower() in IMAGE_VARIANTS


def parse_wsl(kernel: str) -> str | None:
    """``"2"`` for ``5.15.167.4-microsoft-standard-WSL2``, ``"1"`` for ``4.4.0-19041-Microsoft``, else None.

    Takes ``/proc/sys/kernel/osrelease`` or ``/proc/version``.
    """
    text = kernel.lower()
    if "microsoft" not in text:
        return None
    if "wsl2" in text or "microsoft-standard" in text:
        return "2"
    return "1" if re.search(r"\b4\.4\.\d+-\d+-microsoft", text) else "2"


def parse_libc(text: str) -> str | None:
    """``"2.36"`` of ``glibc 2.36`` (confstr) or of ``ldd --version``'s first line; None for musl and anything else.

    ::

        ldd (Ubuntu GLIBC 2.35-0ubuntu3.8) 2.35
        ldd (GNU libc) 2.34
    """
    match = re.match(r"glibc (\d+\.\d+)", text)
    if match:
        return match[1]
    first = text.partition("\n")[0]
    match = re.match(r"ldd \(.*?(?:glibc|gnu libc|debian|libc).*\)\s+(\d+\.\d+)\s*$", first, re.IGNORECASE)
    return match[1] if match else None


def parse_cgroup(text: str) -> str | None:
    """The container engine of ``/proc/1/cgroup``, by the paths that the engines make; None outside.

    ::

        12:memory:/docker/0f1e2d...            0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-0f1e.scope
        1:name=systemd:/lxc.payload.web        0::/system.slice/libpod-0f1e.scope
    """
    for mark, engine in (
        ("kubepods", "kubernetes"),
        ("libpod", "podman"),
        ("docker", "docker"),
        ("/lxc", "lxc"),
        ("garden", "garden"),
        ("containerd", "containerd"),
    ):
        if re.search(rf"^\d+:[^:\n]*:.*{mark}(?!\.service)", text, re.MULTILINE):
            return engine
    return None


def parse_l4t(text: str) -> str | None:
    """The L4T release of ``/etc/nv_tegra_release``::

    # R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64, DATE: Fri Sep 13 04:36:44 UTC 2024
    """
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    return f"{match[1]}.{match[2].rstrip('.')}" if match else None


def normal_arch(machine: str) -> str | None:
    """``x86_64`` or ``aarch64`` for their many names, anything else in lower case."""
    name = machine.strip().lower()
    names = {"amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64", "armv8l": "aarch64"}
    return names.get(name, name) or None


def detect_os(host: Host, facts: dict[str, Any], problems: dict[str, str]) -> OS:
    """Never raises for what a host says; writes ``facts["os"]`` (pretty name, variant) and ``problems["os"]``."""
    system = host.platform.sys_platform
    if system == "win32":
        return _windows(host)
    if system == "darwin":
        version = ".".join(host.platform.version.split(".")[:1]) or None
        arch = normal_arch(host.platform.machine)
        return OS(
            id="macos", version=version, family="macos", kernel=host.platform.release, arch=arch, platform="macos"
        )
    return _linux(host, facts, problems)


def _windows(host: Host) -> OS:
    """Windows 11 calls itself 10.0 too: the build number tells (22000 was the first of 11; servers are not told)."""
    parts = host.platform.version.split(".")
    build = int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0
    version = None if not build else "11" if build >= 22000 else "10" if parts[0] == "10" else parts[0]
    return OS(
        id="windows",
        version=version,
        family="windows",
        kernel=host.platform.version or None,
        arch=normal_arch(host.platform.machine),
        platform="windows",
    )


def _linux(host: Host, facts: dict[str, Any], problems: dict[str, str]) -> OS:
    release = _os_release(host)
    if not release:
        problems["os"] = "no os-release file can be read, so the distribution is unknown: say it with --os"
    kernel = (host.read_text("/proc/sys/kernel/osrelease") or host.platform.release).strip() or None
    id = release.get("ID", "").lower() or None
    notes = {k: release[k] for k in ("PRETTY_NAME", "VARIANT_ID", "VERSION_CODENAME", "PLATFORM_ID") if k in release}
    model = (host.read_text("/proc/device-tree/model") or "").rstrip("\0\n") or None
    image_based = is_image_based(release) or host.exists("/run/ostree-booted")
    facts["os"] = {**{k.lower(): v for k, v in notes.items()}, "device_tree_model": model, "image_based": image_based}
    tegra = re.search(r"nvidia,(tegra\d{3})\b", host.read_text("/proc/device-tree/compatible") or "")
    facts["os"]["tegra"] = tegra[1] if tegra else None
    wsl = parse_wsl(kernel or "") or parse_wsl(host.read_text("/proc/version") or "")
    jetson = _jetson(host, model)
    return OS(
        id=id,
        version=release.get("VERSION_ID") or None,
        family=os_family(release),
        kernel=kernel,
        glibc=_glibc(host),
        arch=normal_arch(host.platform.machine),
        wsl=wsl,
        container=_container(host),
        platform="linux",
        jetson=jetson,
        driver_owner="l4t" if jetson else _owner(host, id or release.get("NAME", "").lower()),
    )


def _os_release(host: Host) -> dict[str, str]:
    for path in OS_RELEASE:
        text = host.read_text(path)
        if text and (found := parse_os_release(text)):
            return found
    return _distro_fallback(host)


def _distro_fallback(host: Host) -> dict[str, str]:
    """``distro`` knows /etc/redhat-release and lsb_release; it can look at this machine alone."""
    from ..host import LiveHost

    if not isinstance(host, LiveHost):
        return {}
    import distro

    found = {"ID": distro.id(), "VERSION_ID": distro.version(), "ID_LIKE": distro.like()}
    return {k: v for k, v in found.items() if v}


def _glibc(host: Host) -> str | None:
    found = parse_libc(host.platform.libc)
    if found or host.platform.libc:
        return found
    if not host.which("ldd"):
        return None
    result = host.run(["ldd", "--version"], 2.0)
    return parse_libc(result.stdout)


def _container(host: Host) -> str | None:
    """The engine's own marks first: cgroup v2 shows ``0::/`` inside, and a file may have been copied in."""
    if host.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if host.exists("/.dockerenv"):
        return "docker"
    if host.exists("/run/.containerenv"):
        return "podman"
    if host.exists("/.singularity.d") or host.environ.get("APPTAINER_CONTAINER"):
        return "apptainer"
    named = host.environ.get("container") or (host.read_text("/run/systemd/container") or "").strip()
    if named and re.fullmatch(r"[a-z][a-z0-9-]{1,30}", named) and named != "wsl":
        return named
    return parse_cgroup(host.read_text("/proc/1/cgroup") or "")


def _jetson(host: Host, model: str | None) -> str | None:
    """The L4T release; ``unknown`` on a Jetson whose release file is absent (a container, a foreign root)."""
    text = host.read_text("/etc/nv_tegra_release")
    if text is not None:
        return parse_l4t(text) or "unknown"
    compatible = host.read_text("/proc/device-tree/compatible") or ""
    if "jetson" in (model or "").lower() or "nvidia,tegra" in compatible:
        return "unknown"
    return None


def _owner(host: Host, id: str) -> str | None:
    for path, owner in OWNER_FILES.items():
        if host.exists(path):
            return owner
    return OWNER_IDS.get(id)
