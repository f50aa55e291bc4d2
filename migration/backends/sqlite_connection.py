"""A SQLite file as Arrow's driver (ADBC) opens it, on a thread of its own.

Two copies of SQLite live in this process: Python's, which control connections use, and the driver's, which
moves rows. Neither knows of the other's locks, and the operating system keeps one set of them for both: when
either closes a file, all locks of the process on it are gone, and with them the moment that a snapshot
holds; and each takes itself for the last to leave, and removes the write-ahead log under the other's feet.
Hence two rules. While the driver reads, an anchor of Python's copy reads too, so that no other connection
of that copy lets go of a lock. While the driver writes, Python's copy has the file not open at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote as quote_path

import adbc_driver_sqlite.dbapi as adbc
import pyarrow as pa

from migration.backends import BATCH_ROWS

# How long a reader or writer waits for another one's lock.
BUSY_MS = 5_000
# A transaction takes its moment with its first read.
TAKE_MOMENT = "SELECT count(*) FROM sqlite_master"
_Result = TypeVar("_Result")


class Connection:
    """An ADBC connection on a thread of its own, so that nobody's event loop waits for a disk.

    ``is_anchored`` keeps its locks from being lost to another connection that closes.
    """

    def __init__(self, path: Path, mode: str, *, is_anchored: bool = False) -> None:
        self._uri = file_uri(path, mode)
        self._is_anchored = is_anchored
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._anchor: sqlite3.Connection | None = None
        self._connection: adbc.Connection | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.run(self._open)
        except BaseException:
            # Whoever stops waiting does not stop the thread: it opens the file, and then must close it.
            self._thread.submit(self._close)
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
        """Run a query whose columns hold one storage class each, and return all its rows."""
        table = await self.run(lambda: self._fetch(statement, BATCH_ROWS))
        return (
            list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            if table.num_rows
            else []
        )

    async def batch(self, statement: str, row_count: int) -> pa.RecordBatch:
        """Run a query of at most ``row_count`` rows, typed by the storage classes of all of them."""
        table = await self.run(lambda: self._fetch(statement, row_count + 1))
        (whole,) = table.combine_chunks().to_batches()
        return whole

    async def insert(self, statement: str, parameters: pa.RecordBatch) -> None:
        """Run a statement once for each row of parameters."""

        def work() -> None:
            with self._cursor() as cursor:
                cursor.executemany(statement, parameters)

        await self.run(work)

    def _open(self) -> None:
        if self._is_anchored:
            self._anchor = sqlite3.connect(self._uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000)
            self._anchor.execute("BEGIN")
            self._anchor.execute(TAKE_MOMENT)
        self._connection = adbc.connect(self._uri, autocommit=True)
        with self._cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            cursor.fetchall()

    def _close(self) -> None:
        for connection in (self._connection, self._anchor):
            if connection is not None:
                connection.close()

    def _cursor(self) -> adbc.Cursor:
        assert self._connection is not None
        return self._connection.cursor()

    def _fetch(self, statement: str, batch_rows: int) -> pa.Table:
        with self._cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(batch_rows)})
            cursor.execute(statement)
            return cursor.fetch_arrow_table()


def file_uri(path: Path, mode: str) -> str:
    """Return what SQLite opens a file by: ``ro`` to read it, ``rw`` to write, ``rwc`` to make it as well."""
    return f"file:{quote_path(str(path))}?mode={mode}"


def is_driver_error(error: BaseException) -> bool:
    """Tell whether an error came from a SQLite driver."""
    return isinstance(error, (sqlite3.Error, adbc.Error))
