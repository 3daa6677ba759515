"""lint: each fault is found in the file that has it, and its repaired neighbour is quiet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck.cli import main
from envcheck.errors import InputError, UsageError
from envcheck.lint import KINDS, Target, kind_of, lint
from envcheck.matrix import load

MATRIX = load()
TARGET = Target(matrix=MATRIX, driver="535.104.05")


def codes(text: str, kind: str, target: Target = TARGET) -> list[tuple[str, int]]:
    if kind in ("compose", "environment"):
        pytest.importorskip("yaml", reason="PyYAML is not installed")
    return [(f.code, f.line) for f in lint(text, kind, target, kind)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Dockerfile", "dockerfile"),
        ("docker/Dockerfile.gpu", "dockerfile"),
        ("gpu.dockerfile", "dockerfile"),
        ("Containerfile", "dockerfile"),
        ("docker-compose.override.yml", "compose"),
        ("compose.yaml", "compose"),
        ("environment.yml", "environment"),
        ("requirements-dev.txt", "requirements"),
    ],
)
def test_the_name_tells_the_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_name_that_tells_nothing_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--kind"):
        kind_of("notes.md")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("torch==2.1.2\n", []),
        ("numpy\ntorch==2.1.2+cpu\n", [("cpu-only-torch", 2)]),
        ("--index-url https://download.pytorch.org/whl/cpu\ntorch\n", [("cpu-only-torch", 2)]),
        ("--extra-index-url https://download.pytorch.org/whl/cu121\ntorch==2.1.2\n", [("wrong-wheel-index", 2)]),
        ("--extra-index-url https://download.pytorch.org/whl/cu121\ntorch==2.1.2+cu121\n", []),
        ("--index-url https://download.pytorch.org/whl/cu118\ntorch==2.1.2+cu121\n", [("wrong-wheel-index", 2)]),
        ("--index-url https://download.pytorch.org/whl/cu128\ntorch==2.1.2\n", [("wrong-wheel-index", 2)]),
        ("--index-url=https://download.pytorch.org/whl/cu121\ntorch==2.1.2 ; python_version > '3.8' # x\n", []),
        ("--extra-index-url https://example.com/simple\nnumpy\n", []),
    ],
)
def test_requirements(text: str, found: list[tuple[str, int]]) -> None:
    assert codes(text, "requirements") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("FROM nvidia/cuda:12.2.0-devel-ubuntu22.04\nRUN pip install torch==2.1.2\n", []),
        ("FROM nvidia/cuda:12.4.1-devel-ubuntu22.04\n", [("container-host-driver-too-old", 1)]),
        ("ARG V=13.0.0\nFROM nvidia/cuda:${V}-devel-ubuntu22.04\n", [("container-host-driver-too-old", 2)]),
        (
            "FROM debian:12\nRUN apt-get update && \\\n  apt-get install -y curl nvidia-driver-535\n",
            [("driver-library-mismatch", 2)],
        ),
        ("FROM x\nRUN apt-get install -y cuda-toolkit-12-2\n", []),
        ("FROM x\nRUN apt-get install -y cuda\n", [("driver-library-mismatch", 2)]),
        ("FROM x\nRUN sh NVIDIA-Linux-x86_64-535.104.05.run -s\n", [("driver-library-mismatch", 2)]),
        ("FROM python:3.11-slim\nRUN pip install torch\n", [("triton-no-compiler", 2)]),
        ("FROM python:3.11-slim\nRUN apt-get install -y gcc\nRUN pip install torch\n", []),
        ("FROM python:3.11-slim AS a\nRUN pip install torch\nFROM alpine\nCOPY --from=a / /\n", []),
        ("FROM python:3.11-slim AS a\nRUN pip install torch\nFROM a\n", [("triton-no-compiler", 2)]),
        ("FROM x\nRUN pip install torch --index-url https://download.pytorch.org/whl/cpu\n", [("cpu-only-torch", 2)]),
        ('FROM x\nRUN ["pip", "install", "torch==2.1.2+cpu"]\n', [("cpu-only-torch", 2)]),
        ("FROM x\nRUN <<EOF\npip install torch==2.1.2+cpu\nEOF\n", [("cpu-only-torch", 2)]),
        ("FROM x\n# RUN pip install torch==2.1.2+cpu\n", []),
        ("FROM x\nRUN conda install -y pytorch cpuonly -c pytorch\n", [("cpu-only-torch", 2)]),
    ],
)
def test_dockerfile(text: str, found: list[tuple[str, int]]) -> None:
    assert codes(text, "dockerfile") == found


def test_without_a_driver_no_image_is_too_new() -> None:
    assert codes("FROM nvidia/cuda:13.0.0-devel\n", "dockerfile", Target(matrix=MATRIX)) == []


COMPOSE = "services:\n  train:\n    image: pytorch/pytorch:2.1.2-cuda12.1-cudnn8-runtime\n"
RESERVED = "    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (COMPOSE, [("container-no-gpu-flag", 3)]),
        (COMPOSE + "    gpus: all\n", []),
        (COMPOSE + "    runtime: nvidia\n", []),
        (COMPOSE + RESERVED + ", capabilities: [gpu]}]}}}\n", []),
        (COMPOSE + RESERVED + "}]}}}\n", [("container-no-gpu-flag", 4)]),
        ("services:\n  web:\n    image: nginx\n", []),
        (
            "services:\n  a:\n    build: .\n    environment: [NVIDIA_VISIBLE_DEVICES=all]\n",
            [("container-no-gpu-flag", 3)],
        ),
        (
            "services:\n  a:\n    gpus: all\n    image: nvidia/cuda:13.0.0-base\n",
            [("container-host-driver-too-old", 4)],
        ),
        ("", []),
        ("services: [1, 2]\n", []),
    ],
)
def test_compose(text: str, found: list[tuple[str, int]]) -> None:
    assert codes(text, "compose") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("channels: [pytorch, nvidia]\ndependencies:\n- pytorch=2.1\n- pytorch-cuda=12.1\n", []),
        ("channels: [pytorch]\ndependencies:\n- pytorch=2.1\n- pytorch-cuda=12.1\n", [("wrong-wheel-index", 4)]),
        ("channels: [pytorch]\ndependencies:\n- pytorch\n- cpuonly\n", [("cpu-only-torch", 4)]),
        ("dependencies:\n- pip\n- pip:\n  - torch==2.1.2+cpu\n", [("cpu-only-torch", 4)]),
        ("dependencies:\n- pytorch\n- pip:\n  - torch\n", [("duplicate-torch", 4)]),
    ],
)
def test_environment(text: str, found: list[tuple[str, int]]) -> None:
    assert codes(text, "environment") == found


def test_broken_yaml_is_an_input_error() -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    with pytest.raises(InputError, match="not valid YAML"):
        lint("a: [", "compose.yaml", TARGET)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.sampled_from(KINDS))
def test_any_text_is_read_or_refused(text: str, kind: str) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    for prefix in ("", "FROM x\nRUN pip install torch ", "services:\n  a: "):
        try:
            faults = lint(prefix + text, "x", TARGET, kind)
        except InputError:
            continue
        assert all(f.line >= 1 and f.fix for f in faults)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM nvidia/cuda:13.0.0-devel\n")
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://download.pytorch.org/whl/cu121\ntorch\n")
    (tmp_path / "envcheck.toml").write_text('[gate.driver]\nmin = "535.104.05"\n')
    assert main(["lint", "Dockerfile", "requirements.txt"]) == 1
    assert "Dockerfile:1: error: container-host-driver-too-old" in capsys.readouterr().out
    assert main(["lint", "requirements.txt"]) == 0
    assert main(["lint", "requirements.txt", "--fail-on", "warn"]) == 1
    capsys.readouterr()
    assert main(["lint", "Dockerfile", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["faults"][0]["line"] == 1
    assert main(["lint", "Dockerfile", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=Dockerfile,line=1,title=envcheck ")
    assert main(["lint", "Dockerfile", "--format", "gitlab"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["location"] == {"path": "Dockerfile", "lines": {"begin": 1}}
    assert main(["lint", "none.txt", "--kind", "requirements"]) == 4
    assert main(["lint", "Dockerfile", "--driver", "12.4"]) == 2
