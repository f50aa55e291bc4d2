"""Two is not true: a boolean column that holds more than two values is not boolean."""

from tests.cases import Case, Then, carried, refused

CASES = [
    Case(
        10,
        "zeros and ones",
        {
            "*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN);"
            " INSERT INTO t VALUES (1, TRUE), (2, FALSE), (3, NULL)",
        },
        {"* > *": carried()},
        then=[Then("SELECT a FROM t ORDER BY n", [(True,), (False,), (None,)], on="* > postgresql")],
    ),
    Case(
        10,
        "words for true and false",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN);
                INSERT INTO t VALUES (1, 't'), (2, 'true'), (3, 'F'), (4, 0), (5, NULL)""",
        },
        {"* > mariadb": carried(changed=["t.a"]), "* > *": carried()},
        then=[
            Then(
                "SELECT a FROM t ORDER BY n",
                [(True,), (True,), (False,), (False,), (None,)],
                on="* > postgresql",
            ),
            Then("SELECT a FROM t ORDER BY n", [(1,), (1,), (0,), (0,), (None,)], on="* > mariadb"),
        ],
    ),
    Case(
        10,
        "two in a boolean column",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN, b TINYINT(1));
                INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 0)""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN, b TINYINT(1));
                INSERT INTO t VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 0)""",
        },
        {"* > *": carried()},
        then=[Then("SELECT a, b FROM t ORDER BY n", [(1, 1), (2, 2), (None, 0)])],
    ),
    Case(
        10,
        "two into a boolean column",
        {
            "sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN);"
            " INSERT INTO t VALUES (1, 1), (2, 2)",
            "mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BOOLEAN);"
            " INSERT INTO t VALUES (1, 1), (2, 2)",
        },
        {"* > postgresql": refused("value-not-convertible", says=["t.a 1", "n=2"])},
        there={"postgresql": "CREATE TABLE t (n INTEGER PRIMARY KEY, a boolean)"},
    ),
    Case(
        10,
        "single bits",
        {
            "mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BIT(1));"
            " INSERT INTO t VALUES (1, 1), (2, 0), (3, NULL)",
        },
        {"* > postgresql": carried(), "* > *": carried(changed=["t.a"])},
        then=[
            Then("SELECT a FROM t ORDER BY n", [(1,), (0,), (None,)], on=f"* > {engine}")
            for engine in ("sqlite", "mariadb")
        ],
    ),
]
