"""How large new columns are: what was declared where that holds, what a key needs, what a row has room for.

An engine of round numbers stands for those that count: an index entry of 400 bytes, four to a character.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from migration.fitting import Findings
from migration.model import (
    Column,
    ColumnProfile,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Table,
    TableProfile,
    Unique,
)
from migration.plan import ColumnPlan, Severity
from migration.sizes import Sizes, why_too_long
from migration.traits import Traits

FREE = Traits(
    dialect="free",
    identifier_bytes=None,
    text_holds_nul=False,
    text_holds_any_bytes=False,
    keeps_storage_classes=False,
    alters_constraints=False,
    holds_nan=False,
    decimal_digits=None,
)
COUNTING = dataclasses.replace(
    FREE,
    index_bytes=400,
    sized_keys=True,
    bytes_per_character=4,
    row_bytes=2_000,
    column_count=5,
    decimal_digits=20,
    decimal_scale=6,
)
TEXT = Column("c", Kind.TEXT, declared="varchar(50)", size=50)


def found(kind: Kind = Kind.TEXT, characters: int = 0, size: int = 0, **rest: Any) -> ColumnProfile:
    return ColumnProfile(kind, longest_characters=characters, longest_bytes=size or characters, **rest)


def keyed(*columns: str, **rest: Any) -> Table:
    return Table("t", tuple(Column(name, Kind.TEXT) for name in columns), primary_key=columns, **rest)


def size_of(
    column: Column, profile: ColumnProfile, table: Table | None = None, target: Traits = COUNTING
) -> tuple[int | None, list[str]]:
    """Return the size that a column gets, and the names of what was noted."""
    findings = Findings()
    size = Sizes(target, findings).size(table or Table("t", (column,)), column, profile)
    assert all(hazard.severity is Severity.NOTICE for hazard in findings.sorted())
    return size, [hazard.name for hazard in findings.sorted()]


# --- a column alone ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [FREE, COUNTING])
def test_a_column_in_no_key_keeps_what_was_declared_while_values_keep_to_it(target: Traits) -> None:
    assert size_of(TEXT, found(characters=50), target=target) == (50, [])
    assert size_of(TEXT, found(characters=51), target=target) == (None, ["length-not-kept"])
    assert size_of(dataclasses.replace(TEXT, size=None), found(characters=51), target=target) == (None, [])
    assert size_of(TEXT, found(Kind.BYTES, size=9), target=target) == (None, [])


# --- a column in a key ------------------------------------------------------------------------------

INDEXED = Table("t", (TEXT,), indexes=(Index("i", (IndexPart("c"), IndexPart("lower(c)", True))),))


@pytest.mark.parametrize(
    ("table", "room"),
    [
        (Table("t", (TEXT,), primary_key=("c",)), 100),
        (Table("t", (TEXT,), uniques=(Unique(None, ("c", "d")),)), 50),
        (Table("t", (TEXT,), foreign_keys=(ForeignKey(None, ("c", "d"), "u", ("a", "b")),)), 50),
        (INDEXED, 100),
        # The widest of its keys decides.
        (dataclasses.replace(INDEXED, primary_key=("a", "b", "c", "d")), 25),
    ],
    ids=["key", "rule", "reference", "index", "several"],
)
def test_a_text_in_a_key_takes_its_part_of_an_entry_at_most(table: Table, room: int) -> None:
    assert size_of(dataclasses.replace(TEXT, size=None), found(characters=3), table) == (
        room,
        ["length-limited"],
    )


def test_what_was_declared_is_kept_in_a_key_where_it_has_room() -> None:
    table = keyed("c")
    for size, longest, expected in (
        (50, 50, (50, [])),
        (100, 1, (100, [])),
        (101, 1, (100, ["length-limited"])),
        (50, 51, (100, ["length-limited"])),
        (None, 100, (100, ["length-limited"])),
        # The key itself will be refused.
        (None, 101, (None, [])),
    ):
        assert size_of(dataclasses.replace(TEXT, size=size), found(characters=longest), table) == expected


def test_where_there_is_room_a_key_takes_what_people_write_who_know_no_limit() -> None:
    wide = dataclasses.replace(COUNTING, index_bytes=3_072)
    for longest, size in ((0, 255), (255, 255), (256, 768)):
        assert size_of(Column("c", Kind.TEXT), found(characters=longest), keyed("c"), wide)[0] == size


def test_bytes_are_counted_one_by_one_and_by_nothing_else() -> None:
    column = Column("c", Kind.BYTES)
    assert size_of(column, found(Kind.BYTES, characters=900, size=9), keyed("c"))[0] == 255
    assert size_of(column, found(Kind.BYTES, size=256), keyed("c"))[0] == 400
    assert size_of(column, found(Kind.BYTES, size=401), keyed("c"))[0] is None


@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.JSON, Kind.INSTANT])
def test_other_kinds_have_no_size_in_a_key(kind: Kind) -> None:
    assert size_of(Column("c", kind), found(kind, characters=9), keyed("c")) == (None, [])


@pytest.mark.parametrize("change", [{"sized_keys": False}, {"index_bytes": None}])
def test_where_keys_need_no_size_they_get_none(change: dict[str, Any]) -> None:
    target = dataclasses.replace(COUNTING, **change)
    assert size_of(Column("c", Kind.TEXT), found(characters=3), keyed("c"), target) == (None, [])


# --- keys that cannot be ----------------------------------------------------------------------------


def why(target: Traits, columns: tuple[str, ...], **profiles: ColumnProfile) -> str:
    table = Table("t", tuple(Column(name, found.kind) for name, found in profiles.items()), columns)
    return Sizes(target, Findings()).why_no_key(table, columns, TableProfile(1, dict(profiles)))


def test_values_longer_than_their_part_of_an_entry_leave_the_key_out() -> None:
    assert why(COUNTING, ("a", "b"), a=found(characters=50), b=found(characters=50)) == ""
    reason = why(COUNTING, ("a", "b"), a=found(characters=5), b=found(characters=51))
    assert "b are up to 51 long" in reason
    assert "takes 50" in reason
    assert "401" in why(COUNTING, ("a",), a=found(Kind.BYTES, size=401))


def test_json_is_in_no_key_that_needs_a_size() -> None:
    assert "a is json" in why(COUNTING, ("a",), a=found(Kind.JSON, characters=2))
    assert why(FREE, ("a",), a=found(Kind.JSON, characters=2)) == ""


def test_where_no_size_is_needed_the_entry_itself_decides() -> None:
    target = dataclasses.replace(FREE, index_bytes=100)
    assert why(target, ("a", "b"), a=found(size=40), b=found(size=60)) == ""
    assert "101 bytes" in why(target, ("a", "b"), a=found(size=41), b=found(size=60))
    assert why(FREE, ("a",), a=found(size=10**9)) == ""


# --- rows -------------------------------------------------------------------------------------------


def fitted(*sizes: int | None, key: tuple[str, ...] = (), kind: Kind = Kind.TEXT) -> list[int | None]:
    """Return the sizes that columns a, b, ... still have where all of them are in one row."""
    columns = [Column("abcdef"[at], kind, size=size, declared=f"of {size}") for at, size in enumerate(sizes)]
    table = Table("t", tuple(columns), primary_key=key)
    findings = Findings()
    plans = Sizes(COUNTING, findings).within_a_row(table, [ColumnPlan(c, c, kind) for c in columns])
    dropped = [c.name for c, plan in zip(columns, plans, strict=True) if plan.target.size != c.size]
    noted = findings.sorted()
    assert [hazard.column for hazard in noted if hazard.name == "length-not-kept"] == dropped
    return [plan.target.size for plan in plans]


def test_the_longest_limits_go_until_a_row_has_room_for_the_rest() -> None:
    assert fitted(200, 200) == [200, 200]
    # 2,000 bytes are 484 characters in one column with what each costs, and less in several.
    assert fitted(496) == [496]
    assert fitted(497) == [None]
    assert fitted(100, 300, 200) == [100, None, 200]
    assert fitted(300, 400, 300) == [None, None, 300]
    assert fitted(900, None) == [None, None]
    assert fitted(1_900, kind=Kind.BYTES) == [1_900]


def test_what_is_in_a_key_keeps_its_limit() -> None:
    assert fitted(400, 300, key=("a",)) == [400, None]


def test_too_many_columns_are_counted() -> None:
    findings = Findings()
    columns = tuple(Column(f"c{number}", Kind.INTEGER) for number in range(6))
    Sizes(COUNTING, findings).within_a_row(
        Table("t", columns), [ColumnPlan(column, column, Kind.INTEGER) for column in columns]
    )
    (hazard,) = findings.sorted()
    assert (hazard.name, hazard.severity) == ("too-many-columns", Severity.BLOCKING)


# --- decimals ---------------------------------------------------------------------------------------


def precision_of(
    column: Column, profile: ColumnProfile, target: Traits = COUNTING
) -> tuple[int | None, int | None]:
    return Sizes(target, Findings()).precision(Table("t", (column,)), column, profile)


def decimals(whole: int, fraction: int, **rest: Any) -> ColumnProfile:
    return ColumnProfile(Kind.DECIMAL, integer_digits=whole, fraction_digits=fraction, **rest)


@pytest.mark.parametrize(
    ("declared", "profile", "expected"),
    [
        ((8, 2), decimals(6, 2), (8, 2)),
        ((8, None), decimals(8, 0), (8, None)),
        # What values pass is given up for the widest that holds them.
        ((8, 2), decimals(7, 2), (20, 6)),
        ((8, 2), decimals(1, 3), (20, 6)),
        ((None, None), decimals(3, 2), (20, 6)),
        ((None, None), decimals(16, 2), (20, 4)),
        ((None, None), decimals(17, 3), (20, 3)),
        ((None, None), decimals(0, 0), (20, 6)),
        # What the target does not have is not asked for.
        ((30, 2), decimals(5, 2), (20, 6)),
        ((20, 9), decimals(5, 2), (20, 6)),
        ((3, -2), decimals(5, 0), (20, 6)),
    ],
)
def test_a_decimal_has_the_digits_that_were_declared_or_the_widest_there_are(
    declared: tuple[int | None, int | None], profile: ColumnProfile, expected: tuple[int, int]
) -> None:
    column = Column("c", Kind.DECIMAL, precision=declared[0], scale=declared[1])
    precision, scale = precision_of(column, profile)
    assert (precision, scale) == expected
    assert profile.integer_digits <= (precision or 0) - (scale or 0)
    assert profile.fraction_digits <= (scale or 0)


def test_where_decimals_have_no_limit_what_values_pass_is_none() -> None:
    column = Column("c", Kind.DECIMAL, precision=8, scale=2)
    assert precision_of(column, decimals(6, 2), FREE) == (8, 2)
    assert precision_of(column, decimals(7, 2), FREE) == (None, None)
    assert precision_of(column, ColumnProfile(Kind.TEXT), FREE) == (None, None)


@pytest.mark.parametrize(
    ("profile", "target", "expected"),
    [
        (decimals(14, 6), COUNTING, False),
        (decimals(15, 6), COUNTING, True),
        (decimals(1, 7), COUNTING, True),
        (decimals(1, 0, nan_count=1), COUNTING, True),
        (decimals(1, 0, nan_count=1), dataclasses.replace(COUNTING, decimal_scale=None), False),
        (decimals(1, 7), dataclasses.replace(COUNTING, decimal_scale=None), False),
        (decimals(999, 999), FREE, False),
        (ColumnProfile(Kind.TEXT, integer_digits=999), COUNTING, False),
    ],
)
def test_decimals_that_the_target_does_not_have_become_texts(
    profile: ColumnProfile, target: Traits, expected: bool
) -> None:
    findings = Findings()
    column = Column("c", Kind.DECIMAL)
    sizes = Sizes(target, findings)
    assert sizes.is_too_long_a_decimal(Table("t", (column,)), column, profile) is expected
    assert [hazard.name for hazard in findings.sorted()] == ["decimal-as-text"] * expected


# --- names ------------------------------------------------------------------------------------------


def test_names_are_measured_in_bytes_or_in_characters() -> None:
    by_bytes = dataclasses.replace(FREE, identifier_bytes=4)
    by_characters = dataclasses.replace(FREE, identifier_characters=4)
    assert why_too_long("a" * 99, FREE) == ""
    assert why_too_long("éé", by_bytes) == ""
    assert "5 bytes" in why_too_long("ééa", by_bytes)
    assert why_too_long("éééé", by_characters) == ""
    assert "5 characters" in why_too_long("ééééa", by_characters)
