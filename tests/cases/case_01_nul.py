"""A NUL character in text, which some engines cannot hold and some tools cut at."""

from tests.cases import Case, carried, refused

HOLDS = {"* > postgresql": refused("nul-in-text"), "* > *": carried()}
TEXTS = "(1, {nul} || 'x'), (2, 'x' || {nul} || 'y'), (3, 'x' || {nul}), (4, 'plain')"

CASES = [
    Case(
        1,
        "NUL in text",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT);
                INSERT INTO t VALUES {TEXTS.format(nul="char(0)")}""",
            "mariadb": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT COLLATE utf8mb4_nopad_bin);
                INSERT INTO t VALUES {TEXTS.format(nul="char(0)")}""",
        },
        {
            "* > postgresql": refused("nul-in-text", says=["t.a 3", "n=2: 'x\\x00y'"]),
            "* > *": carried(),
        },
    ),
    Case(
        1,
        "NUL in a key",
        {
            "sqlite": """CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, a TEXT);
                INSERT INTO t VALUES ('x', 'one'), ('x' || char(0), 'two'), ('x' || char(0) || 'y',
                'three')""",
            "mariadb": """CREATE TABLE t (k VARCHAR(40) COLLATE utf8mb4_nopad_bin PRIMARY KEY, a LONGTEXT
                COLLATE utf8mb4_nopad_bin);
                INSERT INTO t VALUES ('x', 'one'), ('x' || char(0), 'two'), ('x' || char(0) || 'y',
                'three')""",
        },
        HOLDS,
    ),
    Case(
        1,
        "a NUL that JSON spells",
        {
            "sqlite": r"""CREATE TABLE t (n INTEGER PRIMARY KEY, a JSON);
                INSERT INTO t VALUES (1, '{"a": "x\u0000y"}'), (2, '{"a": "x\\u0000y"}')""",
            "mariadb": r"""CREATE TABLE t (n INTEGER PRIMARY KEY, a JSON);
                INSERT INTO t VALUES (1, '{"a": "x\u0000y"}'), (2, '{"a": "x\\u0000y"}')""",
        },
        {"* > postgresql": refused("nul-in-text", says=["t.a 1"]), "* > *": carried()},
    ),
]
