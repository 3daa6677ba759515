"""A named conda environment that is somebody else's is never built over: `conda create -y` would delete it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="bash scripts")
CONDA = """#!/bin/sh
printf '%s\\n' "$*" >> "$CONDA_LOG"
case "$1 $2" in
  "env list") printf '# conda environments:\\n#\\nbase  *  /opt/conda\\n%s  /opt/conda/envs/x\\n' "$CONDA_ENVS" ;;
  "run -n") exit 1 ;;
esac
"""


def conda_script(tmp_path: Path, envs: str) -> subprocess.CompletedProcess[str]:
    fake = tmp_path / "bin" / "conda"
    fake.parent.mkdir()
    fake.write_text(CONDA)
    fake.chmod(0o755)
    path = f"{fake.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HOME": str(tmp_path), "CONDA_LOG": str(tmp_path / "log"), "CONDA_ENVS": envs}
    env.pop("SUDO_USER", None)
    script = tmp_path / "install.sh"
    argv = ["plan", "--torch", "2.5.1", "--manager", "conda", "--prefix", "mine", "-o", str(script)]
    what_if = ["--gpu", "RTX 4090", "--driver", "550.54.14", "--container", "none"]
    made = subprocess.run(
        [sys.executable, "-m", "envcheck", *argv, *what_if], env=env, capture_output=True, timeout=60, check=False
    )
    assert made.returncode == 0, made.stderr
    return subprocess.run(
        ["bash", script, "--yes", "--stage", "user"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_environment_without_python_stops_the_script(tmp_path: Path) -> None:
    done = conda_script(tmp_path, "mine")
    assert done.returncode == 11, done.stderr
    assert "mine is there and has no working Python" in done.stderr
    assert "create" not in (tmp_path / "log").read_text()


def test_an_environment_that_is_not_there_is_created(tmp_path: Path) -> None:
    conda_script(tmp_path, "other")
    assert "create -y" in (tmp_path / "log").read_text()
