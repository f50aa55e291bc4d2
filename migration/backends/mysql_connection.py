"""Connections to MySQL and MariaDB: what a URL may say, and the settings that every connection has.

asyncmy is used with two cautions. It would send any file a server asks for, so that is switched off until a
loader needs it for a moment. And it spells bytes with backslashes whatever ``sql_mode`` says, so
NO_BACKSLASH_ESCAPES is never set: with it, bytes would arrive changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy.engine import URL

from migration.backends import CONNECT_SECONDS
from migration.errors import UsageError

# A statement that waits longer than this for somebody else's lock fails instead.
LOCK_WAIT_SECONDS = 60
# A connection is idle while the other side is read, and a lock for as long as a migration takes: a year.
IDLE_SECONDS = 31_536_000
# A server that does not say goodbye within this is as gone as one that does.
CLOSE_SECONDS = 2.0
# What the protocol allows; the server has its own limit, and says so when a row is larger.
PACKET_BYTES = 2**30

# Written strictly: a value that does not fit is an error, in every kind of table. Read whole: zero dates are
# not forbidden, because tables that have them in a default could not be made or copied.
SQL_MODE = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

# The same on both engines. No wait is cut short by somebody's default, and texts compare by their bytes.
SETTINGS = {
    "sql_mode": f"'{SQL_MODE}'",
    "time_zone": "'+00:00'",
    "default_storage_engine": "'InnoDB'",
    "foreign_key_checks": "1",
    "unique_checks": "1",
    "sql_safe_updates": "0",
    "sql_select_limit": "DEFAULT",
    "sql_quote_show_create": "1",
    "sql_auto_is_null": "0",
    "innodb_lock_wait_timeout": str(LOCK_WAIT_SECONDS),
    "lock_wait_timeout": str(LOCK_WAIT_SECONDS),
    "wait_timeout": str(IDLE_SECONDS),
    "net_read_timeout": str(IDLE_SECONDS),
    "net_write_timeout": str(IDLE_SECONDS),
    "group_concat_max_len": str(2**24),
    # Keys are up to 3072 bytes long, and what is sorted by less than the whole is in no order.
    "max_sort_length": "4096",
}
MARIADB_SETTINGS = {"max_statement_time": "0", "check_constraint_checks": "1"}
# Statistics as of now: else the next number of a table is as old as a day.
MYSQL_SETTINGS = {"max_execution_time": "0", "information_schema_stats_expiry": "0"}
# Set only where they are not so already, because that may need a right which few users have: NULL stays NULL
# in a column of timestamps, and a table has no column that nobody declared.
RESTRICTED = {"explicit_defaults_for_timestamp": "1", "sql_generate_invisible_primary_key": "0"}

# What may stand behind the ? of a URL.
OPTIONS = frozenset(
    {"unix_socket", "charset", "ssl", "ssl_mode", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher",
     "ssl_verify_cert", "ssl_verify_identity"}
)  # fmt: skip
SSL_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Driver(Protocol):
    """What is used of asyncmy's connection."""

    server_version: str

    def cursor(self, cursor: Any = None) -> Any:
        """Return a cursor, in which statements are run."""
        ...

    async def commit(self) -> None:
        """Commit."""
        ...

    async def rollback(self) -> None:
        """Roll back."""
        ...

    async def ensure_closed(self) -> None:
        """Say goodbye and close."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


async def connect(url: URL, *, read_only: bool = False, autocommit: bool = True) -> Driver:
    """Open one connection with every setting pinned, within :data:`~migration.backends.CONNECT_SECONDS`."""
    driver = require_driver()
    options = _options(url)
    context = _tls(url, options)
    async with asyncio.timeout(CONNECT_SECONDS):
        connection = await driver.connect(
            host=url.host or "localhost",
            port=url.port or 3306,
            user=url.username or "",
            # asyncmy would encode a text as Latin-1, which many a password is not.
            password=(url.password or "").encode(),
            database=url.database,
            unix_socket=options.get("unix_socket"),
            charset="utf8mb4",
            ssl=context,
            autocommit=autocommit,
            connect_timeout=CONNECT_SECONDS,
            max_allowed_packet=PACKET_BYTES,
            # Agreed upon now or never; whether a file is sent is decided when one is asked for.
            local_infile=True,
        )
        try:
            allow_files(connection, allowed=False)
            await _pin(connection, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    pinned: Driver = connection
    return pinned


def allow_files(connection: Any, *, allowed: bool) -> None:
    """Let the server ask for a file, or not; see LOAD DATA LOCAL."""
    connection._local_infile = allowed  # noqa: SLF001 - there is no public name for it


def is_mariadb(connection: Driver) -> bool:
    """Tell MariaDB from MySQL."""
    return "mariadb" in connection.server_version.lower()


async def close(connection: Driver) -> None:
    """Close a connection; a server that does not say goodbye is as gone as one that does."""
    try:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.ensure_closed()
    finally:
        connection.close()


async def fetch(connection: Driver, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement as it stands and return its rows."""
    async with connection.cursor() as cursor:
        await cursor.execute(statement)
        return list(await cursor.fetchall())


def quote(name: str) -> str:
    """Quote a name for SQL."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Quote a text for SQL, as the usual ``sql_mode`` reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"


def require_driver() -> Any:
    """Return asyncmy, or say how to install it."""
    try:
        import asyncmy
    except ModuleNotFoundError as error:
        raise UsageError(
            "The driver for MySQL and MariaDB is not installed",
            done="Nothing was touched",
            next_step='Run: pip install "migration-bench[mysql]"',
        ) from error
    # It logs what a server warns of, values included; without a handler that would be printed.
    logging.getLogger("asyncmy").addHandler(_SILENCE)
    return asyncmy


_SILENCE = logging.NullHandler()


def place(url: URL) -> str:
    """Write a URL for a person, without its secrets."""
    return url.set(query={}).render_as_string(hide_password=True)


async def _pin(connection: Driver, *, read_only: bool) -> None:
    settings = SETTINGS | (MARIADB_SETTINGS if is_mariadb(connection) else MYSQL_SETTINGS)
    known = ", ".join(literal(name) for name in RESTRICTED)
    found = await fetch(connection, f"SHOW SESSION VARIABLES WHERE Variable_name IN ({known})")
    states = {"OFF": "0", "ON": "1"}
    settings |= {name: RESTRICTED[name] for name, value in found if states[value] != RESTRICTED[name]}
    pinned = ", ".join(f"SESSION {name} = {value}" for name, value in settings.items())
    access = "READ ONLY" if read_only else "READ WRITE"
    for statement in (
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
        f"SET {pinned}",
        f"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, {access}",
    ):
        await fetch(connection, statement)


# --- the URL ------------------------------------------------------------------------------------------


def _options(url: URL) -> dict[str, str]:
    """Return what stands behind the ? of a URL; what is not known is refused by name."""
    options = {name: values[-1] for name, values in url.normalized_query.items()}
    if unknown := sorted(options.keys() - OPTIONS):
        raise _wrong(url, f"The URL has an option that is not known: {', '.join(unknown)}", sorted(OPTIONS))
    if options.get("charset", "utf8mb4") != "utf8mb4":
        raise _wrong(url, f"The URL asks for charset={options['charset']}", ["charset=utf8mb4"])
    if not url.database:
        raise UsageError(
            "The URL names no database",
            where=place(url),
            done="Nothing was touched",
            next_step="Write its name behind the host: mysql://user@host/name",
        )
    return options


def _tls(url: URL, options: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return what a secure connection is made with, or ``None`` for a plain one.

    Certificates are verified where the URL names any, or asks for it.
    """
    mode = options.get("ssl_mode", "").lower().replace("-", "_")
    if mode and mode not in SSL_MODES:
        raise _wrong(url, f"The URL asks for ssl_mode={options['ssl_mode']}", SSL_MODES)
    said = {name: _is_yes(url, name, value) for name, value in options.items() if name in _SWITCHES}
    files = {name for name in options if name.startswith("ssl_")} - _SWITCHES - {"ssl_mode"}
    wanted = bool(files) or any(said.values()) or mode in SSL_MODES[2:]
    if mode == "disabled" or said.get("ssl") is False or not wanted:
        return None
    has_authority = "ssl_ca" in options or "ssl_capath" in options
    verifies_name = said.get("ssl_verify_identity", mode == "verify_identity" or (not mode and has_authority))
    verifies = verifies_name or said.get("ssl_verify_cert", mode == "verify_ca" or has_authority)
    context = ssl.create_default_context(cafile=options.get("ssl_ca"), capath=options.get("ssl_capath"))
    context.check_hostname = verifies_name
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if "ssl_cert" in options:
        context.load_cert_chain(options["ssl_cert"], keyfile=options.get("ssl_key"))
    if "ssl_cipher" in options:
        context.set_ciphers(options["ssl_cipher"])
    return context


_SWITCHES = frozenset({"ssl", "ssl_verify_cert", "ssl_verify_identity"})


def _is_yes(url: URL, name: str, value: str) -> bool:
    if value.lower() not in _YES + _NO:
        raise _wrong(url, f"The URL has {name}={value}", ("true", "false"))
    return value.lower() in _YES


def _wrong(url: URL, what: str, choices: Any) -> UsageError:
    next_step = f"Use one of: {', '.join(choices)}"
    return UsageError(what, where=place(url), done="Nothing was touched", next_step=next_step)
