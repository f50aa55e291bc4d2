"""How far a migration is; kept in the target, written in the transaction of the rows it speaks of.

One row a table, made before the first row is copied and changed with every chunk. A crash leaves the
old row or the new one, and the rows that go with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.digest import Digest
from migration.errors import PlanChanged
from migration.plan import Plan

# Schemas are read without tables of this prefix.
CHECKPOINTS = sa.Table(
    "migration_bench_checkpoint",
    sa.MetaData(),
    sa.Column("table_name", sa.String(255), primary_key=True),
    sa.Column("plan", sa.String(64), nullable=False),
    sa.Column("is_new", sa.Boolean, nullable=False),
    sa.Column("own_row_count", sa.BigInteger, nullable=False),
    sa.Column("own_digest", sa.String(64), nullable=False),
    sa.Column("own_next_number", sa.BigInteger),
    sa.Column("position", sa.Text),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("is_finished", sa.Boolean, nullable=False),
)
SAVED_PREFIX = "migration_bench_saved_"
# The row of the whole run: its position lists the views it makes, and it is finished when all that
# follows the rows (keys, indexes, views, numbers) is made, which is one transaction.
WHOLE_RUN = ""


@dataclass(frozen=True)
class Checkpoint:
    """How far one table is, and what it was before (``own_...``), so that this can be had back.

    ``position`` is the source backend's own text.
    """

    table: str
    plan: str
    is_new: bool
    own_row_count: int
    own_digest: str
    own_next_number: int | None
    position: str | None
    row_count: int
    is_finished: bool


@dataclass(frozen=True)
class Before:
    """What one table was before anything was written."""

    digest: Digest = field(default_factory=Digest)
    next_number: int | None = None


def first_checkpoints(plan: Plan, before: Mapping[str, Before]) -> dict[str, Checkpoint]:
    """Return the checkpoints of a plan of which nothing is copied yet, by table."""
    name = plan.fingerprint
    views = json.dumps([view.name for view in plan.views])
    checkpoints = {WHOLE_RUN: Checkpoint(WHOLE_RUN, name, False, 0, "", None, views, 0, False)}
    for table in plan.tables:
        own = before.get(table.target.name, Before())
        checkpoints[table.target.name] = Checkpoint(
            table.target.name, name, table.is_new, own.digest.row_count, str(own.digest), own.next_number, None, 0, False
        )
    return checkpoints


def before_of(checkpoints: Mapping[str, Checkpoint]) -> dict[str, Before]:
    """Return what the tables that are not new were before anything was written."""
    return {
        name: Before(Digest(checkpoint.own_row_count, int(checkpoint.own_digest, 16)), checkpoint.own_next_number)
        for name, checkpoint in checkpoints.items()
        if name != WHOLE_RUN and not checkpoint.is_new
    }


def made_by(checkpoints: Mapping[str, Checkpoint]) -> frozenset[str]:
    """Return the names of the tables and views that an interrupted run has made."""
    tables = {name for name, checkpoint in checkpoints.items() if checkpoint.is_new}
    run = checkpoints.get(WHOLE_RUN)
    views = json.loads(run.position or "[]") if run is not None and run.is_finished else []
    return frozenset(tables.union(views))


async def create_checkpoints(connection: AsyncConnection, checkpoints: Iterable[Checkpoint]) -> None:
    """Make the table of checkpoints with one row a table."""
    await connection.run_sync(CHECKPOINTS.create)
    for checkpoint in checkpoints:
        values = dict(vars(checkpoint))
        await connection.execute(CHECKPOINTS.insert().values(table_name=values.pop("table"), **values))


async def read_checkpoints(connection: AsyncConnection) -> dict[str, Checkpoint]:
    """Return the checkpoints by table; none when no migration is under way."""
    if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table(CHECKPOINTS.name)):
        return {}
    rows = (await connection.execute(sa.select(CHECKPOINTS))).mappings().all()
    return {row["table_name"]: Checkpoint(table=row["table_name"], **_rest(row)) for row in rows}


def _rest(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "table_name"}


async def drop_checkpoints(connection: AsyncConnection) -> None:
    """Remove the table of checkpoints, if it is there."""
    await connection.run_sync(lambda sync: CHECKPOINTS.drop(sync, checkfirst=True))


def advanced(table: str, position: str | None, row_count: int, *, is_finished: bool) -> sa.Update:
    """Return the statement that goes into the transaction of a chunk."""
    return (
        CHECKPOINTS.update()
        .where(CHECKPOINTS.c.table_name == table)
        .values(position=position, row_count=row_count, is_finished=is_finished)
    )


def run_finished() -> sa.Update:
    """Return the statement that goes into the transaction of everything that follows the rows."""
    return CHECKPOINTS.update().where(CHECKPOINTS.c.table_name == WHOLE_RUN).values(is_finished=True)


def check_same_plan(checkpoints: Iterable[Checkpoint], plan: Plan) -> None:
    """Refuse to go on with checkpoints of another plan.

    Raises
    ------
    PlanChanged
        When the source's schema, the target's, the mapping or any type differs from what they were.
    """
    if any(checkpoint.plan != plan.fingerprint for checkpoint in checkpoints):
        raise PlanChanged(
            "The migration in the target was begun under another plan: a schema, a type or the mapping has changed",
            next_step="Go on with what it was begun with, or undo it with 'migration rollback' and begin anew",
        )
