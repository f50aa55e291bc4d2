"""Real servers for tests: started once per run, an empty database for each test.

A server lives in a thread of its own, with an event loop of its own, so that no test's loop owns it. What a
test gets is a URL.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import TypeVar

from migration.servers import ServerUnavailable, ThrowawayServer, fresh_database, throwaway_server

Value = TypeVar("Value")

SERVER_ENGINES = ("postgresql",)
"""Engines that need a server. Adding an engine adds its name here."""

ENGINES = ("sqlite", *SERVER_ENGINES)
"""Every engine; the conformance suite runs on each of them."""

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
                self._servers[engine] = self._open.enter_context(self._loop.entered(throwaway_server(engine)))
            except ServerUnavailable as unavailable:
                self._servers[engine] = unavailable
        return self._servers[engine]

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
