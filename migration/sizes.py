"""Chooses how large the columns of a new table are: lengths, digits, and what a key or a row has room for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from migration.fitting import Findings
from migration.model import Column, ColumnProfile, Kind, Table, TableProfile
from migration.plan import ColumnPlan, Severity
from migration.traits import Traits

# The kinds whose columns need a size before they can be in a key, where the target asks for one.
_SIZED_KINDS = (Kind.TEXT, Kind.BYTES)
_NEVER_SIZED = (Kind.JSON,)
# What people write who need a limit and know none.
KEY_CHARACTERS = 255


class Sizes:
    """Chooses sizes column by column and notes where they differ from what was declared.

    Parameters
    ----------
    target
        What the engine of the new tables can hold.
    findings
        Where hazards are noted.
    """

    def __init__(self, target: Traits, findings: Findings) -> None:
        self._target, self._findings = target, findings

    def size(self, table: Table, column: Column, found: ColumnProfile) -> int | None:
        """Return the most characters that a new column takes, or ``None`` for no limit."""
        room = self._room_in_keys(table, column.name, found.kind)
        if room is not None:
            return self._key_size(table, column, found, room)
        if found.kind is not Kind.TEXT or column.size is None or found.longest_characters <= column.size:
            return column.size if found.kind is Kind.TEXT else None
        self._findings.add(
            "length-not-kept",
            Severity.NOTICE,
            f"Declared as {column.declared}, but values are up to {found.longest_characters} characters "
            "long: the new column has no limit",
            table=table.name,
            column=column.name,
            count=found.longest_characters,
        )
        return None

    def precision(self, table: Table, column: Column, found: ColumnProfile) -> tuple[int | None, int | None]:
        """Return how many digits a new decimal has, and how many of them behind its point."""
        precision, scale = self._declared_precision(table, column, found)
        digits, most = self._target.decimal_digits, self._target.decimal_scale
        if digits is None or most is None or found.kind is not Kind.DECIMAL:
            return precision, scale
        if precision is not None and precision <= digits and 0 <= (scale or 0) <= most:
            return precision, scale
        # There is no decimal without a limit: the widest that holds every value.
        return digits, max(found.fraction_digits, min(most, digits - found.integer_digits))

    def _declared_precision(
        self, table: Table, column: Column, found: ColumnProfile
    ) -> tuple[int | None, int | None]:
        if found.kind is not Kind.DECIMAL or column.precision is None:
            return None, None
        scale = column.scale or 0
        if found.integer_digits <= column.precision - scale and found.fraction_digits <= scale:
            return column.precision, column.scale
        self._findings.add(
            "precision-not-kept",
            Severity.NOTICE,
            f"Declared as {column.declared}, but values need {found.integer_digits} digits before the point "
            f"and {found.fraction_digits} behind it: the new column has no limit",
            table=table.name,
            column=column.name,
        )
        return None, None

    def _why_not_sized(self, table: Table, columns: Sequence[str], profile: TableProfile) -> str:
        for name in columns:
            found = profile.columns[name]
            room = self._room_in_keys(table, name, found.kind)
            if found.kind in _NEVER_SIZED:
                return f"{name} is {found.kind.value}, which the target has no index for"
            longest = _longest(found)
            if room is not None and longest > room:
                return f"values of {name} are up to {longest} long, and an index of the target takes {room}"
        return ""

    def _room_in_keys(self, table: Table, name: str, kind: Kind) -> int | None:
        """Return how long a value may be beside the others of its keys and indexes, where that is limited."""
        limit = self._target.index_bytes
        if not self._target.sized_keys or limit is None or kind not in _SIZED_KINDS:
            return None
        keys = [key for key in _trees(table) if name in key]
        if not keys:
            return None
        width = self._target.bytes_per_character if kind is Kind.TEXT else 1
        return limit // max(len(key) for key in keys) // width

    def _key_size(self, table: Table, column: Column, found: ColumnProfile, room: int) -> int | None:
        """Give a column of a key the size that it must have, or none when its values are too long."""
        longest = _longest(found)
        if longest > room:
            return None
        if column.size is not None and longest <= column.size <= room:
            return column.size
        size = KEY_CHARACTERS if longest <= KEY_CHARACTERS <= room else room
        self._findings.add(
            "length-limited",
            Severity.NOTICE,
            f"It is in a key or an index, which needs a limit: the new column takes {size} "
            f"{'characters' if found.kind is Kind.TEXT else 'bytes'}, and the longest value has {longest}",
            table=table.name,
            column=column.name,
        )
        return size

    def within_a_row(self, table: Table, columns: list[ColumnPlan]) -> list[ColumnPlan]:
        """Take the limit off the longest columns until all of them fit into a row."""
        limit, width = self._target.row_bytes, self._target.bytes_per_character
        in_keys = {name for key in _trees(table) for name in key}
        count, most = len(columns), self._target.column_count
        if most is not None and count > most:
            sentence = f"It has {count} columns, and the target's tables have {most} at most"
            self._findings.add("too-many-columns", Severity.BLOCKING, sentence, table=table.name)
        if limit is None:
            return columns
        free = [column for column in columns if column.target.size and column.source.name not in in_keys]
        for column in sorted(free, key=lambda column: column.target.size or 0, reverse=True):
            if sum(_row_bytes(other.target, width) for other in columns) <= limit:
                break
            self._findings.add(
                "length-not-kept",
                Severity.NOTICE,
                f"Declared as {column.source.declared}, but a row of the target has no room for that: the "
                "new column has no limit",
                table=table.name,
                column=column.source.name,
            )
            columns[columns.index(column)] = dataclasses.replace(
                column, target=dataclasses.replace(column.target, size=None)
            )
        return columns

    def is_too_long_a_decimal(self, table: Table, column: Column, found: ColumnProfile) -> bool:
        """Tell whether the target has no decimal for these values, so that they are kept as text."""
        digits, limit = found.integer_digits + found.fraction_digits, self._target.decimal_digits
        scale = self._target.decimal_scale
        if found.kind is not Kind.DECIMAL or limit is None:
            return False
        fits = digits <= limit and (scale is None or found.fraction_digits <= scale)
        # Beside digits stands only what has digits.
        if fits and not (found.nan_count and scale is not None):
            return False
        self._findings.add(
            "decimal-as-text",
            Severity.NOTICE,
            f"Values have up to {digits} digits; the new column keeps them as text, digit for digit",
            table=table.name,
            column=column.name,
        )
        return True

    def why_no_key(self, table: Table, columns: Sequence[str], profile: TableProfile) -> str:
        """Return why these values cannot be the entries of a key or an index, or nothing."""
        if self._target.sized_keys:
            return self._why_not_sized(table, columns, profile)
        size = sum(profile.columns[name].longest_bytes for name in columns)
        limit = self._target.index_bytes
        if limit is None or size <= limit:
            return ""
        return f"its entries are up to {size} bytes long, and the target indexes {limit}"


def _trees(table: Table) -> Iterable[tuple[str, ...]]:
    """Return the columns of each key, rule and index of a table."""
    yield table.primary_key
    yield from (unique.columns for unique in table.uniques)
    yield from (key.columns for key in table.foreign_keys)
    for index in table.indexes:
        yield tuple(part.text for part in index.parts if not part.is_expression)


def _longest(found: ColumnProfile) -> int:
    return found.longest_characters if found.kind is Kind.TEXT else found.longest_bytes


def _row_bytes(column: Column, width: int) -> int:
    """Return what a sized column takes of a row at most; others lie elsewhere or are small."""
    return (column.size or 0) * (width if column.kind is Kind.TEXT else 1) + 16


def why_too_long(name: str, target: Traits) -> str:
    """Return why a name is too long for the target, or nothing."""
    for size, limit, unit in (
        (len(name.encode()), target.identifier_bytes, "bytes"),
        (len(name), target.identifier_characters, "characters"),
    ):
        if limit is not None and size > limit:
            return f"the name has {size} {unit}, and the target keeps {limit}"
    return ""


def why_not_taken(name: str, target: Traits) -> str:
    """Return why the target takes no such name, whatever its length, or nothing."""
    if target.refused_names is not None and (found := re.search(target.refused_names, name)):
        return f"the target takes no name with {found.group()!a} in this place"
    return ""
