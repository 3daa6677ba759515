"""The guide and the Chinese pages say what the code says."""

from __future__ import annotations

import json
import re
import shlex
import statistics
import sys
from pathlib import Path

import pytest

from envcheck.cli import main

sys.path.insert(0, str(Path(__file__).parent))

from test_advise_points import BOUNDS, POINTS, errors

ROOT = Path(__file__).resolve().parent.parent
GUIDES = [ROOT / "docs" / "gpu-guide.md", ROOT / "docs" / "gpu-guide.zh-CN.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """Every command of a page's code blocks, without comments and output."""
    found = []
    for language, text in BLOCK.findall(path.read_text(encoding="utf-8")):
        for line in text.splitlines():
            command = line[2:] if line.startswith("$ ") else line if language == "bash" else ""
            command = re.sub(r"\s+#.*$", "", command).strip()
            if command:
                found.append(command)
    return found


def test_the_chinese_readme_has_the_same_commands() -> None:
    english = commands(ROOT / "README.md")
    assert english
    assert commands(ROOT / "README.zh-CN.md") == english


def test_the_chinese_readme_has_the_same_sections_and_codes() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")]
    assert len({len(re.findall(r"^#+ ", p, re.MULTILINE)) for p in pages}) == 1
    assert len({tuple(re.findall(r"^\| (\d+) \|", p, re.MULTILINE)) for p in pages}) == 1


def test_both_guides_have_the_same_commands_tables_and_figures() -> None:
    english, chinese = (p.read_text(encoding="utf-8") for p in GUIDES)
    assert commands(GUIDES[0]) == commands(GUIDES[1])
    assert re.findall(r"`envcheck [^`]*`", english) == re.findall(r"`envcheck [^`]*`", chinese)
    assert english.count("\n|") == chinese.count("\n|")
    assert BLOCK.findall(english) == BLOCK.findall(chinese)


CLAIMS = ROOT.parent / "shared" / "facts" / "data" / "article_claims.json"
ANSWERS = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


@pytest.mark.parametrize("path", GUIDES, ids=lambda p: p.name)
def test_every_claim_of_the_articles_is_answered_with_a_source(path: Path) -> None:
    rows = ANSWERS.findall(path.read_text(encoding="utf-8"))
    assert [int(number) for number, *_ in rows] == list(range(1, 39))
    without = [int(number) for number, _, _, source in rows if source == "-"]
    assert without == [14, 36, 37]  # the article gives none, and there is none to give


@pytest.mark.skipif(not CLAIMS.exists(), reason="the collected claims lie beside the repository alone")
def test_the_answers_are_to_the_claims_that_were_collected() -> None:
    claims = json.loads(CLAIMS.read_text(encoding="utf-8"))["claims"]
    rows = ANSWERS.findall(GUIDES[1].read_text(encoding="utf-8"))
    assert len(claims) == len(rows)
    for claim, (number, said, _, _) in zip(claims, rows, strict=True):
        known = {"10": "BERT loss", "12": "classification_report", "37": "论文"}.get(number)
        words = [w for w in re.split(r"[^\w.]+|[，、：…]", said) if len(w) >= 3]
        assert known or any(word in claim["quote"] for word in words), (claim["quote"], said)


SHOWN = [text for language, text in BLOCK.findall(GUIDES[0].read_text(encoding="utf-8")) if text.startswith("$ ")]


@pytest.mark.parametrize("text", SHOWN, ids=lambda t: t.splitlines()[0][2:50])
def test_the_guide_shows_real_output(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    line, *shown = text.splitlines()
    assert main(shlex.split(line[2:])[1:]) in (0, 1)
    printed = capsys.readouterr().out.rstrip("\n").splitlines()
    if shown[-1] == "...":
        shown.pop()
        printed = printed[: len(shown)]
    assert printed == shown


@pytest.mark.parametrize("path", GUIDES, ids=lambda p: p.name)
def test_the_commands_in_the_text_parse(path: Path) -> None:
    """Each inline example runs up to its answer: a wrong option or name would exit 2."""
    for quoted in re.findall(r"`(envcheck [^`]* --[^`]*)`", path.read_text(encoding="utf-8")):
        if "--here" not in quoted:
            assert main(shlex.split(quoted)[1:]) in (0, 1), quoted


@pytest.mark.parametrize("path", GUIDES, ids=lambda p: p.name)
def test_the_accuracy_table_is_what_the_points_give(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| (\d+) \| ([\d.]+) % \| ([\d.]+) % \|$", text, re.MULTILINE)
    real = set()
    for group in BOUNDS:
        off = [abs(e) * 100 for e in errors(group)]
        real.add((str(len(off)), f"{statistics.median(off):.1f}", f"{max(off):.1f}"))
    assert set(rows) == real
    assert str(len(POINTS)) in text
