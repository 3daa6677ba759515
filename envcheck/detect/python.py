"""The target interpreter, that is the one whose torch is meant, and what else could serve."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

from ..host import CommandResult, Host, glob
from ..model import Python
from ..record import dataclass

TIMEOUT = 5.0  # seconds; an interpreter on a cold network file system needs a while
OTHERS = 8  # further interpreters that are started at most
TOOLS = ("uv", "pip", "pip3", "conda", "mamba", "micromamba", "pixi", "poetry", "docker", "sbatch", "qsub", "bsub")

_INTERPRETER = re.compile(r"/python3\.(\d{1,2})t?$")

# run by the target: any Python from 2.7 on, standard library only
# a json.py in the working directory must not be run by a diagnosis: the empty entry goes before any other import
SCRIPT = """
import sys
sys.path[:] = [p for p in sys.path if p]
import json, os
d = {"version": ".".join(map(str, sys.version_info[:3])), "level": sys.version_info[3]}
d["implementation"] = getattr(getattr(sys, "implementation", None), "name", "cpython")
d["executable"] = sys.executable
d["prefix"] = sys.prefix
d["base_prefix"] = getattr(sys, "base_prefix", sys.prefix)
d["conda"] = os.path.isdir(os.path.join(sys.prefix, "conda-meta"))
d["machine"] = os.uname()[4] if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
d["bits"] = 64 if sys.maxsize > 2 ** 32 else 32
try:
    import sysconfig
    d["free_threaded"] = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    d["include"] = sysconfig.get_path("include")
    d["externally_managed"] = os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
except Exception as e:
    d["error"] = str(e)
d["path"] = [p for p in sys.path if p and os.path.isdir(p)]
print(json.dumps(d))
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An interpreter as it described itself, and the directories that it imports from."""

    python: Python
    path: tuple[str, ...] = ()
    prefix: str | None = None
    include: str | None = None  # where Python.h would be
    machine: str | None = None  # as this interpreter sees it: x86_64 under Rosetta on an arm64 Mac


def parse_described(text: str, executable: str) -> Found | None:
    """From the script's JSON, the last line that is an object (a sitecustomize may print before it)."""
    for line in reversed(text.splitlines()):
        try:
            data = json.loads(line) if line.startswith("{") else None
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            return _found(data, executable)
    return None


def _found(data: dict[str, Any], executable: str) -> Found | None:
    version = data.get("version")
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,2}\.\d{1,3}\.\d{1,3}", version):
        return None
    prefix, base = data.get("prefix"), data.get("base_prefix")
    environment = "conda" if data.get("conda") is True else "venv" if prefix != base else "system"
    managed, paths, own = data.get("externally_managed"), data.get("path"), data.get("executable")
    python = Python(
        version=version,
        executable=own if isinstance(own, str) and own else executable,  # behind a pyenv shim or a wrapper
        abi=_abi(version, data.get("implementation"), data.get("free_threaded") is True),
        environment=environment,
        # PEP 668: the mark binds the environment of the interpreter itself, never a venv made from it
        externally_managed=(managed and environment != "venv") if isinstance(managed, bool) else None,
    )
    path = tuple(p for p in paths if isinstance(p, str)) if isinstance(paths, list) else ()
    include, machine = data.get("include"), data.get("machine")
    return Found(
        python=python,
        path=path,
        prefix=prefix if isinstance(prefix, str) else None,
        include=include if isinstance(include, str) else None,
        machine=machine if isinstance(machine, str) and machine else None,
    )


def _abi(version: str, implementation: Any, free_threaded: bool) -> str:
    short = "".join(version.split(".")[:2])
    names = {"cpython": "cp", "pypy": "pp", "graalpy": "graalpy"}
    return f"{names.get(str(implementation), 'py')}{short}{'t' if free_threaded else ''}"


def describe(host: Host, executable: str) -> tuple[Found | None, str | None]:
    """Start an interpreter once. (what it is, None) or (None, why it could not be told)."""
    result = host.run([executable, "-c", SCRIPT], TIMEOUT, label=(executable, "-c", "describe"))
    found = parse_described(result.stdout, executable)
    return found, None if found else _why(result, executable)


def _why(result: CommandResult, executable: str) -> str:
    if result.timed_out:
        return f"{executable} did not answer in {TIMEOUT:g} s"
    if result.rc is None:
        return f"{executable} could not be started: {result.stderr.strip()[:160]}"
    return f"{executable} ended with code {result.rc}: {result.stderr.strip()[-160:] or 'it said nothing'}"


def target_executable(host: Host, wanted: str | None) -> str | None:
    """``--python``, else the active venv or conda environment, else python3 (Windows: python) on PATH."""
    windows = host.platform.sys_platform == "win32"
    if wanted:
        return wanted if "/" in wanted or "\\" in wanted else host.which(wanted) or wanted
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = host.environ.get(variable)
        if not prefix:
            continue
        inner = "\\Scripts\\python.exe" if variable == "VIRTUAL_ENV" else "\\python.exe"
        path = prefix + inner if windows else f"{prefix}/bin/python"
        if host.exists(path):
            return path
    return host.which("python") if windows else host.which("python3") or host.which("python")


def others(host: Host, target: Found | None) -> tuple[Python, ...]:
    """Further interpreters that really start, newest first. At most ``OTHERS`` are started, side by side."""
    known = {host.realpath(target.python.executable or "")} if target else set()
    candidates: dict[str, str] = {}
    for path in _candidates(host):
        candidates.setdefault(host.realpath(path), path)
    ordered = sorted((path for real, path in candidates.items() if real not in known), key=_minor, reverse=True)
    ordered = ordered[:OTHERS]
    results: dict[str, Found | None] = {}

    def ask(path: str) -> None:
        results[path] = describe(host, path)[0]

    threads = [threading.Thread(target=ask, args=(path,), daemon=True) for path in ordered]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [results.get(path) for path in ordered]
    return tuple(f.python for f in found if f)


def _candidates(host: Host) -> Iterator[str]:
    """``python3.N`` on PATH; behind pyenv's shims the installed versions themselves, as a shim may refuse to run."""
    if host.platform.sys_platform == "win32":
        return
    for directory in host.environ.get("PATH", "").split(":"):
        if not directory.startswith("/"):
            continue
        if directory.endswith("/shims"):
            root = directory.removesuffix("/shims")
            yield from (p for p in glob(host, f"{root}/versions/*/bin/python3.*") if _INTERPRETER.search(p))
            continue
        for name in host.listdir(directory, ("python3.*",)) or ():
            if _INTERPRETER.fullmatch(f"/{name}"):
                yield f"{directory}/{name}"


def _minor(path: str) -> tuple[int, str]:
    match = _INTERPRETER.search(path)
    return int(match[1]) if match else 0, path


def tools(host: Host) -> dict[str, str]:
    """Package managers and batch systems on PATH -> their path."""
    found = {name: host.which(name) for name in TOOLS}
    return {name: path for name, path in found.items() if path}
