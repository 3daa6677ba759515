"""`envcheck plan > install.sh && bash install.sh`, for real, against an index on 127.0.0.1 like PyTorch's."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_index import LoopbackIndex, common_set, torch_set

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64", reason="the wheels are for Linux x86_64"
    ),
    pytest.mark.skipif(not (3, 8) <= sys.version_info[:2] <= (3, 11), reason="torch 2.0.1 has wheels for 3.8 to 3.11"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="no bash"),
]
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@pytest.fixture
def index() -> Iterator[LoopbackIndex]:
    with LoopbackIndex({"whl/cu118": [*torch_set(TAG, "manylinux1_x86_64"), *common_set()]}) as served:
        yield served


def environment(tmp_path: Path) -> dict[str, str]:
    """No configuration of pip or uv from outside, and the interpreter of the tests first on PATH."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "CONDA", "VIRTUAL_ENV"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", "")])
    return {**env, "PATH": path, "PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path / "home"), "UV_NO_CONFIG": "1"}


def make_plan(tmp_path: Path, index: LoopbackIndex, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "envcheck", "plan", "--torch", "2.0.1", "--cuda", "cu118"),
            *("--gpu", "NVIDIA GeForce RTX 3090", "--driver", "535.104.05", "--container", "none"),
            *("--python", sys.executable, "--index-url", index.url("whl/cu118"), "-o", "install.sh", *argv),
        ],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def script(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in environment(tmp_path).items() if k != "SUDO_USER"}
    return subprocess.run(
        ["bash", "install.sh", "--yes", *argv],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def installed(tmp_path: Path) -> dict[str, str]:
    code = "import importlib.metadata as m; print(*(d.metadata['Name'] + '=' + d.version for d in m.distributions()))"
    done = subprocess.run(
        [tmp_path / ".venv" / "bin" / "python", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return dict(word.split("=", 1) for word in done.stdout.split())


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_a_plan_installs_what_it_says_with_numpy_1_and_only_once(
    manager: str, tmp_path: Path, index: LoopbackIndex
) -> None:
    if manager == "uv" and UV is None:
        pytest.skip("uv is not installed")
    made = make_plan(tmp_path, index, "--manager", manager)
    assert made.returncode == 0, made.stderr
    first = script(tmp_path, "--stage", "user")
    assert first.returncode == 0, first.stdout + first.stderr
    have = installed(tmp_path)
    assert have["torch"] == "2.0.1+cu118"
    assert have["torchvision"].startswith("0.15.2")
    assert have["torchaudio"].startswith("2.0.2")
    assert have["numpy"] == "1.26.4"
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / ".venv").rglob("*.dist-info"))
    second = script(tmp_path, "--stage", "user")
    assert second.returncode == 0, second.stderr
    assert "\nenvcheck: + " not in second.stderr  # not one command was run
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / ".venv").rglob("*.dist-info")) == before
    verify = script(tmp_path, "--stage", "verify")
    assert verify.returncode not in (0, 10)
    undo = script(tmp_path, "--stage", "undo")
    assert undo.returncode == 0, undo.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_dry_run_changes_nothing(tmp_path: Path, index: LoopbackIndex) -> None:
    assert make_plan(tmp_path, index).returncode == 0
    done = script(tmp_path, "--dry-run", "--stage", "user")
    assert done.returncode == 0, done.stderr
    assert "torch==2.0.1+cu118" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "home") == ["install.sh"]


def test_an_index_that_lacks_the_wheel_stops_the_script_with_pips_own_code(
    tmp_path: Path, index: LoopbackIndex
) -> None:
    with LoopbackIndex({"whl/cu118": common_set()}) as empty:
        assert make_plan(tmp_path, empty).returncode == 0
        done = script(tmp_path, "--stage", "user")
    assert done.returncode == 1
    assert "torch" in done.stdout + done.stderr


def test_online_asks_the_index_and_takes_the_digest(tmp_path: Path, index: LoopbackIndex) -> None:
    done = make_plan(tmp_path, index, "--online")
    assert done.returncode == 0, done.stderr
    assert "online: torch-2.0.1+cu118" in done.stderr
    assert "sha256" in done.stderr
    with LoopbackIndex({"whl/cu118": common_set()}) as empty:
        absent = make_plan(tmp_path, empty, "--online")
    assert absent.returncode == 3
    assert "no wheel of torch 2.0.1" in absent.stderr


@pytest.mark.skipif(UV is None, reason="uv is not installed")
def test_a_requirements_file_with_hashes_installs_as_it_stands(tmp_path: Path, index: LoopbackIndex) -> None:
    made = make_plan(tmp_path, index, "--format", "requirements", "--hashes", "--online")
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "install.sh").read_text()
    assert f"--index-url {index.url('whl/cu118')}" in text
    assert f"--hash=sha256:{index.sha256(f'torch-2.0.1+cu118-{TAG}-{TAG}-manylinux1_x86_64.whl')}" in text
    env = environment(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", ".venv"], cwd=tmp_path, env=env, timeout=120, check=True)
    done = subprocess.run(
        [".venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "install.sh"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path)["numpy"] == "1.26.4"
    without = make_plan(tmp_path, index, "--format", "requirements", "--hashes")
    assert without.returncode == 2
    assert "--online" in without.stderr
