"""Takes a migration back out of its target, and proves that the target is what it was.

What is new is dropped. Tables that were there before lose the rows that came, and get back those that
were put aside for them. Numbers go on where they were. Then the target is read again and compared with
what was noted before anything was written. All of this is told by the target itself: neither the source
nor a plan is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.checkpoint import (
    Before,
    Begun,
    Checkpoint,
    begun,
    drop_checkpoints,
    read_checkpoints,
    run_undoing,
)
from migration.database import Database
from migration.model import Kind, Table, View, fingerprint
from migration.plan import ColumnPlan, TablePlan, load_order
from migration.progress import silent
from migration.verify import Side, sum_table


async def note_before(target: Database, tables: Iterable[Table]) -> dict[str, Before]:
    """Note what tables that are there already are, every column of theirs, so that undoing can be proved."""
    before: dict[str, Before] = {}
    async with target.snapshot() as snapshot:
        side = Side("target", snapshot, target.traits)
        for table in tables:
            digest = (await sum_table(_as_it_is(table, target), side, silent)).digest
            before[table.name] = Before(digest, await snapshot.next_number(table))
    return before


async def save_rows(
    connection: AsyncConnection, tables: Iterable[Table], target: Database, run: Begun
) -> None:
    """Put aside, inside the target, the rows that are to be replaced; half a copy of a killed run goes."""
    for table in tables:
        if table.name in run.saved:
            await connection.exec_driver_sql(target.writer.drop_table(run.saved[table.name]))
            await connection.exec_driver_sql(
                f"CREATE TABLE {target.writer.quote(run.saved[table.name])} AS "
                f"SELECT {_kept(table, target)} FROM {target.writer.quote(table.name)}"
            )


async def drop_traces(connection: AsyncConnection, target: Database, run: Begun) -> None:
    """Remove the checkpoints and what was put aside, once nobody needs them.

    The checkpoints first: killed in between, what is left is rows of which nothing is expected any more.
    """
    await drop_checkpoints(connection)
    for saved in run.saved.values():
        await connection.exec_driver_sql(target.writer.drop_table(saved))


async def undo(target: Database) -> list[str]:
    """Take out of the target all that a run put in, and return what is not as it was, in words.

    Nothing returned means that the undoing is proved; only then the checkpoints and the rows that were
    put aside go too. Until then it can be done again.
    """
    async with target.control() as connection:
        checkpoints = await read_checkpoints(connection)
        there = await connection.run_sync(target.backend.reflect)
    run = begun(checkpoints)
    tables = [there.table(name) for name in run.before if there.has(name)]
    if run.is_prepared:
        await _put_back_rows(target, tables, checkpoints)
    elif checkpoints:
        async with target.changing() as connection:
            await connection.execute(run_undoing(checkpoints))
    async with target.changing() as connection:
        await drop_new(connection, target, run)
        for table in tables:
            number = run.before[table.name].next_number
            if number is not None:
                await target.backend.set_next_number(connection, table, number)
    changed = await _changed_since(target, run)
    if not changed:
        async with target.changing() as connection:
            await drop_traces(connection, target, run)
    return changed


async def drop_new(connection: AsyncConnection, target: Database, run: Begun) -> None:
    """Drop views, then foreign keys (they may form circles), then tables; pass over what is not there."""
    there = await connection.run_sync(target.backend.reflect)
    writer = target.writer
    for name in reversed(run.views):
        await connection.exec_driver_sql(writer.drop_view(View(name, "")))
    new = [table for table in there.tables if table.name in run.tables]
    if not run.is_prepared:
        # Nothing was copied yet, so one that holds rows is somebody else's.
        new = [table for table in new if await _is_empty(connection, target, table)]
    for statement in [key for table in new for key in writer.drop_foreign_keys(table)]:
        await connection.exec_driver_sql(statement)
    for table in new:
        await connection.exec_driver_sql(writer.drop_table(table.name))


async def _is_empty(connection: AsyncConnection, target: Database, table: Table) -> bool:
    found = await connection.exec_driver_sql(f"SELECT 1 FROM {target.writer.quote(table.name)} LIMIT 1")
    return found.first() is None


async def _put_back_rows(target: Database, tables: list[Table], checkpoints: dict[str, Checkpoint]) -> None:
    """Empty and refill what was there before, in one loading transaction that also says what is going on."""
    run = begun(checkpoints)
    # Where foreign keys cannot be held back, rows that refer to others go first and come last.
    order = [plan.target for plan in load_order(_as_it_is(table, target) for table in tables)]
    async with target.loader(tables) as loader, loader.transaction():
        for table in reversed(order):
            await loader.execute(sa.delete(sa.table(sa.quoted_name(table.name, True))))
        for table in order:
            if table.name in run.saved:
                await loader.execute(_put_back(table, target, run.saved[table.name]))
        await loader.execute(run_undoing(checkpoints))


async def _changed_since(target: Database, run: Begun) -> list[str]:
    schema = await target.schema()
    if run.schema and fingerprint(schema) != run.schema:
        return ["the schema"]
    now = await note_before(target, [schema.table(name) for name in run.before])
    changed = []
    for name, was in run.before.items():
        changed += [f"the rows of {name}"] * (now[name].digest != was.digest)
        changed += [f"the next number of {name}"] * (now[name].next_number != was.next_number)
    return changed


def _as_it_is(table: Table, target: Database) -> TablePlan:
    """Plan to read a table as itself: every column in its own kind."""
    any_class = target.traits.keeps_storage_classes
    columns = tuple(
        ColumnPlan(column, column, Kind.ANY if any_class else column.kind) for column in table.columns
    )
    return TablePlan(source=table, target=table, columns=columns, is_new=False)


def _put_back(table: Table, target: Database, saved: str) -> sa.TextClause:
    names = _kept(table, target)
    # Columns that refuse to be given a number are told to take the one they had.
    overriding = (
        "OVERRIDING SYSTEM VALUE " if any(column.always_automatic for column in table.columns) else ""
    )
    statement = (
        f"INSERT INTO {target.writer.quote(table.name)} ({names}) {overriding}"
        f"SELECT {names} FROM {target.writer.quote(saved)}"
    )
    # A colon would be a parameter to SQLAlchemy.
    return sa.text(statement.replace(":", "\\:"))


def _kept(table: Table, target: Database) -> str:
    """List the columns whose values are kept; generated ones are computed again."""
    return ", ".join(target.writer.quote(column.name) for column in table.columns if column.generated is None)
