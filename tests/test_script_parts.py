"""The two Python files that scripts embed: ``have.py`` against packaging, ``verify.py`` against planted faults."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

INSTALLERS = Path(__file__).resolve().parent.parent / "installers"


def load(name: str) -> ModuleType:
    """The file as a module; it shortens sys.path, which is given back."""
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location(f"installers_{name}", INSTALLERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


have = load("have")
verify = load("verify")


@pytest.mark.parametrize("name", ["have", "verify"])
def test_any_python_from_3_8_on_can_read_them(name: str) -> None:
    text = (INSTALLERS / f"{name}.py").read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    ours = {n.names[0].name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import)}
    assert "envcheck" not in ours
    assert text.isascii()
    assert "\nEC_END_OF_FILE" not in text
    assert "\n'@" not in text  # would end PowerShell's here-string


# --- have.py ---------------------------------------------------------------------------------------------------

numbers = st.integers(0, 12).map(str)
releases = st.lists(numbers, min_size=1, max_size=4).map(".".join)
tails = st.sampled_from(["", "", "", "a1", "b2", "rc1", ".post1", ".dev3", "rc1.dev2", ".post1.dev2"])
locals_ = st.sampled_from(["", "", "+cu118", "+cpu"])
versions = st.builds("{}{}{}".format, releases, tails, locals_)
pinned = st.builds("{}{}".format, st.sampled_from(["==", "!=", ""]), versions)
ranges = st.builds("{}{}{}".format, st.sampled_from(["<=", ">="]), releases, tails)
stars = st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), releases)
near = st.builds("~={}.{}".format, releases, numbers)


@settings(max_examples=400)
@given(versions, pinned | ranges | stars | near)
def test_have_judges_versions_as_packaging_does(version: str, clause: str) -> None:
    if clause[0] not in "=!<>~":
        clause = "==" + clause
    operator = clause[:2]
    expected = SpecifierSet(clause).contains(version, prereleases=True)
    assert have.holds(version, operator, clause[2:]) is expected


@pytest.mark.parametrize(
    ("requirement", "version", "expected"),
    [
        ("torch==2.0.1", "2.0.1+cu118", True),
        ("torch==2.0.1+cu118", "2.0.1+cu118", True),
        ("torch==2.0.1+cu118", "2.0.1+cpu", False),
        ("torch==2.0.1+cu118", "2.0.1", False),
        ("numpy<2", "1.26.4", True),
        ("numpy<2", "2.0.0", False),
        ("numpy >=1.21, <2 ; python_version < '3.12'", "1.26.4", True),
        ("numpy>=1.21,<2", "1.20", False),
        ("pip", "23.0", True),
        ("setuptools[core]<81", "80.9", True),
        ("pip", None, False),
    ],
)
def test_have_reads_requirements(
    requirement: str, version: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(have, "installed", lambda name: version)
    assert have.met(requirement) is expected


@pytest.mark.parametrize("bad", ["", "numpy 2", "numpy=1", "numpy<<2", "numpy<x"])
def test_have_never_passes_what_it_cannot_read(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(have, "installed", lambda name: "1.0")
    with pytest.raises(ValueError, match="not a"):
        have.met(bad)


def test_same_is_absent_or_exactly_one_of_the_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, code in ((None, 0), ("2.0.1+cu118", 0), ("2.0.1", 0), ("2.0.1+cpu", 1), ("2.1.0", 1)):
        monkeypatch.setattr(have, "installed", lambda name, version=version: version)
        assert have.main(["same", "torch", "2.0.1", "2.0.1+cu118"]) == code


@pytest.mark.parametrize(
    ("metadata", "inside", "version"),
    [
        ("2.11.0", "__version__ = '2.11.0+cu130'\ndebug = False\n", "2.11.0+cu130"),  # PyPI's wheel
        ("2.11.0+cu130", "__version__ = '2.11.0+cu130'\n", "2.11.0+cu130"),
        ("2.11.0", "__version__ = '2.11.0'\n", "2.11.0"),  # conda, macOS
        ("2.11.0", "__version__ = '2.10.0+cu130'\n", "2.11.0"),  # left over from another one
        ("2.11.0", "__version__ = '2.11.0+$(id)'\n", "2.11.0"),
        ("2.11.0", "from nowhere import x\n", "2.11.0"),
        ("2.11.0", None, "2.11.0"),
    ],
)
def test_torchs_own_file_says_which_build_a_plain_version_is(
    metadata: str, inside: str | None, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / f"torch-{metadata}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {metadata}\n")
    (tmp_path / "torch").mkdir()
    if inside is not None:
        (tmp_path / "torch" / "version.py").write_text(inside)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert have.installed("torch") == version
    assert have.main(["same", "torch", "2.11.0+cu130"]) == (0 if version == "2.11.0+cu130" else 1)


def test_a_file_in_the_current_directory_is_not_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    (tmp_path / "torch-2.0.1.dist-info").mkdir()
    (tmp_path / "torch-2.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.1\n")
    (tmp_path / "re.py").write_text("raise SystemExit(0)\n")
    command = [sys.executable, str(INSTALLERS / "have.py"), "have", "torch==2.0.1", "no-such-thing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1


# --- verify.py -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is an extra and is not installed")


def lines_of(check: Any, *arguments: Any, capsys: pytest.CaptureFixture[str]) -> list[str]:
    report = verify.Report()
    check(report, *arguments)
    found = capsys.readouterr().out.splitlines()
    assert report.failed is any(line.startswith("FAIL") for line in found)
    return found


class Wrong:
    """torch, but for one product that is a little off."""

    def __init__(self, torch: Any, factor: float) -> None:
        self.torch, self.factor = torch, factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)

    def randn(self, *shape: int, **more: Any) -> Any:
        return self.torch.randn(*shape, **more).as_subclass(_off(self.torch, self.factor))

    def randint(self, *shape: Any, **more: Any) -> Any:
        return self.torch.randint(*shape, **more).as_subclass(_off(self.torch, self.factor))


def _off(torch: Any, factor: float) -> Any:
    class Off(torch.Tensor):  # type: ignore[misc]
        def __matmul__(self, other: Any) -> Any:
            right = torch.matmul(*(x.as_subclass(torch.Tensor) for x in (self, other)))
            return right if self.dtype == torch.float64 else right * factor

    return Off


def test_verify_passes_what_rounds_as_it_may(torch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("float32", "float16"):
        (line,) = lines_of(verify.check_product, torch, "cpu", name, capsys=capsys)
        assert line.startswith("PASS"), line
    (line,) = lines_of(verify.check_exact, torch, "cpu", capsys=capsys)
    assert line.startswith("PASS"), line


@pytest.mark.parametrize(("name", "factor"), [("float32", 1.001), ("float16", 1.01), ("float32", float("nan"))])
def test_verify_fails_a_product_that_is_off(
    name: str, factor: float, torch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = lines_of(verify.check_product, Wrong(torch, factor), "cpu", name, capsys=capsys)
    assert line.startswith("FAIL"), line


def test_verify_fails_integers_that_differ(torch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of(verify.check_exact, Wrong(torch, 1.01), "cpu", capsys=capsys)
    assert line.startswith("FAIL"), line


def test_verify_on_a_machine_without_a_gpu_fails_a_cuda_plan(torch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (line,) = lines_of(verify.check_gpus, torch, capsys=capsys)
    assert line.startswith("FAIL gpu: torch sees no NVIDIA GPU here")


class FakeVersion:
    cuda = "11.8"


class FakeTorch:
    __version__ = "2.0.1+cu118"
    version = FakeVersion


@pytest.mark.parametrize(
    ("wanted", "cuda", "good"),
    [("2.0.1", "11.8", [True, True]), ("2.1.0", "11.8", [False, True]), ("2.0.1", "", [True, False])],
)
def test_verify_compares_version_and_build(
    wanted: str, cuda: str, good: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines_of(verify.check_build, FakeTorch, wanted, cuda, capsys=capsys)
    assert [line.startswith("PASS") for line in found] == good


def test_verify_says_when_torch_does_not_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "argv", ["verify.py", "gpu", "--torch", "2.0.1", "--cuda", "11.8"])
    assert verify.main() == 1
    out = capsys.readouterr().out
    assert "FAIL import" in out
    assert out.endswith("not verified: see the lines with FAIL\n")


@pytest.mark.parametrize("part", sorted(path.name for path in INSTALLERS.glob("*.sh")))
def test_no_part_has_a_function_twice(part: str) -> None:
    """bash takes the last one: a merge once left ec_download there twice, the first with its refusal of http."""
    text = (INSTALLERS / part).read_text()
    names = re.findall(r"^([a-z_0-9]+)\(\)", text, re.M)
    assert names or "()" not in text  # a part may hold nothing but variables
    assert sorted(set(names)) == sorted(names)


@pytest.mark.skipif(sys.platform.startswith("win"), reason="runs bash")
def test_a_download_over_http_is_refused_before_any_tool_is_asked() -> None:
    parts = [f"source {INSTALLERS / name}.sh" for name in ("prelude", "steps", "driver")]
    words = "; ".join(
        [*parts, "exec 3>&2", "ec_have_command() { exit 7; }", "ec_download http://example.org/x /nowhere/x"]
    )
    ended = subprocess.run(["bash", "-c", words], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 11, ended.stderr
    assert "http://example.org/x is not https" in ended.stderr
