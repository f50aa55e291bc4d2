"""What a database holds of a run: read after it, by numbers and not by counting rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.load.ledger import Memory, Present
from bench.subject import Subject
from bench.tables import AUDIT, MESSAGES, SESSIONS, TOKENS

PURPOSE = "Measure the database, call "
"""How `operations.create_session` begins the purpose of a session."""

VALUE = "state "
"""How `operations.set_memory` begins the value of a memory."""

KEYS = "measured.%"


async def newest_numbers(subject: Subject) -> dict[str, int]:
    """Give the highest number of each table that counts its rows: what comes after belongs to the run."""
    found = {}
    async with subject.connection() as connection:
        for table in (MESSAGES, AUDIT):
            newest = (await connection.execute(sa.select(sa.func.max(table.c.id)))).scalar_one()
            found[table.name] = int(newest or 0)
    return found


async def memories_that_end(subject: Subject) -> set[Memory]:
    """Give the memories of earlier runs that expire: this run's reads may delete them."""
    memory = subject.reference.memory
    statement = sa.select(memory.c.agent_id, memory.c.session_id, memory.c.key).where(
        memory.c.key.like(KEYS), memory.c.expires_at.is_not(None)
    )
    async with subject.connection() as connection:
        return {(row[0], row[1], row[2]) for row in (await connection.execute(statement)).all()}


async def read_present(
    subject: Subject, newest: dict[str, int], may_end: set[Memory], span: range
) -> Present:
    """Read everything that calls with numbers in this span have written."""
    present = Present(may_end=may_end)
    async with subject.connection() as connection:
        for table in (MESSAGES, AUDIT):
            rows = await _values(connection, table.c.metadata, table.c.id > newest[table.name])
            calls = (row["call"] for row in rows if isinstance(row, dict) and "call" in row)
            present.numbers[table.name] = Counter(number for number in calls if number in span)
        purposes = await _values(connection, SESSIONS.c.purpose, SESSIONS.c.purpose.like(f"{PURPOSE}%"))
        present.numbers["sessions"] = Counter(_numbers(purposes, PURPOSE, span))
        present.memories = await _memories(connection, subject, span)
        present.tokens = set(await _values(connection, TOKENS.c.token_id, sa.true()))
    return present


async def _memories(connection: AsyncConnection, subject: Subject, span: range) -> dict[Memory, set[int]]:
    memory = subject.reference.memory
    statement = sa.select(memory.c.agent_id, memory.c.session_id, memory.c.key, memory.c.value).where(
        memory.c.key.like(KEYS)
    )
    found: dict[Memory, set[int]] = {}
    for agent, session, key, value in (await connection.execute(statement)).all():
        found.setdefault((agent, session, key), set()).update(_numbers([value], VALUE, span))
    return found


async def _values(connection: AsyncConnection, column: Any, condition: Any) -> list[Any]:
    return [row[0] for row in (await connection.execute(sa.select(column).where(condition))).all()]


def _numbers(texts: list[str], beginning: str, span: range) -> list[int]:
    """Give the numbers of the span that stand behind this beginning."""
    ends = (text.removeprefix(beginning) for text in texts)
    return [number for number in (int(end) for end in ends if end.isdecimal()) if number in span]
