"""Into schemas that are there already: the application's three, written by hand and different on each engine.

A column has another name on one of them, texts have widths, JSON has types of its own,
every script leaves a row in
``schema_version``, and triggers or ``ON UPDATE`` would overwrite what is loaded. In all directions.
"""

from __future__ import annotations

from itertools import product

import pytest

from bench.reference import TABLES, schema_script
from migration import DataMigrationService
from migration.errors import HazardsNotAccepted
from migration.plan import Severity
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import moved
from tests.servers import ENGINES

PAIRS = list(product(ENGINES, ENGINES))
# What a trigger calls is code; only a target that has the very same is not asked about.
CODE = "function-not-carried"
KEEP_VERSION = ("target-rows:schema_version=target", CODE)
TAKE_VERSION = ("target-rows:schema_version=source", CODE)
# What it takes to say the same on each engine: the name of the column, bytes, and which zone a time is in.
KEY_NAME = {"mariadb": "key_name"}
# A sequence does not see the ids that are written by hand.
COUNTED = {
    "postgresql": "".join(
        f"SELECT setval('{table}_id_seq', (SELECT max(id) FROM {table}));"
        for table in TABLES
        if table not in ("sessions", "schema_version")
    )
}
BYTES = {"postgresql": "'\\x6741ff'"}
IN_UTC = {"postgresql": "SET TIME ZONE 'UTC';"}

ROWS = """
INSERT INTO sessions (id, purpose, created_at, updated_at, is_active, created_by, metadata) VALUES
    ('session_1', 'to plan', '2024-03-31 01:30:00', '2024-03-31 02:30:00', TRUE, 'claude', '{{"a": [1, 2.50,
    null]}}'),
    ('Session_1', 'to té👍st', '2024-10-27 00:30:00', '2024-10-27 01:30:00', FALSE, 'gemini', NULL);
INSERT INTO messages (id, session_id, sender, sender_type, content, visibility, message_type, metadata,
timestamp,
    parent_message_id) VALUES
    (1, 'session_1', 'claude', 'generic', 'first', 'public', 'agent_response', '{{}}',
    '2024-03-31 01:30:01', NULL),
    (2, 'session_1', 'gemini', NULL, 'a line
and "another"', 'private', NULL, NULL, '2024-03-31 01:30:02', 1),
    (7, 'Session_1', 'claude', 'generic', ' \\ ', NULL, 'agent_response', '["é"]', '2024-03-31 01:30:03', 7);
INSERT INTO agent_memory (id, agent_id, session_id, {key}, value, metadata, created_at, updated_at,
expires_at) VALUES
    (1, 'claude', NULL, 'state', 'global', '{{"n": 1}}', '2024-01-01 00:00:00', '2024-01-02 00:00:00', NULL),
    (2, 'claude', 'session_1', 'state', 'of a session', NULL, '2024-01-01 00:00:00', '2024-01-03 00:00:00',
    '2030-01-01 00:00:00'), (5, 'claude', NULL, 'State', 'another', NULL, '2024-01-01 00:00:00',
    '2024-01-02 00:00:00', NULL);
INSERT INTO audit_log (id, timestamp, event_type, agent_id, session_id, resource, action, result,
metadata) VALUES
    (1, '2024-03-31 01:30:00', 'login', 'claude', 'session_1', NULL, 'a', '', '{{}}'),
    (3, '2024-03-31 01:30:00', 'logout', 'claude', NULL, 'r', 'a', 'ok', NULL);
INSERT INTO secure_tokens (id, token_id, encrypted_jwt, agent_id, expires_at, created_at) VALUES
    (1, 'sct_1', {bytes}, 'claude', '2030-01-01 00:00:00', '2024-01-01 00:00:00');
"""


def handwritten(engine: str) -> str:
    """Return the application's own script for an engine."""
    return schema_script("mysql" if engine == "mariadb" else engine)


def rows_for(engine: str) -> str:
    return IN_UTC.get(engine, "") + ROWS.format(
        key=KEY_NAME.get(engine, '"key"'), bytes=BYTES.get(engine, "x'6741ff'")
    )


def mapping(source: str, target: str) -> dict[str, str]:
    ours, theirs = KEY_NAME.get(source, "key"), KEY_NAME.get(target, "key")
    return {} if ours == theirs else {f"agent_memory.{ours}": f"agent_memory.{theirs}"}


async def both(fresh_database: FreshDatabase, source: str, target: str, more: str = "") -> tuple[str, str]:
    """Make a source with rows, and more of them, and a target that has nothing but what its script leaves."""
    urls = fresh_database(source), fresh_database(target)
    # Whole seconds, so that every engine can hold them.
    at = "UPDATE schema_version SET applied_at = '2024-01-01 00:00:00';"
    await oracle.run(urls[0], handwritten(source) + rows_for(source) + at + more + COUNTED.get(source, ""))
    await oracle.run(urls[1], handwritten(target))
    return urls


def standing(service: DataMigrationService) -> set[tuple[str, str, str]]:
    """Return what stands against a plan: name, table, column."""
    assert isinstance(service.error, HazardsNotAccepted), service.error
    assert service.plan is not None
    return {(h.name, h.table, h.column) for h in service.plan.refused(service.options.accept)}


@pytest.mark.parametrize(("source_engine", "target_engine"), PAIRS)
async def test_rows_go_from_any_of_the_schemas_into_any(
    source_engine: str, target_engine: str, fresh_database: FreshDatabase
) -> None:
    source, target = await both(fresh_database, source_engine, target_engine)
    names, before = mapping(source_engine, target_engine), await oracle.dump(target)
    refused = await moved(source, target, mapping=names)
    code = {(CODE, "update_updated_at_column()", "")}
    is_asked = source_engine == "postgresql" != target_engine
    assert standing(refused) == {("target-rows", "schema_version", "")} | (code if is_asked else set())
    assert await oracle.dump(target) == before
    service = await moved(source, target, mapping=names, accept=KEEP_VERSION)
    assert service.error is None
    versions = [f"schema_version.{column}" for column in ("version", "applied_at", "description")]
    found = await oracle.differences(source, target, names, versions)
    assert [each for each in found if not each.startswith("schema_version")] == []
    (own,) = await oracle.rows(target, "SELECT description FROM schema_version")
    assert own[0] in before

    # What was held back is there again, and new rows get the next number.
    await oracle.run(target, "UPDATE sessions SET purpose = 'new' WHERE id = 'session_1'")
    recent = "SELECT id FROM sessions WHERE updated_at > '2026-01-01'"
    assert await oracle.rows(target, recent) == [("session_1",)]
    await oracle.run(target, "INSERT INTO audit_log (event_type, agent_id) VALUES ('new', 'x')")
    assert await oracle.rows(target, "SELECT id FROM audit_log WHERE event_type = 'new'") == [(4,)]
    with pytest.raises(Exception, match=r"."):
        await oracle.run(target, "INSERT INTO sessions (id, purpose, created_by) VALUES ('x', ' ', 'y')")


@pytest.mark.parametrize(("source_engine", "target_engine"), PAIRS)
async def test_the_source_may_win_over_the_row_that_the_script_left(
    source_engine: str, target_engine: str, fresh_database: FreshDatabase
) -> None:
    source, target = await both(fresh_database, source_engine, target_engine)
    names = mapping(source_engine, target_engine)
    service = await moved(source, target, mapping=names, accept=TAKE_VERSION)
    assert service.error is None
    assert await oracle.differences(source, target, names) == []


@pytest.mark.parametrize("source_engine", ENGINES)
async def test_a_column_that_is_called_otherwise_and_not_mapped_is_named_on_both_sides(
    source_engine: str, fresh_database: FreshDatabase
) -> None:
    for target_engine in ENGINES:
        if not mapping(source_engine, target_engine):
            continue
        source, target = await both(fresh_database, source_engine, target_engine)
        before = await oracle.dump(target)
        refused = await moved(source, target, accept=KEEP_VERSION)
        assert standing(refused) == {
            ("column-left-behind", "agent_memory", KEY_NAME.get(source_engine, "key")),
            ("column-without-source", "agent_memory", KEY_NAME.get(target_engine, "key")),
        }
        assert await oracle.dump(target) == before


# A text of so many characters, for each engine.
LONG = {
    "sqlite": "replace(hex(zeroblob({0})), '00', 'é')",
    "postgresql": "repeat('é', {0})",
}
BYTES_MAX = 65_535
TOO_LONG = 22


@pytest.mark.skipif("mariadb" not in ENGINES, reason="only its TEXT has a limit")
@pytest.mark.parametrize("source_engine", sorted(LONG))
async def test_messages_that_are_too_long_for_text_are_refused_by_name_and_fit_into_a_new_schema(
    source_engine: str, fresh_database: FreshDatabase
) -> None:
    texts = [LONG[source_engine].format(BYTES_MAX // 2 + 1 + at) for at in range(TOO_LONG)]
    texts += [LONG[source_engine].format(BYTES_MAX // 2)]
    inserts = "".join(
        f"INSERT INTO messages (id, session_id, sender, content, timestamp)"
        f" VALUES ({100 + at}, 'session_1', 'a', {text}, '2024-01-01 00:00:00');"
        for at, text in enumerate(texts)
    )
    source, target = await both(
        fresh_database, source_engine, "mariadb", IN_UTC.get(source_engine, "") + inserts
    )
    before, names = await oracle.dump(target), mapping(source_engine, "mariadb")
    refused = await moved(source, target, mapping=names, accept_all=True)
    assert refused.plan is not None
    (hazard,) = [h for h in refused.plan.hazards if h.severity is Severity.BLOCKING]
    assert (hazard.name, hazard.table, hazard.column) == ("value-too-large", "messages", "content")
    assert hazard.count == TOO_LONG
    assert "id=100" in hazard.examples[0]
    assert await oracle.dump(target) == before
    new = fresh_database("mariadb")
    assert (await moved(source, new, accept_all=True)).error is None
    assert await oracle.differences(source, new) == []


@pytest.mark.parametrize(("source_engine", "target_engine"), [pair for pair in PAIRS if pair[1] != "sqlite"])
async def test_names_that_are_too_long_for_their_column_are_refused_by_name(
    source_engine: str, target_engine: str, fresh_database: FreshDatabase
) -> None:
    source, target = await both(fresh_database, source_engine, target_engine)
    name = "n" * 256
    if source_engine != "sqlite":
        await oracle.run(source, WIDER[source_engine])
    await oracle.run(source, f"UPDATE audit_log SET resource = '{name}' WHERE id = 3")
    refused = await moved(source, target, mapping=mapping(source_engine, target_engine), accept=KEEP_VERSION)
    assert standing(refused) == {("value-too-large", "audit_log", "resource")}


WIDER = {
    "postgresql": "ALTER TABLE audit_log ALTER COLUMN resource TYPE text",
    "mariadb": "ALTER TABLE audit_log MODIFY COLUMN resource varchar(300)",
}


@pytest.mark.parametrize("source_engine", [engine for engine in ENGINES if engine != "sqlite"])
async def test_a_global_key_that_is_there_twice_is_refused_where_it_may_not_be(
    source_engine: str, fresh_database: FreshDatabase
) -> None:
    """Legal in the source, where two NULLs are not equal; the file has a unique index for just these rows."""
    key = KEY_NAME.get(source_engine, "key")
    twice = (
        f"INSERT INTO agent_memory (id, agent_id, {key}, value, created_at, updated_at)"
        " VALUES (9, 'claude', 'state', 'again', '2024-01-01 00:00:00', '2024-01-01 00:00:00');"
    )
    source, target = await both(fresh_database, source_engine, "sqlite", twice)
    before = await oracle.dump(target)
    refused = await moved(source, target, mapping=mapping(source_engine, "sqlite"), accept=KEEP_VERSION)
    assert {(name, table) for name, table, _ in standing(refused)} == {("equal-under-key", "agent_memory")}
    assert await oracle.dump(target) == before


@pytest.mark.skipif("mariadb" not in ENGINES, reason="only its TIMESTAMP keeps whole seconds")
@pytest.mark.parametrize("source_engine", sorted(LONG))
async def test_fractions_of_a_second_that_the_target_does_not_keep_are_asked_about(
    source_engine: str, fresh_database: FreshDatabase
) -> None:
    fraction = (
        "INSERT INTO audit_log (id, timestamp, event_type, agent_id)"
        " VALUES (9, '2024-03-31 01:30:00.75', 'login', 'claude');"
    )
    source, target = await both(
        fresh_database, source_engine, "mariadb", IN_UTC.get(source_engine, "") + fraction
    )
    names, before = mapping(source_engine, "mariadb"), await oracle.dump(target)
    refused = await moved(source, target, mapping=names, accept=KEEP_VERSION)
    assert standing(refused) == {("time-rounded", "audit_log", "timestamp")}
    assert await oracle.dump(target) == before
    service = await moved(source, target, mapping=names, accept=(*KEEP_VERSION, "time-rounded"))
    assert service.error is None
    (kept,) = await oracle.rows(target, "SELECT timestamp FROM audit_log WHERE id = 9")
    assert kept[0].isoformat() in ("2024-03-31T01:30:00", "2024-03-31T01:30:01")


def test_every_engine_has_its_own_schema() -> None:
    for engine in ENGINES:
        script = handwritten(engine)
        assert all(f"CREATE TABLE {table} (" in script for table in TABLES)
