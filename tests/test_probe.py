"""The probe's trials on the CPU with real torch: right results pass, planted faults are caught."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from envcheck.model import Machine
from envcheck.probe import faults, numerics, trials
from envcheck.probe.channel import ends, plain
from envcheck.verify import Options, rehearse
from envcheck.verify.run import Probes
from envcheck.verify.session import judge
from envcheck.verify.table import BY_CODE, CHECKS, PLANTS
from envcheck.verify.words import CRASHED, DONE, RAISED, TIMED_OUT, Context, TrialRun

REHEARSAL = Context(device=None, machine=Machine(), rehearsal=True)


class Collector:
    """Stands in for the pipe: what passes is JSON, as it would be."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def facts(self, **items: Any) -> None:
        self.kept.update(json.loads(json.dumps(plain(items), allow_nan=False)))


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="the probe's figures need a real torch")


def status_of(torch: Any, check: str, seed: int = 0, plant: str | None = None) -> str:
    collector = Collector()
    trials.run(torch, collector, {"check": check, "device": "cpu", "seed": seed, "plant": plant})
    assert collector.stages
    return judge(BY_CODE[check], TrialRun(outcome=DONE, stage="", seconds=0, facts=collector.kept), REHEARSAL).status


RIGHT = (
    "cuda-context",
    "cudnn",
    "tensor-core-fp16",
    "amp",
    "bf16",
    "tf32",
    "fp8",
    "memory",
    "transfer",
    "sdpa",
    "workload",
)


@pytest.mark.parametrize("check", RIGHT)
def test_right_results_pass(torch: Any, check: str) -> None:
    assert status_of(torch, check, seed=3) == "pass"


@pytest.mark.parametrize("fault", PLANTS)
def test_every_planted_fault_is_caught(torch: Any, fault: str) -> None:
    assert status_of(torch, PLANTS[fault][1], seed=5, plant=fault) == "fail"


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("flipped-bit", "memory"),
        ("flipped-bit", "transfer"),
        ("flipped-bit", "bf16"),
        ("zeroed-row", "fp8"),
        ("nan", "cudnn"),
        ("nan", "sdpa"),
        ("tf32-on", "tf32"),
    ],
)
def test_faults_are_caught_by_other_checks_too(torch: Any, fault: str, check: str) -> None:
    assert status_of(torch, check, seed=5, plant=fault) == "fail"


def test_parent_and_probe_know_the_same_names() -> None:
    assert {k: v[1] for k, v in faults.FAULTS.items()} == {k: v[1] for k, v in PLANTS.items()}
    assert set(trials.TRIALS) == {c.code for c in CHECKS} | {"describe"}


class TestNumerics:
    def test_nan_and_infinity_are_outside(self, torch: Any) -> None:
        reference = torch.ones(2, 2, dtype=torch.float64)
        bound = torch.full_like(reference, 0.1)
        for bad in (math.nan, math.inf, -math.inf):
            result = torch.ones(2, 2)
            result[0, 1] = bad
            found = numerics.compare(torch, result, reference, bound)
            assert (found["outside"], found["nonfinite"], found["relative"]) == (1, 1, None)
            assert numerics.exact(torch, result, reference)["mismatches"] == 1

    def test_the_bound_itself_is_inside_and_beyond_is_not(self, torch: Any) -> None:
        reference = torch.ones(2, dtype=torch.float64)
        bound = torch.tensor([0.5, 0.5], dtype=torch.float64)
        found = numerics.compare(torch, torch.tensor([1.5, 1.51], dtype=torch.float64), reference, bound)
        assert found["outside"] == 1
        assert found["worst"] == pytest.approx(1.02)

    def test_tf32_keeps_ten_bits_and_rounds_to_even(self, torch: Any) -> None:
        ulp = 2.0**-10
        values = torch.tensor([1.0, 1 + ulp, 1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.75 * ulp, -1 - ulp / 4])
        expected = torch.tensor([1.0, 1 + ulp, 1.0, 1 + 2 * ulp, 1 + ulp, -1.0])
        assert torch.equal(numerics.round_tf32(torch, values), expected)

    @pytest.mark.parametrize("depth", [256, 1024, 4096])
    def test_relative_errors_are_those_of_the_docstring(self, torch: Any, depth: int) -> None:
        """The fingerprint of each precision, measured again: it is what the judges' limits rest upon."""
        generator = torch.Generator().manual_seed(11)
        a, b = torch.randn(64, depth, generator=generator), torch.randn(depth, 64, generator=generator)
        exact = a.double() @ b.double()

        def relative(result: Any, reference: Any) -> float:
            return float(torch.linalg.vector_norm(result.double() - reference) / torch.linalg.vector_norm(reference))

        tf32 = numerics.round_tf32(torch, a) @ numerics.round_tf32(torch, b)
        assert relative(a @ b, exact) < 1e-6
        assert 2.5e-4 < relative(tf32, exact) < 3.4e-4
        h, k = a.half().float(), b.half().float()
        low = h.double() @ k.double()
        assert relative((h @ k).half(), low) < 2.5e-4
        assert relative(faults._half_sums(torch, h, k), low) > 2.0**-11

    def test_flipping_changes_one_element_by_one_bit(self, torch: Any) -> None:
        class Seeded:
            seed = 3

            def __init__(self, number: int) -> None:
                self.torch, self.plant, self.seed = torch, "flipped-bit", number

            def pick(self, offset: int, high: int) -> int:
                return (self.seed * 7 + offset) % high

        for number in range(12):
            before = torch.ones(4, 4, dtype=torch.float16)
            after = faults.spoil(Seeded(number), before)
            changed = before.view(torch.int16) ^ after.view(torch.int16)
            assert sorted(bin(int(c)).count("1") for c in changed.flatten()) == [0] * 15 + [1]


def test_a_long_text_keeps_its_end() -> None:
    """torch.compile's workers put a traceback before the reason."""
    text = ends("x" * 9000 + "fatal error: Python.h: No such file")
    assert len(text) < 4100
    assert text.startswith("xxx") and text.endswith("Python.h: No such file")
    assert ends("short") == "short"


def write_torch(folder: Path, body: str) -> dict[str, str]:
    """A package named torch whose import does what ``body`` says."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(body, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


STUB = "__version__ = '2.0.1'\nclass version:\n    cuda = None\nclass _C: pass\ndef device(*a): return a\n"
STUB += "class Generator:\n    def manual_seed(self, n): pass\n"


class TestTheProcess:
    """The real entry script with a torch of our own making: no GPU and no real torch is needed."""

    def run(self, tmp_path: Path, body: str, check: str = "describe", deadline: float = 20.0) -> TrialRun:
        with Probes(sys.executable, environ=write_torch(tmp_path, body)) as probes:
            return probes.run({"check": check, "device": 0}, deadline)

    def test_a_torch_that_cannot_be_imported(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "raise ImportError('libcudnn.so.9: cannot open shared object file')")
        assert (found.outcome, found.stage, found.kind) == (RAISED, "importing torch", "ImportError")
        assert "libcudnn.so.9" in found.text

    def test_a_torch_that_leaves(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "import sys; sys.exit(0)")
        assert (found.outcome, found.kind) == (RAISED, "SystemExit")

    def test_a_torch_that_aborts(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "import os; os.abort()")
        assert (found.outcome, found.stage) == (CRASHED, "importing torch")
        # faulthandler says where
        assert "torch" in found.stderr

    def test_a_torch_whose_import_hangs(self, tmp_path: Path) -> None:
        found = self.run(tmp_path, "import time; time.sleep(600)", deadline=1.5)
        assert (found.outcome, found.stage) == (TIMED_OUT, "importing torch")

    def test_prints_of_torch_do_not_disturb(self, tmp_path: Path) -> None:
        body = STUB + "print('{\"done\": true}')\nimport os\nos.write(1, b'noise\\n')\n"
        found = self.run(tmp_path, body, check="no-such-check")
        assert (found.outcome, found.kind) == (RAISED, "KeyError")
        assert found.facts["torch"]["version"] == "2.0.1"

    def test_the_probes_own_files_shadow_no_module_of_the_target(self, tmp_path: Path) -> None:
        folder = Path(faults.__file__).parent
        names = [p.stem for p in folder.glob("*.py") if p.stem != "__init__"]
        body = (
            f"import importlib.util as u\nspecs = [u.find_spec(n) for n in {names!r}]\n"
            f"found = [s.name for s in specs if s and str(s.origin).startswith({str(folder)!r})]\n"
            "assert not found, found\n"
        )
        found = self.run(tmp_path, body + STUB, check="no-such-check")
        assert found.kind == "KeyError", found.text

    def test_a_hang_shows_where_on_stderr(self, tmp_path: Path) -> None:
        body = STUB + "import time\nclass cuda:\n    device_count = staticmethod(lambda: time.sleep(600))\n"
        with Probes(sys.executable, environ=write_torch(tmp_path, body)) as probes:
            found = probes.run({"check": "nccl", "device": 0}, 3.0)
        assert (found.outcome, found.stage) == (TIMED_OUT, "counting devices")
        assert "collectives.py" in found.stderr

    def test_without_a_driver_the_library_is_named(self, tmp_path: Path) -> None:
        import ctypes.util

        if ctypes.util.find_library("cuda"):
            pytest.skip("this machine has libcuda")
        found = self.run(tmp_path, STUB)
        assert (found.outcome, found.stage, found.kind) == (RAISED, "cuInit", "DriverError"), found
        assert "libcuda" in found.text or "nvcuda" in found.text


def test_a_rehearsal_in_processes_of_their_own(torch: Any) -> None:
    options = Options(
        python=sys.executable, device="cpu", only=("tensor-core-fp16", "bf16"), plant="zeroed-row", timeout=60
    )
    found = rehearse(options, Machine(), lambda text: None)
    assert [r.status for r in found.results] == ["fail", "fail"], found.results
    assert found.rehearsal is not None
    assert found.rehearsal.caught
    assert found.torch["version"] == torch.__version__
