"""Reads both sides of a table whole, on connections of its own, and compares them row by row.

First only sums are compared (:mod:`migration.digest`). When they differ, both sides are read again and
every row's hashes are put aside on disk, in parts small enough to be matched in memory; that gives
exact counts. A third reading fetches the few rows that are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from migration.backends import Scanned, Snapshot
from migration.difference import SAMPLES, Difference, RowDifferences, RowName, TableComparison, match_rows
from migration.digest import Canonical, Digest, canonical, row_hashes
from migration.look import own_kind
from migration.model import Kind, ScanColumn, Table
from migration.plan import TablePlan
from migration.progress import Progress, Step
from migration.rejects import RejectedRows
from migration.traits import Traits

# Half of a SHA-256 names a row within one table: a chance meeting needs some 2^64 rows.
NAME_BYTES = 16
# Rows matched in memory at once; 200,000 names of both sides take some 100 MB of Python objects.
PART_ROWS = 100_000
LARGEST_PART_COUNT = 200
# The least and the greatest of a column, as the numbers that Arrow keeps; none in a column of NULLs.
TimeRange: TypeAlias = tuple[int | None, int | None]
_Batches: TypeAlias = AsyncGenerator[tuple[list[Canonical], int], None]
_NUMBERS = {32: pa.int32(), 64: pa.int64()}
_Found = TypeVar("_Found")
_TIMES = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: where to read, and what the arrays that come hold."""

    name: str
    snapshot: Snapshot
    traits: Traits
    # Rows that a file holds instead of this side.
    rejected: RejectedRows | None = None


@dataclass(frozen=True)
class Sum:
    """What reading one side of a table whole came to: its digest, and the range of every time in it."""

    digest: Digest = field(default_factory=Digest)
    times: dict[str, TimeRange] = field(default_factory=dict)


async def sum_table(table: TablePlan, side: Side, progress: Progress) -> Sum:
    """Read one side of a table whole and sum it up."""

    def tell(row_count: int) -> None:
        progress(Step(f"prove {side.name}", table.target.name, row_count, table.row_count))

    return await _sum_up(table, _read(table, side), tell)


async def _sum_up(table: TablePlan, batches: _Batches, tell: Callable[[int], None] | None = None) -> Sum:
    digest = Digest()
    times: dict[str, TimeRange] = {}
    async for columns, count in batches:
        batch_digest, ranges = await asyncio.to_thread(_sum_batch, table, columns, count)
        digest += batch_digest
        times = _widest(times, ranges)
        if tell is not None:
            tell(digest.row_count)
    return Sum(digest, times)


async def compare_table(
    table: TablePlan, source: Side, target: Side, progress: Progress
) -> tuple[TableComparison, Sum, Sum]:
    """Compare one table whole; what differs is counted exactly, and some of it is named.

    Returns
    -------
    TableComparison, Sum, Sum
        What was found, and what each side summed up to.
    """
    ours, theirs = await _both(sum_table(table, source, progress), sum_table(table, target, progress))
    aside = await _sum_up(table, _read_rejected(table, target))
    comparison = TableComparison(table.target.name, ours.digest, theirs.digest, rejected=aside.digest)
    if not comparison.equal:
        comparison = await _explain(table, source, target, comparison)
    return comparison, ours, Sum(theirs.digest, _widest(theirs.times, aside.times))


async def _explain(table: TablePlan, source: Side, target: Side, found: TableComparison) -> TableComparison:
    rows = max(found.source.row_count, found.target.row_count + found.rejected.row_count)
    part_count = min(LARGEST_PART_COUNT, rows // PART_ROWS + 1)
    missing: Counter[bytes] = Counter()
    extra: Counter[bytes] = Counter()
    changed: Counter[bytes] = Counter()
    with tempfile.TemporaryDirectory(prefix="migration-bench-") as folder:
        ours, theirs = await _both(
            _put_aside(table, source, Path(folder), part_count),
            _put_aside(table, target, Path(folder), part_count),
        )
        counts = [0, 0, 0]
        for source_part, target_part in zip(ours, theirs, strict=True):
            parts = await asyncio.to_thread(_match, source_part, target_part)
            for position, (few, all_of_part) in enumerate(
                ((missing, parts.missing), (extra, parts.extra), (changed, parts.changed))
            ):
                counts[position] += all_of_part.total()
                few.update(dict(all_of_part.most_common(SAMPLES - min(len(few), SAMPLES))))
    shown = dict([*changed.items(), *missing.items(), *extra.items()][:SAMPLES])
    samples = await _samples(table, source, target, shown)
    return TableComparison(
        found.table,
        found.source,
        found.target,
        missing_count=counts[0],
        extra_count=counts[1],
        changed_count=counts[2],
        samples=samples[:SAMPLES],
        rejected=found.rejected,
    )


async def _both(
    ours: Coroutine[Any, Any, _Found], theirs: Coroutine[Any, Any, _Found]
) -> tuple[_Found, _Found]:
    """Work on both sides at once; where one fails, the other is stopped before anybody hears of it."""
    tasks = (asyncio.create_task(ours), asyncio.create_task(theirs))
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- reading ----------------------------------------------------------------------------------------


async def _read(table: TablePlan, side: Side) -> _Batches:
    """Read one side in batches, each column in the form in which sides are compared."""
    is_source = side.name == "source"
    own: Table = table.source if is_source else table.target
    columns = [
        ScanColumn(column.source if is_source else column.target, column.kind, column.fraction_digits)
        for column in table.columns
    ]
    async with contextlib.aclosing(_ahead(side.snapshot.scan(own, columns))) as scan:
        async for scanned in scan:
            yield (
                await asyncio.to_thread(_canonical_batch, columns, scanned.batch, side.traits),
                scanned.batch.num_rows,
            )


async def _ahead(batches: AsyncGenerator[Scanned, None]) -> AsyncGenerator[Scanned, None]:
    """Let the next batch be read while the last one is summed up: one more lies in memory, never two."""
    async with contextlib.aclosing(batches):
        coming = asyncio.ensure_future(anext(batches, None))
        try:
            while (batch := await coming) is not None:
                coming = asyncio.ensure_future(anext(batches, None))
                yield batch
        finally:
            # A reading that is begun ends before the connection that it goes on is given back.
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


async def _read_all(table: TablePlan, side: Side) -> _Batches:
    """Read one side, and then the rows that a file holds instead of it."""
    for batches in (_read(table, side), _read_rejected(table, side)):
        async with contextlib.aclosing(batches):
            async for batch in batches:
                yield batch


async def _read_rejected(table: TablePlan, side: Side) -> _Batches:
    """Read the rows that a file holds instead of one side, in the form in which sides are compared."""
    rejected = side.rejected
    if rejected is None or table.source.name not in rejected.counts:
        return
    own = {column.name: column.own for column in rejected.tables[table.source.name].columns}
    for lines, arrays in rejected.batches(table.source.name):
        by_name = dict(zip(own, arrays, strict=True))
        columns = [
            canonical(
                by_name[column.source.name], own[column.source.name], column.kind, column.fraction_digits
            )
            for column in table.columns
        ]
        yield columns, len(lines)


def _canonical_batch(columns: Sequence[ScanColumn], batch: pa.RecordBatch, traits: Traits) -> list[Canonical]:
    return [
        canonical(array, own_kind(column, traits), column.kind, column.fraction_digits)
        for column, array in zip(columns, batch.columns, strict=True)
    ]


def _sum_batch(
    table: TablePlan, columns: Sequence[Canonical], count: int
) -> tuple[Digest, dict[str, TimeRange]]:
    ranges = {}
    for planned, column in zip(table.columns, columns, strict=True):
        if planned.kind in _TIMES:
            # As numbers: Python's calendar ends at the years 1 and 9999, and Arrow's and the engines' do not.
            extremes = pc.min_max(column.array.view(_NUMBERS[column.array.type.bit_width]))
            ranges[planned.target.name] = (extremes["min"].as_py(), extremes["max"].as_py())
    return Digest.of(row_hashes(columns, count)), ranges


def _widest(times: dict[str, TimeRange], more: dict[str, TimeRange]) -> dict[str, TimeRange]:
    return times | {name: _wider(times.get(name), found) for name, found in more.items()}


def _wider(one: TimeRange | None, other: TimeRange) -> TimeRange:
    low = [value for value in ((one or (None, None))[0], other[0]) if value is not None]
    high = [value for value in ((one or (None, None))[1], other[1]) if value is not None]
    return min(low, default=None), max(high, default=None)


# --- which rows -------------------------------------------------------------------------------------


async def _put_aside(table: TablePlan, side: Side, folder: Path, part_count: int) -> list[Path]:
    """Write the name of every row to the part that its key belongs to."""
    paths = [folder / f"{side.name}-{part}" for part in range(part_count)]
    files: list[IO[bytes]] = [path.open("wb") for path in paths]
    try:
        async for columns, count in _read_all(table, side):
            await asyncio.to_thread(_write_names, table, columns, count, files)
    finally:
        for file in files:
            file.close()
    return paths


def _write_names(
    table: TablePlan, columns: Sequence[Canonical], count: int, files: Sequence[IO[bytes]]
) -> None:
    keys, rows = _names(table, columns, count)
    parts = keys[:, :8].copy().view("<u8")[:, 0] % np.uint64(len(files))
    both = np.concatenate([keys, rows], axis=1)
    for part in np.unique(parts):
        files[int(part)].write(both[parts == part].tobytes())


def _names(table: TablePlan, columns: Sequence[Canonical], count: int) -> tuple[Any, Any]:
    rows = row_hashes(columns, count)[:, :NAME_BYTES]
    if not table.key_positions:
        return rows, rows
    return row_hashes([columns[at] for at in table.key_positions], count)[:, :NAME_BYTES], rows


def _match(source: Path, target: Path) -> RowDifferences:
    return match_rows(_names_in(source), _names_in(target))


def _names_in(path: Path) -> Iterator[RowName]:
    data = path.read_bytes()
    for at in range(0, len(data), 2 * NAME_BYTES):
        yield data[at : at + NAME_BYTES], data[at + NAME_BYTES : at + 2 * NAME_BYTES]


# --- what to show -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A row that is shown: how it is called, and its values with their hashes."""

    label: str
    shown: tuple[str, ...]
    hashes: tuple[bytes, ...]


async def _samples(
    table: TablePlan, source: Side, target: Side, wanted: dict[bytes, int]
) -> tuple[Difference, ...]:
    ours, theirs = await _both(_fetch(table, source, wanted), _fetch(table, target, wanted))
    differences: list[Difference] = []
    for name in wanted:
        here, there = ours.get(name), theirs.get(name)
        if here is not None and there is not None and here.hashes != there.hashes:
            differences += _changed_values(table, here, there)
        elif here is not None and (there is None or not table.key):
            count = f"{here.label}" if there is None else f"{here.label} (another number of times)"
            differences.append(
                Difference("missing row" if there is None else "repeated row", table.target.name, count)
            )
        elif there is not None:
            differences.append(Difference("extra row", table.target.name, there.label))
    return tuple(differences)


def _changed_values(table: TablePlan, here: _Row, there: _Row) -> Iterator[Difference]:
    for at, column in enumerate(table.columns):
        if here.hashes[at] != there.hashes[at]:
            yield Difference(
                "changed value",
                table.target.name,
                here.label,
                column.target.name,
                here.shown[at],
                there.shown[at],
            )


async def _fetch(table: TablePlan, side: Side, wanted: dict[bytes, int]) -> dict[bytes, _Row]:
    """Read one side again and keep the rows that are wanted, by the hash of their key."""
    found: dict[bytes, _Row] = {}
    async for columns, count in _read_all(table, side):
        found.update(await asyncio.to_thread(_pick, table, columns, count, wanted.__contains__))
    return found


def _pick(
    table: TablePlan, columns: Sequence[Canonical], count: int, is_wanted: Callable[[bytes], bool]
) -> dict[bytes, _Row]:
    keys, _ = _names(table, columns, count)
    picked = {}
    for position, raw in enumerate(np.ascontiguousarray(keys).view(f"V{NAME_BYTES}")[:, 0].tolist()):
        if is_wanted(raw):
            cells = [_cell(column, position) for column in columns]
            shown = tuple(cell.show(0) for cell in cells)
            named = [(at, table.columns[at].target.name) for at in table.key_positions or range(len(columns))]
            label = ", ".join(f"{name}={shown[at]}" for at, name in named)
            picked[raw] = _Row(label, shown, tuple(row_hashes([cell], 1).tobytes() for cell in cells))
    return picked


def _cell(column: Canonical, position: int) -> Canonical:
    strays = {0: column.strays[position]} if position in column.strays else {}
    return Canonical(column.array.slice(position, 1), strays)
