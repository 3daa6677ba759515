"""What a report says of a torch that was to be installed, and of one that cannot be."""

from __future__ import annotations

import pytest
from test_checks import MATRIX, codes, report_of

from envcheck.checks.offered import pythons_of
from envcheck.checks.view import View
from envcheck.model import Machine

PIP = 'Command: "python.exe" -m pip install torch=={} torchvision --extra-index-url https://download.pytorch.org/whl/cu113'


@pytest.mark.parametrize(
    ("version", "holds", "lacks"), [("1.12.1", "3.10", "3.11"), ("1.4.0", "2.7", "3.9"), ("2.0.1", "3.11", "3.12")]
)
def test_pythons_of_a_release_before_and_after_2_0(version: str, holds: str, lacks: str) -> None:
    pythons = pythons_of(View(machine=Machine(), matrix=MATRIX), version)
    assert holds in pythons
    assert lacks not in pythons


@pytest.mark.parametrize(
    ("python", "version", "named"), [("3.11.0", "1.12.1+cu113", True), ("3.10.6", "1.12.1+cu113", False)]
)
def test_a_command_that_failed_is_compared_with_the_pythons_of_its_release(
    python: str, version: str, named: bool
) -> None:
    text = f"Python {python} (main, Oct 24 2022) [MSC v.1933 64 bit (AMD64)]\nRuntimeError: Couldn't install torch.\n"
    found = codes(report_of(f"{text}{PIP.format(version)}\nError code: 1\n"), "fail")
    assert (found[:1] == ["python-without-wheel"]) is named


def test_a_list_of_versions_that_was_cut_still_says_where_it_begins() -> None:
    line = "ERROR: Could not find a version that satisfies the requirement torch==2.0.1+cu118 (from versions: {}"
    assert codes(report_of(line.format("2.2.0, 2.2.0+cu118, 2.")))[0] == "python-without-wheel"


@pytest.mark.parametrize(("torch", "named"), [("2.0.1+cu121", True), ("2.0.1+cu118", False), ("2.1.0+cu121", False)])
def test_a_build_that_never_was_is_named(torch: str, named: bool) -> None:
    assert (codes(report_of(f"torch {torch}？"), "fail")[:1] == ["wrong-wheel-index"]) is named


def test_a_row_from_memory_condemns_no_card_alone() -> None:
    """PyPI's 1.12 is of CUDA 10.2, the report's build is not named, and the card works."""
    text = "sys.platform: linux\nCUDA available: True\nGPU 0: NVIDIA GeForce RTX 3090\nPyTorch: 1.12.1\n"
    assert codes(report_of(text), "fail") == []
    told = "RuntimeError: CUDA error: no kernel image is available for execution on the device\n"
    assert codes(report_of(text + told), "fail")[:1] == ["gpu-arch-too-new"]


def test_a_licence_that_cuda_asks_for_names_the_vgpu() -> None:
    text = "CUDA error 102 at ggml-cuda.cu:7100: device doesn't have valid Grid license\n"
    assert codes(report_of(text))[0] == "vgpu-unlicensed"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("docker run -it --gpus all nvcr.io/nvidia/pytorch:23.09-py3", True),
        ("docker run -it --gpus all --ipc=host nvcr.io/nvidia/pytorch:23.09-py3", False),
        ("docker run -it --gpus all image\npip install torch", False),
    ],
)
def test_no_space_in_a_container_without_shared_memory_is_the_shared_memory(command: str, named: bool) -> None:
    report = report_of(f"OSError: [Errno 28] No space left on device\n{command}\n")
    guess = ("also possible", "perhaps")
    assert any(f.code == "shm-too-small" and not f.summary.startswith(guess) for f in report.findings) is named
    assert "--ipc=host" not in command or "shm-too-small" not in codes(report)


@pytest.mark.parametrize(
    ("smi", "driver", "named"),
    [("535.309.01", "610.47", True), ("550.54.10", "551.61", False), ("535.43.02", "537.58", False)],
)
def test_in_wsl_an_nvidia_smi_of_another_branch_is_a_linux_drivers(smi: str, driver: str, named: bool) -> None:
    text = f"WSL Version: 2.7.3.0\nWindows Driver Version: {driver}\nNVIDIA-SMI: {smi}\nCUDA is inaccessible\n"
    assert ("wsl-linux-driver-inside" in codes(report_of(text), "fail")) is named


def test_a_specification_that_must_be_written_anew_after_each_update_is_told() -> None:
    lines = (
        "podman: no GPU after each driver update",
        "nvidia-ctk cdi generate --output=x.yaml",
        "...then it works again",
    )
    assert codes(report_of("\n".join(lines)))[:1] == ["container-cdi-spec"]


def test_a_libtorch_on_the_loaders_path_is_a_second_torch() -> None:
    path = "DYLD_LIBRARY_PATH names my own libtorch 2.3.1"
    error = "AttributeError: module 'torch._C' has no attribute 'OutOfMemoryError'"
    assert codes(report_of(f"{path}\n{error}\n"))[:1] == ["duplicate-torch"]
