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

from migration import endings
from migration.backends import Snapshot
from migration.backup import Wish, make_backup
from migration.checkpoint import (
    WHOLE_RUN,
    Begun,
    Checkpoint,
    begun,
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
from migration.made import MADE, Made, note_made
from migration.making import make_rest, make_room
from migration.origin import (
    Origin,
    changed_since,
    check_same_origin,
    check_same_plan,
    moved_since,
    where_to_go_on,
)
from migration.payload import in_words
from migration.plan import Plan, Severity
from migration.progress import Progress, silent
from migration.rollback import Rollback
from migration.setting_aside import Judge, SettingAside, judged
from migration.survey import Survey, survey
from migration.trial import try_plan
from migration.undo import drop_traces, holds_checkpoints, note_before
from migration.validator import MigrationValidator
from migration.version import __version__

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
        self._made: Made | None = None
        self._target_backup: dict[str, str] = {}
        self._rollback = Rollback(target, self._journal, self._secrets)

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
        async with self._opened(self.source, self.target), self.target.lock(), self._rollback.ending():
            report = await self._walk()
        if not report.proved:
            raise endings.rejected(self.target, report.rejected_count, self.options.reject_to)
        return report

    async def make_plan(self) -> Plan:
        """Walk steps 1 to 4 and return the plan; nothing is touched."""
        async with self._looking() as snapshot:
            return (await self._look(snapshot)).plan

    async def take_back(self) -> None:
        """Undo the last migration into the target, and prove that it is what it was; the source is not asked.

        One that was interrupted is undone by what it has left in the target, one that came to its end by
        its audit log; see :meth:`migration.rollback.Rollback.on_demand`.

        Raises
        ------
        RollbackFailed
            When the target is not what it was, or others have written to it since.
        """
        await self._rollback.on_demand(self.options.audit_path, self.run_name)

    # --- the walk -------------------------------------------------------------------------------------

    async def _walk(self) -> Report:
        async with self._looking() as snapshot:
            found = await self._look_and_plan(snapshot)
            await self._back_up(found)
            await _to_its_end(self._prepare(found.plan))
            try:
                await self._copy(found.plan, snapshot)
                await self._finish(found.plan)
                await self._note_made()
                report = await self._prove(found.plan, snapshot)
            except Exception as error:
                raise await self._rollback.after(endings.as_told(error, self._secrets)) from error
        # Asked to stop when all is proved: then that is how it ends.
        with contextlib.suppress(asyncio.CancelledError):
            await _to_its_end(self._close(report))
        return report

    @contextlib.asynccontextmanager
    async def _looking(self) -> AsyncIterator[Snapshot]:
        """Open one moment of the source, after neither side was found to be damaged."""
        for database in (self.source, self.target):
            await database.examine(self.progress)
        # Before the moment is taken: what is written between the two is noticed, not missed.
        self._origin = await Origin.of(self.source)
        async with self.source.snapshot() as snapshot:
            yield snapshot

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
        if self._checkpoints:
            check_same_origin(self._checkpoints, self._origin)
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
        if self._checkpoints:
            check_same_plan(self._checkpoints, found.plan, await self.target.schema())
            self._checkpoints = where_to_go_on(
                self._checkpoints, found.plan, self.source.traits, self._origin.stamp
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
            wish = Wish(accept=self.options.accept)
            made = await make_backup(database, folder, self.clock, wish, self.progress)
            await self._log("backup", **made.event)
            if database is self.target:
                self._target_backup = {"path": str(made.path.absolute()), "sha256": made.sha256}

    async def _prepare(self, plan: Plan) -> None:
        """Step 6: the checkpoints, the rows put aside, and the tables that are missing."""
        is_atomic = self.target.traits.transactional_ddl
        resumes = self.options.resume
        if resumes:
            self._open_rejects(plan)
            self._rollback.is_written = True
            if self._begun.is_prepared:
                return
        else:
            there = [table.target for table in plan.tables if not table.is_new]
            before = await note_before(self.target, there)
            rejects = self._open_rejects(plan)
            self._checkpoints = first_checkpoints(
                plan, before, is_atomic=is_atomic, rejects=rejects, backup=self._target_backup,
                origin=self._origin.details(plan),
            )  # fmt: skip
        try:
            await make_room(self.target, plan, self._checkpoints, resumes=resumes)
        except PlanChanged:
            raise
        except Exception as error:
            # It may have happened, and only the answer was lost.
            if is_atomic and not await holds_checkpoints(self.target):
                raise
            raise await self._rollback.after(endings.as_told(error, self._secrets)) from error
        self._rollback.is_written = True
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

    async def _note_made(self) -> None:
        """Note what is there now, before it is proved: what is written later is nobody's of ours."""
        if self.options.audit_path is not None:
            self._made = await note_made(self.target, self.run_name)

    async def _prove(self, plan: Plan, snapshot: Snapshot) -> Report:
        """Step 9: every check, every row of both sides, read fresh.

        Where they differ and somebody has written to the source, the target is compared with the moment
        that was copied.
        """
        report = await self._compare(plan, None)
        if report.verdict == "differs" and await self.source.stamp() != self._origin.stamp:
            then = await self._compare(plan, snapshot)
            if then.accounted:
                report = dataclasses.replace(then, notes=(moved_since(report),))
                await self._log("source-moved", note=report.notes[0])
        self.report = report
        few = "; ".join(in_words(report)[:3])
        if report.verdict == "differs":
            why = changed_since(self._checkpoints, plan, self._origin.stamp) if self.options.resume else ""
            what = f"The target is not equal to the source: {few}" + (f". {why}" if why else "")
            raise Differs(what, where=str(self.target))
        if not report.accounted:
            raise CouldNotLook(f"The target could not be proved: {few}", where=str(self.target))
        return report

    async def _compare(self, plan: Plan, snapshot: Snapshot | None) -> Report:
        validator = MigrationValidator(
            self.source,
            self.target,
            plan=plan,
            rejects=self.options.reject_to,
            progress=self.progress,
            clock=self.clock,
            snapshot=snapshot,
        )
        await validator.validate_schema_compatibility()
        await validator.validate_data_integrity()
        await self._log("proof", **validator.get_validation_report())
        return validator.report

    async def _close(self, report: Report) -> None:
        """Step 10: the log says how it ended, and nothing of ours is left in the target."""
        try:
            if self._made is not None:
                await self._log(MADE, **self._made.details())
            await self._log(
                "proved" if report.proved else "rejected",
                tables=len(report.tables),
                rows=sum(table.source.row_count for table in report.tables),
                set_aside=report.rejected_count,
            )
        except MigrationError as error:
            raise endings.state_kept(error) from error
        try:
            await drop_traces(self.target, self._begun)
        except MigrationError as error:
            raise endings.maybe_closed(error) from error

    @property
    def _begun(self) -> Begun:
        return begun(self._checkpoints)

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
