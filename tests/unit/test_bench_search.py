"""The application's own search finds what RapidFuzz finds, however little of it is looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz, process

from bench.search_operations import FOUND_MAX, SCORE_MIN, compared, held, text_of

WORDS = st.sampled_from(
    ["test", "tes", "TEST", "deadlock", "dead lock", "lock", "failed because", "x", "ß", ""]
)
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
ROWS = st.lists(st.tuples(st.just(1), WORDS, TEXTS, st.none() | st.just({"a": "test", "b": 7})), max_size=40)


@given(needle=WORDS.filter(bool).map(str.lower), rows=ROWS)
def test_it_finds_what_rapidfuzz_finds_in_all_of_it(needle: str, rows: list[tuple[object, ...]]) -> None:
    texts = [text_of(row) for row in rows]
    whole = process.extract(needle, texts, scorer=fuzz.partial_ratio, score_cutoff=SCORE_MIN, limit=FOUND_MAX)

    assert compared(needle, texts) == whole


def test_ten_that_hold_it_whole_are_enough_and_no_more_is_looked_at() -> None:
    looked_at: list[int] = []

    def texts() -> object:
        for number in range(1_000):
            looked_at.append(number)
            yield "a deadlock" if number % 2 else "nothing of the kind"

    assert [place for _, _, place in held("deadlock", texts())] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert len(looked_at) == 20
