"""The commands `gate`, `accept` and `history` of `python -m bench`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bench.baseline import UnreadableBaseline
from bench.gate.accepting import NothingToAccept, accept_into, acceptance, remember_times
from bench.gate.summary import as_junit, as_lines, as_markdown
from bench.gate.times import read_thresholds
from bench.gate.walk import ROOT, Asked, counted_now, gate
from bench.gate.work import Acceptance
from bench.places import chosen
from bench.record import UnreadableRun
from migration.errors import MigrationError

BASELINES = Path("results") / "baseline"
USAGE_EXIT_CODE = 2

Backends = Annotated[str, typer.Option(help="all, or a list: sqlite,postgresql,mariadb.")]
Scale = Annotated[float, typer.Option(help="Of the reference data; baselines are kept for scale 1.")]
Baselines = Annotated[Path, typer.Option("--baseline", help="A folder of baselines, or one file.")]


def run_gate(
    baseline: Baselines = BASELINES,
    base: Annotated[str, typer.Option(help="Commit to compare times with.")] = "",
    backends: Backends = "all",
    scale: Scale = 1.0,
    run: Annotated[Path | None, typer.Option(help="A recorded run to hold against the budgets.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary for a pull request here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
) -> None:
    """Find regressions: exact work, budgets, and time against --base. Exit codes 0, 1, 7, 8."""
    names = _chosen(backends)
    asked = Asked(names, read_thresholds(), scale, tree=ROOT, baselines=baseline, base=base or None, run=run)
    outcome = asyncio.run(gate(asked, lambda line: typer.echo(line, err=True)))
    for line in as_lines(outcome):
        typer.echo(line)
    if not base:
        typer.echo("Times were not compared: name a commit with --base.")
    if markdown is not None:
        markdown.write_text(as_markdown(outcome), encoding="utf-8")
    if junit is not None:
        junit.write_text(as_junit(outcome), encoding="utf-8")
    raise typer.Exit(outcome.exit_code)


def run_accept(  # noqa: PLR0913, PLR0917  one argument for each option of the command
    operations: Annotated[list[str] | None, typer.Argument(help="Operations whose work is accepted.")] = None,
    why: Annotated[str, typer.Option(help="The reason, for whoever reads the baseline.")] = "",
    who: Annotated[str, typer.Option(help="Who accepts; the name that git knows without it.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Accept every operation.")] = False,
    run: Annotated[Path | None, typer.Option(help="A recorded run whose times are remembered.")] = None,
    backends: Backends = "all",
    scale: Scale = 1.0,
    baseline: Baselines = BASELINES,
) -> None:
    """Count the work of operations and write it into the baseline, with who, when and why."""
    if not operations and not everything and run is None:
        raise typer.BadParameter("name operations, or say --all, or name a run with --run")
    try:
        if run is not None:
            for path in remember_times(baseline, run):
                typer.echo(f"The times are remembered in {path}.")
        if operations or everything:
            _accept(operations or [], acceptance(who, why), _chosen(backends), scale, baseline)
    except (NothingToAccept, UnreadableBaseline, UnreadableRun, ValueError) as error:
        typer.echo(f"Nothing was written: {error}.", err=True)
        raise typer.Exit(USAGE_EXIT_CODE) from None


def _accept(
    names: list[str], accepted: Acceptance, backends: tuple[str, ...], scale: float, baseline: Path
) -> None:
    for backend in backends:
        asked = Asked(backends, read_thresholds(), scale, baselines=baseline)
        try:
            counted = asyncio.run(counted_now(asked, backend))
        except MigrationError as error:
            typer.echo(f"{backend}: {error.sentence()}", err=True)
            raise typer.Exit(error.exit_code) from None
        path, told = accept_into(baseline, backend, scale, counted, names, accepted)
        for line in told or ("nothing differs",):
            typer.echo(f"{backend}: {line}")
        typer.echo(f"Written to {path}.")


def run_history(
    out: Annotated[Path, typer.Option(help="Where the page is written.")] = Path("results/runs/history.html"),
    baseline: Baselines = BASELINES,
) -> None:
    """Draw the remembered times of each machine, with the points where they changed; a report, no verdict."""
    from bench.gate.history import write_history

    typer.echo(f"Written to {write_history(baseline, out)}")


def _chosen(backends: str) -> tuple[str, ...]:
    try:
        return chosen(backends)
    except ValueError as error:
        raise typer.BadParameter(f"--backends: {error}") from error


def register(application: typer.Typer) -> None:
    """Add the commands."""
    application.command(name="gate")(run_gate)
    application.command(name="accept")(run_accept)
    application.command(name="history")(run_history)
