"""Brings rows that were set aside into the target, once they were mended; names those that still do not fit.

A row that is there already is not written again: it is known by its key, or, in a table without one, by
how often rows equal to it are in the file and in the target. So loading a file twice loads it once. Nothing
that would refer to nothing goes in, and every row that went in is read back.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from migration import endings
from migration.checkpoint import read_checkpoints
from migration.conversion import has_value
from migration.database import Database
from migration.digest import canonical, row_hashes
from migration.errors import Differs, MigrationError, Refused
from migration.journal import Journal
from migration.look import own_kind
from migration.made import REJECTS_LOADED, as_data
from migration.model import Column, ForeignKey, ScanColumn, Schema, Table
from migration.plan import ColumnPlan, TablePlan, load_order
from migration.rejects import RejectedRows, RejectedTable
from migration.setting_aside import KEY_BYTES, Judge
from migration.undo import note_before
from migration.values import convert

# So many rows that still do not fit are named; the count beside them is exact.
NAMED = 20
OTHER_ROW = "another row has this key"
NO_PARENT = "refers to a row that is not there"


@dataclass(frozen=True)
class Misfit:
    """A row that still cannot go, and why."""

    table: str
    key: str
    reason: str


@dataclass
class Loading:
    """What became of the rows of a file."""

    loaded: dict[str, int] = field(default_factory=dict)
    already_count: int = 0
    misfit_count: int = 0
    misfits: list[Misfit] = field(default_factory=list)

    @property
    def loaded_count(self) -> int:
        """Number of rows that went in."""
        return sum(self.loaded.values())

    def refuse(self, table: str, key: Mapping[str, object], reason: str) -> None:
        """Note a row that still cannot go."""
        self.misfit_count += 1
        if len(self.misfits) < NAMED:
            named = ", ".join(f"{name}={value!r}" for name, value in key.items())
            self.misfits.append(Misfit(table, named, reason))


def loading_as_data(loading: Loading) -> dict[str, Any]:
    """Return what became of the rows as plain data; ``misfits`` are at most twenty."""
    return {
        "loaded": loading.loaded,
        "loaded_count": loading.loaded_count,
        "already_count": loading.already_count,
        "misfit_count": loading.misfit_count,
        "misfits": [vars(misfit) for misfit in loading.misfits],
    }


async def load_rejects(rejected: RejectedRows, target: Database, journal: Journal) -> Loading:
    """Load a file of rejected rows, table by table, each in one transaction.

    Raises
    ------
    Refused
        When the target does not have the tables and columns of the file, or a migration is under way.
    Differs
        When a row that went in is not what was read back.
    """
    async with target.lock():
        async with target.control() as connection:
            if await read_checkpoints(connection):
                raise endings.under_way(target)
        schema = await target.schema()
        plans = [
            _plan(table, schema, target)
            for name, table in rejected.tables.items()
            if rejected.counts.get(name)
        ]
        await journal.write("loading rejects", file=rejected.name, rows=rejected.counts, target=str(target))
        loading = Loading()
        for plan in load_order(plans):
            name = plan.target.name
            was = await note_before(target, [plan.target])
            await _Table(plan, schema, rejected, target, loading).load()
            left = await note_before(target, [plan.target])
            await journal.write(
                REJECTS_LOADED,
                table=name,
                rows=loading.loaded[name],
                database=await target.identity(),
                was=as_data(was[name]),
                left=as_data(left[name]),
            )
    return loading


def _plan(table: RejectedTable, schema: Schema, target: Database) -> TablePlan:
    """Return the way of a table's rows from the file: where they were going when they were set aside."""
    if not schema.has(table.target):
        raise Refused(
            f"The target has no table {table.target}, which rows of the file were for", where=str(target)
        )
    there = schema.table(table.target)
    names = {column.name for column in there.columns}
    columns = []
    for column in table.columns:
        if column.target is None:
            continue
        if column.target not in names:
            raise Refused(f"The target has no column {table.target}.{column.target}", where=str(target))
        source = Column(column.name, column.own)
        columns.append(ColumnPlan(source, there.column(column.target), column.kind, column.fraction_digits))
    planned = {column.source.name for column in columns}
    key = table.key if planned.issuperset(table.key) else ()
    source_table = Table(table.name, tuple(column.source for column in columns))
    return TablePlan(source_table, there, tuple(columns), is_new=False, key=key)


@dataclass
class _Batch:
    """Rows of the file, and the names of their keys and of the whole of them."""

    lines: list[dict[str, object]]
    rows: pa.RecordBatch
    keys: list[bytes]
    names: list[bytes]
    # Positions of those that are still to be loaded.
    left: list[int]


class _Table:
    """The rows of one table on their way from the file into the target."""

    def __init__(
        self, plan: TablePlan, schema: Schema, rejected: RejectedRows, target: Database, loading: Loading
    ) -> None:
        self._plan, self._schema, self._rejected, self._target = plan, schema, rejected, target
        self._loading = loading
        # Arrays of the file say themselves what they hold.
        as_read = dataclasses.replace(target.traits, keeps_storage_classes=False)
        self._judge = Judge(as_read, target.traits)

    async def load(self) -> None:
        """Load what fits, and see that it is there."""
        batches = await asyncio.to_thread(lambda: list(self._read()))
        await self._refuse_orphans(batches)
        before = await self._there(batches)
        self._refuse_known(batches, before)
        await self._write(batches)
        await self._check(batches, before)
        name = self._plan.target.name
        self._loading.loaded[name] = sum(len(batch.left) for batch in batches)

    # --- the file -------------------------------------------------------------------------------------

    def _read(self) -> Iterator[_Batch]:
        """Read the rows, and leave out those that hold what the target cannot take."""
        name = self._plan.source.name
        columns = [column.name for column in self._rejected.tables[name].columns]
        for lines, arrays in self._rejected.batches(name):
            by_name = dict(zip(columns, arrays, strict=True))
            mine = [by_name[column.source.name] for column in self._plan.columns]
            rows = pa.RecordBatch.from_arrays(mine, names=[str(at) for at in range(len(mine))])
            refused = self._judge.refused(self._plan, rows)
            for position, reasons in sorted(refused.items()):
                self._refuse(lines[position], ", ".join(f"{why.hazard} in {why.column}" for why in reasons))
            left = [position for position in range(len(lines)) if position not in refused]
            names = self._hashes(rows, self._plan.columns, of_file=True)
            keys = self._hashes(rows, self._key, of_file=True) if self._plan.key else names
            yield _Batch(lines, rows, keys, names, left)

    @property
    def _key(self) -> list[ColumnPlan]:
        return [self._plan.columns[at] for at in self._plan.key_positions]

    def _hashes(self, rows: pa.RecordBatch, columns: Sequence[ColumnPlan], *, of_file: bool) -> list[bytes]:
        """Name rows by some columns; a batch of the target holds just these, one of the file all of them."""
        found = []
        for at, column in enumerate(columns):
            position = self._plan.columns.index(column) if of_file else at
            traits = self._judge.source if of_file else self._target.traits
            stored = column.source if of_file else column.target
            own = own_kind(ScanColumn(stored, column.kind, column.fraction_digits), traits)
            found.append(canonical(rows.column(position), own, column.kind, column.fraction_digits))
        return [name[:KEY_BYTES].tobytes() for name in row_hashes(found, rows.num_rows)]

    def _refuse(self, line: Mapping[str, object], reason: str) -> None:
        key, row = line.get("key"), line["row"]
        self._loading.refuse(
            self._plan.target.name, key if isinstance(key, dict) and key else _few(row), reason
        )

    def _keep(self, batch: _Batch, is_kept: Callable[[int], bool], reason: str) -> int:
        """Leave out the rows that are not kept, and return how many they were."""
        gone = [position for position in batch.left if not is_kept(position)]
        for position in gone:
            self._refuse(batch.lines[position], reason)
        batch.left = [position for position in batch.left if position not in set(gone)]
        return len(gone)

    # --- the target -----------------------------------------------------------------------------------

    async def _scan(
        self, table: Table, columns: Sequence[ColumnPlan]
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        wanted = [ScanColumn(column.target, column.kind, column.fraction_digits) for column in columns]
        async with (
            self._target.snapshot() as snapshot,
            contextlib.aclosing(snapshot.scan(table, wanted)) as scan,
        ):
            async for scanned in scan:
                yield scanned.batch

    async def _refuse_orphans(self, batches: Sequence[_Batch]) -> None:
        """Leave out rows that would refer to nothing, and then those that refer to them."""
        keys = [
            (key, columns)
            for key in self._plan.target.foreign_keys
            if (columns := self._columns(key.columns))
        ]
        found = [(key, columns, await self._parents(batches, key, columns)) for key, columns in keys]
        count = 1
        while count:
            count = 0
            for key, columns, parents in found:
                own = self._own_parents(batches, key)
                for batch in batches:
                    names = self._hashes(batch.rows, columns, of_file=True)
                    filled = self._filled(batch.rows, columns)

                    def is_kept(at: int, names: list[bytes] = names, filled: Sequence[bool] = filled) -> bool:
                        return not filled[at] or names[at] in parents or names[at] in own  # noqa: B023

                    count += self._keep(batch, is_kept, f"{NO_PARENT} of {key.target_table}")

    def _columns(self, names: Iterable[str]) -> list[ColumnPlan]:
        """Return the columns of those names in the target; none where one of them is not from the file."""
        there = {column.target.name: column for column in self._plan.columns}
        found = [there.get(name) for name in names]
        return [column for column in found if column is not None] if all(found) else []

    def _filled(self, rows: pa.RecordBatch, columns: Sequence[ColumnPlan]) -> list[bool]:
        """Tell of each row whether it refers to anything: one NULL, and it does not."""
        is_filled = np.ones(rows.num_rows, dtype=bool)
        for column in columns:
            array = rows.column(self._plan.columns.index(column))
            own = own_kind(ScanColumn(column.source, column.kind), self._judge.source)
            is_filled &= has_value(convert(array, own, column.kind).array)
        return [bool(one) for one in is_filled]

    async def _parents(
        self, batches: Sequence[_Batch], key: ForeignKey, columns: Sequence[ColumnPlan]
    ) -> set[bytes]:
        """Return which of the keys that rows of the file refer to are in the target."""
        if not self._schema.has(key.target_table):
            return set()
        wanted = {name for batch in batches for name in self._hashes(batch.rows, columns, of_file=True)}
        parent = self._schema.table(key.target_table)
        as_here = [
            dataclasses.replace(column, target=parent.column(name))
            for column, name in zip(columns, key.target_columns, strict=True)
        ]
        there: set[bytes] = set()
        async with contextlib.aclosing(self._scan(parent, as_here)) as scan:
            async for rows in scan:
                there |= wanted.intersection(self._hashes(rows, as_here, of_file=False))
        return there

    def _own_parents(self, batches: Sequence[_Batch], key: ForeignKey) -> set[bytes]:
        """Return the keys that rows of this very file bring, where a table refers to itself."""
        columns = self._columns(key.target_columns) if key.target_table == self._plan.target.name else []
        if not columns:
            return set()
        named = [(batch, self._hashes(batch.rows, columns, of_file=True)) for batch in batches]
        return {names[at] for batch, names in named for at in batch.left}

    async def _there(self, batches: Sequence[_Batch]) -> dict[bytes, Counter[bytes]]:
        """Return the rows of the target under the keys of the file: how often each is there."""
        wanted = {batch.keys[at] for batch in batches for at in batch.left}
        found: dict[bytes, Counter[bytes]] = {}
        if not wanted:
            return found
        at_key = self._plan.key_positions
        async with contextlib.aclosing(self._scan(self._plan.target, self._plan.columns)) as scan:
            async for rows in scan:
                names = self._hashes(rows, self._plan.columns, of_file=False)
                key_rows = rows.select(list(at_key)) if at_key else rows
                keys = self._hashes(key_rows, self._key, of_file=False) if at_key else names
                for key, name in zip(keys, names, strict=True):
                    if key in wanted:
                        found.setdefault(key, Counter())[name] += 1
        return found

    def _refuse_known(self, batches: Sequence[_Batch], before: Mapping[bytes, Counter[bytes]]) -> None:
        """Leave out the rows that are there already, and those whose key another row has."""
        seen: dict[bytes, Counter[bytes]] = {key: Counter(names) for key, names in before.items()}
        for batch in batches:
            left = []
            for at in batch.left:
                key, name = batch.keys[at], batch.names[at]
                under = seen.setdefault(key, Counter())
                if under[name] > 0:
                    under[name] -= 0 if self._plan.key else 1
                    self._loading.already_count += 1
                elif self._plan.key and under:
                    self._refuse(batch.lines[at], OTHER_ROW)
                else:
                    left.append(at)
                    if self._plan.key:
                        # The next one of this key in the file would be the second.
                        under[name] += 1
            batch.left = left

    async def _write(self, batches: Sequence[_Batch]) -> None:
        """Write all that is left in one transaction; where the target refuses, find out what it refuses."""
        try:
            await self._append(batches, is_kept=True)
        except MigrationError:
            for batch in batches:
                for at in list(batch.left):
                    await self._try(batch, at)
            await self._append(batches, is_kept=True)

    async def _try(self, batch: _Batch, at: int) -> None:
        try:
            await self._append([dataclasses.replace(batch, left=[at])], is_kept=False)
        except MigrationError as error:
            self._keep(batch, lambda other: other != at, error.what)

    async def _append(self, batches: Sequence[_Batch], *, is_kept: bool) -> None:
        if not any(batch.left for batch in batches):
            return
        columns = [ScanColumn(column.target, column.kind) for column in self._plan.written]
        with contextlib.suppress(_TakenBack):
            async with self._target.loader([self._plan.target]) as loader, loader.transaction():
                for batch in batches:
                    if batch.left:
                        await loader.write(self._plan.target, columns, self._carried(batch))
                if not is_kept:
                    raise _TakenBack

    def _carried(self, batch: _Batch) -> pa.RecordBatch:
        rows = batch.rows.take(pa.array(batch.left, pa.int64()))
        arrays = []
        for column in self._plan.written:
            own = own_kind(ScanColumn(column.source, column.kind), self._judge.source)
            array = rows.column(self._plan.columns.index(column))
            arrays.append(convert(array, own, column.kind, column.fraction_digits).array)
        return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])

    async def _check(self, batches: Sequence[_Batch], before: Mapping[bytes, Counter[bytes]]) -> None:
        """Read back what went in: as many rows of each name more than there were."""
        written = Counter((batch.keys[at], batch.names[at]) for batch in batches for at in batch.left)
        after = await self._there(batches)
        for (key, name), count in written.items():
            were = before.get(key, Counter())[name]
            if after.get(key, Counter())[name] != were + count:
                raise Differs(
                    "A row that was loaded is not what was read back",
                    where=f"{self._plan.target.name} of {self._target}",
                    done="The rows that were loaded are in the target",
                    next_step="Look whether a trigger of the target has changed them",
                )


class _TakenBack(Exception):
    """Raised to take back what was only tried."""


def _few(row: object) -> dict[str, object]:
    """Return the first values of a row without a key, to name it by."""
    return dict(list(row.items())[:3]) if isinstance(row, dict) else {}
