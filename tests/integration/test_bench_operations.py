"""Every operation of the benchmarks, small, on each engine: one that nobody runs stops working unseen."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import text

from bench.catalogue import OPERATIONS
from bench.copying import (
    ROWS_SMALL,
    binary_copy_s,
    copied_in_a_child,
    empty_messages_table,
    empty_mysql_messages_table,
)
from bench.dataset import DatasetKey, fill, messages_only
from bench.loading import load_postgresql
from bench.places import Place, places
from bench.places import fill as fill_place
from bench.reference import TABLES, table_script
from bench.stopwatch import take_mix, take_samples
from bench.subject import SQLITE_PRAGMAS, open_subject
from tests.conftest import FreshDatabase
from tests.servers import ENGINES

SCALE = 0.02

SEE_THEIR_OWN = {"indexed_search"}
"""Operations that find what their engine's index finds: words here, parts of words there."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "reference.db"
    fill(path, SCALE, seed=1)
    return path


@pytest.fixture
async def filled_url(engine: str, backend_url: str, dataset: Path) -> str:
    await fill_place(Place(engine, "before"), backend_url, dataset)
    return backend_url


SLEEP = {"postgresql": "SELECT pg_sleep(60)", "mariadb": "SELECT sleep(60)"}
"""Statements that somebody is cut off in; SQLite's one writer is not."""


def audit_rows(connection: sa.Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one())


ROWS_SEEN = {
    "empty": 0,
    "select_one": 5,
    "session_count": 5,
    "first_messages": 50,
    "authenticate": 5,
    "create_session": 5,
    "add_message": 5,
    "refresh_token": 5,
    "like_search": 50,
    "pool_checkout": 5,
    "pool_checkout_25_agents": 50,
    "driver_select_one": 5,
}
"""Rows of all rounds of the small size; the other operations see as many as the data holds."""


async def test_each_operation_works_and_sees_its_rows(filled_url: str) -> None:
    async with open_subject(filled_url) as subject:
        for operation in OPERATIONS.values():
            assert operation.impossible(subject) is None
            samples = await take_samples(operation, subject, operation.rounds_small)
            assert len(samples.durations_ns) == operation.rounds_small
            assert min(samples.durations_ns) > 0
            if operation.name in ROWS_SEEN:
                assert samples.row_count == ROWS_SEEN[operation.name], operation.name


async def test_twenty_five_agents_do_everything_at_once(filled_url: str) -> None:
    mixed = [operation for operation in OPERATIONS.values() if operation.weight]
    async with open_subject(filled_url) as subject:
        seen = await take_mix(mixed, subject, agents=25, calls=400)

    assert sum(len(samples.durations_ns) for samples in seen.values()) == 400
    assert set(seen) == {operation.name for operation in mixed}


async def test_every_operation_sees_the_same_rows_on_every_engine_before_and_after_a_migration(
    fresh_database: FreshDatabase, dataset: Path
) -> None:
    seen: dict[str, dict[str, int]] = {}
    for place in places(ENGINES):
        url = fresh_database(place.backend)
        await fill_place(place, url, dataset)
        async with open_subject(url) as subject:
            assert len(subject.reference.session_ids) > 100
            seen[str(place)] = {
                operation.name: (await take_samples(operation, subject, rounds=60)).row_count
                for operation in OPERATIONS.values()
                if operation.name not in SEE_THEIR_OWN
            }

    assert {"sqlite-before", "postgresql-before", "postgresql-after"} <= set(seen)
    for place_name, rows in seen.items():
        assert rows == seen["sqlite-before"], place_name
    assert seen["sqlite-before"]["list_memory"] > 0
    assert seen["sqlite-before"]["get_messages"] > 60
    assert seen["sqlite-before"]["search_context"] > 0


async def test_nothing_stays_of_what_is_written_by_a_subject_that_keeps_no_writes(filled_url: str) -> None:
    async def counts() -> list[int]:
        async with open_subject(filled_url) as subject, subject.connection() as connection:
            return [
                (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
                for table in TABLES
            ]

    before = await counts()
    async with open_subject(filled_url, keeps_writes=False, is_ours=False) as subject:
        for operation in OPERATIONS.values():
            await take_samples(operation, subject, 5)

    assert await counts() == before


async def test_a_write_that_fails_leaves_nothing_and_the_connection_is_good_again(filled_url: str) -> None:
    async with open_subject(filled_url, pool_size=1, pool_overflow=0) as subject:

        def fails(connection: sa.Connection) -> None:
            connection.execute(text("DELETE FROM audit_log"))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await subject.written(fails)
        assert await subject.written(audit_rows) > 0


async def test_a_write_whose_end_is_refused_leaves_nothing_and_the_one_writer_goes_on(
    sqlite_path: Path,
) -> None:
    """A key that is looked at when the transaction ends; SQLite leaves the transaction open then."""
    tables = (
        "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
        "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
    )

    def make(connection: sa.Connection) -> None:
        for table in tables:
            connection.execute(text(table))

    async with open_subject(sqlite_path) as subject:
        await subject.written(make)
        with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY constraint failed"):
            await subject.written(
                lambda connection: connection.execute(text("INSERT INTO children VALUES (1)"))
            )
        left = await subject.written(
            lambda connection: connection.execute(text("SELECT count(*) FROM children")).scalar_one()
        )
    assert left == 0


@pytest.mark.parametrize("engine", list(SLEEP))
async def test_a_write_that_is_cut_off_leaves_nothing(engine: str, filled_url: str) -> None:
    async with open_subject(filled_url, pool_size=1, pool_overflow=0) as subject:

        def cut_off(connection: sa.Connection) -> None:
            connection.execute(text("DELETE FROM audit_log"))
            connection.execute(text(SLEEP[engine]))

        task = asyncio.create_task(subject.written(cut_off))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])
        assert await subject.written(audit_rows) > 0


async def test_the_one_writer_does_what_it_began_and_not_what_was_taken_back_before(
    sqlite_path: Path,
) -> None:
    """Who is cancelled while it waits has asked for nothing; a transaction is never left in its middle."""
    began, go_on = threading.Event(), threading.Event()
    async with open_subject(sqlite_path) as subject:
        await subject.written(lambda connection: connection.execute(text("CREATE TABLE written (a INTEGER)")))

        def held(connection: sa.Connection) -> None:
            connection.execute(text("INSERT INTO written VALUES (1)"))
            began.set()
            assert go_on.wait(10)
            connection.execute(text("INSERT INTO written VALUES (2)"))

        def never(connection: sa.Connection) -> None:
            connection.execute(text("INSERT INTO written VALUES (3)"))

        running, queued = (asyncio.create_task(subject.written(work)) for work in (held, never))
        await asyncio.to_thread(began.wait, 10)
        assert subject.waiting.now == 2
        running.cancel()
        queued.cancel()
        await asyncio.wait([running, queued])
        go_on.set()
        found = await subject.written(
            lambda connection: connection.execute(text("SELECT a FROM written")).scalars().all()
        )

    assert found == [1, 2]
    assert subject.waiting.now == 0


async def test_the_reference_operations_refuse_another_schema_by_name(tmp_path: Path) -> None:
    async with open_subject(tmp_path / "empty.db") as subject:
        with pytest.raises(LookupError, match="need the tables sessions, messages"):
            await OPERATIONS["get_messages"].function(subject, 0)


async def test_the_loaded_server_holds_every_row_and_gives_the_next_number(
    postgresql_url: str, dataset: Path
) -> None:
    await load_postgresql(dataset, postgresql_url)
    counts: dict[str, list[int]] = {}
    for url in (dataset, postgresql_url):
        async with open_subject(url) as subject, subject.engine.connect() as connection:
            counts[subject.backend] = [
                (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
                for table in TABLES
            ]
            if subject.backend == "postgresql":
                next_number = (
                    await connection.execute(text("SELECT nextval('messages_id_seq')"))
                ).scalar_one()

    assert counts["sqlite"] == counts["postgresql"]
    assert next_number == DatasetKey(SCALE, 1, TABLES).rows("messages") + 1


async def test_every_sqlite_connection_has_the_applications_settings(dataset: Path) -> None:
    async with open_subject(dataset) as subject:
        first, second = await subject.engine.connect(), await subject.engine.connect()
        for connection in (first, second):
            found = {
                name: str((await connection.execute(text(f"PRAGMA {name}"))).scalar_one())
                for name in ("foreign_keys", "journal_mode", "synchronous", "cache_size", "busy_timeout")
            }
            assert found == {
                "foreign_keys": "1",
                "journal_mode": "wal",
                "synchronous": "1",
                "cache_size": SQLITE_PRAGMAS["cache_size"],
                "busy_timeout": "5000",
            }
            await connection.close()


async def test_an_engine_without_benchmarks_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="no benchmark for 'oracle', only for sqlite, postgresql"):
        async with open_subject("oracle://nowhere/x"):
            raise AssertionError("a subject was opened")


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = messages_only(ROWS_SMALL)
    path = tmp_path_factory.mktemp("messages") / "messages.db"
    fill(path, key.scale, key.seed, key.tables)
    return path


async def test_the_copy_to_a_server_works_small(postgresql_url: str, messages: Path) -> None:
    connection = await asyncpg.connect(postgresql_url)
    try:
        await empty_messages_table(connection)
        outcome = await copied_in_a_child(f"sqlite:///{messages}", postgresql_url)
        assert outcome.rows == ROWS_SMALL
        assert min(outcome.copy_s, outcome.verification_s, outcome.peak_rss_bytes) > 0
        assert outcome.whole_s > outcome.copy_s + outcome.verification_s

        assert await binary_copy_s(connection, ROWS_SMALL) > 0
        assert await connection.fetchval("SELECT count(*) FROM messages") == ROWS_SMALL
        with pytest.raises(RuntimeError, match=f"held {ROWS_SMALL} rows, and {ROWS_SMALL + 1} were migrated"):
            await binary_copy_s(connection, ROWS_SMALL + 1)
    finally:
        await connection.close()


async def test_the_copy_to_mariadb_works_small(mariadb_url: str, messages: Path) -> None:
    for _ in range(2):
        await empty_mysql_messages_table(mariadb_url)
        outcome = await copied_in_a_child(f"sqlite:///{messages}", mariadb_url)
        assert outcome.rows == ROWS_SMALL


async def test_the_copy_to_a_file_works_small(tmp_path: Path, messages: Path) -> None:
    target = tmp_path / "target.db"
    with closing(sqlite3.connect(target)) as connection:
        connection.executescript(table_script("sqlite", "messages"))

    outcome = await copied_in_a_child(f"sqlite:///{messages}", f"sqlite:///{target}")

    assert outcome.rows == ROWS_SMALL


async def test_a_migration_that_does_not_end_proved_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 1"):
        await copied_in_a_child(f"sqlite:///{tmp_path / 'missing.db'}", f"sqlite:///{tmp_path / 'target.db'}")
