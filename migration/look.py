"""Looks at the source before anything is planned: what its columns really hold, in one scan per table.

A column whose values do not become the wished kind is looked at again as the next kind that might
hold them; that is a second scan of that column, which only mixed columns pay for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from migration.backends import Snapshot
from migration.model import (
    FALLBACKS,
    ColumnProfile,
    ForeignKey,
    Kind,
    ScanColumn,
    Schema,
    Table,
    TableProfile,
)
from migration.plan import TablePair, label
from migration.planning import fraction_digits, kinds_to_try
from migration.profile import EXAMPLES, Profiler, holds_all
from migration.progress import Progress, Step
from migration.traits import Traits


async def look(
    snapshot: Snapshot,
    source: Schema,
    pairs: Sequence[TablePair],
    source_traits: Traits,
    target_traits: Traits,
    progress: Progress,
) -> dict[str, TableProfile]:
    """Profile every table that goes for what it will become.

    Parameters
    ----------
    source
        All of the source: a row may refer to one of a table that stays.

    Returns
    -------
    dict
        By table; each column's profile is for the kind that was chosen for it.
    """
    profiles = {}
    for pair in pairs:
        wishes = kinds_to_try(pair, source_traits, target_traits)
        digits = fraction_digits(pair, target_traits)
        wanted = {
            name: tuple(ScanColumn(pair.source.column(name), kind, digits.get(name)) for kind in kinds)
            for name, kinds in wishes.items()
        }
        there = _keys_there(pair, {other.target_name: other for other in pairs})
        profiles[pair.source.name] = await _look_at_table(
            snapshot, source, pair, wanted, there, (source_traits, target_traits), progress
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
    wishes: Mapping[str, tuple[ScanColumn, ...]],
    there: Mapping[str, ForeignKey],
    engines: tuple[Traits, Traits],
    progress: Progress,
) -> TableProfile:
    (traits, target), table = engines, pair.source
    total = await count_rows(snapshot, table)
    tried: dict[str, list[ColumnProfile]] = {column.name: [] for column in table.columns}
    waiting = dict.fromkeys(tried, 0)
    row_count = total
    while waiting:
        wanted = [wishes[name][step] for name, step in waiting.items()]
        unread = await _unreadable(snapshot, table, wanted)
        readable = [column for column in wanted if column.column.name not in unread]
        found = unread
        if readable:
            read, row_count = await _scan(snapshot, pair, readable, traits, progress, total)
            found = unread | read
        for column in wanted:
            before, profile = tried[column.column.name], found[column.column.name]
            if own_kind(column, traits) not in (Kind.ANY, column.column.kind):
                profile = _as_fallback(profile, before, row_count)
            before.append(profile)
        waiting = {
            name: len(tried[name])
            for name in waiting
            if not _arrives(tried[name][-1], target) and len(tried[name]) < len(wishes[name])
        }
    return TableProfile(
        row_count=row_count,
        columns={name: _choose(profiles, target) for name, profiles in tried.items()},
        orphans={
            name: await _orphans(snapshot, schema, table, key)
            for name, key in [(label(key), key) for key in table.foreign_keys] + list(there.items())
        },
        next_number=await snapshot.next_number(table),
    )


async def _unreadable(
    snapshot: Snapshot, table: Table, wanted: Sequence[ScanColumn]
) -> dict[str, ColumnProfile]:
    """Profile the columns that hold values outside the type of their own kind, by counting those."""
    odd = {}
    for column in wanted:
        if column.kind is column.column.kind and FALLBACKS.get(column.kind) is not None:
            said = snapshot.unreadable(column.column)
            if said is not None:
                # A colon would be a parameter to SQLAlchemy.
                odd[column.column.name] = sa.text(said.replace(":", "\\:"))
    if not odd:
        return {}
    source = clause(table)
    counted = [sa.func.count(sa.case((condition, 1))) for condition in odd.values()]
    (counts,) = await snapshot.rows(sa.select(*counted).select_from(source))
    found = {}
    for (name, condition), count in zip(odd.items(), counts, strict=True):
        if not count:
            continue
        shown = list(dict.fromkeys([*table.primary_key, name]))
        values = [sa.cast(source.c[part], sa.String(255)) for part in shown]
        rows = await snapshot.rows(sa.select(*values).where(condition).limit(EXAMPLES))
        examples = tuple(
            ", ".join(f"{part}={value}" for part, value in zip(shown, row, strict=True)) for row in rows
        )
        kind = table.column(name).kind
        found[name] = ColumnProfile(kind, failed_count=int(count), failed_examples=examples)
    return found


def _as_fallback(profile: ColumnProfile, before: Sequence[ColumnProfile], row_count: int) -> ColumnProfile:
    """Say of times that are read as text that they change: all of them do, and some are the reason why."""
    if profile.kind is not Kind.TEXT:
        return profile
    reason = before[0] if before else ColumnProfile(profile.kind, failed_count=row_count - profile.null_count)
    return dataclasses.replace(
        profile, changed_count=reason.failed_count, changed_examples=reason.failed_examples
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
        [there[name] if pair.target is not None else pair.types.get(name) for name in asked],
    )
    async for scanned in snapshot.scan(pair.source, columns):
        profiler.add(scanned.batch)
        progress(Step("look", pair.source.name, profiler.row_count, total))
    return profiler.finish(), profiler.row_count


def own_kind(column: ScanColumn, traits: Traits) -> Kind:
    """Return the kind of the arrays in which an engine reads a column."""
    return Kind.ANY if traits.keeps_storage_classes else column.read_kind


def _arrives(profile: ColumnProfile, target: Traits) -> bool:
    """Tell whether every value becomes the profile's kind, stays what it was, and has room in the target."""
    digits, scale = target.decimal_digits, target.decimal_scale
    if profile.kind is not Kind.DECIMAL or digits is None or scale is None:
        return holds_all(profile)
    has_room = profile.integer_digits + profile.fraction_digits <= digits and profile.fraction_digits <= scale
    return has_room and holds_all(profile)


def _choose(profiles: Sequence[ColumnProfile], target: Traits) -> ColumnProfile:
    """Take the kind that holds everything unchanged, else one that holds everything, else the declared."""
    for acceptable in (
        lambda profile: _arrives(profile, target),
        holds_all,
        lambda profile: not profile.failed_count,
    ):
        for profile in profiles:
            if acceptable(profile):
                return profile
    return profiles[0]


def _keys_there(pair: TablePair, pairs: Mapping[str, TablePair]) -> dict[str, ForeignKey]:
    """Return the foreign keys that the target's table has, in the names of the source.

    One that refers to rows which are only in the target cannot be asked about here.
    """
    found = {}
    for key in pair.target.foreign_keys if pair.target is not None else ():
        parent = pairs.get(key.target_table)
        if parent is None:
            continue
        ours, theirs = _names_here(pair), _names_here(parent)
        if all(name in ours for name in key.columns) and all(name in theirs for name in key.target_columns):
            found[label(key)] = dataclasses.replace(
                key,
                columns=tuple(ours[name] for name in key.columns),
                target_table=parent.source.name,
                target_columns=tuple(theirs[name] for name in key.target_columns),
            )
    return found


def _names_here(pair: TablePair) -> dict[str, str]:
    """Return the source's name of each column, by the name in the target."""
    return {column.name if there is None else there.name: column.name for column, there in pair.columns}


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
