"""A line to a server that can be counted on, and cut: a proxy in front of a real server.

What it counts are round trips: every answer of PostgreSQL ends with one message that says "ready for more".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy.engine import make_url

READY = b"Z"


class Line:
    """One line, in front of one server; every connection through it is cut and counted together."""

    def __init__(self, host: str, port: int) -> None:
        self.round_trips = 0
        self._host, self._port = host, port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Cut every connection, and refuse new ones until :meth:`mend`."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        if self._is_cut:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        theirs_reader, theirs_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, theirs_writer}
        try:
            await asyncio.gather(
                self._pass(reader, theirs_writer), self._answer(theirs_reader, writer), return_exceptions=True
            )
        finally:
            for end in (writer, theirs_writer):
                end.transport.abort()
            self._writers -= {writer, theirs_writer}
            self._tasks.discard(task)

    async def close(self) -> None:
        """End every connection."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass answers on, message by message: one letter, a length that counts itself, the rest."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
                self.round_trips += head[:1] == READY
                writer.write(head + body)
                await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """Put a line in front of the server of a URL, and give the URL that leads through it."""
    parsed = make_url(url)
    assert parsed.host is not None
    assert parsed.port is not None
    line = Line(parsed.host, parsed.port)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Without encryption, so that messages can be told apart.
    through = parsed.set(host="127.0.0.1", port=port).update_query_dict({"sslmode": "disable"})
    try:
        yield line, through.render_as_string(hide_password=False)
    finally:
        server.close()
        await line.close()
