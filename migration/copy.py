"""Copies rows, chunk by chunk: a chunk's rows and its checkpoint commit in one transaction of the target.

A reader goes ahead of the writer by a bounded number of chunks, each bounded in bytes, so memory does
not grow with the table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from migration.backends import BATCH_BYTES, Loader, Scanned, Snapshot
from migration.checkpoint import Checkpoint, advanced
from migration.errors import SourceUnusable
from migration.look import clause, own_kind
from migration.model import Chunk, ScanColumn
from migration.plan import Plan, TablePlan
from migration.progress import Progress, Step
from migration.rejects import Reason, scanned_columns
from migration.setting_aside import SettingAside
from migration.spelling import show_at
from migration.traits import Traits
from migration.values import convert

# Batches read ahead of the one being written: one ready, one in the making.
AHEAD = 1
# Batches are small for the sake of memory, and a chunk is several: PostgreSQL 18 took 0.71 to 0.79 of the
# speed of its binary COPY in commits of 8 MiB, and 0.49 to 0.69 in commits of 2 MiB.
CHUNK_BYTES = 4 * BATCH_BYTES


async def copy_tables(
    plan: Plan,
    snapshot: Snapshot,
    loader: Loader,
    source_traits: Traits,
    checkpoints: Mapping[str, Checkpoint],
    progress: Progress,
    setting_aside: SettingAside | None = None,
) -> list[Chunk]:
    """Copy every table of the plan from where its checkpoint stands; finished ones are passed over.

    Rows that cannot go are set aside, on the disk before their chunk commits; where there is no place to
    set them aside, one of them is an error.

    Returns
    -------
    list of Chunk
        The last chunk of each table that was copied in this call.
    """
    copied = []
    for table in plan.tables:
        checkpoint = checkpoints[table.target.name]
        if not checkpoint.is_finished:
            rows = _Rows(table, snapshot, source_traits, setting_aside)
            copied.append(await _copy_table(rows, loader, checkpoint, progress))
    return copied


async def _copy_table(rows: _Rows, loader: Loader, checkpoint: Checkpoint, progress: Progress) -> Chunk:
    """Copy one table from its checkpoint on.

    Rows without a position (nothing to order by) are taken out and copied from the start again, and so
    are rows the table had of its own that are to be replaced: in the transaction of the first chunk.
    """
    table = rows.table
    begins = checkpoint.position is None
    row_count = 0 if begins else checkpoint.row_count
    last = Chunk(table.target.name, 0, checkpoint.position, checkpoint.position, row_count)
    target_columns = [ScanColumn(column.target, column.kind) for column in table.written]
    name = table.target.name
    async with contextlib.aclosing(rows.read_ahead(checkpoint.position)) as batches:
        ready = await anext(batches, None)
        while ready is not None:
            byte_count, position = 0, last.upto
            async with loader.transaction():
                if begins:
                    await loader.execute(sa.delete(clause(table.target)))
                while ready is not None and byte_count < CHUNK_BYTES:
                    batch, position = ready.batch, ready.position
                    if batch.num_rows:
                        await loader.write(table.target, target_columns, batch)
                    row_count += batch.num_rows
                    byte_count += batch.nbytes + await rows.set_aside(last.upto, ready)
                    ready = await anext(batches, None)
                await rows.bring_to_disk()
                await loader.execute(advanced(name, position, row_count, is_finished=False))
            begins = False
            last = Chunk(name, last.number + 1, last.upto, position, row_count)
            progress(Step("copy", name, row_count, table.row_count))
    async with loader.transaction():
        if begins:
            await loader.execute(sa.delete(clause(table.target)))
        await loader.execute(advanced(name, last.upto, row_count, is_finished=True))
    progress(Step("copy", name, row_count, table.row_count))
    return last


@dataclass(frozen=True)
class _Ready:
    """A batch in the kinds of the plan, the position after it, and the rows of it that cannot go, as read."""

    batch: pa.RecordBatch
    position: str | None
    rejected: pa.RecordBatch | None = None
    reasons: tuple[tuple[Reason, ...], ...] = ()


@dataclass(frozen=True)
class _Rows:
    """The rows of one table on their way."""

    table: TablePlan
    snapshot: Snapshot
    traits: Traits
    setting_aside: SettingAside | None

    async def read_ahead(self, after: str | None) -> AsyncGenerator[_Ready, None]:
        """Read and convert the next batch while the one before is being written."""
        ready: asyncio.Queue[_Ready | None] = asyncio.Queue(AHEAD)

        async def read() -> None:
            scan = self.snapshot.scan(self.table.source, self._scanned(), in_order=True, after=after)
            async with contextlib.aclosing(scan) as batches:
                async for scanned in batches:
                    await ready.put(await asyncio.to_thread(self._carried, scanned))
            await ready.put(None)

        reader = asyncio.create_task(read())
        try:
            while True:
                taken = asyncio.create_task(ready.get())
                await asyncio.wait({taken, reader}, return_when=asyncio.FIRST_COMPLETED)
                if not taken.done() and reader.done() and reader.exception() is not None:
                    taken.cancel()
                    reader.result()
                batch = await taken
                if batch is None:
                    return
                yield batch
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def set_aside(self, chunk: str | None, ready: _Ready) -> int:
        """Add the rows that cannot go to the file, and return how many bytes they took."""
        if self.setting_aside is None or ready.rejected is None:
            return 0
        file = self.setting_aside.file
        return await asyncio.to_thread(file.add, self.table, chunk, ready.rejected, ready.reasons)

    async def bring_to_disk(self) -> None:
        """See that what was set aside outlives whatever happens when the chunk commits."""
        if self.setting_aside is not None:
            await asyncio.to_thread(self.setting_aside.file.flush)

    def _scanned(self) -> list[ScanColumn]:
        if self.setting_aside is not None:
            return scanned_columns(self.table)
        return [
            ScanColumn(column.source, column.kind, column.fraction_digits) for column in self.table.written
        ]

    def _carried(self, scanned: Scanned) -> _Ready:
        """Bring a batch into the kinds of the plan, less the rows that cannot go."""
        batch, rejected = scanned.batch, None
        reasons: tuple[tuple[Reason, ...], ...] = ()
        if self.setting_aside is not None:
            refused = self.setting_aside.judge.refused(self.table, batch)
            if refused:
                at = pa.array(sorted(refused), pa.int64())
                rejected, reasons = batch.take(at), tuple(tuple(refused[row]) for row in sorted(refused))
                keep = np.ones(batch.num_rows, dtype=bool)
                keep[at.to_numpy()] = False
                batch = batch.filter(pa.array(keep))
        return _Ready(converted(self.table, batch, self.traits), scanned.position, rejected, reasons)


def converted(table: TablePlan, batch: pa.RecordBatch, traits: Traits) -> pa.RecordBatch:
    """Return a batch in the kinds of the plan, which the profile has shown to hold every value."""
    arrays = []
    # What is read beyond the columns that are written stands behind them.
    for column, array in zip(table.written, batch.columns, strict=False):
        own = own_kind(ScanColumn(column.source, column.kind), traits)
        converted = convert(array, own, column.kind, column.fraction_digits)
        if len(converted.failed):
            raise SourceUnusable(
                f"A value cannot become {column.kind.value}: {show_at(array, int(converted.failed[0]))}",
                where=f"{table.source.name}.{column.source.name}",
                done="",
                next_step="The source has changed since it was looked at; run the migration again",
            )
        arrays.append(converted.array)
    if not arrays:
        # All that is carried is how many rows there are.
        return batch
    return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])
