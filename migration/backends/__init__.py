"""What an engine must be able to do, and how one is found by the scheme of a URL.

To add a backend
----------------
1. Write one module here with a class that has the members of :class:`Backend`, and a module-level
   ``BACKEND`` that is an instance of it.
2. Add its module's name to :data:`MODULES`.
3. Run the conformance suite (``pytest tests/integration/test_conformance.py``): it picks the backend up
   from here, as does every pair of engines and every benchmark.

Two rules. A backend decides nothing: what to carry, convert or refuse is the plan's business. And a
backend takes its settings from the URL and its arguments, never from the environment.

How rows travel
---------------
A backend reads columns as Arrow arrays in the type of their own kind, or of its fallback where that is
wanted (:data:`migration.model.FALLBACKS`), or, when its traits say that it keeps storage classes, as
arrays of one storage class or structs of several (:data:`migration.model.STORAGE`). It writes arrays in
the canonical type of the kind it is told (:data:`migration.model.ARROW_TYPES`). Fields of a batch are
numbered (``"0"``, ``"1"``, ...), because column names may be anything.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
from sqlalchemy import Connection, Executable
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import TypeEngine

from migration.errors import LockLost, MigrationError, UsageError
from migration.model import Column, ScanColumn, Schema, Table, Uncarried
from migration.progress import Progress
from migration.traits import Traits

MODULES = ("sqlite", "postgresql", "mysql")

# A batch holds about this many bytes, whatever the table: the unit of memory, of a chunk and of a commit.
# Each is copied some ten times on its way (read, converted, spelled, hashed; two sides at once in the proof),
# and what is freed in one thread is not used by another: with 8 MiB the proof of a million rows took 440 MB,
# with 2 MiB 270 MB and 5 % more time.
BATCH_BYTES = 2 * 1024 * 1024
# Rows of few bytes are bounded by number too, so that progress is seen and Python objects stay few.
BATCH_ROWS = 50_000
# No connection attempt may take longer.
CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Scanned:
    """A batch of rows as stored, and the position after its last row (``None``: nothing to order by)."""

    batch: pa.RecordBatch
    position: str | None


@dataclass(frozen=True)
class Script:
    """The statements that make all of a database but its rows, as the engine itself writes them.

    ``before`` makes what rows go into, ``after`` what hangs on that, and ``views`` the rest. What is in
    groups is made in whatever order works, because one may need another. ``undo`` drops what goes with
    no table and no view. ``lacking`` is what no statement here makes.
    """

    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[str, ...] = ()
    views: tuple[tuple[str, ...], ...] = ()
    undo: tuple[str, ...] = ()
    lacking: tuple[Uncarried, ...] = ()


class Snapshot(Protocol):
    """One unmoving view of a database, on connections of its own; many reads, all of the same moment."""

    @property
    def moment(self) -> str | None:
        """What a program of the engine is told in order to see the same moment, where it can."""
        ...

    def scan(
        self, table: Table, columns: Sequence[ScanColumn], *, in_order: bool = False, after: str | None = None
    ) -> AsyncGenerator[Scanned, None]:
        """Read all rows of a table, in batches of about :data:`BATCH_BYTES`, at least one row each.

        ``in_order`` reads in the order of positions, so that reading can go on ``after`` one of them.
        """
        ...

    async def rows(self, statement: Executable) -> list[tuple[Any, ...]]:
        """Run one small query built with SQLAlchemy Core and return all its rows."""
        ...

    async def next_number(self, table: Table) -> int | None:
        """Return the number the next row would get, or ``None`` where no column numbers itself."""
        ...

    def unreadable(self, column: Column) -> str | None:
        """Return the SQL condition of values that the Arrow type of a column's own kind cannot hold.

        ``None`` means that there can be none. Such a column can still be read as what
        :data:`migration.model.FALLBACKS` says.
        """
        ...


class Loader(Protocol):
    """One connection in loading mode: triggers and foreign keys held back until it closes."""

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Commit on the way out, roll back on an error; never nested."""
        ...

    async def write(self, table: Table, columns: Sequence[ScanColumn], batch: pa.RecordBatch) -> None:
        """Append rows by the engine's bulk road; arrays are in the canonical type of each kind."""
        ...

    async def execute(self, statement: Executable) -> None:
        """Run one statement built with SQLAlchemy Core, in the transaction that is open."""
        ...


class Lock(Protocol):
    """The lock on a database, held."""

    async def check(self) -> None:
        """Raise :class:`~migration.errors.LockLost` unless it is still held."""
        ...


class Backend(Protocol):
    """All that is peculiar to one engine."""

    name: str
    schemes: tuple[str, ...]
    # Names of the servers that can be had for a rehearsal, the usual one first (migration.servers).
    servers: tuple[str, ...]
    opens_files: bool
    default_port: int | None
    traits: Traits

    def create_engine(self, url: URL, *, read_only: bool = False) -> AsyncEngine:
        """Return an engine whose every connection pins its zone, encoding and isolation.

        ``url`` has one of :attr:`schemes`, with or without a driver. DDL takes part in transactions
        and savepoints where the traits say so. A connection that cannot be had within
        :data:`CONNECT_SECONDS` is an error.
        """
        ...

    def translate_error(self, error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
        """Turn a driver's error into one of :mod:`migration.errors`; ``None`` when it means nothing special.

        Known here: not a database, missing, wrong password, unreachable, no permission, locked.
        """
        ...

    async def identity(self, connection: AsyncConnection, url: URL) -> str:
        """Return what tells this database from every other, whatever is in it and however it is reached."""
        ...

    async def stamp(self, connection: AsyncConnection, url: URL) -> str:
        """Return what changes whenever anybody writes to the database; it may change without that too."""
        ...

    async def examine(self, url: URL, progress: Progress) -> None:
        """Look whether what holds the database is damaged, where the engine leaves that to whoever opens it.

        Raises
        ------
        Refused
            When it is; the sentence says what was found.
        """
        ...

    async def facts(self, connection: AsyncConnection) -> dict[str, str]:
        """Return the server's version and the settings that matter to a migration."""
        ...

    def reflect(self, connection: Connection) -> Schema:
        """Read the schema, whatever hangs on it included; raise rather than leave something out."""
        ...

    def column_type(self, column: Column) -> TypeEngine[Any]:
        """Return the type in which a new table keeps a column, told by its kind and sizes."""
        ...

    def snapshot(self, url: URL) -> AbstractAsyncContextManager[Snapshot]:
        """Open an unmoving view; read-only, and closed whatever happens."""
        ...

    def loader(self, engine: AsyncEngine, tables: Sequence[Table]) -> AbstractAsyncContextManager[Loader]:
        """Open a connection in loading mode for these tables.

        What is held back (triggers, foreign keys) comes back on the way out, even if the process dies.
        """
        ...

    def trial(
        self, engine: AsyncEngine, url: URL, schema: Schema
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a connection on which anything may be made, and of which nothing is left afterwards.

        The tables and views of ``schema``, which are in the database already, can be referred to by
        their names. Foreign keys are not looked at. Where DDL takes part in transactions this is one,
        rolled back; elsewhere it is a database of its own, dropped, and one that a killed run has left
        goes first.

        Raises
        ------
        TargetUnusable
            When nothing may be made; the sentence says which permission is missing.
        """
        ...

    def scratch(self, url: URL) -> AbstractAsyncContextManager[URL]:
        """Make an empty database beside this one, for which a backup can be restored, and drop it afterwards.

        One that a killed run has left goes first.

        Raises
        ------
        TargetUnusable
            When it may not be made; the sentence says which permission is missing.
        """
        ...

    def lock(self, url: URL) -> AbstractAsyncContextManager[Lock]:
        """Hold the one lock that a migration into this database takes.

        Raises :class:`~migration.errors.TargetLocked` at once when another process holds it, and says
        which, as far as can be known; gone with the process.
        """
        ...

    async def set_next_number(self, connection: AsyncConnection, table: Table, number: int) -> None:
        """Make the column of ``table`` that numbers itself go on with ``number``."""
        ...

    async def try_next_number(self, connection: AsyncConnection, table: Table) -> int:
        """Return the number that a real insert gets; the insert and its traces are taken back."""
        ...

    async def backup(self, url: URL, folder: Path, moment: str | None = None) -> Path:
        """Write a backup of the whole database into ``folder`` and return its path.

        Made and readable by its owner only (mode 0600). No secret in any child's arguments. ``moment`` is
        that of a snapshot, where it has one.

        Raises
        ------
        NoDump
            When this engine's programs are missing, too old, or would lose something.
        """
        ...

    async def check_backup(self, url: URL, path: Path, schema: Schema) -> None:
        """Open a backup and read it to its end; raise unless it holds every table of ``schema``."""
        ...

    async def restore(self, path: Path, url: URL) -> None:
        """Make a database from a backup; ``url`` names an empty one."""
        ...

    async def script(self, connection: AsyncConnection, schema: Schema) -> Script:
        """Return what makes a schema anew, and name what it would lack."""
        ...


def lock_lost(where: str, why: str) -> LockLost:
    """Return the error that says that nobody keeps others out any more."""
    return LockLost(
        f"The lock on the target was lost, so somebody else may be at work in it: {why}",
        where=where,
        done="Nothing was written after that; what was written before is kept, with its checkpoints",
        next_step="See that nobody else is at work there; then go on with --resume, or undo it with "
        "'migration rollback'",
    )


@contextlib.asynccontextmanager
async def rolled_back(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection in a transaction that is rolled back, so that nothing made on it is left."""
    async with engine.connect() as connection:
        transaction = await connection.begin()
        try:
            yield connection
        finally:
            await transaction.rollback()


def backend_for(url: URL) -> Backend:
    """Return the backend that speaks a URL's scheme.

    Raises
    ------
    UsageError
        When none does; the sentence names those that would.
    """
    scheme = url.drivername.partition("+")[0]
    for backend in backends():
        if scheme in backend.schemes:
            return backend
    known = ", ".join(scheme for backend in backends() for scheme in backend.schemes)
    raise UsageError(
        f"Nothing here speaks the scheme {scheme!r}",
        done="Nothing was touched",
        next_step=f"Use a URL that starts with one of: {known}; or the path of a database file",
    )


def file_url(path: str) -> URL:
    """Return the URL of a database that is a file."""
    backend = next(backend for backend in backends() if backend.opens_files)
    return URL.create(backend.schemes[0], database=path)


def backends() -> list[Backend]:
    """Return every backend, in the order of :data:`MODULES`."""
    return [backend_named(module) for module in MODULES]


def backend_named(name: str) -> Backend:
    """Return the backend of that name."""
    module = importlib.import_module(f"{__name__}.{name}")
    backend: Backend = module.BACKEND
    return backend
