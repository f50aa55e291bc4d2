"""How far a migration is; kept in the target, written in the transaction of the rows it speaks of.

One row a table, made before the first row is copied and changed with every chunk. A crash leaves the
old row or the new one, and the rows that go with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.ddl import Writer
from migration.digest import Digest
from migration.model import Column, Kind, Table
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
# The same table as one that is made like every other: names compare by bytes, any text has room.
_AS_MADE = Table(
    CHECKPOINTS.name,
    (
        Column("table_name", Kind.TEXT, nullable=False, size=255),
        Column("plan", Kind.TEXT, nullable=False, size=64),
        Column("is_new", Kind.BOOLEAN, nullable=False),
        Column("own_row_count", Kind.INTEGER, nullable=False),
        Column("own_digest", Kind.TEXT, nullable=False, size=64),
        Column("own_next_number", Kind.INTEGER),
        Column("position", Kind.TEXT),
        Column("row_count", Kind.INTEGER, nullable=False),
        Column("is_finished", Kind.BOOLEAN, nullable=False),
    ),
    primary_key=("table_name",),
)
SAVED_PREFIX = "migration_bench_saved_"
# The row of the whole run. Its position holds what belongs to no table (views, the schema before, ...), and
# it is finished when all that follows the rows (keys, indexes, views, numbers) is made, which is one
# transaction.
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


@dataclass(frozen=True)
class Begun:
    """What a run has put into its target, and what that was before: all it takes to have it back.

    Told by the target alone, so that a source which was changed or lost keeps nobody from undoing.

    Attributes
    ----------
    tables, views
        What the run has made; views in the order in which they were made.
    before
        What the tables that were there already were, by table.
    saved
        Where rows were put aside, by table.
    schema
        Fingerprint of the schema before.
    is_prepared
        Whether its tables are all made and rows all put aside; until then no row was touched.
    is_undoing
        Whether somebody began to undo it; from then on it can only be undone.
    rejects
        Name of the file in which it sets rows aside; empty where it sets none aside.
    backup
        ``path`` and ``sha256`` of the target's backup; empty where none was made.
    of
        Name of the finished run that is being undone on demand; empty where it is this one.
    """

    tables: frozenset[str] = frozenset()
    views: tuple[str, ...] = ()
    before: Mapping[str, Before] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    schema: str = ""
    is_prepared: bool = True
    is_undoing: bool = False
    rejects: str = ""
    backup: Mapping[str, str] = field(default_factory=dict)
    of: str = ""

    @property
    def made(self) -> frozenset[str]:
        """Names of the tables and views that the run has made."""
        return self.tables.union(self.views)


def first_checkpoints(
    plan: Plan,
    before: Mapping[str, Before],
    *,
    is_atomic: bool = True,
    rejects: str = "",
    backup: Mapping[str, str] | None = None,
    origin: Mapping[str, str] | None = None,
) -> dict[str, Checkpoint]:
    """Return the checkpoints of a plan of which nothing is copied yet, by table.

    ``origin`` is what the run belongs to; see :mod:`migration.origin`.

    ``is_atomic`` means that what makes tables takes part in transactions, so that all of it is there, or
    nothing.
    """
    name = plan.fingerprint
    replaced = [table.target.name for table in plan.tables if table.replaces_rows]
    run = {
        "views": [view.name for view in plan.views],
        "saved": {table: f"{SAVED_PREFIX}{number}" for number, table in enumerate(replaced)},
        "schema": plan.target_fingerprint,
        "is_atomic": is_atomic,
        "is_prepared": is_atomic,
        "rejects": rejects,
        "backup": dict(backup or {}),
        "origin": dict(origin or {}),
    }
    checkpoints = {WHOLE_RUN: Checkpoint(WHOLE_RUN, name, False, 0, "", None, json.dumps(run), 0, False)}
    for table in plan.tables:
        own = before.get(table.target.name, Before())
        checkpoints[table.target.name] = Checkpoint(
            table=table.target.name,
            plan=name,
            is_new=table.is_new,
            own_row_count=own.digest.row_count,
            own_digest=str(own.digest),
            own_next_number=own.next_number,
            position=None,
            row_count=0,
            is_finished=False,
        )
    return checkpoints


def begun(checkpoints: Mapping[str, Checkpoint]) -> Begun:
    """Return what the checkpoints of a target tell of the run that wrote them."""
    if not checkpoints:
        return Begun()
    whole = checkpoints[WHOLE_RUN]
    run = json.loads(whole.position or "{}")
    tables = [checkpoint for name, checkpoint in checkpoints.items() if name != WHOLE_RUN]
    return Begun(
        tables=frozenset(checkpoint.table for checkpoint in tables if checkpoint.is_new),
        # They are made with the rest of what follows the rows, or not at all, where that is possible.
        views=tuple(run["views"]) if whole.is_finished or not run["is_atomic"] else (),
        before={
            checkpoint.table: Before(
                Digest(checkpoint.own_row_count, int(checkpoint.own_digest, 16)), checkpoint.own_next_number
            )
            for checkpoint in tables
            if not checkpoint.is_new
        },
        saved=run["saved"],
        schema=run["schema"],
        is_prepared=run["is_prepared"],
        is_undoing=run.get("is_undoing", False),
        rejects=run.get("rejects", ""),
        backup=run.get("backup", {}),
        of=run.get("of", ""),
    )


async def create_checkpoints(
    connection: AsyncConnection, writer: Writer, checkpoints: Iterable[Checkpoint]
) -> None:
    """Make the table of checkpoints with one row a table; an empty one may be there from a killed run."""
    if not await _is_there(connection):
        await connection.exec_driver_sql(writer.create_table(_AS_MADE, complete=True))
    for checkpoint in checkpoints:
        values = dict(vars(checkpoint))
        await connection.execute(CHECKPOINTS.insert().values(table_name=values.pop("table"), **values))


async def read_checkpoints(connection: AsyncConnection) -> dict[str, Checkpoint]:
    """Return the checkpoints by table; none when no migration is under way."""
    if not await _is_there(connection):
        return {}
    rows = [dict(row) for row in (await connection.execute(sa.select(CHECKPOINTS))).mappings()]
    return {name: Checkpoint(table=name, **row) for row in rows for name in [row.pop("table_name")]}


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


def run_prepared(checkpoints: Mapping[str, Checkpoint], made: str = "") -> sa.Update:
    """Return the statement that says that everything is made which rows go into, and how it was made."""
    return _changed_run(checkpoints, is_prepared=True, made=made)


def run_undoing(checkpoints: Mapping[str, Checkpoint]) -> sa.Update:
    """Return the statement that goes into the transaction with which undoing begins."""
    return _changed_run(checkpoints, is_undoing=True)


def _changed_run(checkpoints: Mapping[str, Checkpoint], **changes: bool | str) -> sa.Update:
    run = {**json.loads(checkpoints[WHOLE_RUN].position or "{}"), **changes}
    return CHECKPOINTS.update().where(CHECKPOINTS.c.table_name == WHOLE_RUN).values(position=json.dumps(run))


async def _is_there(connection: AsyncConnection) -> bool:
    return await connection.run_sync(lambda sync: sa.inspect(sync).has_table(CHECKPOINTS.name))
