"""What many tests of moving share: a source made from a script, and one whole migration in one call."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
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
    """Let chunks be small, so that a small table has many boundaries."""
    import sys

    names = [name for name in sys.modules if name.startswith("migration.backends")]
    assert all(backend_named(module) for module in MODULES)
    for name in names:
        module = sys.modules[name]
        for limit, value in (("BATCH_ROWS", rows), ("BATCH_BYTES", size)):
            if hasattr(module, limit):
                monkeypatch.setattr(module, limit, value)
