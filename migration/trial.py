"""Asks the target what it will take, by making everything once in a transaction that is rolled back.

What it refuses is taken out of the plan and becomes a hazard with the server's own reason, before
anything is made for good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.checkpoint import Begun
from migration.database import Database
from migration.ddl import Piece, Writer, written_key
from migration.plan import Hazard, Plan, Severity, TablePlan
from migration.undo import drop_new


async def try_plan(plan: Plan, target: Database, run: Begun) -> Plan:
    """Return the plan less what the target refuses, each refusal a hazard; the target is unchanged.

    Views come back in an order in which they can be made. What an interrupted run has made already goes
    first, inside the same transaction that is rolled back.
    """
    async with target.control() as connection:
        transaction = await connection.begin()
        try:
            await drop_new(connection, target, run)
            return await _try(plan, connection, target.writer)
        finally:
            await transaction.rollback()


async def _try(plan: Plan, connection: AsyncConnection, writer: Writer) -> Plan:
    refusals: list[tuple[Piece, str]] = []
    tables = list(plan.tables)
    for position, table in enumerate(tables):
        if table.is_new:
            refused = await _refused(connection, writer.pieces(table.target), keep=False)
            tables[position] = _without(table, refused)
            refusals += refused
    new = [table for table in tables if table.is_new]
    for table in new:
        for statement in writer.before_rows(table.target):
            # Nothing optional is left in it: if this fails, so would the migration.
            await connection.exec_driver_sql(statement)
    for make in (writer.after_rows, writer.foreign_keys):
        for table in new:
            refused = await _refused(connection, make(table.target))
            tables[tables.index(table)] = _without(table, refused)
            refusals += refused
        new = [table for table in tables if table.is_new]
    made, unmade = await _try_views(connection, plan, writer)
    hazards = [_hazard(piece, reason) for piece, reason in refusals + unmade]
    views = {view.name: view for view in plan.views}
    return dataclasses.replace(
        plan,
        tables=tuple(tables),
        views=tuple(views[name] for name in made),
        hazards=tuple(hazards) + plan.hazards,
    )


async def _try_views(
    connection: AsyncConnection, plan: Plan, writer: Writer
) -> tuple[list[str], list[tuple[Piece, str]]]:
    """Make views over and over, since one may need another, until no more can be made."""
    made: list[str] = []
    waiting = [writer.view(view) for view in plan.views]
    while waiting:
        refused = await _refused(connection, waiting)
        made += [piece.name for piece in waiting if piece not in [failed for failed, _ in refused]]
        if len(refused) == len(waiting):
            return made, refused
        waiting = [piece for piece, _ in refused]
    return made, []


async def _refused(
    connection: AsyncConnection, pieces: Iterable[Piece], *, keep: bool = True
) -> list[tuple[Piece, str]]:
    """Make each piece, and return those that the server did not take, with its reason."""
    refused = []
    for piece in pieces:
        savepoint = await connection.begin_nested()
        try:
            await connection.exec_driver_sql(piece.statement)
            if piece.probe is not None:
                await connection.exec_driver_sql(piece.probe)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            await savepoint.rollback()
            refused.append((piece, _reason(error)))
        else:
            await (savepoint.commit() if keep else savepoint.rollback())
    return refused


def _reason(error: DBAPIError) -> str:
    text = str(error.orig).strip().splitlines()[0]
    return text.partition(">: ")[2] or text


def _hazard(piece: Piece, reason: str) -> Hazard:
    sentence = f"{piece.name} will not be in the target: {reason}"
    return Hazard(f"{piece.what}-not-carried", Severity.HAZARD, sentence, table=piece.table)


def _without(table: TablePlan, refused: list[tuple[Piece, str]]) -> TablePlan:
    """Return a table's plan less what was refused of it."""
    names: dict[str, set[str]] = {}
    for piece, _ in refused:
        names.setdefault(piece.what, set()).add(piece.name)
    if not names:
        return table
    target = table.target
    columns = tuple(
        dataclasses.replace(
            column,
            default=None if column.name in names.get("default", ()) else column.default,
            generated=None if column.name in names.get("generated", ()) else column.generated,
        )
        for column in target.columns
    )
    target = dataclasses.replace(
        target,
        columns=columns,
        primary_key=() if "primary-key" in names else target.primary_key,
        uniques=tuple(u for u in target.uniques if ", ".join(u.columns) not in names.get("unique", ())),
        checks=tuple(c for c in target.checks if (c.name or c.condition) not in names.get("check", ())),
        foreign_keys=tuple(
            k for k in target.foreign_keys if written_key(k) not in names.get("foreign-key", ())
        ),
        indexes=tuple(index for index in target.indexes if index.name not in names.get("index", ())),
    )
    by_name = {column.name: column for column in columns}
    planned = tuple(dataclasses.replace(c, target=by_name[c.target.name]) for c in table.columns)
    return dataclasses.replace(table, target=target, columns=planned)
