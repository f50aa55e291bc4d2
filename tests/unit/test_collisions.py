"""Rows that differ in the source and would be equal under a unique key of the target are named beforehand.

The source is a real file; the target is told by what it has, since nothing is asked of it here.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from migration.backends import Snapshot, backend_named, file_url
from migration.choice import Choice
from migration.collisions import NAME, find_collisions
from migration.look import look
from migration.model import Column, Index, IndexPart, Kind, Schema, Table, Unique
from migration.plan import Hazard, Severity
from migration.planning import make_plan
from migration.progress import silent
from migration.traits import Traits
from tests.moving import made

SQLITE, POSTGRESQL = backend_named("sqlite"), backend_named("postgresql")
NUMBER, TEXT = Column("n", Kind.INTEGER), Column("v", Kind.TEXT)


class Counting:
    """A snapshot that counts how often it is read."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.scans: list[str] = []
        self.queries = 0

    def scan(self, table: Table, columns: Any, **options: Any) -> AsyncGenerator[Any, None]:
        self.scans.append(table.name)
        return self._snapshot.scan(table, columns, **options)

    async def rows(self, statement: Any) -> Any:
        self.queries += 1
        return await self._snapshot.rows(statement)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshot, name)


def schema_of(path: Path) -> Schema:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        schema = SQLITE.reflect(connection)
    engine.dispose()
    return schema


async def found(
    path: Path,
    script: str,
    *target: Table,
    mapping: Mapping[str, str] | None = None,
    reads: int = 1,
    traits: Traits = POSTGRESQL.traits,
) -> list[Hazard]:
    """Make a source and return what is found; ``reads`` is how often it may be read for that."""
    await asyncio.to_thread(path.unlink, missing_ok=True)
    await asyncio.to_thread(made, path, script)
    source = await asyncio.to_thread(schema_of, path)
    there = Schema(tuple(target))
    chosen = Choice(mapping=mapping or {}).of(source, there)
    async with SQLITE.snapshot(file_url(str(path))) as snapshot:
        profiles = await look(snapshot, source, chosen.pairs, SQLITE.traits, traits, silent)
        plan = make_plan(chosen, there, profiles, {}, SQLITE.traits, traits)
        counting = Counting(snapshot)
        hazards = await find_collisions(counting, plan, profiles, SQLITE.traits, traits)
    assert len(counting.scans) + counting.queries == reads
    assert {hazard.name for hazard in hazards} <= {NAME}
    return list(hazards)


def existing(*columns: Column, **rest: Any) -> Table:
    return Table("t", columns, **rest)


# --- what becomes equal -----------------------------------------------------------------------------


async def test_two_spellings_of_one_instant_cannot_both_go(sqlite_path: Path) -> None:
    (hazard,) = await found(
        sqlite_path,
        """
        CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP UNIQUE);
        INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, 1704067200), (3, '2024-01-02 00:00:00'),
            (4, '2024-01-01T01:00:00+01:00'), (5, NULL), (6, NULL);
        """,
    )
    assert (hazard.severity, hazard.table, hazard.column, hazard.count) == (Severity.BLOCKING, "t", "at", 3)
    (example,) = hazard.examples
    assert example.count(" and ") == 2
    for shown in ("1704067200", "+01:00", "1", "4"):
        assert shown in example
    assert "are equal" in hazard.sentence


@pytest.mark.parametrize(
    ("values", "count"),
    [("(1), ('1.0'), (2)", 2), ("(1), ('1'), ('2'), (2), (3)", 4), ("(1), ('2'), (NULL), (NULL)", 0)],
)
async def test_a_number_and_the_text_of_it_are_one_key(sqlite_path: Path, values: str, count: int) -> None:
    # A column of blobs converts nothing on its way in.
    hazards = await found(
        sqlite_path,
        f"CREATE TABLE t (c BLOB UNIQUE); INSERT INTO t VALUES {values}",
        existing(Column("c", Kind.DECIMAL), uniques=(Unique(None, ("c",)),)),
    )
    assert [hazard.count for hazard in hazards] == [count] * bool(count)


async def test_times_that_lose_their_difference_are_equal(sqlite_path: Path) -> None:
    script = """
        CREATE TABLE t (at TIMESTAMP UNIQUE);
        INSERT INTO t VALUES ('2024-01-01 00:00:00.1'), ('2024-01-01 00:00:00.2'), ('2024-01-01 00:00:01');
    """
    rule = (Unique(None, ("at",)),)
    (hazard,) = await found(
        sqlite_path, script, existing(Column("at", Kind.TIMESTAMP, precision=0), uniques=rule)
    )
    assert (hazard.severity, hazard.count) == (Severity.BLOCKING, 2)


async def test_what_keeps_its_difference_is_no_collision(sqlite_path: Path) -> None:
    script = """
        CREATE TABLE t (at TIMESTAMP UNIQUE);
        INSERT INTO t VALUES ('2024-01-01 00:00:00.1'), ('2024-01-01 00:00:00.2');
    """
    there = existing(Column("at", Kind.TIMESTAMP, precision=1), uniques=(Unique(None, ("at",)),))
    assert await found(sqlite_path, script, there) == []


async def test_of_a_key_of_several_columns_all_must_be_equal_and_none_empty(sqlite_path: Path) -> None:
    (hazard,) = await found(
        sqlite_path,
        """
        CREATE TABLE t (a TEXT, n INTEGER);
        INSERT INTO t VALUES ('x', 1), ('x', 1), ('x', 2), ('y', 1), ('x', NULL), ('x', NULL), (NULL, 1);
        """,
        existing(Column("a", Kind.TEXT), NUMBER, uniques=(Unique(None, ("a", "n")),)),
    )
    assert (hazard.column, hazard.count) == ("a, n", 2)


async def test_few_are_shown_and_all_are_counted(sqlite_path: Path) -> None:
    rows = ", ".join(f"({number // 2})" for number in range(40))
    (hazard,) = await found(
        sqlite_path,
        f"CREATE TABLE t (n INTEGER); INSERT INTO t VALUES {rows}",
        existing(NUMBER, primary_key=("n",)),
    )
    assert (hazard.count, len(hazard.examples)) == (40, 5)


# --- rules that the target has alone ----------------------------------------------------------------


@pytest.mark.parametrize(
    "rule",
    [
        {"uniques": (Unique("u", ("n",)),)},
        {"primary_key": ("n",)},
        {"indexes": (Index("i", (IndexPart("n"),), unique=True),)},
        # One rule said twice is one rule.
        {"uniques": (Unique("u", ("n",)), Unique("again", ("n",)))},
    ],
    ids=["rule", "key", "index", "twice"],
)
async def test_a_rule_that_the_source_has_not_is_looked_at(sqlite_path: Path, rule: dict[str, Any]) -> None:
    script = "CREATE TABLE t (n INTEGER, v TEXT); INSERT INTO t VALUES (1, 'a'), (1, 'b'), (2, 'c')"
    (hazard,) = await found(sqlite_path, script, existing(NUMBER, TEXT, **rule))
    assert (hazard.severity, hazard.column, hazard.count) == (Severity.BLOCKING, "n", 2)


@pytest.mark.parametrize(
    "key",
    ["PRIMARY KEY (n)", "UNIQUE (n)", "PRIMARY KEY (n, v), UNIQUE (n)"],
)
async def test_what_the_source_itself_forbids_is_not_looked_at(sqlite_path: Path, key: str) -> None:
    there = existing(NUMBER, TEXT, uniques=(Unique(None, ("n",)), Unique(None, ("n", "v"))))
    assert await found(sqlite_path, f"CREATE TABLE t (n INTEGER, v TEXT, {key})", there, reads=0) == []


@pytest.mark.parametrize("part", ["(n) WHERE n > 5", "(abs(n))"])
async def test_what_the_source_forbids_of_some_rows_or_otherwise_is_looked_at(
    sqlite_path: Path, part: str
) -> None:
    script = f"CREATE TABLE t (n INTEGER); CREATE UNIQUE INDEX i ON t {part}; INSERT INTO t VALUES (1), (2)"
    assert await found(sqlite_path, script, existing(NUMBER, uniques=(Unique(None, ("n",)),))) == []


async def test_rules_that_nobody_can_ask_about_are_found_when_rows_are_loaded(sqlite_path: Path) -> None:
    unfilled = Column("more", Kind.INTEGER, default="0")
    there = existing(
        NUMBER,
        unfilled,
        uniques=(Unique(None, ("n", "more")),),
        indexes=(Index("i", (IndexPart("n % 2", is_expression=True),), unique=True),),
    )
    script = "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1), (1)"
    assert await found(sqlite_path, script, there, reads=0) == []


async def test_a_partial_rule_of_a_new_table_is_the_sources_own(sqlite_path: Path) -> None:
    script = (
        "CREATE TABLE t (n INTEGER); CREATE UNIQUE INDEX i ON t (n) WHERE n > 5; INSERT INTO t VALUES (1)"
    )
    assert await found(sqlite_path, script, reads=0) == []


# --- rules for some rows ----------------------------------------------------------------------------

SOME = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, v TEXT);
    INSERT INTO t VALUES (1, 7, 'a'), (2, 7, 'b'), (3, 1, 'c'), (4, 1, 'd'), (5, NULL, 'e'), (6, NULL, 'f');
"""


def partly(condition: str) -> Table:
    index = Index("i", (IndexPart("n"),), unique=True, condition=condition)
    return existing(Column("id", Kind.INTEGER), NUMBER, TEXT, indexes=(index,))


async def test_a_rule_for_some_rows_is_asked_of_the_source_itself(sqlite_path: Path) -> None:
    (hazard,) = await found(sqlite_path, SOME, partly("n > 5"))
    # What the condition means in the target is for the target to say.
    assert (hazard.severity, hazard.count, hazard.examples) == (Severity.HAZARD, 2, ("n=7 (2 rows)",))
    assert "where n > 5" in hazard.sentence
    assert "may be" in hazard.sentence


async def test_a_rule_for_rows_that_are_not_there_forbids_nothing(sqlite_path: Path) -> None:
    assert await found(sqlite_path, SOME, partly("n > 50")) == []


async def test_a_condition_that_cannot_be_translated_is_not_asked_about(sqlite_path: Path) -> None:
    assert await found(sqlite_path, SOME, partly("n OPERATOR(pg_catalog.>) ANY (ARRAY[5])"), reads=0) == []


async def test_a_condition_that_names_a_column_of_another_name_is_not_asked_about(sqlite_path: Path) -> None:
    there = dataclasses.replace(
        partly("w = 'a'"), columns=(Column("id", Kind.INTEGER), NUMBER, Column("w", Kind.TEXT))
    )
    assert await found(sqlite_path, SOME, there, mapping={"t.v": "t.w"}, reads=0) == []
    other = dataclasses.replace(there, indexes=partly("n > 5").indexes)
    assert len(await found(sqlite_path, SOME, other, mapping={"t.v": "t.w"})) == 1


# --- columns that compare in their own way ----------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (("a", "A"), 2),
        (("straße", "STRASSE"), 2),
        (("é", "e", "e\u0301"), 3),
        (("a", "a  ", " a"), 2),
        (("\ufb01", "fi"), 2),
        (("a", "b"), 0),
    ],
    ids=ascii,
)
async def test_texts_that_a_comparison_might_take_for_one_another_are_named(
    sqlite_path: Path, values: tuple[str, ...], count: int
) -> None:
    rows = ", ".join(f"('{value}')" for value in values)
    script = f"CREATE TABLE t (v TEXT UNIQUE); INSERT INTO t VALUES {rows}"
    rule = (Unique(None, ("v",)),)
    folding = existing(dataclasses.replace(TEXT, collation="some_ci"), uniques=rule)
    hazards = await found(sqlite_path, script, folding)
    assert [hazard.count for hazard in hazards] == [count] * bool(count)
    # Only the target knows how it compares; whoever accepts it has the rows put back if it is so.
    assert all(hazard.severity is Severity.HAZARD for hazard in hazards)
    for there in ((existing(TEXT, uniques=rule),), ()):
        assert await found(sqlite_path, script, *there, reads=0) == []


async def test_numbers_beside_such_a_text_are_compared_as_they_are(sqlite_path: Path) -> None:
    script = "CREATE TABLE t (v TEXT, n INTEGER); INSERT INTO t VALUES ('a', 1), ('A', 2), ('A', 1)"
    folding = dataclasses.replace(TEXT, collation="some_ci")
    there = existing(
        folding, dataclasses.replace(NUMBER, collation="odd"), uniques=(Unique(None, ("v", "n")),)
    )
    (hazard,) = await found(sqlite_path, script, there)
    assert hazard.count == 2


async def test_where_any_value_is_kept_texts_are_folded_and_others_are_not(sqlite_path: Path) -> None:
    script = """
        CREATE TABLE t (v);
        INSERT INTO t VALUES ('a'), ('A'), (1), ('1'), (1.5), (x'41'), (NULL), (NULL);
    """
    folding = existing(dataclasses.replace(TEXT, collation="NOCASE"), uniques=(Unique(None, ("v",)),))
    (hazard,) = await found(sqlite_path, script, folding, traits=SQLITE.traits)
    assert (hazard.severity, hazard.count) == (Severity.HAZARD, 2)


async def test_where_any_value_is_kept_rows_without_one_are_equal_to_no_other(sqlite_path: Path) -> None:
    script = "CREATE TABLE t (v, n); INSERT INTO t VALUES (NULL, 1), (NULL, 1), (2, NULL), (2, NULL), (2, 3)"
    there = existing(TEXT, NUMBER, uniques=(Unique(None, ("v", "n")),))
    assert await found(sqlite_path, script, there, traits=SQLITE.traits) == []
