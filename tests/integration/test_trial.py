"""What the target refuses is known before anything is made, and asking leaves nothing behind.

Each engine is asked about all of a source at once; what it refuses of it is told in the engine's own words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from migration import DataMigrationService, RolledBack, open_database
from migration import service as service_module
from migration import trial as trial_module
from migration.ddl import Piece
from migration.errors import MigrationError
from migration.plan import Plan, Severity
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved

# Columns that are computed from one another, and views in an order in which they cannot be made.
CHAINED = """
    CREATE TABLE t (
        id INTEGER PRIMARY KEY, n INTEGER, v VARCHAR(3) DEFAULT 'far too long',
        b INTEGER GENERATED ALWAYS AS (n + 1) STORED,
        c INTEGER GENERATED ALWAYS AS (b + 1) STORED,
        d INTEGER GENERATED ALWAYS AS (c + 1) STORED,
        CONSTRAINT small CHECK (n < 100),
        CONSTRAINT odd CHECK (unlikely(n > 50) OR n < 50)
    );
    CREATE TABLE up (id INTEGER PRIMARY KEY, other INTEGER REFERENCES down (id));
    CREATE TABLE down (id INTEGER PRIMARY KEY, other INTEGER REFERENCES up (id));
    CREATE INDEX by_n ON t (n);
    CREATE VIEW third AS SELECT id FROM second;
    CREATE VIEW second AS SELECT id FROM first;
    CREATE VIEW first AS SELECT id, unlikely(n) AS u FROM t;
    CREATE VIEW fine_after AS SELECT id FROM fine;
    CREATE VIEW fine AS SELECT id, n FROM t;
    INSERT INTO t (id, n, v) VALUES (1, 10, 'x'), (2, 20, 'y');
"""
REFUSED = {
    # The engine that it comes from takes all of it.
    "sqlite": {},
    "postgresql": {
        "check-not-carried": ["odd"],
        "default-not-carried": ["v"],
        # Once it is plain, the next one is computed from a plain column.
        "generated-not-carried": ["c"],
        "view-not-carried": ["first", "second", "third"],
    },
    "mariadb": {
        "check-not-carried": ["odd"],
        "default-not-carried": ["v"],
        "view-not-carried": ["first", "second", "third"],
    },
}
"""What each engine refuses of it."""


async def planned(source: Path | str, target: str) -> Plan:
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        return await DataMigrationService(ours, theirs).make_plan()


def refused_of(plan: Plan) -> dict[str, list[str]]:
    """Return what will not be there, by the name of the hazard."""
    names: dict[str, list[str]] = {}
    for hazard in plan.hazards:
        if hazard.severity is Severity.HAZARD:
            names.setdefault(hazard.name, []).append(hazard.sentence.partition(" ")[0])
    return names


async def databases(url: str) -> list[str]:
    """Return the databases of a server whose names begin like this one's."""
    if oracle.engine_of(url) != "mariadb":
        return []
    found = await oracle.rows(url, f"SHOW DATABASES LIKE '{make_url(url).database}%'")
    return sorted(str(name) for (name,) in found)


async def test_all_that_an_engine_refuses_is_told_at_once_and_nothing_is_left_of_asking(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    source, target = made(tmp_path / "source.db", CHAINED), fresh_database(engine)
    await oracle.run(target, "CREATE TABLE own (id bigint); CREATE VIEW seen AS SELECT id FROM own")
    before, beside = await oracle.dump(target), await databases(target)
    plan = await planned(source, target)
    found = refused_of(plan)
    assert {name: sorted(things) for name, things in found.items()} == {
        name: sorted(things) for name, things in REFUSED[engine].items()
    }
    assert await oracle.dump(target) == before
    assert await databases(target) == beside
    # Views come in an order in which they can be made.
    views = [view.name for view in plan.views]
    assert views.index("fine") < views.index("fine_after")
    service = await moved(source, target, accept=tuple(found))
    assert service.error is None, service.error
    assert await oracle.rows(target, "SELECT b, c, d FROM t ORDER BY id") == [(11, 12, 13), (21, 22, 23)]
    assert await databases(target) == beside


# What is looked at only when a row takes it, in each engine's own words, and what the engine then says.
UNUSABLE = {
    "sqlite": ("abs(-9223372036854775807 - 1)", "overflow"),
    "postgresql": ("1 / (length('') * 1)", "division by zero"),
    "mariadb": ("9223372036854775807 + char_length(uuid())", "out of range"),
}


async def test_a_default_is_tried_by_a_row_that_takes_it(fresh_database: FreshDatabase, engine: str) -> None:
    default, why = UNUSABLE[engine]
    source, target = fresh_database(engine), fresh_database(engine)
    await oracle.run(source, f"CREATE TABLE t (id bigint, n bigint DEFAULT ({default}), m bigint DEFAULT 7)")
    plan = await planned(source, target)
    (hazard,) = [hazard for hazard in plan.hazards if hazard.name == "default-not-carried"]
    assert why in hazard.sentence
    assert hazard.sentence.startswith("n will not be")
    assert await oracle.tables(target) == []
    assert (await moved(source, target, accept=("default-not-carried",))).error is None
    await oracle.run(target, "INSERT INTO t (id) VALUES (1)")
    assert await oracle.rows(target, "SELECT n, m FROM t") == [(None, 7)]


async def test_a_default_that_takes_a_number_is_not_tried_with_one(
    postgresql_url: str, tmp_path: Path
) -> None:
    await oracle.run(
        postgresql_url,
        "CREATE SEQUENCE s; CREATE TABLE own (id bigint, n bigint DEFAULT nextval('s'));",
    )
    before = await oracle.dump(postgresql_url)
    source = made(tmp_path / "source.db", "CREATE TABLE own (id INTEGER); CREATE TABLE new (id INTEGER)")
    await planned(source, postgresql_url)
    assert await oracle.dump(postgresql_url) == before


async def test_a_trigger_is_tried_like_anything_else(fresh_database: FreshDatabase) -> None:
    source, target = fresh_database("postgresql"), fresh_database("postgresql")
    await oracle.run(source, """
        CREATE TABLE t (id bigint PRIMARY KEY, n bigint);
        CREATE FUNCTION doubled() RETURNS trigger AS $$ BEGIN NEW.n = 2; RETURN NEW; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER twice BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION doubled();
    """)  # fmt: skip
    plan = await planned(source, target)
    (hazard,) = [hazard for hazard in plan.hazards if hazard.name == "trigger-not-carried"]
    assert "doubled() does not exist" in hazard.sentence
    assert plan.triggers == ()
    assert (await moved(source, target, accept_all=True)).error is None


async def test_triggers_of_an_engine_go_where_they_are_understood(tmp_path: Path) -> None:
    source = made(tmp_path / "source.db", """
        CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER);
        CREATE TRIGGER twice AFTER INSERT ON t BEGIN UPDATE t SET n = 2 WHERE id = NEW.id; END;
    """)  # fmt: skip
    plan = await planned(source, f"sqlite:///{tmp_path / 'target.db'}")
    assert [trigger.name for trigger in plan.triggers] == ["twice"]
    assert refused_of(plan) == {}


async def test_what_asking_did_not_find_is_taken_back_when_it_is_made(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canary: without the trial, what is refused is refused in the middle of making it."""
    source, target = made(tmp_path / "source.db", CHAINED), fresh_database(engine)

    async def believe(plan: Plan, *_: Any) -> Plan:
        return plan

    monkeypatch.setattr(service_module, "try_plan", believe)
    before = await oracle.dump(target)
    service = await moved(source, target, accept_all=True)
    if not REFUSED[engine]:
        assert service.error is None
        return
    assert isinstance(service.error, MigrationError)
    # Where one transaction makes all tables, nothing was ever there.
    assert isinstance(service.error, RolledBack) == (engine == "mariadb"), service.error
    assert await oracle.dump(target) == before


async def test_where_no_single_rule_is_to_blame_the_last_one_goes(
    tmp_path: Path, postgresql_url: str
) -> None:
    """Of four columns computed from one another no single one can go so that the others can stay."""
    source = made(tmp_path / "source.db", """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, n INTEGER,
            b INTEGER GENERATED ALWAYS AS (n + 1) STORED,
            c INTEGER GENERATED ALWAYS AS (b + 1) STORED,
            d INTEGER GENERATED ALWAYS AS (c + 1) STORED,
            e INTEGER GENERATED ALWAYS AS (d + 1) STORED
        );
        INSERT INTO t (id, n) VALUES (1, 10);
    """)  # fmt: skip
    found = refused_of(await planned(source, postgresql_url))
    assert found == {"generated-not-carried": ["e", "c"]}
    assert (await moved(source, postgresql_url, accept=tuple(found))).error is None
    assert await oracle.rows(postgresql_url, "SELECT b, c, d, e FROM t") == [(11, 12, 13, 14)]
    await oracle.run(postgresql_url, "UPDATE t SET n = 20, c = 30")
    assert await oracle.rows(postgresql_url, "SELECT b, c, d, e FROM t") == [(21, 30, 31, 14)]


async def test_a_connection_lost_while_it_is_tried_is_no_refusal(postgresql_url: str) -> None:
    async with open_database(postgresql_url) as database, database.control() as connection:
        trial = trial_module._Trial(connection, database.writer, goes_back=True)
        ends_itself = Piece("view", "v", "v", "SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(DBAPIError) as lost:
            await trial._refused([ends_itself])
        assert lost.value.connection_invalidated
