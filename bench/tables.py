"""The reference tables as the operations speak of them: one text of each query for all engines.

What differs between the hand-written schemas is said here and nowhere else: the forms that a moment has in
the application's SQLite files, JSON that is a text or a type, and the memory's key, which is called
`key_name` where `key` is a reserved word.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class Moment(TypeDecorator[Any]):
    """A moment, written into SQLite in the form that the application gives this column."""

    impl = sa.DateTime
    cache_ok = True

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Give the column's type on that engine."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Float() if self.form == "epoch" else sa.Text())
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write a moment; elsewhere than in SQLite it travels as a moment."""
        if value is None or dialect.name == "postgresql":
            return value
        if dialect.name != "sqlite":
            return value.astimezone(UTC).replace(tzinfo=None)
        if self.form == "epoch":
            return value.timestamp()
        return value.isoformat() if self.form == "iso" else value.strftime("%Y-%m-%d %H:%M:%S")


EPOCH, ISO, PLAIN = Moment("epoch"), Moment("iso"), Moment("plain")
"""Epoch seconds; ISO with an offset; the form of CURRENT_TIMESTAMP."""

METADATA = sa.MetaData()

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("purpose", sa.Text),
    sa.Column("created_at", EPOCH),
    sa.Column("updated_at", EPOCH),
    sa.Column("is_active", sa.Boolean),
    sa.Column("created_by", sa.String(255)),
    sa.Column("metadata", JSON),
)
MESSAGES = sa.Table(
    "messages",
    METADATA,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("session_id", sa.String(255)),
    sa.Column("sender", sa.String(255)),
    sa.Column("sender_type", sa.String(50)),
    sa.Column("content", sa.Text),
    sa.Column("visibility", sa.String(20)),
    sa.Column("message_type", sa.String(50)),
    sa.Column("metadata", JSON),
    sa.Column("timestamp", EPOCH),
    sa.Column("parent_message_id", NUMBER),
)
AUDIT = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("timestamp", PLAIN),
    sa.Column("event_type", sa.String(100)),
    sa.Column("agent_id", sa.String(255)),
    sa.Column("session_id", sa.String(255)),
    sa.Column("resource", sa.String(255)),
    sa.Column("action", sa.String(100)),
    sa.Column("result", sa.String(100)),
    sa.Column("metadata", JSON),
)
TOKENS = sa.Table(
    "secure_tokens",
    METADATA,
    sa.Column("id", NUMBER, primary_key=True),
    sa.Column("token_id", sa.String(255)),
    sa.Column("encrypted_jwt", sa.LargeBinary),
    sa.Column("agent_id", sa.String(255)),
    sa.Column("expires_at", ISO),
    sa.Column("created_at", PLAIN),
)


@cache
def memory_table(key_column: str) -> sa.Table:
    """Give the memories, with the name that the key has in that schema; in Python it is `c.key` always."""
    return sa.Table(
        "agent_memory",
        sa.MetaData(),
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("agent_id", sa.String(255)),
        sa.Column("session_id", sa.String(255)),
        sa.Column(key_column, sa.String(255), key="key"),
        sa.Column("value", sa.Text),
        sa.Column("metadata", JSON),
        sa.Column("created_at", EPOCH),
        sa.Column("updated_at", ISO),
        sa.Column("expires_at", EPOCH),
    )
