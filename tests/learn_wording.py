"""Learns envcheck/checks/wording.json from the labelled reports of tests/; run by hand, with scikit-learn at hand:

    pip install scikit-learn && python tests/learn_wording.py

The sets of ../shared are never learned from, so that they stay a fair test.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from envcheck.checks.symptoms import table
from envcheck.checks.wording import HEALTHY, SCALE, tokens

HERE = Path(__file__).parent
OUT = HERE.parent / "envcheck" / "checks" / "wording.json"
WORDS = 60  # per cause: more of them brought nothing on reports that were held back


def examples() -> list[tuple[str, str]]:
    """(cause, text): whole reports, sentences, and the words of the symptom rows."""
    reports = json.loads((HERE / "test_checks_reports.json").read_text(encoding="utf-8"))
    sentences = json.loads((HERE / "test_checks_sentences.json").read_text(encoding="utf-8"))
    out = [(x["cause"], x["report"]) for x in reports] + [(x["cause"], x["text"]) for x in sentences]
    out += [(row.code, re.sub(r"\\[a-zA-Z]|[^\w ]", " ", row.pattern)) for row in table()]
    out += [(HEALTHY, text) for text in sound_outputs()]
    return [(cause, text.lower()) for cause, text in out]


def sound_outputs() -> list[str]:
    """What sound machines print, whole and in parts: its words are no complaint."""
    texts = [
        path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((HERE / "hopper").iterdir())
        if path.is_file()
    ]
    elsewhere = json.loads((HERE / "test_pasted_elsewhere.json").read_text(encoding="utf-8"))
    texts += [x["text"] for x in elsewhere]
    return [part for text in texts for part in (text, text[: len(text) // 3], text[len(text) // 2 :])]


def _fit(rows: list[tuple[str, str]], vocabulary: list[str] | None) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    vectors = TfidfVectorizer(
        analyzer=lambda text: sorted(tokens(text)),
        binary=True,
        min_df=2 if vocabulary is None else 1,
        vocabulary=vocabulary,
    )
    matrix = vectors.fit_transform([text for _, text in rows])
    return vectors, LinearSVC(C=1, random_state=0).fit(matrix, [cause for cause, _ in rows])


def learned(rows: list[tuple[str, str]]) -> dict[str, Any]:
    """The data of wording.json: fitted twice, the second time on the words that the first one kept."""
    vectors, model = _fit(rows, None)
    kept = {word for weights in _strongest(vectors, model).values() for word in weights}
    vectors, model = _fit(rows, sorted(kept))
    strongest = _strongest(vectors, model)
    used = sorted({word for weights in strongest.values() for word in weights} | {*kept})
    rarity = dict(zip(vectors.get_feature_names_out(), vectors.idf_, strict=True))
    return {
        "note": "Weights in hundredths of a linear classifier over the words of a report; see wording.py.",
        "source": f"learned by tests/learn_wording.py from {len(rows)} labelled texts of tests/ and symptoms.json",
        "date": "2026-11-27",
        "rarity": {word: round(rarity[word] * SCALE) for word in used},
        "causes": {
            code: {"bias": round(float(bias) * SCALE), "words": strongest[code]}
            for code, bias in zip(model.classes_, model.intercept_, strict=True)
        },
    }


def _strongest(vectors: Any, model: Any) -> dict[str, dict[str, int]]:
    names = vectors.get_feature_names_out()
    out = {}
    for code, weights in zip(model.classes_, model.coef_, strict=True):
        order = sorted(range(len(names)), key=lambda i: -abs(weights[i]))[:WORDS]
        out[code] = {names[i]: value for i in sorted(order) if (value := round(float(weights[i]) * SCALE))}
    return out


def write(data: dict[str, Any]) -> None:
    """One line for each cause, and the rarities by their first letter: a change of the data can be read."""

    def one(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    letters: dict[str, dict[str, int]] = {}
    for word, value in data["rarity"].items():
        letters.setdefault(word[0] if word[0] < "\u3000" else "other", {})[word] = value
    rarity = ",\n".join(one(words)[1:-1] for words in letters.values())
    causes = ",\n".join(f"{one(code)}: {one(row)}" for code, row in data["causes"].items())
    head = ",\n".join(f"{one(key)}: {one(data[key])}" for key in ("note", "source", "date"))
    OUT.write_text(f'{{{head},\n"rarity": {{\n{rarity}}},\n"causes": {{\n{causes}}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    rows = examples()
    if HEALTHY not in {cause for cause, _ in rows}:
        sys.exit("learn_wording: no healthy report among the examples")
    write(learned(rows))
