"""A session of benchmarks from outside: what it prints, what it leaves behind, and when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.dataset import CACHE_VARIABLE
from bench.record import read_run

ROOT = Path(__file__).resolve().parents[2]

SLOW_QUERY = '''
"""Makes one query too slow, and few: the canary of the session."""

import asyncio
from dataclasses import replace

from bench import stopwatch
from bench.catalogue import OPERATIONS

# The tests share their machine, and this is about the query.
stopwatch.doubt_of = lambda *_, **__: ""


async def becomes_slow(_subject, _number):
    await asyncio.sleep(0.032)
    return 1


OPERATIONS["select_one"] = replace(OPERATIONS["select_one"], function=becomes_slow, rounds_real=60)
'''


class Bench:
    """Runs `pytest bench` as a process of its own, small and without any server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "runs"

    def run(self, *arguments: str, plugin: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            # Beside other workers nothing is timed, but this session is none of theirs.
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")},
            CACHE_VARIABLE: str(self.folder / "cache"),
            # A server that was named and does not answer is not replaced by another.
            "MIGRATION_BENCH_POSTGRESQL_URL": "postgresql://nobody@127.0.0.1:1/none",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{self.folder}",
        }
        if plugin is not None:
            (self.folder / "bench_canary.py").write_text(plugin, encoding="utf-8")
            arguments = ("-p", "bench_canary", *arguments)
        return subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "bench/test_queries.py", "-p", "no:cacheprovider"),
                *("--bench-scale", "0.01", "--bench-results", str(self.results), *arguments),
            ],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_session_prints_a_plain_table_and_names_the_file_it_wrote(bench: Bench) -> None:
    session = bench.run("-k", "sqlite and empty")

    assert session.returncode == 0, session.stdout
    assert "\x1b" not in session.stdout
    (written,) = bench.results.glob("*.json")
    assert f"Written to {written}" in session.stdout
    assert any(
        line.split()[1:4:2] == ["empty", "sqlite"] for line in session.stdout.splitlines() if line[:1] == "│"
    )
    (measurement,) = read_run(written).measurements
    assert (measurement.operation, measurement.backend) == ("empty", "sqlite")


def test_a_missing_server_is_skipped_by_name(bench: Bench) -> None:
    session = bench.run("-k", "empty", "-rs")

    assert session.returncode == 0, session.stdout
    assert "1 passed, 2 skipped" in session.stdout
    assert "no postgresql server can be had here" in session.stdout


def test_a_missing_server_fails_when_it_is_required(bench: Bench) -> None:
    session = bench.run("-k", "empty", "--require-backends", "postgresql")

    assert session.returncode == 1
    assert "--require-backends: no postgresql server can be had here" in session.stdout


def test_a_query_that_is_certainly_too_slow_fails_the_session(bench: Bench) -> None:
    session = bench.run("-k", "sqlite-before-select_one", plugin=SLOW_QUERY)

    assert session.returncode == 1
    assert "select_one on sqlite before: budget 'any query' is broken" in session.stdout
    (written,) = bench.results.glob("*.json")
    assert [judgement.verdict for judgement in read_run(written).judgements] == ["broken"]
    assert [path.name for path in written.with_suffix(".hdr").iterdir()] == ["select_one_sqlite_before.hgrm"]


def test_with_timing_switched_off_nothing_is_judged(bench: Bench) -> None:
    session = bench.run("-k", "sqlite-before-select_one", "--benchmark-disable", plugin=SLOW_QUERY)

    assert session.returncode == 0, session.stdout
    assert not bench.results.exists()


def test_the_command_starts_and_finds_what_it_measures() -> None:
    """As `nox -s bench` calls it: the command is imported before pytest looks at its plugin."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "test_copy_messages_to_postgresql" in ended.stdout
