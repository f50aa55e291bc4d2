"""What a database holds, told without code of the product: by its own shell, its own dump, its own driver.

A test that asks the product whether the product was right has asked nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncmy
import asyncpg
from asyncmy.cursors import Cursor
from sqlalchemy.engine import URL, make_url

from migration.backends.postgresql_backup import _program
from tests.meaning import same

Rows = list[tuple[Any, ...]]

# Names are quoted as in every other engine, and nothing that is written here is cut to fit.
_MARIADB_SESSION = (
    "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES', "
    "time_zone = '+00:00'"
)


def engine_of(url: str) -> str:
    """Return the engine's name, which every URL of these tests begins with."""
    return make_url(url).get_backend_name()


def path_of(url: str) -> Path:
    """Return the file that the URL of a SQLite database names."""
    return Path(str(make_url(url).database))


async def run(url: str, script: str) -> None:
    """Run statements, as many as there are."""
    if not script.strip():
        return
    if engine_of(url) == "sqlite":
        with closing(sqlite3.connect(path_of(url))) as file:
            file.executescript(script)
            file.commit()
    elif engine_of(url) == "postgresql":
        async with _postgresql(url) as connection:
            await connection.execute(script)
    else:
        async with _mariadb(url) as cursor:
            await cursor.execute(script)
            while await cursor.nextset():
                pass


async def rows(url: str, query: str) -> Rows:
    """Run one query and return all its rows."""
    return (await answer(url, query))[1]


async def answer(url: str, query: str) -> tuple[list[str], Rows]:
    """Run one query and return the names of its columns and all its rows."""
    if engine_of(url) == "sqlite":
        with closing(sqlite3.connect(path_of(url))) as file:
            file.text_factory = lambda data: data.decode(errors="surrogateescape")
            found = file.execute(query)
            return [column[0] for column in found.description], list(found)
    if engine_of(url) == "postgresql":
        async with _postgresql(url) as connection:
            prepared = await connection.prepare(query)
            names = [column.name for column in prepared.get_attributes()]
            return names, [tuple(row) for row in await prepared.fetch()]
    async with _mariadb(url) as cursor:
        await cursor.execute(query)
        return [column[0] for column in cursor.description], [tuple(row) for row in await cursor.fetchall()]


_TABLES = {
    # Virtual tables and those behind them are no tables of rows.
    "sqlite": (
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main'"
        " AND name NOT LIKE 'sqlite_%' ORDER BY 1"
    ),
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    "mariadb": (
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = database() AND table_type = 'BASE TABLE' ORDER BY 1"
    ),
}


async def tables(url: str) -> list[str]:
    """Return the names of all tables, sorted."""
    return [str(name) for (name,) in await rows(url, _TABLES[engine_of(url)])]


def quoted(name: str) -> str:
    """Quote a name, as every engine reads it here."""
    return '"' + name.replace('"', '""') + '"'


async def differences(
    source: str, target: str, mapping: Mapping[str, str] | None = None, ignored: Sequence[str] = ()
) -> list[str]:
    """Return what two databases do not have in common, row by row, by what the values mean.

    ``mapping`` renames as the product's does; ``ignored`` are tables and columns (``table.column``)
    that other means look at.
    A table that only the target has is a difference, too.
    """
    mapping = mapping or {}
    there = set(await tables(target))
    found = []
    for name in await tables(source):
        other = mapping.get(name, name)
        if name in ignored:
            there.discard(other)
            continue
        if other not in there:
            found.append(f"{name} is not in the target")
            continue
        there.remove(other)
        columns, _ = await answer(source, f"SELECT * FROM {quoted(name)} LIMIT 0")
        other_columns, _ = await answer(target, f"SELECT * FROM {quoted(other)} LIMIT 0")
        wanted = {
            column: mapping.get(f"{name}.{column}", column).removeprefix(f"{other}.")
            for column in columns
            if f"{name}.{column}" not in ignored
        }
        if missing := set(wanted.values()) - set(other_columns):
            found.append(f"{name} lacks {', '.join(sorted(missing))}")
            continue
        if not wanted:
            continue
        ours = await rows(source, f"SELECT {', '.join(map(quoted, wanted))} FROM {quoted(name)}")
        theirs = await rows(target, f"SELECT {', '.join(map(quoted, wanted.values()))} FROM {quoted(other)}")
        found += [f"{name}: {difference}" for difference in _unmatched(ours, theirs)]
    return found + [f"{name} is only in the target" for name in sorted(there)]


def _unmatched(ours: Rows, theirs: Rows) -> list[str]:
    """Match rows one to one; a table has no order, and may hold a row more than once."""
    left = dict(enumerate(theirs))
    # Most rows stand where they stood, or are those whose first value is spelled alike.
    alike: dict[str, list[int]] = {}
    for at, row in left.items():
        alike.setdefault(str(row[0]), []).append(at)
    found = []
    for place, row in enumerate(ours):
        likely = [place, *alike.get(str(row[0]), ())]
        for at in (*likely, *left):
            if at in left and all(map(same, row, left[at])):
                del left[at]
                break
        else:
            found.append(f"{row!r} did not arrive")
    return found + [f"{row!r} came from nowhere" for row in left.values()]


async def dump(url: str) -> str:
    """Write a whole database as text: schema, rows, sequences, triggers. A missing file is an empty database.

    Rows are sorted, because a table has no order. A sequence is told by the number it gives next, of which
    there are two spellings; SQLite's table of them stays for ever, so an empty one says nothing.
    """
    if engine_of(url) == "sqlite":
        path = path_of(url) if path_of(url).exists() else ":memory:"
        with closing(sqlite3.connect(path)) as file:
            file.text_factory = lambda data: data.decode(errors="surrogateescape")
            return _sorted([line for line in file.iterdump() if not _UNUSED_SEQUENCE.match(line)])
    parsed = make_url(url)
    if engine_of(url) == "postgresql":
        text = await _output(*await _pg_dump(parsed), PGPASSWORD=parsed.password or "")
        # Some versions guard each dump with a random word.
        lines = [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]
        return _sorted([_SETVAL.sub(_next_number, line) for line in lines])
    return _sorted((await _output(*_mariadb_dump(parsed), MYSQL_PWD=parsed.password or "")).splitlines())


# To look for the program takes longer than to dump a small database with it.
_pg_dumps: dict[tuple[str | None, int | None], str] = {}


async def _pg_dump(url: URL) -> list[str]:
    if (url.host, url.port) not in _pg_dumps:
        async with _postgresql(url.render_as_string(hide_password=False)) as connection:
            major = connection.get_server_version().major
        _pg_dumps[url.host, url.port] = str(await _program("pg_dump", major))
    place = [f"--host={url.host}", f"--port={url.port}", f"--username={url.username}"]
    return [_pg_dumps[url.host, url.port], "--inserts", *place, str(url.database)]


def _mariadb_dump(url: URL) -> list[str]:
    program = shutil.which("mariadb-dump") or shutil.which("mysqldump")
    assert program is not None, "a MariaDB database cannot be told without mariadb-dump"
    place = ["--protocol=tcp", f"--host={url.host}", f"--port={url.port}", f"--user={url.username}"]
    what = ["--skip-dump-date", "--skip-extended-insert", "--hex-blob", "--routines", "--events"]
    return [program, "--no-defaults", *place, *what, str(url.database)]


async def _output(*command: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    text, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return text.decode(errors="surrogateescape")


_UNUSED_SEQUENCE = re.compile(r"(DELETE FROM|INSERT INTO) \"sqlite_sequence\"(;| VALUES\('[^']*',0\);)")
_SETVAL = re.compile(r"(pg_catalog\.setval\('[^']+'), (\d+), (true|false)\)")


def _next_number(call: re.Match[str]) -> str:
    return f"{call[1]}) gives {int(call[2]) + (call[3] == 'true')} next"


def _sorted(lines: list[str]) -> str:
    """Sort neighbouring INSERTs; everything else stays where it is."""
    kept: list[str] = []
    inserts: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("INSERT INTO"):
            inserts.append(line)
        else:
            kept += sorted(inserts)
            inserts = []
            kept.append(line)
    return "\n".join(kept)


@contextlib.asynccontextmanager
async def _postgresql(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _mariadb(url: str) -> AsyncIterator[Cursor]:
    parsed = make_url(url)
    connection = await asyncmy.connect(
        host=str(parsed.host),
        port=int(parsed.port or 3306),
        user=str(parsed.username),
        password=parsed.password or "",
        database=str(parsed.database),
        charset="utf8mb4",
        autocommit=True,
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(_MARIADB_SESSION)
            yield cursor
    finally:
        await connection.ensure_closed()
