"""What each manager writes down: argv word for word, PyTorch's own commands as the oracle, hostile names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from managers_support import CU118, Runner, conda_job, job

from envcheck import managers
from envcheck.errors import UsageError
from envcheck.managers.base import InstallJob
from envcheck.model import PythonChoice, Step

ALL = ("pip", "uv", "conda", "mamba", "micromamba", "pixi", "poetry")
PINS = ("torch==2.0.1+cu118", "torchvision==0.15.2", "torchaudio==2.0.2", "numpy<2")


def steps_of(wanted: InstallJob) -> dict[str, Step]:
    return {s.id: s for s in managers.get(wanted.request.manager).install_steps(wanted)}


def any_job(manager: str, **request: Any) -> InstallJob:
    request["manager"] = manager
    wheels = managers.get(manager).SECTION == "builds"
    return job(request=request) if wheels else conda_job(request=request)


# --- the dict of managers


def test_every_manager_is_listed_with_its_section() -> None:
    assert tuple(managers.MANAGERS) == ALL
    sections = {name: managers.MANAGERS[name].SECTION for name in ALL}
    assert {n for n, s in sections.items() if s == "builds"} == {"pip", "uv", "poetry"}
    assert {n for n, s in sections.items() if s == "conda"} == {"conda", "mamba", "micromamba", "pixi"}


def test_an_unknown_manager_is_a_usage_error_that_lists_them() -> None:
    with pytest.raises(UsageError, match="micromamba"):
        managers.get("pipenv")
    with pytest.raises(UsageError, match="pipenv"):
        managers.formats("pipenv")


@pytest.mark.parametrize("name", ALL)
def test_formats_are_the_common_ones_and_the_files_of_the_module(name: str) -> None:
    assert managers.formats(name) == managers.COMMON_FORMATS + tuple(managers.get(name).FILES)
    for fmt in managers.get(name).FILES:
        assert name in managers.managers_with(fmt)


def test_importing_the_package_imports_no_manager() -> None:
    code = "import sys, envcheck.managers as m; m.get('pip'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    loaded = set(out.split())
    assert "envcheck.managers.pip" in loaded
    assert not loaded & {"envcheck.managers.conda", "envcheck.managers.pixi", "packaging.requirements", "requests"}


# --- argv, word for word


def test_pip_on_linux() -> None:
    steps = steps_of(job())
    assert list(steps) == ["venv", "pip", "other-build", "torch"]
    assert steps["venv"].argv == ("python3.11", "-m", "venv", ".venv")
    assert steps["venv"].check == ("ec_have_python", ".venv/bin/python", "3.11", ".venv")
    assert steps["venv"].undo == ("ec_remove_created", ".venv")
    assert steps["torch"].argv == (".venv/bin/python", "-m", "pip", "install", *PINS, "--index-url", CU118)
    assert steps["torch"].check == ("ec_have", ".venv/bin/python", *PINS)
    assert steps["other-build"].check == ("ec_same_build", ".venv/bin/python", "torch", "2.0.1+cu118")


def test_pip_on_windows() -> None:
    wanted = job(platform="windows")
    steps = steps_of(wanted)
    assert steps["venv"].argv == ("py", "-3.11", "-m", "venv", ".venv")
    assert steps["torch"].argv[0] == ".venv\\Scripts\\python.exe"
    assert managers.get("pip").target_python(wanted) == (".venv\\Scripts\\python.exe",)


def test_the_interpreter_of_the_target_makes_the_environment() -> None:
    assert steps_of(job(active_python="/usr/bin/python3"))["venv"].argv[0] == "/usr/bin/python3"
    other = PythonChoice(version="3.10", supported=("3.10",), supply="/usr/bin/python3.10")
    assert steps_of(job(python=other, active_python="/usr/bin/python3"))["venv"].argv[0] == "/usr/bin/python3.10"


def test_python_brought_by_uv_for_pip() -> None:
    brought = PythonChoice(version="3.11", supported=("3.11",), supply="uv")
    steps = steps_of(job(python=brought, active_python="/usr/bin/python3"))
    assert steps["uv-venv"].argv == ("/usr/bin/python3", "-m", "venv", ".envcheck-uv")
    assert steps["uv-tool"].argv == (".envcheck-uv/bin/python", "-m", "pip", "install", "uv")
    assert steps["venv"].argv == (".envcheck-uv/bin/uv", "venv", "--seed", "--python", "3.11", ".venv")
    assert steps["torch"].argv[:4] == (".venv/bin/python", "-m", "pip", "install")
    there = steps_of(job(python=brought, tools={"uv": "0.13.9"}))
    assert "uv-tool" not in there
    assert there["venv"].argv[0] == "uv"


def test_python_brought_by_conda_for_pip() -> None:
    brought = PythonChoice(version="3.11", supported=("3.11",), supply="conda")
    steps = steps_of(job(python=brought, tools={"mamba": "2.0"}))
    expected = (
        "mamba",
        "create",
        "-y",
        "-p",
        ".venv",
        "python=3.11",
        "pip",
        "-c",
        "conda-forge",
        "--override-channels",
    )
    assert steps["venv"].argv == expected
    assert steps["torch"].argv[0] == ".venv/bin/python"
    windows = job(python=brought, platform="windows")
    assert managers.get("pip").target_python(windows) == (".venv\\python.exe",)


def test_venv_none_uses_the_active_interpreter() -> None:
    steps = steps_of(job(request={"venv": "none"}, active_python="/opt/py/bin/python"))
    assert "venv" not in steps
    assert "pip" not in steps
    assert steps["torch"].argv[:4] == ("/opt/py/bin/python", "-m", "pip", "install")
    brought = PythonChoice(version="3.11", supported=("3.11",), supply="uv")
    with pytest.raises(UsageError, match="--venv none"):
        steps_of(job(request={"venv": "none"}, python=brought))


def test_a_constraint_on_pip_itself_is_met_before_and_never_beside_torch() -> None:
    steps = steps_of(job(constraints=("numpy<2", "pip>=20.3")))
    order = list(steps)
    assert order.index("pip-newer") < order.index("torch")
    assert steps["pip-newer"].argv == (".venv/bin/python", "-m", "pip", "install", "--upgrade", "pip>=20.3")
    assert not any("pip>=" in word for word in steps["torch"].argv)


def test_free_threaded_python() -> None:
    steps = steps_of(job(python=PythonChoice(version="3.13t", supported=("3.13t",)), request={"manager": "uv"}))
    assert "3.13t" in steps["venv"].argv
    assert steps["venv"].check == ("ec_have_python", ".venv/bin/python", "3.13t", ".venv")


def test_uv() -> None:
    steps = steps_of(job(request={"manager": "uv"}, tools={"uv": "0.13.9"}))
    assert steps["venv"].argv == ("uv", "venv", "--python", "3.11", ".venv")
    assert steps["torch"].argv == (
        *("uv", "pip", "install", "--python", ".venv/bin/python"),
        *(*PINS, "--index-url", CU118),
    )
    bootstrapped = steps_of(job(request={"manager": "uv"}))
    assert [i for i in bootstrapped if i.startswith("uv")] == ["uv-venv", "uv-tool"]


def test_no_manager_ever_merges_indexes() -> None:
    for name in ALL:
        words = [w for s in steps_of(any_job(name)).values() for w in s.argv]
        assert not any("extra-index" in w or "torch-backend" in w for w in words)


def test_conda_with_the_pytorch_channel() -> None:
    steps = steps_of(conda_job())
    assert steps["environment"].argv == ("conda", "create", "-y", "-p", "./.conda-env", "python=3.11")
    assert steps["torch"].argv == (
        *("conda", "install", "-y", "-p", "./.conda-env"),
        *("pytorch==2.0.1", "torchvision==0.15.2", "torchaudio==2.0.2", "pytorch-cuda=11.8", "numpy<2"),
        *("-c", "pytorch", "-c", "nvidia"),
    )
    assert steps["torch"].check is not None
    assert steps["torch"].check[:2] == ("ec_have", "./.conda-env/bin/python")


def test_conda_cpu_and_macos() -> None:
    cpu = {"cuda": None, "tag": "cpu"}
    argv = steps_of(conda_job(torch=cpu, constraints=()))["torch"].argv
    assert argv[5:] == ("pytorch==2.0.1", "torchvision==0.15.2", "torchaudio==2.0.2", "cpuonly", "-c", "pytorch")
    assert "cpuonly" not in steps_of(conda_job(torch=cpu, platform="macos", arch="arm64"))["torch"].argv


def test_conda_forge_names_cuda_for_a_machine_without_a_driver() -> None:
    steps = steps_of(conda_job("conda-forge"))
    assert steps["torch"].argv == (
        *("env", "CONDA_OVERRIDE_CUDA=12.9", "conda", "install", "-y", "-p", "./.conda-env"),
        *("pytorch-gpu=2.13.0", "cuda-version=12.9", "torchvision"),
        *("-c", "conda-forge", "--strict-channel-priority", "--override-channels"),
    )
    assert steps_of(conda_job("conda-forge", platform="windows"))["torch"].argv[0] == "conda"
    cpu = steps_of(conda_job("conda-forge", torch={"cuda": None, "tag": "cpu"}))["torch"].argv
    assert "pytorch-cpu=2.13.0" in cpu
    assert cpu[0] == "conda"


def test_conda_environments_by_name() -> None:
    wanted = conda_job(request={"prefix": "torch-env"})
    steps = steps_of(wanted)
    assert steps["environment"].argv[:5] == ("conda", "create", "-y", "-n", "torch-env")
    assert steps["environment"].check == ("ec_have_python_in", "conda", "torch-env", "3.11")
    assert steps["environment"].undo == ("conda", "env", "remove", "-y", "-n", "torch-env")
    assert (steps["torch"].check or ())[:3] == ("ec_have_in", "conda", "torch-env")
    expected = ("conda", "run", "--no-capture-output", "-n", "torch-env", "python")
    assert managers.get("conda").target_python(wanted) == expected


@pytest.mark.parametrize("name", ["a b", "-x", "a:b", "a#b", ""])
def test_names_that_conda_refuses_are_refused_first(name: str) -> None:
    with pytest.raises(UsageError, match="--prefix"):
        steps_of(conda_job(request={"prefix": name}))


def test_micromamba_differs_where_it_must() -> None:
    wanted = conda_job(request={"manager": "micromamba"})
    steps = steps_of(wanted)
    assert steps["environment"].argv[-2:] == ("-c", "conda-forge")
    assert steps["torch"].argv[-6:] == ("-c", "pytorch", "-c", "nvidia", "-c", "conda-forge")
    assert managers.get("micromamba").target_python(wanted) == ("micromamba", "run", "-p", "./.conda-env", "python")


@pytest.mark.parametrize(
    "option",
    [{"mirror": "nju"}, {"index_url": CU118}, {"offline": "wheels"}, {"hashes": True}],
    ids=lambda o: next(iter(o)),
)
@pytest.mark.parametrize("manager", ["conda", "pixi"])
def test_conda_does_not_ignore_an_option_of_wheels(manager: str, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is for wheels"):
        steps_of(conda_job(request={"manager": manager, **option}))


def test_poetry_uses_the_environment_inside_its_project() -> None:
    wanted = job(request={"manager": "poetry", "prefix": "project"}, tools={"poetry": "2.5.1"})
    steps = steps_of(wanted)
    assert steps["venv"].argv == ("python3.11", "-m", "venv", "project/.venv")
    assert steps["torch"].argv == ("poetry", "--directory=project", "install", "--no-root", "--no-interaction")
    assert managers.get("poetry").target_python(wanted) == ("project/.venv/bin/python",)
    with pytest.raises(UsageError, match="--offline"):
        steps_of(job(request={"manager": "poetry", "offline": "wheels"}))


# --- a fake conda: the order of calls, and a second run


def test_conda_steps_run_once(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the fake conda is a shell script")
    fake = tmp_path / "bin" / "conda"
    fake.parent.mkdir()
    info = f"$4/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    fake.write_text(
        "#!/bin/sh\nset -e\n"
        f'echo "$@" >> {tmp_path}/log\n'
        f'if [ "$1" = create ]; then {sys.executable} -m venv --without-pip "$4"; exit; fi\n'
        "for p in torch-2.0.1 torchvision-0.15.2 torchaudio-2.0.2; do\n"
        f'  d="{info}/$p.dist-info"; mkdir -p "$d"\n'
        '  printf "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" "${p%-*}" "${p#*-}" > "$d/METADATA"\n'
        "done\n"
    )
    fake.chmod(0o755)
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    steps = managers.get("conda").install_steps(conda_job(python=PythonChoice(version=minor, supported=(minor,))))
    runner = Runner(tmp_path, path=[fake.parent])
    assert runner.run(steps) == ["environment", "torch"], runner.output
    assert runner.run(steps) == []
    calls = (tmp_path / "log").read_text().splitlines()
    assert [c.split()[0] for c in calls] == ["create", "install"]


def test_a_missing_conda_is_a_precondition(tmp_path: Path) -> None:
    runner = Runner(tmp_path, env={"PATH": str(tmp_path)})
    assert runner.call(steps_of(conda_job())["conda-present"].argv) == 11


# --- PyTorch's own commands as the oracle


def official(shared: Path, manager: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    file = shared / "facts" / "data" / "official_commands.json"
    for record in json.loads(file.read_text(encoding="utf-8"))["records"]:
        words = (record["command"] or "").split()
        if record["page"] == "previous-versions" and record["pm"] == manager and any("torch==" in w for w in words):
            yield record, words


def test_pip_lines_are_those_of_pytorchs_page(shared: Path) -> None:
    seen = 0
    for record, words in official(shared, "pip"):
        pins = dict(w.split("==") for w in words if "==" in w)
        url = words[words.index("--index-url") + 1] if "--index-url" in words else None
        kind = "pytorch" if url else "pypi"
        torch = {"version": pins.pop("torch"), "tag": record["variant"] or "cpu"}
        wanted = job(torch=torch, companions=pins, constraints=(), index_url=url, index_kind=kind, pin_local=False)
        assert list(steps_of(wanted)["torch"].argv[3:]) == words[1:], record["command"]
        seen += 1
    assert seen >= 100


def test_conda_lines_are_those_of_pytorchs_page(shared: Path) -> None:
    seen = 0
    for record, words in official(shared, "conda"):
        pins = dict(w.split("==") for w in words if "==" in w)
        torch = {"version": pins.pop("pytorch"), "tag": record["variant"] or "cpu", "cuda": record["cuda"]}
        platform = "macos" if record["os"] == "macos" else record["os"]
        wanted = conda_job(torch=torch, companions=pins, constraints=(), platform=platform)
        argv = list(steps_of(wanted)["torch"].argv)
        assert [argv[0], argv[1], *argv[5:]] == words, record["command"]
        seen += 1
    assert seen >= 40


# --- names of users


HOSTILE = ["it's", '"', "$(touch x)", "`id`", "a;b", "näme", "a b", "%PATH%", "-rf", "--index-url=http://x"]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("manager", ALL)
def test_a_name_is_one_word_and_no_option(manager: str, text: str) -> None:
    for option in ("venv", "prefix", "offline"):
        for wanted in (
            any_job(manager, **{option: text}),
            replace(any_job(manager, **{option: text}), platform="windows"),
        ):
            _no_option(wanted, text, manager)


def _no_option(wanted: InstallJob, text: str, manager: str) -> None:
    try:
        steps = managers.get(manager).install_steps(wanted)
    except UsageError:
        return
    commands = [c for s in steps for c in (s.argv, s.check, s.undo) if c]
    for command in commands:
        for word in command:
            if text in word and command[0] not in ("ec_write_file", "ec_file_is"):
                assert not word.startswith("-") or word.startswith(("--directory=", "--manifest-path=")), word


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=12), manager=st.sampled_from(ALL), option=st.sampled_from(["venv", "prefix", "offline"]))
def test_any_text_is_used_literally_or_refused(text: str, manager: str, option: str) -> None:
    wanted = any_job(manager, **{option: text})
    try:
        steps = managers.get(manager).install_steps(wanted)
    except UsageError as error:
        assert str(error)
        return
    for step in steps:
        assert all(isinstance(word, str) and "\n" not in word and "\0" not in word for word in step.argv)
        assert "\n" not in step.title


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31m", "", "a\u2028b", "\udcff"])
def test_control_characters_in_a_path_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--venv"):
        steps_of(job(request={"venv": text}))
    with pytest.raises(UsageError, match="--offline"):
        steps_of(job(request={"offline": text}))


def test_a_colon_in_a_venv_path_is_refused_as_python_would() -> None:
    with pytest.raises(UsageError, match="separates paths"):
        steps_of(job(request={"venv": "a:b"}))


@pytest.mark.parametrize("manager", ALL)
def test_every_step_says_why_and_has_a_check(manager: str) -> None:
    for step in steps_of(any_job(manager)).values():
        assert step.check
        assert step.why
        assert step.source.startswith("https://")
        assert step.stage == "user"
        assert not step.root
