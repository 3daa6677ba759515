"""Renderings of one result: keys of the JSON, and that no untrusted text gets out of its place."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envcheck import matrix as matrix_module
from envcheck.checks import run_checks
from envcheck.checks.base import CheckResult, Finding, Report
from envcheck.detect.redact import Redactor
from envcheck.errors import InputError
from envcheck.model import OS, Driver, Gpu, Machine, Step, Symptom, Torch, from_plain
from envcheck.report import FORMATS, as_data, as_github, as_json, as_junit, as_markdown, as_text
from envcheck.report.clean import ascii_only, clean, command
from envcheck.report.markdown import fence
from envcheck.report.redact import redacted
from envcheck.report.share import as_share, shared_machine

MATRIX = matrix_module.load()
EVIL = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 ::error::pwned\n::set-output name=x::y ]]> <b>&amp; ``` ```` @everyone "
    "[x](https://evil.example) \u202e \x00 \x9b31m %0A"
)


def report_with(text: str) -> Report:
    machine = Machine(
        driver=Driver(version="470.82.01", cuda="11.4", state="ok"),
        gpus=(Gpu(name=text, uuid="GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", compute_capability="8.6"),),
        torch=Torch(version="2.1.2+cu121", cuda="12.1"),
        symptoms=(Symptom(text=text, line=1),),
        problems={"x": text},
    )
    step = Step(id="x", title=text, argv=("echo", text), root=True, reboot=True)
    finding = Finding(
        code="driver-too-old",
        status="fail",
        severity="error",
        summary=text,
        why=text,
        evidence=(text, text),
        fix=(step, dataclasses.replace(step, argv=())),
        docs="docs/checks.md#driver-too-old",
    )
    results = (
        CheckResult(code="driver-too-old", area="driver", status="fail", summary=text, seconds=0.01),
        CheckResult(code="mig-enabled", area="selection", status="warn", summary=text, seconds=0.01),
        CheckResult(code="torch", area="machine", status="unknown", summary=text, seconds=0.0, required=True),
        CheckResult(code="gpu", area="machine", status="crash", summary=text, seconds=0.0),
        CheckResult(code="x", area="wsl", status="skip", summary=text, seconds=0.0, not_applicable=True),
        CheckResult(code="driver", area="machine", status="pass", summary=text, seconds=0.0),
    )
    return Report(verdict="broken", machine=machine, findings=(finding,), results=results, matrix_version=text)


def real() -> Report:
    machine = Machine(
        driver=Driver(version="470.82.01", cuda="11.4", state="ok", source="nvml"),
        gpus=(Gpu(name="NVIDIA GeForce RTX 3090", compute_capability="8.6"),),
        torch=Torch(version="2.1.2+cu121", cuda="12.1"),
    )
    return run_checks(machine, MATRIX)


def test_json_has_the_keys_of_the_contract() -> None:
    data = json.loads(as_json(real()))
    assert data["schema"] == "envcheck.doctor/1"
    assert data["verdict"] == "broken"
    assert {
        "os",
        "driver",
        "gpus",
        "toolkits",
        "cudnn",
        "python",
        "torch",
        "packages",
        "env",
        "symptoms",
        "problems",
    } <= set(data["machine"])
    finding = data["findings"][0]
    assert {"code", "status", "severity", "summary", "why", "evidence", "fix", "docs"} <= set(finding)
    assert (finding["code"], finding["status"], finding["severity"]) == ("driver-too-old", "fail", "error")
    assert {"title", "argv", "root", "reboot"} <= set(finding["fix"][0])
    for result in data["results"]:
        assert {"code", "status", "summary", "seconds"} <= set(result)
        assert result["status"] in ("pass", "warn", "fail", "skip", "unknown", "crash", "timeout")
    assert {f["status"] for f in data["findings"]} <= {"warn", "fail"}


def test_the_machine_of_the_json_replays() -> None:
    report = real()
    again = from_plain(Machine, json.loads(as_json(report))["machine"])
    assert [f.code for f in run_checks(again, MATRIX).findings] == [f.code for f in report.findings]


def test_text_says_what_why_and_how() -> None:
    text = as_text(real())
    assert text.startswith("envcheck doctor: broken (1 error")
    assert "driver 470.82.01 is too old for torch 2.1.2+cu121 (CUDA 12.1): it needs 525.60.13" in text
    assert "\n  why: " in text
    assert "\n  fix:\n" in text
    assert "pip install" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [40, 60, 100])
def test_text_is_narrow_where_words_allow(width: int) -> None:
    for line in as_text(real(), width=width).splitlines():
        fits = len(line) <= width or " " not in line.strip() or line.startswith(("    ", "      "))
        assert fits, line


def test_text_is_ascii_without_utf8_and_coloured_only_if_asked() -> None:
    assert as_text(real(), unicode=False).isascii()
    assert "\x1b[" not in as_text(real())
    assert "\x1b[" in as_text(real(), color=True)


def test_verbose_shows_every_check() -> None:
    assert "wsl1-no-gpu" in as_text(real(), verbose=2)
    assert "wsl1-no-gpu" not in as_text(real())


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_escape_or_control_byte_gets_out(name: str) -> None:
    text = FORMATS[name](report_with(EVIL))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_github_lines_are_ours_alone() -> None:
    lines = as_github(report_with(EVIL)).splitlines()
    assert all(re.match(r"::(?:error|warning) title=envcheck [a-z0-9-]+::|envcheck doctor - ", line) for line in lines)
    assert sum(line.startswith("::") for line in lines) == 3
    assert "%250A" in lines[0]


@pytest.mark.parametrize(
    "words", ["::error::pwned", "a\n::set-output name=x::y", "##[set-env name=PATH]x", "\t::stop-commands::t"]
)
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_line_commands_a_runner_that_the_format_did_not_mean(name: str, words: str) -> None:
    text = FORMATS[name](report_with(words))
    lines = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    ours = ("::error title=envcheck ", "::warning title=envcheck ")
    assert all(name == "github" and line.startswith(ours) for line in lines), lines
    assert "##[" not in text


def test_junit_stays_well_formed() -> None:
    suite = ElementTree.fromstring(as_junit(report_with(EVIL)))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "1", "2")
    assert len(suite.findall("testcase")) == 6
    assert suite.find("testcase/failure") is not None


def test_markdown_cannot_be_closed_from_inside() -> None:
    text = as_markdown(report_with(EVIL))
    open_fence: str | None = None
    for line in text.splitlines():
        ticks = re.match(r"`{3,}", line)
        if ticks and open_fence is None:
            open_fence = ticks[0]
        elif open_fence is not None and line == open_fence:
            open_fence = None
        elif open_fence is None:
            assert "@everyone" not in line
            assert "<b>" not in line.replace("\\<b\\>", "")
    assert open_fence is None


def test_fence_is_longer_than_what_it_holds() -> None:
    assert fence("a ```` b").startswith("`````text\n")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=120))
def test_formats_survive_any_text(text: str) -> None:
    report = report_with(text)
    ElementTree.fromstring(as_junit(report))
    json.loads(as_json(report))
    as_text(report, width=50, unicode=False).encode("ascii")
    assert as_github(report).count("\n::") <= 2
    assert as_markdown(report)


def test_clean() -> None:
    assert clean("a\x1b[1;31mb\x1b[0m\tc\nd") == "ab c d"
    assert clean("\x1b]8;;http://x\x07link\x1b]8;;\x07") == "link"
    assert clean("x" * 50, 10) == "x" * 9 + "…"
    assert ascii_only("a…b×c") == "a...bxc"


def test_commands_are_quoted() -> None:
    step = Step(id="x", title="x", argv=("pip", "install", "numpy<2"), root=True)
    assert command(step) == "sudo pip install 'numpy<2'"
    windows = Machine(os=OS(platform="windows"))
    assert command(step, windows) == "pip install 'numpy<2'"
    spaced = dataclasses.replace(step, argv=(r"C:\Program Files\Python311\python.exe", "-V"))
    assert command(spaced, windows) == r"& 'C:\Program Files\Python311\python.exe' -V"


def test_redaction_reaches_machine_and_evidence() -> None:
    text = "/home/alice/venv/lib GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77"
    report = redacted(report_with(text), Redactor({"HOME": "/home/alice", "USER": "alice"}))
    whole = json.dumps(as_data(dataclasses.replace(report, findings=(), matrix_version="")))
    assert "alice" not in whole
    assert "5d5ba0d6" not in whole
    assert report.machine.gpus[0].uuid is None
    assert "alice" not in "".join(report.findings[0].evidence)


def test_a_shared_text_carries_the_machine(tmp_path: Path) -> None:
    report = real()
    file = tmp_path / "share.md"
    quoted = "".join(f"> {line}\n" for line in as_share(report).splitlines())
    file.write_text(quoted, encoding="utf-8")
    machine = shared_machine(str(file))
    assert machine == report.machine


def test_a_damaged_share_says_so(tmp_path: Path) -> None:
    file = tmp_path / "share.md"
    text = as_share(real())
    cut = re.sub(r"(envcheck-machine-begin\n.{40}).*?(\nenvcheck-machine-end)", r"\1\2", text, flags=re.DOTALL)
    file.write_text(cut, encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        shared_machine(str(file))
    file.write_text("nothing", encoding="utf-8")
    assert shared_machine(str(file)) is None
    with pytest.raises(InputError, match="cannot read"):
        shared_machine(str(tmp_path / "absent"))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_a_long_command_is_broken_so_that_the_shell_joins_it(width: int) -> None:
    argv = ("uv", "pip", "install", "--python", "/home/user/a b/.venv/bin/python", "torch==2.6.0+cu124", "numpy<2")
    argv += ("--index-url", "https://download.pytorch.org/whl/cu124")
    step = Step(id="x", title="x", argv=argv)
    finding = Finding(code="x", status="fail", severity="error", summary="s", why="", evidence=(), fix=(step,), docs="")
    for platform, mark in (("linux", " \\"), ("windows", " `")):
        machine = Machine(os=OS(platform=platform))
        report = Report(verdict="broken", machine=machine, findings=(finding,), results=())
        lines = as_text(report, width=width).split("  fix:\n")[1].splitlines()[1:]
        longest = max(len(word) for word in argv) + 10
        assert all(len(line) <= max(width, longest) for line in lines)
        assert all(line.endswith(mark) for line in lines[:-1])
        joined = " ".join(line.removesuffix(mark).strip() for line in lines)
        assert joined == command(step, machine)
        if platform == "linux":
            told = subprocess.run(
                ["sh", "-c", "\n".join(["printf '%s\\n' \\", *lines])], capture_output=True, text=True
            )
            assert tuple(told.stdout.splitlines()) == argv
