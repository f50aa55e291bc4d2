"""The statements that make a schema of PostgreSQL anew, each told by the server's own functions.

What the server has no function for is put together from the catalog: tables, sequences and enumerated
types. Whatever else there is, is named as lacking. Tablespaces, how values are stored and what the
planner gathers are the server's own affair, and are in no statement.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from migration.backends import Script
from migration.backends.postgresql_rows import literal, quote
from migration.backends.postgresql_types import HERE, MINE, not_of_extension
from migration.model import Schema, Uncarried

# What reflection names and a statement of the server's own carries all the same.
CARRIED = frozenset({"constraint", "constraint option", "domain", "foreign key option", "index option"})
Row = dict[str, Any]


async def script(connection: AsyncConnection, schema: Schema) -> Script:
    """Return what makes the current schema, and name what that would lack."""
    code = await _rows(connection, _CODE)
    types, domains = await _rows(connection, _ENUMS), await _rows(connection, _DOMAINS)
    before, after = await _tables(connection, {table.name for table in schema.tables})
    views = [(_view(row),) for row in await _rows(connection, _VIEWS)]
    triggers = [tuple(_trigger(row)) for row in await _rows(connection, _TRIGGERS)]
    comments = [(_comment(row),) for row in await _rows(connection, _COMMENTS)]
    carried = {("function", row["name"]) for row in code}
    lacking = [
        thing
        for thing in schema.uncarried
        if thing.what not in CARRIED and (thing.what, thing.name) not in carried
    ]
    lacking += [
        Uncarried(row["what"], row["name"], row["reason"]) for row in await _rows(connection, _LACKING)
    ]
    return Script(
        before=(
            # A body may speak of what is made later.
            *(("SET check_function_bodies = off", row["statement"]) for row in code),
            *((row["statement"],) for row in (*types, *domains)),
            *((statement,) for statement in before),
        ),
        after=tuple(after),
        # Comments and triggers may be of views.
        views=(*views, *triggers, *comments),
        undo=(
            *(f"DROP ROUTINE IF EXISTS {row['signature']}" for row in code),
            *(f"DROP TYPE IF EXISTS {quote(row['name'])}" for row in types),
            *(f"DROP DOMAIN IF EXISTS {quote(row['name'])}" for row in domains),
        ),
        lacking=tuple(sorted(lacking, key=lambda thing: (thing.what, thing.name))),
    )


async def _tables(connection: AsyncConnection, names: set[str]) -> tuple[list[str], list[str]]:
    """Return what makes the tables of these names, and what hangs on them once the rows are there."""
    sequences = await _rows(connection, _SEQUENCES)
    tables = [row for row in await _rows(connection, _TABLES) if row["name"] in names]
    columns: dict[str, list[Row]] = {}
    for row in await _rows(connection, _COLUMNS):
        columns.setdefault(row["table_name"], []).append(row)
    rules = [row for row in await _rows(connection, _RULES) if row["table_name"] in names]
    owned = {(row["table_name"], row["column_name"]): row for row in sequences}
    own = [row for row in sequences if not row["is_identity"]]
    before = [f"CREATE SEQUENCE {quote(row['name'])} AS {row['type']} {_numbering(row)}" for row in own]
    before += [_table(row, columns.get(row["name"], ()), owned) for row in tables]
    before += [
        f"ALTER SEQUENCE {quote(row['name'])} OWNED BY {quote(row['table_name'])}.{quote(row['column_name'])}"
        for row in own
    ]
    after = [await _position(connection, row["name"]) for row in sequences]
    after += [_rule(row) for row in rules if row["kind"] != "f"]
    after += [row["definition"] for row in await _rows(connection, _INDEXES) if row["table_name"] in names]
    after += [_rule(row) for row in rules if row["kind"] == "f"]
    after += [statement for row in tables for statement in _settings(row)]
    return before, after


async def _rows(connection: AsyncConnection, statement: str) -> list[Row]:
    found = await connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return [dict(row) for row in found.mappings()]


async def _position(connection: AsyncConnection, sequence: str) -> str:
    """Return what makes a sequence go on where it is."""
    [row] = await _rows(connection, f"SELECT last_value, is_called FROM {quote(sequence)}")
    return f"SELECT setval({literal(quote(sequence))}, {row['last_value']}, {row['is_called']})"


def _numbering(row: Row) -> str:
    cycle = "CYCLE" if row["cycles"] else "NO CYCLE"
    return (
        f"START WITH {row['start']} INCREMENT BY {row['increment']} MINVALUE {row['least']}"
        f" MAXVALUE {row['most']} CACHE {row['cached']} {cycle}"
    )


def _table(row: Row, columns: Iterable[Row], owned: dict[tuple[str, str], Row]) -> str:
    unlogged = "UNLOGGED " if row["is_unlogged"] else ""
    options = f" WITH ({row['options']})" if row["options"] else ""
    parts = ", ".join(_column(column, owned.get((row["name"], column["name"]))) for column in columns)
    return f"CREATE {unlogged}TABLE {quote(row['name'])} ({parts}){options}"


def _column(row: Row, sequence: Row | None) -> str:
    words = [quote(row["name"]), row["type"]]
    if row["collation"]:
        words.append(f"COLLATE {row['collation']}")
    if row["generated"]:
        how = "STORED" if row["generated"] == "s" else "VIRTUAL"
        words.append(f"GENERATED ALWAYS AS ({row['expression']}) {how}")
    elif row["identity"] and sequence is not None:
        when = "ALWAYS" if row["identity"] == "a" else "BY DEFAULT"
        name = quote(sequence["name"])
        words.append(f"GENERATED {when} AS IDENTITY (SEQUENCE NAME {name} {_numbering(sequence)})")
    elif row["expression"] is not None:
        words.append(f"DEFAULT {row['expression']}")
    return " ".join(words + ["NOT NULL"] * row["is_filled"])


def _rule(row: Row) -> str:
    return f"ALTER TABLE {quote(row['table_name'])} ADD CONSTRAINT {quote(row['name'])} {row['definition']}"


def _settings(row: Row) -> Iterable[str]:
    """Yield what is said of a table beside its columns: who may see rows, and what replicas are told."""
    alter = f"ALTER TABLE {quote(row['name'])}"
    if row["has_row_security"]:
        yield f"{alter} ENABLE ROW LEVEL SECURITY"
    if row["forces_row_security"]:
        yield f"{alter} FORCE ROW LEVEL SECURITY"
    identity = {"n": "NOTHING", "f": "FULL", "i": f"USING INDEX {quote(row['identity_index'] or '')}"}
    if row["replica_identity"] in identity:
        yield f"{alter} REPLICA IDENTITY {identity[row['replica_identity']]}"


def _view(row: Row) -> str:
    options = f" WITH ({row['options']})" if row["options"] else ""
    return f"CREATE VIEW {quote(row['name'])}{options} AS {row['definition'].rstrip().removesuffix(';')}"


def _trigger(row: Row) -> Iterable[str]:
    yield row["definition"]
    how = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
    if row["mode"] in how:
        table, name = quote(row["table_name"]), quote(row["name"])
        yield f"ALTER TABLE {table} {how[row['mode']]} TRIGGER {name}"


def _comment(row: Row) -> str:
    of, within = row["of"], quote(row["name"])
    if of == "COLUMN":
        within = f"{quote(row['table_name'])}.{within}"
    elif of == "CONSTRAINT":
        within = f"{within} ON {quote(row['table_name'])}"
    return f"COMMENT ON {of} {within} IS {literal(row['text'])}"


# --- the catalog --------------------------------------------------------------------------------------

_OF_TABLES = f"c.relkind IN ('r', 'p') AND NOT c.relispartition AND {MINE}"

_ENUMS = f"""
SELECT t.typname::text AS name, format('CREATE TYPE %I AS ENUM (%s)', t.typname, (
    SELECT string_agg(quote_literal(n.enumlabel), ', ' ORDER BY n.enumsortorder)
    FROM pg_enum n WHERE n.enumtypid = t.oid)) AS statement
FROM pg_type t
WHERE t.typtype = 'e' AND t.typnamespace = {HERE} AND {not_of_extension("pg_type", "t.oid")}
ORDER BY t.oid
"""

_DOMAINS = f"""
SELECT t.typname::text AS name, concat_ws(' ', format('CREATE DOMAIN %I AS', t.typname),
    format_type(t.typbasetype, t.typtypmod),
    CASE WHEN t.typcollation NOT IN (0, b.typcollation) THEN (
        SELECT format('COLLATE %I.%I', n.nspname, l.collname)
        FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = t.typcollation) END,
    'DEFAULT ' || t.typdefault, CASE WHEN t.typnotnull THEN 'NOT NULL' END, (
        SELECT string_agg(format('CONSTRAINT %I %s', r.conname, pg_get_constraintdef(r.oid, true)), ' ')
        FROM pg_constraint r WHERE r.contypid = t.oid AND r.contype = 'c')) AS statement
FROM pg_type t JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype = 'd' AND t.typnamespace = {HERE} AND {not_of_extension("pg_type", "t.oid")}
ORDER BY t.oid
"""

# Of aggregates the server tells no definition. A range type brings functions of its own.
_CODE = f"""
SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
    format('%I(%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS signature,
    pg_get_functiondef(p.oid) AS statement
FROM pg_proc p
WHERE p.prokind IN ('f', 'p') AND p.pronamespace = {HERE}
    AND {not_of_extension("pg_proc", "p.oid", "'e', 'i'")}
ORDER BY p.oid
"""

_SEQUENCES = f"""
SELECT q.relname::text AS name, c.relname::text AS table_name, a.attname::text AS column_name,
    s.seqtypid::regtype::text AS type, s.seqstart AS start, s.seqincrement AS increment, s.seqmin AS least,
    s.seqmax AS most, s.seqcache AS cached, s.seqcycle AS cycles, d.deptype = 'i' AS is_identity
FROM pg_sequence s JOIN pg_class q ON q.oid = s.seqrelid
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = q.oid AND d.deptype IN ('a', 'i')
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    JOIN pg_class c ON c.oid = d.refobjid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE {_OF_TABLES} ORDER BY q.oid
"""

_TABLES = f"""
SELECT c.relname::text AS name, c.relpersistence = 'u' AS is_unlogged,
    array_to_string(c.reloptions, ', ') AS options, c.relrowsecurity AS has_row_security,
    c.relforcerowsecurity AS forces_row_security, c.relreplident::text AS replica_identity,
    (SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
     WHERE i.indrelid = c.oid AND i.indisreplident) AS identity_index
FROM pg_class c WHERE {_OF_TABLES} ORDER BY c.oid
"""

_COLUMNS = f"""
SELECT c.relname::text AS table_name, a.attname::text AS name,
    format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS is_filled,
    a.attidentity::text AS identity, a.attgenerated::text AS generated,
    pg_get_expr(d.adbin, d.adrelid) AS expression,
    CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN (
        SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname)
        FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace WHERE l.oid = a.attcollation)
    END AS collation
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND {_OF_TABLES}
ORDER BY c.oid, a.attnum
"""

# Keys first: what refers to them needs them.
_RULES = f"""
SELECT c.relname::text AS table_name, r.conname::text AS name, r.contype::text AS kind,
    pg_get_constraintdef(r.oid, true) AS definition
FROM pg_constraint r JOIN pg_class c ON c.oid = r.conrelid
WHERE r.contype IN ('p', 'u', 'c', 'x', 'f') AND r.conparentid = 0 AND {_OF_TABLES}
ORDER BY array_position(ARRAY['p', 'u', 'c', 'x', 'f'], r.contype::text), r.oid
"""

_INDEXES = f"""
SELECT c.relname::text AS table_name, pg_get_indexdef(i.indexrelid, 0, true) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indisvalid AND {_OF_TABLES} AND NOT EXISTS (
    SELECT FROM pg_constraint r WHERE r.conindid = i.indexrelid AND r.contype IN ('p', 'u', 'x'))
ORDER BY i.indexrelid
"""

_VIEWS = f"""
SELECT c.relname::text AS name, array_to_string(c.reloptions, ', ') AS options,
    pg_get_viewdef(c.oid, true) AS definition
FROM pg_class c WHERE c.relkind = 'v' AND {MINE} ORDER BY c.oid
"""

_TRIGGERS = f"""
SELECT c.relname::text AS table_name, t.tgname::text AS name, t.tgenabled::text AS mode,
    pg_get_triggerdef(t.oid, true) AS definition
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND NOT c.relispartition AND {MINE} ORDER BY t.oid
"""

_COMMENTS = f"""
SELECT CASE WHEN d.objsubid > 0 THEN 'COLUMN' WHEN c.relkind = 'v' THEN 'VIEW' ELSE 'TABLE' END AS of,
    c.relname::text AS table_name, coalesce(a.attname, c.relname)::text AS name, d.description AS text
FROM pg_description d JOIN pg_class c ON c.oid = d.objoid
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE d.classoid = 'pg_class'::regclass AND c.relkind IN ('r', 'v') AND {MINE}
UNION ALL
SELECT 'CONSTRAINT', c.relname::text, r.conname::text, d.description
FROM pg_description d JOIN pg_constraint r ON r.oid = d.objoid JOIN pg_class c ON c.oid = r.conrelid
WHERE d.classoid = 'pg_constraint'::regclass AND {_OF_TABLES}
UNION ALL
SELECT 'INDEX', t.relname::text, c.relname::text, d.description
FROM pg_description d JOIN pg_class c ON c.oid = d.objoid JOIN pg_index i ON i.indexrelid = c.oid
    JOIN pg_class t ON t.oid = i.indrelid
WHERE d.classoid = 'pg_class'::regclass AND c.relkind = 'i' AND {MINE}
"""

# What a dump would hold, and neither reflection names nor a statement above makes.
_LACKING = f"""
SELECT 'privileges' AS what, c.relname::text AS name, 'who may use it is to be granted again' AS reason
FROM pg_class c WHERE c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'S') AND {MINE}
UNION ALL
SELECT 'collation', l.collname::text, 'it was made by hand'
FROM pg_collation l WHERE l.collnamespace = {HERE} AND {not_of_extension("pg_collation", "l.oid")}
UNION ALL
SELECT 'statistics', x.stxname::text, 'they were made by hand'
FROM pg_statistic_ext x WHERE x.stxnamespace = {HERE}
UNION ALL
SELECT 'operator', o.oprname::text, 'it was made by hand'
FROM pg_operator o WHERE o.oprnamespace = {HERE} AND {not_of_extension("pg_operator", "o.oid")}
UNION ALL
SELECT 'text search configuration', f.cfgname::text, 'it was made by hand'
FROM pg_ts_config f WHERE f.cfgnamespace = {HERE} AND {not_of_extension("pg_ts_config", "f.oid")}
UNION ALL
SELECT 'event trigger', g.evtname::text, 'it is code'
FROM pg_event_trigger g WHERE {not_of_extension("pg_event_trigger", "g.oid")}
UNION ALL
SELECT 'publication', p.pubname::text, 'it is about another server' FROM pg_publication p
"""
