"""SQLite's one writer: a thread with a connection of its own, to which whole transactions are handed.

Only one transaction writes at a time, so all others wait for each statement of it. On a connection of the
pool each statement goes to the connection's thread and back to the event loop, and waits there for its turn
among everything else that the loop does. Here the loop hands over a function and gets its result; between its
statements nobody is asked.

For any application: one thread, one synchronous connection, and every write a function of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import sqlalchemy as sa

from bench.waiting import Waiting

Given = TypeVar("Given")
Work = Callable[[sa.Connection], Given]
"""What is done with a connection in one go."""


@dataclass(frozen=True)
class OneWriter:
    """The thread and its connection; work is done in the order of asking."""

    connection: sa.Connection
    thread: ThreadPoolExecutor = field(repr=False)

    async def do(self, work: Work[Given], waiting: Waiting | None = None) -> Given:
        """Do it when all that was asked for before is done.

        Who is cancelled while it waits has asked for nothing; what has begun is done to its end.
        """
        began_s = 0.0

        def in_turn() -> Given:
            nonlocal began_s
            began_s = time.perf_counter()
            return work(self.connection)

        waiting = waiting or Waiting()
        came_s = waiting.came()
        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, in_turn)
        finally:
            waiting.went((began_s or time.perf_counter()) - came_s)


@asynccontextmanager
async def one_writer(engine: sa.Engine) -> AsyncIterator[OneWriter]:
    """Open the writer of a database; at the end it finishes what it was asked for."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="one-writer") as thread:
        connection = await loop.run_in_executor(thread, engine.connect)
        try:
            yield OneWriter(connection, thread)
        finally:
            await loop.run_in_executor(thread, connection.close)
            await loop.run_in_executor(thread, engine.dispose)
