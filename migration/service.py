"""The main job as ten steps: open, lock, look, plan, back up, prepare, copy, finish, prove, close.

Resume, dry run and rehearsal are the same steps entered or left elsewhere; there is no second walk.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import uuid
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from migration import __version__, endings
from migration.backends import Snapshot
from migration.backup import make_backup
from migration.checkpoint import (
    WHOLE_RUN,
    Begun,
    Checkpoint,
    begun,
    check_same_plan,
    first_checkpoints,
    read_checkpoints,
)
from migration.choice import Options
from migration.clock import Clock, now
from migration.copy import copy_tables
from migration.database import Database
from migration.difference import Report
from migration.errors import AuditUnusable, CouldNotLook, Differs, MigrationError, PlanChanged
from migration.journal import Journal
from migration.making import make_rest, make_room
from migration.plan import Plan, Severity
from migration.progress import Progress, silent
from migration.setting_aside import Judge, SettingAside, judged
from migration.survey import Survey, survey
from migration.trial import try_plan
from migration.undo import drop_traces, note_before, undo
from migration.validator import MigrationValidator

_Result = TypeVar("_Result")


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
        self._secrets = (*source.secrets, *target.secrets)
        self._journal = Journal(clock, self._secrets)
        self._log = self._journal.write
        self.migration_log = self._journal.entries
        self._checkpoints: dict[str, Checkpoint] = {}
        self._judge: Judge | None = None
        self._setting_aside: SettingAside | None = None
        self._is_written = False
        self._is_undoing = False

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
        Path(path).write_text(json.dumps(self.migration_log, indent=2) + "\n")

    async def migrate(self) -> Report:
        """Walk all ten steps and return the proof.

        Raises
        ------
        MigrationError
            With the exit code that says how it ended: refused, stopped, rolled back, or rollback failed.
        """
        if self.source.is_same_as(self.target):
            raise endings.onto_itself(self.target)
        async with self._opened(self.source, self.target), self.target.lock(), self._ending():
            report = await self._walk()
        if not report.proved:
            raise endings.rejected(self.target, report.rejected_count, self.options.reject_to)
        return report

    async def make_plan(self) -> Plan:
        """Walk steps 1 to 4 and return the plan; nothing is touched."""
        async with self.source.snapshot() as snapshot:
            return (await self._look(snapshot)).plan

    async def take_back(self) -> None:
        """Undo an interrupted migration, and prove that the target is what it was; the source is not asked.

        Raises
        ------
        RollbackFailed
            When it is not.
        """
        async with self._opened(self.target), self.target.lock(), self._ending():
            async with self.target.control() as connection:
                if not await read_checkpoints(connection):
                    raise endings.nothing_there(self.target, "undo")
            await self._undo()

    # --- the walk -------------------------------------------------------------------------------------

    async def _walk(self) -> Report:
        async with self.source.snapshot() as snapshot:
            found = await self._look_and_plan(snapshot)
            await self._back_up(found)
            await _to_its_end(self._prepare(found.plan))
            try:
                await self._copy(found.plan, snapshot)
                await self._finish(found.plan)
                report = await self._prove(found.plan)
            except Exception as error:
                raise await self._take_back(endings.as_told(error, self._secrets)) from error
        # Asked to stop when all is proved: then that is how it ends.
        with contextlib.suppress(asyncio.CancelledError):
            await _to_its_end(self._close(report))
        return report

    async def _look(self, snapshot: Snapshot) -> Survey:
        """Read both sides, what an interrupted run has left included, and plan."""
        async with self.target.control() as connection:
            self._checkpoints = await read_checkpoints(connection)
        run = begun(self._checkpoints)
        if self.options.resume and not self._checkpoints:
            raise endings.nothing_there(self.target, "resume")
        if self._checkpoints and not self.options.resume:
            raise endings.under_way(self.target)
        if run.is_undoing:
            raise endings.half_undone(self.target)
        if self._checkpoints and bool(run.rejects) != bool(self.options.reject_to):
            raise endings.other_file(self.target, is_begun_with_one=bool(run.rejects))
        found = await survey(
            self.source,
            snapshot,
            self.target,
            self.options.choice,
            self.options.accept,
            self.progress,
            run,
        )
        if not found.plan.can_be_made:
            return found
        plan = await try_plan(found.plan, self.target, found.target_schema, run)
        if self.options.reject_to is not None:
            judge = Judge.of(plan, self.source.traits, self.target.traits)
            plan, self._judge = await judged(plan, snapshot, judge, self.progress), judge
        return dataclasses.replace(found, plan=plan)

    async def _look_and_plan(self, snapshot: Snapshot) -> Survey:
        """Steps 3 and 4: what both sides are, what will be done, and what stands against it."""
        found = await self._look(snapshot)
        plan = self.plan = found.plan
        await self._log(
            "plan",
            fingerprint=plan.fingerprint,
            tables={table.target.name: table.row_count for table in plan.tables},
            hazards=[f"{hazard.name} {hazard.table} {hazard.column}".strip() for hazard in plan.hazards],
            accepted=list(self.options.accept),
            left_out=plan.left_out,
        )
        refused = plan.refused(self.options.accept)
        if self.options.accept_all:
            refused = tuple(hazard for hazard in refused if hazard.severity is Severity.BLOCKING)
        if refused:
            raise endings.refused(plan, refused, self.options.accept)
        return found

    async def _back_up(self, found: Survey) -> None:
        """Step 5: copies of what there is, opened and read before they are called backups."""
        folder = self.options.backup_folder
        if folder is None or self.options.resume:
            return
        databases = [self.source, self.target] if found.target_schema.tables else [self.source]
        for database in databases:
            made = await make_backup(database, folder, self.clock)
            await self._log(
                "backup",
                database=str(database),
                path=str(made.path),
                sha256=made.sha256,
                bytes=made.byte_count,
            )

    async def _prepare(self, plan: Plan) -> None:
        """Step 6: the checkpoints, the rows put aside, and the tables that are missing."""
        is_atomic = self.target.traits.transactional_ddl
        resumes = self.options.resume
        if resumes:
            check_same_plan(self._checkpoints.values(), plan)
            self._open_rejects(plan)
            self._is_written = True
            if self._begun.is_prepared:
                return
        else:
            there = [table.target for table in plan.tables if not table.is_new]
            before = await note_before(self.target, there)
            rejects = self._open_rejects(plan)
            self._checkpoints = first_checkpoints(plan, before, is_atomic=is_atomic, rejects=rejects)
        try:
            await make_room(self.target, plan, self._checkpoints, resumes=resumes)
        except PlanChanged:
            raise
        except Exception as error:
            if is_atomic:
                raise
            raise await self._take_back(endings.as_told(error, self._secrets)) from error
        self._is_written = True
        try:
            await self._log("prepared", created=[table.target.name for table in plan.new_tables])
        except AuditUnusable as error:
            raise endings.state_kept(error) from error

    def _open_rejects(self, plan: Plan) -> str:
        """Make the file for rows that are set aside, or go on with it, and return its name, if any."""
        path, whose = self.options.reject_to, (self.run_name, str(self.source), str(self.target))
        if path is None or self._judge is None:
            return ""
        self._setting_aside = SettingAside.at(path, self._judge, plan, self._checkpoints, whose)
        return self._setting_aside.file.name

    async def _copy(self, plan: Plan, snapshot: Snapshot) -> None:
        """Step 7: rows and checkpoints, chunk by chunk."""
        async with self.target.loader([table.target for table in plan.tables]) as loader:
            copied = await copy_tables(
                plan,
                snapshot,
                loader,
                self.source.traits,
                self._checkpoints,
                self.progress,
                self._setting_aside,
            )
        await self._log("copied", rows={chunk.table: chunk.row_count for chunk in copied})

    async def _finish(self, plan: Plan) -> None:
        """Step 8: what is made after the rows, and the numbers that new rows will get."""
        if self._checkpoints[WHOLE_RUN].is_finished:
            return
        await make_rest(self.target, plan)
        await self._log("finished", views=[view.name for view in plan.views])

    async def _prove(self, plan: Plan) -> Report:
        """Step 9: every check, every row of both sides, read fresh."""
        validator = MigrationValidator(
            self.source,
            self.target,
            plan=plan,
            rejects=self.options.reject_to,
            progress=self.progress,
            clock=self.clock,
        )
        await validator.validate_schema_compatibility()
        await validator.validate_data_integrity()
        self.report = report = validator.report
        await self._log("proof", **validator.get_validation_report())
        few = "; ".join(validator.validation_errors[:3])
        if report.verdict == "differs":
            raise Differs(f"The target is not equal to the source: {few}", where=str(self.target))
        if not report.accounted:
            raise CouldNotLook(f"The target could not be proved: {few}", where=str(self.target))
        return report

    async def _close(self, report: Report) -> None:
        """Step 10: the log says how it ended, and nothing of ours is left in the target."""
        try:
            await self._log(
                "proved" if report.proved else "rejected",
                tables=len(report.tables),
                rows=sum(table.source.row_count for table in report.tables),
                set_aside=report.rejected_count,
            )
            async with self.target.changing() as connection:
                await drop_traces(connection, self.target, self._begun)
        except MigrationError as error:
            raise endings.state_kept(error) from error

    @property
    def _begun(self) -> Begun:
        return begun(self._checkpoints)

    # --- when it goes wrong ---------------------------------------------------------------------------

    async def _take_back(self, error: MigrationError) -> MigrationError:
        """Undo what was written, prove the undoing, and return the error that says which happened."""
        try:
            # Nothing may happen that is not on record, and undoing is no exception.
            if isinstance(error, AuditUnusable):
                return endings.state_kept(error)
            await self._log("undoing", error=str(error))
            await self._undo()
        except AuditUnusable as silence:
            return endings.after(error, endings.state_kept(silence))
        except MigrationError as failure:
            return endings.after(error, failure)
        return endings.rolled_back(error)

    async def _undo(self) -> None:
        """Take everything back, or raise the error that says what is left.

        Raises
        ------
        RollbackFailed
            When the target answers, and is not what it was.
        Stopped
            When the target does not answer: then the state is kept.
        """
        self._is_undoing = True
        try:
            changed = await undo(self.target)
        except Exception as error:
            failure = endings.as_told(error, self._secrets)
            raise endings.not_undone(self.target, failure, answers=await self._target_answers()) from error
        await self._log("undone", not_as_before=changed)
        if changed:
            raise endings.other_than_before(self.target, changed)

    async def _target_answers(self) -> bool:
        try:
            await self.target.facts()
        except MigrationError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        """Put on record how it ends, and turn a request to stop into an error that says what is left."""
        try:
            yield
        except asyncio.CancelledError:
            ended = endings.stopped(self.target, is_written=self._is_written, is_undoing=self._is_undoing)
            await self._journal.write_last("stopped", error=str(ended), exit_code=ended.exit_code)
            raise ended from None
        except MigrationError as error:
            await self._journal.write_last("failed", error=str(error), exit_code=error.exit_code)
            raise

    @contextlib.asynccontextmanager
    async def _opened(self, *databases: Database) -> AsyncIterator[None]:
        """Steps 1 and 2: the databases answer, and the log is begun."""
        facts = {
            "source_facts" if database is self.source else "target_facts": await database.facts()
            for database in databases
        }
        async with self._journal.kept_in(self.options.audit_path, self.run_name):
            names = {"source": str(self.source), "target": str(self.target)}
            await self._log("opened", version=__version__, **names, **facts)
            yield


async def _to_its_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Await a piece of work that must not be left half done; who asks to stop meanwhile is heard after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.result()
        raise
