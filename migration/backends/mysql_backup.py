"""Backups of a MySQL or MariaDB database, made and put back by the engine's own programs.

They are SQL, compressed by gzip: its check sum tells when a single bit was lost since, which a text of
statements could not.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from migration.backends.mysql_connection import close, connect, fetch, is_mariadb, quote
from migration.clock import now, stamp
from migration.errors import NoDump, TargetUnusable
from migration.model import Schema

# The longest that a whole backup may take, so that a hanging program ends some day.
PROGRAM_SECONDS = 24 * 3600
# What is read, compressed or sent at once.
PIECE_BYTES = 1024 * 1024
# gzip's fastest: statements become a fifth, at some 100 MB a second.
LEVEL = 1
# A name of 64 characters of 4 bytes, each of them doubled, and the words before it.
OVERLAP_BYTES = 1024
# What is kept of a program's complaint.
COMPLAINT_CHARACTERS = 600
# Each engine's programs, the one of its own name first; the other engine's can do without what it lacks.
DUMP_PROGRAMS = {True: ("mariadb-dump", "mysqldump"), False: ("mysqldump", "mariadb-dump")}
CLIENT_PROGRAMS = {True: ("mariadb", "mysql"), False: ("mysql", "mariadb")}
USUAL_FOLDERS = ("/usr/bin", "/usr/local/bin", "/usr/local/mysql/bin", "/opt/homebrew/bin")
PACKAGES = "Debian: mariadb-client, or MySQL's mysql-client"

_DUMP_OPTIONS = (
    "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob", "--tz-utc",
    "--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--no-tablespaces", "--comments",
)  # fmt: skip
# Of MySQL's own program: statistics that not every server has, and a log position that nobody asked for.
_MYSQL_DUMP_OPTIONS = ("--column-statistics=0", "--set-gtid-purged=OFF")
_CLIENT_OPTIONS = ("--batch", "--binary-mode", "--default-character-set=utf8mb4", "--max-allowed-packet=1G")
# Each begins with plain letters: with a choice there, the check took five times as long.
_TABLE = re.compile(rb"\nCREATE TABLE (?:IF NOT EXISTS )?`((?:[^`]|``)+)` \(")
_ROWS = re.compile(rb"\nLOCK TABLES `((?:[^`]|``)+)` WRITE;")
_LAST_LINE = re.compile(rb"\n-- Dump completed[^\n]*\n*\Z")


async def backup(url: URL, folder: Path) -> Path:
    """Write the whole database into a new file of ``folder``, readable by its owner only."""
    await _refuse_rounding(url)
    program = await _program(DUMP_PROGRAMS[await _is_mariadb(url)])
    options = _DUMP_OPTIONS if program.is_mariadb else _DUMP_OPTIONS + _MYSQL_DUMP_OPTIONS
    name = re.sub(r"[^0-9A-Za-z_-]", "_", url.database or "database")
    path = folder / f"{name}-{stamp(now()).replace(':', '')}.sql.gz"
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(file, "wb") as plain, gzip.GzipFile("", "wb", LEVEL, plain) as packed:

            async def store(process: asyncio.subprocess.Process) -> None:
                assert process.stdout is not None
                while piece := await process.stdout.read(PIECE_BYTES):
                    await asyncio.to_thread(packed.write, piece)

            await _run(program, options, url, store)
    except BaseException:
        path.unlink()
        raise
    return path


async def check(url: URL, path: Path, schema: Schema) -> None:  # noqa: ARG001
    """Read a backup to its end; raise unless it is whole and holds every table, and the rows of each."""
    try:
        tables, filled, end = await asyncio.to_thread(_contents, path)
    except (EOFError, OSError, zlib.error) as error:
        raise _refusal(f"cannot be read: {error}", path) from error
    if not _LAST_LINE.search(end):
        raise _refusal("ends before its end", path)
    missing = sorted(table.name for table in schema.tables if table.name not in tables & filled)
    if missing:
        raise _refusal(f"lacks {', '.join(missing)}", path)


async def restore(path: Path, url: URL) -> None:
    """Put a backup into an empty database."""
    program = await _program(CLIENT_PROGRAMS[await _is_mariadb(url)])
    with gzip.open(path, "rb") as packed:

        async def send(process: asyncio.subprocess.Process) -> None:
            assert process.stdin is not None
            # A program that has stopped reading says why by itself.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while piece := await asyncio.to_thread(packed.read, PIECE_BYTES):
                    process.stdin.write(piece)
                    await process.stdin.drain()
            process.stdin.close()

        try:
            await _run(program, _CLIENT_OPTIONS, url, send)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _refusal(f"cannot be read: {error}", path) from error


def _contents(path: Path) -> tuple[set[str], set[str], bytes]:
    """Return the tables that a backup makes, those that it fills, and its last bytes."""
    tables: set[str] = set()
    filled: set[str] = set()
    window = b"\n"
    with gzip.open(path, "rb") as packed:
        while piece := packed.read(PIECE_BYTES):
            window = window[-OVERLAP_BYTES:] + piece
            for names, pattern in ((tables, _TABLE), (filled, _ROWS)):
                names.update(name.replace(b"``", b"`").decode() for name in pattern.findall(window))
    return tables, filled, window[-OVERLAP_BYTES:]


def _refusal(what: str, path: Path) -> TargetUnusable:
    return TargetUnusable(f"The backup {what}", where=str(path), next_step="Make a new one")


# --- the server ---------------------------------------------------------------------------------------


async def _is_mariadb(url: URL) -> bool:
    connection = await connect(url, read_only=True)
    try:
        return is_mariadb(connection)
    finally:
        await close(connection)


async def _refuse_rounding(url: URL) -> None:
    """Refuse numbers of single precision that the program would write with six digits only."""
    connection = await connect(url, read_only=True)
    try:
        for table, column in await fetch(connection, _SINGLES):
            name = quote(column)
            rounded = await fetch(
                connection,
                f"SELECT 1 FROM {quote(table)} WHERE CAST(CONCAT({name}) AS FLOAT) <> {name} LIMIT 1",
            )
            if rounded:
                raise NoDump(
                    f"A dump would round {column}, of type float, to six digits",
                    where=f"{table}.{column}",
                    next_step=f"Run: ALTER TABLE {quote(table)} MODIFY {name} double; or make a copy of the"
                    " server's files yourself, and go on without --backup",
                )
    finally:
        await close(connection)


_SINGLES = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE() AND c.data_type = 'float' AND t.table_type <> 'VIEW'
"""


# --- programs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Program:
    """Where a program is, and whose it is."""

    path: Path
    is_mariadb: bool


async def _program(names: Sequence[str]) -> _Program:
    folders = os.pathsep.join([os.environ.get("PATH", ""), *USUAL_FOLDERS])
    for name in names:
        found = shutil.which(name, path=folders)
        if found is not None:
            process = await asyncio.create_subprocess_exec(found, "--version", stdout=asyncio.subprocess.PIPE)
            version, _ = await process.communicate()
            return _Program(Path(found), b"mariadb" in version.lower())
    raise NoDump(
        f"A backup needs one of these programs: {', '.join(names)}; found: none",
        next_step=f"Install the client programs ({PACKAGES}), or go on without --backup",
    )


@contextlib.asynccontextmanager
async def _options_file(url: URL, *, is_mariadb_program: bool) -> AsyncIterator[Path]:
    """Give the file that a program connects with; only its owner can read it."""
    query = {name: values[-1] for name, values in url.normalized_query.items()}
    parts = {
        "user": url.username or "",
        "password": url.password,
        "host": None if "unix_socket" in query else url.host or "localhost",
        # A program takes localhost for a socket, wherever that is.
        "protocol": "socket" if "unix_socket" in query else "tcp",
        "port": None if "unix_socket" in query else str(url.port or 3306),
        "socket": query.get("unix_socket"),
    } | _tls_options(query, is_mariadb_program=is_mariadb_program)
    lines = [f"{name}={_quoted(str(value))}" for name, value in parts.items() if value is not None]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "options"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write("\n".join(["[client]", *lines, ""]))
        yield path


def _tls_options(query: dict[str, str], *, is_mariadb_program: bool) -> dict[str, str]:
    """Return what a program is told about TLS: never less than the URL asks for."""
    names = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher")
    files = {name.replace("_", "-"): query[name] for name in names if name in query}
    mode = query.get("ssl_mode", "").lower().replace("-", "_")
    said = {name for name, value in query.items() if value.lower() in ("1", "true", "yes", "on")}
    verifies_name = "ssl_verify_identity" in said or mode == "verify_identity"
    verifies = (
        verifies_name
        or "ssl_verify_cert" in said
        or mode == "verify_ca"
        or {"ssl-ca", "ssl-capath"} & set(files)
    )
    wanted = bool(files) or "ssl" in said or bool(verifies) or mode == "required"
    if not wanted:
        return {"ssl-verify-server-cert": "0"} if is_mariadb_program else {}
    if is_mariadb_program:
        return files | {"ssl": "1", "ssl-verify-server-cert": "1" if verifies else "0"}
    strictness = "VERIFY_IDENTITY" if verifies_name or (verifies and not mode) else "VERIFY_CA"
    return files | {"ssl-mode": strictness if verifies else "REQUIRED"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t") + '"'


Feed = Callable[[asyncio.subprocess.Process], Awaitable[None]]


async def _run(program: _Program, options: Sequence[str], url: URL, feed: Feed) -> None:
    """Run a program on a database to its end; it never outlives this call.

    Raises
    ------
    TargetUnusable
        When it fails, with its own words.
    """
    environment = dict(os.environ) | {"MYSQL_TEST_LOGIN_FILE": os.devnull}
    environment.pop("MYSQL_PWD", None)
    name = program.path.name
    async with _options_file(url, is_mariadb_program=program.is_mariadb) as file:
        process = await asyncio.create_subprocess_exec(
            program.path,
            f"--defaults-file={file}",
            *options,
            str(url.database),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        complaints = asyncio.create_task(_tail(process.stderr))
        try:
            async with asyncio.timeout(PROGRAM_SECONDS):
                await feed(process)
                await process.wait()
        except TimeoutError as error:
            raise TargetUnusable(f"{name} did not end within {PROGRAM_SECONDS:.0f} seconds") from error
        finally:
            if process.returncode is None:
                process.kill()
                # A pipe that nobody reads would be waited for for ever.
                await asyncio.gather(_tail(process.stdout), process.wait())
            said = (await complaints).decode(errors="replace").strip() or "it said nothing"
    if process.returncode != 0:
        if url.password:
            said = said.replace(str(url.password), "***")
        raise TargetUnusable(
            f"{name} failed: {said}",
            done="",
            next_step="Remove the cause and try again; for code of other users this user needs"
            " SET USER (MySQL: SET_ANY_DEFINER)",
        )


async def _tail(stream: Any) -> bytes:
    """Read to the end and keep the last of it."""
    kept = b""
    while piece := await stream.read(PIECE_BYTES):
        kept = (kept + piece)[-COMPLAINT_CHARACTERS:]
    return kept
