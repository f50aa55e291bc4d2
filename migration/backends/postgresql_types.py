"""What PostgreSQL's catalog says, as the nouns of :mod:`migration.model`: types, tables, what hangs on them.

Everything is read from the catalog itself, in a fixed number of queries however many tables there are.
SQLAlchemy's inspector is not used here: it warns about every type it does not know and then forgets its
name, cuts CHECK conditions out of their text with a pattern, and knows nothing of triggers, of sequences or
of what has no portable form.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeAlias

from sqlalchemy import Connection, types
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from migration.errors import Refused
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

Row: TypeAlias = dict[str, Any]

# Tables of our own, such as the checkpoint; no part of anybody's schema.
OWN_PREFIX = "migration_bench_"
# numeric(1001) is an error, and so is varchar(10485761).
NUMERIC_DIGITS_MAX = 1000
VARCHAR_CHARACTERS_MAX = 10_485_760
# A type's modifier counts its own four bytes of header.
HEADER_BYTES = 4

KINDS = {
    "bool": Kind.BOOLEAN, "int2": Kind.INTEGER, "int4": Kind.INTEGER, "int8": Kind.INTEGER,
    "numeric": Kind.DECIMAL, "float4": Kind.FLOAT, "float8": Kind.FLOAT,
    "text": Kind.TEXT, "varchar": Kind.TEXT, "bpchar": Kind.TEXT, "bytea": Kind.BYTES,
    "date": Kind.DATE, "time": Kind.TIME, "timestamp": Kind.TIMESTAMP, "timestamptz": Kind.INSTANT,
    "json": Kind.JSON, "jsonb": Kind.JSON,
}  # fmt: skip
BITS = {"int2": 16, "int4": 32, "int8": 64, "float4": 32, "float8": 64}
ACTIONS = {"a": None, "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def column_type(column: Column) -> TypeEngine[Any]:
    """Return the type in which a new table keeps a column, told by its kind and sizes."""
    if column.kind is Kind.DECIMAL:
        if column.precision is None or column.precision > NUMERIC_DIGITS_MAX:
            return postgresql.NUMERIC()
        return postgresql.NUMERIC(column.precision, column.scale)
    if column.kind is Kind.TEXT and column.size is not None and 0 < column.size <= VARCHAR_CHARACTERS_MAX:
        return postgresql.VARCHAR(column.size)
    return _TYPES[column.kind]


_TYPES: dict[Kind, TypeEngine[Any]] = {
    Kind.BOOLEAN: postgresql.BOOLEAN(),
    Kind.INTEGER: postgresql.BIGINT(),
    Kind.FLOAT: postgresql.DOUBLE_PRECISION(),
    Kind.TEXT: postgresql.TEXT(),
    Kind.BYTES: postgresql.BYTEA(),
    Kind.DATE: types.DATE(),
    Kind.TIME: postgresql.TIME(),
    Kind.TIMESTAMP: postgresql.TIMESTAMP(),
    Kind.INSTANT: postgresql.TIMESTAMP(timezone=True),
    Kind.JSON: postgresql.JSONB(),
}


def reflect(connection: Connection) -> Schema:
    """Read the connection's current schema; what has no portable form is named, never left out."""
    if connection.exec_driver_sql("SELECT current_schema()").scalar_one() is None:
        raise Refused(
            "The connection has no current schema: nothing on its search_path exists",
            next_step="Create the schema, or name another one with ?search_path=... in the URL",
        )
    relations = _rows(connection, _RELATIONS)
    tables = [row for row in relations if row["kind"] in "rp"]
    columns = _by_table(_rows(connection, _COLUMNS))
    rules = _by_table(_rows(connection, _CONSTRAINTS))
    indexes = _by_table(_rows(connection, _INDEXES))
    triggers = _rows(connection, _TRIGGERS)
    uncarried = [Uncarried(row["what"], row["name"], row["reason"]) for row in _rows(connection, _UNCARRIED)]
    for table in tables:
        uncarried += _rule_oddities(table["name"], rules[table["id"]])
    return Schema(
        tables=tuple(
            _table(row["name"], columns[row["id"]], rules[row["id"]], indexes[row["id"]]) for row in tables
        ),
        views=tuple(
            View(row["name"], row["definition"].strip().removesuffix(";"))
            for row in relations
            if row["kind"] == "v"
        ),
        triggers=tuple(Trigger(row["name"], row["table_name"], row["definition"]) for row in triggers),
        uncarried=tuple(sorted(uncarried, key=lambda entry: (entry.what, entry.name, entry.reason))),
    )


def _rows(connection: Connection, statement: str) -> list[Row]:
    return [dict(row) for row in connection.exec_driver_sql(statement).mappings()]


def _by_table(rows: list[Row]) -> dict[int, list[Row]]:
    grouped: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["table_id"]].append(row)
    return grouped


def _table(name: str, columns: list[Row], rules: list[Row], indexes: list[Row]) -> Table:
    primary = [row for row in rules if row["kind"] == "p"]
    return Table(
        name=name,
        columns=tuple(_column(row) for row in columns),
        primary_key=tuple(primary[0]["columns"]) if primary else (),
        uniques=tuple(
            Unique(row["name"], tuple(row["columns"]))
            for row in rules
            if row["kind"] == "u" and not row["is_odd"]
        ),
        checks=tuple(Check(row["name"], row["condition"]) for row in rules if row["kind"] == "c"),
        foreign_keys=tuple(
            ForeignKey(
                name=row["name"],
                columns=tuple(row["columns"]),
                target_table=row["target_table"],
                target_columns=tuple(row["target_columns"]),
                on_delete=ACTIONS[row["on_delete"]],
                on_update=ACTIONS[row["on_update"]],
            )
            for row in rules
            if row["kind"] == "f" and row["same_schema"]
        ),
        indexes=tuple(_index(row) for row in indexes),
    )


def _column(row: Row) -> Column:
    base, modifier = row["base_name"], row["modifier"]
    kind = KINDS.get(base, Kind.TEXT) if row["is_builtin"] else Kind.TEXT
    automatic = bool(row["identity"]) or row["is_serial"]
    generated = row["expression"] if row["generated"] else None
    size = precision = scale = None
    if modifier >= 0 and row["is_builtin"]:
        if base in ("varchar", "bpchar"):
            size = modifier - HEADER_BYTES
        elif base == "numeric":
            precision, scale = _numeric_sizes(modifier - HEADER_BYTES)
        elif kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT):
            precision = modifier
    return Column(
        name=row["name"],
        kind=kind,
        declared=row["declared"],
        nullable=row["nullable"],
        size=size,
        bits=BITS.get(base) if row["is_builtin"] else None,
        precision=precision,
        scale=scale,
        default=None if automatic or generated is not None else row["expression"],
        generated=generated,
        automatic=automatic,
        always_automatic=row["identity"] == "a",
        never_reuses=automatic,
        collation=row["collation"],
        choices=tuple(row["choices"]),
    )


def _numeric_sizes(modifier: int) -> tuple[int, int]:
    """Take precision and scale apart; the scale has eleven bits and, since PostgreSQL 15, a sign."""
    return modifier >> 16, ((modifier & 0x7FF) ^ 0x400) - 0x400


def _index(row: Row) -> Index:
    parts = tuple(
        IndexPart(text=text, is_expression=is_expression, descending=descending, collation=collation)
        for text, is_expression, descending, collation in zip(
            row["texts"], row["are_expressions"], row["are_descending"], row["collations"], strict=True
        )
    )
    method = None if row["method"] == "btree" else row["method"]
    return Index(row["name"], parts, unique=row["is_unique"], condition=row["condition"], method=method)


def _rule_oddities(table: str, rules: list[Row]) -> list[Uncarried]:
    """Name the rules of a table, or the parts of them, that have no portable form."""
    found = []
    for row in rules:
        name = f"{table}.{row['name']}"
        if row["kind"] in "xt" or row["is_odd"]:
            found.append(Uncarried("constraint", name, row["definition"]))
        elif row["kind"] == "f" and not row["same_schema"]:
            found.append(Uncarried("foreign key", name, "it refers to a table of another schema"))
        elif row["kind"] == "f" and row["is_full_match"]:
            found.append(Uncarried("foreign key option", name, "MATCH FULL"))
        if row["is_deferrable"]:
            found.append(Uncarried("constraint option", name, "DEFERRABLE"))
    return found


# --- the catalog --------------------------------------------------------------------------------------

# Things of the current schema that no extension owns, and that are not ours.
HERE = "(SELECT oid FROM pg_namespace WHERE nspname = current_schema())"


def not_of_extension(catalog: str, identifier: str, kinds: str = "'e'") -> str:
    """Return the condition that no extension owns a thing."""
    found = f"SELECT FROM pg_depend e WHERE e.classid = '{catalog}'::regclass AND e.objid = {identifier}"
    return f"NOT EXISTS ({found} AND e.deptype IN ({kinds}))"


MINE = (
    f"c.relnamespace = {HERE} AND NOT starts_with(c.relname, '{OWN_PREFIX}')"
    f" AND {not_of_extension('pg_class', 'c.oid')}"
)

# Partitions are read through their parent.
_RELATIONS = f"""
SELECT c.oid AS id, c.relname::text AS name, c.relkind::text AS kind,
    CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid, true) END AS definition
FROM pg_class c
WHERE c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND {MINE}
ORDER BY c.relname COLLATE "C"
"""

# A domain's column has the kind of the type below the domain. A column is serial when its default draws from
# a sequence that belongs to it.
_COLUMNS = f"""
WITH RECURSIVE base AS (
    SELECT t.oid AS id, t.oid AS base_id, -1 AS modifier, false AS not_null,
        NULL::text COLLATE "C" AS expression
    FROM pg_type t WHERE t.typtype <> 'd'
    UNION ALL
    SELECT t.oid, b.base_id, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.modifier END,
        t.typnotnull OR b.not_null, coalesce(t.typdefault, b.expression)
    FROM pg_type t JOIN base b ON t.typbasetype = b.id WHERE t.typtype = 'd'
)
SELECT a.attrelid AS table_id, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS declared,
    t.typname::text AS base_name, t.typnamespace = 'pg_catalog'::regnamespace AS is_builtin,
    CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE b.modifier END AS modifier,
    NOT (a.attnotnull OR b.not_null) AS nullable,
    a.attidentity::text AS identity, a.attgenerated::text AS generated,
    coalesce(pg_get_expr(d.adbin, d.adrelid), b.expression) AS expression,
    EXISTS (
        SELECT FROM pg_depend o JOIN pg_depend u ON u.refclassid = o.classid AND u.refobjid = o.objid
        WHERE o.classid = 'pg_class'::regclass AND o.deptype = 'a'
            AND o.refclassid = 'pg_class'::regclass AND o.refobjid = a.attrelid AND o.refobjsubid = a.attnum
            AND u.classid = 'pg_attrdef'::regclass AND u.objid = d.oid
    ) AS is_serial,
    CASE WHEN a.attcollation NOT IN (0, own.typcollation) THEN l.collname::text END AS collation,
    ARRAY(SELECT n.enumlabel::text FROM pg_enum n WHERE n.enumtypid = t.oid ORDER BY n.enumsortorder)
        AS choices
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    JOIN pg_type own ON own.oid = a.atttypid
    JOIN base b ON b.id = a.atttypid JOIN pg_type t ON t.oid = b.base_id
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND {MINE}
ORDER BY a.attrelid, a.attnum
"""


def _names(numbers: str, table: str) -> str:
    """Return the SQL that turns column numbers into names, in their order."""
    return (
        f"ARRAY(SELECT a.attname::text FROM unnest({numbers}) WITH ORDINALITY AS k (number, place)"
        f" JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"
    )


# A foreign key into a partitioned table has a copy for each partition, told by conparentid.
_CONSTRAINTS = f"""
SELECT r.conrelid AS table_id, r.conname::text AS name, r.contype::text AS kind,
    {_names("r.conkey", "r.conrelid")} AS columns,
    pg_get_expr(r.conbin, r.conrelid) AS condition, pg_get_constraintdef(r.oid) AS definition,
    f.relname::text AS target_table, f.relnamespace = c.relnamespace AS same_schema,
    {_names("r.confkey", "r.confrelid")} AS target_columns,
    r.confdeltype::text AS on_delete, r.confupdtype::text AS on_update,
    r.confmatchtype = 'f' AS is_full_match, r.condeferrable AS is_deferrable,
    r.contype IN ('p', 'u')
        AND pg_get_constraintdef(r.oid) ~ '(NULLS NOT DISTINCT|WITHOUT OVERLAPS)' AS is_odd
FROM pg_constraint r JOIN pg_class c ON c.oid = r.conrelid LEFT JOIN pg_class f ON f.oid = r.confrelid
WHERE r.contype IN ('p', 'u', 'c', 'f', 'x', 't') AND r.conparentid = 0 AND {MINE}
ORDER BY r.conrelid, r.conname COLLATE "C"
"""

# Indexes that back a constraint are told as that constraint.
_INDEXES = f"""
SELECT i.indrelid AS table_id, x.relname::text AS name, i.indisunique AS is_unique,
    m.amname::text AS method, pg_get_expr(i.indpred, i.indrelid) AS condition,
    ARRAY(SELECT coalesce(a.attname::text, pg_get_indexdef(i.indexrelid, n, false)) FROM part ORDER BY n)
        AS texts,
    ARRAY(SELECT a.attname IS NULL FROM part ORDER BY n) AS are_expressions,
    ARRAY(SELECT i.indoption[n - 1] & 1 = 1 FROM part ORDER BY n) AS are_descending,
    ARRAY(SELECT l.collname::text FROM part ORDER BY n) AS collations
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam
WHERE c.relkind IN ('r', 'p') AND i.indisvalid AND {MINE}
    AND NOT EXISTS (
        SELECT FROM pg_constraint r WHERE r.conindid = i.indexrelid AND r.contype IN ('p', 'u', 'x')
    )
ORDER BY i.indrelid, x.relname COLLATE "C"
""".replace(
    "FROM part",
    """FROM generate_series(1, i.indnkeyatts) AS n
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = nullif(i.indkey[n - 1], 0)
        LEFT JOIN pg_collation l ON l.oid = i.indcollation[n - 1]
            AND l.oid NOT IN (coalesce(a.attcollation, 0), 'pg_catalog."default"'::regcollation)""",
)

_TRIGGERS = f"""
SELECT t.tgname::text AS name, c.relname::text AS table_name, pg_get_triggerdef(t.oid, true) AS definition
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND NOT c.relispartition AND {MINE}
ORDER BY c.relname COLLATE "C", t.tgname COLLATE "C"
"""

# A range type brings functions of its own.
_OWN_CODE = not_of_extension("pg_proc", "p.oid", "'e', 'i'")

_UNCARRIED = f"""
SELECT w.what, c.relname::text AS name, w.reason
FROM pg_class c JOIN (VALUES
    ('m', 'materialised view', 'a stored result that only PostgreSQL refreshes'),
    ('f', 'foreign table', 'its rows live on another server'),
    ('p', 'partitioning', 'the rows are carried as one table'),
    ('c', 'composite type', 'only PostgreSQL has types made of columns')
) AS w (kind, what, reason) ON w.kind = c.relkind::text
WHERE NOT c.relispartition AND {MINE}
UNION ALL
SELECT 'inheritance', c.relname::text, 'the table is read by itself, without the rows of its heirs'
FROM pg_class c JOIN pg_inherits h ON h.inhrelid = c.oid
WHERE c.relkind = 'r' AND NOT c.relispartition AND {MINE}
UNION ALL
SELECT 'sequence', c.relname::text, 'no column owns it'
FROM pg_class c
WHERE c.relkind = 'S' AND {MINE} AND NOT EXISTS (
    SELECT FROM pg_depend o
    WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.deptype IN ('a', 'i')
        AND o.refobjsubid > 0
)
UNION ALL
SELECT 'index', x.relname::text, 'it is not valid: building it once failed'
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND {MINE}
UNION ALL
SELECT 'rule', c.relname || '.' || r.rulename, 'only PostgreSQL rewrites queries'
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE r.rulename <> '_RETURN' AND {MINE}
UNION ALL
SELECT 'row security policy', c.relname || '.' || p.polname, 'who may see a row is for the new server to say'
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE {MINE}
UNION ALL
SELECT 'index option', x.relname::text, 'operator class ' || string_agg(o.opcname, ', ' ORDER BY o.opcname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    CROSS JOIN unnest(i.indclass) AS used (id)
    JOIN pg_opclass o ON o.oid = used.id AND NOT o.opcdefault
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {MINE}
GROUP BY x.relname
UNION ALL
SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
    'code has no portable form'
FROM pg_proc p WHERE p.pronamespace = {HERE} AND {_OWN_CODE}
UNION ALL
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'range type' END, t.typname::text,
    CASE t.typtype
        WHEN 'd' THEN 'columns are carried as the type below it: ' || format_type(t.typbasetype, t.typtypmod)
        ELSE 'values are carried as text' END
FROM pg_type t
WHERE t.typtype IN ('d', 'r') AND t.typnamespace = {HERE} AND {not_of_extension("pg_type", "t.oid")}
UNION ALL
SELECT 'extension', e.extname::text, 'it has to be installed on the new server by hand'
FROM pg_extension e WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'schema', n.nspname::text, 'only the schema ' || current_schema() || ' is read'
FROM pg_namespace n
WHERE n.nspname <> current_schema() AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    AND EXISTS (
        SELECT FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') AND {not_of_extension("pg_class", "c.oid")}
    )
UNION ALL
SELECT 'large objects', count(*)::text, 'only PostgreSQL keeps files outside of tables'
FROM pg_largeobject_metadata HAVING count(*) > 0
"""
