"""One funnel over pynvml: plain data, from a child process with a deadline. ``child.py`` alone imports pynvml.

A driver in trouble makes ``nvmlInit`` hang or abort the process that called it, so the calls happen in a child
that writes one JSON object a line, each before or after a step; what was said before it hung is kept::

    {"stage": "nvmlInit"}
    {"system": {"driver_version": "535.104.05", "cuda_driver_version": 12020, "count": 2}}
    {"stage": "nvmlDeviceGetHandleByIndex(0)"}
    {"gpu": {"index": 0, "name": "NVIDIA GeForce RTX 4090", "memory": 25757220864, ...}}
    {"done": true}

Instead of ``done``, ``{"error": {"code": 18, "name": "LIB_RM_VERSION_MISMATCH", "text": "..."}}`` ends a failure.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..record import dataclass, field

if TYPE_CHECKING:
    from ..host import CommandResult, Host

TIMEOUT = 5.0  # seconds; a healthy nvmlInit takes 0.02 to 2 s (many GPUs, no persistence mode)
TIMEOUT_VARIABLE = "ENVCHECK_NVML_TIMEOUT"
LABEL = ("envcheck.nvml",)
CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")


@dataclass(frozen=True, kw_only=True)
class NvmlGpu:
    """One device as NVML tells it; ``errors`` are ``NAME on function`` for calls that failed for a bad reason."""

    index: int
    name: str | None = None
    uuid: str | None = None
    bus_id: str | None = None  # "0000:01:00.0": lower case, domain of four digits or more
    pci_id: str | None = None  # "10de:2684"
    subsystem_id: str | None = None
    memory_mib: int | None = None
    compute_capability: str | None = None
    mig: bool | None = None
    ecc: bool | None = None
    compute_mode: int | None = None  # NVML's own number
    errors: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # as `nvml.details.describe` names them


@dataclass(frozen=True, kw_only=True)
class NvmlReport:
    """``error`` None: NVML answered to the end. Else a name: ``DRIVER_NOT_LOADED``, ``TIMEOUT``, ``CRASHED``, ..."""

    driver_version: str | None = None
    nvml_version: str | None = None
    cuda_version: str | None = None  # newest CUDA of the driver: "12.2"
    count: int | None = None
    gpus: tuple[NvmlGpu, ...] = ()
    error: str | None = None
    code: int | None = None  # NVML's return code, where it gave one
    message: str | None = None  # a sentence

    @property
    def initialised(self) -> bool:
        """NVML could be talked to: the driver is loaded and fits its library."""
        return self.driver_version is not None


def query(
    host: Host, timeout: float | None = None, extra_library_path: str | None = None, full: bool = False
) -> NvmlReport:
    """Ask NVML in a child process. Never raises and never takes longer than ``timeout`` seconds and a bit.

    ``extra_library_path`` is appended to LD_LIBRARY_PATH (WSL keeps the library in a directory of its own).
    ``full`` asks for the details of each GPU too: memory in use, clocks, ECC, links, licence.
    """
    seconds = timeout if timeout is not None else _configured_timeout(host.environ)
    env = {}
    if extra_library_path:
        own = host.environ.get("LD_LIBRARY_PATH", "")
        env["LD_LIBRARY_PATH"] = f"{own}:{extra_library_path}" if own else extra_library_path
    argv = [sys.executable, CHILD, *(["full"] if full else [])]
    result = host.run(argv, seconds, env=env, label=LABEL)
    return parse_child(result, seconds)


def _configured_timeout(environ: Mapping[str, str]) -> float:
    try:
        return min(max(float(environ.get(TIMEOUT_VARIABLE, "")), 0.1), 120.0)
    except ValueError:
        return TIMEOUT


def parse_child(result: CommandResult, seconds: float) -> NvmlReport:
    """From the child's lines to a report. Any text is accepted; what is no line of ours is ignored."""
    stage, system, gpus, error, done = "start", {}, [], None, False
    details: dict[int, Mapping[str, Any]] = {}
    lost: dict[int, tuple[str, ...]] = {}
    for line in result.stdout.splitlines():
        item = _line(line)
        stage = str(item.get("stage", stage))
        done = done or item.get("done") is True
        if isinstance(item.get("system"), dict):
            system = item["system"]
        if isinstance(item.get("error"), dict):
            error = item["error"]
        if isinstance(item.get("gpu"), dict):
            gpu = _gpu(item["gpu"])
            gpus += [gpu] if gpu else []
        more = item.get("details")
        if isinstance(more, dict) and isinstance(item.get("index"), int):
            details[item["index"]] = more
            told = item.get("errors")
            lost[item["index"]] = tuple(map(str, told)) if isinstance(told, list) else ()
    gpus = [
        replace(gpu, details=details.get(gpu.index, {}), errors=(*gpu.errors, *lost.get(gpu.index, ()))) for gpu in gpus
    ]
    name, code, message = _failure(result, error, done, stage, seconds)
    return NvmlReport(
        driver_version=_text(system.get("driver_version")),
        nvml_version=_text(system.get("nvml_version")),
        cuda_version=_cuda(system.get("cuda_driver_version")),
        count=_number(system.get("count")),
        gpus=tuple(gpus),
        error=name,
        code=code,
        message=message,
    )


def _failure(
    result: CommandResult, error: dict[str, Any] | None, done: bool, stage: str, seconds: float
) -> tuple[str | None, int | None, str | None]:
    if result.timed_out:
        tail = result.stderr.rstrip().rpartition("\n")[2]
        note = f"; {tail}" if "hangs in the kernel" in tail else ""
        return "TIMEOUT", None, f"{stage} did not answer in {seconds:g} s{note}"
    if error is not None:
        name = _text(error.get("name")) or "UNKNOWN"
        return name, _number(error.get("code")), f"{_text(error.get('text')) or name} ({name}, in {stage})"
    if done:
        return None, None, None
    if result.rc is None:
        return "NOT_RUN", None, f"the process that asks NVML could not be started: {result.stderr.strip()}"
    if result.rc < 0:
        return "CRASHED", None, f"NVML crashed with signal {-result.rc} in {stage}"
    return "CRASHED", None, f"the process that asks NVML ended with code {result.rc} in {stage}: {_last(result.stderr)}"


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2][:200] or "it said nothing"


def _line(line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        return {}
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return item if isinstance(item, dict) else {}


def _gpu(data: dict[str, Any]) -> NvmlGpu | None:
    index, errors = _number(data.get("index")), data.get("errors")
    if index is None:
        return None
    memory = _number(data.get("memory"))
    return NvmlGpu(
        index=index,
        name=_text(data.get("name")),
        uuid=_text(data.get("uuid")),
        bus_id=normal_bus_id(_text(data.get("bus_id"))),
        pci_id=_pci_id(_number(data.get("pci_device_id"))),
        subsystem_id=_pci_id(_number(data.get("pci_subsystem_id"))),
        memory_mib=None if memory is None else memory >> 20,
        compute_capability=_capability(data.get("compute_capability")),
        mig=_flag(data.get("mig")),
        ecc=_flag(data.get("ecc")),
        compute_mode=_number(data.get("compute_mode")),
        errors=tuple(str(e) for e in errors) if isinstance(errors, list) else (),
    )


def normal_bus_id(text: str | None) -> str | None:
    """NVML's ``00000000:3B:00.0`` as sysfs writes it, ``0000:3b:00.0``; None for anything else."""
    domain, _, rest = (text or "").lower().partition(":")
    if not rest or not all(c in "0123456789abcdef" for c in domain):
        return None
    return f"{domain.lstrip('0').rjust(4, '0')}:{rest}"


def _pci_id(number: int | None) -> str | None:
    """NVML's ``0x268410DE`` as lspci writes it, ``10de:2684``; zero means that it was not said."""
    return f"{number & 0xFFFF:04x}:{number >> 16 & 0xFFFF:04x}" if number else None


def _cuda(value: Any) -> str | None:
    number = _number(value)
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _capability(value: Any) -> str | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    major, minor = _number(value[0]), _number(value[1])
    return None if major is None or minor is None else f"{major}.{minor}"
