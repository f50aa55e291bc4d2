"""Equal sums mean equal rows: every row, every column, every duplicate, in any order and any batches.

The oracle compares Python tuples. The generated values are few and alike, so that equal multisets, and
rows that differ in as little as a shifted character, come up all the time.
"""

from __future__ import annotations

import datetime as dt
import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration import digest as digest_module
from migration.digest import Canonical, Digest, Stray, canonical, row_hashes
from migration.model import ARROW_TYPES, Kind

Row = tuple[Any, ...]

# Rows that are easily taken for one another: by separators, by lengths left out, by words for NULL.
CONFUSING: list[Row] = [
    ("x|y", "z"),
    ("x", "y|z"),
    ("xy", "z"),
    ("x", "yz"),
    (None, "x"),
    ("", "x"),
    ("None", "x"),
    ("x", None),
    ("x", ""),
]

FEW: dict[Kind, list[Any]] = {
    Kind.BOOLEAN: [True, False],
    Kind.INTEGER: [0, 1, -1, 2**63 - 1],
    Kind.DECIMAL: ["0.71", "0.7", "1"],
    Kind.FLOAT: [0.0, -0.0, 1.0, float("inf")],
    Kind.TEXT: ["", "x", "y", "x|y", "y|z", "z", "<null>", "x ", "\0"],
    Kind.BYTES: [b"", b"x", b"xy", b"y", b"\0"],
    Kind.DATE: [dt.date(2024, 1, 1), dt.date(1970, 1, 1)],
    Kind.TIME: [dt.time(0), dt.time(12, 0, 0, 1)],
    Kind.TIMESTAMP: [dt.datetime(2024, 1, 1), dt.datetime(1970, 1, 1)],  # noqa: DTZ001
    Kind.INSTANT: [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(1970, 1, 1, tzinfo=dt.UTC)],
    Kind.JSON: ['{"a":1}', '{"a":2}', "null"],
    Kind.ANY: [1, 1.0, "1", b"1", 0, "", b"", 0.0, -0.0],
}


def column_of(values: Sequence[Any], kind: Kind) -> pa.Array:
    if kind is not Kind.ANY:
        return pa.array(values, ARROW_TYPES[kind])
    names = {int: "integer", float: "real", str: "text", bytes: "blob"}
    rows = [None if value is None else {names[type(value)]: value} for value in values]
    return pa.array(rows, ARROW_TYPES[Kind.ANY])


def digest_of(rows: Sequence[Row], kinds: Sequence[Kind], cuts: Sequence[int] = ()) -> Digest:
    """Sum rows that come in batches, cut at these places out of one larger batch."""
    arrays = [column_of([row[at] for row in rows], kind) for at, kind in enumerate(kinds)]
    bounds = sorted({0, len(rows), *(cut % (len(rows) + 1) for cut in cuts)})
    whole = pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(kinds))])
    total = Digest()
    for start, end in pairwise(bounds):
        batch = whole.slice(start, end - start)
        columns = [canonical(array, kind, kind) for array, kind in zip(batch.columns, kinds, strict=True)]
        total += Digest.of(row_hashes(columns, batch.num_rows))
    return total


def told_apart(row: Row) -> Row:
    """Return a row in a form in which Python, too, tells 1 from 1.0 and 0.0 from -0.0."""
    return tuple(struct.pack("d", v) if isinstance(v, float) else (type(v).__name__, v) for v in row)


def disagreements(digest: Callable[..., Digest], cases: int) -> int:
    """Count the generated pairs of tables on which a digest and the oracle say different things."""
    chance = random.Random(20240101)
    wrong = 0
    for _ in range(cases):
        kinds = [chance.choice(list(FEW)) for _ in range(chance.randint(1, 3))]
        confusing = chance.random() < 0.3
        if confusing:
            kinds = [Kind.TEXT, chance.choice([Kind.TEXT, Kind.ANY])]

        def row(kinds: Sequence[Kind] = kinds, confusing: bool = confusing) -> Row:
            if confusing:
                return chance.choice(CONFUSING)
            return tuple(None if chance.random() < 0.2 else chance.choice(FEW[kind]) for kind in kinds)

        source = [row() for _ in range(chance.randint(0, 4))]
        target = [row() if chance.random() < 0.2 else entry for entry in source]
        if source and chance.random() < 0.3:
            target.append(chance.choice(source))
        chance.shuffle(target)
        cuts = [chance.randint(0, 9) for _ in range(chance.randint(0, 2))]
        equal = Counter(map(told_apart, source)) == Counter(map(told_apart, target))
        wrong += (digest(source, kinds) == digest(target, kinds, cuts)) != equal
    return wrong


def test_digests_are_equal_exactly_when_the_rows_are() -> None:
    assert disagreements(digest_of, 3000) == 0


def test_canary_the_oracle_notices_separators_instead_of_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    def joined(columns: Sequence[Canonical], row_count: int) -> pa.Array:
        rows = [column.array.to_pylist() for column in columns]
        return pa.array(["|".join(str(value[at]) for value in rows).encode() for at in range(row_count)])

    monkeypatch.setattr(digest_module, "_encode", joined)
    assert disagreements(digest_of, 300) > 0


def test_canary_the_oracle_notices_xor_instead_of_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    def crossed(self: Digest, other: Digest) -> Digest:
        return Digest(self.row_count + other.row_count, self.total ^ other.total)

    def of(hashes: Any) -> Digest:
        total = 0
        for row in hashes:
            total ^= int.from_bytes(row.tobytes(), "little")
        return Digest(len(hashes), total)

    monkeypatch.setattr(Digest, "__add__", crossed)
    monkeypatch.setattr(Digest, "of", of)
    four = [(1,), (1,), (2,), (2,)], [(3,), (3,), (4,), (4,)]
    assert digest_of(four[0], [Kind.INTEGER]) == digest_of(four[1], [Kind.INTEGER])


# --- what must differ -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "kinds"),
    [
        ([("x|y", "z")], [("x", "y|z")], [Kind.TEXT, Kind.TEXT]),
        ([("xy", "z")], [("x", "yz")], [Kind.TEXT, Kind.BYTES]),
        ([(None,)], [("<null>",)], [Kind.TEXT]),
        ([(None,)], [("",)], [Kind.TEXT]),
        ([("",)], [("<null>",)], [Kind.TEXT]),
        ([(None, "")], [("", None)], [Kind.TEXT, Kind.TEXT]),
        ([(1,), (1,), (2,), (2,)], [(3,), (3,), (4,), (4,)], [Kind.INTEGER]),
        ([(1,), (1,)], [(2,), (2,)], [Kind.INTEGER]),
        ([(1,)], [(1,), (1,)], [Kind.INTEGER]),
        ([(1,), (2,)], [(1,)], [Kind.INTEGER]),
        ([("a ",)], [("a",)], [Kind.TEXT]),
        ([("a\0",)], [("a",)], [Kind.TEXT]),
        ([(1,)], [("1",)], [Kind.ANY]),
        ([(1.0,)], [(1,)], [Kind.ANY]),
        ([(b"1",)], [("1",)], [Kind.ANY]),
        ([(None,)], [(0,)], [Kind.ANY]),
        ([(0.0,)], [(-0.0,)], [Kind.FLOAT]),
        ([(0.0,)], [(-0.0,)], [Kind.ANY]),
        ([(None,)], [(0,)], [Kind.INTEGER]),
        ([(None,)], [(False,)], [Kind.BOOLEAN]),
        ([("1.10000000000000000001",)], [("1.1",)], [Kind.DECIMAL]),
        (
            [("12345678901234567890123456789012345678",)],
            [("12345678901234567890123456789012345679",)],
            [Kind.DECIMAL],
        ),
        ([(1.0,)], [(1.0000000000000002,)], [Kind.FLOAT]),
        ([('{"a":1.1}',)], [('{"a":1.10000000000000001}',)], [Kind.JSON]),
        ([("caf\u00e9",)], [("cafe\u0301",)], [Kind.TEXT]),
    ],
)
def test_rows_that_other_tools_take_for_equal_differ(
    source: list[Row], target: list[Row], kinds: list[Kind]
) -> None:
    assert digest_of(source, kinds) != digest_of(target, kinds)


def test_rows_without_columns_are_counted() -> None:
    assert Digest.of(row_hashes([], 1)) != Digest.of(row_hashes([], 2))
    assert Digest.of(row_hashes([], 1)) + Digest.of(row_hashes([], 1)) == Digest.of(row_hashes([], 2))


# --- what must not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (".71", "0.71", Kind.DECIMAL),
        ("1.50", "1.5", Kind.DECIMAL),
        ("10", "10.00", Kind.DECIMAL),
        ("-0.0", "0", Kind.DECIMAL),
        ("1E+2", "100", Kind.DECIMAL),
        ('{"b":1,"a":2}', '{ "a" : 2,\n "b" : 1 }', Kind.JSON),
        ('{"a":1.0}', '{"a":1}', Kind.JSON),
        ('"\\u00e9"', '"é"', Kind.JSON),
        ("a-b", "a-b", Kind.TEXT),
        (float("nan"), -float("nan"), Kind.FLOAT),
    ],
)
def test_values_that_other_tools_take_for_different_are_equal(source: Any, target: Any, kind: Kind) -> None:
    assert digest_of([(source,)], [kind]) == digest_of([(target,)], [kind])


def test_a_number_is_equal_whichever_class_an_engine_stored_it_in() -> None:
    stored = column_of([1, 1.5, "2.50", None], Kind.ANY)
    native = pa.array(["1", "1.5", "2.5", None])
    ours = row_hashes([canonical(stored, Kind.ANY, Kind.DECIMAL)], 4)
    assert np.array_equal(ours, row_hashes([canonical(native, Kind.DECIMAL, Kind.DECIMAL)], 4))


def test_a_column_of_one_class_equals_the_same_column_read_as_several() -> None:
    alone = pa.array(["a", None])
    assert digest_of([("a",), (None,)], [Kind.ANY]) == Digest.of(
        row_hashes([canonical(alone, Kind.ANY, Kind.ANY)], 2)
    )


@given(st.data())
@settings(max_examples=200)
def test_batches_and_order_do_not_matter(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(list(FEW)), max_size=4))
    cells = [st.none() | st.sampled_from(FEW[kind]) for kind in kinds]
    rows = data.draw(st.lists(st.tuples(*cells), max_size=6))
    cuts = data.draw(st.lists(st.integers(0, 6), max_size=3))
    assert digest_of(rows, kinds) == digest_of(data.draw(st.permutations(rows)), kinds, cuts)


# --- strays -----------------------------------------------------------------------------------------


def strays_of(values: list[Any], kind: Kind) -> Digest:
    return Digest.of(row_hashes([canonical(column_of(values, Kind.ANY), Kind.ANY, kind)], len(values)))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("lots", None),
        ("lots", "few"),
        ("lots", 0),
        (b"lots", "lots"),
        ("x" * 100, "x" * 99 + "y"),
        (b"x" * 100, b"x" * 99 + b"y"),
        (1.5, "1.5"),
    ],
)
def test_a_value_that_is_not_of_the_kind_is_compared_as_what_it_is(source: Any, target: Any) -> None:
    """Long ones are cut where they are shown, and nowhere else."""
    assert strays_of([source], Kind.INTEGER) != strays_of([target], Kind.INTEGER)
    assert strays_of([source, 1], Kind.INTEGER) == strays_of([1, source], Kind.INTEGER)


def test_strays_of_two_columns_do_not_run_into_each_other() -> None:
    def digest(one: Any, other: Any) -> Digest:
        columns = [canonical(column_of([value], Kind.ANY), Kind.ANY, Kind.INTEGER) for value in (one, other)]
        return Digest.of(row_hashes(columns, 1))

    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a", 1) != digest(1, "a")
    assert digest("a", None) != digest(None, "a")


def test_a_stray_is_shown_as_what_was_found_and_a_value_as_itself() -> None:
    column = canonical(column_of(["lots", 3, "", None], Kind.ANY), Kind.ANY, Kind.INTEGER)
    assert [column.show(at) for at in range(4)] == ["'lots'", "3", "''", "None"]
    assert column.strays[0] == Stray("'lots'", b"string lots")


# --- sums -------------------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20), st.integers(0, 20))
def test_the_sum_of_hashes_is_theirs_modulo_two_to_the_256(hashes: list[bytes], cut: int) -> None:
    def digest(some: list[bytes]) -> Digest:
        return Digest.of(np.frombuffer(b"".join(some), np.uint8).reshape(len(some), 32))

    total = sum(int.from_bytes(one, "little") for one in hashes) % 2**256
    assert digest(hashes) == Digest(len(hashes), total)
    assert digest(hashes[:cut]) + digest(hashes[cut:]) == digest(hashes)


def test_a_digest_is_written_as_64_hexadecimal_digits() -> None:
    assert str(Digest(1, 255)) == "0" * 62 + "ff"
    assert digest_of([], [Kind.TEXT]) == Digest()
