"""Validates the performance of one database against the user's budgets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy import URL

from bench.budgets import Budget, read_budgets
from bench.catalogue import OPERATIONS, Operation
from bench.derived import derived_operations
from bench.judge import Judgement, Verdict, judged_measurement, worst
from bench.measurement import Measurement
from bench.stopwatch import take_mix, take_samples
from bench.subject import Subject, open_subject
from migration.database import Database

AGENTS = 25
CALLS_OF_AN_AGENT = 400
"""Enough for the rarest operation of the mix to have the 528 samples that bound a p99, or nearly."""


class PerformanceValidator:
    """Measures one database and holds it against budgets; nothing that it writes stays.

    It runs the reference operations where the reference tables are, and operations derived from the schema
    in every other database.

    Parameters
    ----------
    database
        An open :class:`migration.Database`, a URL, a path, or a subject that is open already.
    budgets
        The limits; the package's own, which are the user's, where none are given.
    rounds_share
        Part of the usual number of calls; with few of them verdicts are `unproved`.
    """

    def __init__(
        self,
        database: Database | Subject | URL | str | Path,
        *,
        budgets: Sequence[Budget] | None = None,
        rounds_share: float = 1.0,
        seed: int = 1,
    ) -> None:
        self.database = database
        self.budgets = tuple(read_budgets() if budgets is None else budgets)
        self.rounds_share = rounds_share
        self.seed = seed
        self.performance_data: list[Measurement] = []
        self._operations: tuple[Operation, ...] | None = None

    async def validate_performance_requirements(self) -> dict[str, dict[str, Any]]:
        """Measure everything and give the four results, each with its figures and its verdict."""
        async with self._subject() as subject:
            return {
                "query_performance": await self._query_performance(subject),
                "concurrent_access": await self._concurrent_access(subject),
                "search_performance": await self._search_performance(subject),
                "connection_pool": await self._connection_pool(subject),
            }

    async def query_performance(self) -> dict[str, Any]:
        """Measure each query by itself; the requirement is any query below 30 ms."""
        async with self._subject() as subject:
            return await self._query_performance(subject)

    async def concurrent_access(self) -> dict[str, Any]:
        """Let twenty-five agents work at once; the requirement is every operation below 30 ms."""
        async with self._subject() as subject:
            return await self._concurrent_access(subject)

    async def search_performance(self) -> dict[str, Any]:
        """Measure the searches; the requirement is 3 ms on average."""
        async with self._subject() as subject:
            return await self._search_performance(subject)

    async def connection_pool(self) -> dict[str, Any]:
        """Measure how long a connection takes, alone and in a crowd; the requirement is 5 ms on average."""
        async with self._subject() as subject:
            return await self._connection_pool(subject)

    async def _query_performance(self, subject: Subject) -> dict[str, Any]:
        found = await self._each(subject, "queries")
        return self._summary(found, "average_ms", "max_ms", "requirement_met")

    async def _search_performance(self, subject: Subject) -> dict[str, Any]:
        found = await self._each(subject, "search")
        return self._summary(found, "average_ms", "max_ms", "requirement_met")

    async def _connection_pool(self, subject: Subject) -> dict[str, Any]:
        found = await self._each(subject, "pool")
        return self._summary(found, "average_connection_ms", "max_connection_ms", "efficiency_met")

    async def _concurrent_access(self, subject: Subject) -> dict[str, Any]:
        mixed = [operation for operation in await self._all(subject) if operation.weight]
        if not mixed:
            return nothing_to_measure("requirement_met")
        calls = max(AGENTS, round(AGENTS * CALLS_OF_AN_AGENT * self.rounds_share))
        taken = await take_mix(mixed, subject, agents=AGENTS, calls=calls, seed=self.seed)
        by_name = {operation.name: operation for operation in mixed}
        found = [samples.measurement(by_name[name], subject, "", AGENTS) for name, samples in taken.items()]
        self.performance_data += found
        summary = self._summary(found, "average_operation_ms", "max_operation_ms", "requirement_met")
        total_s = max(float(measurement.counters["took_s"]) for measurement in found)
        summary.update(
            concurrent_agents=AGENTS,
            operations_per_agent=calls // AGENTS,
            total_operations=summary["sample_count"],
            total_time_seconds=total_s,
            operations_per_second=summary["sample_count"] / total_s,
        )
        return summary

    async def _each(self, subject: Subject, group: str) -> list[Measurement]:
        found = []
        for operation in await self._all(subject):
            if operation.group != group or operation.name == "empty" or operation.impossible(subject):
                continue
            rounds = max(2, round(operation.rounds_real * self.rounds_share))
            samples = await take_samples(operation, subject, rounds, seed=self.seed)
            found.append(samples.measurement(operation, subject, "", operation.agents))
        self.performance_data += found
        return found

    async def _all(self, subject: Subject) -> tuple[Operation, ...]:
        if self._operations is None:
            if subject.asked is not None:
                self._operations = tuple(OPERATIONS.values())
            else:
                pool = tuple(one for one in OPERATIONS.values() if one.group == "pool")
                derived, _ = await derived_operations(subject)
                self._operations = (*derived, *pool)
        return self._operations

    def _summary(self, found: Sequence[Measurement], average: str, slowest: str, met: str) -> dict[str, Any]:
        """Put several operations together: the mean of all calls, the worst quantiles and verdict."""
        if not found:
            return nothing_to_measure(met)
        judgements = [judged for one in found for judged in judged_measurement(one, self.budgets)]
        verdict = worst(judgements) or Verdict.UNPROVED
        count = sum(measurement.sample_count for measurement in found)
        total = sum(one.latency_ms("mean").value * one.sample_count for one in found)
        return {
            average: total / count,
            slowest: max(one.latency_ms("max").value for one in found),
            "p95_ms": max(one.latency_ms("p95").value for one in found),
            "p99_ms": max(one.latency_ms("p99").value for one in found),
            met: verdict is Verdict.MET,
            "verdict": str(verdict),
            "sample_count": count,
            "reasons": reasons(judgements),
            "operations": {one.operation: figures_of(one) for one in found},
        }

    @asynccontextmanager
    async def _subject(self) -> AsyncIterator[Subject]:
        if isinstance(self.database, Subject):
            yield self.database
            return
        url = self.database.url if isinstance(self.database, Database) else self.database
        async with open_subject(cast(Any, url), keeps_writes=False, is_ours=False) as subject:
            yield subject


def nothing_to_measure(met: str) -> dict[str, Any]:
    """Give the result where there is no such operation: unproved, never met."""
    reason = "this database has nothing of the kind to measure"
    return {
        met: False,
        "verdict": str(Verdict.UNPROVED),
        "sample_count": 0,
        "reasons": [reason],
        "operations": {},
    }


def reasons(judgements: Iterable[Judgement]) -> list[str]:
    """Tell in sentences which budgets are not met."""
    return [judgement.sentence() for judgement in judgements if judgement.verdict is not Verdict.MET]


def figures_of(measurement: Measurement) -> Mapping[str, float]:
    """Give one operation's latencies in milliseconds."""
    return {f"{name}_ms": measurement.latency_ms(name).value for name in ("p50", "p95", "p99", "max", "mean")}
