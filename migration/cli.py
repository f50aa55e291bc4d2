"""The command: arguments in, one call of the service, an exit code out. Nothing else is decided here."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from migration import __version__
from migration.audit import read_audit
from migration.backends import backends
from migration.database import Database, open_database
from migration.difference import Difference, Report
from migration.display import progress_bars, show_differences, show_log, show_plan, show_report
from migration.errors import CouldNotLook, Differs, HazardsNotAccepted, MigrationError, Stopped, UsageError
from migration.payload import (
    accept_flags,
    counted,
    error_as_data,
    how_to_accept,
    plan_as_data,
    report_as_data,
    to_accept,
)
from migration.plan import Plan
from migration.redaction import redact, secrets_of
from migration.schema_difference import compare_schemas
from migration.selftest import selftest as run_selftest
from migration.servers import throwaway_server
from migration.service import DataMigrationService, Options
from migration.validator import MigrationValidator

DEFAULT_AUDIT = Path("migration-audit.jsonl")
# A mistake in this program, and no outcome of a migration: EX_SOFTWARE of sysexits.h.
UNFORESEEN = 70
# A terminal has its own width; a file or a pipe has room for a sentence beside a name.
PIPE_COLUMNS = 160
# What stands where a verdict would, when nothing was compared.
NO_VERDICT = "none"
_Result = TypeVar("_Result")

app = typer.Typer(
    name="migration",
    help="Moves a database and proves it. SOURCE and TARGET are SQLAlchemy URLs, or the path of a file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Source = Annotated[
    str, typer.Argument(help="Where the rows come from; opened read-only.", show_default=False)
]
Target = Annotated[str, typer.Argument(help="Where they go.", show_default=False)]
Map = Annotated[
    list[str],
    typer.Option(
        "--map",
        default_factory=list,
        show_default=False,
        help="Another name in the target: table=other or table.column=table.other.",
    ),
]
Accept = Annotated[
    list[str],
    typer.Option(
        "--accept",
        default_factory=list,
        show_default=False,
        help="A hazard that may happen, by its name in the plan.",
    ),
]
Backup = Annotated[
    Path | None, typer.Option(help="Folder for backups, made and read before anything is written.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a migration that was stopped.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data for machines, and nothing else, on stdout.")]
AuditFile = Annotated[Path, typer.Option("--audit", help="The audit log; continued when it is there.")]


@app.command()
def rehearse(source: Source, mapping: Map, as_json: AsJson = False) -> None:
    """Copy SOURCE into a throw-away server, prove it, and say what a migration would ask of you."""
    _finish(_run(_rehearse(source, mapping), as_json), as_json)


@app.command()
def migrate(  # noqa: PLR0913, PLR0917 - one parameter an option is what the command line is made from
    source: Source,
    target: Target,
    mapping: Map,
    accept: Accept,
    backup: Backup = None,
    audit: AuditFile = DEFAULT_AUDIT,
    dry_run: DryRun = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Move SOURCE into TARGET and prove it, or leave TARGET as it was."""
    options = Options(accept=tuple(accept), backup_folder=backup, audit_path=audit, resume=resume)
    if dry_run:
        _finish_dry(_run(_dry_run(source, target, options, mapping), as_json), options, as_json)
    else:
        _finish(_run(_migrate(source, target, options, mapping), as_json), as_json)


@app.command()
def verify(source: Source, target: Target, mapping: Map, as_json: AsJson = False) -> None:
    """Read every row and column of both and name what differs."""
    _finish(_run(_verify(source, target, mapping), as_json), as_json)


@app.command()
def diff(source: Source, target: Target, mapping: Map, as_json: AsJson = False) -> None:
    """Compare the two schemas."""
    differences = _run(_diff(source, target, mapping), as_json)
    if as_json:
        _print_json([vars(difference) for difference in differences])
    elif differences:
        show_differences(_paper(), differences, len(differences))
    else:
        _say("The schemas say the same.")
    if differences:
        _fail(Differs(f"The schemas differ in {counted(len(differences), 'place')}"))


@app.command()
def rollback(source: Source, target: Target, audit: AuditFile = DEFAULT_AUDIT) -> None:
    """Undo a migration that was stopped, and prove that TARGET is what it was; SOURCE is not read."""
    _run(_rollback(source, target, Options(audit_path=audit)))
    _say("undone: the target is what it was before, which was verified")


@app.command()
def log(
    file: Annotated[Path, typer.Argument(help="An audit log.", show_default=False)], as_json: AsJson = False
) -> None:
    """Show an audit log and check that no line was changed, lost or added."""
    reading = _run(read_audit(file), as_json)
    if as_json:
        _print_json(
            {
                "whole": reading.is_whole,
                "problems": [vars(problem) for problem in reading.problems],
                "events": [vars(event) for event in reading.events],
            }
        )
    else:
        show_log(_paper(), reading)
    if not reading.is_whole:
        broken = "The audit log is not what was written"
        _fail(Differs(broken, where=str(file), next_step="Do not rely on it"))


@app.command()
def selftest(as_json: AsJson = False) -> None:
    """Move a small database, damage one row of the copy, and see whether the proof notices."""
    seen = _run(run_selftest(), as_json)
    (difference,) = seen.damaged.differences
    if as_json:
        _print_json(
            {"intact": seen.intact.verdict, "damaged": seen.damaged.verdict, "difference": vars(difference)}
        )
    else:
        _say(f"intact copy: {seen.intact.verdict}\ndamaged copy: {seen.damaged.verdict}: {difference}")
        _say("passed: the damage was seen, and nothing else")


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"migration-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options that belong to no command."""


def main() -> None:
    """Run the command; every failure leaves with its own exit code and a sentence on stderr."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the last one to hear of it; it tells, and does not go on
        # The words of an error may quote what was typed, passwords included.
        secrets = [secret for word in sys.argv[1:] for secret in secrets_of(word)]
        _screen().print(escape(redact(traceback.format_exc(), secrets)), highlight=False)
        mistake = MigrationError(
            f"This is a mistake in migration-bench itself, {type(error).__name__}",
            next_step="Please report it",
        )
        _tell(mistake)
        sys.exit(UNFORESEEN)


# --- what the commands await ------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a job ended with, ready to be shown: the proof, the plan, and the error if there was one."""

    report: Report | None
    plan: Plan | None
    error: MigrationError | None
    extra: dict[str, Any] = field(default_factory=dict)


async def _rehearse(source: str, mapping: list[str]) -> Outcome:
    options = Options(mapping=_mapping(mapping), accept_all=True)
    # The first that is no file: whoever rehearses wants to know what a server would say.
    engine = next(backend.name for backend in backends() if not backend.opens_files)
    async with open_database(source, is_source=True) as ours:
        # Before a server is started for it: is there something to rehearse with at all?
        await ours.schema()
        async with throwaway_server(engine) as server, open_database(server.url) as theirs:
            outcome = await _walk(ours, theirs, options)
            outcome.extra["server"] = f"{engine} {server.version} ({server.origin}), thrown away"
    if isinstance(outcome.error, Stopped):
        outcome.error = Stopped("Stopped on request", done="Nothing is kept of a rehearsal")
    if outcome.plan is not None:
        outcome.extra["to_accept"] = to_accept(outcome.plan, ())
    return outcome


async def _migrate(source: str, target: str, options: Options, mapping: list[str]) -> Outcome:
    options = replace(options, mapping=_mapping(mapping))
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        outcome = await _walk(ours, theirs, options)
    outcome.extra["audit"] = str(options.audit_path)
    return outcome


async def _walk(ours: Database, theirs: Database, options: Options) -> Outcome:
    with progress_bars(_screen()) as progress:
        service = DataMigrationService(ours, theirs, options=options, progress=progress)
        await service.migrate_data()
    return Outcome(service.report, service.plan, service.error)


async def _dry_run(source: str, target: str, options: Options, mapping: list[str]) -> Plan:
    options = replace(options, mapping=_mapping(mapping))
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        with progress_bars(_screen()) as progress:
            return await DataMigrationService(ours, theirs, options=options, progress=progress).make_plan()


async def _verify(source: str, target: str, mapping: list[str]) -> Outcome:
    names = _mapping(mapping)
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        with progress_bars(_screen()) as progress:
            # Who does not answer now was named wrongly; what is lost later could not be looked at.
            for database in (ours, theirs):
                await database.facts()
            validator = MigrationValidator(ours, theirs, mapping=names, progress=progress)
            await validator.validate_schema_compatibility()
            await validator.validate_data_integrity()
    report = validator.report
    error: MigrationError | None = None
    if report.verdict == "differs":
        count = report.difference_count
        found = f"{counted(count, 'difference')} {'was' if count == 1 else 'were'} found"
        error = Differs(found, where=str(theirs))
    elif not report.proved:
        error = CouldNotLook(
            "Not everything could be read, so nothing is known of the rest", where=str(theirs)
        )
    return Outcome(report, None, error)


async def _diff(source: str, target: str, mapping: list[str]) -> tuple[Difference, ...]:
    names = _mapping(mapping)
    async with (
        open_database(source, is_source=True) as ours,
        open_database(target, is_source=True) as theirs,
    ):
        return compare_schemas(await ours.schema(), await theirs.schema(), names)


async def _rollback(source: str, target: str, options: Options) -> None:
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        await DataMigrationService(ours, theirs, options=options).take_back()


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        source, separator, target = pair.partition("=")
        if not (source and separator and target):
            raise UsageError(
                f"--map does not understand {pair!r}",
                next_step="Write --map table=other_table or --map table.column=table.other_column",
            )
        mapping[source] = target
    return mapping


# --- what is printed, and how it ends ---------------------------------------------------------------


def _run(work: Coroutine[Any, Any, _Result], as_json: bool = False) -> _Result:
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
        _print_json({"verdict": NO_VERDICT, "error": error_as_data(failure)})
    _tell(failure)
    sys.exit(failure.exit_code)


def _finish(outcome: Outcome, as_json: bool) -> None:
    """Print what a job ended with, and leave with its exit code."""
    if as_json:
        _print_json(_as_data(outcome))
    else:
        paper = _paper()
        if outcome.plan is not None:
            show_plan(paper, outcome.plan, ())
        if outcome.report is not None:
            show_report(paper, outcome.report)
        if "server" in outcome.extra:
            paper.print(f"Rehearsed on {escape(outcome.extra['server'])}", highlight=False)
        if outcome.error is None and outcome.extra.get("to_accept"):
            names = accept_flags(outcome.extra["to_accept"])
            paper.print(f"A migration would ask for: {escape(names)}", highlight=False)
    if outcome.error is not None:
        _fail(outcome.error)


def _finish_dry(plan: Plan, options: Options, as_json: bool) -> None:
    """Print a plan, and leave with the exit code that carrying it out would end with."""
    if as_json:
        _print_json(plan_as_data(plan, options.accept))
    else:
        show_plan(_paper(), plan, options.accept)
    if plan.refused(options.accept):
        next_step = how_to_accept(plan, options.accept)
        _fail(HazardsNotAccepted("As it is, this migration would be refused", next_step=next_step))


def _as_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": outcome.report.verdict if outcome.report is not None else NO_VERDICT,
        "error": None if outcome.error is None else error_as_data(outcome.error),
        "plan": None if outcome.plan is None else plan_as_data(outcome.plan, ()),
        "report": None if outcome.report is None else report_as_data(outcome.report),
        **outcome.extra,
    }


def _paper() -> Console:
    """Where results go: stdout, in full width and without colours when it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_COLUMNS, color_system=None)


def _screen() -> Console:
    """Where progress and failures go."""
    return Console(stderr=True, soft_wrap=True)


def _say(line: str) -> None:
    _paper().print(escape(line), highlight=False)


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")


def _fail(error: MigrationError) -> NoReturn:
    _tell(error)
    sys.exit(error.exit_code)


def _tell(error: MigrationError) -> None:
    _screen().print(f"migration: {escape(error.sentence())}", style="bold red", highlight=False)
