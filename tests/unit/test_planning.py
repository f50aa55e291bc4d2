"""For everything that would not arrive as it was, the plan has a hazard; and nothing else has one.

Each hazard is provoked alone, on two small schemas: an engine that holds anything, and one that is strict.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import migration
from migration.choice import Choice
from migration.fitting import Findings, check_indexes
from migration.model import (
    Check,
    Column,
    ColumnProfile,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    TableProfile,
    Trigger,
    Uncarried,
    Unique,
    View,
)
from migration.plan import Hazard, Plan, Severity, TablePair, pair_tables
from migration.planning import kinds_to_try, make_plan
from migration.profile import ladder
from migration.traits import Traits

LOOSE = Traits(
    dialect="sqlite",
    identifier_bytes=None,
    text_holds_nul=True,
    text_holds_any_bytes=True,
    keeps_storage_classes=True,
    alters_constraints=False,
    holds_nan=False,
    decimal_digits=15,
    folds_names=True,
    like_ignores_case=True,
    double_quoted_text=True,
)
STRICT = Traits(
    dialect="postgres",
    identifier_bytes=20,
    text_holds_nul=False,
    text_holds_any_bytes=False,
    keeps_storage_classes=False,
    alters_constraints=True,
    holds_nan=True,
    decimal_digits=None,
    index_bytes=100,
    bytes_type="bytea",
)

ID = Column("id", Kind.INTEGER, nullable=False, automatic=True)
NAME = Column("name", Kind.TEXT, declared="TEXT")


def table_of(*columns: Column, name: str = "t", **rest: Any) -> Table:
    return Table(name, columns, **rest)


def profile_of(table: Table, row_count: int = 3, **found: ColumnProfile) -> TableProfile:
    columns = {column.name: found.get(column.name, ColumnProfile(column.kind)) for column in table.columns}
    return TableProfile(row_count, columns, next_number=8)


def plan_of(
    source: Table | Schema,
    target: Table | Schema | None = None,
    profiles: TableProfile | Mapping[str, TableProfile] | None = None,
    *,
    rows: Mapping[str, int] | None = None,
    traits: tuple[Traits, Traits] = (LOOSE, STRICT),
    mapping: Mapping[str, str] | None = None,
    accept: tuple[str, ...] = (),
) -> Plan:
    """Plan with as little as possible: a table stands for a schema of it, and every column holds nothing."""
    ours = source if isinstance(source, Schema) else Schema((source,))
    theirs = Schema() if target is None else target if isinstance(target, Schema) else Schema((target,))
    found = {"t": profiles} if isinstance(profiles, TableProfile) else dict(profiles or {})
    known = {table.name: found.get(table.name, profile_of(table)) for table in ours.tables}
    chosen = Choice(mapping=mapping or {}).of(ours, theirs)
    return make_plan(chosen, theirs, known, rows or {}, *traits, accept)


def assert_only(plan: Plan, name: str, severity: Severity, **rest: Any) -> Hazard:
    """Return the one hazard of a plan, having looked at it."""
    assert [hazard.name for hazard in plan.hazards] == [name], plan.hazards
    (hazard,) = plan.hazards
    assert hazard.severity is severity
    assert {key: getattr(hazard, key) for key in rest} == rest
    assert len(hazard.sentence.split()) >= 4, "a hazard says what it is about"
    is_refused = bool(plan.refused([]))
    assert is_refused == (severity is not Severity.NOTICE)
    if name != "target-rows":
        for word in (name, f"{name}:{hazard.table}", f"{name}:{hazard.table}.{hazard.column}"):
            assert bool(plan.refused([word])) == (severity is Severity.BLOCKING)
        assert bool(plan.refused([f"{name}:elsewhere", "something-else"])) == is_refused
    return hazard


# --- values -----------------------------------------------------------------------------------------

BLOCKING, HAZARD, NOTICE = Severity.BLOCKING, Severity.HAZARD, Severity.NOTICE


@pytest.mark.parametrize(
    ("name", "severity", "kind", "found"),
    [
        ("nul-in-text", BLOCKING, Kind.TEXT, {"nul_count": 2, "nul_examples": ("id=1: 'a\\x00'",)}),
        ("nul-in-text", BLOCKING, Kind.JSON, {"nul_count": 2, "nul_examples": ("id=1: 'a\\x00'",)}),
        (
            "invalid-utf8",
            BLOCKING,
            Kind.TEXT,
            {"invalid_text_count": 2, "invalid_text_examples": ("id=1: x'ff'",)},
        ),
        (
            "value-not-convertible",
            BLOCKING,
            Kind.INTEGER,
            {"failed_count": 2, "failed_examples": ("id=1: 'lots'",)},
        ),
        ("value-changed", HAZARD, Kind.TEXT, {"changed_count": 2, "changed_examples": ("id=1: 5",)}),
        (
            "time-rounded",
            HAZARD,
            Kind.TIME,
            {"rounded_count": 2, "rounded_examples": ("id=1: '12:00:00.1234567'",)},
        ),
        (
            "json-keys-repeated",
            HAZARD,
            Kind.JSON,
            {"repeated_key_count": 2, "repeated_key_examples": ("id=1: '{}'",)},
        ),
    ],
)
def test_values_that_would_not_arrive_are_named_counted_and_shown(
    name: str, severity: Severity, kind: Kind, found: dict[str, Any]
) -> None:
    table = table_of(Column("c", kind))
    plan = plan_of(table, profiles=profile_of(table, c=ColumnProfile(kind, **found)))
    (examples,) = [value for key, value in found.items() if key.endswith("examples")]
    assert_only(plan, name, severity, table="t", column="c", count=2, examples=examples)


def test_values_that_arrive_have_no_hazard() -> None:
    table = table_of(ID, *[Column(kind.value, kind) for kind in Kind], primary_key=("id",))
    assert plan_of(table).hazards == ()


@pytest.mark.parametrize(
    ("kind", "found", "traits"),
    [
        (Kind.TEXT, ColumnProfile(Kind.TEXT, nul_count=1, invalid_text_count=1), (STRICT, LOOSE)),
        (Kind.BYTES, ColumnProfile(Kind.BYTES, nul_count=1), (LOOSE, STRICT)),
        (Kind.ANY, ColumnProfile(Kind.ANY, nul_count=1, invalid_text_count=1), (LOOSE, LOOSE)),
        (Kind.FLOAT, ColumnProfile(Kind.FLOAT, nan_count=1), (LOOSE, STRICT)),
    ],
)
def test_what_the_target_can_hold_is_no_hazard(
    kind: Kind, found: ColumnProfile, traits: tuple[Traits, Traits]
) -> None:
    table = table_of(Column("c", kind))
    assert plan_of(table, profiles=profile_of(table, c=found), traits=traits).hazards == ()


def test_not_a_number_is_lost_where_it_becomes_null() -> None:
    table = table_of(Column("c", Kind.FLOAT))
    found = profile_of(table, c=ColumnProfile(Kind.FLOAT, nan_count=2))
    assert_only(
        plan_of(table, profiles=found, traits=(STRICT, LOOSE)), "nan-not-held", BLOCKING, column="c", count=2
    )


def test_broken_text_that_failed_is_told_once() -> None:
    table = table_of(Column("c", Kind.TEXT))
    found = ColumnProfile(Kind.TEXT, failed_count=1, invalid_text_count=1)
    assert_only(plan_of(table, profiles=profile_of(table, c=found)), "invalid-utf8", BLOCKING, count=1)


def test_texts_beside_numbers_become_equal_to_them() -> None:
    table = table_of(Column("c", Kind.ANY))
    found = ColumnProfile(Kind.DECIMAL, {"text": 2, "integer": 1})
    hazard = assert_only(
        plan_of(table, profiles=profile_of(table, c=found)), "text-as-number", HAZARD, count=2
    )
    assert "'1' and 1 become equal" in hazard.sentence


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (Kind.DECIMAL, ColumnProfile(Kind.DECIMAL, {"text": 2, "integer": 1})),
        (Kind.ANY, ColumnProfile(Kind.DECIMAL, {"text": 2})),
        (Kind.ANY, ColumnProfile(Kind.DECIMAL, {"integer": 2, "real": 1})),
        (Kind.ANY, ColumnProfile(Kind.TEXT, {"text": 2})),
    ],
)
def test_numbers_alone_and_texts_alone_stay_apart(declared: Kind, found: ColumnProfile) -> None:
    table = table_of(Column("c", declared))
    assert plan_of(table, profiles=profile_of(table, c=found)).hazards == ()


# --- times ------------------------------------------------------------------------------------------


def test_the_forms_of_times_are_listed_with_their_counts() -> None:
    table = table_of(Column("c", Kind.INSTANT))
    found = ColumnProfile(
        Kind.INSTANT, forms={"text with zone": 1200, "epoch seconds (real)": 1, "epoch seconds (integer)": 2}
    )
    hazard = assert_only(
        plan_of(table, profiles=profile_of(table, c=found)), "time-forms", NOTICE, count=1203
    )
    assert (
        hazard.sentence
        == "Written as epoch seconds (integer): 2, epoch seconds (real): 1, text with zone: 1,200"
    )


@pytest.mark.parametrize(
    ("forms", "count", "words"),
    [
        ({"text without zone, read as UTC": 2, "text with zone": 1}, 2, "2 times name no zone beside 1"),
        ({"date only, read as UTC": 3, "epoch seconds (integer)": 1}, 3, "3 times name no zone"),
        (
            {"epoch seconds (integer)": 2, "epoch milliseconds (real)": 3},
            5,
            "epoch milliseconds, epoch seconds",
        ),
    ],
)
def test_times_that_may_be_another_moment_are_a_hazard(forms: dict[str, int], count: int, words: str) -> None:
    table = table_of(Column("c", Kind.INSTANT))
    plan = plan_of(table, profiles=profile_of(table, c=ColumnProfile(Kind.INSTANT, forms=forms)))
    assert [hazard.name for hazard in plan.hazards] == ["time-ambiguous", "time-forms"]
    hazard = plan.hazards[0]
    assert (hazard.severity, hazard.count) == (HAZARD, count)
    assert words in hazard.sentence


@pytest.mark.parametrize(
    ("kind", "default", "forms"),
    [
        (Kind.INSTANT, "CURRENT_TIMESTAMP", {"text without zone, read as UTC": 2, "text with zone": 1}),
        (Kind.INSTANT, None, {"text without zone, read as UTC": 2}),
        (Kind.TIMESTAMP, None, {"text without zone": 2, "text with zone, as UTC": 1}),
    ],
)
def test_times_that_can_only_be_one_moment_are_none(
    kind: Kind, default: str | None, forms: dict[str, int]
) -> None:
    table = table_of(Column("c", kind, default=default))
    assert_only(
        plan_of(table, profiles=profile_of(table, c=ColumnProfile(kind, forms=forms))), "time-forms", NOTICE
    )


def test_days_are_not_listed_by_their_forms() -> None:
    table = table_of(Column("c", Kind.DATE))
    assert (
        plan_of(table, profiles=profile_of(table, c=ColumnProfile(Kind.DATE, forms={"date": 1}))).hazards
        == ()
    )


# --- into an existing table -------------------------------------------------------------------------


def test_a_value_that_does_not_fit_is_named() -> None:
    there = table_of(dataclasses.replace(NAME, declared="varchar(2)"))
    found = profile_of(
        table_of(NAME), name=ColumnProfile(Kind.TEXT, unfit_count=2, unfit_examples=("id=1: 'abc'",))
    )
    hazard = assert_only(
        plan_of(table_of(NAME), there, found),
        "value-too-large",
        BLOCKING,
        column="name",
        count=2,
        examples=("id=1: 'abc'",),
    )
    assert "varchar(2)" in hazard.sentence


@pytest.mark.parametrize("name", ["infinity-not-held", "negative-zero-not-held"])
def test_doubles_that_the_target_would_turn_into_others_are_named(name: str) -> None:
    what = name.removesuffix("-not-held").replace("-", "_")
    narrow = dataclasses.replace(STRICT, **{f"holds_{what}": False})
    table = table_of(Column("c", Kind.FLOAT))
    found = profile_of(table, c=ColumnProfile(Kind.FLOAT, **{f"{what}_count": 2}))
    assert_only(plan_of(table, profiles=found, traits=(LOOSE, narrow)), name, BLOCKING, column="c", count=2)
    assert plan_of(table, profiles=found).hazards == ()
    as_text = profile_of(table, c=ColumnProfile(Kind.TEXT, **{f"{what}_count": 2}))
    assert plan_of(table, profiles=as_text, traits=(LOOSE, narrow)).hazards == ()


def test_rows_that_refer_to_nothing_cannot_go_where_that_is_forbidden() -> None:
    key = ForeignKey("f", ("name",), "other", ("id",))
    orphans = {"f (name) -> other(id)": (2, ("name='x'",))}
    plan = plan_of(
        table_of(NAME),
        Schema((table_of(ID, name="other"), table_of(NAME, foreign_keys=(key,)))),
        dataclasses.replace(profile_of(table_of(NAME)), orphans=orphans),
    )
    (hazard,) = [hazard for hazard in plan.hazards if hazard.severity is BLOCKING]
    assert (hazard.name, hazard.table, hazard.column) == ("rows-without-parent", "t", "name")
    assert (hazard.count, hazard.examples) == (2, ("name='x'",))


def test_a_limit_that_holds_nothing_back_is_no_limit_unless_digits_would_be_lost() -> None:
    for kind, digits, names in (
        (Kind.TEXT, 99, []),
        (Kind.DECIMAL, 15, []),
        (Kind.DECIMAL, 16, ["value-too-large"]),
    ):
        too_large = ColumnProfile(Kind.ANY, unfit_count=2, integer_digits=digits - 1, fraction_digits=1)
        table = table_of(Column("c", kind, size=2, precision=3))
        plan = plan_of(table, table, profile_of(table, c=too_large), traits=(LOOSE, LOOSE))
        assert [hazard.name for hazard in plan.hazards] == names


def test_tables_that_have_no_column_in_common_are_not_copied_as_so_many_nothings() -> None:
    plan = plan_of(table_of(NAME), table_of(Column("other", Kind.TEXT)))
    (hazard,) = [hazard for hazard in plan.hazards if hazard.severity is BLOCKING]
    assert (hazard.name, hazard.table) == ("no-column-in-common", "t")
    assert "--map" in hazard.sentence
    assert "no-column-in-common" not in {hazard.name for hazard in plan_of(table_of(), table_of()).hazards}


@pytest.mark.parametrize(
    ("there", "digits"),
    [
        (Column("c", Kind.TIMESTAMP, precision=0), 0),
        (Column("c", Kind.INSTANT, precision=3), 3),
        (Column("c", Kind.TIME, precision=5), 5),
        (Column("c", Kind.TIMESTAMP, precision=6), None),
        (Column("c", Kind.TIMESTAMP), None),
        (Column("c", Kind.DECIMAL, precision=3), None),
    ],
)
def test_times_are_wanted_with_as_many_digits_as_their_column_keeps(
    there: Column, digits: int | None
) -> None:
    source = table_of(Column("c", Kind.TIMESTAMP))
    plan = plan_of(source, table_of(there), profile_of(source, c=ColumnProfile(there.kind)))
    assert [column.fraction_digits for column in plan.tables[0].columns] == [digits]
    loose = plan_of(source, table_of(there), profile_of(source), traits=(STRICT, LOOSE))
    assert [column.fraction_digits for column in loose.tables[0].columns] == [None]


def test_a_null_where_none_may_be_is_named() -> None:
    found = profile_of(table_of(NAME), name=ColumnProfile(Kind.TEXT, {"null": 2}))
    there = table_of(dataclasses.replace(NAME, nullable=False))
    assert_only(plan_of(table_of(NAME), there, found), "null-not-allowed", BLOCKING, column="name", count=2)
    computed = table_of(dataclasses.replace(NAME, nullable=False, generated="'x'"))
    assert plan_of(table_of(NAME), computed, found).hazards == ()


def test_json_that_is_written_anew_is_told() -> None:
    there = table_of(Column("name", Kind.JSON, declared="jsonb"))
    found = profile_of(table_of(NAME), name=ColumnProfile(Kind.JSON))
    assert (
        "jsonb"
        in assert_only(
            plan_of(table_of(NAME), there, found), "json-by-meaning", NOTICE, column="name"
        ).sentence
    )


def test_a_column_that_the_target_lacks_stays_behind_when_accepted() -> None:
    plan = plan_of(table_of(ID, NAME), table_of(ID))
    assert_only(plan, "column-left-behind", HAZARD, table="t", column="name", count=3)
    assert [column.source.name for column in plan.tables[0].columns] == ["id"]


@pytest.mark.parametrize(
    ("extra", "severity"),
    [
        (Column("x", Kind.TEXT), NOTICE),
        (Column("x", Kind.TEXT, nullable=False, default="'a'"), NOTICE),
        (Column("x", Kind.INTEGER, nullable=False, automatic=True), NOTICE),
        (Column("x", Kind.TEXT, nullable=False, generated="'a'"), NOTICE),
        (Column("x", Kind.TEXT, nullable=False), BLOCKING),
    ],
)
def test_a_column_that_the_source_lacks_must_be_able_to_fill_itself(
    extra: Column, severity: Severity
) -> None:
    assert_only(plan_of(table_of(NAME), table_of(NAME, extra)), "column-without-source", severity, column="x")


def test_an_index_and_a_foreign_key_that_the_target_lacks_are_told() -> None:
    index = Index("i", (IndexPart("name"),))
    plan = plan_of(table_of(NAME, indexes=(index,)), table_of(NAME))
    assert "i (name)" in assert_only(plan, "index-not-in-target", NOTICE, table="t").sentence
    key = ForeignKey(None, ("name",), "other", ("id",))
    plan = plan_of(table_of(NAME, foreign_keys=(key,)), table_of(NAME))
    assert "(name) -> other(id)" in assert_only(plan, "foreign-key-not-in-target", NOTICE, table="t").sentence


@pytest.mark.parametrize(
    "there",
    [
        table_of(NAME, indexes=(Index("other", (IndexPart("name"),)),)),
        table_of(NAME, uniques=(Unique(None, ("name",)),)),
        table_of(NAME, primary_key=("name",)),
    ],
)
def test_an_index_is_served_by_whatever_has_its_columns(there: Table) -> None:
    findings = Findings()
    check_indexes(
        table_of(Column("n", Kind.TEXT), indexes=(Index("i", (IndexPart("n"),)),)),
        there,
        {"n": "name"},
        findings,
    )
    assert findings.sorted() == ()


# --- rows of the target's own -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "refused"), [((), True), (("target-rows:t=source",), False), (("target-rows:t",), True)]
)
def test_rows_of_the_target_go_only_when_the_source_is_named_the_winner(
    accept: tuple[str, ...], refused: bool
) -> None:
    plan = plan_of(table_of(NAME), table_of(NAME), rows={"t": 5}, accept=accept)
    assert_only(plan, "target-rows", HAZARD, table="t", count=5)
    assert plan.tables[0].replaces_rows
    assert bool(plan.refused(accept)) == refused


def test_rows_of_the_target_stay_when_it_is_named_the_winner() -> None:
    accept = ("target-rows:t=target",)
    plan = plan_of(table_of(NAME), table_of(NAME), rows={"t": 5}, accept=accept)
    assert_only(plan, "target-rows", HAZARD, count=5)
    assert (plan.tables, plan.left_out) == ((), {"t": "the target keeps its own rows"})
    assert plan.refused(accept) == ()


def test_an_empty_table_of_the_target_asks_nothing() -> None:
    plan = plan_of(table_of(NAME), table_of(NAME), rows={"t": 0}, accept=("target-rows:t=target",))
    assert plan.hazards == ()
    assert not plan.tables[0].replaces_rows


# --- into a new table -------------------------------------------------------------------------------


def new_column(
    column: Column, found: ColumnProfile | None = None, traits: tuple[Traits, Traits] = (LOOSE, STRICT)
) -> Column:
    """Return what a column becomes, where that needs no hazard."""
    table = table_of(column)
    plan = plan_of(
        table, profiles=profile_of(table, **{column.name: found or ColumnProfile(column.kind)}), traits=traits
    )
    assert [hazard for hazard in plan.hazards if hazard.severity is not NOTICE] == []
    return plan.tables[0].target.columns[0]


def test_a_new_column_has_the_kind_that_was_found_and_what_was_declared() -> None:
    text = Column("c", Kind.TEXT, declared="VARCHAR(9)", size=9, nullable=False)
    assert new_column(text, ColumnProfile(Kind.TEXT, longest_characters=9)) == dataclasses.replace(
        text, never_reuses=False
    )
    assert new_column(Column("c", Kind.INTEGER), ColumnProfile(Kind.DECIMAL)).kind is Kind.DECIMAL
    number = Column("c", Kind.DECIMAL, precision=5, scale=2)
    assert new_column(number, ColumnProfile(Kind.DECIMAL, integer_digits=3, fraction_digits=2)) == number
    assert new_column(number, ColumnProfile(Kind.TEXT)) == dataclasses.replace(
        number, kind=Kind.TEXT, precision=None, scale=None
    )
    assert new_column(text, ColumnProfile(Kind.BYTES)).size is None


def test_a_length_that_values_pass_is_given_up() -> None:
    table = table_of(Column("c", Kind.TEXT, declared="VARCHAR(3)", size=3))
    plan = plan_of(table, profiles=profile_of(table, c=ColumnProfile(Kind.TEXT, longest_characters=5)))
    hazard = assert_only(plan, "length-not-kept", NOTICE, column="c", count=5)
    assert "VARCHAR(3)" in hazard.sentence
    assert plan.tables[0].target.columns[0].size is None


@pytest.mark.parametrize(("whole", "fraction"), [(4, 0), (1, 3)])
def test_a_precision_that_values_pass_is_given_up(whole: int, fraction: int) -> None:
    table = table_of(Column("c", Kind.DECIMAL, declared="DECIMAL(5,2)", precision=5, scale=2))
    found = ColumnProfile(Kind.DECIMAL, integer_digits=whole, fraction_digits=fraction)
    plan = plan_of(table, profiles=profile_of(table, c=found))
    assert_only(plan, "precision-not-kept", NOTICE, column="c")
    target = plan.tables[0].target.columns[0]
    assert (target.precision, target.scale) == (None, None)


def test_a_whole_precision_has_no_place_behind_the_point() -> None:
    table = table_of(Column("c", Kind.DECIMAL, precision=5))
    fits = profile_of(table, c=ColumnProfile(Kind.DECIMAL, integer_digits=5))
    assert plan_of(table, profiles=fits).hazards == ()
    passes = profile_of(table, c=ColumnProfile(Kind.DECIMAL, integer_digits=1, fraction_digits=1))
    assert_only(plan_of(table, profiles=passes), "precision-not-kept", NOTICE)


def test_a_decimal_longer_than_the_target_keeps_becomes_text() -> None:
    table = table_of(Column("c", Kind.DECIMAL, precision=30, scale=10))
    found = ColumnProfile(Kind.DECIMAL, integer_digits=10, fraction_digits=6)
    plan = plan_of(table, profiles=profile_of(table, c=found), traits=(STRICT, LOOSE))
    assert_only(plan, "decimal-as-text", NOTICE, column="c")
    column = plan.tables[0].columns[0]
    assert (column.kind, column.target.kind, column.target.precision) == (Kind.DECIMAL, Kind.TEXT, None)
    short = profile_of(table, c=ColumnProfile(Kind.DECIMAL, integer_digits=9, fraction_digits=6))
    assert plan_of(table, profiles=short, traits=(STRICT, LOOSE)).hazards == ()


def test_a_collation_has_no_counterpart_in_another_dialect() -> None:
    column = Column("c", Kind.TEXT, collation="NOCASE")
    hazard = assert_only(plan_of(table_of(column)), "collation-not-carried", HAZARD, column="c")
    assert "NOCASE" in hazard.sentence
    assert new_column(column, traits=(LOOSE, LOOSE)).collation == "NOCASE"


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        (Kind.TEXT, None, None),
        (Kind.TEXT, "null", None),
        (Kind.TEXT, "'x'", "'x'"),
        (Kind.TEXT, '"x"', "'x'"),
        (Kind.BOOLEAN, "1", "TRUE"),
        (Kind.BOOLEAN, "0", "FALSE"),
        (Kind.INTEGER, "1", "1"),
        (Kind.INSTANT, "(datetime('now'))", "CURRENT_TIMESTAMP"),
        (Kind.INSTANT, "current_timestamp", "CURRENT_TIMESTAMP"),
        (Kind.TIMESTAMP, "datetime('now')", "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'"),
    ],
)
def test_a_default_says_the_same_in_the_target(kind: Kind, default: str | None, expected: str | None) -> None:
    assert new_column(Column("c", kind, default=default)).default == expected


def test_between_equal_dialects_a_default_stays_as_it_is() -> None:
    for kind in (Kind.BOOLEAN, Kind.INSTANT):
        assert new_column(Column("c", kind, default="1"), traits=(LOOSE, LOOSE)).default == "1"
    assert (
        new_column(Column("c", Kind.INSTANT, default="datetime('now')"), traits=(LOOSE, LOOSE)).default
        == "datetime('now')"
    )


def test_a_default_that_cannot_be_said_is_named() -> None:
    column = Column("c", Kind.TEXT, default="strftime('%s','now')")
    plan = plan_of(table_of(column))
    hazard = assert_only(plan, "default-not-carried", HAZARD, table="t")
    assert "strftime" in hazard.sentence
    assert plan.tables[0].target.columns[0].default is None


def test_a_generated_column_stays_generated_or_is_named() -> None:
    n = Column("n", Kind.INTEGER)
    plan = plan_of(table_of(n, Column("c", Kind.INTEGER, generated="n * 2")))
    assert plan.hazards == ()
    assert plan.tables[0].target.column("c").generated == '"n" * 2'
    assert [column.source.name for column in plan.tables[0].written] == ["n"]
    plan = plan_of(table_of(n, Column("c", Kind.INTEGER, generated="random()")))
    assert_only(plan, "generated-not-carried", HAZARD, table="t")
    assert plan.tables[0].target.column("c").generated is None


def test_a_check_is_carried_under_its_name_or_is_named() -> None:
    checks = (Check("good", "name <> ''"), Check(None, "name GLOB 'a*'"))
    plan = plan_of(table_of(NAME, checks=checks))
    assert plan.tables[0].target.checks == (Check("good", "\"name\" <> ''"),)
    assert "name GLOB 'a*'" in assert_only(plan, "check-not-carried", HAZARD, table="t").sentence


# --- numbering --------------------------------------------------------------------------------------


def test_a_column_that_numbers_itself_goes_on_where_it_was() -> None:
    plan = plan_of(table_of(ID, NAME, primary_key=("id",)))
    assert plan.hazards == ()
    assert (plan.tables[0].target.column("id").automatic, plan.tables[0].next_number) == (True, 8)
    assert plan_of(table_of(NAME)).tables[0].next_number is None


@pytest.mark.parametrize("primary_key", [(), ("id", "name"), ("name",)])
def test_numbering_that_the_target_cannot_do_is_named(primary_key: tuple[str, ...]) -> None:
    """Where a key is part of its table, nothing but a key of its own numbers itself."""
    table = table_of(ID, dataclasses.replace(NAME, nullable=False), primary_key=primary_key)
    plan = plan_of(table, traits=(STRICT, LOOSE))
    assert_only(plan, "numbering-not-carried", HAZARD, column="id")
    assert not plan.tables[0].target.column("id").automatic
    assert plan_of(table).hazards == ()


def test_only_whole_numbers_number_rows() -> None:
    table = table_of(ID, primary_key=("id",))
    assert_only(
        plan_of(table, profiles=profile_of(table, id=ColumnProfile(Kind.DECIMAL))),
        "numbering-not-carried",
        HAZARD,
    )


def test_numbers_of_a_server_are_never_used_twice_and_those_of_a_file_may_be() -> None:
    assert new_column(Column("c", Kind.INTEGER), traits=(STRICT, STRICT)).never_reuses
    assert not new_column(Column("c", Kind.INTEGER)).never_reuses
    assert new_column(Column("c", Kind.INTEGER, never_reuses=True)).never_reuses


def test_a_sequence_begins_at_one_where_a_file_may_go_on_from_below() -> None:
    table = table_of(ID, primary_key=("id",))
    below = dataclasses.replace(profile_of(table), next_number=-5)
    assert plan_of(table, profiles=below).tables[0].next_number == 1
    found = dataclasses.replace(below, columns={"id": ColumnProfile(Kind.ANY, smallest=-9, largest=-6)})
    assert plan_of(table, profiles=found, traits=(LOOSE, LOOSE)).tables[0].next_number == -5
    unknown = dataclasses.replace(below, next_number=None)
    assert plan_of(table, profiles=unknown).tables[0].next_number is None


def test_numbers_that_would_come_again_are_named() -> None:
    table = table_of(ID, primary_key=("id",))
    deleted = dataclasses.replace(profile_of(table, id=ColumnProfile(Kind.ANY, largest=5)), next_number=8)
    plan = plan_of(table, profiles=deleted, traits=(LOOSE, LOOSE))
    hazard = assert_only(plan, "numbers-used-again", HAZARD, table="t", column="id")
    assert "8" in hazard.sentence
    assert "5" in hazard.sentence
    assert plan.tables[0].next_number is None
    # Nothing comes again where a number is kept, where none was skipped, or where the next one is set.
    for column, largest, traits in (
        (dataclasses.replace(ID, never_reuses=True), 5, (LOOSE, LOOSE)),
        (ID, 7, (LOOSE, LOOSE)),
        (ID, 5, (LOOSE, STRICT)),
    ):
        table = table_of(column, primary_key=("id",))
        found = profile_of(table, id=ColumnProfile(Kind.INTEGER, largest=largest))
        plan = plan_of(table, profiles=found, traits=traits)
        assert plan.hazards == ()
        assert plan.tables[0].next_number == 8


def test_a_number_that_a_row_has_already_is_passed_over() -> None:
    table = table_of(ID, primary_key=("id",))
    for smallest, largest, number, names in (
        (1, 8, 9, ["number-taken"]),
        (8, 77, 78, ["number-taken"]),
        (1, 7, 8, []),
        (9, 77, 8, []),
    ):
        numbers = ColumnProfile(Kind.INTEGER, smallest=smallest, largest=largest)
        plan = plan_of(table, profiles=profile_of(table, id=numbers), traits=(STRICT, STRICT))
        assert [hazard.name for hazard in plan.hazards] == names
        assert plan.tables[0].next_number == number
        assert plan.refused(()) == ()


# --- keys -------------------------------------------------------------------------------------------

KEYED = table_of(NAME, primary_key=("name",))


def test_a_primary_key_that_holds_nulls_is_named_and_no_key_of_the_plan() -> None:
    found = profile_of(KEYED, name=ColumnProfile(Kind.TEXT, {"null": 2, "text": 1}))
    plan = plan_of(KEYED, profiles=found)
    assert_only(plan, "primary-key-not-carried", HAZARD, table="t", count=2)
    table = plan.tables[0]
    assert (table.target.primary_key, table.target.column("name").nullable, table.key) == ((), True, ())


def test_a_nullable_primary_key_without_nulls_is_a_key_and_becomes_not_null() -> None:
    plan = plan_of(KEYED)
    table = plan.tables[0]
    assert plan.hazards == ()
    assert (table.target.primary_key, table.target.column("name").nullable, table.key) == (
        ("name",),
        False,
        ("name",),
    )


def test_between_engines_that_let_a_key_be_null_it_stays_a_key() -> None:
    found = profile_of(KEYED, name=ColumnProfile(Kind.ANY, {"null": 2}))
    plan = plan_of(KEYED, profiles=found, traits=(LOOSE, LOOSE))
    table = plan.tables[0]
    assert plan.hazards == ()
    assert (table.target.primary_key, table.target.column("name").nullable, table.key) == (
        ("name",),
        True,
        (),
    )


def test_a_key_that_stays_behind_names_no_row() -> None:
    plan = plan_of(table_of(ID, NAME, primary_key=("id",)), table_of(NAME))
    assert plan.tables[0].key == ()


def test_a_foreign_key_to_rows_that_are_not_there_is_named() -> None:
    key = ForeignKey("f", ("name",), "other", ("id",))
    table = table_of(NAME, foreign_keys=(key,))
    orphans = {"f (name) -> other(id)": (2, ("name='x'",))}
    plan = plan_of(table, profiles=dataclasses.replace(profile_of(table), orphans=orphans))
    assert_only(plan, "foreign-key-not-carried", HAZARD, table="t", count=2, examples=("name='x'",))
    assert plan.tables[0].target.foreign_keys == ()
    assert plan_of(table).tables[0].target.foreign_keys == (key,)


def test_a_foreign_key_follows_the_table_and_the_columns_it_refers_to() -> None:
    parent = table_of(ID, name="parent", primary_key=("id",))
    child = table_of(Column("parent_id", Kind.INTEGER), name="child", foreign_keys=(
        ForeignKey(None, ("parent_id",), "parent", ("id",)),))  # fmt: skip
    mapping = {"parent": "elder", "parent.id": "elder.key", "child.parent_id": "child.elder_key"}
    plan = plan_of(Schema((child, parent)), mapping=mapping)
    assert [table.target.name for table in plan.tables] == ["elder", "child"]
    assert plan.tables[1].target.foreign_keys == (ForeignKey(None, ("elder_key",), "elder", ("key",)),)
    assert plan.tables[0].target.primary_key == ("key",)


def test_tables_are_loaded_after_those_they_refer_to_also_in_circles_and_to_themselves() -> None:
    def referring(name: str, *others: str) -> Table:
        keys = tuple(ForeignKey(None, ("id",), other, ("id",)) for other in others)
        return table_of(ID, name=name, primary_key=("id",), foreign_keys=keys)

    plan = plan_of(
        Schema((referring("a", "b", "a"), referring("b", "c"), referring("c", "b"), referring("d")))
    )
    assert [table.target.name for table in plan.tables] == ["b", "c", "a", "d"]


# --- entries that are too long ----------------------------------------------------------------------


def test_values_too_long_for_a_tree_leave_out_what_needs_one() -> None:
    long = profile_of(table_of(NAME), name=ColumnProfile(Kind.TEXT, longest_bytes=101))
    for table, hazard in (
        (table_of(NAME, indexes=(Index("i", (IndexPart("name"),)),)), "index-not-carried"),
        (table_of(NAME, uniques=(Unique(None, ("name",)),)), "unique-not-carried"),
        (table_of(NAME, primary_key=("name",)), "primary-key-not-carried"),
    ):
        plan = plan_of(table, profiles=long)
        assert "101 bytes" in assert_only(plan, hazard, HAZARD, table="t").sentence
        target = plan.tables[0].target
        assert target.indexes == target.uniques == target.primary_key == ()
        short = profile_of(table, name=ColumnProfile(Kind.TEXT, longest_bytes=100))
        assert plan_of(table, profiles=short).hazards == ()


# --- sizes ------------------------------------------------------------------------------------------

# An engine that wants a size before it indexes a text; test_sizes.py tells which sizes it gets.
SIZED = dataclasses.replace(
    STRICT, sized_keys=True, bytes_per_character=4, row_bytes=4_000, column_count=3, partial_indexes=False
)


def test_a_text_in_a_key_gets_a_length_and_that_is_told() -> None:
    plan = plan_of(table_of(NAME, primary_key=("name",)), traits=(LOOSE, SIZED))
    assert_only(plan, "length-limited", NOTICE, column="name")
    assert plan.tables[0].target.columns[0].size == 25


def test_more_columns_than_a_table_has_room_for_cannot_even_be_tried() -> None:
    columns = [Column(f"c{number}", Kind.INTEGER) for number in range(4)]
    plan = plan_of(table_of(*columns), traits=(LOOSE, SIZED))
    assert "4 columns" in assert_only(plan, "too-many-columns", BLOCKING, table="t").sentence
    assert not plan.can_be_made
    assert plan_of(table_of(*columns[:3]), traits=(LOOSE, SIZED)).hazards == ()


def test_a_length_that_no_row_has_room_for_is_given_up() -> None:
    wide = Column("c", Kind.TEXT, declared="VARCHAR(1000)", size=1000)
    plan = plan_of(table_of(wide), traits=(LOOSE, SIZED))
    assert_only(plan, "length-not-kept", NOTICE, column="c")
    assert plan.tables[0].columns[0].target.size is None
    assert plan.tables[0].target.columns[0].size is None


# --- indexes ----------------------------------------------------------------------------------------


def test_where_an_index_has_all_rows_one_of_some_rows_has_all_of_them_and_a_rule_stays_behind() -> None:
    number = Column("n", Kind.INTEGER)
    some = Index("i", (IndexPart("n"),), condition="n > 5")
    plan = plan_of(table_of(number, indexes=(some,)), traits=(LOOSE, SIZED))
    assert_only(plan, "index-of-all-rows", NOTICE, table="t")
    assert plan.tables[0].target.indexes == (dataclasses.replace(some, condition=None),)
    rule = dataclasses.replace(some, unique=True)
    plan = plan_of(table_of(number, indexes=(rule,)), traits=(LOOSE, SIZED))
    assert "n > 5" in assert_only(plan, "index-not-carried", HAZARD, table="t").sentence
    assert plan.tables[0].target.indexes == ()


def test_an_index_is_carried_with_its_condition_and_expressions() -> None:
    parts = (IndexPart("name", descending=True), IndexPart("lower(name)", is_expression=True))
    index = Index("i", parts, unique=True, condition="name LIKE 'a%'")
    plan = plan_of(table_of(NAME, indexes=(index,), uniques=(Unique("u", ("name",)),)))
    assert plan.hazards == ()
    assert plan.tables[0].target.indexes == (
        Index(
            "i",
            (IndexPart("name", descending=True), IndexPart('LOWER("name")', is_expression=True)),
            unique=True,
            condition="\"name\" ILIKE 'a%'",
        ),
    )
    assert plan.tables[0].target.uniques == (Unique("u", ("name",)),)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (Index("i", (IndexPart("name"),), condition="name GLOB 'a*'"), "GLOB"),
        (Index("i", (IndexPart("random()", is_expression=True),)), "random()"),
        (
            Index("i", (IndexPart("name", collation="NOCASE"), IndexPart("name", collation="A"))),
            "A, NOCASE has",
        ),
        (Index("i", (IndexPart("name"),), method="gin"), "gin has"),
        (Index("a_name_of_many_bytes_", (IndexPart("name"),)), "21 bytes"),
    ],
)
def test_an_index_that_cannot_be_carried_is_named(index: Index, words: str) -> None:
    plan = plan_of(table_of(NAME, indexes=(index,)))
    hazard = assert_only(plan, "index-not-carried", HAZARD, table="t")
    assert words in hazard.sentence
    assert index.name in hazard.sentence
    assert plan.tables[0].target.indexes == ()


def test_between_equal_dialects_an_index_keeps_collation_and_method() -> None:
    index = Index("i", (IndexPart("name", collation="C"),), method="gin")
    assert plan_of(table_of(NAME, indexes=(index,)), traits=(STRICT, STRICT)).tables[0].target.indexes == (
        index,
    )


# --- names ------------------------------------------------------------------------------------------

LONG = "é" * 10 + "x"


@pytest.mark.parametrize(
    ("table", "mapping"),
    [
        (table_of(NAME, name=LONG), {LONG: "short"}),
        (table_of(Column(LONG, Kind.TEXT)), {f"t.{LONG}": "t.short"}),
    ],
)
def test_a_name_that_the_target_would_cut_must_be_mapped(table: Table, mapping: dict[str, str]) -> None:
    assert "21 bytes" in assert_only(plan_of(table), "name-too-long", BLOCKING, table=table.name).sentence
    assert plan_of(table, mapping=mapping).hazards == ()
    assert plan_of(table, traits=(STRICT, LOOSE)).hazards == ()


def test_a_constraint_whose_name_is_too_long_gets_another() -> None:
    for table in (
        table_of(NAME, uniques=(Unique(LONG, ("name",)),)),
        table_of(NAME, checks=(Check(LONG, "name <> ''"),)),
        table_of(NAME, foreign_keys=(ForeignKey(LONG, ("name",), "o", ("id",)),)),
    ):
        plan = plan_of(table)
        assert_only(plan, "name-not-kept", NOTICE, table="t")
        target = plan.tables[0].target
        (constraint,) = (*target.uniques, *target.checks, *target.foreign_keys)
        assert constraint.name is None


@pytest.mark.parametrize(
    ("source", "target", "mapping", "traits", "tables"),
    [
        (Schema((table_of(NAME, name="A"), table_of(NAME, name="a"))), None, {}, (STRICT, LOOSE), ["A", "a"]),
        (
            Schema((table_of(NAME, name="a"),)),
            Schema((table_of(NAME, name="A"),)),
            {},
            (STRICT, LOOSE),
            ["A", "a"],
        ),
        (Schema((table_of(NAME), table_of(NAME, name="b"))), None, {"b": "t"}, (LOOSE, STRICT), ["b", "t"]),
        (table_of(Column("x", Kind.TEXT), Column("X", Kind.TEXT)), None, {}, (STRICT, LOOSE), ["t", "t"]),
        (table_of(ID, NAME), table_of(ID), {"t.name": "t.id"}, (LOOSE, STRICT), ["t", "t"]),
    ],
    ids=["tables", "a table there already", "two mapped to one", "columns", "two columns mapped to one"],
)
def test_names_that_come_to_the_same_block(
    source: Any, target: Any, mapping: dict[str, str], traits: tuple[Traits, Traits], tables: list[str]
) -> None:
    plan = plan_of(source, target, mapping=mapping, traits=traits)
    taken = [hazard for hazard in plan.hazards if hazard.name == "name-taken-twice"]
    assert [hazard.table for hazard in taken] == tables
    assert {hazard.severity for hazard in taken} == {BLOCKING}


def test_names_that_differ_in_case_are_two_where_the_target_tells_them_apart() -> None:
    source = Schema(
        (table_of(Column("x", Kind.TEXT), Column("X", Kind.TEXT), name="A"), table_of(NAME, name="a"))
    )
    assert plan_of(source).hazards == ()


def test_a_column_that_stays_behind_takes_no_name() -> None:
    there = table_of(Column("NAME", Kind.TEXT))
    source = table_of(NAME, Column("x", Kind.TEXT))
    plan = plan_of(source, there, mapping={"t.x": "t.NAME"}, traits=(STRICT, LOOSE))
    assert_only(plan, "column-left-behind", HAZARD, column="name")


# --- mapping ----------------------------------------------------------------------------------------


def test_a_new_table_takes_the_names_it_is_mapped_to() -> None:
    table = table_of(
        ID,
        Column("key", Kind.TEXT, default="'key'"),
        primary_key=("id",),
        uniques=(Unique("u", ("key",)),),
        indexes=(Index("i", (IndexPart("key"),)),),
    )
    plan = plan_of(table, mapping={"t": "settings", "t.key": "settings.key_name"})
    assert plan.hazards == ()
    target = plan.tables[0].target
    assert target.name == "settings"
    assert [column.name for column in target.columns] == ["id", "key_name"]
    assert target.uniques == (Unique("u", ("key_name",)),)
    assert target.indexes == (Index("i", (IndexPart("key_name"),)),)
    assert target.column("key_name").default == "'key'"
    assert plan.tables[0].columns[1].source.name == "key"


@pytest.mark.parametrize(
    ("table", "hazard"),
    [
        (table_of(NAME, checks=(Check(None, "Name <> ''"),)), "check-not-carried"),
        (table_of(NAME, Column("c", Kind.TEXT, generated="lower(name)")), "generated-not-carried"),
        (
            table_of(NAME, indexes=(Index("i", (IndexPart("name"),), condition="name <> ''"),)),
            "index-not-carried",
        ),
    ],
)
def test_an_expression_that_names_what_is_mapped_is_not_carried(table: Table, hazard: str) -> None:
    assert_only(plan_of(table, mapping={"t.name": "t.label"}), hazard, HAZARD, table="t")
    assert plan_of(table, mapping={"t": "other"}).hazards == ()


def test_an_existing_table_is_filled_under_the_mapping() -> None:
    plan = plan_of(
        table_of(Column("key", Kind.TEXT)),
        Schema((table_of(NAME, name="s"),)),
        mapping={"t": "s", "t.key": "s.name"},
    )
    assert plan.hazards == ()
    (table,) = plan.tables
    assert (table.is_new, table.source.name, table.target.name) == (False, "t", "s")
    assert [(column.source.name, column.target.name) for column in table.columns] == [("key", "name")]


# --- kinds to try -----------------------------------------------------------------------------------


def tries(column: Column, there: Column | None, source: Traits, target: Traits) -> tuple[Kind, ...]:
    pair = TablePair(table_of(column), None if there is None else table_of(there), "t", ((column, there),))
    return kinds_to_try(pair, source, target)["c"]


@pytest.mark.parametrize(
    ("column", "there", "source", "target", "expected"),
    [
        (Column("c", Kind.TEXT), None, LOOSE, LOOSE, (Kind.ANY,)),
        (Column("c", Kind.TEXT), Column("c", Kind.JSON), LOOSE, STRICT, (Kind.JSON,)),
        (Column("c", Kind.TEXT), Column("c", Kind.JSON), STRICT, LOOSE, (Kind.TEXT,)),
        (Column("c", Kind.TEXT), None, STRICT, STRICT, (Kind.TEXT,)),
        (Column("c", Kind.BOOLEAN), None, LOOSE, STRICT, ladder(Kind.BOOLEAN)),
        (Column("c", Kind.TIMESTAMP), None, LOOSE, STRICT, ladder(Kind.TIMESTAMP)),
        (Column("c", Kind.TIMESTAMP, default="CURRENT_TIMESTAMP"), None, LOOSE, STRICT, ladder(Kind.INSTANT)),
        (Column("c", Kind.TIMESTAMP, default="(datetime('now'))"), None, LOOSE, STRICT, ladder(Kind.INSTANT)),
    ],
)
def test_the_kinds_to_try_follow_the_target_then_the_declaration(
    column: Column, there: Column | None, source: Traits, target: Traits, expected: tuple[Kind, ...]
) -> None:
    assert tries(column, there, source, target) == expected


def test_a_column_of_a_new_table_is_tried_the_same_under_another_name() -> None:
    (pair,) = pair_tables(Schema((table_of(Column("c", Kind.ANY)),)), Schema(), {"t.c": "t.d"})
    assert kinds_to_try(pair, LOOSE, STRICT) == {"c": ladder(Kind.ANY)}


# --- views, triggers, the rest ----------------------------------------------------------------------


def test_a_view_is_translated_with_the_kinds_of_names_that_mean_one_kind() -> None:
    tables = (
        table_of(Column("a", Kind.BOOLEAN), Column("b", Kind.BOOLEAN)),
        table_of(Column("b", Kind.INTEGER), name="u"),
    )
    view = View("v", "SELECT 1 FROM t WHERE a = 1 AND b = 1")
    assert plan_of(Schema(tables, (view,))).views == (
        View("v", 'SELECT 1 FROM "t" WHERE "a" = TRUE AND "b" = 1'),
    )


@pytest.mark.parametrize(
    ("view", "mapping", "words"),
    [
        (View("v", "SELECT random()"), {}, "RAND"),
        (View(LONG, "SELECT 1"), {}, "21 bytes"),
        (View("v", "SELECT name FROM t"), {"t": "u"}, "names t"),
        (View("v", "SELECT Name FROM x"), {"t.name": "t.label"}, "names name"),
    ],
)
def test_a_view_that_cannot_be_carried_is_named(view: View, mapping: dict[str, str], words: str) -> None:
    plan = plan_of(Schema((table_of(NAME),), (view,)), mapping=mapping)
    assert words in assert_only(plan, "view-not-carried", HAZARD, table=view.name).sentence
    assert plan.views == ()


def test_a_view_that_the_target_has_is_kept() -> None:
    view = View("v", "SELECT 1")
    plan = plan_of(Schema(views=(view,)), Schema(views=(View("v", "SELECT 2"),)))
    assert_only(plan, "view-kept", NOTICE, table="v")
    assert plan.views == ()


TRIGGER = Trigger("tr", "t", "CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END")


def test_a_trigger_is_carried_between_equal_dialects_only() -> None:
    source = Schema((table_of(NAME),), triggers=(TRIGGER,))
    plan = plan_of(source, traits=(LOOSE, LOOSE))
    assert (plan.triggers, plan.hazards) == ((TRIGGER,), ())
    plan = plan_of(source)
    assert "tr" in assert_only(plan, "trigger-not-carried", HAZARD, table="t").sentence
    assert plan.triggers == ()


def test_a_trigger_is_not_lost_without_a_word() -> None:
    for trigger, mapping in ((dataclasses.replace(TRIGGER, definition=""), {}), (TRIGGER, {"t": "u"})):
        plan = plan_of(Schema((table_of(NAME),), triggers=(trigger,)), traits=(LOOSE, LOOSE), mapping=mapping)
        assert_only(plan, "trigger-not-carried", HAZARD, table="t")
        assert plan.triggers == ()


def test_a_table_that_the_target_has_keeps_its_own_triggers() -> None:
    plan = plan_of(Schema((table_of(NAME),), triggers=(TRIGGER,)), table_of(NAME))
    assert (plan.triggers, plan.hazards) == ((), ())


def test_what_has_no_portable_form_is_named_each_by_itself() -> None:
    plan = plan_of(Schema(uncarried=(Uncarried("virtual table", "search", "only one engine has it"),)))
    hazard = assert_only(plan, "virtual-table-not-carried", HAZARD, table="search")
    assert "only one engine has it" in hazard.sentence


def test_a_table_of_the_target_alone_stays_and_is_told() -> None:
    assert_only(plan_of(Schema(), table_of(NAME)), "table-only-in-target", NOTICE, table="t")


def test_a_table_that_keeps_its_own_rows_is_not_called_unknown_to_the_source() -> None:
    plan = plan_of(table_of(NAME), table_of(NAME), rows={"t": 1}, accept=("target-rows:t=target",))
    assert "table-only-in-target" not in {hazard.name for hazard in plan.hazards}


# --- names that are no names there ------------------------------------------------------------------


@pytest.mark.parametrize("names", [("t", "bad "), ("bad ", "c")])
def test_a_name_that_the_target_does_not_take_cannot_even_be_tried(names: tuple[str, str]) -> None:
    target = dataclasses.replace(STRICT, refused_names=" $")
    table = table_of(Column(names[1], Kind.TEXT), name=names[0])
    plan = plan_of(table, traits=(LOOSE, target))
    hazard = assert_only(plan, "name-not-held", BLOCKING, table=names[0])
    assert "'bad '" in hazard.sentence
    assert not plan.can_be_made
    assert plan_of(table).hazards == ()
    mapping = {"bad ": "good"} if names[0] == "bad " else {"t.bad ": "t.good"}
    assert plan_of(table, traits=(LOOSE, target), mapping=mapping).hazards == ()


def test_a_constraint_is_called_like_no_other_where_no_two_tables_can_have_one_name() -> None:
    check = Check("same", "length(name) > 0")
    tables = Schema((table_of(NAME, name="a", checks=(check,)), table_of(NAME, name="b", checks=(check,))))
    target = dataclasses.replace(STRICT, constraint_names_are_global=True)
    plan = plan_of(tables, traits=(LOOSE, target))
    assert_only(plan, "name-not-kept", NOTICE, table="b")
    assert [table.target.checks[0].name for table in plan.tables] == ["same", None]
    assert plan_of(tables).hazards == ()


def test_an_index_is_called_like_no_other_index_and_no_table() -> None:
    index = Index("same", (IndexPart("name"),))
    tables = [table_of(NAME, name=name, indexes=(index,)) for name in ("a", "b", "same")]
    plan = plan_of(Schema(tuple(tables)))
    assert {hazard.name for hazard in plan.hazards} == {"name-not-kept"}
    names = [table.target.indexes[0].name for table in plan.tables]
    assert names == ["a_same", "b_same", "same_same"]
    local = dataclasses.replace(STRICT, index_names_are_global=False)
    plan = plan_of(Schema(tuple(tables)), traits=(LOOSE, local))
    assert plan.hazards == ()
    assert [table.target.indexes[0].name for table in plan.tables] == ["same"] * 3


# --- the plan ---------------------------------------------------------------------------------------


def test_hazards_come_worst_first_and_in_an_order_that_never_changes() -> None:
    table = table_of(
        Column("a", Kind.TEXT, collation="X"),
        Column("b", Kind.TEXT, collation="X"),
        Column("c", Kind.TEXT, size=1),
    )
    found = profile_of(
        table, b=ColumnProfile(Kind.TEXT, nul_count=1), c=ColumnProfile(Kind.TEXT, longest_characters=2)
    )
    plan = plan_of(table, profiles=found)
    assert [(hazard.name, hazard.column) for hazard in plan.hazards] == [
        ("nul-in-text", "b"),
        ("collation-not-carried", "a"),
        ("collation-not-carried", "b"),
        ("length-not-kept", "c"),
    ]


def test_the_same_databases_give_the_same_plan_and_more_rows_change_nothing() -> None:
    table = table_of(ID, NAME, primary_key=("id",))
    more = dataclasses.replace(profile_of(table), row_count=99, next_number=100)
    assert plan_of(table) == plan_of(table)
    assert plan_of(table, profiles=more).fingerprint == plan_of(table).fingerprint
    assert plan_of(table, profiles=more).tables[0].row_count == 99


@pytest.mark.parametrize(
    "other",
    [
        {"source": table_of(ID, dataclasses.replace(NAME, default="'x'"), primary_key=("id",))},
        {"target": table_of(ID, NAME)},
        {"target": Schema((table_of(NAME, name="unrelated"),))},
        {"mapping": {"t.name": "t.label"}},
        {"mapping": {"t": "u"}},
        {"profiles": profile_of(table_of(ID, NAME), name=ColumnProfile(Kind.BYTES))},
    ],
    ids=["source", "target", "target alone", "column", "table", "kind"],
)
def test_another_way_is_another_plan(other: dict[str, Any]) -> None:
    table = table_of(ID, NAME, primary_key=("id",))
    arguments = {"source": table} | other
    assert plan_of(**arguments).fingerprint != plan_of(table).fingerprint


def untested(words: set[str]) -> list[str]:
    """Return the names of hazards that this file never speaks of."""
    tested = Path(__file__).read_text("utf-8")
    return [word for word in sorted(words) if f'"{word}"' not in tested]


def test_every_hazard_that_planning_can_name_has_a_test_here() -> None:
    folder = Path(migration.__file__).parent
    modules = ("planning", "fitting", "new_tables", "sizes", "refusal", "plan")
    text = "".join((folder / f"{name}.py").read_text("utf-8") for name in modules)
    words = set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)+)"', text))
    assert len(words) > 20
    assert untested(words) == []


def test_canary_a_hazard_without_a_test_is_noticed() -> None:
    made_up = "nothing has this name".replace(" ", "-")
    assert untested({made_up, "value-changed"}) == [made_up]
