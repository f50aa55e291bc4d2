"""Asks the keeper: a request is a line to its standard input, an answer a line from its standard output."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import gevent
import orjson
from gevent.event import AsyncResult

CLOSING_S_MAX = 30.0
"""A server needs some seconds to stop; what still runs then is killed."""


class KeeperFailed(Exception):
    """The keeper could not do what it was asked; the message is its own sentence."""


class Keeping:
    """A keeper's process; only the asking greenlet waits for an answer. Made after the process has forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")},
            # Ctrl-C reaches every process of a terminal; this one must live until the run was counted.
            start_new_session=True,
        )
        self._tell = gevent.get_hub().loop.run_callback_threadsafe
        self._asked: dict[int, AsyncResult[Any]] = {}
        self._number = 0
        threading.Thread(target=self._listen, name="keeper", daemon=True).start()

    def ask(self, what: str, **details: Any) -> Any:
        """Ask for something and wait for it."""
        self._number += 1
        answer: AsyncResult[Any] = AsyncResult()
        self._asked[self._number] = answer
        request = {"do": what, "number": self._number, **details}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise KeeperFailed("the process that keeps the database has ended") from error
        told = answer.get()
        if "error" in told:
            raise KeeperFailed(told["error"])
        return told["result"]

    def close(self) -> None:
        """Let it go, with its server; it leaves when its input ends."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(CLOSING_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = orjson.loads(line)
            self._tell(self._arrived, told["number"], told)
        self._tell(self._ended)

    def _arrived(self, number: int, told: dict[str, Any]) -> None:
        self._asked.pop(number).set(told)

    def _ended(self) -> None:
        for answer in self._asked.values():
            answer.set({"error": "the process that keeps the database has ended"})
        self._asked.clear()
