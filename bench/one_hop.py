"""aiosqlite connections on which a statement takes one hand-over to the connection's thread instead of four.

SQLAlchemy makes a cursor, executes, fetches, and closes; aiosqlite hands each of the four to the connection's
thread and back, and each costs about as much as SQLite takes for the whole statement. Here the rows are
fetched in the same visit that executes, and a cursor is made and closed where it is asked for. Statements go
through public doors only: `execute_fetchall` is aiosqlite's own single visit, and the list that it gives back
carries what SQLAlchemy wants to know beside the rows.

For any application: ``create_async_engine(url, async_creator=lambda: connect(path))``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import aiosqlite

ITERATED_ROWS = 64
"""Rows that aiosqlite fetches in a visit where a cursor is iterated over; nothing here does."""


class Rows(list[Any]):
    """The rows of a statement, with what its cursor knew."""

    description: Any = None
    lastrowid: int | None = None
    rowcount: int = -1


class _Cursor(sqlite3.Cursor):
    def fetchall(self) -> Rows:
        rows = Rows(super().fetchall())
        rows.description, rows.lastrowid, rows.rowcount = self.description, self.lastrowid, self.rowcount
        return rows


class _Connection(sqlite3.Connection):
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return self.cursor(_Cursor).execute(sql, parameters)


class OneHopCursor:
    """What SQLAlchemy wants of a cursor; only executing leaves the event loop."""

    arraysize = 1

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._rows = Rows()

    async def __aenter__(self) -> Self:
        """Give itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget the rows."""
        await self.close()

    @property
    def description(self) -> Any:
        """Name the columns; None where the statement gives no rows."""
        return self._rows.description

    @property
    def lastrowid(self) -> int | None:
        """Give the number of the row that was inserted last."""
        return self._rows.lastrowid

    @property
    def rowcount(self) -> int:
        """Tell how many rows were changed; -1 where the statement changes none."""
        return self._rows.rowcount

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> OneHopCursor:
        """Execute, and fetch all rows there are."""
        rows = await self._connection.execute_fetchall(sql, parameters)
        assert isinstance(rows, Rows)
        self._rows = rows
        return self

    async def executemany(self, sql: str, parameters: Sequence[Iterable[Any]]) -> OneHopCursor:
        """Execute once for each; statements that give rows are not meant."""
        async with self._connection.executemany(sql, parameters) as cursor:
            self._rows = Rows()
            self._rows.rowcount = cursor.rowcount
        return self

    async def fetchall(self) -> Rows:
        """Give all rows."""
        return self._rows

    async def close(self) -> None:
        """Forget the rows; how many they were is asked for afterwards, too."""
        self._rows.clear()


class OneHopConnection(aiosqlite.Connection):
    """An aiosqlite connection in every other respect."""

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        """Give a cursor of one hand-over a statement."""
        return OneHopCursor(self)


async def connect(database: str | Path) -> OneHopConnection:
    """Open a SQLite file; the driver begins no transaction by itself."""

    def connector() -> sqlite3.Connection:
        return sqlite3.connect(str(database), factory=_Connection, isolation_level=None)

    connection = OneHopConnection(connector, ITERATED_ROWS)
    # As SQLAlchemy does with connections of its own: one that is left open does not keep the process.
    connection._thread.daemon = True  # noqa: SLF001
    await connection
    return connection
