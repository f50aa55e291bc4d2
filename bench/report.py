"""What a session of benchmarks has found: kept as JSON after every benchmark, shown once as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.budgets import Budget
from bench.judge import Judgement, Verdict, judged_figure, judged_measurement, worst
from bench.measurement import Figure, Measurement
from bench.record import Migration, Run, write_run
from bench.subject import EngineDescription

COLOURS = {Verdict.MET: "green", Verdict.BROKEN: "bold red", Verdict.UNPROVED: "yellow"}
TABLE_WIDTH = 132
SHOWN = ("p50", "p95", "p99", "p99.9", "max", "mean")


class Report:
    """Takes each result, judges it, and writes the whole run again: a later crash takes nothing away."""

    def __init__(self, run: Run, budgets: Sequence[Budget], folder: Path) -> None:
        self.run = run
        self.path: Path | None = None
        self._budgets = budgets
        self._folder = folder

    def add_engine(self, described: EngineDescription) -> None:
        """Note the version and the settings of an engine that is measured."""
        facts = {"version": described.version, "settings": described.settings}
        self.run = replace(self.run, engines={**self.run.engines, described.name: facts})

    def add_measurement(self, measurement: Measurement) -> tuple[Judgement, ...]:
        """Take a measurement and give its verdicts."""
        judgements = judged_measurement(measurement, self._budgets)
        self.run = replace(self.run, measurements=(*self.run.measurements, measurement))
        return self._keep(judgements)

    def add_figure(self, figure: Figure) -> tuple[Judgement, ...]:
        """Take a figure and give its verdicts."""
        judgements = judged_figure(figure, self._budgets)
        self.run = replace(self.run, figures=(*self.run.figures, figure))
        return self._keep(judgements)

    def add_migration(self, migration: Migration) -> None:
        """Take a migration's phases; they are shown, and no budget judges them."""
        self.run = replace(self.run, migrations=(*self.run.migrations, migration))
        self._keep(())

    def _keep(self, judgements: tuple[Judgement, ...]) -> tuple[Judgement, ...]:
        judged = (*self.run.judgements, *judgements)
        self.run = replace(self.run, judgements=judged, ended_at=datetime.now(UTC))
        self.path = write_run(self.run, self._folder)
        return judgements

    def unjudged(self) -> tuple[Budget, ...]:
        """Budgets of which this run says nothing, so that nobody takes silence for a pass."""
        judged = {judgement.budget for judgement in self.run.judgements}
        return tuple(budget for budget in self._budgets if budget not in judged)

    def verdict_of(self, result: Measurement | Figure) -> str:
        """Give the gravest verdict on a result, coloured for a table; a dash where no budget speaks of it."""
        return _verdict(self.run, result)

    def rendered(self, *, colour: bool) -> str:
        """Give the tables as text; without `colour` there is no control code in it."""
        text = io.StringIO()
        console = Console(file=text, force_terminal=colour, no_color=not colour, width=TABLE_WIDTH)
        if self.run.measurements:
            console.print(_latencies(self.run))
        if self.run.figures:
            console.print(_figures(self.run))
        for judgement in self.run.judgements:
            if judgement.verdict is not Verdict.MET:
                console.print(judgement.sentence(), style=COLOURS[judgement.verdict], highlight=False)
        if unjudged := self.unjudged():
            names = ", ".join(budget.name for budget in unjudged)
            console.print(f"Not judged in this run: {names}", highlight=False)
        return text.getvalue()


def _latencies(run: Run) -> Table:
    scale = "" if run.scale is None else f", scale {run.scale:g}"
    table = Table(title=f"Latency in ms{scale}, seed {run.seed}")
    for heading in ("operation", "backend", "stage"):
        table.add_column(heading)
    for heading in ("agents", "calls", *SHOWN):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for measurement in side_by_side(run.measurements):
        figures = (f"{measurement.latency_ms(name).value:.3f}" for name in SHOWN)
        table.add_row(
            *(measurement.operation, measurement.backend, measurement.stage),
            *(str(measurement.agents), str(measurement.sample_count)),
            *figures,
            _verdict(run, measurement),
        )
    return table


def side_by_side(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Give the measurements so that one operation's stand together, in the order they were first seen in."""
    keys = [(measurement.agents, measurement.operation) for measurement in measurements]
    place = {key: number for number, key in reversed(list(enumerate(keys)))}
    return sorted(measurements, key=lambda one: (one.agents, place[one.agents, one.operation]))


def _figures(run: Run) -> Table:
    table = Table(title="Other figures, over all repetitions")
    for heading in ("figure", "databases"):
        table.add_column(heading)
    for heading in ("median", "least", "most", "unit"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for figure in run.figures:
        values = (_readable(summed_up(figure.repetitions)) for summed_up in (median, min, max))
        verdict = _verdict(run, figure)
        table.add_row(figure.name, figure.backend, *values, figure.unit, verdict)
    return table


def _readable(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"


def _verdict(run: Run, result: Measurement | Figure) -> str:
    """The gravest verdict on one line of the table, coloured; a dash where no budget speaks of it."""
    name = result.name if isinstance(result, Figure) else None
    stage, agents = (result.stage, result.agents) if isinstance(result, Measurement) else ("", 1)
    verdict = worst(
        judgement
        for judgement in run.judgements
        if (judgement.operation, judgement.backend) == (result.operation, result.backend)
        and (judgement.stage, judgement.agents) == (stage, agents)
        and (name is None or judgement.budget.statistic == name)
    )
    return "-" if verdict is None else f"[{COLOURS[verdict]}]{verdict}[/]"
