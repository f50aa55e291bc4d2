"""The event loop that the drivers live on, in a native thread of its own, and the way to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult

Value = TypeVar("Value")


class Bridge:
    """One thread with one event loop. Make it after the process has forked: threads do not survive a fork."""

    def __init__(self, name: str = "load") -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine on the loop; only the calling greenlet waits.

        A greenlet that is killed meanwhile leaves at once; its coroutine goes on to its end, so that no
        transaction is cut off by the end of a run.
        """
        arrived = AsyncResult()
        tell = gevent.get_hub().loop.run_callback_threadsafe
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        future.add_done_callback(lambda done: tell(arrived.set, done))
        ended: Future[Value] = arrived.get()
        return ended.result()

    def close(self) -> None:
        """Stop the loop and its thread; what still runs on it is cut off."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
