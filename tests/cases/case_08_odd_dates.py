"""Dates that some engines do not have: zero, before Christ, infinite; kept, or asked about, or refused."""

from tests.cases import Case, Then, asked, carried, refused

CASES = [
    Case(
        8,
        "the first and the last day, and microseconds",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATE, b DATETIME, c TIME);
                INSERT INTO t VALUES (1, '0001-01-01', '1000-01-01 00:00:00.000001', '00:00:00'),
                (2, '9999-12-31', '9999-12-31 23:59:59.999999', '23:59:59.999999'), (3, NULL, NULL, NULL)""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a date, b timestamp, c time);
                INSERT INTO t VALUES (1, '0001-01-01', '1000-01-01 00:00:00.000001', '00:00:00'),
                (2, '9999-12-31', '9999-12-31 23:59:59.999999', '23:59:59.999999'), (3, NULL, NULL, NULL)""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a date, b datetime(6), c time(6));
                INSERT INTO t VALUES (1, '1000-01-01', '1000-01-01 00:00:00.000001', '00:00:00'),
                (2, '9999-12-31', '9999-12-31 23:59:59.999999', '23:59:59.999999'), (3, NULL, NULL, NULL)""",
        },
        {"* > *": carried()},
    ),
    Case(
        8,
        "dates before Christ, infinite, and beyond 9999",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a date, b timestamp, c timestamptz);
                INSERT INTO t VALUES (1, '0044-03-15 BC', '0044-03-15 12:00 BC', '0044-03-15 12:00+00 BC'),
                (2, 'infinity', '-infinity', 'infinity'), (3, '12000-01-01', '12000-01-01', '12000-01-01'),
                (4, '2024-01-01', '2024-01-01', '2024-01-01')""",
        },
        {
            "* > *": asked(
                "value-changed",
                says=["t.a 3", "t.b 3", "t.c 3", "BC", "infinity"],
                changed=["t.a", "t.b", "t.c"],
            ),
        },
        then=[
            Then(
                "SELECT a FROM t ORDER BY n",
                [("0044-03-15 BC",), ("infinity",), ("12000-01-01",), ("2024-01-01",)],
            )
        ],
    ),
    Case(
        8,
        "zero and partial dates",
        {
            "mariadb": """SET sql_mode = 'ALLOW_INVALID_DATES';
                CREATE TABLE t (n INTEGER PRIMARY KEY, a date, b datetime);
                INSERT INTO t VALUES (1, '0000-00-00', '0000-00-00 00:00:00'), (2, '2024-00-00',
                '2024-05-00 01:00:00'),
                (3, '2024-02-29', '2024-02-29 12:00:00')""",
        },
        {
            "* > *": asked(
                "value-changed", says=["t.a 2", "t.b 2", "0000-00-00", "2024-00-00"], changed=["t.a", "t.b"]
            ),
        },
        then=[Then("SELECT a FROM t ORDER BY n", [("0000-00-00",), ("2024-00-00",), ("2024-02-29",)])],
    ),
    Case(
        8,
        "zero and impossible dates in a file",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATE);
                INSERT INTO t VALUES (1, '0000-00-00'), (2, '2024-02-30'), (3, '2024-02-29')""",
        },
        {"* > *": carried()},
    ),
    Case(
        8,
        "zero dates in a file into a column of dates",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATE);
                INSERT INTO t VALUES (1, '0000-00-00'), (2, '2024-02-30'), (3, '2024-02-29')""",
        },
        {"* > sqlite": carried(), "* > *": refused("value-not-convertible", says=["t.a 2", "0000-00-00"])},
        there={"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a DATE)"},
    ),
    Case(
        8,
        "times of more than a day",
        {
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a time(6));
                INSERT INTO t VALUES (1, '838:59:59'), (2, '-12:30:00'), (3, '12:30:00.000001')""",
        },
        {"* > *": asked("value-changed", says=["t.a 2", "838:59:59"], changed=["t.a"])},
        then=[
            Then(
                "SELECT a FROM t ORDER BY n",
                [("838:59:59.000000",), ("-12:30:00.000000",), ("12:30:00.000001",)],
            )
        ],
    ),
    Case(
        8,
        "fractions of a second into columns that keep fewer digits",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP, b TIME);
                INSERT INTO t VALUES (1, '2024-03-31 02:30:00.75', '12:30:00.75'), (2,
                '2024-03-31 02:30:00', NULL)""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP, b TIME);
                INSERT INTO t VALUES (1, '2024-03-31 02:30:00.75', '12:30:00.75'), (2,
                '2024-03-31 02:30:00', NULL)""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DATETIME(6), b TIME(6));
                INSERT INTO t VALUES (1, '2024-03-31 02:30:00.75', '12:30:00.75'), (2,
                '2024-03-31 02:30:00', NULL)""",
        },
        {"* > *": asked("time-rounded", says=["t.a 1", "t.b 1"], changed=["t.a", "t.b"])},
        there={
            "postgresql": "CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP(0), b TIME(0))",
            "mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a DATETIME, b TIME)",
        },
    ),
    Case(
        8,
        "times finer than a microsecond",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TIMESTAMP);
                INSERT INTO t VALUES (1, '2024-03-31 02:30:00.123456789'), (2, '2024-03-31 02:30:00.5')""",
        },
        {
            "* > sqlite": carried(),
            "* > *": asked("time-rounded", says=["t.a 1", ".123456789"], changed=["t.a"]),
        },
        then=[
            Then(
                "SELECT count(*) FROM t WHERE a < '2024-03-31 02:30:00.123457' "
                "AND a >= '2024-03-31 02:30:00.123456'",
                [(1,)],
            )
        ],
    ),
]
