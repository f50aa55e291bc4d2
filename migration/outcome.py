"""How a command ends: what is printed where, and the exit code it leaves with."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from rich.console import Console

from migration.choice import Options
from migration.difference import Report
from migration.display import show_plan, show_report
from migration.errors import HazardsNotAccepted, MigrationError, Stopped
from migration.payload import accept_flags, error_as_data, how_to_accept, plan_as_data, report_as_data
from migration.plan import Plan
from migration.printable import escape

# A terminal has its own width; a file or a pipe has room for a sentence beside a name.
PIPE_COLUMNS = 160
COMPARE_HINT = "How fast both databases are, side by side: python -m bench compare SOURCE TARGET"
# What stands where a verdict would, when nothing was compared.
NO_VERDICT = "none"
_Result = TypeVar("_Result")


@dataclass
class Outcome:
    """What a job ended with, ready to be shown: the proof, the plan, and the error if there was one."""

    report: Report | None
    plan: Plan | None
    error: MigrationError | None
    extra: dict[str, Any] = field(default_factory=dict)


def run(work: Coroutine[Any, Any, _Result], as_json: bool = False) -> _Result:
    """Run the job; SIGINT and SIGTERM stop it cleanly, with its state kept."""

    async def stoppable() -> _Result:
        job = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, job.cancel)
        return await job

    try:
        return asyncio.run(stoppable())
    except MigrationError as error:
        failure = error
    except asyncio.CancelledError:
        failure = Stopped("Stopped on request", done="Nothing was changed", next_step="Run it again")
    if as_json:
        print_json({"verdict": NO_VERDICT, "error": error_as_data(failure)})
    tell(failure)
    sys.exit(failure.exit_code)


def finish(outcome: Outcome, as_json: bool) -> None:
    """Print what a job ended with, and leave with its exit code."""
    if as_json:
        print_json(_as_data(outcome))
    else:
        sheet = paper()
        if outcome.plan is not None:
            show_plan(sheet, outcome.plan, ())
        if outcome.report is not None:
            show_report(sheet, outcome.report)
        if "server" in outcome.extra:
            sheet.print(f"Rehearsed on {escape(outcome.extra['server'])}", highlight=False)
        if outcome.error is None and outcome.extra.get("to_accept"):
            names = accept_flags(outcome.extra["to_accept"])
            sheet.print(f"A migration would ask for: {escape(names)}", highlight=False)
        if "server" in outcome.extra and outcome.error is None:
            sheet.print(COMPARE_HINT, highlight=False)
    if outcome.error is not None:
        fail(outcome.error)


def finish_dry(plan: Plan, options: Options, as_json: bool) -> None:
    """Print a plan, and leave with the exit code that carrying it out would end with."""
    if as_json:
        print_json(plan_as_data(plan, options.accept))
    else:
        show_plan(paper(), plan, options.accept)
    if plan.refused(options.accept):
        next_step = how_to_accept(plan, options.accept)
        fail(HazardsNotAccepted("As it is, this migration would be refused", next_step=next_step))


def _as_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.report.verdict if outcome.report is not None else NO_VERDICT,
        "error": None if outcome.error is None else error_as_data(outcome.error),
        "plan": None if outcome.plan is None else plan_as_data(outcome.plan, ()),
        "report": None if outcome.report is None else report_as_data(outcome.report),
        **outcome.extra,
    }


def paper() -> Console:
    """Where results go: stdout, in full width and without colours when it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_COLUMNS, color_system=None)


def screen() -> Console:
    """Where progress and failures go."""
    return Console(stderr=True, soft_wrap=True)


def say(line: str) -> None:
    """Print one line of results."""
    paper().print(escape(line), highlight=False)


def print_json(data: Any) -> None:
    """Print data, and nothing but data."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def fail(error: MigrationError) -> NoReturn:
    """Tell an error, and leave with its exit code."""
    tell(error)
    sys.exit(error.exit_code)


def tell_aside(line: str) -> None:
    """Say one line that is no result on stderr."""
    screen().print(f"migration: {escape(line)}", style="yellow", highlight=False)


def tell(error: MigrationError) -> None:
    """Tell an error in one line on stderr."""
    screen().print(f"migration: {escape(error.sentence())}", style="bold red", highlight=False)
