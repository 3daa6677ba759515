"""``envcheck doctor`` and ``envcheck explain`` from the outside: inputs, formats, exit codes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from envcheck.cli import main
from envcheck.cli.doctor import exit_code, read
from envcheck.errors import InputError

OLD = "NVIDIA-SMI 470.82.01    Driver Version: 470.82.01    CUDA Version: 11.4\ntorch 2.1.2+cu121\n"
FINE = (
    "PyTorch version: 2.1.2+cu121\nCUDA used to build PyTorch: 12.1\nIs CUDA available: True\n"
    "GPU models and configuration: GPU 0: NVIDIA GeForce RTX 3090\nNvidia driver version: 535.129.03\n"
)
TOO_OLD = "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).\n"


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def call(*argv: str, stdin: str | bytes = b"") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = main(list(argv))
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return call


def test_broken_report_is_1(run) -> None:  # type: ignore[no-untyped-def]
    result = run("doctor", "--from-report", "-", "--format", "json", stdin=TOO_OLD)
    data = json.loads(result.out)
    assert (result.code, data["verdict"]) == (1, "broken")
    assert data["findings"][0]["code"] == "driver-too-old"


def test_healthy_report_is_0(run) -> None:  # type: ignore[no-untyped-def]
    result = run("doctor", "--from-report", "-", stdin=FINE)
    assert (result.code, result.out.splitlines()[0]) == (0, "envcheck doctor: healthy")


def test_a_report_that_says_nothing_is_3(run) -> None:  # type: ignore[no-untyped-def]
    assert run("doctor", "--from-report", "-", stdin="hello world\n").code == 3


@pytest.mark.parametrize("stdin", ["", "  \n\n"])
def test_an_empty_report_is_4(run, stdin: str) -> None:  # type: ignore[no-untyped-def]
    result = run("doctor", "--from-report", "-", stdin=stdin)
    assert result.code == 4
    assert "is empty" in result.err


def test_an_absent_file_is_4(run) -> None:  # type: ignore[no-untyped-def]
    assert run("doctor", "--from-report", "/nonexistent/report").code == 4


@pytest.mark.parametrize(
    "argv",
    [
        ("--only", "nonsense"),
        ("--from-report", "-", "--machine", "x.json"),
        ("--from-report", "-", "--error", "-"),
        ("--format", "yaml"),
    ],
)
def test_usage_errors_are_2(run, argv: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    extra = () if "--from-report" in argv else ("--from-report", "-")
    assert run("doctor", *argv, *extra, stdin=FINE).code == 2


def test_fail_on_warn(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    report = FINE + "UserWarning: Failed to load image Python extension: libtorchvision\n"
    assert run("doctor", "--from-report", "-", stdin=report).code == 0
    assert run("doctor", "--from-report", "-", "--fail-on", "warn", stdin=report).code == 1


@pytest.mark.parametrize(
    ("verdict", "fail_on", "findings", "code"),
    [
        ("healthy", "fail", False, 0),
        ("degraded", "fail", True, 0),
        ("degraded", "warn", True, 1),
        ("broken", "fail", True, 1),
        ("undetermined", "fail", True, 3),
        ("undetermined", "warn", True, 1),
    ],
)
def test_exit_codes(verdict: str, fail_on: str, findings: bool, code: int) -> None:
    assert exit_code(verdict, fail_on, findings) == code


def test_a_snapshot_and_an_error_text(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    machine = {
        "machine": {
            "os": {"id": "ubuntu", "version": "22.04", "platform": "linux", "arch": "x86_64"},
            "driver": {"version": "535.129.03", "state": "ok"},
            "gpus": [{"name": "NVIDIA GeForce RTX 3090", "compute_capability": "8.6"}],
        }
    }
    file = tmp_path / "machine.json"
    file.write_text(json.dumps(machine), encoding="utf-8")
    plain = run("doctor", "--machine", str(file), "--format", "json")
    assert (plain.code, json.loads(plain.out)["verdict"]) == (0, "healthy")
    error = "ImportError: libtorch_cuda.so: undefined symbol: ncclCommSplit\n"
    told = run("doctor", "--machine", str(file), "--error", "-", "--format", "json", stdin=error)
    assert told.code == 1
    assert json.loads(told.out)["findings"][0]["code"] == "nccl-symbol-conflict"


def test_share_replays_to_the_same_findings(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shared = run("doctor", "--from-report", "-", "--share", stdin=OLD + TOO_OLD)
    file = tmp_path / "share.md"
    file.write_text("some words before\n" + shared.out, encoding="utf-8")
    first = json.loads(run("doctor", "--from-report", "-", "--format", "json", stdin=OLD + TOO_OLD).out)
    again = json.loads(run("doctor", "--machine", str(file), "--format", "json").out)
    assert [f["code"] for f in again["findings"]] == [f["code"] for f in first["findings"]]
    assert again["findings"]


@pytest.mark.parametrize("name", ["text", "markdown", "junit", "github"])
def test_formats(run, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "out"
    result = run("doctor", "--from-report", "-", "--format", name, "-o", str(file), stdin=TOO_OLD)
    assert (result.code, result.out) == (1, "")
    assert "driver-too-old" in file.read_text(encoding="utf-8")


def test_names_are_left_out(run) -> None:  # type: ignore[no-untyped-def]
    text = TOO_OLD + 'File "/home/jane.doe/x.py"\nundefined symbol: ncclCommSplit in /home/jane.doe/lib.so\n'
    assert "jane" not in run("doctor", "--from-report", "-", "--format", "json", stdin=text).out
    assert "jane" in run("doctor", "--from-report", "-", "--format", "json", "--no-redact", stdin=text).out


def test_encodings(tmp_path: Path) -> None:
    for name, data in (
        ("a", TOO_OLD.encode("utf-16")),
        ("b", b"\xef\xbb\xbf" + TOO_OLD.encode()),
        ("c", b"\xff" + TOO_OLD.encode()),
    ):
        file = tmp_path / name
        file.write_bytes(data)
        assert "driver on your system is too old" in read(str(file), "report")
    with pytest.raises(InputError, match="cannot read"):
        read(str(tmp_path), "report")


def test_explain(run) -> None:  # type: ignore[no-untyped-def]
    page = run("explain", "driver-too-old")
    assert page.code == 0
    assert page.out.startswith("driver-too-old\n")
    assert "Why." in page.out
    assert "https://docs.nvidia.com" in page.out
    listing = run("explain")
    assert "driver-too-old" in listing.out
    assert len(json.loads(run("explain", "--format", "json").out)) == len(listing.out.splitlines())
    assert run("explain", "--format", "markdown").out.startswith("# Checks\n")
    wrong = run("explain", "driver-to-old")
    assert wrong.code == 2
    assert "driver-too-old" in wrong.err


@pytest.mark.parametrize("code", ["nvjitlink-version-conflict", "gpu-ecc-error", "shm-too-small", "cpu-only-torch"])
def test_what_is_shared_replays_to_the_same_findings(run, code: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from live_faults import FAULTS, raw_copy

    name, fault = FAULTS[code]
    folder = Path(__file__).parent / "machines" / name
    snapshot = json.loads((folder / "snapshot.json").read_text(encoding="utf-8"))
    raw = raw_copy(snapshot["raw"])
    fault(raw)
    taken, shared = tmp_path / "machine.json", tmp_path / "share.md"
    taken.write_text(json.dumps({**snapshot, "raw": raw}), encoding="utf-8")
    assert run("doctor", "--machine", str(taken), "--share", "-o", str(shared)).code in (0, 1)
    first = json.loads(run("doctor", "--machine", str(taken), "--format", "json").out)
    again = json.loads(run("doctor", "--machine", str(shared), "--format", "json").out)
    assert code in [f["code"] for f in first["findings"]]
    assert again["findings"] == first["findings"] and again["verdict"] == first["verdict"]
    plan = run("plan", "--machine", str(shared), "--torch", "2.6", "--format", "json")
    assert plan.code == 0 and json.loads(plan.out)["satisfiable"] is True


def test_every_fault_that_is_shared_replays_to_the_same_findings(tmp_path: Path) -> None:
    """The text that `--share` writes, taken apart again: names are left out, and the raw record is not in it."""
    from live_faults import FAULTS, raw_copy

    from envcheck.checks import run_checks
    from envcheck.detect import snapshot
    from envcheck.detect.redact import Redactor
    from envcheck.identify import identify
    from envcheck.matrix import load
    from envcheck.report.redact import redacted
    from envcheck.report.share import as_share, shared_machine

    matrix = load(None)
    for code, (name, fault) in FAULTS.items():
        folder = Path(__file__).parent / "machines" / name
        raw = raw_copy(json.loads((folder / "snapshot.json").read_text(encoding="utf-8"))["raw"])
        fault(raw)
        report = redacted(run_checks(identify(snapshot.replay(raw), matrix), matrix), Redactor({"USER": "user"}))
        file = tmp_path / "share.md"
        file.write_text(as_share(report), encoding="utf-8")
        machine = shared_machine(str(file))
        assert machine is not None
        again = run_checks(identify(machine, matrix), matrix)
        assert again.verdict == report.verdict, code
        assert [(f.code, f.summary, f.fix) for f in again.findings] == [
            (f.code, f.summary, f.fix) for f in report.findings
        ], code
