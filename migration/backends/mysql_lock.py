"""The lock on a MySQL or MariaDB database, and what tells the database from every other."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from migration.backends import CONNECT_SECONDS, lock_lost
from migration.backends.mysql_connection import fetch, literal, place
from migration.errors import TargetLocked

# What a server of this kind is known by; each has one of the two.
_SERVER = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_uid')"
_DATABASE = "IF(@@lower_case_table_names = 0, DATABASE(), LOWER(DATABASE()))"
# Moves on with everything that is written to the storage; each server has one of the two.
_WRITTEN = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_lsn_current', 'Innodb_redo_log_current_lsn')"


class SessionLock:
    """The lock, which is held as long as its session lives."""

    def __init__(self, connection: Any, url: URL) -> None:
        self._connection = connection
        self._where = place(url)
        self._name = ""

    async def take(self) -> None:
        """Take the lock at once, or say who has it."""
        ((database,),) = await fetch(self._connection, f"SELECT {_DATABASE}")
        # Locks are the server's, so that each database has one of its own name; names are short.
        self._name = literal(f"migration_bench_{hashlib.sha256(database.encode()).hexdigest()[:32]}")
        ((is_mine, holder),) = await fetch(
            self._connection, f"SELECT GET_LOCK({self._name}, 0), IS_USED_LOCK({self._name})"
        )
        if not is_mine:
            raise TargetLocked(
                f"Another migration into this database is going on{await self._who(holder)}",
                where=self._where,
                next_step="Wait until it has ended; the lock goes with its process",
            )

    async def check(self) -> None:
        """Ask the session whether it has the lock."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                ((is_mine,),) = await fetch(
                    self._connection, f"SELECT IS_USED_LOCK({self._name}) = CONNECTION_ID()"
                )
        except Exception as error:
            said = str(error).partition("\n")[0] or "its session does not answer"
            raise lock_lost(self._where, said) from error
        if not is_mine:
            raise lock_lost(self._where, "somebody has released it")

    async def _who(self, holder: int | None) -> str:
        """Say whose connection has the lock, as far as this user may see it."""
        if holder is None:
            return ""
        found = await fetch(
            self._connection,
            f"SELECT user, host, time FROM information_schema.processlist WHERE id = {int(holder)}",
        )
        whose = "".join(f" of {user} from {host}, idle for {time} s" for user, host, time in found)
        return f": connection {holder}{whose}"


async def identity(connection: AsyncConnection, url: URL) -> str:
    """Return the server's own name for itself, or its place, and the database."""
    rows = (await connection.exec_driver_sql(_SERVER)).mappings()
    found = {str(row["Variable_name"]): str(row["Value"]) for row in rows}
    database = (await connection.exec_driver_sql(f"SELECT {_DATABASE}")).scalar_one()
    server = found.get("server_uuid") or found.get("server_uid") or f"{url.host}:{url.port or ''}"
    return f"server {server}, database {database}"


async def stamp(connection: AsyncConnection) -> str:
    """Return how much was ever written to the storage, or else when each table was written to."""
    for row in (await connection.exec_driver_sql(_WRITTEN)).mappings():
        return str(row["Value"])
    times = await connection.exec_driver_sql(
        "SELECT table_name AS name, update_time AS time FROM information_schema.tables"
        " WHERE table_schema = DATABASE() ORDER BY table_name"
    )
    return ", ".join(f"{row['name']} {row['time']}" for row in times.mappings())
