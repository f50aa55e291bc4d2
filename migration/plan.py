"""A plan is data: which table goes where, as what, and everything that would be lost or changed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from migration.errors import UsageError
from migration.model import Column, ForeignKey, Kind, Schema, Table, Trigger, View, fingerprint


class Severity(enum.Enum):
    """What a hazard asks of the user."""

    BLOCKING = "blocking"  # cannot be accepted: something must be mended or mapped first
    HAZARD = "hazard"  # refused until accepted by name
    SET_ASIDE = "set aside"  # its rows do not go, and are kept in a file
    NOTICE = "notice"  # worth knowing; nothing is lost


@dataclass(frozen=True)
class Hazard:
    """One thing that would not arrive as it was.

    ``count`` is exact; ``examples`` are few; ``sentence`` says it to a person.
    """

    name: str
    severity: Severity
    sentence: str
    table: str = ""
    column: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()

    @property
    def acceptance(self) -> str:
        """What ``--accept`` takes for it; where a winner must be named, the target, whose rows then stay."""
        return f"{self.name}:{self.table}=target" if self.name == TARGET_ROWS else self.name

    def accepted_by(self, accept: Iterable[str]) -> bool:
        """Tell whether one of the names given with ``--accept`` covers this hazard."""
        if self.severity is not Severity.HAZARD:
            return self.severity is not Severity.BLOCKING
        if self.name == TARGET_ROWS:  # only a winner named for this very table will do
            return winner(self.table, accept) != ""
        names = {self.name, f"{self.name}:{self.table}", f"{self.name}:{self.table}.{self.column}"}
        return not names.isdisjoint(accept)


TARGET_ROWS = "target-rows"


def winner(table: str, accept: Iterable[str]) -> str:
    """Return whose rows of a table stay, ``source`` or ``target``; empty unless just one of them is named."""
    accepted = set(accept)
    named = [side for side in ("source", "target") if f"{TARGET_ROWS}:{table}={side}" in accepted]
    return named[0] if len(named) == 1 else ""


# Hazards with which there is nothing to try: no table could be made under such names.
UNMAKEABLE = frozenset({"name-not-held", "name-taken-twice", "name-too-long", "too-many-columns"})


@dataclass(frozen=True)
class ColumnPlan:
    """One column's way: where from, where to, and the kind it is carried and compared as.

    ``fraction_digits`` is how many digits of a second's fraction arrive; ``None`` means all.
    """

    source: Column
    target: Column
    kind: Kind
    fraction_digits: int | None = None


@dataclass(frozen=True)
class TablePlan:
    """One table's way.

    ``key`` names, in the source, the columns that tell rows apart (empty: only the whole row does);
    ``next_number`` is the id that the next row must get; ``replaces_rows`` means that rows the target
    had of its own go first.
    """

    source: Table
    target: Table
    columns: tuple[ColumnPlan, ...]
    is_new: bool
    key: tuple[str, ...] = ()
    row_count: int = 0
    next_number: int | None = None
    replaces_rows: bool = False

    @property
    def key_positions(self) -> tuple[int, ...]:
        """Positions of the key's columns among :attr:`columns`."""
        names = [column.source.name for column in self.columns]
        return tuple(names.index(name) for name in self.key)

    @property
    def written(self) -> tuple[ColumnPlan, ...]:
        """Columns whose values are written; the rest are computed by the target and only compared."""
        return tuple(column for column in self.columns if column.target.generated is None)


@dataclass(frozen=True)
class Plan:
    """Everything a migration will do, before it does any of it; tables in the order of loading."""

    tables: tuple[TablePlan, ...]
    views: tuple[View, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    hazards: tuple[Hazard, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    source_fingerprint: str = ""
    target_fingerprint: str = ""

    @property
    def fingerprint(self) -> str:
        """Name this plan: another source schema, target schema or way of any column gives another name."""
        rows_apart = tuple(dataclasses.replace(table, row_count=0, next_number=None) for table in self.tables)
        return fingerprint(
            (rows_apart, self.views, self.triggers, self.source_fingerprint, self.target_fingerprint)
        )

    def refused(self, accept: Iterable[str]) -> tuple[Hazard, ...]:
        """Return the hazards that keep this plan from being carried out."""
        accepted = tuple(accept)
        return tuple(hazard for hazard in self.hazards if not hazard.accepted_by(accepted))

    @property
    def can_be_made(self) -> bool:
        """Whether the target could be asked to make it; it cannot where names or numbers are too many."""
        return not any(hazard.name in UNMAKEABLE for hazard in self.hazards)

    @property
    def new_tables(self) -> tuple[TablePlan, ...]:
        """Tables that the target does not have yet."""
        return tuple(table for table in self.tables if table.is_new)


@dataclass(frozen=True)
class TablePair:
    """A table of the source beside the one it goes into, column beside column; ``None`` is not there yet.

    ``types`` are what the user chose for columns of a new table, by the name in the source.
    """

    source: Table
    target: Table | None
    target_name: str
    columns: tuple[tuple[Column, Column | None], ...]
    types: Mapping[str, Column] = field(default_factory=dict)


def pair_tables(source: Schema, target: Schema, mapping: Mapping[str, str]) -> tuple[TablePair, ...]:
    """Put each table of the source beside the one of the target it goes into.

    Parameters
    ----------
    mapping
        ``{"table": "other_table", "table.column": "table.other_column"}``; names that are not mapped
        go to the same name.

    Raises
    ------
    UsageError
        When the mapping names something the source does not have.
    """
    known = {table.name for table in source.tables}
    known |= {f"{table.name}.{column.name}" for table in source.tables for column in table.columns}
    for name in mapping:
        if name not in known:
            raise UsageError(
                f"The mapping names {name!r}, which the source does not have", done="Nothing was touched"
            )
    pairs = []
    for table in source.tables:
        target_name = mapping.get(table.name, table.name)
        found = target.table(target_name) if target.has(target_name) else None
        pairs.append(TablePair(table, found, target_name, _pair_columns(table, found, target_name, mapping)))
    return tuple(pairs)


def _pair_columns(
    table: Table, target: Table | None, target_name: str, mapping: Mapping[str, str]
) -> tuple[tuple[Column, Column | None], ...]:
    there = {column.name: column for column in target.columns} if target is not None else {}
    pairs = []
    for column in table.columns:
        wanted = _wanted_name(column, table, target_name, mapping)
        found = there.get(wanted)
        if target is None and wanted != column.name:
            # A new table simply gets the new name.
            found = dataclasses.replace(column, name=wanted)
        pairs.append((column, found))
    return tuple(pairs)


def _wanted_name(column: Column, table: Table, target_name: str, mapping: Mapping[str, str]) -> str:
    """Return a column's name in the target; ``table.`` before it is said by the mapping, not part of it."""
    mapped = mapping.get(f"{table.name}.{column.name}", column.name)
    if mapped == column.name:
        return mapped
    # A name may hold dots of its own, so no more than the table's is taken off.
    prefix = next((name for name in (target_name, table.name) if mapped.startswith(f"{name}.")), None)
    return mapped if prefix is None else mapped.removeprefix(f"{prefix}.")


def load_order(tables: Iterable[TablePlan]) -> tuple[TablePlan, ...]:
    """Order tables so that each comes after those it refers to, where no circle forbids it."""
    waiting = {table.target.name: table for table in sorted(tables, key=lambda table: table.target.name)}
    needed = {name: _needed(name, waiting) for name in waiting}
    ordered: dict[str, TablePlan] = {}
    while waiting:
        circles = ({name, *(other for other in needed[name] if name in needed[other])} for name in waiting)
        # What only refers to a circle is not of it, and comes after all of it.
        circle = next(
            circle for circle in circles if all(needed[name] <= ordered.keys() | circle for name in circle)
        )
        first, *others = [waiting.pop(name) for name in sorted(circle)]
        # In a circle somebody has to be first; foreign keys are held back while rows are loaded.
        ordered |= {table.target.name: table for table in (first, *load_order(others))}
    return tuple(ordered.values())


def _needed(name: str, waiting: Mapping[str, TablePlan]) -> set[str]:
    """Return the tables that one refers to, directly or through others, as far as they are waiting."""
    needed: set[str] = set()
    unseen = [name]
    while unseen:
        for key in waiting[unseen.pop()].target.foreign_keys:
            other = key.target_table
            if other in waiting and other not in needed and other != name:
                needed.add(other)
                unseen.append(other)
    return needed


def label(item: ForeignKey) -> str:
    """Name a foreign key for a person, whether or not it has a name."""
    written = f"({', '.join(item.columns)}) -> {item.target_table}({', '.join(item.target_columns)})"
    return f"{item.name} {written}" if item.name else written
