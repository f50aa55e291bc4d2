"""What was made to deceive, to break in, or to hang: it is refused in a sentence, or it arrives as it is."""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from migration import cli
from migration.backends import sqlite_file
from migration.errors import Refused, RejectsUnusable, UsageError
from migration.plan_file import read_plan_file
from migration.rejects import RejectedRows
from tests import oracle
from tests.moving import made, moved

SECONDS_MAX = 30
"""Nothing here takes a second; a test that meets this limit has found something that hangs."""

pytestmark = pytest.mark.timeout(SECONDS_MAX, method="signal")

# Pages enough that there is a middle, in the smallest pages there are.
PAGE_BYTES = 512
TABLES = f"""
    PRAGMA page_size = {PAGE_BYTES};
    CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
    CREATE INDEX by_v ON t (v);
    CREATE TABLE u (id INTEGER PRIMARY KEY, v TEXT);
""" + "".join(f"INSERT INTO t VALUES ({n}, 'value {n:060}');" for n in range(200))


# --- files that are damaged -----------------------------------------------------------------------------


def overwritten(path: Path) -> None:
    """Put nonsense into a page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // PAGE_BYTES // 2 * PAGE_BYTES)
        file.write(b"\xa5" * PAGE_BYTES)


def index_without_a_row(path: Path) -> None:
    """Add a row that the index does not know of: each page is in order, and they do not fit together."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        [kept] = connection.execute("SELECT * FROM sqlite_master WHERE name = 'by_v'").fetchall()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'by_v'")
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO t VALUES (4711, 'not in the index')")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", kept)
        connection.commit()


def cut_off(path: Path) -> None:
    """Lose the last third of the file."""
    os.truncate(path, path.stat().st_size // PAGE_BYTES * 2 // 3 * PAGE_BYTES)


DAMAGES = {"overwritten": overwritten, "index": index_without_a_row, "cut-off": cut_off}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_file_that_is_damaged_in_the_middle_is_refused_before_anything_moves(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    damaged, whole = made(tmp_path / "damaged.db", TABLES), made(tmp_path / "whole.db", TABLES)
    damage(damaged)
    content = damaged.read_bytes()
    for source, target in ((damaged, tmp_path / "new.db"), (whole, damaged)):
        service = await moved(source, target, audit_path=tmp_path / "audit.jsonl")
        assert isinstance(service.error, Refused), service.error
        assert service.error.exit_code == 3
        assert "damaged" in str(service.error)
        assert str(damaged) in str(service.error)
        # It was said before the source was read.
        assert service.plan is None
    assert damaged.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} - {"audit.jsonl"} == {"damaged.db", "whole.db"}


async def test_canary_pages_alone_do_not_show_what_an_index_lacks(tmp_path: Path) -> None:
    """The reason for the longer of SQLite's two checks."""
    path = made(tmp_path / "damaged.db", TABLES)
    index_without_a_row(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT v FROM t WHERE v = 'not in the index'").fetchall() == []


def test_what_only_its_application_can_compare_is_no_damage(tmp_path: Path) -> None:
    """The tables beside it are looked at all the same."""
    source = made(tmp_path / "source.db", TABLES)
    with closing(sqlite3.connect(source)) as connection:
        connection.create_collation("own", lambda one, other: (one > other) - (one < other))
        connection.create_function("own", 1, str, deterministic=True)
        connection.executescript(
            "CREATE TABLE collated (v TEXT COLLATE own UNIQUE); INSERT INTO collated VALUES ('a'), ('b');"
            "CREATE TABLE computed (v); CREATE INDEX by_own ON computed (own(v));"
            "INSERT INTO computed VALUES (1)"
        )
    wanted, seen = threading.Event(), list[str]()
    wanted.set()
    sqlite_file.examine(source, wanted, seen.append)
    assert seen == ["sqlite_master", "t", "u", "collated", "computed"]
    index_without_a_row(source)
    with pytest.raises(Refused, match="The file is damaged"):
        sqlite_file.examine(source, wanted, seen.append)


def test_an_examination_that_nobody_waits_for_ends_in_the_middle_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, wanted, seen = made(tmp_path / "source.db", TABLES), threading.Event(), list[str]()
    monkeypatch.setattr(sqlite_file, "STEPS_BETWEEN_LOOKS", 10)

    def go_away(table: str) -> None:
        seen.append(table)
        wanted.clear()

    wanted.set()
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        sqlite_file.examine(source, wanted, go_away)
    assert seen == ["sqlite_master"]


async def test_a_rule_that_rows_break_is_no_damage(tmp_path: Path) -> None:
    source = made(
        tmp_path / "source.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, NULL), (2, 'x');"
        "PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET sql ="
        " 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL CHECK (v > ''y''))';",
    )
    service = await moved(source, tmp_path / "target.db")
    assert "damaged" not in str(service.error)


# --- files that were crafted ----------------------------------------------------------------------------


def script(text: str) -> Callable[[Path], object]:
    return lambda path: made(path, text)


def schema_text(statement: str, *, name: str = "t") -> Callable[[Path], object]:
    """Make a file, and write something else into its schema."""

    def craft(path: Path) -> None:
        made(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x')")
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = ?, name = ?", (statement, name))
            connection.commit()

    return craft


def bytes_at(place: int, data: bytes) -> Callable[[Path], object]:
    """Make a file, and write bytes into its header."""

    def craft(path: Path) -> None:
        made(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x')")
        with path.open("r+b") as file:
            file.seek(place)
            file.write(data)

    return craft


def link_to(place: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(place)


PROVED = ""
WIDE = ", ".join(f"c{number} INTEGER" for number in range(1_999))
# What it is; how it is made; the words of the refusal, or nothing where it arrives; what is accepted.
CRAFTED: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    "a schema that is no SQL": (schema_text("CREATE TABLE t (id INTEGER, ))) nonsense"), "damaged", ()),
    "a schema that says another name": (
        schema_text("CREATE TABLE x (id INTEGER PRIMARY KEY, v TEXT)"), "damaged", ()
    ),
    "a name with a NUL in it": (
        schema_text("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", name="t\0; DROP"), "null character", ()
    ),
    "a header that says WAL": (bytes_at(18, b"\x02\x02"), PROVED, ()),
    "a header of a later format": (bytes_at(18, b"\x09\x09"), "not a SQLite database", ()),
    "a header with a page size of nothing": (bytes_at(16, b"\x00\x07"), "not a SQLite database", ()),
    "a view that never ends": (
        script("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW v AS WITH RECURSIVE n (i) AS"
               " (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"), PROVED, (),
    ),
    "views of one another": (
        script("CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW a AS SELECT 1 AS x;"
               "CREATE VIEW b AS SELECT x FROM a; DROP VIEW a; CREATE VIEW a AS SELECT x FROM b"),
        "view-not-carried in a; view-not-carried in b", (),
    ),
    "two thousand columns": (
        script(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {WIDE}); INSERT INTO t (id) VALUES (1)"), PROVED, ()
    ),
    "a generated column that overflows": (
        schema_text("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, g AS (abs(-9223372036854775807 - id)))"),
        "integer overflow", (),
    ),
    "large pages": (
        script("PRAGMA page_size = 65536; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);"
               "INSERT INTO t VALUES (1, 'x')"), PROVED, (),
    ),
    "texts in UTF-16": (
        script("PRAGMA encoding = 'UTF-16be'; CREATE TABLE \"ü\" (id INTEGER PRIMARY KEY, v TEXT);"
               "INSERT INTO \"ü\" VALUES (1, 'ä' || char(128077))"), PROVED, (),
    ),
    "a virtual table that hides behind its own tables": (
        script("CREATE VIRTUAL TABLE f USING fts5 (v); INSERT INTO f VALUES ('x');"
               "CREATE TABLE t (id INTEGER PRIMARY KEY)"), PROVED, ("virtual-table-not-carried",),
    ),
    "a virtual table that nobody knows": (
        script("CREATE TABLE t (id INTEGER PRIMARY KEY); PRAGMA writable_schema = ON;"
               "INSERT INTO sqlite_master VALUES"
               " ('table', 'x', 'x', 0, 'CREATE VIRTUAL TABLE x USING nobody')"),
        PROVED, ("virtual-table-not-carried",),
    ),
    "nothing but a header": (
        lambda path: path.write_bytes(b"SQLite format 3\0"), "not a SQLite database", ()
    ),
    "nothing at all": (lambda path: path.touch(), PROVED, ()),
    "a folder": (lambda path: path.mkdir(), "folder", ()),
    "a pipe": (os.mkfifo, "no plain file", ()),
    "a device without end": (link_to("/dev/zero"), "no plain file", ()),
    "a device that is empty": (link_to("/dev/null"), "no plain file", ()),
    "a link to nowhere": (link_to("nowhere"), "no such file", ()),
    "a link to itself": (link_to("source.db"), "cannot be opened|no such file", ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CRAFTED)
async def test_a_file_that_was_crafted_is_refused_in_a_sentence_or_arrives(name: str, tmp_path: Path) -> None:
    craft, said, accept = CRAFTED[name]
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    craft(source)
    service = await moved(source, target, accept=accept)
    if said == PROVED:
        assert service.error is None, service.error
        return
    assert isinstance(service.error, Refused), service.error
    assert re.search(said, str(service.error)), service.error
    assert not target.exists()


async def test_what_a_crafted_file_holds_arrives_elsewhere_too(tmp_path: Path, postgresql_url: str) -> None:
    """A view without end, of which nobody asks for its rows; and texts in another encoding."""
    source = made(
        tmp_path / "source.db",
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE \"ü\" (id INTEGER PRIMARY KEY, v TEXT);"
        "INSERT INTO \"ü\" VALUES (1, 'ä' || char(128077));"
        "CREATE VIEW v AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    )
    service = await moved(source, postgresql_url)
    assert service.error is None, service.error
    assert await oracle.rows(postgresql_url, 'SELECT v FROM "ü"') == [("ä\N{THUMBS UP SIGN}",)]


# --- files that are given beside the databases ----------------------------------------------------------


def test_a_plan_or_a_file_of_rejects_that_never_ends_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UsageError, match="no plain file"):
            read_plan_file(path)
        with pytest.raises(RejectsUnusable, match="no plain file"):
            RejectedRows(path)
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(UsageError, match="larger than"):
        read_plan_file(huge)


# --- what is printed ------------------------------------------------------------------------------------

ACTED_UPON = "\x1b[31m\x9b31m\x07\u202e\u2066[red]evil[/red]\r"


def test_a_terminal_gets_no_commands_from_names_and_values(tmp_path: Path) -> None:
    """Neither as markup nor as control characters, wherever a name or a value is shown."""
    name = ACTED_UPON.replace('"', '""')
    script = (
        f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, "{name}" TEXT); CREATE VIEW "{name}v" AS SELECT 1;'
    )
    source = made(tmp_path / "source.db", f"{script} INSERT INTO \"{name}\" VALUES (1, '{name}')")
    target = made(tmp_path / "target.db", script)
    for command, code in (("migrate", 0), ("verify", 0), ("verify", 1), ("diff", 1), ("log", 0)):
        if code:
            with closing(sqlite3.connect(target)) as connection:
                connection.execute(f'UPDATE "{name}" SET "{name}" = "{name}" || 2')
                connection.execute(f'CREATE TABLE IF NOT EXISTS "{name}2" (id INTEGER PRIMARY KEY)')
                connection.commit()
        log = ("--audit", str(tmp_path / "audit.jsonl")) if command == "migrate" else ()
        databases = (str(tmp_path / "audit.jsonl"),) if command == "log" else (str(source), str(target))
        result = CliRunner().invoke(cli.app, [command, *databases, *log])
        assert result.exit_code == code, (command, result.output)
        assert "evil" in result.output
        for character in set(ACTED_UPON) & set("\x1b\x9b\x07\u202e\u2066\r"):
            assert character not in result.output, (command, repr(character))
        assert "[red]" in result.output or "\\r" in result.output
