"""Reads the schema of a SQLite database: what its PRAGMAs do not tell is read from the stored SQL.

SQLAlchemy's inspector is not used here: it finds generated values, names and conditions in the stored SQL
by patterns, which commas, quotes and comments mislead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from migration.backends.sqlite_sql import Token, closing, cut, outermost, pieces, quote, tokens
from migration.model import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    Trigger,
    Uncarried,
    Unique,
    View,
)

# Our own tables, which are no part of what is moved.
OWN_PREFIX = "migration_bench_"
# What a text is compared with where nothing else is said: its bytes.
BYTES = "BINARY"

# In this order: the first that matches a declared type tells its kind.
_KINDS = (
    (r"BOOL", Kind.BOOLEAN),
    (r"JSON", Kind.JSON),
    (r"(DATETIME|TIMESTAMP).*(TZ|WITH TIME ZONE)", Kind.INSTANT),
    (r"DATETIME|TIMESTAMP", Kind.TIMESTAMP),
    (r"^DATE$", Kind.DATE),
    (r"^TIME\b", Kind.TIME),
    (r"INT", Kind.INTEGER),
    (r"CHAR|CLOB|TEXT|STRING|UUID", Kind.TEXT),
    (r"BLOB|BINARY|BYTEA", Kind.BYTES),
    (r"REAL|FLOA|DOUB", Kind.FLOAT),
    (r"NUM|DEC|MONEY", Kind.DECIMAL),
)
_TABLE_RULES = ("CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN")
# What a rule does to a row that breaks it, where nothing else is said.
_USUAL_CONFLICT = "ABORT"

_Names = tuple[str, ...]


def kind_of(declared: str) -> Kind:
    """Tell what a declared type means; a type nobody knows may hold anything."""
    upper = declared.upper()
    return next((kind for pattern, kind in _KINDS if re.search(pattern, upper)), Kind.ANY)


def reflect(connection: Connection) -> Schema:
    """Read every table, view and trigger; name what has no portable form."""
    statement = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    objects = connection.exec_driver_sql(statement).all()
    kinds = {row.name: row.type for row in connection.exec_driver_sql("PRAGMA main.table_list")}
    # A trigger or a foreign key may spell the name of its table in other capitals.
    spelled = {folded(entry.name): entry.name for entry in objects if entry.type in ("table", "view")}
    reader = _Reader(connection, spelled)
    tables = [
        reader.table(entry.name, entry.sql)
        for entry in objects
        if entry.type == "table"
        and kinds[entry.name] == "table"
        and not entry.name.startswith(("sqlite_", OWN_PREFIX))
    ]
    uncarried = [
        Uncarried("virtual table", entry.name, entry.sql)
        for entry in objects
        if entry.type == "table" and kinds[entry.name] == "virtual"
    ]
    return Schema(
        tables=tuple(tables),
        views=tuple(View(entry.name, view_query(entry.sql)) for entry in objects if entry.type == "view"),
        triggers=tuple(
            Trigger(entry.name, spelled[folded(entry.tbl_name)], entry.sql)
            for entry in objects
            if entry.type == "trigger"
        ),
        uncarried=tuple(uncarried + reader.uncarried),
    )


def folded(name: str) -> str:
    """Return a name in small letters, by which SQLite finds things; only those of ASCII have another case."""
    return re.sub(r"[A-Z]+", lambda found: found[0].lower(), name)


def view_query(sql: str) -> str:
    """Return the SELECT of a stored CREATE VIEW; named columns become those of a WITH around it."""
    found = tokens(sql)
    as_at = next(at for at, token in enumerate(found) if token.word == "AS")
    query = cut(sql, found[as_at + 1 :])
    if found[as_at - 1].word != ")":
        return query
    opening = max(at for at in range(as_at) if found[at].word == "(")
    # A name that the query itself knows would be taken for the query.
    name = "named"
    while name in query.lower():
        name += "_"
    return f"WITH {name}{cut(sql, found[opening:as_at])} AS ({query}) SELECT * FROM {name}"


# --- tables -----------------------------------------------------------------------------------------


class _Reader:
    """Reads tables one by one, and gathers what of them has no portable form."""

    def __init__(self, connection: Connection, spelled: Mapping[str, str]) -> None:
        self._connection = connection
        self._spelled = spelled
        self.uncarried: list[Uncarried] = []

    def table(self, name: str, sql: str) -> Table:
        """Read one table with all that hangs on it."""
        written = _read_create_table(sql)
        details = self._pragma("table_xinfo", name)
        index_list = self._pragma("index_list", name)
        keys = sorted((row for row in details if row.pk), key=lambda row: int(row.pk))
        # A key that is the row's own number needs no index.
        numbers_itself = bool(keys) and not any(entry.origin == "pk" for entry in index_list)
        is_without_rowid = bool(self._pragma("table_list", name)[0].wr)
        columns = tuple(
            _column(
                row,
                written,
                is_number=numbers_itself and bool(row.pk),
                is_never_null=is_without_rowid and bool(row.pk),
            )
            for row in details
        )
        indexes, uniques = self._indexes(index_list, written)
        self.uncarried += [Uncarried("constraint option", name, option) for option in written.options]
        return Table(
            name=name,
            columns=columns,
            primary_key=tuple(row.name for row in keys),
            uniques=uniques,
            checks=tuple(written.checks),
            foreign_keys=self._foreign_keys(name, written),
            indexes=indexes,
        )

    def _indexes(
        self, index_list: Iterable[Any], written: _Written
    ) -> tuple[tuple[Index, ...], tuple[Unique, ...]]:
        indexes, uniques = [], []
        for entry in index_list:
            parts = [part for part in self._pragma("index_xinfo", entry.name) if part.key]
            if entry.origin == "c":
                sql = self._connection.exec_driver_sql(
                    "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (entry.name,)
                ).scalar_one()
                indexes.append(_index(entry, parts, sql, written.collations))
                continue
            columns = tuple(part.name for part in parts)
            if entry.origin == "u":
                uniques.append(Unique(written.unique_names.get(tuple(map(folded, columns))), columns))
            written.options += [
                f"{part.name} is told apart by {part.coll}, other than in comparisons"
                for part in parts
                if _collation(part, written.collations) is not None
            ]
        indexes.sort(key=lambda index: index.name)
        uniques.sort(key=lambda unique: unique.columns)
        return tuple(indexes), tuple(uniques)

    def _foreign_keys(self, name: str, written: _Written) -> tuple[ForeignKey, ...]:
        rows: dict[int, list[Any]] = {}
        for row in self._pragma("foreign_key_list", name):
            rows.setdefault(row.id, []).append(row)
        keys = []
        for parts in rows.values():
            parts.sort(key=lambda row: int(row.seq))
            columns = tuple(getattr(row, "from") for row in parts)
            table = self._spelled.get(folded(parts[0].table), parts[0].table)
            keys.append(
                ForeignKey(
                    name=written.key_names.get(tuple(map(folded, columns))),
                    columns=columns,
                    target_table=table,
                    target_columns=self._referred(table, [row.to for row in parts], columns),
                    on_delete=_action(parts[0].on_delete),
                    on_update=_action(parts[0].on_update),
                )
            )
        return tuple(sorted(keys, key=lambda key: (key.columns, key.target_table)))

    def _referred(self, table: str, names: Sequence[str | None], columns: _Names) -> _Names:
        """Return the columns that are referred to: those named, in the table's own spelling, else its key."""
        details = self._pragma("table_xinfo", table)
        if None in names:
            key = sorted((row for row in details if row.pk), key=lambda row: int(row.pk))
            # What refers to a table without such a key refers to nothing that could be named.
            return tuple(row.name for row in key) if len(key) == len(columns) else columns
        spelled = {folded(row.name): row.name for row in details}
        return tuple(spelled.get(folded(str(name)), str(name)) for name in names)

    def _pragma(self, pragma: str, name: str) -> Sequence[Any]:
        return self._connection.exec_driver_sql(f"PRAGMA main.{pragma}({quote(name)})").all()


def _column(row: Any, written: _Written, *, is_number: bool, is_never_null: bool) -> Column:
    kind = kind_of(row.type)
    size, precision, scale = _sizes(row.type, kind)
    return Column(
        name=row.name,
        kind=kind,
        declared=row.type,
        nullable=not (row.notnull or is_number or is_never_null),
        size=size,
        precision=precision,
        scale=scale,
        default=row.dflt_value,
        generated=written.generated.get(folded(row.name)),
        automatic=is_number,
        never_reuses=is_number and written.autoincrement,
        collation=written.collations.get(folded(row.name)),
    )


def _sizes(declared: str, kind: Kind) -> tuple[int | None, int | None, int | None]:
    numbers = re.search(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", declared)
    if numbers is None:
        return None, None, None
    first, second = int(numbers[1]), int(numbers[2] or 0)
    if kind is Kind.TEXT:
        return first, None, None
    return (None, first, second) if kind is Kind.DECIMAL else (None, None, None)


def _action(action: str) -> str | None:
    return None if action == "NO ACTION" else action


# --- indexes ----------------------------------------------------------------------------------------


def _index(entry: Any, parts: Sequence[Any], sql: str, collations: Mapping[str, str]) -> Index:
    found = tokens(sql)
    opening = next(at for at, token in enumerate(found) if token.word == "(")
    end = closing(found, opening)
    condition = found[end + 2 :]
    return Index(
        name=entry.name,
        unique=bool(entry.unique),
        condition=cut(sql, condition) if condition else None,
        parts=tuple(
            IndexPart(
                text=part.name if part.cid >= 0 else cut(sql, _expression(written)),
                is_expression=part.cid < 0,
                descending=bool(part.desc),
                collation=_collation(part, collations),
            )
            for part, written in zip(parts, pieces(found[opening + 1 : end]), strict=True)
        ),
    )


def _expression(written: list[Token]) -> list[Token]:
    """Return an indexed expression less how it is sorted."""
    if written[-1].word in ("ASC", "DESC"):
        written = written[:-1]
    return written[:-2] if len(written) > 2 and written[-2].word == "COLLATE" else written


def _collation(part: Any, collations: Mapping[str, str]) -> str | None:
    """Return what an index compares a column with, where that is not what the column is compared with."""
    own = BYTES if part.name is None else collations.get(folded(part.name), BYTES)
    return None if part.coll.upper() == own else part.coll.upper()


# --- CREATE TABLE -----------------------------------------------------------------------------------


@dataclass
class _Written:
    """What the stored CREATE TABLE tells beyond the PRAGMAs; columns by their folded names."""

    autoincrement: bool
    checks: list[Check] = field(default_factory=list)
    collations: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)
    unique_names: dict[_Names, str | None] = field(default_factory=dict)
    key_names: dict[_Names, str | None] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)


def _read_create_table(sql: str) -> _Written:
    found = tokens(sql)
    opening = next(at for at, token in enumerate(found) if token.word == "(")
    written = _Written(autoincrement=any(token.word == "AUTOINCREMENT" for token in found))
    for piece in pieces(found[opening + 1 : closing(found, opening)]):
        for at in outermost(piece):
            read = _READERS.get(piece[at].word)
            if read is not None:
                read(sql, piece, at, written)
    return written


def _column_of(piece: list[Token]) -> str | None:
    """Return the column that a definition is about, or ``None`` for a rule of the whole table."""
    return None if piece[0].word in _TABLE_RULES else folded(piece[0].name)


def _name_before(piece: list[Token], at: int) -> str | None:
    """Return the name that stands before a rule."""
    return piece[at - 1].name if at >= 2 and piece[at - 2].word == "CONSTRAINT" else None


def _names_behind(piece: list[Token], opening: int) -> _Names:
    inside = piece[opening + 1 : closing(piece, opening)]
    return tuple(folded(part[0].name) for part in pieces(inside))


def _read_check(sql: str, piece: list[Token], at: int, written: _Written) -> None:
    inside = piece[at + 2 : closing(piece, at + 1)]
    written.checks.append(Check(_name_before(piece, at), cut(sql, inside)))


def _read_unique(_: str, piece: list[Token], at: int, written: _Written) -> None:
    column = _column_of(piece)
    columns = _names_behind(piece, at + 1) if column is None else (column,)
    written.unique_names[columns] = _name_before(piece, at)


def _read_references(_: str, piece: list[Token], at: int, written: _Written) -> None:
    column = _column_of(piece)
    if column is not None:
        written.key_names[column,] = _name_before(piece, at)


def _read_foreign_key(_: str, piece: list[Token], at: int, written: _Written) -> None:
    written.key_names[_names_behind(piece, at + 2)] = _name_before(piece, at)


def _read_collation(_: str, piece: list[Token], at: int, written: _Written) -> None:
    name = piece[at + 1].name.upper()
    if name != BYTES:
        written.collations[folded(piece[0].name)] = name


def _read_generated(sql: str, piece: list[Token], at: int, written: _Written) -> None:
    written.generated[folded(piece[0].name)] = cut(sql, piece[at + 2 : closing(piece, at + 1)])


def _read_conflict(sql: str, piece: list[Token], at: int, written: _Written) -> None:
    """Note what a rule does other than to refuse; ON stands in foreign keys too."""
    if piece[at + 1].word == "CONFLICT" and piece[at + 2].word != _USUAL_CONFLICT:
        written.options.append(cut(sql, piece))


def _read_deferrable(sql: str, piece: list[Token], at: int, written: _Written) -> None:
    """Note a foreign key that waits for the end of the transaction; all other spellings mean at once."""
    words = [token.word for token in piece[at : at + 3]]
    if words == ["DEFERRABLE", "INITIALLY", "DEFERRED"] and piece[at - 1].word != "NOT":
        written.options.append(cut(sql, piece))


_READERS: dict[str, Callable[[str, list[Token], int, _Written], None]] = {
    "CHECK": _read_check,
    "UNIQUE": _read_unique,
    "REFERENCES": _read_references,
    "FOREIGN": _read_foreign_key,
    "COLLATE": _read_collation,
    "AS": _read_generated,
    "ON": _read_conflict,
    "DEFERRABLE": _read_deferrable,
}
