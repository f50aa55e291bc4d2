"""One run, in the process that all workers report to: from its first agent to its JSON and its exit code."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.budgets import read_budgets
from bench.histograms import write_histograms
from bench.load.ledger import Count, Ledger
from bench.load.options import Asked
from bench.load.tally import Mark, Tally
from bench.load.verdict import Exit, budgets_for, exit_of, judged, measurements_of
from bench.measurement import Figure
from bench.page.page import write_page
from bench.record import (
    Migration,
    Phase,
    Run,
    commit_of,
    library_versions,
    machine_fingerprint,
    machine_load,
    write_run,
)
from bench.report import Report

FIRST_SECOND = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
NUMBERS_PER_SECOND = 10_000_000_000
"""Numbers of calls begin anew each second, so that no run on a database meets those of an earlier one."""

HISTORY_SECONDS = 300
"""What the web page shows of the database's statistics."""

PLOTTED_CALLS_MIN = 100
"""Of fewer calls nobody plots percentiles; the JSON has them all the same."""

SHOWN = ("agents", "pool_in_use", "pool_waiting")

SHARES = (
    *("own_cpu_share", "waited_for_cpu_share"),
    *("idle_cpu_share", "stolen_cpu_share", "machine_cpu_share"),
)

KEPT = (*SHARES, "most_waiting_tasks", "starved_waits")
"""What stands beside the measurements of a stage."""


@dataclass
class LoadRun:
    """What is known of a run so far; workers' reports are merged into it.

    Attributes
    ----------
    now
        Worker -> how its pool and its processor stand; the newest report of each.
    shares_at
        Mark -> worker -> its share of a processor and what it waited, from the mark's beginning on.
    failures
        What fails a run whatever its latencies: each a sentence.
    """

    asked: Asked
    prepared: Mapping[str, Any]
    scenario: str
    workers: int
    base: int = field(default_factory=lambda: (int(time.time()) - FIRST_SECOND) * NUMBERS_PER_SECOND)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    mark: Mark | None = None
    tallies: dict[tuple[Mark, str], Tally] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    errors: dict[str, int] = field(default_factory=dict)
    now: dict[str, dict[str, float]] = field(default_factory=dict)
    shares_at: dict[Mark, dict[str, dict[str, float]]] = field(default_factory=dict)
    highest: dict[str, float] = field(default_factory=dict)
    history: deque[dict[str, float]] = field(default_factory=lambda: deque(maxlen=HISTORY_SECONDS))
    first_statistics: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    extra_figures: list[Figure] = field(default_factory=list)
    migrations: list[Migration] = field(default_factory=list)
    judged_agents: tuple[int, ...] | None = None
    count: Count | None = None
    ended_ns: int = 0
    path: Path | None = None
    page_path: Path | None = None
    exit: Exit | None = None

    def merge(self, worker: str, report: Mapping[str, Any]) -> None:
        """Take a report: what was counted since the worker's last one."""
        for stage, agents, name, message in report["tallies"]:
            self.tallies.setdefault((Mark(stage, agents), name), Tally()).merge(Tally.from_message(message))
        self.ledger.merge(Ledger.from_message(report["ledger"]))
        for told, times in report["errors"].items():
            self.errors[told] = self.errors.get(told, 0) + times
        self.now[worker] = dict(report["now"])
        if report["mark"] is not None:
            stage, agents = report["mark"]
            self.shares_at.setdefault(Mark(stage, agents), {})[worker] = {
                name: value for name, value in report["now"].items() if name in KEPT
            }
            for name, value in self.standing().items():
                self.highest[name] = max(self.highest.get(name, 0.0), value)

    def standing(self) -> dict[str, float]:
        """Tell how all workers stand together: sums, and of shares the highest."""
        names = {name for one in self.now.values() for name in one}
        return {
            name: (max if name in SHARES else sum)(one.get(name, 0.0) for one in self.now.values())
            for name in sorted(names)
        }

    def add_statistics(self, told: Mapping[str, float]) -> None:
        """Keep how the database stands."""
        if not self.first_statistics:
            self.first_statistics = dict(told)
        standing = self.standing()
        shown = {name: value for name, value in standing.items() if name in SHOWN}
        calls = sum(tally.calls for tally in self.tallies.values())
        self.history.append({"at_s": round(time.time(), 1), "calls": calls, **shown, **told})

    def shares(self, mark: Mark) -> dict[str, float]:
        """Give the highest of all workers' shares in a stage, and of what their pools kept waiting."""
        workers = self.shares_at.get(mark, {}).values()
        return {
            name: max(one.get(name, 0.0) for one in workers)
            for name in KEPT
            if any(name in one for one in workers)
        }

    def span(self) -> tuple[int, int]:
        """Give the numbers that calls of this run may have."""
        seconds = int(time.time()) - FIRST_SECOND - self.base // NUMBERS_PER_SECOND + 1
        return self.base, self.base + seconds * NUMBERS_PER_SECOND

    def finish(self, count: Count | None) -> Run:
        """Judge the run, write it, and know the exit code."""
        self.count = count
        if self.errors:
            worst = sorted(self.errors.items(), key=lambda one: -one[1])[:5]
            told = "; ".join(f"{times} x {text}" for text, times in worst)
            self.failures.append(f"{sum(self.errors.values()):,} calls failed: {told}")
        if count is None:
            self.failures.append("the written data could not be counted")
        elif not count.is_sound:
            self.failures.append(f"{count.sentence()}: {'; '.join(count.samples[:5])}")
        shares_at = {mark: self.shares(mark) for mark in self.shares_at}
        backend = self.prepared["backend"]
        measurements = measurements_of(self.tallies, backend, shares_at)
        agents = {mark.agents for mark, _ in self.tallies}
        crowds = agents if self.judged_agents is None else self.judged_agents
        budgets = budgets_for(crowds, read_budgets(), backend)
        judgements = judged(measurements, budgets)
        self.exit = exit_of(judgements, self.failures)
        run = Run(
            started_at=self.started_at,
            ended_at=datetime.now(UTC),
            commit=commit_of(Path.cwd()),
            machine=machine_fingerprint(),
            engines={backend: self.prepared["engine"]},
            scale=None if self.asked.url else self.asked.scale,
            seed=self.asked.seed,
            title=self.title(),
            measurements=tuple(measurements),
            figures=tuple(self.figures(backend)),
            judgements=judgements,
            migrations=tuple(self.migrations),
            budgets=budgets,
            libraries=library_versions(),
            load=machine_load(),
        )
        self.path = write_run(run, self.asked.results)
        write_histograms([one for one in measurements if one.sample_count >= PLOTTED_CALLS_MIN], self.path)
        self.page_path = write_page([run], self.path.with_suffix(".html"))
        return run

    def title(self) -> str:
        """Tell in a few words what was run."""
        most = max((mark.agents for mark, _ in self.tallies), default=0)
        workers = f", {self.workers} processes" if self.workers > 1 else ""
        return f"Load: {self.scenario}, {most} agents{workers}"

    def figures(self, backend: str) -> list[Figure]:
        """Give what is no latency."""
        count, shares = self.count, [self.shares(mark) for mark in self.shares_at]
        calls = sum(tally.calls for tally in self.tallies.values())
        seconds = len({second for tally in self.tallies.values() for second in tally.seconds})
        values: dict[str, tuple[str, float]] = {
            "calls_per_s": ("calls/s", calls / max(1, seconds)),
            "failed_calls": ("calls", sum(self.errors.values())),
            "late_calls": ("calls", sum(tally.late for tally in self.tallies.values())),
            "dropped_calls": ("calls", sum(tally.dropped for tally in self.tallies.values())),
            "generator_cpu": ("x", max((one.get("own_cpu_share", 0.0) for one in shares), default=0.0)),
            "most_pool_in_use": ("connections", self.highest.get("pool_in_use", 0.0)),
            "most_pool_waiting": ("tasks", self.highest.get("most_waiting_tasks", 0.0)),
        }
        if count is not None:
            values["acknowledged_writes"] = ("writes", count.acknowledged)
            values["lost_writes"] = ("writes", count.lost)
            values["untold_writes"] = ("writes", count.untold)
            values["repeated_writes"] = ("writes", count.repeated)
        for name in {name for one in self.history for name in one} & {"connections", "locks", "lock_waits"}:
            values[f"most_{name}"] = (name, max(one.get(name, 0.0) for one in self.history))
        if self.history and "wal_mb" in self.history[-1]:
            grown = self.history[-1]["wal_mb"] - self.first_statistics.get("wal_mb", 0.0)
            values["wal_written"] = ("MB", max(0.0, grown))
        made = [
            Figure(name, "load", backend, unit, (float(value),)) for name, (unit, value) in values.items()
        ]
        return made + [replace(one, backend=backend) for one in self.extra_figures]

    def add_migration(self, told: Mapping[str, Any]) -> None:
        """Keep the migration that went on while agents worked."""
        phases = tuple(Phase(**phase) for phase in told["phases"])
        self.migrations.append(Migration(**{**told, "phases": phases}))

    def told(self, run: Run, *, colour: bool) -> str:
        """Give the end of a run as text for a terminal."""
        lines = [Report(run, run.budgets, self.asked.results).rendered(colour=colour)]
        if self.count is not None:
            lines.append(self.count.sentence())
        lines += self.remarks
        lines += [f"FAILED: {failure}" for failure in self.failures]
        lines += [f"Written to {self.path}", f"Page in {self.page_path}"]
        return "\n".join(lines)
