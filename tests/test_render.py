"""Plans as JSON, text, Dockerfile and PowerShell; and what no rendering may do with a user's words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.plans import META, covered, plan_of, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envcheck.errors import UsageError
from envcheck.model import OS, Alternative, Machine, Plan, Request, Step
from envcheck.render import FORMATS, Meta, render
from envcheck.render.quoting import bash, comment, powershell, shown

SHELLCHECK = shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
BASH = shutil.which("bash")

# What breaks out of quotes, ends lines, hides, or is an option; and anything else.
NASTY = ["'", '"', "$(touch pwned)", "`touch pwned`", "\n", "\r", "\\", ";", "&", "|", "-", "--yes", "~", "!", "#", "é"]
NASTY += [
    "\u2028",
    "\u202e",
    "\u2019",
    "\u201c",
    "\x1b]0;x\x07",
    "日本",
    "😀",
    " ",
    "*",
    "${IFS}",
    "%",
    "EC_END_OF_FILE\n",
]
words = st.lists(st.sampled_from(NASTY) | st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(
    "".join
)


def pip_plan(**changes: Any) -> Plan:
    torch = Step(
        id="torch",
        title="install torch",
        argv=(
            ".venv/bin/python",
            "-m",
            "pip",
            "install",
            "torch==2.0.1+cu118",
            "numpy<2",
            "--index-url",
            "https://x/whl",
        ),
        check=("ec_have", ".venv/bin/python", "torch==2.0.1+cu118"),
        why="it was asked for",
    )
    system = Step(id="s", title="refresh", argv=("apt-get", "update"), stage="system", root=True, reboot=True)
    hand = Step(id="h", title="do it", argv=(), stage="system", why="by you")
    return plan_of(system, hand, torch, gpus=covered("NVIDIA GeForce RTX 3090"), **changes)


# --- quoting ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words, min_size=1, max_size=30))
def test_bash_gives_back_every_word(many: list[str]) -> None:
    script = "printf '%s\\0' " + " ".join(bash(w) for w in many)
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=30, check=True)
    assert done.stdout.split(b"\0")[:-1] == [w.encode() for w in many]


@given(words)
def test_powershell_literals_are_ascii_and_give_back_the_word(word: str) -> None:
    literal = powershell(word)
    assert literal.isascii()
    assert _powershell_value(literal) == word


def _powershell_value(literal: str) -> str:
    """What PowerShell reads: single-quoted strings with doubled quotes and [char]0x.... joined by +."""
    units: list[int] = []
    rest = literal.removeprefix("(").removesuffix(")") if literal.startswith("(") else literal
    while rest:
        if rest.startswith("'"):
            text, at = "", 1
            while True:
                end = rest.index("'", at)
                text += rest[at:end]
                if rest[end + 1 : end + 2] != "'":
                    break
                text, at = text + "'", end + 2
            units += list(text.encode("utf-16-be"))
            rest = rest[end + 1 :]
        else:
            assert rest.startswith("[char]0x")
            units += list(bytes.fromhex(rest[8:12]))
            rest = rest[12:]
        rest = rest.removeprefix(" + ")
    return bytes(units).decode("utf-16-be")


@given(words)
def test_comments_and_messages_stay_one_visible_line(text: str) -> None:
    assert comment(text).isascii()
    assert comment(text).isprintable()
    assert len(shown(text).splitlines()) <= 1
    assert "\x1b" not in shown(text)
    assert "\u202e" not in shown(text)


@pytest.mark.parametrize("word", ["a\0b", "a\udc80b"])
def test_what_no_argv_can_hold_is_refused(word: str) -> None:
    for quote in (bash, powershell):
        with pytest.raises(UsageError, match="no command line can carry"):
            quote(word)


# --- scripts with hostile words in every place -----------------------------------------------------------------


def hostile(word: str, platform: str = "linux") -> Plan:
    """A plan in which everything that a user or a machine can name is ``word``."""
    text = word or "x"
    steps = (
        Step(id="fill-a", title=text, why=text, argv=("printf", "%s\\0", text, "end"), check=("test", "-e", text)),
        Step(
            id="b",
            title=text,
            argv=("ec_write_file", "./" + text.replace("/", "_"), text),
            undo=("ec_remove_created", text),
        ),
        Step(id="c", title=text, argv=("true", text), check=("ec_have", text, text), undo=("rm", "-f", "--", text)),
        Step(id="s", title=text, argv=(), why=text, stage="system", check=("ec_file_exists", text)),
        Step(id="verify", title=text, argv=("ec_verify", "gpu", text), stage="verify"),
    )
    machine = Machine(os=OS(id=text, version=text, arch=text, platform=platform))
    return plan_of(*steps, machine=machine, companions={text: text}, gpus=covered(text), request=Request(venv=text))


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
@settings(max_examples=5, deadline=None)
@given(words)
def test_scripts_are_shellcheck_clean_whatever_is_in_them(word: str) -> None:
    script = render(hostile(word), "script", meta=Meta(envcheck_version=word, matrix_version=word, command=word))
    done = subprocess.run([str(SHELLCHECK), "-"], input=script.encode(), capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[:3000]


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
def test_the_known_offenders_are_shellcheck_clean_together() -> None:
    plans = [hostile(word) for word in NASTY]
    steps = tuple(step for plan in plans for step in plan.steps)
    script = render(plan_of(*steps), "script", meta=META)
    done = subprocess.run([str(SHELLCHECK), "-"], input=script.encode(), capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[:3000]


@pytest.mark.skipif(BASH is None or not sys.platform.startswith("linux"), reason="bash on Linux")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=words)
def test_no_word_runs_a_command(word: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("hostile")
    script = render(hostile(word), "script", meta=Meta(envcheck_version=word, matrix_version=word, command=word))
    (home / "install.sh").write_text(script, encoding="utf-8")
    work = home / "work"
    work.mkdir()
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", str(home / "install.sh"), "--dry-run"], cwd=work, env=env, capture_output=True, timeout=60, check=False
    )
    assert b"syntax error" not in done.stderr
    assert list(work.iterdir()) == []
    assert list(home.rglob("pwned")) == []
    assert b"\x1b" not in done.stderr


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize("word", NASTY)
def test_words_arrive_whole(word: str, tmp_path: Path) -> None:
    out = Step(id="o", title="o", argv=("sh", "-c", 'printf "%s|" "$@" > out', "sh", word, "end"))
    script = render(plan_of(out), "script", meta=META, sysroot=str(tmp_path / "none"))
    (tmp_path / "install.sh").write_text(script, encoding="utf-8")
    env = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)}
    command = ["bash", "install.sh", "--stage", "user"]
    subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=60, check=True)
    assert (tmp_path / "out").read_bytes().decode() == f"{word}|end|"


def parse_powershell(script: str) -> Any:
    language = pytest.importorskip("tree_sitter_powershell", reason="no PowerShell parser is installed")
    tree_sitter = pytest.importorskip("tree_sitter")
    parser = tree_sitter.Parser(tree_sitter.Language(language.language()))
    return parser.parse(script.encode()).root_node


@pytest.mark.parametrize("word", NASTY)
def test_powershell_parses_with_any_word(word: str) -> None:
    script = render(hostile(word, "windows"), "powershell", meta=Meta(envcheck_version=word, matrix_version=word))
    assert script.isascii()
    assert not parse_powershell(script).has_error
    quoted = r"'(?:[^']|'')*'"
    word_ = rf"(?:{quoted}|\((?:{quoted}|\[char\]0x[0-9a-f]{{4}})(?: \+ (?:{quoted}|\[char\]0x[0-9a-f]{{4}}))*\))"
    value = rf"(?:{word_}|@\((?:{word_}(?:, {word_})*)?\)|\$true|\$false)"
    own = script[script.index("$EcPlan = @{") :]
    step = rf"  @\{{\n(?:    \w+ = {value}\n)+  \}},?\n"
    plan = rf"\$EcPlan = @\{{\n(?:  \w+ = {value}\n)+\}}\n"
    assert re.fullmatch(rf"{plan}\n\$EcSteps = @\(\n(?:{step})+\)\n\nInvoke-EcMain\n", own)


def test_powershell_checks_every_exit_code_and_downloads_no_driver() -> None:
    script = render(pip_plan(), "powershell", meta=META)
    assert "$ErrorActionPreference = 'Stop'" in script
    assert "param([switch]$Yes, [switch]$DryRun, [string]$Stage = 'all')" in script
    assert "$LASTEXITCODE" in script
    for word in ("Invoke-WebRequest", "Invoke-Expression", "iex ", "DownloadFile", "Restart-Computer"):
        assert word not in script
    assert not parse_powershell(script).has_error


# --- json, text, dockerfile ------------------------------------------------------------------------------------


KEYS = ["schema", "satisfiable", "request", "machine", "torch", "companions", "constraints", "python", "driver", "gpus"]
KEYS += ["steps", "reasons", "rejected", "warnings"]


@pytest.mark.parametrize("plan", [pip_plan(), refused()], ids=["plan", "refusal"])
def test_json_has_the_keys_of_the_contract(plan: Plan) -> None:
    found = json.loads(render(plan, "json", meta=META))
    assert next(iter(found)) == "schema"
    assert found["schema"] == "envcheck.plan/1"
    assert set(KEYS) | {"alternatives", "conflicts"} <= set(found)
    assert {"torch", "cuda", "manager"} <= set(found["request"])
    if not plan.satisfiable:
        assert found["torch"] is None
        assert found["conflicts"] == ["there is no torch 9.9"]
        return
    assert set(found["torch"]) >= {"version", "cuda", "tag", "cudnn", "nccl", "triton", "index_url", "archs", "channel"}
    assert found["driver"]["minimum"] == {"toolkit_exact": None, "minor_version": "450.80.02"}
    assert set(found["steps"][0]) >= {"id", "title", "why", "argv", "root", "reboot", "check", "undo", "source"}
    assert found["steps"][1]["argv"] == []


def test_a_refusal_says_nothing_but_json_and_the_stubs() -> None:
    assert [fmt for fmt in FORMATS if render(refused(), fmt, meta=META)] == ["script", "powershell", "json"]
    for fmt in ("script", "powershell"):
        text = render(refused(), fmt, meta=META)
        assert "no plan" in text
        assert "exit 1" in text
        assert "9.9" not in text


def test_text_tells_what_why_and_the_commands() -> None:
    plan = pip_plan(warnings=("w " * 60,), alternatives=(Alternative(change="--torch 2.7", gives="2.7.1+cu128"),))
    text = render(plan, "text", meta=META, width=60)
    assert "torch 2.0.1 (cu118), torchvision 0.15.2\n" in text
    assert "     $ sudo apt-get update\n     then reboot and run the script again\n" in text
    assert "     by hand: by you\n" in text
    assert "     $ .venv/bin/python -m pip install 'torch==2.0.1+cu118' 'numpy<2' --index-url https://x/whl\n" in text
    assert "--torch 2.7 gives 2.7.1+cu128" in text
    assert all(len(line) <= 60 for line in text.splitlines() if "$ " not in line)


def test_dockerfile_is_slim_in_json_form_and_without_a_driver() -> None:
    plan = pip_plan()
    text = render(plan, "dockerfile", meta=META)
    lines = text.splitlines()
    assert f"FROM python:{sys.version_info[0]}.{sys.version_info[1]}-slim" in lines
    assert "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility" in lines
    (run,) = [line for line in lines if line.startswith("RUN ")]
    assert json.loads(run[4:])[-4:] == ["torch==2.0.1+cu118", "numpy<2", "--index-url", "https://x/whl"]
    assert "--gpus all" in text
    assert "nvidia-driver" not in text
    assert "ENV NVIDIA" not in render(pip_plan(torch=plan_of(cpu=True).torch), "dockerfile", meta=META)


def test_dockerfile_of_uv_and_conda() -> None:
    uv = Step(id="torch", title="t", argv=("uv", "pip", "install", "--python", ".venv/bin/python", "torch==2.0.1"))
    text = render(plan_of(uv, request=Request(manager="uv")), "dockerfile", meta=META)
    assert '"install", "--no-cache-dir", "torch==2.0.1"]' in text
    conda = Step(
        id="torch",
        title="t",
        argv=(
            "env",
            "CONDA_OVERRIDE_CUDA=12.9",
            "conda",
            "install",
            "-y",
            "-n",
            "my env",
            "pytorch-gpu=2.13.0",
            "-c",
            "conda-forge",
        ),
    )
    text = render(plan_of(conda, request=Request(manager="conda")), "dockerfile", meta=META)
    assert "FROM condaforge/miniforge3" in text
    assert '["env", "CONDA_OVERRIDE_CUDA=12.9", "conda", "install", "-y", "-n", "base", "python=' in text
    assert "my env" not in text


@pytest.mark.parametrize("change", [{"manager": "poetry"}, {"manager": "pixi"}, {"offline": "w"}, {"hashes": True}])
def test_a_dockerfile_that_cannot_be_is_a_usage_error(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--format dockerfile"):
        render(pip_plan(request=Request(**change)), "dockerfile", meta=META)


@pytest.mark.parametrize("word", NASTY)
def test_dockerfile_lines_hold_any_word(word: str) -> None:
    step = Step(id="torch", title="t", argv=("p", "-m", "pip", "install", "torch==2.0.1", "--index-url", word))
    text = render(plan_of(step), "dockerfile", meta=Meta(envcheck_version=word, matrix_version=word))
    (run,) = [line for line in text.splitlines() if line.startswith("RUN ")]
    assert json.loads(run[4:])[-1] == word
    assert all(line.split(" ")[0] in ("#", "FROM", "ENV", "RUN", "CMD") for line in text.splitlines())


def test_an_unknown_format_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not known"):
        render(pip_plan(), "perl", meta=META)
