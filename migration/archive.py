"""Our own form of a backup: one archive with the rows of each table as Arrow, and what makes the tables.

It is a ZIP file of members that are stored as they are: ``archive.json``, and one Arrow IPC stream a
table, its batches compressed by Zstandard. Any reader of the two formats can open it. Batches are
written as they are read and read as they were written, so memory does not grow with the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import zipfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from sqlalchemy import Executable

from migration.backends import Scanned, Script, Snapshot
from migration.contents import as_stored, spelled_columns
from migration.errors import Refused
from migration.look import count_rows
from migration.manifest import Contents, refusal
from migration.model import ARROW_TYPES, Column, Kind, ScanColumn, Schema, Table
from migration.plan import ColumnPlan, TablePlan
from migration.progress import Progress, Step
from migration.traits import Traits
from migration.values import as_storage
from migration.verify import Side, sum_table

HEADER = "archive.json"
VERSION = 1
# Zstandard's own: it makes rows of text a third, at several hundred MB a second.
COMPRESSION = "zstd"
# A header is text about tables; one greater than this is something else.
HEADER_BYTES = 64 * 1024 * 1024


async def write_archive(
    path: Path, snapshot: Snapshot, schema: Schema, script: Script, traits: Traits, progress: Progress
) -> dict[str, Contents]:
    """Write every table of a snapshot into a new file, and return what was read of each.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    found: dict[str, Contents] = {}
    with _new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, table in enumerate(schema.tables):
            spelled = await spelled_columns(snapshot, table)
            plan = as_stored(table, traits, spelled)
            row_count = await count_rows(snapshot, table)
            with archive.open(_entry(_member(number)), "w", force_zip64=True) as member:
                kept = _Kept(snapshot, _Writer(member, plan))
                found[table.name] = await _sum(kept, plan, traits, spelled, row_count, progress)
                await asyncio.to_thread(kept.writer.close)
        header = {
            "archive": VERSION,
            "tables": [table.name for table in schema.tables],
            "script": asdict(script),
        }
        archive.writestr(_entry(HEADER), json.dumps(header, indent=2))
    return found


async def _sum(
    kept: _Kept,
    plan: TablePlan,
    traits: Traits,
    spelled: tuple[str, ...],
    row_count: int,
    progress: Progress,
) -> Contents:
    name = plan.source.name

    def tell(step: Step) -> None:
        progress(Step("back up", name, step.done, row_count))

    digest = (await sum_table(plan, Side("source", kept, traits), tell)).digest
    return Contents(digest.row_count, str(digest), await kept.next_number(plan.source), spelled)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that was not there, readable by its owner only under any mask."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        os.fchmod(descriptor, 0o600)
        yield file


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o600 << 16
    return entry


def _member(number: int) -> str:
    """Return where the rows of a table are; its name may be anything, and is in the header."""
    return f"tables/{number:06}.arrow"


class _Writer:
    """Writes the batches of one table."""

    def __init__(self, member: IO[bytes], plan: TablePlan) -> None:
        self._kinds = [column.kind for column in plan.columns]
        fields = [pa.field(str(at), ARROW_TYPES[kind]) for at, kind in enumerate(self._kinds)]
        # Rows without columns are counted by a column of nothing.
        self._is_bare = not fields
        self._schema = pa.schema(fields or [pa.field("rows", pa.null())])
        options = pa.ipc.IpcWriteOptions(compression=COMPRESSION)
        self._stream = pa.ipc.new_stream(pa.PythonFile(member, "w"), self._schema, options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if self._is_bare:
            arrays = [pa.nulls(batch.num_rows)]
        else:
            arrays = [_as_kept(array, kind) for array, kind in zip(batch.columns, self._kinds, strict=True)]
        self._stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the end of the stream."""
        self._stream.close()


def as_kept(batch: pa.RecordBatch, columns: Sequence[ColumnPlan]) -> pa.RecordBatch:
    """Return rows with each column in the one type in which it is kept and written."""
    if not columns:
        return batch
    arrays = [_as_kept(array, column.kind) for array, column in zip(batch.columns, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])


def _as_kept(array: pa.Array, kind: Kind) -> pa.Array:
    if kind is Kind.ANY:
        return as_storage(array, kind)
    return array if array.type == ARROW_TYPES[kind] else array.cast(ARROW_TYPES[kind])


class _Kept:
    """A snapshot that writes down every batch which somebody reads from it."""

    def __init__(self, snapshot: Snapshot, writer: _Writer) -> None:
        self._snapshot = snapshot
        self.writer = writer
        self.moment = snapshot.moment
        self.rows, self.next_number = snapshot.rows, snapshot.next_number
        self.unreadable = snapshot.unreadable

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read all rows of a table, in batches, each written before it is given out."""
        scan = self._snapshot.scan(table, columns, in_order=in_order, after=after)
        async with contextlib.aclosing(scan) as batches:
            async for found in batches:
                await asyncio.to_thread(self.writer.write, found.batch)
                yield found


# --- reading ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Archive:
    """An archive as a snapshot: its tables can be read as those of a database are, one moment of them."""

    path: Path
    schema: Schema
    contents: Mapping[str, Contents]
    traits: Traits
    script: Script
    moment: str | None = None

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read all rows of a table in batches, in the order in which they were written.

        Each column comes as it was kept; it can only be asked for as that.
        """
        del in_order
        assert after is None, "an archive is read from its beginning"
        places = [[column.name for column in table.columns].index(wanted.column.name) for wanted in columns]
        with zipfile.ZipFile(self.path) as archive:
            member = _member([known.name for known in self.schema.tables].index(table.name))
            with archive.open(member) as rows, pa.ipc.open_stream(pa.PythonFile(rows, "r")) as stream:
                while (batch := await asyncio.to_thread(_next, stream)) is not None:
                    yield Scanned(batch.select(places), None)

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Refuse: files answer no queries."""
        raise NotImplementedError(f"an archive answers no queries: {statement}")

    async def next_number(self, table: Table) -> int | None:
        """Return the number the next row would have got."""
        return self.contents[table.name].next_number

    def unreadable(self, column: Column) -> str | None:  # noqa: ARG002
        """Return nothing: what could not be read as its kind was kept as its engine spells it."""
        return None


def _next(stream: Any) -> pa.RecordBatch | None:
    try:
        return stream.read_next_batch()
    except StopIteration:
        return None


def open_archive(path: Path, schema: Schema, contents: Mapping[str, Contents], traits: Traits) -> Archive:
    """Open the archive of a backup that was verified.

    Raises
    ------
    Refused
        When it is none of ours, whatever its manifest says.
    """
    tables = [table.name for table in schema.tables]
    try:
        with zipfile.ZipFile(path) as archive, archive.open(HEADER) as file:
            header = json.loads(file.read(HEADER_BYTES))
            members = set(archive.namelist())
        script = _script(header["script"])
        is_ours = header["archive"] == VERSION and header["tables"] == tables
        is_ours = is_ours and members == {HEADER, *map(_member, range(len(tables)))}
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise _foreign(path, str(error)) from error
    if not is_ours:
        raise _foreign(path, "it holds other tables than its manifest says")
    return Archive(path, schema, contents, traits, script)


def _script(data: Mapping[str, Any]) -> Script:
    """Return what makes the tables; what it lacks was accepted when the backup was made."""
    return Script(
        before=tuple(tuple(map(str, group)) for group in data["before"]),
        after=tuple(map(str, data["after"])),
        views=tuple(tuple(map(str, group)) for group in data["views"]),
        undo=tuple(map(str, data["undo"])),
    )


def _foreign(path: Path, said: str) -> Refused:
    return refusal(f"The backup is no archive of this program: {said}", path)
