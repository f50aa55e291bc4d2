"""What an operation runs on: a database behind a pool, set up as its users should set it up.

Its settings are findings of these benchmarks (README, "Findings"), and any application can adopt them: reads
run outside transactions, a connection is not rolled back when the pool takes it back, and the pool keeps all
its connections. SQLite has one writer, to whom whole transactions are handed (`one_writer`), a statement that
reads takes one hand-over to the connection's thread (`one_hop`), and its log is moved by nobody who is
waited for (`checkpointing`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import URL, event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bench.asked import Asked, asked_of
from bench.checkpointing import AUTOCHECKPOINT_PAGES, checkpointed
from bench.one_hop import connect
from bench.one_writer import Given, OneWriter, Work, one_writer
from bench.reference import TABLES
from bench.waiting import Waiting

POOL_SIZE = 20
POOL_OVERFLOW = 0
"""As many as the reference application's 5 + 15, but all of them kept: one that overflows is closed when it
comes back, and who needs it next pays for a new one, just when there is most to do."""

SQLITE_PRAGMAS = {
    "foreign_keys": "ON",
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    "cache_size": "-8192",
    "mmap_size": str(256 * 1024 * 1024),
    "busy_timeout": "5000",
    "wal_autocheckpoint": str(AUTOCHECKPOINT_PAGES),
}
"""The reference application's settings of each SQLite connection, and who moves its log (`checkpointing`)."""

OURS_PRAGMAS = ("journal_mode", "wal_autocheckpoint")
"""Left out on a database that is not ours: one changes the file for good, the other needs `checkpointing`."""

ASYNC_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}
"""By the scheme of a URL."""

_INNODB_SETTINGS = (
    *("innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "innodb_flush_method", "sync_binlog"),
    "max_connections",
)
SERVER_SETTINGS = {
    "postgresql": (
        *("shared_buffers", "max_wal_size", "synchronous_commit", "fsync", "full_page_writes", "jit"),
        *("work_mem", "max_connections"),
    ),
    "mysql": _INNODB_SETTINGS,
    "mariadb": _INNODB_SETTINGS,
}
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
    asked
        What the reference operations ask for, the same on every backend; None in another schema.
    keeps_writes
        Whether what operations write stays; without it every transaction is rolled back.
    indexes
        Names of its messages' indexes and of its tables: an index of texts may be either.
    url
        Where it is; with the password, so never to be shown.
    driver
        One connection of the driver itself, apart from the pool.
    turns
        Connections of the pool, in the order of asking.
    writer
        Where the engine has one writer only, that one, with a connection beside the pool.
    """

    described: EngineDescription
    engine: AsyncEngine
    asked: Asked | None = None
    keeps_writes: bool = True
    indexes: frozenset[str] = frozenset()
    url: URL | None = None
    driver: Any = None
    waiting: Waiting = field(default_factory=Waiting)
    refreshable: deque[str] = field(default_factory=deque)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(POOL_SIZE + POOL_OVERFLOW))
    writer: OneWriter | None = None

    @property
    def backend(self) -> str:
        """The engine's name, as it stands in tables and records."""
        return self.described.name

    @property
    def reference(self) -> Asked:
        """What to ask for; an error where the tables are not the reference tables."""
        if self.asked is None:
            raise LookupError(
                f"the reference operations need the tables {', '.join(TABLES)}; "
                "for another schema use `python -m bench compare`"
            )
        return self.asked

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """Take a connection from the pool for reads; each statement is a transaction of its own.

        Connections are given in the order of coming. The pool itself gives one to whoever asks at that
        moment, and who was woken for it waits anew, behind all others: some waited for twenty seconds while
        the rest took a tenth of one.
        """
        with self.waiting.counted():
            await self.turns.acquire()
        try:
            with self.waiting.counted():
                connection = await self.engine.connect()
            try:
                yield connection
            finally:
                await connection.close()
        finally:
            self.turns.release()

    async def written(self, work: Work[Given]) -> Given:
        """Do this in one transaction that writes, and give what it gives; what it wrote stays if writes do.

        It is a function of a plain connection, so that where there is one writer it can be handed over whole.
        """
        return await self._transaction(work, "COMMIT" if self.keeps_writes else "ROLLBACK")

    async def rolled_back(self, work: Work[Given]) -> Given:
        """Do the same, and take everything back whatever the subject keeps."""
        return await self._transaction(work, "ROLLBACK")

    async def _transaction(self, work: Work[Given], end: str) -> Given:
        whole = partial(_begun_and_ended, work, BEGIN.get(self.backend, "BEGIN"), end)
        if self.writer is not None:
            return await self.writer.do(whole, self.waiting)
        async with self.connection() as connection:
            return await connection.run_sync(whole)


def _begun_and_ended(work: Work[Given], begin: str, end: str, connection: sa.Connection) -> Given:
    connection.exec_driver_sql(begin)
    try:
        given = work(connection)
        connection.exec_driver_sql(end)
    except Exception:
        # Also where the end itself is refused: the one writer would stand in this transaction for ever.
        connection.exec_driver_sql("ROLLBACK")
        raise
    except BaseException:
        # Cut off in the middle of a statement: nobody may get this connection again.
        connection.invalidate()
        raise
    return given


BEGIN = {"sqlite": "BEGIN IMMEDIATE"}
"""A deferred transaction that reads and then writes fails when another one wrote in between."""


@asynccontextmanager
async def open_subject(
    url: str | URL | Path,
    *,
    keeps_writes: bool = True,
    is_ours: bool = True,
    pool_size: int = POOL_SIZE,
    pool_overflow: int = POOL_OVERFLOW,
) -> AsyncIterator[Subject]:
    """Open a database; the pool is closed on the way out.

    A database that is not ours keeps its lasting settings.
    """
    url = make_url(f"sqlite:///{url}") if isinstance(url, Path) else make_url(url)
    engine = make_engine(url, is_ours=is_ours, pool_size=pool_size, pool_overflow=pool_overflow)
    try:
        async with engine.connect() as connection:
            described = await _described(connection, f"{pool_size}+{pool_overflow}")
            tables = await connection.run_sync(lambda plain: sa.inspect(plain).get_table_names())
            asked, indexes = None, []
            if set(tables).issuperset(TABLES[:-1]):
                asked = await asked_of(connection)
                indexes = await connection.run_sync(lambda plain: sa.inspect(plain).get_indexes("messages"))
        async with _detached(engine) as driver, AsyncExitStack() as stack:
            if not keeps_writes:
                # Of each message that is rolled back the driver says that Aria's table of texts keeps it:
                # known, and meant (`search_index`).
                logging.getLogger("asyncmy").setLevel(logging.ERROR)
            writer = None
            if described.name == "sqlite":
                writer = await stack.enter_async_context(one_writer(_writers_engine(url, is_ours=is_ours)))
                if is_ours and keeps_writes:
                    await stack.enter_async_context(checkpointed(str(url.database), writer))
            yield Subject(
                described,
                engine,
                asked,
                keeps_writes=keeps_writes,
                indexes=frozenset([*tables, *(str(index["name"]) for index in indexes)]),
                url=url,
                driver=driver,
                refreshable=deque(asked.refreshable_tokens if asked else ()),
                turns=asyncio.Semaphore(pool_size + pool_overflow),
                writer=writer,
            )
    finally:
        await engine.dispose()


@asynccontextmanager
async def _detached(engine: AsyncEngine) -> AsyncIterator[Any]:
    """Give the driver's own connection below one that the pool does not count."""
    connection = await engine.connect()
    try:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        raw.detach()
        yield driver
    finally:
        await connection.close()


async def engine_description(url: str | URL | Path) -> EngineDescription:
    """Ask a database for its version and settings."""
    engine = make_engine(url, is_ours=False)
    try:
        async with engine.connect() as connection:
            return await _described(connection, f"{POOL_SIZE}+{POOL_OVERFLOW}")
    finally:
        await engine.dispose()


async def _described(connection: AsyncConnection, pool: str) -> EngineDescription:
    is_mariadb = getattr(connection.dialect, "is_mariadb", False)
    name = "mariadb" if is_mariadb else connection.dialect.name
    wanted = SERVER_SETTINGS.get(name, ())
    if name == "sqlite":
        version, settings = sqlite3.sqlite_version, dict(SQLITE_PRAGMAS)
        journal = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        settings["journal_mode"] = str(journal).upper()
    elif name == "postgresql":
        version = str((await connection.exec_driver_sql("SHOW server_version")).scalar_one())
        shown = {key: await connection.exec_driver_sql(f"SHOW {key}") for key in wanted}
        settings = {key: str(result.scalar_one()) for key, result in shown.items()}
    else:
        version = str((await connection.exec_driver_sql("SELECT version()")).scalar_one())
        shown = {key: await connection.exec_driver_sql(f"SELECT @@global.{key}") for key in wanted}
        settings = {key: str(result.scalar_one()) for key, result in shown.items()}
    return EngineDescription(name, version, {**settings, "pool": pool})


def make_engine(
    url: str | URL | Path,
    *,
    is_ours: bool = True,
    pool_size: int = POOL_SIZE,
    pool_overflow: int = POOL_OVERFLOW,
) -> AsyncEngine:
    """Make the engine that is measured: an application's pool and its settings of each connection."""
    url = make_url(f"sqlite:///{url}") if isinstance(url, Path) else make_url(url)
    scheme = url.get_backend_name()
    if scheme not in ASYNC_DRIVERS:
        raise LookupError(f"there is no benchmark for {scheme!r}, only for {', '.join(ASYNC_DRIVERS)}")
    pool: dict[str, Any] = {
        "pool_size": pool_size,
        "max_overflow": pool_overflow,
        **_settings(is_ours=is_ours),
    }
    target = url.set(drivername=ASYNC_DRIVERS[scheme])
    if scheme == "sqlite":
        if not url.query:
            # What a URL may ask for in its query is SQLAlchemy's to understand.
            pool["async_creator"] = partial(connect, str(url.database))
        engine = create_async_engine(target, **pool)
        _set_up_sqlite(engine.sync_engine, is_ours=is_ours)
        return engine
    if scheme == "postgresql":
        pool["async_creator"] = _postgresql_connections(url)
        return create_async_engine(target.set(query={}), **pool)
    engine = create_async_engine(target, **pool)
    event.listen(engine.sync_engine, "connect", _set_up_mysql)
    return engine


def _postgresql_connections(url: URL) -> Any:
    """Give the function that connects; asyncpg itself understands what may stand in the URL's query."""
    import asyncpg

    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def connect() -> Any:
        return await asyncpg.connect(plain)

    return connect


def _writers_engine(url: URL, *, is_ours: bool) -> sa.Engine:
    engine = sa.create_engine(url.set(drivername="sqlite"), **_settings(is_ours=is_ours))
    _set_up_sqlite(engine, is_ours=is_ours)
    return engine


def _settings(*, is_ours: bool) -> dict[str, Any]:
    """Give what every connection has, whoever opens it."""
    settings: dict[str, Any] = {
        # Every transaction here is ended by whoever began it, so a connection comes back clean: a ROLLBACK on
        # its return to the pool would be one more trip for nothing.
        "pool_reset_on_return": None,
        # A read needs no transaction: no BEGIN is sent for it, and no ROLLBACK.
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
    }
    if is_ours:
        # Faster than Python's own, which reads some that is no JSON (NaN): in a database that is not ours it
        # stays.
        settings["json_deserializer"] = orjson.loads
    return settings


def _set_up_sqlite(engine: sa.Engine, *, is_ours: bool) -> None:
    pragmas = [name for name in SQLITE_PRAGMAS if is_ours or name not in OURS_PRAGMAS]

    def set_pragmas(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for name in pragmas:
            cursor.execute(f"PRAGMA {name} = {SQLITE_PRAGMAS[name]}")
        cursor.close()

    event.listen(engine, "connect", set_pragmas)


def _set_up_mysql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SET time_zone = '+00:00'")
    # As PostgreSQL has it. With REPEATABLE READ, whoever deletes what has expired locks the gaps between
    # rows, too, and of several who do so while others insert, some are given up as a deadlock.
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    # A page of a session is found in order by one index. Joining what two others find means to sort it: in a
    # large session that is most of it, for fifty rows.
    cursor.execute("SET SESSION optimizer_switch = 'index_merge=off'")
    cursor.close()
