"""The ten steps on real databases: what arrives, what is refused, and what is put back when it fails.

What the product says is never taken for true here: databases are compared by their engines' own dumps,
moments and numbers by a few lines of plain Python.
"""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from bench.dataset import fill
from bench.reference import TABLES, schema_script
from migration import (
    DataMigrationService,
    MigrationValidator,
    Options,
    RollbackFailed,
    RolledBack,
    Stopped,
    open_database,
)
from migration import rollback as rollback_module
from migration import trial as trial_module
from migration.audit import read_audit
from migration.errors import (
    AuditUnusable,
    HazardsNotAccepted,
    LockLost,
    Refused,
    TargetLocked,
    TargetUnusable,
)
from migration.progress import Step
from migration.undo import undo
from tests import oracle
from tests.conftest import FreshDatabase
from tests.faults import SHOP
from tests.line import line_to
from tests.moving import made, moved, small_chunks, taken_back

SEED = 20240506
ACCEPT_VERSION = ("target-rows:schema_version=source",)


@pytest.fixture(scope="session")
def reference_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference application's database, a hundredth of its size."""
    path = tmp_path_factory.mktemp("reference") / "reference.db"
    fill(path, 0.01, SEED)
    return path


@pytest.fixture
def reference(reference_file: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "reference.db"
    shutil.copyfile(reference_file, copy)
    return copy


@pytest.fixture
async def handwritten(postgresql_url: str) -> str:
    """A PostgreSQL database with the schema that the application's users have written by hand."""
    await oracle.run(postgresql_url, schema_script("postgresql"))
    return postgresql_url


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "shop.db", SHOP)


def moment(stored: Any) -> datetime | None:
    """Read a moment as the application wrote it: epoch seconds, or text, in UTC where it has no offset."""
    if stored is None:
        return None
    if isinstance(stored, (int, float)):
        return datetime.fromtimestamp(stored, UTC)
    read = datetime.fromisoformat(stored)
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)


async def assert_same_application(source: Path, target: str) -> None:
    """Compare what both databases hold, value by value, as a person would."""
    here = f"sqlite:///{source}"
    for table in TABLES:
        ours = await oracle.rows(here, f"SELECT * FROM {table} ORDER BY 1")
        order = 'id COLLATE "C"' if table == "sessions" else "1"
        theirs = await oracle.rows(target, f"SELECT * FROM {table} ORDER BY {order}")
        names = [row[1] for row in await oracle.rows(here, f"PRAGMA table_info({table})")]
        assert len(ours) == len(theirs) > 0
        columns = zip(names, zip(*ours, strict=True), zip(*theirs, strict=True), strict=True)
        for name, our_values, their_values in columns:
            # Moments and JSON are compared by what they mean; on the target's side a moment is one already.
            here_read: Callable[[Any], Any] = json_of if name == "metadata" else same
            there_read = here_read
            if name.endswith("_at") or name == "timestamp":
                here_read = moment
            ours_read = [here_read(value) for value in our_values]
            assert ours_read == [there_read(value) for value in their_values], f"{table}.{name}"


def same(value: Any) -> Any:
    return value


def json_of(value: Any) -> Any:
    return value and json.loads(value)


# --- what arrives -------------------------------------------------------------------------------------------


async def test_the_reference_application_arrives_in_a_new_schema(
    reference: Path, postgresql_url: str
) -> None:
    service = await moved(reference, postgresql_url, accept=("trigger-not-carried",))
    assert service.error is None
    assert service.report is not None
    assert service.report.proved
    await assert_same_application(reference, postgresql_url)


async def test_mixed_timestamps_arrive_as_the_right_instants_in_the_handwritten_schema(
    reference: Path, handwritten: str
) -> None:
    service = await moved(reference, handwritten, accept=ACCEPT_VERSION)
    assert service.error is None
    await assert_same_application(reference, handwritten)


async def test_every_form_of_a_timestamp_is_counted_in_the_plan(reference: Path, handwritten: str) -> None:
    async with open_database(reference, is_source=True) as ours, open_database(handwritten) as theirs:
        plan = await DataMigrationService(ours, theirs).make_plan()
    forms = {(h.table, h.column): h for h in plan.hazards if h.name == "time-forms"}
    for table, column in (
        ("agent_memory", "updated_at"),
        ("sessions", "updated_at"),
        ("messages", "timestamp"),
    ):
        stored = await oracle.rows(f"sqlite:///{reference}", f"SELECT {column} FROM {table}")
        kinds = [
            "epoch" if isinstance(v, (int, float)) else "offset" if "+" in v else "without zone"
            for (v,) in stored
        ]
        sentence = forms[table, column].sentence
        assert forms[table, column].count == len(stored)
        for kind in set(kinds):
            assert f": {kinds.count(kind):,}" in sentence, sentence


async def test_a_dry_run_leaves_nothing_behind(reference: Path, handwritten: str, tmp_path: Path) -> None:
    before = await oracle.dump(handwritten)
    async with open_database(reference, is_source=True) as ours, open_database(handwritten) as theirs:
        plan = await DataMigrationService(ours, theirs).make_plan()
    assert [hazard.name for hazard in plan.refused(())] == ["target-rows"]
    assert await oracle.dump(handwritten) == before
    async with open_database(reference, is_source=True) as ours, open_database(tmp_path / "new.db") as theirs:
        await DataMigrationService(ours, theirs).make_plan()
    assert not list(tmp_path.glob("new.db*"))


async def test_a_renamed_column_is_filled_and_proved_under_its_new_name(
    reference: Path, handwritten: str
) -> None:
    await oracle.run(handwritten, "ALTER TABLE agent_memory RENAME COLUMN key TO key_name")
    mapping = {"agent_memory.key": "agent_memory.key_name"}
    refused = await moved(reference, handwritten, accept=ACCEPT_VERSION)
    assert isinstance(refused.error, HazardsNotAccepted)
    assert "column-left-behind" in str(refused.error) or "column-without-source" in str(refused.error)
    service = await moved(reference, handwritten, accept=ACCEPT_VERSION, mapping=mapping)
    assert service.error is None
    ours = await oracle.rows(f"sqlite:///{reference}", "SELECT id, key FROM agent_memory ORDER BY id")
    assert await oracle.rows(handwritten, "SELECT id, key_name FROM agent_memory ORDER BY id") == ours
    async with open_database(reference, is_source=True) as mine, open_database(handwritten) as theirs:
        assert await MigrationValidator(mine, theirs, mapping=mapping).validate_data_integrity()


async def test_a_renamed_table_is_made_under_its_new_name(source: Path, postgresql_url: str) -> None:
    service = await moved(source, postgresql_url, mapping={"notes": "remarks"})
    assert service.error is None
    assert await oracle.rows(postgresql_url, "SELECT count(*) FROM remarks") == [(40,)]


async def test_rows_come_back_from_postgresql_as_they_left(
    reference: Path, postgresql_url: str, tmp_path: Path
) -> None:
    assert (await moved(reference, postgresql_url, accept_all=True)).error is None
    back = tmp_path / "back.db"
    service = await moved(postgresql_url, back, accept_all=True)
    assert service.error is None
    for table in TABLES:
        ours = await oracle.rows(f"sqlite:///{reference}", f"SELECT * FROM {table} ORDER BY 1")
        theirs = await oracle.rows(f"sqlite:///{back}", f"SELECT * FROM {table} ORDER BY 1")
        names = [row[1] for row in await oracle.rows(f"sqlite:///{back}", f"PRAGMA table_info({table})")]
        for name, one, other in zip(names, zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
            is_moment = name.endswith("_at") or name == "timestamp"
            read = moment if is_moment else json_of if name == "metadata" else same
            assert [read(value) for value in one] == [read(value) for value in other], f"{table}.{name}"


async def test_circles_and_self_references_arrive_with_their_foreign_keys(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    source = made(tmp_path / "circles.db", """
        CREATE TABLE people (
            id INTEGER PRIMARY KEY, boss INTEGER REFERENCES people (id), team INTEGER REFERENCES teams (id)
        );
        CREATE TABLE teams (id INTEGER PRIMARY KEY, leader INTEGER REFERENCES people (id));
        CREATE TABLE a (id INTEGER PRIMARY KEY, b INTEGER REFERENCES b (id));
        CREATE TABLE b (id INTEGER PRIMARY KEY, c INTEGER REFERENCES c (id));
        CREATE TABLE c (id INTEGER PRIMARY KEY, a INTEGER REFERENCES a (id));
        INSERT INTO people VALUES (1, 2, 10), (2, 1, 20), (3, 3, NULL);
        INSERT INTO teams VALUES (10, 2), (20, 1);
        INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1);
    """)  # fmt: skip
    target = fresh_database(engine)
    service = await moved(source, target)
    assert service.error is None
    async with open_database(target) as database:
        schema = await database.schema()
    assert sum(len(table.foreign_keys) for table in schema.tables) == 6
    assert await oracle.rows(target, "SELECT * FROM people ORDER BY id") == [
        (1, 2, 10),
        (2, 1, 20),
        (3, 3, None),
    ]


async def test_orphans_are_named_and_their_rows_arrive(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    source = made(tmp_path / "orphans.db", """
        CREATE TABLE parents (id INTEGER PRIMARY KEY);
        CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id));
        INSERT INTO parents VALUES (1);
        INSERT INTO children VALUES (1, 1), (2, 77), (3, NULL), (4, 78);
    """)  # fmt: skip
    target = fresh_database(engine)
    before = await oracle.dump(target)
    refused = await moved(source, target)
    assert isinstance(refused.error, HazardsNotAccepted)
    assert "foreign-key-not-carried in children (2)" in str(refused.error)
    assert await oracle.dump(target) == before
    service = await moved(source, target, accept=("foreign-key-not-carried",))
    assert service.error is None
    assert await oracle.rows(target, "SELECT * FROM children ORDER BY id") == [
        (1, 1),
        (2, 77),
        (3, None),
        (4, 78),
    ]


async def test_generated_columns_stay_generated(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    assert (await moved(source, target)).error is None
    await oracle.run(target, "UPDATE orders SET amount = 33 WHERE id = 4")
    assert await oracle.rows(target, "SELECT doubled FROM orders WHERE id = 4") == [(66,)]


NUMBERS = """
    CREATE TABLE ahead (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
    CREATE TABLE empty (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
    CREATE TABLE emptied (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
    CREATE TABLE reused (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE negative (id INTEGER PRIMARY KEY, v TEXT);
    INSERT INTO ahead VALUES (5, 'x'), (90, 'y'); DELETE FROM ahead WHERE id = 90;
    INSERT INTO emptied VALUES (7, 'x'); DELETE FROM emptied;
    INSERT INTO reused VALUES (3, 'x'), (9, 'y'); DELETE FROM reused WHERE id = 9;
    INSERT INTO negative VALUES (-5, 'x');
"""


async def test_the_next_row_gets_the_number_that_the_source_would_have_given(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    source = made(tmp_path / "numbers.db", NUMBERS)
    target = fresh_database(engine)
    assert (await moved(source, target)).error is None
    tables = ["ahead", "empty", "emptied", "reused"]
    # A sequence does not count below one, and no row stands in its way there.
    tables += ["negative"] if engine == "sqlite" else []
    for table in tables:
        for url in (f"sqlite:///{source}", target):
            await oracle.run(url, f"INSERT INTO {table} (v) VALUES ('next')")
        query = f"SELECT id FROM {table} WHERE v = 'next'"
        assert await oracle.rows(target, query) == await oracle.rows(f"sqlite:///{source}", query), table
    await oracle.run(target, "INSERT INTO negative (v) VALUES ('next')")


async def test_an_unused_sequence_begins_where_it_would_have_begun(
    fresh_database: FreshDatabase, engine: str
) -> None:
    source, target = fresh_database("postgresql"), fresh_database(engine)
    await oracle.run(source, """
        CREATE TABLE unused (id bigserial PRIMARY KEY, v text);
        CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY (START 500) PRIMARY KEY, v text);
        CREATE TABLE used (id bigserial PRIMARY KEY, v text);
        INSERT INTO used (v) VALUES ('x'), ('y'); DELETE FROM used;
    """)  # fmt: skip
    assert (await moved(source, target)).error is None
    for table, number in (("unused", 1), ("later", 500), ("used", 3)):
        await oracle.run(target, f"INSERT INTO {table} (v) VALUES ('next')")
        assert await oracle.rows(target, f"SELECT id FROM {table}") == [(number,)]


async def test_a_view_that_cannot_be_carried_is_named_and_the_others_are_made(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = made(tmp_path / "views.db", """
        CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO t VALUES (1, 'a'), (2, 'b');
        CREATE VIEW second AS SELECT * FROM first WHERE id > 1;
        CREATE VIEW first AS SELECT id, name FROM t;
        CREATE VIEW globbed AS SELECT * FROM t WHERE name GLOB 'a*';
    """)  # fmt: skip
    before = await oracle.dump(postgresql_url)
    refused = await moved(source, postgresql_url)
    assert isinstance(refused.error, HazardsNotAccepted)
    assert "view-not-carried in globbed" in str(refused.error)
    assert "--accept view-not-carried" in refused.error.next_step
    assert await oracle.dump(postgresql_url) == before
    service = await moved(source, postgresql_url, accept=("view-not-carried:globbed",))
    assert service.error is None
    assert await oracle.rows(postgresql_url, "SELECT id FROM second") == [(2,)]


async def test_a_view_that_only_the_server_refuses_is_a_hazard_with_the_servers_reason(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = made(tmp_path / "views.db", """
        CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);
        CREATE VIEW strange AS SELECT id + name AS s FROM t;
    """)  # fmt: skip
    refused = await moved(source, postgresql_url)
    assert isinstance(refused.error, HazardsNotAccepted)
    assert refused.plan is not None
    (hazard,) = [hazard for hazard in refused.plan.hazards if hazard.name == "view-not-carried"]
    assert "operator does not exist" in hazard.sentence
    assert (await moved(source, postgresql_url, accept_all=True)).error is None


async def test_what_the_server_refuses_of_a_table_is_named_and_left_out_when_accepted(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = made(tmp_path / "odd.db", """
        CREATE TABLE t (
            id INTEGER PRIMARY KEY, a TEXT UNIQUE, b TEXT, c TEXT DEFAULT (printf('%d', 7)),
            CHECK (unlikely(length(b) > 0)), CONSTRAINT short CHECK (length(a) < 9)
        );
        CREATE INDEX by_printf ON t (printf('%s', a));
        INSERT INTO t VALUES (1, 'x', 'y', 'z');
    """)  # fmt: skip
    refused = await moved(source, postgresql_url)
    assert isinstance(refused.error, HazardsNotAccepted)
    assert refused.plan is not None
    names = {hazard.name for hazard in refused.plan.hazards}
    assert {"check-not-carried", "default-not-carried", "index-not-carried"} <= names
    service = await moved(source, postgresql_url, accept_all=True)
    assert service.error is None
    assert await oracle.rows(postgresql_url, "SELECT * FROM t") == [(1, "x", "y", "z")]
    with pytest.raises(Exception, match="short"):
        await oracle.run(postgresql_url, "INSERT INTO t VALUES (2, 'much too long', '')")


async def test_triggers_of_the_target_are_held_back_and_back_afterwards(
    reference: Path, handwritten: str
) -> None:
    await oracle.run(handwritten, """
        CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER loud BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
    """)  # fmt: skip
    assert (await moved(reference, handwritten, accept=ACCEPT_VERSION)).error is None
    await assert_same_application(reference, handwritten)
    with pytest.raises(Exception, match="fired"):
        await oracle.run(
            handwritten, "INSERT INTO messages (session_id, sender, content) VALUES ('a', 'b', 'c')"
        )
    before = await oracle.rows(handwritten, "SELECT id, updated_at FROM sessions ORDER BY id LIMIT 1")
    await oracle.run(handwritten, f"UPDATE sessions SET purpose = 'new' WHERE id = '{before[0][0]}'")
    after = await oracle.rows(handwritten, "SELECT id, updated_at FROM sessions ORDER BY id LIMIT 1")
    assert after[0][1] > before[0][1]


async def test_triggers_of_a_file_are_held_back_and_carried(reference: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    made(target, schema_script("sqlite") + "CREATE TRIGGER loud BEFORE INSERT ON messages "
         "BEGIN SELECT RAISE(ABORT, 'fired'); END;")  # fmt: skip
    assert (await moved(reference, target, accept=ACCEPT_VERSION)).error is None
    with pytest.raises(Exception, match="fired"):
        await oracle.run(
            f"sqlite:///{target}", "INSERT INTO messages (session_id, sender, content) VALUES ('a', 'b', 'c')"
        )
    new = tmp_path / "new.db"
    assert (await moved(reference, new)).error is None
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    assert await oracle.rows(f"sqlite:///{new}", triggers) == await oracle.rows(
        f"sqlite:///{reference}", triggers
    )


async def test_the_target_keeps_its_own_rows_where_it_was_told_to(reference: Path, handwritten: str) -> None:
    before = await oracle.rows(handwritten, "SELECT * FROM schema_version")
    service = await moved(reference, handwritten, accept=("target-rows:schema_version=target",))
    assert service.error is None
    assert await oracle.rows(handwritten, "SELECT * FROM schema_version") == before
    assert service.report is not None
    assert service.report.left_out == {"schema_version": "the target keeps its own rows"}


async def test_a_column_that_was_accepted_to_stay_behind_is_named_in_the_report(
    source: Path, postgresql_url: str
) -> None:
    await oracle.run(postgresql_url, "CREATE TABLE notes (body text)")
    service = await moved(source, postgresql_url, accept=("column-left-behind:notes.weight",))
    assert service.error is None
    assert service.report is not None
    assert list(service.report.left_out) == ["notes.weight"]


async def test_rows_that_stay_never_go_with_the_rows_they_refer_to(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    source = made(tmp_path / "source.db", """
        CREATE TABLE parents (id INTEGER PRIMARY KEY);
        CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id));
        INSERT INTO parents VALUES (1); INSERT INTO children VALUES (1, 1);
    """)  # fmt: skip
    target = fresh_database(engine)
    await oracle.run(target, """
        CREATE TABLE parents (id bigint PRIMARY KEY);
        CREATE TABLE children (
            id bigint PRIMARY KEY, parent bigint REFERENCES parents (id) ON DELETE CASCADE);
        INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (10, 1), (11, 2);
    """)  # fmt: skip
    before = await oracle.dump(target)
    service = await moved(source, target, accept_all=True, accept=(
        "target-rows:parents=source", "target-rows:children=target"))  # fmt: skip
    assert isinstance(service.error, HazardsNotAccepted)
    assert "rows-stranded in children (2)" in str(service.error)
    assert await oracle.dump(target) == before
    # Both go.
    accept = ("target-rows:parents=source", "target-rows:children=source")
    assert (await moved(source, target, accept=accept)).error is None


async def test_a_database_is_not_moved_onto_itself(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    url = f"sqlite:///{source}" if engine == "sqlite" else fresh_database(engine)
    before = await oracle.dump(url)
    service = await moved(url, url)
    assert isinstance(service.error, Refused)
    assert "same database" in str(service.error)
    assert await oracle.dump(url) == before


# --- what is refused ----------------------------------------------------------------------------------------

T = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER);"
REFUSALS = {
    "a NUL in a text": (
        T + "INSERT INTO t VALUES (1, 'a' || char(0) || 'b', 1)", "", "nul-in-text in t.v (1)"),
    "a text that is not UTF-8": (
        T + "INSERT INTO t VALUES (1, CAST(x'ff41' AS TEXT), 1)", "", "invalid-utf8 in t.v (1)"),
    "a text too long": (
        T + "INSERT INTO t VALUES (1, 'four', 1)",
        "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(3), n bigint)", "value-too-large in t.v (1)"),
    "a number too large": (
        T + "INSERT INTO t VALUES (1, 'x', 3000000000)",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text, n integer)", "value-too-large in t.n (1)"),
    "NULL where it may not be": (
        T + "INSERT INTO t VALUES (1, NULL, 1)",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text NOT NULL, n bigint)", "null-not-allowed in t.v (1)"),
    "a word for a number": (
        T + "INSERT INTO t VALUES (1, 'x', 'lots')",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text, n bigint)", "value-not-convertible in t.n (1)"),
    "rows of the target's own": (
        T + "INSERT INTO t VALUES (1, 'x', 1)",
        "CREATE TABLE t (id bigint PRIMARY KEY, v text, n bigint); INSERT INTO t VALUES (9, 'mine', 9)",
        "target-rows in t (1)"),
    "a column nobody fills": (
        T, "CREATE TABLE t (id bigint PRIMARY KEY, v text, n bigint, must text NOT NULL)",
        "column-without-source in t.must"),
    "a column that would be lost": (
        T, "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "column-left-behind in t.n"),
    "more than a sentence holds": (
        """CREATE TABLE t (a TEXT, b TEXT, c TEXT, d TEXT, e TEXT);
        INSERT INTO t VALUES (char(0), char(0), char(0), char(0), char(0))""", "", "and 2 more"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS, ids=str)
async def test_a_refusal_says_why_and_leaves_the_target_untouched(
    case: str, tmp_path: Path, postgresql_url: str
) -> None:
    script, there, why = REFUSALS[case]
    source = made(tmp_path / "source.db", script)
    digest = source.read_bytes()
    await oracle.run(postgresql_url, there)
    before = await oracle.dump(postgresql_url)
    service = await moved(source, postgresql_url)
    assert isinstance(service.error, HazardsNotAccepted)
    assert service.error.exit_code == 3
    assert why in str(service.error)
    assert "Nothing was touched" in str(service.error)
    assert await oracle.dump(postgresql_url) == before
    assert source.read_bytes() == digest


@pytest.mark.parametrize(
    "case", ["rows of the target's own", "a column nobody fills", "a column that would be lost"]
)
async def test_a_refusal_leaves_a_file_untouched(case: str, tmp_path: Path) -> None:
    script, there, why = REFUSALS[case]
    source, target = made(tmp_path / "source.db", script), made(tmp_path / "target.db", there)
    before, files = target.read_bytes(), sorted(tmp_path.iterdir())
    service = await moved(source, target)
    assert isinstance(service.error, HazardsNotAccepted)
    assert why in str(service.error)
    assert target.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == files


async def test_a_refusal_leaves_no_new_file(tmp_path: Path) -> None:
    source = made(tmp_path / "source.db", "CREATE VIRTUAL TABLE found USING fts5(words)")
    service = await moved(source, tmp_path / "target.db")
    assert isinstance(service.error, HazardsNotAccepted)
    assert [path.name for path in tmp_path.iterdir()] == ["source.db"]


@asynccontextmanager
async def role(url: str, *grants: str) -> AsyncIterator[str]:
    """Give the URL of a role that may do only this much."""
    name = f"narrow_{make_url(url).database}"
    await oracle.run(
        url, f"CREATE ROLE {name} LOGIN PASSWORD 'narrow'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    )
    try:
        await oracle.run(url, ";".join(f"GRANT {grant} TO {name}" for grant in grants) or "SELECT")
        yield make_url(url).set(username=name, password="narrow").render_as_string(hide_password=False)
    finally:
        await oracle.run(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_a_role_that_may_not_create_is_refused(source: Path, postgresql_url: str) -> None:
    async with role(postgresql_url) as narrow:
        before = await oracle.dump(postgresql_url)
        service = await moved(source, narrow)
        assert isinstance(service.error, TargetUnusable)
        assert "permission" in str(service.error)
        assert await oracle.dump(postgresql_url) == before


async def test_a_role_without_special_rights_moves_and_undoes_all_the_same(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = made(tmp_path / "source.db", """
        CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id), size INTEGER);
        INSERT INTO parents VALUES (1, 'a'), (2, 'b');
        INSERT INTO children VALUES (1, 1, 5), (2, 2, 500);
    """)  # fmt: skip
    async with role(postgresql_url, "CREATE, USAGE ON SCHEMA public") as narrow:
        await oracle.run(narrow, """
            CREATE TABLE parents (id bigint PRIMARY KEY, name text);
            CREATE TABLE children (
                id bigint PRIMARY KEY, parent bigint REFERENCES parents (id), size bigint CHECK (size < 100));
        """)  # fmt: skip
        before = await oracle.dump(postgresql_url)
        service = await moved(source, narrow)
        assert isinstance(service.error, RolledBack)
        assert await oracle.dump(postgresql_url) == before
        await oracle.run(narrow, "ALTER TABLE children DROP CONSTRAINT children_size_check")
        assert (await moved(source, narrow)).error is None


async def test_a_second_migration_into_the_same_target_is_locked_out(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    second: list[DataMigrationService] = []

    def begin_another(step: Step) -> None:
        if step.phase == "copy" and not second:
            # In a thread with a loop of its own, while the first stands still in the middle of its copy.
            asyncio.get_running_loop()
            second.append(in_a_thread(moved(source, target)))

    first = await moved(source, target, progress=begin_another)
    assert first.error is None
    assert isinstance(second[0].error, TargetLocked)
    assert second[0].error.exit_code == 3


def in_a_thread(work: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


# --- what is put back ---------------------------------------------------------------------------------------

OWN = {
    "postgresql": """
        CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, n bigint {rule});
        CREATE TABLE a_first (id bigserial PRIMARY KEY, v text);
        INSERT INTO t (v, n) VALUES ('mine', 1), ('mine too', 2);
        DELETE FROM t WHERE id = 2;
        INSERT INTO a_first (v) VALUES ('kept');
        CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'fired'; END $$ LANGUAGE plpgsql;
        CREATE TRIGGER loud BEFORE INSERT OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION refuse();
    """,
    "sqlite": """
        CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT, n INTEGER {rule});
        CREATE TABLE a_first (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
        INSERT INTO t (v, n) VALUES ('mine', 1), ('mine too', 2);
        DELETE FROM t WHERE id = 2;
        INSERT INTO a_first (v) VALUES ('kept');
        CREATE TRIGGER loud BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'fired'); END;
    """,
    "mariadb": """
        CREATE TABLE t (id bigint AUTO_INCREMENT PRIMARY KEY, v longtext, n bigint {rule});
        CREATE TABLE a_first (id bigint AUTO_INCREMENT PRIMARY KEY, v longtext);
        INSERT INTO t (v, n) VALUES ('mine', 1), ('mine too', 2);
        DELETE FROM t WHERE id = 2;
        INSERT INTO a_first (v) VALUES ('kept');
        CREATE TRIGGER loud BEFORE INSERT ON t FOR EACH ROW
            SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'fired';
    """,
}
COMING = """
    CREATE TABLE a_first (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER);
    CREATE TABLE z_new (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT UNIQUE, t_id INTEGER REFERENCES t (id));
    CREATE VIEW joined AS SELECT t.id, z_new.v FROM t JOIN z_new ON z_new.t_id = t.id;
    INSERT INTO a_first VALUES (1, 'a'), (2, 'b');
    INSERT INTO t VALUES (1, 'x', 5), (2, 'y', 5);
    INSERT INTO z_new VALUES (1, 'z', 1);
"""
WINNERS = ("target-rows:t=source", "target-rows:a_first=source")
RULES = {
    "a check": "CHECK (n < 5)",
    # Which values of such a column are equal is known only to the target.
    "a rule of what is computed": ", twice bigint GENERATED ALWAYS AS (n * 2) STORED UNIQUE",
}
UNRULED = {
    "postgresql": "ALTER TABLE t DROP CONSTRAINT IF EXISTS t_n_check, DROP COLUMN IF EXISTS twice",
    "mariadb": "ALTER TABLE t MODIFY n bigint, DROP COLUMN IF EXISTS twice",
}
"""What takes the rules away again, where a table can be altered."""


async def failing(tmp_path: Path, target: str, rule: str) -> Path:
    """Prepare a target with rows of its own and a rule that the source breaks."""
    await oracle.run(target, OWN[oracle.engine_of(target)].format(rule=rule))
    return made(tmp_path / "coming.db", COMING)


@pytest.mark.parametrize("rule", RULES, ids=str)
async def test_a_failure_after_writing_puts_everything_back(
    rule: str, tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    source = await failing(tmp_path, target, RULES[rule])
    before = await oracle.dump(target)
    service = await moved(source, target, accept=WINNERS)
    assert isinstance(service.error, RolledBack), service.error
    assert service.error.exit_code == 5
    assert "put back as it was, which was verified" in str(service.error)
    assert "source" not in service.error.where
    assert await oracle.dump(target) == before
    # Nothing stands in the way of the next attempt.
    if engine in UNRULED:
        await oracle.run(target, UNRULED[engine])
        assert (await moved(source, target, accept=WINNERS)).error is None
        assert await oracle.rows(target, "SELECT id, v, n FROM t ORDER BY id") == [(1, "x", 5), (2, "y", 5)]


async def test_a_failure_into_a_new_schema_leaves_it_empty(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = fresh_database(engine)
    before = await oracle.dump(target)

    async def damage_and_prove(self: DataMigrationService, *arguments: Any) -> Any:
        await oracle.run(target, "UPDATE customers SET city = 'elsewhere' WHERE id = 5")
        return await prove(self, *arguments)

    prove = DataMigrationService._prove
    monkeypatch.setattr(DataMigrationService, "_prove", damage_and_prove)
    service = await moved(source, target)
    assert isinstance(service.error, RolledBack)
    assert "changed value in customers.city [id=5]" in str(service.error)
    assert service.report is not None
    assert service.report.verdict == "differs"
    assert await oracle.dump(target) == before


async def test_an_unforeseen_error_is_undone_like_any_other(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = fresh_database(engine)

    async def stumble(*_: object) -> None:
        raise ZeroDivisionError("nobody thought of that")

    monkeypatch.setattr(DataMigrationService, "_finish", stumble)
    service = await moved(source, target)
    assert isinstance(service.error, RolledBack)
    assert "ZeroDivisionError: nobody thought of that" in str(service.error)
    async with open_database(target) as database:
        assert (await database.schema()).tables == ()


async def test_what_somebody_else_makes_meanwhile_is_told_not_hidden(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    source = await failing(tmp_path, target, "CHECK (n < 5)")
    before = await oracle.dump(target)
    done: list[Step] = []

    def intrude(step: Step) -> None:
        if step.phase == "copy" and not done:
            done.append(step)
            in_a_thread(oracle.run(target, "CREATE TABLE intruder (id integer)"))

    service = await moved(source, target, accept=WINNERS, progress=intrude)
    assert isinstance(service.error, RollbackFailed)
    assert service.error.exit_code == 6
    assert "the schema other than before" in str(service.error)
    assert "CHECK" in str(service.error) or "check" in str(service.error)
    # Nobody is left alone with that: once the cause is gone, undoing is verified.
    await oracle.run(target, "DROP TABLE intruder")
    await taken_back(source, target)
    assert await oracle.dump(target) == before


async def test_rows_that_somebody_else_adds_to_a_table_are_told_by_the_next_number(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await failing(tmp_path, postgresql_url, "CHECK (n < 5)")

    async def intrude(target: Any) -> list[str]:
        # Between undoing and looking nobody can be; so the numbers are changed while rows are looked at.
        monkeypatch.setattr(target.backend, "set_next_number", nothing)
        await oracle.run(postgresql_url, "SELECT setval('a_first_id_seq', 77)")
        return await undo(target)

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(rollback_module, "undo", intrude)
    service = await moved(source, postgresql_url, accept=WINNERS)
    assert isinstance(service.error, RollbackFailed)
    assert "the next number of a_first" in str(service.error)


async def test_undoing_that_the_target_refuses_is_a_failed_rollback(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = await failing(tmp_path, postgresql_url, "CHECK (n < 5)")
    before = await oracle.dump(postgresql_url)
    done: list[Step] = []

    def intrude(step: Step) -> None:
        if step.phase == "copy" and not done:
            done.append(step)
            in_a_thread(oracle.run(postgresql_url, "CREATE VIEW intruder AS SELECT * FROM z_new"))

    service = await moved(source, postgresql_url, accept=WINNERS, progress=intrude)
    assert isinstance(service.error, RollbackFailed), service.error
    assert "could not be undone" in str(service.error)
    again = await moved(source, postgresql_url, accept=WINNERS, resume=True)
    assert isinstance(again.error, Refused)
    assert "was being undone" in str(again.error)
    await oracle.run(postgresql_url, "DROP VIEW intruder")
    await taken_back(source, postgresql_url)
    assert await oracle.dump(postgresql_url) == before


async def test_a_target_that_is_gone_keeps_its_state_and_is_gone_on_with(
    reference: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 100, 20_000)
    accept = ("trigger-not-carried",)
    async with line_to(postgresql_url) as (line, through):

        def cut(step: Step) -> None:
            if step.phase == "copy" and step.table == "messages" and step.done >= 300:
                line.cut()

        service = await moved(reference, through, accept=accept, progress=cut)
        assert isinstance(service.error, Stopped), service.error
        assert service.error.exit_code == 4
        assert "could not be undone" in str(service.error)
        assert "--resume" in service.error.next_step
        line.mend()
        # What was undone stays undone; what was not is gone on with.
        resumed = await moved(reference, through, accept=accept, resume=True)
    assert resumed.error is None
    await assert_same_application(reference, postgresql_url)


async def test_a_proof_that_could_not_look_is_told_from_one_that_found_something(
    source: Path, postgresql_url: str
) -> None:
    cuts: list[Step] = []
    async with line_to(postgresql_url) as (line, through):

        def cut(step: Step) -> None:
            if step.phase == "prove target" and not cuts:
                cuts.append(step)
                line.cut()
                line.mend()

        service = await moved(source, through, progress=cut)
    # The lock was lost with the line, so nothing is undone: somebody else could be at work by now.
    assert isinstance(service.error, LockLost)
    assert "could not be proved" in str(service.error)
    assert "not equal" not in str(service.error)
    assert service.report is not None
    assert service.report.verdict == "could not look"
    assert (await moved(source, postgresql_url, resume=True)).error is None


async def test_a_connection_that_is_lost_while_the_target_is_asked_is_no_refusal_of_anything(
    source: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with line_to(postgresql_url) as (line, through):

        async def cut(*_: object) -> None:
            line.cut()

        # What is asked first comes after this.
        monkeypatch.setattr(trial_module, "drop_new", cut)
        service = await moved(source, through)
    assert isinstance(service.error, TargetUnusable)
    assert service.plan is None


# --- what is written down -----------------------------------------------------------------------------------


async def test_the_audit_log_tells_the_whole_story_and_ends_with_the_proof(
    source: Path, tmp_path: Path
) -> None:
    audit = tmp_path / "audit.jsonl"
    service = await moved(
        source, tmp_path / "target.db", audit_path=audit, backup_folder=tmp_path / "backups"
    )
    assert service.error is None
    reading = await read_audit(audit)
    assert reading.is_whole
    names = [event.name for event in reading.events]
    assert names == ["opened", "plan", "backup", "prepared", "copied", "finished", "proof", "made", "proved"]
    assert [entry["message"] for entry in service.migration_log] == names
    assert audit.stat().st_mode & 0o777 == 0o600


async def test_backups_are_made_of_both_sides_before_anything_is_written(
    source: Path, handwritten: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    seen: list[int] = []

    def look(step: Step) -> None:
        if step.phase == "copy":
            seen.append(len(list(folder.glob("*/*.manifest.json"))))

    service = await moved(source, handwritten, backup_folder=folder, progress=look, accept_all=True)
    assert service.error is None
    assert set(seen) == {2}


async def test_a_backup_that_cannot_be_made_refuses_with_nothing_touched(
    source: Path, postgresql_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    before = await oracle.dump(postgresql_url)
    service = await moved(source, postgresql_url, backup_folder=tmp_path / "file" / "backups")
    assert isinstance(service.error, Refused)
    assert "backup cannot be written" in str(service.error)
    assert await oracle.dump(postgresql_url) == before


@pytest.mark.parametrize("phase", ["copy", "prove target"])
async def test_a_log_that_cannot_be_written_stops_the_job_with_its_state_kept(
    source: Path, tmp_path: Path, phase: str, fresh_database: FreshDatabase, engine: str
) -> None:
    audit, target = tmp_path / "audit.jsonl", fresh_database(engine)

    def replace(step: Step) -> None:
        if step.phase == phase and audit.exists():
            audit.unlink()

    service = await moved(source, target, audit_path=audit, progress=replace)
    assert isinstance(service.error, Stopped)
    assert "audit log" in str(service.error)
    assert "--resume" in service.error.next_step
    resumed = await moved(source, target, audit_path=tmp_path / "other.jsonl", resume=True)
    assert resumed.error is None


@pytest.mark.parametrize("event", ["prepared", "undoing", "undone", "proved"])
async def test_a_log_that_fails_at_any_event_never_ends_as_nothing_touched(
    event: str, tmp_path: Path, postgresql_url: str
) -> None:
    rule = "" if event in ("prepared", "proved") else "CHECK (n < 5)"
    source = await failing(tmp_path, postgresql_url, rule)
    async with open_database(source, is_source=True) as ours, open_database(postgresql_url) as theirs:
        service = DataMigrationService(ours, theirs, options=Options(accept=WINNERS))
        write = service._log

        async def fail(name: str, **details: Any) -> None:
            if name == event:
                raise AuditUnusable("The audit log cannot be written")
            await write(name, **details)

        service._log = service._journal.write = fail  # type: ignore[method-assign]
        assert not await service.migrate_data()
    assert isinstance(service.error, Stopped)
    if event == "undone":
        # It was undone, and proved to be; only the log does not say so.
        with pytest.raises(Refused, match="nothing to undo"):
            await taken_back(source, postgresql_url)
    else:
        await taken_back(source, postgresql_url)
    assert await oracle.rows(postgresql_url, "SELECT v FROM t") == [("mine",)]


async def test_no_secret_is_in_the_log(source: Path, postgresql_url: str, tmp_path: Path) -> None:
    password = "p@ss:w/o%rd-1"
    name = f"secretive_{make_url(postgresql_url).database}"
    await oracle.run(postgresql_url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}' SUPERUSER")
    try:
        target = (
            make_url(postgresql_url)
            .set(username=name, password=password)
            .render_as_string(hide_password=False)
        )
        service = await moved(source, target, audit_path=tmp_path / "audit.jsonl")
        assert service.error is None
        service.save_migration_log(tmp_path / "log.json")
        again = await moved(source, target, resume=True, audit_path=tmp_path / "audit.jsonl")
        assert again.error is not None
    finally:
        await oracle.run(postgresql_url, f"DROP OWNED BY {name}; DROP ROLE {name}")
    for file in ("audit.jsonl", "log.json"):
        text = (tmp_path / file).read_text()
        assert name in text
        for spelling in (password, "p%40ss", "w%2Fo", "%25rd", "ss:w"):
            assert spelling not in text


async def test_details_that_no_json_can_hold_are_written_nevertheless(source: Path, tmp_path: Path) -> None:
    service = await moved(source, tmp_path / "target.db")
    service.save_migration_log(tmp_path / "log.json")
    entries = json.loads((tmp_path / "log.json").read_text())
    assert [set(entry) for entry in entries] == [{"timestamp", "message", "details"}] * len(entries)
    assert datetime.fromisoformat(entries[0]["timestamp"]).tzinfo is not None
