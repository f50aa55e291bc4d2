"""What is measured: the reference application's requests, one function each, the same text on every backend.

To add one, write an async function of a subject and the number of the call, and give it the decorator
(`operation`): two numbers of calls, a small one with which a test runs it on every commit so that it cannot
rot, and a real one; the group of its suite; and its weight in what an agent does, if agents do it. Nothing
else needs to be told: the suites, `PerformanceValidator` and the load scenarios take it from the list, and
`budgets.toml` speaks of all operations or names it.

A request takes its connection from the pool and gives it back, because that is what the application pays for.
Statements are built once, when this file is read: building one anew costs as much as running it.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.message_counts import MESSAGE_COUNTS
from bench.operation import operation
from bench.subject import Subject
from bench.tables import AUDIT, EPOCH, ISO, MESSAGES, PLAIN, SESSIONS, TOKENS

PAGE = 50
SEARCHED_MESSAGES = 1_000
SEARCHED_HOURS = 168

ONE: sa.Select[Any] = select(sa.literal_column("1"))


def _visible(messages: sa.Table) -> sa.ColumnElement[bool]:
    """Tell what an agent may see."""
    visibility, is_own = messages.c.visibility, messages.c.sender == bindparam("me")
    return sa.or_(
        visibility == "public",
        sa.and_(visibility == "private", is_own),
        sa.and_(visibility == "agent_only", is_own),
    )


VISIBLE = _visible(MESSAGES)
IN_SESSION = MESSAGES.c.session_id == bindparam("session")
THE_SESSION = select(SESSIONS).where(SESSIONS.c.id == bindparam("session"))
SESSION_COUNT = select(func.count()).select_from(SESSIONS)
FIRST_MESSAGES = select(MESSAGES).limit(10)
MESSAGE_COUNT = select(func.count()).select_from(MESSAGES).where(IN_SESSION, VISIBLE)
KEPT_COUNT = select(func.coalesce(func.sum(MESSAGE_COUNTS.c.messages), 0)).where(
    MESSAGE_COUNTS.c.session_id == bindparam("session"), _visible(MESSAGE_COUNTS)
)
MESSAGE_PAGE = (
    select(MESSAGES)
    .where(IN_SESSION, VISIBLE)
    .order_by(MESSAGES.c.timestamp)
    .limit(PAGE)
    .offset(bindparam("skipped", type_=sa.Integer))
)
BY_SENDER = (
    select(MESSAGES)
    .where(IN_SESSION, MESSAGES.c.sender == bindparam("sender"))
    .order_by(MESSAGES.c.timestamp.desc())
    .limit(20)
)
BY_TIME = (
    select(MESSAGES)
    .where(
        IN_SESSION,
        MESSAGES.c.timestamp >= bindparam("since", type_=EPOCH),
        MESSAGES.c.timestamp <= bindparam("until", type_=EPOCH),
    )
    .order_by(MESSAGES.c.timestamp)
    .limit(PAGE)
)
THE_TOKEN = select(TOKENS).where(TOKENS.c.token_id == bindparam("token"))
NEW_SESSION = sa.insert(SESSIONS)
NEW_MESSAGE = sa.insert(MESSAGES)
NEW_AUDIT = sa.insert(AUDIT)
NEW_TOKEN = sa.insert(TOKENS)
OLD_TOKEN = sa.delete(TOKENS).where(TOKENS.c.token_id == bindparam("old"))
OLD_AUDIT = sa.delete(AUDIT).where(AUDIT.c.timestamp < bindparam("before", type_=PLAIN))


@cache
def memory_statements(memory: sa.Table) -> dict[str, Any]:
    """Build the statements on memories for a schema's name of the key; `global` where no session is named."""
    c = memory.c
    places = {"session": c.session_id == bindparam("session"), "global": c.session_id.is_(None)}
    unexpired = sa.or_(c.expires_at.is_(None), c.expires_at > bindparam("now", type_=EPOCH))
    of_agent = c.agent_id == bindparam("agent")
    built: dict[str, Any] = {
        "new": sa.insert(memory),
        "expired": sa.delete(memory).where(
            c.expires_at.is_not(None), c.expires_at < bindparam("now", type_=EPOCH)
        ),
        "any expired": select(c.id)
        .where(c.expires_at.is_not(None), c.expires_at < bindparam("now", type_=EPOCH))
        .limit(1),
        "of_agent": select(memory).where(of_agent).limit(5),
        "change": sa.update(memory)
        .where(c.id == bindparam("number"))
        .values(value=bindparam("new_value"), updated_at=bindparam("new_time", type_=ISO)),
    }
    for name, place in places.items():
        one = sa.and_(of_agent, place, c.key == bindparam("key"))
        built[f"id in {name}"] = select(c.id).where(one)
        built[f"get in {name}"] = select(memory).where(one, unexpired)
        listed = select(memory).where(of_agent, place, unexpired, c.key.like(bindparam("beginning")))
        built[f"list in {name}"] = listed.order_by(c.updated_at.desc()).limit(PAGE)
    return built


async def _rows(connection: AsyncConnection, statement: Any, **values: Any) -> Any:
    return (await connection.execute(statement, values)).all()


def _found(connection: sa.Connection, statement: Any, **values: Any) -> Any:
    """Do the same in the middle of a transaction that writes."""
    return connection.execute(statement, values).all()


@operation(rounds_small=20, rounds_real=20_000, group="queries")
async def empty(_subject: Subject, _number: int) -> int:
    """Do nothing: what is left is the stopwatch's own share of every other figure."""
    return 0


@operation(rounds_real=1_000, group="queries")
async def select_one(subject: Subject, _number: int) -> int:
    """SELECT 1: the price of asking anything at all."""
    async with subject.connection() as connection:
        return len(await _rows(connection, ONE))


@operation(rounds_real=1_000, group="queries")
async def session_count(subject: Subject, _number: int) -> int:
    """Count the sessions."""
    async with subject.connection() as connection:
        return len(await _rows(connection, SESSION_COUNT))


@operation(rounds_real=1_000, group="queries")
async def first_messages(subject: Subject, _number: int) -> int:
    """Any ten messages, whole."""
    async with subject.connection() as connection:
        return len(await _rows(connection, FIRST_MESSAGES))


@operation(rounds_real=1_000, group="queries")
async def agent_memory(subject: Subject, number: int) -> int:
    """Any five memories of an agent."""
    asked = subject.reference
    async with subject.connection() as connection:
        return len(
            await _rows(connection, memory_statements(asked.memory)["of_agent"], agent=asked.agent(number))
        )


@operation(rounds_real=1_000, group="queries", weight=10)
async def authenticate(subject: Subject, number: int) -> int:
    """Look up a token."""
    tokens = subject.reference.token_ids
    async with subject.connection() as connection:
        return len(await _rows(connection, THE_TOKEN, token=tokens[number % len(tokens)]))


@operation(rounds_real=1_000, group="queries", weight=5)
async def create_session(subject: Subject, number: int) -> int:
    """Insert a session."""
    asked = subject.reference
    new = {
        "id": f"session_{uuid.uuid4().hex[:16]}",
        "purpose": f"Measure the database, call {number}",
        "created_at": asked.now,
        "updated_at": asked.now,
        "is_active": True,
        "created_by": asked.agent(number),
        "metadata": None,
    }
    await subject.written(lambda connection: connection.execute(NEW_SESSION, new))
    return 1


@operation(rounds_real=1_000, group="queries", weight=20)
async def add_message(subject: Subject, number: int) -> int:
    """Find the session, insert a message into it, insert an audit row; one transaction."""
    asked = subject.reference
    session, agent = asked.session(number), asked.agent(number)
    new = {
        "session_id": session,
        "sender": agent,
        "sender_type": "generic",
        "content": f"Measured call {number}: " + "the agent keeps what it found " * (1 + number % 9),
        "visibility": "public",
        "message_type": "agent_response",
        "metadata": {"call": number},
        # Older than the window that is searched: searches find the same however often this ran.
        "timestamp": asked.now - timedelta(hours=2 * SEARCHED_HOURS),
    }

    def added(connection: sa.Connection) -> int:
        found = _found(connection, THE_SESSION, session=session)
        inserted = connection.execute(NEW_MESSAGE, new)
        assert inserted.inserted_primary_key is not None
        connection.execute(NEW_AUDIT, audit_row(subject, number, session))
        return len(found)

    return await subject.written(added)


@operation(rounds_real=1_000, group="queries", weight=20)
async def get_messages(subject: Subject, number: int) -> int:
    """Find the session, count what the agent may see in it, and give one page of it."""
    asked = subject.reference
    session, agent = asked.session(number), asked.agent(number)
    count = KEPT_COUNT if MESSAGE_COUNTS.name in subject.indexes else MESSAGE_COUNT
    async with subject.connection() as connection:
        await _rows(connection, THE_SESSION, session=session)
        await _rows(connection, count, session=session, me=agent)
        page = await _rows(connection, MESSAGE_PAGE, session=session, me=agent, skipped=PAGE * (number % 3))
        return len(page)


@operation(rounds_real=1_000, group="queries", weight=5)
async def search_by_sender(subject: Subject, number: int) -> int:
    """An agent's newest twenty messages in a session."""
    asked = subject.reference
    async with subject.connection() as connection:
        values = {"session": asked.session(number), "sender": asked.agent(number)}
        return len(await _rows(connection, BY_SENDER, **values))


@operation(rounds_real=1_000, group="queries", weight=5)
async def search_by_timerange(subject: Subject, number: int) -> int:
    """Fifty messages of three days in a session."""
    asked = subject.reference
    since = asked.now - timedelta(days=30 + number % 30)
    async with subject.connection() as connection:
        values = {"session": asked.session(number), "since": since, "until": since + timedelta(days=3)}
        return len(await _rows(connection, BY_TIME, **values))


@operation(rounds_real=1_000, group="queries", weight=10)
async def set_memory(subject: Subject, number: int) -> int:
    """Find a memory by its key, then change it or insert it; one transaction."""
    asked = subject.reference
    session = None if number % 3 == 0 else asked.session(number)
    agent, key = asked.agent(number), f"measured.{number % 200}"
    built = memory_statements(asked.memory)
    place = "global" if session is None else "session"
    named = {"agent": agent, "key": key} | ({} if session is None else {"session": session})
    new: dict[str, Any] = {
        "agent_id": agent,
        "session_id": session,
        "key": key,
        "value": f"state {number}",
        "metadata": {},
        "created_at": asked.now,
        "updated_at": asked.now,
        # Every fourth one ends, so that the reads that delete have something to delete.
        "expires_at": asked.now + timedelta(seconds=number % 900 + 1) if number % 4 == 0 else None,
    }

    def kept(connection: sa.Connection) -> int:
        if found := _found(connection, built[f"id in {place}"], **named):
            changed = {"number": found[0][0], "new_value": f"state {number}", "new_time": asked.now}
            connection.execute(built["change"], changed)
        else:
            connection.execute(built["new"], new)
        return 1

    return await subject.written(kept)


async def delete_expired(subject: Subject, now: datetime) -> None:
    """Delete expired memories, where there are any: looking is cheap, and a write waits for its turn."""
    built = memory_statements(subject.reference.memory)
    async with subject.connection() as connection:
        found = await _rows(connection, built["any expired"], now=now)
    if found:
        await subject.written(lambda connection: connection.execute(built["expired"], {"now": now}))


@operation(rounds_real=1_000, group="queries", weight=15)
async def get_memory(subject: Subject, number: int) -> int:
    """Delete expired memories, then look one up: a read that may write."""
    asked = subject.reference
    agent, session, key = asked.memories[number % len(asked.memories)]
    now = asked.now + timedelta(seconds=number % 900)
    await delete_expired(subject, now)
    place, named = _place_of(session)
    statement = memory_statements(asked.memory)[f"get in {place}"]
    async with subject.connection() as connection:
        return len(await _rows(connection, statement, agent=agent, key=key, now=now, **named))


@operation(rounds_real=1_000, group="queries", weight=5)
async def list_memory(subject: Subject, number: int) -> int:
    """Delete expired memories, then list the newest fifty whose keys begin alike."""
    asked = subject.reference
    agent, session, _ = asked.memories[number % len(asked.memories)]
    now = asked.now + timedelta(seconds=number % 900)
    await delete_expired(subject, now)
    place, named = _place_of(session)
    statement = memory_statements(asked.memory)[f"list in {place}"]
    async with subject.connection() as connection:
        return len(await _rows(connection, statement, agent=agent, beginning="state%", now=now, **named))


def _place_of(session: str | None) -> tuple[str, dict[str, str]]:
    """Tell which statements speak of a memory of this session or of none, and name the session to them."""
    return ("global", {}) if session is None else ("session", {"session": session})


def audit_row(subject: Subject, number: int, session: str | None) -> dict[str, Any]:
    """Give the audit row that a request leaves."""
    asked = subject.reference
    return {
        "timestamp": asked.now,
        "event_type": "message_added",
        "agent_id": asked.agent(number),
        "session_id": session,
        "resource": None,
        "action": None,
        "result": None,
        "metadata": {"call": number},
    }


@operation(rounds_real=1_000, group="queries", weight=5)
async def audit(subject: Subject, number: int) -> int:
    """Insert an audit row."""
    new = audit_row(subject, number, None)
    await subject.written(lambda connection: connection.execute(NEW_AUDIT, new))
    return 1


@operation(rounds_real=1_000, group="queries", weight=5)
async def refresh_token(subject: Subject, number: int) -> int:
    """Find a token, insert its successor, delete it; one transaction."""
    asked = subject.reference
    # Two agents never refresh one token: each takes one and puts its successor back.
    old = subject.refreshable.popleft() if subject.refreshable else "none left"
    new = f"sct_{uuid.uuid4()}"

    def refreshed(connection: sa.Connection) -> int:
        found = _found(connection, THE_TOKEN, token=old)
        row = {
            "token_id": new,
            "encrypted_jwt": found[0].encrypted_jwt if found else b"\x80",
            "agent_id": asked.agent(number),
            "expires_at": asked.now + timedelta(hours=1),
            "created_at": asked.now,
        }
        connection.execute(NEW_TOKEN, row)
        connection.execute(OLD_TOKEN, {"old": old})
        return len(found)

    found = await subject.written(refreshed)
    subject.refreshable.append(new if subject.keeps_writes else old)
    return found


@operation(rounds_real=1_000, group="queries")
async def cleanup(subject: Subject, _number: int) -> int:
    """Delete expired memories and audit rows of more than ninety days."""
    asked = subject.reference

    def cleaned_up(connection: sa.Connection) -> int:
        connection.execute(memory_statements(asked.memory)["expired"], {"now": asked.now})
        connection.execute(OLD_AUDIT, {"before": asked.now - timedelta(days=90)})
        return 0

    return await subject.written(cleaned_up)
