"""A ready SQLite file of the reference tables: seeded, any scale, made once and kept.

The same (scale, seed, tables) gives the same rows everywhere. `cached` keeps the file, so that a second run
starts at once; what the rows look like is told in `filler`.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import filler
from bench.reference import TABLES, schema_script, table_script

ROWS_AT_SCALE_1 = {
    "sessions": 1_000,
    "messages": 100_000,
    "agent_memory": 20_000,
    "audit_log": 50_000,
    "secure_tokens": 1_000,
}
"""Rows of each filled table at scale 1; `schema_version` has the one row that its script inserts."""

CACHE_VARIABLE = "MIGRATION_BENCH_CACHE"
"""Names another folder for ready data sets; without it they are kept beside this file."""


@dataclass(frozen=True)
class DatasetKey:
    """Names one data set: equal keys, equal rows."""

    scale: float
    seed: int
    tables: tuple[str, ...]

    def rows(self, table: str) -> int:
        """Number of rows of a filled table at this scale, at least one."""
        return max(1, round(ROWS_AT_SCALE_1[table] * self.scale))

    def digest(self) -> str:
        """Content key: changes with scale, seed, tables, schema, and the code that fills."""
        code = Path(filler.__file__).read_text(encoding="utf-8")
        parts = (repr(self), np.__version__, code, schema_script("sqlite"))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def messages_only(rows: int, seed: int = 1) -> DatasetKey:
    """Key of a file that holds nothing but this many messages, for measuring a copy."""
    return DatasetKey(rows / ROWS_AT_SCALE_1["messages"], seed, ("messages",))


def fill(path: Path, scale: float, seed: int, tables: Sequence[str] | None = None) -> None:
    """Write a new SQLite file with the reference schema and this much data.

    With some of the tables named, the file has these tables only, without the foreign keys and indexes that
    belong to the whole; their rows are the same as in the whole file.
    """
    key = DatasetKey(scale, seed, TABLES if tables is None else tuple(tables))
    filled = [table for table in ROWS_AT_SCALE_1 if table in key.tables]
    # A generator per table, all from the one seed: leaving a table out does not change the others.
    generators = dict(zip(("shared", *ROWS_AT_SCALE_1), np.random.default_rng(seed).spawn(6), strict=True))
    shared = filler.Shared.made(key.rows("sessions"), generators["shared"])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is thrown away if this is interrupted, so nothing needs to be safe on disk meanwhile.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        if tables is None:
            connection.executescript(schema_script("sqlite"))
        else:
            connection.executescript("\n".join(table_script("sqlite", table) for table in key.tables))
        connection.execute("BEGIN")
        for table in filled:
            _insert(connection, table, filler.FILLERS[table](key.rows(table), generators[table], shared))
        if tables is None:
            connection.execute(
                "UPDATE schema_version SET applied_at = ?", (filler.sql_text(filler.FIRST_SESSION_S),)
            )
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA journal_mode = WAL")


def cached(key: DatasetKey, folder: Path | None = None) -> Path:
    """Give the data set's file, written now if no earlier run has left it.

    The file is shared by everybody who asks for the same key: read it, and copy it before writing to it.
    """
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="ascii")
    path = folder / f"reference-{key.digest()}.db"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            fresh = Path(unfinished) / path.name
            whole = key.tables == TABLES
            fill(fresh, key.scale, key.seed, None if whole else key.tables)
            # In one step: another process sees the whole file or none.
            fresh.replace(path)
    return path


def cache_folder() -> Path:
    """Folder of ready data sets."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(__file__).parent / ".cache"


def _insert(connection: sqlite3.Connection, table: str, rows: Iterator[filler.Row]) -> None:
    width = len(connection.execute(f"PRAGMA table_info({table})").fetchall())
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * width)})", rows)
