"""Measures the same operations on several databases in turns, and puts them side by side."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from bench.budgets import read_budgets
from bench.catalogue import OPERATIONS, Operation
from bench.derived import derived_operations
from bench.judge import Verdict
from bench.measurement import Measurement
from bench.record import Run, commit_of, library_versions, machine_fingerprint, machine_load
from bench.report import Report
from bench.stopwatch import take_mix, take_samples
from bench.subject import Subject, open_subject
from migration.database import open_database
from migration.errors import UsageError
from migration.model import Schema

AGENTS = 25
MIX_CALLS = 8_000
STAGES = ("before", "after")


@dataclass(frozen=True)
class Side:
    """One of the databases that are compared, with what is done on it."""

    stage: str
    subject: Subject
    operations: tuple[Operation, ...]
    missing: tuple[str, ...] = ()


@dataclass
class Comparison:
    """What was measured, for tables and exit codes."""

    report: Report
    missing: list[str] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """Tell whether a budget is certainly broken."""
        return any(judged.verdict is Verdict.BROKEN for judged in self.report.run.judgements)

    def sentences(self) -> list[str]:
        """Tell what is broken, each by itself, and of what is unproved how much and why."""
        judgements = self.report.run.judgements
        told = [judged.sentence() for judged in judgements if judged.verdict is Verdict.BROKEN]
        unproved = Counter(
            judged.doubt.partition(":")[0] or "too few samples, or they lie across the limit"
            for judged in judgements
            if judged.verdict is Verdict.UNPROVED
        )
        return told + [f"{count} verdicts are unproved: {reason}" for reason, count in unproved.items()]


async def compare(
    source: str, target: str, *, folder: Path, share: float = 1.0, seed: int = 1, agents: int = AGENTS
) -> Comparison:
    """Derive operations from both schemas, measure them in turns, and judge them; nothing written stays."""
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(_derived_side(stage, url))
            for stage, url in zip(STAGES, (source, target), strict=True)
        ]
        return await measure_sides(sides, folder=folder, share=share, seed=seed, agents=agents)


async def measure_own(
    file: Path, urls: Sequence[str], *, folder: Path, share: float = 1.0, seed: int = 1
) -> Comparison:
    """Measure the operations that a file of the user's makes, on each of the databases."""
    operations = operations_in(file)
    stages = STAGES if len(urls) == len(STAGES) else ("",) * len(urls)
    async with AsyncExitStack() as stack:
        sides = []
        for stage, url in zip(stages, urls, strict=True):
            subject, _ = await stack.enter_async_context(_opened(url))
            sides.append(Side(stage, subject, operations))
        return await measure_sides(sides, folder=folder, share=share, seed=seed, agents=AGENTS)


def operations_in(file: Path) -> tuple[Operation, ...]:
    """Run a file of Python and give the operations that it has made."""
    known = set(OPERATIONS)
    specification = importlib.util.spec_from_file_location(file.stem, file)
    if specification is None or specification.loader is None or not file.exists():
        raise UsageError(
            f"{file} is no file of Python",
            done="Nothing was measured",
            next_step="Give the path of a .py file",
        )
    specification.loader.exec_module(importlib.util.module_from_spec(specification))
    found = tuple(one for name, one in OPERATIONS.items() if name not in known)
    if not found:
        raise UsageError(
            f"{file} makes no operation",
            done="Nothing was measured",
            next_step="Give a function the decorator: from bench.operation import operation",
        )
    return found


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[Subject, Schema]]:
    # The product looks first: it opens read-only, makes no file, and says what is wrong without a password.
    async with open_database(url, is_source=True) as database:
        schema = await database.schema()
        parsed = database.url
    async with open_subject(parsed, keeps_writes=False, is_ours=False) as subject:
        yield subject, schema


@asynccontextmanager
async def _derived_side(stage: str, url: str) -> AsyncIterator[Side]:
    async with _opened(url) as (subject, schema):
        operations, missing = await derived_operations(subject, schema)
        yield Side(stage, subject, operations, missing)


async def measure_sides(
    sides: Sequence[Side], *, folder: Path, share: float, seed: int, agents: int
) -> Comparison:
    """Measure each operation on one side right after the other, so that both see the same machine."""
    run = Run(
        started_at=datetime.now(UTC),
        commit=commit_of(Path.cwd()),
        machine=machine_fingerprint(),
        engines={},
        scale=None,
        seed=seed,
        budgets=tuple(budget for budget in read_budgets() if budget.unit == "ms"),
        libraries=library_versions(),
        load=machine_load(),
        title="Own databases, side by side",
    )
    comparison = Comparison(Report(run, run.budgets, folder))
    for side in sides:
        comparison.report.add_engine(side.subject.described)
        comparison.missing += [f"{side.stage}: {reason}" for reason in side.missing]
    pool = tuple(one for one in OPERATIONS.values() if one.group == "pool")
    for name in _names(sides, pool):
        for side in sides:
            await _measure_one(comparison, side, name, pool, share, seed)
    for side in sides:
        await _measure_mix(comparison, side, share, seed, agents)
    return comparison


def _names(sides: Sequence[Side], pool: tuple[Operation, ...]) -> list[str]:
    """Give every operation's name once, in order."""
    return list(dict.fromkeys(one.name for side in sides for one in (*side.operations, *pool)))


async def _measure_one(
    comparison: Comparison, side: Side, name: str, pool: tuple[Operation, ...], share: float, seed: int
) -> None:
    found = [one for one in (*side.operations, *pool) if one.name == name]
    if not found:
        comparison.missing.append(f"{side.stage}: there is no operation {name!r} on this side")
        return
    operation = found[0]
    if reason := operation.impossible(side.subject):
        comparison.missing.append(f"{side.stage}: {name}: {reason}")
        return
    rounds = max(2, round(operation.rounds_real * share))
    samples = await take_samples(operation, side.subject, rounds, seed=seed)
    comparison.report.add_measurement(
        samples.measurement(operation, side.subject, side.stage, operation.agents)
    )


async def _measure_mix(comparison: Comparison, side: Side, share: float, seed: int, agents: int) -> None:
    mixed = [one for one in side.operations if one.weight and not one.impossible(side.subject)]
    if not mixed:
        return
    calls = max(agents, round(MIX_CALLS * share))
    taken = await take_mix(mixed, side.subject, agents=agents, calls=calls, seed=seed)
    by_name = {one.name: one for one in mixed}
    for name, samples in taken.items():
        comparison.report.add_measurement(
            samples.measurement(by_name[name], side.subject, side.stage, agents)
        )


def table_of(comparison: Comparison) -> Table:
    """Give before and after side by side: the quantiles of each, and how the medians relate."""
    table = Table(title="Latency in ms, before and after")
    table.add_column("operation")
    for heading in ("agents", "p50", "p95", "p99", "p50 after", "p95 after", "p99 after", "after / before"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    measurements = comparison.report.run.measurements
    keys = list(dict.fromkeys((one.operation, one.agents) for one in measurements))
    for operation, agents in keys:
        pair = {one.stage: one for one in measurements if (one.operation, one.agents) == (operation, agents)}
        before, after = pair.get("before"), pair.get("after")
        verdicts = [comparison.report.verdict_of(one) for one in (before, after) if one is not None]
        table.add_row(
            operation,
            str(agents),
            *_quantiles(before),
            *_quantiles(after),
            _ratio(before, after),
            " / ".join(verdicts),
        )
    return table


def _quantiles(measurement: Measurement | None) -> list[str]:
    if measurement is None:
        return ["-"] * 3
    return [f"{measurement.latency_ms(name).value:.3f}" for name in ("p50", "p95", "p99")]


def _ratio(before: Measurement | None, after: Measurement | None) -> str:
    if before is None or after is None:
        return "-"
    return f"{after.latency_ms('p50').value / max(before.latency_ms('p50').value, 1e-6):.2f}"
