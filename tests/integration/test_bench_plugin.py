"""The pytest plugin, in test files of somebody else: the fixtures, the marker, and each of its alarms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BEGINNING = """
import asyncio
import pytest
from bench.subject import open_subject


async def quick(subject, number):
    return 1


async def slow(subject, number):
    await asyncio.sleep(0.04)
    return 1
"""


def run(folder: Path, test: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_own.py").write_text(BEGINNING + test)
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"),
            *("-p", "bench.plugin", "-o", "asyncio_mode=auto", *arguments, "test_own.py"),
        ],
        cwd=folder,
        # Installed or not: the plugin is named above, once.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_test_gets_an_empty_database_and_a_measurement(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
@pytest.mark.budget(p95_ms=30)
async def test_own(backend, operation_timer):
    async with open_subject(backend.url) as subject:
        async def select_one(subject, number):
            async with subject.connection() as connection:
                return len((await connection.exec_driver_sql("SELECT 1")).all())

        measurement = await operation_timer(select_one, subject, rounds=10)
    assert (measurement.operation, measurement.backend) == ("select_one", backend.name)
    assert measurement.row_count == 10
""",
    )

    assert told.returncode == 0, told.stdout
    assert "1 passed, 2 skipped" in told.stdout


def test_canary_a_budget_that_is_certainly_broken_fails_the_test(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch):
    monkeypatch.setattr("bench.stopwatch.doubt_of", lambda *_, **__: "")


@pytest.mark.budget(p95_ms=30)
async def test_own(operation_timer):
    await operation_timer(slow, rounds=60)
""",
    )

    assert told.returncode == 1
    assert "budget 'p95_ms of test_own' is broken" in told.stdout


def test_a_budget_that_is_unproved_passes_and_is_told(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
@pytest.mark.budget(p99_ms=30)
async def test_own(operation_timer):
    await operation_timer(quick, rounds=10)
""",
    )

    assert told.returncode == 0, told.stdout
    assert "budgets that are unproved" in told.stdout
    assert "budget 'p99_ms of test_own' is unproved" in told.stdout


def test_canary_a_budget_that_nothing_is_measured_for_fails_the_test(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
@pytest.mark.budget(p95_ms=30)
def test_own():
    pass
""",
    )

    assert told.returncode == 1
    assert "nothing was measured by operation_timer" in told.stdout


def test_a_misspelt_limit_is_an_error_and_not_a_limit_that_is_not_kept(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
@pytest.mark.budget(p95=30)
async def test_own(operation_timer):
    await operation_timer(quick, rounds=10)
""",
    )

    assert told.returncode == 1
    assert "budget understands p50_ms, p95_ms, p99_ms, mean_ms" in told.stdout
