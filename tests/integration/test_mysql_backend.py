"""What the backend of MySQL and MariaDB promises beyond the conformance suite, tried on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncmy
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from migration.backends import backend_for, mysql_connection, mysql_errors, mysql_lock, mysql_types
from migration.backends import mysql as mysql_module
from migration.backends.mysql import BACKEND
from migration.backends.mysql_connection import close, connect, fetch, literal, quote
from migration.backends.mysql_schema import without_database
from migration.database import Database
from migration.errors import MigrationError, SourceUnusable, TargetLocked, TargetUnusable, UsageError
from migration.model import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    Uncarried,
    Unique,
    View,
)
from tests.conftest import FreshDatabase


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


async def reflected(pool: AsyncEngine) -> Schema:
    async with pool.connect() as connection:
        return await connection.run_sync(BACKEND.reflect)


@contextlib.asynccontextmanager
async def user_with(url: URL, *rights: str) -> AsyncIterator[URL]:
    """Give the URL of a user who has these rights only; gone with the block."""
    name = f"u{sum(map(ord, str(url.database)))}"
    who = f"{quote(name)}@'127.0.0.1'"
    await run(
        url, f"CREATE USER {who} IDENTIFIED BY 'p:@/w'", *[f"GRANT {right} TO {who}" for right in rights]
    )
    try:
        yield url.set(username=name, password="p:@/w")
    finally:
        await run(url, f"DROP USER {who}")


# Runs a statement that a server warns about, in a program that has set up no logging.
WARNED = """
import asyncio, logging, sys
from migration.database import open_database

async def ask():
    async with open_database(sys.argv[1]) as database, database.control() as connection:
        {before}
        await connection.exec_driver_sql("SELECT CAST('a value of a row' AS INTEGER)")

asyncio.run(ask())
"""
LOUD = "logging.getLogger('asyncmy').handlers.clear()"


class TestSilence:
    # The driver writes to a log whatever a server warns of, and Python prints what has no log to go to.
    @pytest.mark.parametrize(("before", "is_printed"), [("", False), (LOUD, True)], ids=["", "canary"])
    async def test_what_a_server_warns_of_is_not_printed(
        self, mariadb_url: str, before: str, is_printed: bool
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", WARNED.format(before=before), mariadb_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert (b"a value of a row" in said) == is_printed
        assert is_printed or not said


class TestFinding:
    def test_both_schemes_lead_here(self) -> None:
        for scheme in ("mysql", "mariadb", "mysql+asyncmy", "mariadb+anything"):
            assert backend_for(URL.create(scheme)) is BACKEND

    def test_a_missing_driver_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "asyncmy", None)
        with pytest.raises(UsageError, match=r'pip install "migration-bench\[mysql\]"'):
            BACKEND.create_engine(make_url("mysql://h/d"))


class TestConnections:
    async def test_every_connection_is_strict_and_in_utc_whatever_the_server_is_set_to(
        self, url: URL
    ) -> None:
        ((before, zone),) = await run(url, "SELECT @@GLOBAL.sql_mode, @@GLOBAL.time_zone")
        await run(url, "SET GLOBAL sql_mode = 'ANSI_QUOTES'", "SET GLOBAL time_zone = '-05:00'")
        try:
            ((mode, there, collation, isolation, autocommit),) = await run(
                url, "SELECT @@sql_mode, @@time_zone, @@collation_connection, @@tx_isolation, @@autocommit"
            )
            pool = BACKEND.create_engine(url)
            async with pool.connect() as pooled:
                found = await pooled.exec_driver_sql("SELECT @@sql_mode, @@time_zone, @@autocommit")
                assert tuple(found.one()) == (mode, "+00:00", 0)
            await pool.dispose()
        finally:
            await run(
                url, f"SET GLOBAL sql_mode = {literal(before)}", f"SET GLOBAL time_zone = {literal(zone)}"
            )
        assert set(mode.split(",")) == set(mysql_connection.SQL_MODE.split(","))
        assert (there, collation, isolation, autocommit) == ("+00:00", "utf8mb4_bin", "READ-COMMITTED", 1)

    @pytest.mark.parametrize(
        ("column", "value"),
        [("tinyint", "300"), ("varchar(2)", "'abc'"), ("date", "'2024-02-31'"), ("int", "'1x'"),
         ("enum('a')", "'b'"), ("int NOT NULL", "NULL"), ("decimal(3,1)", "123.4")],
    )  # fmt: skip
    async def test_a_value_that_does_not_fit_is_an_error_in_every_kind_of_table(
        self, url: URL, column: str, value: str
    ) -> None:
        for kind in ("InnoDB", "MyISAM"):
            await run(url, f"CREATE OR REPLACE TABLE t (a {column}) ENGINE={kind}")
            with pytest.raises(asyncmy.errors.MySQLError):
                await run(url, f"INSERT INTO t VALUES ({value})")

    async def test_canary_a_lax_mode_would_change_the_value(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (a tinyint)")
        found = await run(url, "SET SESSION sql_mode = ''", "INSERT INTO t VALUES (300)", "SELECT a FROM t")
        assert found == [(127,)]

    async def test_texts_and_bytes_that_travel_as_parameters_arrive_unchanged(
        self, pool: AsyncEngine
    ) -> None:
        nasty = ["\\", "\\'", "'", "\0", "100 %", "\n", "\U0010ffff"]
        async with pool.connect() as connection:
            for text in nasty:
                found = await connection.execute(sa.select(sa.literal(text), sa.literal(text.encode())))
                assert tuple(found.one()) == (text, text.encode())

    def test_literals_are_what_they_say(self) -> None:
        assert (literal("a'b\\c"), quote("a`b")) == ("'a''b\\\\c'", "`a``b`")

    async def test_a_read_only_engine_writes_nothing(self, url: URL) -> None:
        pool = BACKEND.create_engine(url, read_only=True)
        async with pool.connect() as connection:
            with pytest.raises(DBAPIError, match="READ ONLY"):
                await connection.exec_driver_sql("CREATE TABLE t (a int)")
        await pool.dispose()

    async def test_no_server_gets_a_file_that_nobody_meant_to_send(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (a text)")
        with pytest.raises(RuntimeError, match="local_infile"):
            await run(url, "LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE t")

    @pytest.mark.parametrize(
        ("query", "said"),
        [({"sslmode": "require"}, "not known: sslmode"), ({"charset": "latin1"}, "charset=latin1"),
         ({"ssl_mode": "perhaps"}, "ssl_mode=perhaps"), ({"ssl": "maybe"}, "ssl=maybe")],
    )  # fmt: skip
    async def test_an_option_that_is_not_known_is_refused_by_name(
        self, url: URL, query: dict[str, str], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            await connect(url.set(query=query))

    async def test_a_url_without_a_database_is_refused(self, url: URL) -> None:
        with pytest.raises(UsageError, match="names no database"):
            await connect(url.set(database=""))

    async def test_plain_connections_are_made_where_that_is_said(self, url: URL) -> None:
        for query in ({"ssl_mode": "disabled"}, {"ssl": "false"}, {"ssl_mode": "PREFERRED"}):
            assert await run(url.set(query=query), "SELECT 1") == [(1,)]

    async def test_a_socket_leads_to_the_same_server(self, url: URL) -> None:
        ((path, have),) = await run(url, "SELECT @@socket, @@hostname")
        if not path:
            pytest.skip("this server has no socket")
        found = await run(url.set(host="localhost", port=1, query={"unix_socket": path}), "SELECT @@hostname")
        assert found == [(have,)]

    async def test_facts_are_plain_strings(self, pool: AsyncEngine, url: URL) -> None:
        async with pool.connect() as connection:
            facts = await BACKEND.facts(connection)
        assert facts["database"] == url.database
        assert {"sql_mode", "lower_case_table_names", "max_allowed_packet", "local_infile"} <= facts.keys()


class TestForeignKeyChecks:
    async def _state(self, connection: AsyncConnection) -> int:
        return int((await connection.exec_driver_sql("SELECT @@foreign_key_checks")).scalar_one())

    async def test_tables_that_need_each_other_are_made_and_dropped_in_any_order(
        self, url: URL, pool: AsyncEngine
    ) -> None:
        async with pool.begin() as connection:
            for one, other in (("a", "b"), ("b", "a")):
                await connection.exec_driver_sql(
                    f"CREATE TABLE {one} (id bigint PRIMARY KEY, FOREIGN KEY (id) REFERENCES {other} (id))"
                )
            assert await self._state(connection) == 1
            with pytest.raises(DBAPIError, match="foreign key"):
                await connection.exec_driver_sql("INSERT INTO a VALUES (1)")
            await connection.exec_driver_sql("DROP TABLE a")
            await connection.exec_driver_sql("DROP TABLE b")
        assert await run(url, "SHOW TABLES") == []

    @pytest.mark.parametrize("statement", ["CREATE TABLE t (a int)", "CREATE TABLE nonsense"])
    async def test_a_pooled_connection_comes_back_with_them_on(
        self, pool: AsyncEngine, statement: str
    ) -> None:
        async with pool.connect() as connection:
            with contextlib.suppress(DBAPIError):
                await connection.exec_driver_sql(statement)
            raw = (await connection.get_raw_connection()).driver_connection
        # The same one, which nothing has been asked of in between.
        assert await fetch(raw, "SELECT @@foreign_key_checks") == [(1,)]

    async def test_canary_a_setting_outlives_its_transaction(self, pool: AsyncEngine) -> None:
        async with pool.begin() as connection:
            await connection.exec_driver_sql("SET foreign_key_checks = 0")
        async with pool.connect() as connection:
            assert await self._state(connection) == 0


ODD_TABLES = (
    r"""CREATE TABLE kinds (
        id bigint unsigned NOT NULL PRIMARY KEY AUTO_INCREMENT,
        yes tinyint(1) DEFAULT 1, bit1 bit(1) DEFAULT b'1', bit8 bit(8) DEFAULT b'101', bit64 bit(64),
        tiny tinyint, small smallint unsigned, medium mediumint, plain int unsigned, big bigint,
        huge bigint unsigned, born year, money decimal(10,2), any_decimal decimal(65,30), single float,
        dbl double, name varchar(20) DEFAULT 'a\\b''c %', fixed char(3), note text, long_note longtext,
        latin varchar(5) CHARACTER SET latin1 COLLATE latin1_swedish_ci,
        three varchar(5) CHARACTER SET utf8mb3,
        raw varbinary(16), blobs blob, day date, at time(3), stamp datetime,
        instant timestamp NULL DEFAULT current_timestamp(),
        utc datetime(6) DEFAULT (utc_timestamp(6)) COMMENT 'UTC', doc json,
        choice enum('a','b''c','d,e') DEFAULT 'a', several set('x','y'), ip inet6, uid uuid
    ) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin""",
    """CREATE TABLE parent (
        a bigint unsigned NOT NULL, b varchar(10) COLLATE utf8mb4_nopad_bin NOT NULL,
        PRIMARY KEY (a, b), UNIQUE KEY parent_b (b),
        CONSTRAINT up FOREIGN KEY (a) REFERENCES kinds (id) ON DELETE CASCADE)""",
    """CREATE TABLE child (
        id int PRIMARY KEY, a bigint unsigned, b varchar(10), n int,
        twice int AS (n * 2) STORED, half int AS (n / 2) VIRTUAL,
        changed datetime ON UPDATE current_timestamp(),
        doc longtext CHECK (json_valid(doc) OR 1), hidden int INVISIBLE,
        CONSTRAINT positive CHECK (n > 0 AND doc <> 'x''y'),
        CONSTRAINT child_parent FOREIGN KEY (a, b) REFERENCES parent (a, b) ON UPDATE CASCADE,
        KEY down (n DESC, a), KEY prefix (doc(10)), FULLTEXT KEY words (doc)
    ) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin""",
    "CREATE TABLE split (id int) PARTITION BY HASH (id) PARTITIONS 2",
    "CREATE TABLE plain_file (id int) ENGINE=MyISAM",
    "CREATE TABLE migration_bench_something (id int)",
    "CREATE TABLE past (id int) WITH SYSTEM VERSIONING",
    "CREATE TABLE place (at point)",
    "CREATE VIEW seen AS SELECT k.id, 'it''s' AS word FROM kinds k WHERE k.name LIKE 'a%' WITH CHECK OPTION",
    "CREATE TRIGGER shout BEFORE INSERT ON child FOR EACH ROW SET new.b = 'a%'",
    "CREATE SEQUENCE counting",
    "CREATE PROCEDURE act() SELECT 1",
    "CREATE EVENT daily ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1",
)


class TestReflection:
    @pytest.fixture
    async def schema(self, url: URL, pool: AsyncEngine) -> Schema:
        await run(url, *ODD_TABLES)
        return await reflected(pool)

    async def test_all_that_is_there_is_told_once(self, schema: Schema) -> None:
        names = ["child", "kinds", "parent", "past", "place", "plain_file", "split"]
        assert [table.name for table in schema.tables] == names
        self._types(schema.table("kinds"))
        self._rules(schema)
        self._views_and_triggers(schema)
        self._uncarried(schema)

    def _types(self, kinds: Table) -> None:
        found = {c.name: (c.kind, c.size, c.bits, c.precision, c.scale) for c in kinds.columns}
        assert found == {
            "id": (Kind.INTEGER, None, 64, None, None),
            "yes": (Kind.BOOLEAN, None, None, None, None),
            "bit1": (Kind.BOOLEAN, None, None, None, None),
            "bit8": (Kind.INTEGER, None, 9, None, None),
            "bit64": (Kind.DECIMAL, None, None, 20, 0),
            "tiny": (Kind.INTEGER, None, 8, None, None),
            "small": (Kind.INTEGER, None, 17, None, None),
            "medium": (Kind.INTEGER, None, 24, None, None),
            "plain": (Kind.INTEGER, None, 33, None, None),
            "big": (Kind.INTEGER, None, 64, None, None),
            "huge": (Kind.DECIMAL, None, None, 20, 0),
            "born": (Kind.INTEGER, None, 16, None, None),
            "money": (Kind.DECIMAL, None, None, 10, 2),
            "any_decimal": (Kind.DECIMAL, None, None, None, None),
            "single": (Kind.FLOAT, None, 32, None, None),
            "dbl": (Kind.FLOAT, None, 64, None, None),
            "name": (Kind.TEXT, 20, None, None, None),
            "fixed": (Kind.TEXT, 3, None, None, None),
            "note": (Kind.TEXT, None, None, None, None),
            "long_note": (Kind.TEXT, None, None, None, None),
            "latin": (Kind.TEXT, 5, None, None, None),
            "three": (Kind.TEXT, 5, None, None, None),
            "raw": (Kind.BYTES, 16, None, None, None),
            "blobs": (Kind.BYTES, None, None, None, None),
            "day": (Kind.DATE, None, None, None, None),
            "at": (Kind.TIME, None, None, 3, None),
            "stamp": (Kind.TIMESTAMP, None, None, 0, None),
            "instant": (Kind.INSTANT, None, None, 0, None),
            "utc": (Kind.INSTANT, None, None, 6, None),
            "doc": (Kind.JSON, None, None, None, None),
            "choice": (Kind.TEXT, None, None, None, None),
            "several": (Kind.TEXT, None, None, None, None),
            "ip": (Kind.TEXT, None, None, None, None),
            "uid": (Kind.TEXT, None, None, None, None),
        }
        column = kinds.column
        assert (column("id").automatic, column("id").never_reuses) == (True, True)
        assert {c.name: c.default for c in kinds.columns if c.default is not None} == {
            "yes": "1", "bit1": "1", "bit8": "5", "name": r"'a\\b''c %'", "instant": "current_timestamp()",
            "utc": "utc_timestamp(6)", "choice": "'a'",
        }  # fmt: skip
        assert column("choice").choices == ("a", "b'c", "d,e")
        assert (column("note").byte_size, column("blobs").byte_size) == (65_535, 65_535)
        assert column("long_note").byte_size is None
        assert (column("name").collation, column("latin").collation) == (None, "latin1_swedish_ci")
        assert (column("three").largest_character, column("name").largest_character) == (0xFFFF, None)
        assert (column("instant").latest, column("utc").latest) == (2**31 * 10**6 - 1, None)
        assert kinds.checks == ()

    def _rules(self, schema: Schema) -> None:
        parent, child = schema.table("parent"), schema.table("child")
        assert (parent.primary_key, parent.uniques) == (("a", "b"), (Unique("parent_b", ("b",)),))
        # What refers to a column that numbers itself is a number too, through as many tables as it takes.
        assert (parent.column("a").kind, child.column("a").kind) == (Kind.INTEGER, Kind.INTEGER)
        assert parent.foreign_keys == (ForeignKey("up", ("a",), "kinds", ("id",), on_delete="CASCADE"),)
        assert child.foreign_keys == (
            ForeignKey("child_parent", ("a", "b"), "parent", ("a", "b"), on_update="CASCADE"),
        )
        assert child.checks == (
            Check(None, "json_valid(`doc`) or 1"),
            Check("positive", r"`n` > 0 and `doc` <> 'x\'y'"),
        )
        assert (child.column("twice").generated, child.column("half").generated) == ("`n` * 2", "`n` / 2")
        assert child.indexes == (
            Index("child_parent", (IndexPart("a"), IndexPart("b"))),
            Index("down", (IndexPart("n", descending=True), IndexPart("a"))),
            Index("prefix", (IndexPart("doc"),)),
            Index("words", (IndexPart("doc"),), method="fulltext"),
        )

    def _views_and_triggers(self, schema: Schema) -> None:
        (view,) = schema.views
        assert "`.`" not in view.definition.replace("`k`.`", "")
        assert "from `kinds` `k`" in view.definition
        (trigger,) = schema.triggers
        assert (trigger.name, trigger.table) == ("shout", "child")
        assert trigger.definition.endswith("SET new.b = 'a%'")

    def _uncarried(self, schema: Schema) -> None:
        assert {(entry.what, entry.name) for entry in schema.uncarried} == {
            ("column option", "child.hidden"), ("event", "daily"), ("geometry", "place.at"),
            ("index option", "child.prefix"), ("on-update", "child.changed"), ("partitioning", "split"),
            ("procedure", "act"), ("sequence", "counting"), ("storage engine", "plain_file"),
            ("system versioning", "past"), ("view option", "seen"),
        }  # fmt: skip

    async def test_a_foreign_key_into_another_database_is_named(
        self, url: URL, pool: AsyncEngine, fresh_database: FreshDatabase
    ) -> None:
        other = make_url(fresh_database("mariadb"))
        await run(other, "CREATE TABLE far (id int PRIMARY KEY)")
        there = f"{quote(str(other.database))}.far"
        await run(
            url, f"CREATE TABLE near (id int, CONSTRAINT out_there FOREIGN KEY (id) REFERENCES {there} (id))"
        )
        schema = await reflected(pool)
        await run(url, "DROP TABLE near")
        assert schema.table("near").foreign_keys == ()
        reason = "it refers to a table of another database"
        assert schema.uncarried == (Uncarried("foreign key", "near.out_there", reason),)

    async def test_triggers_that_are_held_back_are_told_all_the_same(
        self, url: URL, pool: AsyncEngine
    ) -> None:
        await run(
            url,
            "CREATE TABLE t (a int)",
            "CREATE TRIGGER shout BEFORE INSERT ON t FOR EACH ROW SET new.a = 1",
        )
        (table,) = (await reflected(pool)).tables
        async with BACKEND.loader(pool, [table]):
            assert await run(url, "SHOW TRIGGERS") == []
            assert [(t.name, t.table) for t in (await reflected(pool)).triggers] == [("shout", "t")]

    @pytest.mark.parametrize(
        ("sql", "found"),
        [
            ("select `d`.`t`.`a` AS `a` from `d`.`t`", "select `t`.`a` AS `a` from `t`"),
            ("select '`d`.`t`' from `d`.`t`", "select '`d`.`t`' from `t`"),
            (r"select 'it\'s `d`.`t`' from `d`.`t`", r"select 'it\'s `d`.`t`' from `t`"),
            ("select `d`.`a` from `e`.`t` `d`", "select `d`.`a` from `e`.`t` `d`"),
            ("select _utf8mb4'a', '_utf8mb4''a'", "select 'a', '_utf8mb4''a'"),
        ],
    )
    def test_a_view_names_no_database(self, sql: str, found: str) -> None:
        assert without_database(sql, "d", frozenset({"t"})) == found

    def test_what_mysql_keeps_escaped_is_read_as_written(self) -> None:
        kept = r"(`a` <> _utf8mb4\'it\\\'s\')"
        assert mysql_types.expression(kept, is_mariadb=False) == r"(`a` <> 'it\'s')"


class TestTypes:
    @pytest.mark.parametrize(
        ("column", "declared"),
        [
            (Column("c", Kind.BOOLEAN), "tinyint(1)"),
            (Column("c", Kind.INTEGER, bits=16), "bigint(20)"),
            (Column("c", Kind.DECIMAL), "decimal(65,30)"),
            (Column("c", Kind.DECIMAL, precision=10, scale=2), "decimal(10,2)"),
            (Column("c", Kind.DECIMAL, precision=5, scale=-2), "decimal(7,0)"),
            (Column("c", Kind.DECIMAL, precision=2, scale=5), "decimal(5,5)"),
            (Column("c", Kind.DECIMAL, precision=100, scale=50), "decimal(65,30)"),
            (Column("c", Kind.FLOAT, bits=32), "double"),
            (Column("c", Kind.TEXT), "longtext"),
            (Column("c", Kind.TEXT, size=20), "varchar(20)"),
            (Column("c", Kind.TEXT, size=100_000), "longtext"),
            (Column("c", Kind.BYTES), "longblob"),
            (Column("c", Kind.BYTES, size=20), "varbinary(20)"),
            (Column("c", Kind.DATE), "date"),
            (Column("c", Kind.TIME), "time(6)"),
            (Column("c", Kind.TIMESTAMP), "datetime(6)"),
            (Column("c", Kind.INSTANT), "datetime(6)"),
            (Column("c", Kind.JSON), "longtext"),
        ],
        ids=lambda value: value if isinstance(value, str) else value.kind.value,
    )
    async def test_a_new_column_has_a_type_of_its_kind(self, url: URL, column: Column, declared: str) -> None:
        database = Database(url)
        async with database.changing() as connection:
            await connection.exec_driver_sql(
                database.writer.create_table(Table("t", (column,)), complete=True)
            )
        (found,) = (await database.schema()).tables[0].columns
        await database.close()
        assert (found.declared, found.kind, found.collation) == (declared, column.kind, None)

    async def test_texts_are_told_apart_by_their_bytes(self, url: URL) -> None:
        database = Database(url)
        table = Table("t", (Column("c", Kind.TEXT, size=20),), uniques=(Unique("u", ("c",)),))
        async with database.changing() as connection:
            await connection.exec_driver_sql(database.writer.create_table(table, complete=True))
        await database.close()
        texts = ("Alice", "alice", "cafe", "café", "a", "a ", "ß", "ss")
        await run(url, f"INSERT INTO t VALUES {', '.join(f'({literal(text)})' for text in texts)}")
        assert await run(url, "SELECT count(*) FROM t WHERE c = 'a'") == [(1,)]

    async def test_canary_the_usual_collation_takes_them_for_the_same(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (c varchar(20) COLLATE utf8mb4_general_ci UNIQUE)")
        with pytest.raises(asyncmy.errors.IntegrityError):
            await run(url, "INSERT INTO t VALUES ('Alice'), ('alice')")

    async def test_tables_are_made_for_transactions_whatever_the_default(self, url: URL) -> None:
        database = Database(url)
        async with database.changing() as connection:
            await connection.exec_driver_sql("SET default_storage_engine = MyISAM")
            table = Table("t", (Column("c", Kind.TEXT),))
            await connection.exec_driver_sql(database.writer.create_table(table, complete=True))
        await database.close()
        found = await run(
            url, "SELECT engine, row_format FROM information_schema.tables WHERE table_name = 't'"
        )
        assert ("InnoDB", "Dynamic") in found

    async def test_a_partial_index_is_refused_and_not_made_whole(self, url: URL) -> None:
        database = Database(url)
        index = Index("some", (IndexPart("c"),), unique=True, condition="c > 1")
        table = Table("t", (Column("c", Kind.INTEGER),), indexes=(index,))
        async with database.control() as connection:
            await connection.exec_driver_sql(database.writer.create_table(table, complete=True))
            (piece,) = database.writer.after_rows(table)
            with pytest.raises(DBAPIError, match="syntax"):
                await connection.exec_driver_sql(piece.statement)
        await database.close()


class TestViews:
    async def test_percent_signs_and_colons_in_a_view_are_what_they_are(self, url: URL) -> None:
        database = Database(url)
        async with database.changing() as connection:
            await connection.exec_driver_sql("SELECT 1")
            piece = database.writer.view(View("50% :a", "select '%s 100 %' AS `a`,':b ::c' AS `b`"))
            await connection.exec_driver_sql(piece.statement)
            await connection.exec_driver_sql(str(piece.probe))
        assert await run(url, "SELECT * FROM `50% :a`") == [("%s 100 %", ":b ::c")]
        (view,) = (await database.schema()).views
        assert view == View("50% :a", "select '%s 100 %' AS `a`,':b ::c' AS `b`")
        await database.close()


class TestTrial:
    async def test_it_has_what_is_there_and_leaves_nothing(self, url: URL, pool: AsyncEngine) -> None:
        await run(
            url,
            "CREATE TABLE t (a int)",
            "INSERT INTO t VALUES (1)",
            "CREATE VIEW `a view` AS SELECT a, '50%' AS b FROM t",
            "CREATE VIEW b AS SELECT * FROM `a view`",
        )
        schema = await reflected(pool)
        async with BACKEND.trial(pool, url, schema) as connection:
            assert (await connection.exec_driver_sql("SELECT COUNT(*) FROM b")).scalar_one() == 0
            await connection.exec_driver_sql("DROP TABLE t")
            await connection.exec_driver_sql("CREATE TABLE made (a int)")
        assert await run(url, "SELECT a FROM t") == [(1,)]
        assert await reflected(pool) == schema
        assert await run(url, "SHOW DATABASES LIKE '%migration_bench_trial'") == []

    async def test_nothing_is_left_of_one_that_fails_or_was_killed(self, url: URL, pool: AsyncEngine) -> None:
        name = mysql_module._name_beside(url, mysql_module.TRIAL_SUFFIX)
        await run(url, f"CREATE DATABASE {quote(name)}", f"CREATE TABLE {quote(name)}.old (a int)")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - inside of the trial, on purpose
            async with BACKEND.trial(pool, url, Schema()) as connection:
                assert (await connection.exec_driver_sql("SHOW TABLES")).all() == []
                raise ZeroDivisionError
        assert await run(url, "SHOW DATABASES LIKE '%migration_bench_trial'") == []

    async def test_a_lost_connection_does_not_keep_it(self, url: URL, pool: AsyncEngine) -> None:
        with pytest.raises(DBAPIError):  # noqa: PT012 - inside of the trial, on purpose
            async with BACKEND.trial(pool, url, Schema()) as connection:
                number = (await connection.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one()
                await run(url, f"KILL {number}")
                await connection.exec_driver_sql("SELECT 1")
        assert await run(url, "SHOW DATABASES LIKE '%migration_bench_trial'") == []

    async def test_its_connection_is_nobody_s_afterwards(self, url: URL, pool: AsyncEngine) -> None:
        async with BACKEND.trial(pool, url, Schema()):
            pass
        async with pool.connect() as connection:
            found = await connection.exec_driver_sql("SELECT DATABASE()")
            assert found.scalar_one() == url.database

    async def test_without_the_right_to_make_it_the_sentence_names_the_grant(self, url: URL) -> None:
        async with user_with(url, f"ALL ON {quote(str(url.database))}.*") as weak:
            pool = BACKEND.create_engine(weak)
            with pytest.raises(TargetUnusable, match="GRANT ALL ON `.*_migration_bench_trial`"):
                async with BACKEND.trial(pool, weak, Schema()):
                    pytest.fail("a database was made without the right to")
            await pool.dispose()

    async def test_the_grant_it_asks_for_is_enough(self, url: URL) -> None:
        trial = quote(mysql_module._name_beside(url, mysql_module.TRIAL_SUFFIX))
        rights = (f"ALL ON {quote(str(url.database))}.*", f"ALL ON {trial}.*")
        async with user_with(url, *rights) as weak:
            pool = BACKEND.create_engine(weak)
            async with BACKEND.trial(pool, weak, Schema()) as connection:
                await connection.exec_driver_sql("CREATE TABLE t (a int)")
            await pool.dispose()


class TestLock:
    async def test_it_goes_with_its_connection(self, url: URL) -> None:
        async with BACKEND.lock(url):
            with pytest.raises(TargetLocked):
                async with BACKEND.lock(url.set(drivername="mysql")):
                    pytest.fail("two hold one lock")
            ((number,),) = await run(
                url, "SELECT id FROM information_schema.processlist"
                f" WHERE db = {literal(str(url.database))} AND id <> CONNECTION_ID()"
            )  # fmt: skip
            await run(url, f"KILL {number}")
            async with BACKEND.lock(url):
                pass


class TestStamp:
    async def test_a_server_that_does_not_count_what_it_writes_says_when_tables_were_written_to(
        self, url: URL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unknown = "SHOW GLOBAL STATUS WHERE Variable_name = 'of_another_version'"
        await run(url, "CREATE TABLE t (a int)", "CREATE TABLE u (a int)")
        database, told = Database(url), []
        try:
            counted = await database.stamp()
            monkeypatch.setattr(mysql_lock, "_WRITTEN", unknown)
            for statement in ("SELECT 1", "SELECT 1", "INSERT INTO t VALUES (1)"):
                await run(url, statement)
                told.append(await database.stamp())
        finally:
            await database.close()
        assert counted.isdecimal()
        assert told[:2] == ["t None, u None"] * 2
        assert re.fullmatch(r"t \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, u None", told[2])


class TestNumbers:
    async def _table(self, url: URL, pool: AsyncEngine, *statements: str) -> Table:
        await run(url, *statements)
        return (await reflected(pool)).table("t")

    async def _try(self, pool: AsyncEngine, table: Table) -> int:
        async with pool.connect() as connection:
            return await BACKEND.try_next_number(connection, table)

    @pytest.mark.parametrize("number", [1, 2, 42, 2**31, 2**63 - 1])
    async def test_the_next_number_is_what_an_insert_gets(
        self, url: URL, pool: AsyncEngine, number: int
    ) -> None:
        table = await self._table(url, pool, "CREATE TABLE t (id bigint PRIMARY KEY AUTO_INCREMENT)")
        async with pool.begin() as connection:
            await BACKEND.set_next_number(connection, table, number)
        for _ in range(2):
            assert await self._try(pool, table) == number
        async with BACKEND.snapshot(url) as snapshot:
            assert await snapshot.next_number(table) == number
        await run(url, "INSERT INTO t () VALUES ()")
        assert await run(url, "SELECT id FROM t") == [(number,)]

    async def test_past_the_end_there_is_none(self, url: URL, pool: AsyncEngine) -> None:
        table = await self._table(url, pool, "CREATE TABLE t (id tinyint PRIMARY KEY AUTO_INCREMENT)")
        async with pool.begin() as connection:
            await BACKEND.set_next_number(connection, table, 128)
        with pytest.raises(TargetUnusable, match="No number is left"):
            await self._try(pool, table)

    async def test_a_table_that_objects_to_every_insert_is_tried_all_the_same(
        self, url: URL, pool: AsyncEngine
    ) -> None:
        table = await self._table(
            url, pool,
            "CREATE TABLE other (id int PRIMARY KEY)",
            """CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, a int NOT NULL CHECK (a = 7),
            b int NOT NULL UNIQUE, c int AS (a + 1) STORED,
            FOREIGN KEY (b) REFERENCES other (id)) AUTO_INCREMENT = 5""",
            "CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45000'",
        )  # fmt: skip
        before = await reflected(pool)
        assert await self._try(pool, table) == 5
        assert await reflected(pool) == before
        async with pool.connect() as connection:
            found = await connection.exec_driver_sql("SELECT @@sql_mode, @@check_constraint_checks")
            assert "STRICT_ALL_TABLES" in (row := tuple(found.one()))[0]
            assert row[1] == 1

    async def test_pieces_are_asked_for_their_counter(self, url: URL, pool: AsyncEngine) -> None:
        table = await self._table(
            url, pool,
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT) AUTO_INCREMENT = 9"
            " PARTITION BY HASH (id) PARTITIONS 2",
        )  # fmt: skip
        assert await self._try(pool, table) == 9

    async def test_a_comment_is_no_counter(self, url: URL, pool: AsyncEngine) -> None:
        table = await self._table(
            url, pool,
            "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT COMMENT 'AUTO_INCREMENT=7')"
            " COMMENT='\n) AUTO_INCREMENT=8'",
        )  # fmt: skip
        assert await self._try(pool, table) == 1

    async def test_zero_is_a_number_like_any_other(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT)", "INSERT INTO t VALUES (0)")
        assert await run(url, "SELECT id FROM t") == [(0,)]


class TestErrors:
    async def _told(self, url: URL, *, is_source: bool = False) -> MigrationError:
        database = Database(url, is_source=is_source)
        with pytest.raises(MigrationError) as caught:
            await database.schema()
        await database.close()
        assert "secret" not in str(caught.value)
        return caught.value

    async def test_a_wrong_password(self, url: URL) -> None:
        error = await self._told(url.set(password="secret"), is_source=True)
        assert isinstance(error, SourceUnusable)
        assert "Wrong password for root" in str(error)

    async def test_no_such_database(self, url: URL) -> None:
        assert "There is no database nowhere" in str(await self._told(url.set(database="nowhere")))

    async def test_a_database_that_is_somebody_else_s(self, url: URL) -> None:
        async with user_with(url, "USAGE ON *.*") as weak:
            assert "may not use the database" in str(await self._told(weak))

    async def test_no_permission(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (a int)")
        async with user_with(url, f"SELECT ON {quote(str(url.database))}.*") as weak:
            database = Database(weak)
            with pytest.raises(TargetUnusable, match="lacks a permission"):
                async with database.changing() as connection:
                    await connection.exec_driver_sql("INSERT INTO t VALUES (1)")
            await database.close()

    async def test_nobody_listens(self, url: URL) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            error = await self._told(url.set(port=taken.getsockname()[1]))
        assert "No server can be reached" in str(error)

    async def test_nobody_answers(self, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mysql_connection, "CONNECT_SECONDS", 0.3)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            error = await self._told(url.set(port=silent.getsockname()[1]))
        assert "No server can be reached" in str(error)

    async def test_a_server_without_tls(self, url: URL) -> None:
        ((has,),) = await run(url, "SELECT @@have_ssl")
        if has == "YES":
            assert await run(url.set(query={"ssl": "true"}), "SHOW STATUS LIKE 'Ssl_cipher'") != []
        else:
            assert "No secure connection" in str(await self._told(url.set(query={"ssl": "true"})))

    async def test_somebody_else_s_lock(self, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = mysql_connection.SETTINGS | {"innodb_lock_wait_timeout": "1"}
        monkeypatch.setattr(mysql_connection, "SETTINGS", settings)
        await run(url, "CREATE TABLE t (a int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
        database, other = Database(url), await connect(url)
        await fetch(other, "BEGIN")
        await fetch(other, "DELETE FROM t")
        with pytest.raises(TargetUnusable, match="Another session holds a lock"):
            async with database.changing() as connection:
                await connection.exec_driver_sql("DELETE FROM t")
        await close(other)
        await database.close()

    async def test_a_connection_that_is_lost_in_the_middle(self, url: URL) -> None:
        database = Database(url)
        with pytest.raises(TargetUnusable, match="connection was lost"):  # noqa: PT012
            async with database.control() as connection:
                number = (await connection.exec_driver_sql("SELECT CONNECTION_ID()")).scalar_one()
                await run(url, f"KILL {number}")
                await connection.exec_driver_sql("SELECT 1")
        await database.close()

    @pytest.mark.parametrize(
        ("number", "sentence"),
        [(1040, "no connection left"), (1021, "disk is full"), (1114, "no room left"),
         (1290, "does not allow"), (1213, "holds a lock"), (1665, "binlog_format"), (1062, "refused a row"),
         (2013, "connection was lost")],
    )  # fmt: skip
    def test_what_no_test_should_bring_about(self, number: int, sentence: str) -> None:
        error = asyncmy.errors.OperationalError(number, "said so")
        told = BACKEND.translate_error(error, make_url("mysql://u:secret@h/d"), is_source=False)
        assert isinstance(told, TargetUnusable)
        assert sentence in str(told)
        assert "secret" not in str(told)

    def test_what_means_nothing_special(self) -> None:
        for error in (ValueError("no"), asyncmy.errors.ProgrammingError(1064, "syntax")):
            assert BACKEND.translate_error(error, make_url("mysql://h/d"), is_source=True) is None
        assert mysql_errors.number_of(ValueError()) is None
