"""Load as its users start it: small, in processes of its own, because Locust patches the one it is in.

What is asserted is what was counted and that the exit code is the one that follows from the verdicts; never
how quick the machine was.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.judge import Verdict
from bench.load.verdict import exit_of
from bench.record import Run, read_run

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120.0
SMALL = ("--headless", "--agents", "5", "--scale", "0.01", "--warm-up", "0.2", "--rate", "8")


def environment() -> dict[str, str]:
    """Give what a user's shell has: none of what the tests' own process has patched or counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCUST", "COV_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}


def load(folder: Path, *arguments: str) -> tuple[int, str, Run | None]:
    """Run it to its end; give its exit code, what it said, and the run that it wrote."""
    ended = subprocess.run(
        [sys.executable, "-m", "bench.load", *arguments, "--results", str(folder / "runs")],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    paths = sorted((folder / "runs").glob("*.json"))
    return ended.returncode, ended.stdout + ended.stderr, read_run(paths[-1]) if paths else None


def figures(run: Run) -> dict[str, float]:
    return {figure.name: figure.repetitions[0] for figure in run.figures}


def calls(run: Run) -> int:
    return sum(measurement.sample_count for measurement in run.measurements)


def test_agents_work_on_every_engine_and_what_they_were_told_is_there(
    tmp_path: Path, backend_url: str, engine: str
) -> None:
    code, said, run = load(tmp_path, *SMALL, "--run-time", "3s", "--url", backend_url, "--let-agents-write")

    assert run is not None, said
    assert code == exit_of(run.judgements, []), said
    assert "every one of them is there" in said
    assert set(run.engines) == {engine}
    assert figures(run)["acknowledged_writes"] > 0
    assert figures(run)["lost_writes"] == figures(run)["failed_calls"] == 0
    assert {"late_calls", "since_due_p99_ms", "own_cpu_share"} <= set(run.measurements[0].counters)
    assert all(judged.agents == 5 for judged in run.judgements)
    assert len(run.judgements) == len(run.measurements) > 5
    assert list((tmp_path / "runs").glob("*.html"))


CANARIES = f"""
import bench.load.patching
import asyncio, json, sqlite3
from contextlib import closing
from locust import events
import sys
sys.path.insert(0, {str(ROOT / "locustfiles")!r})
from agents import Agent
import bench.load.verdict
from bench.load.events import LEAD
from bench.operation import operation

# Were the machine busy, nothing would be broken; these tests run beside others.
bench.load.verdict.doubt_of = lambda *_, **__: ""

@operation(weight=30)
async def slow_call(subject, number):
    await asyncio.sleep(0.05)
    return 0

@operation(weight=5)
async def failing_call(subject, number):
    raise ConnectionError("cut off from postgresql://me:hidden@host/app")

def tamper(**_):
    run = LEAD[0].run
    with closing(sqlite3.connect(LEAD[0].prepared["url"].removeprefix("sqlite:///"), timeout=30)) as file:
        # This run's messages are the newest.
        file.execute("DELETE FROM messages WHERE id = (SELECT max(id) - 1 FROM messages)")
        file.execute(
            "INSERT INTO audit_log (event_type, agent_id, metadata) VALUES ('x', 'x', ?)",
            (json.dumps({{"call": run.base + 5}}),),
        )
        file.commit()

# Before the end of the run is looked at.
events.test_stopping._handlers.insert(0, tamper)
"""


def test_canaries_slow_failing_lost_and_untold_each_break_the_run(tmp_path: Path) -> None:
    scenario = tmp_path / "canaries.py"
    scenario.write_text(CANARIES, encoding="utf-8")
    mix = "slow_call=30,failing_call=5,add_message=20"
    code, said, run = load(
        tmp_path, "-f", str(scenario), *SMALL, "--run-time", "4s", "--seed", "1", "--mix", mix
    )

    assert code == 1, said
    assert run is not None, said
    verdicts = {judged.operation: judged.verdict for judged in run.judgements}
    assert verdicts["slow_call"] is Verdict.BROKEN
    assert (figures(run)["lost_writes"], figures(run)["untold_writes"]) == (1, 1)
    assert "lost: messages, call" in said
    assert "nobody was told of: audit_log, call" in said
    assert figures(run)["failed_calls"] > 0
    assert "failing_call: ConnectionError: cut off from" in said
    assert "hidden" not in said


def test_two_processes_make_one_run(tmp_path: Path) -> None:
    code, said, run = load(tmp_path, *SMALL, "--agents", "6", "--run-time", "4s", "--processes", "2")

    assert run is not None, said
    assert code == exit_of(run.judgements, []), said
    assert run.title == "Load: agents, 6 agents, 2 processes"
    assert "every one of them is there" in said


def test_a_lead_and_two_workers_make_one_run_over_loopback(tmp_path: Path, postgresql_url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = [sys.executable, "-m", "bench.load"]
    worker = [*start, "--worker", "--master-host", "127.0.0.1", "--master-port", port]
    workers = [
        subprocess.Popen(
            worker, env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    try:
        code, said, run = load(
            tmp_path,
            *(*SMALL, "--agents", "6", "--run-time", "4s", "--url", postgresql_url, "--let-agents-write"),
            *("--master", "--expect-workers", "2", "--master-bind-port", port),
        )
        assert run is not None, said
        assert code == exit_of(run.judgements, []), said
        assert run.title.endswith("2 processes")
        assert "every one of them is there" in said
        assert figures(run)["acknowledged_writes"] > 0
        assert [one.wait(30) for one in workers] == [0, 0]
    finally:
        for one in workers:
            one.kill()
            one.wait()


def test_agents_go_on_while_their_database_is_migrated(tmp_path: Path) -> None:
    code, said, run = load(
        tmp_path, "during_migration", *SMALL, "--stage-time", "2", "--migrate-to", "sqlite"
    )

    assert run is not None, said
    assert code == exit_of(run.judgements, []), said
    assert {one.stage for one in run.measurements} == {"before", "during", "after"}
    assert [(one.source, one.target) for one in run.migrations] == [("sqlite", "sqlite")]
    assert "every one of them is there" in said


@pytest.mark.parametrize(
    ("scenario", "time", "stages"),
    [
        ("spike", ("--stage-time", "2"), {("before", 5), ("during", 20), ("after", 5)}),
        ("soak", ("--run-time", "6s"), {("before", 5), ("", 5), ("after", 5)}),
    ],
)
def test_stages_follow_one_another_and_each_is_measured(
    tmp_path: Path, scenario: str, time: tuple[str, ...], stages: set[tuple[str, int]]
) -> None:
    code, said, run = load(tmp_path, scenario, *SMALL, *time)

    assert run is not None, said
    assert code == exit_of(run.judgements, []), said
    assert {(one.stage, one.agents) for one in run.measurements} == stages
    assert "every one of them is there" in said


def test_every_scenario_can_be_loaded() -> None:
    scenarios = ",".join(str(path) for path in sorted((ROOT / "locustfiles").glob("[!_]*.py")))
    listed = subprocess.run(
        [sys.executable, "-m", "bench.load", "-f", scenarios, "--headless", "--list"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert "SearchingAgent" in listed.stdout


def test_a_fully_patched_interpreter_is_refused_and_told_what_to_do() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "locust", "-f", "locustfiles/agents.py", "--headless"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert refused.returncode == 2
    assert "Refused: Locust has patched `threading`" in refused.stderr
    assert "nox -s load" in refused.stderr


def test_a_database_of_ones_own_is_not_touched_unasked(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    code, said, run = load(tmp_path, *SMALL, "--run-time", "1s", "--url", f"sqlite:///{path}")

    assert (code, run) == (3, None)
    assert "--let-agents-write" in said
    assert not path.exists()
