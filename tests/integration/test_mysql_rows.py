"""Rows of MySQL and MariaDB: read as they are or refused by name, written as they are or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import random
import signal
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncmy.errors
import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from migration.backends import mysql_loader, mysql_wire
from migration.backends.mysql_catalog import HELD_TRIGGERS as HELD_TABLE
from migration.backends.mysql_connection import close, connect, fetch
from migration.backends.mysql_loader import MySQLLoader, open_loader
from migration.backends.mysql_rows import MySQLSnapshot, open_snapshot, uncarriable
from migration.errors import CouldNotLook, MigrationError, Refused, TargetUnusable
from migration.model import ARROW_TYPES, Column, Kind, ScanColumn, Table

UTC = dt.UTC


@pytest.fixture
def url(mariadb_url: str) -> URL:
    return make_url(mariadb_url)


# --- hands --------------------------------------------------------------------------------------------


async def ask(url: URL, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a connection of their own; return the rows of the last."""
    connection = await connect(url)
    try:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = await fetch(connection, statement)
        return rows
    finally:
        await close(connection)


def table_of(*columns: Column, name: str = "t", key: Sequence[str] = ()) -> Table:
    known = [replace(column, nullable=column.nullable and column.name not in key) for column in columns]
    return Table(name, tuple(known), primary_key=tuple(key))


def wanted(table: Table) -> list[ScanColumn]:
    return [ScanColumn(column, column.kind) for column in table.columns]


async def scan(snapshot: MySQLSnapshot, table: Table, **options: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    async for scanned in snapshot.scan(table, wanted(table), **options):
        rows += zip(*(array.to_pylist() for array in scanned.batch.columns), strict=True)
    return rows


async def read(url: URL, table: Table, **options: Any) -> list[tuple[Any, ...]]:
    async with open_snapshot(url) as snapshot:
        return await scan(snapshot, table, **options)


@contextlib.asynccontextmanager
async def loading(url: URL, *tables: Table) -> AsyncIterator[MySQLLoader]:
    engine = create_async_engine(url.set(drivername="mysql+asyncmy"))
    try:
        async with open_loader(engine, tables) as loader:
            yield loader
    finally:
        await engine.dispose()


def batch_of(table: Table, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [
        pa.array([row[at] for row in rows], ARROW_TYPES[column.kind])
        for at, column in enumerate(table.columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])


async def load(url: URL, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    async with loading(url, table) as loader, loader.transaction():
        await loader.write(table, wanted(table), batch_of(table, rows))


@pytest.fixture(params=["load data", "insert"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in: with local files, and as if the server took none."""
    if request.param == "insert":
        look = MySQLLoader.look

        async def look_without_files(loader: MySQLLoader, tables: Sequence[str]) -> None:
            await look(loader, tables)
            loader._takes_files = False

        monkeypatch.setattr(MySQLLoader, "look", look_without_files)
    return str(request.param)


def naive(*parts: int) -> dt.datetime:
    """Return a moment of no zone, which is what a datetime column holds."""
    return dt.datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[misc, arg-type]


# --- values, there and back ---------------------------------------------------------------------------

TEXTS = [
    None, "", " ", " a ", "\t", "\n", "\r\n", "\r", "a\nb", "a,b", '"', '""', '","', '"\n"', "'", "''",
    "\\", "\\'", '\\"', "\\n", "\\N", "\\.", "NULL", "null", "x')", "%s", "%(a)s", "@a", "\0", "a\0b", "\x1a",
    "é", "e\u0301", "ß", "👩\u200d👩\u200d👧", "\U0010ffff", "\ufeff", "\ufeffa", "\u2028",
    "x" * 70_000, 'q"' * 40_000,
]  # fmt: skip
BYTES = [None, b"", b"\0", b"\xff\xfe", b"a\0b", b"\\x41", b"'", b'"', b"\n", b"NULL", bytes(range(256)),
         b"\xe2\x22\x2c\x0a", b"z" * 70_000]  # fmt: skip


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.JSON])
async def test_text_and_bytes_arrive_unchanged(url: URL, way: str, kind: Kind) -> None:
    table = table_of(
        Column("id", Kind.INTEGER, "bigint(20)", nullable=False),
        Column("a", kind, "longtext"),
        Column("b", Kind.BYTES, "longblob"),
        key=["id"],
    )
    await ask(url, "CREATE TABLE t (id bigint PRIMARY KEY, a longtext, b longblob)")
    rows = [(at, TEXTS[at % len(TEXTS)], BYTES[at % len(BYTES)]) for at in range(max(len(TEXTS), len(BYTES)))]

    await load(url, table, rows)

    assert await read(url, table, in_order=True) == rows


def floats() -> list[float]:
    generator = random.Random(7)
    found = [0.0, 0.1, 1 / 3, 5e-324, 2.2250738585072009e-308, 2.2250738585072014e-308,
             2.0**53 + 2, 2.0**53 - 1, 1.7976931348623157e308, -1.7976931348623157e308, 1e15, 1e16, 1e22,
             123456789012345680.0, 9007199254740993.0, 1e-5, 1e-4, 4.35, 0.1 + 0.2]  # fmt: skip
    while len(found) < 4000:
        (value,) = struct.unpack("<d", generator.randbytes(8))
        if math.isfinite(value):
            found.append(value)
    return found


async def test_each_bit_of_a_double_arrives(url: URL, way: str) -> None:
    table = table_of(
        Column("id", Kind.INTEGER, "int(11)"), Column("a", Kind.FLOAT, "double", bits=64), key=["id"]
    )
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY, a double)")
    rows = list(enumerate(floats()))

    await load(url, table, rows)

    found = await read(url, table)
    assert [struct.pack("<d", value) for _, value in sorted(found)] == [
        struct.pack("<d", value) for _, value in rows
    ]


async def test_mariadb_drops_the_sign_of_zero(url: URL) -> None:
    """Known of the engine, and the reason why its traits hold no negative zero."""
    table = table_of(Column("a", Kind.FLOAT, "double", bits=64))
    await ask(url, "CREATE TABLE t (a double)")

    await load(url, table, [(-0.0,)])

    [(value,)] = await read(url, table)
    assert math.copysign(1, value) == 1


async def test_a_single_precision_number_is_read_as_the_double_that_it_is(url: URL) -> None:
    table = table_of(Column("a", Kind.FLOAT, "float", bits=32))
    await ask(
        url, "CREATE TABLE t (a float)", "INSERT INTO t VALUES (0.1), (16777216), (3.4e38), (1e-45), (-0e0)"
    )

    found = sorted(value for (value,) in await read(url, table))

    singles = [
        struct.unpack("<f", struct.pack("<f", value))[0] for value in (0.0, 1e-45, 0.1, 16777216, 3.4e38)
    ]
    assert found == singles


async def test_every_other_kind_arrives_unchanged(url: URL, way: str) -> None:
    table = table_of(
        Column("id", Kind.INTEGER, "bigint(20)", nullable=False),
        Column("yes", Kind.BOOLEAN, "tinyint(1)"),
        Column("bit", Kind.BOOLEAN, "bit(1)"),
        Column("bits", Kind.BYTES, "bit(64)"),
        Column("flags", Kind.INTEGER, "bit(40)"),
        Column("big", Kind.DECIMAL, "bigint(20) unsigned"),
        Column("exact", Kind.DECIMAL, "decimal(65,30)"),
        Column("day", Kind.DATE, "date"),
        Column("clock", Kind.TIME, "time(6)"),
        Column("moment", Kind.TIMESTAMP, "datetime(6)"),
        Column("instant", Kind.INSTANT, "datetime(6)"),
        Column("stamp", Kind.INSTANT, "timestamp(6)"),
        Column("year", Kind.INTEGER, "year(4)"),
        Column("choice", Kind.TEXT, "enum('b','a','')"),
        Column("several", Kind.TEXT, "set('b','a')"),
        key=["id"],
    )
    await ask(
        url,
        "CREATE TABLE t (id bigint PRIMARY KEY, yes tinyint(1), bit bit(1), bits bit(64), flags bit(40),"
        " big bigint unsigned, exact decimal(65,30), day date, clock time(6), moment datetime(6),"
        " instant datetime(6), stamp timestamp(6) NULL, year year, choice enum('b','a',''),"
        " several set('b','a'))",
    )
    digits = "1234567890" * 3
    rows: list[tuple[Any, ...]] = [
        (0, True, False, b"\0" * 8, 0, "0", "0." + "0" * 30, dt.date(1, 1, 1), dt.time(), naive(1, 1, 1),
         dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1901, "b", "b"),
        (-(2**63), False, True, b"\xff" * 8, 2**40 - 1, str(2**64 - 1), f"-99999{digits}.{digits}",
         dt.date(9999, 12, 31), dt.time(23, 59, 59, 999_999), naive(9999, 12, 31, 23, 59, 59, 999_999),
         dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
         dt.datetime(2038, 1, 19, 3, 14, 7, 999_999, tzinfo=UTC), 2155, "a", "b,a"),
        (2**63 - 1, None, None, b"\0" * 7 + b"\x2c", 44, None, "0." + "0" * 29 + "1",
         dt.date(2024, 2, 29), dt.time(0, 0, 0, 1), naive(2024, 3, 31, 2, 30),
         dt.datetime(2024, 10, 27, 0, 30, 0, 1, tzinfo=UTC), None, None, "", ""),
        (7, *[None] * 14),
    ]  # fmt: skip

    await load(url, table, rows)

    assert await read(url, table, in_order=True) == sorted(rows)


async def test_zero_in_a_column_that_numbers_itself_stays_zero_beside_bytes(url: URL, way: str) -> None:
    """Bytes are converted in a SET clause, after which a server may number rows that have a number."""
    table = table_of(
        Column("id", Kind.INTEGER, "bigint(20)"), Column("a", Kind.BYTES, "longblob"), key=["id"]
    )
    await ask(url, "CREATE TABLE t (id bigint AUTO_INCREMENT PRIMARY KEY, a longblob)")
    rows = [(-3, None), (0, b"\xff"), (1, b""), (7, b"0")]

    await load(url, table, rows)

    assert await read(url, table, in_order=True) == rows
    await ask(url, "INSERT INTO t (a) VALUES ('next')")
    assert await ask(url, "SELECT max(id) FROM t") == [(8,)]


async def test_a_session_elsewhere_does_not_move_instants(url: URL) -> None:
    table = table_of(Column("a", Kind.INSTANT, "timestamp"), Column("b", Kind.INSTANT, "datetime"))
    await ask(
        url,
        "CREATE TABLE t (a timestamp NULL, b datetime)",
        "SET time_zone = '+05:30'",
        "INSERT INTO t VALUES ('2024-01-01 12:00:00', '2024-01-01 12:00:00')",
    )

    assert await read(url, table) == [
        (dt.datetime(2024, 1, 1, 6, 30, tzinfo=UTC), dt.datetime(2024, 1, 1, 12, tzinfo=UTC))
    ]


async def test_text_in_other_character_sets_arrives_as_the_same_characters(url: URL, way: str) -> None:
    table = table_of(
        Column("a", Kind.TEXT, "varchar(20)"),
        Column("b", Kind.TEXT, "varchar(20)"),
        Column("c", Kind.TEXT, "char(5)"),
    )
    await ask(
        url,
        "CREATE TABLE t (a varchar(20) CHARACTER SET latin1, b varchar(20) CHARACTER SET utf8mb3,"
        " c char(5) CHARACTER SET ucs2)",
    )
    rows = [("Zürich €", "Zürich 漢", "漢"), ("", "", ""), (None, None, None)]

    await load(url, table, rows)

    assert sorted(await read(url, table), key=str) == sorted(rows, key=str)
    assert ("Z\\FCrich" in str(await ask(url, "SELECT HEX(a) FROM t"))) is False
    assert ("5AFC726963682080",) in await ask(url, "SELECT HEX(a) FROM t")


async def test_a_column_can_be_read_as_another_kind_than_its_type_suggests(url: URL) -> None:
    await ask(
        url,
        "CREATE TABLE t (a tinyint(1), b bit(3), c datetime(3), d time, e date, f double, g int(5) zerofill,"
        " h uuid, i inet6)",
        "INSERT INTO t VALUES (2, 5, '0000-00-00', '-838:59:59', '2024-00-15', 0.1, 7,"
        " '123e4567-e89b-12d3-a456-426655440000', '::1')",
    )
    text = [
        "tinyint(1)",
        "bit(3)",
        "datetime(3)",
        "time",
        "date",
        "double",
        "int(5) unsigned zerofill",
        "uuid",
        "inet6",
    ]
    as_text = table_of(
        *(Column(name, Kind.TEXT, kind) for name, kind in zip("acdefghi", text[:1] + text[2:], strict=True))
    )
    as_number = table_of(Column("a", Kind.INTEGER, "tinyint(1)"), Column("b", Kind.INTEGER, "bit(3)"))

    assert await read(url, as_text) == [
        ("2", "0000-00-00 00:00:00.000", "-838:59:59", "2024-00-15", "0.1", "00007",
         "123e4567-e89b-12d3-a456-426655440000", "::1")
    ]  # fmt: skip
    assert await read(url, as_number) == [(2, 5)]


OUTSIDE = {
    "zero date": (Kind.DATE, "date", "0000-00-00"),
    "zero month": (Kind.DATE, "date", "2024-00-15"),
    "zero day": (Kind.TIMESTAMP, "datetime", "2024-05-00 00:00:00"),
    "year zero": (Kind.DATE, "date", "0000-05-05"),
    "no such day": (Kind.INSTANT, "datetime(6)", "2024-02-31 10:00:00"),
    "zero stamp": (Kind.INSTANT, "timestamp", "0000-00-00 00:00:00"),
    "more than a day": (Kind.TIME, "time", "24:00:00"),
    "many days": (Kind.TIME, "time(6)", "838:59:59"),
    "less than nothing": (Kind.TIME, "time", "-00:00:01"),
    "two": (Kind.BOOLEAN, "tinyint(1)", "2"),
    "minus one": (Kind.BOOLEAN, "tinyint(1)", "-1"),
    "two bits": (Kind.BOOLEAN, "bit(2)", "3"),
    "more than 64 bits": (Kind.INTEGER, "bigint(20) unsigned", str(2**63)),
}


@pytest.mark.parametrize("name", OUTSIDE)
async def test_a_value_outside_its_kind_is_refused_and_named(url: URL, name: str) -> None:
    kind, declared, value = OUTSIDE[name]
    table = table_of(Column("id", Kind.INTEGER, "int(11)"), Column("a'b", kind, declared), key=["id"])
    spelled = value if value.lstrip("-").isdigit() else f"'{value}'"
    await ask(
        url,
        f"CREATE TABLE t (id int PRIMARY KEY, `a'b` {declared} NULL)",
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        f"INSERT INTO t VALUES (1, NULL), (42, {spelled}), (43, {spelled})",
    )

    async with open_snapshot(url) as snapshot:
        with pytest.raises(Refused) as refused:
            await scan(snapshot, table)
        # It can be asked on, and the conditions find the same rows beforehand.
        [condition] = uncarriable(table.columns[1]).values()
        rows = await snapshot.rows(
            sa.select(sa.func.count()).select_from(sa.text("t")).where(sa.text(condition))
        )

    assert rows == [(2,)]
    assert refused.value.where == "t.a'b"
    assert "(2)" in refused.value.what
    assert value in refused.value.what
    assert "id=42" in refused.value.what


def test_values_that_every_column_of_a_kind_can_hold_are_not_looked_for() -> None:
    assert uncarriable(Column("a", Kind.TEXT, "longtext")) == {}


# --- reading ------------------------------------------------------------------------------------------

KEYS = {
    "numbers": (Kind.INTEGER, "bigint", [-(2**63), -1, 0, 5, 2**53, 2**53 + 1, 2**63 - 1]),
    "big numbers": (Kind.DECIMAL, "bigint unsigned", ["0", str(2**63), str(2**64 - 2), str(2**64 - 1)]),
    "decimals": (Kind.DECIMAL, "decimal(20,2)", ["-1.50", "0.00", "0.01", "123456789012345678.91",
                                                  "123456789012345678.92"]),
    "doubles": (Kind.FLOAT, "double", [-1e308, -0.1, 0.0, 5e-324, 0.1, 1 / 3, 1e15, 1e308]),
    "text": (Kind.TEXT, "varchar(50)", ["", " ", "A", "B", "a", "a ", "é", "漢", "👩", "\\", "'", "a\0"]),
    "bytes": (Kind.BYTES, "varbinary(50)", [b"", b"\0", b"\0\0", b"'", b"\\", b"a", b"\xff"]),
    "days": (Kind.DATE, "date", [dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)]),
    "times": (Kind.TIME, "time(6)", [dt.time(), dt.time(0, 0, 0, 1), dt.time(23, 59, 59, 999_999)]),
    "instants": (Kind.INSTANT, "datetime(6)", [dt.datetime(1, 1, 1, tzinfo=UTC),
                                                dt.datetime(2024, 3, 31, 2, 30, 0, 1, tzinfo=UTC)]),
    "stamps": (Kind.INSTANT, "timestamp(6)", [dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
                                               dt.datetime(2024, 3, 31, 2, 30, 0, 1, tzinfo=UTC)]),
    "choices": (Kind.TEXT, "enum('z','a','m','')", ["z", "a", "m", ""]),
    "sets": (Kind.TEXT, "set('z','a')", ["", "z", "a", "z,a"]),
    "bits": (Kind.BYTES, "bit(12)", [b"\0\0", b"\0\1", b"\x0f\xff"]),
    "truth": (Kind.BOOLEAN, "tinyint(1)", [False, True]),
    "uuids": (Kind.TEXT, "uuid", ["123e4567-e89b-12d3-a456-426655440000",
                                  "00000000-0000-0000-0000-000000000001",
                                  "ffffffff-ffff-1fff-bfff-ffffffffffff"]),
    "addresses": (Kind.TEXT, "inet6", ["::", "::1", "2001:db8::1"]),
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
async def test_reading_goes_on_after_any_position(
    url: URL, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, declared, values = KEYS[name]
    monkeypatch.setattr("migration.backends.mysql_rows.BATCH_ROWS", 1)
    table = table_of(Column("a", Kind.INTEGER, "int"), Column("k", kind, declared, nullable=False), key=["k"])
    await ask(url, f"CREATE TABLE t (a int, k {declared} NOT NULL PRIMARY KEY)")
    await load(url, table, [(1, value) for value in values])

    async with open_snapshot(url) as snapshot:
        # Also when the key itself is not asked for.
        found = [scanned.position async for scanned in snapshot.scan(table, wanted(table)[:1], in_order=True)]
        rows = await scan(snapshot, table, in_order=True)
        assert len(found) == len(values)
        for at, position in enumerate(found):
            assert await scan(snapshot, table, in_order=True, after=position) == rows[at + 1 :]
    assert sorted(rows) == sorted((1, value) for value in values)


async def test_a_key_of_several_columns_is_gone_on_after_each_of_its_rows(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration.backends.mysql_rows.BATCH_ROWS", 1)
    table = table_of(
        Column("b", Kind.TEXT, "varchar(10)"),
        Column("a", Kind.INTEGER, "int"),
        Column("c", Kind.DATE, "date"),
        key=["a", "b", "c"],
    )
    await ask(url, "CREATE TABLE t (b varchar(10), a int, c date, PRIMARY KEY (a, b, c))")
    rows = [
        (text, number, dt.date(2024, 1, day))
        for number in (-1, 0, 1)
        for text in ("", "a", "b")
        for day in (1, 2)
    ]
    await load(url, table, rows)

    async with open_snapshot(url) as snapshot:
        found = [one.position async for one in snapshot.scan(table, wanted(table), in_order=True)]
        assert await scan(snapshot, table, in_order=True) == rows
        for at, position in enumerate(found):
            assert await scan(snapshot, table, in_order=True, after=position) == rows[at + 1 :]


async def test_keys_that_a_collation_sorts_otherwise_are_read_once_each(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migration.backends.mysql_rows.BATCH_ROWS", 1)
    table = table_of(Column("k", Kind.TEXT, "varchar(20)", nullable=False), key=["k"])
    await ask(url, "CREATE TABLE t (k varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY)")
    values = ["a", "B", "c", "É", "f", "_", "Z", "ß", "10", "9"]
    await load(url, table, [(value,) for value in values])

    async with open_snapshot(url) as snapshot:
        found = [one.position async for one in snapshot.scan(table, wanted(table), in_order=True)]
        rows = await scan(snapshot, table, in_order=True)
        for at, position in enumerate(found):
            assert await scan(snapshot, table, in_order=True, after=position) == rows[at + 1 :]
    assert sorted(value for (value,) in rows) == sorted(values)


async def test_batches_are_bounded_by_bytes_and_a_giant_row_is_alone(url: URL) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int(11)"), Column("a", Kind.BYTES, "longblob"), key=["id"])
    await ask(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, a longblob)",
        "INSERT INTO t SELECT seq, REPEAT('x', 100000) FROM seq_1_to_100",
        "INSERT INTO t VALUES (101, REPEAT('y', 40000000)), (102, 'z')",
    )

    async with open_snapshot(url) as snapshot:
        sizes = [
            (scanned.batch.num_rows, scanned.batch.nbytes)
            async for scanned in snapshot.scan(table, wanted(table), in_order=True)
        ]

    assert sum(rows for rows, _ in sizes) == 102
    assert all(size < 4 * mysql_wire.BATCH_BYTES for _, size in sizes if size < 40_000_000)
    assert len(sizes) >= 5


async def test_the_server_waits_while_nobody_reads(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "longtext"))
    await ask(
        url, "CREATE TABLE t (a longtext)", "INSERT INTO t SELECT REPEAT('x', 100000) FROM seq_1_to_500"
    )

    async with (
        open_snapshot(url) as snapshot,
        contextlib.aclosing(snapshot.scan(table, wanted(table))) as found,
    ):
        await anext(found)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert len(snapshot._connection._proto.buffer) < 2 * mysql_wire.BATCH_BYTES


async def test_a_snapshot_does_not_move(url: URL) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int(11)"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")

    async with open_snapshot(url) as snapshot:
        await ask(url, "INSERT INTO t VALUES (3)", "DELETE FROM t WHERE id = 1")
        assert await scan(snapshot, table) == [(1,), (2,)]
        assert await snapshot.rows(sa.select(sa.func.count()).select_from(sa.text("t"))) == [(2,)]
    assert await read(url, table) == [(2,), (3,)]


async def test_scans_may_be_read_in_turns(url: URL) -> None:
    """The rest of the one that was begun first is put aside; nothing is lost, and nothing waits for ever."""
    table = table_of(Column("id", Kind.INTEGER, "int(11)"), Column("a", Kind.TEXT, "text"), key=["id"])
    await ask(
        url,
        "CREATE TABLE t (id int PRIMARY KEY, a text)",
        "INSERT INTO t SELECT seq, REPEAT('x', 10000) FROM seq_1_to_1500",
    )

    async with open_snapshot(url) as snapshot:
        scans = [snapshot.scan(table, wanted(table), in_order=True) for _ in range(3)]
        seen = [0, 0, 0]
        for one in range(3):
            seen[one] += (await anext(scans[one])).batch.num_rows
        assert await snapshot.rows(sa.select(sa.func.count()).select_from(sa.text("t"))) == [(1500,)]
        for one in range(3):
            seen[one] += sum([scanned.batch.num_rows async for scanned in scans[one]])

    assert seen == [1500] * 3


async def test_an_abandoned_scan_leaves_the_snapshot_as_it_was(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "text"))
    await ask(url, "CREATE TABLE t (a text)", "INSERT INTO t SELECT REPEAT('x', 10000) FROM seq_1_to_2000")

    async with open_snapshot(url) as snapshot:
        await ask(url, "DELETE FROM t")
        for _ in range(5):
            async with contextlib.aclosing(snapshot.scan(table, wanted(table))) as found:
                await anext(found)
        assert len(await scan(snapshot, table)) == 2000


async def test_a_lost_connection_is_not_the_end_of_the_rows(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "text"))
    await ask(url, "CREATE TABLE t (a text)", "INSERT INTO t SELECT REPEAT('x', 10000) FROM seq_1_to_3000")

    async with open_snapshot(url) as snapshot:
        found = snapshot.scan(table, wanted(table))
        await anext(found)
        await ask(url, f"KILL CONNECTION {snapshot._connection.thread_id()}")
        with pytest.raises((asyncmy.errors.OperationalError, OSError)):
            async for _ in found:
                pass


async def test_a_table_altered_after_the_snapshot_is_not_looked_at(url: URL) -> None:
    table = table_of(Column("a", Kind.INTEGER, "int"))
    await ask(url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")

    async with open_snapshot(url) as snapshot:
        await ask(url, "ALTER TABLE t ADD b int, ALGORITHM=COPY", "UPDATE t SET a = 2")
        with pytest.raises(CouldNotLook, match="altered after its snapshot"):
            await scan(snapshot, table)


@pytest.mark.parametrize("kept_by", ["MyISAM", "Aria", "MEMORY"])
async def test_a_table_without_snapshots_is_refused_by_name(url: URL, kept_by: str) -> None:
    table = table_of(Column("a", Kind.INTEGER, "int"))
    await ask(url, f"CREATE TABLE t (a int) ENGINE={kept_by}")

    with pytest.raises(Refused, match=f"(?i){kept_by}.*\\(t\\)") as refused:
        await read(url, table)
    assert "ALTER TABLE `t` ENGINE=InnoDB" in refused.value.next_step
    with pytest.raises(TargetUnusable, match=f"(?i){kept_by}"):
        await load(url, table, [(1,)])


async def test_rows_without_columns_are_counted(url: URL) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2), (3)")

    async with open_snapshot(url) as snapshot:
        for in_order in (False, True):
            found = [one async for one in snapshot.scan(table, [], in_order=in_order)]
            assert [one.batch.num_rows for one in found] == [3]
            assert found[-1].position == ('["3"]' if in_order else None)


async def test_the_next_number_is_what_the_server_would_give(url: URL) -> None:
    numbered = table_of(Column("id", Kind.INTEGER, "int", nullable=False, automatic=True), key=["id"])
    await ask(url, "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY)")

    for expected, change in ((1, "INSERT INTO t VALUES (7)"), (8, "DELETE FROM t"), (8, "SELECT 1")):
        async with open_snapshot(url) as snapshot:
            assert await snapshot.next_number(numbered) == expected
        await ask(url, change)
    async with open_snapshot(url) as snapshot:
        assert await snapshot.next_number(table_of(Column("id", Kind.INTEGER, "int"))) is None


async def test_small_queries_keep_percent_signs_and_backslashes(url: URL) -> None:
    async with open_snapshot(url) as snapshot:
        texts = ["50%", "%s %(a)s", "\\", "a'b", '"', ":x", "\\'"]
        assert await snapshot.rows(sa.select(*map(sa.literal, texts))) == [tuple(texts)]


# --- writing ------------------------------------------------------------------------------------------


async def test_what_does_not_fit_is_an_error_and_nothing_is_kept(url: URL, way: str) -> None:
    """The alarm of this file: each of these would be a warning, or silence."""
    misfits: list[tuple[Kind, str, Any]] = [
        (Kind.TEXT, "varchar(3)", "abcd"),
        (Kind.TEXT, "tinytext", "x" * 256),
        (Kind.TEXT, "varchar(9) CHARACTER SET latin1", "漢"),
        (Kind.TEXT, "varchar(9) CHARACTER SET utf8mb3", "👩"),
        (Kind.TEXT, "enum('a')", "b"),
        (Kind.TEXT, "int", "lots"),
        (Kind.TEXT, "longtext CHECK (JSON_VALID(a))", "{"),
        (Kind.BYTES, "varbinary(3)", b"abcd"),
        (Kind.INTEGER, "int", 2**31),
        (Kind.INTEGER, "int unsigned", -1),
        (Kind.INTEGER, "bit(3)", 8),
        (Kind.DECIMAL, "decimal(4,2)", "100.00"),
        (Kind.DECIMAL, "decimal(4,2)", "1.005"),
        (Kind.FLOAT, "double", math.inf),
        (Kind.FLOAT, "double", math.nan),
        (Kind.FLOAT, "float", 1e300),
        (Kind.INSTANT, "timestamp", dt.datetime(1969, 1, 1, tzinfo=UTC)),
        (Kind.TEXT, "date", "2024-02-31"),
        (Kind.TEXT, "varchar(3) NOT NULL", None),
        (Kind.INSTANT, "timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP", None),
        (Kind.INTEGER, "int NOT NULL AUTO_INCREMENT UNIQUE", None),
    ]
    for kind, declared, value in misfits:
        table = table_of(Column("b", Kind.INTEGER, "int"), Column("a", kind, declared))
        await ask(url, "DROP TABLE IF EXISTS t", f"CREATE TABLE t (b int, a {declared})")
        with pytest.raises((TargetUnusable, asyncmy.errors.Error)) as raised:
            await load(url, table, [(1, None), (2, value)] if "NOT NULL" not in declared else [(2, value)])
        assert await ask(url, "SELECT * FROM t") == [], declared
        if isinstance(raised.value, TargetUnusable):
            assert raised.value.where.startswith("t")


async def test_a_row_that_is_there_already_is_an_error(url: URL, way: str) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (2)")

    with pytest.raises((TargetUnusable, asyncmy.errors.IntegrityError), match="Duplicate entry '2'"):
        await load(url, table, [(1,), (2,), (3,)])

    assert await ask(url, "SELECT id FROM t") == [(2,)]


async def test_the_row_that_did_not_fit_is_told(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "varchar(3)"))
    await ask(url, "CREATE TABLE t (a varchar(3))")

    with pytest.raises(TargetUnusable, match="for column 'a' at row 2") as raised:
        await load(url, table, [("a",), ("abcd",)])
    assert raised.value.where == "t"
    assert "taken back" in raised.value.done


async def test_zero_is_an_id_and_defaults_and_rules_do_not_rewrite_rows(url: URL, way: str) -> None:
    table = table_of(
        Column("id", Kind.INTEGER, "int", nullable=False, automatic=True),
        Column("at", Kind.INSTANT, "timestamp"),
        Column("changed", Kind.INSTANT, "timestamp"),
        Column("text", Kind.TEXT, "varchar(9)"),
        key=["id"],
    )
    await ask(
        url,
        "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, at timestamp NULL DEFAULT CURRENT_TIMESTAMP,"
        " changed timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,"
        " text varchar(9) DEFAULT 'x', size int AS (CHAR_LENGTH(text)) STORED,"
        " more int AS (size + 1) VIRTUAL)",
    )
    old = dt.datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    rows = [(0, None, None, None), (1, old, old, ""), (-5, old, None, "NULL")]

    await load(url, table, rows)

    assert await read(url, table, in_order=True) == sorted(rows)
    found = await ask(url, "SELECT id, size, more FROM t ORDER BY id")
    assert found == [(-5, 4, 5), (0, None, None), (1, 0, 1)]


async def test_rows_of_defaults_are_written_without_columns(url: URL) -> None:
    await ask(url, "CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, a int DEFAULT 7)")
    empty = pa.RecordBatch.from_struct_array(pa.array([{}] * 3, pa.struct([])))

    async with loading(url, table_of()) as loader, loader.transaction():
        await loader.write(table_of(), [], empty)

    assert await ask(url, "SELECT * FROM t") == [(1, 7), (2, 7), (3, 7)]


async def test_foreign_keys_are_not_looked_at_on_this_connection_only(url: URL, way: str) -> None:
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY, up int, FOREIGN KEY (up) REFERENCES t (id))")
    table = table_of(Column("id", Kind.INTEGER, "int"), Column("up", Kind.INTEGER, "int"), key=["id"])

    await load(url, table, [(1, 2), (2, 1), (3, 4)])

    with pytest.raises(asyncmy.errors.IntegrityError):
        await ask(url, "INSERT INTO t VALUES (9, 8)")


async def test_a_transaction_is_kept_whole_or_not_at_all(url: URL, way: str) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE mark (a text)")
    mark = sa.insert(sa.table("mark", sa.column("a")))

    async def fail(loader: MySQLLoader) -> None:
        async with loader.transaction():
            await loader.write(table, wanted(table), batch_of(table, [(1,)]))
            await loader.execute(mark.values(a="lost"))
            raise ZeroDivisionError

    async with loading(url, table) as loader:
        with pytest.raises(ZeroDivisionError):
            await fail(loader)
        async with loader.transaction():
            await loader.write(table, wanted(table), batch_of(table, [(2,)]))
            await loader.execute(mark.values(a="50% \\ 'kept'"))

    assert await ask(url, "SELECT id FROM t") == [(2,)]
    assert await ask(url, "SELECT a FROM mark") == [("50% \\ 'kept'",)]


async def test_rows_go_in_pieces_of_bounded_size(url: URL, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int"), Column("a", Kind.TEXT, "longtext"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY, a longtext)")
    monkeypatch.setattr(mysql_loader, "STATEMENT_BYTES", 1000)
    monkeypatch.setattr(mysql_wire, "PACKET_BYTES", 1000)
    rows = [(at, "x" * (at * 37 % 1500)) for at in range(300)]

    await load(url, table, rows)

    assert await read(url, table, in_order=True) == rows


@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.BYTES])
async def test_a_giant_value_arrives(url: URL, way: str, kind: Kind) -> None:
    declared = "longtext" if kind is Kind.TEXT else "longblob"
    table = table_of(Column("id", Kind.INTEGER, "int"), Column("a", kind, declared), key=["id"])
    await ask(url, f"CREATE TABLE t (id int PRIMARY KEY, a {declared})")
    giant: Any = "é" * 20_000_000 if kind is Kind.TEXT else b"\0\xff" * 20_000_000

    await load(url, table, [(1, giant), (2, giant[:3])])

    assert await read(url, table, in_order=True) == [(1, giant), (2, giant[:3])]


async def test_a_row_larger_than_the_server_takes_is_refused_with_its_size(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "longtext"))
    await ask(url, "CREATE TABLE t (a longtext)")

    async with loading(url, table) as loader:
        loader._takes_files = False
        loader._packet_bytes = 5000
        with pytest.raises(TargetUnusable, match=r"row of 6,00\d bytes .*is 5,000.*\(t\)"):
            async with loader.transaction():
                await loader.write(table, wanted(table), batch_of(table, [("x",), ("x" * 6000,)]))
    assert await ask(url, "SELECT * FROM t") == []


async def test_the_server_gets_no_file_that_it_was_not_promised(url: URL, tmp_path: Path) -> None:
    """As a server that was broken into would ask: here the statement itself makes it do so."""
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    await ask(url, "CREATE TABLE t (a text)")

    for text in (None, memoryview(b"promised\n")):
        connection = await connect(url)
        try:
            with pytest.raises(TargetUnusable, match="not its business"):
                await mysql_wire.run(connection, f"LOAD DATA LOCAL INFILE '{secret}' INTO TABLE t", text)
        finally:
            await close(connection)

    assert await ask(url, "SELECT * FROM t") == []


async def test_a_server_that_takes_no_files_gets_statements(url: URL) -> None:
    table = table_of(Column("id", Kind.INTEGER, "int"), Column("a", Kind.TEXT, "text"), key=["id"])
    await ask(url, "CREATE TABLE t (id int PRIMARY KEY, a text)", "SET GLOBAL local_infile = 0")
    try:
        await load(url, table, [(1, "a"), (2, None)])
    finally:
        await ask(url, "SET GLOBAL local_infile = 1")

    assert await read(url, table, in_order=True) == [(1, "a"), (2, None)]


async def test_a_cancelled_load_leaves_nothing(url: URL) -> None:
    table = table_of(Column("a", Kind.TEXT, "longtext"))
    await ask(url, "CREATE TABLE t (a longtext)")
    batch = batch_of(table, [("x" * 1_000_000,)] * 40)

    for pause in (1, 5, 30):
        async with loading(url, table) as loader:

            async def write(loader: MySQLLoader) -> None:
                async with loader.transaction():
                    await loader.write(table, wanted(table), batch)
                    await asyncio.sleep(3600)

            task = asyncio.create_task(write(loader))
            for _ in range(pause):
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert await ask(url, "SELECT count(*) FROM t") == [(0,)]


# --- triggers -----------------------------------------------------------------------------------------

TRIGGERS = (
    "CREATE TABLE t (id int PRIMARY KEY, a text)",
    "CREATE TABLE heard (what text)",
    "CREATE TRIGGER second AFTER INSERT ON t FOR EACH ROW INSERT INTO heard VALUES ('second')",
    r"""CREATE TRIGGER `fi``rst` AFTER INSERT ON t FOR EACH ROW PRECEDES second
    INSERT INTO heard VALUES ('é \\ ''')""",
    "CREATE TRIGGER third BEFORE DELETE ON t FOR EACH ROW INSERT INTO heard VALUES ('gone')",
    "SET sql_mode = 'ANSI_QUOTES'",
    'CREATE TRIGGER ansi BEFORE INSERT ON "t" FOR EACH ROW SET NEW."a" = concat(NEW."a", \'!\')',
)
T = table_of(Column("id", Kind.INTEGER, "int"), Column("a", Kind.TEXT, "text"), key=["id"])
IS_HELD = f"SHOW TABLES LIKE '{HELD_TABLE}'"


async def triggers(url: URL) -> list[tuple[Any, ...]]:
    return await ask(
        url,
        "SELECT trigger_name, event_object_table, action_order, action_statement, sql_mode, definer,"
        " character_set_client, collation_connection"
        " FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY trigger_name",
    )


async def test_triggers_are_away_while_rows_are_loaded_and_then_what_they_were(url: URL, way: str) -> None:
    await ask(url, *TRIGGERS)
    before = await triggers(url)
    assert len(before) == 4

    async with loading(url, T) as loader, loader.transaction():
        assert await triggers(url) == []
        await loader.write(T, wanted(T), batch_of(T, [(1, "a")]))
        await loader.execute(sa.delete(sa.table("t")))
        await loader.write(T, wanted(T), batch_of(T, [(2, "b")]))

    assert await ask(url, "SELECT * FROM t") == [(2, "b")]
    assert await ask(url, "SELECT * FROM heard") == []
    assert await triggers(url) == before
    assert await ask(url, IS_HELD) == []
    await ask(url, "INSERT INTO t VALUES (3, 'c')")
    assert await ask(url, "SELECT * FROM heard") == [("é \\ '",), ("second",)]


async def test_triggers_come_back_after_an_error(url: URL) -> None:
    await ask(url, *TRIGGERS)
    before = await triggers(url)

    async def fail() -> None:
        async with loading(url, T) as loader, loader.transaction():
            # Even after one that has cost the connection.
            loader._connection.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await triggers(url) == before


async def test_triggers_written_in_other_characters_come_back_in_them(url: URL) -> None:
    connection = await connect(url)
    try:
        await fetch(connection, "CREATE TABLE t (id int PRIMARY KEY, a text)")
        await fetch(connection, "SET NAMES latin1")
        statement = "CREATE TRIGGER l BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 'Zürich'"
        await connection.query(statement.encode("latin1"))  # type: ignore[attr-defined]
    finally:
        await close(connection)
    before = await triggers(url)

    async with loading(url, T):
        pass

    assert await triggers(url) == before
    await ask(url, "INSERT INTO t VALUES (1, '')")
    assert await ask(url, "SELECT a FROM t") == [("Zürich",)]


KILLED = """
import asyncio, os, signal, sys
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from migration.backends.mysql_loader import open_loader
from migration.model import Table

async def main():
    engine = create_async_engine(make_url(sys.stdin.readline().strip()))
    async with open_loader(engine, [Table("t", ())]) as loader, loader.transaction():
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_the_next_loader_puts_back_what_a_killed_one_took_away(url: URL) -> None:
    await ask(url, *TRIGGERS)
    before = await triggers(url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, stdin=asyncio.subprocess.PIPE
    )
    text = url.set(drivername="mysql+asyncmy").render_as_string(hide_password=False)
    await process.communicate(text.encode())
    assert process.returncode == -signal.SIGKILL
    assert await triggers(url) == []
    # One that was made meanwhile is no reason to forget the others.
    await ask(url, "CREATE TRIGGER new AFTER UPDATE ON t FOR EACH ROW INSERT INTO heard VALUES ('new')")

    async with loading(url, table_of(name="heard")):
        pass

    assert [row for row in await triggers(url) if row[0] != "new"] == before
    assert await ask(url, IS_HELD) == []


async def test_triggers_of_a_table_that_is_gone_are_forgotten(url: URL) -> None:
    await ask(url, *TRIGGERS)

    async with loading(url, T):
        await ask(url, "DROP TABLE t")

    assert await triggers(url) == []
    assert await ask(url, IS_HELD) == []


async def test_a_trigger_that_could_not_be_put_back_is_not_taken_away(url: URL) -> None:
    await ask(url, *TRIGGERS)
    before = await triggers(url)
    name = f"u{url.database}"[:60]
    await ask(
        url,
        f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'p'",
        f"GRANT SELECT, INSERT, DELETE, CREATE, DROP, TRIGGER ON `{url.database}`.* TO {name}@'127.0.0.1'",
    )
    try:
        with pytest.raises(TargetUnusable, match="could not make it anew") as refused:
            async with loading(url.set(username=name, password="p"), T):
                pass
    finally:
        await ask(url, f"DROP USER {name}@'127.0.0.1'")
    assert "SET USER" in refused.value.next_step
    assert await triggers(url) == before
    assert await ask(url, IS_HELD) == []


async def test_a_trigger_that_cannot_be_made_anew_is_kept_and_told(url: URL) -> None:
    await ask(url, *TRIGGERS)
    spoil = f"UPDATE {HELD_TABLE} SET definition = 'CREATE TRIGGER nonsense' WHERE name = 'third'"

    with pytest.raises(MigrationError, match="cannot be made anew"):
        async with loading(url, T):
            await ask(url, spoil)

    assert ("third",) in await ask(url, f"SELECT name FROM {HELD_TABLE}")
