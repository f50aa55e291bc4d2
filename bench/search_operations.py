"""Three ways to search: compare in the client (RapidFuzz), read until it is found (LIKE), ask an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa
from rapidfuzz import fuzz, process
from sqlalchemy import bindparam, select

from bench.operation import operation
from bench.operations import IN_SESSION, SEARCHED_HOURS, SEARCHED_MESSAGES, VISIBLE
from bench.search_index import INDEXED_SEARCH, missing_index
from bench.subject import Subject
from bench.tables import EPOCH, MESSAGES, SESSIONS

FOUND_MAX = 10
SCORE_MIN = 60

LOOKED_AT_FIRST = 100
"""Of up to a thousand messages: a common word is in ten of the newest hundred, and these are enough."""

RECENT = (
    select(MESSAGES.c.id, MESSAGES.c.sender, MESSAGES.c.content, MESSAGES.c.metadata)
    .where(IN_SESSION, VISIBLE, MESSAGES.c.timestamp >= bindparam("since", type_=EPOCH))
    .order_by(MESSAGES.c.timestamp.desc())
    .limit(bindparam("most", type_=sa.Integer))
)
LIKE_CONTENT = (
    select(MESSAGES.c.id, MESSAGES.c.content)
    .where(MESSAGES.c.content.like(bindparam("pattern")))
    .limit(FOUND_MAX)
)
LIKE_PURPOSE = (
    select(SESSIONS.c.id, SESSIONS.c.purpose)
    .where(SESSIONS.c.purpose.like(bindparam("pattern")))
    .limit(FOUND_MAX)
)


@operation(rounds_real=1_500, group="search", weight=10)
async def search_context(subject: Subject, number: int) -> int:
    """The application's own search: a session's recent messages, compared one by one by RapidFuzz."""
    asked = subject.reference
    needle = asked.needle(number)
    values = {
        "session": asked.session(number),
        "me": asked.agent(number),
        "since": asked.now - timedelta(hours=SEARCHED_HOURS),
    }
    async with subject.connection() as connection:
        texts = [
            text_of(row) for row in await connection.execute(RECENT, {**values, "most": LOOKED_AT_FIRST})
        ]
        if len(texts) == LOOKED_AT_FIRST and len(held(needle, texts)) < FOUND_MAX:
            rows = await connection.execute(RECENT, {**values, "most": SEARCHED_MESSAGES})
            texts = [text_of(row) for row in rows]
    return len(compared(needle, texts))


def compared(needle: str, texts: Sequence[str]) -> list[Any]:
    """Give the ten texts most like the needle, of those that are like it at all: text, score, place.

    Ten that hold it whole are what RapidFuzz would give, and then nothing else need be looked at.
    """
    found = held(needle, texts)
    if len(found) == FOUND_MAX:
        return found
    return process.extract(needle, texts, scorer=fuzz.partial_ratio, score_cutoff=SCORE_MIN, limit=FOUND_MAX)


def held(needle: str, texts: Iterable[str]) -> list[Any]:
    """Give the first ten texts that score 100, the most there is: they hold the needle, or it holds them."""
    found = (
        (text, 100.0, place)
        for place, text in enumerate(texts)
        if needle in text or (text and text in needle)
    )
    return list(islice(found, FOUND_MAX))


def text_of(row: Any) -> str:
    """Put together what of a row is searched."""
    _, sender, content, metadata = row
    return searched_text(sender, content, metadata)


def searched_text(sender: str, content: str, metadata: dict[str, Any] | None) -> str:
    """Put together what of a message is searched, in small letters."""
    values = " ".join(map(str, metadata.values())) if metadata else ""
    return f"{sender} {content} {values}".lower()


@operation(rounds_real=1_500, group="search")
async def like_search(subject: Subject, _number: int) -> int:
    """Ten messages that contain a word, found by reading until there are ten."""
    async with subject.connection() as connection:
        return len((await connection.execute(LIKE_CONTENT, {"pattern": "%test%"})).all())


@operation(rounds_real=1_500, group="search")
async def like_search_purpose(subject: Subject, _number: int) -> int:
    """Ten sessions whose purpose contains a word, found the same way."""
    async with subject.connection() as connection:
        return len((await connection.execute(LIKE_PURPOSE, {"pattern": "%test%"})).all())


@operation(rounds_real=1_500, group="search", impossible=missing_index)
async def indexed_search(subject: Subject, number: int) -> int:
    """Ten messages that contain each of some words, found by the engine's index of texts."""
    statement, values = INDEXED_SEARCH[subject.backend].asked(subject.reference.needle(number).split())
    async with subject.connection() as connection:
        return len((await connection.execute(statement, values)).all())
