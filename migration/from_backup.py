"""Puts aside, inside a target, rows that it had before a migration: from the backup that was made of it then.

The backup is restored into an empty database beside the target, and read there. Nothing in the target is
touched but tables that are ours, and these are compared with what was noted before the migration.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from migration.backup import restore_backup, verify_backup
from migration.checkpoint import Before, Begun
from migration.contents import as_stored, spelled_columns
from migration.copy import converted
from migration.database import Database
from migration.digest import Digest
from migration.errors import Refused
from migration.model import ScanColumn, Table
from migration.plan import TablePlan
from migration.progress import silent
from migration.undo import save_rows
from migration.verify import Side, sum_table


async def put_aside_from_backup(target: Database, run: Begun, place: Path) -> None:
    """Put aside the rows that a finished run has replaced, having proved that these are the rows.

    Parameters
    ----------
    place
        Where the backup is.

    Raises
    ------
    Refused
        When the backup is not the one that the run has made, or does not hold the rows as they were.
    """
    if (await verify_backup(place)).sha256 != run.backup["sha256"]:
        raise Refused(
            "This backup is not the one that the migration has made of its target",
            where=str(place),
            next_step="Name that one with --backup",
        )
    there = await target.schema()
    async with target.scratch() as scratch:
        await restore_backup(place, scratch)
        schema = await scratch.schema()
        async with scratch.snapshot() as snapshot:
            side = Side("backup", snapshot, scratch.traits)
            plans = {}
            for name in run.saved:
                table = schema.table(name)
                plans[name] = as_stored(table, scratch.traits, await spelled_columns(snapshot, table))
                await _check(plans[name], side, run.before[name], place)
        async with target.changing() as connection:
            await save_rows(connection, map(there.table, run.saved), target, run, are_copied=False)
        for name, saved in run.saved.items():
            await _copy(plans[name], scratch, target, saved)


async def _check(table: TablePlan, side: Side, before: Before, place: Path) -> None:
    digest = (await sum_table(table, side, silent)).digest
    if digest != before.digest:
        raise Refused(
            f"The backup does not hold the rows of {table.target.name} as they were before the migration",
            where=str(place),
            next_step="Somebody wrote to it between the backup and the migration; compare the two by hand",
        )


async def _copy(table: TablePlan, scratch: Database, target: Database, saved: str) -> None:
    """Copy the rows of a table, as they are, into the one that keeps them, and compare what arrived."""
    plan = replace(table, columns=table.written)
    into = _keeping(plan, saved)
    columns = [ScanColumn(column.target, column.kind) for column in plan.columns]
    async with scratch.snapshot() as snapshot, target.loader([into]) as loader:
        async with contextlib.aclosing(snapshot.scan(plan.source, columns)) as batches:
            async for scanned in batches:
                if scanned.batch.num_rows:
                    async with loader.transaction():
                        await loader.write(into, columns, converted(plan, scanned.batch, scratch.traits))
        ours = await _sum(plan, scratch)
    theirs = await _sum(replace(plan, source=into, target=into), target)
    if ours != theirs:
        raise Refused(f"The rows of {table.target.name} could not be read from the backup unchanged")


async def _sum(table: TablePlan, database: Database) -> Digest:
    async with database.snapshot() as snapshot:
        return (await sum_table(table, Side("target", snapshot, database.traits), silent)).digest


def _keeping(table: TablePlan, saved: str) -> Table:
    """Return the table that keeps another one's rows: its columns and nothing else."""
    columns = (column.target for column in table.columns)
    return Table(saved, tuple(replace(column, automatic=False, always_automatic=False) for column in columns))
