"""What runs are held against: one file per backend and scale, in `results/baseline/`.

Exact costs are the same on every machine and are compared as they are. Times belong to the machine that they
were taken on; elsewhere they say nothing, and on the same machine on another day they are advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.form import misfit
from bench.gate.work import Acceptance, Work
from bench.measurement import Bounded, Measurement
from bench.record import Run, machine_key

SCHEMA_NAME = "migration-bench baseline"
SCHEMA_VERSION = 2

HISTORY_MAX = 200
"""Runs that are remembered of one machine: enough for a plot, and the file stays readable in a diff."""


class UnreadableBaseline(ValueError):
    """A file that is no baseline, or one in a form that this version does not know."""


@dataclass(frozen=True)
class Known:
    """What is remembered of the newest measurement of one operation."""

    sample_count: int
    statistics_ns: Mapping[str, Bounded]


@dataclass(frozen=True)
class Moment:
    """What is remembered of an older run: the typical and the slow call of each operation."""

    measured_at: datetime
    commit: str | None
    p50_ns: Mapping[str, float]
    p99_ns: Mapping[str, float]


@dataclass(frozen=True)
class Times:
    """What was measured on one machine."""

    machine: Mapping[str, Any]
    engine: Mapping[str, Any]
    measured_at: datetime
    commit: str | None
    latest: Mapping[str, Known]
    history: tuple[Moment, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """What is known of one backend at one scale.

    Attributes
    ----------
    work
        Engine, with as much of its version as moves counts -> operation -> its exact cost on every machine.
    machines
        Times by the key of the machine; see :func:`bench.record.machine_key`.
    """

    backend: str
    scale: float
    work: Mapping[str, Mapping[str, Work]] = field(default_factory=dict)
    machines: Mapping[str, Times] = field(default_factory=dict)


def key_of(measurement: Measurement) -> str:
    """Give the name that an operation is remembered by; other agents or another stage make another one."""
    crowd = f"{measurement.agents} agents" if measurement.agents > 1 else ""
    return ", ".join(part for part in (measurement.operation, crowd, measurement.stage) if part)


def baseline_path(folder: Path, backend: str, scale: float) -> Path:
    """Give the file of one backend at one scale."""
    return folder / f"{backend}-scale-{scale:g}.json"


def with_run(baseline: Baseline, run: Run) -> Baseline:
    """Give the baseline that remembers this run's times; operations it did not measure keep what is known.

    A run at another scale, or of a checkout that held more than its commit, is refused: nobody could make it
    again.
    """
    if run.scale != baseline.scale:
        raise ValueError(f"the run has scale {run.scale}, and the baseline has scale {baseline.scale:g}")
    if run.commit is None or run.commit.endswith("+"):
        raise ValueError("a baseline is taken from a commit, and the run measured more than one")
    measured = {key_of(entry): entry for entry in run.measurements if entry.backend == baseline.backend}
    if not measured:
        raise ValueError(f"the run measured nothing on {baseline.backend}")
    key = machine_key(run.machine)
    earlier = baseline.machines.get(key)
    moment = Moment(
        measured_at=run.started_at,
        commit=run.commit,
        p50_ns={name: entry.statistics_ns["p50"].value for name, entry in measured.items()},
        p99_ns={name: entry.statistics_ns["p99"].value for name, entry in measured.items()},
    )
    known = {name: Known(entry.sample_count, entry.statistics_ns) for name, entry in measured.items()}
    times = Times(
        machine=run.machine,
        engine=run.engines[baseline.backend],
        measured_at=run.started_at,
        commit=run.commit,
        latest={**(earlier.latest if earlier else {}), **known},
        history=(*(earlier.history if earlier else ()), moment)[-HISTORY_MAX:],
    )
    return replace(baseline, machines={**baseline.machines, key: times})


def with_work(baseline: Baseline, engine: str, work: Mapping[str, Work | None]) -> Baseline:
    """Give the baseline with these operations' costs on this engine; None forgets an operation."""
    merged = {**baseline.work.get(engine, {}), **work}
    kept = {name: cost for name, cost in merged.items() if cost is not None}
    return replace(baseline, work={**baseline.work, engine: kept})


def write_baseline(baseline: Baseline, folder: Path) -> Path:
    """Write the baseline into its file in the folder, sorted so that a diff shows what changed."""
    document = {"schema": SCHEMA_NAME, "schema_version": SCHEMA_VERSION, **asdict(baseline)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    content = orjson.dumps(document, option=options)
    if complaint := misfit(orjson.loads(content), "baseline"):
        raise UnreadableBaseline(f"the baseline {complaint}")
    folder.mkdir(parents=True, exist_ok=True)
    path = baseline_path(folder, baseline.backend, baseline.scale)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
    return path


def read_baseline(path: Path) -> Baseline:
    """Read a baseline back, equal to the one that was written."""
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UnreadableBaseline(f"{path} is not JSON: {error}") from error
    if complaint := misfit(document, "baseline"):
        raise UnreadableBaseline(f"{path} {complaint}")
    return Baseline(
        backend=document["backend"],
        scale=document["scale"],
        work={
            engine: {name: _work(entry) for name, entry in costs.items()}
            for engine, costs in document["work"].items()
        },
        machines={key: _times(entry) for key, entry in document["machines"].items()},
    )


def _work(entry: Mapping[str, Any]) -> Work:
    accepted = entry["accepted"]
    return Work(
        counters=entry["counters"],
        plan=tuple(entry["plan"]),
        accepted=None if accepted is None else Acceptance(**accepted),
    )


def _times(entry: Mapping[str, Any]) -> Times:
    latest = {
        name: Known(
            known["sample_count"],
            {statistic: Bounded(**bounded) for statistic, bounded in known["statistics_ns"].items()},
        )
        for name, known in entry["latest"].items()
    }
    history = tuple(
        Moment(**{**moment, "measured_at": datetime.fromisoformat(moment["measured_at"])})
        for moment in entry["history"]
    )
    measured_at = datetime.fromisoformat(entry["measured_at"])
    return Times(**{**entry, "measured_at": measured_at, "latest": latest, "history": history})
