"""Puts a reference data set into a server's hand-written schema, by a road of its own.

This is not the product: it shares no code with `migration`, so a query benchmark does not depend on it, and a
test can hold a migrated database against one that was loaded here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench.reference import TABLES, schema_script

Convert = Callable[[Any], Any]


async def load_postgresql(dataset: Path, url: str) -> None:
    """Create the reference schema in an empty database and fill it with the rows of a SQLite data set.

    `schema_version` keeps the row that the schema script gave it.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(schema_script("postgresql"))
        with closing(sqlite3.connect(f"file:{dataset}?mode=ro", uri=True)) as source:
            for table in TABLES[:-1]:
                await _load_table(source, connection, table)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def _load_table(source: sqlite3.Connection, target: asyncpg.Connection[Any], table: str) -> None:
    described = await target.fetch(
        "SELECT column_name, data_type, pg_get_serial_sequence($1, column_name) AS sequence"
        " FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position",
        table,
    )
    names = [column["column_name"] for column in described]
    converters = [CONVERTERS.get(column["data_type"], _unchanged) for column in described]
    rows = source.execute(f"SELECT {', '.join(names)} FROM {table}")
    await target.copy_records_to_table(table, records=_converted(rows, converters), columns=names)
    for column in described:
        if column["sequence"] is not None:
            await target.execute(
                f"SELECT setval($1, greatest(1, (SELECT max({column['column_name']}) FROM {table})))",
                column["sequence"],
            )


def _converted(rows: sqlite3.Cursor, converters: list[Convert]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        pairs = zip(row, converters, strict=True)
        yield tuple(None if value is None else convert(value) for value, convert in pairs)


def _moment(value: float | str) -> datetime:
    """Read the forms a TIMESTAMP column has in SQLite: epoch seconds, or a text that is in UTC by default."""
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(value, UTC)


def _unchanged(value: Any) -> Any:
    return value


CONVERTERS: dict[str, Convert] = {"timestamp with time zone": _moment, "boolean": bool}
