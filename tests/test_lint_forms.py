"""lint on the forms that public repositories have: each written anew, as short as it still has its point.

docs/evidence/lint-2026-11-25.md says on how many real files the rules were measured.
"""

from __future__ import annotations

import pytest

from envcheck.errors import InputError
from envcheck.lint import Target, lint
from envcheck.matrix import load

TARGET = Target(matrix=load(), driver="535.104.05")
CPU, INDEX, GPU, DRIVER, OLD_DRIVER, COMPILER, TWICE = (
    "cpu-only-torch",
    "wrong-wheel-index",
    "container-no-gpu-flag",
    "driver-library-mismatch",
    "container-host-driver-too-old",
    "triton-no-compiler",
    "duplicate-torch",
)
WHL = "https://download.pytorch.org/whl"
UV_INDEX = f'[[tool.uv.index]]\nname = "pt"\nurl = "{WHL}/%s"\nexplicit = true\n'
PROJECT = '[project]\nname = "x"\nversion = "1"\ndependencies = ["numpy", "torch%s"]\n'
POETRY = '[tool.poetry.dependencies]\npython = "^3.10"\ntorch = %s\n[[tool.poetry.source]]\nname = "pt"\n'
RESERVED = "deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 1, capabilities: %s}]}}}"

SOUND = {
    "Dockerfile:driver's tools are handed in": "FROM ubuntu:24.04\nENV NVIDIA_VISIBLE_DEVICES=all\n"
    "RUN apt-get update && apt-get install -y nvtop nvidia-modprobe gcc\nRUN pip install torch\n",
    "Dockerfile:toolkit alone": "FROM debian:12\nRUN apt-get -y install cuda-toolkit-12-2 cuda-nvcc-12-2 libcudnn8\n",
    "Dockerfile:commented out": "FROM x\n# RUN apt-get install -y cuda-drivers\nRUN apt-get install -y git\n",
    "Dockerfile:old torch needs no compiler": "FROM nvidia/cuda:11.1.1-base\nRUN conda install -y pytorch=1.8.1\n",
    "Dockerfile:torch of the base image": "FROM pytorch/pytorch:2.1.2-cuda12.1-cudnn8-devel\nRUN pip install timm\n",
    "Dockerfile:one index": f"FROM nvidia/cuda:12.1.0-devel\nRUN pip install torch==2.2.2 --index-url {WHL}/cu121\n",
    "Dockerfile:a branch is a choice": "FROM nvidia/cuda:12.1.0-devel\nARG GPU=1\n"
    f'RUN if [ "$GPU" = 1 ]; then pip install torch; else pip install torch --index-url {WHL}/cpu; fi\n',
    "Dockerfile:variant by argument": "FROM nvidia/cuda:12.1.0-devel\nARG TAG=cu121\n"
    f"RUN uv pip install torch==2.2.2 --index-url {WHL}/$TAG\n",
    "Dockerfile:find-links, exact pin": f"FROM x\nRUN pip install torch==2.0.1+cu118 -f {WHL}/torch_stable.html\n",
    "docker/Dockerfile.cpu:for machines without a GPU": f"FROM x\nRUN pip install torch --index-url {WHL}/cpu\n",
    "docker/rocm/Dockerfile:for AMD": f"FROM x\nRUN pip install torch --index-url {WHL}/rocm6.2\n",
    "Dockerfile:builder stage without a compiler": "FROM python:3.11-slim AS b\nRUN pip install torch\n"
    "FROM nginx\nCOPY --from=b /a /a\n",
    "compose.yaml:long form": f"services:\n  a:\n    image: nvidia/cuda:12.1.0-base\n    {RESERVED % '[gpu]'}\n",
    "compose.yaml:driver's own words": f"services:\n  a:\n    image: app\n    {RESERVED % '[compute, utility]'}\n",
    "compose.yaml:merged from an anchor": f"x-gpu: &gpu\n  {RESERVED % '[gpu]'}\nservices:\n  a:\n    <<: *gpu\n"
    "    image: pytorch/pytorch:2.1.2-cuda12.1-cudnn8-runtime\n",
    "compose.yaml:merged from two": "x-a: &a {gpus: all}\nx-b: &b {tty: true}\nservices:\n  a:\n    <<: [*b, *a]\n"
    "    environment: {NVIDIA_VISIBLE_DEVICES: all}\n",
    "compose.yaml:CDI": "services:\n  a:\n    image: nvidia/cuda:12.1.0-base\n    devices: [nvidia.com/gpu=all]\n",
    "compose.cpu.yaml:for machines without a GPU": "services:\n  a:\n    image: nvidia/cuda:12.1.0-base\n",
    "compose.yaml:no GPU is meant": "services:\n  db: {image: 'postgres:16'}\n  web: {build: ., environment: [A=1]}\n",
    "environment.yml:conda-forge": "channels: [conda-forge]\ndependencies: [pytorch-gpu, cuda-version=12.4]\n",
    "environment.yml:cuda build": "channels: [conda-forge]\ndependencies: ['pytorch=2.4=cuda*', pip, {pip: [timm]}]\n",
    "environment.yml:no torch": "name: x\ndependencies:\n  - python=3.11\n  - pip:\n    - -r requirements.txt\n",
    "requirements.txt:marker and hash": "torch==2.4.1 ; python_version >= '3.9' \\\n    --hash=sha256:00\nnumpy<2\n",
    "requirements.txt:extra index without torch": "--extra-index-url https://pypi.nvidia.com\ncudf-cu12\n",
    "requirements-hipblas.txt:for AMD": f"--index-url {WHL}/rocm6.2\ntorch==2.5.1\n",
    "pyproject.toml:no torch": '[project]\nname = "x"\n[tool.ruff]\nline-length = 100\n',
    "pyproject.toml:plain": PROJECT % ">=2.1",
    "pyproject.toml:index by name": PROJECT % "==2.4.1"
    + '[tool.uv.sources]\ntorch = { index = "pt" }\n'
    + UV_INDEX % "cu121",
    "pyproject.toml:CPU on macOS alone": PROJECT % ""
    + "[tool.uv.sources]\ntorch = [{ index = 'pt', marker = \"sys_platform == 'linux'\" }, "
    + "{ index = 'cpu', marker = \"sys_platform == 'darwin'\" }]\n"
    + UV_INDEX % "cu124"
    + UV_INDEX.replace('"pt"', '"cpu"') % "cpu",
    "pyproject.toml:extras are a choice": PROJECT % ">=2.6"
    + "[project.optional-dependencies]\ncpu = ['torch==2.7.1+cpu']\ncu128 = ['torch==2.7.1+cu128']\n"
    + "[tool.uv.sources]\ntorch = [{ index = 'pt', extra = 'cu128' }, { index = 'cpu', extra = 'cpu' }]\n"
    + UV_INDEX % "cu128"
    + UV_INDEX.replace('"pt"', '"cpu"') % "cpu",
    "pyproject.toml:CPU or AMD by extra": PROJECT % ">=2.6"
    + "[tool.uv.sources]\ntorch = [{ index = 'pt', extra = 'rocm' }, { index = 'cpu', extra = 'cpu' }]\n"
    + UV_INDEX % "rocm6.4"
    + UV_INDEX.replace('"pt"', '"cpu"') % "cpu",
    "pyproject.toml:poetry names the source": POETRY % '{ version = "^2.4", source = "pt" }'
    + f'url = "{WHL}/cu121"\npriority = "explicit"\n',
}
FAULTY = {
    "Dockerfile:driver by apt": ("FROM ubuntu:22.04\nRUN apt-get -y install cuda-toolkit-12-2 cuda-drivers\n", DRIVER),
    "Dockerfile:open module": ("FROM ubuntu:22.04\nRUN apt-get install -y nvidia-kernel-open-545\n", DRIVER),
    "Dockerfile:open driver": ("FROM x\nRUN DEBIAN_FRONTEND=noninteractive apt install -y nvidia-open\n", DRIVER),
    "Dockerfile:nvidia-smi by utils": ("FROM x\nRUN apt-get install -y curl \\\n  nvidia-utils-535 git\n", DRIVER),
    "Dockerfile:dnf": ("FROM rockylinux:9\nRUN dnf -y install nvidia-driver-cuda\n", DRIVER),
    "Dockerfile:CPU index": (
        f"FROM x\nRUN pip install torch==2.1.0+cpu torchvision==0.16.0+cpu --index-url {WHL}/cpu\n",
        CPU,
    ),
    "Dockerfile:CPU wheel by find-links": (
        f"FROM x\nRUN pip3 install torch==2.1.0+cpu -f {WHL}/cpu/torch_stable.html\n",
        CPU,
    ),
    "Dockerfile:option before install": (f"FROM x\nRUN pip --no-cache-dir install torch --index-url {WHL}/cpu\n", CPU),
    "Dockerfile:venv's pip": (f"FROM x\nRUN . v/bin/activate && v/bin/pip install torch --index-url {WHL}/cpu\n", CPU),
    "Dockerfile:index by variable": (f"FROM x\nENV PIP_INDEX_URL={WHL}/cpu\nRUN pip install torch\n", CPU),
    "Dockerfile:uv's backend": ("FROM x\nENV UV_TORCH_BACKEND=cpu A=1\nRUN uv pip install --system torch\n", CPU),
    "Dockerfile:ENV version": (f"FROM x\nENV V 2.1.2\nRUN pip install torch==$V --index-url {WHL}/cu128\n", INDEX),
    "Dockerfile:two indexes": (f"FROM x\nRUN pip install torch --extra-index-url {WHL}/cu121\n", INDEX),
    "Dockerfile:AMD's index": (f"FROM x\nRUN pip install torch --index-url {WHL}/rocm6.2\n", INDEX),
    "Dockerfile:base too new": ("FROM --platform=$BUILDPLATFORM nvidia/cuda:12.8.1-devel-ubuntu22.04\n", OLD_DRIVER),
    "Dockerfile:torch image too new": ("FROM docker.io/pytorch/pytorch:2.9.1-cuda13.0-cudnn9-devel AS a\n", OLD_DRIVER),
    "Dockerfile:no compiler": ("FROM nvidia/cuda:12.1.0-runtime-ubuntu22.04\nRUN pip install torch>=2.1\n", COMPILER),
    "compose.yaml:made for a GPU": (
        "services:\n  a:\n    build: .\n    environment:\n      - CUDA_VISIBLE_DEVICES=0\n",
        GPU,
    ),
    "compose.yaml:merged without": (
        "x-a: &a {tty: true}\nservices:\n  a:\n    <<: *a\n    image: nvidia/cuda:12.1.0-base\n",
        GPU,
    ),
    "compose.yaml:capability that nobody has": (f"services:\n  a:\n    image: app\n    {RESERVED % '[tpu]'}\n", GPU),
    "environment.yml:cpuonly": ("channels: [pytorch]\ndependencies: [pytorch, torchvision, cpuonly]\n", CPU),
    "environment.yml:CPU package": ("channels: [conda-forge]\ndependencies: [pytorch-cpu=2.4]\n", CPU),
    "environment.yml:CPU build": ("channels: [conda-forge]\ndependencies: ['pytorch=2.4=cpu*']\n", CPU),
    "environment.yml:both": ("dependencies: [pytorch=2.4, {pip: ['torch>=2', timm]}]\n", TWICE),
    "requirements.txt:wheel by address": (f"{WHL}/cpu/torch-2.5.1%2Bcpu-cp312-cp312-linux_x86_64.whl\n", CPU),
    "requirements.txt:wheel by name": (f"torch @ {WHL}/cpu/torch-2.5.1%2Bcpu-cp312-cp312-linux_x86_64.whl\n", CPU),
    "requirements.txt:variant of another index": (f"-i {WHL}/cu118\ntorch==2.1.2+cu121\n", INDEX),
    "pyproject.toml:CPU index": (
        PROJECT % "" + '[tool.uv.sources]\ntorch = [{ index = "pt" }]\n' + UV_INDEX % "cpu",
        CPU,
    ),
    "pyproject.toml:CPU index before the default": (
        PROJECT % "" + UV_INDEX.replace("explicit = true\n", "") % "cpu",
        CPU,
    ),
    "pyproject.toml:index that is never asked": (PROJECT % "" + UV_INDEX % "cu124", INDEX),
    "pyproject.toml:never built": (
        PROJECT % "==2.1.2" + '[tool.uv.sources]\ntorch = { index = "pt" }\n' + UV_INDEX % "cu128",
        INDEX,
    ),
    "pyproject.toml:CPU version": (PROJECT % "==2.4.1+cpu", CPU),
    "pyproject.toml:poetry's CPU source": (
        POETRY % '{ version = "^2.4", source = "pt" }' + f'url = "{WHL}/cpu"\npriority = "explicit"\n',
        CPU,
    ),
    "pyproject.toml:poetry's source that is never asked": (
        POETRY % '"^2.4"' + f'url = "{WHL}/cu121"\npriority = "supplemental"\n',
        INDEX,
    ),
}


@pytest.fixture(autouse=True)
def reader_of_yaml() -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")


def file_of(form: str) -> str:
    return form.partition(":")[0]


@pytest.mark.parametrize("form", SOUND)
def test_sound_forms_are_quiet(form: str) -> None:
    assert lint(SOUND[form], file_of(form), TARGET) == ()


@pytest.mark.parametrize("form", FAULTY)
def test_faults_are_found_and_nothing_besides(form: str) -> None:
    text, code = FAULTY[form]
    faults = lint(text, file_of(form), TARGET)
    assert [f.code for f in faults] == [code], faults
    assert 1 <= faults[0].line <= text.count("\n") and faults[0].fix


def test_a_mapping_that_merges_itself_ends() -> None:
    assert lint("services: &a {<<: *a}", "compose.yaml", TARGET) == ()
    deep = "\n".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}" for i in range(1, 30))
    assert lint(f"x0: &x0 {{a: 1}}\n{deep}\nservices:\n  s: {{<<: *x29, image: nginx}}\n", "compose.yaml", TARGET) == ()


def test_broken_toml_is_an_input_error() -> None:
    with pytest.raises(InputError, match="not valid TOML"):
        lint("[project", "pyproject.toml", TARGET)
