"""Databases for one run of the gate; servers are of the same version everywhere, where that can be had."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.dataset import CACHE_VARIABLE, cache_folder
from migration.servers import ServerUnavailable, fresh_database, load_recipe, throwaway_server
from migration.servers.environment import url_variable
from migration.servers.programs import find_wheel_programs, from_programs

_FILLING = Path(__file__).with_name("filling.py")


class FillingFailed(Exception):
    """A checkout could not fill a database; the message holds its last words."""


class Databases:
    """Gives filled databases until the block ends that :func:`opened` began."""

    def __init__(self, folder: Path, stack: AsyncExitStack, scale: float, seed: int) -> None:
        self.scale = scale
        self.seed = seed
        self._folder = folder
        self._stack = stack
        self._servers: dict[str, str] = {}
        self._filled: dict[tuple[str, str], str] = {}

    async def filled(self, backend: str, tree: Path, recipe: str) -> str:
        """Give the URL of a database that this checkout filled; equal recipes share one.

        Raises :class:`~migration.servers.ServerUnavailable` where there is no such server.
        """
        key = (backend, recipe)
        if key not in self._filled:
            url = await self._empty(backend)
            await fill_by(tree, backend, url, self.scale, self.seed)
            self._filled[key] = url
        return self._filled[key]

    async def _empty(self, backend: str) -> str:
        if backend == "sqlite":
            return f"sqlite:///{self._folder / f'{len(self._filled)}.db'}"
        if backend not in self._servers:
            self._servers[backend] = await self._stack.enter_async_context(_server_url(backend))
        return await self._stack.enter_async_context(fresh_database(backend, self._servers[backend]))


@asynccontextmanager
async def opened(folder: Path, scale: float, seed: int) -> AsyncIterator[Databases]:
    """Give databases that are gone when the block ends, with the servers that were started for them."""
    async with AsyncExitStack() as stack:
        yield Databases(folder, stack, scale, seed)


@asynccontextmanager
async def _server_url(backend: str) -> AsyncIterator[str]:
    """Start a server, out of a wheel where there is one: its version is the same on every machine."""
    recipe = load_recipe(backend)
    if recipe.wheel_programs and recipe.wheel_folders() and not _somebody_chose(backend):
        async with from_programs("embedded wheel", recipe, find_wheel_programs) as server:
            yield server.url
        return
    async with throwaway_server(backend) as server:
        yield server.url


def _somebody_chose(backend: str) -> bool:
    return bool(os.environ.get(url_variable(backend)) or os.environ.get("MIGRATION_BENCH_SERVER"))


async def fill_by(tree: Path, backend: str, url: str, scale: float, seed: int) -> None:
    """Fill an empty database by a checkout's own code, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(_FILLING)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tree,
        # Ready data sets are shared with other checkouts: their names tell what made them.
        env={**os.environ, "PYTHONPATH": str(tree), CACHE_VARIABLE: str(cache_folder().absolute())},
    )
    given = json.dumps({"backend": backend, "url": url, "scale": scale, "seed": seed})
    _, complaint = await process.communicate(given.encode() + b"\n")
    if process.returncode != 0:
        raise FillingFailed(complaint.decode("utf-8", "replace").strip().rpartition("\n")[2])


__all__ = ["Databases", "FillingFailed", "ServerUnavailable", "fill_by", "opened"]
