"""The manifest of a backup: what it is and what it holds, written once that was proved.

It lies beside the backup, with a hash of the backup and one of itself. The two must stay together;
together they can go anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration.errors import Refused
from migration.model import Schema, fingerprint
from migration.schema_as_json import schema_as_data, schema_from_data

FORMAT = "migration-bench backup"
# Rises when an older program could no longer read a manifest.
FORMAT_VERSION = 2
SUFFIX = ".manifest.json"
# Read at a time while hashing: enough to keep a disk busy, nothing in memory.
READ_BYTES = 1024 * 1024
# A manifest is text about tables. One greater than this is something else, and is not read into memory.
MANIFEST_BYTES = 64 * 1024 * 1024
# How a backup is written: by the engine's own programs, or by this one.
DUMP, LOGICAL = "dump", "logical"

_NEW_ONE = "Use another backup, or make a new one"


@dataclass(frozen=True)
class Contents:
    """What one table of a backup holds; ``None`` where it changed while the backup was made.

    ``digest`` is the sum of the hashes of all rows in any order, ``next_number`` what the next row
    gets; ``spelled`` are the columns that hold what only their engine's own spelling can tell (a date
    that no calendar has), and are read as that.
    """

    row_count: int | None
    digest: str | None
    next_number: int | None
    spelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class BackupMade:
    """A backup that was opened and read to its end, and what its manifest says of it.

    ``database`` is the URL without its secrets, ``engine`` the backend's name, ``made`` the time;
    ``tables`` are the names of the tables, each with the names of its columns. ``form`` is
    :data:`DUMP` or :data:`LOGICAL`, and ``reason`` says why it is logical where nobody asked for that.
    ``lacking`` is what the user has accepted that it does not hold.
    """

    path: Path
    manifest_path: Path
    sha256: str
    byte_count: int
    tables: dict[str, tuple[str, ...]]
    database: str
    engine: str
    made: str
    form: str = DUMP
    schema: Schema = field(default_factory=Schema)
    contents: Mapping[str, Contents] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def row_count(self) -> int:
        """Rows in all, as far as they are known."""
        return sum(found.row_count or 0 for found in self.contents.values())

    @property
    def event(self) -> dict[str, Any]:
        """What an audit log keeps of it."""
        told = {
            "database": self.database,
            "path": str(self.path),
            "sha256": self.sha256,
            "bytes": self.byte_count,
            "form": self.form,
        }
        others = {"reason": self.reason, "lacking": self.lacking, "written_to": self.written_to}
        return told | {name: value for name, value in others.items() if value}

    @property
    def written_to(self) -> tuple[str, ...]:
        """Tables that were written to while the backup was made, so that nobody knows what it holds."""
        return tuple(name for name, found in self.contents.items() if found.digest is None)


def backup_as_data(backup: BackupMade) -> dict[str, Any]:
    """Return what a backup is as data."""
    return {
        **backup.event,
        "path": str(backup.path),
        "manifest": str(backup.manifest_path),
        "engine": backup.engine,
        "made": backup.made,
        "rows": backup.row_count,
        "schema_fingerprint": fingerprint(backup.schema),
        "tables": [
            {
                "table": name,
                "rows": found.row_count,
                "digest": found.digest,
                "next_number": found.next_number,
            }
            for name, found in backup.contents.items()
        ],
    }


def manifest_path(path: Path) -> Path:
    """Return where the manifest of a backup lies."""
    return path.with_name(path.name + SUFFIX)


def find_backup(path: Path) -> Path:
    """Return the backup that a path means: a file, or the folder of one.

    Raises
    ------
    Refused
        When the folder holds none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob(f"*{SUFFIX}")) or sorted(path.glob(f"*/*{SUFFIX}"))
    if len(found) != 1:
        names = ", ".join(str(one.relative_to(path)).removesuffix(SUFFIX) for one in found) or "none"
        raise Refused(
            f"The folder holds {'no backup' if not found else 'several backups'}: {names}",
            where=str(path),
            next_step="Name one backup, or its folder",
        )
    return found[0].with_name(found[0].name.removesuffix(SUFFIX))


def settle(path: Path) -> None:
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


def measure(path: Path) -> tuple[str, int]:
    """Return a file's SHA-256 and length, holding little of it in memory."""
    digest, byte_count = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            byte_count += len(block)
    return digest.hexdigest(), byte_count


# --- writing ------------------------------------------------------------------------------------------


def write_manifest(backup: BackupMade) -> None:
    """Write the manifest of a backup that was proved; it is there whole, or not at all."""
    members: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "form": backup.form,
        "reason": backup.reason,
        "file": backup.path.name,
        "sha256": backup.sha256,
        "byte_count": backup.byte_count,
        "database": backup.database,
        "engine": backup.engine,
        "facts": dict(backup.facts),
        "made": backup.made,
        "lacking": list(backup.lacking),
        "schema_fingerprint": fingerprint(backup.schema),
        "schema": schema_as_data(backup.schema),
        "contents": [
            {
                "table": name,
                "row_count": found.row_count,
                "digest": found.digest,
                "next_number": found.next_number,
                "spelled": list(found.spelled),
            }
            for name, found in backup.contents.items()
        ],
    }
    members["hash"] = manifest_hash(members)
    # Under its own name only once it is whole: half a manifest must not be taken for one.
    unfinished = backup.manifest_path.with_name(backup.manifest_path.name + ".unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)
        file.write(json.dumps(members, indent=2) + "\n")
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(backup.manifest_path)
    _settle_names(backup.path.parent)


def manifest_hash(members: Mapping[str, Any]) -> str:
    """Return the hash of all that a manifest says."""
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


# --- reading ------------------------------------------------------------------------------------------


def verify(path: Path) -> BackupMade:
    """Return what a backup is, having read all of it again.

    Raises
    ------
    Refused
        When it is missing, foreign, truncated or altered; the sentence says which.
    """
    path = find_backup(path)
    try:
        byte_count = path.stat().st_size
    except OSError as error:
        raise refusal(f"There is no backup to be read: {error.strerror}", path) from error
    members = _read_manifest(manifest_path(path), path)
    backup = _told(path, members)
    if members["file"] != path.name:
        raise refusal(f"The backup is foreign: its manifest is that of {members['file']}", path)
    if byte_count < backup.byte_count:
        raise refusal(f"The backup is truncated: it has {byte_count} of its {backup.byte_count} bytes", path)
    if byte_count > backup.byte_count:
        raise refusal(
            f"The backup was altered: it has {byte_count} bytes, and was made with {backup.byte_count}",
            path,
        )
    try:
        sha256, _ = measure(path)
    except OSError as error:
        raise refusal(f"The backup cannot be read: {error.strerror}", path) from error
    if sha256 != backup.sha256:
        raise refusal("The backup was altered: it is as long as it was, and its bytes are others", path)
    return backup


def _told(path: Path, members: Mapping[str, Any]) -> BackupMade:
    """Return what a manifest says."""
    try:
        schema = schema_from_data(members["schema"])
        backup = BackupMade(
            path=path,
            manifest_path=manifest_path(path),
            sha256=members["sha256"],
            byte_count=members["byte_count"],
            tables=names_of(schema),
            database=members["database"],
            engine=members["engine"],
            made=members["made"],
            form=members["form"],
            schema=schema,
            contents={
                found["table"]: Contents(
                    found["row_count"], found["digest"], found["next_number"], tuple(found["spelled"])
                )
                for found in members["contents"]
            },
            facts=members["facts"],
            reason=members["reason"],
            lacking=tuple(members["lacking"]),
        )
        is_whole = fingerprint(schema) == members["schema_fingerprint"] and "file" in members
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise refusal("The manifest of the backup was altered: it lacks what it must say", path) from error
    if not is_whole:
        raise refusal("The manifest of the backup was altered: it contradicts itself", path)
    return backup


def names_of(schema: Schema) -> dict[str, tuple[str, ...]]:
    """Return the names of all tables, each with those of its columns."""
    return {table.name: tuple(column.name for column in table.columns) for table in schema.tables}


def _read_manifest(manifest: Path, path: Path) -> dict[str, Any]:
    """Return a manifest that is whole and ours."""
    try:
        with manifest.open("rb") as file:
            data = file.read(MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise refusal(
            f"The backup is foreign, or was never proved: {manifest.name} is missing", path
        ) from error
    except OSError as error:
        raise refusal(f"The manifest of the backup cannot be read: {error.strerror}", manifest) from error
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refusal("The manifest of the backup was altered: it is no JSON", manifest) from error
    if not isinstance(members, dict) or members.get("format") != FORMAT:
        raise refusal("The backup is foreign: its manifest was not written by this program", manifest)
    if members.get("format_version") != FORMAT_VERSION:
        raise refusal(
            f"The backup has format {members.get('format_version')}, and this program reads {FORMAT_VERSION}",
            manifest,
        )
    if members.pop("hash", None) != manifest_hash(members):
        raise refusal("The manifest of the backup was altered", manifest)
    return members


def refusal(what: str, path: Path) -> Refused:
    """Return the error that says what is the matter with a backup."""
    return Refused(what, where=str(path), next_step=_NEW_ONE)
