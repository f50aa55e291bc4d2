"""Makes a backup, proves it by reading it, and refuses one that is not what it was.

A backup is a file that the backend writes and a manifest beside it, in a folder of their own. The manifest
is written last, after the backup was opened and read to its end: a backup without one was never proved,
and is never restored. The two must stay together; together they can go anywhere.

The manifest's hash finds what happens to files: cut short, overwritten, mixed up. Somebody who means to
deceive can write a new manifest; against that, keep :attr:`BackupMade.sha256` elsewhere (the audit log
has it).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from migration.clock import Clock, stamp
from migration.database import Database
from migration.errors import Differs, Refused
from migration.model import Schema
from migration.redaction import redact_url

P = ParamSpec("P")
T = TypeVar("T")

FORMAT = "migration-bench backup"
# Rises when an older program could no longer read a manifest.
FORMAT_VERSION = 1
MANIFEST_SUFFIX = ".manifest.json"
# Read at a time while hashing: enough to keep a disk busy, nothing in memory.
READ_BYTES = 1024 * 1024
# A manifest is text about tables. One greater than this is something else, and is not read into memory.
MANIFEST_BYTES = 64 * 1024 * 1024

_NEW_ONE = "Use another backup, or make a new one"


@dataclass(frozen=True)
class BackupMade:
    """A backup that was opened and read to its end, and what its manifest says of it.

    ``database`` is the URL without its secrets, ``engine`` the backend's name, ``made`` the time;
    ``tables`` are the names of the tables, each with the names of its columns.
    """

    path: Path
    manifest_path: Path
    sha256: str
    byte_count: int
    tables: dict[str, tuple[str, ...]]
    database: str
    engine: str
    made: str


async def make_backup(database: Database, folder: Path, clock: Clock) -> BackupMade:
    """Write a backup into a new folder inside ``folder``, read it whole, and only then write its manifest.

    Raises
    ------
    Refused
        When it cannot be written, or what was written cannot be read. Nothing unproved is left behind.
    """
    schema, facts = await database.schema(), await database.facts()
    made = stamp(clock())
    inside = await _on_disk(folder, _make_folder, folder, made)
    try:
        with database.told():
            path = await database.backend.backup(database.url, inside)
        await _on_disk(path, _settle, path)
        with database.told():
            await database.backend.check_backup(database.url, path, schema)
        sha256, byte_count = await _on_disk(path, _measure, path)
        backup = BackupMade(
            path=path,
            manifest_path=_manifest_path(path),
            sha256=sha256,
            byte_count=byte_count,
            tables=_tables(schema),
            database=redact_url(database.url),
            engine=database.backend.name,
            made=made,
        )
        await _on_disk(backup.manifest_path, _write_manifest, backup, schema, facts)
    except BaseException:
        # What was not proved must not be left looking like a backup, least of all on a full disk.
        await asyncio.to_thread(shutil.rmtree, inside, ignore_errors=True)
        raise
    return backup


async def verify_backup(path: Path) -> BackupMade:
    """Return what a backup is, having read all of it again.

    Raises
    ------
    Refused
        When it is missing, foreign, truncated or altered; the sentence says which.
    """
    return await asyncio.to_thread(_verify, path)


async def restore_backup(path: Path, database: Database) -> BackupMade:
    """Make an empty database from a backup, once that is verified, and find all its tables there.

    Raises
    ------
    Refused
        When the backup is not what it was or is another engine's, or the database is not empty.
    Differs
        When the restored database lacks a table or a column of the backup.
    """
    backup = await verify_backup(path)
    if backup.engine != database.backend.name:
        raise Refused(
            f"The backup was made by {backup.engine} and cannot be restored to {database.backend.name}",
            where=str(path),
            next_step="Name a database of the backup's own engine",
        )
    if (await database.schema()).tables:
        raise Refused(
            "A backup is only restored into an empty database, and this one has tables",
            where=redact_url(database.url),
            next_step="Name an empty database",
        )
    with database.told():
        await database.backend.restore(path, database.url)
    restored = _tables(await database.schema())
    missing = [name for name, columns in backup.tables.items() if restored.get(name) != columns]
    if missing:
        raise Differs(
            f"The restored database does not have these tables as the backup has them: {', '.join(missing)}",
            where=redact_url(database.url),
            done="The backup is unharmed",
            next_step="Restore it into another, empty database",
        )
    return backup


async def _on_disk(path: Path, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work on files in a thread; where it fails, ``path`` is named."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: OSError, path: Path) -> Refused:
    return Refused(
        f"The backup cannot be written: {error.strerror or error}",
        where=str(path),
        done="The database was only read, and what was written of the backup was removed",
        next_step="Make room and give this user the right to write there, or name another folder",
    )


def _tables(schema: Schema) -> dict[str, tuple[str, ...]]:
    return {table.name: tuple(column.name for column in table.columns) for table in schema.tables}


def _make_folder(folder: Path, made: str) -> Path:
    """Make the folder of one backup; a second one of the same moment gets another."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"backup-{made.replace(':', '').replace('-', '')}"
    inside, number = folder / name, 1
    while inside.exists():
        number += 1
        inside = folder / f"{name}-{number}"
    # Fails, rather than share a folder, when somebody else was quicker.
    inside.mkdir(mode=0o700)
    return inside


def _settle(path: Path) -> None:
    """Bring a new file to the disk, readable by its owner only."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _settle_names(path.parent)


def _settle_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _measure(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 and length, holding little of it in memory."""
    digest, byte_count = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            byte_count += len(block)
    return digest.hexdigest(), byte_count


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + MANIFEST_SUFFIX)


def _write_manifest(backup: BackupMade, schema: Schema, facts: dict[str, str]) -> None:
    members: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "file": backup.path.name,
        "sha256": backup.sha256,
        "byte_count": backup.byte_count,
        "database": backup.database,
        "engine": backup.engine,
        "facts": facts,
        "made": backup.made,
        "tables": [
            {
                "name": table.name,
                "columns": [
                    {
                        "name": column.name,
                        "kind": column.kind.value,
                        "declared": column.declared,
                        "nullable": column.nullable,
                    }
                    for column in table.columns
                ],
            }
            for table in schema.tables
        ],
    }
    members["hash"] = _hash(members)
    # Under its own name only once it is whole: half a manifest must not be taken for one.
    unfinished = backup.manifest_path.with_name(backup.manifest_path.name + ".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(json.dumps(members, indent=2) + "\n")
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(backup.manifest_path)
    _settle_names(backup.path.parent)


def _verify(path: Path) -> BackupMade:
    manifest_path = _manifest_path(path)
    try:
        byte_count = path.stat().st_size
    except OSError as error:
        raise _refusal(f"There is no backup to be read: {error.strerror}", path) from error
    members = _read_manifest(manifest_path, path)
    if members["file"] != path.name:
        raise _refusal(f"The backup is foreign: its manifest is that of {members['file']}", path)
    if byte_count < members["byte_count"]:
        raise _refusal(
            f"The backup is truncated: it has {byte_count} of its {members['byte_count']} bytes", path
        )
    if byte_count > members["byte_count"]:
        raise _refusal(
            f"The backup was altered: it has {byte_count} bytes, and was made with {members['byte_count']}",
            path,
        )
    try:
        sha256, _ = _measure(path)
    except OSError as error:
        raise _refusal(f"The backup cannot be read: {error.strerror}", path) from error
    if sha256 != members["sha256"]:
        raise _refusal("The backup was altered: it is as long as it was, and its bytes are others", path)
    return BackupMade(
        path=path,
        manifest_path=manifest_path,
        sha256=sha256,
        byte_count=byte_count,
        tables={
            table["name"]: tuple(column["name"] for column in table["columns"]) for table in members["tables"]
        },
        database=members["database"],
        engine=members["engine"],
        made=members["made"],
    )


def _read_manifest(manifest_path: Path, path: Path) -> dict[str, Any]:
    """Return a manifest that is whole and ours."""
    try:
        with manifest_path.open("rb") as file:
            data = file.read(MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise _refusal(
            f"The backup is foreign, or was never proved: {manifest_path.name} is missing", path
        ) from error
    except OSError as error:
        raise _refusal(
            f"The manifest of the backup cannot be read: {error.strerror}", manifest_path
        ) from error
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refusal("The manifest of the backup was altered: it is no JSON", manifest_path) from error
    if not isinstance(members, dict) or members.get("format") != FORMAT:
        raise _refusal("The backup is foreign: its manifest was not written by this program", manifest_path)
    if members.get("format_version") != FORMAT_VERSION:
        raise _refusal(
            f"The backup has format {members.get('format_version')}, and this program reads {FORMAT_VERSION}",
            manifest_path,
        )
    if members.pop("hash", None) != _hash(members):
        raise _refusal("The manifest of the backup was altered", manifest_path)
    return members


def _refusal(what: str, path: Path) -> Refused:
    return Refused(what, where=str(path), next_step=_NEW_ONE)


def _hash(members: dict[str, Any]) -> str:
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
