"""Generated columns stay generated, and their values are compared."""

from tests.cases import Case, Then, asked, carried

COLUMNS = "n INTEGER PRIMARY KEY, a INTEGER, b INTEGER GENERATED ALWAYS AS (a * 2) STORED"

CASES = [
    Case(
        14,
        "a stored column",
        {"*": f"CREATE TABLE t ({COLUMNS}); INSERT INTO t (n, a) VALUES (1, 1), (2, NULL), (3, -5)"},
        {"* > *": carried()},
        then=[Then("SELECT b FROM t WHERE n = 2", [(14,)], "UPDATE t SET a = 7 WHERE n = 2")],
    ),
    Case(
        14,
        "virtual and chained columns",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a + 1) VIRTUAL,
                c INTEGER AS (b * 2) VIRTUAL); INSERT INTO t (n, a) VALUES (1, 1), (2, NULL)""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a + 1) VIRTUAL,
                c INTEGER AS (b * 2) VIRTUAL); INSERT INTO t (n, a) VALUES (1, 1), (2, NULL)""",
        },
        {
            "* > postgresql": asked("generated-not-carried"),
            "* > *": carried(),
        },
        then=[
            Then(
                "SELECT b, c FROM t WHERE n = 2",
                [(8, 16)],
                "UPDATE t SET a = 7 WHERE n = 2",
                on=f"* > {engine}",
            )
            for engine in ("sqlite", "mariadb")
        ],
    ),
    Case(
        14,
        "a column in a unique rule",
        {
            "*": f"""CREATE TABLE t ({COLUMNS}, UNIQUE (b));
                INSERT INTO t (n, a) VALUES (1, 1), (2, NULL), (3, -5)"""
        },
        {"* > *": carried()},
        then=[Then("SELECT count(*) FROM t", [(3,)], "INSERT INTO t (n, a) VALUES (4, 1)", refuses=True)],
    ),
]
