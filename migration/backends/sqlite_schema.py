"""Reads the schema of a SQLite database: what its PRAGMAs do not tell is read from the stored SQL.

The stored statements are cut at their tokens, never matched as lines of text, so that comments,
quotes of all four kinds and nested parentheses do not confuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlalchemy import Connection, Inspector, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlglot.tokens import Token

from migration.model import (
    Check,
    Column,
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
from migration.reflection import reflect_table

# Our own tables, which are no part of what is moved.
OWN_PREFIX = "migration_bench_"

# In this order: the first that matches a declared type tells its kind.
_KINDS = (
    (r"BOOL", Kind.BOOLEAN),
    (r"JSON", Kind.JSON),
    (r"(DATETIME|TIMESTAMP).*TZ|TIMESTAMP WITH TIME ZONE", Kind.INSTANT),
    (r"DATETIME|TIMESTAMP", Kind.TIMESTAMP),
    (r"^DATE$", Kind.DATE),
    (r"^TIME\b", Kind.TIME),
    (r"INT", Kind.INTEGER),
    (r"CHAR|CLOB|TEXT|STRING|UUID", Kind.TEXT),
    (r"BLOB|BINARY|BYTEA", Kind.BYTES),
    (r"REAL|FLOA|DOUB", Kind.FLOAT),
    (r"NUM|DEC|MONEY", Kind.DECIMAL),
)


def kind_of(declared: str) -> Kind:
    """Tell what a declared type means; a type nobody knows may hold anything."""
    upper = declared.upper()
    return next((kind for pattern, kind in _KINDS if re.search(pattern, upper)), Kind.ANY)


def reflect(connection: Connection) -> Schema:
    """Read every table, view and trigger; name every virtual table as something that has no portable form."""
    inspector = inspect(connection)
    objects = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").all()
    kinds = {row.name: row for row in connection.exec_driver_sql("PRAGMA main.table_list")}
    tables, uncarried = [], []
    for entry in objects:
        if entry.type != "table" or entry.name.startswith(("sqlite_", OWN_PREFIX)):
            continue
        if kinds[entry.name].type == "table":
            tables.append(_table(connection, inspector, entry.name, entry.sql, bool(kinds[entry.name].wr)))
        elif kinds[entry.name].type == "virtual":
            uncarried.append(Uncarried("virtual table", entry.name, entry.sql))
    return Schema(
        tables=tuple(tables),
        views=tuple(View(entry.name, _view_query(entry.sql)) for entry in objects if entry.type == "view"),
        triggers=tuple(
            Trigger(entry.name, entry.tbl_name, entry.sql) for entry in objects if entry.type == "trigger"
        ),
        uncarried=tuple(uncarried),
    )


# --- tables -----------------------------------------------------------------------------------------


@dataclass
class _Stored:
    """What the stored CREATE TABLE tells beyond the PRAGMAs."""

    checks: list[Check] = field(default_factory=list)
    collations: dict[str, str] = field(default_factory=dict)
    autoincrement: bool = False
    unique_names: dict[tuple[str, ...], str] = field(default_factory=dict)


def _table(connection: Connection, inspector: Inspector, name: str, sql: str, without_rowid: bool) -> Table:
    stored = _read_create_table(sql)
    details = {row.name: row for row in connection.exec_driver_sql(f"PRAGMA main.table_xinfo({quote(name)})")}
    keys = [row for row in details.values() if row.pk]
    rowid_alias = len(keys) == 1 and keys[0].type.upper() == "INTEGER" and not without_rowid
    indexes, uniques = _indexes(connection, name, stored)

    def to_column(reflected: ReflectedColumn) -> Column:
        detail = details[reflected["name"]]
        computed = reflected.get("computed")
        is_number = rowid_alias and bool(detail.pk)
        kind = kind_of(detail.type)
        size, precision, scale = _sizes(detail.type, kind)
        return Column(
            name=detail.name,
            kind=kind,
            declared=detail.type,
            nullable=not (detail.notnull or is_number or (detail.pk and without_rowid)),
            size=size,
            precision=precision,
            scale=scale,
            default=detail.dflt_value,
            generated=None if computed is None else str(computed["sqltext"]),
            automatic=is_number,
            never_reuses=is_number and stored.autoincrement,
            collation=stored.collations.get(detail.name),
        )

    table = reflect_table(
        inspector,
        name,
        dialect_name="sqlite",
        to_column=to_column,
        indexes=indexes,
        checks=tuple(stored.checks),
        uniques=uniques,
    )
    return table


def _sizes(declared: str, kind: Kind) -> tuple[int | None, int | None, int | None]:
    numbers = re.search(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)", declared)
    if numbers is None:
        return None, None, None
    first, second = int(numbers[1]), int(numbers[2] or 0)
    if kind is Kind.TEXT:
        return first, None, None
    return (None, first, second) if kind is Kind.DECIMAL else (None, None, None)


def _indexes(connection: Connection, name: str, stored: _Stored) -> tuple[tuple[Index, ...], tuple[Unique, ...]]:
    indexes, uniques = [], []
    for entry in connection.exec_driver_sql(f"PRAGMA main.index_list({quote(name)})").all():
        parts = connection.exec_driver_sql(f"PRAGMA main.index_xinfo({quote(entry.name)})").all()
        key_parts = [part for part in parts if part.key]
        if entry.origin == "u":
            columns = tuple(part.name for part in key_parts)
            uniques.append(Unique(stored.unique_names.get(columns), columns))
        elif entry.origin == "c":
            sql = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (entry.name,)
            ).scalar_one()
            indexes.append(_index(entry, key_parts, sql))
    indexes.sort(key=lambda index: index.name)
    uniques.sort(key=lambda unique: unique.columns)
    return tuple(indexes), tuple(uniques)


def _index(entry: Any, parts: list[Any], sql: str) -> Index:
    tokens = _tokens(sql)
    opening = next(i for i, token in enumerate(tokens) if token.text == "(")
    closing = _closing(tokens, opening)
    texts = [_cut(sql, piece) for piece in _pieces(tokens[opening + 1 : closing])]
    rest = tokens[closing + 1 :]
    return Index(
        name=entry.name,
        unique=bool(entry.unique),
        condition=_cut(sql, rest[1:]) if rest and rest[0].text.upper() == "WHERE" else None,
        parts=tuple(
            IndexPart(
                text=part.name if part.cid >= 0 else _without_order(written),
                is_expression=part.cid < 0,
                descending=bool(part.desc),
                collation=None if part.coll.upper() == "BINARY" else part.coll,
            )
            for part, written in zip(parts, texts, strict=True)
        ),
    )


def _without_order(expression: str) -> str:
    return re.sub(r"\s+(ASC|DESC)\s*$", "", expression, flags=re.IGNORECASE)


def _read_create_table(sql: str) -> _Stored:
    stored = _Stored()
    tokens = _tokens(sql)
    opening = next((i for i, token in enumerate(tokens) if token.text == "("), None)
    if opening is None:  # CREATE TABLE ... AS SELECT is stored with its columns, so this is no table of ours
        raise ValueError(f"not a CREATE TABLE: {sql}")
    for piece in _pieces(tokens[opening + 1 : _closing(tokens, opening)]):
        _read_definition(sql, piece, stored)
    return stored


def _read_definition(sql: str, piece: list[Token], stored: _Stored) -> None:
    """Read one column or one table constraint."""
    words = [token.text.upper() for token in piece]
    is_constraint = words[0] in ("CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "FOREIGN")
    name: str | None = None
    depth = 0
    for at, word in enumerate(words):
        if word == "CHECK" and depth == 0:
            inside = piece[at + 2 : _closing(piece, at + 1)]
            stored.checks.append(Check(name, _cut(sql, inside)))
            name = None
        elif word == "CONSTRAINT" and depth == 0:
            name = piece[at + 1].text
        elif word == "COLLATE" and depth == 0 and not is_constraint and words[at + 1] != "BINARY":
            stored.collations[piece[0].text] = words[at + 1]
        elif word == "AUTOINCREMENT" and depth == 0:
            stored.autoincrement = True
        elif word == "UNIQUE" and depth == 0 and name is not None:
            columns = (
                tuple(part[0].text for part in _pieces(piece[at + 2 : _closing(piece, at + 1)]))
                if is_constraint
                else (piece[0].text,)
            )
            stored.unique_names[columns] = name
        depth += (word == "(") - (word == ")")


def _view_query(sql: str) -> str:
    """Return the SELECT of a stored CREATE VIEW; named columns become those of a WITH around it."""
    tokens = _tokens(sql)
    as_at = next(i for i, token in enumerate(tokens) if token.text.upper() == "AS")
    query = _cut(sql, tokens[as_at + 1 :])
    if tokens[as_at - 1].text != ")":
        return query
    opening = max(i for i in range(as_at) if tokens[i].text == "(")
    return f"WITH named{_cut(sql, tokens[opening:as_at])} AS ({query}) SELECT * FROM named"


# --- tokens -----------------------------------------------------------------------------------------


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _tokens(sql: str) -> list[Token]:
    return sqlglot.tokenize(sql, read="sqlite")


def _closing(tokens: list[Token], opening: int) -> int:
    """Return the position of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for at in range(opening, len(tokens)):
        depth += (tokens[at].text == "(") - (tokens[at].text == ")")
        if depth == 0:
            return at
    raise ValueError("parentheses do not match")


def _pieces(tokens: list[Token]) -> Iterator[list[Token]]:
    """Cut at the commas that are in no parentheses."""
    piece: list[Token] = []
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            yield piece
            piece = []
        else:
            piece.append(token)
    yield piece


def _cut(sql: str, tokens: list[Token]) -> str:
    return sql[tokens[0].start : tokens[-1].end + 1]
