"""Triggers of MySQL and MariaDB, which nothing can switch off: taken away during a load, and put back.

Their definitions lie in a table of the target meanwhile, so that whoever comes after a killed run finds them.
Other connections do without these triggers too, as long as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from migration.backends.mysql_catalog import HELD_TRIGGERS as HELD_TABLE
from migration.backends.mysql_catalog import TRIGGERS
from migration.backends.mysql_connection import fetch, literal, quote, require_driver
from migration.backends.mysql_schema import trigger_sql
from migration.errors import TargetUnusable

TRIAL_TRIGGER = "migration_bench_trial"

_MAKE = f"""
CREATE TABLE IF NOT EXISTS {HELD_TABLE} (
  name varchar(64) NOT NULL PRIMARY KEY, table_name varchar(64) NOT NULL, place int NOT NULL,
  definition longtext NOT NULL, spelling longtext NOT NULL, definer varchar(512) NOT NULL,
  sql_mode text NOT NULL, character_set varchar(64) NOT NULL, collation_name varchar(64) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""
_IS_MADE = (
    "SELECT count(*) FROM information_schema.tables"
    f" WHERE table_schema = DATABASE() AND table_name = '{HELD_TABLE}'"
)
_THERE = """
SELECT trigger_name, event_object_table, action_order, definer
FROM information_schema.triggers WHERE trigger_schema = DATABASE()
ORDER BY event_object_table, action_timing, event_manipulation, action_order
"""
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"


@dataclass(frozen=True)
class _Held:
    """A trigger and all that it is made anew with; ``place`` is its turn among those of its table.

    ``spelling`` is how the schema spells it, so that it is the same schema while the trigger is away.
    """

    name: str
    table_name: str
    place: int
    definition: str
    spelling: str
    definer: str
    sql_mode: str
    character_set: str
    collation_name: str


_COLUMNS = ", ".join(field.name for field in fields(_Held))


async def hold_back(connection: Any, tables: Sequence[str]) -> None:
    """Take away the triggers of these tables, when it is certain that they can be put back.

    Raises
    ------
    TargetUnusable
        When this user may not make them anew; the sentence says which permission is missing.
    """
    found = [row for row in await fetch(connection, _THERE) if row[1] in tables]
    if not found:
        return
    held = []
    spelled = await _spellings(connection)
    for place, (name, table, _, definer) in enumerate(found):
        [shown] = await fetch(connection, f"SHOW CREATE TRIGGER {quote(name)}")
        _, sql_mode, definition, character_set, collation_name, *_ = shown
        how = (definer, sql_mode, character_set, collation_name)
        held.append(_Held(name, table, place, definition, spelled[name], *how))
    await fetch(connection, _MAKE)
    for trigger in {trigger.definer: trigger for trigger in held}.values():
        await _try(connection, trigger)
    # All of them are written down before the first is gone.
    rows = ", ".join(f"({', '.join(map(_value, astuple(trigger)))})" for trigger in held)
    await fetch(connection, f"REPLACE INTO {HELD_TABLE} ({_COLUMNS}) VALUES {rows}")
    for trigger in held:
        await fetch(connection, f"DROP TRIGGER {quote(trigger.name)}")


async def _spellings(connection: Any) -> dict[str, str]:
    """Return by name how the schema spells each trigger."""
    parts = ("name", "table_name", "timing", "event", "statement")
    found = [dict(zip(parts, row, strict=True)) for row in await fetch(connection, TRIGGERS)]
    return {row["name"]: trigger_sql(row) for row in found}


async def put_back(connection: Any) -> None:
    """Make every trigger that was taken away, now or by a run that was killed; then forget them."""
    [(is_made,)] = await fetch(connection, _IS_MADE)
    if not is_made:
        return
    there = {name for name, *_ in await fetch(connection, _THERE)}
    tables = {name for (name,) in await fetch(connection, _TABLES)}
    rows = await fetch(connection, f"SELECT {_COLUMNS} FROM {HELD_TABLE} ORDER BY table_name, place")
    for trigger in (_Held(*row) for row in rows):
        # Whoever drops a table drops its triggers.
        if trigger.name not in there and trigger.table_name in tables:
            await _make(connection, trigger)
        await fetch(connection, f"DELETE FROM {HELD_TABLE} WHERE name = {literal(trigger.name)}")
    await fetch(connection, f"DROP TABLE {HELD_TABLE}")


async def _make(connection: Any, trigger: _Held) -> None:
    """Make a trigger as it was made: under its own ``sql_mode``, in the characters that it was written in."""
    ours = "SELECT @@sql_mode, @@character_set_client, @@collation_connection"
    [(sql_mode, character_set, collation_name)] = await fetch(connection, ours)
    encoding = require_driver().charset.charset_by_name(trigger.character_set).encoding
    try:
        await fetch(connection, _session(trigger.sql_mode, trigger.character_set, trigger.collation_name))
        await connection.query(trigger.definition.encode(encoding))
    except require_driver().errors.Error as error:
        raise TargetUnusable(
            f"A trigger that was taken away cannot be made anew: {error.args[-1]}",
            where=trigger.name,
            done=f"Its definition is kept in the table {HELD_TABLE}",
            next_step="Remove the cause and run it again, or make the trigger by hand and drop that table",
        ) from error
    finally:
        await fetch(connection, _session(sql_mode, character_set, collation_name))


def _value(value: str | int) -> str:
    return str(value) if isinstance(value, int) else literal(value)


def _session(sql_mode: str, character_set: str, collation_name: str) -> str:
    return (
        f"SET SESSION sql_mode = {literal(sql_mode)}, character_set_client = {literal(character_set)},"
        f" collation_connection = {literal(collation_name)}"
    )


async def _try(connection: Any, trigger: _Held) -> None:
    """Make a trigger for the same definer and drop it again; raise where that is not allowed."""
    user, _, host = trigger.definer.rpartition("@")
    try:
        await fetch(
            connection,
            f"CREATE DEFINER = {literal(user)}@{literal(host)} TRIGGER {TRIAL_TRIGGER}"
            f" BEFORE INSERT ON {HELD_TABLE} FOR EACH ROW SET NEW.place = NEW.place",
        )
    except require_driver().errors.Error as error:
        await fetch(connection, f"DROP TABLE {HELD_TABLE}")
        raise TargetUnusable(
            f"It has to be taken away for a load, and this user could not make it anew: {error.args[-1]}",
            where=trigger.name,
            next_step=f"Load as {trigger.definer}, or as a user with TRIGGER and SET USER"
            " (MySQL: SET_ANY_DEFINER; with a binary log also log_bin_trust_function_creators = 1)",
        ) from error
    await fetch(connection, f"DROP TRIGGER {TRIAL_TRIGGER}")
