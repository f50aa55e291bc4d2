"""What a choice comes to when it is held against two schemas; a misspelled one is never taken for one."""

from __future__ import annotations

import pytest

from migration.choice import (
    LEFT_OUT,
    TYPES_TO_CHOOSE,
    Choice,
    parse_type,
    schema_fingerprints,
    type_name,
)
from migration.errors import PlanChanged, UsageError
from migration.model import Column, Kind, Schema, Table, Trigger, Uncarried, View


def table(name: str, *columns: str) -> Table:
    return Table(name, tuple(Column(column, Kind.TEXT) for column in columns or ("id",)))


SCHEMA = Schema(
    tables=(table("audit_log"), table("audit_old"), table("notes", "id", "body"), table("odd*name")),
    views=(View("recent", "SELECT 1"),),
    triggers=(Trigger("watch", "audit_log"),),
    uncarried=(Uncarried("virtual table", "notes_fts", "it has no counterpart"),),
)


def going(**choice: tuple[str, ...]) -> list[str]:
    return [pair.source.name for pair in Choice(**choice).of(SCHEMA, Schema()).pairs]


def test_everything_goes_unless_something_is_chosen() -> None:
    chosen = Choice().of(SCHEMA, Schema())
    assert (chosen.schema, chosen.left_out) == (SCHEMA, {})


@pytest.mark.parametrize(
    ("tables", "excluded", "left"),
    [
        (("notes",), (), ["notes"]),
        (("audit_*",), (), ["audit_log", "audit_old"]),
        (("audit_*",), ("audit_old",), ["audit_log"]),
        ((), ("audit_*",), ["notes", "odd*name"]),
        # A name is that table, even where it looks like a pattern.
        (("odd*name",), (), ["odd*name"]),
    ],
)
def test_tables_are_chosen_by_name_or_pattern(
    tables: tuple[str, ...], excluded: tuple[str, ...], left: list[str]
) -> None:
    assert going(tables=tables, excluded=excluded) == left


def test_what_hangs_on_a_table_goes_or_stays_with_it() -> None:
    hanging = (
        Uncarried("on-update", "notes.id", "the target has none"),
        Uncarried("partitioning", "notes", "as one table"),
        Uncarried("on-update", "odd.id", "the target has none"),
        Uncarried("on-update", "odd.er.id", "the target has none"),
    )
    schema = Schema((table("notes"), table("odd"), table("odd.er")), uncarried=hanging)
    assert Choice(tables=("notes",)).of(schema, Schema()).schema.uncarried == hanging[:2]
    assert Choice(tables=("notes",)).of(schema, Schema()).left_out == dict.fromkeys(
        ("odd", "odd.er"), LEFT_OUT
    )
    assert Choice(excluded=("notes",)).of(schema, Schema()).schema.uncarried == hanging[2:]
    assert Choice(excluded=("odd",)).of(schema, Schema()).schema.uncarried == (*hanging[:2], hanging[3])


def test_what_is_left_out_is_named_and_takes_along_what_hangs_on_it() -> None:
    chosen = Choice(excluded=("audit_log", "recent", "notes_fts")).of(SCHEMA, Schema())
    assert chosen.left_out == dict.fromkeys(("audit_log", "notes_fts", "recent"), LEFT_OUT)
    assert (chosen.schema.triggers, chosen.schema.views, chosen.schema.uncarried) == ((), (), ())


@pytest.mark.parametrize("option", ["tables", "excluded"])
def test_a_name_that_means_nothing_is_refused_with_those_there_are(option: str) -> None:
    with pytest.raises(
        UsageError, match="'note', which the source does not have.*audit_log, audit_old, notes"
    ):
        going(**{option: ("note",)})


def test_something_has_to_go() -> None:
    with pytest.raises(UsageError, match="No table is left"):
        going(excluded=("*",))


def test_a_mapping_of_a_table_that_is_left_out_is_no_mistake() -> None:
    choice = Choice(
        excluded=("audit_*",), mapping={"audit_log": "log", "audit_old.id": "audit_old.key", "notes": "n"}
    )
    assert [pair.target_name for pair in choice.of(SCHEMA, Schema()).pairs] == ["n", "odd*name"]


@pytest.mark.parametrize(
    ("text", "kind", "size", "precision", "scale"),
    [
        ("text", Kind.TEXT, None, None, None),
        ("VARCHAR( 40 )", Kind.TEXT, 40, None, None),
        ("decimal(12,2)", Kind.DECIMAL, None, 12, 2),
        ("numeric(5)", Kind.DECIMAL, None, 5, 0),
        ("decimal", Kind.DECIMAL, None, None, None),
        ("bigint", Kind.INTEGER, None, None, None),
        ("instant", Kind.INSTANT, None, None, None),
        ("bytes", Kind.BYTES, None, None, None),
        ("json", Kind.JSON, None, None, None),
    ],
)
def test_a_type_is_a_kind_and_perhaps_a_size(
    text: str, kind: Kind, size: int | None, precision: int | None, scale: int | None
) -> None:
    found = parse_type(text)
    assert (found.kind, found.size, found.precision, found.scale) == (kind, size, precision, scale)
    assert parse_type(type_name(found)).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "",
        "string",
        "varchar",
        "varchar(0)",
        "varchar(1,2)",
        "text(5)",
        "decimal(2,3)",
        "bigint(8)",
        "any",
        "text; DROP",
    ],
)
def test_a_type_that_is_none_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_type(text, "notes.body")
    assert TYPES_TO_CHOOSE in told.value.sentence()
    assert "notes.body" in told.value.sentence()


def test_a_type_is_for_a_column_of_a_new_table() -> None:
    choice = Choice(types={"notes.body": "varchar(9)"})
    (pair,) = [pair for pair in choice.of(SCHEMA, Schema()).pairs if pair.types]
    assert (pair.source.name, pair.types["body"].size) == ("notes", 9)
    there = Schema((table("notes", "id", "body"),))
    with pytest.raises(UsageError, match="notes is in the target already, and keeps its types"):
        choice.of(SCHEMA, there)
    assert not any(pair.types for pair in choice.of(SCHEMA, there, are_types_made=False).pairs)


def test_a_type_of_a_column_that_is_not_there_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UsageError, match=r"Columns there are: notes\.body, notes\.id"):
        Choice(types={"notes.text": "text"}).of(SCHEMA, Schema())


def test_a_saved_choice_is_for_the_schema_it_was_saved_for() -> None:
    made_for = schema_fingerprints(SCHEMA)
    assert Choice(made_for=made_for).of(SCHEMA, Schema()).schema == SCHEMA
    other = Schema((table("audit_log"), table("notes", "id"), table("new"), table("odd*name")), SCHEMA.views)
    with pytest.raises(PlanChanged, match="audit_old is gone, new is new, notes has changed"):
        Choice(made_for=made_for).of(other, Schema())
    with pytest.raises(PlanChanged, match="what else is no table"):
        Choice(made_for=made_for).of(Schema(SCHEMA.tables), Schema())


def test_a_saved_choice_with_other_tables_is_held_against_those_of_both() -> None:
    made_for = {name: found for name, found in schema_fingerprints(SCHEMA).items() if name}
    assert Choice(tables=("notes",), made_for=made_for).of(SCHEMA, Schema()).pairs
    changed = Schema((table("notes", "id"),))
    with pytest.raises(PlanChanged, match="notes has changed"):
        Choice(tables=("notes",), made_for=made_for).of(changed, Schema())


def test_a_schema_without_any_table_says_so() -> None:
    with pytest.raises(UsageError, match="There are no tables"):
        Choice(tables=("missing",)).of(Schema(), Schema())
