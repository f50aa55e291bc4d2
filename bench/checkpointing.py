"""SQLite's write-ahead log is moved into the file beside the requests, and not by whoever commits.

By default the commit that finds a thousand pages in the log moves them before it comes back. While others
read, the log cannot begin anew, so from then on every commit does so, and behind the one writer all others
wait. Here one connection of its own moves pages while nobody waits for it, and the writer makes the log begin
anew between two transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite
import sqlalchemy as sa

from bench.one_writer import OneWriter

CHECKPOINT_EVERY_S = 0.5
"""Some fifty writes of twenty-five agents."""

LOG_PAGES_MAX = 16_000
"""64 MB: a log that is longer than this begins anew, which takes some 25 ms from the writers; with
twenty-five agents about twice a minute. Each read looks for its pages in all of the log, so it may not grow
on."""

READERS_WAIT_MS = 50
"""So long the writers stand still for readers of the old log at most; then it is tried again later."""

AUTOCHECKPOINT_PAGES = 40_000
"""What a commit still moves by itself, should nobody else: 160 MB. Without a limit a log fills the disk."""


@asynccontextmanager
async def checkpointed(path: str, writer: OneWriter) -> AsyncIterator[None]:
    """Keep the log of this file short until the block ends; a failure of that is raised there."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        await connection.execute_fetchall("PRAGMA synchronous = NORMAL")
        keeping = asyncio.create_task(_kept_short(connection, writer))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        if not keeping.cancelled():
            keeping.result()
        await connection.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")


async def _kept_short(connection: aiosqlite.Connection, writer: OneWriter) -> None:
    while True:
        await asyncio.sleep(CHECKPOINT_EVERY_S)
        ((_, log_pages, _),) = await connection.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        if log_pages > LOG_PAGES_MAX:
            await writer.do(_begun_anew)


def _begun_anew(connection: sa.Connection) -> None:
    usual_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {READERS_WAIT_MS}")
    try:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)")
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual_ms}")
