"""The statements that make a database of MySQL or MariaDB anew, as the server itself writes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from migration.backends import Script
from migration.backends.mysql_connection import literal, quote
from migration.model import Schema, Uncarried

# What reflection names and CREATE TABLE or CREATE VIEW says all the same.
CARRIED = frozenset(
    {"partitioning", "on-update", "column option", "geometry", "constraint option", "foreign key",
     "index option", "view option"}
)  # fmt: skip
# What only a dump holds, and what goes when that could not be restored to its end.
CODE = frozenset({"function", "procedure", "event", "sequence"})
# A trigger is kept in the characters in which it was written; these are read as they are.
READABLE = frozenset({"utf8mb4", "utf8mb3", "utf8", "ascii"})

_TRIGGERS = """
SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()
ORDER BY event_object_table, action_timing, event_manipulation, action_order
"""


async def script(connection: AsyncConnection, schema: Schema) -> Script:
    """Return what makes the connection's database, and name what that would lack."""
    lacking = [thing for thing in schema.uncarried if thing.what not in CARRIED]
    tables = [((await _shown(connection, "TABLE", table.name))[1],) for table in schema.tables]
    views: list[tuple[str, ...]] = [
        ((await _shown(connection, "VIEW", view.name))[1],) for view in schema.views
    ]
    for (name,) in (await connection.exec_driver_sql(_TRIGGERS)).all():
        _, sql_mode, definition, characters, *_ = await _shown(connection, "TRIGGER", name)
        if characters not in READABLE:
            lacking.append(Uncarried("trigger", name, f"it is written in {characters}"))
            continue
        views.append((f"SET SESSION sql_mode = {literal(sql_mode)}", definition))
    return Script(
        before=tuple(tables),
        views=tuple(views),
        undo=tuple(
            f"DROP {thing.what.upper()} IF EXISTS {quote(thing.name)}"
            for thing in schema.uncarried
            if thing.what in CODE
        ),
        lacking=tuple(lacking),
    )


async def _shown(connection: AsyncConnection, what: str, name: str) -> tuple[Any, ...]:
    # A percent sign would be a parameter.
    statement = f"SHOW CREATE {what} {quote(name)}"
    found = await connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return tuple(found.one())
