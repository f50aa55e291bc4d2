"""Every check of a finished migration, one function each.

To add one: write a function that takes a :class:`Proof` and returns a :class:`CheckResult`, add it to
:data:`SCHEMA_CHECKS` or :data:`DATA_CHECKS`, and add the fault that trips it to the tests. A check that
cannot look raises; that is never the same as having found no difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from migration.database import Database
from migration.difference import SAMPLES, CheckResult, Difference
from migration.look import clause, count_rows, orphan_condition
from migration.model import Schema
from migration.plan import Plan, TablePlan, label
from migration.verify import Side, Sum


@dataclass
class Proof:
    """What checks look at: the plan, the target's schema as it is now, and both sides, freshly opened.

    ``sums`` holds what reading each table whole came to, once that is done.
    """

    plan: Plan
    target_schema: Schema
    source: Side
    target: Side
    target_database: Database
    sums: dict[str, tuple[Sum, Sum]] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[TablePlan, ...]:
        """Planned tables that are there; those that are not are the business of :func:`check_tables`."""
        return tuple(table for table in self.plan.tables if self.target_schema.has(table.target.name))


Check = Callable[[Proof], Awaitable[CheckResult]]


async def check_tables(proof: Proof) -> CheckResult:
    """Every planned table exists."""
    missing = [table.target.name for table in proof.plan.tables if not proof.target_schema.has(table.target.name)]
    return _result("tables", len(proof.plan.tables), [Difference("missing table", name) for name in missing])


async def check_columns(proof: Proof) -> CheckResult:
    """Every planned column exists, and means and allows what it should."""
    found, looked_at = [], 0
    for table in proof.tables:
        there = {column.name: column for column in proof.target_schema.table(table.target.name).columns}
        for planned in table.target.columns:
            looked_at += 1
            column = there.get(planned.name)
            place = {"table": table.target.name, "column": planned.name}
            if column is None:
                found.append(Difference("missing column", **place))
                continue
            if column.nullable and not planned.nullable:
                found.append(Difference("column may be NULL", **place, source="NOT NULL", target="NULL"))
            if (column.default is None) != (planned.default is None) and not column.automatic:
                found.append(
                    Difference("default", **place, source=planned.default or "none", target=column.default or "none")
                )
            if (column.generated is None) != (planned.generated is None):
                found.append(Difference("generated column", **place, source=planned.generated or "no", target=column.generated or "no"))
            if planned.automatic and not column.automatic:
                found.append(Difference("column does not number itself", **place))
    return _result("columns", looked_at, found)


async def check_indexes(proof: Proof) -> CheckResult:
    """Every planned key, uniqueness rule and index exists, on the same columns; so does every CHECK."""
    found, looked_at = [], 0
    for table in proof.tables:
        there = proof.target_schema.table(table.target.name)
        unique_columns = {unique.columns for unique in there.uniques}
        indexes = {(index.name, index.unique, index.condition is None, len(index.parts)) for index in there.indexes}
        if table.target.primary_key != there.primary_key:
            found.append(_changed(table, "primary key", table.target.primary_key, there.primary_key))
        for unique in table.target.uniques:
            if unique.columns not in unique_columns:
                found.append(_changed(table, "missing unique constraint", unique.columns, ()))
        for index in table.target.indexes:
            if (index.name, index.unique, index.condition is None, len(index.parts)) not in indexes:
                found.append(Difference("missing index", table.target.name, index.name))
        if len(there.checks) < len(table.target.checks):
            found.append(_changed(table, "missing check", [c.condition for c in table.target.checks], [c.condition for c in there.checks]))
        looked_at += 1 + len(table.target.uniques) + len(table.target.indexes) + len(table.target.checks)
    return _result("indexes", looked_at, found)


async def check_foreign_keys(proof: Proof) -> CheckResult:
    """Every planned foreign key exists, with what it does on deletion and change."""
    found, looked_at = [], 0
    for table in proof.tables:
        there = {
            (key.columns, key.target_table, key.target_columns, key.on_delete, key.on_update)
            for key in proof.target_schema.table(table.target.name).foreign_keys
        }
        for key in table.target.foreign_keys:
            looked_at += 1
            if (key.columns, key.target_table, key.target_columns, key.on_delete, key.on_update) not in there:
                found.append(Difference("missing foreign key", table.target.name, label(key)))
    return _result("foreign keys", looked_at, found)


async def check_views(proof: Proof) -> CheckResult:
    """Every planned view exists and can be read."""
    there = {view.name for view in proof.target_schema.views}
    found = [Difference("missing view", view.name) for view in proof.plan.views if view.name not in there]
    for view in proof.plan.views:
        if view.name in there:
            name = sa.table(sa.quoted_name(view.name, True))
            await proof.target.snapshot.rows(sa.select(sa.literal(1)).select_from(name).limit(1))
    return _result("views", len(proof.plan.views), found)


async def check_row_counts(proof: Proof) -> CheckResult:
    """Both databases themselves count the same number of rows in every table."""
    found = []
    for table in proof.tables:
        ours = await count_rows(proof.source.snapshot, table.source)
        theirs = await count_rows(proof.target.snapshot, table.target)
        if ours != theirs:
            found.append(Difference("row count", table.target.name, source=str(ours), target=str(theirs)))
    return _result("row counts", len(proof.tables), found)


async def check_relationships(proof: Proof) -> CheckResult:
    """No row of the target refers to a row that is not there, by any foreign key it has."""
    found, looked_at = [], 0
    for table in proof.tables:
        there = proof.target_schema.table(table.target.name)
        for key in there.foreign_keys:
            looked_at += 1
            child = clause(there, "child")
            condition = orphan_condition(child, key, is_there=proof.target_schema.has(key.target_table))
            statement = sa.select(sa.func.count()).select_from(child).where(condition)
            ((count,),) = await proof.target.snapshot.rows(statement)
            if count:
                found.append(Difference("rows that refer to nothing", there.name, label(key), target=f"{count} rows"))
    return _result("relationships", looked_at, found)


async def check_timestamps(proof: Proof) -> CheckResult:
    """The earliest and the latest moment of every time column are the same on both sides."""
    found, looked_at = [], 0
    for table, (ours, theirs) in sorted(proof.sums.items()):
        for column, here in ours.times.items():
            looked_at += 1
            there = theirs.times.get(column, (None, None))
            if here != there:
                found.append(Difference("range of times", table, "", column, _range(here), _range(there)))
    return _result("timestamps", looked_at, found)


async def check_sequences(proof: Proof) -> CheckResult:
    """The next row gets the number the source would have given; tried by a real insert, taken back."""
    found, looked_at = [], 0
    for table in proof.tables:
        if table.next_number is None:
            continue
        looked_at += 1
        there = proof.target_schema.table(table.target.name)
        async with proof.target_database.control() as connection:
            number = await proof.target_database.backend.try_next_number(connection, there)
        if number != table.next_number:
            found.append(Difference("next number", table.target.name, source=str(table.next_number), target=str(number)))
    return _result("sequences", looked_at, found)


SCHEMA_CHECKS: tuple[Check, ...] = (check_tables, check_columns, check_indexes, check_foreign_keys, check_views)
# Row counts before content, so that a report begins with the simplest thing that is wrong.
COUNT_CHECKS: tuple[Check, ...] = (check_row_counts, check_relationships)
# This one needs what reading everything has summed up.
AFTER_CONTENT: tuple[Check, ...] = (check_timestamps,)
# This one inserts rows (and takes them back), for which nobody else may be reading.
AFTER_CLOSING: tuple[Check, ...] = (check_sequences,)


def _result(name: str, looked_at: int, found: Sequence[Difference]) -> CheckResult:
    return CheckResult(name, looked_at, len(found), tuple(found[:SAMPLES]))


def _changed(table: TablePlan, what: str, planned: Iterable[str], there: Iterable[str]) -> Difference:
    return Difference(what, table.target.name, source=", ".join(planned), target=", ".join(there))


def _range(extremes: tuple[object, object]) -> str:
    return f"{extremes[0]} to {extremes[1]}"
