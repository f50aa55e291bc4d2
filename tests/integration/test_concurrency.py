"""Others are at work at the same time: in the target, in the source, or with the same migration."""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from migration import DataMigrationService, MigrationError, RolledBack, Stopped, making, open_database, undo
from migration.backends import mysql_connection, mysql_lock, postgresql
from migration.database import Database
from migration.errors import LockLost, Refused, TargetLocked
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved, small_chunks, taken_back

ROOT = Path(__file__).parents[2]
ROWS = 40
SCRIPT = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);" + "".join(
    f"INSERT INTO t VALUES ({n}, '{n:040}');" for n in range(1, ROWS + 1)
)
ALL = "SELECT * FROM t ORDER BY id"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_chunks(monkeypatch, 10, 300)
    return made(tmp_path / "source.db", SCRIPT)


class Meanwhile:
    """Does something once, before a step of the walk begins, or when the first chunk is copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def before(self, step: str, work: Callable[[], Awaitable[Any]]) -> None:
        original = getattr(DataMigrationService, step)

        async def intruded(service: DataMigrationService, *arguments: Any) -> Any:
            await work()
            return await original(service, *arguments)

        self._monkeypatch.setattr(DataMigrationService, step, intruded)

    def after_a_chunk(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Work before the lock is looked at for the second time since rows are copied."""
        check, looked, begun = Database.check_lock, [-1_000], []

        async def begin() -> None:
            # The next run is left alone.
            looked[0] = -1_000 if begun else 0
            begun.append(True)

        async def intruded(database: Database) -> None:
            looked[0] += 1
            if looked[0] == 2:
                await work()
            await check(database)

        self.before("_copy", begin)
        self._monkeypatch.setattr(Database, "check_lock", intruded)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    return Meanwhile(monkeypatch)


# --- the lock -------------------------------------------------------------------------------------------

# What ends the session that holds the lock, from outside.
ENDS = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
}


async def end_lock(url: str) -> None:
    """Take the lock away from whoever holds it."""
    engine = oracle.engine_of(url)
    if engine == "sqlite":
        Path(f"{oracle.path_of(url)}.migration-lock").unlink()
    elif engine == "postgresql":
        await oracle.rows(url, ENDS[engine])
    else:
        [(holder,)] = await oracle.rows(
            url,
            "SELECT IS_USED_LOCK(CONCAT('migration_bench_', LEFT(SHA2(DATABASE(), 256), 32)))",
        )
        assert holder is not None
        await oracle.run(url, f"KILL {holder}")


async def test_a_lock_that_is_lost_stops_it_before_anything_else_is_written(
    source: Path, fresh_database: FreshDatabase, engine: str, meanwhile: Meanwhile
) -> None:
    """Two could be at it: nothing more is written, nothing is undone, and another run goes on."""
    target = fresh_database(engine)
    meanwhile.after_a_chunk(lambda: end_lock(target))
    service = await moved(source, target)
    assert isinstance(service.error, LockLost), service.error
    assert service.error.exit_code == 4
    assert "--resume" in service.error.next_step
    copied = len(await oracle.rows(target, ALL))
    assert 0 < copied < ROWS
    assert (await moved(source, target, resume=True)).error is None
    assert await oracle.rows(target, ALL) == await oracle.rows(f"sqlite:///{source}", ALL)


async def test_canary_without_looking_for_the_lock_its_loss_is_not_noticed(
    source: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    async def look_away(_: Database) -> None:
        return

    monkeypatch.setattr(Database, "check_lock", look_away)
    meanwhile.before("_finish", lambda: end_lock(postgresql_url))
    assert (await moved(source, postgresql_url)).error is None


async def test_a_lock_that_is_lost_before_it_is_undone_leaves_everything_as_it_is(
    source: Path, fresh_database: FreshDatabase, engine: str, meanwhile: Meanwhile
) -> None:
    target = fresh_database(engine)

    async def fail() -> None:
        await end_lock(target)
        raise MigrationError("It is said to fail")

    meanwhile.before("_finish", fail)
    service = await moved(source, target)
    assert isinstance(service.error, Stopped), service.error
    assert "It is said to fail" in str(service.error)
    assert "lock on the target was lost" in str(service.error)
    assert len(await oracle.rows(target, ALL)) == ROWS
    await taken_back(source, target)
    assert "t" not in await oracle.tables(target)


async def test_who_is_locked_out_is_told_by_whom(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    async with open_database(target) as database, database.lock():
        service = await moved(source, target)
    assert isinstance(service.error, TargetLocked)
    assert service.error.exit_code == 3
    who = {
        "sqlite": f"process {os.getpid()} on ",
        "postgresql": r"session \d+ of postgres from 127.0.0.1, since 20",
        "mariadb": r"connection \d+ of root from (localhost|127.0.0.1)",
    }
    assert re.search(who[engine], str(service.error)), service.error


async def test_a_lock_that_its_own_session_let_go_is_lost(mariadb_url: str) -> None:
    connection = await mysql_connection.connect(make_url(mariadb_url))
    try:
        lock = mysql_lock.SessionLock(connection, make_url(mariadb_url))
        await lock.take()
        await lock.check()
        await mysql_connection.fetch(connection, "SELECT RELEASE_ALL_LOCKS()")
        with pytest.raises(LockLost, match="somebody has released it"):
            await lock.check()
    finally:
        await mysql_connection.close(connection)


async def test_who_had_the_lock_and_is_gone_is_not_named(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is let go just between the two questions, whether it is free and who has it."""
    fetch = mysql_connection.fetch
    async with open_database(mariadb_url) as holder, open_database(mariadb_url) as late:

        async def slow(connection: Any, statement: str) -> list[tuple[Any, ...]]:
            if "GET_LOCK" not in statement:
                return await fetch(connection, statement)
            take, _, ask = statement.partition(", IS_USED_LOCK")
            taken = await fetch(connection, take)
            await end_lock(mariadb_url)
            return [(*taken[0], *(await fetch(connection, f"SELECT IS_USED_LOCK{ask}"))[0])]

        async with holder.lock():
            monkeypatch.setattr(mysql_lock, "fetch", slow)
            with pytest.raises(TargetLocked, match=r"into this database is going on\b(?!: connection)"):
                async with late.lock():
                    pytest.fail("it was somebody's when it was asked for")


async def test_of_two_processes_one_migrates_and_the_other_is_refused(
    source: Path, tmp_path: Path, postgresql_url: str
) -> None:
    """At the same instant: both are let go when both are ready."""
    child = "import sys; from migration.cli import main; sys.stdin.readline(); main()"
    processes = []
    for number in (1, 2):
        (tmp_path / f"run{number}").mkdir()
        processes.append(
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", child, "migrate", str(source), postgresql_url,
                cwd=tmp_path / f"run{number}", env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )
        )  # fmt: skip
    told = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert sorted(process.returncode or 0 for process in processes) == [0, 3], told
    assert len(await oracle.rows(postgresql_url, ALL)) == ROWS


# --- others in the target -------------------------------------------------------------------------------

HERE = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "bigint PRIMARY KEY", "mariadb": "bigint PRIMARY KEY"}


@pytest.mark.parametrize(
    "intrusion",
    [
        "INSERT INTO t VALUES (4711, 'somebody')",
        "UPDATE t SET v = 'somebody' WHERE id = 1",
        "DELETE FROM t WHERE id = 1",
    ],
    ids=lambda statement: statement.split()[0].lower(),
)
async def test_what_somebody_writes_into_a_table_that_is_filled_is_told_by_the_proof(
    source: Path, postgresql_url: str, meanwhile: Meanwhile, intrusion: str
) -> None:
    meanwhile.before("_finish", lambda: oracle.run(postgresql_url, intrusion))
    service = await moved(source, postgresql_url)
    assert isinstance(service.error, RolledBack), service.error
    assert "not equal" in str(service.error)
    assert "source was written to" not in str(service.error)


async def test_a_session_that_holds_a_table_for_long_is_not_waited_for_for_ever(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said that another one holds a lock, and the target is what it was."""
    target = fresh_database(engine)
    await oracle.run(target, f"CREATE TABLE t (id {HERE[engine]}, v text)")
    do_not_wait_long(monkeypatch)
    before = await oracle.dump(target)
    async with held(target):
        service = await moved(source, target)
    assert isinstance(service.error, (Refused, RolledBack)), service.error
    assert "lock" in str(service.error).lower()
    assert await oracle.dump(target) == before
    assert (await moved(source, target)).error is None


def do_not_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for what others hold as short as each engine can."""
    monkeypatch.setitem(postgresql.SETTINGS, "lock_timeout", "300ms")
    for name in ("innodb_lock_wait_timeout", "lock_wait_timeout"):
        monkeypatch.setitem(mysql_connection.SETTINGS, name, "1")
    for name, module in list(sys.modules.items()):
        if name.startswith("migration.backends.") and hasattr(module, "BUSY_MS"):
            monkeypatch.setattr(module, "BUSY_MS", 300)


async def test_a_target_that_is_held_at_the_very_end_may_be_closed_or_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    """All is proved; whether the checkpoints are gone, nobody can see."""
    do_not_wait_long(monkeypatch)
    target = f"sqlite:///{tmp_path / 'target.db'}"
    with closing(sqlite3.connect(oracle.path_of(target), isolation_level=None)) as other:

        async def hold() -> None:
            other.execute("BEGIN EXCLUSIVE")

        meanwhile.before("_close", hold)
        service = await moved(source, target)
        other.execute("ROLLBACK")
    monkeypatch.undo()
    assert isinstance(service.error, Stopped), service.error
    assert "holds a lock" in str(service.error)
    assert "whether its checkpoints are gone is not known" in str(service.error)
    assert "go on with --resume" in service.error.next_step
    assert len(await oracle.tables(target)) == 2
    assert (await moved(source, target, resume=True)).error is None
    assert await oracle.tables(target) == ["t"]


async def cut(url: str) -> None:
    """End every session there is, but for the one that holds the lock."""
    found = await oracle.rows(
        url,
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id NOT IN"
        " (CONNECTION_ID(), IS_USED_LOCK(CONCAT('migration_bench_', LEFT(SHA2(DATABASE(), 256), 32))))",
    )
    assert found
    await oracle.run(url, "; ".join(f"KILL {number}" for (number,) in found))


async def test_what_fails_before_anything_is_there_and_once_more_on_the_way_back_says_so(
    source: Path, mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sessions are ended twice: before there is a checkpoint, and before it is known what to undo."""

    def cut_before(module: Any, name: str) -> None:
        original = getattr(module, name)

        async def cut_off(*arguments: Any) -> Any:
            await cut(mariadb_url)
            return await original(*arguments)

        monkeypatch.setattr(module, name, cut_off)

    cut_before(making, "create_checkpoints")
    cut_before(undo, "drop_new")
    service = await moved(source, mariadb_url)
    monkeypatch.undo()
    assert type(service.error) is Refused, service.error
    assert service.error.exit_code == 3
    assert "Cleaning up failed, too" in str(service.error)
    assert "Nothing of the migration had begun" in str(service.error)
    assert await oracle.tables(mariadb_url) == []
    assert (await moved(source, mariadb_url)).error is None


class held:  # noqa: N801 - it reads as what it does
    """Another session has written to the table, and does not commit."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._done = asyncio.Event()
        self._begun = asyncio.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._hold())
        await self._begun.wait()

    async def __aexit__(self, *_: object) -> None:
        self._done.set()
        await self._task

    async def _hold(self) -> None:
        engine = oracle.engine_of(self._url)
        if engine == "sqlite":
            with closing(sqlite3.connect(oracle.path_of(self._url), isolation_level=None)) as connection:
                connection.execute("BEGIN EXCLUSIVE")
                self._begun.set()
                await self._done.wait()
                connection.execute("ROLLBACK")
        elif engine == "postgresql":
            async with oracle._postgresql(self._url) as session, session.transaction():
                await session.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
                self._begun.set()
                await self._done.wait()
        else:
            async with oracle._mariadb(self._url) as cursor:
                await cursor.execute("LOCK TABLES t WRITE")
                self._begun.set()
                await self._done.wait()


# --- others in the source -------------------------------------------------------------------------------

CHANGES = (
    "INSERT INTO t VALUES (100, 'late'); UPDATE t SET v = 'late' WHERE id = 1; DELETE FROM t WHERE id = 2"
)


async def test_a_source_that_is_written_to_arrives_as_it_was_at_one_moment_and_that_is_said(
    source: Path, fresh_database: FreshDatabase, engine: str, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    """The engine is the source's; a file lets others write while it is read only in WAL mode."""
    server = f"sqlite:///{source}" if engine == "sqlite" else fresh_database(engine)
    if engine == "sqlite":
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    else:
        assert (await moved(source, server)).error is None
    before = await oracle.rows(server, ALL)
    target = f"sqlite:///{tmp_path / 'target.db'}"
    meanwhile.before("_copy", lambda: oracle.run(server, CHANGES))
    service = await moved(server, target)
    assert service.error is None, service.error
    assert await oracle.rows(target, ALL) == before
    assert service.report is not None
    assert service.report.proved
    (note,) = service.report.notes
    assert "The source was written to while it was copied" in note
    assert "t: 1 missing, 1 extra, 1 changed" in note
    assert [entry["message"] for entry in service.migration_log].count("proof") == 2
    assert "source-moved" in [entry["message"] for entry in service.migration_log]


async def test_a_file_that_is_not_in_wal_mode_keeps_its_writers_out_while_it_is_copied(
    source: Path, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    refused: list[str] = []

    async def write() -> None:
        with closing(sqlite3.connect(source, timeout=0)) as connection:
            connection.execute("INSERT INTO t VALUES (100, 'late')")
            try:
                connection.commit()
            except sqlite3.OperationalError as error:
                refused.append(str(error))

    meanwhile.before("_copy", write)
    service = await moved(source, tmp_path / "target.db")
    assert service.error is None
    assert service.report is not None
    assert service.report.notes == ()
    assert refused == ["database is locked"]


async def test_canary_a_target_that_is_not_the_moment_either_is_not_proved_by_a_source_that_moved(
    source: Path, tmp_path: Path, meanwhile: Meanwhile
) -> None:
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    target = f"sqlite:///{tmp_path / 'target.db'}"

    async def write() -> None:
        await oracle.run(f"sqlite:///{source}", CHANGES)
        await oracle.run(target, "UPDATE t SET v = 'damaged' WHERE id = 20")

    meanwhile.before("_finish", write)
    service = await moved(source, target)
    assert isinstance(service.error, RolledBack)
