"""The main job as ten steps: open, lock, look, plan, back up, prepare, copy, finish, prove, close.

Resume, dry run and rehearsal are the same steps entered or left elsewhere; there is no second walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration import __version__
from migration.audit import Audit
from migration.backup import make_backup
from migration.checkpoint import (
    WHOLE_RUN,
    Checkpoint,
    before_of,
    check_same_plan,
    create_checkpoints,
    first_checkpoints,
    made_by,
    read_checkpoints,
    run_finished,
)
from migration.clock import Clock, now
from migration.copy import copy_tables
from migration.database import Database
from migration.difference import Report
from migration.errors import (
    Differs,
    HazardsNotAccepted,
    MigrationError,
    RollbackFailed,
    RolledBack,
    Stopped,
    TargetUnusable,
)
from migration.plan import Plan
from migration.progress import Progress, silent
from migration.redaction import secrets_of
from migration.survey import Survey, survey
from migration.trial import try_plan
from migration.undo import changed_since, drop_traces, note_before, save_rows, undo
from migration.validator import MigrationValidator


@dataclass(frozen=True)
class Options:
    """What the user decided: the names that differ, the hazards accepted, where backups and the log go.

    ``accept_all`` is for throw-away targets, where every hazard that can be accepted is, and is listed.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[str, ...] = ()
    accept_all: bool = False
    backup_folder: Path | None = None
    audit_path: Path | None = None
    resume: bool = False


class DataMigrationService:
    """Moves one database into another and proves it, or leaves the target as it was.

    Parameters
    ----------
    source, target
        The databases, open.
    options
        What the user decided.
    progress
        Told of every chunk.
    clock
        The time, for the audit log.
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        *,
        options: Options | None = None,
        progress: Progress = silent,
        clock: Clock = now,
    ) -> None:
        self.source, self.target = source, target
        self.options = options or Options()
        self.progress = progress
        self.clock = clock
        self.run_name = uuid.uuid4().hex[:12]
        self.plan: Plan | None = None
        self.report: Report | None = None
        self.error: MigrationError | None = None
        self.migration_log: list[dict[str, Any]] = []
        self._audit: Audit | None = None
        self._checkpoints: dict[str, Checkpoint] = {}
        self._is_written = False

    async def migrate_data(self, backup_path: str | Path | None = None) -> bool:
        """Tell whether everything arrived and is proved; :attr:`error` says why not.

        ``backup_path`` is the folder for backups, made before anything is written.
        """
        if backup_path is not None:
            self.options = dataclasses.replace(self.options, backup_folder=Path(backup_path))
        try:
            await self.migrate()
        except MigrationError as error:
            self.error = error
            return False
        return True

    def save_migration_log(self, path: str | Path) -> None:
        """Write what happened as a JSON list, oldest first."""
        Path(path).write_text(json.dumps(self.migration_log, indent=2, default=str) + "\n")

    async def migrate(self) -> Report:
        """Walk all ten steps and return the proof.

        Raises
        ------
        MigrationError
            With the exit code that says how it ended: refused, stopped, rolled back, or rollback failed.
        """
        async with self._opened(), self.target.lock():
            try:
                return await self._walk()
            except asyncio.CancelledError:
                await asyncio.shield(self._log("stopped", written=self._is_written))
                raise self._stopped() from None
            except MigrationError as error:
                await self._log("failed", error=str(error), exit_code=error.exit_code)
                raise

    async def make_plan(self) -> Plan:
        """Walk steps 1 to 4 and return the plan; nothing is touched."""
        async with self.source.snapshot() as snapshot:
            found = await survey(
                self.source, snapshot, self.target, self.options.mapping, self.options.accept, self.progress
            )
            return await try_plan(found.plan, self.target)

    async def take_back(self) -> None:
        """Undo an interrupted migration, and prove that the target is what it was.

        Raises
        ------
        RollbackFailed
            When it is not.
        """
        self.options = dataclasses.replace(self.options, resume=True, accept_all=True)
        async with self._opened(), self.target.lock():
            async with self.source.snapshot() as snapshot:
                await self._look_and_plan(snapshot)
            assert self.plan is not None
            check_same_plan(self._checkpoints.values(), self.plan)
            changed = await self._undo()
            if changed:
                raise RollbackFailed(
                    f"Undoing the migration left {', '.join(changed)} other than before", where=str(self.target),
                    done="Everything is kept as it is", next_step="Compare the target with its backup before it is used",
                )  # fmt: skip

    # --- the walk -------------------------------------------------------------------------------------

    async def _walk(self) -> Report:
        async with self.source.snapshot() as snapshot:
            found = await self._look_and_plan(snapshot)
            await self._back_up(found)
            await self._prepare()
            try:
                await self._copy(snapshot)
                await self._finish()
                report = await self._prove()
            except MigrationError as error:
                raise await self._take_back(error) from error
        await self._close(report)
        return report

    async def _look_and_plan(self, snapshot: Any) -> Survey:
        """Steps 3 and 4: what both sides are, what will be done, and what stands against it."""
        async with self.target.control() as connection:
            self._checkpoints = await read_checkpoints(connection)
        if bool(self._checkpoints) != self.options.resume:
            raise self._resume_mismatch()
        found = await survey(
            self.source,
            snapshot,
            self.target,
            self.options.mapping,
            self.options.accept,
            self.progress,
            leave_out_of_target=made_by(self._checkpoints),
            own_rows={name: c.own_row_count for name, c in self._checkpoints.items()} if self.options.resume else None,
        )
        plan = await try_plan(found.plan, self.target, is_begun=self.options.resume)
        self.plan = plan
        await self._log(
            "plan",
            fingerprint=plan.fingerprint,
            tables={table.target.name: table.row_count for table in plan.tables},
            hazards=[f"{hazard.name} {hazard.table} {hazard.column}".strip() for hazard in plan.hazards],
            accepted=list(self.options.accept),
            left_out=plan.left_out,
        )
        refused = () if self.options.accept_all else plan.refused(self.options.accept)
        refused = tuple(h for h in plan.refused(()) if h.severity.value == "blocking") or refused
        if refused:
            raise HazardsNotAccepted(
                f"{len(refused)} hazards stand against this migration: {'; '.join(_short(h) for h in refused[:3])}"
                + ("; ..." if len(refused) > 3 else ""),
                next_step="Read the plan (migrate --dry-run), mend what is blocking, and accept the rest by name",
            )
        return found

    async def _back_up(self, found: Survey) -> None:
        """Step 5: copies of what there is, opened and read before they are called backups."""
        folder = self.options.backup_folder
        if folder is None or self.options.resume:
            return
        databases = [self.source, self.target] if found.target_schema.tables else [self.source]
        for database in databases:
            made = await make_backup(database, folder, self.clock)
            await self._log("backup", database=str(database), path=str(made.path), sha256=made.sha256, bytes=made.byte_count)

    async def _prepare(self) -> None:
        """Step 6: the checkpoints, the rows put aside, and the tables that are missing."""
        assert self.plan is not None
        plan, writer = self.plan, self.target.writer
        if self.options.resume:
            check_same_plan(self._checkpoints.values(), plan)
            self._is_written = True
            return
        self._checkpoints = first_checkpoints(plan, await note_before(self.target, plan))
        async with self.target.changing() as connection:
            await create_checkpoints(connection, self._checkpoints.values())
            await save_rows(connection, plan, self.target)
            for table in plan.new_tables:
                for statement in writer.before_rows(table.target):
                    await connection.exec_driver_sql(statement)
        self._is_written = True
        await self._log("prepared", created=[table.target.name for table in plan.new_tables])

    async def _copy(self, snapshot: Any) -> None:
        """Step 7: rows and checkpoints, chunk by chunk."""
        assert self.plan is not None
        async with self.target.loader([table.target for table in self.plan.tables]) as loader:
            with self.source.told():
                copied = await copy_tables(
                    self.plan, snapshot, loader, self.source.traits, self._checkpoints, self.progress
                )
        await self._log("copied", rows={chunk.table: chunk.row_count for chunk in copied})

    async def _finish(self) -> None:
        """Step 8: what is made after the rows, and the numbers that new rows will get."""
        assert self.plan is not None
        plan, writer = self.plan, self.target.writer
        if self._checkpoints[WHOLE_RUN].is_finished:
            return
        async with self.target.changing() as connection:
            for make in (writer.after_rows, writer.foreign_keys):
                for table in plan.new_tables:
                    for piece in make(table.target):
                        await connection.exec_driver_sql(piece.statement)
            for view in plan.views:
                await connection.exec_driver_sql(writer.view(view).statement)
            for trigger in plan.triggers:
                await connection.exec_driver_sql(trigger.definition)
            for table in plan.tables:
                if table.next_number is not None:
                    await self.target.backend.set_next_number(connection, table.target, table.next_number)
                if self.target.traits.refresh_statistics is not None:
                    name = writer.quote(table.target.name)
                    await connection.exec_driver_sql(f"{self.target.traits.refresh_statistics} {name}")
            await connection.execute(run_finished())
        await self._log("finished", views=[view.name for view in plan.views])

    async def _prove(self) -> Report:
        """Step 9: every check, every row of both sides, read fresh."""
        validator = MigrationValidator(
            self.source, self.target, plan=self.plan, progress=self.progress, clock=self.clock
        )
        await validator.validate_schema_compatibility()
        await validator.validate_data_integrity()
        self.report = validator.report
        await self._log("proof", **validator.get_validation_report())
        if not self.report.proved:
            few = "; ".join(validator.validation_errors[:3])
            raise Differs(f"The target is not equal to the source: {few}", where=str(self.target))
        return self.report

    async def _close(self, report: Report) -> None:
        """Step 10: nothing of ours is left in the target, and the log says that it is proved."""
        assert self.plan is not None
        async with self.target.changing() as connection:
            await drop_traces(connection, self.plan, self.target)
        await self._log("proved", tables=len(report.tables), rows=sum(t.source.row_count for t in report.tables))

    # --- when it goes wrong ---------------------------------------------------------------------------

    async def _take_back(self, error: MigrationError) -> MigrationError:
        """Undo what was written, prove the undoing, and return the error that says which happened."""
        await self._log("undoing", error=str(error))
        try:
            changed = await self._undo()
        except TargetUnusable as failure:
            return Stopped(
                error.what, where=error.where, done=f"It could not be undone ({failure.what}); the state is kept",
                next_step="When the target answers again, go on with --resume, or undo it with 'migration rollback'",
            )  # fmt: skip
        if changed:
            return RollbackFailed(
                f"{error.what}. Undoing it left {', '.join(changed)} other than before", where=str(self.target),
                done="Everything is kept as it is", next_step="Compare the target with its backup before it is used",
            )  # fmt: skip
        return RolledBack(
            error.what, where=error.where, done="The target was put back as it was, which was verified",
            next_step=error.next_step or "Mend the cause and run it again",
        )  # fmt: skip

    async def _undo(self) -> list[str]:
        """Take everything back and return what is not as it was."""
        assert self.plan is not None
        before = before_of(self._checkpoints)
        await undo(self.target, self.plan, before)
        changed = await changed_since(self.target, self.plan, before)
        await self._log("undone", not_as_before=changed)
        return changed

    def _stopped(self) -> Stopped:
        if not self._is_written:
            return Stopped("Stopped on request", done="Nothing was written to the target", next_step="Run it again")
        return Stopped(
            "Stopped on request", where=str(self.target), done="What was copied is kept, with its checkpoints",
            next_step="Go on with --resume, or undo it with 'migration rollback'",
        )  # fmt: skip

    def _resume_mismatch(self) -> MigrationError:
        if self.options.resume:
            return HazardsNotAccepted(
                "There is nothing to resume: the target holds no checkpoints", where=str(self.target),
                next_step="Run it without --resume",
            )  # fmt: skip
        return HazardsNotAccepted(
            "The target holds an interrupted migration", where=str(self.target),
            next_step="Go on with --resume, or undo it with 'migration rollback'",
        )  # fmt: skip

    # --- the log --------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _opened(self) -> Any:
        """Steps 1 and 2: both databases answer, and the log is begun."""
        secrets = [*secrets_of(self.source.url), *secrets_of(self.target.url)]
        facts = {"source": await self.source.facts(), "target": await self.target.facts()}
        if self.options.audit_path is None:
            yield
            return
        async with await Audit.open(
            self.options.audit_path, clock=self.clock, run=self.run_name, secrets=secrets
        ) as audit:
            self._audit = audit
            await self._log("opened", version=__version__, source=str(self.source), target=str(self.target), **facts)
            yield

    async def _log(self, name: str, **details: Any) -> None:
        """Write to the audit log; one that cannot be written stops the job."""
        self.migration_log.append({"timestamp": self.clock().isoformat(), "message": name, "details": details})
        if self._audit is not None:
            await self._audit.write(name, **details)


def _short(hazard: Any) -> str:
    place = f"{hazard.table}.{hazard.column}" if hazard.column else hazard.table
    count = f" ({hazard.count:,})" if hazard.count else ""
    return f"{hazard.name} in {place}{count}"
