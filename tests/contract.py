"""What the conformance suite tries on every engine, and the hands it does so with.

Adding an engine needs nothing here but its entry in ``TRIGGER_SQL``: no other statement is spelled in an
engine's own words.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from migration.backends import Loader, Scanned
from migration.database import Database
from migration.digest import Digest, canonical
from migration.look import clause, own_kind
from migration.model import ARROW_TYPES, Column, Kind, ScanColumn, Schema, Table
from migration.plan import ColumnPlan, TablePlan
from migration.progress import silent
from migration.traits import Traits
from migration.verify import Side, sum_table

LARGEST, SMALLEST = 2**63 - 1, -(2**63)
UTC = dt.UTC

TEXTS = [
    "", " ", " a ", "\t", "\n", "\r\n", "\r", "a\nb", "a,b", '"', '""', "'", "''", "\\", "\\.", "\\N",
    "\\x41",
    "NULL", "null", "<null>", "t", "0", "-0", "1e5", "0x10", "a|b", ";--", "{}", "%s", ":a", "?", "$1",
    "é", "e\u0301", "ß", "ſ", "👩‍👩‍👧", "\U0010ffff", "\ufeff", "\u2028", "\u00a0", "\x01", "\x7f",
    "x" * 70_000,
]  # fmt: skip
"""Texts that something, somewhere, takes for something else."""

VALUES: dict[Kind, list[Any]] = {
    Kind.BOOLEAN: [True, False],
    Kind.INTEGER: [0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, -(2**53) - 1, LARGEST, SMALLEST],
    Kind.DECIMAL: ["0", "1", "-1", "0.1", "-0.000001", "12345.6789", "99999999999999", "0.00000000000001"],
    Kind.FLOAT: [0.0, 0.1, -1.5, 1e308, -1e308, 5e-324, 2.2250738585072014e-308, 1 / 3, 2.0**53 + 2, 1e15,
                 float("inf"), float("-inf")],
    Kind.TEXT: TEXTS,
    Kind.BYTES: [b"", b"\0", b"\xff\xfe", b"a\0b", b"\\x41", b"\n", b",", bytes(range(256)), b"z" * 70_000],
    Kind.DATE: [dt.date(1, 1, 1), dt.date(1582, 10, 10), dt.date(1970, 1, 1),
                dt.date(2024, 2, 29), dt.date(9999, 12, 31)],
    Kind.TIME: [dt.time(), dt.time(0, 0, 0, 1), dt.time(23, 59, 59, 999_999),
                dt.time(12, 30)],
    Kind.TIMESTAMP: [dt.datetime.fromisoformat(text) for text in (
        "0001-01-01", "1969-12-31 23:59:59.999999", "2024-03-31 02:30", "9999-12-31 23:59:59.999999")],
    Kind.INSTANT: [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
                   dt.datetime(2024, 10, 27, 0, 30, 0, 1, tzinfo=UTC),
                   dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)],
    Kind.JSON: ['{"a": [1, 2.50, null, true]}', "[]", "1", '"text"', "null", '"\\u2028"',
                '{"é": "\\"quoted\\""}'],
}  # fmt: skip
"""For every kind that has values of its own: the ones that are easily lost."""

KINDS = tuple(VALUES)

ODD_NAMES = (
    "select", "Mixed Case", 'say "what"', "it's", "a.b", "a:b", "a::b", "50%", "%(x)s", "a?b", "$1",
    "back\\slash",    "a`b", "[a]", "(", ")", ",", "é", "👩‍👩‍👧", "a/b", "-- a", "/* a", "check", "1", " ",
)  # fmt: skip
"""Names that are names nevertheless."""

TRIGGER_SQL: dict[str, tuple[str, ...]] = {
    "sqlite": ("CREATE TRIGGER shout AFTER INSERT ON watched BEGIN INSERT INTO heard VALUES (new.id); END",),
    "postgres": (
        """CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO heard VALUES (new.id); RETURN new; END'""",
        "CREATE TRIGGER shout AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION shout()",
    ),
    "mysql": ("CREATE TRIGGER shout AFTER INSERT ON watched FOR EACH ROW INSERT INTO heard VALUES (new.id)",),
}
"""By dialect: a trigger on ``watched`` that puts the id of each new row into ``heard``."""


def values_for(kind: Kind, traits: Traits) -> list[Any]:
    """Return the values of a kind that an engine says it can hold; no value at all among them."""
    extra: list[Any] = [None]
    if kind is Kind.TEXT and traits.text_holds_nul:
        extra += ["\0", "a\0b", "a\0"]
    if kind is Kind.DECIMAL and traits.decimal_digits is None:
        extra += ["1234567890123456789012345678901234567890.0123456789", "NaN", "Infinity", "-Infinity"]
    if kind is Kind.FLOAT and traits.holds_nan:
        extra += [float("nan")]
    if kind is Kind.FLOAT and not traits.holds_infinity:
        return [value for value in VALUES[kind] if math.isfinite(value)] + extra
    return VALUES[kind] + extra


def table_of(name: str, *columns: Column, key: Sequence[str] = ()) -> Table:
    return Table(name, columns, primary_key=tuple(key))


def column_of(kind: Kind, name: str = "value", **facts: Any) -> Column:
    return Column(name, kind, **facts)


def numbered_table(name: str = "numbered", *columns: Column) -> Table:
    """Return a table whose first column numbers itself and uses no number twice."""
    number = Column("id", Kind.INTEGER, nullable=False, automatic=True, never_reuses=True)
    return Table(name, (number, *columns), primary_key=("id",))


def batch_of(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    arrays = [pa.array([row[at] for row in rows], ARROW_TYPES[each.kind]) for at, each in enumerate(columns)]
    return pa.RecordBatch.from_arrays(arrays, names=[str(at) for at in range(len(arrays))])


def smaller_batches(monkeypatch: pytest.MonkeyPatch, *, rows: int) -> None:
    """Let every backend read in batches of so few rows, so that few rows are many positions."""
    for name, module in list(sys.modules.items()):
        if name.startswith("migration.backends") and hasattr(module, "BATCH_ROWS"):
            monkeypatch.setattr(module, "BATCH_ROWS", rows)


class Subject:
    """One database under test: opened for writing, and beside it as a source."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.database = Database(self.url)
        self.source = Database(self.url, is_source=True)
        self.backend = self.database.backend
        self.traits = self.database.traits

    async def close(self) -> None:
        await self.database.close()
        await self.source.close()

    async def create(self, *tables: Table) -> Schema:
        """Make tables as a migration makes them, and return them as they are reflected."""
        writer = self.database.writer
        async with self.database.changing() as connection:
            for table in tables:
                for statement in writer.before_rows(table):
                    await connection.exec_driver_sql(statement)
            for make in (writer.after_rows, writer.foreign_keys):
                for table in tables:
                    for piece in make(table):
                        await connection.exec_driver_sql(piece.statement)
        return await self.database.schema()

    async def run(self, *statements: str) -> None:
        async with self.database.changing() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    async def insert(self, table: Table, **values: Any) -> None:
        """Add one row as an application does, not as a loader."""
        async with self.database.changing() as connection:
            await connection.execute(sa.insert(clause(table)).values(**values))

    @contextlib.asynccontextmanager
    async def loading(self, *tables: Table) -> AsyncIterator[Loader]:
        async with self.database.loader(tables) as loader, loader.transaction():
            yield loader

    async def load(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        async with self.loading(table) as loader:
            await loader.write(table, wanted(table), batch_of(table.columns, rows))

    async def scan(
        self, table: Table, columns: Sequence[ScanColumn] | None = None, **options: Any
    ) -> list[Scanned]:
        async with self.source.snapshot() as snapshot:
            found = snapshot.scan(table, wanted(table) if columns is None else columns, **options)
            return [scanned async for scanned in found]

    async def read(self, table: Table, **options: Any) -> list[tuple[Any, ...]]:
        """Return all rows in the kinds of the table's columns."""
        return self.rows_in(table, await self.scan(table, **options))

    def rows_in(self, table: Table, batches: Sequence[Scanned]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for scanned in batches:
            arrays = [
                canonical(array, own_kind(column, self.traits), column.kind).array.to_pylist()
                for array, column in zip(scanned.batch.columns, wanted(table), strict=True)
            ]
            rows += zip(*arrays, strict=True)
        return rows

    async def count(self, table: Table) -> int:
        async with self.source.snapshot() as snapshot:
            ((count,),) = await snapshot.rows(sa.select(sa.func.count()).select_from(clause(table)))
            return int(count)

    async def digest(self, table: Table) -> Digest:
        plan = TablePlan(table, table, tuple(ColumnPlan(c, c, c.kind) for c in table.columns), is_new=False)
        async with self.source.snapshot() as snapshot:
            return (await sum_table(plan, Side("source", snapshot, self.traits), silent)).digest

    async def next_number(self, table: Table) -> int | None:
        async with self.source.snapshot() as snapshot:
            return await snapshot.next_number(table)

    async def try_next_number(self, table: Table) -> int:
        async with self.database.control() as connection:
            return await self.backend.try_next_number(connection, table)


def wanted(table: Table) -> list[ScanColumn]:
    return [ScanColumn(column, column.kind) for column in table.columns]


def as_compared(kind: Kind, values: Sequence[Any]) -> list[Any]:
    """Return values as they are told when read back: decimals and JSON spelled in one way."""
    return list(canonical(pa.array(values, ARROW_TYPES[kind]), kind, kind).array.to_pylist())


def exactly(rows: Iterable[Any]) -> list[str]:
    """Return rows so that two are equal when they are the same: 1 is not 1.0, and NaN is NaN."""
    return [repr(row) for row in rows]
