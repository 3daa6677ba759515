"""`plan --check`: install lines of articles, what they would do on a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planning import MATRIX, machine

from envcheck.errors import UsageError
from envcheck.plan.assess import Assessment, assess
from envcheck.plan.line import parse

WHL = "https://download.pytorch.org/whl"


def ask(text: str, gpu: str = "RTX 4090", driver: str | None = "580.95.05", **flags: str) -> Assessment:
    return assess(parse(text), machine(gpu, driver=driver, **flags), MATRIX)


def result(answer: Assessment) -> str | None:
    return f"{answer.build.torch}+{answer.build.tag}" if answer.build else None


@pytest.mark.parametrize(
    ("line", "installs", "runs"),
    [
        ("pip install torch==2.0.1", "2.0.1+cu117", True),
        (f"pip3 install torch==2.0.1 torchvision --index-url {WHL}/cu118", "2.0.1+cu118", True),
        ("python3 -m pip install --upgrade torch", None, True),
        (f"pip install torch==2.7.1 --index-url={WHL}/cpu", "2.7.1+cpu", False),
        (f"uv pip install torch==2.6.0 --index-url {WHL}/cu124", "2.6.0+cu124", True),
        ("uv pip install torch==2.7.1 --torch-backend=cu126", "2.7.1+cu126", True),
        ("$ sudo pip install 'torch>=2.4,<2.5'", "2.4.1+cu121", True),
        ("!pip install torch==2.3.0", "2.3.0+cu121", True),
        ("conda install pytorch==2.1.2 pytorch-cuda=11.8 -c pytorch -c nvidia", "2.1.2+cu118", True),
        ("conda install pytorch torchvision -c pytorch", "2.5.1+cpu", False),
        ("conda install pytorch=2.0 cpuonly -c pytorch", "2.0.1+cpu", False),
    ],
)
def test_lines(line: str, installs: str | None, runs: bool) -> None:
    answer = ask(line, python_version="3.10")
    assert answer.runs is runs
    if installs:
        assert result(answer) == installs


def codes(answer: Assessment) -> set[str]:
    return {code for code, _ in answer.findings}


def test_the_card_decides() -> None:
    assert codes(ask("pip install torch==2.6.0", gpu="RTX 5090")) == {"no-kernel-image"}
    assert codes(ask("pip install torch==2.8.0", gpu="GTX 1080")) == {"no-kernel-image"}


def test_windows_pypi_is_cpu_only() -> None:
    answer = assess(
        parse("pip install torch==2.7.1"),
        machine("RTX 4090", os="windows-11", driver="560.94", python_version="3.11"),
        MATRIX,
    )
    assert result(answer) == "2.7.1+cpu"
    assert "cpu-only-torch" in codes(answer)


def test_uv_auto_looks_at_the_driver_alone() -> None:
    answer = ask("uv pip install torch --torch-backend=auto", gpu="Tesla V100-SXM2-32GB", python_version="3.12")
    assert answer.build is not None
    assert answer.build.cuda_key[0] == 13
    assert answer.runs is False


def test_old_conda_syntax_and_merged_indexes_are_named() -> None:
    assert "cudatoolkit-syntax" in codes(ask("conda install pytorch torchvision cudatoolkit=11.1 -c pytorch -c nvidia"))
    answer = ask(f"pip install torch --extra-index-url {WHL}/cu118", python_version="3.12")
    assert "extra-index-url" in codes(answer)
    assert result(answer) == "2.15.0+cu132"  # PyPI's newer wheel wins


def test_no_driver_and_unknown_index() -> None:
    assert "no-nvidia-driver" in codes(ask("pip install torch==2.7.1", driver=None))
    answer = ask("pip install torch --index-url https://example.org/wheels")
    assert answer.runs is None
    assert codes(answer) == {"index-unknown"}


@pytest.mark.parametrize(
    "text", ["", "ls -l", "pip install numpy", "pip uninstall torch", "conda install numpy", "pip install 'torch"]
)
def test_what_is_no_install_line_of_torch(text: str) -> None:
    with pytest.raises(UsageError, match="--check"):
        parse(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for line in (text, f"pip install torch {text}", f"conda install pytorch {text}"):
        try:
            parsed = parse(line)
        except UsageError:
            continue
        assess(parsed, machine("RTX 4090", driver="580.95.05"), MATRIX)
