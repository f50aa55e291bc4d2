"""What the findings recommend does what they say: turns in order, and no table read whole for a few rows."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import sqlalchemy as sa
from sqlalchemy import event, text

from bench import checkpointing
from bench.catalogue import OPERATIONS
from bench.dataset import fill
from bench.loading import load
from bench.message_counts import MESSAGE_COUNTS
from bench.operations import KEPT_COUNT, MESSAGE_COUNT
from bench.search_index import INDEXED_SEARCH, add_search_index
from bench.subject import Subject, open_subject
from bench.tuning import tune

SCALE = 0.02
EXPIRED = (
    "EXPLAIN SELECT id FROM agent_memory WHERE expires_at IS NOT NULL AND expires_at < '2020-01-01' LIMIT 1"
)

DROPPED_TRIGGER = {
    "sqlite": ("DROP TRIGGER bench_message_counts_insert_new",),
    "postgresql": ("DROP TRIGGER bench_message_counts_kept ON messages",),
    "mariadb": ("DROP TRIGGER bench_message_counts_insert",),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "reference.db"
    fill(path, SCALE, seed=1)
    return path


async def made(subject: Subject, *statements: str, **values: object) -> None:
    def all_of_them(connection: sa.Connection) -> None:
        for statement in statements:
            connection.execute(text(statement), values)

    await subject.written(all_of_them)


async def test_connections_are_given_in_the_order_of_asking(tmp_path: Path) -> None:
    """A pool gives one to whoever asks at that moment, and who has waited longest waits on."""
    served: list[int] = []
    async with open_subject(tmp_path / "empty.db", pool_size=1, pool_overflow=0) as subject:

        async def request(number: int) -> None:
            async with subject.connection() as connection:
                await connection.execute(text("SELECT 1"))
                served.append(number)
                if number < 10:
                    # Who asks while others wait comes after all of them.
                    asked.create_task(request(number + 10))

        async with asyncio.TaskGroup() as asked:
            for number in range(10):
                asked.create_task(request(number))

    assert served == list(range(20))


async def test_counts_that_triggers_keep_are_those_that_are_counted(
    engine: str, backend_url: str, dataset: Path
) -> None:
    """Through everything that may happen to a message, and its canary: without a trigger they differ."""
    await load(dataset, backend_url)
    async with open_subject(backend_url) as subject:
        await tune(subject)

    async with open_subject(backend_url) as subject:
        assert MESSAGE_COUNTS.name in subject.indexes
        asked = subject.reference
        sessions = sorted({asked.session(number) for number in range(500)})
        agents = sorted({asked.agent(number) for number in range(500)})

        async def both() -> list[tuple[int, int]]:
            async with subject.connection() as connection:
                return [
                    (
                        (
                            await connection.execute(MESSAGE_COUNT, {"session": session, "me": agent})
                        ).scalar_one(),
                        int(
                            (
                                await connection.execute(KEPT_COUNT, {"session": session, "me": agent})
                            ).scalar_one()
                        ),
                    )
                    for session in sessions
                    for agent in agents[:3]
                ]

        loaded = await both()
        await OPERATIONS["add_message"].function(subject, 7)
        await made(
            subject,
            "UPDATE messages SET visibility = 'private' WHERE id % 5 = 0",
            "UPDATE messages SET visibility = NULL WHERE id % 7 = 0",
            "UPDATE messages SET visibility = 'public' WHERE id % 21 = 0",
            f"UPDATE messages SET session_id = '{sessions[1]}', sender = 'qa-bot' WHERE id % 11 = 0",
            "DELETE FROM messages WHERE id % 3 = 0",
            f"DELETE FROM sessions WHERE id = '{sessions[0]}'",
            "INSERT INTO messages (session_id, sender, content, visibility)"
            f" VALUES ('{sessions[1]}', 'never seen', 'x', 'public'), ('{sessions[1]}', 'y', 'x', NULL)",
        )
        changed = await both()
        assert all(counted == kept for counted, kept in loaded + changed)
        assert loaded != changed
        await subject.rolled_back(
            lambda connection: connection.execute(text("DELETE FROM messages WHERE id % 2 = 0"))
        )
        assert await both() == changed
        # A session's messages go with it, and on MariaDB no trigger is told.
        async with subject.connection() as connection:
            gone = await connection.execute(
                sa.select(MESSAGE_COUNTS).where(MESSAGE_COUNTS.c.session_id == sessions[0])
            )
            assert gone.all() == []

        await made(subject, *DROPPED_TRIGGER[engine])
        await OPERATIONS["add_message"].function(subject, 7)
        assert any(counted != kept for counted, kept in await both())


async def test_looking_for_an_expired_memory_reads_an_index(mariadb_url: str, dataset: Path) -> None:
    await load(dataset, mariadb_url)

    async def how() -> str:
        async with open_subject(mariadb_url) as subject, subject.connection() as connection:
            return str((await connection.execute(text(EXPIRED))).one().type)

    untuned = await how()
    async with open_subject(mariadb_url) as subject:
        await tune(subject)
    assert (untuned, await how()) == ("ALL", "range")


async def test_mariadb_merges_no_indexes(mariadb_url: str) -> None:
    """It would sort a large session for a page of it."""
    async with open_subject(mariadb_url) as subject, subject.connection() as connection:
        switches = str((await connection.exec_driver_sql("SELECT @@optimizer_switch")).scalar_one())
    assert "index_merge=off" in switches.split(",")


async def test_deleting_what_has_expired_keeps_nobody_from_inserting(mariadb_url: str, dataset: Path) -> None:
    """Under REPEATABLE READ the gaps between rows are locked, too, and the insert waits; its canary."""
    await load(dataset, mariadb_url)
    delete = "DELETE FROM agent_memory WHERE expires_at IS NOT NULL AND expires_at < '2020-01-01'"
    insert = (
        "INSERT INTO agent_memory (agent_id, key_name, value, created_at, expires_at)"
        " VALUES ('qa-bot', :key, 'x', '2019-01-01', '2019-06-01')"
    )

    async def has_to_wait(subject: Subject, isolation: str, key: str) -> bool:
        async with subject.engine.connect() as first, subject.engine.connect() as second:
            await first.exec_driver_sql(f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
            await second.exec_driver_sql("SET SESSION innodb_lock_wait_timeout = 1")
            await first.exec_driver_sql("BEGIN")
            try:
                await first.exec_driver_sql(delete)
                await second.execute(text(insert), {"key": key})
            except sa.exc.OperationalError as error:
                if "Lock wait timeout" not in str(error):
                    raise
                return True
            finally:
                await first.exec_driver_sql("ROLLBACK")
        return False

    async with open_subject(mariadb_url) as subject:
        await tune(subject)
        async with subject.connection() as connection:
            usual = (await connection.exec_driver_sql("SELECT @@tx_isolation")).scalar_one()
        assert usual == "READ-COMMITTED"
        assert not await has_to_wait(subject, "READ COMMITTED", "a")
        assert await has_to_wait(subject, "REPEATABLE READ", "b")


async def test_a_rolled_back_message_is_not_found_by_the_index(mariadb_url: str, dataset: Path) -> None:
    """The table of texts knows no transactions; the message that it speaks of must be there."""
    await load(dataset, mariadb_url)
    async with open_subject(mariadb_url) as subject:
        await add_search_index(subject)
        new = text(
            "INSERT INTO messages (session_id, sender, content)"
            " SELECT id, 'qa-bot', :words FROM sessions LIMIT 1"
        )
        await subject.rolled_back(
            lambda connection: connection.execute(new, {"words": "zeppelin taken back"})
        )
        await subject.written(lambda connection: connection.execute(new, {"words": "zeppelin kept"}))
    async with open_subject(mariadb_url) as subject:
        statement, values = INDEXED_SEARCH["mariadb"].asked(["zeppelin"])
        async with subject.connection() as connection:
            found = (await connection.execute(statement, values)).all()

    assert [row.content for row in found] == ["zeppelin kept"]


async def test_a_crowd_that_comes_again_opens_no_connection(tmp_path: Path) -> None:
    """A pool that overflows closes what comes back, and opens it again when there is most to do."""
    opened: list[object] = []
    async with open_subject(tmp_path / "empty.db") as subject:
        event.listen(subject.engine.sync_engine, "connect", lambda connection, _: opened.append(connection))

        async def request() -> None:
            async with subject.connection() as connection:
                await connection.execute(text("SELECT 1"))
                await asyncio.sleep(0.05)

        counts = []
        for _ in range(3):
            await asyncio.gather(*(request() for _ in range(19)))
            counts.append(len(opened))

    assert counts[0] > 10
    assert counts == [counts[0]] * 3


async def test_readers_leave_the_one_writer_its_connection(tmp_path: Path) -> None:
    async with (
        open_subject(tmp_path / "empty.db", pool_size=2, pool_overflow=0) as subject,
        subject.connection(),
        subject.connection(),
    ):
        assert subject.turns.locked()
        async with asyncio.timeout(5):
            await made(subject, "CREATE TABLE written (id INTEGER)")


async def test_a_statement_takes_one_hand_over_to_the_connections_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_over: list[str] = []
    usual = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, function: Any, *arguments: Any, **named: Any) -> Any:
        handed_over.append(str(arguments[:1] or function))
        return await usual(self, function, *arguments, **named)

    async with open_subject(tmp_path / "empty.db") as subject:
        await made(subject, "CREATE TABLE written (id INTEGER PRIMARY KEY, name TEXT)")
        async with subject.connection() as connection:
            monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
            assert (await connection.execute(text("SELECT count(*) FROM written"))).scalar_one() == 0
        assert len(handed_over) == 1, handed_over

        loop = asyncio.get_running_loop()
        handed_to_writer: list[object] = []
        usually = loop.run_in_executor
        monkeypatch.setattr(
            loop, "run_in_executor", lambda *given: handed_to_writer.append(given) or usually(*given)
        )

        def several(connection: sa.Connection) -> list[Any]:
            connection.execute(text("INSERT INTO written (name) VALUES ('x')"))
            return list(connection.execute(text("SELECT name FROM written")).scalars())

        assert await subject.written(several) == ["x"]
        monkeypatch.undo()
    assert (len(handed_over), len(handed_to_writer)) == (1, 1)


async def test_a_cursor_of_one_hand_over_tells_all_that_sqlalchemy_asks(tmp_path: Path) -> None:
    table = sa.Table(
        "written",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, unique=True),
    )
    async with open_subject(tmp_path / "empty.db") as subject:
        async with subject.connection() as connection:
            await connection.run_sync(table.create)
            first = await connection.execute(sa.insert(table), {"name": "a"})
            many = await connection.execute(sa.insert(table), [{"name": "b"}, {"name": "c"}])
            changed = await connection.execute(sa.update(table).where(table.c.id > 1).values(name=None))
            found = await connection.execute(sa.select(table).order_by(table.c.id))
            assert first.inserted_primary_key == (1,)
            assert (many.rowcount, changed.rowcount) == (2, 2)
            assert list(found.keys()) == ["id", "name"]
            assert found.all() == [(1, "a"), (2, None), (3, None)]
            assert (await connection.execute(sa.select(table).where(table.c.id > 9))).all() == []
        with pytest.raises(sa.exc.IntegrityError, match="UNIQUE constraint failed: written.name"):
            async with subject.connection() as connection:
                await connection.execute(sa.insert(table), {"name": "a"})


@pytest.mark.parametrize("is_kept_short", [True, False])
async def test_the_log_stays_short_while_others_read_and_nobody_who_commits_moves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept_short: bool
) -> None:
    """And its canary: with nobody who keeps it short, it grows with every commit."""
    pages_max = 50
    monkeypatch.setattr(checkpointing, "LOG_PAGES_MAX", pages_max)
    monkeypatch.setattr(checkpointing, "CHECKPOINT_EVERY_S", 0.02 if is_kept_short else 3600)
    page = b"x" * 4_000
    async with open_subject(tmp_path / "log.db") as subject:
        await made(subject, "CREATE TABLE written (page BLOB)")
        for _ in range(30):
            async with subject.connection():
                for _ in range(20):
                    await made(subject, "INSERT INTO written VALUES (:page)", page=page)
            await asyncio.sleep(0.03)
        log_pages = (tmp_path / "log.db-wal").stat().st_size / 4_096
    with closing(sqlite3.connect(tmp_path / "log.db")) as plain:
        assert plain.execute("SELECT count(*) FROM written").fetchone() == (600,)

    assert (log_pages < 600) is is_kept_short, log_pages


async def test_canary_a_log_that_cannot_be_kept_short_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(checkpointing, "_kept_short", fails)
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        async with open_subject(tmp_path / "log.db"):
            await asyncio.sleep(0.05)
