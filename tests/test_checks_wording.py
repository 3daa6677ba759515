"""Guesses by wording: what they may name, what they may not, and that a long log costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learn_wording import examples

from envcheck import matrix as matrix_module
from envcheck.checks import run_checks
from envcheck.checks.base import Report
from envcheck.checks.run import CODES
from envcheck.checks.wording import HEALTHY, LEAST, MOST_TEXT, PLAIN, _model, likely, scores, tokens
from envcheck.detect.pasted import parse_report
from envcheck.identify import identify

MATRIX = matrix_module.load()
HERE = Path(__file__).parent


def asked(text: str) -> Report:
    return run_checks(identify(parse_report(text), MATRIX), MATRIX)


def test_every_cause_that_can_be_guessed_is_a_check() -> None:
    rarity, causes = _model()
    assert set(causes) - {HEALTHY} <= set(CODES) and HEALTHY in causes
    assert all(set(words) <= set(rarity) for _, words in causes.values())


def test_a_text_that_no_rule_knows_is_guessed_at_as_a_warning_only() -> None:
    """Prose without an error line: nobody can say, so the verdict stays as it was and the exit code is not 1."""
    report = asked("only one process may use the card at a time, the second waits for exclusive\n")
    assert report.findings[0].code == "gpu-exclusive-mode"
    assert {f.status for f in report.findings} == {"warn"}
    assert report.verdict == "undetermined"
    assert all(f.summary.startswith("perhaps: ") for f in report.findings)


def test_words_of_no_report_name_nothing() -> None:
    assert likely("", LEAST) == [] == likely("lorem ipsum dolor sit amet", LEAST)
    assert scores("zzqx") == []


@pytest.mark.parametrize("path", sorted((HERE / "hopper").glob("*-smi*")), ids=lambda p: p.name)
def test_what_a_sound_machine_prints_is_no_complaint(path: Path) -> None:
    assert likely(path.read_text(encoding="utf-8").lower(), PLAIN) == []


def test_a_plain_wording_is_asked_for_against_sound_facts() -> None:
    assert PLAIN > LEAST
    text = "secure boot mok enrolled key rejected module unsigned"
    assert set(likely(text, PLAIN)) <= set(likely(text, LEAST))


def test_scripts_without_spaces_are_read_by_pairs() -> None:
    assert {"显卡", "卡驱"} <= tokens("显卡驱动")
    assert {"cuda_error_no_device", "no", "device"} <= tokens("cuda_error_no_device")


def test_the_end_of_a_long_log_is_what_is_read() -> None:
    known = "the gpu has fallen off the bus xid 79"
    noise = "w" + "x " * MOST_TEXT
    assert scores(noise + known)[0][0] == scores(known)[0][0]
    assert scores(known + noise) == []


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_ranked_in_order(text: str) -> None:
    values = [score for _, score in scores(text.lower())]
    assert values == sorted(values, reverse=True)


def test_the_data_was_learned_from_what_stands_here_now() -> None:
    data = json.loads((HERE.parent / "envcheck" / "checks" / "wording.json").read_text(encoding="utf-8"))
    assert f"learned by tests/learn_wording.py from {len(examples())} labelled texts" in data["source"], "learn again"
