"""Host -> Machine. Looks, never judges, never raises: a probe that fails is named in ``Machine.problems``."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ..host import Host
from ..model import OS, Driver, Found, Gpu, Machine, Python, Torch
from ..nvml import NvmlReport, query
from . import driver as driver_probe
from . import gpus as gpu_probe
from . import pci, smi, toolkits, torch
from . import python as interpreters
from .env import relevant
from .os import detect_os

T = TypeVar("T")

_NO_FOUND: tuple[Found, ...] = ()
_NO_GPUS: tuple[Gpu, ...] = ()
_NO_PYTHONS: tuple[Python, ...] = ()
_NO_TOOLS: dict[str, str] = {}
_NO_TEXT: str | None = None
_NO_VERDICT: tuple[Driver, str | None] = (Driver(), None)
_NO_ANSWER: tuple[interpreters.Found | None, str | None] = (None, None)
_NO_TORCH: tuple[Torch | None, dict[str, str]] = (None, {})


class _Probes:
    """Runs each probe so that one that fails costs its own answer and nothing else."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def run(self, name: str, default: T, function: Callable[..., T], *args: Any) -> T:
        try:
            return function(*args)
        except Exception as error:  # noqa: BLE001 - a bad probe is a finding of its own, never the end of the report
            self.problems[name] = f"envcheck could not look: {type(error).__name__}: {error}"
            return default

    def note(self, name: str, text: str | None) -> None:
        if text:
            self.problems.setdefault(name, text)


def detect(
    host: Host,
    python: str | None = None,
    nvml_timeout: float | None = None,
    *,
    full: bool = False,
    interpreters_too: bool = True,
) -> Machine:
    """Everything that the planner needs to know of a host. ``python`` is the target interpreter (a path or a name).

    ``full`` adds what only the checks read (``detect.details``). ``interpreters_too`` False leaves the further
    interpreters on PATH alone: starting them all takes longer than the rest. Takes at most the deadlines of the
    probes: NVML is asked beside the rest.
    """
    probes, facts = _Probes(), dict[str, Any]()
    os = probes.run("os", OS(), detect_os, host, facts, probes.problems)
    asked = _Later(probes, os, host, nvml_timeout, full)
    bus = probes.run("bus", pci.Bus(readable=False), _bus, host, os)
    target, torch_found, packages = _environment(host, python, probes, facts)
    found_toolkits = probes.run("toolkits", _NO_FOUND, toolkits.detect_toolkits, host)
    cudnn = probes.run("cudnn", _NO_FOUND, toolkits.detect_cudnn, host, found_toolkits)
    others = probes.run("pythons", _NO_PYTHONS, interpreters.others, host, target) if interpreters_too else ()
    tools = probes.run("tools", _NO_TOOLS, interpreters.tools, host)
    if full:
        from . import details

        facts.update(details.Early(host, os, target, probes.run).facts)
    driver, gpus = _hardware(host, os, bus, asked.result(), probes, facts)
    machine = Machine(
        os=os,
        driver=driver,
        gpus=gpus,
        toolkits=found_toolkits,
        cudnn=cudnn,
        python=target.python if target else None,
        pythons=others,
        tools=tools,
        torch=torch_found,
        packages=packages,
        env=relevant(host.environ),
        problems=dict(sorted(probes.problems.items())),
        facts=facts,
    )
    return _detailed(host, machine, target, probes) if full else machine


def _detailed(host: Host, machine: Machine, target: interpreters.Found | None, probes: _Probes) -> Machine:
    from . import details

    facts = {**machine.facts, **details.late(host, machine, target, probes.run)}
    driver = machine.driver
    license = str((facts.get("modinfo") or {}).get("license") or "")
    if driver.module is None and license and driver.state != "ok":
        driver = dataclasses.replace(driver, module="open" if "MIT" in license else "proprietary")
    return dataclasses.replace(machine, driver=driver, facts=facts, problems=dict(sorted(probes.problems.items())))


class _Later:
    """NVML in the background: its child process runs while the rest is looked at."""

    def __init__(self, probes: _Probes, os: OS, host: Host, timeout: float | None, full: bool) -> None:
        self._report = NvmlReport(error="NOT_RUN", message="NVML is not there on this system")
        self._thread: threading.Thread | None = None
        if os.platform in ("linux", "windows") and os.wsl != "1":
            extra = smi.WSL_DIRECTORY if os.wsl and host.exists(smi.WSL_DIRECTORY) else None
            self._thread = threading.Thread(target=self._ask, args=(probes, host, timeout, extra, full), daemon=True)
            self._thread.start()

    def _ask(self, probes: _Probes, host: Host, timeout: float | None, extra: str | None, full: bool) -> None:
        self._report = probes.run("nvml", self._report, query, host, timeout, extra, full)

    def result(self) -> NvmlReport:
        if self._thread:
            self._thread.join()
        return self._report


def _bus(host: Host, os: OS) -> pci.Bus:
    """Windows is asked later and only if need be; macOS has had no NVIDIA driver since 10.13."""
    return pci.read_sysfs(host) if os.platform == "linux" else pci.Bus(readable=os.platform == "macos")


def _hardware(
    host: Host, os: OS, bus: pci.Bus, nvml: NvmlReport, probes: _Probes, facts: dict[str, Any]
) -> tuple[Driver, tuple[Gpu, ...]]:
    if os.platform == "windows" and not nvml.gpus:
        bus = probes.run("bus", bus, pci.read_windows, host)
    seen = probes.run("driver", driver_probe.Evidence(nvml=nvml), driver_probe.gather, host, os, nvml)
    driver, text = probes.run("driver", _NO_VERDICT, driver_probe.judge, os, bus, seen)
    probes.note("driver", text)
    if seen.smi and seen.smi.error == "TIMEOUT":
        probes.note("nvidia-smi", seen.smi.message)
    gpus = probes.run("gpus", _NO_GPUS, gpu_probe.merge, os, bus, nvml, seen.smi)
    if not gpus:
        gpus = gpu_probe.jetson_gpu(os, facts.get("os", {}))
    probes.note("gpus", probes.run("gpus", _NO_TEXT, gpu_probe.problem, host, os, bus, gpus, nvml))
    facts["driver"] = driver_probe.driver_facts(seen)
    if told := {str(g.index): dict(g.details) for g in nvml.gpus if g.details}:
        facts["gpu"] = told
    facts["pci"] = {"readable": bus.readable, "nvidia_gpus": len(bus.gpus), "nvswitches": bus.nvswitches}
    return driver, gpus


def _environment(
    host: Host, wanted: str | None, probes: _Probes, facts: dict[str, Any]
) -> tuple[interpreters.Found | None, Torch | None, dict[str, str]]:
    executable = probes.run("python", _NO_TEXT, interpreters.target_executable, host, wanted)
    if executable is None:
        return None, None, {}
    found, why = probes.run("python", _NO_ANSWER, interpreters.describe, host, executable)
    probes.note("python", why)
    if found is None:
        return None, None, {}
    facts["python"] = {"prefix": found.prefix, "path": list(found.path)}
    installed, packages = probes.run("torch", _NO_TORCH, torch.detect_torch, host, found)
    return found, installed, packages
