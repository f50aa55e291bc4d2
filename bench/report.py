"""What a session of benchmarks has found: kept as JSON after every benchmark, shown once as a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.budgets import Budget
from bench.judge import Judgement, Verdict, judged_figure, judged_measurement, worst
from bench.measurement import Figure, Measurement
from bench.record import Run, write_run
from bench.subject import EngineDescription

COLOURS = {Verdict.MET: "green", Verdict.BROKEN: "bold red", Verdict.UNPROVED: "yellow"}
TABLE_WIDTH = 110


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

    def _keep(self, judgements: tuple[Judgement, ...]) -> tuple[Judgement, ...]:
        self.run = replace(self.run, judgements=(*self.run.judgements, *judgements))
        self.path = write_run(self.run, self._folder)
        return judgements

    def unjudged(self) -> tuple[Budget, ...]:
        """Budgets of which this run says nothing, so that nobody takes silence for a pass."""
        judged = {judgement.budget for judgement in self.run.judgements}
        return tuple(budget for budget in self._budgets if budget not in judged)

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
    table = Table(title=f"Latency in ms, scale {run.scale:g}, seed {run.seed}")
    for heading in ("operation", "backend"):
        table.add_column(heading)
    for heading in ("calls", "p50", "p95", "p99", "max", "mean"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for measurement in run.measurements:
        shown = (measurement.latency_ms(name).value for name in ("p50", "p95", "p99", "max", "mean"))
        figures = (f"{value:.4f}" for value in shown)
        verdict = _verdict(run, measurement)
        table.add_row(
            measurement.operation, measurement.backend, str(measurement.sample_count), *figures, verdict
        )
    return table


def _figures(run: Run) -> Table:
    table = Table(title="Copying and proving, every repetition")
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
    verdict = worst(
        judgement
        for judgement in run.judgements
        if (judgement.operation, judgement.backend) == (result.operation, result.backend)
        and (name is None or judgement.budget.statistic == name)
    )
    return "-" if verdict is None else f"[{COLOURS[verdict]}]{verdict}[/]"
