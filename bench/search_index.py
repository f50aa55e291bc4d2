"""An index of the messages' texts: each engine's own, made as its manual says, and kept current by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa

from bench.subject import Subject

INDEX_NAME = "bench_messages_search"


@dataclass(frozen=True)
class SearchIndex:
    """How one engine makes an index of texts and asks it.

    Attributes
    ----------
    asked
        Gives the statement and its values for the messages that hold each of some words.
    """

    made_by: tuple[str, ...]
    asked: Callable[[Sequence[str]], tuple[sa.TextClause, dict[str, str]]]


@cache
def _text(sql: str) -> sa.TextClause:
    return sa.text(sql)


def _full_text(
    query: str, joined_by: str, spelled: str
) -> Callable[..., tuple[sa.TextClause, dict[str, str]]]:
    """Ask with all words in one value, in the index's own language."""

    def asked(words: Sequence[str]) -> tuple[sa.TextClause, dict[str, str]]:
        quoted = (word.replace('"', '""') for word in words)
        return _text(query), {"needle": joined_by.join(spelled.format(word) for word in quoted)}

    return asked


def _each_ilike(words: Sequence[str]) -> tuple[sa.TextClause, dict[str, str]]:
    conditions = " AND ".join(f"content ILIKE :word_{place}" for place in range(len(words)))
    values = {f"word_{place}": f"%{word}%" for place, word in enumerate(words)}
    return _text(f"SELECT id, content FROM messages WHERE {conditions} LIMIT 10"), values


def _aria_match(words: Sequence[str]) -> tuple[sa.TextClause, dict[str, str]]:
    conditions = "".join(f" AND s.content LIKE :word_{place}" for place in range(len(words)))
    values = {f"word_{place}": f"%{word}%" for place, word in enumerate(words)}
    query = (
        f"SELECT m.id, m.content FROM {INDEX_NAME} s JOIN messages m ON m.id = s.id"
        f" WHERE MATCH (s.content) AGAINST (:needle IN BOOLEAN MODE){conditions} LIMIT 10"
    )
    return _text(query), {"needle": " ".join(f"+{word}" for word in words), **values}


_FTS_TABLE = (
    f"CREATE VIRTUAL TABLE {INDEX_NAME} USING fts5(content, content='messages', content_rowid='id',"
    " tokenize='trigram')"
)
_FTS_NEW = (
    f"CREATE TRIGGER {INDEX_NAME}_new AFTER INSERT ON messages BEGIN"
    f" INSERT INTO {INDEX_NAME}(rowid, content) VALUES (new.id, new.content); END"
)
_FTS_OLD = (
    f"CREATE TRIGGER {INDEX_NAME}_old AFTER DELETE ON messages BEGIN"
    f" INSERT INTO {INDEX_NAME}({INDEX_NAME}, rowid, content) VALUES ('delete', old.id, old.content); END"
)
# Not by rank, which must look at everything that was found: 25 ms where this takes one.
_FTS_QUERY = (
    f"SELECT m.id, m.content FROM {INDEX_NAME} s JOIN messages m ON m.id = s.rowid"
    f" WHERE {INDEX_NAME} MATCH :needle LIMIT 10"
)
# InnoDB's index collects everything that was found before it gives the first ten; Aria's gives them one by
# one. So the texts stand once more, in a table of Aria's. It knows no transactions: what was rolled back
# stays in it, and is not found because the message is joined. Words of fewer than four letters and very
# common ones it does not know; LIKE sees to those that stand beside another.
_ARIA_TABLE = (
    f"CREATE TABLE {INDEX_NAME} (id BIGINT PRIMARY KEY, content TEXT NOT NULL, FULLTEXT (content))"
    " ENGINE=Aria"
)
_ARIA_NEW = (
    f"CREATE TRIGGER {INDEX_NAME}_new AFTER INSERT ON messages FOR EACH ROW"
    f" REPLACE INTO {INDEX_NAME} (id, content) VALUES (NEW.id, NEW.content)"
)
_ARIA_OLD = (
    f"CREATE TRIGGER {INDEX_NAME}_old AFTER DELETE ON messages FOR EACH ROW"
    f" DELETE FROM {INDEX_NAME} WHERE id = OLD.id"
)
_MATCH_QUERY = (
    "SELECT id, content FROM messages WHERE MATCH (content) AGAINST (:needle IN BOOLEAN MODE) LIMIT 10"
)

INDEXED_SEARCH = {
    "sqlite": SearchIndex(
        made_by=(
            _FTS_TABLE,
            f"INSERT INTO {INDEX_NAME}({INDEX_NAME}) VALUES ('rebuild')",
            # What the rebuilding leaves in pieces is joined now, and not a piece at a time by every insert.
            f"INSERT INTO {INDEX_NAME}({INDEX_NAME}) VALUES ('optimize')",
            _FTS_NEW,
            _FTS_OLD,
        ),
        asked=_full_text(_FTS_QUERY, " AND ", '"{}"'),
    ),
    "postgresql": SearchIndex(
        made_by=(
            "CREATE EXTENSION IF NOT EXISTS pg_trgm",
            f"CREATE INDEX {INDEX_NAME} ON messages USING gin (content gin_trgm_ops)",
            "ANALYZE messages",
        ),
        asked=_each_ilike,
    ),
    "mariadb": SearchIndex(
        made_by=(
            _ARIA_TABLE,
            # Sorting all words once takes a tenth of finding the place of each.
            f"ALTER TABLE {INDEX_NAME} DISABLE KEYS",
            f"INSERT INTO {INDEX_NAME} SELECT id, content FROM messages",
            f"ALTER TABLE {INDEX_NAME} ENABLE KEYS",
            _ARIA_NEW,
            _ARIA_OLD,
        ),
        asked=_aria_match,
    ),
    "mysql": SearchIndex(
        made_by=(f"CREATE FULLTEXT INDEX {INDEX_NAME} ON messages (content) WITH PARSER ngram",),
        asked=_full_text(_MATCH_QUERY, " ", '+"{}"'),
    ),
}
"""By engine. Adding an engine adds its index here, or leaves it out: then the indexed search says so."""


async def add_search_index(subject: Subject) -> None:
    """Make the index, where the engine has one; the next subject that is opened finds it."""
    index = INDEXED_SEARCH.get(subject.backend)
    if index is None or INDEX_NAME in subject.indexes:
        return
    async with subject.engine.connect() as connection:
        for statement in index.made_by:
            await connection.exec_driver_sql(statement)


def missing_index(subject: Subject) -> str | None:
    """Tell why an indexed search cannot be had, or None."""
    if subject.backend not in INDEXED_SEARCH:
        return f"no index of texts is known for {subject.backend}"
    return None if INDEX_NAME in subject.indexes else f"this database has no index {INDEX_NAME}"
