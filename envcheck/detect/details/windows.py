r"""What Windows has of the driver, the Visual C++ runtime and CUDA's DLLs, and in which order programs find them."""

from __future__ import annotations

import re
from typing import Any

from ...host import Host
from ..python import Found
from .loader import NAMES_OF_DLLS, dll_entry

TIMEOUT = 3.0  # seconds; reg.exe takes some 30 ms
LONG_PATHS = (r"HKLM\SYSTEM\CurrentControlSet\Control\FileSystem", "LongPathsEnabled")
VC_RUNTIME = (r"HKLM\SOFTWARE\Microsoft\VisualStudio\14.0\VC\Runtimes\X64", "Version")
DLL_PATTERNS = tuple(f"{stem}*.dll" for stem in NAMES_OF_DLLS)
_VALUE = re.compile(r"^\s+(\S+)\s+REG_(SZ|EXPAND_SZ|DWORD)\s+(\S[^\r\n]*?)\s*$", re.MULTILINE)


def parse_reg(text: str, name: str) -> str | int | None:
    r"""One value of ``reg query KEY /v NAME``, whose words no language pack translates::

    HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\FileSystem
        LongPathsEnabled    REG_DWORD    0x1
    """
    for key, kind, value in _VALUE.findall(text[:20_000]):
        if key.lower() != name.lower():
            continue
        if kind != "DWORD":
            return str(value)[:200]
        return int(value, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,8}", value) else None
    return None


def gather(host: Host, found: Found | None) -> dict[str, Any]:
    """``windows`` (``nvml_dll``, ``nvcuda_dll``, ``long_paths``), ``vcruntime``, ``loaded_libraries`` (of PATH)."""
    root = host.environ.get("SystemRoot", r"C:\Windows")
    system = rf"{root}\System32"
    old = rf"{program_files(host)}\NVIDIA Corporation\NVSMI\nvml.dll"  # drivers before DCH ones of 2018
    places = (rf"{system}\nvml.dll", old)
    long_paths = _registry(host, *LONG_PATHS)
    facts: dict[str, Any] = {
        "windows": {
            "nvml_dll": next((p for p in places if host.exists(p)), None),
            "nvcuda_dll": rf"{system}\nvcuda.dll" if host.exists(rf"{system}\nvcuda.dll") else None,
            "long_paths": bool(long_paths) if isinstance(long_paths, int) else None,
            "site_packages": max((len(p) for p in found.path if "site-packages" in p.lower()), default=0)
            if found
            else 0,
        },
        "vcruntime": _vcruntime(host, system),
        "libomp140": _libomp(host, system, found),
    }
    facts["loaded_libraries"] = _on_path(host)
    return facts


def program_files(host: Host) -> str:
    """ProgramW6432 is the 64-bit folder for a 32-bit Python too."""
    return host.environ.get("ProgramW6432") or host.environ.get("ProgramFiles") or r"C:\Program Files"


def _registry(host: Host, key: str, name: str) -> str | int | None:
    result = host.run(["reg", "query", key, "/v", name], TIMEOUT, label=("reg", "query", name))
    return parse_reg(result.stdout, name) if result.rc == 0 else None


def _vcruntime(host: Host, system: str) -> str | None:
    """The version that its installer registered, ``installed`` where only the DLLs tell, None where they are absent."""
    if not all(host.exists(rf"{system}\{name}") for name in ("msvcp140.dll", "vcruntime140_1.dll")):
        return None
    told = _registry(host, *VC_RUNTIME)
    version = re.fullmatch(r"v?(\d{2}\.\d{1,3}(?:\.\d{1,6}){0,2})", told) if isinstance(told, str) else None
    return version[1] if version else "installed"


def _libomp(host: Host, system: str, found: Found | None) -> bool:
    """Whether libomp140.x86_64.dll is there, in Windows or beside torch's own DLLs."""
    name = "libomp140.x86_64.dll"
    beside = (rf"{d}\torch\lib\{name}" for d in (found.path if found else ()))
    return any(host.exists(p) for p in (rf"{system}\{name}", *beside))


def _on_path(host: Host) -> list[dict[str, Any]]:
    """CUDA's DLLs in the directories of PATH, in its order: a program that does not name a directory gets the first."""
    out: list[dict[str, Any]] = []
    directories = host.environ.get("PATH", "").split(";")
    for directory in dict.fromkeys(d.strip().strip('"').rstrip("\\") for d in directories[:120]):
        if re.match(r"[A-Za-z]:\\", directory):
            out += [dll_entry(f"{directory}\\{n}") for n in host.listdir(directory, DLL_PATTERNS) or ()]
    return out[:60]
