"""Which manager made an environment: told by the marks that each one leaves, whatever stands in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.detect.details import devices, manager
from envcheck.detect.python import Found
from envcheck.host import RecordedHost
from envcheck.model import Python

PREFIX = "/home/user/train/.venv"
SITE = f"{PREFIX}/lib/python3.11/site-packages"
INFO = "torch-2.6.0+cu124.dist-info"
UV = "home = /usr/bin\nimplementation = CPython\nuv = 0.5.11\nversion_info = 3.11.2\n"
PIXI = '{"manifest_path": "/home/user/train/pixi.toml", "environment_name": "cuda", "pixi_version": "0.39.5"}'


def told(
    *, files: dict[str, str] | None = None, conda: bool = False, exists: tuple[str, ...] = (), **raw: Any
) -> dict[str, Any]:
    raw.setdefault("dirs", {SITE: [INFO, "torch"]})
    host = RecordedHost({"files": files or {}, "exists": dict.fromkeys(exists, True), **raw})
    python = Python(version="3.11.2", environment="conda" if conda else "venv")
    found = Found(python=python, path=(SITE,), prefix=PREFIX)
    facts: dict[str, Any] = manager.gather(host, found, raw.get("which", {}))["environment"]
    return facts


@pytest.mark.parametrize(
    ("installer", "config", "name"),
    [
        ("pip\n", "home = /usr/bin\n", "pip"),
        ("uv\n", UV, "uv"),
        ("uv\n", "home = /usr/bin\n", "uv"),
        ("pip\n", UV, "pip"),  # `uv venv --seed` brings a pip, and it was used
        ("Poetry 1.8.3", "home = /usr/bin\n", "poetry"),
        ("", UV, "uv"),
        ("", "", "pip"),
    ],
)
def test_a_virtual_environment(installer: str, config: str, name: str) -> None:
    facts = told(files={f"{SITE}/{INFO}/INSTALLER": installer, f"{PREFIX}/pyvenv.cfg": config})
    assert (facts["manager"], facts["prefix"], facts["project"]) == (name, PREFIX, None)


def test_a_project_that_locks_torch_is_named() -> None:
    files = {f"{SITE}/{INFO}/INSTALLER": "uv", f"{PREFIX}/pyvenv.cfg": UV}
    assert told(files=files, exists=("/home/user/train/uv.lock",))["project"] == "/home/user/train"
    files = {f"{SITE}/{INFO}/INSTALLER": "poetry 2.1.0"}
    assert told(files=files, exists=("/home/user/train/poetry.lock",))["project"] == "/home/user/train"


def test_pixi_by_its_marker() -> None:
    facts = told(files={f"{PREFIX}/conda-meta/pixi": PIXI}, conda=True)
    assert (facts["manager"], facts["project"], facts["name"]) == ("pixi", "/home/user/train/pixi.toml", "cuda")


@pytest.mark.parametrize(
    ("which", "env", "name"),
    [
        ({"conda": "/opt/conda/bin/conda", "mamba": "/opt/conda/bin/mamba"}, {}, "conda"),
        ({"mamba": "/opt/mamba/bin/mamba"}, {}, "mamba"),
        ({}, {"MAMBA_EXE": "/home/user/.local/bin/micromamba"}, "micromamba"),
        ({}, {}, "conda"),
    ],
)
def test_the_conda_family(which: dict[str, str], env: dict[str, str], name: str) -> None:
    dirs = {f"{PREFIX}/conda-meta": ["pytorch-2.0.1-py3.8_cuda11.7_cudnn8.5.0_0.json"]}
    assert told(conda=True, which=which, env=env, dirs=dirs)["manager"] == name


def test_a_wheel_inside_a_conda_environment_is_pips() -> None:
    facts = told(files={f"{SITE}/{INFO}/INSTALLER": "pip\n"}, conda=True, which={"conda": "/opt/conda/bin/conda"})
    assert (facts["manager"], facts["installer"]) == ("pip", "pip")


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=60))
def test_no_text_breaks_it(pixi: str, config: str, installer: str) -> None:
    files = {f"{SITE}/{INFO}/INSTALLER": installer, f"{PREFIX}/pyvenv.cfg": config}
    assert told(files=files)["manager"] in ("pip", "uv", "poetry")
    assert told(files={**files, f"{PREFIX}/conda-meta/pixi": pixi}, conda=True)["manager"] == "pixi"


def test_who_runs_it() -> None:
    assert devices.parse_look("uid 0\ndone\n")["root"] is True
    assert devices.parse_look("uid 1000\ndone\n")["root"] is False
    assert "root" not in devices.parse_look("uid \ndone\n")
