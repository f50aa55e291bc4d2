"""What is asked of asyncmy past its public names: to read no more than is wanted, and to send no file.

Tried with asyncmy 0.2.18. All that depends on its inner workings is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from migration.backends import BATCH_BYTES
from migration.backends.mysql_connection import require_driver
from migration.errors import CouldNotLook, TargetUnusable

# The server's number for: a table was altered since the snapshot was taken.
DEFINITION_CHANGED = 1412
# One network packet of a text; a row of a gigabyte is sent in many.
PACKET_BYTES = 1024 * 1024
# What the file is called that the server is to ask for. No file has to do with it.
FILE_NAME = "migration_bench"


class Stream:
    """Rows on their way: from the connection, or from the file where they were put aside.

    The driver takes in whatever the server sends, wanted or not, so reading is paused between batches.
    """

    def __init__(self, connection: Any, types: Sequence[pa.DataType]) -> None:
        self._connection = connection
        self._schema = pa.schema([(str(place), kind) for place, kind in enumerate(types)])
        self._cursor: Any = None
        self._file: Any = None
        self._aside: Any = None
        self.is_flowing = False

    async def begin(self, query: str) -> None:
        """Send the query."""
        self._cursor = self._connection.cursor(require_driver().cursors.SSCursor)
        with _told_of_change():
            await self._cursor.execute(query)
        self.is_flowing = True

    async def take(self) -> pa.Table | None:
        """Return about :data:`BATCH_BYTES` of rows, or ``None`` after the last."""
        if self._aside is not None:
            return next(self._aside, None)
        if not self.is_flowing:
            return None
        batches: list[pa.RecordBatch] = []
        byte_count = 0
        _let_in(self._connection)
        while byte_count < BATCH_BYTES and (rows := await self._arrived()):
            columns = zip(*rows, strict=True)
            arrays = [
                pa.array(values, kind) for values, kind in zip(columns, self._schema.types, strict=True)
            ]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            byte_count += batches[-1].nbytes
        if self.is_flowing:
            self._connection._transport.pause_reading()  # noqa: SLF001
        return pa.Table.from_batches(batches) if batches else None

    async def _arrived(self) -> list[tuple[Any, ...]]:
        """Return the rows that lie in the network buffer, or wait for one; none after the last."""
        with _told_of_change():
            row = await self._cursor.fetchone()
        if row is None:
            self.is_flowing = False
            return []
        # A fixed number of rows could be of any size; these are bounded by the buffer that they came in.
        return [row, *self._cursor._result._take_pending_rows()]  # noqa: SLF001

    async def put_aside(self) -> None:
        """Read what is still on its way into a temporary file."""
        if not self.is_flowing:
            return
        self._file = tempfile.TemporaryFile(prefix="migration-bench-")  # noqa: SIM115 - closed by close()
        with pa.ipc.new_stream(self._file, self._schema) as writer:
            while (rows := await self.take()) is not None:
                await asyncio.to_thread(writer.write_table, rows.combine_chunks())
        self._file.seek(0)
        reader = pa.ipc.open_stream(self._file)
        self._aside = (pa.Table.from_batches([batch]) for batch in reader)

    async def drain(self) -> None:
        """Read to the end and keep nothing."""
        _let_in(self._connection)
        while await self._arrived():
            pass

    def close(self) -> None:
        """Let go of the file, if there is one."""
        if self._file is not None:
            self._file.close()


@contextlib.contextmanager
def _told_of_change() -> Iterator[None]:
    try:
        yield
    except require_driver().errors.Error as error:
        if error.args[0] != DEFINITION_CHANGED:
            raise
        raise CouldNotLook(
            "A table was altered after its snapshot was taken", next_step="Run it again"
        ) from error


def _let_in(connection: Any) -> None:
    connection._transport.resume_reading()  # noqa: SLF001


async def run(connection: Any, statement: str | bytes, text: memoryview | None = None) -> tuple[int, int]:
    """Run a statement, send the text when the server asks for it; return rows affected and warnings.

    The driver would send whatever file the server names. Here the server gets the text it was promised,
    or nothing.
    """
    driver = require_driver()
    try:
        await connection._execute_command(driver.constants.COMMAND.COM_QUERY, statement)  # noqa: SLF001
        packet = await connection.read_packet()
        if packet.is_load_local_packet():
            _refuse_other_files(driver.protocol.LoadLocalPacketWrapper(packet).filename, text)
            for place in range(0, len(text or b""), PACKET_BYTES):
                await _send(connection, bytes((text or b"")[place : place + PACKET_BYTES]))
            await _send(connection, b"")
            packet = await connection.read_packet()
    except (TargetUnusable, asyncio.CancelledError):
        # Somewhere in the middle: whatever came next would be taken for the rest.
        connection.close()
        raise
    answer = driver.protocol.OKPacketWrapper(packet)
    return answer.affected_rows, answer.warning_count


def _refuse_other_files(name: bytes | str, text: memoryview | None) -> None:
    asked = name.decode(errors="replace") if isinstance(name, bytes) else name
    if text is None or asked != FILE_NAME:
        raise TargetUnusable(f"The server asked for a file that is not its business: {asked}", done="")


async def _send(connection: Any, piece: bytes) -> None:
    connection.write_packet(piece)
    await connection._proto.drain()  # noqa: SLF001
