"""Reads tables as they are stored, and sums them up: what a backup is compared by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from migration.backends import Snapshot
from migration.look import clause, count_rows
from migration.manifest import Contents
from migration.model import FALLBACKS, Kind, ScanColumn, Schema, Table
from migration.plan import ColumnPlan, TablePlan
from migration.progress import Progress, Step
from migration.traits import Traits
from migration.verify import Side, sum_table


async def read_contents(
    snapshot: Snapshot,
    schema: Schema,
    traits: Traits,
    progress: Progress,
    *,
    phase: str,
    known: Mapping[str, Contents] | None = None,
) -> dict[str, Contents]:
    """Read every table of a schema whole, and return what each holds.

    Parameters
    ----------
    known
        What the tables are said to hold: columns are then read as they were, spelled or not.
    """

    def tell(step: Step) -> None:
        progress(dataclasses.replace(step, phase=phase))

    side, found = Side("source", snapshot, traits), {}
    for table in schema.tables:
        if known is None:
            names, row_count = await spelled_columns(snapshot, table), await count_rows(snapshot, table)
        else:
            names, row_count = known[table.name].spelled, known[table.name].row_count or 0
        plan = dataclasses.replace(as_stored(table, traits, names), row_count=row_count)
        digest = (await sum_table(plan, side, tell)).digest
        number = await snapshot.next_number(table)
        found[table.name] = Contents(digest.row_count, str(digest), number, names)
    return found


def unchanged(before: Mapping[str, Contents], after: Mapping[str, Contents]) -> dict[str, Contents]:
    """Return what two readings agree on; what they do not, nobody knows."""
    found = {}
    for name, was in before.items():
        now = after[name]
        number = was.next_number if was.next_number == now.next_number else None
        # A column that is spelled in one reading only holds another value in the other.
        is_same = (was.row_count, was.digest, was.spelled) == (now.row_count, now.digest, now.spelled)
        found[name] = (
            dataclasses.replace(was, next_number=number)
            if is_same
            else Contents(None, None, number, was.spelled)
        )
    return found


def with_numbers(contents: Mapping[str, Contents], numbers: Mapping[str, int | None]) -> dict[str, Contents]:
    """Return contents less the next numbers that were others before."""
    return {
        name: dataclasses.replace(
            found, next_number=found.next_number if found.next_number == numbers[name] else None
        )
        for name, found in contents.items()
    }


def changes(was: Mapping[str, Contents], now: Mapping[str, Contents]) -> list[str]:
    """Say where a second reading differs from what is known of the first."""
    found = []
    for name, expected in was.items():
        there = now[name]
        if expected.digest is not None and expected.row_count != there.row_count:
            found.append(f"{name} has {there.row_count} rows and not {expected.row_count}")
        elif expected.digest is not None and expected.digest != there.digest:
            found.append(f"the rows of {name}")
        if expected.next_number is not None and expected.next_number != there.next_number:
            found.append(f"the next number of {name}, {there.next_number} and not {expected.next_number}")
    return found


def as_stored(table: Table, traits: Traits, spelled: Iterable[str] = ()) -> TablePlan:
    """Plan to read a table as itself: every column in its own kind, JSON to the letter."""
    names = frozenset(spelled)

    def kind(name: str, own: Kind) -> Kind:
        if traits.keeps_storage_classes:
            return Kind.ANY
        if name in names:
            return FALLBACKS[own]
        return Kind.TEXT if own is Kind.JSON else own

    columns = tuple(ColumnPlan(column, column, kind(column.name, column.kind)) for column in table.columns)
    return TablePlan(source=table, target=table, columns=columns, is_new=False)


def written(plan: TablePlan) -> list[ScanColumn]:
    """Return the columns of a plan that are written, as a snapshot and a loader are asked for them."""
    return [ScanColumn(column.source, column.kind) for column in plan.written]


async def spelled_columns(snapshot: Snapshot, table: Table) -> tuple[str, ...]:
    """Return the columns that hold values which the Arrow type of their own kind cannot hold."""
    odd = {}
    for column in table.columns:
        said = snapshot.unreadable(column) if column.kind in FALLBACKS else None
        if said is not None:
            # A colon would be a parameter to SQLAlchemy.
            odd[column.name] = sa.text(said.replace(":", "\\:"))
    if not odd:
        return ()
    counted = [sa.func.count(sa.case((condition, 1))) for condition in odd.values()]
    (counts,) = await snapshot.rows(sa.select(*counted).select_from(clause(table)))
    return tuple(name for name, count in zip(odd, counts, strict=True) if count)
