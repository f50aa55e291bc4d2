"""Restores a backup into an empty database, reads everything back, and says whether it is what it was.

Where it fails halfway, the database is emptied again: it was empty under a lock that nobody else has
had since, so all that is in it now and is named in the backup came with this restoring. Anything else
is somebody's own, and is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from migration import manifest
from migration.archive import Archive, as_kept, open_archive
from migration.backends import BATCH_BYTES, Loader
from migration.contents import as_stored, changes, read_contents, written
from migration.database import Database
from migration.errors import Differs, MigrationError, Refused, RollbackFailed, RolledBack
from migration.manifest import LOGICAL, BackupMade
from migration.model import Schema, Table
from migration.progress import Progress, Step, silent
from migration.redaction import redact_url

# Several batches are committed at once, as when rows are copied.
COMMIT_BYTES = 4 * BATCH_BYTES
# What an empty database may come with.
_HARMLESS = frozenset({"extension"})


async def verify_backup(path: Path) -> BackupMade:
    """Return what a backup is, having read all of it again; ``path`` is the file, or its folder.

    Raises
    ------
    Refused
        When it is missing, foreign, truncated or altered; the sentence says which.
    """
    return await asyncio.to_thread(manifest.verify, path)


async def restore_backup(path: Path, database: Database, progress: Progress = silent) -> BackupMade:
    """Make an empty database from a backup, once that is verified, and find everything in it again.

    Raises
    ------
    Refused
        When the backup is not what it was or is another engine's, or the database is not empty.
    RolledBack
        When it could not be restored; the database is empty again, which was verified.
    RollbackFailed
        When it could not, and something is left.
    Differs
        When the restored database is not what the backup says.
    """
    backup = await verify_backup(path)
    if backup.engine != database.backend.name:
        raise Refused(
            f"The backup was made by {backup.engine} and cannot be restored to {database.backend.name}",
            where=str(path),
            next_step="Name a database of the backup's own engine; to go to another one, restore it there"
            " and run 'migration migrate'",
        )
    async with database.lock():
        if held := held_by(await database.schema()):
            raise Refused(
                f"A backup is only restored into an empty database, and this one has tables or other things:"
                f" {', '.join(held[:5])}",
                where=redact_url(database.url),
                next_step="Name an empty database",
            )
        try:
            await _restore(backup, database, progress)
        except asyncio.CancelledError:
            await asyncio.shield(_empty(database, backup, "Stopped on request"))
            raise
        except MigrationError as error:
            raise await asyncio.shield(_emptied(database, backup, error)) from error
        await _compare(backup, database, progress)
    return backup


def held_by(schema: Schema) -> list[str]:
    """Name what is in a database, other than what an empty one may come with."""
    found = [table.name for table in schema.tables] + [view.name for view in schema.views]
    return found + [
        f"the {thing.what} {thing.name}" for thing in schema.uncarried if thing.what not in _HARMLESS
    ]


async def _restore(backup: BackupMade, database: Database, progress: Progress) -> None:
    if backup.form == LOGICAL:
        traits = database.traits
        archive = await asyncio.to_thread(open_archive, backup.path, backup.schema, backup.contents, traits)
        await _restore_archive(archive, database, progress)
        return
    with database.told():
        await database.backend.restore(backup.path, database.url)


# --- our own form -------------------------------------------------------------------------------------


async def _restore_archive(archive: Archive, database: Database, progress: Progress) -> None:
    script, tables = archive.script, archive.schema.tables
    await _run_in_any_order(database, script.before)
    if tables:
        async with database.loader(tables) as loader:
            for table in tables:
                await _load(archive, table, loader, progress)
    await _run(database, script.after)
    async with database.changing() as connection:
        for table in tables:
            number = archive.contents[table.name].next_number
            if number is not None:
                await database.backend.set_next_number(connection, table, number)
    await _run_in_any_order(database, script.views)


async def _load(archive: Archive, table: Table, loader: Loader, progress: Progress) -> None:
    """Load one table, several batches in a transaction."""
    known = archive.contents[table.name]
    plan = as_stored(table, archive.traits, known.spelled)
    columns, row_count = written(plan), 0
    async with contextlib.aclosing(archive.scan(table, columns)) as batches:
        ready = await anext(batches, None)
        while ready is not None:
            byte_count = 0
            async with loader.transaction():
                while ready is not None and byte_count < COMMIT_BYTES:
                    await loader.write(table, columns, as_kept(ready.batch, plan.written))
                    row_count += ready.batch.num_rows
                    byte_count += ready.batch.nbytes
                    ready = await anext(batches, None)
            progress(Step("restore", table.name, row_count, known.row_count or 0))


async def _run(database: Database, statements: Iterable[str]) -> None:
    """Run statements as the engine has written them, in one transaction where that means something."""
    async with database.control() as connection:
        async with connection.begin():
            for statement in statements:
                await _run_one(connection, statement)
        # What a script has set must not come back from the pool.
        await connection.invalidate()


async def _run_in_any_order(database: Database, groups: Iterable[Iterable[str]]) -> None:
    """Run groups of statements that may need one another, each as soon as it works."""
    waiting = list(groups)
    while waiting:
        refused: list[Iterable[str]] = []
        last: MigrationError | None = None
        for group in waiting:
            try:
                await _run(database, group)
            except MigrationError as error:
                if not isinstance(error.__cause__, DBAPIError):
                    raise
                refused.append(group)
                last = error
        if last is not None and len(refused) == len(waiting):
            raise last
        waiting = refused


async def _run_one(connection: AsyncConnection, statement: str) -> None:
    # Nothing in it is a parameter, whatever it looks like.
    await connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


# --- when it fails ------------------------------------------------------------------------------------


async def _emptied(database: Database, backup: BackupMade, error: MigrationError) -> MigrationError:
    """Empty the database again, and return the error that says so, or that it could not be done."""
    try:
        await _empty(database, backup, error.what)
    except RollbackFailed as failure:
        return failure
    return RolledBack(
        f"The backup could not be restored: {error.what}",
        where=error.where or redact_url(database.url),
        done="The database is empty again, which was verified",
        next_step=error.next_step,
    )


async def _empty(database: Database, backup: BackupMade, what: str) -> None:
    """Drop what came from the backup, and see that nothing is left.

    Raises
    ------
    RollbackFailed
        When something is left, or nobody can look.
    """
    try:
        await _drop(database, backup)
        left = held_by(await database.schema())
        trouble = f"it still holds {', '.join(left[:5])}" if left else ""
    except MigrationError as error:
        trouble = error.what
    if trouble:
        raise RollbackFailed(
            f"The backup could not be restored: {what}. The database could not be emptied again: {trouble}",
            where=redact_url(database.url),
            done="The backup is unharmed",
            next_step="Drop the database, and restore the backup into a new one",
        )


async def _drop(database: Database, backup: BackupMade) -> None:
    there = await database.schema()
    views = {view.name for view in backup.schema.views}
    tables = [table for table in there.tables if table.name in backup.tables]
    writer = database.writer
    statements = [writer.drop_view(view) for view in there.views if view.name in views]
    statements += [key for table in tables for key in writer.drop_foreign_keys(table)]
    statements += [writer.drop_table(table.name) for table in tables]
    if not set(held_by(there)).difference(held_by(backup.schema)):
        async with database.control() as connection:
            statements += (await database.backend.script(connection, there)).undo
    await _run_in_any_order(database, [[statement] for statement in statements])


# --- the proof ----------------------------------------------------------------------------------------


async def _compare(backup: BackupMade, database: Database, progress: Progress) -> None:
    """Read everything back; raise where it is not what the backup says."""
    schema = await database.schema()
    found = _changed_schema(backup, schema)
    if not found:
        async with database.snapshot() as snapshot:
            now = await read_contents(
                snapshot, schema, database.traits, progress, phase="prove", known=backup.contents
            )
        found = changes(backup.contents, now)
    if found:
        raise Differs(
            f"The restored database is not as the backup says: {', '.join(found)}",
            where=redact_url(database.url),
            done="The backup is unharmed",
            next_step="Restore it into another, empty database",
        )


def _changed_schema(backup: BackupMade, now: Schema) -> list[str]:
    """Name what is missing from a schema, is there beside it, or is another thing of the same name."""
    found, was = [], backup.schema
    for group in ("table", "view", "trigger"):
        before = {thing.name: thing for thing in getattr(was, f"{group}s")}
        after = {thing.name: thing for thing in getattr(now, f"{group}s")}
        found += [
            f"the {group} {name} is missing"
            for name in before
            if name not in after and f"{group} {name}" not in backup.lacking
        ]
        found += [f"the {group} {name} is new" for name in after if name not in before]
        found += [
            f"the {group} {name} is another"
            for name, thing in before.items()
            if name in after and after[name] != thing
        ]
    found += [
        f"the {thing.what} {thing.name} is missing or another"
        for thing in was.uncarried
        if thing not in now.uncarried and f"{thing.what} {thing.name}" not in backup.lacking
    ]
    return found
