"""A profile counts what is really there, whichever batches it came in, and names examples by their key."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration.model import ARROW_TYPES, STORAGE, Column, ColumnProfile, Kind, ScanColumn
from migration.profile import EXAMPLES, INFINITE_DIGITS, Profiler, holds_all, ladder

NAMES = {int: "integer", float: "real", str: "text", bytes: "blob"}


def stored(values: Sequence[Any]) -> pa.Array:
    rows = [None if value is None else {NAMES[type(value)]: value} for value in values]
    return pa.array(rows, STORAGE)


def profile_of(
    array: pa.Array, own: Kind, kind: Kind, target: Column | None = None, sizes: Sequence[int] = ()
) -> ColumnProfile:
    """Profile one column that comes in batches of these sizes."""
    profiler = Profiler([ScanColumn(Column("c", own), kind)], [own], [], [target])
    batch = pa.RecordBatch.from_arrays([array], names=["0"])
    start = 0
    for size in [*sizes, len(array)]:
        profiler.add(batch.slice(start, size))
        start = min(start + size, len(array))
    assert profiler.row_count == len(array)
    return profiler.finish()["c"]


# --- counts -----------------------------------------------------------------------------------------


def test_classes_and_forms_are_counted() -> None:
    found = profile_of(stored([1, 1.5, "x", b"x", None, 2]), Kind.ANY, Kind.DECIMAL)
    assert found.storage == {"integer": 2, "real": 1, "text": 1, "blob": 1, "null": 1}
    assert found.null_count == 1
    assert (found.failed_count, found.failed_examples) == (2, ("row 3: 'x'", "row 4: x'78'"))
    assert (found.smallest, found.largest) == (1, 2)


def test_changed_and_rounded_values_are_counted_apart() -> None:
    assert profile_of(stored([1, "a"]), Kind.ANY, Kind.TEXT).changed_count == 1
    found = profile_of(stored(["2024-01-01 00:00:00.1234567"]), Kind.ANY, Kind.INSTANT)
    assert (found.rounded_count, found.rounded_examples) == (1, ("row 1: '2024-01-01 00:00:00.1234567'",))
    assert found.forms == {"text without zone, read as UTC": 1}


def test_examples_are_few_and_counts_exact() -> None:
    found = profile_of(stored(["x"] * 100), Kind.ANY, Kind.INTEGER, sizes=[3])
    assert found.failed_count == 100
    assert found.failed_examples == tuple(f"row {number}: 'x'" for number in range(1, EXAMPLES + 1))


def test_an_example_is_named_by_its_key() -> None:
    profiler = Profiler(
        [ScanColumn(Column("age", Kind.INTEGER), Kind.INTEGER)],
        [Kind.ANY, Kind.ANY, Kind.ANY],
        [(1, "id"), (2, "part")],
        [None],
    )
    arrays = [pa.array(["lots"]), pa.array([7]), pa.array(["a"])]
    profiler.add(pa.RecordBatch.from_arrays(arrays, names=["0", "1", "2"]))
    assert profiler.finish()["age"].failed_examples == ("id=7, part='a': 'lots'",)


def test_text_is_measured_in_characters_and_in_bytes() -> None:
    found = profile_of(pa.array(["é", "abc", "日本", None]), Kind.TEXT, Kind.TEXT)
    assert (found.longest_characters, found.longest_bytes) == (3, 6)
    assert profile_of(stored([b"12345", b"1"]), Kind.ANY, Kind.BYTES).longest_bytes == 5
    assert profile_of(pa.array([5]), Kind.INTEGER, Kind.INTEGER).longest_bytes == 0
    as_text = profile_of(stored([12345, "ab"]), Kind.ANY, Kind.TEXT)
    assert (as_text.longest_characters, as_text.longest_bytes) == (5, 5)


def test_nul_and_broken_text_are_counted_with_examples() -> None:
    raw = pa.array([b"a\0b", b"\xff", b"fine", None], pa.binary())
    array = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    found = profile_of(array, Kind.ANY, Kind.TEXT)
    assert (found.nul_count, found.nul_examples) == (1, ("row 1: 'a\\x00b'",))
    assert (found.invalid_text_count, found.invalid_text_examples) == (1, ("row 2: x'ff'",))
    assert (found.longest_characters, found.longest_bytes) == (4, 4)
    failed = profile_of(array, Kind.ANY, Kind.INTEGER)
    assert (failed.longest_characters, failed.longest_bytes) == (0, 4), (
        "broken text has no characters to count"
    )
    assert profile_of(array, Kind.ANY, Kind.JSON).nul_count == 1


def test_a_nul_and_a_repeated_key_are_seen_in_json() -> None:
    texts = ['{"a":1,"a":2}', '"\\u0000"', "{\\u0000", "1"]
    found = profile_of(pa.array(texts), Kind.ANY, Kind.JSON)
    assert (found.repeated_key_count, found.nul_count, found.failed_count) == (1, 2, 1)
    assert profile_of(pa.array(texts[:1]), Kind.ANY, Kind.TEXT).repeated_key_count == 0


def test_values_too_large_for_the_column_they_go_into_are_counted() -> None:
    found = profile_of(stored([1, 300, None]), Kind.ANY, Kind.INTEGER, Column("c", Kind.INTEGER, bits=8))
    assert (found.unfit_count, found.unfit_examples) == (1, ("row 2: 300",))


def test_not_a_number_is_counted_and_does_not_hide_the_range() -> None:
    found = profile_of(pa.array([math.nan, 1.0, 3.0, None]), Kind.FLOAT, Kind.FLOAT)
    assert (found.nan_count, found.smallest, found.largest) == (1, 1.0, 3.0)


@pytest.mark.parametrize(
    ("decimals", "digits"),
    [
        (["1.5", "-123.4", None], (3, 1)),
        (["0.25", "-0.5"], (0, 2)),
        (["0", "0.0"], (0, 0)),
        (["1e3"], (4, 0)),
        (["100.00"], (3, 0)),
        (["NaN", "1.5"], (1, 1)),
        (["-Infinity", "1.5"], (INFINITE_DIGITS, 0)),
        ([None], (0, 0)),
        ([], (0, 0)),
    ],
)
def test_the_digits_of_decimals_are_counted(decimals: list[str | None], digits: tuple[int, int]) -> None:
    found = profile_of(pa.array(decimals, pa.string()), Kind.DECIMAL, Kind.DECIMAL)
    assert (found.integer_digits, found.fraction_digits) == digits


def test_days_and_nothing_at_all_have_a_profile_too() -> None:
    assert profile_of(pa.array([dt.date(2024, 1, 1)]), Kind.DATE, Kind.DATE).storage == {"date32[day]": 1}
    for kind in Kind:
        empty = profile_of(pa.array([], ARROW_TYPES[kind]), kind, kind)
        assert empty == ColumnProfile(kind)


VALUES = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
)


@given(
    st.lists(VALUES, max_size=12),
    st.sampled_from(list(Kind)),
    st.lists(st.integers(0, 5), max_size=4),
)
@settings(max_examples=300)
def test_batches_do_not_matter(values: list[Any], kind: Kind, sizes: list[int]) -> None:
    whole = profile_of(stored(values), Kind.ANY, kind)
    assert profile_of(stored(values), Kind.ANY, kind, sizes=sizes) == whole
    assert sum(whole.storage.values()) == len(values)
    assert whole.failed_count + whole.changed_count <= len(values) - whole.null_count


# --- ladders ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.value)
def test_every_ladder_begins_with_what_was_declared_and_ends_with_what_holds_anything(kind: Kind) -> None:
    steps = ladder(kind)
    assert kind is Kind.ANY or steps[0] is kind
    assert Kind.ANY not in steps
    assert len(set(steps)) == len(steps)
    assert {Kind.TEXT, Kind.BYTES} <= set(steps)


def chosen(values: Sequence[Any], kind: Kind) -> Kind | None:
    """Return the first kind on the ladder that holds all of it."""
    profiles = (profile_of(stored(values), Kind.ANY, step) for step in ladder(kind))
    return next((profile.kind for profile in profiles if holds_all(profile)), None)


@pytest.mark.parametrize(
    ("values", "declared", "kind"),
    [
        ([0, 1], Kind.BOOLEAN, Kind.BOOLEAN),
        ([0, 1, 2], Kind.BOOLEAN, Kind.INTEGER),
        ([1, 2], Kind.INTEGER, Kind.INTEGER),
        ([1, 1.5], Kind.INTEGER, Kind.DECIMAL),
        ([1, "lots"], Kind.INTEGER, None),
        (["lots"], Kind.INTEGER, Kind.TEXT),
        ([1.5, 2**63 - 1], Kind.FLOAT, Kind.DECIMAL),
        ([b"x"], Kind.TEXT, Kind.BYTES),
        (["x"], Kind.BYTES, Kind.TEXT),
        (["x", b"x"], Kind.TEXT, None),
        (["2024-01-01", "2024-01-01 12:00"], Kind.DATE, Kind.TIMESTAMP),
        (["2024-01-01 12:00", "2024-01-01 12:00Z"], Kind.TIMESTAMP, Kind.INSTANT),
        ([1_700_000_000], Kind.TIMESTAMP, Kind.INSTANT),
        (["12:00"], Kind.TIME, Kind.TIME),
        (["{}", "["], Kind.JSON, Kind.TEXT),
        ([1, 2.5], Kind.ANY, Kind.FLOAT),
        ([-0.0], Kind.INTEGER, Kind.FLOAT),
        (["007", "12"], Kind.ANY, Kind.TEXT),
        (["007"], Kind.DECIMAL, Kind.TEXT),
    ],
)
def test_a_column_becomes_the_first_kind_that_changes_nothing(
    values: list[Any], declared: Kind, kind: Kind | None
) -> None:
    assert chosen(values, declared) is kind
