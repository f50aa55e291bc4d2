"""The lock on a PostgreSQL database, and what tells the database and its server from every other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.backends import CONNECT_SECONDS, lock_lost
from migration.errors import TargetLocked

if TYPE_CHECKING:
    from migration.backends.postgresql_rows import Driver

# One lock a database, whatever is migrated into it: "migrbnch" in ASCII.
LOCK_KEY = 0x6D69_6772_626E_6368
_HALF = 2**32

_HOLDER = """
SELECT 'session ' || l.pid || coalesce(' of ' || a.usename, '')
    || coalesce(' from ' || host(a.client_addr), '')
    || coalesce(', since ' || date_trunc('second', a.backend_start), '')
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
LIMIT 1
"""
_DATABASE = "SELECT oid, current_schema() FROM pg_database WHERE datname = current_database()"
_SERVER = "SELECT system_identifier FROM pg_control_system()"
# The version, and the settings that matter to a migration.
FACTS = """
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num') AS server_version_num,
    current_setting('server_encoding') AS encoding,
    d.datcollate AS collation, d.datctype AS character_type,
    (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS time_zone,
    current_setting('max_connections') AS max_connections,
    current_setting('shared_buffers') AS shared_buffers,
    current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_database() AS database, current_schema() AS schema, current_user AS user,
    current_setting('is_superuser') AS is_superuser,
    pg_is_in_recovery()::text AS is_standby
FROM pg_database d WHERE d.datname = current_database()
"""


class SessionLock:
    """The lock, which is held as long as its session lives."""

    def __init__(self, connection: Driver, where: str) -> None:
        self._connection = connection
        self._where = where

    async def take(self) -> None:
        """Take the lock at once, or say who has it."""
        if await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
            return
        holder = await self._connection.fetchval(_HOLDER, *divmod(LOCK_KEY, _HALF))
        raise TargetLocked(
            f"Another migration into this database is going on{f': {holder}' if holder else ''}",
            where=self._where,
            next_step="Wait until it has ended; the lock goes with its process",
        )

    async def check(self) -> None:
        """Ask the session for a sign of life."""
        try:
            await self._connection.fetchval("SELECT 1", timeout=CONNECT_SECONDS)
        except Exception as error:
            said = str(error).partition("\n")[0] or "its session does not answer"
            raise lock_lost(self._where, said) from error


async def identity(connection: AsyncConnection, place: str) -> str:
    """Return the number that a server gets when it is made, and that of the database."""
    number, schema = tuple((await connection.exec_driver_sql(_DATABASE)).one())
    server = place
    try:
        async with connection.begin_nested():
            server = str((await connection.exec_driver_sql(_SERVER)).scalar_one())
    except DBAPIError as error:
        # A server may keep that to itself; then its place has to do.
        if error.connection_invalidated:
            raise
    return f"server {server}, database {number}, schema {schema}"


async def stamp(connection: AsyncConnection) -> str:
    """Return the number of the next transaction that writes, anywhere on the server."""
    found = await connection.exec_driver_sql("SELECT txid_snapshot_xmax(txid_current_snapshot())")
    return str(found.scalar_one())
