"""The plots of the page: each says one thing, with axes, units, limits and bounds.

All are drawn for a narrow screen; a wide one puts two side by side. Latencies span decades, so their axes are
logarithmic unless they do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

import numpy as np
from markupsafe import Markup

from bench.budgets import Budget
from bench.measurement import Bounded
from bench.page.axes import Axis, fitted_axis, quantity
from bench.page.model import SIGNS, BudgetView, CurveView, Judged, OperationView, Result
from bench.page.svg import Drawing
from bench.record import Migration

WIDTH = 460
MARGIN = 10
LEFT = 52
"""Room for what is written at a vertical axis."""

FOOT = 34
"""Room for a horizontal axis and its title."""

CHARACTER_WIDTH = 7.0
"""Of what is written at a tick, at the size it has on a phone; what would cover its neighbour is left out."""

BESIDE = 1.3
"""An axis reaches this many times beyond a limit."""

BINS_PER_DECADE = 20
TICKED = ("p50", "p95", "p99")
PERCENTILE_MOST = 6
"""Nines beyond this many are not drawn: no run has a million samples of one operation."""


def distributions(view: OperationView) -> Markup:
    """Draw how the latencies of one operation spread on each backend, one under the other on one axis."""
    row_height, ridge = 62, 34
    height = row_height * len(view.results) + FOOT + 4
    drawing = Drawing(WIDTH, height, f"Distribution of {view.heading} on each backend")
    values = [value for result in view.results for value in (result.values_ms[0], result.values_ms[-1])]
    axis = fitted_axis([*values, *_limit_values(view.limits)], MARGIN, WIDTH - MARGIN, "ms", is_log=True)
    bottom = height - FOOT
    _horizontal_axis(drawing, axis, 0, bottom, "latency, logarithmic")
    _vertical_limits(drawing, axis, view.limits, 0, bottom)
    for number, result in enumerate(view.results):
        base = row_height * number + 16 + ridge
        _ridge(drawing, axis, result, base, ridge)
        drawing.text(MARGIN, base - ridge + 1, result.series.label, f"label {result.series.classes}")
        drawing.line(MARGIN, base, WIDTH - MARGIN, base, "base")
        for name in TICKED:
            _bounds(drawing, axis, result, name, base + 6)
    return drawing.finished()


def _ridge(drawing: Drawing, axis: Axis, result: Result, base: float, height: float) -> None:
    """Draw the samples as an area over logarithmic bins; equal areas are equal numbers of calls."""
    low, high = math.log10(result.values_ms[0]), math.log10(result.values_ms[-1])
    first, last = math.floor(low * BINS_PER_DECADE), math.floor(high * BINS_PER_DECADE) + 1
    edges = np.arange(first, last + 1) / BINS_PER_DECADE
    counts, _ = np.histogram(np.log10(result.values_ms), bins=edges, weights=result.counts)
    tallest = float(counts.max())
    points = [(axis.at(10 ** edges[0]), base)]
    for (left, right), count in zip(pairwise(edges), counts, strict=True):
        y = base - height * 0.8 * float(count) / tallest
        points += [(axis.at(10**left), y), (axis.at(10**right), y)]
    points.append((axis.at(10 ** edges[-1]), base))
    told = f"{result.series.label}: {result.measurement.sample_count:,} calls"
    drawing.marked_path(points, f"ridge {result.series.classes}", told, closed=True)
    slowest = result.measurement.latency_ms("max").value
    drawing.line(axis.at(slowest), base - 7, axis.at(slowest), base, f"extreme {result.series.classes}")


def _bounds(drawing: Drawing, axis: Axis, result: Result, statistic: str, y: float) -> None:
    bounded = result.measurement.latency_ms(statistic)
    _interval(drawing, axis, bounded, y, f"interval {result.series.classes}")
    told = f"{result.series.label}, {statistic}: {_told(bounded, 'ms')}"
    drawing.mark(result.series.shape, axis.at(bounded.value), y, result.series.classes, told)


def percentile_curves(view: OperationView) -> Markup:
    """Draw latency over percentile for all backends; each further nine has the same room."""
    height, right, top = 250, WIDTH - MARGIN, 10
    drawing = Drawing(WIDTH, height, f"Latency of {view.heading} by percentile")
    bottom = height - FOOT
    reaches = [_nines(result.measurement.sample_count) for result in view.results]
    across = Axis(0, max(1.0, *reaches), LEFT, right, is_log=False, unit="")
    values = [value for result in view.results for value in (result.values_ms[0], result.values_ms[-1])]
    upward = fitted_axis([*values, *_limit_values(view.limits)], bottom, top, "ms", is_log=True)
    _vertical_axis(drawing, upward, LEFT, right)
    for nines in range(math.floor(across.most) + 1):
        x = across.at(nines)
        drawing.line(x, top, x, bottom, "grid")
        name = "0" if nines == 0 else f"{100 * (1 - 10.0**-nines):.{max(0, nines - 2)}f} %"
        drawing.text(x, bottom + 14, name, "tick", "end" if x > right - 16 else "middle")
    if (middle := across.at(math.log10(2))) < right:
        drawing.line(middle, top, middle, bottom, "grid")
        drawing.text(middle, bottom + 14, "50 %", "tick", "middle")
    drawing.text(right, height - 4, "share of calls that were faster", "title", "end")
    _horizontal_limits(drawing, upward, view.limits, LEFT, right)
    for result in view.results:
        shares = 1 - np.concatenate(([0], np.cumsum(result.counts)[:-1])) / result.counts.sum()
        points = [
            (across.at(-math.log10(share)), upward.at(value))
            for share, value in zip(shares.tolist(), result.values_ms.tolist(), strict=True)
        ]
        told = f"{result.series.label}: {result.measurement.sample_count:,} calls"
        drawing.marked_path(_thinned(points), f"line {result.series.classes}", told)
    return drawing.finished()


def _nines(sample_count: int) -> float:
    return min(PERCENTILE_MOST, math.log10(max(10, sample_count)))


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave out points that fall within half a pixel of the last one kept; the ends stay."""
    kept = [points[0]]
    for x, y in points[1:-1]:
        if abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= 0.5:
            kept.append((x, y))
    return [*kept, points[-1]]


def concurrency_curve(view: CurveView) -> Markup:
    """Draw p99 with its bounds, and p50, over the number of agents, for all backends."""
    height, right, top = 270, WIDTH - MARGIN - 6, 10
    bottom = height - FOOT
    drawing = Drawing(WIDTH, height, f"Latency of {view.name} by number of agents")
    numbers = sorted({result.agents for result in view.results})
    across = Axis(numbers[0], numbers[-1], LEFT + 20, right - 16, is_log=True, unit="")
    shown = [result.measurement.latency_ms(name).value for result in view.results for name in ("p50", "p99")]
    edges = [result.measurement.latency_ms("p99") for result in view.results]
    shown += [bounded.upper for bounded in edges if bounded.upper is not None]
    upward = fitted_axis([*shown, *_limit_values(view.limits)], bottom, top, "ms", is_log=True)
    _vertical_axis(drawing, upward, LEFT, right)
    for number in numbers:
        drawing.line(across.at(number), top, across.at(number), bottom, "grid")
        drawing.text(across.at(number), bottom + 14, str(number), "tick", "middle")
    drawing.text(right, height - 4, "agents at the same time, logarithmic", "title", "end")
    _horizontal_limits(drawing, upward, view.limits, LEFT, right)
    all_series = list(dict.fromkeys(result.series for result in view.results))
    for number, series in enumerate(all_series):
        # Beside each other, or the bounds of one would hide those of another.
        beside = 5.0 * (number - (len(all_series) - 1) / 2)
        members = [result for result in view.results if result.series == series]
        for statistic, weight in (("p50", "thin"), ("p99", "")):
            points = [
                (
                    across.at(member.agents) + beside,
                    upward.at(member.measurement.latency_ms(statistic).value),
                )
                for member in members
            ]
            drawing.path(points, f"line {weight} {series.classes}")
        for member in members:
            bounded = member.measurement.latency_ms("p99")
            x = across.at(member.agents) + beside
            most = upward.most if bounded.upper is None else bounded.upper
            drawing.line(x, upward.at(bounded.lower), x, upward.at(most), f"interval {series.classes}")
            told = f"{series.label}, {member.agents} agents, p99: {_told(bounded, 'ms')}"
            drawing.mark(series.shape, x, upward.at(bounded.value), series.classes, told)
    return drawing.finished()


def budget_plot(view: BudgetView) -> Markup:
    """Draw everything that one budget judges: estimate and bounds of each, beside the limit."""
    rows: dict[str, list[Judged]] = {}
    for entry in view.judged:
        rows.setdefault(entry.subject, []).append(entry)
    lane, head, gap, top = 10, 16, 8, 18
    heights = [head + lane * len(entries) + gap for entries in rows.values()]
    height = top + sum(heights) + FOOT
    drawing = Drawing(WIDTH, height, f"Budget {view.budget.name}: results beside the limit")
    estimates = [entry.judgement.bounded for entry in view.judged]
    ends = [end for bounded in estimates for end in (bounded.value, bounded.lower, bounded.upper) if end]
    axis = fitted_axis(
        [*ends, view.limit, view.limit * BESIDE], MARGIN, WIDTH - MARGIN - 16, view.budget.unit
    )
    bottom = height - FOOT
    limit_x = axis.at(view.limit)
    if view.budget.at_most is not None:
        drawing.area(limit_x, top, axis.end - limit_x, bottom - top, "beyond")
    else:
        drawing.area(axis.start, top, limit_x - axis.start, bottom - top, "beyond")
    scale = ", logarithmic" if axis.is_log else ""
    _horizontal_axis(drawing, axis, top, bottom, f"{view.budget.statistic.replace('_', ' ')}{scale}")
    drawing.line(limit_x, top - 4, limit_x, bottom, "limit")
    anchor = "end" if limit_x > WIDTH / 2 else "start"
    drawing.text(limit_x, top - 7, f"limit {quantity(view.limit, view.budget.unit)}", "limit", anchor)
    y = float(top)
    for (subject, entries), row_height in zip(rows.items(), heights, strict=True):
        drawing.text(MARGIN, y + head - 4, subject, "label halo")
        for number, entry in enumerate(entries):
            _judged_lane(drawing, axis, view, entry, y + head + lane * number + lane / 2)
        if y > top:
            drawing.line(MARGIN, y - gap / 2 + 3, WIDTH - MARGIN, y - gap / 2 + 3, "grid")
        y += row_height
    return drawing.finished()


def _judged_lane(drawing: Drawing, axis: Axis, view: BudgetView, entry: Judged, y: float) -> None:
    bounded, classes = entry.judgement.bounded, entry.series.classes
    _interval(drawing, axis, bounded, y, f"interval {classes}")
    told = (
        f"{entry.subject}, {entry.series.label}: {_told(bounded, view.budget.unit)}; "
        f"{entry.judgement.verdict}"
    )
    drawing.mark(entry.series.shape, axis.at(bounded.value), y, classes, told)
    sign = SIGNS[entry.judgement.verdict]
    drawing.text(WIDTH - MARGIN, y + 3.5, sign, f"sign {entry.judgement.verdict}", "end")


def phase_bars(migrations: Sequence[Migration]) -> Markup:
    """Draw the phases of a migration along its time, a thin bar for each repetition."""
    names = list(dict.fromkeys(phase.name for migration in migrations for phase in migration.phases))
    bar, head, gap = (9, 16, 8) if len(migrations) < 4 else (5, 16, 8)
    row_height = head + bar * len(migrations) + gap
    height = row_height * len(names) + FOOT
    drawing = Drawing(WIDTH, height, "Phases of the migration in seconds since its start")
    ends = [sum(phase.took_s for phase in migration.phases) for migration in migrations]
    axis = fitted_axis(ends, MARGIN, WIDTH - MARGIN, "s", is_log=False)
    bottom = height - FOOT
    _horizontal_axis(drawing, axis, 0, bottom, "seconds since the start; each bar is one repetition")
    for number, name in enumerate(names):
        y = row_height * number
        taken = [phase.took_s for migration in migrations for phase in migration.phases if phase.name == name]
        drawing.text(MARGIN, y + head - 4, name, "label halo")
        drawing.text(WIDTH - MARGIN, y + head - 4, f"median {median(taken):.3f} s", "tick halo", "end")
        for repetition, migration in enumerate(migrations):
            _phase_bar(drawing, axis, migration, name, y + head + bar * repetition, bar - 2)
    return drawing.finished()


def _phase_bar(
    drawing: Drawing, axis: Axis, migration: Migration, name: str, y: float, thickness: float
) -> None:
    begun = 0.0
    for phase in migration.phases:
        if phase.name == name:
            left, right = axis.at(begun), axis.at(begun + phase.took_s)
            drawing.marked_area(left, y, right - left, thickness, "bar", f"{name}: {phase.took_s:.3f} s")
        begun += phase.took_s


def _told(bounded: Bounded, unit: str) -> str:
    upper = "no upper bound" if bounded.upper is None else quantity(bounded.upper, unit)
    return f"{quantity(bounded.value, unit)} ({quantity(bounded.lower, unit)} to {upper})"


def _interval(drawing: Drawing, axis: Axis, bounded: Bounded, y: float, classes: str) -> None:
    """Draw the bounds as a bar; one that is open upwards ends at the edge, as an arrow."""
    right = axis.end if bounded.upper is None else axis.at(bounded.upper)
    drawing.line(axis.at(bounded.lower), y, right, y, classes)
    if bounded.upper is None:
        drawing.path([(right - 5, y - 3.5), (right, y), (right - 5, y + 3.5)], f"arrow {classes}")


def _limit_values(limits: Iterable[tuple[Budget, float]]) -> list[float]:
    """Give the limits, and a little beyond, so that none is drawn on the edge."""
    return [end for _, limit in limits for end in (limit, limit * BESIDE)]


def _named_limits(limits: Iterable[tuple[Budget, float]]) -> list[tuple[float, str]]:
    """Give each limit once, in order, with the statistic that it holds for."""
    named = {(limit, budget.statistic) for budget, limit in limits}
    return [(limit, f"{statistic} at most {quantity(limit, 'ms')}") for limit, statistic in sorted(named)]


def _horizontal_axis(drawing: Drawing, axis: Axis, top: float, bottom: float, title: str) -> None:
    free_from = -math.inf
    for value, written in axis.ticks():
        x, width = axis.at(value), CHARACTER_WIDTH * len(written)
        drawing.line(x, top, x, bottom, "grid")
        left = min(max(x - width / 2, MARGIN), WIDTH - MARGIN - width)
        if left >= free_from:
            drawing.text(left + width / 2, bottom + 14, written, "tick", "middle")
            free_from = left + width + CHARACTER_WIDTH / 2
    drawing.line(axis.start, bottom, axis.end, bottom, "axis")
    drawing.text(axis.end, bottom + 29, title, "title", "end")


def _vertical_axis(drawing: Drawing, axis: Axis, left: float, right: float) -> None:
    for value, written in axis.ticks():
        y = axis.at(value)
        drawing.line(left, y, right, y, "grid")
        drawing.text(left - 6, y + 4, written, "tick", "end")
    drawing.line(left, axis.start, right, axis.start, "axis")


def _vertical_limits(
    drawing: Drawing, axis: Axis, limits: Sequence[tuple[Budget, float]], top: float, bottom: float
) -> None:
    for number, (limit, name) in enumerate(_named_limits(limits)):
        x = axis.at(limit)
        drawing.line(x, top, x, bottom, "limit")
        beside, anchor = (-4, "end") if x > WIDTH * 0.4 else (4, "start")
        drawing.text(x + beside, top + 13 + 14 * number, name, "limit halo", anchor)


def _horizontal_limits(
    drawing: Drawing, axis: Axis, limits: Sequence[tuple[Budget, float]], left: float, right: float
) -> None:
    for number, (limit, name) in enumerate(_named_limits(limits)):
        y = axis.at(limit)
        drawing.line(left, y, right, y, "limit")
        # Side by side: two limits are often too close to each other for two lines of text.
        drawing.text(left + 4 + 112 * number, y - 4, name, "limit halo")
