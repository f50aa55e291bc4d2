"""The self-test passes where the proof works, and fails where the proof is blind."""

# ruff: noqa: ASYNC240 - the folder here is small, and nothing else waits for the loop.

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from migration import selftest as selftest_module
from migration import verify as verify_module
from migration.digest import row_hashes
from migration.errors import Differs
from migration.selftest import DAMAGED_ROW, ROWS, selftest


async def test_the_damage_is_seen_and_nothing_else() -> None:
    seen = await selftest()
    assert seen.intact.verdict == "proved"
    assert seen.damaged.verdict == "differs"
    assert sum(table.source.row_count for table in seen.intact.tables) == ROWS + 100
    (difference,) = seen.damaged.differences
    assert (difference.what, difference.key, difference.column) == (
        "changed value",
        f"id={DAMAGED_ROW}",
        "note",
    )


async def test_nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    await selftest()
    assert list(tmp_path.iterdir()) == []


async def test_canary_a_proof_that_overlooks_a_column_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_the_last_column(columns: list[Any], row_count: int) -> Any:
        return row_hashes(columns[:-1] or columns, row_count)

    monkeypatch.setattr(verify_module, "row_hashes", without_the_last_column)
    with pytest.raises(Differs, match="did not see just that") as failure:
        await selftest()
    assert failure.value.exit_code == 1
    assert "Trust no result" in failure.value.next_step


async def test_canary_a_proof_that_sees_too_much_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    damage = selftest_module._damage

    async def damage_more(database: Any) -> None:
        await damage(database)
        async with database.changing() as connection:
            await connection.exec_driver_sql("UPDATE transfers SET amount = 0 WHERE id = 7")

    monkeypatch.setattr(selftest_module, "_damage", damage_more)
    with pytest.raises(Differs):
        await selftest()


async def test_canary_damage_that_was_not_done_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    async def damage_nothing(database: Any) -> None:
        return None

    monkeypatch.setattr(selftest_module, "_damage", damage_nothing)
    with pytest.raises(Differs):
        await selftest()
