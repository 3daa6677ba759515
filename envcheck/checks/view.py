"""One look at ``(Machine, Matrix)`` for all checks: normalised facts, flags, and the symptoms found in the text.

A fact of the machine wins; what the report's prose says fills a gap. Everything is computed once, when first asked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..matrix import Matrix
from ..model import Gpu, Machine
from .base import Proof
from .symptoms import Text, flags, join, match

VERSION = re.compile(r"\d+(?:\.\d+)*")


def nums(version: str | None) -> tuple[int, ...] | None:
    """``"2.7.0.dev20250310+cu124"`` -> ``(2, 7, 0)``; None for no version."""
    hit = VERSION.match(version.lstrip("v")) if version else None
    return tuple(int(p) for p in hit[0].split(".")[:4] if len(p) < 9) or None if hit else None


def less(version: str | None, bound: str) -> bool:
    """Whether a version is known and lower than the bound, to the bound's own precision."""
    have, want = nums(version), nums(bound)
    return have is not None and want is not None and have[: len(want)] < want


class View:
    """Not a layer of its own: a memo. Everything is derived from ``machine`` and ``matrix`` alone."""

    def __init__(self, machine: Machine, matrix: Matrix) -> None:
        self.machine = machine
        self.matrix = matrix

    # ---- text
    @functools.cached_property
    def text(self) -> Text:
        return join([(s.text, s.line) for s in self.machine.symptoms])

    def has(self, pattern: str) -> bool:
        return self.text.has(pattern)

    @functools.cached_property
    def symptoms(self) -> Mapping[str, list[Proof]]:
        return match(self.text, self.flag)

    def told(self, code: str) -> list[Proof]:
        return list(self.symptoms.get(code, ()))

    @property
    def pasted(self) -> bool:
        """The machine was read from a pasted report, not looked at."""
        return "report" in self.machine.facts

    # ---- flags
    def flag(self, name: str) -> bool:
        """A named condition of the symptom table's ``needs``; ``!name`` negates."""
        if name.startswith("!"):
            return not self.flag(name[1:])
        return self._flag(name)

    @functools.cached_property
    def _flags(self) -> dict[str, bool]:
        return {}

    def _flag(self, name: str) -> bool:
        if name not in self._flags:
            known: dict[str, Callable[[], bool]] = {
                "windows": lambda: self._system("windows"),
                "macos": lambda: self._system("macos"),
                "wsl": lambda: (
                    bool(self.machine.os.wsl) or (self.machine.os.platform in (None, "linux") and self._told("wsl"))
                ),
                "container": lambda: bool(self.machine.os.container) or self._told("container"),
                "jetson": lambda: bool(self.machine.os.jetson) or self._told("jetson"),
                "aarch64": lambda: (
                    self.machine.os.arch == "aarch64" or (self.machine.os.arch is None and self._says("aarch64"))
                ),
                "cpu-build": lambda: self.cpu_build is True,
                "cuda-build": lambda: self.torch_cuda is not None,
                "gpus": lambda: bool(self.gpu_names),
                "driver": lambda: self.driver_works,
                "cuda-works": lambda: self.cuda_available is True,
                "mig": lambda: any(g.mig for g in self.machine.gpus),
            }
            self._flags[name] = known[name]() if name in known else self._says(name)
        return self._flags[name]

    def _system(self, name: str) -> bool:
        platform = self.machine.os.platform
        return platform == name if platform else self._says(name) and not (name == "windows" and self._flag("wsl"))

    def _told(self, name: str) -> bool:
        """Words stand for a system only where nobody looked at it: a live machine is known."""
        return self.pasted and self._says(name)

    def _says(self, name: str) -> bool:
        return self.text.has(flags()[name])

    # ---- torch
    @functools.cached_property
    def torch_version(self) -> str | None:
        if self.machine.torch is not None and self.machine.torch.version:
            return self.machine.torch.version
        return self.packages.get("torch") or self.packages.get("pytorch") or self.asked_torch

    @functools.cached_property
    def asked_torch(self) -> str | None:
        """The release that an install command of the report names exactly, unless pip answered that it has none."""
        install = self.machine.facts.get("install")
        if not self.pasted or not isinstance(install, Mapping) or install.get("not_found"):
            return None
        named = {
            spec.lstrip("=")
            for command in install.get("commands") or ()
            if (spec := str(command.get("packages", {}).get("torch") or "")).startswith("==")
        }
        return named.pop() if len(named) == 1 else None

    @functools.cached_property
    def torch_cuda(self) -> str | None:
        """The CUDA version of the torch build ("12.1"); None for a CPU build and where it is not known."""
        torch = self.machine.torch
        if torch is not None and torch.cuda:
            return torch.cuda
        if self.cpu_build:
            return None
        local = re.search(r"\+cu(\d{2,3})", self.torch_version or "")
        if local:
            return f"{local[1][:-1]}.{local[1][-1]}"
        hit = self.text.find(r"torch\.version\.cuda\)?\s{0,3}[:=]?\s{0,4}['\"]?(\d{1,2}\.\d)")
        return hit[1] if hit else None

    @functools.cached_property
    def pypi_build(self) -> str | None:
        """The CUDA of PyPI's wheel ("cpu" where it has none), where the version is a plain one that pip installed.

        A build of another index has its variant in the version (``+cu118``); conda's builds say it apart.
        """
        torch, version = self.machine.torch, self.torch_version
        key = nums(version)
        if version is None or key is None or len(key) < 2 or not re.fullmatch(r"[\d.]+", version):
            return None
        if self._flag("macos") or self._flag("jetson") or (torch is not None and torch.source == "conda"):
            return None
        if self.text.has(r"conda install|built from source|build from source|nvcr\.io|\bnightly\b"):
            return None
        if key[0] < 2:
            old = self.matrix.old_torch.get(f"{key[0]}.{key[1]}")
            return (old.cuda if old else None) if self.platform == "linux-x86_64" else "cpu"
        for row in self.matrix.builds(self.platform or "linux-x86_64"):
            if row.key[: len(key)] == key[:3] and row.on_pypi:
                return row.cuda or "cpu"
        return None

    @functools.cached_property
    def cpu_build(self) -> bool | None:
        """Whether the installed torch was built without CUDA; None where nothing tells."""
        torch = self.machine.torch
        version = self.torch_version or ""
        if torch is not None and torch.cuda:
            return False
        if "+cpu" in version:
            return True
        if "+cu" in version:
            return False
        build = self.machine.facts.get("torch")
        if isinstance(build, dict) and build.get("build") in ("cpu", "cuda", "rocm"):
            return bool(build["build"] == "cpu")
        if self.text.has(
            r"torch\.version\.cuda\)?\s{0,8}(?:[:=]\s{0,4})?['\"]?None\b"
            r"|CUDA used to build PyTorch: (?:None|Could not collect)"
        ):
            return True
        if self.text.has(
            r"\bpy3\.?\d{1,2}_cpu_\d|pytorch-mutex\s+1\.0\s+cpu|\bcpuonly\s+\d|\bcpu_py3|cpu_generic|cpu_mkl"
        ):
            return True
        return None

    @functools.cached_property
    def cuda_available(self) -> bool | None:
        torch = self.machine.torch
        if torch is not None and torch.cuda_available is not None:
            return torch.cuda_available
        hit = self.text.find(
            r"(?:cuda\.is_available\(\)|CUDA available|Is CUDA available)\)?"
            r"\s{0,3}[:=?]?(?:\s|is|->|>|\||\b(?:i|me|get|gives?|still|always|just|only|prints?|shows?|outputs?"
            r"|returns)\b){0,12}(True|False|Yes|No)\b"
        )
        if hit:
            return hit[1].lower() in ("true", "yes")
        return None

    @functools.cached_property
    def archs(self) -> tuple[str, ...]:
        """Architectures of the torch build: its own list, else the matrix's for this version and CUDA."""
        if self.machine.torch is not None and self.machine.torch.archs:
            return self.machine.torch.archs
        version, cuda = nums(self.torch_version), self.torch_cuda
        if version is None or cuda is None or len(version) < 3:
            return ()
        platform = self.platform
        for row in self.matrix.builds(platform) if platform else ():
            if row.key == version[:3] and row.cuda == ".".join(cuda.split(".")[:2]):
                return row.archs
        # a release that the matrix does not know yet says it itself
        told = self.machine.facts.get("release_archs")
        by_cpu = told.get(".".join(cuda.split(".")[:2])) if isinstance(told, Mapping) else None
        codes = by_cpu.get("aarch64" if self._flag("aarch64") else "x86_64") if isinstance(by_cpu, Mapping) else None
        return tuple(f"sm_{code}" for code in codes or ())

    @functools.cached_property
    def platform(self) -> str | None:
        os = self.machine.os
        if self.flag("windows"):
            return "windows-x86_64"
        if self.flag("macos"):
            return "macos-arm64" if os.arch in (None, "aarch64", "arm64") else "macos-x86_64"
        return "linux-aarch64" if self.flag("aarch64") or self.flag("jetson") else "linux-x86_64"

    @property
    def job(self) -> str | None:
        """The batch system whose job this is: it chose this node."""
        names = {"SLURM_JOB_ID": "Slurm", "PBS_JOBID": "PBS", "LSB_JOBID": "LSF"}
        return next((name for variable, name in names.items() if self.machine.env.get(variable)), None)

    @property
    def batch_system(self) -> str | None:
        """The command that submits a job, on a machine of a cluster and outside of a job: its GPUs may be elsewhere."""
        return None if self.job else next((t for t in ("sbatch", "qsub", "bsub") if t in self.machine.tools), None)

    # ---- packages
    @functools.cached_property
    def packages(self) -> dict[str, str]:
        return {k.lower().replace("_", "-"): v for k, v in self.machine.packages.items()}

    def package(self, *names: str) -> str | None:
        for name in names:
            if name in self.packages:
                return self.packages[name]
        for name in names:
            hit = self.text.find(rf"\b{name}[ =:@v'\"(-]{{1,24}}(\d{{1,4}}\.\d{{1,3}}[\w.+]*)")
            if hit:
                return hit[1]
        return None

    # ---- driver and GPUs
    @functools.cached_property
    def driver_version(self) -> str | None:
        return self.machine.driver.version

    @functools.cached_property
    def driver_cuda(self) -> str | None:
        """The newest CUDA that the driver speaks."""
        if self.machine.driver.cuda:
            return self.machine.driver.cuda
        version = self.driver_version
        return self.matrix.driver_cuda(version, self.windows_driver) if version else None

    @property
    def windows_driver(self) -> bool:
        return self.flag("windows") or self.flag("wsl")

    @functools.cached_property
    def driver_works(self) -> bool:
        state = self.machine.driver.state
        if state is not None:
            return state == "ok"
        return self.machine.driver.version is not None or self.cuda_available is True or self._says("smi-works")

    def state(self, *states: str) -> bool:
        """Whether the driver is in one of these states."""
        return self.machine.driver.state in states

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        return self.machine.gpus

    @functools.cached_property
    def gpu_names(self) -> tuple[str, ...]:
        return tuple(g.name for g in self.machine.gpus if g.name)

    @functools.cached_property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities of the GPUs here, each once."""
        return tuple(dict.fromkeys(g.compute_capability for g in self.machine.gpus if g.compute_capability))

    @functools.cached_property
    def python_minor(self) -> str | None:
        python = self.machine.python
        version = nums(python.version) if python else None
        return ".".join(map(str, version[:2])) if version else None

    def fact(self, name: str, default: Any = None) -> Any:
        return self.machine.facts.get(name, default)
