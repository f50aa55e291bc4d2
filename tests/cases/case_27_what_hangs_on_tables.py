"""Views, triggers, indexes, checks, collations, virtual tables: carried over, or named one by one."""

from tests.cases import Case, Then, asked, carried

CASES = [
    Case(
        27,
        "views, one of which needs another",
        {
            "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO t VALUES (1, 10), (2, 20);
            CREATE VIEW first AS SELECT n, a + 1 AS b FROM t WHERE a > 10;
            CREATE VIEW another AS SELECT b FROM first"""
        },
        {"* > *": carried()},
        then=[Then("SELECT b FROM another", [(21,)])],
    ),
    Case(
        27,
        "a view that has no counterpart",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'a');
            CREATE VIEW globbed AS SELECT * FROM t WHERE a GLOB 'a*'"""
        },
        {"* > sqlite": carried(), "* > *": asked("view-not-carried", says=["globbed"])},
    ),
    Case(
        27,
        "triggers",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO t VALUES (1, 10);
                CREATE TRIGGER doubled AFTER INSERT ON t BEGIN UPDATE t SET a = a * 2 WHERE n = new.n; END""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO t VALUES (1, 10);
                CREATE FUNCTION doubling() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN new.a = new.a * 2; RETURN new; END $$;
                CREATE TRIGGER doubled BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION doubling()""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER); INSERT INTO t VALUES (1, 10);
                CREATE TRIGGER doubled BEFORE INSERT ON t FOR EACH ROW SET new.a = new.a * 2""",
        },
        {
            "sqlite > sqlite": carried(),
            "mariadb > mariadb": carried(),
            "postgresql > postgresql": asked(
                "trigger-not-carried", "function-not-carried", says=["doubled", "doubling()"]
            ),
            "postgresql > *": asked(
                "trigger-not-carried", "function-not-carried", says=["doubled", "doubling()"]
            ),
            "* > *": asked("trigger-not-carried", says=["doubled"]),
        },
        then=[
            Then("SELECT a FROM t WHERE n = 2", [(10,)], "INSERT INTO t VALUES (2, 5)", on="sqlite > sqlite"),
            Then(
                "SELECT a FROM t WHERE n = 2", [(10,)], "INSERT INTO t VALUES (2, 5)", on="mariadb > mariadb"
            ),
        ],
    ),
    Case(
        27,
        "partial and expression indexes",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40), b INTEGER);
                INSERT INTO t VALUES (1, 'x', 1), (2, 'x', NULL), (3, 'X', NULL);
                CREATE UNIQUE INDEX t_partial ON t (a) WHERE b IS NOT NULL;
                CREATE INDEX t_lower ON t (lower(a))""",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40), b INTEGER);
                INSERT INTO t VALUES (1, 'x', 1), (2, 'x', NULL), (3, 'X', NULL);
                CREATE UNIQUE INDEX t_partial ON t (a) WHERE b IS NOT NULL;
                CREATE INDEX t_lower ON t (lower(a))""",
        },
        {"* > mariadb": asked("index-not-carried", says=["t_partial", "t_lower"]), "* > *": carried()},
        then=[
            Then(
                "SELECT count(*) FROM t",
                [(3,)],
                "INSERT INTO t VALUES (4, 'x', 5)",
                refuses=True,
                on=f"* > {engine}",
            )
            for engine in ("sqlite", "postgresql")
        ],
    ),
    Case(
        27,
        "checks",
        {
            "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40), b INTEGER,
            CONSTRAINT short CHECK (length(a) <= 5), CHECK (b IS NULL OR b BETWEEN 1 AND 9));
            INSERT INTO t VALUES (1, 'x', 1), (2, NULL, NULL)""",
            # There length() counts bytes.
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40), b INTEGER,
            CONSTRAINT short CHECK (char_length(a) <= 5), CHECK (b IS NULL OR b BETWEEN 1 AND 9));
            INSERT INTO t VALUES (1, 'x', 1), (2, NULL, NULL)""",
        },
        {"* > *": carried()},
        then=[
            Then("SELECT count(*) FROM t", [(2,)], "INSERT INTO t VALUES (3, 'longer', 1)", refuses=True),
            Then("SELECT count(*) FROM t", [(2,)], "INSERT INTO t VALUES (3, 'x', 10)", refuses=True),
        ],
    ),
    Case(
        27,
        "a check that has no counterpart",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT CHECK (a GLOB '[a-z]*'));
            INSERT INTO t VALUES (1, 'x')"""
        },
        {"* > sqlite": carried(), "* > *": asked("check-not-carried", says=["GLOB"])},
    ),
    Case(
        27,
        "a collation",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT COLLATE NOCASE, b TEXT COLLATE RTRIM);
            INSERT INTO t VALUES (1, 'x', 'y ')"""
        },
        {"* > sqlite": carried(), "* > *": asked("collation-not-carried", says=["NOCASE", "RTRIM"])},
    ),
    Case(
        27,
        "virtual tables and the tables behind them",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x');
            CREATE VIRTUAL TABLE words USING fts5(a); INSERT INTO words VALUES ('hello world');
            CREATE VIRTUAL TABLE places USING rtree(id, low, high); INSERT INTO places VALUES (1, 0, 1)"""
        },
        {"* > *": asked("virtual-table-not-carried", says=["words", "places"])},
    ),
]
