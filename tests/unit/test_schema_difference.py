"""Two schemas as values: whatever one has and the other has not is named, once, in an order that stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migration.choice import Choice
from migration.errors import UsageError
from migration.model import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    Trigger,
    Unique,
    View,
)
from migration.schema_difference import compare_schemas

ID = Column("id", Kind.INTEGER, "INTEGER", nullable=False, automatic=True)
NAME = Column("name", Kind.TEXT, "TEXT")
PARENT = Table("parents", (ID,), ("id",))
CHILD = Table(
    "children",
    (ID, NAME, Column("parent", Kind.INTEGER, "INTEGER")),
    ("id",),
    uniques=(Unique("once", ("name",)),),
    checks=(Check(None, "name <> ''"),),
    foreign_keys=(ForeignKey("fk", ("parent",), "parents", ("id",)),),
    indexes=(Index("by_parent", (IndexPart("parent"),)),),
)
SCHEMA = Schema((CHILD, PARENT), (View("seen", "SELECT 1"),), (Trigger("loud", "children"),))


def with_child(**changes: object) -> Schema:
    return replace(SCHEMA, tables=(replace(CHILD, **changes), PARENT))  # type: ignore[arg-type]


def with_column(position: int, **changes: object) -> Schema:
    columns = list(CHILD.columns)
    columns[position] = replace(columns[position], **changes)  # type: ignore[arg-type]
    return with_child(columns=tuple(columns))


def told(target: Schema, mapping: dict[str, str] | None = None, source: Schema = SCHEMA) -> list[str]:
    return [str(found) for found in compare_schemas(source, target, Choice(mapping=mapping or {}))]


def test_a_schema_says_the_same_as_itself() -> None:
    assert told(SCHEMA) == []
    assert compare_schemas(Schema(), Schema(), Choice()) == ()


CASES = {
    "a table": (replace(SCHEMA, tables=(CHILD,)), ["missing table in parents"], ["extra table in parents"]),
    "a view": (replace(SCHEMA, views=()), ["missing view in seen"], ["extra view in seen"]),
    "a trigger": (replace(SCHEMA, triggers=()), ["missing trigger in loud"], ["extra trigger in loud"]),
    "a column": (
        with_child(columns=CHILD.columns[:1] + CHILD.columns[2:], uniques=()),
        ["missing column in children.name", "missing uniqueness in children [(name)]"],
        ["extra column in children.name", "extra uniqueness in children [(name)]"],
    ),
    "a type": (
        with_column(1, kind=Kind.BYTES, declared="bytea"),
        ["type in children.name: source TEXT (text), target bytea (bytes)"],
        ["type in children.name: source bytea (bytes), target TEXT (text)"],
    ),
    "whether it may be empty": (
        with_column(1, nullable=False),
        ["nullability in children.name: source may be NULL, target NOT NULL"],
        ["nullability in children.name: source NOT NULL, target may be NULL"],
    ),
    "a default": (
        with_column(1, default="'x'"),
        ["default in children.name: source none, target 'x'"],
        ["default in children.name: source 'x', target none"],
    ),
    "a generated column": (
        with_column(1, generated="id + 1"),
        ["generated column in children.name: source no, target id + 1"],
        ["generated column in children.name: source id + 1, target no"],
    ),
    "a primary key": (
        with_child(primary_key=("id", "name")),
        ["primary key in children: source id, target id, name"],
        ["primary key in children: source id, name, target id"],
    ),
    "an index": (
        with_child(indexes=()),
        ["missing index in children [by_parent (parent)]"],
        ["extra index in children [by_parent (parent)]"],
    ),
    "a uniqueness rule": (
        with_child(uniques=()),
        ["missing uniqueness in children [(name)]"],
        ["extra uniqueness in children [(name)]"],
    ),
    "an index that became unique": (
        with_child(indexes=(Index("by_parent", (IndexPart("parent"),), unique=True),)),
        ["extra uniqueness in children [(parent)]"],
        ["missing uniqueness in children [(parent)]"],
    ),
    "a foreign key": (
        with_child(foreign_keys=()),
        ["missing foreign key in children [fk (parent) -> parents(id)]"],
        ["extra foreign key in children [fk (parent) -> parents(id)]"],
    ),
    "a check": (
        with_child(checks=()),
        ["number of checks in children: source 1, target 0"],
        ["number of checks in children: source 0, target 1"],
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_canary_what_differs_is_named_from_either_side(case: str) -> None:
    other, from_here, from_there = CASES[case]
    assert told(other) == from_here
    assert told(SCHEMA, source=other) == from_there


def test_names_and_spellings_that_mean_the_same_are_no_difference() -> None:
    same = with_child(
        columns=(replace(ID, declared="bigint"), replace(NAME, declared="text"), CHILD.columns[2]),
        foreign_keys=(ForeignKey("another_name", ("parent",), "parents", ("id",)),),
        indexes=(Index("another_name", (IndexPart("parent"),)),),
    )
    assert told(same) == []


def test_a_number_that_the_target_gives_itself_is_no_default() -> None:
    assert told(with_column(0, default="nextval('s')")) == []


def test_a_rule_that_is_unique_serves_as_an_index() -> None:
    plain = with_child(
        uniques=(), indexes=(*CHILD.indexes, Index("by_name", (IndexPart("name"),), unique=True))
    )
    assert told(SCHEMA, source=plain) == []


def test_a_mapping_renames_tables_and_columns_and_all_that_refers_to_them() -> None:
    renamed = Schema(
        (
            Table("elders", (ID,), ("id",)),
            replace(
                CHILD,
                columns=(ID, replace(NAME, name="called"), replace(CHILD.columns[2], name="elder")),
                uniques=(Unique("once", ("called",)),),
                foreign_keys=(ForeignKey("fk", ("elder",), "elders", ("id",)),),
                indexes=(Index("by_parent", (IndexPart("elder"),)),),
            ),
        ),
        SCHEMA.views,
        SCHEMA.triggers,
    )
    mapping = {"parents": "elders", "children.name": "children.called", "children.parent": "children.elder"}
    assert told(renamed, mapping) == []
    assert "missing table in parents" in told(renamed)
    with pytest.raises(UsageError, match="'nobody'"):
        told(renamed, {"nobody": "somebody"})
