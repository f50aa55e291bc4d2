"""Proves, or finds what differs: runs every check, reads every row of both sides, holds the report."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from migration.checks import AFTER_CLOSING, AFTER_CONTENT, COUNT_CHECKS, SCHEMA_CHECKS, Check, Proof
from migration.clock import Clock, now, stamp
from migration.database import Database
from migration.difference import CheckResult, Difference, Report, TableComparison
from migration.digest import Digest
from migration.errors import MigrationError
from migration.plan import Plan
from migration.progress import Progress, silent
from migration.survey import survey
from migration.verify import Side, Sum, compare_table, sum_table


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
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        *,
        plan: Plan | None = None,
        mapping: Mapping[str, str] | None = None,
        progress: Progress = silent,
        clock: Clock = now,
    ) -> None:
        self.source, self.target = source, target
        self.plan = plan
        self._mapping = mapping or {}
        self._progress = progress
        self._clock = clock
        self._tables: list[TableComparison] = []
        self._checks: dict[str, CheckResult] = {}
        self._could_not_look: list[str] = []

    async def validate_schema_compatibility(self) -> bool:
        """Tell whether the target has every planned table, column, key, index, foreign key and view."""
        async with self._proof() as proof:
            await self._run(SCHEMA_CHECKS, proof)
        return not self.validation_errors

    async def validate_data_integrity(self) -> bool:
        """Tell whether both sides hold the same: every row and column of both is read and compared."""
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
        return Report(
            planned=tuple(table.target.name for table in plan.tables),
            tables=tuple(self._tables),
            checks=tuple(self._checks.values()),
            could_not_look=tuple(self._could_not_look),
            left_out=dict(plan.left_out),
        )

    @property
    def validation_errors(self) -> list[str]:
        """Every difference that is named, and everything that could not be looked at, in words."""
        return [str(difference) for difference in self.report.differences] + self._could_not_look

    def get_validation_report(self) -> dict[str, Any]:
        """Return the report as plain data, ready to be written as JSON.

        Keys: ``timestamp``, ``validation_passed`` (proved, nothing less), ``error_count`` (exact),
        ``errors`` (in words, few per table), ``verdict``, ``checks``, ``tables``, ``left_out``.
        """
        report = self.report
        return {
            "timestamp": stamp(self._clock()),
            "validation_passed": report.proved,
            "verdict": report.verdict,
            "error_count": report.difference_count + len(report.could_not_look),
            "errors": self.validation_errors,
            "could_not_look": list(report.could_not_look),
            "checks": [
                {"name": check.name, "looked_at": check.looked_at, "differences": check.difference_count}
                for check in report.checks
            ],
            "tables": [table_as_data(table) for table in report.tables],
            "left_out": report.left_out,
        }

    @contextlib.asynccontextmanager
    async def _proof(self) -> AsyncIterator[Proof]:
        """Open both sides freshly, and plan when nobody has."""
        async with self.source.snapshot() as ours:
            if self.plan is None:
                found = await survey(self.source, ours, self.target, self._mapping, (), self._progress)
                self.plan = found.plan
            target_schema = await self.target.schema()
            async with self.target.snapshot() as theirs:
                yield Proof(
                    plan=self.plan,
                    target_schema=target_schema,
                    source=Side("source", ours, self.source.traits),
                    target=Side("target", theirs, self.target.traits),
                    target_database=self.target,
                )

    async def _run(self, checks: Sequence[Check], proof: Proof) -> None:
        for check in checks:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            try:
                with self.target.told():
                    self._checks[name] = await check(proof)
            except MigrationError as error:
                self._could_not_look.append(f"{name}: {error}")

    async def _compare(self, proof: Proof) -> None:
        """Compare every planned table; one that cannot be read leaves the others to be compared."""
        self._tables = []
        assert self.plan is not None
        there = {table.target.name for table in proof.tables}
        for table in self.plan.tables:
            try:
                with self.target.told(), self.source.told():
                    if table.target.name not in there:
                        ours = await sum_table(table, proof.source, self._progress)
                        self._tables.append(_all_missing(table.target.name, ours))
                        continue
                    comparison, *sums = await compare_table(table, proof.source, proof.target, self._progress)
            except MigrationError as error:
                self._could_not_look.append(f"content of {table.target.name}: {error}")
            else:
                self._tables.append(comparison)
                proof.sums[table.target.name] = (sums[0], sums[1])


def table_as_data(table: TableComparison) -> dict[str, Any]:
    """Return one table's comparison as plain data; ``samples`` are at most twenty."""
    return {
        "table": table.table,
        "equal": table.equal,
        "source_rows": table.source.row_count,
        "target_rows": table.target.row_count,
        "source_digest": str(table.source),
        "target_digest": str(table.target),
        "missing": table.missing_count,
        "extra": table.extra_count,
        "changed": table.changed_count,
        "samples": [vars(sample) for sample in table.samples],
    }


def _all_missing(table: str, ours: Sum) -> TableComparison:
    samples = (Difference("missing table", table),)
    return TableComparison(
        table, ours.digest, Digest(), is_there=False, missing_count=ours.digest.row_count, samples=samples
    )
