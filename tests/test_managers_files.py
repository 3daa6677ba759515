"""The files that managers read: requirements, pyproject, environment, pixi. Written, then read back by a parser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from loopback_index import LoopbackIndex, common_set, torch_set
from managers_support import CU118, MINOR, Runner, conda_job, job

from envcheck import managers
from envcheck.errors import InputError, UsageError
from envcheck.managers import emit
from envcheck.managers.base import InstallJob
from envcheck.managers.requirements import with_hashes
from envcheck.model import PythonChoice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HASH = "a" * 64
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def text_of(wanted: InstallJob, fmt: str) -> str:
    return managers.get(wanted.request.manager).FILES[fmt](wanted)


def toml_of(wanted: InstallJob, fmt: str) -> dict[str, Any]:
    return tomllib.loads(text_of(wanted, fmt))


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


# --- requirements


def test_requirements_begin_with_the_index() -> None:
    assert lines_of(text_of(job(), "requirements")) == [
        f"--index-url {CU118}",
        *("torch==2.0.1+cu118", "torchvision==0.15.2", "torchaudio==2.0.2", "numpy<2"),
    ]


def test_requirements_of_a_pypi_build_have_no_index_line() -> None:
    wanted = job(index_kind="pypi", index_url=None, pin_local=False)
    assert lines_of(text_of(wanted, "requirements"))[0] == "torch==2.0.1"


def test_requirements_for_a_directory_of_links_pin_every_local_version() -> None:
    wanted = job(index_kind="find-links", index_url="https://mirrors.aliyun.com/pytorch-wheels/cu118/")
    lines = lines_of(text_of(wanted, "requirements"))
    assert lines[0] == "--find-links https://mirrors.aliyun.com/pytorch-wheels/cu118/"
    assert lines[1:4] == ["torch==2.0.1+cu118", "torchvision==0.15.2+cu118", "torchaudio==2.0.2+cu118"]


@pytest.mark.parametrize("url", ["https://a/$(id)", "https://a/\n-r /etc/passwd", "https://a/${HOME}", "https://a/ b"])
@pytest.mark.parametrize("fmt", ["requirements", "pyproject"])
def test_no_address_ends_its_line(fmt: str, url: str) -> None:
    with pytest.raises(UsageError):
        text_of(job(index_url=url, request={"manager": "uv"}), fmt)


def test_comments_hold_no_line_break() -> None:
    wanted = job(arch="x86_64\n--extra-index-url https://evil")
    assert "--extra-index-url" not in "\n".join(lines_of(text_of(wanted, "requirements")))


CLOSURE = {("torch", "2.0.1+cu118"): [HASH], ("torchvision", "0.15.2+cu118"): ["sha256:" + "B" * 64, HASH]} | {
    ("torchaudio", "2.0.2+cu118"): [HASH],
    ("NumPy", "1.26.4"): [HASH],
}


def test_hashes_stand_below_their_pin_torch_first() -> None:
    lines = lines_of(with_hashes(job(), CLOSURE))
    assert lines[:3] == [f"--index-url {CU118}", "torch==2.0.1+cu118 \\", f"    --hash=sha256:{HASH}"]
    assert "numpy==1.26.4 \\" in lines
    both = lines.index("torchvision==0.15.2+cu118 \\")
    assert lines[both + 1 : both + 3] == [f"    --hash=sha256:{HASH} \\", f"    --hash=sha256:{'b' * 64}"]


@pytest.mark.parametrize(
    "hashes",
    [
        {("torch", "2.0.1+cu118"): [HASH]},
        CLOSURE | {("torch", "2.0.1+cu118"): []},
        CLOSURE | {("torch", "2.0.1+cu118"): ["md5:1"]},
        CLOSURE | {("x\n--index-url https://evil", "1"): [HASH]},
        CLOSURE | {("x", "1 --hash"): [HASH]},
    ],
    ids=["missing", "none", "not-sha256", "name", "version"],
)
def test_hashes_that_cannot_be_are_refused(hashes: Mapping[tuple[str, str], list[str]]) -> None:
    with pytest.raises((InputError, UsageError)):
        with_hashes(job(), hashes)


def test_hashes_need_a_resolution() -> None:
    with pytest.raises(UsageError, match="--online"):
        text_of(job(request={"hashes": True}), "requirements")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fake wheels are for Linux")
def test_pip_installs_the_file_with_hashes(tmp_path: Path) -> None:
    import platform

    wheels = [*torch_set("cp" + MINOR.replace(".", ""), f"linux_{platform.machine()}"), *common_set()]
    wanted = [w for w in wheels if (w.name, w.version) != ("numpy", "2.1.2")]
    with LoopbackIndex({"whl/cu118": wheels}) as index:
        known = {(w.name, w.version): [index.sha256(w.filename)] for w in wanted}
        text = with_hashes(job(index_url=index.url("whl/cu118")), known)
        (tmp_path / "requirements.txt").write_text(text, encoding="utf-8")
        runner = Runner(tmp_path)
        runner.call((sys.executable, "-m", "venv", ".venv"))
        install = (".venv/bin/python", "-m", "pip", "install", "-r", "requirements.txt")
        assert runner.call(install) == 0, runner.output
        assert runner.installed(".venv/bin/python")["torch"] == "2.0.1+cu118"
        known["torch", "2.0.1+cu118"] = [HASH]
        bad = with_hashes(job(index_url=index.url("whl/cu118")), known)
        (tmp_path / "requirements.txt").write_text(bad, encoding="utf-8")
        assert runner.call((*install, "--force-reinstall")) != 0
        assert "DO NOT MATCH THE HASHES" in runner.output


# --- pyproject


def test_uv_project() -> None:
    data = toml_of(job(request={"manager": "uv"}), "pyproject")
    assert data["project"]["requires-python"] == "==3.11.*"
    assert data["project"]["dependencies"][0] == "torch==2.0.1+cu118"
    assert data["project"]["dependencies"][-1] == "numpy<2"
    assert data["tool"]["uv"]["index"] == [{"name": "pytorch-cu118", "url": CU118, "explicit": True}]
    source = [{"index": "pytorch-cu118", "marker": "sys_platform == 'linux'"}]
    assert data["tool"]["uv"]["sources"] == dict.fromkeys(("torch", "torchvision", "torchaudio"), source)


def test_uv_project_of_windows_and_of_a_pypi_mirror() -> None:
    data = toml_of(job(request={"manager": "uv"}, platform="windows"), "pyproject")
    assert data["tool"]["uv"]["environments"] == ["sys_platform == 'win32' and platform_machine == 'AMD64'"]
    mirror = job(request={"manager": "uv"}, index_kind="pypi", index_url="https://m.example/simple", pin_local=False)
    data = toml_of(mirror, "pyproject")
    assert data["tool"]["uv"]["index"] == [{"name": "mirror", "url": "https://m.example/simple", "default": True}]
    assert "sources" not in data["tool"]["uv"]


@pytest.mark.skipif(UV is None or not sys.platform.startswith("linux"), reason="needs uv, and Linux for the wheels")
@pytest.mark.parametrize("kind", ["pytorch", "find-links"])
def test_uv_locks_torch_from_the_explicit_index(kind: str, tmp_path: Path) -> None:
    import platform

    tag, arch = "cp" + MINOR.replace(".", ""), platform.machine()
    cuda, plain = torch_set(tag, f"linux_{arch}"), torch_set(tag, f"manylinux1_{arch}", "")
    folders = {"whl/cu118": cuda, "flat/cu118": cuda, "simple": [*plain, *common_set()]}
    with LoopbackIndex(folders, flat=["flat/cu118"]) as index:
        folder = "whl/cu118" if kind == "pytorch" else "flat/cu118"
        python = PythonChoice(version=MINOR, supported=(MINOR,))
        wanted = job(request={"manager": "uv"}, index_url=index.url(folder), index_kind=kind, python=python, arch=arch)
        (tmp_path / "pyproject.toml").write_text(text_of(wanted, "pyproject"), encoding="utf-8")
        runner = Runner(tmp_path, env={"UV_DEFAULT_INDEX": index.url("simple")})
        assert runner.call((UV or "", "sync", "--python", sys.executable)) == 0, runner.output
        have = runner.installed(".venv/bin/python")
        assert (have["torch"], have["torchvision"], have["numpy"]) == ("2.0.1+cu118", "0.15.2+cu118", "1.26.4")


def test_poetry_project() -> None:
    data = toml_of(job(request={"manager": "poetry"}), "pyproject")["tool"]["poetry"]
    assert data["source"] == [{"name": "pytorch-cu118", "url": CU118, "priority": "explicit"}]
    assert data["dependencies"]["torch"] == {"version": "==2.0.1+cu118", "source": "pytorch-cu118"}
    assert data["dependencies"]["numpy"] == {"version": "<2"}
    assert data["dependencies"]["python"] == "==3.11.*"


def test_poetry_cannot_read_a_directory_of_links() -> None:
    with pytest.raises(UsageError, match="indexes only"):
        text_of(job(request={"manager": "poetry"}, index_kind="find-links"), "pyproject")


def test_constraints_on_one_name_are_joined_and_keep_their_marker() -> None:
    wanted = job(
        request={"manager": "poetry"},
        constraints=("numpy<2", "numpy>=1.21", 'setuptools<81; python_version >= "3.12"', "pillow"),
    )
    dependencies = toml_of(wanted, "pyproject")["tool"]["poetry"]["dependencies"]
    assert dependencies["numpy"] == {"version": "<2,>=1.21"}
    assert dependencies["setuptools"] == {"version": "<81", "markers": 'python_version >= "3.12"'}
    assert dependencies["pillow"] == {"version": "*"}


# --- conda's and pixi's


def test_environment_file_of_the_pytorch_channel() -> None:
    data = yaml.safe_load(text_of(conda_job(request={"prefix": "torch"}), "environment"))
    assert data == {
        "name": "torch",
        "channels": ["pytorch", "nvidia"],
        "dependencies": [
            *("python=3.11", "pytorch==2.0.1", "torchvision==0.15.2", "torchaudio==2.0.2"),
            *("pytorch-cuda=11.8", "numpy<2"),
        ],
    }


def test_environment_file_of_conda_forge() -> None:
    text = text_of(conda_job("conda-forge"), "environment")
    data = yaml.safe_load(text)
    assert data["channels"] == ["conda-forge", "nodefaults"]
    assert data["dependencies"][1:3] == ["pytorch-gpu=2.13.0", "cuda-version=12.9"]
    assert "name" not in data
    assert "CONDA_OVERRIDE_CUDA=12.9" in text


def test_pixi_declares_cuda() -> None:
    data = toml_of(conda_job("conda-forge", request={"manager": "pixi"}, glibc="2.35"), "pixi")
    assert data["system-requirements"] == {"cuda": "12", "libc": {"family": "glibc", "version": "2.35"}}
    assert data["workspace"]["platforms"] == ["linux-64"]
    assert data["dependencies"] == {
        "python": "3.11.*",
        "pytorch-gpu": "2.13.0.*",
        "cuda-version": "12.9.*",
        "torchvision": "*",
    }


def test_pixi_with_the_pytorch_channel_and_without_cuda() -> None:
    data = toml_of(conda_job(request={"manager": "pixi"}), "pixi")
    assert data["workspace"]["channels"] == ["pytorch", "nvidia", "conda-forge"]
    assert data["dependencies"]["pytorch"] == "==2.0.1"
    assert data["dependencies"]["pytorch-cuda"] == "11.8.*"
    assert data["dependencies"]["numpy"] == "<2"
    cpu = conda_job(request={"manager": "pixi"}, torch={"cuda": None, "tag": "cpu"})
    assert "system-requirements" not in toml_of(cpu, "pixi")


# --- strings


@given(st.text())
def test_a_quoted_string_is_the_same_in_toml_and_in_yaml(text: str) -> None:
    quoted = emit.quoted(text)
    assert "\n" not in quoted
    assert tomllib.loads(f"key = {quoted}")["key"] == text
    assert yaml.safe_load(f"key: {quoted}")["key"] == text


def test_a_string_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UsageError, match="Unicode"):
        emit.quoted("\udc80")


@given(st.text())
def test_a_comment_is_one_line(text: str) -> None:
    assert len(emit.comment(text).splitlines()) == 1
    assert emit.comment(text).startswith("#")


@given(st.text(max_size=20))
def test_a_conda_name_survives_the_file_or_is_refused(name: str) -> None:
    wanted = conda_job()
    wanted = replace(wanted, request=replace(wanted.request, prefix=name))
    try:
        data = yaml.safe_load(text_of(wanted, "environment"))
    except UsageError:
        return
    assert data.get("name") == (None if "/" in name or name in (".", "..") else name)
    assert data["channels"] == ["pytorch", "nvidia"]


def test_the_index_answers_as_pytorchs(tmp_path: Path) -> None:
    """403 for what it lacks: the stand-in must be as awkward as what it stands for."""
    with LoopbackIndex({"whl/cu118": torch_set("cp311", "linux_x86_64")}) as index:
        code = (
            "import sys, urllib.request, urllib.error\n"
            "try: urllib.request.urlopen(sys.argv[1], timeout=10)\n"
            "except urllib.error.HTTPError as e: print(e.code)"
        )
        argv = [sys.executable, "-c", code, index.url("whl/cu118/nothing/")]
        out = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env={"no_proxy": "*"})
        assert out.stdout.strip() == "403"
