"""What only SQLite has, or does otherwise than the others."""

# ruff: noqa: ASYNC221, ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL, make_url

from migration import DataMigrationService, Options, Refused, RolledBack, open_database
from migration.backends import sqlite_backup, sqlite_connection, sqlite_rows
from migration.backends.sqlite import BACKEND
from migration.backends.sqlite_schema import kind_of
from migration.backends.sqlite_sql import tokens
from migration.errors import HazardsNotAccepted, SourceUnusable, TargetLocked, TargetUnusable
from migration.look import clause
from migration.model import (
    Check,
    Column,
    ForeignKey,
    Index,
    IndexPart,
    Kind,
    Schema,
    Table,
    Uncarried,
    Unique,
    View,
)
from tests.contract import Subject, column_of, smaller_batches, table_of, wanted

CLASSES = {pa.int64(): "integer", pa.float64(): "real", pa.string(): "text", pa.binary(): "blob"}
VALUES_OF_EVERY_CLASS = [
    None, 0, 1, -1, 2**63 - 1, -(2**63), 0.5, 1.0, -1.5, 1e300, float("inf"), float("-inf"),
    "", "a", "1", "1.0", "007", "1e5", " 1", "lots", "a\0b", b"", b"a", b"1", b"\0\xff",
]  # fmt: skip


@pytest.fixture
async def subject(sqlite_url: str) -> AsyncIterator[Subject]:
    subject = Subject(sqlite_url)
    yield subject
    await subject.close()


def run(path: Path, *statements: str) -> None:
    """Run statements with nothing between them and SQLite."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def fill(path: Path, table: str, rows: Sequence[Sequence[Any]]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        connection.commit()


def stored(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return what SQLite itself says is there, each value with its storage class and texts as bytes."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        rows = connection.execute(query).fetchall()
    return [tuple(_with_class(value) for value in row) for row in rows]


def _with_class(value: Any) -> tuple[str, Any]:
    # sqlite3 gives texts as bytes like blobs; a query tells them apart by itself where it matters.
    names = {int: "integer", float: "real", bytes: "bytes", type(None): "null"}
    return names[type(value)], value


async def scanned(subject: Subject, name: str, **options: Any) -> list[tuple[Any, ...]]:
    """Return what a scan gives, in the form of :func:`stored`."""
    table = (await subject.source.schema()).table(name)
    rows: list[tuple[Any, ...]] = []
    for batch in await subject.scan(table, **options):
        rows += zip(*[_values(array) for array in batch.batch.columns], strict=True)
    return rows


def _values(array: pa.Array) -> list[tuple[str, Any]]:
    if not pa.types.is_struct(array.type):
        return [_with_class(value) for value in _plain(array)]
    fields = [_plain(array.field(at)) for at in range(array.type.num_fields)]
    return [
        _with_class(next((v for v in values if v is not None), None)) for values in zip(*fields, strict=True)
    ]


def _plain(array: pa.Array) -> list[Any]:
    return list((array.cast(pa.binary()) if pa.types.is_string(array.type) else array).to_pylist())


def in_another_process(path: Path, statement: str) -> subprocess.CompletedProcess[str]:
    """Run one statement where no lock of this process is of any help, waiting for nobody."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "print(connection.execute(sys.argv[2]).fetchall())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(path), statement], capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def held_by_another_process(path: Path, *statements: str) -> Iterator[None]:
    """Let another process run statements and keep its connection open."""
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "[connection.execute(statement).fetchall() for statement in sys.argv[2:]]\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


async def schema_of(path: Path, *statements: str) -> Schema:
    run(path, *statements)
    async with open_database(path, is_source=True) as database:
        return await database.schema()


async def move(source: Path, target: Path, **options: Any) -> DataMigrationService:
    """Move a file into another; what would stop it is raised."""
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        service = DataMigrationService(ours, theirs, options=Options(**{"accept_all": True, **options}))
        await service.migrate()
        return service


class TestStorageClasses:
    @pytest.mark.parametrize(
        "declared", ["INTEGER", "TEXT", "BLOB", "REAL", "NUMERIC", "", "BOOLEAN", "DATE", "JSON"]
    )
    async def test_every_class_in_every_affinity_is_read_as_it_is_stored(
        self, subject: Subject, sqlite_path: Path, declared: str
    ) -> None:
        run(sqlite_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, a {declared}, c TEXT)")
        fill(sqlite_path, "t (a, c)", [(value, None) for value in VALUES_OF_EVERY_CLASS])
        run(sqlite_path, "UPDATE t SET c = typeof(a)")
        assert await scanned(subject, "t") == stored(sqlite_path, "SELECT * FROM t ORDER BY id")

    async def test_a_class_is_never_taken_for_another(self, subject: Subject, sqlite_path: Path) -> None:
        run(sqlite_path, "CREATE TABLE t (a)")
        fill(sqlite_path, "t", [(value,) for value in VALUES_OF_EVERY_CLASS])
        table = (await subject.source.schema()).table("t")
        (batch,) = await subject.scan(table)
        array = batch.batch.column(0)
        counts = {array.type.field(at).name: len(array) - array.field(at).null_count for at in range(4)}
        assert counts == {"integer": 5, "real": 6, "text": 9, "blob": 4}

    async def test_a_column_may_change_its_class_from_page_to_page(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a, b)")
        fill(sqlite_path, "t", [(value, 1) for value in VALUES_OF_EVERY_CLASS * 3])
        for rows in (1, 2, 7):
            smaller_batches(monkeypatch, rows=rows)
            assert await scanned(subject, "t") == stored(sqlite_path, "SELECT * FROM t ORDER BY rowid")

    async def test_a_value_comes_after_many_nulls(self, subject: Subject, sqlite_path: Path) -> None:
        run(sqlite_path, "CREATE TABLE t (a, b, c, d)")
        fill(sqlite_path, "t", [(None,) * 4] * 3_000 + [("text", 1.5, b"blob", 7)])
        assert await scanned(subject, "t") == stored(sqlite_path, "SELECT * FROM t")

    async def test_strict_tables_are_read(self, subject: Subject, sqlite_path: Path) -> None:
        run(sqlite_path, "CREATE TABLE t (a INT, b INTEGER, c REAL, d TEXT, e BLOB, f ANY) STRICT")
        fill(sqlite_path, "t", [(1, 2, 3, "4", b"5", value) for value in VALUES_OF_EVERY_CLASS])
        assert await scanned(subject, "t") == stored(sqlite_path, "SELECT * FROM t")
        schema = await subject.source.schema()
        assert [column.kind for column in schema.table("t").columns] == [
            Kind.INTEGER, Kind.INTEGER, Kind.FLOAT, Kind.TEXT, Kind.BYTES, Kind.ANY,
        ]  # fmt: skip

    @pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
    async def test_databases_in_utf_16_are_read_and_written(self, tmp_path: Path, encoding: str) -> None:
        path = tmp_path / "wide.db"
        run(path, f"PRAGMA encoding = '{encoding}'", "CREATE TABLE t (a TEXT PRIMARY KEY, b) WITHOUT ROWID")
        subject = Subject(f"sqlite:///{path}")
        table = (await subject.database.schema()).table("t")
        texts = ["", "a", "ä", "👩‍👩‍👧", "\U0010ffff", "a\0b", "x" * 1000]
        await subject.load(
            table_of("t", column_of(Kind.TEXT, "a", nullable=False), column_of(Kind.INTEGER, "b")),
            list(zip(texts, range(7), strict=True)),
        )
        assert sorted(await scanned(subject, "t")) == sorted(stored(path, "SELECT * FROM t"))
        assert sorted(row[0][1].decode() for row in await scanned(subject, "t")) == sorted(texts)
        assert (await subject.source.facts())["encoding"] == encoding
        for batch in await subject.scan(table):
            assert await scanned(subject, "t", after=batch.position) == []
        await subject.close()

    @pytest.mark.parametrize("bytes_in_hex", ["ff", "eda080", "c3", "c080", "41ff42", "00ff", "f4908080"])
    async def test_text_that_is_not_utf_8_keeps_its_bytes(
        self, subject: Subject, sqlite_path: Path, bytes_in_hex: str
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a TEXT)", f"INSERT INTO t VALUES (CAST(x'{bytes_in_hex}' AS TEXT))")
        assert await scanned(subject, "t") == [(("bytes", bytes.fromhex(bytes_in_hex)),)]

    async def test_small_queries_tell_classes_apart_and_escape_what_is_no_text(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (a)",
            "INSERT INTO t VALUES (1), (0.1), ('x'), (x'00ff'), (NULL), (CAST(x'41ff' AS TEXT)),"
            " ('a' || char(0))",
        )
        table = table_of("t", column_of(Kind.ANY, "a"))
        async with subject.source.snapshot() as snapshot:
            rows = await snapshot.rows(sa.select(clause(table).c["a"]))
        assert rows == [(1,), (0.1,), ("x",), (b"\0\xff",), (None,), ("A\\xff",), ("a\0",)]


class TestPositions:
    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("k INTEGER PRIMARY KEY", [-(2**63), -5, 0, 3, 2**53 + 1, 2**63 - 1]),
            ("k INT PRIMARY KEY", [-(2**63), -5, 0, 3, 2**53 + 1, 2**63 - 1, "text", 0.5, b"blob"]),
            (
                "k TEXT PRIMARY KEY",
                ["", "a", "A", "a\0", "a\0b", "a\0c", "a ", "ä", "'", "\U0010ffff", b"\xff"],
            ),
            ("k BLOB PRIMARY KEY", [b"", b"\0", b"a", b"a\0b", b"\xff", "a", 1, 0.5]),
            (
                "k REAL PRIMARY KEY",
                [-1e300, -0.1, 0.0, 0.1, 1 / 3, 1e300, float("inf"), float("-inf"), "text"],
            ),
            ("k PRIMARY KEY", [-1, 0.5, 2, "", "5", "a\0b", b"5", b"\xff"]),
            ("k NUMERIC PRIMARY KEY", [1, 1.5, "a", b"a", 2**62]),
            ("k TEXT PRIMARY KEY COLLATE NOCASE", ["a", "B", "c", "D", "ä", "Ä"]),
            ("k TEXT COLLATE NOCASE, PRIMARY KEY (k COLLATE BINARY)", ["a", "A", "b", "B", "c"]),
            ("k TEXT COLLATE RTRIM PRIMARY KEY", ["a", "b", " a", "c  "]),
            ("k TEXT, PRIMARY KEY (k DESC)", ["a", "b", "c", "d", "e"]),
        ],
    )
    async def test_a_table_without_rowid_is_read_whole_and_from_everywhere(
        self,
        subject: Subject,
        sqlite_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        key: str,
        values: list[Any],
    ) -> None:
        first, _, rest = key.partition(",")
        columns = f"{first}, v" + (f",{rest}" if rest else "")
        run(sqlite_path, f"CREATE TABLE t ({columns}) WITHOUT ROWID")
        fill(sqlite_path, "t", [(value, at) for at, value in enumerate(values)])
        smaller_batches(monkeypatch, rows=2)
        await self._check(subject, sqlite_path)

    async def test_a_composite_key_without_rowid(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (v, b TEXT COLLATE NOCASE, a, PRIMARY KEY (a, b COLLATE BINARY DESC, v))"
            " WITHOUT ROWID",
        )
        keys = [(a, b, v) for a in (1, "1", b"1", 1.5) for b in ("x", "X", "x\0", "y") for v in (0, 1)]
        fill(sqlite_path, "t (a, b, v)", keys)
        for rows in (1, 3):
            smaller_batches(monkeypatch, rows=rows)
            await self._check(subject, sqlite_path)

    @pytest.mark.parametrize(
        "columns",
        [
            "rowid TEXT, a",
            "RowID TEXT, _ROWID_ TEXT",
            "rowid TEXT, oid TEXT",
            "rowid, _rowid_, oid, k TEXT NOT NULL PRIMARY KEY",
            "rowid INTEGER PRIMARY KEY, _rowid_, oid",
            "rowid, _rowid_, oid, k INTEGER PRIMARY KEY",
        ],
    )
    async def test_columns_may_have_the_names_of_the_row_s_number(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
    ) -> None:
        run(sqlite_path, f"CREATE TABLE t ({columns})")
        count = len(stored(sqlite_path, "SELECT * FROM pragma_table_info('t')"))
        # Every value but the last column's is told apart by nothing.
        is_key_first = columns.startswith("rowid INTEGER")
        fill(
            sqlite_path,
            "t",
            [(number if is_key_first else 7, *[8] * (count - 2), number) for number in range(9)],
        )
        smaller_batches(monkeypatch, rows=2)
        await self._check(subject, sqlite_path)

    @pytest.mark.parametrize(
        "columns",
        ["rowid, _rowid_, oid", "rowid, _rowid_, oid, k TEXT PRIMARY KEY"],
        ids=["no key", "NULL in the key"],
    )
    async def test_rows_that_cannot_be_told_apart_are_refused_by_name(
        self, subject: Subject, sqlite_path: Path, columns: str
    ) -> None:
        run(sqlite_path, f"CREATE TABLE secret ({columns})")
        with pytest.raises(SourceUnusable, match=r"secret.*Rename"):
            await scanned(subject, "secret")

    async def test_giant_and_negative_row_numbers(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a)")
        fill(
            sqlite_path,
            "t (rowid, a)",
            [(n, "same") for n in (-(2**63), -(2**62), -1, 0, 1, 2**53 + 1, 2**63 - 1)],
        )
        smaller_batches(monkeypatch, rows=1)
        await self._check(subject, sqlite_path)

    async def test_a_comparison_that_only_an_application_knows_is_done_without(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._fill_with_foreign_words(sqlite_path, "")
        smaller_batches(monkeypatch, rows=2)
        await self._check(subject, sqlite_path)

    async def test_rows_in_an_order_that_only_an_application_knows_are_refused_by_name(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        self._fill_with_foreign_words(sqlite_path, "WITHOUT ROWID")
        with pytest.raises(SourceUnusable, match=r"only an application knows: german \(t\)"):
            await scanned(subject, "t")

    @staticmethod
    def _fill_with_foreign_words(path: Path, option: str) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.create_collation("german", lambda one, other: (one > other) - (one < other))
            connection.execute(f"CREATE TABLE t (k TEXT COLLATE german PRIMARY KEY, v) {option}")
            connection.executemany("INSERT INTO t VALUES (?, 1)", [("a",), ("ä",), ("b",), ("B",), ("c",)])
            connection.commit()

    async def test_the_widest_table_there_can_be(self, subject: Subject, sqlite_path: Path) -> None:
        names = [f"c{number}" for number in range(2_000)]
        run(sqlite_path, f"CREATE TABLE t ({', '.join(names)})")
        for row in ("1", "'a'", "0.5", "x'00'", "NULL"):
            run(sqlite_path, f"INSERT INTO t VALUES ({', '.join([row] * 2_000)})")
        assert await scanned(subject, "t") == stored(sqlite_path, "SELECT * FROM t")

    async def test_a_table_that_was_dropped_is_told(self, subject: Subject, sqlite_path: Path) -> None:
        run(sqlite_path, "CREATE TABLE t (a)")
        with pytest.raises(SourceUnusable, match=r"no such table.*\(gone\)"):
            await subject.scan(table_of("gone", column_of(Kind.ANY)))

    @staticmethod
    async def _check(subject: Subject, path: Path) -> None:
        """Find every row exactly once, and after every position exactly the rest."""
        table = (await subject.source.schema()).table("t")
        whole = await scanned(subject, "t")
        assert sorted(map(repr, whole)) == sorted(map(repr, stored(path, "SELECT * FROM t")))
        at = 0
        for batch in await subject.scan(table):
            at += batch.batch.num_rows
            assert await scanned(subject, "t", after=batch.position) == whole[at:]
        assert at == len(whole)


class TestSchema:
    async def test_generated_columns_are_told_whatever_they_are_made_of(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            """CREATE TABLE t (
                a INTEGER, -- (not) this AS (one)
                b TEXT GENERATED ALWAYS AS (a || ',)' || "a") STORED,
                [c, d] AS (max(a, 1)) VIRTUAL NOT NULL,
                `e``e` INTEGER AS (/* , */ "c, d" + 1),
                'as' TEXT DEFAULT 'AS (no)' CHECK ("as" <> 'AS (x)')
            )""",
        )
        assert {column.name: column.generated for column in schema.table("t").columns} == {
            "a": None,
            "b": """a || ',)' || "a\"""",
            "c, d": "max(a, 1)",
            "e`e": '"c, d" + 1',
            "as": None,
        }
        assert [c.name for c in schema.table("t").columns if not c.nullable] == ["c, d"]

    async def test_rules_are_told_whatever_they_look_like(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE other (x INTEGER PRIMARY KEY, y TEXT UNIQUE)",
            """CREATE TABLE [t (] (
                "check" INTEGER CONSTRAINT "a, b" CHECK ("check" IN (1, 2, (3))) CHECK ("check" <> ')'),
                'unique' TEXT /* UNIQUE */ COLLATE "nocase" CONSTRAINT one UNIQUE,
                `foreign` TEXT COLLATE BINARY NOT NULL UNIQUE REFERENCES other (Y) ON DELETE SET NULL,
                "it's ""so"" now" INTEGER CONSTRAINT refers REFERENCES OTHER
                    ON UPDATE CASCADE DEFERRABLE, -- ,)
                [primary] INTEGER CONSTRAINT not_null NOT NULL CONSTRAINT named CHECK ([primary] > 0),
                CONSTRAINT both UNIQUE ("CHECK", [primary])
                CHECK (length("unique") > 0 AND "foreign" NOT LIKE '%,(%')
                CONSTRAINT fk FOREIGN KEY ("PRIMARY") REFERENCES [t (] ("it's ""so"" now") ON DELETE RESTRICT
            )""",
        )
        table = schema.table("t (")
        assert [column.name for column in table.columns] == [
            "check",
            "unique",
            "foreign",
            'it\'s "so" now',
            "primary",
        ]
        assert [column.collation for column in table.columns] == [None, "NOCASE", None, None, None]
        assert table.checks == (
            Check("a, b", '"check" IN (1, 2, (3))'),
            Check(None, "\"check\" <> ')'"),
            Check("named", "[primary] > 0"),
            Check(None, 'length("unique") > 0 AND "foreign" NOT LIKE \'%,(%\''),
        )
        assert table.uniques == (
            Unique("both", ("check", "primary")),
            Unique(None, ("foreign",)),
            Unique("one", ("unique",)),
        )
        assert table.foreign_keys == (
            ForeignKey(None, ("foreign",), "other", ("y",), on_delete="SET NULL"),
            ForeignKey("refers", ('it\'s "so" now',), "other", ("x",), on_update="CASCADE"),
            ForeignKey("fk", ("primary",), "t (", ('it\'s "so" now',), on_delete="RESTRICT"),
        )
        assert schema.uncarried == ()

    async def test_what_a_rule_does_besides_is_named(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE p (a INTEGER PRIMARY KEY)",
            """CREATE TABLE t (
                a INTEGER NOT NULL ON CONFLICT IGNORE,
                b TEXT UNIQUE ON CONFLICT ABORT,
                c INTEGER REFERENCES p (a) DEFERRABLE INITIALLY DEFERRED,
                d INTEGER REFERENCES p (a) NOT DEFERRABLE INITIALLY DEFERRED,
                e TEXT, UNIQUE (e COLLATE NOCASE))""",
        )
        assert schema.uncarried == (
            Uncarried("constraint option", "t", "a INTEGER NOT NULL ON CONFLICT IGNORE"),
            Uncarried("constraint option", "t", "c INTEGER REFERENCES p (a) DEFERRABLE INITIALLY DEFERRED"),
            Uncarried("constraint option", "t", "e is told apart by NOCASE, other than in comparisons"),
        )

    async def test_indexes_are_told_part_by_part(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            'CREATE TABLE t (a TEXT, b TEXT COLLATE NOCASE, "c, (" TEXT)',
            'CREATE UNIQUE INDEX "i (" ON t (a, b DESC, "c, (" COLLATE RTRIM ASC)'
            " WHERE a IS NOT NULL AND b <> ',)' -- where",
            "CREATE INDEX j ON t (lower(a || ',') COLLATE NOCASE DESC, b COLLATE BINARY,"
            " substr(b, 1, 2) ASC)",
            "CREATE INDEX k ON T (A)",
        )
        assert schema.table("t").indexes == (
            Index(
                "i (",
                (IndexPart("a"), IndexPart("b", descending=True), IndexPart("c, (", collation="RTRIM")),
                unique=True,
                condition="a IS NOT NULL AND b <> ',)'",
            ),
            Index(
                "j",
                (
                    IndexPart("lower(a || ',')", is_expression=True, descending=True, collation="NOCASE"),
                    IndexPart("b", collation="BINARY"),
                    IndexPart("substr(b, 1, 2)", is_expression=True),
                ),
            ),
            Index("k", (IndexPart("a"),)),
        )

    async def test_views_keep_the_names_of_their_columns(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE named (a, b)",
            "INSERT INTO named VALUES (1, 2)",
            "CREATE VIEW plain AS SELECT a FROM named",
            'CREATE VIEW "as" (x, "y as") /* AS */ AS SELECT a, b FROM named',
            "CREATE VIEW [v (] AS WITH q (z) AS (SELECT a FROM named) SELECT z FROM q",
        )
        assert schema.views[1] == View("plain", "SELECT a FROM named")
        queries = {view.name: view.definition for view in schema.views}
        with contextlib.closing(sqlite3.connect(sqlite_path)) as connection:
            columns = {
                name: ([d[0] for d in found.description], found.fetchall())
                for name, query in queries.items()
                for found in [connection.execute(query)]
            }
        assert columns == {
            "as": (["x", "y as"], [(1, 2)]),
            "plain": (["a"], [(1,)]),
            "v (": (["z"], [(1,)]),
        }

    async def test_a_trigger_belongs_to_its_table_however_that_is_spelled(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE Users (a)",
            "CREATE TRIGGER loud AFTER INSERT ON USERS BEGIN SELECT 1; END",
            "CREATE VIEW Shown AS SELECT 1 AS a",
            "CREATE TRIGGER instead_of INSTEAD OF INSERT ON shown BEGIN SELECT 1; END",
        )
        assert [(trigger.name, trigger.table) for trigger in schema.triggers] == [
            ("instead_of", "Shown"),
            ("loud", "Users"),
        ]

    async def test_foreign_keys_that_lead_nowhere_are_told_all_the_same(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE two (a, b, PRIMARY KEY (a, b))",
            "CREATE TABLE t (x REFERENCES nowhere, y REFERENCES nowhere (z), v REFERENCES two, w, u,"
            " FOREIGN KEY (u, w) REFERENCES TWO)",
        )
        assert [(k.columns, k.target_table, k.target_columns) for k in schema.table("t").foreign_keys] == [
            (("u", "w"), "two", ("a", "b")),
            (("v",), "two", ("v",)),
            (("x",), "nowhere", ("x",)),
            (("y",), "nowhere", ("z",)),
        ]

    @pytest.mark.parametrize(
        ("ddl", "automatic", "never_reuses", "nullable"),
        [
            ("CREATE TABLE t (id INTEGER PRIMARY KEY)", True, False, False),
            ("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)", True, True, False),
            ("CREATE TABLE t (id INTEGER, PRIMARY KEY (id AUTOINCREMENT))", True, True, False),
            ("CREATE TABLE t (id INTEGER, PRIMARY KEY (id DESC))", True, False, False),
            ("CREATE TABLE t (id INTEGER PRIMARY KEY DESC)", False, False, True),
            ("CREATE TABLE t (id INT PRIMARY KEY)", False, False, True),
            ("CREATE TABLE t (id INTEGER PRIMARY KEY) WITHOUT ROWID", False, False, False),
            ("CREATE TABLE t (id INTEGER DEFAULT 'AUTOINCREMENT' NOT NULL)", False, False, False),
            ('CREATE TABLE t (id "INTEGER" PRIMARY KEY)', True, False, False),
        ],
    )
    async def test_which_keys_number_themselves(
        self, sqlite_path: Path, ddl: str, automatic: bool, never_reuses: bool, nullable: bool
    ) -> None:
        (column,) = (await schema_of(sqlite_path, ddl)).table("t").columns
        assert (column.automatic, column.never_reuses, column.nullable) == (automatic, never_reuses, nullable)

    @pytest.mark.parametrize(
        ("declared", "kind"),
        [
            ("", Kind.ANY), ("ANY", Kind.ANY), ("GEOMETRY", Kind.ANY), ("integer", Kind.INTEGER),
            ("UNSIGNED BIG INT", Kind.INTEGER), ("VARYING CHARACTER(255)", Kind.TEXT),
            ("NVARCHAR(10)", Kind.TEXT),
            ("double precision", Kind.FLOAT), ("DECIMAL(10, 2)", Kind.DECIMAL), ("bool", Kind.BOOLEAN),
            ("datetime", Kind.TIMESTAMP), ("TIMESTAMP WITHOUT TIME ZONE", Kind.TIMESTAMP),
            ("TIMESTAMP(6) WITH TIME ZONE", Kind.INSTANT), ("timestamptz", Kind.INSTANT), ("DATE", Kind.DATE),
            ("TIME", Kind.TIME), ("TIME(3)", Kind.TIME), ("jsonb", Kind.JSON), ("VARBINARY(16)", Kind.BYTES),
        ],
    )  # fmt: skip
    def test_a_declared_type_has_a_kind(self, declared: str, kind: Kind) -> None:
        assert kind_of(declared) is kind

    async def test_sizes_are_read_from_the_declared_type(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path, "CREATE TABLE t (a VARCHAR(20), b DECIMAL(10, 2), c NUMERIC(5), d BLOB(9), e TEXT)"
        )
        found = [(c.size, c.precision, c.scale) for c in schema.table("t").columns]
        nothing = (None, None, None)
        assert found == [(20, None, None), (None, 10, 2), (None, 5, 0), nothing, nothing]

    async def test_virtual_tables_are_named_and_their_shadows_are_not_taken_for_tables(
        self, sqlite_path: Path
    ) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE VIRTUAL TABLE words USING fts5(body)",
            "CREATE VIRTUAL TABLE places USING rtree(id, x0, x1)",
            "CREATE TABLE words_own (a)",
        )
        assert [table.name for table in schema.tables] == ["words_own"]
        assert [(thing.what, thing.name) for thing in schema.uncarried] == [
            ("virtual table", "places"),
            ("virtual table", "words"),
        ]

    async def test_a_virtual_table_of_an_unknown_module_is_named(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE t (a)",
            "PRAGMA writable_schema = ON",
            "INSERT INTO sqlite_master VALUES ('table', 'far', 'far', 0,"
            " 'CREATE VIRTUAL TABLE far USING unknown(a)')",
        )
        assert [table.name for table in schema.tables] == ["t"]
        assert [thing.name for thing in schema.uncarried] == ["far"]

    async def test_tables_of_the_engine_and_of_this_package_are_no_tables(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "CREATE TABLE migration_bench_checkpoint (a)",
            "ANALYZE",
        )
        assert [table.name for table in schema.tables] == ["t"]

    async def test_columns_added_later_and_tables_made_of_queries_are_read(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path,
            "CREATE TABLE t (a TEXT -- the only one\n)",
            "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT (1 + 2) CHECK (b > 0)",
            'ALTER TABLE t RENAME COLUMN a TO "a ("',
            "CREATE TABLE u AS SELECT 1 AS x, 'y' AS \"y)\"",
        )
        assert [(c.name, c.default) for c in schema.table("t").columns] == [("a (", None), ("b", "1 + 2")]
        assert [check.condition for check in schema.table("t").checks] == ["b > 0"]
        assert [column.name for column in schema.table("u").columns] == ["x", "y)"]

    async def test_names_beyond_ascii_differ_by_case(self, sqlite_path: Path) -> None:
        schema = await schema_of(
            sqlite_path, "CREATE TABLE É (a COLLATE NOCASE)", "CREATE TABLE é (b REFERENCES É)"
        )
        assert [table.name for table in schema.tables] == ["É", "é"]
        assert schema.table("é").foreign_keys[0].target_table == "É"

    def test_a_statement_that_ends_in_the_middle_of_a_comment_is_read_to_its_end(self) -> None:
        assert [token.name for token in tokens("a /* b")] == ["a"]


class TestFiles:
    async def test_a_file_that_is_no_database_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "letter.db"
        path.write_text("Dear reader, " * 1000)
        await self._refused(path, r"not a SQLite database.*letter\.db")

    async def test_a_missing_file_is_told_and_not_made(self, tmp_path: Path) -> None:
        await self._refused(tmp_path / "missing.db", "There is no such file")
        assert list(tmp_path.iterdir()) == []

    async def test_a_missing_folder_is_told(self, tmp_path: Path) -> None:
        await self._refused(tmp_path / "missing" / "file.db", "There is no such folder")
        async with open_database(tmp_path / "missing" / "file.db") as database:
            with pytest.raises(TargetUnusable, match="There is no such folder"):
                await database.facts()
            with pytest.raises(TargetUnusable, match="No lock can be put beside the file"):
                async with database.lock():
                    pytest.fail("there is nowhere to put a lock")

    async def test_a_folder_is_told(self, tmp_path: Path) -> None:
        await self._refused(tmp_path, "This is a folder")

    async def test_an_empty_file_is_an_empty_database(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.db"
        path.touch()
        async with open_database(path, is_source=True) as database:
            assert await database.schema() == Schema()

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
    async def test_a_url_that_names_no_file_is_refused(self, url: str) -> None:
        async with open_database(url) as database:
            with pytest.raises(Refused, match="names no file"):
                await database.facts()

    async def test_damage_in_the_middle_is_found_before_anything_is_written(self, tmp_path: Path) -> None:
        path, target = tmp_path / "damaged.db", tmp_path / "target.db"
        self._fill_with_noise(path)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 8192] = b"\xa5" * 8192
        path.write_bytes(data)
        with pytest.raises(SourceUnusable, match=r"The file is damaged.*damaged\.db"):
            await move(path, target)
        assert not target.exists()

    async def test_a_file_cut_in_the_middle_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.db"
        self._fill_with_noise(path)
        path.write_bytes(path.read_bytes()[:40_000])
        async with open_database(path, is_source=True) as database:
            with pytest.raises(SourceUnusable, match="The file is damaged"):  # noqa: PT012
                async with database.snapshot() as snapshot:
                    async for _ in snapshot.scan(table_of("t", column_of(Kind.ANY, "a")), []):
                        pass

    async def test_a_damaged_schema_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "schema.db"
        run(path, "CREATE TABLE abc (a)")
        path.write_bytes(path.read_bytes().replace(b"CREATE TABLE abc", b"CREATE CRATER abc"))
        await self._refused(path, "The file is damaged")

    async def test_a_file_that_another_process_has_locked_is_told(
        self, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_connection, "BUSY_MS", 50)
        run(sqlite_path, "CREATE TABLE t (a)")
        with held_by_another_process(sqlite_path, "BEGIN EXCLUSIVE"):
            await self._refused(sqlite_path, "Another process holds a lock")
            async with open_database(sqlite_path) as database:
                with pytest.raises(TargetUnusable, match="Another process holds a lock"):
                    async with database.loader([]) as loader, loader.transaction():
                        pytest.fail("two write at once")

    async def test_a_full_disk_is_told(self, subject: Subject) -> None:
        with pytest.raises(TargetUnusable, match="The disk is full"):  # noqa: PT012
            async with subject.database.changing() as connection:
                await connection.exec_driver_sql("PRAGMA max_page_count = 2")
                await connection.exec_driver_sql("CREATE TABLE t AS SELECT randomblob(100000)")

    async def test_what_has_no_words_of_its_own_is_told_in_those_of_the_driver(
        self, subject: Subject
    ) -> None:
        error = sqlite3.OperationalError("something else\nat length")
        told = BACKEND.translate_error(error, subject.url, is_source=False)
        assert isinstance(told, TargetUnusable)
        assert "The database answered: something else (" in str(told)

    @pytest.mark.parametrize(
        "name", ["a b.db", "50%.db", "a?b=c.db", "a#b.db", "é👩‍👩‍👧.db", "a:b.db", "it's.db", '"q".db']
    )
    async def test_a_file_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        table = table_of("t", column_of(Kind.TEXT, "a"))
        subject = Subject(URL.create("sqlite", database=str(path)).render_as_string(hide_password=False))
        await subject.create(table)
        await subject.load(table, [("in it",)])
        assert await subject.read(table) == [("in it",)]
        await subject.close()
        assert [file.name for file in tmp_path.iterdir()] == [name]

    async def test_a_source_that_was_left_with_an_uncheckpointed_log_is_read_whole(
        self, sqlite_path: Path
    ) -> None:
        code = (
            "import os, sqlite3, sys\n"
            "connection = sqlite3.connect(sys.argv[1])\n"
            "connection.execute('PRAGMA journal_mode = WAL')\n"
            "connection.execute('CREATE TABLE t (a)')\n"
            "connection.execute('INSERT INTO t VALUES (42)')\n"
            "connection.commit()\n"
            "os._exit(0)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(sqlite_path)], check=True)
        log = sqlite_path.with_name(sqlite_path.name + "-wal")
        before = (sqlite_path.read_bytes(), log.read_bytes())
        assert b"CREATE TABLE" not in before[0]
        subject = Subject(f"sqlite:///{sqlite_path}")
        assert [table.name for table in (await subject.source.schema()).tables] == ["t"]
        assert await scanned(subject, "t") == [(("integer", 42),)]
        await subject.close()
        assert (sqlite_path.read_bytes(), log.read_bytes()) == before

    @staticmethod
    async def _refused(path: Path, words: str) -> None:
        async with open_database(path, is_source=True) as database:
            with pytest.raises(SourceUnusable, match=words):
                await database.facts()
            with pytest.raises(SourceUnusable, match=words):
                async with database.snapshot():
                    pytest.fail("it was opened")

    @staticmethod
    def _fill_with_noise(path: Path) -> None:
        run(
            path,
            "CREATE TABLE t (a)",
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)"
            " INSERT INTO t SELECT hex(randomblob(200)) FROM n",
        )


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder of somebody else's, who lets this process read and not write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@contextlib.contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Take the right to write from a folder, and from this process the right to write all the same."""
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


class TestReadOnlyFolders:
    async def test_a_source_in_it_is_read_and_nothing_is_left_beside_it(self, foreign_folder: Path) -> None:
        path = foreign_folder / "source.db"
        run(path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
        subject = Subject(f"sqlite:///{path}")
        with without_privileges(foreign_folder):
            assert await scanned(subject, "t") == [(("integer", 1),)]
            await subject.close()
        assert [file.name for file in foreign_folder.iterdir()] == ["source.db"]

    async def test_a_target_in_it_is_refused(self, foreign_folder: Path) -> None:
        path = foreign_folder / "target.db"
        run(path, "CREATE TABLE t (a)")
        with without_privileges(foreign_folder):
            async with open_database(path) as database:
                with pytest.raises(TargetUnusable, match="cannot be written to"):
                    async with database.changing() as connection:
                        await connection.exec_driver_sql("CREATE TABLE u (a)")
                with pytest.raises(TargetUnusable, match="No lock can be put beside the file"):
                    async with database.lock():
                        pytest.fail("there is nowhere to put a lock")
            async with open_database(foreign_folder / "new.db") as database:
                with pytest.raises(TargetUnusable, match="cannot be opened"):
                    await database.facts()

    async def test_a_source_in_wal_mode_in_it_says_what_it_needs(self, foreign_folder: Path) -> None:
        path = foreign_folder / "source.db"
        run(path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
        with without_privileges(foreign_folder):
            async with open_database(path, is_source=True) as database:
                with pytest.raises(SourceUnusable, match=r"cannot be written to.*WAL mode"):
                    await database.facts()


class TestTwoCopiesOfTheEngine:
    """Python's SQLite and the driver's have one set of the system's locks, and know nothing of each other."""

    @pytest.fixture
    def filled(self, sqlite_path: Path) -> Path:
        run(sqlite_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
        return sqlite_path

    async def test_a_view_does_not_move_when_another_connection_closes(
        self, subject: Subject, filled: Path, tmp_path: Path
    ) -> None:
        assert await self._written_under_an_open_view(subject, filled, tmp_path) is False

    async def test_canary_without_its_anchor_it_moves(
        self, subject: Subject, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Adrift(sqlite_connection.Connection):
            def __init__(self, path: Path, mode: str, **_: Any) -> None:
                super().__init__(path, mode)

        monkeypatch.setattr(sqlite_rows, "Connection", Adrift)
        assert await self._written_under_an_open_view(subject, filled, tmp_path) is True

    async def test_a_view_of_a_file_in_wal_mode_keeps_its_moment(
        self, subject: Subject, filled: Path, tmp_path: Path
    ) -> None:
        run(filled, "PRAGMA journal_mode = WAL")
        table = table_of("t", column_of(Kind.INTEGER, "a"))
        async with subject.source.snapshot() as snapshot:
            for number in range(2, 5):
                assert in_another_process(filled, f"INSERT INTO t VALUES ({number})").returncode == 0
                await subject.database.facts()
                await subject.close()
            in_another_process(filled, "PRAGMA wal_checkpoint(TRUNCATE)")
            found = [scanned.batch.num_rows async for scanned in snapshot.scan(table, wanted(table))]
        assert found == [1]
        assert await subject.count(table) == 4

    async def test_what_is_written_after_loading_is_there_for_everybody(
        self, subject: Subject, filled: Path
    ) -> None:
        run(filled, "PRAGMA journal_mode = WAL")
        table = table_of("t", column_of(Kind.INTEGER, "a"))
        await subject.insert(table, a=2)
        await subject.load(table, [(3,)])
        await subject.insert(table, a=4)
        # Before anything is closed: what only this process sees would be lost if it died now.
        assert in_another_process(filled, "SELECT a FROM t").stdout == "[(1,), (2,), (3,), (4,)]\n"

    @staticmethod
    async def _written_under_an_open_view(subject: Subject, path: Path, folder: Path) -> bool:
        async with subject.source.snapshot() as snapshot:
            await subject.source.schema()
            await subject.source.close()
            await BACKEND.backup(subject.url, folder)
            written = in_another_process(path, "INSERT INTO t VALUES (2)")
            table = table_of("t", column_of(Kind.INTEGER, "a"))
            assert [s.batch.num_rows async for s in snapshot.scan(table, wanted(table))] in ([1], [2])
        assert written.returncode == 0 or "locked" in written.stderr
        return written.returncode == 0


class TestNewFiles:
    async def test_a_target_that_was_only_looked_at_is_not_left_behind(self, tmp_path: Path) -> None:
        async with open_database(tmp_path / "new.db") as database:
            await database.schema()
            assert (tmp_path / "new.db").exists()
        assert list(tmp_path.iterdir()) == []

    async def test_a_target_that_is_refused_is_left_absent(self, sqlite_path: Path, tmp_path: Path) -> None:
        run(sqlite_path, "CREATE TABLE t (a)", "CREATE VIRTUAL TABLE words USING fts5(body)")
        with pytest.raises(HazardsNotAccepted, match="virtual-table-not-carried"):
            await move(sqlite_path, tmp_path / "target.db", accept_all=False)
        assert [file.name for file in tmp_path.iterdir()] == [sqlite_path.name]

    async def test_a_target_that_was_filled_and_rolled_back_is_left_absent(
        self, sqlite_path: Path, tmp_path: Path
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
        async with (
            open_database(sqlite_path, is_source=True) as source,
            open_database(tmp_path / "target.db") as target,
        ):

            def spoil(step: Any) -> None:
                if step.phase == "prove target":
                    raise SourceUnusable("Something went wrong in the middle")

            service = DataMigrationService(source, target, options=Options(accept_all=True), progress=spoil)
            with pytest.raises(RolledBack):
                await service.migrate()
            assert (tmp_path / "target.db").stat().st_size > 0
        assert [file.name for file in tmp_path.iterdir()] == [sqlite_path.name]

    async def test_a_target_that_was_there_stays_even_if_it_is_empty(self, tmp_path: Path) -> None:
        (tmp_path / "old.db").touch()
        async with open_database(tmp_path / "old.db") as database:
            await database.schema()
        assert (tmp_path / "old.db").exists()


class TestLocks:
    async def test_the_file_of_the_lock_goes_with_it(self, subject: Subject, tmp_path: Path) -> None:
        async with subject.database.lock():
            assert [file.name for file in tmp_path.iterdir()] == ["source.db.migration-lock"]
        assert list(tmp_path.iterdir()) == []

    async def test_a_file_has_one_lock_by_whatever_path_it_is_reached(
        self, sqlite_path: Path, tmp_path: Path
    ) -> None:
        sqlite_path.touch()
        (tmp_path / "link.db").symlink_to(sqlite_path)
        async with (
            open_database(sqlite_path) as one,
            open_database(tmp_path / "link.db") as other,
            one.lock(),
        ):
            with pytest.raises(TargetLocked):
                async with other.lock():
                    pytest.fail("two hold one lock")

    async def test_a_lock_that_was_left_by_a_dead_process_is_free(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        sqlite_path.with_name(f"{sqlite_path.name}.migration-lock").touch()
        async with subject.database.lock():
            pass

    async def test_a_lock_that_is_removed_while_we_take_it_is_taken_again(
        self, subject: Subject, sqlite_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        beside = sqlite_path.with_name(f"{sqlite_path.name}.migration-lock")
        take = fcntl.flock
        taken: list[int] = []

        def flock(handle: int, operation: int) -> None:
            if not taken:
                # The one before us leaves just now.
                beside.unlink()
            take(handle, operation)
            taken.append(handle)

        monkeypatch.setattr(fcntl, "flock", flock)
        async with subject.database.lock():
            assert beside.exists()
            assert len(taken) == 2


class TestNumbers:
    @pytest.mark.parametrize("autoincrement", ["", "AUTOINCREMENT"])
    @pytest.mark.parametrize("ids", [[], [1], [-5], [-5, -3], [0], [7, 3], [2**53 + 1], [2**63 - 2]])
    async def test_the_next_number_is_what_an_insert_gets(
        self, subject: Subject, sqlite_path: Path, ids: list[int], autoincrement: str
    ) -> None:
        run(sqlite_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY {autoincrement}, a)")
        for number in ids:
            run(sqlite_path, f"INSERT INTO t (id) VALUES ({number})")
        table = (await subject.source.schema()).table("t")
        told, tried = await subject.next_number(table), await subject.try_next_number(table)
        run(sqlite_path, "INSERT INTO t (a) VALUES ('next')")
        [((_, real),)] = stored(sqlite_path, "SELECT id FROM t WHERE a = 'next'")
        assert (told, tried) == (real, real)

    async def test_the_number_of_a_table_that_was_emptied_is_remembered(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        run(
            sqlite_path,
            'CREATE TABLE "it\'s" (id INTEGER PRIMARY KEY AUTOINCREMENT)',
            'INSERT INTO "it\'s" VALUES (9)',
            'DELETE FROM "it\'s"',
        )
        table = (await subject.source.schema()).table("it's")
        assert (await subject.next_number(table), await subject.try_next_number(table)) == (10, 10)

    async def test_a_broken_memory_of_numbers_is_taken_for_none(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            "INSERT INTO t VALUES (9)",
            "UPDATE sqlite_sequence SET seq = NULL",
        )
        table = (await subject.source.schema()).table("t")
        assert (await subject.next_number(table), await subject.try_next_number(table)) == (10, 10)

    async def test_past_the_last_number_there_is_none(self, subject: Subject, sqlite_path: Path) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            f"INSERT INTO t VALUES ({2**63 - 1})",
        )
        table = (await subject.source.schema()).table("t")
        assert await subject.next_number(table) == 2**63
        with pytest.raises(TargetUnusable, match="No number is left"):
            await subject.try_next_number(table)

    async def test_a_file_with_no_number_left_arrives_and_has_none_left_either(
        self, sqlite_path: Path, tmp_path: Path
    ) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)",
            f"INSERT INTO t VALUES ({2**63 - 1})",
        )
        service = await move(sqlite_path, tmp_path / "target.db")
        assert service.report is not None
        assert service.report.proved
        with pytest.raises(sqlite3.OperationalError, match="full"):
            run(tmp_path / "target.db", "INSERT INTO t VALUES (NULL)")

    async def test_a_rule_that_refuses_every_row_is_told(self, subject: Subject, sqlite_path: Path) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (id INTEGER PRIMARY KEY)",
            "CREATE UNIQUE INDEX only_one ON t ((1))",
            "INSERT INTO t VALUES (1)",
        )
        table = (await subject.source.schema()).table("t")
        with pytest.raises(TargetUnusable, match="only_one"):
            await subject.try_next_number(table)

    async def test_a_table_that_goes_by_its_largest_needs_no_setting(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (4)")
        table = (await subject.source.schema()).table("t")
        async with subject.database.changing() as connection:
            await BACKEND.set_next_number(connection, table, 5)
        assert await subject.next_number(table) == 5

    @pytest.mark.parametrize(
        "statements",
        [
            ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL UNIQUE CHECK (a = 'x'))"],
            ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT NOT NULL AS (a || '!'))"],
            ["CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL)",
             "CREATE INDEX i ON t (json_extract(a, '$.id'))"],
            ["CREATE TABLE t (id INTEGER PRIMARY KEY, a)",
             "CREATE TRIGGER no BEFORE INSERT ON T BEGIN SELECT RAISE(ABORT, 'no'); END"],
            ["""CREATE TABLE t (id INTEGER PRIMARY KEY, a INT NOT NULL, b REAL NOT NULL, c TEXT NOT NULL,
             d BLOB NOT NULL, e ANY NOT NULL) STRICT"""],
            ["CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER NOT NULL REFERENCES t, b DATE NOT NULL)"],
        ],
    )  # fmt: skip
    async def test_a_table_that_objects_to_most_rows_is_tried_all_the_same(
        self, subject: Subject, sqlite_path: Path, statements: list[str]
    ) -> None:
        run(sqlite_path, *statements)
        before = sqlite_path.read_bytes()
        schema = await subject.source.schema()
        assert await subject.try_next_number(schema.table("t")) == 1
        assert await subject.source.schema() == schema
        await subject.close()
        assert sqlite_path.read_bytes() == before


class TestTypes:
    @pytest.mark.parametrize(
        ("column", "declared"),
        [
            (Column("a", Kind.ANY, declared=""), ""),
            (Column("a", Kind.ANY, declared="ANY"), ""),
            (Column("a", Kind.ANY, declared="INTEGER"), "INT"),
            (Column("a", Kind.ANY, declared="INTEGER", automatic=True), "INTEGER"),
            (Column("a", Kind.ANY, declared="DECIMAL(10,5)"), "DECIMAL(10,5)"),
            (Column("a", Kind.TEXT, size=7), "VARCHAR(7)"),
            (Column("a", Kind.INSTANT), "TIMESTAMPTZ"),
        ],
    )
    def test_a_column_is_declared_so_that_its_values_stay(self, column: Column, declared: str) -> None:
        assert BACKEND.column_type(column).compile(dialect=SQLiteDialect()) == declared


class TestFromFileToFile:
    async def test_odd_tables_arrive_as_they_are(self, sqlite_path: Path, tmp_path: Path) -> None:
        run(
            sqlite_path,
            "CREATE TABLE plain (a, b TEXT COLLATE NOCASE, UNIQUE (b))",
            "CREATE TABLE strict_one (id INTEGER PRIMARY KEY, a ANY) STRICT",
            "CREATE TABLE backwards (id INTEGER PRIMARY KEY DESC, a)",
            "CREATE TABLE without (k INTEGER PRIMARY KEY, v) WITHOUT ROWID",
            "CREATE TABLE numbers (id INTEGER PRIMARY KEY AUTOINCREMENT, a AS (id * 2) STORED)",
            "CREATE TABLE heard (a)",
            "CREATE TRIGGER shout AFTER INSERT ON PLAIN BEGIN INSERT INTO heard VALUES (new.a); END",
            "CREATE UNIQUE INDEX exactly ON plain (b COLLATE BINARY)",
            "CREATE INDEX lower_b ON plain (lower(b) DESC) WHERE b IS NOT NULL",
            "CREATE VIEW shown (x) AS SELECT a FROM plain",
            "INSERT INTO numbers VALUES (5)",
            "INSERT INTO backwards VALUES (NULL, 1), (NULL, 2), (3, 3)",
            "INSERT INTO without VALUES ('text', 1), (1, 2)",
        )
        fill(sqlite_path, "strict_one (a)", [(value,) for value in VALUES_OF_EVERY_CLASS])
        fill(sqlite_path, "plain", [(value, None) for value in VALUES_OF_EVERY_CLASS])
        target = tmp_path / "target.db"
        service = await move(sqlite_path, target)
        assert service.report is not None
        assert service.report.proved
        for table in ("plain", "strict_one", "backwards", "without", "numbers", "heard", "shown"):
            query = f"SELECT * FROM {table}"
            assert sorted(map(repr, stored(target, query))) == sorted(map(repr, stored(sqlite_path, query)))
        run(target, "INSERT INTO plain (a) VALUES ('loud')", "INSERT INTO numbers (id) VALUES (NULL)")
        assert stored(target, "SELECT a FROM heard WHERE a = 'loud'") == [(("bytes", b"loud"),)]
        assert stored(target, "SELECT max(id) FROM numbers") == [(("integer", 6),)]

    async def test_a_trigger_that_spells_its_table_otherwise_is_held_back(
        self, subject: Subject, sqlite_path: Path
    ) -> None:
        run(
            sqlite_path,
            "CREATE TABLE t (a)",
            "CREATE TRIGGER double AFTER INSERT ON T BEGIN INSERT INTO t VALUES (-new.a); END",
        )
        table = table_of("t", column_of(Kind.INTEGER, "a"))
        await subject.load(table, [(1,), (2,)])
        assert await subject.read(table) == [(1,), (2,)]


class TestBackups:
    async def test_a_backup_of_a_file_in_use_is_whole(self, sqlite_path: Path, tmp_path: Path) -> None:
        with held_by_another_process(
            sqlite_path,
            "PRAGMA journal_mode = WAL",
            "CREATE TABLE t (a)",
            "INSERT INTO t VALUES (1)",
            "BEGIN",
            "INSERT INTO t VALUES (2)",
        ):
            path = await BACKEND.backup(make_url(f"sqlite:///{sqlite_path}"), tmp_path)
        assert stored(path, "SELECT a FROM t") == [(("integer", 1),)]

    async def test_a_backup_of_a_locked_file_does_not_wait_for_ever(
        self, subject: Subject, sqlite_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_backup, "BUSY_MS", 50)
        run(sqlite_path, "CREATE TABLE t (a)")
        with held_by_another_process(sqlite_path, "BEGIN EXCLUSIVE"):
            with subject.source.told(), pytest.raises(sqlite3.OperationalError, match="locked"):
                await BACKEND.backup(subject.url, tmp_path)
            assert [file.name for file in tmp_path.iterdir()] == [sqlite_path.name]
        path = await BACKEND.backup(subject.url, tmp_path)
        with (
            held_by_another_process(sqlite_path, "BEGIN IMMEDIATE"),
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            await BACKEND.restore(path, subject.url)

    async def test_a_backup_with_a_damaged_page_is_refused(
        self, subject: Subject, sqlite_path: Path, tmp_path: Path
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES ('findable')")
        path = await BACKEND.backup(subject.url, tmp_path)
        data = path.read_bytes()
        at = data.rindex(b"findable")
        path.write_bytes(data[:at] + b"damaged!" + data[at + 8 :])
        with pytest.raises(Refused, match="fails its integrity check"):
            await BACKEND.check_backup(subject.url, path, await subject.source.schema())

    async def test_something_else_is_no_backup(self, subject: Subject, tmp_path: Path) -> None:
        path = tmp_path / "letter"
        path.write_text("Dear reader, " * 1000)
        with pytest.raises(Refused, match="cannot be read"):
            await BACKEND.check_backup(subject.url, path, Schema())

    async def test_a_second_backup_never_overwrites_the_first(
        self, subject: Subject, sqlite_path: Path, tmp_path: Path
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a)")
        await BACKEND.backup(subject.url, tmp_path)
        with pytest.raises(FileExistsError):
            await BACKEND.backup(subject.url, tmp_path)


class TestConnections:
    async def test_ddl_is_part_of_its_transaction(self, subject: Subject) -> None:
        async with subject.database.control() as connection:
            await connection.exec_driver_sql("CREATE TABLE t (a)")
            await connection.rollback()
        assert (await subject.database.schema()).tables == ()

    async def test_a_connection_that_is_cancelled_while_it_waits_leaves_the_file_free(
        self, sqlite_path: Path
    ) -> None:
        run(sqlite_path, "CREATE TABLE t (a)")
        with held_by_another_process(sqlite_path, "BEGIN EXCLUSIVE"):
            opening = asyncio.create_task(sqlite_rows.open_snapshot(sqlite_path).__aenter__())
            await asyncio.sleep(0.05)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        subject = Subject(f"sqlite:///{sqlite_path}")
        await subject.insert(Table("t", (column_of(Kind.INTEGER, "a"),)), a=1)
        await subject.close()
