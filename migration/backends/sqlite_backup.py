"""Backups of a SQLite file: made page by page with SQLite's own backup, which a writer cannot tear."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import Connection

from migration.backends import Script
from migration.backends.sqlite_connection import BUSY_MS, TAKE_MOMENT, file_uri
from migration.errors import Refused
from migration.model import Schema


def backup(source: Path, folder: Path) -> Path:
    """Write a copy into a new file of ``folder``, readable by its owner only, and return its path."""
    copy = folder / f"{source.stem}.sqlite-backup"
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        copy_pages(source, copy)
    except BaseException:
        copy.unlink()
        raise
    return copy


def copy_pages(source: Path, target: Path) -> None:
    """Make one file what another is at one moment; a lock that somebody keeps on either is an error."""
    timeout_s = BUSY_MS / 1000
    with (
        contextlib.closing(_connect(file_uri(source, "ro"), timeout_s)) as reader,
        contextlib.closing(_connect(file_uri(target, "rwc"), timeout_s)) as writer,
    ):
        reader.execute("BEGIN")
        reader.execute(TAKE_MOMENT)
        reader.backup(writer, progress=_give_up_when_busy)


def script(connection: Connection, schema: Schema) -> Script:
    """Return what makes a file anew, as it was written, and name what that would lack."""
    objects = connection.exec_driver_sql(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    ).all()
    names = {table.name for table in schema.tables}
    (encoding,) = connection.exec_driver_sql("PRAGMA encoding").one()
    numbers = [
        f"PRAGMA {name} = {connection.exec_driver_sql(f'PRAGMA {name}').scalar_one()}"
        for name in ("user_version", "application_id")
    ]
    lacking = [thing for thing in schema.uncarried if thing.what == "virtual table"]
    return Script(
        before=(
            # The encoding can only be said before anything is made, and is kept with the first table.
            (
                f"PRAGMA encoding = '{encoding}'",
                *(entry.sql for entry in objects if entry.type == "table" and entry.name in names),
            ),
        ),
        after=(*(entry.sql for entry in objects if entry.type == "index"), *numbers),
        views=tuple((entry.sql,) for entry in objects if entry.type in ("view", "trigger")),
        lacking=tuple(lacking),
    )


def check(path: Path, schema: Schema) -> None:
    """Read every page of a backup; raise unless it is whole and holds every table of ``schema``."""
    try:
        with contextlib.closing(sqlite3.connect(file_uri(path, "ro"), uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error as error:
        raise _refusal(f"cannot be read: {error}", path) from error
    missing = [table.name for table in schema.tables if (table.name,) not in tables]
    if missing:
        raise _refusal(f"lacks {', '.join(missing)}", path)
    if verdict != "ok":
        raise _refusal(f"fails its integrity check: {verdict}", path)


def _connect(uri: str, timeout_s: float) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout_s)


def _give_up_when_busy(status: int, *_: int) -> None:
    """Raise where Python would try again for ever; by now the lock was waited for."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")


def _refusal(what: str, path: Path) -> Refused:
    return Refused(f"The backup {what}", where=str(path), next_step="Make a new one")
