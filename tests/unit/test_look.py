"""The source is looked at as it is: real files, every class in every column, rows that refer to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from migration.backends import backend_named, file_url
from migration.look import _keys_there, count_rows, look, own_kind
from migration.model import Column, ForeignKey, Kind, ScanColumn, Schema, Table, TableProfile
from migration.plan import TablePair, label, pair_tables
from migration.progress import Step

SQLITE, POSTGRESQL = backend_named("sqlite"), backend_named("postgresql")


def schema_of(path: Path) -> Schema:
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        schema = SQLITE.reflect(connection)
    engine.dispose()
    return schema


async def profiles_of(
    path: Path,
    script: str,
    target: Schema | None = None,
    mapping: Mapping[str, str] | None = None,
    steps: list[Step] | None = None,
) -> dict[str, TableProfile]:
    """Make a database and look at it for what it would become on a server."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    source = await asyncio.to_thread(schema_of, path)
    progress = (steps if steps is not None else []).append
    async with SQLITE.snapshot(file_url(str(path))) as snapshot:
        return await look(
            snapshot,
            source,
            pair_tables(source, target or Schema(), mapping or {}),
            SQLITE.traits,
            POSTGRESQL.traits,
            progress,
        )


async def test_each_column_is_profiled_for_the_first_kind_that_holds_all_of_it(sqlite_path: Path) -> None:
    profiles = await profiles_of(
        sqlite_path,
        """
        CREATE TABLE t (id INTEGER PRIMARY KEY, flag BOOLEAN, number INTEGER, mixed INT, at TIMESTAMP, free);
        INSERT INTO t VALUES (1, 0, 7, 1, '2024-01-01 00:00:00', '007'), (2, 2, 8, 'lots', 1700000000, NULL);
        """,
    )
    kinds = {name: column.kind for name, column in profiles["t"].columns.items()}
    assert kinds == {
        "id": Kind.INTEGER,
        "flag": Kind.INTEGER,
        "number": Kind.INTEGER,
        "mixed": Kind.TEXT,
        "at": Kind.INSTANT,
        "free": Kind.TEXT,
    }
    assert profiles["t"].row_count == 2
    assert profiles["t"].next_number == 3
    assert profiles["t"].columns["mixed"].changed_examples == ("id=1: 1",)


async def test_a_column_that_no_kind_holds_keeps_the_profile_of_the_declared_one(sqlite_path: Path) -> None:
    profiles = await profiles_of(
        sqlite_path, "CREATE TABLE t (c INTEGER); INSERT INTO t VALUES (1), ('lots'), (x'ff'), (1.5)"
    )
    found = profiles["t"].columns["c"]
    assert (found.kind, found.failed_count) == (Kind.INTEGER, 3)


async def test_only_columns_that_do_not_fit_are_read_again(sqlite_path: Path) -> None:
    steps: list[Step] = []
    await profiles_of(
        sqlite_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a BOOLEAN, b TEXT); INSERT INTO t VALUES (5, 2, 'x')",
        steps=steps,
    )
    assert steps == [Step("look", "t", 1, 1)] * 2


async def test_an_existing_column_decides_what_values_must_be(sqlite_path: Path) -> None:
    there = Table("other", (Column("c", Kind.INTEGER, bits=8), Column("d", Kind.JSON)))
    profiles = await profiles_of(
        sqlite_path,
        "CREATE TABLE t (c INTEGER, d TEXT); INSERT INTO t VALUES (300, '{}'), (1, '[')",
        Schema((there,)),
        {"t": "other"},
    )
    c, d = profiles["t"].columns["c"], profiles["t"].columns["d"]
    assert (c.kind, c.unfit_count, c.unfit_examples) == (Kind.INTEGER, 1, ("row 1: 300",))
    assert (d.kind, d.failed_count) == (Kind.JSON, 1)


async def test_a_mapped_column_of_a_new_table_is_tried_like_any_other(sqlite_path: Path) -> None:
    profiles = await profiles_of(
        sqlite_path, "CREATE TABLE t (c BOOLEAN); INSERT INTO t VALUES (2)", mapping={"t": "u", "t.c": "u.d"}
    )
    assert (profiles["t"].columns["c"].kind, profiles["t"].columns["c"].unfit_count) == (Kind.INTEGER, 0)


async def test_rows_that_refer_to_nothing_are_counted_and_shown(sqlite_path: Path) -> None:
    script = "CREATE TABLE parent (id INTEGER PRIMARY KEY); INSERT INTO parent VALUES (1);"
    script += "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES parent,"
    script += " gone REFERENCES gone(id), self INTEGER REFERENCES child);"
    script += "INSERT INTO child VALUES (1, 1, NULL, 1), (2, 9, NULL, NULL), (3, NULL, 'x', 1)"
    profiles = await profiles_of(sqlite_path, script)
    assert profiles["child"].orphans == {
        label(ForeignKey(None, ("parent_id",), "parent", ("id",))): (1, ("id=2, parent_id=9",)),
        label(ForeignKey(None, ("gone",), "gone", ("id",))): (1, ("id=3, gone='x'",)),
        label(ForeignKey(None, ("self",), "child", ("id",))): (0, ()),
    }
    assert profiles["parent"].orphans == {}


async def test_orphans_are_shown_few_and_counted_all(sqlite_path: Path) -> None:
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, up INTEGER REFERENCES t); WITH RECURSIVE n(x) AS "
    script += "(SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50) INSERT INTO t SELECT x, x + 1000 FROM n"
    ((count, examples),) = (await profiles_of(sqlite_path, script))["t"].orphans.values()
    assert (count, len(examples)) == (50, 5)


async def test_an_orphan_whose_text_is_broken_is_shown_too(sqlite_path: Path) -> None:
    script = "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE t (up TEXT REFERENCES p);"
    script += "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))"
    ((count, _),) = (await profiles_of(sqlite_path, script))["t"].orphans.values()
    assert count == 1


async def test_an_empty_table_has_a_profile(sqlite_path: Path) -> None:
    profiles = await profiles_of(sqlite_path, "CREATE TABLE t (c TEXT)")
    assert profiles["t"] == TableProfile(0, {"c": profiles["t"].columns["c"]})
    assert profiles["t"].columns["c"].storage == {}


async def test_rows_are_counted_whatever_the_table_is_called(sqlite_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_path)) as connection:
        connection.executescript('CREATE TABLE "a""b :x %s" (c); INSERT INTO "a""b :x %s" VALUES (1), (2)')
    async with SQLITE.snapshot(file_url(str(sqlite_path))) as snapshot:
        assert await count_rows(snapshot, Table('a"b :x %s', (Column("c", Kind.ANY),))) == 2


@pytest.mark.parametrize(("backend", "expected"), [(SQLITE, Kind.ANY), (POSTGRESQL, Kind.TEXT)])
def test_an_engine_that_holds_anything_is_read_as_anything(backend: object, expected: Kind) -> None:
    column = ScanColumn(Column("c", Kind.TEXT), Kind.INTEGER)
    assert own_kind(column, backend.traits) is expected  # type: ignore[attr-defined]


def test_a_foreign_key_to_rows_that_are_only_in_the_target_is_not_asked_about_here() -> None:
    child = Table("t", (Column("a", Kind.INTEGER),))
    key = ForeignKey("leads_away", ("a",), "elsewhere", ("id",))
    there = dataclasses.replace(child, foreign_keys=(key,))
    pair = TablePair(child, there, "t", ((child.columns[0], there.columns[0]),))
    assert _keys_there(pair, {"t": pair}) == {}
    parent = Table("elsewhere", (Column("id", Kind.INTEGER),))
    other = TablePair(parent, parent, "elsewhere", ((parent.columns[0], parent.columns[0]),))
    assert list(_keys_there(pair, {"t": pair, "elsewhere": other}).values()) == [key]
