"""What is written is taken by the engine, whatever the names are, and means what the model says.

SQLite is asked itself, in memory; what is written for an engine that adds constraints later is compared.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite

from migration.backends import backend_named
from migration.ddl import Piece, Writer, bare_table, written_key
from migration.model import Check, Column, ForeignKey, Index, IndexPart, Kind, Table, Unique, View

SQLITE = Writer(
    SQLiteDialect_aiosqlite(),
    backend_named("sqlite").column_type,
    alters_constraints=False,
    identifier_bytes=None,
)
POSTGRESQL = Writer(
    PGDialect_asyncpg(), backend_named("postgresql").column_type, alters_constraints=True, identifier_bytes=63
)
ODD_NAMES = [
    "plain",
    "Mixed Case",
    "select",
    "order",
    'a"b',
    "a'b",
    "a`b",
    "a]b",
    "a:b",
    ":b",
    "a::b",
    "a%b",
    "%s",
    "%(x)s",
    "a\\:b",
    "a.b",
    "a b\tc",
    "naïve",
    "👩‍🚀",
    "x" * 100,
    "1",
    "-- no comment",
    "a;b",
    "$1",
    "?",
]
ID = Column("id", Kind.INTEGER, nullable=False, automatic=True)
NAME = Column("name", Kind.TEXT)


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def make(database: sqlite3.Connection, *tables: Table) -> None:
    """Make tables with everything that hangs on them."""
    for table in tables:
        for statement in SQLITE.before_rows(table):
            database.execute(statement)
    for table in tables:
        for piece in [*SQLITE.after_rows(table), *SQLITE.foreign_keys(table)]:
            database.execute(piece.statement)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- names ------------------------------------------------------------------------------------------


def table_called(name: str, column: str) -> Table:
    return Table(
        name,
        (ID, Column(column, Kind.TEXT), Column("other", Kind.INTEGER)),
        primary_key=("id",),
        uniques=(Unique(f"u {name}", (column,)),),
        checks=(Check(f"c {name}", f"{quoted(column)} <> ':no'"),),
        foreign_keys=(ForeignKey(f"f {name}", ("other",), name, ("id",)),),
        indexes=(Index(f"i {name}", (IndexPart(column),)),),
    )


@pytest.mark.parametrize("name", ODD_NAMES)
def test_sqlite_keeps_a_name_as_it_is(database: sqlite3.Connection, name: str) -> None:
    column = name if name != "id" else "c"
    make(database, table_called(name, column))
    ((table,),) = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({quoted(name)})")]
    ((index,),) = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    assert (table, columns, index) == (name, ["id", column, "other"], f"i {name}")
    keys = database.execute(f"PRAGMA foreign_key_list({quoted(name)})").fetchall()
    assert [(key[2], key[3], key[4]) for key in keys] == [(name, "other", "id")]
    database.execute(f"INSERT INTO {quoted(name)} VALUES (1, 'a', 1)")
    for refused in ("(2, 'a', 1)", "(2, ':no', 1)", "(2, 'b', 7)"):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(f"INSERT INTO {quoted(name)} VALUES {refused}")
    database.execute(SQLITE.view(View(name + "v", "SELECT ':x' AS y, '%s' AS z")).statement)
    assert database.execute(f"SELECT * FROM {quoted(name + 'v')}").fetchall() == [(":x", "%s")]
    database.execute(SQLITE.drop_view(View(name + "v", "")))
    database.execute(SQLITE.drop_table(name))
    assert database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'").fetchall() == []


@given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=10)
)
@settings(max_examples=200)
def test_sqlite_keeps_any_name(name: str) -> None:
    if name.lower().startswith("sqlite_") or name.lower() in ("id", "other"):
        return
    connection = sqlite3.connect(":memory:")
    try:
        make(connection, table_called(name, name))
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            (name,)
        ]
    finally:
        connection.close()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_always_quoted(name: str) -> None:
    """Unquoted, an engine would fold it or take it for a word of its own."""
    table = table_called(name[:60], name[:60])
    assert POSTGRESQL.create_table(table, complete=False).startswith(f"CREATE TABLE {quoted(name[:60])} (")
    assert f"{quoted(name[:60])} TEXT" in POSTGRESQL.create_table(table, complete=False)
    assert POSTGRESQL.quote(name) == quoted(name)


def test_a_made_up_name_is_never_longer_than_the_engine_keeps_and_still_its_own() -> None:
    long = Table("ä" * 30, (ID, *[Column(f"{'é' * 20}{n}", Kind.TEXT) for n in (1, 2)]), uniques=(
        Unique(None, (f"{'é' * 20}1",)), Unique(None, (f"{'é' * 20}2",))))  # fmt: skip
    names = [
        piece.statement.split("CONSTRAINT ")[1].split(" UNIQUE")[0].strip('"')
        for piece in POSTGRESQL.after_rows(long)
    ]
    assert len(set(names)) == 2
    assert all(len(name.encode()) <= 63 and name.endswith("_key") for name in names)
    assert "ä_id_key" in SQLITE.create_table(
        Table("ä", (ID,), uniques=(Unique(None, ("id",)),)), complete=True
    )


# --- columns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("+1.5", 1.5),
        ("1e-5", 1e-5),
        ("'it''s'", "it's"),
        ("''", ""),
        ("'a' || 'b'", "ab"),
        ("':x'", ":x"),
        ("'a::b'", "a::b"),
        ("'%s'", "%s"),
        ("'\\:'", "\\:"),
        ("TRUE", 1),
        ("(1) + (2)", 3),
        ("(1 + 2)", 3),
        ("((1) + (2))", 3),
        ("(')')", ")"),
        ("(')') || '('", ")("),
        ("lower('X')", "x"),
        ("x'41'", b"A"),
        ("NULL", None),
        ("abs(-2) + abs(-3)", 5),
    ],
)
def test_sqlite_gives_the_default_that_was_meant(
    database: sqlite3.Connection, default: str, expected: object
) -> None:
    make(database, Table("t", (ID, Column("c", Kind.ANY, default=default)), primary_key=("id",)))
    database.execute("INSERT INTO t (id) VALUES (1)")
    assert database.execute("SELECT c FROM t").fetchall() == [(expected,)]


def test_a_default_in_parentheses_gets_no_more_of_them() -> None:
    sql = SQLITE.create_table(Table("t", (Column("c", Kind.TEXT, default="(lower('a'))"),)), complete=True)
    assert "DEFAULT (lower('a'))" in sql
    assert "((" not in sql


def test_a_generated_column_stays_generated(database: sqlite3.Connection) -> None:
    double = Column("double", Kind.INTEGER, generated="n * 2")
    text = Column("text", Kind.TEXT, generated="':' || n")
    make(database, Table("t", (Column("n", Kind.INTEGER), double, text)))
    database.execute("INSERT INTO t (n) VALUES (21)")
    assert database.execute("SELECT * FROM t").fetchall() == [(21, 42, ":21")]


@pytest.mark.parametrize(("never_reuses", "number"), [(True, 3), (False, 2)])
def test_a_table_numbers_its_rows_as_the_model_says(
    database: sqlite3.Connection, never_reuses: bool, number: int
) -> None:
    column = Column("id", Kind.INTEGER, nullable=False, automatic=True, never_reuses=never_reuses)
    make(database, Table("t", (column, NAME), primary_key=("id",)))
    database.executescript("INSERT INTO t (name) VALUES ('a'), ('b'); DELETE FROM t WHERE id = 2")
    database.execute("INSERT INTO t (name) VALUES ('c')")
    assert database.execute("SELECT max(id) FROM t").fetchall() == [(number,)]


def test_a_column_that_may_not_be_null_is_not(database: sqlite3.Connection) -> None:
    make(database, Table("t", (Column("n", Kind.INTEGER, nullable=False),)))
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO t VALUES (NULL)")


def test_an_identity_column_says_whether_a_value_may_be_given() -> None:
    always = Column("a", Kind.INTEGER, automatic=True, always_automatic=True, never_reuses=True)
    sql = POSTGRESQL.create_table(
        Table("t", (always, Column("b", Kind.INTEGER, automatic=True))), complete=True
    )
    assert '"a" BIGINT GENERATED ALWAYS AS IDENTITY' in sql
    assert '"b" BIGINT GENERATED BY DEFAULT AS IDENTITY' in sql


# --- keys -------------------------------------------------------------------------------------------


def test_a_key_of_several_columns_holds(database: sqlite3.Connection) -> None:
    parent = Table(
        "parent",
        (Column("a", Kind.INTEGER), Column("b", Kind.TEXT)),
        primary_key=("a", "b"),
        uniques=(Unique("u", ("b", "a")),),
    )
    child = Table(
        "child",
        (Column("x", Kind.INTEGER), Column("y", Kind.TEXT)),
        foreign_keys=(
            ForeignKey(None, ("x", "y"), "parent", ("a", "b"), on_delete="CASCADE", on_update="SET NULL"),
            ForeignKey("again", ("y", "x"), "parent", ("b", "a")),
        ),
    )
    make(database, child, parent)
    database.execute("INSERT INTO parent VALUES (1, 'x')")
    database.execute("INSERT INTO child VALUES (1, 'x')")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO parent VALUES (1, 'x')")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO child VALUES (2, 'x')")
    first, second = sorted(
        database.execute("PRAGMA foreign_key_list(child)").fetchall(), key=lambda row: row[5]
    )[::2]
    assert {first[5:7], second[5:7]} == {("SET NULL", "CASCADE"), ("NO ACTION", "NO ACTION")}


def full_table() -> Table:
    return Table(
        "t",
        (ID, NAME),
        primary_key=("id",),
        uniques=(Unique("u", ("name",)), Unique(None, ("id", "name"))),
        checks=(Check("c", "name <> ':x'"), Check(None, "id > 0")),
        foreign_keys=(ForeignKey(None, ("id",), "other", ("key",)), ForeignKey("f", ("id",), "t", ("id",))),
        indexes=(Index("i", (IndexPart("name"),)),),
    )


def test_where_constraints_are_added_later_a_table_starts_with_columns_alone() -> None:
    (statement,) = POSTGRESQL.before_rows(full_table())
    assert "CONSTRAINT" not in statement
    assert [(piece.what, piece.name) for piece in POSTGRESQL.after_rows(full_table())] == [
        ("primary-key", "id"),
        ("unique", "name"),
        ("unique", "id, name"),
        ("check", "c"),
        ("check", "id > 0"),
        ("index", "i"),
    ]
    assert [piece.statement for piece in POSTGRESQL.after_rows(full_table())] == [
        'ALTER TABLE "t" ADD CONSTRAINT t_id_pkey PRIMARY KEY ("id")',
        'ALTER TABLE "t" ADD CONSTRAINT u UNIQUE ("name")',
        'ALTER TABLE "t" ADD CONSTRAINT t_id_name_key UNIQUE ("id", "name")',
        "ALTER TABLE \"t\" ADD CONSTRAINT c CHECK (name <> ':x')",
        'ALTER TABLE "t" ADD CONSTRAINT t_2_check CHECK (id > 0)',
        'CREATE INDEX "i" ON "t" ("name")',
    ]
    assert POSTGRESQL.foreign_keys(full_table()) == [
        Piece(
            "foreign-key",
            "t",
            "(id) -> other(key)",
            'ALTER TABLE "t" ADD CONSTRAINT t_id_fkey FOREIGN KEY("id") REFERENCES "other" ("key")',
        ),
        Piece(
            "foreign-key",
            "t",
            "(id) -> t(id)",
            'ALTER TABLE "t" ADD CONSTRAINT f FOREIGN KEY("id") REFERENCES "t" ("id")',
        ),
    ]
    assert POSTGRESQL.drop_foreign_keys(full_table()) == [
        'ALTER TABLE "t" DROP CONSTRAINT IF EXISTS t_id_fkey',
        'ALTER TABLE "t" DROP CONSTRAINT IF EXISTS f',
    ]


def test_a_whole_table_in_one_statement_says_the_same() -> None:
    sql = POSTGRESQL.create_table(full_table(), complete=True)
    for piece in [*POSTGRESQL.after_rows(full_table())[:-1], *POSTGRESQL.foreign_keys(full_table())]:
        assert piece.statement.split(" ADD ")[1] in sql


def test_where_constraints_are_part_of_a_table_nothing_but_indexes_comes_later() -> None:
    (statement,) = SQLITE.before_rows(full_table())
    assert statement.count("CONSTRAINT") == 6
    assert [piece.what for piece in SQLITE.after_rows(full_table())] == ["index"]
    assert SQLITE.foreign_keys(full_table()) == SQLITE.drop_foreign_keys(full_table()) == []


def test_a_foreign_key_is_named_by_what_it_says() -> None:
    assert written_key(ForeignKey("f", ("a", "b"), "t", ("x", "y"))) == "(a, b) -> t(x, y)"


# --- indexes ----------------------------------------------------------------------------------------


def test_sqlite_takes_indexes_of_every_sort(database: sqlite3.Connection) -> None:
    indexes = (
        Index("plain", (IndexPart("a"), IndexPart("b", descending=True))),
        Index("unique:one", (IndexPart("a"),), unique=True),
        Index("partial", (IndexPart("a"),), condition="b <> ':x' AND a LIKE '%y'"),
        Index(
            "expression", (IndexPart("lower(a) || ':'", is_expression=True, descending=True), IndexPart("b"))
        ),
        Index("collated", (IndexPart("a", collation="NOCASE", descending=True),)),
        Index("collated expression", (IndexPart("lower(a)", is_expression=True, collation="RTRIM"),)),
    )
    make(database, Table("t", (Column("a", Kind.TEXT), Column("b", Kind.TEXT)), indexes=indexes))
    found = {row[1]: row for row in database.execute("PRAGMA index_list(t)")}
    assert {name for name, row in found.items() if row[2]} == {"unique:one"}
    assert {name for name, row in found.items() if row[4]} == {"partial"}

    def parts(name: str) -> list[tuple[str | None, int, str]]:
        rows = database.execute(f"PRAGMA index_xinfo({quoted(name)})")
        return [(row[2], row[3], row[4]) for row in rows if row[5]]

    assert parts("plain") == [("a", 0, "BINARY"), ("b", 1, "BINARY")]
    assert parts("expression") == [(None, 1, "BINARY"), ("b", 0, "BINARY")]
    assert parts("collated") == [("a", 1, "NOCASE")]
    assert parts("collated expression") == [(None, 0, "RTRIM")]
    plan = database.execute("EXPLAIN QUERY PLAN SELECT * FROM t WHERE lower(a) || ':' = 'x'").fetchall()
    assert "expression" in plan[0][3]


def test_a_special_index_keeps_its_method_and_condition() -> None:
    index = Index("i", (IndexPart("name"),), method="gin", condition="name IS NOT NULL")
    (piece,) = POSTGRESQL.indexes(Table("t", (NAME,), indexes=(index,)))
    assert piece.statement == 'CREATE INDEX "i" ON "t" USING gin ("name") WHERE name IS NOT NULL'


# --- in pieces --------------------------------------------------------------------------------------


def test_each_expression_can_be_tried_alone(database: sqlite3.Connection) -> None:
    columns = (
        ID,
        Column("good", Kind.TEXT, default="lower('A')"),
        Column("bad", Kind.TEXT, default="nothing_known()"),
        Column("sum", Kind.INTEGER, generated="id + 1"),
    )
    checks = (Check("fine", "id > 0"), Check(None, "unknown > 0"))
    table = Table("t", columns, primary_key=("id",), checks=checks, uniques=(Unique(None, ("id",)),))
    taken = {}
    for piece in SQLITE.pieces(table):
        try:
            database.execute(piece.statement)
            if piece.probe is None:
                database.execute("INSERT INTO t (id) VALUES (1)")
            else:
                database.execute(piece.probe)
            taken[piece.what, piece.name] = True
        except sqlite3.Error:
            taken[piece.what, piece.name] = False
        assert piece.undo is not None
        database.execute(piece.undo)
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert taken == {
        ("default", "good"): True,
        ("default", "bad"): False,
        ("generated", "sum"): True,
        ("check", "fine"): True,
        ("check", "unknown > 0"): False,
    }


def test_a_bare_table_has_columns_and_no_expressions() -> None:
    bare = bare_table(full_table())
    assert bare == Table("t", (Column("id", Kind.INTEGER, nullable=False), NAME))


def test_the_parts_of_a_table_are_named_the_first_to_go_last() -> None:
    columns = (ID, Column("sum", Kind.INTEGER, generated="id + 1"))
    key = ForeignKey(None, ("id",), "other", ("id",))
    table = Table("t", columns, checks=(Check(None, "id > 0"),), foreign_keys=(key,))
    assert [(piece.what, piece.name) for piece in SQLITE.parts(table)] == [
        ("foreign-key", "(id) -> other(id)"),
        ("check", "id > 0"),
        ("generated", "sum"),
    ]
    assert SQLITE.parts(Table("t", (ID,))) == []
