"""Work is counted the same in every database, changes of it are seen, and the whole gate tells of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.catalogue import OPERATIONS
from bench.dataset import DatasetKey, cached
from bench.gate.counting import count_work
from bench.gate.settling import settle
from bench.gate.sides import SIDES, Side, SideFailed, Worker, able_operations
from bench.loading import mysql_connection
from bench.operation import Operation
from bench.places import Place, fill
from bench.reference import TABLES
from bench.subject import Subject, open_subject

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.01
INDEXES = ("bench_messages_page", "bench_messages_sender")
"""Of the messages; which of them an engine uses for so few rows is its own choice."""


async def filled_and_settled(engine: str, url: str, tmp_path: Path) -> str:
    dataset = cached(DatasetKey(SCALE, 1, TABLES), tmp_path / "datasets")
    await fill(Place(engine, "before"), url, dataset)
    await settle(url)
    return url


async def without_index(engine: str, url: str, index: str) -> None:
    statement = f"DROP INDEX {index}" + (" ON messages" if engine == "mariadb" else "")
    if engine == "mariadb":
        async with mysql_connection(url) as connection, connection.cursor() as cursor:
            await cursor.execute(statement)
        return
    async with open_subject(url) as subject, subject.engine.connect() as connection:
        await connection.exec_driver_sql(statement)


async def one_more_trip(subject: Subject, number: int) -> int:
    rows = await OPERATIONS["select_one"].function(subject, number)
    return rows + await OPERATIONS["select_one"].function(subject, number) - 1


async def test_work_is_exact_on_two_databases_and_canaries_change_it(
    engine: str, fresh_database: Callable[[str], str], tmp_path: Path
) -> None:
    one, two = [await filled_and_settled(engine, fresh_database(engine), tmp_path) for _ in range(2)]
    first, second = [await count_work(url, OPERATIONS.values()) for url in (one, two)]

    assert first == second
    assert first.engine.startswith(engine)
    assert set(first.work) == {name for name, one in OPERATIONS.items() if one.agents == 1}
    assert all(first.work[name].counters["statements"] >= 20 for name in ("get_messages", "get_memory"))

    name, index = next(
        (name, index)
        for name, work in first.work.items()
        for index in INDEXES
        if any(index in line for line in work.plan)
    )
    await without_index(engine, two, index)
    longer = Operation("select_one", one_more_trip, 5, 5)
    changed = await count_work(two, [OPERATIONS[name], longer])
    slower = first.work[name].differences(changed.work[name])
    assert any(line.startswith("the plan lost") and index in line for line in slower)
    assert any("->" in line for line in slower)
    once, twice = first.work["select_one"].counters, changed.work["select_one"].counters
    for what in ("statements",) if engine == "sqlite" else ("statements", "round_trips"):
        assert twice[what] == 2 * once[what]


def test_a_side_that_does_not_run_or_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Side(tmp_path, f"sqlite:///{tmp_path / 'no.db'}")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise RuntimeError('too old')")
    with pytest.raises(SideFailed, match="RuntimeError: too old"):
        able_operations(dict.fromkeys(SIDES, broken))
    monkeypatch.setattr("bench.gate.sides.ANSWER_SECONDS_MAX", 0.001)
    worker = Worker(Side(ROOT, broken.url), None)
    try:
        with pytest.raises(SideFailed, match="no answer"):
            worker.receive()
    finally:
        worker.close()


SMALL_THRESHOLDS = """
margin = 0.02
met_below = 0.05
family_alpha = 0.07
met_alpha = 0.05
looks = [5]
rounds = 6
block_ms = 2.0
seconds_max = 120.0
backends = ["sqlite"]
operations = ["select_one", "no_such_operation"]
"""
"""Five groups that agree are one chance in thirty-two: enough for a change that doubles the time."""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_whole_gate_tells_of_one_more_round_trip(tmp_path: Path) -> None:
    tree = tmp_path / "project"
    for name in ("bench", "migration"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns(".cache", "__pycache__"))
    (tree / "results").mkdir()
    shutil.copy(ROOT / "results" / "schema.json", tree / "results")
    (tree / "bench" / "gate" / "thresholds.toml").write_text(SMALL_THRESHOLDS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MIGRATION_BENCH_CACHE": str(tmp_path / "datasets"),
    }

    def ran(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    for words in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -q -m base"):
        assert ran("git", *words.split()).returncode == 0
    bench, usual = (sys.executable, "-m", "bench"), ("--backends", "sqlite", "--scale", str(SCALE))
    accepted = ran(*bench, "accept", "--all", *usual, "--who", "a", "--why", "first")
    assert accepted.returncode == 0, accepted.stderr
    operations = tree / "bench" / "operations.py"
    before = "return len(await _rows(connection, ONE))"
    assert operations.read_text().count(before) == 1
    asked_thrice = f"for _ in range(2):\n            await _rows(connection, ONE)\n        {before}"
    operations.write_text(operations.read_text().replace(before, asked_thrice))

    judged = ran(*bench, "gate", *usual, "--base", "HEAD", "--markdown", "told.md", "--junit", "told.xml")

    assert judged.returncode == 1, judged.stderr
    assert "work: select_one on sqlite is regressed: statements 20 -> 60" in judged.stdout
    assert "time: select_one on sqlite is regressed" in judged.stdout
    assert "time: no_such_operation on sqlite is missing (skipped)" in judged.stdout
    assert "❌ | work | select_one" in (tree / "told.md").read_text()
    assert "<failure" in (tree / "told.xml").read_text()
