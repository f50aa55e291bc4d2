"""Compares two schemas as values: what one has and the other does not, table by table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from migration.choice import Choice
from migration.difference import Difference
from migration.model import Column, ForeignKey, Index, Schema, Table
from migration.plan import TablePair, label


def compare_schemas(source: Schema, target: Schema, choice: Choice) -> tuple[Difference, ...]:
    """Return everything in which two schemas differ, in an order that never changes between runs.

    Types are compared by what they mean, not by how an engine spells them, and so are conditions and
    defaults: only whether there is one. What was chosen to be left out is not looked at.
    """
    found: list[Difference] = []
    chosen = choice.of(source, target, are_types_made=False)
    source, pairs = chosen.schema, chosen.pairs
    target = target.without(frozenset(chosen.left_out))
    for pair in pairs:
        if pair.target is None:
            found.append(Difference("missing table", pair.target_name))
        else:
            found += _compare_tables(pair, pair.target, dict(_table_names(pairs)))
    paired = {pair.target_name for pair in pairs}
    found += [Difference("extra table", table.name) for table in target.tables if table.name not in paired]
    for what, ours, theirs in (
        ("view", {view.name for view in source.views}, {view.name for view in target.views}),
        (
            "trigger",
            {trigger.name for trigger in source.triggers},
            {trigger.name for trigger in target.triggers},
        ),
    ):
        found += [Difference(f"missing {what}", name) for name in sorted(ours - theirs)]
        found += [Difference(f"extra {what}", name) for name in sorted(theirs - ours)]
    return tuple(found)


def missing_indexes(
    source: Table, target: Table, renames: Mapping[str, str]
) -> Iterator[tuple[Index, tuple[str, ...]]]:
    """Yield the indexes of a table that nothing in the other serves, with their columns as named there."""
    there = {tuple(part.text for part in index.parts) for index in target.indexes}
    there |= {unique.columns for unique in target.uniques} | {target.primary_key}
    for index in source.indexes:
        columns = tuple(renames.get(part.text, part.text) for part in index.parts)
        if columns not in there:
            yield index, columns


def missing_foreign_keys(source: Table, target: Table, renames: Mapping[str, str]) -> Iterator[ForeignKey]:
    """Yield the foreign keys of a table that the other does not have."""
    yield from _missing_keys(source, target, renames, {})


def _missing_keys(
    source: Table, target: Table, columns: Mapping[str, str], tables: Mapping[str, str]
) -> Iterator[ForeignKey]:
    there = {(key.columns, key.target_table) for key in target.foreign_keys}
    for key in source.foreign_keys:
        named = tuple(columns.get(name, name) for name in key.columns)
        if (named, tables.get(key.target_table, key.target_table)) not in there:
            yield key


def _table_names(pairs: Iterable[TablePair]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        yield pair.source.name, pair.target_name


def _compare_tables(pair: TablePair, target: Table, tables: Mapping[str, str]) -> Iterator[Difference]:
    name = pair.target_name
    renames = {column.name: there.name for column, there in pair.columns if there is not None}
    for column, there in pair.columns:
        if there is None:
            yield Difference("missing column", name, "", column.name)
        else:
            yield from _compare_columns(name, column, there)
    for column in target.columns:
        if column.name not in renames.values():
            yield Difference("extra column", name, "", column.name)
    key = tuple(renames.get(part, part) for part in pair.source.primary_key)
    if key != target.primary_key:
        yield Difference("primary key", name, source=", ".join(key), target=", ".join(target.primary_key))
    yield from _compare_rules(pair.source, target, renames, tables)


def _compare_columns(table: str, column: Column, there: Column) -> Iterator[Difference]:
    if there.kind is not column.kind:
        ours = f"{column.declared or 'no type'} ({column.kind.value})"
        yield Difference("type", table, "", there.name, ours, f"{there.declared} ({there.kind.value})")
    if there.nullable != column.nullable:
        sides = ["may be NULL" if nullable else "NOT NULL" for nullable in (column.nullable, there.nullable)]
        yield Difference("nullability", table, "", there.name, *sides)
    if (there.default is None) != (column.default is None) and not there.automatic:
        yield Difference("default", table, "", there.name, column.default or "none", there.default or "none")
    if (there.generated is None) != (column.generated is None):
        yield Difference(
            "generated column", table, "", there.name, column.generated or "no", there.generated or "no"
        )


def _compare_rules(
    source: Table, target: Table, renames: Mapping[str, str], tables: Mapping[str, str]
) -> Iterator[Difference]:
    back = {there: here for here, there in renames.items()}
    for index, columns in missing_indexes(source, target, renames):
        yield Difference("missing index", target.name, f"{index.name} ({', '.join(columns)})")
    for index, columns in missing_indexes(target, source, back):
        yield Difference("extra index", target.name, f"{index.name} ({', '.join(columns)})")
    ours = {tuple(renames.get(name, name) for name in columns) for columns in _unique_columns(source)}
    theirs = set(_unique_columns(target))
    for columns in sorted(ours - theirs):
        yield Difference("missing uniqueness", target.name, f"({', '.join(columns)})")
    for columns in sorted(theirs - ours):
        yield Difference("extra uniqueness", target.name, f"({', '.join(columns)})")
    for key in _missing_keys(source, target, renames, tables):
        yield Difference("missing foreign key", target.name, label(key))
    for key in _missing_keys(target, source, back, {there: here for here, there in tables.items()}):
        yield Difference("extra foreign key", target.name, label(key))
    if len(source.checks) != len(target.checks):
        sides = {"source": str(len(source.checks)), "target": str(len(target.checks))}
        yield Difference("number of checks", target.name, **sides)


def _unique_columns(table: Table) -> Iterator[tuple[str, ...]]:
    """Yield the columns of every rule that no two rows are alike in, conditions included."""
    for unique in table.uniques:
        yield unique.columns
    for index in table.indexes:
        if index.unique:
            yield tuple(part.text for part in index.parts)
