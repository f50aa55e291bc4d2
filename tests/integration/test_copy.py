"""What copying promises: chunks that commit with their checkpoint, and nothing lost when it goes wrong."""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migration.checkpoint import (
    WHOLE_RUN,
    Checkpoint,
    create_checkpoints,
    first_checkpoints,
    read_checkpoints,
)
from migration.copy import copy_tables
from migration.errors import SourceUnusable
from migration.model import Chunk, Kind, Table
from migration.plan import ColumnPlan, Plan, TablePlan
from migration.progress import Step, silent
from tests.conftest import FreshDatabase
from tests.contract import Subject, column_of, table_of
from tests.moving import small_chunks

TABLE = table_of(
    "notes", column_of(Kind.INTEGER, "id", nullable=False), column_of(Kind.TEXT, "note"), key=["id"]
)


@pytest.fixture
async def pair(engine: str, fresh_database: FreshDatabase) -> AsyncIterator[tuple[Subject, Subject]]:
    source, target = Subject(fresh_database(engine)), Subject(fresh_database(engine))
    yield source, target
    await source.close()
    await target.close()


async def prepared(pair: tuple[Subject, Subject], table: Table, rows: Sequence[Sequence[Any]]) -> Plan:
    """Make a table on both sides, rows in the source, and first checkpoints in the target."""
    source, target = pair
    await source.create(table)
    if rows:
        await source.load(table, rows)
    schema = await target.create(table)
    plan = plan_of((await source.database.schema()).table(table.name), schema.table(table.name), len(rows))
    async with target.database.changing() as connection:
        await create_checkpoints(connection, target.database.writer, first_checkpoints(plan, {}).values())
    return plan


def plan_of(source: Table, target: Table, row_count: int) -> Plan:
    columns = tuple(
        ColumnPlan(ours, theirs, theirs.kind)
        for ours, theirs in zip(source.columns, target.columns, strict=True)
    )
    return Plan((TablePlan(source, target, columns, is_new=True, key=source.key, row_count=row_count),))


async def copy(plan: Plan, pair: tuple[Subject, Subject], told: list[Step] | None = None) -> list[Chunk]:
    source, target = pair
    progress = silent if told is None else told.append
    async with (
        source.source.snapshot() as snapshot,
        target.database.loader([plan.tables[0].target]) as loader,
    ):
        return await copy_tables(plan, snapshot, loader, source.traits, await checkpoints(target), progress)


async def checkpoints(target: Subject) -> dict[str, Checkpoint]:
    async with target.database.control() as connection:
        return await read_checkpoints(connection)


async def test_rows_arrive_and_the_checkpoint_says_so(pair: tuple[Subject, Subject]) -> None:
    rows = [(number, f"note {number}") for number in range(50)]
    plan = await prepared(pair, TABLE, rows)
    told: list[Step] = []
    (chunk,) = await copy(plan, pair, told)
    found = (await checkpoints(pair[1]))["notes"]
    assert sorted(await pair[1].read(TABLE)) == rows
    assert (chunk.row_count, found.row_count, found.is_finished, found.position) == (50, 50, True, chunk.upto)
    assert told[-1] == Step("copy", "notes", 50, 50)


async def test_an_empty_table_is_finished_too(pair: tuple[Subject, Subject]) -> None:
    plan = await prepared(pair, TABLE, [])
    assert [chunk.row_count for chunk in await copy(plan, pair)] == [0]
    assert (await checkpoints(pair[1]))["notes"].is_finished


async def test_a_finished_table_is_passed_over(pair: tuple[Subject, Subject]) -> None:
    plan = await prepared(pair, TABLE, [(1, "once")])
    await copy(plan, pair)
    assert await copy(plan, pair) == []
    assert await pair[1].read(TABLE) == [(1, "once")]


async def test_rows_the_target_had_are_gone_with_the_first_chunk(pair: tuple[Subject, Subject]) -> None:
    plan = await prepared(pair, TABLE, [(1, "theirs")])
    await pair[1].load(TABLE, [(1, "own"), (2, "own")])
    await copy(plan, pair)
    assert await pair[1].read(TABLE) == [(1, "theirs")]


class Stopped(Exception):
    """Somebody stopped the copy."""


def stop(_: Step) -> None:
    raise Stopped


async def test_it_goes_on_after_any_chunk_without_losing_or_repeating_a_row(
    pair: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, rows=3, size=1)
    rows = [(number, f"note {number}") for number in range(20)]
    plan = await prepared(pair, TABLE, rows)
    source, target = pair
    stops = 0
    while not (await checkpoints(target))["notes"].is_finished:
        progress = stop if stops < 3 else silent
        async with source.source.snapshot() as snapshot, target.database.loader([TABLE]) as loader:
            try:
                await copy_tables(plan, snapshot, loader, source.traits, await checkpoints(target), progress)
            except Stopped:
                stops += 1
        found = (await checkpoints(target))["notes"]
        assert found.row_count == await target.count(TABLE)
    assert stops == 3
    assert sorted(await target.read(TABLE)) == rows


async def test_rows_of_which_no_column_is_carried_are_carried_as_rows(pair: tuple[Subject, Subject]) -> None:
    plan = await prepared(pair, table_of("notes", column_of(Kind.TEXT, "note")), [("a",), ("b",), ("c",)])
    bare = dataclasses.replace(plan, tables=(dataclasses.replace(plan.tables[0], columns=(), key=()),))
    await copy(bare, pair)
    assert await pair[1].read(plan.tables[0].target) == [(None,)] * 3


class TestFromALooseSource:
    """Only an engine that keeps any value in any column can hold what the plan did not expect."""

    @pytest.fixture
    async def pair(
        self, engine: str, fresh_database: FreshDatabase
    ) -> AsyncIterator[tuple[Subject, Subject]]:
        source, target = Subject(fresh_database("sqlite")), Subject(fresh_database(engine))
        yield source, target
        await source.close()
        await target.close()

    async def test_a_value_that_came_after_the_look_is_named_and_stops_the_copy(
        self, pair: tuple[Subject, Subject]
    ) -> None:
        table = table_of("notes", column_of(Kind.INTEGER, "id"))
        plan = await prepared(pair, table, [(1,)])
        await pair[0].run("INSERT INTO notes VALUES ('late')")
        with pytest.raises(SourceUnusable, match=r"cannot become integer: 'late' \(notes\.id\)"):
            await copy(plan, pair)
        assert await pair[1].count(table) == 0
        assert not (await checkpoints(pair[1]))["notes"].is_finished

    async def test_a_source_that_breaks_in_the_middle_stops_the_copy_and_keeps_what_was_committed(
        self, pair: tuple[Subject, Subject], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        small_chunks(monkeypatch, rows=20, size=1 << 20)
        rows = [(number, "x" * 1000) for number in range(1000)]
        plan = await prepared(pair, TABLE, rows)
        path = Path(str(pair[0].url.database))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")
        data = bytearray(path.read_bytes())
        at = len(data) * 3 // 4 // 4096 * 4096
        data[at : at + 8192] = b"\xa5" * 8192
        path.write_bytes(data)
        with pytest.raises(SourceUnusable, match="damaged"):
            await copy(plan, pair)
        found = (await checkpoints(pair[1]))["notes"]
        assert not found.is_finished
        assert found.row_count == await pair[1].count(TABLE)


async def test_the_row_of_the_whole_run_is_no_table(pair: tuple[Subject, Subject]) -> None:
    plan = await prepared(pair, TABLE, [(1, None)])
    await copy(plan, pair)
    assert not (await checkpoints(pair[1]))[WHOLE_RUN].is_finished
    async with pair[1].source.snapshot() as snapshot:
        statement = sa.select(sa.func.count()).select_from(sa.table("migration_bench_checkpoint"))
        assert await snapshot.rows(statement) == [(2,)]
