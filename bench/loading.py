"""Puts a reference data set into a server's hand-written schema, by a road of its own.

This is not the product: it shares no code with `migration`, so a query benchmark does not depend on it, and a
test can hold a migrated database against one that was loaded here.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import make_url

from bench.reference import TABLES, schema_script

Convert = Callable[[Any], Any]


async def load(dataset: Path, url: str) -> None:
    """Fill an empty database of any measured engine with the rows of a SQLite data set."""
    scheme = make_url(url).get_backend_name()
    if scheme == "sqlite":
        # A copy: the ready file is shared with other runs.
        await asyncio.to_thread(shutil.copyfile, dataset, url.removeprefix("sqlite:///"))
    elif scheme == "postgresql":
        await load_postgresql(dataset, url)
    else:
        await load_mysql(dataset, url)


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


async def load_mysql(dataset: Path, url: str) -> None:
    """Do the same in MySQL or MariaDB."""
    async with mysql_connection(url) as connection:
        await run_mysql_script(connection, schema_script("mysql"))
        async with connection.cursor() as cursor:
            # As the dump of any such database does: parents need not stand before children.
            await cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
            with closing(sqlite3.connect(f"file:{dataset}?mode=ro", uri=True)) as source:
                for table in TABLES[:-1]:
                    await _load_mysql_table(source, cursor, table)
            await connection.commit()
            await cursor.execute(f"ANALYZE TABLE {', '.join(TABLES)}")
            await cursor.fetchall()


@asynccontextmanager
async def mysql_connection(url: str) -> AsyncIterator[Any]:
    """Open the driver's own connection, in UTC, that takes a script of many statements."""
    import asyncmy
    from asyncmy.constants.CLIENT import MULTI_STATEMENTS

    parsed = make_url(url)
    connection = await asyncmy.connect(
        host=parsed.host,
        port=parsed.port or 3306,
        user=parsed.username,
        password=parsed.password or "",
        database=parsed.database,
        unix_socket=parsed.query.get("unix_socket"),
        init_command="SET time_zone = '+00:00'",
        charset="utf8mb4",
        client_flag=MULTI_STATEMENTS,
    )
    try:
        yield connection
    finally:
        await connection.ensure_closed()


async def run_mysql_script(connection: Any, script: str) -> None:
    """Run every statement of a script."""
    async with connection.cursor() as cursor:
        await cursor.execute(script)
        while await cursor.nextset():
            pass


async def _load_mysql_table(source: sqlite3.Connection, cursor: Any, table: str) -> None:
    await cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = database() AND table_name = %s ORDER BY ordinal_position",
        (table,),
    )
    described = [tuple(row) for row in await cursor.fetchall()]
    converters = [MYSQL_CONVERTERS.get(str(data_type), _unchanged) for _, data_type in described]
    names = ", ".join(f"`{name}`" for name, _ in described)
    read = ", ".join("key" if name == "key_name" else str(name) for name, _ in described)
    insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(described))})"
    rows = _converted(source.execute(f"SELECT {read} FROM {table}"), converters)
    while batch := list(islice(rows, MYSQL_BATCH_ROWS)):
        await cursor.executemany(insert, batch)


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


def _moment_without_zone(value: float | str) -> datetime:
    return _moment(value).replace(tzinfo=None)


def _unchanged(value: Any) -> Any:
    return value


CONVERTERS: dict[str, Convert] = {"timestamp with time zone": _moment, "boolean": bool}
MYSQL_CONVERTERS: dict[str, Convert] = {"timestamp": _moment_without_zone, "datetime": _moment_without_zone}

MYSQL_BATCH_ROWS = 1_000
"""Rows of one INSERT; the driver cuts it where it would be too long for the server."""
