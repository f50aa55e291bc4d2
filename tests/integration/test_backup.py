"""Backups: made whole, proved by reading, refused when they are not what they were; on every engine."""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from migration import manifest
from migration.backup import BackupMade, make_backup, restore_backup, verify_backup
from migration.database import Database, open_database, parse_url
from migration.errors import Differs, MigrationError, Refused
from migration.model import Schema

START = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ROWS = 500
TABLES = {"messages": ("id", "content"), "Odd name": ("key",)}


def clock() -> datetime:
    return START


@pytest.fixture
async def database(backend_url: str) -> AsyncIterator[Database]:
    """A database of each engine with two tables, one of them with rows."""
    async with open_database(backend_url) as database:
        await fill(database)
        yield database


async def fill(database: Database) -> None:
    async with database.changing() as connection:
        await connection.exec_driver_sql("CREATE TABLE messages (id integer PRIMARY KEY, content text)")
        odd, key = map(database.writer.quote, ("Odd name", "key"))
        await connection.exec_driver_sql(f"CREATE TABLE {odd} ({key} integer)")
        for number in range(ROWS):
            text = hashlib.sha256(str(number).encode()).hexdigest()
            await connection.exec_driver_sql(f"INSERT INTO messages VALUES ({number}, '{text}')")


async def contents(database: Database) -> list[tuple[Any, ...]]:
    async with database.control() as connection:
        rows = await connection.exec_driver_sql("SELECT id, content FROM messages ORDER BY id")
        return [tuple(row) for row in rows]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- making one ---------------------------------------------------------------------------------------------


async def test_a_backup_is_its_owners_only_and_its_manifest_tells_what_it_is(
    database: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "backups"
    before = os.umask(0)
    try:
        made = await make_backup(database, folder, clock)
    finally:
        os.umask(before)
    assert mode_of(folder) == mode_of(made.path.parent) == 0o700
    assert mode_of(made.path) == mode_of(made.manifest_path) == 0o600
    content = made.path.read_bytes()
    assert (made.sha256, made.byte_count) == (hashlib.sha256(content).hexdigest(), len(content))
    assert made.tables == TABLES
    assert made.made == "2024-05-06T07:08:09.000000Z"
    told = json.loads(made.manifest_path.read_text())
    assert told["format_version"] == 2
    assert told["engine"] == database.backend.name
    assert told["database"] == str(database)
    assert told["facts"]["version"]
    columns = {table["name"]: table["columns"] for table in told["schema"]["tables"]}["messages"]
    assert [column["kind"] for column in columns] == ["integer", "text"]
    assert [(found["table"], found["row_count"]) for found in told["contents"]] == [
        ("Odd name", 0),
        ("messages", ROWS),
    ]
    assert sorted(path.name for path in made.path.parent.iterdir()) == sorted(
        [made.path.name, made.manifest_path.name]
    )


async def test_no_password_is_in_the_manifest(database: Database, tmp_path: Path) -> None:
    made = await make_backup(database, tmp_path, clock)
    if database.url.password:
        assert str(database.url.password) not in made.manifest_path.read_text()
        assert ":***@" in made.database


async def test_a_second_backup_does_not_touch_the_first(database: Database, tmp_path: Path) -> None:
    first = await make_backup(database, tmp_path, clock)
    second = await make_backup(database, tmp_path, lambda: START + timedelta(microseconds=1))
    assert first.path != second.path
    assert await verify_backup(first.path) == first
    assert await verify_backup(second.path) == second


async def test_backups_of_the_same_moment_never_share_a_folder(database: Database, tmp_path: Path) -> None:
    backups = [await make_backup(database, tmp_path, clock) for _ in range(3)]
    assert [made.path.parent.name for made in backups] == [
        "backup-20240506T070809.000000Z",
        "backup-20240506T070809.000000Z-2",
        "backup-20240506T070809.000000Z-3",
    ]
    assert [await verify_backup(made.path) for made in backups] == backups


async def test_a_folder_that_cannot_be_made_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot be written.*was only read"):
        await make_backup(database, tmp_path / "file" / "backups", clock)


async def test_canary_a_backup_that_cannot_be_read_whole_is_not_left_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = database.backend.backup

    async def write_half(url: Any, folder: Path, moment: str | None) -> Path:
        path = await write(url, folder, moment)
        os.truncate(path, path.stat().st_size // 2)
        return path

    monkeypatch.setattr(database.backend, "backup", write_half)
    with pytest.raises(MigrationError):
        await make_backup(database, tmp_path / "backups", clock)
    assert not list((tmp_path / "backups").iterdir())


async def test_canary_a_backup_that_lacks_a_table_is_not_left_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = database.backend.backup

    async def write_late(url: Any, folder: Path, moment: str | None) -> Path:
        async with database.changing() as connection:
            await connection.exec_driver_sql(database.writer.drop_table("Odd name"))
        return await write(url, folder)

    monkeypatch.setattr(database.backend, "backup", write_late)
    with pytest.raises(MigrationError, match="Odd name"):
        await make_backup(database, tmp_path / "backups", clock)
    assert not list((tmp_path / "backups").iterdir())


async def test_a_full_disk_leaves_nothing_behind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(manifest, "write_manifest", full)
    with pytest.raises(Refused, match="cannot be written: No space left on device"):
        await make_backup(database, tmp_path / "backups", clock)
    assert not list((tmp_path / "backups").iterdir())


async def test_a_backup_that_is_gone_before_it_was_read_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(url: Any, path: Path, schema: Schema) -> None:
        path.unlink()

    monkeypatch.setattr(database.backend, "check_backup", lose)
    with pytest.raises(Refused, match="[Nn]o such file"):
        await make_backup(database, tmp_path / "backups", clock)


# --- verifying one ------------------------------------------------------------------------------------------


@pytest.fixture
async def made(sqlite_url: str, tmp_path: Path) -> BackupMade:
    async with open_database(sqlite_url) as database:
        await fill(database)
        return await make_backup(database, tmp_path / "backups", clock)


async def test_a_backup_as_it_was_made_is_verified(database: Database, tmp_path: Path) -> None:
    made = await make_backup(database, tmp_path, clock)
    assert await verify_backup(made.path) == made


async def test_a_backup_may_be_moved_with_its_manifest(made: BackupMade, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    made.path.parent.rename(folder)
    assert (await verify_backup(folder / made.path.name)).sha256 == made.sha256


async def test_a_missing_backup_is_refused(made: BackupMade) -> None:
    with pytest.raises(Refused, match="There is no backup to be read: No such file"):
        await verify_backup(made.path.with_name("other"))


async def test_a_folder_is_no_backup(made: BackupMade) -> None:
    made.path.unlink()
    made.path.mkdir()
    with pytest.raises(Refused, match="holds no backup"):
        await verify_backup(made.path)


@pytest.mark.parametrize("left", [0, 1, -1])
async def test_canary_a_truncated_backup_is_refused(made: BackupMade, left: int) -> None:
    os.truncate(made.path, left % made.byte_count)
    with pytest.raises(
        Refused, match=f"is truncated: it has {left % made.byte_count} of its {made.byte_count}"
    ):
        await verify_backup(made.path)


async def test_canary_a_backup_that_grew_is_refused(made: BackupMade) -> None:
    with made.path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(Refused, match=f"was altered: it has {made.byte_count + 1} bytes"):
        await verify_backup(made.path)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
async def test_canary_a_flipped_bit_is_refused(made: BackupMade, part: float) -> None:
    content = bytearray(made.path.read_bytes())
    content[int(part * (len(content) - 1))] ^= 1
    made.path.write_bytes(content)
    with pytest.raises(Refused, match="was altered: it is as long as it was"):
        await verify_backup(made.path)


async def test_canary_a_backup_without_a_manifest_is_refused(made: BackupMade) -> None:
    made.manifest_path.unlink()
    with pytest.raises(Refused, match="is foreign, or was never proved"):
        await verify_backup(made.path)


async def test_canary_the_manifest_of_another_backup_is_refused(made: BackupMade) -> None:
    other = made.path.with_name("other.db")
    made.path.rename(other)
    made.manifest_path.rename(
        made.manifest_path.with_name(made.manifest_path.name.replace(made.path.name, other.name))
    )
    with pytest.raises(Refused, match=f"is foreign: its manifest is that of {made.path.name}"):
        await verify_backup(other)


async def test_a_manifest_that_cannot_be_read_is_refused(made: BackupMade) -> None:
    made.manifest_path.unlink()
    made.manifest_path.mkdir()
    with pytest.raises(Refused, match="manifest of the backup cannot be read: Is a directory"):
        await verify_backup(made.path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
async def test_canary_a_manifest_that_is_no_json_is_refused(made: BackupMade, content: bytes) -> None:
    made.manifest_path.write_bytes(content)
    with pytest.raises(Refused, match="manifest of the backup was altered: it is no JSON"):
        await verify_backup(made.path)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"format": "another program"}'])
async def test_canary_a_manifest_of_another_program_is_refused(made: BackupMade, content: str) -> None:
    made.manifest_path.write_text(content)
    with pytest.raises(Refused, match="is foreign: its manifest was not written by this program"):
        await verify_backup(made.path)


async def test_a_manifest_of_a_later_format_is_refused(made: BackupMade) -> None:
    edit_manifest(made, format_version=3)
    with pytest.raises(Refused, match="has format 3, and this program reads 2"):
        await verify_backup(made.path)


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"contents": []}, {"engine": "other"}, {"more": 1}])
async def test_canary_an_edited_manifest_is_refused(made: BackupMade, change: dict[str, Any]) -> None:
    edit_manifest(made, rehash=False, **change)
    with pytest.raises(Refused, match="manifest of the backup was altered"):
        await verify_backup(made.path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contents": [{"table": "messages"}]}, "it lacks what it must say"),
        ({"schema": {"tables": [{"name": 7, "columns": []}]}}, "it lacks what it must say"),
        ({"schema_fingerprint": "0" * 64}, "it contradicts itself"),
    ],
)
async def test_canary_a_manifest_that_says_what_it_cannot_is_refused(
    made: BackupMade, change: dict[str, Any], words: str
) -> None:
    edit_manifest(made, **change)
    with pytest.raises(Refused, match=f"The manifest of the backup was altered: {words}"):
        await verify_backup(made.path)


async def test_a_backup_that_is_there_and_cannot_be_read_is_refused(
    made: BackupMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_manifest(made, byte_count=0)
    made.path.unlink()
    # A socket has a size, and nobody can read it as a file; its path must be short.
    monkeypatch.chdir(made.path.parent)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(made.path.name)
        with pytest.raises(Refused, match="The backup cannot be read: "):
            await verify_backup(made.path)


def edit_manifest(made: BackupMade, *, rehash: bool = True, **changes: Any) -> None:
    """Change what a manifest says, with or without making its hash right again."""
    members = json.loads(made.manifest_path.read_text()) | changes
    if rehash:
        del members["hash"]
        members["hash"] = manifest.manifest_hash(members)
    made.manifest_path.write_text(json.dumps(members))


# --- restoring one ------------------------------------------------------------------------------------------


async def test_a_restored_backup_holds_every_row(
    database: Database, engine: str, fresh_database: Callable[[str], str], tmp_path: Path
) -> None:
    made = await make_backup(database, tmp_path / "backups", clock)
    async with open_database(fresh_database(engine)) as restored:
        assert await restore_backup(made.path, restored) == made
        rows = await contents(restored)
        assert rows == await contents(database)
        assert len(rows) == ROWS


async def test_canary_an_altered_backup_is_not_restored(made: BackupMade, tmp_path: Path) -> None:
    os.truncate(made.path, 10)
    async with open_database(tmp_path / "restored.db") as restored:
        with pytest.raises(Refused, match="truncated"):
            await restore_backup(made.path, restored)
        assert not (await restored.schema()).tables


async def test_a_backup_of_another_engine_is_not_restored(made: BackupMade, tmp_path: Path) -> None:
    edit_manifest(made, engine="other")
    async with open_database(tmp_path / "restored.db") as restored:
        with pytest.raises(Refused, match="was made by other and cannot be restored to sqlite"):
            await restore_backup(made.path, restored)


async def test_a_database_that_is_not_empty_is_not_written_over(made: BackupMade, tmp_path: Path) -> None:
    async with open_database(tmp_path / "restored.db") as restored:
        async with restored.changing() as connection:
            await connection.exec_driver_sql("CREATE TABLE mine (id integer)")
        with pytest.raises(Refused, match="only restored into an empty database"):
            await restore_backup(made.path, restored)
        assert (await restored.schema()).has("mine")


async def test_canary_a_restored_database_without_a_table_of_the_backup_is_told(
    made: BackupMade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database(tmp_path / "restored.db") as restored:
        restore = restored.backend.restore

        async def restore_less(path: Path, url: Any) -> None:
            await restore(path, url)
            async with open_database(parse_url(url)) as other, other.changing() as connection:
                await connection.exec_driver_sql("DROP TABLE messages")

        monkeypatch.setattr(restored.backend, "restore", restore_less)
        with pytest.raises(Differs, match="is not as the backup says: the table messages is missing"):
            await restore_backup(made.path, restored)
