"""How many messages of each kind each session has, kept by triggers instead of counted by whoever asks.

Counting what an agent may see in a session of 60,000 messages reads as many entries of an index. Here it
reads a row for each sender. Who adds a message changes one row more, and only others who add a message of the
same sender to the same session wait for that until it is committed. What empties a whole table at once
(TRUNCATE) passes by triggers; then the counts are to be made anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from bench.tables import METADATA, NUMBER

MESSAGE_COUNTS = sa.Table(
    "bench_message_counts",
    METADATA,
    sa.Column("session_id", sa.String(255), primary_key=True),
    sa.Column("visibility", sa.String(20), primary_key=True),
    sa.Column("sender", sa.String(255), primary_key=True),
    sa.Column("messages", NUMBER, nullable=False),
)

_NAME = MESSAGE_COUNTS.name
# The key to the sessions is not for its check: where it deletes messages, MariaDB and MySQL run no triggers,
# and so it deletes their counts too.
_TABLE = (
    f"CREATE TABLE {_NAME} (session_id VARCHAR(255) NOT NULL, visibility VARCHAR(20) NOT NULL,"
    " sender VARCHAR(255) NOT NULL, messages BIGINT NOT NULL, PRIMARY KEY (session_id, visibility, sender),"
    " FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE)"
)
# What has no visibility nobody sees.
_FIRST_COUNT = (
    f"INSERT INTO {_NAME} SELECT session_id, visibility, sender, count(*) FROM messages"
    " WHERE visibility IS NOT NULL GROUP BY session_id, visibility, sender"
)
_LESS = (
    f"UPDATE {_NAME} SET messages = messages - 1"
    " WHERE session_id = old.session_id AND visibility = old.visibility AND sender = old.sender;"
)
_NEW_ROW = f"INSERT INTO {_NAME} VALUES (new.session_id, new.visibility, new.sender, 1)"
_MORE_AT_CONFLICT = (
    f"{_NEW_ROW} ON CONFLICT (session_id, visibility, sender) DO UPDATE SET messages = {_NAME}.messages + 1;"
)
_COUNTED = "session_id, visibility, sender"


def _sqlite_trigger(event: str, when: str, action: str) -> str:
    name = f"{_NAME}_{event.partition(' ')[0].lower()}_{when[:3]}"
    return f"CREATE TRIGGER {name} AFTER {event} ON messages WHEN {when} IS NOT NULL BEGIN {action} END"


_ON_SQLITE = (
    f"{_TABLE} WITHOUT ROWID",
    _FIRST_COUNT,
    _sqlite_trigger("INSERT", "new.visibility", _MORE_AT_CONFLICT),
    _sqlite_trigger("DELETE", "old.visibility", _LESS),
    _sqlite_trigger(f"UPDATE OF {_COUNTED}", "old.visibility", _LESS),
    _sqlite_trigger(f"UPDATE OF {_COUNTED}", "new.visibility", _MORE_AT_CONFLICT),
)
_FUNCTION = (
    f"CREATE FUNCTION {_NAME}_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" IF TG_OP <> 'INSERT' THEN {_LESS} END IF;"
    f" IF TG_OP <> 'DELETE' THEN IF new.visibility IS NOT NULL THEN {_MORE_AT_CONFLICT} END IF; END IF;"
    " RETURN NULL; END $$"
)
_ITS_TRIGGER = (
    f"CREATE TRIGGER {_NAME}_kept AFTER INSERT OR DELETE OR UPDATE OF {_COUNTED} ON messages"
    f" FOR EACH ROW EXECUTE FUNCTION {_NAME}_kept()"
)
_MORE_AT_DUPLICATE = (
    f"IF new.visibility IS NOT NULL THEN {_NEW_ROW} ON DUPLICATE KEY UPDATE messages = messages + 1; END IF;"
)
_ON_MYSQL = (
    _TABLE,
    _FIRST_COUNT,
    *(
        f"CREATE TRIGGER {_NAME}_{event} AFTER {event} ON messages FOR EACH ROW BEGIN {action} END"
        for event, action in (
            ("insert", _MORE_AT_DUPLICATE),
            ("delete", _LESS),
            ("update", f"{_LESS} {_MORE_AT_DUPLICATE}"),
        )
    ),
)

KEPT_COUNTS: Mapping[str, tuple[str, ...]] = {
    "sqlite": _ON_SQLITE,
    "postgresql": (_TABLE, _FIRST_COUNT, _FUNCTION, _ITS_TRIGGER),
    "mariadb": _ON_MYSQL,
    "mysql": _ON_MYSQL,
}
"""By engine: what makes the table, fills it, and keeps it."""
