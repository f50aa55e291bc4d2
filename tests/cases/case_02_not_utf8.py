"""Bytes in a text column that are no UTF-8: found before anything is written, and told in hexadecimal."""

from tests.cases import BINARY, Case, asked, carried, refused

CASES = [
    Case(
        2,
        "text that is not UTF-8",
        {
            "sqlite": """CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT);
                INSERT INTO t VALUES (1, 'plain'), (2, CAST(x'eda080' AS TEXT)), (3,
                CAST(x'636166e9' AS TEXT)),
                (4, CAST(x'c0af' AS TEXT)), (5, CAST(x'f4908080' AS TEXT)), (6, CAST(x'61e282' AS TEXT))""",
        },
        {
            "* > sqlite": carried(),
            "* > *": refused("invalid-utf8", says=["t.a 5", "636166e9", "eda080"]),
        },
    ),
    Case(
        2,
        "text that is not UTF-8 in a key",
        {
            "sqlite": """CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY, a TEXT);
                INSERT INTO t VALUES (CAST(x'e9' AS TEXT), 'one'), (CAST(x'e8' AS TEXT), 'two')""",
        },
        {"* > sqlite": carried(), "* > *": refused("invalid-utf8", says=["e9", "e8"])},
    ),
    Case(
        2,
        "text in another character set",
        {
            "mariadb": f"""{BINARY}
                CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_bin);
                INSERT INTO t VALUES (1, 'café'), (2, 'ÿ€')""",
        },
        {"* > mariadb": carried(), "* > *": asked("collation-not-carried", says=["latin1_bin"])},
    ),
]
