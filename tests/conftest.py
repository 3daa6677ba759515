"""Fixtures that more than one test module uses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import fake_nvml
import pytest

# its assertions are the tests' own and explain themselves as theirs do
pytest.register_assert_rewrite("fakes.lives")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded outputs beside the repository, where there is one."""
    if not (SHARED / "outputs").is_dir():
        pytest.skip("the recorded outputs (../shared) are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def fake_nvml_build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Iterable[str]], Path]:
    """Compiles the fake libnvidia-ml.so.1 once for each set of left-out symbols; returns its directory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the fake NVML is an ELF library")
    if fake_nvml.compiler() is None:
        pytest.skip("no C compiler for the fake NVML")
    built: dict[tuple[str, ...], Path] = {}

    def build(omit: Iterable[str] = ()) -> Path:
        key = tuple(sorted(omit))
        if key not in built:
            built[key] = fake_nvml.build(tmp_path_factory.mktemp("nvml") / "lib", key)
        return built[key]

    return build


@pytest.fixture
def use_fake_nvml(
    fake_nvml_build: Callable[[Iterable[str]], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """``use_fake_nvml(profile, extra_lines, omit=symbols)``: the NVML that child processes load from now on."""

    def use(profile: Mapping[str, Any], extra: Iterable[str] = (), omit: Iterable[str] = ()) -> None:
        path = tmp_path / "profile.txt"
        path.write_text(fake_nvml.profile_text(profile, extra), encoding="utf-8")
        monkeypatch.setenv("FAKE_NVML_PROFILE", str(path))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_nvml_build(omit)))

    return use
