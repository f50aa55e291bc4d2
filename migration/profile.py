"""Counts what the columns of a table really hold, batch by batch, and chooses a kind that holds all of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from migration.conversion import NOWHERE, Positions
from migration.limits import invalid_text
from migration.model import Column, ColumnProfile, Kind, ScanColumn
from migration.refusal import examined, texts_of
from migration.spelling import normal_decimals, repeated_keys, show_at
from migration.values import convert, storage_counts

# A report shows this many examples of anything, with the exact count beside them.
EXAMPLES = 5
# An infinity fits into no decimal with a limit; no limit is as large as this.
INFINITE_DIGITS = 1_000_000

_LADDERS: dict[Kind, tuple[Kind, ...]] = {
    Kind.BOOLEAN: (Kind.BOOLEAN, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.INTEGER: (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.DECIMAL: (Kind.DECIMAL, Kind.FLOAT),
    Kind.FLOAT: (Kind.FLOAT, Kind.DECIMAL),
    Kind.TEXT: (Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.BYTES: (Kind.BYTES, Kind.TEXT, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.DATE: (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.TIME: (Kind.TIME, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.TIMESTAMP: (Kind.TIMESTAMP, Kind.INSTANT, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.INSTANT: (Kind.INSTANT, Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT),
    Kind.JSON: (Kind.JSON,),
    # Text before decimal: digits that were stored as text, such as 007, stay that.
    Kind.ANY: (Kind.INTEGER, Kind.FLOAT, Kind.TEXT, Kind.DECIMAL),
}


def ladder(kind: Kind) -> tuple[Kind, ...]:
    """Return the kinds to try for a new column, the declared one first, the one that takes text last.

    The first that holds every value unchanged is chosen. Bytes end every ladder, for text in bytes
    that are no UTF-8; a column that even they change is a hazard.
    """
    steps = _LADDERS[kind]
    return steps + tuple(last for last in (Kind.TEXT, Kind.BYTES) if last not in steps)


def holds_all(profile: ColumnProfile) -> bool:
    """Tell whether every value becomes the profile's kind and stays what it was."""
    return not (profile.failed_count or profile.changed_count)


class Profiler:
    """Adds up the profile of some columns of one table.

    Parameters
    ----------
    columns
        What is read, with the kind each value is wanted as.
    own_kinds
        What the arrays hold when they arrive: the column's own kind, or ANY.
    key
        Positions in a batch, and names, of the columns that name a row in examples.
    targets
        The existing column that each one goes into, or ``None``.
    """

    def __init__(
        self,
        columns: Sequence[ScanColumn],
        own_kinds: Sequence[Kind],
        key: Sequence[tuple[int, str]],
        targets: Sequence[Column | None],
    ) -> None:
        self._targets = targets
        self._columns = columns
        self._own_kinds = own_kinds
        self._key = key
        self._profiles = [ColumnProfile(kind=wanted.kind) for wanted in columns]
        self.row_count = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Count one batch."""
        for position, wanted in enumerate(self._columns):
            self._profiles[position] = self._merge(self._profiles[position], batch, position, wanted)
        self.row_count += batch.num_rows

    def finish(self) -> dict[str, ColumnProfile]:
        """Return the profiles, by column name."""
        return {
            wanted.column.name: profile for wanted, profile in zip(self._columns, self._profiles, strict=True)
        }

    def _merge(
        self, before: ColumnProfile, batch: pa.RecordBatch, at: int, wanted: ScanColumn
    ) -> ColumnProfile:
        array, own = batch.column(at), self._own_kinds[at]
        converted = convert(array, own, wanted.kind, wanted.fraction_digits)
        found: dict[str, Any] = {}
        for name, positions in (
            *examined(array, converted, wanted.kind, self._targets[at]).items(),
            ("changed", converted.changed),
            ("rounded", converted.rounded),
            ("repeated_key", repeated_keys(converted.array) if wanted.kind is Kind.JSON else NOWHERE),
        ):
            found[f"{name}_count"] = getattr(before, f"{name}_count") + len(positions)
            if hasattr(before, f"{name}_examples"):
                examples = getattr(before, f"{name}_examples")
                found[f"{name}_examples"] = self._examples(examples, batch, at, positions)
        characters, size = _longest(converted.array, array)
        smallest, largest = _range(array)
        whole, fraction = _digits(converted.array) if wanted.kind is Kind.DECIMAL else (0, 0)
        return dataclasses.replace(
            before,
            storage=_add(before.storage, storage_counts(array)),
            forms=_add(before.forms, converted.forms),
            longest_characters=max(before.longest_characters, characters),
            longest_bytes=max(before.longest_bytes, size),
            smallest=_least(before.smallest, smallest),
            largest=_greatest(before.largest, largest),
            integer_digits=max(before.integer_digits, whole),
            fraction_digits=max(before.fraction_digits, fraction),
            **found,
        )

    def _examples(
        self, before: tuple[str, ...], batch: pa.RecordBatch, at: int, positions: Positions
    ) -> tuple[str, ...]:
        room = EXAMPLES - len(before)
        return before + tuple(
            f"{self._name_row(batch, int(position))}: {show_at(batch.column(at), int(position))}"
            for position in positions[:room]
        )

    def _name_row(self, batch: pa.RecordBatch, position: int) -> str:
        if not self._key:
            return f"row {self.row_count + position + 1}"
        return ", ".join(f"{name}={show_at(batch.column(at), position)}" for at, name in self._key)


def _longest(converted: pa.Array, stored: pa.Array) -> tuple[int, int]:
    """Return the most characters and the most bytes of any value."""
    texts = converted if pa.types.is_string(converted.type) else texts_of(stored)
    raw = converted if pa.types.is_binary(converted.type) else texts
    size = pc.max(pc.binary_length(raw.cast(pa.binary()))).as_py() or 0
    characters = 0 if len(invalid_text(texts)) else pc.max(pc.utf8_length(texts)).as_py() or 0
    return characters, size


def _range(array: pa.Array) -> tuple[Any, Any]:
    if pa.types.is_struct(array.type):
        ranges = [_range(pc.struct_field(array, i)) for i in range(array.type.num_fields)]
        smallest = largest = None
        for low, high in ranges:
            smallest, largest = _least(smallest, low), _greatest(largest, high)
        return smallest, largest
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        extremes = pc.min_max(array)
        return extremes["min"].as_py(), extremes["max"].as_py()
    return None, None


def _digits(decimals: pa.Array) -> tuple[int, int]:
    """Return the most digits before and behind the point; a zero alone before it is none."""
    plain = pc.ascii_ltrim(normal_decimals(decimals), "-0")
    if pc.any(pc.equal(plain, "Infinity")).as_py():
        return INFINITE_DIGITS, 0
    plain = pc.if_else(pc.equal(plain, "NaN"), "", plain)
    point = pc.find_substring(plain, ".")
    length = pc.utf8_length(plain)
    has_point = pc.greater_equal(point, 0)
    whole = pc.max(pc.if_else(has_point, point, length)).as_py() or 0
    fraction = pc.max(pc.if_else(has_point, pc.subtract(pc.subtract(length, point), 1), 0)).as_py() or 0
    return whole, fraction


def _add(before: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    total = dict(before)
    for name, count in more.items():
        if count:
            total[name] = total.get(name, 0) + count
    return total


def _least(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else min(one, other)


def _greatest(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else max(one, other)
