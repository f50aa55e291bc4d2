"""What many tests of moving share: a source made from a script, and one whole migration in one call."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from migration import DataMigrationService, Options, open_database
from migration.backends import MODULES, backend_named
from migration.progress import Progress, silent


def made(path: Path, script: str) -> Path:
    """Make a SQLite file from a script."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


async def moved(
    source: Path | str, target: Path | str, *, progress: Progress = silent, **options: Any
) -> DataMigrationService:
    """Walk all ten steps and return the service, whichever way it ended."""
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        service = DataMigrationService(ours, theirs, options=Options(**options), progress=progress)
        await service.migrate_data()
    return service


async def taken_back(source: Path | str, target: Path | str) -> None:
    """Undo a migration that was stopped."""
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        await DataMigrationService(ours, theirs).take_back()


def small_chunks(monkeypatch: pytest.MonkeyPatch, rows: int, size: int) -> None:
    """Let batches and chunks be small, so that a small table has many boundaries."""
    for module, limit, value in limits(rows, size):
        monkeypatch.setattr(module, limit, value)


def limits(rows: int, size: int) -> Iterator[tuple[ModuleType, str, int]]:
    """Yield where a limit of rows or bytes is read, and what it shall be."""
    wanted = {"BATCH_ROWS": rows, "BATCH_BYTES": size, "CHUNK_BYTES": size}
    assert all(backend_named(module) for module in MODULES), "only what is imported can be changed"
    found = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("migration."):
            for limit in wanted.keys() & vars(module).keys():
                found.add(limit)
                yield module, limit, wanted[limit]
    assert found == wanted.keys(), "a limit has another name now"
