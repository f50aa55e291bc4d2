"""A migration that has come to its end is undone on demand, as long as nobody else has written to the target.

Whether the target is what it was, is told by its engine's own dump.
"""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import copy
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from migration import DataMigrationService, MigrationError, Options, RollbackFailed, open_database
from migration import from_backup as from_backup_module
from migration import rollback as rollback_module
from migration import undo as undo_module
from migration.audit import Audit, Event, read_audit
from migration.backup import make_backup
from migration.clock import now
from migration.commands import loaded
from migration.errors import AuditUnusable, LockLost, Refused, Rejected
from migration.journal import Journal
from migration.made import MADE
from migration.model import fingerprint
from migration.rollback import Rollback
from tests import oracle
from tests.conftest import FreshDatabase
from tests.death import Death, Killed
from tests.moving import made, moved

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60

COMING = """
    CREATE TABLE full_one (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE vacant (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT, full_id INTEGER);
    CREATE TABLE kept (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE fresh (
        id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT UNIQUE, full_id INTEGER REFERENCES full_one (id),
        up INTEGER REFERENCES fresh (id));
    CREATE INDEX fresh_by_v ON fresh (v, id);
    CREATE VIEW seen AS SELECT fresh.id, full_one.v FROM fresh JOIN full_one ON full_id = full_one.id;
    INSERT INTO full_one VALUES (2, 'new');
    INSERT INTO vacant VALUES (100, 'in vacant', 2), (101, 'in vacant too', NULL);
    INSERT INTO kept VALUES (1, 'theirs');
    INSERT INTO fresh VALUES (1, 'a', 2, NULL), (2, 'b', NULL, 1);
"""
REFUSED = "INSERT INTO vacant VALUES (102, NULL, NULL)"
# Rows of many kinds that go and must come back, counters beyond their rows, triggers, one switched off.
OWN = {
    "sqlite": """
        CREATE TABLE full_one (
            id INTEGER PRIMARY KEY AUTOINCREMENT, v text, n decimal(10, 4), j json, loose, raw blob,
            twice GENERATED ALWAYS AS (n * 2) STORED);
        INSERT INTO full_one VALUES (1, 'a', 1.50, '{"a":  1}', 1.5, x'00ff'), (2, NULL, 1e300, '', 'b', 7);
        INSERT INTO full_one VALUES (90, CAST(x'66ff' AS TEXT), -1, 'x', x'01', 'text');
        DELETE FROM full_one WHERE id = 90;
        INSERT INTO full_one VALUES (3, CAST(x'66ff' AS TEXT), -1, 'x', x'01', 'text');
        CREATE TABLE vacant (
            id INTEGER PRIMARY KEY AUTOINCREMENT, v text NOT NULL,
            full_id INTEGER REFERENCES full_one (id));
        INSERT INTO vacant VALUES (41, 'gone', NULL);
        DELETE FROM vacant;
        CREATE TABLE kept (id INTEGER PRIMARY KEY, v text);
        INSERT INTO kept VALUES (1, 'ours');
        CREATE TABLE apart (id INTEGER PRIMARY KEY, vacant_id INTEGER REFERENCES vacant (id));
        INSERT INTO apart VALUES (1, NULL);
        CREATE TRIGGER loud BEFORE INSERT ON full_one BEGIN SELECT RAISE(ABORT, 'fired'); END;
    """,
    "postgresql": """
        CREATE TABLE full_one (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, n numeric(10, 4), j jsonb,
            spelled json, at timestamptz, raw bytea, many integer[], d double precision,
            twice numeric GENERATED ALWAYS AS (n * 2) STORED);
        INSERT INTO full_one (v, n, j, spelled, at, raw, many, d) VALUES
            ('a''%:b', 1.50, '{"a": 1}', '{"a":  1, "a": 2}', '2024-01-01 00:00:00.123456+02', '\\x00ff',
             '{1,2}', 'NaN'), (NULL, -1, 'null', NULL, NULL, '', NULL, 1e-320),
            ('', 0, '"x"', '3', NULL, NULL, '{}', 0.1);
        SELECT setval('full_one_id_seq', 90);
        CREATE TABLE vacant (
            id serial PRIMARY KEY, v text NOT NULL, full_id integer REFERENCES full_one (id));
        SELECT setval('vacant_id_seq', 41);
        CREATE TABLE kept (id integer PRIMARY KEY, v text);
        INSERT INTO kept VALUES (1, 'ours');
        CREATE TABLE apart (id integer PRIMARY KEY, vacant_id integer REFERENCES vacant (id));
        INSERT INTO apart VALUES (1, NULL);
        CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fired''; END';
        CREATE TRIGGER loud BEFORE INSERT ON full_one FOR EACH ROW EXECUTE FUNCTION fired();
        CREATE TRIGGER always BEFORE DELETE ON full_one FOR EACH ROW EXECUTE FUNCTION fired();
        CREATE TRIGGER off BEFORE UPDATE ON vacant FOR EACH ROW EXECUTE FUNCTION fired();
        ALTER TABLE full_one ENABLE ALWAYS TRIGGER always;
        ALTER TABLE vacant DISABLE TRIGGER off;
    """,
    "mariadb": """
        CREATE TABLE full_one (
            id bigint PRIMARY KEY AUTO_INCREMENT, v text, n decimal(10, 4), j json, at timestamp(6) NULL,
            raw longblob, choice enum('x', 'y'), d double, bits bit(3),
            twice decimal(12, 4) GENERATED ALWAYS AS (n * 2) STORED);
        INSERT INTO full_one (v, n, j, at, raw, choice, d, bits) VALUES
            ('a''%:b\\\\', 1.50, '{"a":  1}', '2024-01-01 00:00:00.123456', x'00ff', 'x', 1e-300, b'101'),
            (NULL, -1, 'null', NULL, '', NULL, 0.1, NULL), ('', 0, '"x"', NULL, NULL, 'y', NULL, 0);
        ALTER TABLE full_one AUTO_INCREMENT = 91;
        CREATE TABLE vacant (
            id bigint PRIMARY KEY AUTO_INCREMENT, v text NOT NULL, full_id bigint,
            CONSTRAINT to_full FOREIGN KEY (full_id) REFERENCES full_one (id)) AUTO_INCREMENT = 42;
        CREATE TABLE kept (id bigint PRIMARY KEY, v text);
        INSERT INTO kept VALUES (1, 'ours');
        CREATE TABLE apart (
            id bigint PRIMARY KEY, vacant_id bigint,
            CONSTRAINT to_vacant FOREIGN KEY (vacant_id) REFERENCES vacant (id));
        INSERT INTO apart VALUES (1, NULL);
        CREATE TRIGGER loud BEFORE INSERT ON full_one FOR EACH ROW
            SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'fired';
    """,
}
REPLACED = ("target-rows:full_one=source", "target-rows:kept=target")


@dataclass(frozen=True)
class Case:
    """A target with tables of its own, and a source that goes into it."""

    source: Path
    url: str
    folder: Path

    @property
    def audit(self) -> Path:
        return self.folder / "audit.jsonl"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    async def migrated(self, *accept: str, **options: Any) -> str:
        """Migrate, and return what the target was before."""
        before = await oracle.dump(self.url)
        options = {"accept": accept or REPLACED, "audit_path": self.audit, **options}
        service = await moved(self.source, self.url, **options)
        assert service.error is None or isinstance(service.error, Rejected), service.error
        assert await oracle.dump(self.url) != before
        return before

    async def refused(self, match: str, kind: type[MigrationError] = RollbackFailed, **others: Any) -> None:
        """Ask for an undoing, which must be refused with the target as it is."""
        is_now = await oracle.dump(self.url)
        with pytest.raises(kind, match=match) as caught:
            await undone(self.url, **{"audit": self.audit, **others})
        assert caught.value.exit_code == (6 if kind is RollbackFailed else 3)
        assert "Nothing was touched" in str(caught.value)
        assert caught.value.next_step
        assert await oracle.dump(self.url) == is_now


@pytest.fixture
async def case(tmp_path: Path, fresh_database: FreshDatabase, engine: str) -> Case:
    url = fresh_database(engine)
    await oracle.run(url, OWN[engine])
    return Case(made(tmp_path / "coming.db", COMING), url, tmp_path)


async def undone(url: str, audit: Path, backup: Path | None = None) -> None:
    async with open_database(url) as target:
        await Rollback(target, Journal(now, target.secrets), target.secrets).on_demand(
            audit, "undoing", backup
        )


async def beside(url: str) -> list[str]:
    """Return what is left of databases that were made for a while."""
    if oracle.engine_of(url) == "sqlite":
        return [path.name for path in oracle.path_of(url).parent.glob("*scratch*")]
    names = "SELECT datname FROM pg_database" if oracle.engine_of(url) == "postgresql" else "SHOW DATABASES"
    found = [str(name) for (name,) in await oracle.rows(url, names)]
    return [name for name in found if name.startswith(str(make_url(url).database)) and "scratch" in name]


async def leave_behind(url: str) -> None:
    """Leave what a killed undoing would: a database beside the target, and rows put aside in it."""
    await oracle.run(url, "CREATE TABLE migration_bench_saved_3 (id bigint)")
    if oracle.engine_of(url) == "sqlite":
        made(Path(f"{oracle.path_of(url)}.migration-bench-scratch"), "CREATE TABLE half (id INTEGER)")
    else:
        await oracle.run(url, f'CREATE DATABASE "{make_url(url).database}_migration_bench_scratch"')


# --- what is undone -----------------------------------------------------------------------------------------


async def test_what_a_proved_migration_made_and_replaced_is_undone_and_nothing_is_left(case: Case) -> None:
    before = await case.migrated(backup_folder=case.backups)
    await leave_behind(case.url)
    await undone(case.url, case.audit)
    assert await oracle.dump(case.url) == before
    assert await beside(case.url) == []
    reading = await read_audit(case.audit)
    assert reading.is_whole
    assert [event.name for event in reading.events[-3:]] == ["opened", "undoing", "undone"]
    await case.refused("already undone", Refused)
    # The rows that stay, a row that is set aside, and no backup, since nothing is lost: undone all the same.
    await oracle.run(f"sqlite:///{case.source}", REFUSED)
    rejects = case.folder / "rejects.jsonl"
    assert await case.migrated(*KEPT, reject_to=rejects) == before
    assert "rejected" in [event.name for event in (await read_audit(case.audit)).events]
    # What is brought in later is no stranger's.
    rejects.write_text(rejects.read_text().replace('"v": null', '"v": "mended"'))
    assert (await loaded(rejects, case.url, case.audit)).loaded_count == 1
    async with open_database(case.source, is_source=True) as ours, open_database(case.url) as theirs:
        await DataMigrationService(ours, theirs, options=Options(audit_path=case.audit)).take_back()
    assert await oracle.dump(case.url) == before


KEPT = ("target-rows:full_one=target", "target-rows:kept=target")


async def test_a_target_that_was_empty_is_empty_again(
    tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    new = Case(made(tmp_path / "coming.db", COMING), fresh_database(engine), tmp_path)
    before = await new.migrated()
    await undone(new.url, new.audit)
    assert await oracle.dump(new.url) == before


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_role_that_may_do_little_is_told_what_it_lacks_and_undoes_with_that(
    fresh_database: FreshDatabase, engine: str, tmp_path: Path
) -> None:
    owner, role = fresh_database(engine), f"plain_{secrets.token_hex(4)}"
    url = make_url(owner).set(username=role, password="told-to-nobody").render_as_string(hide_password=False)
    await oracle.run(
        owner, f"CREATE ROLE {role} LOGIN PASSWORD 'told-to-nobody'; GRANT ALL ON SCHEMA public TO {role}"
    )
    try:
        await oracle.run(url, OWN[engine].replace("ENABLE ALWAYS", "ENABLE"))
        case = Case(made(tmp_path / "coming.db", COMING), url, tmp_path)
        before = await case.migrated(backup_folder=case.backups)
        await case.refused("This role may not make the database .*_scratch")
        await oracle.run(owner, f"ALTER ROLE {role} CREATEDB")
        # Foreign keys of new tables, which it may not hold back, must not keep the rows they refer to.
        await undone(url, case.audit)
        assert await oracle.dump(url) == before
    finally:
        await oracle.run(owner, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_killed_while_it_is_undone_on_demand_it_is_undone_when_asked_again(
    case: Case, engine: str, death: Death
) -> None:
    before = await case.migrated(backup_folder=case.backups)
    at, deaths = 1, 0
    while True:
        try:
            with death.within(Rollback, "on_demand", at=at):
                await undone(case.url, case.audit)
            break
        except Killed:
            deaths += 1
        # What is done stays done, so each number is another place each time. Where all of it takes part in
        # transactions, most of what lies between two statements is one state.
        at += 2 if engine == "mariadb" else 5
    assert deaths >= 2
    assert await oracle.dump(case.url) == before
    assert await beside(case.url) == []
    await case.refused("already undone", Refused)


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    return Death(monkeypatch)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_the_command_undoes_and_says_so(case: Case) -> None:
    before = await case.migrated(backup_folder=case.backups)
    command = subprocess.run(  # noqa: ASYNC221 - nothing else waits
        [sys.executable, "-m", "migration", "rollback", case.url, "--audit", str(case.audit)],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert command.stdout == "undone: the target is what it was before, which was verified\n", command.stderr
    assert command.returncode == 0
    assert await oracle.dump(case.url) == before


# --- what is refused ----------------------------------------------------------------------------------------

# What others do to a target, and what takes it back.
WRITTEN = {
    "the rows of fresh": (
        "UPDATE fresh SET v = 'other' WHERE id = 1",
        "UPDATE fresh SET v = 'a' WHERE id = 1",
    ),
    "the rows of vacant": (
        "DELETE FROM vacant WHERE id = 101",
        "INSERT INTO vacant VALUES (101, 'in vacant too', NULL)",
    ),
    "the rows of apart": ("INSERT INTO apart VALUES (2, 100)", "DELETE FROM apart WHERE id = 2"),
    "table fresh .altered.": ("ALTER TABLE fresh ADD COLUMN w text", "ALTER TABLE fresh DROP COLUMN w"),
    "table others .new.": (
        "CREATE TABLE others (id bigint, fresh_id bigint, FOREIGN KEY (fresh_id) REFERENCES fresh (id))",
        "DROP TABLE others",
    ),
    "view of_others .new.": ("CREATE VIEW of_others AS SELECT id FROM fresh", "DROP VIEW of_others"),
}
TRIGGER = {
    "sqlite": ("CREATE TRIGGER t1 AFTER INSERT ON fresh BEGIN SELECT 1; END", "DROP TRIGGER t1"),
    "postgresql": (
        "CREATE TRIGGER t1 AFTER INSERT ON fresh FOR EACH ROW EXECUTE FUNCTION fired()",
        "DROP TRIGGER t1 ON fresh",
    ),
    "mariadb": ("CREATE TRIGGER t1 AFTER INSERT ON fresh FOR EACH ROW SET @a = 1", "DROP TRIGGER t1"),
}
NUMBER = {
    "sqlite": "UPDATE sqlite_sequence SET seq = {number} - 1 WHERE name = 'fresh'",
    "postgresql": "SELECT setval('fresh_id_seq', {number}, false)",
    "mariadb": "ALTER TABLE fresh AUTO_INCREMENT = {number}",
}


async def test_what_others_have_written_since_is_kept_and_named(case: Case, engine: str) -> None:
    before = await case.migrated(*KEPT)
    number = [NUMBER[engine].format(number=number) for number in (50, 3)]
    written = WRITTEN | {
        "trigger t1 of fresh .new.": TRIGGER[engine],
        "the next number of fresh": tuple(number),
    }
    is_now = await oracle.dump(case.url)
    for named, (statement, taken_back_by) in written.items():
        await oracle.run(case.url, statement)
        with pytest.raises(RollbackFailed, match=f"others have written to the target: {named}"):
            await undone(case.url, case.audit)
        await oracle.run(case.url, taken_back_by)
    # What each of them did was still there to be taken back, and all the rest is.
    assert await oracle.dump(case.url) == is_now
    await undone(case.url, case.audit)
    assert await oracle.dump(case.url) == before


@asynccontextmanager
async def changed(path: Path, old: bytes, new: bytes) -> AsyncIterator[None]:
    """Change a file, and change it back."""
    was = path.read_bytes()
    assert old in was
    path.write_bytes(was.replace(old, new, 1))
    yield
    path.write_bytes(was)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_log_or_a_backup_that_is_not_what_it_was_undoes_nothing(case: Case, tmp_path: Path) -> None:
    before = await case.migrated(backup_folder=case.backups)
    async with changed(
        case.audit, b'"name":"proved","details":{"rows":', b'"name":"proved","details":{"rows":1'
    ):
        await case.refused("audit log is broken", AuditUnusable)
    await case.refused("tells of no migration into it", Refused, audit=tmp_path / "another.jsonl")
    (backup,) = [path for path in case.backups.rglob("database*") if not path.name.endswith(".json")]
    async with changed(backup, b"SQLite", b"SQLits"):
        await case.refused("backup was altered")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(backup.parent, elsewhere)
    await case.refused("no backup to be read")
    async with open_database(case.url) as target:
        other = (await make_backup(target, tmp_path / "others", now)).path
    await case.refused("not the one that the migration has made", backup=other)
    await undone(case.url, case.audit, backup=elsewhere / backup.name)
    assert await oracle.dump(case.url) == before


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_another_database_of_the_same_name_is_noticed(case: Case, engine: str) -> None:
    await case.migrated(*KEPT)
    if engine == "sqlite":
        path = oracle.path_of(case.url)
        path.rename(path.with_suffix(".old"))
        made(path, OWN["sqlite"])
    else:
        name = make_url(case.url).database
        server = make_url(case.url).set(database="postgres").render_as_string(hide_password=False)
        await oracle.run(server, f'DROP DATABASE "{name}" WITH (FORCE)')
        await oracle.run(server, f'CREATE DATABASE "{name}"')
    await case.refused("another database of this name", Refused)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_rows_that_were_replaced_without_a_backup_stay_replaced(case: Case) -> None:
    await case.migrated()
    await case.refused("replaced rows of full_one, and was run without --backup")


async def retold(events: tuple[Event, ...], path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a log anew, its chain whole, in which what was made is told otherwise."""
    events = copy.deepcopy(events)
    async with await Audit.open(path, clock=now, run=events[0].run) as log:
        for event in events:
            if event.name == MADE:
                change(event.details)
            await log.write(event.name, **event.details)
    return path


def blot_out_a_table(details: dict[str, Any]) -> None:
    details["left"]["***"] = details["left"].pop("fresh")


def blot_out_the_database(details: dict[str, Any]) -> None:
    details["database"] = details["target"] = "***"


def write_as_another_version(details: dict[str, Any]) -> None:
    del details["seal"]
    for row in details["checkpoints"]:
        row["colour"] = "none"
    details["seal"] = fingerprint(details)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_log_that_does_not_tell_all_of_it_undoes_nothing(case: Case) -> None:
    before = await case.migrated(*KEPT)
    events = (await read_audit(case.audit)).events
    for change in (blot_out_a_table, blot_out_the_database, write_as_another_version):
        audit = await retold(events, case.folder / f"{change.__name__}.jsonl", change)
        await case.refused("its audit log does not tell all of it", audit=audit)
        assert (await read_audit(audit)).is_whole
    # What is told as it was can be undone.
    audit = await retold(events, case.folder / "same.jsonl", lambda _: None)
    await undone(case.url, audit)
    assert await oracle.dump(case.url) == before


def do_before(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, work: Callable[[], Awaitable[None]]
) -> None:
    """Do something before a step begins."""
    original = getattr(place, name)

    async def intruded(*arguments: Any, **named: Any) -> Any:
        await work()
        return await original(*arguments, **named)

    monkeypatch.setattr(place, name, intruded)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_rows_that_were_written_between_the_backup_and_the_migration_are_noticed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        late = "UPDATE kept SET v = 'late'; UPDATE full_one SET v = 'late' WHERE id = 1"
        do_before(patched, DataMigrationService, "_prepare", lambda: oracle.run(case.url, late))
        await case.migrated(backup_folder=case.backups)
    await case.refused("The backup does not hold the rows of full_one as they were before the migration")
    assert await beside(case.url) == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_a_lock_that_is_lost_while_rows_come_from_the_backup_stops_it_as_it_is(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose() -> None:
        Path(f"{oracle.path_of(case.url)}.migration-lock").unlink()

    was = await case.migrated(backup_folder=case.backups)
    with monkeypatch.context() as patched:
        do_before(patched, from_backup_module, "save_rows", lose)
        with pytest.raises(LockLost, match="somebody has removed the file that is the lock"):
            await undone(case.url, case.audit)
    # Not a word of undoing it: somebody else may be at it.
    assert "undoing" not in [event.name for event in (await read_audit(case.audit)).events]
    await undone(case.url, case.audit)
    assert await oracle.dump(case.url) == was


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_an_undoing_that_cannot_begin_says_that_the_migration_is_still_there(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = await case.migrated(*KEPT)
    for name, module in list(sys.modules.items()):
        if name.startswith("migration.backends.") and hasattr(module, "BUSY_MS"):
            monkeypatch.setattr(module, "BUSY_MS", 100)
    with closing(sqlite3.connect(oracle.path_of(case.url), isolation_level=None)) as other:

        async def hold() -> None:
            other.execute("BEGIN IMMEDIATE")

        with monkeypatch.context() as patched:
            do_before(patched, Rollback, "undo", hold)
            await case.refused("cannot be undone: Another process holds a lock")
        other.execute("ROLLBACK")
    await undone(case.url, case.audit)
    assert await oracle.dump(case.url) == was


# --- canaries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_canary_a_row_that_is_lost_on_its_way_from_the_backup_undoes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = from_backup_module.converted
    await case.migrated(backup_folder=case.backups)
    monkeypatch.setattr(from_backup_module, "converted", lambda *given: converted(*given).slice(1))
    with pytest.raises(RollbackFailed, match="rows of full_one could not be read from the backup unchanged"):
        await undone(case.url, case.audit)
    monkeypatch.setattr(from_backup_module, "converted", converted)
    assert await oracle.rows(case.url, "SELECT v FROM full_one") == [("new",)]
    await undone(case.url, case.audit)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_canary_an_undoing_that_nobody_verifies_is_seen_by_the_dump(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> list[str]:
        return []

    before = await case.migrated(backup_folder=case.backups)
    with monkeypatch.context() as patched:
        patched.setattr(undo_module, "_put_back_rows", nothing)
        with pytest.raises(RollbackFailed, match="the rows of full_one"):
            await undone(case.url, case.audit)
        patched.setattr(undo_module, "changed_since", nothing)
        await undone(case.url, case.audit)
    assert await oracle.dump(case.url) != before


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_canary_what_others_have_written_is_lost_where_nobody_looks(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> list[str]:
        return []

    await case.migrated(*KEPT)
    await oracle.run(case.url, "INSERT INTO vacant VALUES (7, 'of others', NULL)")
    monkeypatch.setattr(rollback_module, "written_since", nothing)
    with pytest.raises(pytest.fail.Exception):
        await case.refused("others have written")
