"""Moves rows between a SQLite file and Arrow, natively in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.ext.asyncio import AsyncEngine

from migration.backends import BATCH_BYTES, BATCH_ROWS, Scanned
from migration.backends.sqlite_connection import TAKE_MOMENT, Connection
from migration.backends.sqlite_schema import BYTES, OWN_PREFIX
from migration.backends.sqlite_sql import quote, text
from migration.errors import SourceUnusable
from migration.model import STORAGE, Column, Kind, ScanColumn, Table, Trigger

# Columns asked for in one statement: each may need four in its result, which may have 2,000, and one more
# term in a sum, which may have 1,000.
COLUMNS_AT_ONCE = 400
# Columns of pages whose storage classes a snapshot keeps in mind: some 20 MB, and 200 GB of rows in ten
# columns.
REMEMBERED_CELLS = 1_000_000
# Names that lead to a row's own number, unless a column has them.
ROW_NUMBER_NAMES = ("rowid", "_rowid_", "oid")
# What SQLite itself can compare texts with; an application's own comparisons are known to it alone.
COLLATIONS = (BYTES, "NOCASE", "RTRIM")
_BYTES_OF = {"text": "CAST({0} AS BLOB)"}
_TYPES = {STORAGE.field(i).name: STORAGE.field(i).type for i in range(STORAGE.num_fields)}


class SqliteSnapshot:
    """Reads one moment of a file, inside one read transaction."""

    def __init__(self, connection: Connection) -> None:
        self.moment: str | None = None
        self._connection = connection
        self._pages = _Pages()

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read a table page by page, always in the order it is stored.

        Each page is first measured (how many rows fit into the bytes of a batch, which storage
        classes each column holds there) and then read with exactly the types it has. So a column may
        change class from page to page, and a page of large values is a page of few rows.
        """
        del in_order  # There is no other order.
        scan = _Scan(self._connection, table, columns, await self._locator(table))
        names = [wanted.column.name for wanted in columns]
        row_limit = BATCH_ROWS
        while True:
            page = self._pages.find(table.name, after, names)
            if page is None:
                page = await scan.measure(after, row_limit)
                if page is None:
                    return
                self._pages.remember(table.name, after, names, page)
            batch = await scan.read(after, page)
            after = page.upto
            yield Scanned(batch, after)
            # Neighbours are alike: a page a little smaller than fitted here rarely has to be measured twice.
            row_limit = min(BATCH_ROWS, max(page.fitting * 9 // 10, 1))

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one small query; bytes of a text that are no UTF-8 are written as escapes."""
        names = [f"c{at}" for at in range(len(statement.selected_columns))]  # type: ignore[attr-defined]
        # The driver gives a column one type, so each storage class has a column of its own.
        parts = ", ".join(
            f"CASE typeof({name}) WHEN '{found}' THEN {_BYTES_OF.get(found, '{0}').format(name)} END"
            for name in names
            for found in _TYPES
        )
        # Under a name that no table of theirs has.
        result = f"{OWN_PREFIX}result"
        rows = await self._connection.rows(
            f"WITH {result}({', '.join(names)}) AS ({literal_sql(statement)}) SELECT {parts} FROM {result}"
        )
        return [tuple(_values(row)) for row in rows]

    async def next_number(self, table: Table) -> int | None:
        """Return the number after the largest there is, or, where none is used twice, there ever was."""
        column = next((column for column in table.columns if column.automatic), None)
        if column is None:
            return None
        rows = await self._connection.rows(f"SELECT max({quote(column.name)}) FROM {quote(table.name)}")
        ((largest,),) = rows
        if column.never_reuses:
            used = await self._connection.rows(
                f"SELECT CAST(ifnull(seq, 0) AS INTEGER) FROM sqlite_sequence WHERE name = {text(table.name)}"
            )
            return max([int(largest or 0), 0, *(int(row[0]) for row in used)]) + 1
        # A table that holds nothing but negative numbers goes on with them.
        return 1 if largest is None else int(largest) + 1

    def unreadable(self, column: Column) -> str | None:  # noqa: ARG002
        """Return nothing: values of any class are read as what they are."""
        return None

    async def _locator(self, table: Table) -> tuple[str, ...]:
        """Return the SQL that names a row's place: its number under a free name, else the primary key."""
        listed = await self._connection.rows(
            f"SELECT wr FROM pragma_table_list({text(table.name)}) WHERE schema = 'main'"
        )
        if not listed:
            raise SourceUnusable("There is no such table any more", where=table.name, done="")
        numbered = [column.name for column in table.columns if column.automatic]
        if numbered:
            return (quote(numbered[0]),)
        if not listed[0][0]:
            taken = {column.name.lower() for column in table.columns}
            free = [name for name in ROW_NUMBER_NAMES if name not in taken]
            if free:
                return (free[0],)
        if not table.key:
            raise SourceUnusable(
                f"Its rows cannot be told apart: {', '.join(ROW_NUMBER_NAMES)} are all names of its columns",
                where=table.name,
                next_step="Rename one of these columns, or give the table a primary key that is never NULL",
            )
        return await self._key_locator(table)

    async def _key_locator(self, table: Table) -> tuple[str, ...]:
        """Return the SQL of the primary key, compared as its own index compares it: without a tie."""
        parts = await self._connection.rows(
            f"SELECT x.name, x.coll FROM pragma_index_list({text(table.name)}) AS l,"
            " pragma_index_xinfo(l.name) AS x WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno"
        )
        locator = []
        for name, collation in parts:
            if collation.upper() not in COLLATIONS:
                raise SourceUnusable(
                    f"Its rows are kept in an order that only an application knows: {collation}",
                    where=table.name,
                    next_step="Let the application copy them into a table whose key is not compared that way",
                )
            is_own = collation.upper() == (table.column(name).collation or BYTES)
            locator.append(quote(name) if is_own else f"{quote(name)} COLLATE {collation}")
        return tuple(locator)


@dataclass(frozen=True)
class _Page:
    """How many rows come next (and would have fitted), where they end, and the classes in each column."""

    row_count: int
    fitting: int
    upto: str
    classes: list[list[str]]


class _Pages:
    """The pages a snapshot has measured: it does not move, so the copy need not measure them again.

    A page measured for some columns serves for fewer of them, which have fewer bytes.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str | None], tuple[_Page, tuple[str, ...]]] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._classes: dict[tuple[str, ...], list[str]] = {}
        self._cell_count = 0

    def find(self, table: str, after: str | None, names: Sequence[str]) -> _Page | None:
        """Return the page after a position, if it was measured for all of these columns."""
        page, measured = self._found.get((table, after), (None, ()))
        if page is None or not set(names) <= set(measured):
            return None
        return replace(page, classes=[page.classes[measured.index(name)] for name in names])

    def remember(self, table: str, after: str | None, names: Sequence[str], page: _Page) -> None:
        """Keep a page, as long as there is room."""
        self._cell_count += len(names)
        if self._cell_count <= REMEMBERED_CELLS:
            # Pages are alike, and share what they have in common.
            measured = self._names.setdefault(tuple(names), tuple(names))
            classes = [self._classes.setdefault(tuple(found), found) for found in page.classes]
            self._found[table, after] = (replace(page, classes=classes), measured)


class _Scan:
    """The reading of one table, page by page; wide tables are read a few hundred columns at a time."""

    def __init__(
        self, connection: Connection, table: Table, columns: Sequence[ScanColumn], locator: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self._table = quote(table.name)
        self._names = [quote(wanted.column.name) for wanted in columns]
        self._key = ", ".join(locator)
        # Where a row is, as a text that leads back to it whatever bytes it holds.
        self._place = ", ".join(
            f"CASE typeof({part}) WHEN 'text' THEN 'CAST(x''' || hex({part}) || ''' AS TEXT)'"
            f" ELSE quote({part}) END"
            for part in locator
        )

    async def measure(self, after: str | None, row_limit: int) -> _Page | None:
        """Return the page that comes next, or ``None`` at the end; it fits into a batch, or is one row."""
        while True:
            row_count, byte_count, classes = 0, 0, []
            for names in self._groups(self._names):
                row_count, size, *found = await self._measure(names, after, row_limit)
                if not row_count:
                    return None
                byte_count += size
                classes += [sorted(set(listed.split(",")) - {"null"}) for listed in found]
            fitting = int(row_count * BATCH_BYTES // max(byte_count, 1))
            if fitting >= row_count or row_count == 1:
                break
            row_limit = max(1, fitting)
        ((*upto,),) = await self._connection.rows(
            f"SELECT {self._place} {self._rows(after, 1)} OFFSET {row_count - 1}"
        )
        return _Page(row_count, fitting, json.dumps(upto), classes)

    async def read(self, after: str | None, page: _Page) -> pa.RecordBatch:
        """Read one page: a column of one class as it is, one of several as a field for each class."""
        arrays: list[pa.Array] = []
        for columns in self._groups(list(zip(self._names, page.classes, strict=True))):
            selected = [_of_class(name, found, classes) for name, classes in columns for found in classes]
            read = await self._connection.batch(
                f"SELECT {', '.join([*selected, '1'])} {self._rows(after, page.row_count)}", page.row_count
            )
            fields = iter(read.columns)
            arrays += [_column(fields, classes, page.row_count) for _, classes in columns]
        if not arrays:
            return pa.RecordBatch.from_struct_array(pa.array([{}] * page.row_count, pa.struct([])))
        return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])

    async def _measure(self, names: Sequence[str], after: str | None, row_limit: int) -> tuple[Any, ...]:
        sizes = [
            f"CASE WHEN typeof({name}) IN ('text', 'blob') THEN octet_length({name}) ELSE 8 END"
            for name in names
        ]
        classes = "".join(f", typeof({name}) AS c{at}" for at, name in enumerate(names))
        found_classes = "".join(f", group_concat(DISTINCT c{at})" for at in range(len(names)))
        (found,) = await self._connection.rows(
            f"SELECT count(*), ifnull(sum(size), 0){found_classes}"
            f" FROM (SELECT {' + '.join(sizes) or '0'} AS size{classes} {self._rows(after, row_limit)})"
        )
        return found

    def _rows(self, after: str | None, row_limit: int) -> str:
        beyond = "" if after is None else f" WHERE ({self._key}) > ({', '.join(json.loads(after))})"
        return f"FROM {self._table}{beyond} ORDER BY {self._key} LIMIT {row_limit}"

    @staticmethod
    def _groups(columns: Sequence[Any]) -> Iterator[Sequence[Any]]:
        # No column at all is a group too: its rows count.
        for start in range(0, max(len(columns), 1), COLUMNS_AT_ONCE):
            yield columns[start : start + COLUMNS_AT_ONCE]


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
        if not columns:
            for _ in range(batch.num_rows):
                await self._connection.execute(f"INSERT INTO {quote(table.name)} DEFAULT VALUES")
            return
        names = ", ".join(quote(wanted.column.name) for wanted in columns)
        slots: list[str] = []
        arrays: list[pa.Array] = []
        for wanted, array in zip(columns, batch.columns, strict=True):
            parts = _stored(array, wanted.kind)
            numbers = [f"?{len(arrays) + at + 1}" for at in range(len(parts))]
            slots.append(numbers[0] if len(parts) == 1 else f"coalesce({', '.join(numbers)})")
            arrays += parts
        await self._connection.insert(
            f"INSERT INTO {quote(table.name)} ({names}) VALUES ({', '.join(slots)})",
            pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))]),
        )

    async def execute(self, statement: Executable) -> None:
        """Run one statement in the transaction that is open."""
        await self._connection.execute(literal_sql(statement))


@contextlib.asynccontextmanager
async def open_snapshot(path: Path) -> AsyncIterator[SqliteSnapshot]:
    """Hold one read transaction open on a file that is opened read-only."""
    async with Connection(path, "ro", is_anchored=True) as connection:
        await connection.execute("BEGIN")
        await connection.rows(TAKE_MOMENT)
        yield SqliteSnapshot(connection)


@contextlib.asynccontextmanager
async def open_loader(
    path: Path, engine: AsyncEngine, tables: Sequence[Table]
) -> AsyncIterator[SqliteLoader]:
    """Open a file for appending to the given tables; connections waiting in the pool are closed."""
    await engine.dispose()
    async with Connection(path, "rw") as connection:
        names = ", ".join(text(table.name) for table in tables)
        # A trigger may spell the name of its table in other capitals.
        found = await connection.rows(
            "SELECT name, tbl_name, sql FROM sqlite_master"
            f" WHERE type = 'trigger' AND tbl_name COLLATE NOCASE IN ({names})"
        )
        yield SqliteLoader(connection, [Trigger(*row) for row in found])


def literal_sql(statement: Executable) -> str:
    """Write a Core statement with its values in it, quoted by SQLAlchemy."""
    compiled = statement.compile(  # type: ignore[attr-defined]
        dialect=SQLiteDialect(paramstyle="named"), compile_kwargs={"literal_binds": True}
    )
    return str(compiled)


def _of_class(name: str, found: str, classes: Sequence[str]) -> str:
    """Return the SQL of a column's values of one class; of the column itself where it has no other."""
    return name if len(classes) == 1 else f"CASE typeof({name}) WHEN '{found}' THEN {name} END"


def _column(fields: Iterator[pa.Array], classes: Sequence[str], row_count: int) -> pa.Array:
    """Put one column together from as many fields as it has classes."""
    if not classes:
        return pa.nulls(row_count, pa.int64())
    # Of each class there is a value on the page, by which the driver has told the type of the field.
    arrays = [next(fields) for _ in classes]
    return arrays[0] if len(arrays) == 1 else pa.StructArray.from_arrays(arrays, names=list(classes))


def _values(row: Sequence[Any]) -> Iterator[Any]:
    """Yield the values of a row that has a field for each storage class of each of them."""
    text_at = list(_TYPES).index("text")
    for start in range(0, len(row), len(_TYPES)):
        found = next((at for at in range(len(_TYPES)) if row[start + at] is not None), text_at)
        value = row[start + found]
        yield value.decode(errors="backslashreplace") if found == text_at and value is not None else value


def _stored(array: pa.Array, kind: Kind) -> list[pa.Array]:
    """Return an array as SQLite keeps it: one array, or one for each storage class."""
    if kind is Kind.ANY:
        return [pc.struct_field(array, at) for at in range(STORAGE.num_fields)]
    if kind is Kind.BOOLEAN:
        return [array.cast(pa.int64())]
    if kind is Kind.INSTANT:
        return [pc.replace_substring(array.cast(pa.string()), "Z", "+00:00")]
    if kind in (Kind.TIMESTAMP, Kind.DATE, Kind.TIME):
        return [array.cast(pa.string())]
    return [array]
