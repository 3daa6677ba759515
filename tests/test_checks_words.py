"""The index of words against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from envcheck.checks.words import MOST, Words

TEXTS = st.lists(
    st.sampled_from(["cuda", "cudart", "lib", "libcudart.so", "aa", "aaa", "é", " ", "\n", "\t"]), max_size=80
)


def plainly(text: str, part: str) -> list[int]:
    out, at = [], text.find(part)
    while at >= 0:
        out.append(at)
        at = text.find(part, at + len(part))
    return out


@given(TEXTS.map("".join), st.sampled_from(["cuda", "lib", "libcuda", "aa", "so", "nowhere", "cuda lib", "a\na"]))
def test_a_word_stands_where_a_search_finds_it(text: str, part: str) -> None:
    at = plainly(text, part)
    assert list(Words(text).places(part)) == (at if len(at) <= MOST else at[: MOST // 2] + at[-MOST // 2 :])


def test_of_many_places_the_first_and_the_last_are_told() -> None:
    text = "".join(f"{i % 7}cuda{i % 11}\n" for i in range(1000))
    found = Words(text).places("cuda")
    at = plainly(text, "cuda")
    assert len(found) == MOST
    assert list(found) == at[: MOST // 2] + at[-MOST // 2 :]
