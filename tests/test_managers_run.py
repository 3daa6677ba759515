"""The steps of pip and uv, run for real against an index on the loopback interface."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loopback_index import LoopbackIndex, Wheel, common_set, torch_set
from managers_support import MINOR, Ended, Runner, job

from envcheck import managers
from envcheck.errors import UsageError
from envcheck.managers import offline
from envcheck.managers.base import InstallJob
from envcheck.model import PythonChoice

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fake wheels are for Linux")

TAG = "cp" + MINOR.replace(".", "")
ARCH = platform.machine()
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
PYTHON = ".venv/bin/python"


@pytest.fixture(scope="module")
def index() -> Iterator[LoopbackIndex]:
    wheels = torch_set(TAG, f"linux_{ARCH}")
    plain = torch_set(TAG, f"manylinux1_{ARCH}", "")
    folders = {
        "whl/cu118": [*wheels, *common_set()],
        "whl/cpu": [*torch_set(TAG, f"linux_{ARCH}", "+cpu"), *common_set()],
        "flat/cu118": wheels,
        "simple": [*plain, *common_set(), Wheel("pip", "99.0"), Wheel("uv", "99.0")],
    }
    with LoopbackIndex(folders, flat=["flat/cu118"]) as running:
        yield running


def local_job(index: LoopbackIndex, folder: str = "whl/cu118", **changes: Any) -> InstallJob:
    request = changes.pop("request", {})
    if request.get("manager") == "uv":
        if UV is None:
            pytest.skip("uv is not installed")
        changes.setdefault("tools", {"uv": UV})
    return job(
        request=request,
        index_url=index.url(folder),
        arch=ARCH,
        active_python=sys.executable,
        python=PythonChoice(version=MINOR, supported=(MINOR,)),
        **changes,
    )


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_installs_the_pinned_build_with_numpy_1_and_a_second_run_does_nothing(
    manager: str, index: LoopbackIndex, tmp_path: Path
) -> None:
    wanted = local_job(index, request={"manager": manager})
    steps = managers.get(manager).install_steps(wanted)
    runner = Runner(tmp_path)
    assert runner.run(steps) == ["venv", "torch"], runner.output
    have = runner.installed(PYTHON)
    assert have["torch"] == "2.0.1+cu118"
    assert have["torchvision"] == "0.15.2+cu118"
    assert have["torchaudio"] == "2.0.2+cu118"
    assert have["numpy"] == "1.26.4"
    assert have.get("triton") == ("2.0.0" if ARCH == "x86_64" else None)
    assert runner.run(steps) == []
    (python,) = managers.get(manager).target_python(wanted)
    assert runner.read(python, "import torch; print(torch.__version__)") == "2.0.1+cu118"


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_a_cpu_build_of_the_same_version_is_replaced_with_its_companions(
    manager: str, index: LoopbackIndex, tmp_path: Path
) -> None:
    cpu = local_job(index, "whl/cpu", request={"manager": manager}, torch={"tag": "cpu", "cuda": None})
    runner = Runner(tmp_path)
    runner.run(managers.get(manager).install_steps(cpu))
    assert runner.installed(PYTHON)["torchvision"] == "0.15.2+cpu"
    steps = managers.get(manager).install_steps(local_job(index, request={"manager": manager}))
    assert runner.run(steps) == ["other-build", "torch"], runner.output
    assert runner.installed(PYTHON)["torch"] == "2.0.1+cu118"
    assert runner.installed(PYTHON)["torchvision"] == "0.15.2+cu118"


def test_undo_takes_packages_and_environment_away(index: LoopbackIndex, tmp_path: Path) -> None:
    steps = managers.get("pip").install_steps(local_job(index))
    runner = Runner(tmp_path)
    runner.run(steps)
    undo = {step.id: step.undo for step in steps}
    assert runner.call(undo["torch"] or ()) == 0
    assert "torch" not in runner.installed(PYTHON)
    assert runner.call(undo["venv"] or ()) == 0
    assert not (tmp_path / ".venv").exists()


def test_an_environment_of_another_python_ends_the_script_with_11(index: LoopbackIndex, tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "precious").write_text("mine")
    with pytest.raises(Ended) as ended:
        Runner(tmp_path).run(managers.get("pip").install_steps(local_job(index)))
    assert ended.value.code == 11
    assert (tmp_path / ".venv" / "precious").read_text() == "mine"


def test_an_environment_without_pip_is_repaired(index: LoopbackIndex, tmp_path: Path) -> None:
    steps = managers.get("pip").install_steps(local_job(index))
    runner = Runner(tmp_path)
    assert runner.call((sys.executable, "-m", "venv", "--without-pip", ".venv")) == 0
    assert runner.run(steps) == ["pip", "torch"], runner.output


def test_a_directory_of_links_beside_pypi_gives_the_cuda_build(index: LoopbackIndex, tmp_path: Path) -> None:
    """PyPI (here: another loopback folder) has a plain torch of the same version: the pin must win."""
    wanted = local_job(index, "flat/cu118", index_kind="find-links")
    runner = Runner(tmp_path, env={"PIP_INDEX_URL": index.url("simple")})
    runner.run(managers.get("pip").install_steps(wanted))
    have = runner.installed(PYTHON)
    assert (have["torch"], have["torchaudio"], have["numpy"]) == ("2.0.1+cu118", "2.0.2+cu118", "1.26.4")


def test_a_build_of_pypi_uses_the_default_index(index: LoopbackIndex, tmp_path: Path) -> None:
    wanted = replace(local_job(index), index_kind="pypi", index_url=None, pin_local=False)
    runner = Runner(tmp_path, env={"PIP_INDEX_URL": index.url("simple")})
    runner.run(managers.get("pip").install_steps(wanted))
    assert runner.installed(PYTHON)["torch"] == "2.0.1"


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_hashes_lock_everything_and_refuse_a_changed_wheel(manager: str, tmp_path: Path) -> None:
    if UV is None:
        pytest.skip("uv is not installed")
    wheels = [*torch_set(TAG, f"linux_{ARCH}"), *common_set()]
    with LoopbackIndex({"whl/cu118": wheels}) as own:
        wanted = local_job(own, request={"manager": manager, "hashes": True}, tools={"uv": UV})
        steps = managers.get(manager).install_steps(wanted)
        runner = Runner(tmp_path)
        assert runner.run(steps) == ["venv", "wanted", "lock", "torch"], runner.output
        lock = (tmp_path / ".venv" / "envcheck-requirements.txt").read_text()
        torch = next(w.filename for w in wheels if w.name == "torch")
        assert f"sha256:{own.sha256(torch)}" in lock
        assert "numpy==1.26.4" in lock
        assert runner.run(steps) == []
        runner.call(steps[-1].undo or ())
        own.files[torch] = replace(wheels[0], modules={"torch/__init__.py": "import evil\n"}).build()
        with pytest.raises(Ended) as ended:
            Runner(tmp_path, env={"UV_CACHE_DIR": str(tmp_path / "fresh")}).run(steps)
        assert ended.value.code != 0


def test_a_refused_password_is_a_failure_not_a_pass(tmp_path: Path) -> None:
    wheels = [*torch_set(TAG, f"linux_{ARCH}"), *common_set()]
    with LoopbackIndex({"whl/cu118": wheels}, password="user:secret") as closed:
        runner = Runner(tmp_path)
        with pytest.raises(Ended) as ended:
            runner.run(managers.get("pip").install_steps(local_job(closed)))
        assert ended.value.code != 0
        assert "torch" not in runner.installed(PYTHON)


@pytest.mark.parametrize("absolute", [False, True])
def test_absolute_and_relative_links_both_install(absolute: bool, tmp_path: Path) -> None:
    wheels = [*torch_set(TAG, f"linux_{ARCH}"), *common_set()]
    with LoopbackIndex({"whl/cu118": wheels}, absolute=absolute, hashes=not absolute) as own:
        runner = Runner(tmp_path)
        runner.run(managers.get("pip").install_steps(local_job(own)))
        assert runner.installed(PYTHON)["torch"] == "2.0.1+cu118"


@pytest.mark.parametrize("manager", ["pip", "uv"])
def test_a_wheelhouse_is_filled_on_one_machine_and_installed_on_another(
    manager: str, index: LoopbackIndex, tmp_path: Path
) -> None:
    if UV is None:
        pytest.skip("uv is not installed")
    wanted = local_job(
        index, request={"manager": manager, "offline": "wheels"}, glibc="2.35", wheel_tag=f"manylinux_2_28_{ARCH}"
    )
    steps = managers.get(manager).install_steps(wanted)
    connected, target = tmp_path / "connected", tmp_path / "target"
    connected.mkdir()
    filler = Runner(connected, env={"PIP_INDEX_URL": index.url("simple")})
    _fake_fill_tools(connected)
    with pytest.raises(Ended) as ended:
        filler.run(steps)
    assert ended.value.code == 0, filler.output
    names = {p.name for p in (connected / "wheels").iterdir()}
    assert {"SHA256SUMS", "requirements.txt", "numpy-1.26.4-py3-none-any.whl"} <= names
    assert any(n.startswith("pip-") for n in names)
    assert not (connected / ".venv").exists()

    target.mkdir()
    shutil.move(str(connected / "wheels"), target / "wheels")
    before = len(index.requests)
    runner = Runner(target, env={"PIP_INDEX_URL": "http://127.0.0.1:9/nothing", "UV_OFFLINE": "1"})
    assert runner.run(steps) == ["venv", "torch"], runner.output
    assert runner.installed(PYTHON)["torch"] == "2.0.1+cu118"
    assert len(index.requests) == before
    assert runner.run(steps) == []


def _fake_fill_tools(directory: Path) -> None:
    """The environment for downloading, with the uv of this machine: the index here has no real one."""
    home = directory / offline.FILL
    assert Runner(directory).call((sys.executable, "-m", "venv", offline.FILL)) == 0
    (home / "bin" / "uv").symlink_to(UV or "")


@pytest.mark.parametrize("damage", ["changed", "lost"])
def test_a_damaged_wheelhouse_is_not_installed(damage: str, index: LoopbackIndex, tmp_path: Path) -> None:
    wanted = local_job(index, request={"offline": "wheels"})
    steps = managers.get("pip").install_steps(wanted)
    runner, wheel = Runner(tmp_path), tmp_path / "wheels" / "torch.whl"
    assert runner.call(next(s.argv for s in steps if s.id == "fill-wanted")) == 0
    wheel.write_bytes(b"good")
    runner.ec_sha256_manifest("wheels")
    if damage == "lost":
        wheel.unlink()
    else:
        wheel.write_bytes(b"bad")
    with pytest.raises(Ended) as ended:
        runner.run(steps)
    assert ended.value.code == 1
    assert not (tmp_path / ".venv").exists()


def test_a_wheelhouse_of_another_plan_is_not_mixed(index: LoopbackIndex, tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    other = local_job(index, request={"offline": "wheels"}, constraints=())
    assert runner.call(next(s.argv for s in offline.download_steps(other) if s.id == "fill-wanted")) == 0
    runner.ec_sha256_manifest("wheels")
    with pytest.raises(Ended) as ended:
        runner.run(managers.get("pip").install_steps(local_job(index, request={"offline": "wheels"})))
    assert ended.value.code == 11


def test_a_wheelhouse_cannot_bring_python() -> None:
    brought = PythonChoice(version="3.11", supported=("3.11",), supply="uv")
    with pytest.raises(UsageError, match="carries wheels, not Python"):
        managers.get("pip").install_steps(job(request={"offline": "wheels"}, python=brought))


def test_platform_tags_of_a_target() -> None:
    tags = offline.platform_tags(job(glibc="2.31"))
    assert tags[0] == "manylinux_2_31_x86_64"
    assert tags[-3:] == ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "linux_x86_64")
    assert offline.platform_tags(job(wheel_tag="manylinux_2_28_x86_64"))[0] == "manylinux_2_28_x86_64"
    assert offline.uv_platform(job(glibc="2.26")) == "x86_64-manylinux2014"
    assert offline.uv_platform(job(glibc="2.35", arch="aarch64")) == "aarch64-manylinux_2_28"
    assert offline.platform_tags(job(platform="windows")) == ("win_amd64",)
    assert offline.platform_args(job(python=PythonChoice(version="3.13t", supported=("3.13t",))))[-8:] == (
        *("--implementation", "cp", "--python-version", "3.13"),
        *("--abi", "cp313t", "--abi", "none"),
    )
