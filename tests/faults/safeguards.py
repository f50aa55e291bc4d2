"""Safeguards of the product, each of which can be switched off: the harness must notice every one.

A safeguard that nobody misses is either not needed or not watched.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tests.faults.doors import Doors, WatchedLoader, replace_everywhere
from tests.faults.scenario import Scenario, Shape

PLAIN = Shape("sqlite", "postgresql", 1, "")
OWN_ROWS = Shape("postgresql", "mariadb", 2, "own rows")
MIDDLE_COMMIT = 2
"""The second commit of the copy is that of a chunk in the middle of its first table."""


@dataclass(frozen=True)
class Safeguard:
    """One safeguard: how it is switched off in the process of the tool, and a scenario that needs it."""

    switch_off: Callable[[Doors], None]
    scenario: Scenario


def _killed(door: str, nth: int, *, goes_back: bool = False, shape: Shape = PLAIN) -> Scenario:
    detail = {"door": door, "nth": nth}
    return Scenario(0, shape, "kill", "prepared", 0.5, goes_back=goes_back, detail=detail)


def _lied(what: str, shape: Shape = PLAIN) -> Scenario:
    return Scenario(0, shape, "lie", "finished", 0.5, goes_back=False, detail={"what": what, "at": 0.1})


def _split_transaction(doors: Doors) -> None:
    """Commit the rows first, and how far they go afterwards."""

    @contextlib.asynccontextmanager
    async def transaction(self: WatchedLoader) -> AsyncIterator[None]:
        later: list[Any] = []
        execute = self._loader.execute

        async def put_off(statement: Any) -> None:
            if isinstance(statement, sa.Update):
                later.append(statement)
            else:
                await execute(statement)

        async with self._loader.transaction():
            self._loader.execute = put_off
            try:
                yield
            finally:
                self._loader.execute = execute
        doors.passed("chunk is committed")
        async with self._loader.transaction():
            for statement in later:
                await execute(statement)

    WatchedLoader.transaction = transaction  # type: ignore[method-assign]


def _late_position(doors: Doors) -> None:
    """Note with each chunk where the one before ended."""
    from migration import copy

    advanced = copy.advanced
    before: dict[str, Any] = {}

    def late(table: str, position: Any, *arguments: Any, **named: Any) -> Any:
        noted = before.get(table, position)
        before[table] = position
        return advanced(table, noted, *arguments, **named)

    copy.advanced = late


def _proved_whatever(doors: Doors) -> None:
    from migration.difference import Report

    Report.equal = property(lambda self: True)  # type: ignore[method-assign,assignment]


def _blind_digest(doors: Doors) -> None:
    """Leave the last column of every table out of the digest."""
    from migration import digest

    hashes = digest.row_hashes

    def without_last(columns: Any, row_count: int) -> Any:
        return hashes(list(columns)[:-1] if len(columns) > 1 else columns, row_count)

    replace_everywhere(digest, "row_hashes", hashes, without_last)


def _undo_nothing(doors: Doors) -> None:
    """Drop nothing when undoing, and do not look what is left."""
    from migration import undo

    async def nothing(*_: Any) -> None:
        return None

    async def unchanged(*_: Any) -> list[str]:
        return []

    drop_new, changed_since = undo.drop_new, undo.changed_since
    replace_everywhere(undo, "drop_new", drop_new, nothing)
    replace_everywhere(undo, "changed_since", changed_since, unchanged)


def _silent_audit(doors: Doors) -> None:
    """Go on although a line of the audit log could not be written."""
    from migration.audit import Audit
    from migration.errors import AuditUnusable

    write = Audit._write_bytes

    def try_to_write(self: Audit, data: bytes) -> None:
        with contextlib.suppress(AuditUnusable):
            write(self, data)

    Audit._write_bytes = try_to_write  # type: ignore[method-assign]


def _no_lock(doors: Doors) -> None:
    from migration.database import Database

    @contextlib.asynccontextmanager
    async def lock(self: Database) -> AsyncIterator[None]:
        yield

    Database.lock = lock  # type: ignore[method-assign]


def _any_plan(doors: Doors) -> None:
    """Go on with whatever source there is."""
    from migration import service

    for name in ("check_same_plan", "check_same_origin"):
        if hasattr(service, name):
            setattr(service, name, lambda *_: None)


def _moving_source(doors: Doors) -> None:
    """Read every page of the source as it is at that moment."""
    from migration.backends import sqlite, sqlite_connection, sqlite_rows

    @contextlib.asynccontextmanager
    async def unheld(path: Any) -> AsyncIterator[Any]:
        async with sqlite_connection.Connection(path, "ro") as connection:
            yield sqlite_rows.SqliteSnapshot(connection)

    assert sqlite.sqlite_rows is sqlite_rows
    sqlite_rows.open_snapshot = unheld  # type: ignore[assignment]
    # Pages that were measured would be read as they were.
    sqlite_rows._Pages.find = lambda *_: None  # type: ignore[method-assign,assignment]


def _lost_triggers(doors: Doors) -> None:
    from migration.backends import mysql_triggers

    async def nothing(connection: Any) -> None:
        return None

    replace_everywhere(mysql_triggers, "put_back", mysql_triggers.put_back, nothing)


SAFEGUARDS = {
    "rows and their checkpoint commit together": Safeguard(
        _split_transaction, _killed("chunk is committed", MIDDLE_COMMIT)
    ),
    "it goes on behind the last row that is there": Safeguard(
        _late_position, _killed("chunk is committed", MIDDLE_COMMIT)
    ),
    "what differs is not called proved": Safeguard(_proved_whatever, _lied("row dropped")),
    "every column is in the digest": Safeguard(_blind_digest, _lied("character flipped")),
    "undoing takes away what is new, and looks": Safeguard(_undo_nothing, _lied("chunk doubled")),
    "what cannot be put on record stops the job": Safeguard(
        _silent_audit,
        Scenario(
            0, PLAIN, "disk full", "prepared", 0.5, goes_back=False,
            detail={"disk": "audit", "way": "small files", "spare bytes": 100},
        ),
    ),
    "one migration at a time": Safeguard(_no_lock, Scenario(0, PLAIN, "rival", "plan", 0.5, goes_back=False)),
    "a plan is gone on with as it was made": Safeguard(
        _any_plan, Scenario(0, PLAIN, "source changed", "copied", 0.5, goes_back=False)
    ),
    "the source is one moment": Safeguard(
        _moving_source, Scenario(0, PLAIN, "source written", "prepared", 0.0, goes_back=False)
    ),
    "triggers are put back": Safeguard(
        _lost_triggers,
        Scenario(0, OWN_ROWS, "clock", "begin", 0.5, goes_back=False, detail={"then": ""}),
    ),
}  # fmt: skip
"""By what each of them keeps."""
