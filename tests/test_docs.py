"""The docs say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
from docs_in_step import ROOT


def test_generated_pages_are_in_step() -> None:
    """In a process of its own: what other tests did to this one (width, environment) must not show in a page."""
    script = [sys.executable, str(Path(__file__).parent / "docs_in_step.py")]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_names_only_commands_that_exist() -> None:
    from envcheck.cli import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^(?:\.venv/bin/)?envcheck ([a-z]+)", readme, re.MULTILINE))
    assert named
    assert named <= set(COMMANDS)


def test_architecture_page_lists_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "envcheck"
    for path in package.iterdir():
        if path.name.startswith("_") or path.suffix not in ("", ".py"):
            continue
        if path.is_dir() and not any(path.glob("*.py")):
            continue
        assert path.stem in text, f"docs/architecture.md does not speak of {path.name}"


def test_the_readmes_refusal_is_what_the_command_prints(capfd: pytest.CaptureFixture[str]) -> None:
    import shlex

    from envcheck.cli import main

    block = re.search(r"```\n\$ envcheck (.*)\n((?:.*\n)+?)```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert block is not None
    assert main(["--help"]) == 0
    capfd.readouterr()
    assert main([*shlex.split(block[1]), "--color", "never"]) == 1
    printed = capfd.readouterr().err
    for line in block[2].splitlines():
        assert line in printed.splitlines()
