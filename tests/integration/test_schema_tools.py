"""Tables that a schema tool keeps are named, and not copied, compared or touched: Alembic's above all."""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import make_url

from bench.reference import schema_script
from migration import DataMigrationService, MigrationValidator, open_database
from migration.choice import LEFT_OUT, Choice
from migration.plan import Hazard
from migration.schema_difference import compare_schemas
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import moved
from tests.servers import ENGINES

ENVIRONMENT = Path(__file__).parent.parent / "alembic"
HEAD = "0002_label"
DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "mariadb": "mariadb+asyncmy"}
# An application's own: the tool's table has no such columns.
OWN = "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY, note varchar(20));"
OWN_ROW = "INSERT INTO alembic_version VALUES ('1', 'mine');"
ALEMBIC = "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL PRIMARY KEY);"
ROWS = """
INSERT INTO sessions (id, purpose, created_by) VALUES ('session_1', 'to plan', 'claude');
INSERT INTO messages (session_id, sender, content) VALUES ('session_1', 'claude', 'first'),
    ('session_1', 'gemini', 'second');
INSERT INTO audit_log (event_type, agent_id) VALUES ('login', 'claude');
UPDATE schema_version SET applied_at = '2024-01-01 00:00:00';
"""
ACCEPTED = ("target-rows:schema_version=target",)


def alembic(url: str, said: StringIO | None = None) -> Config:
    """Return what Alembic's commands take: the environment, and the database it shall speak to."""
    config = Config(stdout=said or StringIO())
    config.set_main_option("script_location", str(ENVIRONMENT))
    config.attributes["url"] = make_url(url).set(drivername=DRIVERS[oracle.engine_of(url)])
    return config


async def upgrade(url: str) -> None:
    """Bring a database to the head, as the application's people would."""
    await asyncio.to_thread(command.upgrade, alembic(url), "head")


async def current(url: str) -> str:
    """Return what `alembic current` prints."""
    said = StringIO()
    await asyncio.to_thread(command.current, alembic(url, said))
    return said.getvalue().strip()


def notices(service: DataMigrationService) -> list[Hazard]:
    assert service.plan is not None
    return [hazard for hazard in service.plan.hazards if hazard.name == "schema-tool-table"]


def mapping(engine: str) -> dict[str, str]:
    return {"agent_memory.key": "agent_memory.key_name"} if engine == "mariadb" else {}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("is_source_kept_too", [False, True])
async def test_a_target_that_alembic_prepared_is_filled_and_stays_at_its_revision(
    engine: str, is_source_kept_too: bool, fresh_database: FreshDatabase
) -> None:
    source, target = fresh_database("sqlite"), fresh_database(engine)
    older = f"{ALEMBIC} INSERT INTO alembic_version VALUES ('an_old_one');" if is_source_kept_too else ""
    await oracle.run(source, schema_script("sqlite") + ROWS + older)
    await upgrade(target)

    service = await moved(source, target, mapping=mapping(engine), accept=ACCEPTED)

    assert service.error is None
    assert service.report is not None
    assert service.report.left_out["alembic_version"] == "kept by Alembic"
    assert "alembic_version" not in service.report.planned
    assert await oracle.rows(target, "SELECT * FROM alembic_version") == [(HEAD,)]
    assert await current(target) == f"{HEAD} (head)"
    assert await oracle.rows(target, "SELECT content FROM messages ORDER BY id") == [("first",), ("second",)]
    found = [hazard.sentence for hazard in notices(service)]
    here = [
        "In the source, kept by Alembic, at an_old_one; it does not go, Alembic keeps its own in the target"
    ]
    assert found == here * is_source_kept_too + [
        f"In the target, kept by Alembic, at {HEAD}; it stays as it is"
    ]
    assert service.plan is not None
    assert "table-only-in-target" not in {
        hazard.name for hazard in service.plan.hazards if hazard.table == "alembic_version"
    }


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_revision_is_no_difference(engine: str, fresh_database: FreshDatabase) -> None:
    source, target = fresh_database("sqlite"), fresh_database(engine)
    for url, revision in ((source, "one"), (target, "other")):
        await oracle.run(url, f"{ALEMBIC} INSERT INTO alembic_version VALUES ('{revision}');")
        await oracle.run(url, "CREATE TABLE t (a integer NOT NULL PRIMARY KEY); INSERT INTO t VALUES (1);")
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        validator = MigrationValidator(ours, theirs)
        assert await validator.validate_schema_compatibility()
        assert await validator.validate_data_integrity(), validator.validation_errors
        assert "alembic_version" in validator.report.left_out
        found = compare_schemas(await ours.schema(), await theirs.schema(), Choice())
    assert [difference for difference in found if difference.table == "alembic_version"] == []


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_source_that_a_tool_keeps_leaves_the_tools_table_behind(
    engine: str, fresh_database: FreshDatabase
) -> None:
    source = fresh_database("sqlite")
    await upgrade(source)
    service = await moved(source, target := fresh_database(engine), accept_all=True)
    assert service.error is None
    assert "alembic_version" not in await oracle.tables(target)
    assert [hazard.sentence.partition(";")[0] for hazard in notices(service)] == [
        f"In the source, kept by Alembic, at {HEAD}"
    ]


@pytest.mark.parametrize("engine", ENGINES)
async def test_canary_a_table_of_that_name_with_other_columns_goes_like_any_other(
    engine: str, fresh_database: FreshDatabase
) -> None:
    source, target = fresh_database("sqlite"), fresh_database(engine)
    await oracle.run(source, OWN + OWN_ROW)
    service = await moved(source, target, accept_all=True)
    assert service.error is None
    assert (notices(service), service.report and service.report.left_out) == ([], {})
    assert await oracle.rows(target, "SELECT * FROM alembic_version") == [("1", "mine")]


@pytest.mark.parametrize("engine", ENGINES)
async def test_canary_a_users_table_is_not_written_into_the_tools_own(
    engine: str, fresh_database: FreshDatabase
) -> None:
    source, target = fresh_database("sqlite"), fresh_database(engine)
    await oracle.run(source, OWN + OWN_ROW)
    await upgrade(target)
    service = await moved(source, target)
    assert service.error is not None
    assert service.plan is not None
    assert {hazard.name for hazard in service.plan.refused(()) if hazard.table == "alembic_version"} == {
        "column-left-behind",
        "target-rows",
    }
    assert await current(target) == f"{HEAD} (head)"


async def test_what_is_named_goes_whoever_keeps_it(fresh_database: FreshDatabase) -> None:
    source = fresh_database("sqlite")
    await upgrade(source)
    chosen = await moved(
        source, target := fresh_database("sqlite"), tables=("alembic_version",), accept_all=True
    )
    assert chosen.error is None
    assert await current(target) == f"{HEAD} (head)"
    assert chosen.report is not None
    assert set(chosen.report.left_out.values()) == {LEFT_OUT}

    mapped = await moved(
        source,
        target := fresh_database("sqlite"),
        mapping={"alembic_version": "revisions"},
        accept_all=True,
    )
    assert mapped.error is None
    assert await oracle.rows(target, "SELECT * FROM revisions") == [(HEAD,)]


FLYWAY = """
CREATE TABLE flyway_schema_history (installed_rank integer NOT NULL PRIMARY KEY, version varchar(50),
    description varchar(200) NOT NULL, type varchar(20) NOT NULL, script varchar(1000) NOT NULL,
    checksum integer, installed_by varchar(100) NOT NULL, installed_on timestamp NOT NULL,
    execution_time integer NOT NULL, success boolean NOT NULL);
INSERT INTO flyway_schema_history VALUES
    (1, '1', 'begin', 'SQL', 'V1.sql', 1, 'me', '2024-01-01 00:00:00', 1, TRUE),
    (10, '2.1', 'go on', 'SQL', 'V2_1.sql', 1, 'me', '2024-01-01 00:00:00', 1, TRUE),
    (9, '2', 'more', 'SQL', 'V2.sql', 1, 'me', '2024-01-01 00:00:00', 1, TRUE);
"""
TOOLS = f"""
{ALEMBIC} INSERT INTO alembic_version VALUES ('b'), ('a');
{FLYWAY}
CREATE TABLE SequelizeMeta (name varchar(255) NOT NULL PRIMARY KEY);
INSERT INTO SequelizeMeta VALUES ('2-b.js'), ('1-a.js');
CREATE TABLE knex_migrations_lock ("index" integer PRIMARY KEY, is_locked integer);
"""


@pytest.mark.parametrize("engine", ENGINES)
async def test_each_tool_is_named_with_how_far_it_is(engine: str, fresh_database: FreshDatabase) -> None:
    source, target = fresh_database("sqlite"), fresh_database(engine)
    await oracle.run(source, "CREATE TABLE t (a integer PRIMARY KEY);")
    await oracle.run(target, TOOLS)
    service = await moved(source, target, accept_all=True)
    assert service.error is None
    assert {hazard.sentence for hazard in notices(service)} == {
        "In the target, kept by Alembic, at a, b; it stays as it is",
        "In the target, kept by Flyway, at 2.1 go on; it stays as it is",
        "In the target, kept by Sequelize, at 2-b.js; it stays as it is",
        "In the target, kept by Knex; it stays as it is",
    }


async def test_a_tool_that_has_done_nothing_yet_is_at_nothing(fresh_database: FreshDatabase) -> None:
    source, target = fresh_database("sqlite"), fresh_database("sqlite")
    await oracle.run(source, "CREATE TABLE t (a integer PRIMARY KEY);")
    await oracle.run(target, ALEMBIC)
    service = await moved(source, target)
    assert service.error is None
    assert [hazard.sentence for hazard in notices(service)] == [
        "In the target, kept by Alembic; it stays as it is"
    ]
