"""How rows leave PostgreSQL: COPY in CSV, read by Arrow, with no Python per row.

CSV tells NULL (nothing at all) from the empty string (two quotes), and its quoting keeps every character, so
each value arrives as it was; the server does all the printing. How rows enter is in the file beside.
"""

from __future__ import annotations

import asyncio
import binascii
import codecs
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from migration.backends import BATCH_BYTES, BATCH_ROWS, Scanned
from migration.errors import CouldNotLook, Refused
from migration.model import ARROW_TYPES, Column, Kind, ScanColumn, Table

Offsets: TypeAlias = npt.NDArray[np.int64]

if TYPE_CHECKING:
    import asyncpg

    Driver: TypeAlias = asyncpg.Connection[asyncpg.Record]
    # Opens one more connection to the database that is read.
    Connect: TypeAlias = Callable[[], Awaitable[Driver]]

# How long a connection may take to say goodbye before it is cut.
CLOSE_SECONDS = 5.0


def quote(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL; PostgreSQL gives it the type of what it is compared with."""
    return "'" + text.replace("'", "''") + "'"


def automatic_column(table: Table) -> str:
    """Return the name of the first column that numbers itself."""
    return next(column.name for column in table.columns if column.automatic)


def sequence_of(table: Table) -> str:
    """Return the SQL that names the sequence from which a table's rows are numbered."""
    name = f"quote_ident(current_schema()) || {literal('.' + quote(table.name))}"
    return f"pg_get_serial_sequence({name}, {literal(automatic_column(table))})"


# --- reading ------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_snapshot(connect: Connect) -> AsyncIterator[PostgreSQLSnapshot]:
    """Open an unmoving view of a database; every connection it takes is closed whatever happens."""
    control = await connect()
    snapshot = PostgreSQLSnapshot(connect, control)
    try:
        await control.execute(_BEGIN)
        await snapshot.look()
        yield snapshot
    finally:
        await snapshot.close()


_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgreSQLSnapshot:
    """One unmoving view; each scan runs on a connection of its own that shares it."""

    def __init__(self, connect: Connect, control: Driver) -> None:
        self._connect = connect
        self._control = control
        self._control_lock = asyncio.Lock()
        self._idle: list[Driver] = []
        self._scanning: set[Driver] = set()
        self.moment: str | None = None
        self._schema = ""

    async def look(self) -> None:
        """Learn the name of the snapshot and of the schema it is read in."""
        row = await self._control.fetchrow("SELECT pg_export_snapshot(), current_schema()")
        assert row is not None
        self.moment, self._schema = row

    async def close(self) -> None:
        """Give every connection back; a scan that is still going on ends with an error."""
        for connection in self._scanning:
            connection.terminate()
        for connection in (self._control, *self._idle):
            # A server that does not say goodbye is as gone as one that does.
            with contextlib.suppress(OSError, TimeoutError):
                await connection.close(timeout=CLOSE_SECONDS)

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one small query built with SQLAlchemy Core and return all its rows."""
        compiled = statement.compile(  # type: ignore[attr-defined]
            dialect=_DIALECT, compile_kwargs={"literal_binds": True}
        )
        return await self._fetch(str(compiled))

    async def next_number(self, table: Table) -> int | None:
        """Return what ``nextval`` would give the column that numbers itself, or ``None`` without one."""
        if not any(column.automatic for column in table.columns):
            return None
        [(sequence, increment)] = await self._fetch(
            "SELECT s.seqrelid::regclass::text, s.seqincrement FROM pg_sequence s"
            f" WHERE s.seqrelid = {sequence_of(table)}::regclass"
        )
        [(last, is_called)] = await self._fetch(f"SELECT last_value, is_called FROM {sequence}")
        return int(last + increment) if is_called else int(last)

    def unreadable(self, column: Column) -> str | None:
        """Return the condition of dates and times that Arrow's reader of text does not know."""
        name = quote(column.name)
        return (
            " OR ".join(f"({part.format(name)})" for part in UNCARRIABLE.get(column.kind, {}).values())
            or None
        )

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read all rows of a table, in batches of about :data:`BATCH_BYTES`, at least one row each."""
        reading = _Reading(table, columns, key=table.key if in_order else ())
        name = await self._source(table)
        connection = await self._take()
        pieces = _Pieces()
        copy = asyncio.create_task(_copy_out(connection, reading.query(name, after), pieces))
        # However it ends, nobody waits for another piece.
        copy.add_done_callback(pieces.end)
        row_count = 0
        is_whole = False
        try:
            while (piece := await pieces.take()) is not None:
                try:
                    batch = await asyncio.to_thread(reading.parse, piece)
                except pa.ArrowInvalid as error:
                    raise await self._refusal(name, table, columns, str(error)) from error
                row_count += batch.num_rows
                for start in range(0, batch.num_rows, BATCH_ROWS):
                    yield reading.scanned(batch.slice(start, BATCH_ROWS))
            sent_count = int((await copy).split()[-1])
            if row_count != sent_count:
                raise CouldNotLook(
                    f"The server sent {sent_count} rows and {row_count} arrived", where=table.name
                )
            is_whole = True
        finally:
            self._scanning.discard(connection)
            if is_whole:
                self._idle.append(connection)
            else:
                copy.cancel()
                connection.terminate()
                await asyncio.gather(copy, return_exceptions=True)

    async def _take(self) -> Driver:
        """Return a connection that sees this snapshot, a used one if there is one."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = await self._connect()
            self._scanning.add(connection)
            await connection.execute(f"{_BEGIN}; SET TRANSACTION SNAPSHOT {literal(str(self.moment))}")
        self._scanning.add(connection)
        return connection

    async def _source(self, table: Table) -> str:
        """Return what to read a table from: without its heirs, which are tables themselves."""
        name = f"{quote(self._schema)}.{quote(table.name)}"
        kinds = await self._fetch(
            f"SELECT relkind::text FROM pg_class WHERE oid = to_regclass({literal(name)})"
        )
        return name if kinds == [("p",)] else f"ONLY {name}"

    async def _refusal(self, source: str, table: Table, columns: Sequence[ScanColumn], said: str) -> Refused:
        """Find out what Arrow could not read, and count it."""
        for scan_column in columns:
            column = scan_column.column
            conditions = UNCARRIABLE.get(column.kind, {})
            if not conditions:
                continue
            selected = ", ".join(
                f"count(*) FILTER (WHERE {condition.format(quote(column.name))})"
                for condition in conditions.values()
            )
            [counts] = await self._fetch(f"SELECT {selected} FROM {source}")
            found = [f"{what} ({count})" for what, count in zip(conditions, counts, strict=True) if count]
            if found:
                return Refused(
                    f"{column.name} holds {'times' if column.kind is Kind.TIME else 'dates'}"
                    f" outside what can be carried: {', '.join(found)}",
                    where=f"{table.name}.{column.name}",
                    next_step="Change these values in the source, or leave the column out",
                )
        return Refused(f"A value cannot be read: {said}", where=table.name)

    async def _fetch(self, statement: str) -> list[tuple[Any, ...]]:
        async with self._control_lock:
            return [tuple(row) for row in await self._control.fetch(statement)]


# Values that a column may hold and Arrow's reader of text cannot: counted when it stumbled over one.
_DAY_LIMITS = {
    "infinity": "{0} = 'infinity'",
    "-infinity": "{0} = '-infinity'",
    "BC": "isfinite({0}) AND {0} < '0001-01-01'",
    "after the year 9999": "isfinite({0}) AND {0} >= '10000-01-01'",
}
UNCARRIABLE: dict[Kind, dict[str, str]] = {
    Kind.DATE: _DAY_LIMITS,
    Kind.TIMESTAMP: _DAY_LIMITS,
    Kind.INSTANT: _DAY_LIMITS,
    Kind.TIME: {"24:00:00": "{0} = '24:00:00'"},
}
# What is selected instead of the column itself.
_SELECTED = {
    Kind.BYTES: "encode({0}, 'hex')",
    # A single-precision number travels as the double that it is, not as its shortest spelling.
    Kind.FLOAT: "{0}::float8",
    Kind.INSTANT: "{0} AT TIME ZONE 'UTC'",
}
# How Arrow reads the text of a kind, where that is not the canonical type.
_READ_AS = {Kind.BYTES: pa.large_string(), Kind.INSTANT: pa.timestamp("us")}
_KEY_IS_ITS_TEXT = (Kind.INTEGER, Kind.TEXT)


def _selected(column: ScanColumn) -> str:
    if column.read_kind is column.column.kind:
        return _SELECTED.get(column.column.kind, "{0}")
    return "{0}::int" if column.kind is Kind.INTEGER else "{0}::text"


class _Reading:
    """One scan: what to select, and how to read it."""

    def __init__(self, table: Table, columns: Sequence[ScanColumn], key: tuple[str, ...]) -> None:
        self._kinds = [scan_column.read_kind for scan_column in columns]
        self._key = key
        self._expressions = [
            _selected(scan_column).format(quote(scan_column.column.name)) for scan_column in columns
        ]
        self._types = [_READ_AS.get(kind, ARROW_TYPES[kind]) for kind in self._kinds]
        # Where to find the text of each key column: in the column itself, or in one selected for it.
        own = {scan_column.column.name: place for place, scan_column in enumerate(columns)}
        self._key_places = []
        for name in key:
            if name in own and table.column(name).kind in _KEY_IS_ITS_TEXT:
                self._key_places.append(own[name])
            else:
                self._key_places.append(len(self._expressions))
                self._expressions.append(quote(name))
                self._types.append(pa.string())
        names = [str(place) for place in range(len(self._types))]
        self._options = pa.csv.ConvertOptions(
            column_types=dict(zip(names, self._types, strict=True)),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        )
        self._names = names

    def query(self, source: str, after: str | None) -> str:
        """Return the SELECT of all rows, or of those after a position."""
        parts = [f"SELECT {', '.join(self._expressions)} FROM {source} AS source"]
        # A bare name could mean what is selected under it, such as the column cast to something else.
        key = ", ".join(f"source.{quote(name)}" for name in self._key)
        if after is not None:
            parts.append(f"WHERE ({key}) > ({', '.join(literal(text) for text in json.loads(after))})")
        if key:
            parts.append(f"ORDER BY {key}")
        return " ".join(parts)

    def parse(self, data: bytes) -> pa.RecordBatch:
        """Read whole lines of CSV; raises ``ArrowInvalid`` for a value its column's kind cannot hold."""
        if not self._names:
            return _rows_without_columns(data.count(b"\n"))
        if data.startswith(codecs.BOM_UTF8):
            # Arrow takes one at the start for a mark and drops it; here it is part of the first value.
            data = codecs.BOM_UTF8 + data
        table = pa.csv.read_csv(
            pa.BufferReader(data),
            # One block, so that no value is cut in two.
            read_options=pa.csv.ReadOptions(column_names=self._names, block_size=len(data) + 1),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=self._options,
        )
        [batch] = table.combine_chunks().to_batches()
        arrays = list(batch.columns)
        for place, kind in enumerate(self._kinds):
            if kind is Kind.BYTES:
                arrays[place] = _from_hex(arrays[place])
            elif kind is Kind.INSTANT:
                arrays[place] = arrays[place].cast(ARROW_TYPES[kind])
        return pa.RecordBatch.from_arrays(arrays, names=self._names)

    def scanned(self, batch: pa.RecordBatch) -> Scanned:
        """Return a batch without what was selected for the position only, and the position."""
        position = None
        if self._key:
            last = [str(batch.column(place)[-1].as_py()) for place in self._key_places]
            position = json.dumps(last)
        if not self._kinds:
            return Scanned(_rows_without_columns(batch.num_rows), position)
        return Scanned(batch.select(range(len(self._kinds))), position)


class _Pieces:
    """Hands pieces of CSV from the connection to the reader; one at a time lies in between."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)

    async def give(self, piece: bytes) -> None:
        await self._room.acquire()
        self._queue.put_nowait(piece)

    def end(self, _: object) -> None:
        self._queue.put_nowait(None)

    async def take(self) -> bytes | None:
        piece = await self._queue.get()
        self._room.release()
        return piece


async def _copy_out(connection: Driver, query: str, pieces: _Pieces) -> str:
    """Hand over pieces of about :data:`BATCH_BYTES`, each of whole rows; return how the server closed.

    PostgreSQL sends one message a row and asyncpg joins whole messages only. A piece that nobody takes
    stops the reading, and with it the server.
    """
    gathered: list[bytes] = []
    size = 0

    async def receive(data: bytes) -> None:
        nonlocal size
        gathered.append(data)
        size += len(data)
        if size >= BATCH_BYTES:
            piece = b"".join(gathered)
            gathered.clear()
            size = 0
            await pieces.give(piece)
            if connection.is_closed():
                # Lost while nobody was waiting for it: asyncpg would wait for more, and for ever.
                raise ConnectionResetError

    try:
        status = await connection.copy_from_query(query, output=receive, format="csv")
    except Exception as error:
        if connection.is_closed():
            # asyncpg trips over the closed connection in several ways.
            raise ConnectionResetError("it was closed while rows were read from it") from error
        raise
    if gathered:
        await pieces.give(b"".join(gathered))
    return status


def _rows_without_columns(row_count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.array([{}] * row_count, pa.struct([])))


def _from_hex(array: pa.Array) -> pa.Array:
    """Turn hexadecimal text into bytes, the whole buffer at once."""
    offsets, data = buffers_of(array, np.int64)
    halves = pa.py_buffer((offsets // 2).astype(np.int32))
    found = pa.Array.from_buffers(
        pa.binary(), len(array), [None, halves, pa.py_buffer(binascii.unhexlify(data))]
    )
    return pc.if_else(array.is_valid(), found, pa.scalar(None, pa.binary()))


def buffers_of(array: pa.Array, offset_type: type[np.signedinteger[Any]]) -> tuple[Offsets, memoryview]:
    """Return where each value of an array of texts ends, from 0, and all of them in one."""
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=offset_type)[array.offset : array.offset + len(array) + 1]
    return offsets.astype(np.int64) - offsets[0], memoryview(data or b"")[offsets[0] : offsets[-1]]
