"""Copies rows, chunk by chunk: a chunk's rows and its checkpoint commit in one transaction of the target.

A reader goes ahead of the writer by a bounded number of chunks, each bounded in bytes, so memory does
not grow with the table.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

import pyarrow as pa
import sqlalchemy as sa

from migration.backends import BATCH_BYTES, Loader, Snapshot
from migration.checkpoint import Checkpoint, advanced
from migration.errors import SourceUnusable
from migration.look import clause, own_kind
from migration.model import Chunk, ScanColumn, Traits
from migration.plan import Plan, TablePlan
from migration.progress import Progress, Step
from migration.spelling import show_at
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
) -> list[Chunk]:
    """Copy every table of the plan from where its checkpoint stands; finished ones are passed over.

    Returns
    -------
    list of Chunk
        The last chunk of each table that was copied in this call.
    """
    copied = []
    for table in plan.tables:
        checkpoint = checkpoints[table.target.name]
        if not checkpoint.is_finished:
            copied.append(await _copy_table(table, snapshot, loader, source_traits, checkpoint, progress))
    return copied


async def _copy_table(
    table: TablePlan,
    snapshot: Snapshot,
    loader: Loader,
    traits: Traits,
    checkpoint: Checkpoint,
    progress: Progress,
) -> Chunk:
    """Copy one table from its checkpoint on.

    Rows without a position (nothing to order by) are taken out and copied from the start again, and so
    are rows the table had of its own that are to be replaced: in the transaction of the first chunk.
    """
    begins = checkpoint.position is None
    row_count = 0 if begins else checkpoint.row_count
    last = Chunk(table.target.name, 0, checkpoint.position, checkpoint.position, row_count)
    target_columns = [ScanColumn(column.target, column.kind) for column in table.written]
    name = table.target.name
    async with contextlib.aclosing(_read_ahead(table, snapshot, traits, checkpoint.position)) as batches:
        ready = await anext(batches, None)
        while ready is not None:
            byte_count, position = 0, last.upto
            async with loader.transaction():
                if begins:
                    await loader.execute(sa.delete(clause(table.target)))
                while ready is not None and byte_count < CHUNK_BYTES:
                    batch, position = ready
                    await loader.write(table.target, target_columns, batch)
                    row_count += batch.num_rows
                    byte_count += batch.nbytes
                    ready = await anext(batches, None)
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


async def _read_ahead(
    table: TablePlan, snapshot: Snapshot, traits: Traits, after: str | None
) -> AsyncGenerator[tuple[pa.RecordBatch, str | None], None]:
    """Read and convert the next chunk while the one before is being written."""
    ready: asyncio.Queue[tuple[pa.RecordBatch, str | None] | None] = asyncio.Queue(AHEAD)

    async def read() -> None:
        columns = [ScanColumn(column.source, column.kind) for column in table.written]
        async with contextlib.aclosing(
            snapshot.scan(table.source, columns, in_order=True, after=after)
        ) as scan:
            async for scanned in scan:
                carried = await asyncio.to_thread(_carried, table, scanned.batch, traits)
                await ready.put((carried, scanned.position))
        await ready.put(None)

    reader = asyncio.create_task(read())
    try:
        while True:
            taken = asyncio.create_task(ready.get())
            await asyncio.wait({taken, reader}, return_when=asyncio.FIRST_COMPLETED)
            if not taken.done() and reader.done() and reader.exception() is not None:
                taken.cancel()
                reader.result()
            chunk = await taken
            if chunk is None:
                return
            yield chunk
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


def _carried(table: TablePlan, batch: pa.RecordBatch, traits: Traits) -> pa.RecordBatch:
    """Bring a batch into the kinds of the plan, which the profile has shown to hold every value."""
    arrays = []
    for column, array in zip(table.written, batch.columns, strict=True):
        converted = convert(array, own_kind(ScanColumn(column.source, column.kind), traits), column.kind)
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
