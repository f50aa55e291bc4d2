"""What the reference operations ask for: the same sessions, tokens and memories on every backend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.filler import SENDERS
from bench.tables import MESSAGES, SESSIONS, TOKENS, memory_table

SESSIONS_ASKED_FOR = 500
"""Sessions that the queries take turns with; popular ones are among them as often as they are popular."""

TOKENS_ASKED_FOR = 500
MEMORIES_ASKED_FOR = 500

NEEDLES = ("test", "deadlock", "snapshot", "failed because", "timeout")
"""What is searched for; the first is the word that the user's own test searches for."""


@dataclass(frozen=True)
class Asked:
    """Values that are in the database, and the moment that counts as now.

    Attributes
    ----------
    session_ids
        Sessions to ask for, the same ones in the same order on every backend.
    memories
        Agent, session or None, and key of memories that never expire.
    now
        The newest message's moment: "the last seven days" are then the last seven days of the data.
    """

    session_ids: tuple[str, ...]
    token_ids: tuple[str, ...]
    refreshable_tokens: tuple[str, ...]
    memories: tuple[tuple[str, str | None, str], ...]
    now: datetime
    key_column: str

    @property
    def memory(self) -> sa.Table:
        """The memories' table, as this schema spells it."""
        return memory_table(self.key_column)

    def session(self, number: int) -> str:
        """Give the session that this call asks for."""
        return self.session_ids[number % len(self.session_ids)]

    def agent(self, number: int) -> str:
        """Give the agent that this call speaks for; each session is asked for by all of them in time."""
        return SENDERS[(number // 7) % len(SENDERS)][0]

    def needle(self, number: int) -> str:
        """Give what this call searches for."""
        return NEEDLES[number % len(NEEDLES)]


async def asked_of(connection: AsyncConnection) -> Asked | None:
    """Look up what to ask for; None where there is nothing to ask for."""
    columns = await connection.run_sync(lambda plain: sa.inspect(plain).get_columns("agent_memory"))
    names = {column["name"] for column in columns}
    key_column = "key" if "key" in names else "key_name"
    memory = memory_table(key_column)

    async def rows(statement: sa.Select[Any]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in (await connection.execute(statement)).all()]

    by_messages = await rows(
        sa.select(MESSAGES.c.session_id).order_by(MESSAGES.c.id).limit(SESSIONS_ASKED_FOR)
    )
    newest = await rows(sa.select(sa.func.max(MESSAGES.c.timestamp)))
    sessions = await rows(sa.select(SESSIONS.c.id).limit(1))
    if not by_messages or not sessions:
        return None
    tokens = [row[0] for row in await rows(sa.select(TOKENS.c.token_id).order_by(TOKENS.c.id))]
    middle = len(tokens) // 2
    lasting = sa.select(memory.c.agent_id, memory.c.session_id, memory.c.key).where(
        memory.c.expires_at.is_(None)
    )
    memories = await rows(lasting.order_by(memory.c.id).limit(MEMORIES_ASKED_FOR))
    return Asked(
        session_ids=tuple(row[0] for row in by_messages),
        token_ids=tuple(tokens[:middle][:TOKENS_ASKED_FOR]),
        refreshable_tokens=tuple(tokens[middle:]),
        memories=tuple((row[0], row[1], row[2]) for row in memories),
        now=as_moment(newest[0][0]) + timedelta(seconds=1),
        key_column=key_column,
    )


def as_moment(value: Any) -> datetime:
    """Read a moment in whichever form the engine gave it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.fromtimestamp(float(value), UTC)
