"""Real servers for tests: started once per run, an empty database for each test.

A server lives in a thread of its own, with an event loop of its own, so that no test's loop owns it. What a
test gets is a URL.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from typing import TypeVar

from migration.backends import MODULES
from migration.servers import ServerUnavailable, ThrowawayServer, fresh_database, throwaway_server
from tests.containers.engine import only_containers
from tests.containers.images import ImageUnavailable

Value = TypeVar("Value")

BACKENDS = {"postgresql": "postgresql", "mariadb": "mysql", "mysql": "mysql"}
"""Servers that the tests use, each with its backend. Adding an engine adds its name here."""

CONTAINED = ("mysql",)
"""Servers whose programs no released Debian has: only a container brings them."""

SERVER_ENGINES = tuple(engine for engine, module in BACKENDS.items() if module in MODULES)
"""Those whose backend is there."""

ENGINES = ("sqlite", *(engine for engine in SERVER_ENGINES if engine not in CONTAINED))
"""Every engine that the machine itself serves; whatever is asked of engines is asked of each of them."""

ANSWER_SECONDS_MAX = 90.0
"""Longer than all limits of `migration.servers` together; past it the machine is stuck."""


class _Loop:
    """An event loop in a thread of its own, on which context managers can be entered from outside."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="test-servers", daemon=True)
        self._thread.start()

    @contextmanager
    def entered(self, manager: AbstractAsyncContextManager[Value]) -> Iterator[Value]:
        """Enter an asynchronous context manager on the loop, and leave it there when the block ends.

        One task does both, because a time limit inside the manager belongs to the task that set it.
        """
        ready: Future[Value] = Future()
        leave = asyncio.Event()

        async def hold() -> None:
            try:
                async with manager as value:
                    ready.set_result(value)
                    await leave.wait()
            except BaseException as error:
                if ready.done():
                    raise
                ready.set_exception(error)

        holding = asyncio.run_coroutine_threadsafe(hold(), self._loop)
        value = ready.result(ANSWER_SECONDS_MAX)
        try:
            yield value
        finally:
            self._loop.call_soon_threadsafe(leave.set)
            holding.result(ANSWER_SECONDS_MAX)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS_MAX)
        self._loop.close()


class Servers:
    """The servers of one test run: each starts when it is first asked for and is stopped by :meth:`close`."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._loop: _Loop | None = None
        self._servers: dict[str, ThrowawayServer | ServerUnavailable] = {}

    def get(self, engine: str) -> ThrowawayServer | ServerUnavailable:
        """Return the engine's server, or why there is none; the answer is the same for the whole run."""
        if self._loop is None:
            self._loop = _Loop()
            self._open.callback(self._loop.close)
        if engine not in self._servers:
            try:
                with self._road(engine):
                    entered = self._loop.entered(throwaway_server(engine))
                    self._servers[engine] = self._open.enter_context(entered)
            except ImageUnavailable as unavailable:
                self._servers[engine] = ServerUnavailable(
                    f"no {engine} server can be had here: {unavailable}"
                )
            except ServerUnavailable as unavailable:
                self._servers[engine] = unavailable
        return self._servers[engine]

    def _road(self, engine: str) -> AbstractContextManager[None]:
        """Prescribe the road to a server, where there is only one."""
        named = f"MIGRATION_BENCH_{engine.upper()}_URL" in os.environ
        return only_containers(engine) if engine in CONTAINED and not named else nullcontext()

    def descriptions(self) -> dict[str, str]:
        """Say of each server that was asked for which it is, or why there is none."""
        return {
            engine: f"none: {server}"
            if isinstance(server, ServerUnavailable)
            else f"{server.version}, from {server.origin}"
            for engine, server in self._servers.items()
        }

    @contextmanager
    def fresh_database(self, engine: str) -> Iterator[str]:
        """Give the URL of a new, empty database on the engine's server; dropped when the block ends."""
        server = self.get(engine)
        assert isinstance(server, ThrowawayServer)
        assert self._loop is not None
        with self._loop.entered(fresh_database(engine, server.url)) as url:
            yield url

    def close(self) -> None:
        """Stop every server."""
        self._open.close()
