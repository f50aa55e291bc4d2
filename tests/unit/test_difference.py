"""What differs is counted exactly, and nothing is proved that was not looked at."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration.difference import (
    CheckResult,
    Difference,
    Report,
    RowDifferences,
    TableComparison,
    match_rows,
)
from migration.digest import Digest

ONE, TWO = Digest(1, 11), Digest(1, 22)
EQUAL = TableComparison("users", ONE, ONE)
CHECK = CheckResult("row count", 1)


# --- rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "missing", "extra", "changed"),
    [
        ([], [], {}, {}, {}),
        ([(b"1", b"a")], [], {b"1": 1}, {}, {}),
        ([], [(b"1", b"a")], {}, {b"1": 1}, {}),
        ([(b"1", b"a")], [(b"1", b"a")], {}, {}, {}),
        ([(b"1", b"a")], [(b"1", b"b")], {}, {}, {b"1": 1}),
        ([(b"1", b"a")], [(b"2", b"a")], {b"1": 1}, {b"2": 1}, {}),
        ([(b"1", b"a")] * 3, [(b"1", b"a")] * 2, {b"1": 1}, {}, {}),
        ([(b"1", b"a")] * 2, [(b"1", b"a")] * 5, {}, {b"1": 3}, {}),
        ([(b"1", b"a")] * 3, [(b"1", b"b")], {b"1": 2}, {}, {b"1": 1}),
        ([(b"1", b"a"), (b"1", b"b")], [(b"1", b"b"), (b"1", b"c")], {}, {}, {b"1": 1}),
        ([(b"a", b"a")] * 2, [(b"b", b"b")] * 2, {b"a": 2}, {b"b": 2}, {}),
    ],
)
def test_rows_are_paired_one_for_one(
    source: list[tuple[bytes, bytes]],
    target: list[tuple[bytes, bytes]],
    missing: dict[bytes, int],
    extra: dict[bytes, int],
    changed: dict[bytes, int],
) -> None:
    expected = RowDifferences(Counter(missing), Counter(extra), Counter(changed))
    assert match_rows(source, target) == expected


ROWS = st.lists(st.tuples(st.sampled_from([b"1", b"2"]), st.sampled_from([b"a", b"b", b"c"])), max_size=8)


@given(ROWS, ROWS)
def test_the_counts_are_exact_for_any_two_tables(
    source: list[tuple[bytes, bytes]], target: list[tuple[bytes, bytes]]
) -> None:
    found = match_rows(iter(source), iter(target))
    assert (found.missing + found.extra + found.changed == Counter()) == (Counter(source) == Counter(target))
    for key in (b"1", b"2"):
        ours, theirs = ([row for row in rows if row[0] == key] for rows in (source, target))
        left, right = (Counter(ours) - Counter(theirs)).total(), (Counter(theirs) - Counter(ours)).total()
        assert found.changed[key] == min(left, right)
        assert found.missing[key] == left - found.changed[key]
        assert found.extra[key] == right - found.changed[key]
        assert len(theirs) - len(ours) == found.extra[key] - found.missing[key]


@given(ROWS, ROWS)
def test_what_is_missing_on_one_side_is_extra_on_the_other(
    source: list[tuple[bytes, bytes]], target: list[tuple[bytes, bytes]]
) -> None:
    there, back = match_rows(source, target), match_rows(target, source)
    assert (there.missing, there.extra, there.changed) == (back.extra, back.missing, back.changed)


# --- the report -------------------------------------------------------------------------------------


def test_all_read_and_all_equal_is_proved() -> None:
    report = Report(("users",), (EQUAL,), (CHECK,), left_out={"log": "the target keeps its own rows"})
    assert (report.complete, report.equal, report.proved, report.verdict) == (True, True, True, "proved")
    assert report.difference_count == 0
    assert report.differences == ()


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (Report(("users",)), "could not look"),
        (Report(("users", "log"), (EQUAL,)), "could not look"),
        (Report((), (EQUAL,)), "could not look"),
        (Report(("log",), (EQUAL,)), "could not look"),
        (Report(("users",), (EQUAL,), could_not_look=("the connection was lost",)), "could not look"),
        (Report(("users",), (TableComparison("users", ONE, TWO),)), "differs"),
        (Report(("users",), (TableComparison("users", ONE, Digest(2, 11)),)), "differs"),
        (Report(("users",), (TableComparison("users", Digest(), Digest(), is_there=False),)), "differs"),
        (Report(("users",), (EQUAL,), (CheckResult("foreign keys", 3, 1),)), "differs"),
        (Report(("users",), (TableComparison("users", ONE, TWO),), could_not_look=("gone",)), "differs"),
    ],
    ids=[
        "nothing was read",
        "a table was not read",
        "a table was read that was not planned",
        "another table was read",
        "a side could not be read to its end",
        "other rows",
        "the same sum of another number of rows",
        "an empty table that is not there",
        "a check found something",
        "both",
    ],
)
def test_anything_less_is_not_proved_and_is_called_by_its_name(report: Report, verdict: str) -> None:
    assert not report.proved
    assert report.verdict == verdict


def test_rows_in_a_file_and_rows_in_the_target_are_all_rows_but_nothing_is_proved() -> None:
    table = TableComparison("users", ONE + TWO, ONE, rejected=TWO)
    report = Report(("users", "notes"), (table, TableComparison("notes", ONE, ONE)), (CHECK,))
    assert (report.accounted, report.proved, report.verdict) == (True, False, "rejected 1")
    assert report.rejected_count == 1


@pytest.mark.parametrize(
    "table",
    [
        TableComparison("users", ONE + TWO, ONE + TWO, rejected=TWO),
        TableComparison("users", ONE + TWO, ONE),
        TableComparison("users", ONE, ONE, rejected=TWO),
    ],
)
def test_canary_a_row_that_is_in_neither_or_in_both_is_a_difference(table: TableComparison) -> None:
    assert Report(("users",), (table,), (CHECK,)).verdict == "differs"


def test_rows_in_a_file_do_not_hide_what_could_not_be_looked_at() -> None:
    table = TableComparison("users", ONE + TWO, ONE, rejected=TWO)
    report = Report(("users",), (table,), (CHECK,), could_not_look=("views: gone",))
    assert (report.accounted, report.verdict) == (False, "could not look")


def test_differences_are_counted_exactly_and_shown_checks_first() -> None:
    row, check = Difference("missing row", "users", "id=1"), Difference("default", "users", column="name")
    table = TableComparison(
        "users", ONE, TWO, missing_count=30, extra_count=4, changed_count=5, samples=(row,)
    )
    report = Report(("users",), (table,), (CheckResult("defaults", 2, 2, (check,)),))
    assert report.difference_count == 41
    assert report.differences == (check, row)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (Difference("missing row", "users", "id=1"), "missing row in users [id=1]"),
        (
            Difference("changed value", "users", "id=1", "name", "'a'", "'b'"),
            "changed value in users.name [id=1]: source 'a', target 'b'",
        ),
        (
            Difference("default", "users", column="name", source="'x'"),
            "default in users.name: source 'x', target nothing",
        ),
        (
            Difference("extra table", "log", target="3 rows"),
            "extra table in log: source nothing, target 3 rows",
        ),
    ],
)
def test_a_difference_says_where_and_what_in_one_line(difference: Difference, sentence: str) -> None:
    assert str(difference) == sentence
