"""Moves rows between a SQLite file and Arrow, natively in both directions (ADBC)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote as quote_path

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from migration.backends import BATCH_BYTES, BATCH_ROWS, Scanned
from migration.backends.sqlite_schema import quote
from migration.errors import SourceUnusable
from migration.model import STORAGE, Kind, ScanColumn, Table, Trigger

# How long a reader or writer waits for another one's lock.
BUSY_MS = 5_000
_TYPES = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary()}
_Result = TypeVar("_Result")


class Connection:
    """An ADBC connection on a thread of its own, so that nobody's event loop waits for a disk."""

    def __init__(self, path: Path, mode: str) -> None:
        self._path, self._mode = path, mode
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def __aenter__(self) -> Connection:
        try:
            self._connection = await self.run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        # What was not committed is rolled back by closing.
        await asyncio.shield(self.run(self._close))
        self._thread.shutdown(wait=False)

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Do blocking work on this connection's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        await self.run(lambda: self._fetch(statement, 1))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query and return all its rows."""
        table = await self.run(lambda: self._fetch(statement, BATCH_ROWS))
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_rows else []

    async def batch(self, statement: str, row_count: int) -> pa.RecordBatch:
        """Run a query of at most ``row_count`` rows, typed by the storage classes of all of them."""
        table = await self.run(lambda: self._fetch(statement, row_count + 1))
        (whole,) = table.combine_chunks().to_batches()
        return whole

    async def insert(self, statement: str, parameters: pa.RecordBatch) -> None:
        """Run a statement once for each row of parameters."""

        def work() -> None:
            with self._connection.cursor() as cursor:
                cursor.executemany(statement, parameters)

        await self.run(work)

    def _open(self) -> adbc.Connection:
        connection = adbc.connect(f"file:{quote_path(str(self._path))}?mode={self._mode}", autocommit=True)
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            cursor.fetchall()
        return connection

    def _close(self) -> None:
        self._connection.close()

    def _fetch(self, statement: str, batch_rows: int) -> pa.Table:
        with self._connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(batch_rows)})
            cursor.execute(statement)
            return cursor.fetch_arrow_table()


class SqliteSnapshot:
    """Reads one moment of a file, inside one read transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncIterator[Scanned]:
        """Read a table page by page in the order it is stored.

        Each page is first measured (how many rows fit into the bytes of a batch, which storage
        classes each column holds there) and then read with exactly the types it has. So a column may
        change class from page to page, and a page of large values is a page of few rows.
        """
        locator = await self._locator(table)
        row_limit = BATCH_ROWS
        while True:
            page = await self._measure(table, columns, locator, after, row_limit)
            if page is None:
                return
            batch = await self._read(table, columns, locator, after, page)
            after = page.upto
            yield Scanned(batch, after)
            # Neighbours are alike: a page a little smaller than fitted here rarely has to be measured twice.
            row_limit = min(BATCH_ROWS, max(page.fitting * 9 // 10, 1))

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one small query."""
        return await self._connection.rows(literal_sql(statement))

    async def next_number(self, table: Table) -> int | None:
        """Return the number after the largest there is, or, where none is used twice, there ever was."""
        column = next((column for column in table.columns if column.automatic), None)
        if column is None:
            return None
        ((largest,),) = await self._connection.rows(f"SELECT max({quote(column.name)}) FROM {quote(table.name)}")
        if column.never_reuses:
            name = table.name.replace("'", "''")
            used = await self._connection.rows(f"SELECT seq FROM sqlite_sequence WHERE name = '{name}'")
            largest = max([largest or 0, *(row[0] for row in used)])
        return max(largest or 0, 0) + 1

    async def _locator(self, table: Table) -> tuple[str, ...]:
        """Return the SQL that names a row's place: the rowid under a free name, else the primary key."""
        listed = await self._connection.rows(f"SELECT wr FROM pragma_table_list({_text(table.name)}) WHERE schema = 'main'")
        if not listed[0][0]:
            taken = {column.name.lower() for column in table.columns}
            for name in ("rowid", "_rowid_", "oid"):
                if name not in taken:
                    return (name,)
        if not table.primary_key:
            raise SourceUnusable(
                "The rows of this table cannot be told apart: rowid, _rowid_ and oid are all names of its columns",
                where=table.name,
                next_step="Rename one of the three columns, or give the table a primary key",
            )
        return tuple(quote(name) for name in table.primary_key)

    async def _measure(
        self, table: Table, columns: Sequence[ScanColumn], locator: tuple[str, ...], after: str | None, row_limit: int
    ) -> _Page | None:
        names = [quote(wanted.column.name) for wanted in columns]
        size = " + ".join(
            f"CASE typeof({name}) WHEN 'text' THEN octet_length({name}) WHEN 'blob' THEN octet_length({name}) ELSE 8 END"
            for name in names
        )
        classes = "".join(f", typeof({name}) AS c{at}" for at, name in enumerate(names))
        found_classes = "".join(f", group_concat(DISTINCT c{at})" for at in range(len(names)))
        beyond, order = _beyond(locator, after), ", ".join(locator)
        while True:
            ((row_count, byte_count, *found),) = await self._connection.rows(
                f"SELECT count(*), ifnull(sum(size), 0){found_classes} FROM (SELECT {size or 0} AS size{classes}"
                f" FROM {quote(table.name)}{beyond} ORDER BY {order} LIMIT {row_limit})"
            )
            if not row_count:
                return None
            fitting = int(row_count * BATCH_BYTES // max(byte_count, 1))
            if fitting >= row_count or row_count == 1:
                break
            row_limit = max(1, fitting)
        ((*upto,),) = await self._connection.rows(
            f"SELECT {', '.join(f'quote({part})' for part in locator)} FROM {quote(table.name)}"
            f"{beyond} ORDER BY {order} LIMIT 1 OFFSET {row_count - 1}"
        )
        return _Page(row_count, fitting, json.dumps(upto), [set(text.split(",")) - {"null"} for text in found])

    async def _read(
        self, table: Table, columns: Sequence[ScanColumn], locator: tuple[str, ...], after: str | None, page: _Page
    ) -> pa.RecordBatch:
        """Read one page: a column of one class as it is, one of several as a field for each class."""
        selected: list[str] = []
        for wanted, classes in zip(columns, page.classes, strict=True):
            name = quote(wanted.column.name)
            if len(classes) == 1:
                selected.append(name)
            else:
                selected += [f"CASE typeof({name}) WHEN '{found}' THEN {name} END" for found in sorted(classes)]
        read = await self._connection.batch(
            f"SELECT {', '.join([*selected, '1'])} FROM {quote(table.name)}"
            f"{_beyond(locator, after)} ORDER BY {', '.join(locator)} LIMIT {page.row_count}",
            page.row_count,
        )
        arrays: list[pa.Array] = []
        at = 0
        for classes in page.classes:
            if not classes:
                arrays.append(pa.nulls(page.row_count, pa.int64()))
            elif len(classes) == 1:
                arrays.append(_as_type(read.column(at), *classes))
                at += 1
            else:
                fields = [_as_type(read.column(at + i), found) for i, found in enumerate(sorted(classes))]
                arrays.append(pa.StructArray.from_arrays(fields, names=sorted(classes)))
                at += len(classes)
        return pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))])


@dataclass(frozen=True)
class _Page:
    """How many rows come next (and would have fitted), where they end, and the classes in each column."""

    row_count: int
    fitting: int
    upto: str
    classes: list[set[str]]


class SqliteLoader:
    """Appends rows to a file; its connection checks no foreign keys, its transactions fire no triggers."""

    def __init__(self, connection: Connection, triggers: Sequence[Trigger]) -> None:
        self._connection = connection
        self._triggers = triggers

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit on the way out; triggers are gone inside, and back before anybody else can see it."""
        await self._connection.execute("BEGIN IMMEDIATE")
        try:
            for trigger in self._triggers:
                await self._connection.execute(f"DROP TRIGGER {quote(trigger.name)}")
            yield
            for trigger in self._triggers:
                await self._connection.execute(trigger.definition)
            await self._connection.execute("COMMIT")
        except BaseException:
            # An error may have ended the transaction already; then there is nothing left to undo.
            with contextlib.suppress(adbc.Error):
                await asyncio.shield(self._connection.execute("ROLLBACK"))
            raise

    async def write(self, table: Table, columns: Sequence[ScanColumn], batch: pa.RecordBatch) -> None:
        """Append rows; a column of several storage classes goes in as whichever class is set."""
        names = [quote(wanted.column.name) for wanted in columns]
        slots: list[str] = []
        arrays: list[pa.Array] = []
        for wanted, array in zip(columns, batch.columns, strict=True):
            parts = _stored(array, wanted.kind)
            numbers = [f"?{len(arrays) + i + 1}" for i in range(len(parts))]
            slots.append(numbers[0] if len(parts) == 1 else f"coalesce({', '.join(numbers)})")
            arrays += parts
        if not arrays:
            for _ in range(batch.num_rows):
                await self._connection.execute(f"INSERT INTO {quote(table.name)} DEFAULT VALUES")
            return
        await self._connection.insert(
            f"INSERT INTO {quote(table.name)} ({', '.join(names)}) VALUES ({', '.join(slots)})",
            pa.RecordBatch.from_arrays(arrays, names=[str(i) for i in range(len(arrays))]),
        )

    async def execute(self, statement: Executable) -> None:
        """Run one statement in the transaction that is open."""
        await self._connection.execute(literal_sql(statement))


@contextlib.asynccontextmanager
async def open_snapshot(path: Path) -> AsyncIterator[SqliteSnapshot]:
    """Hold one read transaction open on a file that is opened read-only."""
    async with Connection(path, "ro") as connection:
        await connection.execute("BEGIN")
        # The transaction takes its moment with its first read.
        await connection.rows("SELECT count(*) FROM sqlite_master")
        yield SqliteSnapshot(connection)


@contextlib.asynccontextmanager
async def open_loader(path: Path, tables: Sequence[Table]) -> AsyncIterator[SqliteLoader]:
    """Open a file for appending to the given tables."""
    async with Connection(path, "rw") as connection:
        names = ", ".join(_text(table.name) for table in tables)
        found = await connection.rows(
            f"SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ({names})"
        )
        yield SqliteLoader(connection, [Trigger(*row) for row in found])


def literal_sql(statement: Executable) -> str:
    """Write a Core statement with its values in it, quoted by SQLAlchemy."""
    compiled = statement.compile(dialect=SQLiteDialect(paramstyle="named"), compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
    return str(compiled)


def is_driver_error(error: BaseException) -> bool:
    """Tell whether an error came from a SQLite driver."""
    return isinstance(error, (sqlite3.Error, adbc.Error))


def _beyond(locator: tuple[str, ...], after: str | None) -> str:
    if after is None:
        return ""
    values = ", ".join(json.loads(after))
    return f" WHERE ({', '.join(locator)}) > ({values})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _as_type(array: pa.Array, storage: str) -> pa.Array:
    """Give an all-null array, whose type the driver could not tell, the type of its class."""
    wanted = _TYPES[storage]
    return array if array.type == wanted else pa.nulls(len(array), wanted)


def _stored(array: pa.Array, kind: Kind) -> list[pa.Array]:
    """Return an array as SQLite keeps it: one array, or one for each storage class."""
    if kind is Kind.ANY:
        return [pc.struct_field(array, i) for i in range(STORAGE.num_fields)]
    if kind is Kind.BOOLEAN:
        return [array.cast(pa.int64())]
    if kind is Kind.INSTANT:
        return [pc.replace_substring(array.cast(pa.string()), "Z", "+00:00")]
    if kind in (Kind.TIMESTAMP, Kind.DATE, Kind.TIME):
        return [array.cast(pa.string())]
    return [array]
