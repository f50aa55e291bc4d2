"""The hand-written schemas hold what the application's description says, and their rules bite."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import asyncmy
import asyncmy.errors
import asyncpg
import pytest

from bench.reference import TABLES, schema_script, table_script
from tests import oracle
from tests.conftest import FreshDatabase

CHECKS = {
    "sessions_purpose_not_empty",
    "sessions_created_by_not_empty",
    "messages_session_id_not_empty",
    "messages_sender_not_empty",
    "messages_sender_type_not_empty",
    "messages_content_not_empty",
    "messages_content_length",
    "agent_memory_agent_id_not_empty",
    "agent_memory_key_not_empty",
    "agent_memory_key_length",
    "agent_memory_value_not_empty",
    "agent_memory_expires_at_future",
    "audit_log_event_type_not_empty",
    "audit_log_agent_id_not_empty",
    "secure_tokens_token_id_not_empty",
    "secure_tokens_agent_id_not_empty",
}

INDEXES = {
    "idx_messages_session_id",
    "idx_messages_session_time",
    "idx_messages_sender_timestamp",
    "idx_messages_visibility_session",
    "idx_messages_parent_id",
    "idx_messages_sender_type",
    "idx_agent_memory_lookup",
    "idx_agent_memory_agent_global",
    "idx_agent_memory_expiry",
    "idx_agent_memory_session",
    "idx_audit_log_timestamp",
    "idx_audit_log_agent_time",
    "idx_audit_log_session_time",
    "idx_audit_log_event_type",
    "idx_sessions_created_by",
    "idx_sessions_active",
    "idx_sessions_updated_at",
    "idx_token_id",
    "idx_agent_expires",
    "idx_expires_cleanup",
}
SQLITE_INDEXES = {"idx_agent_memory_unique_global", "idx_agent_memory_unique_session"}
POSTGRESQL_INDEXES = {
    f"idx_{table}_metadata_gin" for table in ("messages", "sessions", "agent_memory", "audit_log")
}
MARIADB_CHECKS = {
    f"{table}_metadata_valid" for table in ("messages", "sessions", "agent_memory", "audit_log")
}
TRIGGERS = {"sessions_updated_at_trigger", "agent_memory_updated_at_trigger"}
VIEWS = {"active_sessions_with_activity", "agent_memory_summary", "audit_activity_summary"}

A_SESSION = "INSERT INTO sessions (id, purpose, created_by) VALUES ('session_1', 'to test', 'claude')"
A_GLOBAL_MEMORY = "INSERT INTO agent_memory (agent_id, key, value) VALUES ('claude', 'state', 'x')"


@pytest.fixture
def sqlite_schema() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.executescript(schema_script("sqlite"))
        yield connection


@pytest.fixture
async def postgresql_schema(postgresql_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(postgresql_url)
    await connection.execute(schema_script("postgresql"))
    yield connection
    await connection.close()


def test_sqlite_has_every_object(sqlite_schema: sqlite3.Connection) -> None:
    found = sqlite_schema.execute(
        "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'"
    ).fetchall()

    expected = {"table": set(TABLES), "index": INDEXES | SQLITE_INDEXES, "trigger": TRIGGERS, "view": VIEWS}
    assert {kind: {name for found_kind, name in found if found_kind == kind} for kind in expected} == expected
    assert {word for word in schema_script("sqlite").split() if word in CHECKS} == CHECKS


async def test_postgresql_has_every_object(postgresql_schema: asyncpg.Connection[Any]) -> None:
    async def names(query: str) -> set[str]:
        return {row[0] for row in await postgresql_schema.fetch(query)}

    here = "= 'public'::regnamespace"
    tables = await names(f"SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace {here}")
    views = await names(f"SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace {here}")
    assert (tables, views) == (set(TABLES), VIEWS)
    assert await names("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal") == TRIGGERS
    checks = await names(f"SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace {here}")
    assert checks - {"messages_visibility_check"} == CHECKS
    indexes = await names(
        "SELECT indexrelid::regclass::text FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid"
        f" WHERE conindid IS NULL AND indrelid IN (SELECT oid FROM pg_class WHERE relnamespace {here})"
    )
    assert indexes == INDEXES | POSTGRESQL_INDEXES


@pytest.fixture
async def mariadb_schema(fresh_database: FreshDatabase) -> str:
    url = fresh_database("mariadb")
    await oracle.run(url, schema_script("mysql"))
    return url


async def test_mariadb_has_every_object_that_can_be_written_for_it(mariadb_schema: str) -> None:
    async def names(query: str) -> set[str]:
        return {str(row[0]) for row in await oracle.rows(mariadb_schema, query)}

    here = "_schema = database()"
    assert set(await oracle.tables(mariadb_schema)) == set(TABLES)
    assert await names(f"SELECT table_name FROM information_schema.views WHERE table{here}") == VIEWS
    checks = await names(
        f"SELECT constraint_name FROM information_schema.check_constraints WHERE constraint{here}"
    )
    assert checks - {"metadata"} == CHECKS | MARIADB_CHECKS
    indexes = await names(
        f"SELECT index_name FROM information_schema.statistics WHERE table{here} AND index_name LIKE 'idx%'"
    )
    # Written with WHERE, which is a syntax error there; or under another name inside CREATE TABLE.
    assert INDEXES - indexes == {
        "idx_agent_memory_agent_global",
        "idx_agent_memory_expiry",
        "idx_agent_memory_session",
        "idx_messages_session_id",
        "idx_messages_parent_id",
    }
    assert indexes - INDEXES == {"idx_session_id", "idx_parent_message_id"}
    columns = await names(
        f"SELECT column_name FROM information_schema.columns WHERE table{here}"
        " AND table_name = 'agent_memory'"
    )
    assert "key_name" in columns
    assert "key" not in columns


async def test_an_update_overwrites_updated_at_without_a_trigger_on_mariadb(mariadb_schema: str) -> None:
    await oracle.run(mariadb_schema, A_SESSION)
    await oracle.run(mariadb_schema, "UPDATE sessions SET updated_at = '1980-01-01'")
    await oracle.run(mariadb_schema, "UPDATE sessions SET purpose = 'new'")
    ((updated,),) = await oracle.rows(mariadb_schema, "SELECT updated_at FROM sessions")
    assert updated.year > 2000
    assert await oracle.rows(mariadb_schema, "SHOW TRIGGERS") == []


async def test_checks_bite_on_mariadb(mariadb_schema: str) -> None:
    await oracle.run(mariadb_schema, A_SESSION)
    for statement, check in BROKEN:
        with pytest.raises(asyncmy.errors.Error, match=check):
            await oracle.run(mariadb_schema, statement.replace(" key,", " key_name,"))


async def test_a_text_of_more_than_65535_bytes_is_refused_on_mariadb(mariadb_schema: str) -> None:
    await oracle.run(mariadb_schema, A_SESSION)
    message = "INSERT INTO messages (session_id, sender, content) VALUES ('session_1', 'a', '{}')"
    await oracle.run(mariadb_schema, message.format("x" * 65_535))
    with pytest.raises(asyncmy.errors.DataError, match="too long"):
        await oracle.run(mariadb_schema, message.format("x" * 65_536))


def test_both_scripts_leave_a_row_of_their_own_in_schema_version(sqlite_schema: sqlite3.Connection) -> None:
    """Same key, another description: one of them must win when one database is moved into the other."""
    assert sqlite_schema.execute("SELECT version, description FROM schema_version").fetchall() == [
        (3, "Secure tokens: SQLite schema")
    ]
    assert "(3, 'Secure tokens: PostgreSQL schema')" in schema_script("postgresql")
    assert "(3, 'Secure tokens: MySQL schema')" in schema_script("mysql")


BROKEN = [
    (
        "INSERT INTO sessions (id, purpose, created_by) VALUES ('a', ' ', 'b')",
        "sessions_purpose_not_empty",
    ),
    (
        "INSERT INTO messages (session_id, sender, content) VALUES ('session_1', 'a', '')",
        "messages_content_not_empty",
    ),
    (
        (
            "INSERT INTO agent_memory (agent_id, key, value, created_at, expires_at)"
            " VALUES ('a', 'k', 'v', '2026-01-02', '2026-01-01')"
        ),
        "agent_memory_expires_at_future",
    ),
    ("INSERT INTO audit_log (event_type, agent_id) VALUES ('', 'a')", "audit_log_event_type_not_empty"),
]


@pytest.mark.parametrize(("statement", "check"), BROKEN)
async def test_checks_bite_on_both_engines(
    sqlite_schema: sqlite3.Connection,
    postgresql_schema: asyncpg.Connection[Any],
    statement: str,
    check: str,
) -> None:
    sqlite_schema.execute(A_SESSION)
    await postgresql_schema.execute(A_SESSION)

    with pytest.raises(sqlite3.IntegrityError, match=check):
        sqlite_schema.execute(statement)
    with pytest.raises(asyncpg.CheckViolationError, match=check):
        await postgresql_schema.execute(statement)


async def test_a_global_key_may_be_there_twice_on_postgresql_only(
    sqlite_schema: sqlite3.Connection, postgresql_schema: asyncpg.Connection[Any]
) -> None:
    sqlite_schema.execute(A_GLOBAL_MEMORY)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        sqlite_schema.execute(A_GLOBAL_MEMORY)

    await postgresql_schema.execute(A_GLOBAL_MEMORY)
    await postgresql_schema.execute(A_GLOBAL_MEMORY)
    assert await postgresql_schema.fetchval("SELECT count(*) FROM agent_memory") == 2


async def test_an_update_overwrites_updated_at_on_both_engines(
    sqlite_schema: sqlite3.Connection, postgresql_schema: asyncpg.Connection[Any]
) -> None:
    sqlite_schema.execute(A_SESSION)
    sqlite_schema.execute("UPDATE sessions SET updated_at = 0")
    (stored,) = sqlite_schema.execute("SELECT updated_at FROM sessions").fetchone()
    assert str(stored).startswith("20")

    await postgresql_schema.execute(A_SESSION)
    await postgresql_schema.execute("UPDATE sessions SET updated_at = '1970-01-01Z'")
    assert (await postgresql_schema.fetchval("SELECT updated_at FROM sessions")).year > 2000


def test_a_table_alone_keeps_its_checks_and_key_and_loses_its_foreign_keys() -> None:
    script = table_script("postgresql", "messages")

    assert "id BIGSERIAL PRIMARY KEY" in script
    assert "CONSTRAINT messages_content_length CHECK (length(content) <= 100000)\n);" in script
    assert "REFERENCES" not in script
    assert "INDEX" not in script


@pytest.mark.parametrize("table", TABLES)
def test_every_table_alone_is_a_whole_statement(table: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(table_script("sqlite", table))
        named = connection.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite%'").fetchall()

    assert named == [(table,)]


def test_an_engine_or_table_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(LookupError, match="'oracle', only for mysql, postgresql, sqlite"):
        schema_script("oracle")
    with pytest.raises(LookupError, match="'users', only sessions"):
        table_script("sqlite", "users")
