"""A line to a server that can be counted on, slowed down, and cut: a proxy in front of a real server.

It passes whole messages of the wire protocol, so that it can be cut between two of them, or in the middle of
one. What it counts are round trips: every answer of PostgreSQL ends with one message that says "ready for
more".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.engine import make_url

READY = b"Z"
"""The first byte of the message with which PostgreSQL ends every answer."""

COMMIT = b"COMMIT"
WAITING_MESSAGES_MAX = 2_000
"""Messages under way on a slow line; past this the sender waits, as it would for a full pipe."""

PLAIN = {"postgresql": {"sslmode": "disable"}, "mariadb": {"ssl_mode": "disabled"}}
"""What makes an engine talk without encryption, so that its messages can be told apart."""


@dataclass(frozen=True)
class Cut:
    """Where a line is cut: at the n-th message from now on, before it, in its middle, or behind a commit.

    Attributes
    ----------
    after
        Messages that still pass.
    from_client
        Whether only those of the client count, or only those of the server.
    is_half
        Whether half of the message is still written.
    swallows_commit
        Wait for a commit instead: the server hears it and does it, and nobody hears the server.
    """

    after: int = 0
    from_client: bool = True
    is_half: bool = False
    swallows_commit: bool = False


class Line:
    """One line, in front of one server; every connection through it is cut and counted together.

    ``on_cut`` is awaited before connections end, for whatever else is to happen at that moment.
    """

    def __init__(self, host: str, port: int, engine: str = "postgresql", latency_seconds: float = 0) -> None:
        self.round_trips = 0
        self.cut_count = 0
        self.on_cut: Callable[[], Awaitable[None]] | None = None
        self._host, self._port, self._engine = host, port, engine
        self._latency_seconds = latency_seconds
        self._is_cut = False
        self._stays_cut = False
        self._armed: Cut | None = None
        self._left = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Cut every connection, and refuse new ones until :meth:`mend`."""
        self._is_cut = True
        self.cut_count += 1
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False
        self._armed = None

    def arm(self, cut: Cut, *, stays_cut: bool = False) -> None:
        """Be cut where this says; then refuse new connections until :meth:`mend`, or let them through."""
        self._armed, self._left, self._stays_cut = cut, cut.after, stays_cut

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self._is_cut:
                return
            try:
                theirs_reader, theirs_writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                return
            await self._join((reader, writer), (theirs_reader, theirs_writer))
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def close(self) -> None:
        """End every connection."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        ends = {client[1], server[1]}
        self._writers |= ends
        connection = _Connection()
        try:
            await asyncio.gather(
                self._pass(client[0], server[1], connection, from_client=True),
                self._pass(server[0], client[1], connection, from_client=False),
                return_exceptions=True,
            )
        finally:
            for end in ends:
                end.transport.abort()
            self._writers -= ends

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        from_client: bool,
    ) -> None:
        """Pass messages on, until one side has no more to say."""
        sender = _Sender(writer, self._latency_seconds)
        is_first = from_client
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _read_message(self._engine, reader, is_first)
                is_first = False
                if not from_client and self._engine == "postgresql":
                    self.round_trips += message[:1] == READY
                if await self._is_the_one(message, connection, sender, from_client=from_client):
                    await self._come_apart()
                    return
                if from_client or not connection.swallows:
                    await sender.send(message)
        await sender.close()
        writer.transport.abort()

    async def _is_the_one(
        self, message: bytes, connection: _Connection, sender: _Sender, *, from_client: bool
    ) -> bool:
        """Tell whether the line is cut at this message, half of which may be sent then."""
        if connection.swallows:
            # The server has done it when it is ready again, which MariaDB says with its only message.
            return not from_client and (self._engine != "postgresql" or message[:1] == READY)
        armed = self._armed
        if armed is None:
            return False
        if armed.swallows_commit:
            if from_client and COMMIT in message[:64].upper():
                connection.swallows = True
                self._armed = None
            return False
        if from_client is not armed.from_client:
            return False
        if self._left:
            self._left -= 1
            return False
        if armed.is_half:
            await sender.send(message[: len(message) // 2])
        return True

    async def _come_apart(self) -> None:
        if self.on_cut is not None:
            await self.on_cut()
        self.cut()
        if not self._stays_cut:
            self.mend()


@dataclass
class _Connection:
    """What is known of one connection: whether the answers of its server are kept from the client."""

    swallows: bool = False


class _Sender:
    """Writes messages, each so much later than it came."""

    def __init__(self, writer: asyncio.StreamWriter, latency_seconds: float) -> None:
        self._writer = writer
        self._latency_seconds = latency_seconds
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING_MESSAGES_MAX)
        self._task = asyncio.create_task(self._send_later()) if latency_seconds else None

    async def send(self, message: bytes) -> None:
        if self._task is None:
            self._writer.write(message)
            await self._writer.drain()
        else:
            due = asyncio.get_running_loop().time() + self._latency_seconds
            await self._waiting.put((due, message))

    async def close(self) -> None:
        """Send what is under way."""
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 + self._latency_seconds):
                    await self._waiting.join()
            self._task.cancel()

    async def _send_later(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                due, message = await self._waiting.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                self._writer.write(message)
                await self._writer.drain()
                self._waiting.task_done()


async def _read_message(engine: str, reader: asyncio.StreamReader, is_first: bool) -> bytes:
    """Read one message: a length, and what it counts."""
    if engine == "mariadb":
        # Three bytes of length, low ones first, and a number in the row.
        head = await reader.readexactly(4)
        return head + await reader.readexactly(int.from_bytes(head[:3], "little"))
    # A letter, a length that counts itself, the rest; the very first message has no letter yet.
    head = await reader.readexactly(4 if is_first else 5)
    return head + await reader.readexactly(int.from_bytes(head[-4:], "big") - 4)


@contextlib.asynccontextmanager
async def line_to(url: str, latency_seconds: float = 0) -> AsyncIterator[tuple[Line, str]]:
    """Put a line in front of the server of a URL, and give the URL that leads through it."""
    parsed = make_url(url)
    engine = parsed.get_backend_name()
    assert parsed.host is not None
    assert parsed.port is not None
    line = Line(parsed.host, parsed.port, engine, latency_seconds)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    through = parsed.set(host="127.0.0.1", port=port).update_query_dict(PLAIN[engine])
    try:
        yield line, through.render_as_string(hide_password=False)
    finally:
        server.close()
        await line.close()
