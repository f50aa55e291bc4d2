"""A death that comes to the product between two of its statements, in this process, as often as is wanted."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from migration.backends import mysql_connection
from migration.database import Database

WRITES = re.compile(r"\s*(CREATE|DROP|ALTER|INSERT|UPDATE|DELETE|ANALYZE)\b", re.IGNORECASE)


class Killed(BaseException):
    """The process is no more; nothing in the product may catch it."""


class Death:
    """Comes to a process at one of its statements, after which none goes through any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at = 0
        self.count = 0
        self._is_awake = False
        self._monkeypatch = monkeypatch
        engine, death = Database.engine, self

        def watched(database: Database) -> Any:
            is_new = database._engine is None
            found = engine.fget(database)  # type: ignore[attr-defined]
            if is_new and not database.is_source:
                event.listen(found.sync_engine, "before_cursor_execute", death._before)
            return found

        monkeypatch.setattr(Database, "engine", property(watched))
        fetch = mysql_connection.fetch

        async def counted(connection: Any, statement: str, *rest: Any) -> Any:
            death._meet(statement)
            return await fetch(connection, statement, *rest)

        # Some connections are a backend's own.
        for name, module in list(sys.modules.items()):
            if name.startswith("migration.backends.mysql") and getattr(module, "fetch", None) is fetch:
                monkeypatch.setattr(module, "fetch", counted)

    @contextmanager
    def within(self, module: Any, name: str, *, at: int) -> Iterator[None]:
        """Die at the n-th statement that one function writes with; ``0`` only counts."""
        original = getattr(module, name)
        self._at, self.count = at, 0

        async def mortal(*arguments: Any, **named: Any) -> Any:
            self._is_awake = True
            try:
                return await original(*arguments, **named)
            finally:
                self._is_awake = bool(self._at) and self.count >= self._at

        with self._monkeypatch.context() as patched:
            patched.setattr(module, name, mortal)
            try:
                yield
            finally:
                self._is_awake = False

    def _before(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        self._meet(statement)

    def _meet(self, statement: str) -> None:
        if not self._is_awake:
            return
        self.count += bool(WRITES.match(statement))
        if self._at and self.count >= self._at:
            raise Killed
