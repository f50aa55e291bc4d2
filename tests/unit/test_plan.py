"""A plan is data: what accepts a hazard, what goes where, in which order, and when it is another plan."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration.errors import UsageError
from migration.model import Column, ForeignKey, Kind, Schema, Table, Trigger, View
from migration.plan import (
    TARGET_ROWS,
    ColumnPlan,
    Hazard,
    Plan,
    Severity,
    TablePlan,
    label,
    load_order,
    pair_tables,
    winner,
)

ID, NAME = Column("id", Kind.INTEGER), Column("name", Kind.TEXT)
DOTTED = Column("a.b", Kind.TEXT)


def plan_of(table: Table) -> TablePlan:
    columns = tuple(ColumnPlan(column, column, column.kind) for column in table.columns)
    return TablePlan(table, table, columns, is_new=True)


# --- accepting --------------------------------------------------------------------------------------

HAZARD = Hazard("value-changed", Severity.HAZARD, "Values change", "users", "name")
OWN_ROWS = Hazard(TARGET_ROWS, Severity.HAZARD, "The target has rows", "users")


@pytest.mark.parametrize("accept", ["value-changed", "value-changed:users", "value-changed:users.name"])
def test_a_hazard_is_accepted_by_its_name_its_table_or_its_column(accept: str) -> None:
    assert HAZARD.accepted_by(["nothing", accept])
    assert HAZARD.accepted_by(word for word in [accept])


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "value",
        "value-changed:",
        "value-changed:log",
        "value-changed:users.id",
        "value-changed=yes",
        "VALUE-CHANGED",
    ],
)
def test_a_hazard_is_accepted_by_nothing_else(accept: str) -> None:
    assert not HAZARD.accepted_by([accept])
    assert not HAZARD.accepted_by([])


def test_a_table_whose_name_has_an_equals_sign_can_be_named() -> None:
    assert dataclasses.replace(HAZARD, table="a=b", column="").accepted_by(["value-changed:a=b"])


def test_what_blocks_cannot_be_accepted_and_a_notice_need_not_be() -> None:
    assert not dataclasses.replace(HAZARD, severity=Severity.BLOCKING).accepted_by([HAZARD.name])
    assert dataclasses.replace(HAZARD, severity=Severity.NOTICE).accepted_by([])


@pytest.mark.parametrize(
    ("accept", "side"),
    [
        (["target-rows:users=source"], "source"),
        (["target-rows:users=target"], "target"),
        (["target-rows:log=source", "target-rows:users=target"], "target"),
        ([], ""),
        (["target-rows"], ""),
        (["target-rows:users"], ""),
        (["target-rows:users="], ""),
        (["target-rows:users=traget"], ""),
        (["target-rows:log=target"], ""),
        (["target-rows:users=source", "target-rows:users=target"], ""),
    ],
)
def test_rows_of_the_target_are_given_up_only_to_a_winner_named_for_that_table(
    accept: list[str], side: str
) -> None:
    """A misspelt winner, or two of them, is none: the target's rows would be gone."""
    assert winner("users", accept) == side
    assert OWN_ROWS.accepted_by(accept) == bool(side)


def test_a_hazard_says_what_accepts_it_and_that_does() -> None:
    for hazard in (HAZARD, OWN_ROWS):
        assert hazard.accepted_by([hazard.acceptance])


def test_a_plan_is_refused_for_every_hazard_that_is_not_accepted() -> None:
    blocking = dataclasses.replace(HAZARD, severity=Severity.BLOCKING)
    notice = dataclasses.replace(HAZARD, severity=Severity.NOTICE)
    plan = Plan((), hazards=(blocking, HAZARD, OWN_ROWS, notice))
    assert plan.refused([]) == (blocking, HAZARD, OWN_ROWS)
    assert plan.refused(iter(["value-changed", "target-rows:users=target"])) == (blocking,)


# --- pairing ----------------------------------------------------------------------------------------

USERS = Table("users", (ID, NAME, DOTTED))


def test_tables_and_columns_go_to_the_same_names() -> None:
    there = Table("users", (NAME, Column("id", Kind.FLOAT)))
    (pair,) = pair_tables(Schema((USERS,)), Schema((there,)), {})
    assert (pair.target, pair.target_name) == (there, "users")
    assert pair.columns == ((ID, there.columns[1]), (NAME, NAME), (DOTTED, None))


def test_a_mapping_sends_them_elsewhere() -> None:
    there = Table("people", (Column("key", Kind.TEXT), Column("c.d", Kind.TEXT)))
    mapping = {"users": "people", "users.name": "people.key", "users.a.b": "people.c.d"}
    (pair,) = pair_tables(Schema((USERS,)), Schema((there,)), mapping)
    assert pair.target is there
    assert [None if found is None else found.name for _, found in pair.columns] == [None, "key", "c.d"]


@pytest.mark.parametrize("mapped", ["users.label", "people.label", "label"])
def test_a_mapped_column_is_named_with_or_without_either_table(mapped: str) -> None:
    (pair,) = pair_tables(Schema((USERS,)), Schema(), {"users": "people", "users.name": mapped})
    assert (pair.target, pair.target_name) == (None, "people")
    assert [found.name if found else None for _, found in pair.columns] == [None, "label", None]


def test_a_column_named_like_its_table_keeps_its_name_when_nothing_maps_it() -> None:
    column = Column("users.x", Kind.TEXT)
    (pair,) = pair_tables(Schema((Table("users", (column,)),)), Schema((Table("users", (column,)),)), {})
    assert pair.columns == ((column, column),)


@pytest.mark.parametrize("name", ["nobody", "users.nothing", "Users"])
def test_a_mapping_of_what_the_source_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        pair_tables(Schema((USERS,)), Schema(), {name: "x"})


# --- order ------------------------------------------------------------------------------------------


def tables_of(references: dict[str, Sequence[str]]) -> list[TablePlan]:
    return [
        plan_of(
            Table(
                name, (ID,), foreign_keys=tuple(ForeignKey(None, ("id",), other, ("id",)) for other in others)
            )
        )
        for name, others in references.items()
    ]


def order(references: dict[str, Sequence[str]]) -> list[str]:
    return [table.target.name for table in load_order(tables_of(references))]


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ({}, []),
        ({"b": [], "a": []}, ["a", "b"]),
        ({"a": ["b"], "b": ["c"], "c": []}, ["c", "b", "a"]),
        ({"a": ["a"]}, ["a"]),
        ({"a": ["elsewhere"]}, ["a"]),
        ({"a": ["b"], "b": ["a"]}, ["a", "b"]),
        ({"b": ["c"], "c": ["d"], "d": ["b"]}, ["b", "d", "c"]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c", "a"]),
        ({"a": ["b", "c"], "b": ["a"], "c": ["d"], "d": ["c"]}, ["c", "d", "a", "b"]),
        ({"a": ["b"], "b": ["b", "c"], "c": []}, ["c", "b", "a"]),
    ],
)
def test_each_table_comes_after_those_it_refers_to(
    references: dict[str, list[str]], expected: list[str]
) -> None:
    """Where no circle forbids it; what only refers to a circle waits for all of it."""
    assert order(references) == expected


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefg"), max_size=3), max_size=7),
    st.randoms(),
)
@settings(max_examples=300)
def test_only_members_of_one_circle_may_come_before_what_they_refer_to(
    references: dict[str, list[str]], chance: random.Random
) -> None:
    def reachable(name: str) -> set[str]:
        found, unseen = set(), [name]
        while unseen:
            for other in references.get(unseen.pop(), []):
                if other in references and other not in found:
                    found.add(other)
                    unseen.append(other)
        return found

    names = list(references)
    chance.shuffle(names)
    ordered = order({name: references[name] for name in names})
    assert sorted(ordered) == sorted(references)
    assert ordered == order(references), "the order must not depend on how tables were found"
    for position, name in enumerate(ordered):
        for other in reachable(name) - {name}:
            assert ordered.index(other) < position or name in reachable(other)


# --- identity ---------------------------------------------------------------------------------------


def full_plan() -> Plan:
    table = dataclasses.replace(plan_of(USERS), key=("id",), row_count=3, next_number=4)
    return Plan(
        (table,),
        views=(View("v", "SELECT 1"),),
        triggers=(Trigger("t", "users"),),
        source_fingerprint="a",
        target_fingerprint="b",
    )


def test_the_same_way_is_the_same_plan_however_many_rows_there_are() -> None:
    table = dataclasses.replace(full_plan().tables[0], row_count=99, next_number=100)
    same = dataclasses.replace(full_plan(), tables=(table,), hazards=(HAZARD,))
    assert same.fingerprint == full_plan().fingerprint


def test_another_way_of_anything_is_another_plan() -> None:
    plan, table = full_plan(), full_plan().tables[0]
    column = dataclasses.replace(table.columns[1], kind=Kind.BYTES)
    renamed = dataclasses.replace(table.columns[1], target=dataclasses.replace(NAME, name="label"))
    tables = [
        dataclasses.replace(table, columns=(table.columns[0], column, table.columns[2])),
        dataclasses.replace(table, columns=(table.columns[0], renamed, table.columns[2])),
        dataclasses.replace(table, columns=table.columns[:2]),
        dataclasses.replace(table, key=()),
        dataclasses.replace(table, is_new=False),
        dataclasses.replace(table, replaces_rows=True),
        dataclasses.replace(table, target=dataclasses.replace(USERS, name="people")),
    ]
    plans = [
        plan,
        *[dataclasses.replace(plan, tables=(other,)) for other in tables],
        dataclasses.replace(plan, tables=()),
        dataclasses.replace(plan, views=()),
        dataclasses.replace(plan, triggers=()),
        dataclasses.replace(plan, source_fingerprint="other"),
        dataclasses.replace(plan, target_fingerprint="other"),
    ]
    assert len({other.fingerprint for other in plans}) == len(plans)


# --- small things -----------------------------------------------------------------------------------


def test_a_table_plan_knows_its_key_and_what_is_written() -> None:
    generated = ColumnPlan(NAME, dataclasses.replace(NAME, generated="'x'"), Kind.TEXT)
    table = TablePlan(USERS, USERS, (generated, ColumnPlan(ID, ID, Kind.INTEGER)), is_new=False, key=("id",))
    assert table.key_positions == (1,)
    assert [column.source.name for column in table.written] == ["id"]
    assert Plan((table, dataclasses.replace(table, is_new=True))).new_tables == (
        dataclasses.replace(table, is_new=True),
    )


def test_a_foreign_key_has_a_label_with_and_without_a_name() -> None:
    key = ForeignKey(None, ("a", "b"), "t", ("x", "y"))
    assert label(key) == "(a, b) -> t(x, y)"
    assert label(dataclasses.replace(key, name="f")) == "f (a, b) -> t(x, y)"
