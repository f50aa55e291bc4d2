"""Makes in the target what a plan needs: room before the rows (step 6), and the rest after them (step 8).

Each is one transaction, so all of it is there or nothing. Where an engine commits what makes tables at once,
each can be done again instead, after any interruption.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from migration import endings
from migration.checkpoint import Checkpoint, begun, create_checkpoints, run_finished, run_prepared
from migration.database import Database
from migration.model import Schema
from migration.origin import made_as
from migration.plan import Plan
from migration.undo import drop_new, save_rows, sweep


async def make_room(
    target: Database, plan: Plan, checkpoints: Mapping[str, Checkpoint], *, resumes: bool
) -> None:
    """Make the checkpoints and the tables that are missing, and put aside the rows that are to be replaced.

    Parameters
    ----------
    resumes
        Whether the checkpoints are there from a run that was interrupted while it did this.

    Raises
    ------
    Refused
        When somebody has made one of the tables meanwhile; then nothing was touched.
    """
    is_atomic = target.traits.transactional_ddl
    async with target.changing() as connection:
        if resumes:
            await drop_new(connection, target, begun(checkpoints))
        there = await connection.run_sync(target.backend.reflect)
        if taken := [table.target.name for table in plan.new_tables if there.has(table.target.name)]:
            raise endings.made_meanwhile(target, taken)
        if not resumes:
            await sweep(connection, target)
            await create_checkpoints(connection, target.writer, checkpoints.values())
        if is_atomic:
            await _make_tables(connection, target, plan, checkpoints)
    if not is_atomic:
        # From here on the target itself tells what was begun.
        async with target.changing() as connection:
            await _make_tables(connection, target, plan, checkpoints)


async def _make_tables(
    connection: AsyncConnection, target: Database, plan: Plan, checkpoints: Mapping[str, Checkpoint]
) -> None:
    there = [table.target for table in plan.tables if not table.is_new]
    await save_rows(connection, there, target, begun(checkpoints))
    for table in plan.new_tables:
        for statement in target.writer.before_rows(table.target):
            await connection.exec_driver_sql(statement)
    made = made_as(await connection.run_sync(target.backend.reflect), begun(checkpoints).tables)
    await connection.execute(run_prepared(checkpoints, made))


async def make_rest(target: Database, plan: Plan) -> None:
    """Make keys, indexes, views and triggers, set the numbers that new rows will get, and say so."""
    writer, traits = target.writer, target.traits
    async with target.changing() as connection:
        # Part of it can be there only where a killed run could leave part of it.
        there = Schema()
        if not traits.transactional_ddl:
            there = await connection.run_sync(target.backend.reflect)
        for statement in _rest(target, plan, there):
            await connection.exec_driver_sql(statement)
        for table in plan.tables:
            if table.next_number is not None:
                await target.backend.set_next_number(connection, table.target, table.next_number)
            if traits.refresh_statistics is not None:
                name = writer.quote(table.target.name)
                await connection.exec_driver_sql(f"{traits.refresh_statistics} {name}")
        await connection.execute(run_finished())


def _rest(target: Database, plan: Plan, there: Schema) -> list[str]:
    """Return what makes all that follows the rows, in order, less what is there."""
    writer = target.writer
    indexes = {(table.name, index.name) for table in there.tables for index in table.indexes}
    views = {view.name for view in there.views}
    triggers = {trigger.name for trigger in there.triggers}
    pieces = [
        piece
        for make in (writer.after_rows, writer.foreign_keys)
        for table in plan.new_tables
        for piece in make(table.target)
        if (piece.table, piece.name) not in indexes
    ]
    pieces += [writer.view(view) for view in plan.views if view.name not in views]
    pieces += [writer.trigger(trigger) for trigger in plan.triggers if trigger.name not in triggers]
    return [piece.statement for piece in pieces]
