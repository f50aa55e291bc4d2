"""The nouns of a migration, as frozen values: no clock, no randomness, no I/O.

Two URLs give two databases, each gives a :class:`Schema`; rows travel as Arrow record batches whose
columns have one canonical Arrow type per :class:`Kind`, whichever engine they come from.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


class Kind(enum.Enum):
    """What a column means, apart from how an engine spells it. Each has one canonical Arrow type."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    INSTANT = "instant"
    JSON = "json"
    ANY = "any"


# How a column that may hold any storage class travels: one field per class, at most one of them set.
STORAGE = pa.struct(
    [("integer", pa.int64()), ("real", pa.float64()), ("text", pa.string()), ("blob", pa.binary())]
)

ARROW_TYPES: dict[Kind, pa.DataType] = {
    Kind.BOOLEAN: pa.bool_(),
    Kind.INTEGER: pa.int64(),
    # Text, because Arrow's decimals end at 76 digits and databases' do not.
    Kind.DECIMAL: pa.string(),
    Kind.FLOAT: pa.float64(),
    Kind.TEXT: pa.string(),
    Kind.BYTES: pa.binary(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("us"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.INSTANT: pa.timestamp("us", "UTC"),
    Kind.JSON: pa.string(),
    Kind.ANY: STORAGE,
}


# What a backend reads a column as when not every value fits the type of its kind: true and false that are
# other numbers, days that no calendar has. Times come as the engine itself spells them.
FALLBACKS: dict[Kind, Kind] = {
    Kind.BOOLEAN: Kind.INTEGER,
    Kind.DATE: Kind.TEXT,
    Kind.TIME: Kind.TEXT,
    Kind.TIMESTAMP: Kind.TEXT,
    Kind.INSTANT: Kind.TEXT,
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    ``declared`` is the engine's own spelling of the type; ``size`` counts characters, ``byte_size`` is
    the most bytes of a text or of bytes; ``bits`` is the width of an integer or of a binary float;
    ``precision`` is how many digits a decimal keeps, or how many digits of a second's fraction a time
    keeps; ``largest_character`` is the last code point that fits; ``earliest`` and ``latest`` bound a
    time, in microseconds since 1970; ``default`` and ``generated`` are expressions in the engine's own
    dialect. ``automatic`` columns number themselves when no value
    is given, ``always_automatic`` ones refuse to be given one, ``never_reuses`` means that a number is
    not handed out again after its row was deleted. ``choices`` are the only values allowed, if any.
    """

    name: str
    kind: Kind
    declared: str = ""
    nullable: bool = True
    size: int | None = None
    bits: int | None = None
    precision: int | None = None
    scale: int | None = None
    default: str | None = None
    generated: str | None = None
    automatic: bool = False
    always_automatic: bool = False
    never_reuses: bool = False
    collation: str | None = None
    choices: tuple[str, ...] = ()
    byte_size: int | None = None
    largest_character: int | None = None
    earliest: int | None = None
    latest: int | None = None


@dataclass(frozen=True)
class Unique:
    """A uniqueness rule that is part of its table."""

    name: str | None
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """A condition every row meets, in the engine's own dialect."""

    name: str | None
    condition: str


@dataclass(frozen=True)
class ForeignKey:
    """Columns whose values exist in another table."""

    name: str | None
    columns: tuple[str, ...]
    target_table: str
    target_columns: tuple[str, ...]
    on_delete: str | None = None
    on_update: str | None = None


@dataclass(frozen=True)
class IndexPart:
    """One member of an index: a column's name, or an expression in the engine's own dialect."""

    text: str
    is_expression: bool = False
    descending: bool = False
    collation: str | None = None


@dataclass(frozen=True)
class Index:
    """An index; ``condition`` makes it partial, ``method`` is the engine's own when not the usual tree."""

    name: str
    parts: tuple[IndexPart, ...]
    unique: bool = False
    condition: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Table:
    """One table with everything that hangs on it."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    uniques: tuple[Unique, ...] = ()
    checks: tuple[Check, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()

    def column(self, name: str) -> Column:
        """Return the column of that name, or raise ``KeyError``."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name}.{name}")

    @property
    def key(self) -> tuple[str, ...]:
        """Columns that name a row; empty when only the whole row can."""
        if self.primary_key and not any(self.column(name).nullable for name in self.primary_key):
            return self.primary_key
        return ()


@dataclass(frozen=True)
class View:
    """A stored query; ``definition`` is the SELECT in the engine's own dialect."""

    name: str
    definition: str


@dataclass(frozen=True)
class Trigger:
    """Code that runs when rows of a table change."""

    name: str
    table: str
    definition: str = ""


@dataclass(frozen=True)
class Uncarried:
    """A thing in a database that has no portable form, and the reason."""

    what: str
    name: str
    reason: str


@dataclass(frozen=True)
class Schema:
    """All of one database that a migration knows about; names sorted, so that equal schemas are equal."""

    tables: tuple[Table, ...] = ()
    views: tuple[View, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    uncarried: tuple[Uncarried, ...] = ()

    def table(self, name: str) -> Table:
        """Return the table of that name, or raise ``KeyError``."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Tell whether there is a table of that name."""
        return any(table.name == name for table in self.tables)

    def without(self, names: frozenset[str]) -> Schema:
        """Return this schema less the named tables, their triggers, and the named views."""
        return dataclasses.replace(
            self,
            views=tuple(view for view in self.views if view.name not in names),
            tables=tuple(table for table in self.tables if table.name not in names),
            triggers=tuple(trigger for trigger in self.triggers if trigger.table not in names),
        )


@dataclass(frozen=True)
class ScanColumn:
    """A column to be read, and the kind its values are wanted as.

    ``fraction_digits`` is how many digits of a second's fraction a time is wanted with, ``None`` for all.
    """

    column: Column
    kind: Kind
    fraction_digits: int | None = None

    @property
    def read_kind(self) -> Kind:
        """The kind that an engine without storage classes reads: the column's own, or its fallback."""
        own = self.column.kind
        return self.kind if FALLBACKS.get(own) is self.kind else own


@dataclass(frozen=True)
class Chunk:
    """A piece of one table, as a plain value that any process could be handed.

    The rows after position ``after`` (``None``: from the start) up to and including ``upto``, in the
    source's own order. A position is the source backend's own text; ``upto`` is ``None`` where a table
    has nothing to order by, and is then copied whole or from the start again.
    """

    table: str
    number: int
    after: str | None
    upto: str | None
    row_count: int


@dataclass(frozen=True)
class ColumnProfile:
    """What one column of the source really holds.

    ``storage`` counts values per storage class (``null`` included); ``forms`` counts the spellings a
    conversion met; ``failed_count`` values cannot become ``kind`` at all, ``changed_count`` can, but
    arrive as something else (text for a number), ``rounded_count`` lose digits.
    """

    kind: Kind
    storage: dict[str, int] = field(default_factory=dict)
    forms: dict[str, int] = field(default_factory=dict)
    failed_count: int = 0
    failed_examples: tuple[str, ...] = ()
    changed_count: int = 0
    changed_examples: tuple[str, ...] = ()
    rounded_count: int = 0
    rounded_examples: tuple[str, ...] = ()
    infinity_count: int = 0
    negative_zero_count: int = 0
    unfit_count: int = 0
    unfit_examples: tuple[str, ...] = ()
    nan_count: int = 0
    nul_count: int = 0
    nul_examples: tuple[str, ...] = ()
    invalid_text_count: int = 0
    invalid_text_examples: tuple[str, ...] = ()
    longest_characters: int = 0
    longest_bytes: int = 0
    smallest: int | float | None = None
    largest: int | float | None = None
    integer_digits: int = 0
    fraction_digits: int = 0
    repeated_key_count: int = 0
    repeated_key_examples: tuple[str, ...] = ()

    @property
    def null_count(self) -> int:
        """Number of NULLs."""
        return self.storage.get("null", 0)


@dataclass(frozen=True)
class TableProfile:
    """What one table of the source really holds; ``next_number`` is the id its next row would get."""

    row_count: int
    columns: dict[str, ColumnProfile]
    orphans: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    next_number: int | None = None


def fingerprint(value: Any) -> str:
    """Return a short name for a frozen value: equal values give equal names, on any machine."""

    def plain(item: Any) -> Any:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return {f.name: plain(getattr(item, f.name)) for f in dataclasses.fields(item)}
        if isinstance(item, enum.Enum):
            return item.value
        if isinstance(item, dict):
            return {
                str(key): plain(entry) for key, entry in sorted(item.items(), key=lambda pair: str(pair[0]))
            }
        if isinstance(item, (list, tuple, set, frozenset)):
            entries = [plain(entry) for entry in item]
            return sorted(entries, key=str) if isinstance(item, (set, frozenset)) else entries
        return item

    text = json.dumps(plain(value), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
