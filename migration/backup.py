"""Makes a backup, proves it by reading it, and refuses one that is not what it was.

A backup is a file and a manifest beside it (:mod:`migration.manifest`), in a folder of their own. It is a
dump, which the engine's own programs write, or an archive (:mod:`migration.archive`), which this program
writes where those are missing. The manifest is written last, after the backup was opened and read to its
end: a backup without one was never proved, and is never restored.

What the manifest says of the tables is read in the moment of the backup wherever that can be had: the
archive's one snapshot, a snapshot that the dump program shares, or the copy of a file itself. Elsewhere
everything is read before the dump and after it, and what differs is not claimed to be known.

The manifest's hash finds what happens to files: cut short, overwritten, mixed up. Somebody who means to
deceive can write a new manifest; against that, keep :attr:`BackupMade.sha256` elsewhere (the audit log
has it).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import shlex
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import pyarrow as pa

from migration import manifest
from migration.archive import as_kept, open_archive, write_archive
from migration.backends import Script, Snapshot, backend_named, file_url
from migration.clock import Clock, stamp
from migration.contents import as_stored, changes, read_contents, unchanged, with_numbers, written
from migration.database import Database
from migration.errors import NoDump, Refused
from migration.manifest import DUMP, LOGICAL, BackupMade, Contents, measure, names_of, settle
from migration.model import Schema, Uncarried, fingerprint
from migration.plan import TablePlan
from migration.progress import Progress, silent
from migration.redaction import redact_url
from migration.restoring import restore_backup, verify_backup
from migration.traits import Traits

__all__ = [
    "BackupMade",
    "OpenBackup",
    "Wish",
    "make_backup",
    "open_backup",
    "restore_backup",
    "verify_backup",
]

P = ParamSpec("P")
T = TypeVar("T")

# What a file that cannot be written says; what a lost connection says is another thing.
OF_FILES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
)

# What --accept takes for things that a backup of our own form does not hold; ``NAME:thing`` narrows it.
NOT_IN_BACKUP = "not-in-backup"


@dataclass(frozen=True)
class Wish:
    """How a backup is to be made: in our own form, and without what was accepted that it lacks."""

    logical: bool = False
    accept: Sequence[str] = ()


@dataclass
class _Making:
    """One backup in the making."""

    database: Database
    folder: Path
    wish: Wish
    progress: Progress
    schema: Schema
    form: str = DUMP
    reason: str = ""
    lacking: tuple[str, ...] = ()
    contents: Mapping[str, Contents] = field(default_factory=dict)


async def make_backup(
    database: Database,
    folder: Path,
    clock: Clock,
    wish: Wish | None = None,
    progress: Progress = silent,
) -> BackupMade:
    """Write a backup into a new folder inside ``folder``, read it whole, and only then write its manifest.

    Raises
    ------
    Refused
        When it cannot be written, or what was written cannot be read. Nothing unproved is left behind.
    """
    schema, facts = await database.schema(), await database.facts()
    made = stamp(clock())
    inside = await _on_disk(folder, _make_folder, folder, made)
    making = _Making(database, inside, wish or Wish(), progress, schema)
    try:
        path = await _written(making)
        await _on_disk(path, settle, path)
        await _see_no_change(database, schema)
        sha256, byte_count = await _on_disk(path, measure, path)
        backup = BackupMade(
            path=path,
            manifest_path=manifest.manifest_path(path),
            sha256=sha256,
            byte_count=byte_count,
            tables=names_of(schema),
            database=redact_url(database.url),
            engine=database.backend.name,
            made=made,
            form=making.form,
            schema=schema,
            contents=making.contents,
            facts=facts,
            reason=making.reason,
            lacking=making.lacking,
        )
        await _on_disk(backup.manifest_path, manifest.write_manifest, backup)
    except BaseException:
        # What was not proved must not be left looking like a backup, least of all on a full disk.
        await asyncio.to_thread(shutil.rmtree, inside, ignore_errors=True)
        raise
    return backup


@dataclass(frozen=True)
class OpenBackup:
    """A backup whose tables can be read as those of a database are."""

    made: BackupMade
    snapshot: Snapshot
    traits: Traits

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables."""
        return tuple(self.made.tables)

    def plan(self, name: str) -> TablePlan:
        """Return how a table is read from it; what is written anywhere is :attr:`TablePlan.written`."""
        return as_stored(self.made.schema.table(name), self.traits, self.made.contents[name].spelled)

    async def batches(self, name: str) -> AsyncGenerator[pa.RecordBatch, None]:
        """Read a table, less its generated columns, ready for a loader of the same engine."""
        plan = self.plan(name)
        async with contextlib.aclosing(self.snapshot.scan(plan.source, written(plan))) as found:
            async for scanned in found:
                yield await asyncio.to_thread(as_kept, scanned.batch, plan.written)


@contextlib.asynccontextmanager
async def open_backup(path: Path) -> AsyncIterator[OpenBackup]:
    """Verify a backup and open it for reading.

    Raises
    ------
    Refused
        When it is not what it was; or when it is a dump, which has to be restored to be read.
    """
    made = await verify_backup(path)
    backend = backend_named(made.engine)
    if made.form == LOGICAL:
        archive = await asyncio.to_thread(open_archive, made.path, made.schema, made.contents, backend.traits)
        yield OpenBackup(made, archive, backend.traits)
    elif backend.opens_files:
        copy = Database(file_url(str(made.path)), is_source=True)
        async with copy.snapshot() as snapshot:
            yield OpenBackup(made, snapshot, backend.traits)
    else:
        raise Refused(
            "The backup is a dump of the engine's own program, which nothing else can read",
            where=str(path),
            next_step="Restore it into an empty database with 'migration restore', and read that",
        )


async def _see_no_change(database: Database, schema: Schema) -> None:
    """Raise when tables were changed meanwhile: the rows could be those of either form."""
    if fingerprint(await database.schema()) != fingerprint(schema):
        raise Refused(
            "The schema was changed while it was backed up",
            where=str(database),
            next_step="Make the backup again, when nobody changes tables",
        )


# --- writing ------------------------------------------------------------------------------------------


async def _written(making: _Making) -> Path:
    """Write a dump or, where that is impossible or not wanted, an archive; prove what was written."""
    if making.wish.logical:
        return await _archived(making)
    try:
        return await _dumped(making)
    except NoDump as error:
        no_dump = error
    making.reason = no_dump.what
    try:
        return await _archived(making)
    except _Incomplete as lack:
        raise Refused(
            f"{no_dump.what}; and this program's own backup would lack {lack.words}",
            where=str(making.database),
            next_step=f"{no_dump.next_step.rstrip('.')}; or {lack.next_step}",
        ) from no_dump


async def _dumped(making: _Making) -> Path:
    """Have the engine write a dump, see that it is whole, and learn what it holds."""
    database = making.database
    if database.backend.opens_files:
        path = await _ask_for_dump(making, None)
        copy = Database(file_url(str(path)), is_source=True)
        async with copy.snapshot() as snapshot:
            making.contents = await _read(making, snapshot)
        return path
    async with database.snapshot() as snapshot:
        # Numbers are of no snapshot: they are known only where they stay what they were.
        numbers = await _numbers(snapshot, making.schema)
        path = await _ask_for_dump(making, snapshot.moment)
        found = with_numbers(await _read(making, snapshot), numbers)
        is_same_moment = snapshot.moment is not None
    making.contents = found if is_same_moment else unchanged(found, await _read_anew(making))
    return path


async def _ask_for_dump(making: _Making, moment: str | None) -> Path:
    database, backend = making.database, making.database.backend
    with database.told():
        try:
            path = await backend.backup(database.url, making.folder, moment)
        except OSError as error:
            if error.errno not in OF_FILES:
                raise
            raise _unwritable(error, making.folder) from error
        try:
            await backend.check_backup(database.url, path, making.schema)
        except NoDump:
            path.unlink()
            raise
    return path


async def _read(making: _Making, snapshot: Snapshot) -> dict[str, Contents]:
    traits = making.database.traits
    return await read_contents(snapshot, making.schema, traits, making.progress, phase="read")


async def _read_anew(making: _Making) -> dict[str, Contents]:
    async with making.database.snapshot() as snapshot:
        return await _read(making, snapshot)


async def _numbers(snapshot: Snapshot, schema: Schema) -> dict[str, int | None]:
    return {table.name: await snapshot.next_number(table) for table in schema.tables}


class _Incomplete(Refused):
    """Our own form would not hold everything; ``words`` name what it would lack."""

    def __init__(self, lacking: Sequence[Uncarried], where: str) -> None:
        self.words = ", ".join(f"the {thing.what} {thing.name} ({thing.reason})" for thing in lacking)
        names = [f"{NOT_IN_BACKUP}:{thing.name}" for thing in lacking]
        flags = " ".join(f"--accept {shlex.quote(name)}" for name in dict.fromkeys(names))
        super().__init__(
            f"This program's own backup would lack {self.words}",
            where=where,
            next_step=f"accept by name that they are not in it: {flags}",
        )


async def _archived(making: _Making) -> Path:
    """Write an archive from one snapshot, and read all of it again."""
    database, traits = making.database, making.database.traits
    making.form = LOGICAL
    path = making.folder / f"{archive_stem(str(database.url.database))}.arrow-backup"
    async with database.snapshot() as snapshot:
        # After the moment of the rows, so that no number is told which one of them has already.
        script = await _script(making)
        numbers = await _numbers(snapshot, making.schema)
        try:
            found = await write_archive(path, snapshot, making.schema, script, traits, making.progress)
        except OSError as error:
            raise _unwritable(error, path) from error
    making.contents = with_numbers(found, numbers)
    archive = await asyncio.to_thread(open_archive, path, making.schema, making.contents, traits)
    again = await read_contents(
        archive, making.schema, traits, making.progress, phase="prove", known=making.contents
    )
    if wrong := changes(making.contents, again):
        raise Refused(
            f"What was written is not what was read: {', '.join(wrong)}",
            where=str(path),
            next_step="See whether the disk is sound, and make the backup again",
        )
    return path


async def _script(making: _Making) -> Script:
    """Return what makes the tables anew; raise when that would lack something which nobody accepted."""
    database = making.database
    async with database.control() as connection:
        script = await database.backend.script(connection, making.schema)
    accepted = frozenset(making.wish.accept)
    if lacking := [thing for thing in script.lacking if not accepted & _names(thing)]:
        raise _Incomplete(lacking, str(database))
    making.lacking = tuple(f"{thing.what} {thing.name}" for thing in script.lacking)
    return script


def _names(thing: Uncarried) -> set[str]:
    """Return the names under which it is accepted that a thing is not in a backup."""
    return {NOT_IN_BACKUP, f"{NOT_IN_BACKUP}:{thing.name}"}


def archive_stem(database: str) -> str:
    """Return the name of a database as that of a file."""
    return re.sub(r"[^0-9A-Za-z_-]", "_", Path(database).stem or "database")


# --- files --------------------------------------------------------------------------------------------


async def _on_disk(path: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work on files in a thread; where it fails, ``path`` is named."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: OSError, path: Path) -> Refused:
    return Refused(
        f"The backup cannot be written: {error.strerror or error}",
        where=str(path),
        done="The database was only read, and what was written of the backup was removed",
        next_step="Make room and give this user the right to write there, or name another folder",
    )


def _make_folder(folder: Path, made: str) -> Path:
    """Make the folder of one backup; a second one of the same moment gets another."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"backup-{made.replace(':', '').replace('-', '')}"
    inside, number = folder / name, 1
    while inside.exists():
        number += 1
        inside = folder / f"{name}-{number}"
    # Fails, rather than share a folder, when somebody else was quicker.
    inside.mkdir(mode=0o700)
    return inside
