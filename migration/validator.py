"""Proves, or finds what differs: runs every check, reads every row of both sides, holds the report."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from migration.backends import Snapshot
from migration.checks import AFTER_CLOSING, AFTER_CONTENT, COUNT_CHECKS, SCHEMA_CHECKS, Check, Proof
from migration.choice import Choice
from migration.clock import Clock, now, stamp
from migration.database import Database
from migration.difference import CheckResult, Difference, Report, TableComparison
from migration.digest import Digest
from migration.errors import MigrationError, PlanChanged, UsageError
from migration.payload import in_words, report_as_data
from migration.plan import Plan
from migration.progress import Progress, silent
from migration.rejects import RejectedRows
from migration.survey import survey
from migration.verify import Side, Sum, compare_table, sum_table

LEFT_BEHIND = "the target has no such column, which was accepted"


class MigrationValidator:
    """Compares two databases: their schemas, and every row and column of both.

    Parameters
    ----------
    source, target
        The databases; the target is only read, but for inserts that are taken back.
    plan
        What was meant to go where; made by looking at both when not given.
    mapping
        Names that differ between the two, as in :func:`migration.plan.pair_tables`.
    choice
        What is compared, where that is not everything; holds a mapping of its own.
    rejects
        The file of rows that were set aside: each row of the source must be there, or in the target.
    snapshot
        Of the source, to compare with its moment instead of with what the source is now.
    """

    # Two databases, what is known of them, and whom to tell: no two belong together.
    def __init__(  # noqa: PLR0913
        self,
        source: Database,
        target: Database,
        *,
        plan: Plan | None = None,
        mapping: Mapping[str, str] | None = None,
        choice: Choice | None = None,
        rejects: Path | None = None,
        progress: Progress = silent,
        clock: Clock = now,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.source, self.target = source, target
        self.plan = plan
        self._choice = choice or Choice(mapping=mapping or {})
        self._rejects = rejects
        self._progress = progress
        self._clock = clock
        self._snapshot = snapshot
        self._tables: list[TableComparison] = []
        self._checks: dict[str, CheckResult] = {}
        self._could_not_look: dict[str, str] = {}
        # Columns that stay behind were accepted with the plan; where there is none, nobody has accepted them.
        self._is_plan_given = plan is not None

    async def validate_schema_compatibility(self) -> bool:
        """Tell whether the target has every planned table, column, key, index, foreign key and view."""
        with self._looking("both sides"):
            async with self._proof() as proof:
                await self._run(SCHEMA_CHECKS, proof)
        return not self.validation_errors

    async def validate_data_integrity(self) -> bool:
        """Tell whether both sides hold the same: every row and column of both is read and compared."""
        with self._looking("both sides"):
            async with self._proof() as proof:
                await self._run(COUNT_CHECKS, proof)
                await self._compare(proof)
                await self._run(AFTER_CONTENT, proof)
            # A view that is open would keep the insert of this check waiting.
            await self._run(AFTER_CLOSING, proof)
        return self.report.proved

    @property
    def report(self) -> Report:
        """What was found so far."""
        plan = self.plan or Plan(())
        planned = tuple(table.target.name for table in plan.tables)
        accepted = _left_behind(plan) if self._is_plan_given else ()
        return Report(
            # Before anybody has looked, something is planned that was not read: so nothing is proved.
            planned=planned if self.plan is not None else ("everything",),
            tables=tuple(self._tables),
            checks=tuple(self._checks.values()),
            could_not_look=tuple(self._could_not_look.values()),
            left_out=plan.left_out | {f"{table}.{column}": LEFT_BEHIND for table, column in accepted},
        )

    @property
    def validation_errors(self) -> list[str]:
        """Every difference that is named, and everything that could not be looked at, in words."""
        return in_words(self.report)

    def get_validation_report(self) -> dict[str, Any]:
        """Return the report as plain data, ready to be written as JSON.

        ``timestamp`` and the keys of :func:`migration.payload.report_as_data`.
        """
        return {"timestamp": stamp(self._clock()), **report_as_data(self.report)}

    @contextlib.asynccontextmanager
    async def _proof(self) -> AsyncIterator[Proof]:
        """Open both sides freshly, and plan when nobody has."""
        async with contextlib.AsyncExitStack() as stack:
            ours = self._snapshot
            if ours is None:
                ours = await stack.enter_async_context(self.source.snapshot())
            if self.plan is None:
                found = await survey(self.source, ours, self.target, self._choice, (), self._progress, None)
                self.plan = found.plan
            target_schema = await self.target.schema()
            rejected = None if self._rejects is None else RejectedRows(self._rejects)
            async with self.target.snapshot() as theirs:
                yield Proof(
                    plan=self.plan,
                    target_schema=target_schema,
                    source=Side("source", ours, self.source.traits),
                    target=Side("target", theirs, self.target.traits, rejected),
                    target_database=self.target,
                    left_behind=() if self._is_plan_given else _left_behind(self.plan),
                )

    async def _run(self, checks: Sequence[Check], proof: Proof) -> None:
        for check in checks:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            with self._looking(name):
                self._checks[name] = await check(proof)

    async def _compare(self, proof: Proof) -> None:
        """Compare every planned table; one that cannot be read leaves the others to be compared."""
        self._tables = []
        there = {table.target.name for table in proof.tables}
        for table in proof.plan.tables:
            name = table.target.name
            with self._looking(f"content of {name}"):
                if name not in there:
                    ours = await sum_table(table, proof.source, self._progress)
                    self._tables.append(_all_missing(name, ours))
                else:
                    comparison, *sums = await compare_table(table, proof.source, proof.target, self._progress)
                    self._tables.append(comparison)
                    proof.sums[name] = (sums[0], sums[1])

    @contextlib.contextmanager
    def _looking(self, what: str) -> Iterator[None]:
        """Note what could not be looked at, which is never the same as having found it equal or not."""
        self._could_not_look.pop(what, None)
        try:
            yield
        except (UsageError, PlanChanged):
            raise
        except MigrationError as error:
            self._could_not_look[what] = f"{what}: {error}"


def _left_behind(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Name the columns of the source that no column of the target takes."""
    return tuple(
        (table.source.name, column.name)
        for table in plan.tables
        for column in table.source.columns
        if column.name not in {planned.source.name for planned in table.columns}
    )


def _all_missing(table: str, ours: Sum) -> TableComparison:
    samples = (Difference("missing table", table),)
    return TableComparison(
        table, ours.digest, Digest(), is_there=False, missing_count=ours.digest.row_count, samples=samples
    )
