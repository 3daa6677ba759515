"""``--format requirements --hashes --online``: the whole resolution with its SHA-256, by uv or pip themselves."""

from __future__ import annotations

import json
import re
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from ..errors import NetworkError, UsageError
from ..host import LiveHost
from ..managers import offline, wheels, words
from ..managers.base import InstallJob
from ..matrix import Matrix
from ..model import Plan
from ..plan.file import job_of

Hashes = dict[tuple[str, str], list[str]]
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")
DEADLINE = 300.0  # seconds: torch's own METADATA is small, but its wheel may have to be opened by range requests


def resolve(plan: Plan, matrix: Matrix) -> Hashes:
    """(name, version) -> digests of everything that the plan's requirements pull in.

    uv resolves for the target's platform; without uv pip does, which judges markers for the machine it runs on.
    Raises ``NetworkError`` where the index cannot be asked, ``UsageError`` where neither tool can.
    """
    job = job_of(plan, matrix)
    uv = shutil.which("uv", path=sysconfig.get_path("scripts")) or shutil.which("uv")
    if uv is not None:
        return _by_uv(uv, job)
    here = {"linux": "linux", "win32": "windows", "darwin": "macos"}.get(sys.platform)
    if here != job.platform:
        raise UsageError("--hashes for another system needs uv to resolve it: `pip install uv`, then run this again")
    return _by_pip(job)


def _by_uv(uv: str, job: InstallJob) -> Hashes:
    with tempfile.TemporaryDirectory(prefix="envcheck-") as folder:
        wanted = Path(folder) / "requirements.in"
        wanted.write_text("\n".join(wheels.requirements(job)) + "\n", encoding="utf-8")
        argv = [
            *(uv, "pip", "compile", str(wanted), "--generate-hashes", "--no-header", "--no-annotate", "--quiet"),
            *("--only-binary", ":all:", "--python-version", words.minor(job)),
            *("--python-platform", offline.uv_platform(job)),
            *wheels.index_args(job),
        ]
        text = _run(argv)
    found: Hashes = {}
    current: tuple[str, str] | None = None
    for line in text.splitlines():
        pinned = PINNED.match(line)
        if pinned:
            current = (pinned[1], pinned[2])
            found[current] = []
        if current is not None:
            found[current] += DIGEST.findall(line)
    return found


def _by_pip(job: InstallJob) -> Hashes:
    with tempfile.TemporaryDirectory(prefix="envcheck-") as folder:
        argv = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-input", "--ignore-installed"),
            *("--disable-pip-version-check", "--report", "-", "--only-binary=:all:", "--target", folder),
            *offline.platform_args(job),
            *wheels.requirements(job),
            *wheels.index_args(job),
        ]
        text = _run(argv)
    try:
        rows = json.loads(text)["install"]
        return {
            (row["metadata"]["name"], row["metadata"]["version"]): [
                row["download_info"]["archive_info"]["hashes"]["sha256"]
            ]
            for row in rows
        }
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkError(f"pip's report cannot be read ({error}); `pip install -U pip` or install uv") from None


def _run(argv: list[str]) -> str:
    done = LiveHost().run(argv, timeout=DEADLINE)
    if done.timed_out:
        raise NetworkError(f"the index did not answer within {DEADLINE:.0f} s while the hashes were resolved")
    if done.rc != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise NetworkError(f"the hashes could not be resolved: {last}")
    return done.stdout
