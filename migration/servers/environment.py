"""The first road: a server that somebody named in the environment, borrowed for one fresh database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy import make_url

from migration.servers.recipe import Recipe, RoadClosed, ThrowawayServer, fresh_database, words_of


def url_variable(engine: str) -> str:
    """Return the name of the environment variable that names a server of this engine."""
    return f"MIGRATION_BENCH_{engine.upper()}_URL"


@asynccontextmanager
async def from_environment(engine: str, recipe: Recipe) -> AsyncIterator[ThrowawayServer]:
    """Borrow the server that the environment names, for one fresh database in it."""
    server_url = os.environ.get(url_variable(engine), "")
    if not server_url:
        raise RoadClosed(f"{url_variable(engine)} is not set")
    async with AsyncExitStack() as stack:
        try:
            version = await recipe.version(server_url)
            url = await stack.enter_async_context(fresh_database(engine, server_url))
        except recipe.not_ready as error:
            place = make_url(server_url).render_as_string(hide_password=True)
            raise RoadClosed(f"{place} cannot be used: {words_of(error)}") from error
        yield ThrowawayServer(url, "environment", version)
