"""Every check of a finished migration, one function each.

To add one: write a function that takes a :class:`Proof` and returns a :class:`CheckResult`, add it to
:data:`SCHEMA_CHECKS` or :data:`DATA_CHECKS`, and add the fault that trips it to the tests. A check that
cannot look raises; that is never the same as having found no difference.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import sqlalchemy as sa

from migration.database import Database
from migration.difference import SAMPLES, CheckResult, Difference
from migration.look import clause, count_rows, orphan_condition
from migration.model import ARROW_TYPES, Column, Index, Kind, Schema, Table
from migration.plan import Plan, TablePlan, label
from migration.spelling import show_at
from migration.verify import Side, Sum, TimeRange

# Greater ones no engine has for a row.
LAST_NUMBER = 2**63 - 1


@dataclass
class Proof:
    """What checks look at: the plan, the target's schema as it is now, and both sides, freshly opened.

    ``left_behind`` names columns of the source (table, column) that the target does not have and that
    nobody has accepted to lose; ``sums`` holds what reading each table whole came to, once that is done.
    """

    plan: Plan
    target_schema: Schema
    source: Side
    target: Side
    target_database: Database
    left_behind: tuple[tuple[str, str], ...] = ()
    sums: dict[str, tuple[Sum, Sum]] = field(default_factory=dict)

    @property
    def tables(self) -> tuple[TablePlan, ...]:
        """Planned tables that are there; those that are not are the business of :func:`check_tables`."""
        return tuple(table for table in self.plan.tables if self.target_schema.has(table.target.name))


Check = Callable[[Proof], Awaitable[CheckResult]]


async def check_tables(proof: Proof) -> CheckResult:
    """Every planned table exists."""
    missing = [
        table.target.name for table in proof.plan.tables if not proof.target_schema.has(table.target.name)
    ]
    return _result("tables", len(proof.plan.tables), [Difference("missing table", name) for name in missing])


async def check_columns(proof: Proof) -> CheckResult:
    """Every planned column exists, and means and allows what it should."""
    found: list[Difference] = []
    looked_at = 0
    # Where any column holds any value, its declared type is no more than a hint.
    has_types = not proof.target.traits.keeps_storage_classes
    for table in proof.tables:
        there = {column.name: column for column in proof.target_schema.table(table.target.name).columns}
        looked_at += len(table.target.columns)
        for planned in table.target.columns:
            column_there = there.get(planned.name)
            if column_there is None:
                found.append(Difference("missing column", table.target.name, column=planned.name))
            else:
                found += _column_differences(table.target.name, planned, column_there, has_types=has_types)
    return _result("columns", looked_at, found)


def _column_differences(
    table: str, planned: Column, there: Column, *, has_types: bool
) -> Iterator[Difference]:
    place = {"table": table, "column": planned.name}
    if has_types and there.kind is not planned.kind:
        sides = {"source": planned.kind.value, "target": f"{there.declared} ({there.kind.value})"}
        yield Difference("type", **place, **sides)
    if there.nullable and not planned.nullable:
        yield Difference("column may be NULL", **place, source="NOT NULL", target="NULL")
    if (there.default is None) != (planned.default is None) and not there.automatic:
        sides = {"source": planned.default or "none", "target": there.default or "none"}
        yield Difference("default", **place, **sides)
    if (there.generated is None) != (planned.generated is None):
        sides = {"source": planned.generated or "no", "target": there.generated or "no"}
        yield Difference("generated column", **place, **sides)
    if planned.automatic and not there.automatic:
        yield Difference("column does not number itself", **place)


async def check_indexes(proof: Proof) -> CheckResult:
    """Every planned key, uniqueness rule and index exists, on the same columns; so does every CHECK."""
    found: list[Difference] = []
    looked_at = 0
    for table in proof.tables:
        found += _index_differences(table, proof.target_schema.table(table.target.name))
        planned = table.target
        looked_at += 1 + len(planned.uniques) + len(planned.indexes) + len(planned.checks)
    return _result("indexes", looked_at, found)


def _index_differences(table: TablePlan, there: Table) -> Iterator[Difference]:
    planned, name = table.target, table.target.name
    if planned.primary_key != there.primary_key:
        yield _changed(table, "primary key", planned.primary_key, there.primary_key)
    unique_columns = {unique.columns for unique in there.uniques}
    for unique in planned.uniques:
        if unique.columns not in unique_columns:
            yield _changed(table, "missing unique constraint", unique.columns, ())
    indexes = {_shape(index) for index in there.indexes}
    yield from (
        Difference("missing index", name, index.name)
        for index in planned.indexes
        # Where the two are one, what was a unique index elsewhere is a rule there.
        if _shape(index) not in indexes and _as_rule(index) not in unique_columns
    )
    names = {check.name for check in there.checks}
    missing = [check for check in planned.checks if check.name is not None and check.name not in names]
    if missing or len(there.checks) < len(planned.checks):
        conditions = [check.condition for check in missing or planned.checks]
        yield _changed(table, "missing check", conditions, [check.condition for check in there.checks])


def _shape(index: Index) -> tuple[object, ...]:
    """Return what must be the same of an index; the server spells expressions in its own way."""
    parts = tuple((None if part.is_expression else part.text, part.descending) for part in index.parts)
    return index.name, index.unique, index.condition is None, parts


def _as_rule(index: Index) -> tuple[str, ...]:
    """Return the columns that an index keeps unique, if that is all it does."""
    is_plain = index.unique and index.condition is None
    if not is_plain or any(part.is_expression or part.descending for part in index.parts):
        return ()
    return tuple(part.text for part in index.parts)


async def check_foreign_keys(proof: Proof) -> CheckResult:
    """Every planned foreign key exists, with what it does on deletion and change."""
    found: list[Difference] = []
    looked_at = 0
    for table in proof.tables:
        there = {
            (key.columns, key.target_table, key.target_columns, key.on_delete, key.on_update)
            for key in proof.target_schema.table(table.target.name).foreign_keys
        }
        looked_at += len(table.target.foreign_keys)
        found += [
            Difference("missing foreign key", table.target.name, label(key))
            for key in table.target.foreign_keys
            if (key.columns, key.target_table, key.target_columns, key.on_delete, key.on_update) not in there
        ]
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


async def check_left_behind(proof: Proof) -> CheckResult:
    """No column of the source stays behind, unless that was accepted."""
    looked_at = sum(len(table.source.columns) for table in proof.plan.tables)
    found = [Difference("missing column", table, column=column) for table, column in proof.left_behind]
    return _result("left behind", looked_at, found)


async def check_row_counts(proof: Proof) -> CheckResult:
    """Both databases themselves count the same number of rows in every table."""
    found = []
    for table in proof.tables:
        ours = await count_rows(proof.source.snapshot, table.source)
        theirs = await count_rows(proof.target.snapshot, table.target)
        aside = proof.target.rejected.counts.get(table.source.name, 0) if proof.target.rejected else 0
        if ours != theirs + aside:
            there = f"{theirs} and {aside} set aside" if aside else str(theirs)
            found.append(Difference("row count", table.target.name, source=str(ours), target=there))
    return _result("row counts", len(proof.tables), found)


async def check_relationships(proof: Proof) -> CheckResult:
    """No row refers to a row that is not there, by any foreign key from or to what was planned."""
    found, looked_at = [], 0
    planned = {table.target.name for table in proof.plan.tables}
    for there in proof.target_schema.tables:
        # Rows of a table that was left out may refer to rows that went.
        for key in [key for key in there.foreign_keys if planned & {there.name, key.target_table}]:
            looked_at += 1
            child = clause(there).alias("child")
            condition = orphan_condition(child, key, is_there=proof.target_schema.has(key.target_table))
            statement = sa.select(sa.func.count()).select_from(child).where(condition)
            ((count,),) = await proof.target.snapshot.rows(statement)
            if count:
                found.append(
                    Difference("rows that refer to nothing", there.name, label(key), target=f"{count} rows")
                )
    return _result("relationships", looked_at, found)


async def check_timestamps(proof: Proof) -> CheckResult:
    """The earliest and the latest moment of every time column are the same on both sides."""
    found, looked_at = [], 0
    for table in proof.tables:
        ours, theirs = proof.sums.get(table.target.name, (Sum(), Sum()))
        for column in table.columns:
            name = column.target.name
            here, there = (side.times.get(name) for side in (ours, theirs))
            looked_at += here is not None
            if here != there:
                sides = [_range(extremes, column.kind) for extremes in (here, there)]
                found.append(Difference("range of times", table.target.name, "", name, *sides))
    return _result("timestamps", looked_at, found)


async def check_sequences(proof: Proof) -> CheckResult:
    """The next row gets the number the source would have given; tried by a real insert, taken back."""
    found, looked_at = [], 0
    for table in proof.tables:
        if table.next_number is None or table.next_number > LAST_NUMBER:
            # What comes after the last number is for neither side to give.
            continue
        looked_at += 1
        there = proof.target_schema.table(table.target.name)
        given = await _next_number(proof.target_database, there)
        if given != str(table.next_number):
            sides = {"source": str(table.next_number), "target": given}
            found.append(Difference("next number", table.target.name, **sides))
    return _result("sequences", looked_at, found)


async def _next_number(target: Database, table: Table) -> str:
    """Return the number that a real insert gets, or what becomes of the insert instead."""
    if not any(column.automatic for column in table.columns):
        return "none"
    async with target.control() as connection:
        try:
            return str(await target.backend.try_next_number(connection, table))
        except sa.exc.IntegrityError:
            return "one that is taken"


SCHEMA_CHECKS: tuple[Check, ...] = (
    check_tables,
    check_columns,
    check_indexes,
    check_foreign_keys,
    check_views,
)
# Row counts before content, so that a report begins with the simplest thing that is wrong.
COUNT_CHECKS: tuple[Check, ...] = (check_left_behind, check_row_counts, check_relationships)
# This one needs what reading everything has summed up.
AFTER_CONTENT: tuple[Check, ...] = (check_timestamps,)
# This one inserts rows (and takes them back), for which nobody else may be reading.
AFTER_CLOSING: tuple[Check, ...] = (check_sequences,)


def _result(name: str, looked_at: int, found: Sequence[Difference]) -> CheckResult:
    return CheckResult(name, looked_at, len(found), tuple(found[:SAMPLES]))


def _changed(table: TablePlan, what: str, planned: Iterable[str], there: Iterable[str]) -> Difference:
    return Difference(what, table.target.name, source=", ".join(planned), target=", ".join(there))


def _range(extremes: TimeRange | None, kind: Kind) -> str:
    """Write the least and the greatest time of a column for a person."""
    shown = []
    for number in extremes or (None, None):
        width = pa.int32() if kind is Kind.DATE else pa.int64()
        shown.append(show_at(pa.array([number], width).view(ARROW_TYPES[kind]), 0))
    return " to ".join(shown)
