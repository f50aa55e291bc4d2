"""What a server of MySQL or MariaDB may answer once in a year, each brought about on a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from migration.backends import Loader, mysql_connection, mysql_rows, mysql_server
from migration.backends import mysql as mysql_module
from migration.backends.mysql import BACKEND
from migration.backends.mysql_connection import close, connect, fetch, quote
from migration.errors import SourceUnusable, TargetUnusable
from migration.model import Column, Kind, ScanColumn, Schema, Table, Uncarried
from tests.conftest import FreshDatabase
from tests.moving import moved

NUMBERED = Table("t", (Column("id", Kind.INTEGER, automatic=True, nullable=False),))


@pytest.fixture
def url(mariadb_url: str) -> URL:
    return make_url(mariadb_url)


@pytest.fixture
async def pool(url: URL) -> AsyncIterator[AsyncEngine]:
    pool = BACKEND.create_engine(url)
    yield pool
    await pool.dispose()


async def run(url: URL, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a connection of their own; return what the last one gave."""
    connection = await connect(url)
    try:
        for statement in statements:
            found = await fetch(connection, statement)
        return found
    finally:
        await close(connection)


@contextlib.asynccontextmanager
async def user_with(url: URL, right: str) -> AsyncIterator[URL]:
    """Give the URL of a user who has this right only; gone with the block."""
    name = f"u{str(url.database)[-16:]}"
    who = f"{quote(name)}@'127.0.0.1'"
    await run(url, f"CREATE USER {who} IDENTIFIED BY 'p'", f"GRANT {right} TO {who}")
    try:
        yield url.set(username=name, password="p")
    finally:
        await run(url, f"DROP USER {who}")


async def reflected(pool: AsyncEngine) -> Schema:
    async with pool.connect() as connection:
        return await connection.run_sync(BACKEND.reflect)


async def test_a_view_that_no_longer_works_is_not_in_a_trial_and_those_that_need_it_neither(
    url: URL, pool: AsyncEngine
) -> None:
    await run(
        url, "CREATE TABLE t (a int)", "CREATE TABLE gone (a int)", "CREATE VIEW z AS SELECT a FROM t",
        "CREATE VIEW broken AS SELECT a FROM gone", "CREATE VIEW atop AS SELECT a FROM broken",
        "CREATE VIEW fine AS SELECT a FROM z",
    )  # fmt: skip
    schema = await reflected(pool)
    await run(url, "DROP TABLE gone")
    schema = Schema(
        tuple(table for table in schema.tables if table.name != "gone"),
        # The one that needs another comes first: it is tried again once that one is there.
        views=tuple(sorted(schema.views, key=lambda view: view.name)),
    )
    async with BACKEND.trial(pool, url, schema) as connection:
        found = await connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.views WHERE table_schema = DATABASE() ORDER BY 1"
        )
        assert found.scalars().all() == ["fine", "z"]


async def test_a_connection_lost_while_a_trial_is_furnished_is_no_refused_view(
    url: URL, pool: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(url, "CREATE TABLE t (a int)", "CREATE VIEW v AS SELECT a FROM t")
    schema = await reflected(pool)
    original = mysql_module._run

    async def run_or_lose(connection: Any, statement: str) -> Any:
        if statement.startswith("CREATE VIEW"):
            number = (await original(connection, "SELECT CONNECTION_ID()")).scalar_one()
            await run(url, f"KILL {number}")
        return await original(connection, statement)

    monkeypatch.setattr(mysql_module, "_run", run_or_lose)
    with pytest.raises(DBAPIError) as lost:
        async with BACKEND.trial(pool, url, schema):
            pytest.fail("nobody noticed")
    assert lost.value.connection_invalidated
    assert await run(url, "SHOW DATABASES LIKE '%migration_bench_trial'") == []


async def test_what_is_no_missing_right_is_not_called_one(url: URL) -> None:
    # A name that is longer than any database's may be: nobody lacks a right.
    with pytest.raises(mysql_connection.require_driver().errors.MySQLError, match="Incorrect database name"):
        await mysql_module._make_beside(url, "x" * 65, "nothing is done")


async def test_the_next_number_of_a_table_of_pieces_may_be_taken(
    url: URL, pool: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There can be no temporary table like it, so its counter is believed, unless a row has that number."""
    await run(
        url, "CREATE TABLE t (id bigint PRIMARY KEY AUTO_INCREMENT) PARTITION BY HASH (id) PARTITIONS 2",
        "INSERT INTO t VALUES (1), (2)",
    )  # fmt: skip
    async with pool.connect() as connection:
        assert await BACKEND.try_next_number(connection, NUMBERED) == 3

    async def standing_at_two(*_: Any) -> int:
        return 2

    # No statement makes a counter of this server stand at a number that is taken.
    monkeypatch.setattr(mysql_module, "_counter", standing_at_two)
    async with pool.connect() as connection:
        with pytest.raises(TargetUnusable, match="The next number, 2, is taken"):
            await BACKEND.try_next_number(connection, NUMBERED)


async def test_a_number_that_may_not_be_tried_is_an_error(url: URL) -> None:
    await run(url, "CREATE TABLE t (id bigint PRIMARY KEY AUTO_INCREMENT)")
    async with user_with(url, f"SELECT ON {quote(str(url.database))}.*") as weak:
        pool = BACKEND.create_engine(weak)
        async with pool.connect() as connection:
            with pytest.raises(DBAPIError, match="denied"):
                await BACKEND.try_next_number(connection, NUMBERED)
        await pool.dispose()


async def test_a_connection_that_cannot_be_pinned_is_closed(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a session must be like it is, or there is none."""
    seen = []

    async def refuse(connection: Any, **_: Any) -> None:
        seen.append(connection)
        await fetch(connection, "SET SESSION no_such_setting = 1")

    monkeypatch.setattr(mysql_connection, "_pin", refuse)
    with pytest.raises(mysql_connection.require_driver().errors.MySQLError, match="no_such_setting"):
        await connect(url)
    assert [connection.connected for connection in seen] == [False]


async def test_a_column_that_is_gone_by_the_time_of_loading_is_named(url: URL, pool: AsyncEngine) -> None:
    await run(url, "CREATE TABLE t (a int)")
    columns = [ScanColumn(Column(name, Kind.INTEGER), Kind.INTEGER) for name in ("a", "b", "c")]
    table = Table("t", tuple(wanted.column for wanted in columns))
    batch = pa.record_batch([pa.array([1], pa.int64())] * 3, names=["0", "1", "2"])
    async with BACKEND.loader(pool, [table]) as loader:
        with pytest.raises(TargetUnusable, match="There is no column b, c"):
            await written(loader, table, columns, batch)
    assert await run(url, "SELECT * FROM t") == []


async def written(loader: Loader, table: Table, columns: list[ScanColumn], batch: pa.RecordBatch) -> None:
    async with loader.transaction():
        await loader.write(table, columns, batch)


async def test_zeros_in_front_and_an_index_that_is_not_used_are_named(url: URL, pool: AsyncEngine) -> None:
    await run(url, "CREATE TABLE t (n int(5) ZEROFILL, a int, KEY by_a (a) IGNORED)")
    assert set((await reflected(pool)).uncarried) == {
        Uncarried("column option", "t.n", "ZEROFILL"),
        Uncarried("index option", "t.by_a", "INVISIBLE"),
    }


async def test_a_view_whose_definition_is_kept_from_the_user_is_told_and_the_advice_helps(url: URL) -> None:
    await run(url, "CREATE TABLE t (a int)", "CREATE VIEW v AS SELECT a FROM t")
    everything = f"{quote(str(url.database))}.*"
    async with user_with(url, f"SELECT ON {everything}") as weak:
        with pytest.raises(SourceUnusable, match="definition of a view cannot be read") as told:
            await reflected_by(weak)
        assert "Grant SHOW VIEW on the database" in told.value.next_step
    async with user_with(url, f"SELECT, SHOW VIEW ON {everything}") as able:
        assert [view.name for view in (await reflected_by(able)).views] == ["v"]


async def reflected_by(url: URL) -> Schema:
    pool = BACKEND.create_engine(url)
    try:
        return await reflected(pool)
    finally:
        await pool.dispose()


async def test_only_a_connection_that_is_gone_already_need_not_be_ended(url: URL) -> None:
    text = url.render_as_string(hide_password=False)
    await mysql_server._kill(text, 2**31)
    with pytest.raises(mysql_connection.require_driver().errors.MySQLError, match="nobody"):
        await mysql_server._kill(text, "nobody")


WORDS = Table("t", (Column("id", Kind.INTEGER, nullable=False), Column("v", Kind.TEXT)), primary_key=("id",))


async def test_a_scan_that_is_left_notices_a_connection_that_is_gone(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stops a query awaits just one error; another one means that the connection is of no use."""
    await run(
        url, "CREATE TABLE t (id int PRIMARY KEY, v longtext)",
        "INSERT INTO t SELECT seq, repeat('x', 1000000) FROM seq_1_to_40",
    )  # fmt: skip

    async def fetch_otherwise(connection: Any, statement: str) -> Any:
        return await fetch(connection, statement.replace("KILL QUERY", "KILL CONNECTION"))

    monkeypatch.setattr(mysql_rows, "fetch", fetch_otherwise)
    columns = [ScanColumn(column, column.kind) for column in WORDS.columns]
    async with BACKEND.snapshot(url) as snapshot:
        scan = snapshot.scan(WORDS, columns)
        await anext(scan)
        with pytest.raises(mysql_connection.require_driver().errors.Error):
            await scan.aclose()


async def test_what_arrow_could_not_read_and_nobody_can_name_is_refused_in_its_words(url: URL) -> None:
    await run(url, "CREATE TABLE t (id int PRIMARY KEY, v longtext)", "INSERT INTO t VALUES (1, 'fine')")
    columns = [ScanColumn(column, column.kind) for column in WORDS.columns]
    async with BACKEND.snapshot(url) as snapshot:
        told = await snapshot._refusal(WORDS, columns, "out of luck")
    assert str(told).startswith("A value cannot be read: out of luck (t)")


async def test_an_index_of_words_stays_one(url: URL, fresh_database: FreshDatabase) -> None:
    # No way to keep an index, but another index: the server would not know it behind USING.
    target = fresh_database("mariadb")
    await run(url, "CREATE TABLE t (id int PRIMARY KEY, v longtext, FULLTEXT KEY words (v))")
    await run(url, "INSERT INTO t VALUES (1, 'somewhere over the rainbow')")
    service = await moved(url.render_as_string(hide_password=False), target, accept_all=True)
    assert service.error is None
    found = await run(make_url(target), "SHOW INDEX FROM t WHERE Key_name = 'words'")
    assert [row[10] for row in found] == ["FULLTEXT"]
    assert await run(make_url(target), "SELECT id FROM t WHERE MATCH (v) AGAINST ('rainbow')") == [(1,)]
