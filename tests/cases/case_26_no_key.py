"""Tables without a key, with strange keys, without rows, without columns in common."""

from tests.cases import Case, Then, asked, carried, refused

TWICE = "('a', 1), ('a', 1), ('a', 1), (NULL, NULL), (NULL, NULL), ('b', NULL)"

CASES = [
    Case(
        26,
        "no key, and rows that are there more than once",
        {"*": f"CREATE TABLE t (a VARCHAR(9), b INTEGER); INSERT INTO t VALUES {TWICE}"},
        {"* > *": carried()},
        then=[Then("SELECT count(*) FROM t WHERE a = 'a'", [(3,)])],
    ),
    Case(
        26,
        "a unique column that may be NULL",
        {
            "*": """CREATE TABLE t (a VARCHAR(9) UNIQUE, b INTEGER);
            INSERT INTO t VALUES ('a', 1), (NULL, 2), (NULL, 2), (NULL, 3)"""
        },
        {"* > *": carried()},
        then=[Then("SELECT count(*) FROM t", [(4,)], "INSERT INTO t VALUES ('a', 9)", refuses=True)],
    ),
    Case(
        26,
        "a primary key that is NULL",
        {
            "sqlite": """CREATE TABLE t (k TEXT PRIMARY KEY, a TEXT);
            INSERT INTO t VALUES ('a', 'x'), (NULL, 'y'), (NULL, 'y')"""
        },
        {"* > sqlite": carried(), "* > *": asked("primary-key-not-carried", says=["t. 2"])},
    ),
    Case(
        26,
        "a table without rowid",
        {
            "sqlite": """CREATE TABLE t (a TEXT, b INTEGER, c TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;
            INSERT INTO t VALUES ('x', 1, 'one'), ('y', 1, 'two'), ('x', 2, NULL)"""
        },
        {"* > *": carried()},
    ),
    Case(
        26,
        "negative and giant row numbers",
        {
            "sqlite": """CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);
            INSERT INTO t VALUES (-9223372036854775808, 'low'), (-1, 'minus'), (0, 'zero'),
            (9223372036854775806, 'high');
            CREATE TABLE u (a TEXT); INSERT INTO u (rowid, a) VALUES (-5, 'x'), (9223372036854775807, 'y')""",
            "*": """CREATE TABLE t (id BIGINT PRIMARY KEY, a VARCHAR(9));
            INSERT INTO t VALUES (-9223372036854775808, 'low'), (-1, 'minus'), (0, 'zero'),
            (9223372036854775807, 'high')""",
        },
        {"* > *": carried()},
    ),
    Case(
        26,
        "no rows at all",
        {"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(9)); CREATE TABLE u (a VARCHAR(9))"},
        {"* > *": carried()},
    ),
    Case(
        26,
        "no column in common",
        {"*": "CREATE TABLE t (a INTEGER, b INTEGER); INSERT INTO t VALUES (1, 2)"},
        {"* > *": refused("no-column-in-common")},
        there={"*": "CREATE TABLE t (x INTEGER, y INTEGER)"},
    ),
]
