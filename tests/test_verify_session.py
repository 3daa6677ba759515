"""A verification from end to end with a probe that answers from a file: devices, verdict, exit code, renderings."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
from test_verify_judges import amp_facts, context_facts, cudnn_facts
from test_verify_tensor import facts as tensor_facts

from envcheck.cli import main
from envcheck.cli import verify as cli_verify
from envcheck.errors import UsageError
from envcheck.identify import identify
from envcheck.matrix import load
from envcheck.model import Driver, Gpu, Machine, Python, Torch
from envcheck.verify import Options, Result, exit_code, verdict_of, verify
from envcheck.verify.devices import choose, found_by_probe, tensor_cores
from envcheck.verify.gate import is_met
from envcheck.verify.session import chosen_checks, required_checks
from envcheck.verify.table import REQUIRED
from envcheck.verify.tensor import tensor_core_use
from envcheck.verify.trouble import trouble
from envcheck.verify.words import CRASHED, RAISED, TIMED_OUT, TrialRun, Verification

SCRIPT = Path(__file__).parent / "verify_probes" / "answering.py"
L4 = Gpu(name="NVIDIA L4", compute_capability="8.9", memory_mib=23034, bus_id="0000:01:00.0", tensor_cores=4)
KERNEL = "turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_nn"  # runs on a GTX 1650 too, without Tensor Cores
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the probe's stand-in takes a file descriptor")


def device(ordinal: int, bus: str, **changes: Any) -> dict[str, Any]:
    return {
        "ordinal": ordinal,
        "bus_id": bus,
        "uuid": f"GPU-{ordinal}aaaa",
        "name": "NVIDIA L4",
        "compute_capability": "8.9",
        "memory_mib": 22492,
        "sms": 58,
        "others": [],
        **changes,
    }


def answers(*devices: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "describe": {"facts": {"devices": list(devices or (device(0, "0000:01:00.0"),)), "driver_cuda": "12.2"}},
        "cuda-context": {"facts": context_facts()},
        "cudnn": {"facts": cudnn_facts()},
        "tensor-core-fp16": {"facts": tensor_facts()},
        "amp": {"facts": amp_facts()},
        "nccl": {"facts": {"ranks": 2, "backend": "nccl", "attempts": [{"codes": [0, 0], "facts": [{}]}]}},
        "p2p": {"skip": "p2p needs two GPUs", "not_applicable": True},
        **changes,
    }


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / "answers.json"
    monkeypatch.setenv("FAKE_PROBE", str(path))

    def run(data: dict[str, Any], deadline: float | None = None, on_result: Any = None, **options: Any) -> Any:
        path.write_text(json.dumps(data), encoding="utf-8")
        asked = Options(python=sys.executable, script=SCRIPT, **{"quick": True, "timeout": 20, **options})
        return verify(asked, Machine(gpus=(L4,)), lambda text: None, deadline=deadline, on_result=on_result)

    run.jobs = lambda: [json.loads(line) for line in Path(f"{path}.jobs").read_text().splitlines()]  # type: ignore[attr-defined]
    return run


class TestSession:
    def test_everything_proven(self, fake: Any) -> None:
        found = fake(answers())
        assert [(r.code, r.device, r.status) for r in found.results] == [(code, 0, "pass") for code in REQUIRED]
        assert (found.verdict, exit_code(found)) == ("healthy", 0)
        assert found.devices[0].gpu == L4
        assert found.torch["version"] == "2.4.1+cu121"

    def test_one_fault_decides(self, fake: Any) -> None:
        found = fake(answers(cudnn={"error": {"type": "RuntimeError", "text": "CUDNN_STATUS_NOT_INITIALIZED"}}))
        assert (found.verdict, exit_code(found)) == ("broken", 1)
        assert [r.status for r in found.results] == ["pass", "fail", "pass", "pass"]
        assert "answering" in found.results[1].summary

    @pytest.mark.parametrize(
        "answer", [{"skip": "this torch was built without cuDNN"}, {"stage": "and then nothing"}, {"facts": {}}]
    )
    def test_what_is_not_proven_is_never_0(self, fake: Any, answer: dict[str, Any]) -> None:
        found = fake(answers(cudnn=answer))
        assert (found.verdict, exit_code(found)) == ("undetermined", 3)

    def test_no_tensor_cores_is_met(self, fake: Any) -> None:
        card = device(0, "0000:01:00.0", name="NVIDIA GeForce GTX 1080", compute_capability="6.1")
        data = answers(
            card, **{"cuda-context": {"facts": {**context_facts(), "name": card["name"], "compute_capability": "6.1"}}}
        )
        data["describe"]["facts"]["devices"][0]["bus_id"] = "0000:05:00.0"  # no detected card: cc 6.1 alone tells
        found = fake(data)
        tensor = next(r for r in found.results if r.code == "tensor-core-fp16")
        assert (tensor.status, tensor.not_applicable) == ("skip", True)
        assert exit_code(found) == 0

    def test_two_gpus_in_pci_order_and_together(self, fake: Any) -> None:
        found = fake(answers(device(0, "0000:81:00.0"), device(1, "0000:01:00.0")), quick=False, only=("cudnn", "nccl"))
        assert [(r.code, r.device) for r in found.results] == [("cudnn", 0), ("cudnn", 1), ("nccl", None)]
        assert [d.bus_id for d in found.devices] == ["0000:01:00.0", "0000:81:00.0"]
        # CUDA's own number goes to the probe, PCI order to the user
        assert [j["device"] for j in fake.jobs() if j["check"] == "cudnn"] == [1, 0]
        assert [j["devices"] for j in fake.jobs() if j["check"] == "nccl"] == [[1, 0]]

    def test_checks_of_all_gpus_use_the_chosen_ones_alone(self, fake: Any) -> None:
        cards = [device(n, f"0000:0{n + 1}:00.0") for n in range(4)]
        fake(answers(*cards), quick=False, only=("nccl", "p2p"), device="1,3")
        assert [j["devices"] for j in fake.jobs() if j["check"] in ("nccl", "p2p")] == [[1, 3], [1, 3]]

    def test_other_processes_leave_it_open(self, fake: Any) -> None:
        data = answers(device(0, "0000:01:00.0", others=[4711]))
        found = fake(data)
        assert {r.status for r in found.results} == {"unknown"}
        assert "4711" in found.results[0].summary
        assert exit_code(found) == 3
        assert exit_code(fake(data, force=True)) == 0

    def test_a_driver_that_does_not_start(self, fake: Any) -> None:
        text = "cuInit failed: CUDA_ERROR_NO_DEVICE (100)"
        found = fake({"describe": {"error": {"type": "DriverError", "text": text}}})
        assert [r.status for r in found.results] == ["fail", "skip", "skip", "skip"]
        assert found.results[0].stage == "answering"
        assert exit_code(found) == 1

    def test_no_device_is_a_no(self, fake: Any) -> None:
        found = fake({"describe": {"facts": {"devices": []}}})
        assert exit_code(found) == 1
        assert "CUDA_VISIBLE_DEVICES" in found.results[0].summary

    def test_skip_of_a_required_check_leaves_it_open(self, fake: Any) -> None:
        assert exit_code(fake(answers(), skip=("amp",))) == 3

    def test_a_warning_is_0_unless_asked(self, fake: Any) -> None:
        found = fake(answers(cudnn={"facts": {**cudnn_facts(), "paths": ["/a/libcudnn.so", "/b/libcudnn.so"]}}))
        assert found.verdict == "degraded"
        assert (exit_code(found), exit_code(found, "warn")) == (0, 1)


class TestDeadline:
    """The time for the whole run: what was finished stays, and what was not says so."""

    def test_what_was_finished_stays(self, fake: Any) -> None:
        heard: list[Verification] = []
        began = time.monotonic()
        slow = {"sleep": 60, "facts": cudnn_facts()}
        found = fake(answers(cudnn=slow), deadline=4.0, on_result=heard.append)
        assert time.monotonic() - began < 5.0
        assert [(r.code, r.status) for r in found.results] == [
            ("cuda-context", "pass"),
            ("cudnn", "timeout"),
            ("tensor-core-fp16", "timeout"),
            ("amp", "timeout"),
        ]
        assert [r.stage for r in found.results] == ["answering", "answering", "not started", "not started"]
        assert "the time for the whole run (4 s) was up" in found.results[2].summary
        assert exit_code(found) == 3
        # whoever listens had each result as soon as it was there, with the devices that it belongs to
        assert [len(v.results) for v in heard] == [1, 2, 3, 4]
        assert heard[0].results[0].status == "pass"
        assert heard[0].devices and heard[0].torch["version"] == "2.4.1+cu121"
        assert [v.verdict for v in heard] == ["undetermined"] * 4

    def test_a_deadline_that_is_kept_changes_nothing(self, fake: Any) -> None:
        heard: list[Verification] = []
        found = fake(answers(), deadline=30.0, on_result=heard.append)
        assert exit_code(found) == 0
        assert [v.verdict for v in heard] == ["undetermined"] * 3 + ["healthy"]

    def test_devices_that_cannot_be_described_in_time(self, fake: Any) -> None:
        heard: list[Verification] = []
        data = answers()
        data["describe"]["sleep"] = 60
        found = fake(data, deadline=3.0, on_result=heard.append)
        assert [r.status for r in found.results] == ["timeout", "skip", "skip", "skip"]
        assert exit_code(found) == 3
        assert len(heard) == 4

    def test_no_time_at_all_starts_nothing(self, fake: Any, tmp_path: Path) -> None:
        found = fake(answers(), deadline=1.5)
        assert {(r.status, r.stage) for r in found.results} == {("timeout", "not started")}
        assert exit_code(found) == 3
        assert not Path(f"{tmp_path}/answers.json.jobs").exists()

    def test_a_check_gets_no_more_than_its_own(self, fake: Any) -> None:
        began = time.monotonic()
        found = fake(answers(amp={"sleep": 60, "facts": {}}), deadline=60.0, timeout=1.5)
        assert found.results[-1].status == "timeout"
        assert time.monotonic() - began < 10


class TestChoices:
    def test_checks(self) -> None:
        assert tuple(c.code for c in chosen_checks(Options(python="", quick=True))) == REQUIRED
        assert len(chosen_checks(Options(python=""))) == 15
        assert required_checks(Options(python="", only=("sdpa",))) == ("sdpa",)
        assert required_checks(Options(python="", skip=("amp",))) == REQUIRED

    @pytest.mark.parametrize(
        "options", [{"only": ("nope",)}, {"skip": ("nope",)}, {"plant": "nope"}, {"only": ("amp",), "skip": ("amp",)}]
    )
    def test_words_that_mean_nothing(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            chosen_checks(Options(python="", **options))

    def test_devices_by_index_and_uuid(self) -> None:
        devices = found_by_probe({"devices": [device(0, "b"), device(1, "a")]}, Machine())
        assert [d.ordinal for d in devices] == [1, 0]
        assert [d.ordinal for d in choose(devices, "1")] == [0]
        assert [d.ordinal for d in choose(devices, "0,1,0")] == [1, 0]
        assert [d.ordinal for d in choose(devices, "gpu-1a")] == [1]
        for word in ("2", "GPU-", "x", ""):
            with pytest.raises(UsageError):
                choose(devices, word)

    @pytest.mark.parametrize(
        ("name", "capability", "cores"),
        [
            *[
                (name, "7.5", 0)
                for name in (
                    "NVIDIA GeForce GTX 1630",
                    "NVIDIA GeForce GTX 1650",
                    "NVIDIA GeForce GTX 1650 Ti with Max-Q Design",
                    "NVIDIA GeForce GTX 1660 SUPER",
                    "NVIDIA T400 4GB",
                    "NVIDIA T500",
                    "NVIDIA T550 Laptop GPU",
                    "NVIDIA T600",
                    "NVIDIA T1000 8GB",
                    "NVIDIA T1200 Laptop GPU",
                    "NVIDIA GeForce MX450",
                    "NVIDIA GeForce MX550",
                    "NVIDIA CMP 30HX",
                )
            ],
            ("NVIDIA GeForce GTX 1080", "6.1", 0),
            ("Tesla P100-PCIE-16GB", "6.0", 0),
            ("Tesla T4", "7.5", 2),
            ("NVIDIA GeForce RTX 2060", "7.5", 2),
            ("NVIDIA TITAN V", "7.0", 1),
            ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0", 3),
            ("NVIDIA GeForce RTX 5090", "12.0", 5),
        ],
    )
    @pytest.mark.parametrize("cards", [1, 2])
    def test_the_chip_decides_on_tensor_cores(self, name: str, capability: str, cores: int, cards: int) -> None:
        """From the matrix, by the name alone, also where two cards of one name cannot be told apart."""
        matrix = load(None)
        gpus = tuple(Gpu(index=n, name=name, compute_capability=capability) for n in range(cards))
        machine = identify(Machine(gpus=gpus), matrix)
        lines = [device(n, f"0000:0{n}:00.0", name=name, compute_capability=capability) for n in range(cards)]
        found = found_by_probe({"devices": lines}, machine)
        assert [d.tensor_cores for d in found] == [cores] * cards
        verdict, _ = tensor_core_use(found[0].tensor_cores, None, [KERNEL], 8.0, 2.0)
        assert verdict == ("none in this GPU" if cores == 0 else "used")

    def test_a_chip_of_7_5_that_nobody_knows_is_not_guessed(self) -> None:
        found = found_by_probe({"devices": [device(0, "a", name="NVIDIA X", compute_capability="7.5")]}, Machine())
        assert tensor_core_use(found[0].tensor_cores, None, [KERNEL], 8.0, 2.0)[0] == "undetermined"

    def test_lines_of_a_wrong_shape_are_no_devices(self) -> None:
        assert found_by_probe({"devices": [1, None, {}, {"ordinal": "0"}]}, Machine()) == ()
        assert found_by_probe({}, Machine()) == ()

    @pytest.mark.parametrize(
        ("capability", "gpu", "expected"),
        [("6.1", None, 0), ("7.0", None, 1), ("7.5", None, None), ("9.0", None, 1), ("?", None, None), ("7.5", L4, 4)],
    )
    def test_tensor_cores_by_chip(self, capability: str, gpu: Gpu | None, expected: int | None) -> None:
        assert tensor_cores({"compute_capability": capability}, gpu) == expected


def result(status: str, code: str = "amp", **more: Any) -> Result:
    return Result(code=code, device=0, status=status, stage="", seconds=0, summary="", **more)


class TestGate:
    @pytest.mark.parametrize(
        ("results", "verdict"),
        [
            ([result("pass")], "healthy"),
            ([result("warn")], "degraded"),
            ([result("skip", not_applicable=True)], "healthy"),
            ([result("skip")], "undetermined"),
            ([result("unknown")], "undetermined"),
            ([result("crash")], "undetermined"),
            ([result("timeout")], "undetermined"),
            ([result("pass"), result("timeout")], "undetermined"),
            ([result("pass"), result("fail", code="tf32")], "broken"),
            ([result("pass"), result("crash", code="tf32")], "healthy"),
            ([], "undetermined"),
        ],
    )
    def test_verdicts(self, results: list[Result], verdict: str) -> None:
        assert verdict_of(results, ("amp",)) == verdict

    def test_nothing_required_is_not_healthy(self) -> None:
        assert verdict_of([result("pass")], ()) == "undetermined"
        assert verdict_of([result("pass")], ("amp",), rehearsal=True) == "undetermined"

    def test_met_on_every_device(self) -> None:
        assert is_met("amp", [result("pass"), result("pass")])
        assert not is_met("amp", [result("pass"), result("skip")])


class TestTrouble:
    @pytest.mark.parametrize(
        ("check", "text", "status", "word"),
        [
            (
                "cudnn",
                "CUDA error: no kernel image is available for execution on the device",
                "fail",
                "no code for this GPU",
            ),
            ("memory", "CUDA out of memory. Tried to allocate 20.00 GiB", "unknown", "too little free memory"),
            ("describe", "loading libcuda.so.1 failed: cannot open shared object file", "fail", "libcuda"),
            ("describe", "The NVIDIA driver on your system is too old (found version 11040)", "fail", "too old"),
            ("cudnn", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", "fail", "cuDNN failed"),
            ("amp", "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate", "fail", "cuBLAS failed"),
            ("amp", "Torch not compiled with CUDA enabled", "fail", "CPU build"),
            ("compile", "fatal error: Python.h: No such file or directory", "warn", "Python.h"),
            ("compile", "/usr/bin/ld: cannot find -lcuda: No such file", "warn", "libcuda.so"),
            ("compile", "/usr/bin/ld: cannot find -l:libcuda.so.1: No such file", "warn", "libcuda.so"),
            ("compile", "AssertionError: libcuda.so cannot found!", "warn", "libcuda.so"),
            ("compile", "[Errno 2] No such file or directory: '/sbin/ldconfig'", "warn", "TRITON_LIBCUDA_PATH"),
            (
                "compile",
                "RuntimeError: Failed to find C compiler. Please specify via CC environment variable",
                "warn",
                "gcc",
            ),
            ("compile", "[Errno 2] No such file or directory: 'gcc'", "warn", "gcc"),
            ("compile", "Cannot find a working triton installation.", "warn", "triton"),
            (
                "compile",
                "Found GTX 1080 which is too old to be supported by the triton GPU compiler",
                "skip",
                "this old",
            ),
            ("cudnn", "list index out of range", "crash", "list index"),
        ],
    )
    def test_what_was_raised(self, check: str, text: str, status: str, word: str) -> None:
        found = trouble(check, TrialRun(outcome=RAISED, stage="x", seconds=0, text=text, kind="RuntimeError"))
        assert found.status == status
        assert word in found.summary

    def test_an_import_that_fails_is_a_no(self) -> None:
        run = TrialRun(
            outcome=RAISED, stage="importing torch", seconds=0, text="libcublas.so.12: undefined", kind="ImportError"
        )
        assert trouble("amp", run).status == "fail"

    def test_stages_are_named(self) -> None:
        assert "cuInit" in trouble("x", TrialRun(outcome=CRASHED, stage="cuInit", seconds=0, text="SIGSEGV")).summary
        timed = trouble(
            "x", TrialRun(outcome=TIMED_OUT, stage="cuInit", seconds=0, text="no answer in 5 s, in: cuInit")
        )
        assert (timed.status, "cuInit" in timed.summary) == ("timeout", True)


NAMED = Result(
    code="amp", device=0, status="fail", stage="", seconds=0, summary="x", evidence=("in /home/evilette/libcudnn.so",)
)
FOUND = Verification(verdict="broken", devices=(), results=(), machine=Machine(), required=REQUIRED)
HERE = Python(version="3.11.7", executable=sys.executable)
BARE = Machine(driver=Driver(state="missing"), python=HERE)


class TestCommand:
    def use(self, monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
        monkeypatch.setattr(cli_verify, "machine_for", lambda flags, matrix: machine)

    def test_without_a_gpu_it_says_why_and_exits_1(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.use(monkeypatch, BARE)
        assert main(["verify", "--format", "json"]) == 1
        data = json.loads(capsys.readouterr().out)
        assert data["schema"] == "envcheck.verify/1"
        assert data["verdict"] == "broken"
        assert data["findings"]
        assert data["findings"][0]["summary"] == data["results"][0]["summary"]
        assert {r["status"] for r in data["results"][1:]} == {"skip"}
        keys = {"code", "device", "status", "stage", "seconds", "measured", "expected", "evidence", "summary", "fix"}
        assert all(keys <= set(r) for r in data["results"])

    @pytest.mark.skipif(sys.platform == "win32", reason="the resource module is Unix's")
    def test_this_machine_without_a_gpu_answers_within_three_seconds(self) -> None:
        """The real command, nothing replaced, in seconds of the processor: a busy machine makes no slow command."""
        import resource

        if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists():
            pytest.skip("there is a GPU here")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        argv = [sys.executable, "-m", "envcheck", "verify"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 1, done.stderr
        assert done.stdout.startswith("envcheck verify: broken")
        assert "what doctor finds on this machine" in done.stdout
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3

    def test_without_torch_it_names_the_plan(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.use(monkeypatch, Machine(driver=Driver(version="535.104.05", state="ok"), gpus=(L4,), python=HERE))
        assert main(["verify"]) == 1
        out = capsys.readouterr().out
        assert "torch is not installed" in out
        assert "envcheck plan" in out

    def test_a_cpu_build_without_a_gpu(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.use(monkeypatch, Machine(driver=Driver(state="missing"), python=HERE, torch=Torch(version="2.13.0+cpu")))
        assert main(["verify"]) == 1
        out = capsys.readouterr().out
        assert "driver" in out
        assert "fix:" in out

    def test_a_rehearsal_without_torch_is_open(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        self.use(monkeypatch, BARE)
        assert main(["verify", "--device", "cpu"]) == 3
        assert "torch is not installed" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "argv", [["--plant", "nan"], ["--only", "nope"], ["--device", "cpu", "--plant", "nope"], ["--timeout", "0"]]
    )
    def test_usage(self, argv: list[str]) -> None:
        assert main(["verify", *argv]) == 2

    def test_the_faults_are_listed(self, capsys: Any) -> None:
        assert main(["verify", "--device", "cpu", "--plant", "list"]) == 0
        assert "flipped-bit" in capsys.readouterr().out

    @pytest.fixture
    def full(self, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        hostile = "evil\x1b[31m ::error::x </failure> ``` @all"
        machine = Machine(gpus=(L4,), python=HERE, torch=Torch(version="2.4.1+cu121", cuda="12.1"))
        self.use(monkeypatch, machine)
        data = answers(
            device(0, "0000:01:00.0", name=hostile),
            cudnn={"error": {"type": "RuntimeError", "text": f"CUDNN_STATUS_X {hostile}"}},
        )
        found = fake(data)
        monkeypatch.setattr(cli_verify, "verify", lambda *args: found)

    @pytest.mark.parametrize("form", ["text", "json", "markdown", "junit", "github"])
    def test_every_format_is_clean_and_exits_alike(self, full: None, form: str, capsys: Any) -> None:
        assert main(["verify", "--format", form]) == 1
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "envcheck doctor" not in out
        if form == "json":
            data = json.loads(out)
            assert data["required"][1] == {"code": "cudnn", "met": False}
        if form == "junit":
            root = xml.etree.ElementTree.fromstring(out)
            suite = root.find("testsuite")
            assert suite is not None
            assert suite.get("name") == "envcheck verify"
            assert suite.get("failures") == "1"
        if form == "github":
            assert all(
                line.startswith(("::error title=envcheck", "::warning title=envcheck", "envcheck verify"))
                for line in out.splitlines()
            )

    @pytest.mark.parametrize(("style", "code"), [("nagios", 2), ("npd", 1)])
    def test_exit_styles(self, full: None, style: str, code: int) -> None:
        assert main(["verify", "--exit-style", style]) == code

    def test_output_goes_to_a_file(self, full: None, tmp_path: Path) -> None:
        target = tmp_path / "v.json"
        assert main(["verify", "--format", "json", "-o", str(target), "-q"]) == 1
        assert json.loads(target.read_text())["verdict"] == "broken"

    def test_names_are_left_out_of_what_is_pasted(
        self, full: None, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        monkeypatch.setenv("HOME", "/home/evilette")
        monkeypatch.setattr(cli_verify, "verify", lambda *args: dataclasses.replace(FOUND, results=(NAMED,)))
        assert main(["verify", "--format", "markdown"]) == 1
        assert "evilette" not in capsys.readouterr().out
        assert main(["verify", "--format", "markdown", "--no-redact"]) == 1
        assert "evilette" in capsys.readouterr().out

    def test_where_distributed(self, capsys: Any) -> None:
        assert main(["verify", "--where-distributed"]) == 0
        assert Path(capsys.readouterr().out.strip()).is_file()
