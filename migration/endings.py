"""How a migration can end other than proved: each ending as the error that says what to do next."""

from __future__ import annotations

from migration.database import Database
from migration.errors import (
    HazardsNotAccepted,
    MigrationError,
    PlanChanged,
    Refused,
    Rejected,
    RollbackFailed,
    RolledBack,
    Stopped,
)
from migration.payload import how_to_accept
from migration.plan import Hazard, Plan
from migration.redaction import scrub

GO_ON_OR_BACK = "Go on with --resume, or undo it with 'migration rollback'"
UNDO = "Undo it with 'migration rollback'"
# More hazards than this in one sentence are counted, not named; the plan has all of them.
NAMED_HAZARDS = 3
NAMED_CHANGES = 5


def as_told(error: Exception, secrets: tuple[str, ...]) -> MigrationError:
    """Return an error with a sentence; one that nobody foresaw must be undone like any other."""
    if isinstance(error, MigrationError):
        return error
    return MigrationError(f"An unforeseen error, {type(error).__name__}: {scrub(str(error), secrets)}")


def refused(plan: Plan, hazards: tuple[Hazard, ...], accept: tuple[str, ...]) -> HazardsNotAccepted:
    """The plan would lose or change what nobody accepted."""
    named = "; ".join(_short(hazard) for hazard in hazards[:NAMED_HAZARDS])
    more = len(hazards) - NAMED_HAZARDS
    return HazardsNotAccepted(
        f"Refused, because of {named}" + (f" and {more} more" if more > 0 else ""),
        next_step=how_to_accept(plan, accept),
    )


def onto_itself(target: Database) -> Refused:
    """Source and target are one database."""
    return Refused(
        "The source and the target are the same database", where=str(target), next_step="Name another target"
    )


def under_way(target: Database) -> Refused:
    """Somebody began a migration and did not end it."""
    return Refused("The target holds an interrupted migration", where=str(target), next_step=GO_ON_OR_BACK)


def half_undone(target: Database) -> Refused:
    """Somebody began to undo a migration, and part of it is gone already."""
    return Refused(
        "The migration in the target was being undone, so it cannot be gone on with",
        where=str(target),
        next_step=UNDO,
    )


def made_meanwhile(target: Database, tables: list[str]) -> PlanChanged:
    """Somebody has made tables that the plan was going to make."""
    return PlanChanged(
        f"Since the plan was made, somebody has made {', '.join(tables)}",
        where=str(target),
        next_step="Run it again; the plan is made anew",
    )


def nothing_there(target: Database, wanted: str) -> Refused:
    """There is no migration to go on with, or to undo."""
    return Refused(
        f"There is nothing to {wanted}: the target holds no checkpoints"
        + (", and the audit log tells of no migration into it" if wanted == "undo" else ""),
        where=str(target),
        next_step="Run it without --resume"
        if wanted == "resume"
        else "Name with --audit the log of a migration that went into it",
    )


def other_database(target: Database) -> Refused:
    """The log tells of a migration into another database, which was called so then."""
    return Refused(
        "There is nothing to undo: the migration in this audit log went into another database of this name",
        where=str(target),
        next_step="Name the database that it went into, or that one's audit log",
    )


def undone_already(target: Database, when: str) -> Refused:
    """The last migration was undone, and another one is nobody's wish."""
    return Refused(
        f"The last migration in this audit log is already undone, since {when}",
        where=str(target),
        next_step="There is nothing more to do",
    )


def not_told(target: Database) -> RollbackFailed:
    """The log does not have all that was meant to be written there."""
    return RollbackFailed(
        "The migration cannot be undone: its audit log does not tell all of it",
        where=str(target),
        done="Nothing was touched",
        next_step="Another version wrote it, or a name in the target looks like a secret and was blotted "
        "out; undo it by hand, with the target's backup",
    )


def written_to(target: Database, written: list[str], backup: str) -> RollbackFailed:
    """Others have written to the target since, and that would be lost."""
    named = ", ".join(written[:NAMED_CHANGES])
    more = len(written) - NAMED_CHANGES
    where = f"the target's backup, {backup}," if backup else "a backup of your own"
    return RollbackFailed(
        f"Since the migration, others have written to the target: {named}"
        + (f" and {more} more" if more > 0 else ""),
        where=str(target),
        done="Nothing was touched: what was migrated is still there, and so is what was written since",
        next_step="Take back by hand what was written since, and run 'migration rollback' again; or restore "
        f"{where} into another database, and carry over what was written since",
    )


def never_backed_up(target: Database, tables: list[str]) -> RollbackFailed:
    """Rows were replaced, and nobody has kept them."""
    return RollbackFailed(
        f"The migration has replaced rows of {', '.join(tables)}, and was run without --backup",
        where=str(target),
        done="Nothing was touched: what was migrated is still there",
        next_step="These rows can only come from a backup of your own; bring them back by hand",
    )


def not_begun_to_undo(target: Database, failure: MigrationError) -> RollbackFailed:
    """The rows that were replaced cannot be had from the backup."""
    place = f" ({failure.where})" if failure.where else ""
    return RollbackFailed(
        f"The migration cannot be undone: {failure.what}{place}",
        where=str(target),
        done="Nothing was touched: what was migrated is still there",
        next_step=failure.next_step or "Remove the cause, and run 'migration rollback' again",
    )


def rejected(target: Database, count: int, path: object) -> Rejected:
    """All that could go arrived, and is proved; the rest is in the file."""
    rows = "1 row was" if count == 1 else f"{count:,} rows were"
    return Rejected(
        f"{rows} set aside",
        where=str(target),
        done=f"They are in {path}, whole; all the others arrived, which was verified",
        next_step="Mend them there, and bring them in with 'migration load-rejects'",
    )


def other_file(target: Database, *, is_begun_with_one: bool) -> Refused:
    """Rows are set aside in one file from the beginning to the end of a run, or not at all."""
    how = "with --reject-to" if is_begun_with_one else "without --reject-to"
    return Refused(
        f"The migration in the target was begun {how}",
        where=str(target),
        next_step="Go on with the same file" if is_begun_with_one else "Go on without it",
    )


def stopped(target: Database, *, is_written: bool, is_undoing: bool) -> Stopped:
    """Somebody asked for it to stop."""
    if is_undoing:
        done, next_step = "It was being undone, and part of it is", UNDO
    elif is_written:
        done, next_step = "What was copied is kept, with its checkpoints", GO_ON_OR_BACK
    else:
        done, next_step = "Nothing was written to the target", "Run it again"
    return Stopped("Stopped on request", where=str(target), done=done, next_step=next_step)


def state_kept(error: MigrationError) -> Stopped:
    """Going on is not possible, and undoing is not either, or not wanted."""
    return Stopped(
        error.what,
        where=error.where,
        done="What was written is kept, with its checkpoints",
        next_step=GO_ON_OR_BACK,
    )


def maybe_closed(error: MigrationError) -> Stopped:
    """All is proved and on record; whether the checkpoints are gone, the target does not say."""
    return Stopped(
        error.what,
        where=error.where,
        done="All had arrived, which was proved; whether its checkpoints are gone is not known",
        next_step="When the target answers again, go on with --resume; where there is nothing to resume, it "
        "had come to its end",
    )


def rolled_back(error: MigrationError) -> RolledBack:
    """It failed, and the target is what it was."""
    return RolledBack(
        error.what,
        where=error.where,
        done="The target was put back as it was, which was verified",
        next_step=error.next_step or "Mend the cause and run it again",
    )


def other_than_before(target: Database, changed: list[str]) -> RollbackFailed:
    """It was undone, and the target is not what it was."""
    return RollbackFailed(
        f"Undoing the migration left {', '.join(changed)} other than before",
        where=str(target),
        done="The rows that were put aside are kept, and so are the checkpoints",
        next_step="Compare the target with its backup; once it is mended, 'migration rollback' verifies it",
    )


def never_begun(target: Database, failure: MigrationError) -> Refused:
    """It failed before the target held anything of it, and even that could not be cleaned up after."""
    return Refused(
        f"Cleaning up failed, too: {failure.what}",
        where=str(target),
        done="Nothing of the migration had begun; an empty table of checkpoints may be left, which the next "
        "run uses",
        next_step="Remove the cause and run it again",
    )


def not_undone(target: Database, failure: MigrationError, *, answers: bool) -> MigrationError:
    """It could not be undone: the target is away, or it refuses."""
    if not answers:
        return Stopped(
            f"The migration could not be undone: {failure.what}",
            where=str(target),
            done="The state is kept",
            next_step=f"When the target answers again: {GO_ON_OR_BACK[0].lower()}{GO_ON_OR_BACK[1:]}",
        )
    return RollbackFailed(
        f"The migration could not be undone: {failure.what}",
        where=str(target),
        done="What is left of it is kept, with its checkpoints",
        next_step="Remove the cause, and run 'migration rollback' again",
    )


def after(error: MigrationError, failure: MigrationError) -> MigrationError:
    """Say what failed first before what failed then; the second decides how it ended."""
    return type(failure)(
        f"{error.what}. {failure.what}",
        where=failure.where,
        done=failure.done,
        next_step=failure.next_step,
    )


def _short(hazard: Hazard) -> str:
    place = f"{hazard.table}.{hazard.column}" if hazard.column else hazard.table
    count = f" ({hazard.count:,})" if hazard.count else ""
    return f"{hazard.name} in {place}{count}"
