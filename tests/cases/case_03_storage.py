"""Values that are not what their column was declared as: kept exactly, or the change is asked about."""

from tests.cases import Case, Then, asked, carried, refused

ALL = "(1, 1), (2, 1.5), (3, 'lots'), (4, x'ff'), (5, NULL)"
WORDS = "(1, 1), (2, 1.5), (3, 'lots'), (4, NULL)"
NUMBERS = "(1, 1), (2, 1.5), (3, NULL)"

CASES = [
    Case(
        3,
        "every storage class in every affinity",
        {
            "sqlite": f"""
                CREATE TABLE integers (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO integers VALUES {ALL};
                CREATE TABLE texts (n INTEGER PRIMARY KEY, a TEXT); INSERT INTO texts VALUES {ALL};
                CREATE TABLE reals (n INTEGER PRIMARY KEY, a REAL); INSERT INTO reals VALUES {ALL};
                CREATE TABLE numbers (n INTEGER PRIMARY KEY, a NUMERIC); INSERT INTO numbers VALUES {ALL};
                CREATE TABLE blobs (n INTEGER PRIMARY KEY, a BLOB); INSERT INTO blobs VALUES {ALL};
                CREATE TABLE untyped (n INTEGER PRIMARY KEY, a); INSERT INTO untyped VALUES {ALL};
                CREATE TABLE booleans (n INTEGER PRIMARY KEY, a BOOLEAN); INSERT INTO booleans VALUES {ALL};
                CREATE TABLE moments (n INTEGER PRIMARY KEY, a DATETIME); INSERT INTO moments VALUES {ALL}
            """,
        },
        {
            "* > sqlite": carried(),
            "* > *": refused("value-not-convertible", says=["untyped.a", "n=4: x'ff'", "n=3: 'lots'"]),
        },
    ),
    Case(
        3,
        "numbers and words in every affinity",
        {
            "sqlite": f"""
                CREATE TABLE integers (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO integers VALUES {WORDS};
                CREATE TABLE texts (n INTEGER PRIMARY KEY, a TEXT); INSERT INTO texts VALUES {WORDS};
                CREATE TABLE reals (n INTEGER PRIMARY KEY, a REAL); INSERT INTO reals VALUES {WORDS};
                CREATE TABLE blobs (n INTEGER PRIMARY KEY, a BLOB); INSERT INTO blobs VALUES {WORDS};
                CREATE TABLE untyped (n INTEGER PRIMARY KEY, a); INSERT INTO untyped VALUES {WORDS};
                CREATE TABLE booleans (n INTEGER PRIMARY KEY, a BOOLEAN); INSERT INTO booleans VALUES {WORDS};
                CREATE TABLE moments (n INTEGER PRIMARY KEY, a DATETIME); INSERT INTO moments VALUES {WORDS}
            """,
        },
        {
            "* > sqlite": carried(),
            "* > *": asked(
                "value-changed",
                changed=[
                    f"{table}.a" for table in ("integers", "reals", "blobs", "untyped", "booleans", "moments")
                ],
            ),
        },
        then=[
            Then(
                f"SELECT a FROM {table} ORDER BY n",
                [(one,), ("1.5",), ("lots",), (None,)],
                on=f"* > {engine}",
            )
            for table, one in (
                ("integers", "1"),
                ("reals", "1"),
                ("blobs", "1"),
                ("untyped", "1"),
                ("moments", "1"),
            )
            for engine in ("postgresql", "mariadb")
        ],
    ),
    Case(
        3,
        "words in a column of numbers",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, price DECIMAL(10,2));
                INSERT INTO t VALUES (1, 12.5), (2, 'lots'), (3, '')""",
        },
        {"* > sqlite": carried(), "* > *": asked("value-changed", says=["t.price 1"], changed=["t.price"])},
        then=[
            Then("SELECT price FROM t ORDER BY n", [("12.5",), ("lots",), ("",)], on="* > postgresql"),
            Then("SELECT price FROM t ORDER BY n", [("12.5",), ("lots",), ("",)], on="* > mariadb"),
        ],
    ),
    Case(
        3,
        "words in a column of numbers, into numbers",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, price DECIMAL(10,2));
                INSERT INTO t VALUES (1, 12.5), (2, 'lots')""",
        },
        {
            "* > sqlite": carried(),
            "* > *": refused("value-not-convertible", says=["t.price 1", "n=2: 'lots'"]),
        },
        there={"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, price DECIMAL(10,2))"},
    ),
    Case(
        3,
        "whole and broken numbers in one column",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b REAL, c NUMERIC, d);
                INSERT INTO t (n, a) VALUES {NUMBERS}; UPDATE t SET b = a, c = a, d = a""",
        },
        {"* > *": carried()},
    ),
    Case(
        3,
        "strict tables",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, i INT, r REAL, x TEXT, b BLOB) STRICT;
                INSERT INTO t VALUES (1, 9223372036854775807, 0.1, 'x', x'00ff'), (2, NULL, NULL, NULL,
                NULL)""",
        },
        {"* > *": carried()},
    ),
    Case(
        3,
        "a strict column of anything",
        {
            "sqlite": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a ANY) STRICT; INSERT INTO t VALUES {ALL}""",
        },
        {"* > sqlite": carried(), "* > *": refused("value-not-convertible", says=["n=4: x'ff'"])},
    ),
    Case(
        3,
        "digits that are text",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, b);
                INSERT INTO t VALUES (1, '007', '007'), (2, '1.50', '1.50'), (3, '1e5', '1e5'), (4, '',
                '')""",
            "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(9), b TEXT);
                INSERT INTO t VALUES (1, '007', '007'), (2, '1.50', '1.50'), (3, '1e5', '1e5'), (4, '',
                '')""",
        },
        {"* > *": carried()},
    ),
]
