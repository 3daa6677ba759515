"""From the what-if flags, a snapshot or this host to the ``Machine`` that a command works on."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from ..errors import UsageError
from ..identify import find_gpu, full_name, identify
from ..matrix import Distro, Matrix, version_key
from ..model import OS, Driver, Gpu, Machine, Python
from ..record import dataclass

DRIVER_WORD = re.compile(r"\d{3}(\.\d{1,3}){1,2}\Z")
COUNT = re.compile(r"(?P<name>.+?):(?P<count>\d{1,4})\Z")
ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "x64": "x86_64"}


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    os: str | None = None
    arch: str | None = None
    gpus: tuple[str, ...] = ()
    driver: str | None = None
    python_version: str | None = None
    glibc: str | None = None
    container: str | None = None
    machine_file: str | None = None
    python: str | None = None
    full: bool = False  # gather what only the checks read, too


def machine_for(flags: WhatIf, matrix: Matrix, *, honour_env: bool = False) -> Machine:
    """The machine that a command is about. ``honour_env``: UV_CUDA_DRIVER_VERSION and CONDA_OVERRIDE_CUDA count."""
    if flags.os is not None:
        if flags.machine_file is not None:
            raise UsageError("--os describes a machine and --machine brings one: give one of them")
        if not flags.gpus:
            raise UsageError(
                '--os describes another machine, so its GPU must be said too: --gpu "NVIDIA GeForce RTX 4090" '
                "or --gpu none"
            )
        machine = _described(flags.os, matrix)
    else:
        machine = _found(flags)
    env: Mapping[str, str] = os.environ if honour_env and flags.os is None else {}
    return identify(_override(machine, flags, matrix, env), matrix)


def _found(flags: WhatIf) -> Machine:
    if flags.machine_file is not None:
        from ..detect.snapshot import load
        from ..report.share import shared_machine

        carried = shared_machine(flags.machine_file)  # what `doctor --share` wrote
        return load(flags.machine_file) if carried is None else carried
    from ..detect import detect
    from ..host import LiveHost

    return detect(LiveHost(), python=flags.python, full=flags.full)


def _described(word: str, matrix: Matrix) -> Machine:
    text = word.strip().lower()
    wsl = text.startswith("wsl-")
    text = text.removeprefix("wsl-")
    id, version = _longest_id(text, matrix)
    if id in ("windows", "macos"):
        system = OS(
            id=id, version=version or None, family=id, platform=id, arch="aarch64" if id == "macos" else "x86_64"
        )
        return Machine(os=system, driver=Driver(state="missing"))
    row = _distro(id, version, word, matrix)
    system = OS(
        id=id,
        version=version or row.version,
        family=row.family,
        glibc=row.glibc,
        arch="x86_64",
        platform="linux",
        wsl="2" if wsl else None,
    )
    python = _stock_python(row)
    return Machine(os=system, driver=Driver(state="missing"), python=python)


def _stock_python(row: Distro) -> Python | None:
    if row.python is None:
        return None
    return Python(
        version=row.python,
        executable="python3",
        environment="system",
        externally_managed=row.externally_managed,
    )


def _longest_id(text: str, matrix: Matrix) -> tuple[str, str]:
    """``opensuse-leap-15.6`` -> (opensuse-leap, 15.6): ids may hold dashes themselves."""
    ids = sorted({row.id for row in matrix.distros} | {"windows", "macos"}, key=len, reverse=True)
    for id in ids:
        if text == id:
            return id, ""
        if text.startswith(id + "-"):
            return id, text[len(id) + 1 :]
    id, _, version = text.partition("-")
    return id, version


def _distro(id: str, version: str, word: str, matrix: Matrix) -> Distro:
    row = matrix.distro(id, version or None)
    if row is not None:
        return row
    same = [r for r in matrix.distros if r.id == id]
    if same:
        known = ", ".join(f"{r.id}-{r.version}" if r.version else r.id for r in same)
        raise UsageError(f"--os {word!r}: this release is not in the matrix. Known: {known}")
    import difflib

    near = difflib.get_close_matches(id, {r.id for r in matrix.distros} | {"windows", "macos"}, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else " Write it as os-release has it: ubuntu-22.04, debian-12."
    raise UsageError(f"--os {word!r} names no system that the matrix knows.{hint}")


def _override(machine: Machine, flags: WhatIf, matrix: Matrix, env: Mapping[str, str]) -> Machine:
    swap = dataclasses.replace
    problems = dict(machine.problems)
    system = machine.os
    if flags.arch:
        arch = flags.arch.strip().lower()
        system = swap(system, arch=ARCHES.get(arch, arch))
    if flags.glibc:
        if not re.fullmatch(r"2\.\d{1,2}", flags.glibc):
            raise UsageError(f"--glibc {flags.glibc!r} is no glibc version: write it as 2.31")
        system = swap(system, glibc=flags.glibc)
    if flags.container:
        system = swap(system, container=None if flags.container == "none" else flags.container)
    gpus = machine.gpus
    if flags.gpus:
        gpus = parse_gpus(flags.gpus, matrix)
        problems.pop("gpus", None)
    driver = _driver(machine, flags, matrix, env)
    if flags.driver or driver is not machine.driver:
        problems.pop("driver", None)
    python = _python(machine, flags, matrix)
    return swap(machine, os=system, gpus=gpus, driver=driver, python=python, problems=problems)


def parse_gpus(words: tuple[str, ...], matrix: Matrix) -> tuple[Gpu, ...]:
    """``NAME``, ``NAME:8``, ``sm_89``, ``none`` -> GPUs. Raises ``UsageError`` with the nearest names."""
    if any(w.strip().lower() == "none" for w in words):
        if len(words) > 1:
            raise UsageError("--gpu none says that there is no GPU: it cannot stand beside another --gpu")
        return ()
    out: list[Gpu] = []
    for word in words:
        counted = COUNT.match(word.strip())
        name, count = (counted["name"], int(counted["count"])) if counted else (word.strip(), 1)
        if not 1 <= count <= 1024:
            raise UsageError(f"--gpu {word!r}: between 1 and 1024 GPUs can be described")
        row = find_gpu(name, matrix)
        full = full_name(row.name) if row.name else None
        memory = row.memory_gib if isinstance(row.memory_gib, int | float) else None
        out += [
            Gpu(
                index=len(out) + i,
                name=full,
                compute_capability=row.compute_capability,
                architecture=row.architecture,
                tensor_cores=row.tensor_cores,
                memory_mib=int(memory * 1024) if memory else None,
            )
            for i in range(count)
        ]
    return tuple(out)


def _driver(machine: Machine, flags: WhatIf, matrix: Matrix, env: Mapping[str, str]) -> Driver:
    word, said = flags.driver, "--driver"
    if word is None and env.get("UV_CUDA_DRIVER_VERSION"):
        word, said = env["UV_CUDA_DRIVER_VERSION"], "UV_CUDA_DRIVER_VERSION"
    if word is None and env.get("CONDA_OVERRIDE_CUDA"):
        cuda = env["CONDA_OVERRIDE_CUDA"].strip()
        if not re.fullmatch(r"\d{1,2}\.\d{1,2}", cuda):
            raise UsageError(f"CONDA_OVERRIDE_CUDA={cuda!r} is no CUDA version: write it as 12.4")
        return Driver(version=None, cuda=cuda, state="ok", source="what-if")
    if word is None:
        return machine.driver
    word = word.strip()
    if word.lower() == "none":
        return Driver(state="missing", source="what-if")
    lowest = min((int(b) for b in matrix.branches), default=390)
    if not DRIVER_WORD.match(word) or version_key(word)[0] < lowest:
        hint = ""
        if re.fullmatch(r"\d{1,2}\.\d{1,2}", word):
            hint = (
                f" {word} looks like a CUDA version: say what `nvidia-smi` shows as driver version, or --cuda {word}."
            )
        raise UsageError(
            f"{said} {word!r} is no NVIDIA driver version that the matrix knows (branch {lowest} and newer, "
            f"like 535.104.05).{hint}"
        )
    windows = machine.os.platform == "windows" or bool(machine.os.wsl)
    return Driver(version=word, cuda=matrix.driver_cuda(word, windows), state="ok", source="what-if")


def _python(machine: Machine, flags: WhatIf, matrix: Matrix) -> Python | None:
    word = flags.python_version
    if word is None:
        return machine.python
    word = word.strip()
    if not re.fullmatch(r"3\.\d{1,2}t?(\.\d{1,3})?", word):
        raise UsageError(f"--python-version {word!r} is no Python version: write it as 3.11 (free-threaded: 3.13t)")
    minor = ".".join(word.rstrip("t").split(".")[:2]) + ("t" if word.endswith("t") else "")
    known = {p for row in matrix.data["builds"] for p in row["pythons"]}
    if minor not in known:
        ordered = sorted(known, key=lambda p: (version_key(p.rstrip("t")), p))
        raise UsageError(f"--python-version {word}: no torch 2 release has a wheel for it. Known: {', '.join(ordered)}")
    candidates = ([machine.python] if machine.python else []) + list(machine.pythons)
    for python in candidates:
        if python.version and ".".join(python.version.split(".")[:2]) == minor:
            return dataclasses.replace(python, version=python.version if flags.os is None else word)
    return Python(version=word, executable=f"python{minor}", environment="system")
