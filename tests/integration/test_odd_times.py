"""Times that no calendar holds, and times with more digits than a column keeps, are named before they go."""

from __future__ import annotations

from pathlib import Path

import pytest

from migration import DataMigrationService, open_database
from migration.errors import HazardsNotAccepted
from migration.model import Kind
from migration.plan import Hazard, Severity
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved

# Each column but the first two has one value that only text can say, in a row of its own.
ODD = """
    CREATE TABLE t (
        id bigint PRIMARY KEY, fine timestamptz, day date, clock time, local timestamp, at timestamptz);
    INSERT INTO t VALUES
        (1, '2024-01-01 00:00+00', 'infinity', '12:30', '2024-01-01 10:00', '2024-01-01 00:00+00'),
        (2, '2024-01-02 00:00+00', '2024-02-29', '24:00:00', '2024-01-02 10:00', '2024-01-02 00:00+00'),
        (3, NULL, '2024-03-01', '00:00', '0044-03-15 12:00 BC', '2024-01-03 00:00+00'),
        (4, '9999-12-31 23:59:59.999999+00', NULL, NULL, NULL, '-infinity');
"""
WHY = {"day": "infinity", "clock": "24:00:00", "local": "BC", "at": "-infinity"}


async def hazards_of(source: Path | str, target: str) -> list[Hazard]:
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        return list((await DataMigrationService(ours, theirs).make_plan()).hazards)


async def test_a_column_of_odd_times_becomes_text_and_the_rows_are_named(
    postgresql_url: str, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    await oracle.run(postgresql_url, ODD)
    found = {hazard.column: hazard for hazard in await hazards_of(postgresql_url, target)}
    asked = {column for column, hazard in found.items() if hazard.name == "value-changed"}
    assert asked == set(WHY)
    for number, (column, why) in enumerate(WHY.items(), 1):
        hazard = found[column]
        assert (hazard.severity, hazard.count) == (Severity.HAZARD, 1)
        (example,) = hazard.examples
        assert f"id={number}" in example
        assert why in example
    refused = await moved(postgresql_url, target)
    assert isinstance(refused.error, HazardsNotAccepted)
    service = await moved(postgresql_url, target, accept=("value-changed",))
    assert service.error is None, service.error
    assert service.plan is not None
    kinds = {column.source.name: column.kind for column in service.plan.tables[0].columns}
    assert {name for name, kind in kinds.items() if kind is Kind.TEXT} == set(WHY)
    spelled = ", ".join(f"{column}::text" for column in WHY)
    ours = await oracle.rows(postgresql_url, f"SELECT {spelled} FROM t ORDER BY id")
    theirs = await oracle.rows(target, f"SELECT {', '.join(WHY)} FROM t ORDER BY id")
    for one, other in zip(ours, theirs, strict=True):
        # Moments are told in UTC, whatever the session of whoever asks.
        assert [value.removesuffix("+00") if value else value for value in one] == [
            value.removesuffix("+00") if value else value for value in other
        ]


async def test_an_existing_column_of_times_has_no_room_for_odd_ones(
    postgresql_url: str, fresh_database: FreshDatabase
) -> None:
    target = fresh_database("postgresql")
    await oracle.run(postgresql_url, ODD)
    await oracle.run(target, ODD.partition("INSERT")[0])
    before = await oracle.dump(target)
    refused = [
        hazard for hazard in await hazards_of(postgresql_url, target) if hazard.severity is Severity.BLOCKING
    ]
    assert {hazard.column for hazard in refused} == set(WHY)
    assert {(hazard.name, hazard.count) for hazard in refused} == {("value-not-convertible", 1)}
    assert isinstance((await moved(postgresql_url, target)).error, HazardsNotAccepted)
    assert await oracle.dump(target) == before


async def test_a_table_without_a_key_names_odd_times_by_themselves(
    postgresql_url: str, tmp_path: Path
) -> None:
    await oracle.run(postgresql_url, "CREATE TABLE t (day date); INSERT INTO t VALUES ('infinity'), (now())")
    (hazard,) = [
        hazard
        for hazard in await hazards_of(postgresql_url, f"sqlite:///{tmp_path / 'target.db'}")
        if hazard.name == "value-changed"
    ]
    assert hazard.examples == ("day=infinity",)


# --- digits of a second -----------------------------------------------------------------------------

COARSE = {
    "postgresql": "CREATE TABLE t (id int PRIMARY KEY, at timestamp(0), fine timestamp(3), rest timestamp)",
    "mariadb": "CREATE TABLE t (id int PRIMARY KEY, at datetime, fine datetime(3), rest datetime(6))",
}
FINE = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMP, fine TIMESTAMP, rest TIMESTAMP);
    INSERT INTO t VALUES
        (1, '2024-01-01 10:00:00.4', '2024-01-01 10:00:00.123', '2024-01-01 10:00:00.123456'),
        (2, '2024-12-31 23:59:59.5', '2024-01-01 10:00:00.1236', '2024-01-01 10:00:00'),
        (3, '2024-01-01 10:00:00', '2024-01-01 10:00:00', '2024-01-01 10:00:00');
"""


@pytest.mark.parametrize("target_engine", COARSE)
async def test_digits_that_a_column_does_not_keep_are_asked_about_and_then_proved(
    tmp_path: Path, fresh_database: FreshDatabase, target_engine: str
) -> None:
    source, target = made(tmp_path / "source.db", FINE), fresh_database(target_engine)
    await oracle.run(target, COARSE[target_engine])
    rounded = {
        hazard.column: hazard.count
        for hazard in await hazards_of(source, target)
        if hazard.name == "time-rounded"
    }
    assert rounded == {"at": 2, "fine": 1}
    assert isinstance((await moved(source, target)).error, HazardsNotAccepted)
    service = await moved(source, target, accept=("time-rounded",))
    assert service.error is None, service.error
    found = await oracle.rows(target, "SELECT at, fine, rest FROM t ORDER BY id")
    assert [[value.isoformat(sep=" ") for value in row] for row in found] == [
        ["2024-01-01 10:00:00", "2024-01-01 10:00:00.123000", "2024-01-01 10:00:00.123456"],
        ["2025-01-01 00:00:00", "2024-01-01 10:00:00.124000", "2024-01-01 10:00:00"],
        ["2024-01-01 10:00:00"] * 3,
    ]


# --- keys that meet ---------------------------------------------------------------------------------


async def test_texts_that_are_one_value_in_another_type_are_named_before_they_meet(
    postgresql_url: str, fresh_database: FreshDatabase
) -> None:
    target = fresh_database("postgresql")
    await oracle.run(postgresql_url, """
        CREATE TABLE numbers (v text UNIQUE); INSERT INTO numbers VALUES ('1'), ('1.0'), ('2');
        CREATE TABLE documents (v json, w text UNIQUE);
        INSERT INTO documents VALUES (NULL, '{"a": 1, "b": 2}'), (NULL, '{"b":2,"a":1}'), (NULL, '{}');
    """)  # fmt: skip
    await oracle.run(
        target,
        """
        CREATE TABLE numbers (v numeric UNIQUE);
        CREATE TABLE documents (v json, w jsonb UNIQUE);
    """,
    )
    equal = [
        hazard for hazard in await hazards_of(postgresql_url, target) if hazard.name == "equal-under-key"
    ]
    assert {(hazard.table, hazard.count, hazard.severity) for hazard in equal} == {
        ("numbers", 2, Severity.BLOCKING),
        ("documents", 2, Severity.BLOCKING),
    }
