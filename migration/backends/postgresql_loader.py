"""How rows enter PostgreSQL: CSV written by Arrow into COPY, with triggers and foreign keys held back.

The server does all the parsing. Measured beside the driver's own binary COPY from tuples, this is about four
times as fast.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import io
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migration.backends.postgresql_rows import buffers_of, quote
from migration.errors import Refused
from migration.model import ScanColumn, Table

if TYPE_CHECKING:
    from migration.backends.postgresql_rows import Driver

# CSV made at a time while writing: the server starts on the first slice while the next is made.
SLICE_BYTES = 256 * 1024
# One network message; a row of a gigabyte is sent in many.
MESSAGE_BYTES = 1024 * 1024
# SQLSTATE insufficient_privilege.
NO_PERMISSION = "42501"


@contextlib.asynccontextmanager
async def open_loader(engine: AsyncEngine, tables: Sequence[Table]) -> AsyncIterator[PostgreSQLLoader]:
    """Open a connection on which no trigger fires and no foreign key is looked at.

    The connection is thrown away afterwards, so that what it was allowed never comes back from the pool.
    """
    async with engine.connect() as connection:
        try:
            loader = PostgreSQLLoader(connection)
            await loader.hold_back(tables)
            yield loader
        finally:
            await connection.invalidate()


class PostgreSQLLoader:
    """One connection in loading mode."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._schema = ""
        self._before: list[str] = []
        self._after: list[str] = []

    async def hold_back(self, tables: Sequence[Table]) -> None:
        """Hold triggers and foreign keys back for the session, or else triggers in every transaction."""
        names = [table.name for table in tables]
        async with self._connection.begin():
            [(self._schema,)] = await self._fetch("SELECT current_schema()")
            is_held = await self._hold_session_back()
            for table, trigger, mode in await self._fetch(_TRIGGERS_OF, names):
                # In a session that replicates, only triggers made for that still fire.
                if mode == "O" and is_held:
                    continue
                alter = f"ALTER TABLE {self._qualified(table)}"
                self._before.append(f"{alter} DISABLE TRIGGER {quote(trigger)}")
                self._after.append(f"{alter} ENABLE {_MODES[mode]}TRIGGER {quote(trigger)}")
            if self._after:
                # A foreign key that is looked at only in the end would keep the table from being altered.
                self._after.insert(0, "SET CONSTRAINTS ALL IMMEDIATE")
            if not is_held:
                await self._refuse_cycles(names)

    async def _hold_session_back(self) -> bool:
        """Say that this session replicates, and tell whether its role may; whoever may can grant it."""
        try:
            async with self._connection.begin_nested():
                await self._connection.exec_driver_sql(_HOLD_BACK)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != NO_PERMISSION:
                raise
            return False
        return True

    async def _refuse_cycles(self, names: list[str]) -> None:
        """Refuse tables whose foreign keys, which stay active, allow no order of loading."""
        targets: dict[str, set[str]] = {}
        for source, target in await self._fetch(_REFERENCES_OF, names):
            targets.setdefault(source, set()).add(target)
        while free := [table for table in targets if not targets[table] & targets.keys()]:
            for table in free:
                del targets[table]
        if targets:
            [(role,)] = await self._fetch("SELECT current_user::text")
            raise Refused(
                "Foreign keys of these tables go round in a circle, and this role may not hold them back",
                where=", ".join(sorted(targets)),
                next_step="Load as a superuser, or let one run (since PostgreSQL 15):"
                f" GRANT SET ON PARAMETER session_replication_role TO {quote(role)}",
            )

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit on the way out, roll back on an error; never nested."""
        async with self._connection.begin():
            # SQLAlchemy begins with its first statement, and COPY goes past it.
            for statement in self._before or ["SELECT"]:
                await self._connection.exec_driver_sql(statement)
            yield
            for statement in self._after:
                await self._connection.exec_driver_sql(statement)

    async def write(self, table: Table, columns: Sequence[ScanColumn], batch: pa.RecordBatch) -> None:
        """Append rows by COPY; the server parses the text of every value."""
        if not columns:
            # The shortest way to rows of defaults; COPY would take no list of columns for all of them.
            await self._connection.exec_driver_sql(
                f"INSERT INTO {self._qualified(table.name)} SELECT FROM generate_series(1, {batch.num_rows})"
            )
            return
        raw = await self._connection.get_raw_connection()
        driver: Driver = raw.driver_connection  # type: ignore[assignment]
        await driver.copy_to_table(
            table.name,
            schema_name=self._schema,
            columns=[scan_column.column.name for scan_column in columns],
            source=_csv_messages(batch),
            format="csv",
        )

    async def execute(self, statement: Executable) -> None:
        """Run one statement built with SQLAlchemy Core, in the transaction that is open."""
        await self._connection.execute(statement)

    def _qualified(self, table: str) -> str:
        return f"{quote(self._schema)}.{quote(table)}"

    async def _fetch(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.exec_driver_sql(statement, arguments)]


_HOLD_BACK = "SET session_replication_role = replica"
_MODES = {"O": "", "A": "ALWAYS ", "R": "REPLICA "}
_CURRENT = "SELECT oid FROM pg_namespace WHERE nspname = current_schema()"
_OF_TABLES = f"c.relname = ANY ($1::text[]) AND c.relnamespace = ({_CURRENT})"
_TRIGGERS_OF = f"""
SELECT c.relname::text, t.tgname::text, t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND {_OF_TABLES}
"""
_REFERENCES_OF = f"""
SELECT c.relname::text, f.relname::text
FROM pg_constraint r JOIN pg_class c ON c.oid = r.conrelid JOIN pg_class f ON f.oid = r.confrelid
WHERE r.contype = 'f' AND {_OF_TABLES}
"""


async def _csv_messages(batch: pa.RecordBatch) -> AsyncIterator[Any]:
    """Write a batch as CSV, a slice at a time and the next one while the server parses."""
    row_count = max(1, batch.num_rows * SLICE_BYTES // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, row_count):
        text = await asyncio.to_thread(_csv, batch.slice(start, row_count))
        for place in range(0, len(text), MESSAGE_BYTES):
            yield text[place : place + MESSAGE_BYTES]


def _csv(batch: pa.RecordBatch) -> memoryview:
    arrays = [_spelled(array) for array in batch.columns]
    text = io.BytesIO()
    pa.csv.write_csv(
        pa.RecordBatch.from_arrays(arrays, names=batch.schema.names),
        text,
        pa.csv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    return text.getbuffer()


def _spelled(array: pa.Array) -> pa.Array:
    """Return an array as the server is to read it, where Arrow would spell it otherwise, or slowly."""
    if pa.types.is_binary(array.type):
        return _to_hex(array)
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        # Arrow takes twenty times as long to write a time with its zone, of which there is only one.
        naive = array.cast(pa.timestamp("us")).cast(pa.string())
        return pc.binary_join_element_wise(naive, pa.scalar("Z"), pa.scalar(""))
    return array


def _to_hex(array: pa.Array) -> pa.Array:
    """Turn bytes into PostgreSQL's hexadecimal text, the whole buffer at once."""
    offsets, data = buffers_of(array, np.int32)
    digits = pa.Array.from_buffers(
        pa.large_string(), len(array), [None, pa.py_buffer(offsets * 2), pa.py_buffer(binascii.hexlify(data))]
    )
    text = pc.binary_join_element_wise(
        pa.scalar("\\x", pa.large_string()), digits, pa.scalar("", pa.large_string())
    )
    return pc.if_else(array.is_valid(), text, pa.scalar(None, pa.large_string()))
