"""A SQLite file as a thing on a disk: what it is, whether it is whole, and the lock beside it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from migration.backends import lock_lost
from migration.backends.sqlite_connection import BUSY_MS, file_uri
from migration.backends.sqlite_sql import text
from migration.errors import Refused, TargetLocked, TargetUnusable

# So many complaints about one table are read, and so many are shown.
COMPLAINTS, SHOWN_COMPLAINTS = 20, 3
# How often the work of one statement is looked in on, in steps of SQLite's machine: some milliseconds.
STEPS_BETWEEN_LOOKS = 100_000
# A rule of the schema that rows break is no damage; what may go where is the plan's business.
_RULE_BROKEN = re.compile(r"(NULL|NUMERIC|TEXT|non-\w+) value in |CHECK constraint failed in ")
# What an application of its own would have to bring along: then that much cannot be looked at here.
_NOT_OURS = ("no such collation sequence", "no such function", "no such module", "unknown function")
# Longer than any name of a process or a machine.
HOLDER_BYTES = 300


def refuse_special(path: Path) -> None:
    """Raise unless a path leads to a plain file, or to nothing: a pipe or a device might never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        # What cannot be looked at is told of by whoever opens it.
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise Refused("This is no plain file", where=str(path), next_step="Check the path")


def identity(path: Path) -> str:
    """Return the number that the file has on its disk, which stays when it is written to or renamed.

    A copy has another one, and so has a file that was put in its place, unless the disk gives a number again
    whose file is gone: then the proof finds what differs.
    """
    return f"file number {path.stat().st_ino}"


def stamp(path: Path) -> str:
    """Return size and time of the file and of the log beside it."""
    found = []
    for name in (path, Path(f"{path}-wal")):
        with contextlib.suppress(FileNotFoundError):
            known = name.stat()
            # One that holds nothing comes and goes with whoever reads.
            found.append(f"{known.st_size} bytes at {known.st_mtime_ns}" if known.st_size else "empty")
    return ", ".join(found)


def examine(path: Path, is_wanted: threading.Event, tell: Callable[[str], None]) -> None:
    """Read every page of a file, rows and indexes of every table, and raise when they do not fit together.

    ``integrity_check`` rather than ``quick_check``: rows are found by indexes, and what an index lacks would
    be missing without a word. Of a file of 166 MB with two indexes it took 1.5 s, ``quick_check`` 0.2 s, and
    the look that follows 2.5 s.

    Parameters
    ----------
    is_wanted
        Whether anybody still waits for it.
    tell
        Told of each table when it is done.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    uri = file_uri(path, "ro")
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_MS / 1000)) as connection:
        connection.text_factory = lambda data: data.decode(errors="backslashreplace")
        connection.execute("PRAGMA trusted_schema = OFF")
        # Rows that break a rule are looked for elsewhere, and named one by one.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.set_progress_handler(lambda: not is_wanted.is_set(), STEPS_BETWEEN_LOOKS)
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        # The first are the file's own pages: its schema, and those that belong to nothing.
        for name in ("sqlite_master", *(row[0] for row in names.fetchall())):
            if complaints := _complaints(connection, name):
                shown = "; ".join(complaints[:SHOWN_COMPLAINTS])
                more = len(complaints) - SHOWN_COMPLAINTS
                raise Refused(
                    f"The file is damaged: {shown}" + (f"; and {more} more" if more > 0 else ""),
                    where=f"{path}, {name}",
                    next_step="Run PRAGMA integrity_check and recover it (.recover), or use a backup",
                )
            tell(name)


def _complaints(connection: sqlite3.Connection, table: str) -> list[str]:
    try:
        found = connection.execute(f"PRAGMA integrity_check({text(table)})").fetchmany(COMPLAINTS)
    except sqlite3.OperationalError as error:
        if any(words in str(error) for words in _NOT_OURS):
            return []
        raise
    lines = [line.strip() for row in found for line in str(row[0]).splitlines()]
    return [line for line in lines if _is_damage(line)]


def _is_damage(line: str) -> bool:
    is_said = line not in ("", "ok") and not line.startswith("*** in database")
    return is_said and not _RULE_BROKEN.match(line) and not any(words in line for words in _NOT_OURS)


class FileLock:
    """A lock on a file beside the database."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle

    async def check(self) -> None:
        """Look whether the file at our path is still ours: another one there can be locked by another."""
        if not _is_at(self._path, self._handle):
            raise lock_lost(str(self._path), "somebody has removed the file that is the lock")


@contextlib.contextmanager
def locked(database: Path) -> Iterator[FileLock]:
    """Hold the lock beside a file, which goes with the process; what stands in it says who holds it."""
    path = Path(f"{os.path.realpath(database)}.migration-lock")
    while True:
        try:
            # Never through a link, which could lead to a file of somebody's.
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            raise TargetUnusable(
                f"No lock can be put beside the file: {error.strerror}",
                where=str(path),
                next_step="Check the path, and the permissions of its folder",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(handle, HOLDER_BYTES).decode(errors="replace").strip()
            os.close(handle)
            raise TargetLocked(
                f"Another migration is running into this file{f': {holder}' if holder else ''}",
                where=str(path),
                next_step="Wait for it, or stop it",
            ) from error
        # The one before us may have removed the file between our opening and our locking it.
        if _is_at(path, handle):
            break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield FileLock(path, handle)
    finally:
        if _is_at(path, handle):
            path.unlink()
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Tell whether a path leads to the file that we hold."""
    try:
        there, ours = path.lstat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
