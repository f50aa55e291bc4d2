"""What a database holds, told without code of the product: by its own shell, its own dump, its own driver.

A test that asks the product whether the product was right has asked nobody.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.engine import make_url

from migration.backends.postgresql_backup import _program


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
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Run one query and return all its rows."""
    if engine_of(url) == "sqlite":
        with closing(sqlite3.connect(path_of(url))) as file:
            return list(file.execute(query))
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


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
    connection = await asyncpg.connect(url)
    try:
        major = connection.get_server_version().major
    finally:
        await connection.close()
    process = await asyncio.create_subprocess_exec(
        str(await _program("pg_dump", major)),
        "--inserts",
        f"--host={parsed.host}",
        f"--port={parsed.port}",
        f"--username={parsed.username}",
        str(parsed.database),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PGPASSWORD": str(parsed.password)},
    )
    text, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    # Some versions guard each dump with a random word.
    lines = [
        line for line in text.decode().splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    ]
    return _sorted([_SETVAL.sub(_next_number, line) for line in lines])


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
