"""The benchmarks' one command: run, compare, report; gate, accept, history."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.comparing import Comparison, compare, measure_own, table_of
from bench.gate.command import register
from bench.page.page import write_page
from bench.record import read_run
from migration.errors import MigrationError

RUNS = Path("results") / "runs"

# What is printed when something unforeseen fails must not hold the values of variables: URLs are among them.
application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_show_locals=False)
console = Console()

Results = Annotated[Path, typer.Option(help="Folder for the JSON.")]
Share = Annotated[float, typer.Option(help="Part of the usual number of calls; fewer prove less.")]
Seed = Annotated[int, typer.Option(help="Of the data and of the pauses.")]


@application.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(  # noqa: PLR0913, PLR0917  one argument for each option of the command
    context: typer.Context,
    scale: Annotated[float, typer.Option(help="Of the reference data; 10 is a million messages.")] = 1.0,
    backends: Annotated[str, typer.Option(help="all, or a list: sqlite,postgresql,mariadb.")] = "",
    operations: Annotated[Path | None, typer.Option(help="A file with operations of your own.")] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="A database for them; two are before and after.")
    ] = None,
    results: Results = RUNS,
    share: Share = 1.0,
    seed: Seed = 1,
) -> None:
    """Measure the reference operations, or your own, and judge them. Further arguments go to pytest."""
    if operations is None:
        raise typer.Exit(_pytest(scale, backends, results, seed, context.args))
    if not url:
        raise typer.BadParameter("--operations needs at least one --url, the database to measure them on")
    measured = _finished(measure_own(operations, url, folder=results, share=share, seed=seed))
    console.print(measured.report.rendered(colour=console.is_terminal), highlight=False, markup=False)
    _end(measured)


@application.command(name="compare")
def compare_databases(
    source: Annotated[str, typer.Argument(help="The database as it was: a URL or a path.")],
    target: Annotated[str, typer.Argument(help="The database as it is.")],
    results: Results = RUNS,
    share: Share = 1.0,
    seed: Seed = 1,
    agents: Annotated[int, typer.Option(help="How many work at once at the end.")] = 25,
) -> None:
    """Measure two databases of any schema side by side. What is written is rolled back."""
    measured = _finished(compare(source, target, folder=results, share=share, seed=seed, agents=agents))
    console.print(table_of(measured))
    for sentence in measured.missing:
        console.print(f"Not measured: {sentence}", highlight=False, markup=False)
    for sentence in measured.sentences():
        console.print(sentence, highlight=False, markup=False)
    _end(measured)


@application.command()
def report(
    runs: Annotated[list[Path] | None, typer.Argument(help="Files of runs; the newest without any.")] = None,
    out: Annotated[Path, typer.Option(help="Where the page is written.")] = RUNS / "report.html",
) -> None:
    """Write one HTML page of runs; it needs no network."""
    paths = runs or sorted(RUNS.glob("*.json"))[-1:]
    if not paths:
        console.print(f"There is no run in {RUNS}; make one with: python -m bench run", highlight=False)
        raise typer.Exit(2)
    console.print(f"Written to {write_page([read_run(path) for path in paths], out)}", highlight=False)


def _pytest(scale: float, backends: str, results: Path, seed: int, further: list[str]) -> int:
    import pytest

    paths = (
        []
        if any(Path(word.partition("::")[0]).exists() for word in further)
        else [str(Path(__file__).parent)]
    )
    arguments = [*paths, f"--bench-scale={scale}", f"--bench-backends={backends}", f"--bench-seed={seed}"]
    # The command is part of what pytest would rewrite for its plugin, and is imported by now.
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    # Timing with the garbage collector on would measure the collector.
    return int(pytest.main([*arguments, f"--bench-results={results}", "--benchmark-disable-gc", *further]))


def _finished(coroutine: object) -> Comparison:
    try:
        measured: Comparison = asyncio.run(coroutine)  # type: ignore[arg-type]
    except MigrationError as error:
        typer.echo(error.sentence(), err=True)
        raise typer.Exit(error.exit_code) from None
    return measured


def _end(measured: Comparison) -> None:
    console.print(f"Written to {measured.report.path}", highlight=False)
    raise typer.Exit(1 if measured.broken else 0)


register(application)

if __name__ == "__main__":
    sys.exit(application())
