"""What is measured: one function per operation, the same on every backend.

To add one, write an async function of a subject and the number of the round, give it the decorator with two
numbers of rounds (a small one, with which a test runs it on every commit so that it cannot rot, and a real
one), and let it return the number of rows that it saw: work that was optimised away or changed shows in that
number. Its name goes into the list of a benchmark (`test_queries.py`, ...), its budget into `budgets.toml`.

The clock runs around the function and around nothing else (see `stopwatch`). A query takes its connection
from the pool and gives it back, because that is what a request of the application pays for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, column, func, literal_column, or_, select, table
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.filler import SENDERS
from bench.subject import Subject


@dataclass(frozen=True)
class Operation:
    """One thing to measure, as a value.

    Attributes
    ----------
    function
        What is timed; given the subject and the number of the round, it returns the number of rows it saw.
    after
        Runs untimed with what the function returned, and returns the number of rows in its place.
    agents
        Tasks that do it at the same time, each with pauses of its own.
    """

    name: str
    function: Callable[[Subject, int], Awaitable[Any]]
    rounds_small: int
    rounds_real: int
    after: Callable[[Any], Awaitable[int]] | None = None
    agents: int = 1


OPERATIONS: dict[str, Operation] = {}
"""Every operation by name, in the order of this file."""

Function = Callable[[Subject, int], Awaitable[Any]]


def operation(
    *, rounds_small: int, rounds_real: int, after: Callable[[Any], Awaitable[int]] | None = None
) -> Callable[[Function], Operation]:
    """Make an operation of a function, under the function's name."""

    def decorate(function: Function) -> Operation:
        name = getattr(function, "__name__")  # noqa: B009  a Callable has no name as far as types know
        return registered(Operation(name, function, rounds_small, rounds_real, after))

    return decorate


def registered(new: Operation) -> Operation:
    """Put an operation into the list; a name is there once."""
    if new.name in OPERATIONS:
        raise ValueError(f"there are two operations called {new.name!r}")
    OPERATIONS[new.name] = new
    return new


SESSIONS = table("sessions", column("id"))
MESSAGES = table(
    "messages",
    *(
        column(name)
        for name in (
            "id",
            "session_id",
            "sender",
            "sender_type",
            "content",
            "visibility",
            "message_type",
            "metadata",
            "timestamp",
            "parent_message_id",
        )
    ),
)
MEMORY = table(
    "agent_memory",
    *(column(name) for name in ("agent_id", "session_id", "key", "value", "metadata", "updated_at")),
)


@operation(rounds_small=20, rounds_real=20_000)
async def empty(_subject: Subject, _number: int) -> int:
    """Do nothing: what is left is the stopwatch's own share of every other figure."""
    return 0


@operation(rounds_small=5, rounds_real=3_000)
async def select_one(subject: Subject, _number: int) -> int:
    """SELECT 1: the price of asking anything at all."""
    return await _rows(subject, select(literal_column("1")))


@operation(rounds_small=5, rounds_real=2_000)
async def session_count(subject: Subject, _number: int) -> int:
    """Count the sessions."""
    return await _rows(subject, select(func.count()).select_from(SESSIONS))


@operation(rounds_small=5, rounds_real=2_000)
async def latest_messages(subject: Subject, number: int) -> int:
    """The newest fifty messages of a session that an ordinary agent may see."""
    reader = SENDERS[number % len(SENDERS)][0]
    visible = or_(
        MESSAGES.c.visibility == "public",
        and_(MESSAGES.c.visibility == "private", MESSAGES.c.sender == reader),
        and_(MESSAGES.c.visibility == "agent_only", MESSAGES.c.sender == reader),
    )
    in_session = MESSAGES.c.session_id == subject.session_ids[number % len(subject.session_ids)]
    newest_first = MESSAGES.c.timestamp.desc()
    return await _rows(subject, select(MESSAGES).where(in_session, visible).order_by(newest_first).limit(50))


@operation(rounds_small=5, rounds_real=2_000)
async def agent_memory(subject: Subject, number: int) -> int:
    """The newest fifty memories of an agent in a session, whose keys begin alike."""
    memories = select(MEMORY).where(
        MEMORY.c.agent_id == SENDERS[number % len(SENDERS)][0],
        MEMORY.c.session_id == subject.session_ids[number % len(subject.session_ids)],
        MEMORY.c.key.like("state%"),
    )
    return await _rows(subject, memories.order_by(MEMORY.c.updated_at.desc()).limit(50))


@operation(rounds_small=5, rounds_real=2_000)
async def like_search(subject: Subject, _number: int) -> int:
    """Ten messages that contain a word, found by reading until there are ten."""
    found = MESSAGES.c.content.like("%test%")
    return await _rows(subject, select(MESSAGES.c.id, MESSAGES.c.content).where(found).limit(10))


async def _released(connection: AsyncConnection) -> int:
    await connection.close()
    return 1


@operation(rounds_small=5, rounds_real=5_000, after=_released)
async def pool_checkout(subject: Subject, _number: int) -> AsyncConnection:
    """Take a connection from the pool; giving it back is not timed.

    The pool's own checkout event fires after the wait, so the await itself is what is timed.
    """
    return await subject.engine.connect()


async def _used_and_released(connection: AsyncConnection) -> int:
    try:
        return len((await connection.execute(select(literal_column("1")))).all())
    finally:
        await connection.close()


pool_checkout_25_agents = registered(
    Operation(
        "pool_checkout_25_agents",
        pool_checkout.function,
        rounds_small=50,
        rounds_real=2_500,
        after=_used_and_released,
        agents=25,
    )
)
"""The same when twenty-five agents want the twenty connections; its tail shows what the mean hides."""


async def _rows(subject: Subject, statement: Select[Any]) -> int:
    async with subject.engine.connect() as connection:
        return len((await connection.execute(statement)).all())
