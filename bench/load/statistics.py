"""How the database itself stands while agents work: connections, locks, what it has logged ahead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from bench.subject import Subject

POSTGRESQL: Mapping[str, str] = {
    "connections": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
    "active": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'",
    "locks": "SELECT count(*) FROM pg_locks WHERE granted",
    "lock_waits": "SELECT count(*) FROM pg_locks WHERE NOT granted",
    "deadlocks": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    "wal_mb": "SELECT round(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') / 1e6, 1)",
}

INNODB: Mapping[str, str] = {
    "connections": "Threads_connected",
    "active": "Threads_running",
    "lock_waits": "Innodb_row_lock_current_waits",
    "lock_waits_ever": "Innodb_row_lock_waits",
    "deadlocks": "Innodb_deadlocks",
    "wal_mb": "Innodb_os_log_written",
}
"""Our name -> the server's."""

BYTES = ("Innodb_os_log_written",)

MB = 1_000_000


async def statistics_of(subject: Subject) -> dict[str, float]:
    """Give what the engine tells of itself; the same thing has the same name everywhere."""
    if subject.backend == "sqlite":
        return _of_file(subject)
    async with subject.connection() as connection:
        if subject.backend == "postgresql":
            return {name: await _number(connection, sql) for name, sql in POSTGRESQL.items()}
        rows = (await connection.exec_driver_sql("SHOW GLOBAL STATUS")).all()
    told = {str(name): value for name, value in (tuple(row) for row in rows)}
    return {
        name: float(told[theirs]) / (MB if theirs in BYTES else 1)
        for name, theirs in INNODB.items()
        if theirs in told
    }


async def _number(connection: AsyncConnection, sql: str) -> float:
    return float((await connection.exec_driver_sql(sql)).scalar_one())


def _of_file(subject: Subject) -> dict[str, float]:
    """SQLite keeps no books; its files tell how much is logged ahead."""
    assert subject.url is not None
    path = Path(str(subject.url.database))
    sizes = {"file_mb": path, "wal_mb": path.with_name(f"{path.name}-wal")}
    return {name: one.stat().st_size / MB for name, one in sizes.items() if one.exists()}
