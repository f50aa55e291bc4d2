"""What the page shows, put in order: runs in, series, operations and verdicts out; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from bench.budgets import Budget
from bench.judge import Judgement, Verdict, worst
from bench.measurement import Measurement
from bench.record import Migration, Run

SHAPES = ("circle", "diamond", "square", "triangle")
"""Each variant of a backend (before, after, another scale) has a shape and a line of its own."""

COLOUR_COUNT = 6
"""Hues that the page's style holds; a seventh backend begins again."""

STAGES = ("", "before", "during", "after")

SIGNS = {"met": "✓", "broken": "✕", "unproved": "?", "not judged": "–"}
"""A verdict is told by a sign and a word too: colours are not seen by everybody, and not on every paper."""


@dataclass(frozen=True)
class Series:
    """One line of a plot: a backend, in one stage, at one scale."""

    label: str
    colour: int
    variant: int

    @property
    def shape(self) -> str:
        """The shape of its marks."""
        return SHAPES[self.variant % len(SHAPES)]

    @property
    def classes(self) -> str:
        """The classes that give it its colour and its line."""
        return f"s{self.colour % COLOUR_COUNT} v{self.variant % len(SHAPES)}"


@dataclass(frozen=True)
class Result:
    """A measurement as a member of its series, with its samples taken out of the histogram."""

    series: Series
    measurement: Measurement
    values_ms: NDArray[np.float64]
    counts: NDArray[np.int64]
    verdict: Verdict | None

    @property
    def agents(self) -> int:
        """How many agents at a time."""
        return self.measurement.agents


@dataclass(frozen=True)
class OperationView:
    """An operation by a number of agents: the results of all backends, and the limits that speak of it."""

    name: str
    agents: int
    group: str
    about: str
    results: tuple[Result, ...]
    limits: tuple[tuple[Budget, float], ...]

    @property
    def verdict(self) -> Verdict | None:
        """The gravest of its verdicts."""
        return gravest(result.verdict for result in self.results)

    @property
    def heading(self) -> str:
        """Its name, with the agents when they are several."""
        return self.name if self.agents == 1 else f"{self.name}, {self.agents} agents"

    def result_of(self, series: Series) -> Result | None:
        """Give the result of a series; None when it was not measured there."""
        return next((result for result in self.results if result.series == series), None)


@dataclass(frozen=True)
class CurveView:
    """An operation that was measured by several numbers of agents."""

    name: str
    results: tuple[Result, ...]
    limits: tuple[tuple[Budget, float], ...]


@dataclass(frozen=True)
class Judged:
    """A judgement as a member of its series."""

    series: Series
    judgement: Judgement

    @property
    def subject(self) -> str:
        """What was judged."""
        crowd = f", {self.judgement.agents} agents" if self.judgement.agents > 1 else ""
        return self.judgement.operation + crowd


@dataclass(frozen=True)
class BudgetView:
    """A budget and everything that was held against it; nothing, when nothing was."""

    budget: Budget
    judged: tuple[Judged, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The gravest of its verdicts; None when it was not judged."""
        return worst(entry.judgement for entry in self.judged)

    @property
    def limit(self) -> float:
        """The number that must not be passed."""
        limit = self.budget.at_most if self.budget.at_most is not None else self.budget.at_least
        assert limit is not None
        return limit


@dataclass(frozen=True)
class Page:
    """Everything that the page says, in its order."""

    runs: tuple[Run, ...]
    series: tuple[Series, ...]
    counts: tuple[tuple[str, int], ...]
    budgets: tuple[BudgetView, ...]
    operations: tuple[OperationView, ...]
    curves: tuple[CurveView, ...]
    migrations: tuple[tuple[str, tuple[Migration, ...]], ...]

    @property
    def measured_series(self) -> tuple[Series, ...]:
        """The series that have latencies; a pair of databases has figures only."""
        measured = {result.series for view in self.operations for result in view.results}
        return tuple(series for series in self.series if series in measured)

    @property
    def has_figures(self) -> bool:
        """Whether anything was found that is no latency."""
        return any(run.figures for run in self.runs)


def page_of(runs: Sequence[Run]) -> Page:
    """Put one run, or several of different scales, in the order of the page."""
    if not runs:
        raise ValueError("a page needs at least one run")
    series = _Naming(runs)
    results = [_result(run, measurement, series) for run in runs for measurement in run.measurements]
    budgets = _budgets(runs, series)
    judged = [entry.judgement.verdict for view in budgets for entry in view.judged]
    counts = [(str(verdict), judged.count(verdict)) for verdict in Verdict]
    counts.append(("not judged", sum(not view.judged for view in budgets)))
    in_force = tuple(view.budget for view in budgets)
    return Page(
        runs=tuple(runs),
        series=series.all(),
        counts=tuple((name, count) for name, count in counts if count or name in {"met", "broken"}),
        budgets=budgets,
        operations=_operations(results, in_force),
        curves=_curves(results, in_force),
        migrations=_migrations(runs),
    )


def gravest(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Give the verdict that a reader must know of, or None where nothing was judged."""
    found = set(verdicts)
    by_gravity = (Verdict.BROKEN, Verdict.UNPROVED, Verdict.MET)
    return next((verdict for verdict in by_gravity if verdict in found), None)


class _Naming:
    """Gives every backend a colour, and every stage and scale of it a variant."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._many_scales = len({run.scale for run in runs}) > 1
        keys = {(entry.backend, entry.stage, run.scale) for run in runs for entry in _entries(run)}
        backends = list(dict.fromkeys(entry.backend for run in runs for entry in _entries(run)))
        ordered = sorted(keys, key=lambda key: (backends.index(key[0]), STAGES.index(key[1]), key[2] or 0))
        self._series: dict[tuple[str, str, float | None], Series] = {}
        for backend, same in groupby(ordered, key=lambda key: key[0]):
            for variant, key in enumerate(same):
                self._series[key] = Series(self._label(*key), backends.index(backend), variant)

    def _label(self, backend: str, stage: str, scale: float | None) -> str:
        shown_scale = f"scale {scale:g}" if self._many_scales and scale is not None else ""
        name = backend.replace("->", "\N{RIGHTWARDS ARROW}")
        return ", ".join(part for part in (name, stage, shown_scale) if part)

    def of(self, run: Run, entry: Measurement | Judgement) -> Series:
        """Give the series of a result."""
        return self._series[entry.backend, entry.stage, run.scale]

    def all(self) -> tuple[Series, ...]:
        """Give every series in order."""
        return tuple(self._series.values())


def _entries(run: Run) -> list[Measurement | Judgement]:
    """Give what was measured first, so that pairs of backends never take the colours of single ones."""
    return [*run.measurements, *run.judgements]


def _result(run: Run, measurement: Measurement, series: _Naming) -> Result:
    values_ms, counts = _samples(measurement)
    own = [
        judgement.verdict
        for judgement in run.judgements
        if (judgement.operation, judgement.backend, judgement.stage, judgement.agents)
        == (measurement.operation, measurement.backend, measurement.stage, measurement.agents)
    ]
    return Result(
        series=series.of(run, measurement),
        measurement=measurement,
        values_ms=values_ms,
        counts=counts,
        verdict=gravest(own),
    )


def _samples(measurement: Measurement) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give the values of the histogram that were seen, in milliseconds, and how often.

    The histogram's own iterator visits every slot of the hour that it covers, one by one.
    """
    histogram = HdrHistogram.decode(measurement.histogram)
    counts = np.asarray(histogram.counts, dtype=np.int64)
    seen = np.flatnonzero(counts)
    values = [
        histogram.get_highest_equivalent_value(histogram.get_value_from_index(index))
        for index in seen.tolist()
    ]
    return np.asarray(values, dtype=np.float64) / 1e6, counts[seen]


def _budgets(runs: Sequence[Run], series: _Naming) -> tuple[BudgetView, ...]:
    known = dict.fromkeys(budget for run in runs for budget in run.budgets)
    judged: dict[Budget, list[Judged]] = {budget: [] for budget in known}
    for run in runs:
        for judgement in run.judgements:
            judged.setdefault(judgement.budget, []).append(Judged(series.of(run, judgement), judgement))
    return tuple(BudgetView(budget, tuple(entries)) for budget, entries in judged.items())


def _operations(results: Sequence[Result], budgets: Sequence[Budget]) -> tuple[OperationView, ...]:
    grouped: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.measurement.operation, result.agents), []).append(result)
    groups = list(dict.fromkeys(result.measurement.group for result in results))
    views = [
        OperationView(
            name=name,
            agents=agents,
            group=members[0].measurement.group,
            about=members[0].measurement.about,
            results=_in_order(members),
            limits=_limits(members, budgets),
        )
        for (name, agents), members in grouped.items()
    ]
    return tuple(sorted(views, key=lambda view: groups.index(view.group)))


def _curves(results: Sequence[Result], budgets: Sequence[Budget]) -> tuple[CurveView, ...]:
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.measurement.operation, []).append(result)
    return tuple(
        CurveView(name, tuple(sorted(members, key=lambda member: member.agents)), _limits(members, budgets))
        for name, members in grouped.items()
        if len({member.agents for member in members}) > 1
    )


def _in_order(results: Sequence[Result]) -> tuple[Result, ...]:
    return tuple(sorted(results, key=lambda result: (result.series.colour, result.series.variant)))


def _limits(results: Sequence[Result], budgets: Sequence[Budget]) -> tuple[tuple[Budget, float], ...]:
    """Give the latency budgets that speak of any of these results, each with its limit in milliseconds."""
    return tuple(
        (budget, budget.at_most)
        for budget in budgets
        if budget.at_most is not None and any(_speaks_of(budget, result.measurement) for result in results)
    )


def _speaks_of(budget: Budget, measurement: Measurement) -> bool:
    return (
        budget.speaks_of(measurement.operation, measurement.backend, measurement.agents)
        and budget.statistic in measurement.statistics_ns
    )


def _migrations(runs: Sequence[Run]) -> tuple[tuple[str, tuple[Migration, ...]], ...]:
    grouped: dict[str, list[Migration]] = {}
    for run in runs:
        for migration in run.migrations:
            name = f"{migration.source} \N{RIGHTWARDS ARROW} {migration.target}, {migration.row_count:,} rows"
            grouped.setdefault(name, []).append(migration)
    return tuple((name, tuple(members)) for name, members in grouped.items())
