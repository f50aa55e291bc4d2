"""A piece of SQL means the same in the other dialect, or it is refused with the reason."""

from __future__ import annotations

import dataclasses
import sqlite3

import pytest

from migration.backends import backend_named
from migration.model import Kind
from migration.traits import Traits
from migration.translation import Untranslatable, is_current_time, translate_expression, translate_query

SQLITE, POSTGRESQL = backend_named("sqlite").traits, backend_named("postgresql").traits
TRAITS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
KINDS = {
    "x": Kind.TEXT,
    "name": Kind.TEXT,
    "n": Kind.INTEGER,
    "r": Kind.FLOAT,
    "d": Kind.DECIMAL,
    "active": Kind.BOOLEAN,
    "at": Kind.INSTANT,
}
REFUSED = None

TO_POSTGRESQL = {
    # What every dialect says alike.
    "1": "1",
    "-1": "-1",
    "'it''s'": "'it''s'",
    "null": "NULL",
    "TRUE": "TRUE",
    "current_timestamp": "CURRENT_TIMESTAMP",
    "n between 1 and 2": '"n" BETWEEN 1 AND 2',
    "x isnull": '"x" IS NULL',
    "x in ('a', 'b')": "\"x\" IN ('a', 'b')",
    "coalesce(x, 'a') || name": 'COALESCE("x", \'a\') || "name"',
    "replace(x, 'a', 'b')": "REPLACE(\"x\", 'a', 'b')",
    "substr(x, 2)": 'SUBSTRING("x" FROM 2)',
    "x = 'now'": "\"x\" = 'now'",
    # What has another spelling.
    "n == 1": '"n" = 1',
    "ifnull(x, name)": 'COALESCE("x", "name")',
    "iif(active, 1, 2)": 'CASE WHEN "active" THEN 1 ELSE 2 END',
    "n / 2": '"n" / NULLIF(2, 0)',
    "octet_length(x)": 'OCTET_LENGTH("x")',
    "datetime('now')": "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'",
    "datetime(x)": 'CAST("x" AS TIMESTAMP)',
    "x'41'": "CAST('\\x41' AS BYTEA)",
    "json_valid(x)": '(CAST("x" AS JSON) IS NOT NULL)',
    # LIKE ignores case there, ILIKE here.
    "x like 'a%'": "\"x\" ILIKE 'a%'",
    "x not like 'a%'": "\"x\" NOT ILIKE 'a%'",
    "x like 'a!%' escape '!'": "\"x\" ILIKE 'a!%' ESCAPE '!'",
    # One is true beside a boolean, and a number beside anything else.
    "active = 1": '"active" = TRUE',
    "0 <> active": 'FALSE <> "active"',
    "active is 1": '"active" IS NOT DISTINCT FROM TRUE',
    "active is not 0": '"active" IS DISTINCT FROM FALSE',
    "active in (0, 1)": '"active" IN (FALSE, TRUE)',
    "n in (0, 1)": '"n" IN (0, 1)',
    "n = 1": '"n" = 1',
    "active = n": '"active" = "n"',
    "json_valid(x) = 1": '(CAST("x" AS JSON) IS NOT NULL) = TRUE',
    # A double-quoted name that is no column is a text, wherever it stands.
    '"hello"': "'hello'",
    '"name"': '"name"',
    'x like "a%"': "\"x\" ILIKE 'a%'",
    'active = 1 and x = "a"': '"active" = TRUE AND "x" = \'a\'',
    # Casts.
    "cast('5' as integer)": "5",
    "cast(5 as real)": "5.0",
    "cast(n as integer)": 'CAST("n" AS INT)',
    "cast(n as text)": 'CAST("n" AS TEXT)',
    "cast(x as real)": 'CAST("x" AS DOUBLE PRECISION)',
    "cast(r as integer)": REFUSED,  # cut here, rounded there
    "cast(5.5 as integer)": REFUSED,
    "cast(r as text)": REFUSED,
    "cast(x as blob)": REFUSED,
    "cast(n as boolean)": REFUSED,
    "cast('1' as boolean)": REFUSED,
    # What means something else there, or nothing.
    "date('now')": REFUSED,
    "datetime('now', 'localtime')": REFUSED,
    "datetime(n, 'unixepoch')": REFUSED,
    "strftime('%s', 'now')": REFUSED,
    "julianday('now')": REFUSED,
    "random()": REFUSED,
    "x glob 'a*'": REFUSED,
    "x regexp 'a'": REFUSED,
    "x collate nocase = 'a'": REFUSED,
    "max(n, r)": REFUSED,
    "min(n, r)": REFUSED,
    "substr(x, -2)": REFUSED,
    "substr(x, 0)": REFUSED,
    "substr(x, n)": REFUSED,
    "zeroblob(3)": REFUSED,
    # What is no expression.
    "1 +": REFUSED,
    "(n": REFUSED,
    "n name": REFUSED,
    "1, 2": REFUSED,
    "n from x": REFUSED,
}

TO_SQLITE = {
    "true": "TRUE",
    "now()": "CURRENT_TIMESTAMP",
    "(n > 0)": '("n" > 0)',
    "active = true": '"active" = TRUE',
    "length(x) > 0": 'LENGTH("x") > 0',
    "x is distinct from name": '"x" IS NOT "name"',
    "name ~~* 'a%'": "LOWER(\"name\") LIKE LOWER('a%')",
    '"hello"': '"hello"',
    # LIKE tells case here and not there; without letters there is nothing to tell.
    "name LIKE '1%'": "\"name\" LIKE '1%'",
    "name !~~ '1%'": "\"name\" NOT LIKE '1%'",
    "name ~~ 'a%'::text": REFUSED,
    "name LIKE x": REFUSED,
    # A list as the server stores it.
    "x = ANY (ARRAY['a'::text, 'b'::text])": "\"x\" IN ('a', 'b')",
    "(x)::text = ANY ((ARRAY['a'::varchar])::text[])": "CAST((\"x\") AS TEXT) IN ('a')",
    "n = ANY (ARRAY[1, 2])": '"n" IN (1, 2)',
    "x <> ANY (ARRAY['a'])": REFUSED,
    "n = ANY (x)": REFUSED,
    "n <> ALL (ARRAY[1])": REFUSED,
    "ARRAY[1, 2]": REFUSED,
    # A literal's type goes, its value stays.
    "'x'::text": "'x'",
    "'x'::character varying(20)": "'x'",
    "'x'::my_enum": "'x'",
    "'{}'::jsonb": "'{}'",
    "'-1'::integer": "-1",
    "'-1.5'::numeric": "-1.5",
    "'5'::numeric": "5.0",
    "'2020-01-01'::date": "'2020-01-01'",
    "'1 day'::interval": "'1 day'",
    "'\\x41'::bytea": "x'41'",
    "'\\101'::bytea": REFUSED,
    "'1.5'::integer": REFUSED,
    "'abc'::integer": REFUSED,
    "'t'::boolean": REFUSED,
    "'now'::timestamp": REFUSED,
    "('now'::text)::date": REFUSED,
    "'infinity'::timestamptz": REFUSED,
    "('2020-01-01'::date + 1)": REFUSED,
    "(now() - '1 day'::interval)": REFUSED,
    "now() - interval '1 day'": REFUSED,
    # A column's cast stays where it says the same.
    "n::bigint": 'CAST("n" AS INTEGER)',
    "x::varchar": 'CAST("x" AS TEXT)',
    "r::double precision": 'CAST("r" AS REAL)',
    "x::varchar(3)": REFUSED,
    "r::integer": REFUSED,
    "r::text": REFUSED,
    "at::text": REFUSED,
    "at::date": REFUSED,
    "d::numeric(10,2)": REFUSED,
    # What has no counterpart.
    "timezone('utc'::text, now())": REFUSED,
    "nextval('s'::regclass)": REFUSED,
    "'s'::regclass": "'s'",
    "x ~ '^a'": REFUSED,
    "B'101'": REFUSED,
    "E'a\\nb'": REFUSED,
    "greatest(n, 1)": REFUSED,
    "x COLLATE \"C\" = 'a'": REFUSED,
    "to_tsvector('english', x)": REFUSED,
}


def check(sql: str, source: Traits, target: Traits, expected: str | None) -> None:
    if expected is REFUSED:
        with pytest.raises(Untranslatable) as refusal:
            translate_expression(sql, source, target, KINDS)
        assert len(str(refusal.value).split()) >= 3, "a refusal says why"
    else:
        assert translate_expression(sql, source, target, KINDS) == expected


@pytest.mark.parametrize(("sql", "expected"), TO_POSTGRESQL.items())
def test_an_expression_goes_to_postgresql_or_is_refused(sql: str, expected: str | None) -> None:
    check(sql, SQLITE, POSTGRESQL, expected)


@pytest.mark.parametrize(("sql", "expected"), TO_SQLITE.items())
def test_an_expression_goes_to_sqlite_or_is_refused(sql: str, expected: str | None) -> None:
    check(sql, POSTGRESQL, SQLITE, expected)


@pytest.mark.parametrize(
    "sql", [sql for sql in TO_SQLITE.values() if sql is not REFUSED and sql != '"hello"']
)
def test_sqlite_understands_what_was_written_for_it(sql: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x, name, n, r, d, active, at)")
    connection.execute(f"SELECT {sql} FROM t")
    connection.close()


def test_between_equal_dialects_nothing_is_touched() -> None:
    sql = "x GLOB 'a*' -- and a comment"
    assert translate_expression(sql, SQLITE, SQLITE, KINDS) == sql
    assert translate_query(sql, POSTGRESQL, POSTGRESQL, KINDS) == sql


def test_like_stays_like_between_engines_that_read_it_alike() -> None:
    other = dataclasses.replace(SQLITE, dialect="postgres", bytes_type=None)
    assert translate_expression("x LIKE 'a%'", SQLITE, other, KINDS) == "\"x\" LIKE 'a%'"
    assert translate_expression("x'41'", SQLITE, other, KINDS) == "x'41'"


@pytest.mark.parametrize(
    ("sql", "source", "target", "expected"),
    [
        (
            "SELECT \"name\", x LIKE 'a' AS y FROM users WHERE active = 1",
            "sqlite",
            "postgresql",
            'SELECT "name", "x" ILIKE \'a\' AS "y" FROM "users" WHERE "active" = TRUE',
        ),
        (
            "WITH named(a) AS (SELECT 1) SELECT * FROM named",
            "sqlite",
            "postgresql",
            'WITH "named"("a") AS (SELECT 1) SELECT * FROM "named"',
        ),
        (
            " SELECT u.x FROM t u WHERE ((u.active = true) AND (u.name = 'a'::text));",
            "postgresql",
            "sqlite",
            'SELECT "u"."x" FROM "t" AS "u" WHERE (("u"."active" = TRUE) AND ("u"."name" = \'a\'))',
        ),
        ("SELECT random() FROM users", "sqlite", "postgresql", REFUSED),
        ("SELECT FROM WHERE", "sqlite", "postgresql", REFUSED),
    ],
)
def test_a_query_goes_over_whole_or_is_refused(
    sql: str, source: str, target: str, expected: str | None
) -> None:
    if expected is REFUSED:
        with pytest.raises(Untranslatable):
            translate_query(sql, TRAITS[source], TRAITS[target], KINDS)
    else:
        assert translate_query(sql, TRAITS[source], TRAITS[target], KINDS) == expected


def test_a_double_quoted_name_in_a_query_stays_a_name() -> None:
    """Which names are columns is known for a table, not for a query."""
    assert (
        translate_query('SELECT "unknown" FROM t', SQLITE, POSTGRESQL, KINDS) == 'SELECT "unknown" FROM "t"'
    )


@pytest.mark.parametrize(
    "sql",
    [
        "CURRENT_TIMESTAMP",
        "current_timestamp",
        "(datetime('now'))",
        "datetime( 'now' )",
        "now()",
        "((now()))",
    ],
)
def test_the_time_of_writing_is_known_in_every_spelling(sql: str) -> None:
    assert is_current_time(sql)


@pytest.mark.parametrize(
    "sql", [None, "", "CURRENT_DATE", "'now'", "datetime('now', 'localtime')", "(a) + (b)"]
)
def test_nothing_else_is_taken_for_the_time_of_writing(sql: str | None) -> None:
    assert not is_current_time(sql)


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("n / 2", "`n` DIV 2"),
        ("(n + 1) / 2", "(`n` + 1) DIV 2"),
        ("r / 2", "`r` / 2"),
        ("(r * 3) / n", "(`r` * 3) / `n`"),
    ],
)
def test_a_division_gives_the_same_where_integers_are_not_divided_whole(sql: str, written: str) -> None:
    source = backend_named("sqlite").traits
    target = backend_named("mysql").traits
    kinds = {"n": Kind.INTEGER, "r": Kind.FLOAT, "d": Kind.DECIMAL}
    assert translate_expression(sql, source, target, kinds) == written


@pytest.mark.parametrize(
    ("engine", "sql"),
    [("sqlite", "d / 2"), ("sqlite", "unknown / 2"), ("mysql", "n / 2"), ("sqlite", "n / 2.5")],
)
def test_a_division_that_nobody_can_write_alike_is_refused(engine: str, sql: str) -> None:
    source = backend_named(engine).traits
    target = backend_named("mysql" if engine == "sqlite" else "sqlite").traits
    with pytest.raises(Untranslatable, match="divides otherwise"):
        translate_expression(sql, source, target, {"n": Kind.INTEGER, "d": Kind.DECIMAL})


def test_the_current_time_is_that_of_utc_where_instants_have_no_zone() -> None:
    source, target = backend_named("postgresql").traits, backend_named("mysql").traits
    written = translate_expression("t > CURRENT_TIMESTAMP", source, target, {"t": Kind.INSTANT})
    assert written == "`t` > UTC_TIMESTAMP(6)"


def test_the_name_of_a_character_set_before_a_text_goes() -> None:
    source, target = backend_named("mysql").traits, backend_named("sqlite").traits
    assert translate_expression("_utf8mb4'x'", source, target, {}) == "'x'"
    assert translate_expression("length(`a`)", source, target, {}) == 'OCTET_LENGTH("a")'


def test_a_backslash_in_like_is_refused() -> None:
    source, target = backend_named("sqlite").traits, backend_named("postgresql").traits
    with pytest.raises(Untranslatable, match="backslash"):
        translate_expression("a LIKE 'x\\_%'", source, target, {"a": Kind.TEXT})
