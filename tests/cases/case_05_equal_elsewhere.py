"""Values that one engine tells apart and another takes for one: bytes decide, or the rows are named."""

from tests.cases import Case, Then, asked, carried, doubted, refused

NAMES = (
    "(1, 'Alice'), (2, 'alice'), (3, 'café'), (4, 'cafe'), (5, 'a '), (6, 'a'), (7, 'ß'), (8, 'ss'), (9, '')"
)

CASES = [
    Case(
        5,
        "a unique column of names that a collation takes for one",
        {
            "*": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) NOT NULL UNIQUE);
            INSERT INTO t VALUES {NAMES}"""
        },
        {"* > *": carried()},
        then=[Then("SELECT n FROM t WHERE a = 'alice'", [(2,)], first="INSERT INTO t VALUES (10, 'ALICE')")],
    ),
    Case(
        5,
        "a text key of names that a collation takes for one",
        {
            "*": f"""CREATE TABLE t (n INTEGER, a VARCHAR(40) NOT NULL PRIMARY KEY);
                INSERT INTO t VALUES {NAMES}"""
        },
        {"* > *": carried()},
    ),
    Case(
        5,
        "names into a unique column that compares without case",
        {
            "*": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) NOT NULL);
                INSERT INTO t VALUES {NAMES}"""
        },
        {"* > *": doubted("equal-under-key", says=["'Alice'", "'alice'"])},
        alone=True,
        there={
            "sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) NOT NULL COLLATE NOCASE UNIQUE)",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY,
                a VARCHAR(40) COLLATE utf8mb4_general_ci NOT NULL UNIQUE)""",
        },
    ),
    Case(
        5,
        "a unique column that compares without case",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT NOT NULL COLLATE NOCASE UNIQUE);
                INSERT INTO t VALUES (1, 'Alice'), (2, 'bob')""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY,
                a VARCHAR(40) COLLATE utf8mb4_general_ci UNIQUE);
                INSERT INTO t VALUES (1, 'Alice'), (2, 'bob')""",
        },
        {
            "sqlite > sqlite": carried(),
            "mariadb > mariadb": carried(),
            "* > *": asked("collation-not-carried", says=["t.a"]),
        },
    ),
    Case(
        5,
        "values that conversion makes equal under a key",
        {
            "sqlite": """CREATE TABLE t (n INTEGER, a TIMESTAMPTZ NOT NULL PRIMARY KEY);
                INSERT INTO t VALUES (1, '2024-03-31 02:30:00+00:00'), (2, '2024-03-31T02:30:00Z');
                CREATE TABLE u (n INTEGER, a BOOLEAN NOT NULL UNIQUE); INSERT INTO u VALUES (1, 1), (2,
                'true')""",
        },
        {"* > sqlite": carried(), "* > *": refused("equal-under-key")},
    ),
]
