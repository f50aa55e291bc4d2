"""An application's own Alembic environment, of the kind that speaks to its database through asyncio."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection, pool
from sqlalchemy.ext.asyncio import create_async_engine


def walk(connection: Connection) -> None:
    """Run whatever Alembic was asked for."""
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    """Open the database that the configuration names."""
    engine = create_async_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(walk)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(connect())
