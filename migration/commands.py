"""What the commands await: databases are opened, the job is done, and what came of it is returned."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

from migration import endings
from migration.arguments import Wanted, server_named
from migration.backup import BackupMade, Wish, make_backup, restore_backup
from migration.choice import Options, schema_fingerprints
from migration.clock import now
from migration.database import Database, open_database
from migration.difference import Difference
from migration.display import progress_bars
from migration.errors import CouldNotLook, Differs, MigrationError, Stopped, UsageError
from migration.journal import Journal
from migration.load_rejects import Loading, load_rejects
from migration.outcome import Outcome, screen, tell_aside
from migration.payload import counted, to_accept
from migration.plan import Plan
from migration.plan_file import write_plan_file
from migration.rejects import RejectedRows
from migration.rollback import Rollback
from migration.schema_difference import compare_schemas
from migration.servers import fresh_database, throwaway_server
from migration.service import DataMigrationService
from migration.validator import MigrationValidator


async def rehearsed(source: str, wanted: Wanted, server: str | None) -> Outcome:
    """Migrate into a server that is thrown away, accepting all that can be accepted."""
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


async def migrated(
    source: str, target: str, wanted: Wanted, others: dict[str, Any], save_plan: Path | None
) -> Outcome:
    """Migrate; ``others`` are options beside those that choose what goes."""
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
    _tell_of_backups(service.migration_log)
    return Outcome(service.report, service.plan, service.error)


def _tell_of_backups(log: list[dict[str, Any]]) -> None:
    """Say which backups are of another form than was expected, or were made while somebody wrote."""
    for entry in log:
        details = entry["details"]
        if entry["message"] == "backup" and details.get("reason"):
            tell_aside(f"{details['database']} was backed up in this program's own form: {details['reason']}")
        if entry["message"] == "backup" and details.get("written_to"):
            tables = ", ".join(details["written_to"])
            tell_aside(f"{details['database']} was written to while it was backed up: {tables}")


async def backed_up(url: str, folder: Path, wish: Wish) -> BackupMade:
    """Back a database up."""
    async with open_database(url, is_source=True) as database:
        with progress_bars(screen()) as progress:
            return await make_backup(database, folder, now, wish, progress)


async def restored(path: Path, url: str) -> BackupMade:
    """Restore a backup into an empty database, and prove it."""
    async with open_database(url) as database:
        with progress_bars(screen()) as progress:
            return await restore_backup(path, database, progress)


async def planned(
    source: str, target: str, wanted: Wanted, others: dict[str, Any], save_plan: Path | None
) -> tuple[Plan, Options]:
    """Return the plan of a migration and the options it is made with; write it to a file, if asked."""
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


async def verified(source: str, target: str, wanted: Wanted, rejects: Path | None) -> Outcome:
    """Compare every row of both."""
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


async def compared(source: str, target: str, wanted: Wanted) -> tuple[Difference, ...]:
    """Compare the two schemas."""
    choice = wanted.options().choice
    async with (
        open_database(source, is_source=True) as ours,
        open_database(target, is_source=True) as theirs,
    ):
        return compare_schemas(await ours.schema(), await theirs.schema(), choice)


async def loaded(file: Path, target: str, audit: Path) -> Loading:
    """Bring in rows that were set aside."""
    rejected = RejectedRows(file)
    async with open_database(target) as theirs:
        journal = Journal(now, theirs.secrets)
        async with journal.kept_in(audit, uuid.uuid4().hex[:12]):
            try:
                return await load_rejects(rejected, theirs, journal)
            except asyncio.CancelledError:
                done = "Each table of the file is loaded whole, or not at all"
                again = "Load the file again; no row goes in twice"
                raise Stopped("Stopped on request", where=str(theirs), done=done, next_step=again) from None


async def taken_back(target: str, audit: Path, backup: Path | None) -> None:
    """Undo the last migration into a database."""
    async with open_database(target) as theirs:
        rollback = Rollback(theirs, Journal(now, theirs.secrets), theirs.secrets)
        await rollback.on_demand(audit, uuid.uuid4().hex[:12], backup)
