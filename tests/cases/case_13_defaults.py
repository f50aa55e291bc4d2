"""Defaults mean the same in the target, or the plan names the one that will not be there."""

from tests.cases import Case, Then, asked, carried

CASES = [
    Case(
        13,
        "constants, null and the current time",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT DEFAULT 'it''s', b INTEGER DEFAULT 7,
                c REAL DEFAULT -1.5, d TEXT DEFAULT null, e TIMESTAMP DEFAULT current_timestamp,
                f BOOLEAN DEFAULT 1, g INTEGER DEFAULT (1 + 2), h TEXT DEFAULT '');
                INSERT INTO t (n) VALUES (1)""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT DEFAULT 'it''s',
                b INTEGER DEFAULT 7,
                c DOUBLE PRECISION DEFAULT -1.5, d TEXT DEFAULT null, e TIMESTAMPTZ DEFAULT now(),
                f BOOLEAN DEFAULT true, g INTEGER DEFAULT (1 + 2),
                h TEXT DEFAULT ''); INSERT INTO t (n) VALUES (1)""",
            "mariadb": """ALTER DATABASE COLLATE utf8mb4_nopad_bin;
                CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) DEFAULT 'it''s', b INTEGER DEFAULT 7,
                c DOUBLE DEFAULT -1.5, d VARCHAR(40) DEFAULT null,
                e TIMESTAMP(6) DEFAULT current_timestamp(6),
                f BOOLEAN DEFAULT 1, g INTEGER DEFAULT (1 + 2), h VARCHAR(9) DEFAULT '');
                INSERT INTO t (n) VALUES (1)""",
        },
        {"* > *": carried()},
        then=[
            Then(
                "SELECT a, b, c, d, g, h, e IS NOT NULL AND f FROM t WHERE n = 2",
                [("it's", 7, -1.5, None, 3, "", True)],
                "INSERT INTO t (n) VALUES (2)",
                on="* > postgresql",
            ),
            Then(
                "SELECT a, b, c, d, g, h, e IS NOT NULL AND f FROM t WHERE n = 2",
                [("it's", 7, -1.5, None, 3, "", 1)],
                "INSERT INTO t (n) VALUES (2)",
                on="* > sqlite",
            ),
            Then(
                "SELECT a, b, c, d, g, h, e IS NOT NULL AND f FROM t WHERE n = 2",
                [("it's", 7, -1.5, None, 3, "", 1)],
                "INSERT INTO t (n) VALUES (2)",
                on="* > mariadb",
            ),
        ],
    ),
    Case(
        13,
        "a text in double quotes",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT DEFAULT "quoted");
                INSERT INTO t VALUES (1, 'x')"""
        },
        {
            "sqlite > sqlite": carried(),
            "* > *": carried(),
        },
        then=[Then("SELECT a FROM t WHERE n = 2", [("quoted",)], "INSERT INTO t (n) VALUES (2)")],
    ),
    Case(
        13,
        "a default that has no counterpart",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT DEFAULT (strftime('%W', 'now')),
                b TEXT DEFAULT
            (printf('%03d', 7))); INSERT INTO t VALUES (1, 'x', 'y')"""
        },
        {"sqlite > sqlite": carried(), "* > *": asked("default-not-carried", says=["strftime", "printf"])},
        then=[
            Then(
                "SELECT a, b FROM t WHERE n = 2",
                [(None, None)],
                "INSERT INTO t (n) VALUES (2)",
                on="* > postgresql",
            )
        ],
    ),
    Case(
        13,
        "a default that makes a name",
        {
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a UUID DEFAULT gen_random_uuid());
            INSERT INTO t (n) VALUES (1)"""
        },
        {
            "postgresql > sqlite": asked("default-not-carried"),
            "* > *": carried(),
        },
        then=[
            Then(
                "SELECT count(DISTINCT a) FROM t", [(2,)], "INSERT INTO t (n) VALUES (2)", on=f"* > {engine}"
            )
            for engine in ("postgresql", "mariadb")
        ],
    ),
]
