"""All that is peculiar to PostgreSQL: its connections, its errors, its sequences.

Types and the catalog, the road of the rows, and backups are in the files beside this one.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine

from migration.backends import (
    CONNECT_SECONDS,
    Loader,
    Lock,
    Script,
    Snapshot,
    postgresql_loader,
    postgresql_lock,
    postgresql_scratch,
    postgresql_script,
    rolled_back,
)
from migration.backends import postgresql_backup as backups
from migration.backends import postgresql_rows as rows
from migration.backends import postgresql_types as catalog
from migration.backends.postgresql_rows import literal, quote
from migration.errors import (
    MigrationError,
    Refused,
    SourceUnusable,
    TargetUnusable,
    UsageError,
)
from migration.model import Column, Schema, Table
from migration.progress import Progress
from migration.traits import Traits

if TYPE_CHECKING:
    from migration.backends.postgresql_rows import Driver

# What the reference application allows itself, so that measurements mean what they say.
POOL_CONNECTIONS = 5
POOL_OVERFLOW_CONNECTIONS = 15
# A statement that waits longer than this for somebody else's lock fails instead.
LOCK_WAIT_SECONDS = 60

# Every value is printed and parsed the same way, whatever the server, the database or the role is set to;
# no wait is cut short by somebody's default, and row security is an error instead of missing rows.
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "row_security": "off",
    # A notice in the middle of COPY makes asyncpg drop what it has just read.
    "client_min_messages": "error",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": f"{LOCK_WAIT_SECONDS}s",
}
# Unknown to older servers.
SETTINGS_SINCE = {14: {"idle_session_timeout": "0"}, 17: {"transaction_timeout": "0"}}
# What libpq knows and asyncpg would send on to the server, which knows none of it.
LIBPQ_ONLY = frozenset(
    {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
     "tcp_user_timeout", "channel_binding", "gssencmode", "sslcompression", "sslsni", "client_encoding",
     "fallback_application_name", "load_balance_hosts", "require_auth"}
)  # fmt: skip


async def connect(url: URL, *, read_only: bool = False) -> Driver:
    """Open one connection with every setting pinned, within :data:`~migration.backends.CONNECT_SECONDS`."""
    driver = _require_driver()
    query = {name: value for name, value in url.normalized_query.items() if name not in LIBPQ_ONLY}
    query.setdefault("application_name", ("migration-bench",))
    # Everything but the query is handed over by itself, so that no character of a password needs escaping.
    connection: Driver = await driver.connect(
        "postgresql://?" + urllib.parse.urlencode([(name, ",".join(value)) for name, value in query.items()]),
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        database=url.database,
        timeout=CONNECT_SECONDS,
    )
    settings = SETTINGS | {"default_transaction_read_only": "on" if read_only else "off"}
    for major, extra in SETTINGS_SINCE.items():
        if connection.get_server_version().major >= major:
            settings |= extra
    try:
        await connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in settings.items()))
    except BaseException:
        connection.terminate()
        raise
    return connection


def _require_driver() -> Any:
    try:
        import asyncpg
    except ModuleNotFoundError as error:
        raise UsageError(
            "The driver for PostgreSQL is not installed",
            done="Nothing was touched",
            next_step='Run: pip install "migration-bench[postgresql]"',
        ) from error
    return asyncpg


class PostgreSQL:
    """Speaks to PostgreSQL through asyncpg."""

    name = "postgresql"
    schemes = ("postgresql", "postgres")
    servers = ("postgresql",)
    opens_files = False
    default_port = 5432
    traits = Traits(
        dialect="postgres",
        identifier_bytes=63,
        text_holds_nul=False,
        text_holds_any_bytes=False,
        keeps_storage_classes=False,
        alters_constraints=True,
        holds_nan=True,
        decimal_digits=None,
        # A third of a page, which is what a tree's node must be able to hold three of.
        index_bytes=2704,
        refresh_statistics="ANALYZE",
        bytes_type="bytea",
    )

    def create_engine(self, url: URL, *, read_only: bool = False) -> AsyncEngine:
        """Return an engine whose every connection pins its zone, encoding and isolation."""
        _require_driver()
        return create_async_engine(
            # The creator reads the query; SQLAlchemy would take some of it for arguments of its own.
            url.set(drivername="postgresql+asyncpg", query={}),
            async_creator=functools.partial(connect, url, read_only=read_only),
            pool_size=POOL_CONNECTIONS,
            max_overflow=POOL_OVERFLOW_CONNECTIONS,
            pool_timeout=CONNECT_SECONDS,
        )

    def translate_error(self, error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
        """Turn a driver's error into one of ours, or ``None`` when it means nothing special."""
        cause = _driver_error(error)
        where = _place(url)
        if type(cause).__name__ == "ClientConfigurationError":
            return UsageError(f"The URL cannot be used: {cause}", where=where, done="Nothing was touched")
        explanation = _explain(cause, url)
        if explanation is None:
            return None
        what, done, next_step = explanation
        failure: type[Refused] = SourceUnusable if is_source else TargetUnusable
        return failure(what, where=where, done=done, next_step=next_step)

    async def facts(self, connection: AsyncConnection) -> dict[str, str]:
        """Return the server's version and the settings that matter to a migration."""
        found = (await connection.exec_driver_sql(postgresql_lock.FACTS)).mappings().one()
        return {str(name): str(value) for name, value in found.items()}

    async def identity(self, connection: AsyncConnection, url: URL) -> str:
        """Return the number that a server gets when it is made, and that of the database."""
        return await postgresql_lock.identity(connection, f"{url.host}:{url.port or self.default_port}")

    async def stamp(self, connection: AsyncConnection, url: URL) -> str:  # noqa: ARG002
        """Return the number of the next transaction that writes, anywhere on the server."""
        return await postgresql_lock.stamp(connection)

    async def examine(self, url: URL, progress: Progress) -> None:
        """Leave that to the server, which looks at every page that it reads."""

    def reflect(self, connection: Connection) -> Schema:
        """Read the schema, whatever hangs on it included."""
        return catalog.reflect(connection)

    def column_type(self, column: Column) -> TypeEngine[Any]:
        """Return the type in which a new table keeps a column, told by its kind and sizes."""
        return catalog.column_type(column)

    def snapshot(self, url: URL) -> AbstractAsyncContextManager[Snapshot]:
        """Open an unmoving view; read-only, and closed whatever happens."""
        return rows.open_snapshot(functools.partial(connect, url, read_only=True))

    def loader(self, engine: AsyncEngine, tables: Sequence[Table]) -> AbstractAsyncContextManager[Loader]:
        """Open a connection in loading mode for these tables."""
        return postgresql_loader.open_loader(engine, tables)

    def trial(
        self,
        engine: AsyncEngine,
        url: URL,  # noqa: ARG002
        schema: Schema,  # noqa: ARG002
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a connection in a transaction that is rolled back."""
        return rolled_back(engine)

    def scratch(self, url: URL) -> AbstractAsyncContextManager[URL]:
        """Make an empty database of the same encoding and order beside this one, and drop it afterwards."""
        return postgresql_scratch.scratch(url, _connected(url))

    @contextlib.asynccontextmanager
    async def lock(self, url: URL) -> AsyncIterator[Lock]:
        """Hold the one lock that a migration into this database takes; gone with the process."""
        async with _connected(url) as connection:
            lock = postgresql_lock.SessionLock(connection, _place(url))
            await lock.take()
            yield lock

    async def set_next_number(self, connection: AsyncConnection, table: Table, number: int) -> None:
        """Make the column of ``table`` that numbers itself go on with ``number``.

        Past the sequence's end it stays there: the next insert fails, as it does in the source.
        """
        sequence = rows.sequence_of(table)
        end = await _value(
            connection, f"SELECT seqmax FROM pg_sequence WHERE seqrelid = {sequence}::regclass"
        )
        is_past = number > end
        await _value(connection, f"SELECT setval({sequence}, {end if is_past else number}, {is_past})")

    async def try_next_number(self, connection: AsyncConnection, table: Table) -> int:
        """Return the number that a real insert gets; the insert and its traces are taken back."""
        sequence = await _value(connection, f"SELECT {rows.sequence_of(table)}")
        attempt = await (connection.begin_nested() if connection.in_transaction() else connection.begin())
        try:
            state = await connection.exec_driver_sql(f"SELECT last_value, is_called FROM {sequence}")
            last, is_called = tuple(state.one())
            trial = await connection.begin_nested()
            try:
                return await _insert_number(connection, table)
            finally:
                await trial.rollback()
                # What a sequence gave away, no rollback takes back.
                await _value(connection, f"SELECT setval({literal(sequence)}, {last}, {is_called})")
        finally:
            await attempt.rollback()

    async def backup(self, url: URL, folder: Path, moment: str | None = None) -> Path:
        """Write a backup of the whole database into ``folder`` and return its path."""
        async with _connected(url) as connection:
            major = connection.get_server_version().major
        return await backups.backup(url, folder, major, moment)

    async def check_backup(self, url: URL, path: Path, schema: Schema) -> None:
        """Open a backup and read it to its end; raise unless it holds every table of ``schema``."""
        async with _connected(url) as connection:
            schema_name = await connection.fetchval("SELECT current_schema()")
        await backups.check(path, schema, schema_name)

    async def restore(self, path: Path, url: URL) -> None:
        """Make a database from a backup; ``url`` names an empty one."""
        async with _connected(url) as connection:
            major = connection.get_server_version().major
        await backups.restore(path, url, major)

    async def script(self, connection: AsyncConnection, schema: Schema) -> Script:
        """Return what makes a schema anew, and name what it would lack."""
        return await postgresql_script.script(connection, schema)


BACKEND = PostgreSQL()


@contextlib.asynccontextmanager
async def _connected(url: URL) -> AsyncIterator[Driver]:
    """Open a connection of its own; a server that does not say goodbye is as gone as one that does."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        with contextlib.suppress(OSError, TimeoutError):
            await connection.close(timeout=rows.CLOSE_SECONDS)


# --- sequences ----------------------------------------------------------------------------------------


async def _value(connection: AsyncConnection, statement: str) -> Any:
    return (await connection.exec_driver_sql(statement)).scalar_one()


async def _insert_number(connection: AsyncConnection, table: Table) -> int:
    """Insert a row that consists of its number alone, after the table has lost all that could object.

    It loses every column but one, and with them every rule about them. A table made of pieces, or one
    itself, cannot lose columns; there, its sequence is asked.
    """
    column = rows.automatic_column(table)
    name = f"{quote(await _value(connection, 'SELECT current_schema()'))}.{quote(table.name)}"
    is_piece = await _value(
        connection,
        "SELECT relkind = 'p' OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)"
        f" FROM pg_class c WHERE c.oid = {literal(name)}::regclass",
    )
    if is_piece:
        return int(await _value(connection, f"SELECT nextval({rows.sequence_of(table)})"))
    rules = await connection.exec_driver_sql(
        "SELECT quote_ident(conname) FROM pg_constraint"
        f" WHERE conrelid = {literal(name)}::regclass AND contype IN ('c', 'f', 'u', 'x')"
    )
    steps = ["DISABLE TRIGGER USER"]
    others = [other.name for other in table.columns if other.name != column]
    # Some go together: a foreign key with the rule it refers to, a column with the one it is generated from.
    steps += [f"DROP CONSTRAINT IF EXISTS {rule} CASCADE" for rule in rules.scalars()]
    steps += [f"DROP COLUMN IF EXISTS {quote(other)} CASCADE" for other in others]
    await connection.exec_driver_sql(f"ALTER TABLE {name} {', '.join(steps)}")
    return int(await _value(connection, f"INSERT INTO {name} DEFAULT VALUES RETURNING {quote(column)}"))


# --- errors -------------------------------------------------------------------------------------------

# What happened and what to do next, by SQLSTATE: before anything was done ...
OPENING_ERRORS = {
    "28P01": ("Wrong password for {user}", "Check user and password in the URL"),
    "28000": ("{user} may not connect: {said}", "Check the user in the URL and the server's pg_hba.conf"),
    "3D000": ("There is no database {database}", "Create it, or correct the name in the URL"),
    "53300": ("The server has no connection left: {said}", "Close other clients or raise max_connections"),
    "57P03": ("The server does not take connections yet: {said}", "Wait a moment and try again"),
    "42704": ("The server does not know a setting of the URL: {said}", "Correct the part after the ?"),
}
# ... and at any time.
ERRORS = {
    "22021": ("A text is not UTF-8: {said}", "Correct it in the database it comes from"),
    "42501": ("{user} lacks a permission: {said}", "Grant it, or use a role that has it"),
    "25006": ("The database is read-only: {said}", "Use a server that accepts writes"),
    "53100": ("The server's disk is full: {said}", "Make room on it and try again"),
    "53200": ("The server is out of memory: {said}", "Give it more, and try again"),
    "55P03": ("Another session holds a lock: {said}", "End that session and try again"),
}
# A value that a type, or a row that a rule, does not allow.
VALUE_STATES = frozenset({"22", "23"})
# The second is how asyncpg stumbles over a farewell that it read between two statements.
LOST_WORDS = ("connection is closed", "cannot switch to state")
LOST_STATES = frozenset({"08000", "08001", "08003", "08004", "08006", "57P01", "57P02", "57P05", "25P03"})


def _place(url: URL) -> str:
    """Write a URL for a person, without its secrets."""
    return url.set(query={}).render_as_string(hide_password=True)


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error from inside SQLAlchemy's wrappings."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def _explain(cause: BaseException, url: URL) -> tuple[str, str, str] | None:
    """Return what happened, what was done about it and what to do next, for errors with a meaning."""
    state = getattr(cause, "sqlstate", None)
    untouched = "Nothing was touched"
    is_lost = state in LOST_STATES or isinstance(cause, (ConnectionResetError, BrokenPipeError))
    if is_lost or any(words in str(cause) for words in LOST_WORDS):
        return f"The connection was lost: {cause}", "", "See whether the server still runs, and try again"
    if isinstance(cause, ssl.SSLError) or "rejected SSL" in str(cause):
        return f"No secure connection: {cause}", untouched, "Check sslmode and the certificates in the URL"
    # An error that names a file is about a file.
    if isinstance(cause, OSError) and cause.filename is None:
        said = str(cause) or f"no answer within {CONNECT_SECONDS:.0f} seconds"
        return f"No server can be reached: {said}", untouched, "Check host and port, and whether it runs"
    done = untouched if state in OPENING_ERRORS else ""
    what, next_step = (OPENING_ERRORS | ERRORS).get(state or "", ("", ""))
    if not what and (state or "")[:2] in VALUE_STATES:
        # COPY tells line, column and value in the context.
        what, next_step = f"The server refused a row: {cause}", "Correct the row or the rule"
        if context := getattr(cause, "context", None):
            what = f"{what} ({context})"
        return what, "", next_step
    if not what:
        return None
    user, database = url.username or "the user", url.database or "of that name"
    return what.format(user=user, database=database, said=cause), done, next_step
