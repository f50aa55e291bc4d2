"""All that is peculiar to MySQL and MariaDB: their connections, their numbers, what they try things out in.

They are one backend, because they speak one protocol and mostly one language; where they differ, the
connection or the dialect tells which of the two it is. Errors, types, the catalog, the road of the rows, and
backups are in the files beside this one.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
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
    mysql_backup,
    mysql_errors,
    mysql_loader,
    mysql_lock,
    mysql_rows,
    mysql_schema,
    mysql_script,
    mysql_types,
)
from migration.backends.mysql_connection import (
    SQL_MODE,
    close,
    connect,
    fetch,
    literal,
    place,
    quote,
    require_driver,
)
from migration.errors import MigrationError, TargetUnusable
from migration.model import Column, Schema, Table
from migration.progress import Progress
from migration.traits import Traits

# What the reference application allows itself, so that measurements mean what they say.
POOL_CONNECTIONS = 5
POOL_OVERFLOW_CONNECTIONS = 15
# The databases in which things are tried out, and backups read, are called after the one that is meant.
TRIAL_SUFFIX, SCRATCH_SUFFIX = "_migration_bench_trial", "_migration_bench_scratch"
OWN_CHARACTERS = 40
# A table of one session, which goes with it.
NUMBER_TABLE = "migration_bench_number"

# The server has no right for that: of a database, of a table, of anything.
NO_RIGHT = frozenset({1044, 1142, 1227})
# No temporary table is like a table made of pieces (each engine has a number for that); or a rule, which
# MySQL cannot be told to overlook, refused the made-up row.
NOT_TRIED = frozenset({1478, 1562, 3819})
NO_NUMBER_LEFT = frozenset({167, 1264, 1467, 1062})


class MySQL:
    """Speaks to MySQL and MariaDB through asyncmy."""

    name = "mysql"
    schemes = ("mysql", "mariadb")
    servers = ("mariadb", "mysql")
    opens_files = False
    default_port = 3306
    traits = Traits(
        dialect="mysql",
        identifier_bytes=None,
        identifier_characters=64,
        text_holds_nul=True,
        text_holds_any_bytes=False,
        keeps_storage_classes=False,
        # Each later key or check would copy the whole table once more.
        alters_constraints=False,
        holds_nan=False,
        holds_infinity=False,
        # MariaDB drops the sign; MySQL keeps it.
        holds_negative_zero=False,
        decimal_digits=mysql_types.DECIMAL_DIGITS,
        decimal_scale=mysql_types.DECIMAL_SCALE,
        index_bytes=3072,
        refresh_statistics="ANALYZE TABLE",
        folds_column_names=True,
        transactional_ddl=False,
        partial_indexes=False,
        json_valid="JSON_VALID",
        utc_now="UTC_TIMESTAMP(6)",
        instants_have_zones=False,
        divides_whole=False,
        constraint_names_are_global=True,
        index_names_are_global=False,
        sized_keys=True,
        bytes_per_character=4,
        row_bytes=65_535,
        column_count=1017,
        current_instant="(UTC_TIMESTAMP(6))",
        # No character beyond the first 65,536, and no space at the end.
        refused_names=r"[^\x01-\uffff]| $",
    )

    def create_engine(self, url: URL, *, read_only: bool = False) -> AsyncEngine:
        """Return an engine whose every connection pins its zone, encoding, strictness and isolation."""
        require_driver()
        scheme = url.drivername.partition("+")[0]
        engine = create_async_engine(
            url.set(drivername=f"{scheme}+asyncmy"),
            async_creator=functools.partial(connect, url, read_only=read_only, autocommit=False),
            pool_size=POOL_CONNECTIONS,
            max_overflow=POOL_OVERFLOW_CONNECTIONS,
            pool_timeout=CONNECT_SECONDS,
        )
        engine.dialect.ddl_compiler = mysql_types.TableWriter
        _overlook_foreign_keys_of_tables(engine)
        return engine

    def translate_error(self, error: BaseException, url: URL, *, is_source: bool) -> MigrationError | None:
        """Turn a driver's error into one of ours, or ``None`` when it means nothing special."""
        return mysql_errors.translate(error, url, is_source=is_source)

    async def facts(self, connection: AsyncConnection) -> dict[str, str]:
        """Return the server's version and the settings that matter to a migration."""
        known = ", ".join(literal(name) for name in _FACTS)
        found = await connection.exec_driver_sql(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({known})")
        facts = {str(row["Variable_name"]): str(row["Value"]) for row in found.mappings()}
        own = await connection.exec_driver_sql(
            "SELECT VERSION() AS version, DATABASE() AS `database`, CURRENT_USER() AS user,"
            " @@collation_database AS collation, @@SESSION.sql_mode AS sql_mode_here"
        )
        return {str(name): str(value) for name, value in own.mappings().one().items()} | facts

    async def identity(self, connection: AsyncConnection, url: URL) -> str:
        """Return the server's own name for itself, or its place, and the database."""
        return await mysql_lock.identity(connection, url)

    async def stamp(self, connection: AsyncConnection, url: URL) -> str:  # noqa: ARG002
        """Return how much was ever written to the server's storage."""
        return await mysql_lock.stamp(connection)

    async def examine(self, url: URL, progress: Progress) -> None:
        """Leave that to the server, which looks at every page that it reads."""

    def reflect(self, connection: Connection) -> Schema:
        """Read the schema, whatever hangs on it included."""
        return mysql_schema.reflect(connection)

    def column_type(self, column: Column) -> TypeEngine[Any]:
        """Return the type in which a new table keeps a column, told by its kind and sizes."""
        return mysql_types.column_type(column)

    def snapshot(self, url: URL) -> AbstractAsyncContextManager[Snapshot]:
        """Open an unmoving view; read-only, and closed whatever happens."""
        return mysql_rows.open_snapshot(url)

    def loader(self, engine: AsyncEngine, tables: Sequence[Table]) -> AbstractAsyncContextManager[Loader]:
        """Open a connection in loading mode for these tables."""
        return mysql_loader.open_loader(engine, tables)

    @contextlib.asynccontextmanager
    async def trial(self, engine: AsyncEngine, url: URL, schema: Schema) -> AsyncIterator[AsyncConnection]:
        """Open a connection on a database of its own, which has what the real one has, and is dropped."""
        name = _name_beside(url, TRIAL_SUFFIX)
        await _make_beside(url, name, "the migration is tried out first")
        try:
            async with engine.connect() as connection:
                try:
                    await _furnish(connection, url, name, schema)
                    yield connection
                finally:
                    # It is in the wrong database; nobody else may have it.
                    await connection.invalidate()
        finally:
            await _drop_beside(url, name)

    @contextlib.asynccontextmanager
    async def scratch(self, url: URL) -> AsyncIterator[URL]:
        """Make an empty database beside this one, and drop it afterwards."""
        name = _name_beside(url, SCRATCH_SUFFIX)
        await _make_beside(url, name, "a backup is read")
        try:
            yield url.set(database=name)
        finally:
            await _drop_beside(url, name)

    @contextlib.asynccontextmanager
    async def lock(self, url: URL) -> AsyncIterator[Lock]:
        """Hold the one lock that a migration into this database takes; gone with the process."""
        connection = await connect(url)
        try:
            lock = mysql_lock.SessionLock(connection, url)
            await lock.take()
            yield lock
        finally:
            await close(connection)

    async def set_next_number(self, connection: AsyncConnection, table: Table, number: int) -> None:
        """Make the column of ``table`` that numbers itself go on with ``number``."""
        await _run(connection, f"ALTER TABLE {quote(table.name)} AUTO_INCREMENT = {number}")

    async def try_next_number(self, connection: AsyncConnection, table: Table) -> int:
        """Return the number that a real insert gets, into a table that is like this one and counts as it.

        It is temporary: no rule, trigger or row of the table itself is in the way, and no number is used up,
        which no rollback would give back. Where there can be none, the table's counter is returned.
        """
        counter = await _counter(connection, table)
        try:
            number = await _insert_number(connection, table, counter)
        except DBAPIError as error:
            reason = mysql_errors.number_of(error)
            if reason in NO_NUMBER_LEFT:
                what = "No number is left for another row"
                raise TargetUnusable(what, where=table.name, done="") from error
            if reason not in NOT_TRIED:
                raise
            number = counter
        column = quote(_automatic(table))
        taken = f"SELECT COUNT(*) FROM {quote(table.name)} WHERE {column} = {number}"
        if (await _run(connection, taken)).scalar_one():
            raise TargetUnusable(f"The next number, {number}, is taken", where=table.name, done="")
        return number

    async def backup(self, url: URL, folder: Path, moment: str | None = None) -> Path:
        """Write a backup of the whole database into ``folder``; a moment cannot be shared here."""
        del moment
        return await mysql_backup.backup(url, folder)

    async def check_backup(self, url: URL, path: Path, schema: Schema) -> None:
        """Open a backup and read it to its end; raise unless it holds every table of ``schema``."""
        await mysql_backup.check(url, path, schema)

    async def restore(self, path: Path, url: URL) -> None:
        """Make a database from a backup; ``url`` names an empty one."""
        await mysql_backup.restore(path, url)

    async def script(self, connection: AsyncConnection, schema: Schema) -> Script:
        """Return what makes a schema anew, and name what it would lack."""
        return await mysql_script.script(connection, schema)


BACKEND = MySQL()

_FACTS = (
    "version_comment", "sql_mode", "time_zone", "system_time_zone", "character_set_server",
    "collation_server", "lower_case_table_names", "innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin",
    "binlog_format", "max_allowed_packet", "local_infile", "max_connections", "innodb_buffer_pool_size",
    "innodb_page_size", "explicit_defaults_for_timestamp", "auto_increment_increment",
    "auto_increment_offset", "read_only", "default_storage_engine",
)  # fmt: skip


async def _run(connection: AsyncConnection, statement: str) -> Any:
    """Run a statement of our own as it stands; a percent sign would be a parameter."""
    return await connection.exec_driver_sql(statement.replace("%", "%%"))


# --- foreign keys -------------------------------------------------------------------------------------

# What makes and drops tables in any order, cycles included.
_TABLE_DDL = re.compile(r"\s*(CREATE|DROP)\s+TABLE\b", re.IGNORECASE)
_OVERLOOKED = "migration_bench_overlooks_foreign_keys"


def _overlook_foreign_keys_of_tables(engine: AsyncEngine) -> None:
    """Look at no foreign key while a table is made or dropped, and at every one as soon as it is done.

    The setting outlives transactions, and would stay with the connection in its pool.
    """

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        is_wanted = _TABLE_DDL.match(statement) is not None
        if connection.info.get(_OVERLOOKED, False) is not is_wanted:
            cursor.execute(f"SET SESSION foreign_key_checks = {int(not is_wanted)}")
            connection.info[_OVERLOOKED] = is_wanted

    @event.listens_for(engine.sync_engine, "reset")
    def reset(connection: Any, record: Any, state: Any) -> None:
        if not state.terminate_only and record.info.pop(_OVERLOOKED, False):
            cursor = connection.cursor()
            cursor.execute("SET SESSION foreign_key_checks = 1")
            cursor.close()


# --- beside the database ------------------------------------------------------------------------------


def _name_beside(url: URL, suffix: str) -> str:
    return f"{str(url.database)[:OWN_CHARACTERS]}{suffix}"


async def _make_beside(url: URL, name: str, purpose: str) -> None:
    connection = await connect(url)
    try:
        for statement in (
            f"DROP DATABASE IF EXISTS {quote(name)}",
            f"CREATE DATABASE {quote(name)} CHARACTER SET {mysql_types.CHARACTER_SET}",
        ):
            await fetch(connection, statement)
    except require_driver().errors.MySQLError as error:
        if mysql_errors.number_of(error) not in NO_RIGHT:
            raise
        raise TargetUnusable(
            f"{url.username} may not make the database {name}, in which {purpose}",
            where=place(url),
            next_step=f"Run on the server: GRANT ALL ON {quote(name)}.* TO that user; revoke it afterwards",
        ) from error
    finally:
        await close(connection)


async def _drop_beside(url: URL, name: str) -> None:
    connection = await connect(url)
    try:
        await fetch(connection, f"DROP DATABASE IF EXISTS {quote(name)}")
    finally:
        await close(connection)


async def _furnish(connection: AsyncConnection, url: URL, name: str, schema: Schema) -> None:
    """Make what the database has in the other one too, less rows and foreign keys, and go there."""
    await _run(connection, f"USE {quote(name)}")
    own = quote(str(url.database))
    for table in schema.tables:
        await _run(connection, f"CREATE TABLE {quote(table.name)} LIKE {own}.{quote(table.name)}")
    waiting = list(schema.views)
    while waiting:
        # One view may need another; what cannot be made at all does not work in the database itself either.
        refused = []
        for view in waiting:
            try:
                await _run(connection, f"CREATE VIEW {quote(view.name)} AS {view.definition}")
            except DBAPIError as error:
                if error.connection_invalidated:
                    raise
                refused.append(view)
        if len(refused) == len(waiting):
            return
        waiting = refused


# --- numbers ------------------------------------------------------------------------------------------


def _automatic(table: Table) -> str:
    return next(column.name for column in table.columns if column.automatic)


async def _counter(connection: AsyncConnection, table: Table) -> int:
    """Return the next number of a table; where the statement that makes the table names none, it is 1."""
    found = await _run(connection, f"SHOW CREATE TABLE {quote(table.name)}")
    # The options stand behind the last parenthesis at the beginning of a line; a comment may say anything.
    options = re.sub(r"'(?:[^'\\]|\\.|'')*'", "", str(found.one()[1]).rpartition("\n)")[2])
    number = re.search(r"\bAUTO_INCREMENT=(\d+)", options)
    return int(number[1]) if number else 1


async def _insert_number(connection: AsyncConnection, table: Table, counter: int) -> int:
    column = quote(_automatic(table))
    is_mariadb = bool(getattr(connection.dialect, "is_mariadb", False))
    # Every other column is given what its type has for nothing, and no rule is asked.
    rules = ", check_constraint_checks = {}" if is_mariadb else ""
    settings = "SET SESSION sql_mode = '{}'" + rules
    try:
        await _run(connection, f"CREATE TEMPORARY TABLE {NUMBER_TABLE} LIKE {quote(table.name)}")
        await _run(connection, settings.format("NO_AUTO_VALUE_ON_ZERO", 0))
        if counter > 1:
            await _run(connection, f"INSERT INTO {NUMBER_TABLE} ({column}) VALUES ({counter - 1})")
            await _run(connection, f"DELETE FROM {NUMBER_TABLE}")
        await _run(connection, f"INSERT INTO {NUMBER_TABLE} ({column}) VALUES (NULL)")
        numbers = await _run(connection, f"SELECT MAX({column}) FROM {NUMBER_TABLE}")
        return int(numbers.scalar_one())
    finally:
        if not connection.invalidated:
            await _run(connection, settings.format(SQL_MODE, 1))
            await _run(connection, f"DROP TEMPORARY TABLE IF EXISTS {NUMBER_TABLE}")
