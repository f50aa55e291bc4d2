"""Takes a migration back: when it fails, and when somebody asks for it.

There is one road. What is undone is told by the target alone (:mod:`migration.undo`), so the source is not
needed. A migration that has come to its end has left nothing of this in the target; then it is put there
again, from the audit log and the target's backup, once it is known that nobody has written to the target
since. Killed on the way it can be asked for again, and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from migration import endings
from migration.audit import read_audit
from migration.checkpoint import begun, create_checkpoints, read_checkpoints
from migration.database import Database
from migration.errors import AuditUnusable, LockLost, MigrationError
from migration.from_backup import put_aside_from_backup
from migration.journal import Journal
from migration.made import UNDONE, Made, newest_made, written_since
from migration.undo import changed_since, holds_checkpoints, sweep, undo
from migration.version import __version__


class Rollback:
    """Undoes what one job has written to its target, and puts on record how the job ended.

    Parameters
    ----------
    target
        The database, open and locked.
    journal
        Where all of it is taken down.
    secrets
        What no sentence may contain.

    Attributes
    ----------
    is_written
        Whether the job has written to the target.
    """

    def __init__(self, target: Database, journal: Journal, secrets: tuple[str, ...]) -> None:
        self.is_written = False
        self._target = target
        self._journal = journal
        self._secrets = secrets
        self._is_undoing = False

    async def after(self, error: MigrationError) -> MigrationError:
        """Undo what was written, prove the undoing, and return the error that says which happened."""
        try:
            # Nothing may happen that is not on record, and undoing is no exception.
            if isinstance(error, AuditUnusable):
                return endings.state_kept(error)
            # Nor beside somebody else who may be at work by now.
            if isinstance(error, LockLost):
                return error
            await self._journal.write("undoing", error=str(error))
            await self.undo()
        except AuditUnusable as silence:
            return endings.after(error, endings.state_kept(silence))
        except MigrationError as failure:
            return endings.after(error, failure)
        return endings.rolled_back(error)

    async def on_demand(self, audit: Path | None, run: str, backup: Path | None = None) -> None:
        """Undo the last migration into the target, and prove that the target is what it was.

        Parameters
        ----------
        audit
            The log in which the migration was kept; this undoing is put there too.
        run
            Name of this undoing in the log.
        backup
            Where the target's backup is, when it is not where it was made.

        Raises
        ------
        Refused
            When there is nothing to undo.
        RollbackFailed
            When it cannot be undone, or when the target is not what it was.
        """
        facts = await self._target.facts()
        async with self._journal.kept_in(audit, run):
            await self._journal.write(
                "opened", version=__version__, target=str(self._target), target_facts=facts
            )
            async with self._target.lock(), self.ending():
                async with self._target.control() as connection:
                    found = await read_checkpoints(connection)
                made = None if found else await self._recalled(audit, backup)
                if found or made is not None:
                    await self.undo(made)

    async def _recalled(self, audit: Path | None, backup: Path | None) -> Made | None:
        """Return what a finished migration has made, its rows put aside again; nothing if nothing is left."""
        target = self._target
        if audit is None:
            raise endings.nothing_there(target, "undo")
        events = (await read_audit(audit)).events
        made = newest_made(events, target, await target.identity())
        async with target.changing() as connection:
            await sweep(connection, target)
        if not await changed_since(target, made.begun):
            # Killed when all was done, or done by hand.
            await self._journal.write(UNDONE, not_as_before=[], of=made.run)
            return None
        await self._refuse_written(made)
        if made.begun.saved:
            place = backup or Path(made.begun.backup.get("path", ""))
            if not made.begun.backup:
                raise endings.never_backed_up(target, sorted(made.begun.saved))
            try:
                await put_aside_from_backup(target, made.begun, place)
            except LockLost:
                raise
            except MigrationError as error:
                raise endings.not_begun_to_undo(target, error) from error
            # That has taken its time.
            await self._refuse_written(made)
        await self._journal.write("undoing", of=made.run)
        return made

    async def _refuse_written(self, made: Made) -> None:
        written = await written_since(self._target, made)
        if written:
            raise endings.written_to(self._target, written, made.begun.backup.get("path", ""))

    async def undo(self, made: Made | None = None) -> None:
        """Take everything back, or raise the error that says what is left.

        Parameters
        ----------
        made
            What is undone, where the target does not tell it; from here on it does.

        Raises
        ------
        RollbackFailed
            When the target answers, and is not what it was.
        Stopped
            When the target does not answer: then the state is kept.
        """
        self._is_undoing = True
        try:
            if made is not None:
                async with self._target.changing() as connection:
                    checkpoints = made.undoing().values()
                    await create_checkpoints(connection, self._target.writer, checkpoints)
            async with self._target.control() as connection:
                # Which finished run this is, if it is one, only the checkpoints tell.
                of = begun(await read_checkpoints(connection)).of
            changed = await undo(self._target)
        except LockLost:
            raise
        except Exception as error:
            failure = endings.as_told(error, self._secrets)
            if not await holds_checkpoints(self._target):
                ending = endings.never_begun if made is None else endings.not_begun_to_undo
                raise ending(self._target, failure) from error
            raise endings.not_undone(self._target, failure, answers=await self._answers()) from error
        await self._journal.write(UNDONE, not_as_before=changed, of=of)
        if changed:
            raise endings.other_than_before(self._target, changed)

    async def _answers(self) -> bool:
        try:
            await self._target.facts()
        except MigrationError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """Put on record how it ends, and turn a request to stop into an error that says what is left."""
        try:
            yield
        except asyncio.CancelledError:
            ended = endings.stopped(self._target, is_written=self.is_written, is_undoing=self._is_undoing)
            await self._journal.write_last("stopped", error=str(ended), exit_code=ended.exit_code)
            raise ended from None
        except MigrationError as error:
            await self._journal.write_last("failed", error=str(error), exit_code=error.exit_code)
            raise
