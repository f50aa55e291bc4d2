"""How fast messages are copied and proved: at least 0.6 of what the server can do at all, in little memory.

The target is the hand-written messages table with its checks and its primary key. The other indexes and the
foreign keys are left out on both sides of the ratio: a ready file would not be loaded with them in place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.conftest import FreshUrl, backends_of
from bench.copying import (
    REPETITIONS,
    ROWS_SMALL,
    CopyOutcome,
    binary_copy_s,
    copied_in_a_child,
    empty_messages_table,
    empty_mysql_messages_table,
    figures,
    resumed_in_children,
)
from bench.dataset import cached, messages_only
from bench.judge import assert_not_broken
from bench.reference import table_script
from bench.replay import CLOCK
from bench.report import Report
from bench.subject import engine_description

pytestmark = pytest.mark.benchmark(group="copy", timer=CLOCK.now_s)


@pytest.fixture
def rows(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> int:
    return ROWS_SMALL if benchmark.disabled else int(request.config.getoption("--copy-rows"))


@pytest.fixture
def source(request: pytest.FixtureRequest, rows: int) -> Path:
    return cached(messages_only(rows, request.config.getoption("--bench-seed")))


def judge_and_keep(
    benchmark: BenchmarkFixture,
    report: Report,
    backend: str,
    outcomes: Sequence[CopyOutcome],
    limits_s: Sequence[float] = (),
    resumed_s: Sequence[float] = (),
) -> None:
    """Hand the copies to pytest-benchmark and the report; fail when a budget is certainly broken."""
    CLOCK.load(round(outcome.copy_s * 1e9) for outcome in outcomes)
    benchmark.pedantic(CLOCK.advance, rounds=len(outcomes))  # type: ignore[no-untyped-call]
    if benchmark.disabled:
        return
    source, _, target = backend.partition(" -> ")
    for outcome in outcomes:
        report.add_migration(outcome.migration(source, target))
    judgements = [report.add_figure(figure) for figure in figures(backend, outcomes, limits_s, resumed_s)]
    assert_not_broken(judgement for of_figure in judgements for judgement in of_figure)


@pytest.fixture
def postgresql_url(fresh_url: FreshUrl) -> str:
    return fresh_url("postgresql")


async def test_copy_messages_to_postgresql(
    rows: int,
    source: Path,
    postgresql_url: str,
    benchmark: BenchmarkFixture,
    report: Report,
) -> None:
    outcomes, limits_s, resumed_s = [], [], []
    connection = await asyncpg.connect(postgresql_url)
    try:
        report.add_engine(await engine_description(postgresql_url))
        for _ in range(REPETITIONS):
            await empty_messages_table(connection)
            await connection.execute("CHECKPOINT")
            outcomes.append(await copied_in_a_child(f"sqlite:///{source}", postgresql_url))
            limits_s.append(await binary_copy_s(connection, rows))
        await empty_messages_table(connection)
        resumed_s.append(await resumed_in_children(f"sqlite:///{source}", postgresql_url))
        assert await connection.fetchval("SELECT count(*) FROM messages") == rows
    finally:
        await connection.close()
    assert {outcome.rows for outcome in outcomes} == {rows}
    judge_and_keep(benchmark, report, "sqlite -> postgresql", outcomes, limits_s, resumed_s)


@pytest.fixture
def mariadb_url(request: pytest.FixtureRequest, fresh_url: FreshUrl) -> str:
    if "mariadb" not in backends_of(request.config):
        pytest.skip("MariaDB was not asked for: --backends all")
    return fresh_url("mariadb")


async def test_copy_messages_to_mariadb(
    rows: int, source: Path, mariadb_url: str, benchmark: BenchmarkFixture, report: Report
) -> None:
    report.add_engine(await engine_description(mariadb_url))

    outcomes = []
    for _ in range(REPETITIONS):
        await empty_mysql_messages_table(mariadb_url)
        outcomes.append(await copied_in_a_child(f"sqlite:///{source}", mariadb_url))
    await empty_mysql_messages_table(mariadb_url)
    resumed_s = [await resumed_in_children(f"sqlite:///{source}", mariadb_url)]
    assert {outcome.rows for outcome in outcomes} == {rows}
    judge_and_keep(benchmark, report, "sqlite -> mariadb", outcomes, resumed_s=resumed_s)


async def test_copy_messages_to_sqlite(
    rows: int, source: Path, tmp_path: Path, benchmark: BenchmarkFixture, report: Report
) -> None:
    def empty_target(name: str) -> str:
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.executescript(table_script("sqlite", "messages"))
        return f"sqlite:///{tmp_path / name}"

    outcomes = [
        await copied_in_a_child(f"sqlite:///{source}", empty_target(f"{number}.db"))
        for number in range(REPETITIONS)
    ]
    resumed_s = [await resumed_in_children(f"sqlite:///{source}", empty_target("resumed.db"))]
    assert {outcome.rows for outcome in outcomes} == {rows}
    judge_and_keep(benchmark, report, "sqlite -> sqlite", outcomes, resumed_s=resumed_s)
