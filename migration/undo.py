"""Takes a migration back out of its target, and proves that the target is what it was.

What is new is dropped. Tables that were there before lose the rows that came, and get back those that
were put aside for them. Numbers go on where they were. Then the target is read again and compared with
what was noted before anything was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.checkpoint import SAVED_PREFIX, Before, drop_checkpoints
from migration.database import Database
from migration.look import clause
from migration.model import Column, Table, fingerprint
from migration.plan import Plan
from migration.progress import silent
from migration.verify import Side, sum_table


async def note_before(target: Database, plan: Plan) -> dict[str, Before]:
    """Note what the tables that are there already are, so that undoing can be proved."""
    there = [table for table in plan.tables if not table.is_new]
    before: dict[str, Before] = {}
    if there:
        async with target.snapshot() as snapshot:
            side = Side("target", snapshot, target.traits)
            for table in there:
                digest = (await sum_table(table, side, silent)).digest
                before[table.target.name] = Before(digest, await snapshot.next_number(table.target))
    return before


async def save_rows(connection: AsyncConnection, plan: Plan, target: Database) -> None:
    """Put aside, inside the target, the rows that are to be replaced."""
    for position, table in enumerate(plan.tables):
        if table.replaces_rows:
            columns = ", ".join(target.writer.quote(column.name) for column in _kept(table.target))
            await connection.exec_driver_sql(
                f"CREATE TABLE {target.writer.quote(_saved(position))} AS "
                f"SELECT {columns} FROM {target.writer.quote(table.target.name)}"
            )


async def drop_traces(connection: AsyncConnection, plan: Plan, target: Database) -> None:
    """Remove the checkpoints and what was put aside, once nobody needs them."""
    for position, table in enumerate(plan.tables):
        if table.replaces_rows:
            await connection.exec_driver_sql(f"DROP TABLE {target.writer.quote(_saved(position))}")
    await drop_checkpoints(connection)


async def undo(target: Database, plan: Plan, before: Mapping[str, Before]) -> None:
    """Take out of the target all that the plan put in.

    One loading transaction empties and refills what was there before; the rest is DDL.
    """
    existing = [table for table in plan.tables if not table.is_new]
    if existing:
        async with target.loader([table.target for table in existing]) as loader, loader.transaction():
            for position, table in enumerate(plan.tables):
                if not table.is_new:
                    await loader.execute(sa.delete(clause(table.target)))
                if table.replaces_rows:
                    await loader.execute(_put_back(table.target, _saved(position)))
    async with target.changing() as connection:
        await drop_new(connection, plan, target)
        for table in existing:
            number = before[table.target.name].next_number
            if number is not None:
                await target.backend.set_next_number(connection, table.target, number)
        await drop_traces(connection, plan, target)


async def changed_since(target: Database, plan: Plan, before: Mapping[str, Before]) -> list[str]:
    """Return what is not as it was noted, in words; nothing means that the undoing is proved."""
    schema = await target.schema()
    if fingerprint(schema) != plan.target_fingerprint:
        return ["the schema"]
    now = await note_before(target, plan)
    changed = []
    for name, was in before.items():
        changed += [f"the rows of {name}"] * (now[name].digest != was.digest)
        changed += [f"the next number of {name}"] * (now[name].next_number != was.next_number)
    return changed


async def drop_new(connection: AsyncConnection, plan: Plan, target: Database) -> None:
    """Drop views, then foreign keys (they may form circles), then tables; what is not there is passed over."""
    there = await connection.run_sync(target.backend.reflect)
    views = {view.name for view in there.views}
    for view in reversed(plan.views):
        if view.name in views:
            await connection.exec_driver_sql(target.writer.drop_view(view))
    new = [table for table in plan.new_tables if there.has(table.target.name)]
    await _run(connection, (s for table in new for s in target.writer.drop_foreign_keys(table.target)))
    await _run(connection, (target.writer.drop_table(table.target.name) for table in reversed(new)))


async def _run(connection: AsyncConnection, statements: Iterable[str]) -> None:
    for statement in statements:
        await connection.exec_driver_sql(statement)


def _put_back(table: Table, saved: str) -> sa.Insert:
    names = [column.name for column in _kept(table)]
    rows = sa.table(saved, *[sa.column(sa.quoted_name(name, True)) for name in names])
    target = clause(table)
    return sa.insert(target).from_select(names, sa.select(*[rows.c[name] for name in names]))  # type: ignore[arg-type]


def _kept(table: Table) -> list[Column]:
    return [column for column in table.columns if column.generated is None]


def _saved(position: int) -> str:
    return f"{SAVED_PREFIX}{position}"


