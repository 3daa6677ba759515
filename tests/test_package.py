"""A built wheel carries its data: it plans from an empty folder, without the checkout."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_the_wheel_finds_its_matrix_and_recipes(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next((tmp_path / "dist").glob("gpu_envcheck-*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = "import envcheck.matrix as m, envcheck.cli; print(m.data_path('compat_matrix.json')); envcheck.cli.run()"
    argv = ["plan", "--os", "ubuntu-24.04", "--gpu", "RTX 4090", "--torch", "2.6", "-q"]
    plan = subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.startswith(str(site))
    assert "torch==2.6.0" in plan.stdout
    assert "nvidia-headless-no-dkms-580" in plan.stdout
