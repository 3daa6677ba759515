"""A job to install, and a runner that does with a plan's steps what the generated script does."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from envcheck.managers.base import InstallJob
from envcheck.model import PythonChoice, Request, Step, TorchChoice

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
CU118 = "https://download.pytorch.org/whl/cu118"


def job(**changes: Any) -> InstallJob:
    """torch 2.0.1+cu118 for Linux x86_64 by pip. ``request``: a dict of changes to the request."""
    request = Request(**changes.pop("request", {}))
    torch = TorchChoice(
        version="2.0.1",
        tag="cu118",
        cuda="11.8",
        cudnn="8.7.0.84",
        nccl="2.14.3",
        triton="2.0.0",
        index_url=CU118,
        archs=("sm_50",),
        channel="stable",
        verified=True,
    )
    base = InstallJob(
        platform="linux",
        arch="x86_64",
        torch=replace(torch, **changes.pop("torch", {})),
        companions={"torchvision": "0.15.2", "torchaudio": "2.0.2"},
        constraints=("numpy<2",),
        python=PythonChoice(version="3.11", supported=("3.8", "3.9", "3.10", "3.11")),
        request=request,
        index_kind="pytorch",
        index_url=CU118,
        pin_local=True,
    )
    return replace(base, **changes)


def conda_job(package: str = "conda-pytorch", **changes: Any) -> InstallJob:
    """The same torch from the pytorch channel, or 2.13.0 from conda-forge."""
    manager = changes.get("request", {}).get("manager", "conda")
    changes["request"] = {"manager": manager, **changes.get("request", {})}
    torch = {"package": package, **changes.pop("torch", {})}
    if package == "conda-forge":
        torch = {"version": "2.13.0", "cuda": "12.9", "tag": "cu129", **torch}
        changes.setdefault("companions", {"torchvision": "0.28.0"})
        changes.setdefault("constraints", ())
    return job(index_kind="conda", index_url=None, pin_local=False, torch=torch, **changes)


class Ended(Exception):
    """The script ended here with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Runner:
    """Runs steps in a directory: a step whose check passes is left out, a failing command ends the run.

    The functions of the prelude are done here in Python, so that these tests need no other part of envcheck.
    """

    def __init__(self, directory: Path, path: Sequence[Path] = (), env: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "CONDA", "VIRTUAL_ENV"))}
        kept |= {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}
        kept |= {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(directory / "uv-cache"), "PYTHONPATH": ""}
        kept["PATH"] = os.pathsep.join([*map(str, path), kept.get("PATH", "")])
        self.env = kept | dict(env or {})
        self.output = ""

    def run(self, steps: Sequence[Step]) -> list[str]:
        """The ids of the steps that were really run. Raises ``Ended`` where the script would end."""
        done = []
        for step in steps:
            if step.check is not None and self.call(step.check) == 0:
                continue
            done.append(step.id)
            code = self.call(step.argv)
            if code != 0:
                raise Ended(code)
            if step.check is not None:
                assert self.call(step.check) == 0, f"{step.id} ended well and its check fails: {step.check}"
        return done

    def call(self, argv: Sequence[str]) -> int:
        if argv[0].startswith("ec_"):
            return int(getattr(self, argv[0])(*argv[1:]))
        command = list(argv)
        if "/" in command[0] and not Path(command[0]).is_absolute():
            command[0] = str(self.directory / command[0])
        try:
            done = subprocess.run(
                command, cwd=self.directory, env=self.env, capture_output=True, timeout=240, check=False
            )
        except FileNotFoundError:
            return 127
        self.output += done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        return done.returncode

    def read(self, python: str, code: str) -> str:
        """What a program prints in the environment's interpreter; empty where that is not there."""
        if not (self.directory / python).exists():
            return ""
        command = [str(self.directory / python), "-I", "-c", code]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, timeout=60, check=False)
        return done.stdout.decode(errors="replace").strip()

    def installed(self, python: str) -> dict[str, str]:
        code = (
            "import importlib.metadata as m\nfor d in m.distributions(): print(d.metadata['Name'].lower(), d.version)"
        )
        return dict(line.split(" ", 1) for line in self.read(python, code).splitlines())

    def ec_have(self, python: str, *requirements: str) -> int:
        from packaging.requirements import Requirement

        have = self.installed(python)
        wanted = [Requirement(r) for r in requirements]
        met = [r.name in have and r.specifier.contains(have[r.name], prereleases=True) for r in wanted]
        return 0 if have and all(met) else 1

    def ec_have_python(self, python: str, version: str, directory: str) -> int:
        found = self.read(python, "import sys; print('%d.%d' % sys.version_info[:2])")
        if found == version:
            return 0
        place = self.directory / directory
        if place.exists() and any(place.iterdir()):
            raise Ended(11)
        return 1

    def ec_same_build(self, python: str, name: str, *versions: str) -> int:
        return 0 if self.installed(python).get(name) in (None, *versions) else 1

    def ec_have_command(self, name: str) -> int:
        return 0 if shutil.which(name, path=self.env["PATH"]) else 1

    def ec_need_command(self, name: str, advice: str) -> int:
        return 0 if self.ec_have_command(name) == 0 else 11

    def ec_write_file(self, path: str, *lines: str) -> int:
        file = self.directory / path
        if file.exists() and self.ec_file_is(path, *lines) != 0:
            raise Ended(11)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return 0

    def ec_file_is(self, path: str, *lines: str) -> int:
        file = self.directory / path
        wanted = "".join(f"{line}\n" for line in lines)
        return 0 if file.exists() and file.read_text(encoding="utf-8") == wanted else 1

    def ec_file_exists(self, *paths: str) -> int:
        return 0 if any((self.directory / path).is_file() for path in paths) else 1

    def ec_have_wheels(self, directory: str, *names: str) -> int:
        if (self.directory / directory / "SHA256SUMS").exists():
            return 0
        return 0 if all(list((self.directory / directory).glob(f"{name}-*.whl")) for name in names) else 1

    def ec_have_locked_wheels(self, directory: str, lock: str) -> int:
        if (self.directory / directory / "SHA256SUMS").exists():
            return 0
        text = (self.directory / lock).read_text(encoding="utf-8")
        pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
        files = [p.name.lower() for p in (self.directory / directory).glob("*.whl")]
        starts = [re.sub(r"[-_.]+", "_", name).lower() + f"-{version}-" for name, version in pins]
        return 0 if pins and all(any(f.startswith(s) for f in files) for s in starts) else 1

    def ec_sha256_manifest(self, directory: str) -> int:
        folder = self.directory / directory
        files = sorted(p for p in folder.iterdir() if p.name != "SHA256SUMS")
        lines = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files]
        (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        return 0

    def ec_offline_filled(self, directory: str) -> int:
        self.ec_sha256_manifest(directory)
        raise Ended(0)

    def ec_sha256_check(self, directory: str) -> int:
        folder = self.directory / directory
        for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
            digest, name = line.split("  ", 1)
            file = folder / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                return 1
        return 0

    def ec_remove_created(self, path: str) -> int:
        shutil.rmtree(self.directory / path)
        return 0
