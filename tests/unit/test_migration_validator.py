"""What a validator says: nothing is proved before it was read, and nothing looked at is the same as equal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from migration import Database, MigrationError, MigrationValidator, UsageError, open_database
from migration import verify as verify_module
from migration.checks import Proof
from migration.difference import CheckResult
from migration.digest import Hashes, row_hashes
from tests.faults import SHOP
from tests.moving import made, moved

MOMENT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """A small shop and its copy."""
    source = made(tmp_path / "source.db", SHOP)
    assert (await moved(source, tmp_path / "target.db")).error is None
    async with (
        open_database(source, is_source=True) as ours,
        open_database(tmp_path / "target.db") as theirs,
    ):
        yield ours, theirs


Sides = tuple[Database, Database]


async def test_nothing_is_proved_before_anybody_has_looked(sides: Sides) -> None:
    validator = MigrationValidator(*sides)
    assert not validator.report.proved
    report = validator.get_validation_report()
    assert (report["validation_passed"], report["verdict"]) == (False, "could not look")
    assert validator.validation_errors == []


async def test_schemas_that_fit_prove_no_rows(sides: Sides) -> None:
    validator = MigrationValidator(*sides)
    assert await validator.validate_schema_compatibility()
    assert not validator.report.proved


async def test_the_report_has_the_time_of_the_clock_it_was_given(sides: Sides) -> None:
    validator = MigrationValidator(*sides, clock=lambda: MOMENT)
    assert validator.get_validation_report()["timestamp"] == "2024-05-06T07:08:09.000000Z"


async def test_the_same_plan_serves_both_halves(sides: Sides) -> None:
    validator = MigrationValidator(*sides)
    assert await validator.validate_schema_compatibility()
    plan = validator.plan
    assert await validator.validate_data_integrity()
    assert validator.plan is plan
    names = [check["name"] for check in validator.get_validation_report()["checks"]]
    assert names == ["tables", "columns", "indexes", "foreign keys", "views", "left behind", "row counts",
                     "relationships", "timestamps", "sequences"]  # fmt: skip


async def test_a_mapping_that_means_nothing_is_told_at_once(sides: Sides) -> None:
    validator = MigrationValidator(*sides, mapping={"missing": "other"})
    with pytest.raises(UsageError, match="missing"):
        await validator.validate_data_integrity()


async def test_a_check_that_cannot_look_leaves_the_others_their_say(sides: Sides) -> None:
    async def check_the_weather(proof: Proof) -> CheckResult:
        raise MigrationError("It is dark outside")

    async def check_nothing(proof: Proof) -> CheckResult:
        return CheckResult("nothing", 1)

    validator = MigrationValidator(*sides)
    async with validator._proof() as proof:
        await validator._run([check_the_weather, check_nothing], proof)
    assert validator.report.could_not_look == ("the weather: It is dark outside.",)
    assert [check.name for check in validator.report.checks] == ["nothing"]
    assert validator.report.verdict == "could not look"


async def test_a_check_with_a_mistake_in_it_is_no_finding(sides: Sides) -> None:
    async def check_badly(proof: Proof) -> CheckResult:
        raise ZeroDivisionError

    validator = MigrationValidator(*sides)
    with pytest.raises(ZeroDivisionError):
        async with validator._proof() as proof:
            await validator._run([check_badly], proof)
    assert validator.report.could_not_look == ()


async def test_canary_eyes_that_see_nothing_would_call_everything_equal(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That content is compared at all rests on the hashes of rows: without them damage goes unseen."""
    async with sides[1].changing() as connection:
        await connection.exec_driver_sql("UPDATE orders SET amount = amount + 1 WHERE id = 3")

    def blind(columns: list[object], row_count: int) -> Hashes:
        return row_hashes([], row_count)

    seeing = MigrationValidator(*sides)
    assert not await seeing.validate_data_integrity()
    monkeypatch.setattr(verify_module, "row_hashes", blind)
    assert await MigrationValidator(*sides).validate_data_integrity()


async def test_every_phase_tells_its_progress(sides: Sides) -> None:
    phases: list[str] = []
    validator = MigrationValidator(*sides, progress=lambda step: phases.append(step.phase))
    await validator.validate_data_integrity()
    assert set(phases) == {"look", "prove source", "prove target"}
