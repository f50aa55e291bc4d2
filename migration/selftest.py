"""Proves that the proof can fail: moves a small database, damages one row of the copy, and must see it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from migration.backends import file_url
from migration.database import Database, open_database
from migration.difference import Report
from migration.errors import Differs
from migration.service import DataMigrationService
from migration.validator import MigrationValidator

ROWS = 5_000
DAMAGED_ROW = 1_234
_SCHEMA = (
    """CREATE TABLE accounts (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, balance NUMERIC, photo BLOB, opened TIMESTAMP
    )""",
    """CREATE TABLE transfers (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account_id INTEGER NOT NULL REFERENCES accounts (id),
        amount REAL,
        note TEXT
    )""",
    "CREATE INDEX transfers_by_account ON transfers (account_id)",
)


@dataclass(frozen=True)
class SelfTest:
    """What the self-test saw: the proof of the whole copy, and the report on the damaged one."""

    intact: Report
    damaged: Report


async def selftest() -> SelfTest:
    """Move a small database, damage one row of the copy, and return both reports.

    Raises
    ------
    Differs
        When the damage was not seen, or was seen as something else: then no proof can be believed.
    """
    with tempfile.TemporaryDirectory(prefix="migration-selftest-") as folder:
        source, target = Path(folder, "source.db"), Path(folder, "target.db")
        await _make_source(source)
        async with (
            open_database(file_url(str(source)), is_source=True) as ours,
            open_database(file_url(str(target))) as theirs,
        ):
            intact = await DataMigrationService(ours, theirs).migrate()
            await _damage(theirs)
            validator = MigrationValidator(ours, theirs)
            await validator.validate_data_integrity()
    damaged = validator.report
    (first, *others) = damaged.differences or (None,)
    seen = first is not None and (first.what, first.table, first.column) == (
        "changed value",
        "transfers",
        "note",
    )
    if not seen or others or damaged.difference_count != 1:
        raise Differs(
            "The self-test damaged one value and the proof did not see just that",
            where=f"transfers.note, id={DAMAGED_ROW}",
            next_step="Trust no result of this installation; reinstall it and run the self-test again",
        )
    return SelfTest(intact, damaged)


async def _make_source(path: Path) -> None:
    accounts = [
        {
            "id": i,
            "name": f"account {i}",
            "balance": i * 1.25,
            "photo": bytes([i]) * 16,
            "opened": 1.7e9 + i / 2,
        }
        for i in range(1, 101)
    ]
    transfers = [
        {"account_id": i % 100 + 1, "amount": i / 3, "note": f"note {i}" if i % 7 else None}
        for i in range(ROWS)
    ]
    async with open_database(file_url(str(path))) as database, database.changing() as connection:
        for statement in _SCHEMA:
            await connection.exec_driver_sql(statement)
        await connection.execute(
            text("INSERT INTO accounts VALUES (:id, :name, :balance, :photo, :opened)"), accounts
        )
        await connection.execute(
            text("INSERT INTO transfers (account_id, amount, note) VALUES (:account_id, :amount, :note)"),
            transfers,
        )


async def _damage(database: Database) -> None:
    async with database.changing() as connection:
        await connection.execute(
            text("UPDATE transfers SET note = note || ' ' WHERE id = :id"), {"id": DAMAGED_ROW}
        )
