"""What ``information_schema`` says, as the nouns of :mod:`migration.model`: tables, and what hangs on them.

Everything is read in a fixed number of queries, however many tables there are. SQLAlchemy's inspector is
not used here: it takes SHOW CREATE TABLE apart by patterns, one table at a time, and knows nothing of
triggers, of partitions or of what has no portable form.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from migration.backends import mysql_catalog as catalog
from migration.backends.mysql_connection import quote
from migration.backends.mysql_types import GEOMETRIES, Row, column_of, expression
from migration.errors import SourceUnusable
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

# Where nothing else is said; the two mean the same here, and each engine reports another one.
USUAL_ACTIONS = ("RESTRICT", "NO ACTION")
TREES = ("BTREE", "HASH")
# The only engine of both servers that has transactions and keeps to foreign keys.
ENGINE = "InnoDB"


@dataclass(frozen=True)
class _Found:
    """All rows of all queries, by table."""

    database: str
    is_mariadb: bool
    columns: dict[str, list[Row]]
    keys: dict[str, list[Row]]
    foreign_keys: dict[str, list[Row]]
    checks: dict[str, list[Row]]


def reflect(connection: Connection) -> Schema:
    """Read the connection's database; what has no portable form is named, never left out."""
    ((database, version),) = connection.exec_driver_sql("SELECT DATABASE(), VERSION()").all()
    is_mariadb = "mariadb" in version.lower()
    relations = _rows(connection, catalog.RELATIONS)
    tables = [row for row in relations if row["type"] in ("BASE TABLE", "SYSTEM VERSIONED")]
    found = _Found(
        database=database,
        is_mariadb=is_mariadb,
        columns=_by_table(_rows(connection, catalog.COLUMNS)),
        keys=_by_table(_rows(connection, catalog.keys(is_mariadb=is_mariadb))),
        foreign_keys=_by_table(_rows(connection, catalog.FOREIGN_KEYS)),
        checks=_by_table(_rows(connection, catalog.MARIADB_CHECKS if is_mariadb else catalog.MYSQL_CHECKS)),
    )
    names = frozenset(row["name"] for row in relations)
    uncarried = [
        Uncarried(row["what"], row["name"], row["reason"]) for row in _rows(connection, catalog.CODE)
    ]
    for row in relations:
        uncarried += _oddities(row, found)
    return Schema(
        tables=_with_related_numbers([_table(row["name"], found) for row in tables]),
        views=tuple(_view(row, database, names, uncarried) for row in _rows(connection, catalog.VIEWS)),
        triggers=_triggers(connection, has_held=_holds_triggers(connection)),
        uncarried=tuple(sorted(uncarried, key=lambda entry: (entry.what, entry.name, entry.reason))),
    )


def _rows(connection: Connection, statement: str) -> list[Row]:
    return [dict(row) for row in connection.exec_driver_sql(statement).mappings()]


def _by_table(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["table_name"]].append(row)
    return grouped


def _by_name(rows: Sequence[Row]) -> list[list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["name"], []).append(row)
    return [grouped[name] for name in sorted(grouped)]


# --- tables -------------------------------------------------------------------------------------------


def _table(name: str, found: _Found) -> Table:
    keys = _by_name(found.keys[name])
    primary = [rows for rows in keys if rows[0]["name"] == "PRIMARY"]
    others = [rows for rows in keys if rows[0]["name"] != "PRIMARY"]
    checks = found.checks[name]
    json_columns = {row["name"] for row in checks if _says_json(row, found)}
    return Table(
        name=name,
        columns=tuple(
            column_of(row, is_mariadb=found.is_mariadb, is_json=row["name"] in json_columns)
            for row in found.columns[name]
        ),
        primary_key=tuple(row["column_name"] for row in primary[0]) if primary else (),
        uniques=tuple(
            Unique(rows[0]["name"], tuple(row["column_name"] for row in rows))
            for rows in others
            if _is_plain_unique(rows)
        ),
        checks=tuple(
            Check(None if row["is_of_column"] else row["name"], _condition(row, found))
            for row in checks
            if not _says_json(row, found)
        ),
        foreign_keys=tuple(
            _foreign_key(rows) for rows in _by_name(found.foreign_keys[name]) if rows[0]["same_schema"]
        ),
        indexes=tuple(_index(rows, found) for rows in others if not _is_plain_unique(rows)),
    )


def _with_related_numbers(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return tables in which a column that refers to a column of numbers is one too.

    An unsigned BIGINT may hold more than 64 signed bits do, and is a decimal; one that numbers itself
    counts from one and is no decimal, and neither is what refers to it.
    """
    kinds = {(table.name, column.name): column.kind for table in tables for column in table.columns}
    edges = [
        ((table.name, own), (key.target_table, other))
        for table in tables
        for key in table.foreign_keys
        for own, other in zip(key.columns, key.target_columns, strict=True)
    ]
    is_changed = True
    while is_changed:
        is_changed = False
        for own, other in edges:
            if kinds[own] is Kind.DECIMAL and kinds.get(other) is Kind.INTEGER:
                kinds[own], is_changed = Kind.INTEGER, True

    def of(table: Table, column: Column) -> Column:
        kind = kinds[table.name, column.name]
        return (
            column if kind is column.kind else replace(column, kind=kind, bits=64, precision=None, scale=None)
        )

    return tuple(replace(t, columns=tuple(of(t, c) for c in t.columns)) for t in tables)


def _says_json(row: Row, found: _Found) -> bool:
    """Tell whether a check is what MariaDB makes of the type JSON."""
    return (
        found.is_mariadb
        and bool(row["is_of_column"])
        and row["condition"].lower() == f"json_valid({quote(row['name'])})".lower()
    )


def _condition(row: Row, found: _Found) -> str:
    return expression(row["condition"], is_mariadb=found.is_mariadb)


def _is_plain_unique(rows: Sequence[Row]) -> bool:
    """Tell a rule from an index that is unique in some peculiar way; a usual unique index is a rule here."""
    return all(
        not row["non_unique"]
        and row["column_name"] is not None
        and row["prefix"] is None
        and row["direction"] != "D"
        and row["method"] in TREES
        for row in rows
    )


def _foreign_key(rows: Sequence[Row]) -> ForeignKey:
    first = rows[0]
    return ForeignKey(
        name=first["name"],
        columns=tuple(row["column_name"] for row in rows),
        target_table=first["target_table"],
        target_columns=tuple(row["target_column"] for row in rows),
        on_delete=_action(first["on_delete"]),
        on_update=_action(first["on_update"]),
    )


def _action(action: str) -> str | None:
    return None if action in USUAL_ACTIONS else action


def _index(rows: Sequence[Row], found: _Found) -> Index:
    parts = tuple(
        IndexPart(
            text=row["column_name"]
            if row["column_name"] is not None
            else expression(row["expression"], is_mariadb=found.is_mariadb),
            is_expression=row["column_name"] is None,
            descending=row["direction"] == "D",
        )
        for row in rows
    )
    method = None if rows[0]["method"] in TREES else rows[0]["method"].lower()
    return Index(rows[0]["name"], parts, unique=not rows[0]["non_unique"], method=method)


# --- what has no portable form ------------------------------------------------------------------------


def _oddities(relation: Row, found: _Found) -> list[Uncarried]:
    """Name what a table has, or is, that has no portable form."""
    name, kind = relation["name"], relation["type"]
    if kind == "SEQUENCE":
        return [Uncarried("sequence", name, "no column owns it")]
    if kind not in ("BASE TABLE", "SYSTEM VERSIONED"):
        return []
    odd = []
    if kind == "SYSTEM VERSIONED":
        odd.append(Uncarried("system versioning", name, "only the rows of now are carried"))
    if relation["engine"] is not None and relation["engine"] != ENGINE:
        reason = f"{relation['engine']} has no transactions: rows written meanwhile may be read, or not"
        odd.append(Uncarried("storage engine", name, reason))
    if "partitioned" in (relation["options"] or ""):
        odd.append(Uncarried("partitioning", name, "the rows are carried as one table"))
    return odd + _oddities_within(name, found)


def _oddities_within(name: str, found: _Found) -> list[Uncarried]:
    odd = []
    for row in found.columns[name]:
        odd += _column_oddities(f"{name}.{row['name']}", row)
    for rows in _by_name(found.keys[name]):
        odd += _key_oddities(f"{name}.{rows[0]['name']}", rows)
    for row in found.checks[name]:
        if not row["is_enforced"]:
            odd.append(Uncarried("constraint option", f"{name}.{row['name']}", "NOT ENFORCED"))
    for rows in _by_name(found.foreign_keys[name]):
        if not rows[0]["same_schema"]:
            label = f"{name}.{rows[0]['name']}"
            odd.append(Uncarried("foreign key", label, "it refers to a table of another database"))
    return odd


def _column_oddities(label: str, row: Row) -> list[Uncarried]:
    extra, odd = row["extra"].lower(), []
    if "on update" in extra:
        reason = f"every change of a row sets it: {extra[extra.index('on update') :]}"
        odd.append(Uncarried("on-update", label, reason))
    if "invisible" in extra:
        odd.append(Uncarried("column option", label, "INVISIBLE"))
    if "zerofill" in row["column_type"]:
        odd.append(Uncarried("column option", label, "ZEROFILL"))
    if row["data_type"] in GEOMETRIES:
        odd.append(Uncarried("geometry", label, "kept as its bytes: the reference system and WKB"))
    return odd


def _key_oddities(label: str, rows: Sequence[Row]) -> list[Uncarried]:
    odd = [
        Uncarried("index option", label, f"only the first {row['prefix']} of {row['column_name']}")
        for row in rows
        if row["prefix"] is not None and row["method"] in TREES
    ]
    if rows[0]["is_hidden"]:
        odd.append(Uncarried("index option", label, "INVISIBLE"))
    return odd


# --- views and triggers -------------------------------------------------------------------------------


def _view(row: Row, database: str, names: frozenset[str], uncarried: list[Uncarried]) -> View:
    if not row["definition"]:
        raise SourceUnusable(
            "The definition of a view cannot be read",
            where=row["name"],
            next_step="Grant SHOW VIEW on the database to the user in the URL",
        )
    if row["check_option"] != "NONE":
        uncarried.append(Uncarried("view option", row["name"], f"WITH {row['check_option']} CHECK OPTION"))
    return View(row["name"], without_database(row["definition"], database, names))


# A text, a name with all that it is qualified by, or the encoding before a text.
_PIECES = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|`(?:[^`]|``)*`(?:\.`(?:[^`]|``)*`)*|\b_(?:utf8mb[34]|latin1)(?=')"
)
_NAMES = re.compile(r"`((?:[^`]|``)*)`")


def without_database(sql: str, database: str, names: frozenset[str]) -> str:
    """Return a stored query in which tables of the database are named without it, wherever it is moved to."""

    def rewritten(found: re.Match[str]) -> str:
        piece = found[0]
        if piece.startswith("_"):
            return ""
        if piece.startswith("'"):
            return piece
        first, *others = [name.replace("``", "`") for name in _NAMES.findall(piece)]
        # Where it is no database, it is the alias of a table that happens to be called the same.
        is_database = first == database and (len(others) > 1 or bool(others and others[0] in names))
        return ".".join(quote(name) for name in others) if is_database else piece

    return _PIECES.sub(rewritten, sql)


def _holds_triggers(connection: Connection) -> bool:
    """Tell whether a loader, one that was killed perhaps, has taken triggers away."""
    count = connection.exec_driver_sql(
        "SELECT COUNT(*) FROM information_schema.TABLES"
        f" WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{catalog.HELD_TRIGGERS}'"
    )
    return bool(count.scalar_one())


def _triggers(connection: Connection, *, has_held: bool) -> tuple[Trigger, ...]:
    """Return all triggers; those that are held back belong to the schema as before."""
    found = {
        row["name"]: Trigger(row["name"], row["table_name"], trigger_sql(row))
        for row in _rows(connection, catalog.TRIGGERS)
    }
    if has_held:
        for row in _rows(connection, f"SELECT name, table_name, spelling FROM {catalog.HELD_TRIGGERS}"):
            found.setdefault(row["name"], Trigger(row["name"], row["table_name"], row["spelling"]))
    return tuple(sorted(found.values(), key=lambda trigger: (trigger.table, trigger.name)))


def trigger_sql(row: Row) -> str:
    """Return the statement that makes a trigger, put together from what the catalog tells of it."""
    return (
        f"CREATE TRIGGER {quote(row['name'])} {row['timing']} {row['event']} ON {quote(row['table_name'])}"
        f" FOR EACH ROW {row['statement']}"
    )
