"""Repairs around the kernel module: nouveau off the card, a signing key enrolled, a module built for this kernel."""

from __future__ import annotations

import re

from .details import os_packages
from .fixes import Steps, by_hand, driver_steps, os_install, step
from .view import View

KERNEL = re.compile(r"\d[\w.+~-]{2,80}")  # of uname -r, as it may stand in a package's name
# Ubuntu's signed modules: linux-modules-nvidia-550-open-generic, and one for each kernel
PREBUILT = re.compile(r"linux-modules-nvidia-(\d{3}(?:-server)?(?:-open)?)-.+")
# the command that writes the initial ram disk, by family of systems
INITRAMFS = {
    "debian": ("update-initramfs", "-u"),
    "arch": ("mkinitcpio", "-P"),
    **dict.fromkeys(("rhel", "fedora", "suse", "amazon"), ("dracut", "--force")),
}


def no_nouveau(v: View) -> Steps:
    """Where NVIDIA's driver is not there at all, its installation is the repair: the recipes block nouveau as well."""
    if v.machine.driver.version is not None or v.pasted:
        return _blacklist(v)
    steps = driver_steps(v)
    return steps if any(s.argv for s in steps) else (*_blacklist(v), *steps)


def _blacklist(v: View) -> Steps:
    line = 'printf "blacklist nouveau\\noptions nouveau modeset=0\\n" > /etc/modprobe.d/blacklist-nouveau.conf'
    image = INITRAMFS.get(v.machine.os.family or ("debian" if v.pasted else ""))
    title = "regenerate the initramfs, then reboot"
    return (
        step("blacklist", "keep nouveau from loading", "sh", "-c", line, root=True),
        *((step("initramfs", title, *image, root=True, reboot=True),) if image else by_hand(title, reboot=True)),
    )


def enrol(v: View) -> Steps:
    key = {"debian": "/var/lib/dkms/mok.pub", "fedora": "/etc/pki/akmods/certs/public_key.der"}
    path = (
        "/var/lib/shim-signed/mok/MOK.der"
        if v.machine.os.id == "ubuntu"
        else key.get(v.machine.os.family or "", "/var/lib/dkms/mok.pub")
    )
    return (
        step("enrol", "enrol the module's signing key", "mokutil", "--import", path, root=True),
        *by_hand("reboot and confirm 'Enroll MOK' at the machine's own screen", reboot=True),
    )


def rebuild(v: View) -> Steps:
    """Headers and a build; a driver of akmods is built by akmods. A module that the distribution built is a package."""
    kernel = v.machine.os.kernel if v.machine.os.kernel and KERNEL.fullmatch(v.machine.os.kernel) else None
    own = kernel or "$(uname -r)"
    packages = os_packages(v)
    ready = sorted(m[1] for p in packages if (m := PREBUILT.fullmatch(p)))
    if ready and kernel and v.machine.os.id == "ubuntu":
        flavour = ready[-1]
        return (
            *os_install(
                v,
                "module",
                "install the distribution's module for the running kernel",
                {"debian": (f"linux-modules-nvidia-{flavour}-{kernel}",)},
            ),
            step("modprobe", "load it", "modprobe", "nvidia", root=True),
        )
    named = {
        "debian": f"linux-headers-{own}",
        "rhel": f"kernel-devel-{own}",
        "suse": "kernel-default-devel",
        "arch": "linux-headers",
    }
    if v.machine.os.family == "fedora":
        named["fedora"] = named["rhel"]
    title = "install the headers of the running kernel"
    if kernel or v.machine.os.family in ("suse", "arch"):
        headers = os_install(v, "headers", title, {family: (name,) for family, name in named.items()})
    else:
        line = named.get(v.machine.os.family or "debian", named["debian"])
        tool = "dnf" if "devel" in line else "apt-get"
        headers = (step("headers", title, "sh", "-c", f'{tool} install -y "{line}"', root=True),)
    build = ("akmods", "--force") if any(p.startswith("akmod-nvidia") for p in packages) else ("dkms", "autoinstall")
    return (
        *headers,
        step("build", "build the module", *build, root=True),
        step("modprobe", "load it", "modprobe", "nvidia", root=True),
    )
