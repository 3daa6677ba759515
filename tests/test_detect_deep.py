"""``doctor --deep``: the probe in a real interpreter with a stand-in for torch, and the merge of what it says."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envcheck.checks import run_checks
from envcheck.cli import main
from envcheck.detect.deep import look_deeper, told
from envcheck.host import CommandResult, LiveHost
from envcheck.matrix import load
from envcheck.model import OS, Driver, Gpu, Machine, Python, Torch

MACHINE = Machine(
    os=OS(id="ubuntu", version="22.04", family="debian", platform="linux", arch="x86_64", glibc="2.35"),
    driver=Driver(version="550.144.03", cuda="12.4", state="ok"),
    gpus=(Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9"),),
    python=Python(version="3.11.7", executable=sys.executable, environment="venv"),
    torch=Torch(version="2.6.0+cu124", cuda="12.4", source="pip"),
    packages={"torch": "2.6.0+cu124", "nvidia-cudnn-cu12": "9.1.0.70"},
)
WORKS = """
class _Version: cuda = "12.4"
version = _Version()
__version__ = "2.6.0+cu124"
print("a library that prints")
class _Scalar:
    def sum(self): return self
    def item(self): return 8.0
def ones(n, device): return _Scalar()
class cuda:
    @staticmethod
    def get_arch_list(): return ["sm_89"]
    @staticmethod
    def is_available(): return True
    @staticmethod
    def device_count(): return 1
    @staticmethod
    def init(): {init}
class backends:
    class cudnn:
        @staticmethod
        def version(): return 90100
"""
Use = Callable[[str], Machine]


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Look deeper at an interpreter whose torch is this source."""

    def run(source: str) -> Machine:
        (tmp_path / "torch").mkdir()
        (tmp_path / "torch" / "__init__.py").write_text(source, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return look_deeper(LiveHost(), MACHINE, timeout=10.0)

    return run


def test_a_torch_that_works(deep: Use) -> None:
    machine = deep(WORKS.replace("{init}", "pass"))
    assert machine.torch is not None and machine.torch.cuda_available is True
    assert machine.facts["deep"]["context"] is True and machine.facts["deep"]["cudnn"] == 90100
    assert (machine.problems, machine.symptoms) == ({}, ())


def test_an_import_that_fails_is_a_symptom(deep: Use) -> None:
    machine = deep("raise ImportError('libcudnn.so.9: cannot open shared object file: No such file or directory')")
    assert machine.torch is not None and machine.torch.cuda_available is None
    assert any("libcudnn.so.9" in s.text for s in machine.symptoms)
    assert run_checks(machine, load(None)).findings[0].code == "cudnn-not-found"


def test_a_context_that_fails_outweighs_is_available(deep: Use) -> None:
    error = "raise RuntimeError('CUDA error: all CUDA-capable devices are busy or unavailable')"
    machine = deep(WORKS.replace("{init}", error))
    assert machine.torch is not None and machine.torch.cuda_available is False
    assert machine.facts["deep"]["error"]["stage"] == "a CUDA context"
    assert run_checks(machine, load(None)).verdict == "broken"


def test_a_crash_says_where(deep: Use) -> None:
    machine = deep("import os; os.kill(os.getpid(), 6)")
    assert "signal 6 during import torch" in machine.problems["deep"]


def test_a_hang_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    start = time.monotonic()
    machine = look_deeper(LiveHost(), MACHINE, timeout=1.5)
    assert time.monotonic() - start < 5
    assert machine.problems["deep"] == "import torch did not end in 1.5 s in the target interpreter"


def test_a_library_from_elsewhere_is_a_conflict() -> None:
    line = json.dumps({"libraries": ["/opt/cudnn/lib/libcudnn.so.8.9.2", "/x/site-packages/nvidia/libcudnn.so.9"]})
    result = CommandResult(argv=("x",), rc=0, stdout=f'{line}\n{{"done": true}}\n')
    machine = told(MACHINE, result, 1.0)
    assert [c["path"] for c in machine.facts["library_conflicts"]] == ["/opt/cudnn/lib/libcudnn.so.8.9.2"]
    assert [f.code for f in run_checks(machine, load(None)).findings if f.status == "fail"] == [
        "cudnn-version-conflict"
    ]


def test_without_torch_nothing_is_started() -> None:
    bare = dataclasses.replace(MACHINE, torch=None)
    assert look_deeper(LiveHost(), bare).facts["deep"] == {"skipped": "torch is not installed there"}


@given(st.text(), st.one_of(st.none(), st.integers(-64, 255)), st.booleans())
def test_any_output_is_survived(stdout: str, rc: int | None, timed_out: bool) -> None:
    machine = told(MACHINE, CommandResult(argv=("x",), rc=rc, stdout=stdout, timed_out=timed_out), 1.0)
    assert machine.problems["deep"]


@pytest.mark.parametrize("other", ["--from-report", "--machine"])
def test_deep_looks_at_this_machine_alone(other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.txt"
    path.write_text("torch 2.6.0", encoding="utf-8")
    assert main(["doctor", "--deep", other, str(path)]) == 2
    assert "--deep" in capsys.readouterr().err


def real_torch() -> Machine:
    """This interpreter with the torch that is installed in it; skips where none is."""
    from envcheck.detect import detect

    machine = detect(LiveHost(), python=sys.executable, full=True, interpreters_too=False)
    if machine.torch is None:
        pytest.skip("no torch is installed in this interpreter")
    return machine


def test_a_real_torch_says_what_it_loaded() -> None:
    before = real_torch()
    machine = look_deeper(LiveHost(), before)
    assert machine.problems.get("deep") is None
    assert machine.torch is not None and before.torch is not None
    assert machine.facts["deep"]["torch"]["version"] == before.torch.version
    assert machine.facts["deep"]["available"] is machine.torch.cuda_available
    loaded = machine.facts["mapped_libraries"]
    assert any(p.rpartition("/")[2].startswith("libtorch_cpu") and "-packages/torch/lib/" in p for p in loaded)
    if machine.torch.cuda is None:
        assert machine.torch.cuda_available is False
        assert machine.facts["library_conflicts"] == before.facts.get("library_conflicts", [])


def test_a_cpu_build_where_no_gpu_is_stays_no_fault() -> None:
    bare = dataclasses.replace(
        MACHINE,
        driver=Driver(state="missing"),
        gpus=(),
        torch=Torch(version="2.13.0+cpu", source="pip", cuda_available=False),
        facts={"pci": {"readable": True}, "torch": {"build": "cpu"}},
    )
    assert "cpu-only-torch" not in [f.code for f in run_checks(bare, load(None)).findings]


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="an ELF library")
def test_a_library_that_is_really_loaded_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = real_torch()
    other = tmp_path / "libcudart.so.12.1.105"
    (tmp_path / "empty.c").write_text("int envcheck_nothing(void) { return 0; }\n", encoding="ascii")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", other, tmp_path / "empty.c"], check=True, timeout=60)
    monkeypatch.setenv("LD_PRELOAD", str(other))
    packages = {**machine.packages, "nvidia-cuda-runtime-cu12": "12.4.127"}
    deeper = look_deeper(LiveHost(), dataclasses.replace(machine, packages=packages))
    assert str(other) in deeper.facts["mapped_libraries"]
    (conflict,) = [c for c in deeper.facts["library_conflicts"] if c.get("loaded")]
    assert (conflict["path"], conflict["wheel"], conflict["older"]) == (str(other), "12.4.127", True)
    assert "cuda-runtime-lib-conflict" in [f.code for f in run_checks(deeper, load(None)).findings]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import os; os.kill(os.getpid(), 6)", "ended with signal 6 during import torch"),
        ("import sys; sys.exit(3)", "import torch failed: SystemExit: 3"),
        ("raise RuntimeError('a word that no table knows')", "import torch failed: RuntimeError: a word that no table"),
    ],
)
def test_what_ends_the_look_is_a_finding(source: str, says: str, deep: Use) -> None:
    report = run_checks(deep(source), load(None))
    assert report.verdict == "broken"
    (finding,) = [f for f in report.findings if f.status == "fail"]
    assert finding.code == "torch" and says in finding.summary


def test_a_context_that_hangs_is_a_finding() -> None:
    stage = '{"stage": "a CUDA context"}\n'
    machine = told(MACHINE, CommandResult(argv=("x",), rc=None, stdout=stage, timed_out=True), 60.0)
    report = run_checks(machine, load(None))
    (finding,) = [f for f in report.findings if f.status == "fail"]
    assert "a CUDA context did not end in 60 s in the target interpreter" in finding.summary
    assert any("dmesg" in word for step in finding.fix for word in step.argv)
