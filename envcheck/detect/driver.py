"""The NVIDIA driver: which version, which module flavour, and in what state.

Order of belief, as the kernel module decides what runs: ``/sys/module/nvidia/version``,
``/proc/driver/nvidia/version``, NVML, ``nvidia-smi``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..host import Host, glob
from ..model import OS, Driver
from ..nvml import NvmlReport
from ..record import dataclass, field
from . import smi
from .pci import Bus

MODULE_VERSION = "/sys/module/nvidia/version"
PROC_VERSION = "/proc/driver/nvidia/version"
LIBRARY_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu/nvidia/current",
    "/usr/lib/aarch64-linux-gnu/nvidia",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/nvidia/lib64",
    "/opt/nvidia/lib64",
    "/run/opengl-driver/lib",
)
_VERSION = re.compile(r"\d{2,4}\.\d{1,3}(?:\.\d{1,3})?")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen of the driver, before it is judged by ``state_of``."""

    loaded: str | None = None  # version of the kernel module that runs now
    module: str | None = None  # proprietary, open
    loaded_source: str | None = None
    libraries: tuple[str, ...] = ()  # versions of libnvidia-ml.so.* on disk
    on_disk: str | None = None  # version of the module that modprobe would load
    modinfo: bool = False  # modinfo was there to ask
    nvml: NvmlReport = field(default_factory=NvmlReport)
    smi: smi.SmiReport | None = None


def parse_module_version(text: str) -> str | None:
    """``/sys/module/nvidia/version``: ``535.104.05\\n``. None for anything that is no driver version."""
    match = _VERSION.fullmatch(text.strip())
    return match[0] if match else None


def parse_proc_version(text: str) -> tuple[str | None, str | None]:
    """(version, ``open`` or ``proprietary``) of ``/proc/driver/nvidia/version``.

    ::

        NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023
        NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  610.43.02  Release Build  (builder@host)
        GCC version:  gcc version 12.2.0 (Debian 12.2.0-14+deb12u1)
    """
    match = re.search(rf"^NVRM version:(.*?Kernel Module.*?)\s({_VERSION.pattern})(?=\s|$)", text[:4096], re.MULTILINE)
    if not match:
        return None, None
    return match[2], "open" if "Open Kernel Module" in match[1] else "proprietary"


def gather(host: Host, os: OS, nvml: NvmlReport) -> Evidence:
    """Everything that can be seen of the driver without root. Never raises."""
    version, source, module = None, None, None
    text = host.read_text(MODULE_VERSION)
    if text is not None:
        version, source = parse_module_version(text), "sysfs"
    text = host.read_text(PROC_VERSION)
    if text is not None:
        proc_version, module = parse_proc_version(text)
        version, source = (version, source) if version else (proc_version, "procfs")
    libraries = _libraries(host) if os.platform == "linux" and nvml.error else ()
    on_disk, asked = None, False
    if os.platform == "linux" and version is None and libraries and os.container is None and os.wsl is None:
        on_disk, asked = _modinfo(host)
    return Evidence(
        loaded=version,
        module=module,
        loaded_source=source if version else None,
        libraries=libraries,
        on_disk=on_disk,
        modinfo=asked,
        nvml=nvml,
        smi=_smi(host, os, nvml),
    )


def _smi(host: Host, os: OS, nvml: NvmlReport) -> smi.SmiReport | None:
    """nvidia-smi uses the same library, so it is asked only where that could not be used from here."""
    if os.platform == "macos" or nvml.error not in ("LIBRARY_NOT_FOUND", "NO_PYNVML", "NOT_RUN", "CRASHED"):
        return None
    return smi.ask(host, wsl=os.wsl is not None)


def _libraries(host: Host) -> tuple[str, ...]:
    found = set()
    for directory in LIBRARY_DIRECTORIES:
        for path in glob(host, f"{directory}/libnvidia-ml.so.*"):
            version = parse_module_version(path.rpartition(".so.")[2])
            found |= {version} if version else set()
    return tuple(sorted(found))


def _modinfo(host: Host) -> tuple[str | None, bool]:
    path = host.which("modinfo") or next((p for p in ("/usr/sbin/modinfo", "/sbin/modinfo") if host.exists(p)), None)
    if path is None:
        return None, False
    result = host.run([path, "-F", "version", "nvidia"], 3.0, label=("modinfo", "-F", "version", "nvidia"))
    return parse_module_version(result.stdout), result.rc is not None


def judge(os: OS, bus: Bus, seen: Evidence) -> tuple[Driver, str | None]:
    """The driver as the evidence tells it, and a sentence about what is wrong (None where nothing is)."""
    nvml, answered = seen.nvml, seen.smi
    if nvml.initialised:
        problem = nvml.message if nvml.error else None
        return _driver(seen, nvml.driver_version, "ok", "nvml", cuda=nvml.cuda_version), problem
    if answered and answered.driver_version:
        return _driver(seen, answered.driver_version, "ok", "nvidia-smi"), None
    if os.platform == "macos":
        return Driver(state="missing"), None
    error = nvml.error if nvml.error not in ("LIBRARY_NOT_FOUND", "NO_PYNVML") else None
    error = error or (answered.error if answered else None)
    message = _message(nvml, answered)
    if seen.loaded:
        return _loaded(os, seen, error, message)
    if os.platform == "linux" and not os.wsl:
        return _not_loaded(os, bus, seen, error, message)
    windows = next((g.driver_version for g in bus.gpus if g.driver_version), None)
    if windows and error is None:
        return Driver(version=windows, state="ok", source="cim"), None
    state = "missing" if error in (None, "NOT_RUN") else "not-loaded" if error == "DRIVER_NOT_LOADED" else "broken"
    return Driver(version=windows, state=state), message if state != "missing" or os.wsl else None


def _driver(
    seen: Evidence, version: str | None, state: str | None, source: str | None, cuda: str | None = None
) -> Driver:
    return Driver(version=version, cuda=cuda, module=seen.module, state=state, source=source)


def _message(nvml: NvmlReport, answered: smi.SmiReport | None) -> str | None:
    """The failure that says most: nvidia-smi's where NVML could not even be opened."""
    if answered and answered.message and nvml.error in ("LIBRARY_NOT_FOUND", "NO_PYNVML", "NOT_RUN"):
        return answered.message
    return nvml.message


def _loaded(os: OS, seen: Evidence, error: str | None, message: str | None) -> tuple[Driver, str | None]:
    """The kernel module runs, its library does not answer."""
    state: str | None = "broken"
    if error is None and seen.nvml.error in ("NO_PYNVML", "NOT_RUN"):
        state = None  # nothing was wrong with the driver: nobody could ask it
    elif error == "LIB_RM_VERSION_MISMATCH":
        state = "mismatch"
        libraries = ", ".join(seen.libraries) or "another version"
        message = f"the kernel module is {seen.loaded} and the libraries are {libraries}: reboot to load the new module"
    elif error == "NO_PERMISSION":
        state = "no-permission"
    elif seen.nvml.error == "LIBRARY_NOT_FOUND" and os.container:
        state = "not-injected"
        message = f"the host's driver {seen.loaded} is loaded, and its libraries were not injected into this container"
    elif os.jetson:
        state, message = "ok", None  # L4T before JetPack 6 has no NVML
    elif seen.nvml.error == "LIBRARY_NOT_FOUND" and not seen.libraries and error is None:
        message = f"the kernel module {seen.loaded} is loaded, and libnvidia-ml.so.1 is not installed"
    return _driver(seen, seen.loaded, state, seen.loaded_source), message


def _not_loaded(os: OS, bus: Bus, seen: Evidence, error: str | None, message: str | None) -> tuple[Driver, str | None]:
    """No module of NVIDIA's runs: nouveau has the card, or it is installed and not loaded, or it is not there."""
    holders = {gpu.driver for gpu in bus.gpus}
    version = seen.on_disk or (seen.libraries[-1] if seen.libraries else None)
    if os.jetson:
        return Driver(state="ok" if not error else "broken", source=None), message if error else None
    if os.container:
        return Driver(state="missing"), message if error else None
    if holders & {"nouveau", "nova", "nova_core"}:
        return Driver(version=version, state="nouveau"), "nouveau has taken the GPU"
    if error == "TIMEOUT":
        return Driver(version=version, state="broken"), message
    if not seen.libraries and seen.on_disk is None:
        return Driver(state="missing"), None
    if seen.modinfo and seen.on_disk is None:
        text = f"the libraries of {version} are installed, and there is no nvidia module for kernel {os.kernel}"
        return Driver(version=version, state="broken", source="files"), text
    return Driver(version=version, state="not-loaded", source="files"), f"driver {version} is installed and not loaded"


def driver_facts(seen: Evidence) -> Mapping[str, Any]:
    """What the checks read beside ``Driver``."""
    return {
        "loaded": seen.loaded,
        "libraries": list(seen.libraries),
        "on_disk": seen.on_disk,
        "nvml_version": seen.nvml.nvml_version,
        "nvml_error": seen.nvml.error,
        "nvml_message": seen.nvml.message,
        "nvml_count": seen.nvml.count,
        "smi_error": seen.smi.error if seen.smi else None,
    }
