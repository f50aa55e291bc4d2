"""Numbers at the edge of what a type holds arrive bit for bit, digit for digit, or are refused."""

from tests.cases import Case, Then, carried, refused

REALS = """(1, 0.1), (2, 1e308), (3, 5e-324), (4, 2.2250738585072014e-308), (5, 9007199254740993.0),
    (6, 0.30000000000000004), (7, -1.7976931348623157e308), (8, 0.0)"""
LONG = "1234567890123456789012345678901234567890.0123456789"
THIRTY = "12345678901234567890.0123456789"

CASES = [
    Case(
        9,
        "doubles to their last digit",
        {"*": f"CREATE TABLE t (n INTEGER PRIMARY KEY, a DOUBLE PRECISION); INSERT INTO t VALUES {REALS}"},
        {"* > *": carried()},
    ),
    Case(
        9,
        "the largest integers",
        {
            "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BIGINT);
            INSERT INTO t VALUES (1, 9223372036854775807), (2, -9223372036854775808), (3, 9007199254740993),
            (4, -9007199254740993), (5, 0)"""
        },
        {"* > *": carried()},
    ),
    Case(
        9,
        "integers beyond 64 bits",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT);
                INSERT INTO t VALUES (1, '18446744073709551615'), (2, '9223372036854775808')""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a NUMERIC(20));
                INSERT INTO t VALUES (1, 18446744073709551615), (2, 9223372036854775808)""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BIGINT UNSIGNED);
                INSERT INTO t VALUES (1, 18446744073709551615), (2, 9223372036854775808)""",
        },
        {"mariadb > sqlite": carried(changed=["t.a"]), "* > *": carried()},
        then=[
            Then(
                "SELECT a FROM t ORDER BY n",
                [("18446744073709551615",), ("9223372036854775808",)],
                on="mariadb > sqlite",
            )
        ],
    ),
    Case(
        9,
        "NaN",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DOUBLE PRECISION);
                INSERT INTO t VALUES (1, 'NaN'), (2, 1.5)""",
        },
        {"* > postgresql": carried(), "* > *": refused("nan-not-held", says=["t.a 1"])},
    ),
    Case(
        9,
        "NaN among decimals",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a NUMERIC);
                INSERT INTO t VALUES (1, 'NaN'), (2, 1.5), (3, 'Infinity')""",
        },
        {"* > *": carried()},
    ),
    Case(
        9,
        "infinities",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a REAL);
                INSERT INTO t VALUES (1, 9e999), (2, -9e999), (3, 1.5)""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DOUBLE PRECISION);
                INSERT INTO t VALUES (1, 'Infinity'), (2, '-Infinity'), (3, 1.5)""",
        },
        {"* > mariadb": refused("infinity-not-held", says=["t.a 2"]), "* > *": carried()},
    ),
    Case(
        9,
        "negative zero",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DOUBLE PRECISION);
                INSERT INTO t VALUES (1, '-0'), (2, '0')""",
        },
        {
            "* > postgresql": carried(),
            "* > *": refused("negative-zero-not-held", says=["t.a 1"]),
        },
    ),
    Case(
        9,
        "a negative zero in a column of no type",
        {"sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, -0.0), (2, 0.0)"},
        {"* > mariadb": refused("negative-zero-not-held", says=["t.a 1"]), "* > *": carried()},
    ),
    Case(
        9,
        "thirty digits",
        {
            "sqlite": f"CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, '{THIRTY}')",
            "*": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a DECIMAL(30,10));
            INSERT INTO t VALUES (1, {THIRTY}), (2, -0.0000000001), (3, 0)""",
        },
        {"* > *": carried()},
    ),
    Case(
        9,
        "fifty digits",
        {
            "*": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a DECIMAL(50,10));
            INSERT INTO t VALUES (1, {LONG}), (2, -{LONG})""",
            "sqlite": "",
        },
        {"* > *": carried()},
    ),
    Case(
        9,
        "a hundred digits",
        {
            "postgresql": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a NUMERIC);
            INSERT INTO t VALUES (1, {"9" * 100}.{"1" * 40}), (2, 1e-100)"""
        },
        {"* > postgresql": carried(), "* > *": carried(says=["decimal-as-text"])},
    ),
]
