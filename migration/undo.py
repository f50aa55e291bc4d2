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
    SAVED_PREFIX,
    Before,
    Begun,
    begun,
    drop_checkpoints,
    read_checkpoints,
    run_undoing,
)
from migration.contents import as_stored, spelled_columns
from migration.database import Database
from migration.errors import MigrationError
from migration.model import Table, View, fingerprint
from migration.plan import load_order
from migration.progress import silent
from migration.verify import Side, sum_table


async def note_before(target: Database, tables: Iterable[Table]) -> dict[str, Before]:
    """Note what tables that are there already are, every column of theirs, so that undoing can be proved."""
    before: dict[str, Before] = {}
    async with target.snapshot() as snapshot:
        side = Side("target", snapshot, target.traits)
        for table in tables:
            plan = as_stored(table, target.traits, await spelled_columns(snapshot, table))
            digest = (await sum_table(plan, side, silent)).digest
            before[table.name] = Before(digest, await snapshot.next_number(table))
    return before


async def save_rows(
    connection: AsyncConnection,
    tables: Iterable[Table],
    target: Database,
    run: Begun,
    *,
    are_copied: bool = True,
) -> None:
    """Put aside, inside the target, the rows that are to be replaced; half a copy of a killed run goes.

    ``are_copied`` means that they are those that are there; else there is only made room for them.
    """
    rows = "" if are_copied else " WHERE 1 = 0"
    for table in tables:
        if table.name in run.saved:
            await connection.exec_driver_sql(target.writer.drop_table(run.saved[table.name]))
            await connection.exec_driver_sql(
                f"CREATE TABLE {target.writer.quote(run.saved[table.name])} AS "
                f"SELECT {_kept(table, target)} FROM {target.writer.quote(table.name)}{rows}"
            )


async def sweep(connection: AsyncConnection, target: Database) -> None:
    """Drop rows that a run without checkpoints has put aside: nobody needs them any more."""
    for name in await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()):
        if name.startswith(SAVED_PREFIX):
            await connection.exec_driver_sql(target.writer.drop_table(name))


async def drop_traces(target: Database, run: Begun) -> None:
    """Remove the checkpoints and what was put aside, once nobody needs them.

    The checkpoints first: killed in between, what is left is rows of which nothing is expected any more.
    """
    try:
        async with target.changing() as connection:
            await drop_checkpoints(connection)
            for saved in run.saved.values():
                await connection.exec_driver_sql(target.writer.drop_table(saved))
    except MigrationError:
        # It may have happened, and only the answer was lost.
        if await holds_checkpoints(target):
            raise


async def holds_checkpoints(target: Database) -> bool:
    """Tell whether there are checkpoints; a target that does not answer may hold some."""
    try:
        async with target.control() as connection:
            return bool(await read_checkpoints(connection))
    except MigrationError:
        return True


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
    if checkpoints:
        async with target.changing() as connection:
            await connection.execute(run_undoing(checkpoints))
    # What is new goes first: where foreign keys cannot be held back, it would hold the rows it refers to.
    async with target.changing() as connection:
        await drop_new(connection, target, run)
    if run.is_prepared and tables:
        await _put_back_rows(target, tables, run)
    async with target.changing() as connection:
        for table in tables:
            number = run.before[table.name].next_number
            if number is not None:
                await target.backend.set_next_number(connection, table, number)
    changed = await changed_since(target, run)
    if not changed:
        await drop_traces(target, run)
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


async def _put_back_rows(target: Database, tables: list[Table], run: Begun) -> None:
    """Empty and refill what was there before, in one loading transaction."""
    # Where foreign keys cannot be held back, rows that refer to others go first and come last.
    order = [plan.target for plan in load_order(as_stored(table, target.traits) for table in tables)]
    async with target.loader(tables) as loader, loader.transaction():
        for table in reversed(order):
            await loader.execute(sa.delete(sa.table(sa.quoted_name(table.name, True))))
        for table in order:
            if table.name in run.saved:
                await loader.execute(_put_back(table, target, run.saved[table.name]))


async def changed_since(target: Database, run: Begun) -> list[str]:
    """Return, in words, what in the target is not as it was before a run."""
    schema = await target.schema()
    if run.schema and fingerprint(schema) != run.schema:
        return ["the schema"]
    now = await note_before(target, [schema.table(name) for name in run.before])
    changed = []
    for name, was in run.before.items():
        changed += [f"the rows of {name}"] * (now[name].digest != was.digest)
        changed += [f"the next number of {name}"] * (now[name].next_number != was.next_number)
    return changed


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
