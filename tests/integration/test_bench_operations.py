"""Every operation of the benchmarks, small, on each engine: one that nobody runs stops working unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from bench.dataset import DatasetKey, fill
from bench.loading import load_postgresql
from bench.operations import OPERATIONS, Operation
from bench.reference import TABLES
from bench.stopwatch import take_samples
from bench.subject import SQLITE_PRAGMAS, open_subject

SCALE = 0.02


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "reference.db"
    fill(path, SCALE, seed=1)
    return path


@pytest.fixture
async def filled_url(engine: str, backend_url: str, dataset: Path) -> str:
    if engine == "sqlite":
        shutil.copyfile(dataset, backend_url.removeprefix("sqlite:///"))
    else:
        await load_postgresql(dataset, backend_url)
    return backend_url


ROWS_SEEN = {
    "empty": 0,
    "select_one": 5,
    "session_count": 5,
    "like_search": 50,
    "pool_checkout": 5,
    "pool_checkout_25_agents": 50,
}
"""Rows of all rounds of the small size; the other operations see as many as the data holds."""


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
async def test_each_operation_works_and_sees_its_rows(operation: Operation, filled_url: str) -> None:
    async with open_subject(filled_url) as subject:
        samples = await take_samples(operation, subject, operation.rounds_small)

    assert len(samples.durations_ns) == operation.rounds_small
    assert min(samples.durations_ns) > 0
    if operation.name in ROWS_SEEN:
        assert samples.row_count == ROWS_SEEN[operation.name]


async def test_every_operation_sees_the_same_rows_on_every_engine(postgresql_url: str, dataset: Path) -> None:
    await load_postgresql(dataset, postgresql_url)
    seen: dict[str, dict[str, int]] = {}
    for url in (dataset, postgresql_url):
        async with open_subject(url) as subject:
            assert len(subject.session_ids) > 100
            seen[subject.backend] = {
                operation.name: (await take_samples(operation, subject, rounds=60)).row_count
                for operation in OPERATIONS.values()
            }

    assert seen["sqlite"] == seen["postgresql"]
    assert seen["sqlite"]["agent_memory"] > 0
    assert seen["sqlite"]["latest_messages"] > 60


async def test_the_loaded_server_holds_every_row_and_gives_the_next_number(
    postgresql_url: str, dataset: Path
) -> None:
    await load_postgresql(dataset, postgresql_url)
    counts: dict[str, list[int]] = {}
    for url in (dataset, postgresql_url):
        async with open_subject(url) as subject, subject.engine.connect() as connection:
            counts[subject.backend] = [
                (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()
                for table in TABLES
            ]
            if subject.backend == "postgresql":
                next_number = (
                    await connection.execute(text("SELECT nextval('messages_id_seq')"))
                ).scalar_one()

    assert counts["sqlite"] == counts["postgresql"]
    assert next_number == DatasetKey(SCALE, 1, TABLES).rows("messages") + 1


async def test_every_sqlite_connection_has_the_applications_settings(dataset: Path) -> None:
    async with open_subject(dataset) as subject:
        first, second = await subject.engine.connect(), await subject.engine.connect()
        for connection in (first, second):
            found = {
                name: str((await connection.execute(text(f"PRAGMA {name}"))).scalar_one())
                for name in ("foreign_keys", "journal_mode", "synchronous", "cache_size", "busy_timeout")
            }
            assert found == {
                "foreign_keys": "1",
                "journal_mode": "wal",
                "synchronous": "1",
                "cache_size": SQLITE_PRAGMAS["cache_size"],
                "busy_timeout": "5000",
            }
            await connection.close()


async def test_an_engine_without_benchmarks_is_refused_by_name() -> None:
    with pytest.raises(LookupError, match="no benchmark for 'mysql', only for sqlite, postgresql"):
        async with open_subject("mysql://nowhere/x"):
            raise AssertionError("a subject was opened")
