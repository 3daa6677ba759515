"""A machine in a directory: what is installed, what the archives hold, what the firmware says. See ``command.py``."""

from __future__ import annotations

import hashlib
import marshal
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMANDS = ("nvidia-smi", "modprobe", "modinfo", "uname", "mokutil", "curl", "dkms", "sudo", "systemctl", "nvidia-ctk")
# of each family: the commands that it fakes, where its DKMS puts the module, the files that fake them
FAMILIES = {
    "apt": (
        ("apt-get", "apt-cache", "apt-mark", "dpkg-query", "dpkg", "dpkg-deb", "update-initramfs"),
        "updates/dkms/nvidia-current.ko.xz",
        ("apt.py",),
    ),
    "dnf": (
        ("dnf", "rpm", "subscription-manager", "rhel-drivers", "akmods", "dracut", "grubby", "gpg", "sleep"),
        "extra/nvidia.ko.xz",
        ("dnf.py", "rpmdb.py"),
    ),
    "arch": (("pacman", "mkinitcpio"), "updates/dkms/nvidia.ko.zst", ("arch.py",)),
    "suse": (("zypper", "rpm", "gpg", "dracut", "transactional-update"), "updates/nvidia.ko.zst", ("suse.py",)),
}
# What scripts may use of this machine. A real apt-get or update-initramfs must be out of reach of other families.
TOOLS = """
awk basename bash cat chmod cksum cmp comm cp cut date dirname env expr false find grep gzip head id install ln ls mkdir
mktemp mv od python3 readlink rm rmdir sed sha256sum sh sleep sort stat tail tee test timeout touch tr true
uniq wc xargs
"""
OPEN, PROPRIETARY = "Dual MIT/GPL", "NVIDIA"
DOWNLOAD = "a keyring\n"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@dataclass
class Ended:
    code: int
    output: str


def packages(*names: str, version: str = "1", **more: Any) -> dict[str, Any]:
    return {name: {"version": version, **more} for name in names}


def module_files(kernel: str, version: str, license_: str) -> dict[str, str]:
    return {f"/lib/modules/{kernel}/kernel/nvidia/nvidia.ko": f"{version} {license_}"}


class World:
    """``home`` holds ``root`` (the machine's files), ``bin`` (the fakes), ``state`` and the working directory.

    ``family`` is the package manager's, a key of FAMILIES. Debian's alone sees this machine's own commands behind the
    fakes: its worlds serve the user stage's tests too.
    """

    def __init__(self, home: Path, *, os_id: str, version: str, kernel: str, family: str = "apt") -> None:
        self.home, self.root, self.bin, self.work = home, home / "root", home / "bin", home / "work"
        self.file, self.var = home / "state", home / "var"
        for folder in (self.root, self.bin, self.work, home / "user"):
            folder.mkdir()
        command = self.bin / "command.py"
        # the system's own where there is one: a test that switches to another user must be able to start it
        python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
        command.write_text(f"#!{python} -SE\n" + (HERE / "command.py").read_text())
        command.chmod(0o755)
        commands, module, files = FAMILIES[family]
        for name in ("store.py", *files):
            (self.bin / name).write_text((HERE / name).read_text())
        for name in (*COMMANDS, *commands):
            (self.bin / name).symlink_to(command)
        self.path = f"{self.bin}:{os.environ['PATH'] if family == 'apt' else self.tools()}"
        self.put("etc/os-release", f'NAME="x"\nID={os_id}\nVERSION_ID="{version}"\n')
        self.put("proc/sys/kernel/random/boot_id", "first\n")
        self.put("proc/sys/kernel/osrelease", kernel + "\n")
        self.put("lib/modprobe.d/nvidia.conf", "blacklist nouveau\n")
        self.card()
        self.state: dict[str, Any] = {}
        self.save(family=family, module=module, kernel=kernel, download=DOWNLOAD, dkms=None)
        self.save(installed={}, archive={}, listed=["main"])
        self.add_kernel(kernel)

    def tools(self) -> Path:
        folder = self.home / "tools"
        folder.mkdir()
        for name in TOOLS.split():
            if found := shutil.which(name):
                (folder / name).symlink_to(found)
        return folder

    def link(self, *names: str) -> None:
        """More commands on PATH."""
        for name in names:
            (self.bin / name).symlink_to(self.bin / "command.py")

    def card(self, device: str = "0x2684") -> None:
        where = "sys/bus/pci/devices/0000:01:00.0"
        self.put(f"{where}/vendor", "0x10de\n")
        self.put(f"{where}/device", device + "\n")
        self.put(f"{where}/class", "0x030000\n")

    def put(self, path: str, text: str | bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def add_kernel(self, kernel: str) -> None:
        self.put(f"boot/vmlinuz-{kernel}", "")
        (self.root / "lib/modules" / kernel).mkdir(parents=True, exist_ok=True)

    def load(self) -> dict[str, Any]:
        self.state = marshal.loads(self.file.read_bytes())
        return self.state

    def save(self, **changes: Any) -> None:
        state = self.load() if self.file.exists() else {}
        state.update(changes)
        self.file.write_bytes(marshal.dumps(state, 2))

    def install(self, names: Mapping[str, str]) -> None:
        self.save(installed={**self.load()["installed"], **names})

    def offer(self, archive: Mapping[str, Any]) -> None:
        self.save(archive={**self.load()["archive"], **archive})

    @property
    def installed(self) -> dict[str, str]:
        return dict(self.load()["installed"])

    def log(self) -> list[str]:
        """Argv of every command that changed something, since the last call."""
        file = Path(str(self.file) + ".log")
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [re.sub(r"-o DPkg::Lock::Timeout=300 ", "", line) for line in lines]

    def files(self) -> dict[str, str]:
        """Every file of the machine with its digest."""
        return {
            str(f.relative_to(self.root)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(self.root.rglob("*"))
            if f.is_file()
        }

    def reboot(self) -> None:
        """The newest kernel comes up; the module that was built for it is loaded, nouveau otherwise."""
        self.put("proc/sys/kernel/random/boot_id", os.urandom(4).hex() + "\n")
        kernel = self.load().get("default") or sorted(p.name for p in (self.root / "lib/modules").iterdir())[-1]
        self.save(kernel=kernel)
        nouveau = self.root / "sys/module/nouveau"
        if nouveau.exists():
            nouveau.rmdir()
        for path in ("sys/module/nvidia/version", "proc/driver/nvidia/version"):
            (self.root / path).unlink(missing_ok=True)
        module = self.root / "sys/module/nvidia"
        if module.exists():
            module.rmdir()
        subprocess.run([self.bin / "modprobe", "nvidia"], env=self.env(), timeout=20, check=False)
        log = Path(str(self.file) + ".log")
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))

    def env(self, **more: str) -> dict[str, str]:
        keep = {k: v for k, v in os.environ.items() if k in ("LANG", "TMPDIR")}
        return {**keep, "PATH": self.path, "HOME": str(self.home / "user"), "FAKE_STATE": str(self.file), **more}

    def run(self, script: str, *words: str, env: Mapping[str, str] | None = None, **more: Any) -> Ended:
        file = self.home / "install.sh"
        file.write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["bash", str(file), *words],
            cwd=self.work,
            env=self.env(**(env or {})),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
            start_new_session=True,  # no terminal to ask
            **more,
        )
        return Ended(done.returncode, (done.stdout + done.stderr).decode(errors="replace"))
