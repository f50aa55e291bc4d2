"""The one object that talks to a server: a URL, its backend, and the ways in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migration.backends import Backend, Loader, Snapshot, backend_for, file_url
from migration.ddl import Writer
from migration.errors import MigrationError, SourceUnusable, TargetUnusable, UsageError
from migration.model import Schema, Table
from migration.redaction import redact_url, scrub, secrets_of


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
    """

    def __init__(self, url: URL, *, is_source: bool = False) -> None:
        self.url = url
        self.is_source = is_source
        self.backend: Backend = backend_for(url)
        self.traits = self.backend.traits
        self._engine: AsyncEngine | None = None

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
            self.engine.dialect, self.backend.column_type, self.traits.alters_constraints, self.traits.identifier_bytes
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection for statements; the caller begins and commits."""
        with self.told():
            async with self.engine.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection inside a transaction that is committed on the way out."""
        with self.told():
            async with self.engine.begin() as connection:
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
        with self.told():
            async with self.backend.snapshot(self.url) as snapshot:
                yield snapshot

    @contextlib.asynccontextmanager
    async def loader(self, tables: Sequence[Table]) -> AsyncIterator[Loader]:
        """Open a connection in loading mode."""
        with self.told():
            async with self.backend.loader(self.engine, tables) as loader:
                yield loader

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold the lock that keeps two migrations from running into one target."""
        with self.told():
            async with self.backend.lock(self.url):
                yield

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what a driver raises into an error that a person can act on."""
        try:
            yield
        except MigrationError:
            raise
        except Exception as error:
            known = self.backend.translate_error(error, self.url, is_source=self.is_source)
            if known is None:
                if not _is_from_driver(error):
                    raise
                said = scrub(str(getattr(error, "orig", None) or error).strip().splitlines()[0], secrets_of(self.url))
                kind = SourceUnusable if self.is_source else TargetUnusable
                known = kind(f"The database answered: {said}", where=str(self), done="")
            raise known from error


def _is_from_driver(error: Exception) -> bool:
    """Tell a database's complaint from a mistake of our own, which must not be dressed up as one."""
    return type(error).__module__.partition(".")[0] in ("sqlalchemy", "asyncpg", "adbc_driver_manager", "aiosqlite") or isinstance(
        error, (OSError, TimeoutError)
    )


@contextlib.asynccontextmanager
async def open_database(url: str | URL | Path, *, is_source: bool = False) -> AsyncIterator[Database]:
    """Open a database by URL or, where it is a file, by path; closed on the way out.

    Raises
    ------
    UsageError
        When the text is neither a URL nor a path, or nothing here speaks its scheme.
    """
    database = Database(parse_url(url), is_source=is_source)
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
            raise UsageError("A database is missing", done="Nothing was touched", next_step="Give a path or a URL")
        return file_url(text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            "This is no URL that can be read",
            where=redact_url(text),
            done="Nothing was touched",
            next_step="Write engine://user:password@host:port/database, with @ : / and % in a password percent-encoded",
        ) from error

