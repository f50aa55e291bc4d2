"""How rows enter MySQL and MariaDB: lines made by Arrow, read by LOAD DATA from this connection.

Measured with 200,000 rows of ten columns (about 370 bytes each): 95,000 to 105,000 rows per second, against
67,000 to 75,000 by INSERT of many rows at once, which is the way in where the server takes no local files.

LOAD DATA LOCAL says of a value that does not fit, and of a row that it leaves out, nothing but a warning,
whatever ``sql_mode`` says; so here each warning is an error, and rows are counted.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Executable
from sqlalchemy.dialects.mysql.asyncmy import MySQLDialect_asyncmy
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from migration.backends.mysql_connection import (
    close,
    connect,
    fetch,
    literal,
    quote,
    require_driver,
)
from migration.backends.mysql_triggers import hold_back, put_back
from migration.backends.mysql_wire import FILE_NAME, run
from migration.errors import TargetUnusable
from migration.model import Kind, ScanColumn, Table

# One INSERT, where the server allows as much; more made it no faster.
STATEMENT_BYTES = 256 * 1024
# Complaints that are shown.
SHOWN = 3

_DIALECT = MySQLDialect_asyncmy()
_SETTINGS = "SET SESSION foreign_key_checks = 0, sql_notes = 1, max_error_count = 64"
_DONE = "The rows of this transaction are taken back"


@contextlib.asynccontextmanager
async def open_loader(engine: AsyncEngine, tables: Sequence[Table]) -> AsyncIterator[MySQLLoader]:
    """Open a connection on which no foreign key is looked at; triggers of the tables are gone meanwhile.

    The connection is the loader's own, so that what it was allowed never comes back from a pool. Triggers
    that a killed run has taken away are put back too.
    """
    names = [table.name for table in tables]
    connection = await connect(engine.url)
    try:
        await fetch(connection, _SETTINGS)
        loader = MySQLLoader(connection)
        await loader.look(names)
        async with _without_triggers(engine.url, names):
            yield loader
    finally:
        await close(connection)


@contextlib.asynccontextmanager
async def _without_triggers(url: URL, tables: Sequence[str]) -> AsyncIterator[None]:
    """Take triggers away, and put them back by a connection that knows nothing of what happened between."""
    try:
        async with contextlib.AsyncExitStack() as stack:
            connection = await connect(url)
            stack.push_async_callback(close, connection)
            await hold_back(connection, tables)
        yield
    finally:
        connection = await connect(url)
        try:
            await put_back(connection)
        finally:
            await close(connection)


@dataclass(frozen=True)
class _Target:
    """What a column of the target is, in the server's own words."""

    type_name: str
    nullable: bool


class MySQLLoader:
    """One connection in loading mode."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._takes_files = False
        self._packet_bytes = 0
        self._columns: dict[str, dict[str, _Target]] = {}

    async def look(self, tables: Sequence[str]) -> None:
        """Learn what the server takes; refuse tables of which nothing could be taken back."""
        [(takes_files, self._packet_bytes)] = await fetch(
            self._connection, "SELECT @@GLOBAL.local_infile, @@max_allowed_packet"
        )
        self._takes_files = bool(takes_files)
        for table, engine in await fetch(self._connection, _MOVING_TABLES):
            if table in tables:
                raise TargetUnusable(
                    f"Its engine {engine} has no transactions, so what a failed load has written would stay",
                    where=table,
                    next_step=f"Run: ALTER TABLE {quote(table)} ENGINE=InnoDB",
                )

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit on the way out, roll back on an error; never nested."""
        await fetch(self._connection, "START TRANSACTION")
        try:
            yield
        except BaseException:
            # Whoever has lost the connection has rolled back.
            if self._connection.connected:
                with contextlib.suppress(require_driver().errors.Error):
                    await self._connection.rollback()
            raise
        await self._connection.commit()

    async def write(self, table: Table, columns: Sequence[ScanColumn], batch: pa.RecordBatch) -> None:
        """Append rows; anything that the server has to say about them is an error."""
        if not columns:
            rows = ", ".join(["()"] * batch.num_rows)
            await self._run(table.name, f"INSERT INTO {quote(table.name)} () VALUES {rows}", batch.num_rows)
            return
        targets = await self._targets(table.name, columns)
        for place, wanted in enumerate(columns):
            _refuse_nulls(table.name, wanted.column.name, targets[place], batch.column(place))
        if self._takes_files:
            await self._load(table.name, columns, targets, batch)
        else:
            await self._insert(table.name, columns, batch)

    async def execute(self, statement: Executable) -> None:
        """Run one statement built with SQLAlchemy Core, in the transaction that is open."""
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
        values = compiled.construct_params()
        async with self._connection.cursor() as cursor:
            await cursor.execute(str(compiled), tuple(values[name] for name in compiled.positiontup or ()))

    async def _targets(self, table: str, columns: Sequence[ScanColumn]) -> list[_Target]:
        if table not in self._columns:
            found = await fetch(
                self._connection,
                "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
                f" WHERE table_schema = DATABASE() AND table_name = {literal(table)}",
            )
            self._columns[table] = {
                name.lower(): _Target(str(kind).lower(), nullable == "YES") for name, kind, nullable in found
            }
        known = self._columns[table]
        unknown = [wanted.column.name for wanted in columns if wanted.column.name.lower() not in known]
        if unknown:
            raise TargetUnusable(f"There is no column {', '.join(unknown)}", where=table, done="")
        return [known[wanted.column.name.lower()] for wanted in columns]

    async def _load(
        self, table: str, columns: Sequence[ScanColumn], targets: Sequence[_Target], batch: pa.RecordBatch
    ) -> None:
        text = await asyncio.to_thread(_lines, batch)
        names, converted = [], []
        variables = [f"@migration_bench_{place}" for place in range(len(columns))]
        made = [
            _converted(wanted.kind, target, variable)
            for wanted, target, variable in zip(columns, targets, variables, strict=True)
        ]
        is_any_made = any(made)
        for wanted, variable, expression in zip(columns, variables, made, strict=True):
            name = quote(wanted.column.name)
            # SET makes MariaDB forget that a column which numbers itself was given a value: 0 became 1.
            value = variable if is_any_made and wanted.kind is Kind.INTEGER else None
            value = expression or value
            names.append(variable if value else name)
            converted += [f"{name} = {value}"] if value else []
        statement = (
            f"LOAD DATA LOCAL INFILE '{FILE_NAME}' INTO TABLE {quote(table)} CHARACTER SET utf8mb4"
            " FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n'"
            f" ({', '.join(names)})" + (f" SET {', '.join(converted)}" if converted else "")
        )
        await self._run(table, statement, batch.num_rows, text)

    async def _insert(self, table: str, columns: Sequence[ScanColumn], batch: pa.RecordBatch) -> None:
        text, ends = await asyncio.to_thread(_tuples, batch)
        names = ", ".join(quote(wanted.column.name) for wanted in columns)
        head = f"INSERT INTO {quote(table)} ({names}) VALUES ".encode()
        limit = min(STATEMENT_BYTES, self._packet_bytes - len(head))
        first = 0
        while first < batch.num_rows:
            start = int(ends[first])
            last = max(first + 1, int(np.searchsorted(ends, start + limit, side="right")) - 1)
            size = int(ends[last]) - start
            if len(head) + size > self._packet_bytes:
                raise self._too_large(table, size)
            # Each row ends with a comma, which the last one must not have.
            await self._run(table, head + bytes(text[start : int(ends[last]) - 1]), last - first)
            first = last

    def _too_large(self, table: str, size: int) -> TargetUnusable:
        return TargetUnusable(
            f"A row of {size:,} bytes is larger than the server takes"
            f" (max_allowed_packet is {self._packet_bytes:,})",
            where=table,
            done=_DONE,
            next_step="Let the server take more: SET GLOBAL max_allowed_packet = 1073741824",
        )

    async def _run(
        self, table: str, statement: str | bytes, row_count: int, text: memoryview | None = None
    ) -> None:
        """Run a statement that writes so many rows, and send what it reads; raise unless it did."""
        affected_count, warning_count = await run(self._connection, statement, text)
        if affected_count == row_count and not warning_count:
            return
        found = await fetch(self._connection, f"SHOW WARNINGS LIMIT {SHOWN}")
        said = "; ".join(str(message) for _, _, message in found) or "nothing"
        raise TargetUnusable(
            f"Of {row_count} rows {affected_count} were taken, with {warning_count} warnings: {said}",
            where=table,
            done=_DONE,
            next_step="Make the column able to hold its values, or leave it out",
        )


_MOVING_TABLES = """
SELECT t.table_name, t.engine FROM information_schema.tables t
JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = DATABASE() AND coalesce(e.transactions, 'NO') <> 'YES'
"""


def _refuse_nulls(table: str, column: str, target: _Target, array: pa.Array) -> None:
    """Refuse NULL where it would become now, or the next number, or zero, without a word."""
    if array.null_count and not target.nullable:
        raise TargetUnusable(
            f"{column} may not be NULL, and {array.null_count} of {len(array)} values are",
            where=f"{table}.{column}",
            done=_DONE,
            next_step="Let the column be NULL in the target, or change these values in the source",
        )


def _converted(kind: Kind, target: _Target, variable: str) -> str | None:
    """Return what is made of the text of a value before it is stored; ``None`` for the text itself."""
    if kind is Kind.BYTES:
        return (
            f"CAST(CONV({variable}, 16, 10) AS UNSIGNED)"
            if target.type_name == "bit"
            else f"UNHEX({variable})"
        )
    return f"CAST({variable} AS UNSIGNED)" if target.type_name == "bit" else None


# --- spelling -----------------------------------------------------------------------------------------

_TEXT = pa.large_string()


def _lines(batch: pa.RecordBatch) -> memoryview:
    """Write rows as LOAD DATA reads them: texts in double quotes, and NULL as the bare word."""
    columns = [_field(array, '"', _digits) for array in batch.columns]
    text, _ = _joined(columns, "", "\n")
    return text


def _tuples(batch: pa.RecordBatch) -> tuple[memoryview, Any]:
    """Write rows as INSERT reads them, each with a comma behind; return where each begins and ends."""
    columns = [_field(array, "'", _hex_literals) for array in batch.columns]
    return _joined(columns, "(", "),")


def _joined(columns: Sequence[pa.Array], before: str, behind: str) -> tuple[memoryview, Any]:
    rows = pc.binary_join_element_wise(*columns, pa.scalar(",", _TEXT))
    rows = pc.binary_join_element_wise(
        pa.scalar(before, _TEXT), rows, pa.scalar(behind, _TEXT), pa.scalar("", _TEXT)
    )
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[rows.offset : rows.offset + len(rows) + 1]
    return memoryview(data or b"").cast("B")[ends[0] : ends[-1]], ends - ends[0]


def _field(array: pa.Array, mark: str, spell_bytes: Any) -> pa.Array:
    """Return the texts of a column."""
    if pa.types.is_binary(array.type):
        text = spell_bytes(array)
    elif pa.types.is_boolean(array.type):
        text = array.cast(pa.int8()).cast(_TEXT)
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        text = array.cast(_TEXT)
    elif pa.types.is_timestamp(array.type):
        text = _marked(array.cast(pa.timestamp("us")).cast(_TEXT), mark)
    else:
        text = _marked(array.cast(_TEXT), mark)
    return pc.coalesce(text, pa.scalar("NULL", _TEXT))


def _marked(array: pa.Array, mark: str) -> pa.Array:
    """Put marks around texts, and double those in them; where backslashes mean something, them too."""
    for special in (mark,) if mark == '"' else (mark, "\\"):
        # Looking is much faster than replacing nothing.
        if pc.any(pc.match_substring(array, special)).as_py():
            array = pc.replace_substring(array, special, special * 2)
    sign = pa.scalar(mark, _TEXT)
    return pc.binary_join_element_wise(sign, array, sign, pa.scalar("", _TEXT))


def _digits(array: pa.Array) -> pa.Array:
    """Turn bytes into hexadecimal digits, the whole buffer at once."""
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1].astype(
        np.int64
    )
    hexed = binascii.hexlify(memoryview(data or b"")[ends[0] : ends[-1]])
    places = pa.py_buffer((ends - ends[0]) * 2)
    text = pa.Array.from_buffers(_TEXT, len(array), [None, places, pa.py_buffer(hexed)])
    return pc.if_else(array.is_valid(), text, pa.scalar(None, _TEXT))


def _hex_literals(array: pa.Array) -> pa.Array:
    mark = pa.scalar("'", _TEXT)
    return pc.binary_join_element_wise(pa.scalar("x'", _TEXT), _digits(array), mark, pa.scalar("", _TEXT))
