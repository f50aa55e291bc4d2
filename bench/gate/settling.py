"""Settles a filled database: the same rows then give the same statistics, and so the same plans, everywhere.

Servers estimate from samples that they draw by chance, and tidy up when they find the time. Here everything
is read instead of sampled, and the tidying is done now and switched off.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import make_url

from bench.loading import mysql_connection
from bench.message_counts import MESSAGE_COUNTS
from bench.reference import TABLES

ROWS_PER_TARGET = 300
"""PostgreSQL samples this many rows for each unit of its statistics target."""

TARGET_MAX = 10_000

SETTLED = (*TABLES, MESSAGE_COUNTS.name)
"""Every table that an operation asks."""


async def settle(url: str) -> None:
    """Settle the reference tables of a database that nobody else uses."""
    scheme = make_url(url).get_backend_name()
    if scheme == "sqlite":
        # ANALYZE reads everything there, and nothing tidies up by itself.
        return
    if scheme == "postgresql":
        await _settle_postgresql(url)
    else:
        await _settle_mysql(url)


async def _settle_postgresql(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        for table in SETTLED:
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        rows = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in SETTLED]
        target = min(TARGET_MAX, max(100, math.ceil(max(rows) / ROWS_PER_TARGET) + 1))
        await connection.execute(f"SET default_statistics_target = {target}")
        for table in SETTLED:
            await connection.execute(f"VACUUM (ANALYZE) {table}")
    finally:
        await connection.close()


async def _settle_mysql(url: str) -> None:
    async with mysql_connection(url) as connection, connection.cursor() as cursor:
        for table in SETTLED:
            await _run(
                cursor,
                f"ALTER TABLE {table} STATS_PERSISTENT = 1 STATS_AUTO_RECALC = 0"
                f" STATS_SAMPLE_PAGES = {_PAGES_OF_A_TABLE_MAX}",
            )
            await _run(cursor, f"ANALYZE TABLE {table}")


async def _run(cursor: Any, statement: str) -> None:
    await cursor.execute(statement)
    await cursor.fetchall()


_PAGES_OF_A_TABLE_MAX = 65_535
"""The most that a table's own setting takes."""
