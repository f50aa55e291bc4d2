"""The command: arguments in, one call of the service, an exit code out. Nothing else is decided here."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from migration import __version__
from migration.arguments import (
    DEFAULT_AUDIT,
    Accept,
    AsJson,
    AuditFile,
    BackedUp,
    Backup,
    BackupFolder,
    BackupPlace,
    DryRun,
    EmptyTarget,
    Excluded,
    Logical,
    Map,
    NotInBackup,
    PlanFile,
    Rejects,
    RejectTo,
    Resume,
    SavePlan,
    Server,
    Source,
    Tables,
    Target,
    TargetBackup,
    Types,
    Wanted,
)
from migration.audit import read_audit
from migration.backup import Wish
from migration.commands import (
    backed_up,
    compared,
    loaded,
    migrated,
    planned,
    rehearsed,
    restored,
    taken_back,
    verified,
)
from migration.display import show_backup, show_differences, show_log, show_misfits
from migration.errors import Differs, MigrationError, Rejected
from migration.load_rejects import loading_as_data
from migration.manifest import backup_as_data
from migration.memory import give_memory_back
from migration.outcome import (
    fail,
    finish,
    finish_dry,
    paper,
    print_json,
    run,
    say,
    screen,
    tell,
    tell_aside,
)
from migration.payload import counted
from migration.printable import escape
from migration.redaction import redact, secrets_of
from migration.selftest import selftest as run_selftest

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
    finish(run(rehearsed(source, wanted, server), as_json), as_json)


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
        finish_dry(*run(planned(source, target, wanted, others, save_plan), as_json), as_json)
    else:
        finish(run(migrated(source, target, wanted, others, save_plan), as_json), as_json)


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
    finish(run(verified(source, target, wanted, rejects), as_json), as_json)


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
    differences = run(compared(source, target, Wanted(tables, excluded, mapping, plan=plan)), as_json)
    if as_json:
        print_json([vars(difference) for difference in differences])
    elif differences:
        show_differences(paper(), differences, len(differences))
    else:
        say("The schemas say the same.")
    if differences:
        fail(Differs(f"The schemas differ in {counted(len(differences), 'place')}"))


@app.command()
def rollback(target: Target, audit: AuditFile = DEFAULT_AUDIT, backup: TargetBackup = None) -> None:
    """Undo the last migration into TARGET, stopped or proved, and prove that TARGET is what it was."""
    run(taken_back(target, audit, backup))
    say("undone: the target is what it was before, which was verified")


@app.command(name="backup")
def back_up(
    database: BackedUp,
    folder: BackupFolder,
    accept: NotInBackup,
    logical: Logical = False,
    as_json: AsJson = False,
) -> None:
    """Back DATABASE up into a new folder in FOLDER, read the backup whole, and write its manifest."""
    made = run(backed_up(database, folder, Wish(logical, tuple(accept))), as_json)
    if made.reason:
        tell_aside(f"The backup is of this program's own form: {made.reason}")
    if as_json:
        print_json(backup_as_data(made))
    else:
        show_backup(paper(), made, "backed up, and read to the end")
        say(f"{made.path}\nsha256 {made.sha256}")


@app.command()
def restore(backup: BackupPlace, target: EmptyTarget, as_json: AsJson = False) -> None:
    """Restore BACKUP into TARGET, an empty database, read everything back, and prove that it is equal."""
    made = run(restored(backup, target), as_json)
    if as_json:
        print_json({"restored": True, **backup_as_data(made)})
    else:
        show_backup(paper(), made, "restored and read back; digests, numbers and schema are equal")


@app.command(name="load-rejects")
def load_rejects(
    file: Annotated[Path, typer.Argument(help="A file that --reject-to has written.", show_default=False)],
    target: Target,
    audit: AuditFile = DEFAULT_AUDIT,
    as_json: AsJson = False,
) -> None:
    """Bring rows that were set aside, and mended since, into TARGET; name those that still do not fit."""
    loading = run(loaded(file, target, audit), as_json)
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
    give_memory_back()
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
