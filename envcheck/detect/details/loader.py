"""Which copy of CUDA's libraries the dynamic loader would give to a program, and where it differs from torch's own.

The order is the loader's: LD_PRELOAD, LD_LIBRARY_PATH, then the cache (``ldconfig -p``). torch's libraries name their
neighbours by DT_RPATH, which comes before all of it; NVIDIA's wheels use DT_RUNPATH, which comes after
LD_LIBRARY_PATH: that is how a toolkit's older libnvJitLink gets in between.
"""

from __future__ import annotations

import re
from typing import Any

from ...host import Host
from ...model import Machine
from ..python import Found

TIMEOUT = 3.0  # seconds
# library -> the wheel that brings it, without its CUDA major
WHEELS = {
    "libcudnn": "nvidia-cudnn",
    "libcublas": "nvidia-cublas",
    "libcublasLt": "nvidia-cublas",
    "libnvJitLink": "nvidia-nvjitlink",
    "libnccl": "nvidia-nccl",
    "libcudart": "nvidia-cuda-runtime",
    "libnvrtc": "nvidia-cuda-nvrtc",
    "libcusparse": "nvidia-cusparse",
}
# the same libraries as Windows names them: libcudnn.so.9 is cudnn64_9.dll there
NAMES_OF_DLLS = {
    "cudnn64_": "libcudnn",
    "cublas64_": "libcublas",
    "cublasLt64_": "libcublasLt",
    "nvJitLink_": "libnvJitLink",
    "cudart64_": "libcudart",
    "nvrtc64_": "libnvrtc",
    "cusparse64_": "libcusparse",
}
STEMS = (*WHEELS, "libcuda", "libcupti", "libstdc++", "libnvidia-ml")
PATTERNS = tuple(f"{stem}.so*" for stem in STEMS)
_NAME = re.compile(r"(lib[\w+-]+)\.so(?:\.(\d[\d.]*))?$")
_CACHED = re.compile(r"\s*(lib[\w+.-]{2,60}) \(([^)]{3,60})\) => (\S{2,300})$", re.MULTILINE)
_GREP = '"$1" -p | grep -aE "lib(cuda|cudnn|cublas|nvJitLink|nccl|cudart|nvrtc|cupti|stdc|nvidia-ml|cusparse)"'


def gather(host: Host, machine: Machine, found: Found | None) -> dict[str, Any]:
    """``loaded_libraries``, ``library_conflicts``, ``compat``, ``libstdcxx_lacks``."""
    early = _paths(host)
    cached = _cache(host)
    facts: dict[str, Any] = {}
    if cached is not None:
        facts["loaded_libraries"] = [*early, *cached]
    elif early:
        facts["loaded_libraries"] = early
    facts["library_conflicts"] = conflicts(early, machine)
    if found is not None and machine.torch is not None and machine.torch.cuda:
        facts["torch_libraries"] = _for_torch(host, found, machine, early, cached or [])
    compat = _compat(host, [*early, *(cached or ())])
    if compat:
        facts["compat"] = compat
    lacks = _libstdcxx(host, early, found)
    if lacks is not None:
        facts["libstdcxx_lacks"] = lacks
    return facts


# where a library lies in the wheels, below site-packages: one folder each until CUDA 12, one for all in CUDA 13
FOLDERS = {
    "libcudnn": ("nvidia/cudnn/lib",),
    "libcublas": ("nvidia/cublas/lib", "nvidia/cu13/lib"),
    "libcublasLt": ("nvidia/cublas/lib", "nvidia/cu13/lib"),
    "libnvJitLink": ("nvidia/nvjitlink/lib", "nvidia/cu13/lib"),
    "libnccl": ("nvidia/nccl/lib",),
    "libcudart": ("nvidia/cuda_runtime/lib", "nvidia/cu13/lib"),
}
BY_RUNPATH = ("libnvJitLink",)  # wanted by a wheel, whose DT_RUNPATH comes after LD_LIBRARY_PATH


def _for_torch(
    host: Host, found: Found, machine: Machine, early: list[dict[str, Any]], cached: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """``torch_libraries``: of each library the copy that torch would get, in the loader's own order."""
    sites = [d for d in found.path if "-packages" in d]
    out = []
    for stem, folders in FOLDERS.items():
        named = re.compile(re.escape(stem) + r"\.so(\.\d+)?$")
        own = _own_copies(host, stem, [f"{d}/{f}" for d in sites for f in (*folders, "torch/lib")], machine)
        if found.python.environment == "conda" and found.prefix:
            own += _own_copies(host, stem, [f"{found.prefix}/lib"], machine)
        outside = [e for e in early if named.match(e["name"])]
        preload = [e for e in outside if e["from"] == "LD_PRELOAD"]
        rest = [e for e in outside if e["from"] != "LD_PRELOAD"]
        ordered = [*preload, *rest, *own] if stem in BY_RUNPATH else [*preload, *own, *rest]
        ordered += [e for e in cached if named.match(e["name"])]
        out += ordered[:1]
    return out


def _own_copies(host: Host, stem: str, directories: list[str], machine: Machine) -> list[dict[str, Any]]:
    """A library of the environment: its version by a longer file name beside it, else by its wheel's."""
    out = []
    for directory in directories:
        names = host.listdir(directory, (f"{stem}.so*", f"{stem}-*.so*")) or ()
        # wheels of old torch carry a hash in the name: libcudart-d0da41ae.so.11.0
        name = next((n for n in names if re.fullmatch(re.escape(stem) + r"(?:-[0-9a-f]{8})?\.so\.\d[\d.]*", n)), None)
        if name:
            wheel = wheel_of(machine, WHEELS[stem])[1] if "/nvidia/" in directory else None
            origin = "wheel" if "/nvidia/" in directory else "torch" if directory.endswith("/torch/lib") else "conda"
            version = version_of(name, names) or wheel
            out.append({"name": name, "path": f"{directory}/{name}", "from": origin, "version": version})
    return out


def _paths(host: Host) -> list[dict[str, Any]]:
    """What LD_PRELOAD and LD_LIBRARY_PATH bring, with the version that a longer file name beside it tells."""
    out = []
    for path in re.split(r"[:\s]+", host.environ.get("LD_PRELOAD", "")):
        name = path.rpartition("/")[2]
        if _NAME.match(name) and name.startswith(STEMS):
            out.append({"name": name, "path": path, "from": "LD_PRELOAD", "version": None})
    for directory in host.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if not directory.startswith("/"):
            continue
        names = host.listdir(directory, PATTERNS) or ()
        for name in names:
            match = _NAME.match(name)
            if match and (match[2] is None or "." not in match[2]):
                path = f"{directory.rstrip('/')}/{name}"
                entry = {"name": name, "path": path, "from": "LD_LIBRARY_PATH", "version": version_of(name, names)}
                out.append(entry)
    return out


def version_of(name: str, names: tuple[str, ...]) -> str | None:
    """``12.1.105`` of libnvJitLink.so.12, where libnvJitLink.so.12.1.105 lies beside it."""
    longer = [m[1] for n in names if (m := re.fullmatch(re.escape(name) + r"\.([\d.]+)", n))]
    if not longer:
        return None
    tail = name.partition(".so")[2].lstrip(".")
    best = max(longer, key=len)
    return f"{tail}.{best}" if tail else best


def _cache(host: Host) -> list[dict[str, Any]] | None:
    path = host.which("ldconfig") or next((p for p in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if host.exists(p)), None)
    if path is None:
        return None
    result = host.run(["/bin/sh", "-c", _GREP, "sh", path], TIMEOUT, label=("ldconfig", "-p"))
    if result.rc not in (0, 1):  # 1: grep found nothing
        return None
    wide = [m for m in _CACHED.finditer(result.stdout) if "libc6" in m[2] and ("64" in m[2] or "AArch" in m[2])]
    return [{"name": m[1], "path": m[3], "from": "ldconfig"} for m in wide]


def conflicts(early: list[dict[str, Any]], machine: Machine) -> list[dict[str, Any]]:
    """Copies on LD_PRELOAD or LD_LIBRARY_PATH, of another version than the wheel's library of the same name."""
    found = []
    for entry in early:
        match = _NAME.match(entry["name"])
        if not match or match[1] not in WHEELS or not match[2] or "/site-packages/" in entry["path"]:
            continue
        package, wheel = wheel_of(machine, WHEELS[match[1]])
        if wheel is None or entry["version"] is None or match[2] != wheel.split(".")[0]:
            continue
        have, want = _numbers(entry["version"]), _numbers(wheel)
        size = min(len(have), len(want))
        if have[:size] != want[:size]:
            row = {"name": entry["name"], "path": entry["path"], "version": entry["version"], "package": package}
            found.append({**row, "wheel": wheel, "older": have[:size] < want[:size]})
    return found


def wheel_of(machine: Machine, stem: str) -> tuple[str | None, str | None]:
    """(name, version) of the installed wheel ``stem``, of whatever CUDA major."""
    for name, version in machine.packages.items():
        if re.fullmatch(re.escape(stem) + r"(?:-cu\d\d)?", name):
            return name, version
    return None, None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _compat(host: Host, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The libcuda that comes first, where it is one of cuda-compat, and its driver version."""
    first = next((e for e in entries if e["name"] == "libcuda.so.1"), None)
    if first is None or "/compat" not in first["path"]:
        return None
    names = host.listdir(first["path"].rpartition("/")[0], PATTERNS) or ()
    match = next((m for n in names if (m := re.fullmatch(r"libcuda\.so\.(\d{3,4}\.\d{1,3}(?:\.\d{1,3})?)", n))), None)
    return {"path": first["path"], "version": match[1] if match else None, "from": first["from"]}


def _libstdcxx(host: Host, early: list[dict[str, Any]], found: Found | None) -> list[str] | None:
    """What the environment's own libstdc++ has and the one on LD_LIBRARY_PATH, which hides it, has not.

    None where the environment brings none (it then uses the system's, as everything else does).
    """
    own = host.listdir(f"{found.prefix}/lib", ("libstdc++.so*",)) if found and found.prefix else None
    wanted = version_of("libstdc++.so.6", own or ())
    if wanted is None:
        return None
    first = next((e for e in early if e["name"] == "libstdc++.so.6"), None)
    have = first["version"] if first else None
    if have is None or _numbers(have) >= _numbers(wanted):
        return []
    return [f"GLIBCXX_3.4.{wanted.rpartition('.')[2]}"]


def dll_entry(path: str) -> dict[str, Any]:
    """An entry of ``loaded_libraries`` for a DLL: the number in its name is CUDA's, or cuDNN's, major (and minor)."""
    name = path.rpartition("\\")[2]
    number = re.search(r"_(\d{1,3})(?:_\d+)?\.dll$", name)
    return {"name": name, "path": path, "from": "PATH", "version": number[1] if number else None}
