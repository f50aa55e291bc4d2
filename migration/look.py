"""Looks at the source before anything is planned: what its columns really hold, in one scan per table.

A column whose values do not become the wished kind is looked at again as the next kind that might
hold them; that is a second scan of that column, which only mixed columns pay for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from migration.backends import Snapshot
from migration.model import ColumnProfile, ForeignKey, Kind, ScanColumn, Schema, Table, TableProfile, Traits
from migration.plan import TablePair, label, pair_tables
from migration.planning import kinds_to_try
from migration.profile import EXAMPLES, Profiler, holds_all
from migration.progress import Progress, Step


async def look(
    snapshot: Snapshot,
    source: Schema,
    target: Schema,
    source_traits: Traits,
    target_traits: Traits,
    mapping: Mapping[str, str],
    progress: Progress,
) -> dict[str, TableProfile]:
    """Profile every table of the source for what it will become.

    Returns
    -------
    dict
        By table; each column's profile is for the kind that was chosen for it.
    """
    profiles = {}
    for pair in pair_tables(source, target, mapping):
        wishes = kinds_to_try(pair, source_traits, target_traits)
        profiles[pair.source.name] = await _look_at_table(
            snapshot, source, pair, wishes, source_traits, progress
        )
    return profiles


async def count_rows(snapshot: Snapshot, table: Table) -> int:
    """Count the rows of a table."""
    ((count,),) = await snapshot.rows(sa.select(sa.func.count()).select_from(clause(table)))
    return int(count)


async def _look_at_table(
    snapshot: Snapshot,
    schema: Schema,
    pair: TablePair,
    wishes: Mapping[str, tuple[Kind, ...]],
    traits: Traits,
    progress: Progress,
) -> TableProfile:
    table = pair.source
    total = await count_rows(snapshot, table)
    tried: dict[str, list[ColumnProfile]] = {column.name: [] for column in table.columns}
    waiting = dict.fromkeys(tried, 0)
    row_count = total
    while waiting:
        wanted = [ScanColumn(table.column(name), wishes[name][step]) for name, step in waiting.items()]
        found, row_count = await _scan(snapshot, pair, wanted, traits, progress, total)
        for name, profile in found.items():
            tried[name].append(profile)
        waiting = {
            name: len(tried[name])
            for name in waiting
            if not holds_all(tried[name][-1]) and len(tried[name]) < len(wishes[name])
        }
    return TableProfile(
        row_count=row_count,
        columns={name: _choose(profiles) for name, profiles in tried.items()},
        orphans={label(key): await _orphans(snapshot, schema, table, key) for key in table.foreign_keys},
        next_number=await snapshot.next_number(table),
    )


async def _scan(
    snapshot: Snapshot,
    pair: TablePair,
    wanted: Sequence[ScanColumn],
    traits: Traits,
    progress: Progress,
    total: int,
) -> tuple[dict[str, ColumnProfile], int]:
    """Read the wanted columns, and those of the key to name rows by, once."""
    asked = [column.column.name for column in wanted]
    key = [name for name in pair.source.primary_key if name not in asked]
    columns = [
        *wanted,
        *(ScanColumn(pair.source.column(name), pair.source.column(name).kind) for name in key),
    ]
    names = [column.column.name for column in columns]
    there = {column.name: found for column, found in pair.columns}
    profiler = Profiler(
        columns[: len(wanted)],
        [own_kind(column, traits) for column in columns],
        [(position, names[position]) for position in map(names.index, pair.source.primary_key)],
        [there[name] if pair.target is not None else None for name in asked],
    )
    async for scanned in snapshot.scan(pair.source, columns):
        profiler.add(scanned.batch)
        progress(Step("look", pair.source.name, profiler.row_count, total))
    return profiler.finish(), profiler.row_count


def own_kind(column: ScanColumn, traits: Traits) -> Kind:
    """Return the kind of the arrays in which an engine reads a column."""
    return Kind.ANY if traits.keeps_storage_classes else column.column.kind


def _choose(profiles: Sequence[ColumnProfile]) -> ColumnProfile:
    """Take the kind that holds everything unchanged, else one that holds everything, else the declared."""
    for acceptable in (holds_all, lambda profile: not profile.failed_count):
        for profile in profiles:
            if acceptable(profile):
                return profile
    return profiles[0]


async def _orphans(
    snapshot: Snapshot, schema: Schema, table: Table, key: ForeignKey
) -> tuple[int, tuple[str, ...]]:
    """Count the rows that refer to a row that is not there, and show some."""
    child = clause(table).alias("child")
    condition = orphan_condition(child, key, is_there=schema.has(key.target_table))
    ((count,),) = await snapshot.rows(sa.select(sa.func.count()).select_from(child).where(condition))
    if not count:
        return 0, ()
    shown = list(dict.fromkeys([*table.primary_key, *key.columns]))
    rows = await snapshot.rows(sa.select(*[child.c[name] for name in shown]).where(condition).limit(EXAMPLES))
    return int(count), tuple(
        ", ".join(f"{name}={value!r}" for name, value in zip(shown, row, strict=True)) for row in rows
    )


def orphan_condition(child: sa.FromClause, key: ForeignKey, *, is_there: bool) -> sa.ColumnElement[bool]:
    """Return what is true of a row whose reference leads nowhere; a NULL in it refers to nothing at all."""
    refers = sa.and_(*[child.c[name].is_not(None) for name in key.columns])
    if not is_there:
        return refers
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(sa.quoted_name(name, True)) for name in key.target_columns
    ]
    parent = sa.table(sa.quoted_name(key.target_table, True), *columns).alias("parent")
    same = [
        parent.c[there] == child.c[here] for here, there in zip(key.columns, key.target_columns, strict=True)
    ]
    return sa.and_(refers, ~sa.exists().select_from(parent).where(*same))


def clause(table: Table) -> sa.TableClause:
    """Return a table as SQLAlchemy Core knows it, by names alone, all of them quoted."""
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(sa.quoted_name(column.name, True)) for column in table.columns
    ]
    return sa.table(sa.quoted_name(table.name, True), *columns)
