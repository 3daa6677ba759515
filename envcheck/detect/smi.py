"""``nvidia-smi --query-gpu``: the fallback where NVML cannot be loaded from here, and its many ways to fail."""

from __future__ import annotations

import re

from ..host import CommandResult, Host
from ..nvml import normal_bus_id
from ..record import dataclass

TIMEOUT = 5.0  # seconds
FIELDS = ("index", "name", "driver_version", "memory.total", "pci.bus_id", "uuid", "pci.device_id", "pci.sub_device_id")
LABEL = ("nvidia-smi", "--query-gpu")
WSL_DIRECTORY = "/usr/lib/wsl/lib"
CANDIDATES = {
    # a distribution's own nvidia-smi before WSL's on PATH cannot talk to the Windows driver
    "wsl": (f"{WSL_DIRECTORY}/nvidia-smi",),
    "linux": ("/usr/bin/nvidia-smi", "/opt/bin/nvidia-smi", "/home/kubernetes/bin/nvidia/bin/nvidia-smi"),
}

DRIVER = re.compile(r"\d{3,4}\.\d{1,3}(?:\.\d{1,3})?")

# message -> the name that NVML gives the same state
FAILURES = (
    ("driver/library version mismatch", "LIB_RM_VERSION_MISMATCH"),
    ("couldn't communicate with the nvidia driver", "DRIVER_NOT_LOADED"),
    ("driver not loaded", "DRIVER_NOT_LOADED"),
    ("driver is not loaded", "DRIVER_NOT_LOADED"),
    ("gpu access blocked by the operating system", "OPERATING_SYSTEM"),
    ("insufficient permissions", "NO_PERMISSION"),
    ("couldn't find libnvidia-ml", "LIBRARY_NOT_FOUND"),
    ("nvml shared library", "LIBRARY_NOT_FOUND"),
    ("no devices were found", "NO_DEVICES"),
    ("unable to determine the device handle", "UNKNOWN"),
    ("gpu is lost", "GPU_IS_LOST"),
    ("command not found", "NOT_RUN"),
    ("failed to initialize nvml", "UNKNOWN"),
)


@dataclass(frozen=True, kw_only=True)
class SmiGpu:
    index: int | None = None
    name: str | None = None
    driver_version: str | None = None
    memory_mib: int | None = None
    bus_id: str | None = None
    uuid: str | None = None
    compute_capability: str | None = None
    pci_id: str | None = None
    subsystem_id: str | None = None
    mig: bool | None = None
    ecc: bool | None = None


@dataclass(frozen=True, kw_only=True)
class SmiReport:
    gpus: tuple[SmiGpu, ...] = ()
    error: str | None = None  # NVML's name for the state, or TIMEOUT, NOT_RUN, GARBAGE
    message: str | None = None

    @property
    def driver_version(self) -> str | None:
        return next((g.driver_version for g in self.gpus if g.driver_version), None)


def parse_query(text: str, fields: tuple[str, ...] | None = None) -> tuple[SmiGpu, ...]:
    """Rows of ``--query-gpu=... --format=csv``; ``fields`` where ``noheader`` was asked for.

    ::

        index, name, driver_version, memory.total [MiB], pci.bus_id
        0, NVIDIA GeForce RTX 4090, 535.104.05, 24564 MiB, 00000000:01:00.0
        1, [Unknown Error], 535.104.05, [N/A], 00000000:02:00.0

    Warnings between the rows (``WARNING: infoROM is corrupted at gpu 0000:0A:00.0``) and rows with another number
    of columns are left out.
    """
    found = []
    for line in filter(None, text.replace("\r", "\n").split("\n")):
        cells = [cell.strip() for cell in line.split(",")]
        names = [cell.partition("[")[0].rstrip() for cell in cells]
        if len(names) > 1 and {"name", "driver_version", "index"} & set(names):
            fields = tuple(names)
        elif fields and len(cells) == len(fields):
            row = dict(zip(fields, cells, strict=True))
            if _plausible(row):
                found.append(_gpu({k: v for k, v in row.items() if v and not v.startswith("[")}))
    return tuple(found)


def _plausible(row: dict[str, str]) -> bool:
    index, version = row.get("index", "0"), row.get("driver_version", "[N/A]")
    return index.isdecimal() and (version.startswith("[") or DRIVER.fullmatch(version) is not None)


def _gpu(row: dict[str, str]) -> SmiGpu:
    memory = re.match(r"(\d{1,9})(?: MiB)?$", row.get("memory.total", ""))
    capability = re.match(r"\d{1,2}\.\d$", row.get("compute_cap", ""))
    index = row.get("index", "")
    return SmiGpu(
        index=int(index) if index.isdecimal() and len(index) < 6 else None,
        name=row.get("name"),
        driver_version=row.get("driver_version"),
        memory_mib=int(memory[1]) if memory else None,
        bus_id=normal_bus_id(row.get("pci.bus_id")),
        uuid=row.get("uuid"),
        compute_capability=capability[0] if capability else None,
        pci_id=_pci_id(row.get("pci.device_id")),
        subsystem_id=_pci_id(row.get("pci.sub_device_id")),
        mig=_mode(row.get("mig.mode.current")),
        ecc=_mode(row.get("ecc.mode.current")),
    )


def _mode(value: str | None) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(value or "")


def _pci_id(value: str | None) -> str | None:
    """``10de:2684`` of nvidia-smi's ``0x268410DE``."""
    match = re.fullmatch(r"0x([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})", value or "")
    return f"{match[2]}:{match[1]}".lower() if match else None


def parse_failure(text: str) -> tuple[str, str] | None:
    """NVML's name for what nvidia-smi complains about, and the line; None where it does not complain.

    ::

        Failed to initialize NVML: Driver/library version mismatch
        NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that ...
        No devices were found
    """
    for needle, name in FAILURES:
        for line in text.splitlines():
            if needle in line.lower():
                return name, line.strip()[:300]
    return None


def ask(host: Host, wsl: bool) -> SmiReport | None:
    """Run the first nvidia-smi that answers; None where there is none. Never raises."""
    last: SmiReport | None = None
    for path in _candidates(host, wsl):
        argv = [path, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader"]
        last = read(host.run(argv, TIMEOUT, label=(*LABEL, path)))
        if last.error in (None, "TIMEOUT"):  # a second one would wait for the same driver
            return last
    return last


def _candidates(host: Host, wsl: bool) -> list[str]:
    places = _windows(host) if host.platform.sys_platform == "win32" else CANDIDATES["wsl" if wsl else "linux"]
    fixed = [path for path in places if host.exists(path)]
    on_path = host.which("nvidia-smi")
    found = [*fixed, on_path] if wsl else [on_path, *fixed]
    return list(dict.fromkeys(path for path in found if path))


def _windows(host: Host) -> tuple[str, ...]:
    """System32 since the DCH drivers of 2018, before them a folder of its own that is not on PATH."""
    root = host.environ.get("SystemRoot", r"C:\Windows")
    files = host.environ.get("ProgramW6432") or host.environ.get("ProgramFiles") or r"C:\Program Files"
    return (rf"{root}\System32\nvidia-smi.exe", rf"{files}\NVIDIA Corporation\NVSMI\nvidia-smi.exe")


def read(result: CommandResult) -> SmiReport:
    """What a run of nvidia-smi says, hostile output included."""
    if result.timed_out:
        return SmiReport(error="TIMEOUT", message=f"nvidia-smi did not answer in {TIMEOUT:g} s")
    if result.rc is None:
        return SmiReport(error="NOT_RUN", message=f"nvidia-smi could not be started: {result.stderr.strip()[:200]}")
    gpus = parse_query(result.stdout, FIELDS)
    failure = parse_failure(f"{result.stdout}\n{result.stderr}")
    if gpus and (result.rc == 0 or failure is None):
        return SmiReport(gpus=gpus)
    if failure:
        return SmiReport(gpus=gpus, error=failure[0], message=f"nvidia-smi: {failure[1]}")
    said = (result.stdout + result.stderr).strip().partition("\n")[0][:120] or "nothing"
    return SmiReport(error="GARBAGE", message=f"nvidia-smi ended with code {result.rc} and said {said!r}")
