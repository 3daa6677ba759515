"""CUDA toolkits and the system's cuDNN: what a compiler would use, never what a wheel of torch loads."""

from __future__ import annotations

import json
import re

from ..host import Host, glob
from ..model import Found

NVCC_TIMEOUT = 5.0  # seconds
CUDNN_HEADERS = (
    "/usr/include/cudnn_version.h",
    "/usr/include/x86_64-linux-gnu/cudnn_version*.h",
    "/usr/include/aarch64-linux-gnu/cudnn_version*.h",
)


def parse_version_json(text: str) -> str | None:
    """``"12.4"`` of a toolkit's ``version.json``::

    {"cuda": {"name": "CUDA SDK", "version": "12.4.20240315"}, "cuda_nvcc": {"name": "...", "version": "12.4.99"}}

    ``cuda_nvcc`` is preferred where it is there: that is what compiles.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for key in ("cuda_nvcc", "cuda_cudart", "cuda"):
        entry = data.get(key) if isinstance(data, dict) else None
        version = entry.get("version") if isinstance(entry, dict) else None
        match = re.match(r"(\d{1,3}\.\d{1,2})(?:\.|$)", version) if isinstance(version, str) else None
        if match:
            return match[1]
    return None


def parse_version_txt(text: str) -> str | None:
    """``"10.2"`` of ``CUDA Version 10.2.89``, which toolkits before 11.1 had."""
    match = re.search(r"CUDA Version (\d{1,3}\.\d{1,2})", text)
    return match[1] if match else None


def parse_nvcc(text: str) -> str | None:
    """``"13.0"`` of nvcc --version::

    nvcc: NVIDIA (R) Cuda compiler driver
    Cuda compilation tools, release 13.0, V13.0.88
    """
    match = re.search(r"Cuda compilation tools, release (\d{1,3}\.\d{1,2})", text)
    return match[1] if match else None


def parse_cudnn_header(text: str) -> str | None:
    """``"8.9.2"`` of cudnn_version.h (cuDNN 7: cudnn.h)::

    #define CUDNN_MAJOR 8
    #define CUDNN_MINOR 9
    #define CUDNN_PATCHLEVEL 2
    """
    numbers = [
        re.search(rf"^[ \t]{{0,9}}#[ \t]{{0,9}}define[ \t]+CUDNN_{part}[ \t]+(\d{{1,4}})\b", text, re.MULTILINE)
        for part in ("MAJOR", "MINOR", "PATCHLEVEL")
    ]
    found = [n[1] for n in numbers if n]
    return ".".join(found) if len(found) == 3 else None


def detect_toolkits(host: Host) -> tuple[Found, ...]:
    """Toolkits in /usr/local and CUDA_HOME by their files (or their nvcc), then the nvcc on PATH if it is another."""
    windows = host.platform.sys_platform == "win32"
    roots = _windows_roots(host) if windows else [*glob(host, "/usr/local/cuda*"), "/opt/cuda"]
    roots += [r for r in (host.environ.get("CUDA_HOME"), host.environ.get("CUDA_PATH")) if r]
    found: dict[str, str] = {}
    for root in dict.fromkeys(map(host.realpath, roots)):
        version = parse_version_json(host.read_text(f"{root}/version.json") or "")
        version = version or parse_version_txt(host.read_text(f"{root}/version.txt") or "")
        own = f"{root}\\bin\\nvcc.exe" if windows else f"{root}/bin/nvcc"
        if version is None and host.exists(own):
            version = _ask(host, own)
        if version:
            found[root] = version
    nvcc = host.which("nvcc")
    if nvcc and re.split(r"[/\\]bin[/\\](?!.*[/\\]bin[/\\])", host.realpath(nvcc))[0] not in found:
        version = _ask(host, nvcc)
        if version and version not in found.values():  # else a wrapper of one that is already known
            found[nvcc] = version
    return tuple(Found(version=version, path=path) for path, version in sorted(found.items()))


def _windows_roots(host: Host) -> list[str]:
    r"""``C:\Program Files\NVIDIA GPU Computing Toolkit\CUDA\v12.4``, where NVIDIA's installer puts each."""
    files = host.environ.get("ProgramW6432") or host.environ.get("ProgramFiles") or r"C:\Program Files"
    home = rf"{files}\NVIDIA GPU Computing Toolkit\CUDA"
    return [f"{home}\\{name}" for name in host.listdir(home, ("v*",)) or ()]


def _ask(host: Host, nvcc: str) -> str | None:
    return parse_nvcc(host.run([nvcc, "--version"], NVCC_TIMEOUT).stdout)


def detect_cudnn(host: Host, toolkits: tuple[Found, ...]) -> tuple[Found, ...]:
    """cuDNN headers of the system. Two names for one file (update-alternatives) count once."""
    beside = [f"{t.path}/include/cudnn_version.h" for t in toolkits if t.path]
    if host.platform.sys_platform == "win32":
        patterns = [*beside, *_windows_cudnn(host)]
    else:
        patterns = [*CUDNN_HEADERS, *beside]
    found: dict[str, str] = {}
    for pattern in patterns:
        for path in glob(host, pattern) if "*" in pattern else [pattern]:
            real = host.realpath(path)
            version = None if real in found else parse_cudnn_header(host.read_text(path) or "")
            if version:
                found[real] = version
    return tuple(Found(version=version, path=path) for path, version in sorted(found.items()))


def _windows_cudnn(host: Host) -> list[str]:
    r"""``C:\Program Files\NVIDIA\CUDNN\v9.1\include\12.4\cudnn_version.h``, of the installer for cuDNN 9."""
    files = host.environ.get("ProgramW6432") or host.environ.get("ProgramFiles") or r"C:\Program Files"
    home, out = rf"{files}\NVIDIA\CUDNN", []
    for version in host.listdir(home, ("v*",)) or ():
        include = rf"{home}\{version}\include"
        out += [rf"{include}\{cuda}\cudnn_version.h" for cuda in host.listdir(include, ("1*",)) or ()]
    return out
