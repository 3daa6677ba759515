"""What the METADATA of a wheel asks for: its CUDA, cuDNN, NCCL and triton, and the torch of a companion."""

from __future__ import annotations

import email.parser
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import InputError

EXACT = ("==", "===", "~=")  # "~=3.8.0" still names the minor release that was tested
FIELDS = (
    ("cudnn", re.compile(r"nvidia-cudnn(-cu\d+)?")),
    ("nccl", re.compile(r"nvidia-nccl(-cu\d+)?")),
    ("triton", re.compile(r"(pytorch-)?triton")),
    ("cuda", re.compile(r"cuda-toolkit|nvidia-cuda-runtime(-cu\d+)?")),
    ("torch", re.compile(r"torch")),
)
SYSTEMS = {
    "linux": ("Linux", "linux", "posix"),
    "windows": ("Windows", "win32", "nt"),
    "macos": ("Darwin", "darwin", "posix"),
}
MACHINES = {"windows-x86_64": "AMD64"}


@dataclass(frozen=True, kw_only=True)
class Pins:
    """Exact versions, None where the METADATA names none. ``cuda`` is major.minor: ``"12.1"``."""

    cuda: str | None = None
    cudnn: str | None = None
    nccl: str | None = None
    triton: str | None = None
    torch: str | None = None


def environment(platform: str, python: str) -> dict[str, str]:
    """The marker environment of a platform key (``linux-x86_64``) and a Python (``3.13``, ``3.13t``)."""
    system, _, machine = platform.partition("-")
    if system not in SYSTEMS:
        raise InputError(f"unknown platform {platform!r}; known are linux, windows and macos with a machine name")
    version = python.rstrip("t")
    platform_system, sys_platform, os_name = SYSTEMS[system]
    return {
        "platform_system": platform_system,
        "sys_platform": sys_platform,
        "os_name": os_name,
        "platform_machine": MACHINES.get(platform, machine),
        "python_version": version,
        "python_full_version": f"{version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def requirements(metadata: str) -> list[Requirement]:
    """Every Requires-Dist that can be read; METADATA of 2023 writes ``triton (==2.0.0) ; ...``."""
    message = email.parser.HeaderParser().parsestr(metadata)
    found = []
    for line in message.get_all("Requires-Dist") or []:
        try:
            found.append(Requirement(str(line)))
        except InvalidRequirement as error:
            raise InputError(
                f"the METADATA of a wheel holds a requirement that cannot be read: {line} ({error})"
            ) from None
    return found


def pins(metadata: str, platform: str, python: str) -> Pins:
    """The exact pins that hold on one platform and Python."""
    return _select(requirements(metadata), environment(platform, python))


def _select(found: list[Requirement], where: Mapping[str, str]) -> Pins:
    result = Pins()
    for requirement in found:
        exact = [spec.version for spec in requirement.specifier if spec.operator in EXACT]
        if len(exact) != 1 or (requirement.marker and not requirement.marker.evaluate(dict(where))):
            continue
        for field, pattern in FIELDS:
            if pattern.fullmatch(requirement.name.lower().replace("_", "-")):
                version = ".".join(exact[0].split(".")[:2]) if field == "cuda" else exact[0]
                result = replace(result, **{field: version})
    return result
