"""The judges: pure functions of figures, so every verdict is written down here without a GPU."""

from __future__ import annotations

import ast
import copy
import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from envcheck.model import Gpu, Machine
from envcheck.verify.numeric import (
    LIMITS,
    judge_bf16,
    judge_compile,
    judge_cudnn,
    judge_fp8,
    judge_graphs,
    judge_sdpa,
    judge_tf32,
)
from envcheck.verify.system import judge_context, judge_memory, judge_nccl, judge_p2p, judge_transfer, pair_in_words
from envcheck.verify.training import expected_dtypes, judge_amp, judge_workload
from envcheck.verify.words import Context, Device, Missing

CARD = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_mib=23034, bus_id="0000:01:00.0", tensor_cores=4)
DEVICE = Device(index=0, ordinal=0, name="NVIDIA L4", compute_capability="8.9", sms=58, tensor_cores=4, gpu=CARD)
REAL = Context(device=DEVICE, machine=Machine(gpus=(CARD,)))


def compared(**changes: Any) -> dict[str, Any]:
    return {"elements": 100, "outside": 0, "nonfinite": 0, "worst": 0.3, "relative": 2e-7, **changes}


def exact(**changes: Any) -> dict[str, Any]:
    return {"elements": 100, "mismatches": 0, **changes}


class TestProducts:
    def test_right_figures_pass(self) -> None:
        facts = {"exact": exact(), "bounded": compared(relative=1.7e-3), "tflops": 100.0}
        assert judge_bf16(facts, REAL).status == "pass"
        assert judge_fp8(facts, REAL).status == "pass"

    @pytest.mark.parametrize(
        "facts",
        [
            {"exact": exact(mismatches=1), "bounded": compared(relative=1.7e-3)},
            {"exact": exact(), "bounded": compared(outside=1, relative=1.7e-3)},
            {"exact": exact(), "bounded": compared(outside=1, nonfinite=1, relative=None)},
            {"exact": exact(), "bounded": compared(relative=5e-3)},
            {"exact": exact(), "bounded": compared(relative=None)},
            {"exact": exact(elements=0), "bounded": compared(relative=1.7e-3)},
            {"exact": exact(), "bounded": compared(elements=0, relative=1.7e-3)},
        ],
    )
    def test_any_wrong_figure_fails(self, facts: dict[str, Any]) -> None:
        assert judge_bf16(facts, REAL).status == "fail"

    def test_a_missing_figure_is_no_pass(self) -> None:
        with pytest.raises(Missing):
            judge_bf16({"exact": exact()}, REAL)
        with pytest.raises(Missing):
            judge_bf16({"exact": exact(), "bounded": {"elements": 1, "outside": 0, "nonfinite": 0}}, REAL)

    def test_tf32_is_told_by_the_error(self) -> None:
        single, tf32 = compared(), compared(relative=2.95e-4)
        assert judge_tf32({"off": single, "on": tf32}, REAL).status == "pass"
        assert judge_tf32({"off": tf32, "on": tf32}, REAL).status == "fail"
        ignored = judge_tf32({"off": single, "on": single}, REAL)
        assert ignored.status == "warn"
        assert "not used" in ignored.summary


def cudnn_facts() -> dict[str, Any]:
    def three(relative: float) -> dict[str, Any]:
        return {k: compared(relative=relative) for k in ("forward", "input gradient", "weight gradient")}

    return {
        "fp32, TF32 off": three(2e-7),
        "fp32, TF32 on": three(3e-4),
        "fp16": three(2e-4),
        "without": three(2e-7),
        "deterministic": True,
        "compiled": 90100,
        "loaded": 90100,
        "paths": ["/v/lib/libcudnn.so.9", "/v/lib/libcudnn_ops.so.9"],
    }


class TestCudnn:
    def test_right_figures_pass_and_name_the_library(self) -> None:
        found = judge_cudnn(cudnn_facts(), REAL)
        assert found.status == "pass"
        assert "90100" in found.summary
        assert "/v/lib/libcudnn.so.9" in found.evidence

    def test_tf32_where_it_is_off(self) -> None:
        facts = cudnn_facts()
        facts["fp32, TF32 off"]["weight gradient"]["relative"] = 2.9e-4
        found = judge_cudnn(facts, REAL)
        assert found.status == "fail"
        assert "TF32 off, weight gradient" in found.summary

    def test_runs_that_differ(self) -> None:
        assert judge_cudnn({**cudnn_facts(), "deterministic": False}, REAL).status == "fail"
        assert judge_cudnn({**cudnn_facts(), "deterministic": None}, REAL).status == "fail"

    def test_libraries_from_two_places_warn(self) -> None:
        found = judge_cudnn({**cudnn_facts(), "paths": ["/a/libcudnn.so.9", "/b/libcudnn_ops.so.9"]}, REAL)
        assert found.status == "warn"
        assert "/a, /b" in found.summary

    def test_a_missing_case_is_no_pass(self) -> None:
        facts = cudnn_facts()
        del facts["fp16"]["forward"]
        with pytest.raises(Missing):
            judge_cudnn(facts, REAL)


class TestAttentionGraphsCompile:
    def test_each_available_backend_counts(self) -> None:
        good, absent = compared(relative=5e-4), {"unavailable": "No available kernel"}
        assert (
            judge_sdpa({"backends": {"MATH": good, "FLASH_ATTENTION": absent}, "dtype": "float16"}, REAL).status
            == "pass"
        )
        bad = compared(relative=5e-4, outside=3)
        assert (
            judge_sdpa({"backends": {"MATH": good, "FLASH_ATTENTION": bad}, "dtype": "float16"}, REAL).status == "fail"
        )
        assert judge_sdpa({"backends": {"MATH": absent}, "dtype": "float16"}, REAL).status == "fail"
        assert judge_sdpa({"backends": {}, "dtype": "float16"}, REAL).status == "fail"

    def test_graphs_and_compile(self) -> None:
        assert judge_graphs({"mismatches": 0}, REAL).status == "pass"
        assert judge_graphs({"mismatches": 2}, REAL).status == "fail"
        assert judge_compile({"forward": compared(), "gradient": compared()}, REAL).status == "pass"
        assert judge_compile({"forward": compared(), "gradient": compared(outside=1)}, REAL).status == "fail"


def losses(start: float, end: float) -> list[float | None]:
    return [start + (end - start) * i / 29 for i in range(30)]


def amp_facts() -> dict[str, Any]:
    run = {"fp32": losses(1.4, 0.1), "mixed": losses(1.4, 0.11), "parameters": ["float32"], "scale": 1024.0}
    return {
        "device_type": "cuda",
        "autocast": "torch.float16",
        "dtypes": expected_dtypes("cuda", "float16"),
        "scaler": {"scales": [65536.0, 65536.0, 131072.0, 65536.0, 65536.0], "moved": [True, True, False, True]},
        "conv": run,
        "encoder": copy.deepcopy(run),
    }


def autocast_lists() -> dict[tuple[str, str], set[str]]:
    """The operations in torch's own lists, read and not imported: (class, list) -> names."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        pytest.skip("needs torch's own lists")
    path = Path(spec.origin).parent / "testing" / "_internal" / "autocast_test_lists.py"
    out: dict[tuple[str, str], set[str]] = {}
    for kind in ast.parse(path.read_text(encoding="utf-8")).body:
        for node in ast.walk(kind):
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.List):
                continue
            firsts = [e.elts[0] for e in node.value.elts if isinstance(e, ast.Tuple) and e.elts]
            names = {str(e.value) for e in firsts if isinstance(e, ast.Constant)}
            if isinstance(kind, ast.ClassDef) and isinstance(node.targets[0], ast.Attribute):
                out[kind.name, node.targets[0].attr] = names
    return out


def test_the_table_of_dtypes_is_torchs_own() -> None:
    """Both device's tables; cross_entropy is log_softmax and nll_loss, addcmul gives the widest of its operands."""
    lists = autocast_lists()
    gpu = {key: names for (kind, key), names in lists.items() if kind == "AutocastTestLists"}
    cpu = {key: names for (kind, key), names in lists.items() if kind == "AutocastCPUTestLists"}
    single = gpu["torch_fp32"] | gpu["nn_fp32"] | gpu["torch_need_autocast_promote"]
    for name, dtype in expected_dtypes("cuda", "float16").items():
        names = ("log_softmax", "nll_loss") if name == "cross_entropy" else (name,)
        where = {
            "float16": gpu["torch_fp16"] | gpu["nn_fp16"],
            "float32": single,
            "refused": gpu["banned"],
        }[dtype]
        assert set(names) <= where, name
    low = set().union(*(names for key, names in cpu.items() if key.endswith("16")))
    for name, dtype in expected_dtypes("cpu", "bfloat16").items():
        assert name in (low if dtype == "bfloat16" else cpu["nn_fp32"]), name


class TestAmp:
    def test_right_figures_pass(self) -> None:
        assert judge_amp(amp_facts(), REAL).status == "pass"

    @pytest.mark.parametrize(
        ("path", "value", "word"),
        [
            (("dtypes", "mm"), "float32", "mm gives float32"),
            (("dtypes", "softmax"), "float16", "softmax gives float16"),
            (("dtypes", "binary_cross_entropy"), "float16", "binary_cross_entropy"),
            (("scaler", "moved"), [True, True, True, True], "although a gradient was infinite"),
            (("scaler", "moved"), [True, False, False, True], "kept the optimizer"),
            (("scaler", "scales"), [65536.0, 65536.0, 131072.0, 131072.0, 131072.0], "scale went"),
            (("scaler", "scales"), [], "scale went"),
            (("conv", "mixed"), losses(1.4, 1.4), "does not fall"),
            (("conv", "mixed"), losses(1.4, 0.5), "in fp32 at"),
            (("encoder", "mixed"), [None, *losses(1.4, 0.1)[1:]], "not finite"),
            (("encoder", "mixed"), [1.0], "not finite"),
            (("encoder", "parameters"), ["float16", "float32"], "masters"),
        ],
    )
    def test_any_wrong_figure_fails(self, path: tuple[str, str], value: Any, word: str) -> None:
        facts = amp_facts()
        facts[path[0]][path[1]] = value
        found = judge_amp(facts, REAL)
        assert found.status == "fail"
        assert any(word in line for line in found.evidence)

    def test_without_a_scaler_it_is_open(self) -> None:
        assert judge_amp({**amp_facts(), "scaler": None}, REAL).status == "unknown"

    def test_workload(self) -> None:
        run = {"losses": [0.8, 0.7, 0.6], "seconds": 0.1, "peak_bytes": 2 << 30, "samples": 8}
        found = judge_workload({"bert": run, "resnet": run}, REAL)
        assert found.status == "pass"
        assert "2.0 GiB" in found.summary
        assert judge_workload({"bert": {**run, "losses": [0.8, None]}, "resnet": run}, REAL).status == "fail"
        assert judge_workload({"bert": run, "resnet": {**run, "losses": [0.8, 0.9]}}, REAL).status == "fail"


def context_facts() -> dict[str, Any]:
    return {
        "sum": 16,
        "expected_sum": 16,
        "round_trip": True,
        "event_ms": 1.0,
        "wall_ms": 2.0,
        "name": "NVIDIA L4",
        "compute_capability": "8.9",
        "memory_mib": 22492,
        "driver_cuda": "12.2",
        "runtime": "12.1",
    }


class TestSystem:
    def test_context(self) -> None:
        found = judge_context(context_facts(), REAL)
        assert found.status == "pass"
        assert "toolkit-exact" in found.summary

    @pytest.mark.parametrize(
        "changes", [{"sum": 15}, {"round_trip": False}, {"event_ms": None}, {"event_ms": 0.0}, {"event_ms": 99.0}]
    )
    def test_context_faults(self, changes: dict[str, Any]) -> None:
        assert judge_context({**context_facts(), **changes}, REAL).status == "fail"

    @pytest.mark.parametrize("changes", [{"name": "NVIDIA T4"}, {"compute_capability": "7.5"}, {"memory_mib": 9000}])
    def test_properties_that_contradict_nvml_warn(self, changes: dict[str, Any]) -> None:
        assert judge_context({**context_facts(), **changes}, REAL).status == "warn"

    def test_a_card_that_contradicts_the_matrix_warns(self) -> None:
        """The driver says one compute capability, the matrix another for this PCI id: identification notes it."""
        said = "the driver says compute capability 8.9, PCI id 10de:1eb8 is Tesla T4 (7.5)"
        card = dataclasses.replace(CARD, errors=("Xid 13 was seen", said))
        found = judge_context(context_facts(), dataclasses.replace(REAL, device=dataclasses.replace(DEVICE, gpu=card)))
        assert (found.status, found.summary) == ("warn", said)

    def test_a_slice_has_a_name_and_a_memory_of_its_own(self) -> None:
        facts = {**context_facts(), "name": "NVIDIA L4 MIG 1g.5gb", "memory_mib": 4864}
        assert judge_context(facts, REAL).status == "pass"

    def test_the_pair_in_words(self) -> None:
        assert "toolkit-exact" in pair_in_words("12.2", "12.1")
        assert "minor-version" in pair_in_words("12.2", "12.8")
        assert "forward-compatibility" in pair_in_words("12.2", "13.0")
        assert "unknown" in pair_in_words(None, "12.1")

    def test_memory(self) -> None:
        still = {"uncorrected": 0, "remap_pending": False, "remap_failed": False}
        facts = {"bytes": 1 << 33, "wrong": 0, "before": still, "after": still}
        assert judge_memory(facts, REAL).status == "pass"
        assert "ECC counters stood still" in judge_memory(facts, REAL).summary
        blind = judge_memory({**facts, "before": None, "after": None}, REAL)
        assert (blind.status, "no ECC counters" in blind.summary) == ("pass", True)
        assert judge_memory({**facts, "after": {**still, "corrected": 2}}, REAL).status == "warn"
        assert judge_memory({**facts, "after": {**still, "remapped": 1}}, REAL).status == "warn"
        assert judge_memory({**facts, "wrong": 1}, REAL).status == "fail"
        assert judge_memory({**facts, "bytes": 0}, REAL).status == "fail"
        assert judge_memory({**facts, "after": {**still, "uncorrected": 1}}, REAL).status == "fail"
        assert judge_memory({**facts, "after": {**still, "remap_failed": True}}, REAL).status == "fail"
        assert judge_memory({**facts, "after": {**still, "remap_pending": True}}, REAL).status == "warn"

    def test_transfer(self) -> None:
        link = {"generation": 4, "width": 16, "max_generation": 4, "max_width": 16}
        rates = {"pinned to device": 25.0, "pageable to device": 6.0}
        facts = {"rates": rates, "equal": {"pinned": True, "pageable": True}, "link": link}
        assert judge_transfer(facts, REAL).status == "pass"
        assert judge_transfer({**facts, "link": None}, REAL).status == "pass"
        assert judge_transfer({**facts, "equal": {"pinned": True, "pageable": False}}, REAL).status == "fail"
        narrow = judge_transfer({**facts, "link": {**link, "width": 4}}, REAL)
        assert narrow.status == "warn"
        assert "x4" in narrow.summary
        slow = judge_transfer({**facts, "rates": {**rates, "pinned to device": 9.0}}, REAL)
        assert slow.status == "warn"

    def test_p2p(self) -> None:
        pair = {"from": 0, "to": 1, "direct": True, "wrong": 0}
        assert judge_p2p({"pairs": [pair]}, REAL).status == "pass"
        assert judge_p2p({"pairs": [{**pair, "wrong": 7}]}, REAL).status == "fail"
        assert judge_p2p({"pairs": []}, REAL).status == "fail"


class TestNccl:
    GOOD: dict[str, Any] = {"codes": [0, 0], "hung": False, "missing": {}, "failed": [], "wrong": [], "facts": [{}]}  # noqa: RUF012

    def judge(self, *attempts: dict[str, Any]) -> Any:
        return judge_nccl({"attempts": list(attempts), "ranks": 2, "backend": "nccl"}, REAL)

    def test_exact_values_pass(self) -> None:
        assert self.judge(self.GOOD).status == "pass"

    def test_wrong_values_fail_whatever_the_codes(self) -> None:
        found = self.judge({**self.GOOD, "wrong": ["all_reduce of 2 elements"]})
        assert found.status == "fail"
        assert "all_reduce" in found.summary

    def test_a_hang_is_named_by_the_retry_that_works(self) -> None:
        hung = {**self.GOOD, "codes": [3, None], "hung": True, "how": "as it is", "stages": ["a", "b"]}
        found = self.judge(hung, {**self.GOOD, "how": "with P2P off"})
        assert found.status == "fail"
        assert "does not with P2P off" in found.summary
        assert self.judge(hung, hung).status == "fail"

    def test_a_lost_rank_is_named(self) -> None:
        found = self.judge({**self.GOOD, "codes": [3, -9], "missing": {"1": "all_gather of 4096 elements"}})
        assert found.status == "fail"
        assert "rank 1 stopped in: all_gather" in found.summary

    def test_nothing_is_no_pass(self) -> None:
        assert self.judge().status == "fail"
        assert self.judge({**self.GOOD, "codes": []}).status == "fail"


def test_the_limits_tell_precisions_apart() -> None:
    """Figures of 4.2 in the docstring: what was measured of each precision, against the limit of its neighbour."""
    assert 3e-7 < LIMITS["fp32"] < 2.95e-4 < LIMITS["tf32"]
    assert 2.1e-4 < LIMITS["fp16"] < 6e-4
    assert 1.66e-3 < LIMITS["bf16"] < 4.06e-3
