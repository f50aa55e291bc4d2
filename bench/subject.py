"""What an operation runs on: a filled reference database behind a pool, set up as its users set it up."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

POOL_SIZE = 5
POOL_OVERFLOW = 15
"""The reference application's pool."""

SQLITE_PRAGMAS = {
    "foreign_keys": "ON",
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    "cache_size": "-8192",
    "mmap_size": str(256 * 1024 * 1024),
    "busy_timeout": "5000",
}
"""The reference application's settings of each SQLite connection."""

ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

SESSIONS_ASKED_FOR = 500
"""Sessions that the queries take turns with; popular ones are among them as often as they are popular."""


SERVER_SETTINGS = ("shared_buffers", "max_wal_size", "synchronous_commit", "fsync", "full_page_writes", "jit")
"""Settings of a server without which its figures cannot be compared."""


@dataclass(frozen=True)
class EngineDescription:
    """Which engine, which version, which settings: what a reader needs to compare two runs."""

    name: str
    version: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Subject:
    """One database under measurement.

    Attributes
    ----------
    session_ids
        Sessions to ask for, the same ones in the same order on every backend.
    """

    described: EngineDescription
    engine: AsyncEngine
    session_ids: tuple[str, ...]

    @property
    def backend(self) -> str:
        """The engine's name, as it stands in tables and records."""
        return self.described.name


@asynccontextmanager
async def open_subject(url: str | Path) -> AsyncIterator[Subject]:
    """Open a database that holds the reference tables; the pool is closed on the way out."""
    async with _open_engine(url) as engine:
        async with engine.connect() as connection:
            described = await _described(connection)
            first = text("SELECT session_id FROM messages ORDER BY id LIMIT :count")
            session_ids = (await connection.execute(first, {"count": SESSIONS_ASKED_FOR})).scalars()
        yield Subject(described, engine, tuple(session_ids))


async def engine_description(url: str | Path) -> EngineDescription:
    """Ask a database for its version and settings."""
    async with _open_engine(url) as engine, engine.connect() as connection:
        return await _described(connection)


@asynccontextmanager
async def _open_engine(url: str | Path) -> AsyncIterator[AsyncEngine]:
    engine = _engine(make_url(f"sqlite:///{url}") if isinstance(url, Path) else make_url(url))
    try:
        yield engine
    finally:
        await engine.dispose()


async def _described(connection: AsyncConnection) -> EngineDescription:
    name = connection.dialect.name
    if name == "sqlite":
        version, settings = sqlite3.sqlite_version, dict(SQLITE_PRAGMAS)
    else:
        version = str((await connection.execute(text("SHOW server_version"))).scalar_one())
        shown = {key: await connection.execute(text(f"SHOW {key}")) for key in SERVER_SETTINGS}
        settings = {key: str(result.scalar_one()) for key, result in shown.items()}
    return EngineDescription(name, version, {**settings, "pool": f"{POOL_SIZE}+{POOL_OVERFLOW}"})


def _engine(url: URL) -> AsyncEngine:
    backend = url.get_backend_name()
    if backend not in ASYNC_DRIVERS:
        raise LookupError(f"there is no benchmark for {backend!r}, only for {', '.join(ASYNC_DRIVERS)}")
    engine = create_async_engine(
        url.set(drivername=ASYNC_DRIVERS[backend]), pool_size=POOL_SIZE, max_overflow=POOL_OVERFLOW
    )
    if backend == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for name, value in SQLITE_PRAGMAS.items():
        cursor.execute(f"PRAGMA {name} = {value}")
    cursor.close()
