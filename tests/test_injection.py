"""No argument injects a command: each option x hostile text, the script parsed, linted and run as a dry run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from envcheck.cli import main

ROOT = Path(__file__).resolve().parent.parent
SHELLCHECK = Path(sys.executable).with_name("shellcheck")
PAYLOADS = {
    "quote": "a'; touch PWNED; echo '",
    "double": 'a"; touch PWNED; echo "',
    "substitution": "$(touch PWNED)",
    "backticks": "`touch PWNED`",
    "newline": "a\ntouch PWNED\n",
    "carriage": "a\rtouch PWNED",
    "unicode": "a\u2019; touch PWNED \u2028 \u202e",
    "semicolon": "a; touch PWNED",
    "dash": "--version",
    "brace": "${IFS}touch${IFS}PWNED",
    "redirect": "a > PWNED",
    "percent": "%s%n",
    "glob": "*",
}
OPTIONS = (
    "--venv",
    "--prefix",
    "--index-url",
    "--mirror",
    "--offline",
    "--torch",
    "--cuda",
    "--gpu",
    "--driver",
    "--python-version",
    "--arch",
    "--container",
    "--glibc",
    "--with",
    "--driver-branch",
)
BASE = {"--os": "debian-12", "--gpu": "RTX 3090", "--driver": "550.163.01", "--torch": "2.6"}


LINTED = ("quote", "substitution", "newline", "unicode")  # shellcheck takes seconds a script


def plan(option: str, value: str, fmt: str, capfd: pytest.CaptureFixture[str], manager: str = "pip") -> tuple[int, str]:
    """Exit code and stdout of the command, in this process."""
    words = {**BASE, option: value, "--format": fmt, "--manager": manager}
    code = main(["plan", *(f"{k}={v}" for k, v in words.items())])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    return code, out


@pytest.mark.parametrize("option", OPTIONS)
def test_no_option_injects_a_command(option: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = 0
    for name, payload in PAYLOADS.items():
        values = [payload]
        if option in ("--index-url", "--mirror"):
            values.append(f"https://example.org/{payload}/cu126")
        for value in values:
            manager = "conda" if option == "--prefix" else "pip"
            code, out = plan(option, value, "script", capfd, manager)
            assert code in (0, 1, 2, 3)
            if code != 0:
                assert code == 1 or out == ""
                continue
            made += 1
            _harmless(out, tmp_path, lint=name in LINTED)
    assert not (tmp_path / "PWNED").exists()
    if option in ("--venv", "--prefix", "--offline"):
        assert made > 0  # a strange path is a path: quoted, not refused


def _harmless(script: str, cwd: Path, *, lint: bool) -> None:
    """bash parses it, shellcheck has nothing to say, and a dry run touches nothing."""
    file = cwd.parent / f"{cwd.name}.sh"
    file.write_bytes(script.encode("utf-8", "surrogateescape"))
    subprocess.run(["bash", "-n", file], check=True, timeout=30)
    if lint and SHELLCHECK.exists():
        found = subprocess.run([SHELLCHECK, file], capture_output=True, text=True, timeout=60, check=False)
        assert found.returncode == 0, found.stdout
    env = {**os.environ, "HOME": str(cwd)}
    done = subprocess.run(
        ["bash", file, "--yes", "--dry-run"], cwd=cwd, env=env, capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 10, 11), done.stderr
    assert list(cwd.iterdir()) == []


@pytest.mark.parametrize("fmt", ["requirements", "json", "text", "dockerfile", "powershell"])
@pytest.mark.parametrize("name", list(PAYLOADS))
def test_other_formats_survive_the_same_texts(fmt: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    code, out = plan("--venv", PAYLOADS[name], fmt, capfd)
    assert code in (0, 2)
    if fmt == "dockerfile":
        assert "\ntouch PWNED" not in out
