"""The queries of ``information_schema`` that tell all there is in a database, one for each kind of thing.

Names of columns are always spelled out, because MySQL gives those of these tables in capitals.
"""

from __future__ import annotations

# Tables of our own, such as the checkpoint; no part of anybody's schema.
OWN_PREFIX = "migration_bench_"
# Where a loader keeps the triggers that it has taken away, until it puts them back.
HELD_TRIGGERS = f"{OWN_PREFIX}held_trigger"

_MINE = f"t.TABLE_SCHEMA = DATABASE() AND LEFT(t.TABLE_NAME, {len(OWN_PREFIX)}) <> '{OWN_PREFIX}'"

# Names are compared by their bytes, as everywhere.
RELATIONS = f"""
SELECT t.TABLE_NAME AS name, t.TABLE_TYPE AS type, t.ENGINE AS engine, t.CREATE_OPTIONS AS options
FROM information_schema.TABLES t WHERE {_MINE} ORDER BY CAST(t.TABLE_NAME AS BINARY)
"""

COLUMNS = f"""
SELECT t.TABLE_NAME AS table_name, t.COLUMN_NAME AS name, t.DATA_TYPE AS data_type,
    t.COLUMN_TYPE AS column_type, t.IS_NULLABLE AS is_nullable, t.COLUMN_DEFAULT AS column_default,
    t.EXTRA AS extra, t.GENERATION_EXPRESSION AS generation_expression, t.COLUMN_COMMENT AS comment,
    t.CHARACTER_MAXIMUM_LENGTH AS character_maximum_length, t.NUMERIC_PRECISION AS numeric_precision,
    t.NUMERIC_SCALE AS numeric_scale, t.DATETIME_PRECISION AS datetime_precision,
    t.CHARACTER_SET_NAME AS character_set, t.COLLATION_NAME AS collation
FROM information_schema.COLUMNS t WHERE {_MINE} ORDER BY t.TABLE_NAME, t.ORDINAL_POSITION
"""


def keys(*, is_mariadb: bool) -> str:
    """Return the query of all indexes; only MySQL has indexes of expressions."""
    own = (
        "NULL AS expression, IGNORED = 'YES'" if is_mariadb else "EXPRESSION AS expression, IS_VISIBLE = 'NO'"
    )
    return f"""
SELECT t.TABLE_NAME AS table_name, t.INDEX_NAME AS name, t.NON_UNIQUE AS non_unique,
    t.COLUMN_NAME AS column_name, t.SUB_PART AS prefix, t.COLLATION AS direction, t.INDEX_TYPE AS method,
    {own} AS is_hidden
FROM information_schema.STATISTICS t WHERE {_MINE}
ORDER BY t.TABLE_NAME, t.INDEX_NAME, t.SEQ_IN_INDEX
"""


FOREIGN_KEYS = f"""
SELECT t.TABLE_NAME AS table_name, t.CONSTRAINT_NAME AS name, t.COLUMN_NAME AS column_name,
    t.REFERENCED_TABLE_SCHEMA = DATABASE() AS same_schema, t.REFERENCED_TABLE_NAME AS target_table,
    t.REFERENCED_COLUMN_NAME AS target_column, r.DELETE_RULE AS on_delete, r.UPDATE_RULE AS on_update
FROM information_schema.KEY_COLUMN_USAGE t JOIN information_schema.REFERENTIAL_CONSTRAINTS r
    ON r.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = t.CONSTRAINT_NAME
    AND r.TABLE_NAME = t.TABLE_NAME
WHERE t.REFERENCED_TABLE_NAME IS NOT NULL AND {_MINE}
ORDER BY t.TABLE_NAME, t.CONSTRAINT_NAME, t.ORDINAL_POSITION
"""

# The rule of one column is called after the column, which is no name of its own.
MARIADB_CHECKS = f"""
SELECT t.TABLE_NAME AS table_name, t.CONSTRAINT_NAME AS name, t.CHECK_CLAUSE AS `condition`,
    t.LEVEL = 'Column' AS is_of_column, 1 AS is_enforced
FROM information_schema.CHECK_CONSTRAINTS t
WHERE {_MINE.replace("TABLE_SCHEMA", "CONSTRAINT_SCHEMA")} ORDER BY t.TABLE_NAME, t.CONSTRAINT_NAME
"""
MYSQL_CHECKS = f"""
SELECT t.TABLE_NAME AS table_name, t.CONSTRAINT_NAME AS name, c.CHECK_CLAUSE AS `condition`,
    0 AS is_of_column, t.ENFORCED = 'YES' AS is_enforced
FROM information_schema.TABLE_CONSTRAINTS t JOIN information_schema.CHECK_CONSTRAINTS c
    ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME
WHERE t.CONSTRAINT_TYPE = 'CHECK' AND {_MINE} ORDER BY t.TABLE_NAME, t.CONSTRAINT_NAME
"""

VIEWS = f"""
SELECT t.TABLE_NAME AS name, t.VIEW_DEFINITION AS definition, t.CHECK_OPTION AS check_option
FROM information_schema.VIEWS t WHERE {_MINE} ORDER BY CAST(t.TABLE_NAME AS BINARY)
"""

TRIGGERS = f"""
SELECT t.TRIGGER_NAME AS name, t.EVENT_OBJECT_TABLE AS table_name, t.ACTION_TIMING AS timing,
    t.EVENT_MANIPULATION AS event, t.ACTION_STATEMENT AS statement
FROM information_schema.TRIGGERS t
WHERE {_MINE.replace("TABLE_SCHEMA", "EVENT_OBJECT_SCHEMA").replace("TABLE_NAME", "EVENT_OBJECT_TABLE")}
"""

CODE = """
SELECT LOWER(ROUTINE_TYPE) AS what, ROUTINE_NAME AS name, 'code has no portable form' AS reason
FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE()
UNION ALL
SELECT 'event', EVENT_NAME, 'only this server runs it at its time'
FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()
"""
