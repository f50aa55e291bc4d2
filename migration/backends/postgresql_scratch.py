"""A PostgreSQL database beside another one, for a while: what a backup is restored into to be read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL

from migration.backends.postgresql_rows import literal, quote
from migration.errors import TargetUnusable

if TYPE_CHECKING:
    from migration.backends.postgresql_rows import Driver

# It is called after the database that it is for; a name keeps 63 bytes.
SUFFIX = "_migration_bench_scratch"
NAME_BYTES = 63 - len(SUFFIX)
# SQLSTATE insufficient_privilege.
NO_PERMISSION = "42501"


@contextlib.asynccontextmanager
async def scratch(url: URL, connected: AbstractAsyncContextManager[Driver]) -> AsyncIterator[URL]:
    """Give the URL of an empty database; the connection that made it drops it again.

    Raises
    ------
    TargetUnusable
        When the role may not make a database.
    """
    async with connected as connection:
        [(own, collate, ctype)] = await connection.fetch(_OWN)
        name = str(own).encode()[:NAME_BYTES].decode(errors="ignore") + SUFFIX
        drop = f"DROP DATABASE IF EXISTS {quote(name)}"
        try:
            await connection.execute(drop)
            await connection.execute(
                f"CREATE DATABASE {quote(name)} TEMPLATE template0 ENCODING 'UTF8'"
                f" LC_COLLATE {literal(collate)} LC_CTYPE {literal(ctype)}"
            )
        except Exception as error:
            if getattr(error, "sqlstate", None) != NO_PERMISSION:
                raise
            raise TargetUnusable(
                f"This role may not make the database {name}, in which a backup is read",
                where=str(own),
                next_step="Let it, as a superuser, for as long as that takes: ALTER ROLE ... CREATEDB",
            ) from error
        try:
            yield url.set(database=name)
        finally:
            await connection.execute(drop)


_OWN = """
SELECT datname::text, datcollate::text, datctype::text FROM pg_database WHERE datname = current_database()
"""
