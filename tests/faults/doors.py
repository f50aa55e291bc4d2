"""The doors of the tool, watched from inside its own process: every one passed is a place to die at.

A door is what leads out of the process: a statement, a call of a driver, a page read, a chunk written, a line
of the audit log, a wait for the disk. Each is counted before and after, so that a place lies between any two
of them. Nothing of the product knows of this; it is put around it from here, in a process made for that.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

PHASES = ("begin", "plan", "prepared", "copied", "finished", "proof", "proved")
"""Named after the event that begins each of them; what comes after `prepared` is the copy."""


class Doors:
    """Counts every passage, and does something at one of them.

    Parameters
    ----------
    at
        The number of the passage at which ``act`` is called with the door's name; 0 for none.
    only
        The one door whose passages count for that; all of them when it is empty.
    """

    def __init__(self, at: int, act: Callable[[str], None], only: str = "") -> None:
        self.count = 0
        self.by_door: Counter[str] = Counter()
        self.phase_starts: dict[str, int] = {"begin": 1}
        self.phase = "begin"
        self._at, self._act, self._only = at, act, only
        self._lock = threading.RLock()

    def passed(self, door: str) -> None:
        """Count one passage."""
        with self._lock:
            self.count += 1
            self.by_door[door] += 1
            at = self.by_door[door] if door == self._only else 0 if self._only else self.count
            is_the_one = at == self._at
        if is_the_one:
            self._act(f"{door} #{self.count} ({self.phase})")

    def enter(self, phase: str) -> None:
        """Note that the job is in another phase; with rows that were set aside it ends as one without."""
        phase = "proved" if phase == "rejected" else phase
        if phase in PHASES or phase == "undoing":
            self.phase = phase
            self.phase_starts.setdefault(phase, self.count + 1)

    # --- putting them around the product --------------------------------------------------------------

    def watch(self) -> None:
        """Put all doors up."""
        self._watch_statements()
        self._watch_drivers()
        self._watch_files()
        self._watch_rows()

    def around(self, holder: Any, name: str, door: str = "") -> None:
        """Count before and after each call of a function, wherever it was imported to."""
        original = inspect.getattr_static(holder, name)
        plain = getattr(holder, name)
        door = door or name
        if inspect.iscoroutinefunction(plain):

            @functools.wraps(plain)
            async def watched(*arguments: Any, **named: Any) -> Any:
                self.passed(f"{door} begins")
                result = await plain(*arguments, **named)
                self.passed(f"{door} is done")
                return result
        else:

            @functools.wraps(plain)
            def watched(*arguments: Any, **named: Any) -> Any:
                self.passed(f"{door} begins")
                result = plain(*arguments, **named)
                self.passed(f"{door} is done")
                return result

        assert not isinstance(original, (staticmethod, classmethod))
        replace_everywhere(holder, name, plain, watched)

    def _watch_statements(self) -> None:
        import sqlalchemy as sa
        from sqlalchemy.engine.default import DefaultDialect

        def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            self.passed(f"statement {' '.join(statement.split()[:2])[:40]} begins")

        def after(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            self.passed(f"statement {' '.join(statement.split()[:2])[:40]} is done")

        sa.event.listen(sa.Engine, "before_cursor_execute", before)
        sa.event.listen(sa.Engine, "after_cursor_execute", after)
        for kind in {DefaultDialect, *_subclasses(DefaultDialect)}:
            for name in ("do_commit", "do_rollback"):
                if name in vars(kind):
                    self.around(kind, name, name.removeprefix("do_"))

    def _watch_drivers(self) -> None:
        import asyncpg

        from migration.backends import mysql_connection, mysql_wire, sqlite_connection

        for name in ("execute", "fetch", "fetchrow", "fetchval", "copy_to_table", "copy_from_query", "close"):
            self.around(asyncpg.Connection, name, f"postgresql {name}")
        for name in ("connect", "fetch", "close"):
            self.around(mysql_connection, name, f"mysql {name}")
        self.around(mysql_wire, "run", "mysql load")
        for name in ("begin", "take", "put_aside"):
            self.around(mysql_wire.Stream, name, f"mysql stream {name}")
        for name in ("run",):
            self.around(sqlite_connection.Connection, name, f"sqlite {name}")

    def _watch_files(self) -> None:
        from migration import audit, rejects

        for name in ("fsync", "ftruncate", "fchmod", "replace", "unlink", "mkdir"):
            self.around(os, name, f"file {name}")
        self.around(rejects.RejectFile, "add", "reject")
        self.around(rejects.RejectFile, "flush", "rejects to disk")
        doors = self

        class TornFile(io.FileIO):
            """Writes a line in two halves, so that there is a place between them."""

            def write(self, data: Any, /) -> int:
                doors.passed("audit line begins")
                half = len(data) // 2
                written = super().write(data[:half])
                if written == half:
                    doors.passed("audit line is half written")
                    written += super().write(data[half:])
                doors.passed("audit line is written")
                return written

        audit.io = _with(audit.io, FileIO=TornFile)

    def _watch_rows(self) -> None:
        from migration.database import Database, _ToldSnapshot
        from migration.journal import Journal

        scan, write, loader = _ToldSnapshot.scan, Journal.write, Database.loader
        doors = self

        async def watched_scan(self: Any, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
            async with contextlib.aclosing(scan(self, *arguments, **named)) as pages:
                async for page in pages:
                    doors.passed("page read")
                    yield page

        async def watched_write(self: Any, name: str, **details: Any) -> None:
            doors.passed(f"event {name} begins")
            await write(self, name, **details)
            doors.enter(name)
            doors.passed(f"event {name} is written")

        @contextlib.asynccontextmanager
        async def watched_loader(self: Any, tables: Any) -> AsyncIterator[Any]:
            async with loader(self, tables) as opened:
                doors.passed("loader is open")
                yield WatchedLoader(opened, doors)
                doors.passed("loader is to be closed")
            doors.passed("loader is closed")

        _ToldSnapshot.scan = watched_scan  # type: ignore[assignment]
        Journal.write = watched_write  # type: ignore[method-assign]
        Database.loader = watched_loader  # type: ignore[method-assign]


class WatchedLoader:
    """A loader each of whose steps is a door."""

    def __init__(self, loader: Any, doors: Doors) -> None:
        self._loader, self._doors = loader, doors

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        self._doors.passed("transaction begins")
        async with self._loader.transaction():
            self._doors.passed("transaction is open")
            yield
            self._doors.passed("commit of a chunk begins")
        self._doors.passed("chunk is committed")

    async def write(self, table: Any, columns: Any, batch: Any) -> None:
        self._doors.passed("chunk begins")
        await self._loader.write(table, columns, batch)
        self._doors.passed("chunk is written")

    async def execute(self, statement: Any) -> None:
        self._doors.passed("checkpoint begins")
        await self._loader.execute(statement)
        self._doors.passed("checkpoint is written")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def replace_everywhere(holder: Any, name: str, old: Any, new: Any) -> None:
    """Put something in the place of a function, in every module of the product that has imported it."""
    setattr(holder, name, new)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("migration") and vars(module).get(name) is old:
            setattr(module, name, new)


def small_chunks(rows: int, size: int) -> None:
    """Let batches and chunks be small, so that a small table has many boundaries."""
    from tests.moving import limits

    for module, limit, value in limits(rows, size):
        setattr(module, limit, value)


def _subclasses(kind: type) -> set[type]:
    return {each for child in kind.__subclasses__() for each in (child, *_subclasses(child))}


def _with(module: Any, **others: Any) -> Any:
    """Return what looks like a module, with some of its names meaning something else."""

    class Seen:
        def __getattr__(self, name: str) -> Any:
            return others[name] if name in others else getattr(module, name)

    return Seen()
