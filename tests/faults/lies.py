"""Lies told inside the tool's process, between what it reads and what it writes; and a clock that jumps."""

from __future__ import annotations

import datetime as dt
from random import Random
from typing import Any

import pyarrow as pa

from tests.faults.doors import Doors, WatchedLoader

LIES = ("row dropped", "chunk doubled", "character flipped", "count of rows", "count of a stream")
"""The first three are about rows on their way into the target; the others are counts that are not true."""

IN_CHUNKS = LIES[:3]


def tell(lie: dict[str, Any], doors: Doors) -> None:
    """Tell one lie: ``what``, and ``at`` which of the chunks, counts or streams."""
    if lie["what"] in IN_CHUNKS:
        _lie_about_chunk(lie["what"], lie["at"], doors)
    elif lie["what"] == "count of rows":
        _lie_about_rows(lie["at"], doors)
    else:
        _lie_about_stream(lie["at"], doors)


def _lie_about_chunk(what: str, at: int, doors: Doors) -> None:
    write = WatchedLoader.write
    seen = 0

    async def lying(self: WatchedLoader, table: Any, columns: Any, batch: pa.RecordBatch) -> None:
        nonlocal seen
        seen += 1
        if seen != at:
            await write(self, table, columns, batch)
        elif what == "row dropped":
            await write(self, table, columns, batch.slice(1))
        elif what == "chunk doubled":
            await write(self, table, columns, batch)
            await write(self, table, columns, batch)
        else:
            await write(self, table, columns, flipped(batch))

    WatchedLoader.write = lying  # type: ignore[method-assign]


def flipped(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Change the last value of a batch that can be changed by one character or by one."""
    for place in reversed(range(batch.num_columns)):
        array = batch.column(place)
        values = array.to_pylist()
        for row in reversed(range(len(values))):
            value = values[row]
            if isinstance(value, str) and value:
                values[row] = value[:-1] + ("a" if value[-1] != "a" else "b")
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                values[row] = value + 1
            else:
                continue
            arrays = list(batch.columns)
            arrays[place] = pa.array(values, array.type)
            return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    raise AssertionError("there is nothing in this batch that can be changed")


def _lie_about_rows(at: int, doors: Doors) -> None:
    """Let a count be one more than it is, once all is copied: what is counted then is part of the proof."""
    from migration.database import _ToldSnapshot

    rows = _ToldSnapshot.rows
    seen = 0

    async def lying(self: Any, statement: Any) -> list[tuple[Any, ...]]:
        nonlocal seen
        found = await rows(self, statement)
        is_count = "count(*)" in str(statement).lower() and len(found) == 1 and len(found[0]) == 1
        if is_count and doors.phase == "finished":
            seen += 1
            if seen == at:
                return [(found[0][0] + 1,)]
        return found

    _ToldSnapshot.rows = lying  # type: ignore[method-assign]


def _lie_about_stream(at: int, doors: Doors) -> None:
    """Let the server say that it sent one row more than it did."""
    import asyncpg

    copy = asyncpg.Connection.copy_from_query
    seen = 0

    async def lying(self: Any, *arguments: Any, **named: Any) -> str:
        nonlocal seen
        status: str = await copy(self, *arguments, **named)
        seen += 1
        if seen != at:
            return status
        word, count = status.split()
        return f"{word} {int(count) + 1}"

    asyncpg.Connection.copy_from_query = lying


def let_clock_jump(seed: int) -> None:
    """Let the wall clock go back and forward by up to a year at every reading, and the other one forward."""
    from migration import clock

    random = Random(seed)
    offset = dt.timedelta()
    datetime, time = dt.datetime, clock.time
    ahead = 0.0

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            nonlocal offset
            if random.random() < 0.5:
                offset = dt.timedelta(seconds=random.choice([1, -1]) * 10 ** random.uniform(-3, 7.5))
            return datetime.now(tz) + offset

    class Leaping:
        @staticmethod
        def monotonic() -> float:
            nonlocal ahead
            ahead += random.choice([0, 0, 0, 10 ** random.uniform(-1, 5)])
            return time.monotonic() + ahead

    clock.datetime = Jumping  # type: ignore[misc]
    clock.time = Leaping  # type: ignore[assignment]
