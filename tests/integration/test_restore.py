"""Backups are restored as a test, in both forms and on every engine; and refused when they must be."""

# ruff: noqa: E501 - scripts of SQL are read by their columns

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from migration import archive, manifest, restoring
from migration.archive import HEADER
from migration.backends import mysql_backup, postgresql_backup
from migration.backup import Wish, make_backup, open_backup, restore_backup
from migration.clock import now
from migration.database import open_database
from migration.errors import Differs, Refused, RollbackFailed, RolledBack, TargetUnusable
from migration.manifest import DUMP, LOGICAL, BackupMade
from migration.progress import Step
from tests import oracle
from tests.conftest import FreshDatabase
from tests.line import PLAIN, Cut, Line
from tests.moving import moved

# What an engine's own copies easily lose, on each of them.
RICH = {
    "sqlite": """
        PRAGMA user_version = 7; PRAGMA application_id = 9;
        CREATE TABLE "odd ""name" (id INTEGER PRIMARY KEY AUTOINCREMENT, x, "r" REAL, n NUMERIC,
            moment TIMESTAMP DEFAULT CURRENT_TIMESTAMP, up REFERENCES "odd ""name", size AS (length(x)) STORED);
        INSERT INTO "odd ""name" (id, x, r, n, moment, up) VALUES (-5, CAST(x'ff00fe' AS TEXT), 1e308, 'abc', 0, NULL),
            (0, x'0001', 5e-324, 12.50, '2024-01-01T00:00:00Z', -5), (900, NULL, NULL, NULL, NULL, 900);
        DELETE FROM "odd ""name" WHERE id = 900;
        CREATE TABLE strictly (k TEXT COLLATE NOCASE PRIMARY KEY, v ANY, CHECK (v <> 'no')) STRICT, WITHOUT ROWID;
        INSERT INTO strictly VALUES ('a', 1), ('b', x'00'), ('c', 'é' || char(0) || '👩');
        CREATE TABLE empty (a, b UNIQUE);
        CREATE UNIQUE INDEX some ON "odd ""name" (n) WHERE n > 1; CREATE INDEX made ON empty (a || b DESC);
        CREATE VIEW seen (one) AS SELECT k FROM strictly; CREATE VIEW again AS SELECT one FROM seen;
        CREATE TRIGGER shout AFTER INSERT ON empty BEGIN UPDATE strictly SET v = 'x%s'; END;
    """,
    "postgresql": """
        CREATE TYPE mood AS ENUM ('glad', 'it''s'); CREATE DOMAIN small AS int DEFAULT 3 CHECK (value < 10);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n := NEW.n; RETURN NEW; END $$;
        CREATE TABLE "odd ""name" (id int GENERATED ALWAYS AS IDENTITY (START 5 MAXVALUE 99), s serial, m mood, d small,
            day date, moment timestamptz(3), n numeric, f real, g float8, j json, b jsonb, raw bytea, many text[],
            span int4range, t text COLLATE "C", size int GENERATED ALWAYS AS (length(t)) STORED, up int,
            EXCLUDE USING gist (span WITH &&)) WITH (fillfactor = 70);
        INSERT INTO "odd ""name" (m, day, moment, n, f, g, j, b, raw, many, span, t) VALUES
            ('it''s', 'infinity', '-infinity', 'NaN', 0.1, '-0', '{"a" : 1,  "a":2}', '{"b": 1}', '\\x00ff', '{a,NULL,"x,y"}',
            '[1,5)', E'\\\\. \\r\\n%s :x é 👩'), ('glad', '0044-03-15 BC', now(), 1e-30, 'Infinity', 5e-324, NULL, NULL,
            '', '{}', 'empty', ''), (NULL, '2024-02-29', NULL, 1.10, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        ALTER TABLE "odd ""name" ADD PRIMARY KEY (id), ADD FOREIGN KEY (up) REFERENCES "odd ""name" DEFERRABLE;
        CREATE UNLOGGED TABLE none (); INSERT INTO none DEFAULT VALUES; INSERT INTO none DEFAULT VALUES;
        CREATE TABLE computed (one int GENERATED ALWAYS AS (1) STORED); INSERT INTO computed DEFAULT VALUES;
        CREATE UNIQUE INDEX few ON "odd ""name" (lower(t) text_pattern_ops DESC NULLS LAST) INCLUDE (n) WHERE id > 5;
        CREATE VIEW zeen AS SELECT id, t FROM "odd ""name"; CREATE VIEW again AS SELECT id FROM zeen;
        CREATE TRIGGER shout BEFORE UPDATE ON "odd ""name" FOR EACH ROW WHEN (OLD.n > 1) EXECUTE FUNCTION touch();
        ALTER TABLE "odd ""name" DISABLE TRIGGER shout; COMMENT ON COLUMN zeen.t IS 'it''s %s';
        ALTER TABLE computed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, REPLICA IDENTITY FULL;
        COMMENT ON CONSTRAINT "odd ""name_up_fkey" ON "odd ""name" IS 'it''s %s';
    """,
    "mariadb": r"""
        CREATE TABLE "odd ""name" (id int AUTO_INCREMENT PRIMARY KEY, text longtext, raw longblob, f float, g double,
            moment timestamp(6) NULL ON UPDATE CURRENT_TIMESTAMP(6), day date, long_time time(2), n decimal(40,20),
            flag bit(3), e enum('a','it''s'), s set('x','y'), j json, place point, yes tinyint(1), up int,
            tight varchar(9) CHARACTER SET latin1, size int AS (CHAR_LENGTH(text)) STORED, KEY part (text(7)),
            FOREIGN KEY (up) REFERENCES "odd ""name" (id)) COMMENT 'it''s %s' AUTO_INCREMENT = 70;
        INSERT INTO "odd ""name" (text, raw, f, g, moment, day, long_time, n, flag, e, s, j, place, yes, tight) VALUES
            ('é \ %s " :x 👩', x'00ff5c27', 16777216, 5e-324, '2024-03-31 01:30:00.000001', '0000-00-00', '-838:59:59',
            1.00000000000000000001, 5, 'it''s', 'x,y', '{"a" : 1}', POINT(1, 2), 2, 'ä'),
            (NULL, '', 0.1, NULL, NULL, '2024-00-00', NULL, NULL, NULL, NULL, '', NULL, NULL, 1, '');
        INSERT INTO "odd ""name" (id, up) VALUES (0, 70);
        CREATE TABLE pieces (a int) PARTITION BY HASH (a) PARTITIONS 3; INSERT INTO pieces VALUES (1), (2), (1);
        CREATE ALGORITHM=MERGE VIEW zeen AS SELECT id, text FROM "odd ""name" WHERE id > 0 WITH CHECK OPTION;
        CREATE VIEW again AS SELECT id FROM zeen;
        CREATE TRIGGER shout BEFORE INSERT ON pieces FOR EACH ROW SET NEW.a = NEW.a % 7;
    """,
}
SMALL = (
    "CREATE TABLE t (id integer PRIMARY KEY, word varchar(20)); INSERT INTO t VALUES (1, 'one'), (2, 'two');"
)


async def backed_up(url: str, folder: Path, *, form: str = DUMP, accept: tuple[str, ...] = ()) -> BackupMade:
    async with open_database(url, is_source=True) as database:
        return await make_backup(database, folder, now, Wish(form == LOGICAL, accept))


async def restored(path: Path, url: str) -> BackupMade:
    async with open_database(url) as database:
        return await restore_backup(path, database)


async def told(url: str) -> str:
    """Write a database as text by its own program, less its name."""
    return (await oracle.dump(url)).replace(str(make_url(url).database), "DATABASE")


@pytest.mark.parametrize("form", [DUMP, LOGICAL])
async def test_what_is_restored_is_what_was_there(
    engine: str, form: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    source, target = fresh_database(engine), fresh_database(engine)
    await oracle.run(source, RICH[engine])
    if form == DUMP and engine == "mariadb":
        # A dump would round it, which the other form does not.
        await oracle.run(source, 'UPDATE "odd ""name" SET f = 0.5')
    before = await told(source)
    before_mask = os.umask(0)
    try:
        made = await backed_up(source, tmp_path / "backups", form=form)
    finally:
        os.umask(before_mask)
    assert (made.form, made.reason, made.lacking, made.written_to) == (form, "", (), ())
    assert {stat.S_IMODE(path.stat().st_mode) for path in (made.path, made.manifest_path)} == {0o600}
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700

    # By the name of its folder.
    assert await restored(made.path.parent, target) == made

    assert await told(target) == before
    assert await told(source) == before


# --- what is not restored ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [DUMP, LOGICAL])
async def test_canary_what_is_not_what_it_was_is_refused_and_nothing_is_touched(
    engine: str, form: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    source, empty, used = (fresh_database(engine) for _ in range(3))
    await oracle.run(source, SMALL)
    await oracle.run(used, "CREATE TABLE mine (a integer)")
    made = await backed_up(source, tmp_path, form=form)
    whole, told_of = made.path.read_bytes(), made.manifest_path.read_bytes()
    before = await oracle.dump(empty), await oracle.dump(used)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    edited = told_of.replace(b'"row_count": 2', b'"row_count": 3')
    assert edited != told_of
    other = await backed_up(source, tmp_path / "other", form=form)
    damages = {
        "is truncated: it has": (whole[:-1], told_of),
        "as long as it was, and its bytes are others": (bytes(flipped), told_of),
        "manifest of the backup was altered": (whole, edited),
        "never proved": (whole, None),
        # That of another one of the same name, which a longer one has.
        "was altered: it has|is foreign: its manifest is that of": (
            whole + b"more",
            other.manifest_path.read_bytes(),
        ),
    }
    for words, (backup, says) in damages.items():
        made.path.write_bytes(backup)
        made.manifest_path.unlink(missing_ok=True)
        if says is not None:
            made.manifest_path.write_bytes(says)
        with pytest.raises(Refused, match=words) as refused:
            await restored(made.path, empty)
        assert refused.value.exit_code == 3
    made.path.write_bytes(whole)
    made.manifest_path.write_bytes(told_of)
    with pytest.raises(Refused, match="empty database, and this one has tables or other things: mine"):
        await restored(made.path, used)
    rehashed(made, engine="another")
    with pytest.raises(Refused, match=f"made by another and cannot be restored to {made.engine}") as refused:
        await restored(made.path, empty)
    assert "migration migrate" in refused.value.next_step
    assert (await oracle.dump(empty), await oracle.dump(used)) == before


def rehashed(made: BackupMade, **changes: Any) -> None:
    """Let a manifest say something else, and make its hash right again."""
    members = json.loads(made.manifest_path.read_text()) | changes
    del members["hash"]
    members["hash"] = manifest.manifest_hash(members)
    made.manifest_path.write_text(json.dumps(members))


async def test_canary_a_restoring_that_loses_a_row_is_told(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = fresh_database(engine), fresh_database(engine)
    await oracle.run(source, SMALL)
    made = await backed_up(source, tmp_path)
    restore = restoring._restore

    async def restore_less(*arguments: Any) -> None:
        await restore(*arguments)
        await oracle.run(target, "UPDATE t SET word = 'onE' WHERE id = 1")

    monkeypatch.setattr(restoring, "_restore", restore_less)
    with pytest.raises(Differs, match="is not as the backup says: the rows of t"):
        await restored(made.path, target)


@pytest.mark.parametrize("form", [DUMP, LOGICAL])
async def test_a_restoring_that_fails_leaves_an_empty_database_or_says_that_it_does_not(
    engine: str, form: str, fresh_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = fresh_database(engine), fresh_database(engine)
    await oracle.run(source, RICH[engine])
    if form == DUMP and engine == "mariadb":
        await oracle.run(source, 'UPDATE "odd ""name" SET f = 0.5')
    made = await backed_up(source, tmp_path, form=form)
    before = await oracle.dump(target)
    restore = restoring._restore

    async def restore_and_fail(*arguments: Any) -> None:
        await restore(*arguments)
        raise Refused("somebody pulled the plug")

    monkeypatch.setattr(restoring, "_restore", restore_and_fail)
    with pytest.raises(RolledBack, match="pulled the plug.*is empty again, which was verified") as failed:
        await restored(made.path, target)
    assert failed.value.exit_code == 5
    assert await oracle.dump(target) == before

    async def restore_beside(*arguments: Any) -> None:
        await restore(*arguments)
        await oracle.run(target, "CREATE TABLE mine (a integer)")
        raise Refused("somebody pulled the plug")

    monkeypatch.setattr(restoring, "_restore", restore_beside)
    with pytest.raises(RollbackFailed, match="could not be emptied again: it still holds mine") as failed:
        await restored(made.path, target)
    assert failed.value.exit_code == 6
    assert await oracle.tables(target) == ["mine"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row_count": 3}, "t has 2 rows and not 3"),
        ({"next_number": 9}, "the next number of t, 3 and not 9"),
    ],
)
async def test_canary_a_restored_table_that_is_not_what_its_backup_says_is_told(
    tmp_path: Path, change: dict[str, int], words: str
) -> None:
    made = await backed_up(await small_file(tmp_path), tmp_path)
    [contents] = json.loads(made.manifest_path.read_text())["contents"]
    rehashed(made, contents=[contents | change])
    with pytest.raises(Differs, match=f"is not as the backup says: {words}"):
        await restored(made.path, f"sqlite:///{tmp_path / 'target.db'}")


async def small_file(folder: Path) -> str:
    """Make a SQLite file of one small table that numbers itself."""
    url = f"sqlite:///{folder / 'source.db'}"
    await oracle.run(url, SMALL.replace("PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"))
    return url


def repacked(made: BackupMade, **changes: Any) -> None:
    """Let the header of an archive say something else, and its manifest agree with the file."""
    with zipfile.ZipFile(made.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[HEADER] = json.dumps(json.loads(members[HEADER]) | changes).encode()
    with zipfile.ZipFile(made.path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    resealed(made)


def resealed(made: BackupMade) -> None:
    """Let a manifest agree with a file that is another now."""
    sha256, byte_count = manifest.measure(made.path)
    rehashed(made, sha256=sha256, byte_count=byte_count)


async def test_canary_an_archive_that_is_none_of_ours_is_not_opened(tmp_path: Path) -> None:
    made = await backed_up(await small_file(tmp_path), tmp_path, form=LOGICAL)
    whole = made.path.read_bytes()
    for changes, words in (
        ({"tables": ["other"]}, "it holds other tables than its manifest says"),
        ({"archive": 2}, "it holds other tables than its manifest says"),
        ({"script": {}}, "'before'"),
    ):
        made.path.write_bytes(whole)
        repacked(made, **changes)
        with pytest.raises(Refused, match=f"The backup is no archive of this program: {words}"):
            async with open_backup(made.path):
                pass
    made.path.write_bytes(b"no archive")
    resealed(made)
    with pytest.raises(Refused, match="The backup is no archive of this program: File is not a zip file"):
        async with open_backup(made.path):
            pass


async def test_canary_a_script_that_never_works_is_told_and_the_database_is_empty_again(
    tmp_path: Path,
) -> None:
    made = await backed_up(await small_file(tmp_path), tmp_path, form=LOGICAL)
    target = f"sqlite:///{tmp_path / 'target.db'}"
    script = {"before": [["CREATE TABLE t (id)"], ["CREATE nothing"]], "after": [], "views": [], "undo": []}
    repacked(made, script=script)
    with pytest.raises(RolledBack, match='"nothing": syntax error.*is empty again, which was verified'):
        await restored(made.path, target)
    assert await oracle.tables(target) == []


async def test_canary_a_server_that_is_gone_halfway_is_told_and_that_something_may_be_left(
    postgresql_url: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    await oracle.run(postgresql_url, f"{SMALL} CREATE TABLE more (a integer)")
    made = await backed_up(postgresql_url, tmp_path, form=LOGICAL)
    target = fresh_database("postgresql")
    there = make_url(target)
    line = Line(str(there.host), int(there.port or 0))
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)

    async def leave() -> None:
        server.close()

    # The first table is made, nobody hears of it, and for the second one there is no server any more.
    line.on_cut = leave
    line.arm(Cut(swallows_commit=True), stays_cut=True)
    url = there.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1]).update_query_dict(
        PLAIN["postgresql"]
    )
    try:
        with pytest.raises(RollbackFailed, match="The database could not be emptied again: ") as failed:
            await restored(made.path, url.render_as_string(hide_password=False))
    finally:
        server.close()
        await line.close()
    assert "The backup is unharmed" in failed.value.done
    assert "Drop the database" in failed.value.next_step
    assert len(await oracle.tables(target)) == 1


async def test_a_restoring_that_is_stopped_leaves_an_empty_database(tmp_path: Path) -> None:
    made = await backed_up(await small_file(tmp_path), tmp_path, form=LOGICAL)
    target, steps = f"sqlite:///{tmp_path / 'target.db'}", []

    def stop(step: Step) -> None:
        steps.append(step)
        restoring_task.cancel()

    async with open_database(target) as database:
        restoring_task = asyncio.create_task(restore_backup(made.path, database, stop))
        with pytest.raises(asyncio.CancelledError):
            await restoring_task
    assert steps == [Step("restore", "t", 2, 2)]
    assert await oracle.tables(target) == []


async def test_canary_a_database_beside_another_that_cannot_be_made_is_told_in_the_servers_words(
    postgresql_url: str,
) -> None:
    beside = f'"{make_url(postgresql_url).database}_migration_bench_scratch"'
    await oracle.run(postgresql_url, f"CREATE DATABASE {beside} IS_TEMPLATE true")
    try:
        async with open_database(postgresql_url) as database:
            with pytest.raises(TargetUnusable, match="cannot drop a template database"):
                async with database.scratch():
                    pass
    finally:
        await oracle.run(postgresql_url, f"ALTER DATABASE {beside} IS_TEMPLATE false")
        await oracle.run(postgresql_url, f"DROP DATABASE {beside}")


# --- what is not made -------------------------------------------------------------------------------------


def migration(
    *arguments: object, limit: int | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own; no file of it may grow beyond so many bytes."""

    def bounded() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    code = f"import sys; {before}\nfrom migration.cli import main; main()"
    # What measures coverage writes a file of its own, which would have no room either.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        preexec_fn=bounded,
        env=None if limit is None else unmeasured,
        capture_output=True,
        text=True,
        check=False,
    )


async def test_a_disk_that_is_full_is_told_and_nothing_is_left_behind(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    source = fresh_database(engine)
    await oracle.run(source, SMALL)
    many = ", ".join(f"({number}, '{os.urandom(10).hex()}')" for number in range(3, 12_000))
    await oracle.run(source, f"INSERT INTO t VALUES {many}")
    for options in ((), ("--logical",)) if engine == "sqlite" else ((),):
        ended = migration("backup", source, tmp_path / "backups", *options, limit=64 * 1024)
        assert ended.returncode == 3, ended.stderr
        assert "Traceback" not in ended.stderr
        assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize(("engine", "form"), [("mariadb", DUMP), ("sqlite", LOGICAL)])
async def test_canary_a_file_that_may_not_grow_is_no_fault_of_the_database(
    engine: str, form: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    source = fresh_database(engine)
    rows = ", ".join(f"('{os.urandom(30_000).hex()}')" for _ in range(4))
    await oracle.run(source, f"CREATE TABLE t (content text); INSERT INTO t VALUES {rows}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        with pytest.raises(Refused, match="The backup cannot be written: File too large.*Make room"):
            await backed_up(source, tmp_path / "backups", form=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_canary_an_archive_that_lacks_a_row_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await small_file(tmp_path)
    write = archive._Writer.write
    monkeypatch.setattr(archive._Writer, "write", lambda self, batch: write(self, batch.slice(1)))
    with pytest.raises(Refused, match="What was written is not what was read: t has 1 rows and not 2"):
        await backed_up(source, tmp_path / "backups", form=LOGICAL)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_canary_tables_that_are_changed_meanwhile_make_no_backup(tmp_path: Path) -> None:
    source = await small_file(tmp_path)

    def change(step: Step) -> None:
        if step.phase == "prove":
            with closing(sqlite3.connect(tmp_path / "source.db")) as file:
                file.execute("CREATE TABLE IF NOT EXISTS more (a)")

    async with open_database(source, is_source=True) as database:
        with pytest.raises(Refused, match="The schema was changed while it was backed up"):
            await make_backup(database, tmp_path / "backups", now, Wish(logical=True), change)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_backup_that_was_killed_is_none(tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path / 'source.db'}"
    await oracle.run(source, SMALL)
    # At the last moment: all is written and read again, and only the manifest is missing.
    killer = "import os; from migration import manifest; manifest.write_manifest = lambda _: os.kill(os.getpid(), 9)"
    ended = migration("backup", source, tmp_path / "backups", before=killer)
    assert ended.returncode == -signal.SIGKILL
    [folder] = (tmp_path / "backups").iterdir()
    [file] = folder.iterdir()
    for path, words in ((folder, "holds no backup"), (file, "was never proved")):
        with pytest.raises(Refused, match=words):
            await restored(path, f"sqlite:///{tmp_path / 'target.db'}")


async def test_the_commands_say_what_they_did_and_a_folder_must_be_writable(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    await oracle.run(f"sqlite:///{source}", SMALL)
    made = migration("backup", source, tmp_path / "backups", "--json")
    assert made.returncode == 0, made.stderr
    data = json.loads(made.stdout)
    assert (data["form"], data["rows"], [table["rows"] for table in data["tables"]]) == (DUMP, 2, [2])
    back = migration("restore", data["path"], tmp_path / "target.db")
    assert back.returncode == 0, back.stderr
    assert "2 rows in 1 table: restored and read back; digests, numbers and schema are equal" in back.stdout
    assert await oracle.dump(f"sqlite:///{source}") == await oracle.dump(
        f"sqlite:///{tmp_path / 'target.db'}"
    )
    with pytest.raises(Refused, match="The backup cannot be written"):
        await backed_up(f"sqlite:///{source}", Path("/proc/backups"))


# --- without programs -------------------------------------------------------------------------------------


@pytest.fixture
def without_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(mysql_backup, "USUAL_FOLDERS", ())
    monkeypatch.setattr(postgresql_backup, "_programs", lambda _: [])


MISSING = {
    "postgresql": "PostgreSQL's program pg_dump, version",
    "mariadb": "one of these programs: mariadb-dump",
}
LACKING = {
    "postgresql": ("CREATE MATERIALIZED VIEW held AS SELECT 1 AS a", "materialised view held"),
    "mariadb": ("CREATE PROCEDURE held() SELECT 1", "procedure held"),
}


@pytest.mark.parametrize("engine", MISSING)
async def test_without_programs_a_backup_is_of_the_other_form_or_it_says_what_to_install(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, target, other = (fresh_database(engine) for _ in range(3))
    await oracle.run(source, SMALL)
    before = await told(source)
    script, thing = LACKING[engine]
    with pytest.MonkeyPatch.context():
        request.getfixturevalue("without_programs")
        made = await backed_up(source, tmp_path / "a")
        service = await moved(source, target, backup_folder=tmp_path / "b")
        await oracle.run(source, script)
        with pytest.raises(Refused, match=f"{MISSING[engine]}.*own backup would lack the {thing}") as refused:
            await backed_up(source, tmp_path / "c")
        lean = await backed_up(source, tmp_path / "d", accept=("not-in-backup:held",))
        await restored(lean.path, other)
    assert made.form == LOGICAL
    assert MISSING[engine] in made.reason
    [event] = [entry["details"] for entry in service.migration_log if entry["message"] == "backup"]
    assert (event["form"], event["reason"]) == (LOGICAL, made.reason)
    assert "Install" in refused.value.next_step
    assert "--accept not-in-backup:held" in refused.value.next_step
    assert list((tmp_path / "c").iterdir()) == []
    assert lean.lacking == (thing,)
    request.getfixturevalue("monkeypatch").undo()
    assert await told(other) == before


async def test_an_old_program_is_not_used(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oracle.run(postgresql_url, SMALL)
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o700)
    monkeypatch.setattr(postgresql_backup, "_programs", lambda _: [old])
    made = await backed_up(postgresql_url, tmp_path / "backups")
    assert made.form == LOGICAL
    assert made.reason.endswith("found: 9")


async def test_a_dump_that_no_program_can_read_again_is_not_kept(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oracle.run(postgresql_url, SMALL)
    programs = postgresql_backup._programs
    monkeypatch.setattr(
        postgresql_backup, "_programs", lambda name: programs(name) if name == "pg_dump" else []
    )
    made = await backed_up(postgresql_url, tmp_path)
    assert made.form == LOGICAL
    assert "PostgreSQL's program pg_restore" in made.reason
    assert set(made.path.parent.iterdir()) == {made.path, made.manifest_path}


async def test_a_program_that_cannot_be_run_is_no_file_that_cannot_be_written(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oracle.run(postgresql_url, SMALL)
    damaged = tmp_path / "pg_dump"
    damaged.write_bytes(b"\0")
    damaged.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Refused, match="Exec format error") as refused:
        await backed_up(postgresql_url, tmp_path / "backups")
    assert "cannot be written" not in refused.value.what
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_trigger_in_other_characters_is_only_left_out_by_name(
    mariadb_url: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    trigger = "CREATE TRIGGER old BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id + 1"
    await oracle.run(mariadb_url, f"{SMALL} SET NAMES latin1; {trigger}")
    words = r"would lack the trigger old \(it is written in latin1\)"
    with pytest.raises(Refused, match=words) as refused:
        await backed_up(mariadb_url, tmp_path / "a", form=LOGICAL)
    assert "--accept not-in-backup:old" in refused.value.next_step
    made = await backed_up(mariadb_url, tmp_path / "b", form=LOGICAL, accept=("not-in-backup:old",))
    assert made.lacking == ("trigger old",)
    other = fresh_database("mariadb")
    await restored(made.path, other)
    assert await oracle.rows(other, "SELECT id, word FROM t ORDER BY id") == [(1, "one"), (2, "two")]
    assert await oracle.rows(other, "SHOW TRIGGERS") == []


async def test_numbers_that_a_dump_would_round_are_kept_by_the_other_form(
    mariadb_url: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    await oracle.run(mariadb_url, "CREATE TABLE t (f float); INSERT INTO t VALUES (16777216)")
    made = await backed_up(mariadb_url, tmp_path)
    assert (made.form, made.reason) == (LOGICAL, "A dump would round f, of type float, to six digits")
    other = fresh_database("mariadb")
    await restored(made.path, other)
    assert await oracle.rows(other, "SELECT f = 16777216 FROM t") == [(1,)]
    await oracle.run(mariadb_url, "CREATE TABLE moving (a int) ENGINE=MyISAM")
    for form in (DUMP, LOGICAL):
        with pytest.raises(Refused, match="MyISAM has no transactions"):
            await backed_up(mariadb_url, tmp_path / form, form=form)


# --- of one moment ----------------------------------------------------------------------------------------


async def test_what_is_written_meanwhile_is_not_claimed_to_be_known(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = fresh_database(engine), fresh_database(engine)
    await oracle.run(source, SMALL)
    async with open_database(source, is_source=True) as database:
        write = database.backend.backup

        async def write_meanwhile(*arguments: Any) -> Path:
            path = await write(*arguments)
            await oracle.run(source, "INSERT INTO t VALUES (3, 'three')")
            return path

        monkeypatch.setattr(database.backend, "backup", write_meanwhile)
        made = await make_backup(database, tmp_path, now)
    # Only one of them has no snapshot that its program could share, and is no file that could be read.
    is_unknown = engine == "mariadb"
    assert made.written_to == (("t",) if is_unknown else ())
    assert made.contents["t"].row_count == (None if is_unknown else 2)
    await restored(made.path, target)
    assert await oracle.rows(target, "SELECT count(*) FROM t") == [(2,)]


async def test_a_backup_can_be_read_without_restoring_it(
    engine: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    source = fresh_database(engine)
    await oracle.run(source, SMALL)
    for form in (DUMP, LOGICAL):
        made = await backed_up(source, tmp_path / form, form=form)
        if form == DUMP and engine != "sqlite":
            with pytest.raises(Refused, match="which nothing else can read"):
                async with open_backup(made.path):
                    pass
            continue
        async with open_backup(made.path) as opened:
            assert opened.tables == ("t",)
            batches = [batch async for batch in opened.batches("t")]
            if form == LOGICAL:
                columns = opened.made.schema.table("t").columns
                assert [opened.snapshot.unreadable(column) for column in columns] == [None, None]
                with pytest.raises(NotImplementedError, match="an archive answers no queries: SELECT 1"):
                    await opened.snapshot.rows(sa.select(1))
        assert [batch.num_rows for batch in batches] == [2]


async def test_no_secret_is_in_the_arguments_of_a_program(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgresql_url)
    await oracle.run(postgresql_url, SMALL)
    real = await postgresql_backup._program("pg_dump", 0)
    seen, spy = tmp_path / "seen", tmp_path / "pg_dump"
    # What everybody on the machine can see of it.
    spy.write_text(f'#!/bin/sh\ncat /proc/$$/cmdline >> {seen}\nexec {real} "$@"\n')
    spy.chmod(0o700)
    programs = postgresql_backup._programs
    monkeypatch.setattr(
        postgresql_backup, "_programs", lambda name: [spy] if name == "pg_dump" else programs(name)
    )
    secret = "p w'd\\:@"
    name = f"r{url.database}"[:60]
    await oracle.run(postgresql_url, f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'p w''d\\:@'")
    try:
        made = await backed_up(
            url.set(username=name, password=secret).render_as_string(hide_password=False),
            tmp_path / "backups",
        )
    finally:
        await oracle.run(postgresql_url, f"DROP ROLE {name}")
    assert made.form == DUMP
    assert b"--snapshot=" in seen.read_bytes()
    assert b"p w" not in seen.read_bytes()
    assert "p w" not in made.manifest_path.read_text()
