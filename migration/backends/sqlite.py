"""SQLite: a file. aiosqlite for control, Arrow for rows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, event, text, types
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine, UserDefinedType

from migration.backends import (
    Lock,
    Script,
    rolled_back,
    sqlite_backup,
    sqlite_connection,
    sqlite_file,
    sqlite_rows,
    sqlite_schema,
)
from migration.backends.sqlite_connection import file_uri, is_driver_error
from migration.backends.sqlite_sql import quote
from migration.errors import MigrationError, Refused, SourceUnusable, TargetUnusable
from migration.model import Column, Kind, Schema, Table
from migration.progress import Progress, Step
from migration.traits import Traits

# What a backup is restored into to be read is called after the file that it is for.
SCRATCH_SUFFIX = ".migration-bench-scratch"


class Sqlite:
    """All that is peculiar to SQLite."""

    name = "sqlite"
    schemes = ("sqlite",)
    servers = ()
    opens_files = True
    default_port = None
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
        folds_names=True,
        like_ignores_case=True,
        double_quoted_text=True,
        json_valid="json_valid",
        utc_now="CURRENT_TIMESTAMP",
        # A REAL without a fraction is stored as an integer, which has no such zero.
        holds_negative_zero=False,
        # VACUUM numbers rows anew, where the number is no column.
        row_numbers_move=True,
    )

    def create_engine(self, url: URL, *, read_only: bool = False) -> AsyncEngine:
        """Return an engine on the file; one that is not there is made, and removed again if left empty."""
        path = path_of(url)
        sqlite_file.refuse_special(path)
        is_new = not read_only and not path.exists()
        mode = "ro" if read_only else "rwc"
        if is_new:
            # Who else may read it is for its owner to say; where none can be made, SQLite says why.
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        # Whether it opens at all is asked here: aiosqlite's thread complains aloud when a file does not.
        sqlite3.connect(file_uri(path, mode), uri=True).close()
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=file_uri(path, mode), query={"uri": "true"}),
            connect_args={"timeout": sqlite_connection.BUSY_MS / 1000},
        )

        @event.listens_for(engine.sync_engine, "do_connect")
        def connect(dialect: Any, _: object, arguments: Any, options: Any) -> Any:
            connection = dialect.connect(*arguments, **options)
            try:
                # A file that cannot be read shows it only now; nobody else would close the connection.
                connection.cursor().execute(sqlite_connection.TAKE_MOMENT)
            except BaseException:
                connection.close()
                raise
            # Transactions are begun below and nowhere else, so that DDL is part of them.
            connection.isolation_level = None
            return connection

        @event.listens_for(engine.sync_engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        @event.listens_for(engine.sync_engine, "engine_disposed")
        def leave_nothing(_: object) -> None:
            if is_new and path.exists() and _is_empty(path):
                path.unlink()

        return engine

    def translate_error(self, error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
        """Tell the usual ways in which a file cannot be used."""
        original = getattr(error, "orig", None) or error
        if not is_driver_error(original):
            return None
        path = path_of(url)
        raise_as = SourceUnusable if is_source else TargetUnusable
        said = str(original)
        if path.is_dir() or any(word in said for word in _CANNOT_OPEN):
            what, next_step = _why_not_opened(path)
            return raise_as(what, where=str(path), next_step=next_step)
        for words, what, next_step in _ERRORS:
            if any(word in said for word in words):
                return raise_as(what, where=str(path), done="", next_step=next_step)
        return raise_as(f"The database answered: {said.splitlines()[0]}", where=str(path), done="")

    async def facts(self, connection: AsyncConnection) -> dict[str, str]:
        """Return version and settings."""
        facts = {"version": f"SQLite {await connection.scalar(text('SELECT sqlite_version()'))}"}
        for setting in ("journal_mode", "encoding", "page_size", "user_version", "application_id"):
            facts[setting] = str(await connection.scalar(text(f"PRAGMA {setting}")))
        return facts

    async def identity(self, connection: AsyncConnection, url: URL) -> str:  # noqa: ARG002
        """Return the number that the file has on its disk."""
        return sqlite_file.identity(path_of(url))

    async def stamp(self, connection: AsyncConnection, url: URL) -> str:  # noqa: ARG002
        """Return size and time of the file."""
        return sqlite_file.stamp(path_of(url))

    async def examine(self, url: URL, progress: Progress) -> None:
        """Read every page of the file, indexes included, and raise when they do not fit together."""
        is_wanted = threading.Event()
        is_wanted.set()
        loop = asyncio.get_running_loop()

        def tell(table: str) -> None:
            loop.call_soon_threadsafe(progress, Step("examine", table, 1, 1))

        looking = asyncio.to_thread(sqlite_file.examine, path_of(url), is_wanted, tell)
        try:
            await looking
        finally:
            # Whoever stops waiting does not stop the thread.
            is_wanted.clear()

    def reflect(self, connection: Connection) -> Schema:
        """Read the schema."""
        return sqlite_schema.reflect(connection)

    def column_type(self, column: Column) -> TypeEngine[Any]:
        """Return the type a new column is declared with; its affinity keeps every value of the kind."""
        if column.automatic:
            return types.INTEGER()
        if column.kind is Kind.ANY:
            return Declared(_AS_KEPT.get(column.declared.upper(), column.declared))
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
        return sqlite_rows.open_loader(_path_of_engine(engine), engine, tables)

    @contextlib.asynccontextmanager
    async def scratch(self, url: URL) -> AsyncIterator[URL]:
        """Name a file beside this one, where its disk has room, and remove it afterwards."""
        path = Path(f"{path_of(url).resolve()}{SCRATCH_SUFFIX}")
        _remove(path)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            yield URL.create(self.schemes[0], database=str(path))
        finally:
            _remove(path)

    @contextlib.asynccontextmanager
    async def lock(self, url: URL) -> AsyncIterator[Lock]:
        """Hold a lock on a file beside the database, which goes with the process."""
        # One file has one lock, by whatever path it is reached.
        with sqlite_file.locked(path_of(url)) as lock:
            yield lock

    def trial(
        self,
        engine: AsyncEngine,
        url: URL,  # noqa: ARG002
        schema: Schema,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a connection in a transaction that is rolled back."""
        return rolled_back(engine)

    async def set_next_number(self, connection: AsyncConnection, table: Table, number: int) -> None:
        """Write the last number used where SQLite keeps it; tables that keep none go by their largest."""
        column = next(column for column in table.columns if column.automatic)
        if not column.never_reuses:
            return
        await connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        await connection.exec_driver_sql(
            "INSERT INTO sqlite_sequence VALUES (?, ?)", (table.name, number - 1)
        )

    async def try_next_number(self, connection: AsyncConnection, table: Table) -> int:
        """Insert a row of made-up values with checks and triggers off, and take everything back."""
        await connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        attempt = await connection.begin_nested()
        try:
            triggers = await connection.exec_driver_sql(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE",
                (table.name,),
            )
            for (name,) in triggers.all():
                await connection.exec_driver_sql(f"DROP TRIGGER {quote(name)}")
            result = await connection.exec_driver_sql(
                f"INSERT INTO {quote(table.name)} {_made_up_row(table)}"
            )
        except DBAPIError as error:
            if "disk is full" in str(error.orig):
                raise TargetUnusable(
                    "No number is left for another row", where=table.name, done=""
                ) from error
            raise
        finally:
            # That error has ended the whole transaction, this attempt with it.
            with contextlib.suppress(DBAPIError):
                await attempt.rollback()
            await connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
        return int(result.lastrowid)

    async def backup(self, url: URL, folder: Path, moment: str | None = None) -> Path:
        """Copy the file into ``folder`` and return the path of the copy, which is a moment of its own."""
        del moment
        return await asyncio.to_thread(sqlite_backup.backup, path_of(url), folder)

    async def check_backup(self, url: URL, path: Path, schema: Schema) -> None:
        """Open a backup, check every page of it, and find every table."""
        del url  # The file alone tells.
        await asyncio.to_thread(sqlite_backup.check, path, schema)

    async def restore(self, path: Path, url: URL) -> None:
        """Copy a backup into the file a URL names, replacing what it held."""
        await asyncio.to_thread(sqlite_backup.copy_pages, path, path_of(url))

    async def script(self, connection: AsyncConnection, schema: Schema) -> Script:
        """Return what makes a schema anew, and name what it would lack."""
        return await connection.run_sync(sqlite_backup.script, schema)


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
# Declared types that would do to values what they did not do in the table they come from: INTEGER makes a
# key number itself, and outside of STRICT tables ANY turns texts into numbers.
_AS_KEPT = {"INTEGER": "INT", "ANY": ""}

_CANNOT_OPEN = ("unable to open", "failed to open")
# What the drivers say, what it means, and what to do next.
_ERRORS = (
    (("file is not a database",), "The file is not a SQLite database", "Check the path"),
    (
        ("database is locked", "database table is locked", "database schema is locked"),
        f"Another process holds a lock on the file, and kept it for {sqlite_connection.BUSY_MS / 1000:g} s",
        "Stop the writer, or switch the file to WAL (PRAGMA journal_mode=WAL), and try again",
    ),
    (
        ("disk image is malformed", "malformed database schema"),
        "The file is damaged",
        "Run PRAGMA integrity_check, recover it, and try again",
    ),
    (
        ("readonly database",),
        "The file or its folder cannot be written to",
        "Check the permissions of both; a file in WAL mode is only read where two more can stand beside it",
    ),
    (("disk is full",), "The disk is full", "Make room, and go on with --resume"),
)


def path_of(url: URL) -> Path:
    """Return the file a URL names."""
    if not url.database or url.database == ":memory:":
        raise Refused(
            "The URL names no file",
            where="sqlite",
            next_step="Write sqlite:///path/to/file.db, or the path alone",
        )
    return Path(url.database)


def _why_not_opened(path: Path) -> tuple[str, str]:
    """Return what keeps a file from being opened, and what to do about it."""
    if not path.parent.is_dir():
        return "There is no such folder", "Check the path"
    if path.is_dir():
        return "This is a folder", "Write the path of a file"
    if not path.exists() and os.access(path.parent, os.W_OK, effective_ids=True):
        return "There is no such file", "Check the path"
    return (
        "The file cannot be opened",
        "Check its permissions, and those of its folder",
    )


def _remove(path: Path) -> None:
    """Remove a file that is ours alone, and what SQLite has put beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _is_empty(path: Path) -> bool:
    """Tell whether a file holds nothing at all, whatever it held before."""
    with contextlib.closing(sqlite3.connect(file_uri(path, "ro"), uri=True)) as connection:
        (count,) = connection.execute(sqlite_connection.TAKE_MOMENT).fetchone()
    return bool(count == 0)


def _path_of_engine(engine: AsyncEngine) -> Path:
    return Path(unquote(str(engine.url.database).removeprefix("file:").partition("?")[0]))


def _made_up_row(table: Table) -> str:
    """Return the rest of an INSERT of a row that no rule but a CHECK refuses."""
    # What may not be empty, and is computed, may need any other column.
    all_of_them = any(column.generated is not None and not column.nullable for column in table.columns)
    filled = [
        column
        for column in table.columns
        if column.generated is None and not column.automatic and (all_of_them or not column.nullable)
    ]
    if not filled:
        return "DEFAULT VALUES"
    names = ", ".join(quote(column.name) for column in filled)
    return f"({names}) VALUES ({', '.join(_made_up(column.kind) for column in filled)})"


def _made_up(kind: Kind) -> str:
    if kind in (Kind.BYTES, Kind.ANY):
        return "randomblob(16)"
    if kind in (Kind.INTEGER, Kind.BOOLEAN, Kind.DECIMAL, Kind.FLOAT):
        return "abs(random() / 2)"
    # Expressions of indexes and generated columns may take a text for JSON.
    return "json_quote(hex(randomblob(16)))"
