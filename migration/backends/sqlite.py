"""SQLite: a file. aiosqlite for control, Arrow for rows."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote as quote_path
from urllib.parse import unquote

import sqlalchemy.dialects.sqlite as types
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine, UserDefinedType

from migration.backends import sqlite_rows, sqlite_schema
from migration.backends.sqlite_schema import quote
from migration.errors import MigrationError, Refused, SourceUnusable, TargetLocked, TargetUnusable
from migration.model import Column, Kind, Schema, Table, Traits


class Sqlite:
    """All that is peculiar to SQLite."""

    name = "sqlite"
    schemes = ("sqlite",)
    opens_files = True
    traits = Traits(
        dialect="sqlite",
        identifier_bytes=None,
        text_holds_nul=True,
        text_holds_any_bytes=True,
        keeps_storage_classes=True,
        alters_constraints=False,
        holds_nan=False,
        # NUMERIC affinity keeps a decimal as a double, which is exact for fifteen digits.
        decimal_digits=15,
    )

    def create_engine(self, url: URL, *, read_only: bool = False) -> AsyncEngine:
        """Return an engine on the file; a target that is not there is made, and removed again if left empty."""
        path = path_of(url)
        is_new = not path.exists()
        mode = "ro" if read_only else "rwc"
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=f"file:{quote_path(str(path))}?mode={mode}", query={"uri": "true"}),
            connect_args={"timeout": sqlite_rows.BUSY_MS / 1000},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def configure(connection: Any, _: object) -> None:
            # Transactions are begun below and nowhere else, so that DDL is part of them.
            connection.isolation_level = None

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        @event.listens_for(engine.sync_engine, "engine_disposed")
        def leave_nothing(_: object) -> None:
            if is_new and not read_only and path.exists() and path.stat().st_size == 0:
                path.unlink()

        return engine

    def translate_error(self, error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
        """Tell the usual ways in which a file cannot be used."""
        original = getattr(error, "orig", None) or error
        if not sqlite_rows.is_driver_error(original):
            return None
        path = path_of(url)
        raise_as = SourceUnusable if is_source else TargetUnusable
        said = str(original).lower()
        if "not a database" in said:
            return raise_as("The file is not a SQLite database", where=str(path), next_step="Check the path")
        if "unable to open" in said or "cannot open" in said:
            if not path.exists():
                return raise_as("There is no such file", where=str(path), next_step="Check the path")
            return raise_as("The file cannot be opened", where=str(path), next_step="Check its permissions")
        if "locked" in said or "busy" in said:
            return raise_as(
                f"Another process holds a lock on the file and did not let go within {sqlite_rows.BUSY_MS / 1000:g} s",
                where=str(path),
                next_step="Stop the writer, or switch the file to WAL (PRAGMA journal_mode=WAL), and try again",
            )
        if "malformed" in said or "corrupt" in said:
            return raise_as(
                "The file is damaged", where=str(path), next_step="Run PRAGMA integrity_check, recover it, and try again"
            )
        if "readonly" in said or "read-only" in said:
            return raise_as("The file cannot be written to", where=str(path), next_step="Check its permissions")
        if "full" in said:
            return raise_as("The disk is full", where=str(path), done="", next_step="Make room, and go on with --resume")
        return None

    async def facts(self, connection: AsyncConnection) -> dict[str, str]:
        """Return version and settings."""
        facts = {"version": f"SQLite {await connection.scalar(text('SELECT sqlite_version()'))}"}
        for setting in ("journal_mode", "encoding", "page_size", "user_version", "application_id"):
            facts[setting] = str(await connection.scalar(text(f"PRAGMA {setting}")))
        return facts

    def reflect(self, connection: Connection) -> Schema:
        """Read the schema."""
        return sqlite_schema.reflect(connection)

    def column_type(self, column: Column) -> TypeEngine[Any]:
        """Return the type a new column is declared with; its affinity keeps every value of the kind."""
        if column.automatic:
            return types.INTEGER()
        if column.kind is Kind.ANY:
            return Declared(column.declared)
        if column.kind is Kind.TEXT and column.size is not None:
            return types.VARCHAR(column.size)
        if column.kind is Kind.DECIMAL and column.precision is not None:
            return types.NUMERIC(column.precision, column.scale)
        return _TYPES[column.kind]

    def snapshot(self, url: URL) -> AbstractAsyncContextManager[sqlite_rows.SqliteSnapshot]:
        """Open a read transaction on the file."""
        return sqlite_rows.open_snapshot(path_of(url))

    def loader(
        self, engine: AsyncEngine, tables: Sequence[Table]
    ) -> AbstractAsyncContextManager[sqlite_rows.SqliteLoader]:
        """Open the file for appending."""
        return sqlite_rows.open_loader(_path_of_engine(engine), tables)

    @contextlib.asynccontextmanager
    async def lock(self, url: URL) -> AsyncIterator[None]:
        """Hold a lock on a file beside the database, which goes with the process."""
        beside = Path(f"{path_of(url)}.migration-lock")
        with _locked(beside):
            yield

    async def set_next_number(self, connection: AsyncConnection, table: Table, number: int) -> None:
        """Write the last number used where SQLite keeps it; tables that keep none go by their largest."""
        column = next(column for column in table.columns if column.automatic)
        if not column.never_reuses:
            return
        await connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        await connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table.name, number - 1))

    async def try_next_number(self, connection: AsyncConnection, table: Table) -> int:
        """Insert a row of made-up values with checks and triggers off, and take everything back."""
        await connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        transaction = await connection.begin_nested() if connection.in_transaction() else await connection.begin()
        try:
            triggers = await connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table.name,)
            )
            for (name,) in triggers.all():
                await connection.exec_driver_sql(f"DROP TRIGGER {quote(name)}")
            needed = [
                column
                for column in table.columns
                if not column.nullable and not column.automatic and column.generated is None
            ]
            names = ", ".join(quote(column.name) for column in needed)
            values = ", ".join(_made_up(column.kind) for column in needed)
            body = f"({names}) VALUES ({values})" if needed else "DEFAULT VALUES"
            result = await connection.exec_driver_sql(f"INSERT INTO {quote(table.name)} {body}")
            number: int = result.lastrowid
            return number
        finally:
            await transaction.rollback()
            await connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")

    async def backup(self, url: URL, folder: Path) -> Path:
        """Copy the file page by page with SQLite's own backup, which a writer cannot tear."""
        source = path_of(url)
        copy = folder / f"{source.stem}.sqlite-backup"
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

        def work() -> None:
            with (
                contextlib.closing(sqlite3.connect(f"file:{quote_path(str(source))}?mode=ro", uri=True)) as reader,
                contextlib.closing(sqlite3.connect(copy)) as writer,
            ):
                reader.backup(writer)

        await asyncio.to_thread(work)
        return copy

    async def check_backup(self, url: URL, path: Path, schema: Schema) -> None:
        """Open a backup, check every page of it, and find every table."""

        def work() -> None:
            with contextlib.closing(sqlite3.connect(f"file:{quote_path(str(path))}?mode=ro", uri=True)) as connection:
                (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            missing = [table.name for table in schema.tables if table.name not in names]
            if verdict != "ok" or missing:
                found = f"lacks {', '.join(missing)}" if missing else f"fails its integrity check: {verdict}"
                raise Refused(f"The backup {found}", where=str(path), next_step="Make a new one")

        try:
            await asyncio.to_thread(work)
        except sqlite3.Error as error:
            raise Refused(f"The backup cannot be read: {error}", where=str(path), next_step="Make a new one") from error

    async def restore(self, path: Path, url: URL) -> None:
        """Copy a backup into the file a URL names, replacing what it held."""

        def work() -> None:
            with (
                contextlib.closing(sqlite3.connect(f"file:{quote_path(str(path))}?mode=ro", uri=True)) as reader,
                contextlib.closing(sqlite3.connect(path_of(url))) as writer,
            ):
                reader.backup(writer)

        await asyncio.to_thread(work)


class Declared(UserDefinedType[Any]):
    """A type written exactly as another SQLite file declared it, none at all included."""

    cache_ok = True

    def __init__(self, declared: str) -> None:
        self.declared = declared

    def get_col_spec(self, **_: object) -> str:
        """Return the type as written."""
        return self.declared


BACKEND = Sqlite()

_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.BOOLEAN: types.BOOLEAN(),
    Kind.INTEGER: types.INTEGER(),
    Kind.DECIMAL: types.NUMERIC(),
    Kind.FLOAT: types.REAL(),
    Kind.TEXT: types.TEXT(),
    Kind.BYTES: types.BLOB(),
    Kind.DATE: types.DATE(),
    Kind.TIME: types.TIME(),
    Kind.TIMESTAMP: types.TIMESTAMP(),
    Kind.INSTANT: Declared("TIMESTAMPTZ"),
    # No JSON: that name has numeric affinity, and would turn the text 1 into a number.
    Kind.JSON: types.TEXT(),
}


def path_of(url: URL) -> Path:
    """Return the file a URL names."""
    if not url.database or url.database == ":memory:":
        raise Refused("The URL names no file", where="sqlite", next_step="Write sqlite:///path/to/file.db, or the path alone")
    return Path(url.database)


def _path_of_engine(engine: AsyncEngine) -> Path:
    return Path(unquote(str(engine.url.database).removeprefix("file:").partition("?")[0]))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise TargetLocked(
                "Another migration is running into this file", where=str(path), next_step="Wait for it, or stop it"
            ) from error
        # The one before us may have removed the file between our opening and our locking it.
        if path.exists() and os.stat(path).st_ino == os.fstat(handle).st_ino:
            break
        os.close(handle)
    try:
        yield
    finally:
        path.unlink()
        os.close(handle)


def _made_up(kind: Kind) -> str:
    if kind in (Kind.BYTES, Kind.ANY):
        return "randomblob(16)"
    if kind in (Kind.INTEGER, Kind.BOOLEAN, Kind.DECIMAL, Kind.FLOAT):
        return "abs(random() / 2)"
    return "hex(randomblob(16))"
