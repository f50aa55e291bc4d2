"""What PerformanceValidator says of a database; and for each verdict a canary that breaks something."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import stopwatch
from bench.catalogue import OPERATIONS
from bench.dataset import fill
from bench.places import Place
from bench.places import fill as fill_place
from bench.reference import schema_script
from bench.subject import Subject, open_subject
from bench.validator import PerformanceValidator
from migration.database import open_database

MANY_MESSAGES = 600_000
"""So many that reading them all certainly takes longer than any query may."""

SHARE = 0.01


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "reference.db"
    fill(path, 0.02, seed=1)
    return path


@pytest.fixture
def database(dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(dataset, tmp_path / "database.db"))


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs here: these tests are about the database's own faults."""
    monkeypatch.setattr(stopwatch, "doubt_of", lambda *_, **__: "")


async def test_the_results_have_every_key_that_was_asked_for(
    engine: str, backend_url: str, dataset: Path
) -> None:
    await fill_place(Place(engine, "before"), backend_url, dataset)

    async with open_database(backend_url) as database:
        results = await PerformanceValidator(database, rounds_share=SHARE).validate_performance_requirements()

    assert list(results) == [
        "query_performance",
        "concurrent_access",
        "search_performance",
        "connection_pool",
    ]
    keys = {
        "query_performance": {"average_ms", "max_ms", "p95_ms", "requirement_met", "sample_count"},
        "concurrent_access": {
            *("concurrent_agents", "operations_per_agent", "total_operations", "total_time_seconds"),
            *("average_operation_ms", "max_operation_ms", "operations_per_second", "requirement_met"),
        },
        "search_performance": {"average_ms", "max_ms", "requirement_met", "sample_count"},
        "connection_pool": {
            *("average_connection_ms", "max_connection_ms", "efficiency_met", "sample_count"),
        },
    }
    for name, expected in keys.items():
        assert expected | {"verdict", "reasons", "operations"} <= set(results[name]), name
        assert results[name]["verdict"] in {"met", "broken", "unproved"}
    assert results["concurrent_access"]["concurrent_agents"] == 25
    assert results["concurrent_access"]["operations_per_second"] > 0
    assert set(results["search_performance"]["operations"]) >= {"search_context", "like_search"}


async def test_nothing_that_it_writes_stays(database: Path) -> None:
    def counts() -> list[Any]:
        with closing(sqlite3.connect(database)) as connection:
            tables = ("sessions", "messages", "agent_memory", "audit_log", "secure_tokens")
            return [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in tables]

    before = counts()
    await PerformanceValidator(database, rounds_share=SHARE).validate_performance_requirements()

    assert counts() == before


async def test_a_database_without_the_reference_tables_is_measured_too(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL);"
            "CREATE TABLE books (id INTEGER PRIMARY KEY, author INTEGER REFERENCES authors(id), title TEXT);"
            "INSERT INTO authors VALUES (1, 'Someone Somewhere'), (2, 'Anybody Elsewhere');"
            "INSERT INTO books VALUES (1, 1, 'Wonderful stories'), (2, 2, 'Terrible stories');"
        )
    results = await PerformanceValidator(path, rounds_share=SHARE).validate_performance_requirements()

    assert {"by key books", "join books to authors by author"} <= set(
        results["query_performance"]["operations"]
    )
    assert "search books.title" in results["search_performance"]["operations"]


async def becomes_one_ms(_subject: Subject, _number: int) -> int:
    await asyncio.sleep(0.001)
    return 1


async def test_few_samples_prove_nothing(
    database: Path, quiet_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = replace(OPERATIONS["get_messages"], function=becomes_one_ms)
    monkeypatch.setattr("bench.validator.OPERATIONS", {"get_messages": quick})

    result = await PerformanceValidator(database, rounds_share=SHARE).query_performance()

    assert (result["verdict"], result["requirement_met"]) == ("unproved", False)


async def test_enough_samples_of_a_fast_database_meet_the_requirement(
    database: Path, quiet_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = {"select_one": OPERATIONS["select_one"]}
    monkeypatch.setattr("bench.validator.OPERATIONS", fast)

    result = await PerformanceValidator(database).query_performance()

    assert (result["verdict"], result["requirement_met"], result["reasons"]) == ("met", True, [])


async def becomes_slow(_subject: Subject, _number: int) -> int:
    await asyncio.sleep(0.035)
    return 1


async def test_canary_a_slow_query_breaks_the_queries(
    database: Path, quiet_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        OPERATIONS,
        "get_messages",
        replace(OPERATIONS["get_messages"], function=becomes_slow, rounds_real=2_000),
    )

    result = await PerformanceValidator(database, rounds_share=SHARE).query_performance()

    assert (result["verdict"], result["requirement_met"]) == ("broken", False)
    assert any(
        reason.startswith("get_messages on sqlite: budget 'any query' is broken")
        for reason in result["reasons"]
    )


async def test_canary_a_slow_search_breaks_the_searches(
    database: Path, quiet_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def takes_five_ms(_subject: Subject, _number: int) -> int:
        await asyncio.sleep(0.005)
        return 1

    slow = replace(OPERATIONS["search_context"], function=takes_five_ms, rounds_real=50)
    monkeypatch.setattr("bench.validator.OPERATIONS", {"search_context": slow})

    result = await PerformanceValidator(database).search_performance()

    assert result["verdict"] == "broken"
    assert any("budget 'search' is broken" in reason for reason in result["reasons"])


@pytest.fixture
def many_messages(tmp_path: Path) -> Path:
    path = tmp_path / "many.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(schema_script("sqlite"))
        connection.executescript(
            f"""
            PRAGMA synchronous = OFF;
            INSERT INTO sessions (id, purpose, created_by, created_at, updated_at)
            SELECT 'session_' || value, 'canary', 'claude-impl', 0.0, 0.0 FROM json_each('[{
                ", ".join(map(str, range(500)))
            }]');
            INSERT INTO messages (session_id, sender, content, timestamp)
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {
                MANY_MESSAGES
            })
            SELECT 'session_' || (n % 500), 'claude-impl', 'message ' || n || hex(zeroblob(60)), n * 1.0
            FROM numbers;
            INSERT INTO agent_memory (agent_id, session_id, key, value, created_at, updated_at)
            VALUES ('claude-impl', 'session_1', 'state', 'x', 0.0, '2026-01-01');
            INSERT INTO secure_tokens (token_id, encrypted_jwt, agent_id, expires_at)
            VALUES ('sct_1', x'80', 'claude-impl', '2027-01-01'),
                ('sct_2', x'80', 'claude-impl', '2027-01-01');
            """
        )
    return path


async def test_canary_a_dropped_index_breaks_the_queries(
    many_messages: Path, quiet_machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.validator.OPERATIONS", {"get_messages": OPERATIONS["get_messages"]})
    with_index = await PerformanceValidator(many_messages, rounds_share=SHARE).query_performance()
    with closing(sqlite3.connect(many_messages)) as connection:
        for index in ("session_id", "session_time", "visibility_session"):
            connection.execute(f"DROP INDEX idx_messages_{index}")

    without_index = await PerformanceValidator(many_messages, rounds_share=SHARE).query_performance()

    assert (with_index["verdict"], without_index["verdict"]) == ("unproved", "broken")


async def test_canary_a_pool_of_one_breaks_the_pool(database: Path, quiet_machine: None) -> None:
    async with open_subject(database, pool_size=1, pool_overflow=0) as subject:
        result = await PerformanceValidator(subject, rounds_share=0.1).connection_pool()

    assert (result["verdict"], result["efficiency_met"]) == ("broken", False)
    assert any("pool_checkout_25_agents" in reason for reason in result["reasons"])


async def test_a_starving_crowd_is_counted(database: Path) -> None:
    async with open_subject(database, pool_size=1, pool_overflow=0) as subject:
        validator = PerformanceValidator(subject, rounds_share=0.05)
        await validator.connection_pool()

    crowd = next(one for one in validator.performance_data if one.agents == 25)
    assert crowd.counters["most_waiting_tasks"] > 5
    assert crowd.counters["starved_waits"] > 5


def started_burners(count: int) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not count waiting")
async def test_a_machine_too_busy_to_judge_proves_nothing(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def works(_subject: Subject, _number: int) -> int:
        deadline = asyncio.get_running_loop().time() + 0.04
        while asyncio.get_running_loop().time() < deadline:
            pass
        return 1

    slow = replace(OPERATIONS["get_messages"], function=works, rounds_real=2_000)
    monkeypatch.setattr("bench.validator.OPERATIONS", {"get_messages": slow})
    burners = started_burners(3 * (os.cpu_count() or 1))
    try:
        result = await PerformanceValidator(database, rounds_share=SHARE).query_performance()
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()

    assert result["verdict"] == "unproved"
    assert "the machine was busy: this process waited" in result["reasons"][0]
