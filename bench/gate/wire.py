"""Stands between a client and its server and counts what passes, by the words of the protocol.

Counted here a round trip is exact: a Sync of PostgreSQL or a command of MySQL, never a guess from packets
and their timing. What the server tells on the side (plans, as notices) is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import URL, make_url

READ_BYTES = 1 << 16

_POSTGRESQL_UNTYPED_CODES = (80877103, 80877104)
"""Requests for encryption, which the server answers with a single byte."""

_MYSQL_QUERY, _MYSQL_EXECUTE = 0x03, 0x17


@dataclass
class Passed:
    """What has passed since the last :meth:`forget`."""

    round_trips: int = 0
    statements: int = 0
    rows: int = 0
    texts: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def forget(self) -> None:
        """Begin anew."""
        self.round_trips = self.statements = self.rows = 0
        self.texts.clear()
        self.notices.clear()


class Listener(Protocol):
    """Hears both directions of one connection, in pieces as they come."""

    def from_client(self, data: bytes) -> None:
        """Hear what the client sends."""
        ...

    def from_server(self, data: bytes) -> None:
        """Hear what the server sends."""
        ...


class PostgresqlListener:
    """Understands as much of PostgreSQL's protocol as counting needs."""

    def __init__(self, passed: Passed) -> None:
        self._passed = passed
        self._client, self._server = bytearray(), bytearray()
        self._started = False
        self._single_bytes = 0

    def from_client(self, data: bytes) -> None:
        """Count each Sync and each simple query, which the client waits for, and each execution."""
        self._client += data
        while not self._started and len(self._client) >= 8:
            length, code = int.from_bytes(self._client[:4]), int.from_bytes(self._client[4:8])
            if len(self._client) < length:
                return
            del self._client[:length]
            self._started = code not in _POSTGRESQL_UNTYPED_CODES
            self._single_bytes += not self._started
        while self._started and len(self._client) >= 5:
            kind, end = chr(self._client[0]), 1 + int.from_bytes(self._client[1:5])
            if len(self._client) < end:
                return
            self._passed.round_trips += kind in "SQ"
            self._passed.statements += kind in "EQ"
            del self._client[:end]

    def from_server(self, data: bytes) -> None:
        """Count rows, and keep the text of each notice."""
        self._server += data
        while self._single_bytes and self._server:
            del self._server[:1]
            self._single_bytes -= 1
        while len(self._server) >= 5:
            kind, end = chr(self._server[0]), 1 + int.from_bytes(self._server[1:5])
            if len(self._server) < end:
                return
            self._passed.rows += kind == "D"
            if kind == "N":
                self._passed.notices.append(_notice(bytes(self._server[5:end])))
            del self._server[:end]


def _notice(body: bytes) -> str:
    """Give the message of a notice: of its fields the one that is marked M."""
    marked = (part for part in body.split(b"\0") if part[:1] == b"M")
    return next(marked, b"M")[1:].decode("utf-8", "replace")


class MysqlListener:
    """Understands as much of MySQL's protocol as counting needs: a command is a packet numbered 0."""

    def __init__(self, passed: Passed) -> None:
        self._passed = passed
        self._client = bytearray()

    def from_client(self, data: bytes) -> None:
        """Count each command, and keep the text of each query."""
        self._client += data
        while len(self._client) >= 4:
            end = 4 + int.from_bytes(self._client[:3], "little")
            if len(self._client) < end:
                return
            number, body = self._client[3], bytes(self._client[4:end])
            del self._client[:end]
            if number == 0 and body:
                self._passed.round_trips += 1
                self._passed.statements += body[0] in {_MYSQL_QUERY, _MYSQL_EXECUTE}
                if body[0] == _MYSQL_QUERY:
                    self._passed.texts.append(body[1:].decode("utf-8", "surrogateescape"))

    def from_server(self, data: bytes) -> None:
        """Hear nothing: rows are counted by the server itself."""


LISTENERS: dict[str, tuple[Callable[[Passed], Listener], int]] = {
    "postgresql": (PostgresqlListener, 5432),
    "mysql": (MysqlListener, 3306),
    "mariadb": (MysqlListener, 3306),
}
"""By the scheme of a URL, with the usual port. Adding an engine with a server adds its line here."""


@asynccontextmanager
async def watched(url: str | URL) -> AsyncIterator[tuple[URL, Passed]]:
    """Give another URL of the same database, and what passes through it; for one server on TCP."""
    target = make_url(url)
    listener_of, usual_port = LISTENERS[target.get_backend_name()]
    passed = Passed()
    talks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener = listener_of(passed)
        onward = await asyncio.open_connection(target.host or "127.0.0.1", target.port or usual_port)
        there = asyncio.create_task(_passing(reader, onward[1], listener.from_client))
        back = asyncio.create_task(_passing(onward[0], writer, listener.from_server))
        talks.update((there, back))
        await asyncio.wait((there, back))

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield target.set(host="127.0.0.1", port=port), passed
    finally:
        server.close()
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


async def _passing(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hear: Callable[[bytes], None]
) -> None:
    try:
        while data := await reader.read(READ_BYTES):
            # Heard before it is passed on: whoever has its answer finds it counted.
            hear(data)
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        # One side is gone, or nobody watches any more: the other side is told by closing.
        writer.close()
        return
    writer.close()
