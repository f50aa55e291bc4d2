"""A baseline remembers costs for every machine and times for one; what does not fit the schema is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from bench.baseline import (
    HISTORY_MAX,
    Baseline,
    UnreadableBaseline,
    read_baseline,
    with_run,
    with_work,
    write_baseline,
)
from bench.gate.work import Acceptance, Work
from bench.measurement import Bounded, measured
from bench.record import Migration, Phase, Run, UnreadableRun, machine_key, read_run, write_run

MACHINE = {
    "system": "Linux 6.1",
    "architecture": "x86_64",
    "processor": "any",
    "cores": 2,
    "memory_gb": 8,
    "python": "CPython 3.13",
}


def run_of(*operations: str, latency_ns: int = 1_000_000) -> Run:
    return Run(
        started_at=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        commit="0123456789abcdef",
        machine=MACHINE,
        engines={"sqlite": {"version": "3.45.0", "settings": {"journal_mode": "WAL"}}},
        scale=1.0,
        seed=3,
        measurements=tuple(
            measured(name, "sqlite", [latency_ns] * 100, agents=agents, work={"statements": 2})
            for name in operations
            for agents in (1, 25)
        ),
        migrations=(Migration("sqlite", "postgresql", 5, 1.5, (Phase("copy", 1.5, 5),), 1_000),),
    )


EMPTY = Baseline("sqlite", 1.0)


def test_a_baseline_comes_back_equal(tmp_path: Path) -> None:
    accepted = Acceptance("somebody", "2026-05-04T03:02:01+00:00", "it is meant")
    cost = Work({"statements": 2, "vm_steps": 70}, ("SCAN messages",), accepted)
    timed = with_run(EMPTY, run_of("select_one", "get_messages"))
    baseline = with_work(timed, "sqlite 3.45", {"select_one": cost, "get_messages": Work({"statements": 3})})

    path = write_baseline(baseline, tmp_path)

    assert path.name == "sqlite-scale-1.json"
    assert read_baseline(path) == baseline
    assert baseline.work["sqlite 3.45"]["select_one"] == cost


def test_a_cost_is_forgotten_by_name_and_the_others_stay() -> None:
    known = with_work(EMPTY, "sqlite 3.45", {"one": Work({"rows": 1}), "two": Work({"rows": 2})})

    left = with_work(known, "sqlite 3.45", {"one": None})

    assert left.work == {"sqlite 3.45": {"two": Work({"rows": 2})}}


def test_times_of_another_machine_stand_beside() -> None:
    other = replace(run_of("select_one"), machine={**MACHINE, "processor": "other"})
    baseline = with_run(with_run(EMPTY, run_of("select_one")), other)

    assert set(baseline.machines) == {machine_key(MACHINE), machine_key(other.machine)}


def test_a_new_kernel_or_python_is_the_same_machine() -> None:
    assert machine_key({**MACHINE, "system": "Linux 9", "python": "CPython 4"}) == machine_key(MACHINE)
    assert machine_key({**MACHINE, "cores": 4}) != machine_key(MACHINE)


def test_what_a_run_did_not_measure_keeps_what_is_known_and_history_grows() -> None:
    first = with_run(EMPTY, run_of("select_one", latency_ns=1_000))
    second = with_run(first, run_of("get_messages", latency_ns=2_000))
    times = second.machines[machine_key(MACHINE)]

    assert times.latest["select_one"].statistics_ns["p50"].value == 1_000
    assert times.latest["get_messages"].statistics_ns["p50"].value == 2_000
    assert [set(moment.p99_ns) for moment in times.history] == [
        {"select_one", "select_one, 25 agents"},
        {"get_messages", "get_messages, 25 agents"},
    ]


def test_history_is_bounded_and_loses_the_oldest() -> None:
    baseline, run = EMPTY, run_of("select_one")
    for day in range(HISTORY_MAX + 2):
        baseline = with_run(baseline, replace(run, started_at=run.started_at + timedelta(days=day)))
    history = baseline.machines[machine_key(MACHINE)].history

    assert len(history) == HISTORY_MAX
    assert history[0].measured_at == run.started_at + timedelta(days=2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": 10.0}, "scale 10"),
        ({"scale": None}, "scale None"),
        ({"commit": "0123456789abcdef+"}, "from a commit"),
        ({"commit": None}, "from a commit"),
        ({"measurements": ()}, "measured nothing on sqlite"),
    ],
)
def test_a_run_that_nobody_could_repeat_makes_no_baseline(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        with_run(EMPTY, replace(run_of("select_one"), **change))


def test_what_was_measured_after_a_migration_stands_beside_what_was_measured_before() -> None:
    run = run_of("select_one")
    after = tuple(replace(entry, stage="after") for entry in run.measurements)
    baseline = with_run(EMPTY, replace(run, measurements=(*run.measurements, *after)))

    latest = baseline.machines[machine_key(MACHINE)].latest
    assert {"select_one", "select_one, after", "select_one, 25 agents, after"} <= set(latest)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("scale",), "one", "scale"),
        (("schema_version",), 1, "schema_version"),
        (("machines",), {"here": {}}, "machines"),
        (("surplus",), 1, "surplus"),
    ],
)
def test_canary_a_changed_baseline_is_refused(
    tmp_path: Path, place: tuple[str], value: object, reason: str
) -> None:
    path = write_baseline(with_run(EMPTY, run_of("select_one")), tmp_path)
    document = orjson.loads(path.read_bytes())
    document[place[0]] = value
    path.write_bytes(orjson.dumps(document))

    with pytest.raises(UnreadableBaseline, match=reason):
        read_baseline(path)


def test_a_file_that_is_not_json_is_no_baseline(tmp_path: Path) -> None:
    path = tmp_path / "sqlite-scale-1.json"
    path.write_bytes(b"{")

    with pytest.raises(UnreadableBaseline, match="not JSON"):
        read_baseline(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda run: run["measurements"][0].pop("histogram"), "measurements/0: 'histogram' is a required"),
        (lambda run: run["measurements"][0].update(agents=0), "measurements/0/agents"),
        (lambda run: run["measurements"][0].update(stage="beside"), "measurements/0/stage"),
        (lambda run: run["measurements"][0]["statistics_ns"].pop("p99"), "'p99' is a required"),
        (lambda run: run["migrations"][0].update(phases=[]), "migrations/0/phases"),
        (lambda run: run.update(commit="main"), "commit"),
        (lambda run: run.update(hostname="mine"), "hostname"),
    ],
)
def test_canary_a_run_that_does_not_fit_the_schema_is_refused_with_the_place(
    tmp_path: Path, change: object, reason: str
) -> None:
    path = write_run(run_of("select_one"), tmp_path)
    document = orjson.loads(path.read_bytes())
    change(document)  # type: ignore[operator]
    path.write_bytes(orjson.dumps(document))

    with pytest.raises(UnreadableRun, match=reason):
        read_run(path)


def test_a_run_with_a_number_that_is_none_is_not_written(tmp_path: Path) -> None:
    run = run_of("select_one")
    (first, *_) = run.measurements
    broken = replace(first, statistics_ns={**first.statistics_ns, "p50": Bounded(float("nan"), 1.0, 2.0)})

    with pytest.raises(UnreadableRun, match="measurements/0/statistics_ns/p50/value"):
        write_run(replace(run, measurements=(broken,)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_migrations_comes_back_equal(tmp_path: Path) -> None:
    run = replace(
        run_of("select_one"), ended_at=datetime(2026, 5, 4, 4, tzinfo=UTC), title="mine", scale=None
    )

    assert read_run(write_run(run, tmp_path)) == run
