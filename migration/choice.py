"""What the user chose: which tables go, under which names, as which types.

A choice is made of words; :meth:`Choice.of` holds them against both schemas, and refuses a word that means
nothing there: a choice that was misspelled must not pass for one that was made.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from migration.errors import PlanChanged, UsageError
from migration.model import Column, Kind, Schema, Uncarried, fingerprint
from migration.plan import TablePair, pair_tables
from migration.schema_tools import kept_by_tools

LEFT_OUT = "left out on request"
NOTHING_TOUCHED = "Nothing was touched"
# The name under which a saved choice keeps the fingerprint of all that goes.
WHOLE_SCHEMA = ""
# More names than this in one sentence help nobody.
NAMES_SHOWN = 40

# What can be written for a type, beside the kind it means; a size follows in parentheses.
_WORDS = {
    "boolean": Kind.BOOLEAN,
    "bool": Kind.BOOLEAN,
    "bigint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "decimal": Kind.DECIMAL,
    "numeric": Kind.DECIMAL,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "bytes": Kind.BYTES,
    "blob": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "instant": Kind.INSTANT,
    "timestamptz": Kind.INSTANT,
    "json": Kind.JSON,
}
TYPES_TO_CHOOSE = (
    "boolean, bigint, decimal, decimal(DIGITS,SCALE), float, text, varchar(CHARACTERS), bytes, date, time, "
    "timestamp, instant, json"
)
_TYPE = re.compile(r"\s*([a-z]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Chosen:
    """A choice held against two schemas.

    Attributes
    ----------
    schema
        The source, less what is left out.
    pairs
        Each table that goes, beside the one of the target it goes into.
    left_out
        What stays, with the reason; the target's tables that a schema tool keeps are among it.
    """

    schema: Schema
    pairs: tuple[TablePair, ...]
    left_out: dict[str, str]


@dataclass(frozen=True)
class Choice:
    """Which tables go (all, unless some are named), under which names, as which types.

    ``tables`` and ``excluded`` are names or patterns such as ``audit_*``; ``mapping`` is that of
    :func:`migration.plan.pair_tables`; ``types`` gives a column of a new table (``table.column``) a type as
    :func:`parse_type` reads it. ``made_for`` is the schema that the choice was saved for, if it was:
    see :func:`schema_fingerprints`.
    """

    tables: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    mapping: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    made_for: Mapping[str, str] = field(default_factory=dict)

    def of(self, source: Schema, target: Schema, *, are_types_made: bool = True) -> Chosen:
        """Hold the choice against both schemas.

        Parameters
        ----------
        are_types_made
            Whether tables are to be made: when two databases are only compared, each has its types already.

        Raises
        ------
        UsageError
            When a word of it means nothing in them; the sentence lists what there is.
        PlanChanged
            When it was saved for another schema; the sentence says what differs.
        """
        requested = self._left_out(source)
        # Checked against all of the source: a name that is mapped and left out is no mistake.
        pair_tables(source, target, self.mapping)
        # What is named goes, whoever keeps it.
        named = requested.union(self.tables, (_table_of(name, source) for name in self.mapping))
        kept = {name: why for name, why in kept_by_tools(source).items() if name not in named}
        left_out = dict.fromkeys(requested, LEFT_OUT) | kept
        schema = source.without(frozenset(left_out))
        schema = dataclasses.replace(
            schema, uncarried=tuple(thing for thing in schema.uncarried if _of(thing, source) not in left_out)
        )
        mapping = {
            name: other for name, other in self.mapping.items() if _table_of(name, source) not in left_out
        }
        self._check_schema(schema)
        types = self._types(source, target) if are_types_made else {}
        pairs = tuple(
            dataclasses.replace(pair, types=types.get(pair.source.name, {}))
            for pair in pair_tables(schema, target, mapping)
        )
        taken = {pair.target_name for pair in pairs}
        there = {name: why for name, why in kept_by_tools(target).items() if name not in taken}
        return Chosen(schema, pairs, dict(sorted((there | left_out).items())))

    def _left_out(self, source: Schema) -> set[str]:
        tables = {table.name for table in source.tables} | {_of(thing, source) for thing in source.uncarried}
        names = tables | {view.name for view in source.views}
        wanted = set(tables) if not self.tables else _matching(self.tables, tables, "--table")
        left_out = (tables - wanted) | _matching(self.excluded, names, "--exclude-table")
        if not tables - left_out and tables:
            raise UsageError(
                "No table is left to go", done=NOTHING_TOUCHED, next_step="Name fewer with --exclude-table"
            )
        return left_out

    def _check_schema(self, schema: Schema) -> None:
        """Refuse a schema other than the one that the choice was saved for, and say what differs."""
        there, known = schema_fingerprints(schema), self.made_for
        if WHOLE_SCHEMA not in known:
            # Other tables were chosen since: those of both choices are what can be compared.
            there = {name: found for name, found in there.items() if name in known}
            known = {name: found for name, found in known.items() if name in there}
        if there == known:
            return
        tables = sorted((there.keys() | known.keys()) - {WHOLE_SCHEMA})
        found = [
            f"{name} {'is new' if name not in known else 'has changed' if name in there else 'is gone'}"
            for name in tables
            if there.get(name) != known.get(name)
        ]
        raise PlanChanged(
            "The plan was saved for another schema: "
            f"{', '.join(found) or 'a view, a trigger, or what else is no table, has changed'}",
            next_step="Make it anew with --dry-run --save-plan",
        )

    def _types(self, source: Schema, target: Schema) -> dict[str, dict[str, Column]]:
        """Return the chosen type of each column, by table, as a column without a name."""
        types: dict[str, dict[str, Column]] = {}
        columns = {
            f"{table.name}.{column.name}": (table, column)
            for table in source.tables
            for column in table.columns
        }
        for name, text in self.types.items():
            chosen = parse_type(text, name)
            if name not in columns:
                near = [known for known in columns if known.partition(".")[0] == name.partition(".")[0]]
                raise UsageError(
                    f"--type names {name!r}, which the source does not have",
                    done=NOTHING_TOUCHED,
                    next_step=_there_is("Columns", near or columns),
                )
            table, column = columns[name]
            place = self.mapping.get(table.name, table.name)
            if target.has(place):
                raise UsageError(
                    f"--type cannot change {name}: {place} is in the target already, and keeps its types",
                    done=NOTHING_TOUCHED,
                    next_step="Change the column in the target, or leave out --type",
                )
            types.setdefault(table.name, {})[column.name] = chosen
        return types


@dataclass(frozen=True)
class Options:
    """What the user decided: what goes and how, the hazards accepted, where backups and logs go.

    ``accept_all`` is for throw-away targets, where every hazard that can be accepted is, and is listed.
    ``reject_to`` is the file for rows that cannot go; without it they keep everything from going.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    accept: tuple[str, ...] = ()
    accept_all: bool = False
    backup_folder: Path | None = None
    audit_path: Path | None = None
    resume: bool = False
    tables: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    reject_to: Path | None = None
    made_for: Mapping[str, str] = field(default_factory=dict)

    @property
    def choice(self) -> Choice:
        """What goes, and how."""
        return Choice(self.tables, self.excluded, self.mapping, self.types, self.made_for)


def schema_fingerprints(schema: Schema) -> dict[str, str]:
    """Return the fingerprint of each table, and of the whole schema under the empty name."""
    return {table.name: fingerprint(table) for table in schema.tables} | {WHOLE_SCHEMA: fingerprint(schema)}


def parse_type(text: str, place: str = "") -> Column:
    """Return what a type means, as a column that has no name yet.

    Raises
    ------
    UsageError
        When it is none of :data:`TYPES_TO_CHOOSE`.
    """
    match = _TYPE.fullmatch(text)
    word, first, second = match.groups() if match else ("", None, None)
    kind = _WORDS.get(word.lower())
    takes = {Kind.DECIMAL: 2, Kind.TEXT: 1 if word.lower() == "varchar" else 0}.get(kind, 0) if kind else 0
    sizes = [int(size) for size in (first, second) if size is not None]
    is_sized_right = len(sizes) <= takes and (word.lower() != "varchar" or len(sizes) == 1)
    is_wide = not sizes or (sizes[0] > 0 and (len(sizes) == 1 or sizes[1] <= sizes[0]))
    if kind is None or not is_sized_right or not is_wide:
        raise UsageError(
            f"--type does not understand {text!r}" + (f" for {place}" if place else ""),
            done=NOTHING_TOUCHED,
            next_step=f"Write one of: {TYPES_TO_CHOOSE}",
        )
    is_decimal = kind is Kind.DECIMAL and bool(sizes)
    return Column(
        name="",
        kind=kind,
        declared=text.strip(),
        size=sizes[0] if kind is Kind.TEXT and sizes else None,
        precision=sizes[0] if is_decimal else None,
        scale=(sizes[1] if len(sizes) == 2 else 0) if is_decimal else None,
    )


def type_name(column: Column) -> str:
    """Write a column's type in the words of :data:`TYPES_TO_CHOOSE`."""
    if column.kind is Kind.TEXT and column.size is not None:
        return f"varchar({column.size})"
    if column.kind is Kind.DECIMAL and column.precision is not None:
        return f"decimal({column.precision},{column.scale or 0})"
    return "bigint" if column.kind is Kind.INTEGER else column.kind.value


def _matching(patterns: Iterable[str], names: Iterable[str], option: str) -> set[str]:
    """Return the names that any pattern means; a pattern that is a name means that name alone."""
    there = set(names)
    found: set[str] = set()
    for pattern in patterns:
        meant = {pattern} if pattern in there else {name for name in there if fnmatchcase(name, pattern)}
        if not meant:
            raise UsageError(
                f"{option} names {pattern!r}, which the source does not have",
                done=NOTHING_TOUCHED,
                next_step=_there_is("Tables", there),
            )
        found |= meant
    return found


def _of(thing: Uncarried, source: Schema) -> str:
    """Return the table that a thing hangs on, and goes or stays with; its own name where there is none."""
    names = (table.name for table in source.tables)
    on = [name for name in names if thing.name == name or thing.name.startswith(f"{name}.")]
    return max(on, key=len, default=thing.name)


def _table_of(name: str, source: Schema) -> str:
    """Return the table that a name of a mapping is about; names may hold dots of their own."""
    if source.has(name):
        return name
    return next(
        table.name
        for table in source.tables
        for column in table.columns
        if f"{table.name}.{column.name}" == name
    )


def _there_is(what: str, names: Iterable[str]) -> str:
    listed: Sequence[str] = sorted(names)
    if not listed:
        return f"There are no {what.lower()}"
    more = f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
    return f"{what} there are: {', '.join(listed[:NAMES_SHOWN])}{more}"
