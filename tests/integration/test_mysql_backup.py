"""Backups of MySQL and MariaDB: whole, exact and readable by nobody else; or it is told what they lack."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from migration.backends import mysql_backup
from migration.backends.mysql_connection import close, connect, fetch
from migration.errors import TargetUnusable
from migration.model import Schema, Table
from tests.conftest import FreshDatabase

PASSWORD = "p\"w'#\\ %é;=@:/`$x\t]"

MADE = (
    """CREATE TABLE `odd ``name` (id int AUTO_INCREMENT PRIMARY KEY, text longtext, bytes longblob,
    moment timestamp(6) NULL, day date, number double, exact decimal(40,20), flag bit(3), up int,
    size int AS (CHAR_LENGTH(text)) STORED, FOREIGN KEY (up) REFERENCES `odd ``name` (id))""",
    "CREATE TABLE empty (id int)",
    r"""INSERT INTO `odd ``name` (text, bytes, moment, day, number, exact, flag) VALUES
    ('é \\ '' \n \r\n \0 \Z 👩', x'00ff5c270a1a', '2024-03-31 01:30:00.000001', '0000-00-00',
    0.30000000000000004, 1.00000000000000000001, 5), ('', '', NULL, NULL, 5e-324, NULL, NULL),
    (NULL, NULL, NULL, NULL, 1.7976931348623157e308, NULL, NULL)""",
    "INSERT INTO `odd ``name` (id, text, up) VALUES (0, REPEAT('x', 3000000), 2)",
    "CREATE VIEW seen AS SELECT id, text FROM `odd ``name`",
    "CREATE TRIGGER shout BEFORE INSERT ON empty FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE FUNCTION twice(a int) RETURNS int DETERMINISTIC RETURN a * 2",
    "CREATE EVENT tick ON SCHEDULE EVERY 1 YEAR DISABLE DO DELETE FROM empty",
)
SCHEMA = Schema(tables=(Table("empty", ()), Table("odd `name", ())))
CONTENTS = (
    """SELECT id, text, HEX(bytes), CAST(moment AS CHAR), CAST(day AS CHAR), number, exact, flag + 0, up, size
    FROM `odd ``name` ORDER BY id""",
    "SHOW CREATE TABLE `odd ``name`",
    "SHOW CREATE VIEW seen",
    """SELECT trigger_name, action_statement, definer, sql_mode FROM information_schema.triggers
    WHERE trigger_schema = DATABASE()""",
    """SELECT routine_name, routine_definition, definer FROM information_schema.routines
    WHERE routine_schema = DATABASE()""",
    """SELECT event_name, event_definition, status FROM information_schema.events
    WHERE event_schema = DATABASE()""",
)


@pytest.fixture
async def url(mariadb_url: str) -> AsyncIterator[URL]:
    """A database full of what is easily lost, entered by a user with a password that wants quoting."""
    root = make_url(mariadb_url)
    name = f"b{root.database}"[:60]
    await ask(root, *MADE)
    await ask(
        root,
        f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY '{_escaped(PASSWORD)}'",
        f"GRANT ALL ON *.* TO {name}@'127.0.0.1' WITH GRANT OPTION",
    )
    yield root.set(username=name, password=PASSWORD)
    await ask(root, f"DROP USER {name}@'127.0.0.1'")


@pytest.fixture
def empty_url(url: URL, fresh_database: FreshDatabase) -> URL:
    return make_url(fresh_database("mariadb")).set(username=url.username, password=url.password)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder in which the only programs are; nothing is there yet."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(mysql_backup, "USUAL_FOLDERS", ())
    return folder


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")


async def ask(url: URL, *statements: str) -> list[tuple[Any, ...]]:
    connection = await connect(url)
    try:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            rows = await fetch(connection, statement)
        return rows
    finally:
        await close(connection)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def contents(url: URL) -> list[list[tuple[Any, ...]]]:
    return [await ask(url, statement) for statement in CONTENTS]


async def test_a_backup_holds_everything_and_comes_back_as_it_was(
    url: URL, empty_url: URL, tmp_path: Path
) -> None:
    path = await mysql_backup.backup(url, tmp_path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await mysql_backup.check(url, path, SCHEMA)
    await mysql_backup.restore(path, empty_url)

    before, after = await contents(url), await contents(empty_url)
    views = [str(found[2]).replace(str(url.database), str(empty_url.database)) for found in (before, after)]
    assert views[0] == views[1]
    del before[2], after[2]
    assert after == before


async def test_a_backup_is_of_one_moment_and_keeps_nobody_waiting(url: URL, tmp_path: Path) -> None:
    connection = await connect(url)
    try:
        await fetch(connection, "START TRANSACTION")
        await fetch(connection, "INSERT INTO empty VALUES (7)")
        path = await mysql_backup.backup(url, tmp_path)
    finally:
        await close(connection)
    assert b"INSERT INTO `empty`" not in gzip.decompress(path.read_bytes())


async def test_no_secret_is_in_the_arguments_or_the_environment_of_a_program(
    url: URL, tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("mariadb-dump", path="/usr/bin:/usr/local/bin")
    assert real is not None
    seen = tmp_path / "seen"
    spy = nowhere / "mariadb-dump"
    spy.write_text(
        '#!/bin/sh\n[ "$1" = --version ] ||'
        f' {{ echo "$@"; /usr/bin/env; /bin/ls -l "${{1#*=}}"; }} > {seen}\n'
        f'exec {real} "$@"\n'
    )
    spy.chmod(0o755)
    monkeypatch.setenv("MYSQL_PWD", "another")

    path = await mysql_backup.backup(url, tmp_path)

    await mysql_backup.check(url, path, SCHEMA)
    told = _wait_for_text(seen)
    assert "--single-transaction" in told
    assert PASSWORD not in told
    assert "MYSQL_PWD" not in told
    assert "-rw-------" in told


async def test_a_damaged_backup_is_told_from_a_whole_one(url: URL, tmp_path: Path) -> None:
    path = await mysql_backup.backup(url, tmp_path)
    whole = path.read_bytes()
    text = gzip.decompress(whole)
    flipped = bytearray(whole)
    # Not in the middle, where a value of one letter repeated has codes that mean the same.
    flipped[200] ^= 1
    damaged = {
        "cut": (whole[: len(whole) // 2], "cannot be read"),
        "flipped": (bytes(flipped), "cannot be read"),
        "no gzip": (text, "cannot be read"),
        "nothing": (b"", "ends before its end"),
        "a dump cut short": (gzip.compress(text[: len(text) // 2]), "ends before its end"),
        "a table away": (gzip.compress(text.replace(b"CREATE TABLE `empty`", b"-- ")), "lacks empty"),
        "rows away": (
            gzip.compress(text.replace(b"LOCK TABLES `odd ``name` WRITE", b"-- ")),
            "lacks odd `name",
        ),
    }

    for name, (damage, words) in damaged.items():
        path.write_bytes(damage)
        with pytest.raises(TargetUnusable) as refused:
            await mysql_backup.check(url, path, SCHEMA)
        assert words in refused.value.what, name
    path.write_bytes(whole)
    await mysql_backup.check(url, path, SCHEMA)
    with pytest.raises(TargetUnusable, match="lacks missing"):
        await mysql_backup.check(url, path, Schema(tables=(Table("missing", ()),)))


async def test_a_damaged_backup_is_not_put_back_in_silence(url: URL, empty_url: URL, tmp_path: Path) -> None:
    path = await mysql_backup.backup(url, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])

    with pytest.raises(TargetUnusable, match="cannot be read"):
        await mysql_backup.restore(path, empty_url)


async def test_a_failed_dump_leaves_no_file_and_says_why(url: URL, tmp_path: Path) -> None:
    await ask(
        url, "CREATE TABLE gone (id int)", "CREATE VIEW broken AS SELECT * FROM gone", "DROP TABLE gone"
    )

    with pytest.raises(TargetUnusable, match="mariadb-dump failed: .*broken") as failed:
        await mysql_backup.backup(url, tmp_path)

    assert names_in(tmp_path) == []
    assert PASSWORD not in failed.value.sentence()


async def test_a_failed_restore_says_why(url: URL, tmp_path: Path) -> None:
    path = tmp_path / "a.sql.gz"
    path.write_bytes(gzip.compress(b"SELECT 1;\nnonsense;\n" + b"SELECT 1;\n" * 1_000_000))

    with pytest.raises(TargetUnusable, match="mariadb failed: .*at line 2.*nonsense"):
        await mysql_backup.restore(path, url)


async def test_code_of_another_user_that_may_not_be_made_is_told(
    url: URL, empty_url: URL, tmp_path: Path
) -> None:
    path = await mysql_backup.backup(url, tmp_path)
    name = f"r{url.database}"[:60]
    await ask(
        url,
        f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'p'",
        f"GRANT ALL ON `{empty_url.database}`.* TO {name}@'127.0.0.1'",
    )
    try:
        with pytest.raises(TargetUnusable, match="failed: ") as failed:
            await mysql_backup.restore(path, empty_url.set(username=name, password="p"))
    finally:
        await ask(url, f"DROP USER {name}@'127.0.0.1'")
    assert "SET USER" in failed.value.next_step


async def test_missing_programs_are_named(url: URL, tmp_path: Path, nowhere: Path) -> None:
    assert names_in(nowhere) == []

    with pytest.raises(TargetUnusable, match="mariadb-dump, mysqldump; found: none") as missing:
        await mysql_backup.backup(url, tmp_path)
    assert "mariadb-client" in missing.value.next_step
    with pytest.raises(TargetUnusable, match="mariadb, mysql; found: none"):
        await mysql_backup.restore(tmp_path / "any", url)


async def test_numbers_that_a_dump_would_round_are_refused(url: URL, tmp_path: Path) -> None:
    await ask(url, "CREATE TABLE single (a float)", "INSERT INTO single VALUES (0.5), (NULL), (1e10)")
    await mysql_backup.backup(url, tmp_path)

    await ask(url, "INSERT INTO single VALUES (16777216)")
    with pytest.raises(TargetUnusable, match="round a, of type float") as refused:
        await mysql_backup.backup(url, tmp_path)
    assert refused.value.where == "single.a"


async def test_a_program_does_not_outlive_a_backup_that_is_cancelled(
    url: URL, tmp_path: Path, nowhere: Path
) -> None:
    number = tmp_path / "number"
    slow = nowhere / "mariadb-dump"
    slow.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit\necho $$ > {number}\nexec /bin/sleep 1000\n')
    slow.chmod(0o755)
    folder = tmp_path / "backups"
    folder.mkdir()

    task = asyncio.create_task(mysql_backup.backup(url, folder))
    process = int(await asyncio.to_thread(_wait_for_text, number))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert names_in(folder) == []


async def test_a_program_that_hangs_is_ended(
    url: URL, tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = nowhere / "mariadb-dump"
    slow.write_text('#!/bin/sh\n[ "$1" = --version ] && exit\nexec /bin/sleep 1000\n')
    slow.chmod(0o755)
    monkeypatch.setattr(mysql_backup, "PROGRAM_SECONDS", 0.2)

    with pytest.raises(TargetUnusable, match="did not end within"):
        await mysql_backup.backup(url, tmp_path)


def _wait_for_text(path: Path) -> str:
    for _ in range(3000):
        if path.exists() and (text := path.read_text().strip()):
            return text
        time.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize(
    ("query", "is_mariadb", "expected"),
    [
        ("", False, {}),
        ("", True, {"ssl-verify-server-cert": "0"}),
        ("ssl=true", True, {"ssl": "1", "ssl-verify-server-cert": "0"}),
        ("ssl=true", False, {"ssl-mode": "REQUIRED"}),
        ("ssl_mode=REQUIRED", True, {"ssl": "1", "ssl-verify-server-cert": "0"}),
        ("ssl_ca=/a.pem", True, {"ssl-ca": "/a.pem", "ssl": "1", "ssl-verify-server-cert": "1"}),
        ("ssl_ca=/a.pem", False, {"ssl-ca": "/a.pem", "ssl-mode": "VERIFY_IDENTITY"}),
        ("ssl_mode=verify-ca&ssl_ca=/a.pem", False, {"ssl-ca": "/a.pem", "ssl-mode": "VERIFY_CA"}),
        ("ssl_verify_identity=true", False, {"ssl-mode": "VERIFY_IDENTITY"}),
    ],
)
async def test_a_program_is_told_no_less_about_tls_than_the_url(
    query: str, is_mariadb: bool, expected: dict[str, str]
) -> None:
    url = make_url(f"mysql://u@h/d?{query}")

    async with mysql_backup._options_file(url, is_mariadb_program=is_mariadb) as path:
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines()[1:])

    found = {name: value.strip('"') for name, value in lines.items() if "ssl" in name}
    assert found == expected
    assert not path.exists()
