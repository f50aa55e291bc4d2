"""The one object that talks to a server: a URL, its backend, and the ways in."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migration.backends import Backend, Loader, Lock, Scanned, Snapshot, backend_for, file_url
from migration.ddl import Writer
from migration.errors import MigrationError, SourceUnusable, TargetUnusable, UsageError
from migration.model import Column, ScanColumn, Schema, Table
from migration.progress import Progress
from migration.redaction import redact_url, scrub, secrets_of

# Names of this machine, which mean the same server.
_LOCAL: dict[str | None, str] = dict.fromkeys((None, "", "localhost", "127.0.0.1", "::1"), "localhost")
# Drivers that rows go through, past SQLAlchemy: what they raise comes as it is.
_ROW_DRIVERS = ("asyncpg", "asyncmy", "adbc_driver_manager")


class Database:
    """One database: where it is and what it can do.

    Every way in turns what a driver raises into an error of :mod:`migration.errors`, with nothing
    secret in it.

    Parameters
    ----------
    url
        Where it is.
    is_source
        Whether rows come from it; then it is opened read-only, and nothing is ever written to it.
    secrets
        What must not be in anything that is said of it, where the text that was typed tells more of
        it than the URL parsed from that text.
    """

    def __init__(self, url: URL, *, is_source: bool = False, secrets: Iterable[str] = ()) -> None:
        self.url = url
        self.secrets = tuple(secrets) or secrets_of(url)
        self.is_source = is_source
        self.backend: Backend = backend_for(url)
        self.traits = self.backend.traits
        self._engine: AsyncEngine | None = None
        self._lock: Lock | None = None

    def __str__(self) -> str:
        """Write where it is, without its password."""
        return redact_url(self.url)

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine, made when first asked for."""
        if self._engine is None:
            self._engine = self.backend.create_engine(self.url, read_only=self.is_source)
        return self._engine

    @property
    def writer(self) -> Writer:
        """What spells DDL for this database."""
        return Writer(
            self.engine.dialect,
            self.backend.column_type,
            self.traits.alters_constraints,
            self.traits.identifier_bytes,
        )

    def is_same_as(self, other: Database) -> bool:
        """Tell whether two URLs name one database, however they spell it."""
        if self.backend.name != other.backend.name:
            return False
        if self.backend.opens_files:
            # Links that lead back to themselves are told of by whoever opens them.
            return os.path.realpath(str(self.url.database)) == os.path.realpath(str(other.url.database))
        ours, theirs = (
            (
                _LOCAL.get(url.host, url.host),
                url.port or self.backend.default_port,
                url.database,
                dict(url.query),
            )
            for url in (self.url, other.url)
        )
        return ours == theirs

    async def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for statements; the caller begins and commits."""
        with self.told():
            async with contextlib.aclosing(await self._answering()) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection inside a transaction; it commits on the way out, while the lock is held."""
        async with self.control() as connection, connection.begin():
            yield connection
            await self.check_lock()

    async def _answering(self) -> AsyncConnection:
        """Return a connection that answers: one that was idle for hours may have been cut meanwhile."""
        connection = await self._open()
        try:
            await connection.exec_driver_sql("SELECT 1")
            await connection.rollback()
        except BaseException as error:
            await connection.close()
            if not (isinstance(error, DBAPIError) and error.connection_invalidated):
                raise
            # That has emptied the pool, so this one is new.
            return await self._open()
        return connection

    async def _open(self) -> AsyncConnection:
        """Open a connection or take an idle one; never leave one half open, which nobody would close."""

        async def connect() -> AsyncConnection:
            return await self.engine.connect()

        opening = asyncio.create_task(connect())
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
            raise

    @contextlib.asynccontextmanager
    async def trial(self, schema: Schema) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which anything may be made, beside what ``schema`` holds; nothing is left."""
        with self.told():
            # What was idle for hours may have been cut meanwhile.
            async with self.control():
                pass
            async with self.backend.trial(self.engine, self.url, schema) as connection:
                yield connection

    async def schema(self) -> Schema:
        """Read the schema."""
        async with self.control() as connection:
            return await connection.run_sync(self.backend.reflect)

    async def facts(self) -> dict[str, str]:
        """Return version and settings."""
        async with self.control() as connection:
            return await self.backend.facts(connection)

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """Open an unmoving view, on connections of its own."""
        async with contextlib.AsyncExitStack() as stack:
            with self.told():
                snapshot = await stack.enter_async_context(self.backend.snapshot(self.url))
            # Each read is told of by itself: the other side is at work in the same block, and what fails
            # there is not this database's doing.
            yield _ToldSnapshot(snapshot, self)

    @contextlib.asynccontextmanager
    async def loader(self, tables: Sequence[Table]) -> AsyncIterator[Loader]:
        """Open a connection in loading mode, which commits only while the lock is held."""
        with self.told():
            async with self.backend.loader(self.engine, tables) as loader:
                yield _LockedLoader(loader, self)

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Database]:
        """Make an empty database beside this one; dropped on the way out."""
        async with contextlib.AsyncExitStack() as stack:
            with self.told():
                url = await stack.enter_async_context(self.backend.scratch(self.url))
            beside = Database(url, secrets=self.secrets)
            stack.push_async_callback(beside.close)
            yield beside

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold the lock that keeps two migrations from running into one target."""
        with self.told():
            async with self.backend.lock(self.url) as lock:
                self._lock = lock
                try:
                    yield
                finally:
                    self._lock = None

    async def check_lock(self) -> None:
        """Raise when the lock was taken, and is not held any more; nothing may be committed then.

        Raises
        ------
        LockLost
            With what became of it.
        """
        if self._lock is not None:
            with self.told():
                await self._lock.check()

    async def identity(self) -> str:
        """Return what tells this database from every other, whatever is in it and however it is reached."""
        async with self.control() as connection:
            return await self.backend.identity(connection, self.url)

    async def stamp(self) -> str:
        """Return what changes whenever anybody writes to the database; it may change without that too."""
        async with self.control() as connection:
            return await self.backend.stamp(connection, self.url)

    async def examine(self, progress: Progress) -> None:
        """Raise when what holds the database is damaged, as far as that is not the server's business."""
        with self.told():
            await self.backend.examine(self.url, progress)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what a driver raises into an error to act on; a mistake of our own stays one."""
        try:
            yield
        except MigrationError as error:
            self._scrub(error)
            raise
        except Exception as error:
            known = self.backend.translate_error(error, self.url, is_source=self.is_source)
            if known is None:
                if not self._is_from_driver(error):
                    raise
                kind = SourceUnusable if self.is_source else TargetUnusable
                known = kind(f"The database answered: {_first_line(error)}", where=str(self), done="")
            self._scrub(known)
            raise known from error

    def _is_from_driver(self, error: Exception) -> bool:
        """Tell a database's complaint from a mistake of our own, which must not be dressed up as one."""
        if isinstance(error, (DBAPIError, PoolTimeout, OSError)):
            return True
        below = getattr(self.engine.dialect, "dbapi", None)
        is_plain = isinstance(error, getattr(below, "Error", ()))
        return is_plain or type(error).__module__.partition(".")[0] in _ROW_DRIVERS

    def _scrub(self, error: MigrationError) -> None:
        """Take out of an error every secret that a driver or a server has put into its words."""
        error.what, error.where = scrub(error.what, self.secrets), scrub(error.where, self.secrets)
        error.next_step = scrub(error.next_step, self.secrets)
        error.args = (error.sentence(),)


class _LockedLoader:
    """A loader that commits nothing once somebody else may be at work in the target."""

    def __init__(self, loader: Loader, database: Database) -> None:
        self._loader = loader
        self._database = database
        self.write, self.execute = loader.write, loader.execute

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Commit on the way out, if the lock is still held."""
        async with self._loader.transaction():
            yield
            await self._database.check_lock()


class _ToldSnapshot:
    """A snapshot that tells what goes wrong in the words of its own database."""

    def __init__(self, snapshot: Snapshot, database: Database) -> None:
        self._snapshot = snapshot
        self._database = database
        self.moment = snapshot.moment

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read all rows of a table, in batches."""
        scan = self._snapshot.scan(table, columns, in_order=in_order, after=after)
        with self._database.told():
            async with contextlib.aclosing(scan) as batches:
                async for scanned in batches:
                    yield scanned

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one small query."""
        with self._database.told():
            return await self._snapshot.rows(statement)

    def unreadable(self, column: Column) -> str | None:
        """Return the condition of values that cannot be read as the column's kind."""
        return self._snapshot.unreadable(column)

    async def next_number(self, table: Table) -> int | None:
        """Return the number the next row would get."""
        with self._database.told():
            return await self._snapshot.next_number(table)


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return text.splitlines()[0]


@contextlib.asynccontextmanager
async def open_database(url: str | URL | Path, *, is_source: bool = False) -> AsyncIterator[Database]:
    """Open a database by URL or, where it is a file, by path; closed on the way out.

    Raises
    ------
    UsageError
        When the text is neither a URL nor a path, or nothing here speaks its scheme.
    """
    typed = url if isinstance(url, URL) else str(url)
    database = Database(parse_url(url), is_source=is_source, secrets=secrets_of(typed))
    try:
        yield database
    finally:
        await database.close()


def parse_url(url: str | URL | Path) -> URL:
    """Return the URL that a text means; a text without a scheme is the path of a file."""
    if isinstance(url, URL):
        return url
    text = str(url)
    if "://" not in text:
        if not text.strip():
            raise UsageError(
                "A database is missing", done="Nothing was touched", next_step="Give a path or a URL"
            )
        return file_url(text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "This is no URL that can be read",
            where=redact_url(text),
            done="Nothing was touched",
            next_step="Write engine://user:password@host:port/database, with @ : / and % in a password "
            "percent-encoded",
        ) from error
