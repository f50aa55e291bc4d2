"""The command: arguments in, one call of the service, an exit code out. Nothing else is decided here."""

from __future__ import annotations

import asyncio
import sys
import traceback
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from migration import __version__, endings
from migration.arguments import (
    DEFAULT_AUDIT,
    Accept,
    AsJson,
    AuditFile,
    Backup,
    DryRun,
    Excluded,
    Map,
    PlanFile,
    Rejects,
    RejectTo,
    Resume,
    SavePlan,
    Server,
    Source,
    Tables,
    Target,
    Types,
    Wanted,
    server_named,
)
from migration.audit import read_audit
from migration.choice import Options, schema_fingerprints
from migration.clock import now
from migration.database import Database, open_database
from migration.difference import Difference
from migration.display import progress_bars, show_differences, show_log, show_misfits
from migration.errors import CouldNotLook, Differs, MigrationError, Rejected, Stopped, UsageError
from migration.journal import Journal
from migration.load_rejects import Loading, loading_as_data
from migration.load_rejects import load_rejects as load_file
from migration.outcome import Outcome, fail, finish, finish_dry, paper, print_json, run, say, screen, tell
from migration.payload import counted, to_accept
from migration.plan import Plan
from migration.plan_file import write_plan_file
from migration.redaction import redact, secrets_of
from migration.rejects import RejectedRows
from migration.schema_difference import compare_schemas
from migration.selftest import selftest as run_selftest
from migration.servers import fresh_database, throwaway_server
from migration.service import DataMigrationService
from migration.validator import MigrationValidator

# A mistake in this program, and no outcome of a migration: EX_SOFTWARE of sysexits.h.
UNFORESEEN = 70

app = typer.Typer(
    name="migration",
    help="Moves a database and proves it. SOURCE and TARGET are SQLAlchemy URLs, or the path of a file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def rehearse(  # noqa: PLR0913, PLR0917 - one parameter an option is what the command line is made from
    source: Source,
    tables: Tables,
    excluded: Excluded,
    mapping: Map,
    types: Types,
    plan: PlanFile = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Copy SOURCE into a throw-away server, prove it, and say what a migration would ask of you."""
    wanted = Wanted(tables, excluded, mapping, types, plan)
    finish(run(_rehearse(source, wanted, server), as_json), as_json)


@app.command()
def migrate(  # noqa: PLR0913, PLR0917 - as above
    source: Source,
    target: Target,
    tables: Tables,
    excluded: Excluded,
    mapping: Map,
    types: Types,
    accept: Accept,
    plan: PlanFile = None,
    save_plan: SavePlan = None,
    reject_to: RejectTo = None,
    backup: Backup = None,
    audit: AuditFile = DEFAULT_AUDIT,
    dry_run: DryRun = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Move SOURCE into TARGET and prove it, or leave TARGET as it was."""
    wanted = Wanted(tables, excluded, mapping, types, plan)
    others = {
        "accept": tuple(accept),
        "backup_folder": backup,
        "audit_path": audit,
        "resume": resume,
        "reject_to": reject_to,
    }
    if dry_run:
        finish_dry(*run(_dry_run(source, target, wanted, others, save_plan), as_json), as_json)
    else:
        finish(run(_migrate(source, target, wanted, others, save_plan), as_json), as_json)


@app.command()
def verify(  # noqa: PLR0913, PLR0917 - as above
    source: Source,
    target: Target,
    tables: Tables,
    excluded: Excluded,
    mapping: Map,
    plan: PlanFile = None,
    rejects: Rejects = None,
    as_json: AsJson = False,
) -> None:
    """Read every row and column of both and name what differs."""
    wanted = Wanted(tables, excluded, mapping, plan=plan)
    finish(run(_verify(source, target, wanted, rejects), as_json), as_json)


@app.command()
def diff(
    source: Source,
    target: Target,
    tables: Tables,
    excluded: Excluded,
    mapping: Map,
    plan: PlanFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare the two schemas."""
    differences = run(_diff(source, target, Wanted(tables, excluded, mapping, plan=plan)), as_json)
    if as_json:
        print_json([vars(difference) for difference in differences])
    elif differences:
        show_differences(paper(), differences, len(differences))
    else:
        say("The schemas say the same.")
    if differences:
        fail(Differs(f"The schemas differ in {counted(len(differences), 'place')}"))


@app.command()
def rollback(source: Source, target: Target, audit: AuditFile = DEFAULT_AUDIT) -> None:
    """Undo a migration that was stopped, and prove that TARGET is what it was; SOURCE is not read."""
    run(_rollback(source, target, Options(audit_path=audit)))
    say("undone: the target is what it was before, which was verified")


@app.command(name="load-rejects")
def load_rejects(
    file: Annotated[Path, typer.Argument(help="A file that --reject-to has written.", show_default=False)],
    target: Target,
    audit: AuditFile = DEFAULT_AUDIT,
    as_json: AsJson = False,
) -> None:
    """Bring rows that were set aside, and mended since, into TARGET; name those that still do not fit."""
    loading = run(_load_rejects(file, target, audit), as_json)
    if as_json:
        print_json(loading_as_data(loading))
    else:
        show_misfits(paper(), loading.misfits, loading.misfit_count)
        counts = (loading.loaded_count, loading.already_count, loading.misfit_count)
        say("loaded {:,}, there already {:,}, still not fitting {:,}".format(*counts))
    if loading.misfit_count:
        rows = counted(loading.misfit_count, "row")
        still = Rejected(
            f"{rows} still cannot go", where=str(file), next_step="Mend them and load the file again"
        )
        fail(still)


@app.command()
def log(
    file: Annotated[Path, typer.Argument(help="An audit log.", show_default=False)], as_json: AsJson = False
) -> None:
    """Show an audit log and check that no line was changed, lost or added."""
    reading = run(read_audit(file), as_json)
    if as_json:
        print_json(
            {
                "whole": reading.is_whole,
                "problems": [vars(problem) for problem in reading.problems],
                "events": [vars(event) for event in reading.events],
            }
        )
    else:
        show_log(paper(), reading)
    if not reading.is_whole:
        broken = "The audit log is not what was written"
        fail(Differs(broken, where=str(file), next_step="Do not rely on it"))


@app.command()
def selftest(as_json: AsJson = False) -> None:
    """Move a small database, damage one row of the copy, and see whether the proof notices."""
    seen = run(run_selftest(), as_json)
    (difference,) = seen.damaged.differences
    if as_json:
        print_json(
            {"intact": seen.intact.verdict, "damaged": seen.damaged.verdict, "difference": vars(difference)}
        )
    else:
        say(f"intact copy: {seen.intact.verdict}\ndamaged copy: {seen.damaged.verdict}: {difference}")
        say("passed: the damage was seen, and nothing else")


def _version(wanted: bool) -> None:
    if wanted:
        say(f"migration-bench {__version__}")
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
        screen().print(escape(redact(traceback.format_exc(), secrets)), highlight=False)
        mistake = MigrationError(
            f"This is a mistake in migration-bench itself, {type(error).__name__}",
            next_step="Please report it",
        )
        tell(mistake)
        sys.exit(UNFORESEEN)


# --- what the commands await ------------------------------------------------------------------------


async def _rehearse(source: str, wanted: Wanted, server: str | None) -> Outcome:
    options = wanted.options(accept_all=True)
    engine = server_named(server)
    async with open_database(source, is_source=True) as ours:
        # Before a server is started for it: is there something to rehearse with at all?
        await ours.schema()
        async with (
            throwaway_server(engine) as theirs_is,
            # Some servers come with tables of their own in the first database.
            fresh_database(engine, theirs_is.url) as url,
            open_database(url) as theirs,
        ):
            outcome = await _walk(ours, theirs, options)
            outcome.extra["server"] = f"{engine} {theirs_is.version} ({theirs_is.origin}), thrown away"
    if isinstance(outcome.error, Stopped):
        outcome.error = Stopped("Stopped on request", done="Nothing is kept of a rehearsal")
    if outcome.plan is not None:
        outcome.extra["to_accept"] = to_accept(outcome.plan, ())
    return outcome


async def _migrate(
    source: str, target: str, wanted: Wanted, others: dict[str, Any], save_plan: Path | None
) -> Outcome:
    options = wanted.options(**others)
    if save_plan is not None:
        raise UsageError(
            "--save-plan goes with --dry-run", next_step="Add --dry-run, or leave out --save-plan"
        )
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        outcome = await _walk(ours, theirs, options)
    outcome.extra["audit"] = str(options.audit_path)
    return outcome


async def _walk(ours: Database, theirs: Database, options: Options) -> Outcome:
    with progress_bars(screen()) as progress:
        service = DataMigrationService(ours, theirs, options=options, progress=progress)
        await service.migrate_data()
    return Outcome(service.report, service.plan, service.error)


async def _dry_run(
    source: str, target: str, wanted: Wanted, others: dict[str, Any], save_plan: Path | None
) -> tuple[Plan, Options]:
    options = wanted.options(**others)
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        with progress_bars(screen()) as progress:
            service = DataMigrationService(ours, theirs, options=options, progress=progress)
            plan = await service.make_plan()
        if save_plan is not None:
            chosen = options.choice.of(await ours.schema(), await theirs.schema())
            made_for = schema_fingerprints(chosen.schema)
            write_plan_file(save_plan, plan, options, made_for, (str(ours), str(theirs)))
    return plan, options


async def _verify(source: str, target: str, wanted: Wanted, rejects: Path | None) -> Outcome:
    choice = wanted.options().choice
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        with progress_bars(screen()) as progress:
            # Who does not answer now was named wrongly; what is lost later could not be looked at.
            for database in (ours, theirs):
                await database.facts()
            validator = MigrationValidator(ours, theirs, choice=choice, rejects=rejects, progress=progress)
            await validator.validate_schema_compatibility()
            await validator.validate_data_integrity()
    report = validator.report
    error: MigrationError | None = None
    if report.verdict == "differs":
        count = report.difference_count
        found = f"{counted(count, 'difference')} {'was' if count == 1 else 'were'} found"
        error = Differs(found, where=str(theirs))
    elif report.accounted:
        error = None if report.proved else endings.rejected(theirs, report.rejected_count, rejects)
    else:
        error = CouldNotLook(
            "Not everything could be read, so nothing is known of the rest", where=str(theirs)
        )
    return Outcome(report, None, error)


async def _diff(source: str, target: str, wanted: Wanted) -> tuple[Difference, ...]:
    choice = wanted.options().choice
    async with (
        open_database(source, is_source=True) as ours,
        open_database(target, is_source=True) as theirs,
    ):
        return compare_schemas(await ours.schema(), await theirs.schema(), choice)


async def _load_rejects(file: Path, target: str, audit: Path) -> Loading:
    rejected = RejectedRows(file)
    async with open_database(target) as theirs:
        journal = Journal(now, theirs.secrets)
        async with journal.kept_in(audit, uuid.uuid4().hex[:12]):
            try:
                return await load_file(rejected, theirs, journal)
            except asyncio.CancelledError:
                done = "Each table of the file is loaded whole, or not at all"
                again = "Load the file again; no row goes in twice"
                raise Stopped("Stopped on request", where=str(theirs), done=done, next_step=again) from None


async def _rollback(source: str, target: str, options: Options) -> None:
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        await DataMigrationService(ours, theirs, options=options).take_back()
