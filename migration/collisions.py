"""Finds rows that differ in the source and would be equal under a unique key of the target.

That happens when a key's values are converted (two spellings of one instant), when the target's column
compares without case or accents, and when the target has a rule that the source does not have. Only such
keys are looked at; their rows are read once, and hashed onto disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from migration.backends import Snapshot
from migration.conversion import has_value
from migration.digest import Canonical, canonical, row_hashes
from migration.look import clause, own_kind
from migration.model import Kind, ScanColumn, Table, TableProfile
from migration.plan import ColumnPlan, Hazard, Plan, Severity, TablePlan
from migration.profile import EXAMPLES
from migration.spelling import show_at
from migration.traits import Traits
from migration.translation import Untranslatable, translate_expression

NAME = "equal-under-key"
# Half of a SHA-256 names a value within one table: a chance meeting needs some 2^64 rows.
HASH_BYTES = 16
# Keys looked through in memory at once, and the most files that lie open.
PART_ROWS = 100_000
LARGEST_PART_COUNT = 200
# Kinds in which one value has one spelling only, whatever it was read from.
_ONE_SPELLING = (Kind.TEXT, Kind.BYTES, Kind.ANY)


@dataclass(frozen=True)
class _Rule:
    """A rule of the target that no two rows are equal in these columns; some rules hold for some rows."""

    columns: tuple[ColumnPlan, ...]
    condition: str | None


@dataclass(frozen=True)
class _Pieces:
    """What a table is looked at with."""

    table: TablePlan
    profile: TableProfile
    source: Traits
    target: Traits


async def find_collisions(
    snapshot: Snapshot, plan: Plan, profiles: Mapping[str, TableProfile], source: Traits, target: Traits
) -> tuple[Hazard, ...]:
    """Return a hazard for each unique key of the target under which rows of the source would be equal."""
    found = []
    for table in plan.tables:
        pieces = _Pieces(table, profiles[table.source.name], source, target)
        for rule in _rules(table):
            folding = [column for column in rule.columns if column.target.collation and not table.is_new]
            if rule.condition is not None:
                hazard = await _under_condition(snapshot, pieces, rule)
            elif folding or any(_merges(column, pieces) for column in rule.columns):
                hazard = await _after_conversion(snapshot, pieces, rule, folding)
            elif not _is_unique_already(table.source, rule):
                hazard = await _after_conversion(snapshot, pieces, rule, [])
            else:
                continue
            found += [hazard] if hazard is not None else []
    return tuple(found)


def _rules(table: TablePlan) -> Iterator[_Rule]:
    """Return the unique rules of a target's table whose columns all come from the source."""
    by_name = {column.target.name: column for column in table.columns}
    target = table.target
    keys: list[tuple[Sequence[str], str | None]] = [(target.primary_key, None)] if target.primary_key else []
    keys += [(unique.columns, None) for unique in target.uniques]
    keys += [
        ([part.text for part in index.parts], index.condition)
        for index in target.indexes
        if index.unique and not any(part.is_expression for part in index.parts)
    ]
    # A partial rule of a new table is the source's own.
    keys = [key for key in keys if not (table.is_new and key[1] is not None)]
    seen = []
    for names, condition in keys:
        if all(name in by_name for name in names) and (names, condition) not in seen:
            seen.append((names, condition))
            yield _Rule(tuple(by_name[name] for name in names), condition)


def _merges(column: ColumnPlan, pieces: _Pieces) -> bool:
    """Tell whether two values that differ in the source can become one."""
    if column.fraction_digits is not None:
        return True
    if pieces.source.keeps_storage_classes:
        classes = pieces.profile.columns[column.source.name].storage.keys() - {"null"}
        return column.kind not in _ONE_SPELLING and (len(classes) > 1 or "text" in classes)
    return column.kind is Kind.JSON or column.kind is not column.source.kind


def _is_unique_already(source: Table, rule: _Rule) -> bool:
    """Tell whether the source lets no two rows be equal in these columns, or in some of them."""
    columns = {column.source.name for column in rule.columns}
    keys = [unique.columns for unique in source.uniques] + [source.primary_key]
    keys += [
        tuple(part.text for part in index.parts)
        for index in source.indexes
        if index.unique and index.condition is None and not any(part.is_expression for part in index.parts)
    ]
    return any(key and columns.issuperset(key) for key in keys)


async def _under_condition(snapshot: Snapshot, pieces: _Pieces, rule: _Rule) -> Hazard | None:
    """Let the source itself look for rows that a rule for some rows forbids."""
    table = pieces.table
    kinds = {column.target.name: column.kind for column in table.columns}
    try:
        condition = translate_expression(str(rule.condition), pieces.target, pieces.source, kinds)
    except Untranslatable:
        # What nobody can ask about beforehand is found when the rows are loaded.
        return None
    if any(column.source.name != column.target.name for column in table.columns):
        names = {column.target.name for column in table.columns if column.source.name != column.target.name}
        if any(name in condition for name in names):
            return None
    source = clause(table.source)
    key = [source.c[column.source.name] for column in rule.columns]
    filled = sa.and_(sa.text(condition.replace(":", "\\:")), *[part.is_not(None) for part in key])
    groups = sa.select(*key, sa.func.count()).where(filled).group_by(*key).having(sa.func.count() > 1)
    found = await snapshot.rows(groups)
    shown = [column.source.name for column in rule.columns]
    examples = tuple(
        ", ".join(f"{name}={value!r}" for name, value in zip(shown, row, strict=False)) + f" ({row[-1]} rows)"
        for row in found[:EXAMPLES]
    )
    return _hazard(table, rule, sum(int(row[-1]) for row in found), examples, is_certain=False)


async def _after_conversion(
    snapshot: Snapshot, pieces: _Pieces, rule: _Rule, folding: Sequence[ColumnPlan]
) -> Hazard | None:
    """Read the key as it will arrive, and count the rows that are equal then."""
    table = pieces.table
    folded = {column.source.name for column in folding}
    columns = [ScanColumn(column.source, column.kind, column.fraction_digits) for column in rule.columns]
    named = [name for name in table.source.primary_key if name not in {c.column.name for c in columns}]
    shown = [ScanColumn(table.source.column(name), table.source.column(name).kind) for name in named]
    with tempfile.TemporaryDirectory(prefix="migration-bench-") as folder:
        seen = _Seen(Path(folder), table.row_count)
        try:
            async for scanned in snapshot.scan(table.source, [*columns, *shown]):
                batch = scanned.batch
                await asyncio.to_thread(seen.add, batch, columns, folded, pieces.source)
            count, examples = await asyncio.to_thread(seen.repeated)
        finally:
            seen.close()
    return _hazard(table, rule, count, examples, is_certain=not folding)


def _hazard(
    table: TablePlan, rule: _Rule, count: int, examples: tuple[str, ...], *, is_certain: bool
) -> Hazard | None:
    if not count:
        return None
    columns = ", ".join(column.target.name for column in rule.columns)
    where = f", for rows where {rule.condition}" if rule.condition else ""
    will = "are" if is_certain else "may be"
    return Hazard(
        NAME,
        Severity.BLOCKING if is_certain else Severity.HAZARD,
        f"Rows differ here and {will} equal in the target, where ({columns}) is unique{where}",
        table=table.source.name,
        column=columns,
        count=count,
        examples=examples,
    )


class _Seen:
    """Keys of rows on disk: what each is as the target sees it, and how it is written in the source.

    They lie in parts that are small enough to be looked through in memory, equal keys in the same one.
    """

    def __init__(self, folder: Path, row_count: int) -> None:
        part_count = min(LARGEST_PART_COUNT, row_count // PART_ROWS + 1)
        self._files: list[IO[bytes]] = [(folder / f"part-{part}").open("w+b") for part in range(part_count)]

    def add(
        self, batch: pa.RecordBatch, columns: Sequence[ScanColumn], folded: set[str], traits: Traits
    ) -> None:
        """Note the keys of a batch; one with a NULL in it is equal to no other."""
        values = [
            _folded(found) if column.column.name in folded else found
            for column, found in zip(columns, _canonical(batch, columns, traits), strict=True)
        ]
        hashes = row_hashes(values, batch.num_rows)[:, :HASH_BYTES]
        filled = np.ones(batch.num_rows, dtype=bool)
        for value in values:
            filled &= has_value(value.array)
        for at in np.flatnonzero(filled).tolist():
            name = hashes[at].tobytes()
            label = ", ".join(show_at(batch.column(place), at) for place in range(batch.num_columns)).encode()
            file = self._files[int.from_bytes(name[:8], "little") % len(self._files)]
            file.write(name + len(label).to_bytes(4, "little") + label)

    def repeated(self) -> tuple[int, tuple[str, ...]]:
        """Return how many rows share a key with another, and some of them."""
        count, examples = 0, []
        for file in self._files:
            labels: dict[bytes, list[str]] = {}
            file.seek(0)
            while name := file.read(HASH_BYTES):
                size = int.from_bytes(file.read(4), "little")
                labels.setdefault(name, []).append(file.read(size).decode(errors="replace"))
            equal = sorted(group for group in labels.values() if len(group) > 1)
            count += sum(map(len, equal))
            examples += [" and ".join(sorted(group)[:EXAMPLES]) for group in equal[:EXAMPLES]]
        return count, tuple(examples[:EXAMPLES])

    def close(self) -> None:
        """Give the files back."""
        for file in self._files:
            file.close()


def _canonical(batch: pa.RecordBatch, columns: Sequence[ScanColumn], traits: Traits) -> list[Canonical]:
    return [
        canonical(batch.column(at), own_kind(column, traits), column.kind, column.fraction_digits)
        for at, column in enumerate(columns)
    ]


def _folded(found: Canonical) -> Canonical:
    """Take case, accents and spaces at the end off texts: what any comparison that is not by bytes may do."""
    array = found.array
    if pa.types.is_struct(array.type):
        fields = [array.type.field(at) for at in range(array.type.num_fields)]
        parts = [_plain_texts(pc.struct_field(array, at)) for at in range(len(fields))]
        return Canonical(pa.StructArray.from_arrays(parts, fields=fields), found.strays)
    return Canonical(_plain_texts(array), found.strays)


def _plain_texts(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array
    return pa.array([None if text is None else _plain(text) for text in array.to_pylist()], pa.string())


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).rstrip(" ")
