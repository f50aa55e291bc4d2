"""Numbers and texts larger than the place they go to: a new one is made large enough, an old one refuses."""

from tests.cases import BINARY, Case, carried, refused

LONG = {
    "sqlite": "replace(hex(zeroblob(35000)), '00', 'é')",
    "postgresql": "repeat('é', 35000)",
    "mariadb": "repeat('é', 35000)",
}
BIG = {
    "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BIGINT, b TEXT);
        INSERT INTO t VALUES (1, 3000000000, 'x'), (2, -9223372036854775808, 'y'),
            (3, 9223372036854775807, 'z')"""
}
TEXT = {
    engine: f"CREATE TABLE t (n INTEGER PRIMARY KEY, a {'LONGTEXT' if engine == 'mariadb' else 'TEXT'});"
    f" INSERT INTO t VALUES (1, {long}), (2, 'short')"
    for engine, long in LONG.items()
}
TEXT["mariadb"] = BINARY + TEXT["mariadb"]

CASES = [
    Case(4, "integers beyond 32 bits", BIG, {"* > *": carried()}),
    Case(
        4,
        "integers beyond a narrower column",
        BIG,
        {"* > *": refused("value-too-large", says=["t.a 3", "n=1: 3000000000"])},
        there={
            "postgresql": "CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b TEXT)",
            "mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b LONGTEXT)",
        },
    ),
    Case(4, "70,000 bytes of text", TEXT, {"* > *": carried()}),
    Case(
        4,
        "70,000 bytes of text into a column of 65,535",
        TEXT,
        {"* > *": refused("value-too-large", says=["t.a 1"])},
        there={"mariadb": BINARY + "CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT)"},
    ),
    Case(
        4,
        "text longer than the target's column",
        {
            "*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(9));"
            " INSERT INTO t VALUES (1, 'seventh'), (2, 'six')"
        },
        {
            "sqlite > sqlite": carried(),
            "* > sqlite": carried(),
            "* > *": refused("value-too-large", says=["t.a 1", "n=1: 'seventh'"]),
        },
        there={"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(6))"},
    ),
    Case(
        4,
        "text longer than was declared",
        {
            "sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(3));"
            " INSERT INTO t VALUES (1, 'longer'), (2, 'x')"
        },
        {"* > sqlite": carried(), "* > *": carried(says=["length-not-kept"])},
    ),
    Case(
        4,
        "decimals beyond the target's precision",
        {
            "*": """CREATE TABLE t (n INTEGER PRIMARY KEY, a DECIMAL(12,4));
            INSERT INTO t VALUES (1, 1234567.5), (2, 1.2345), (3, 1.5)"""
        },
        {
            "* > sqlite": carried(),
            "* > *": refused("value-too-large", says=["t.a 2", "1.2345"]),
        },
        there={"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a DECIMAL(8,2))"},
    ),
    Case(
        4,
        "a number that single precision cannot hold",
        {
            "*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a DOUBLE PRECISION);"
            " INSERT INTO t VALUES (1, 0.1), (2, 0.5)"
        },
        {"* > *": refused("value-too-large", says=["t.a 1", "n=1: 0.1"])},
        there={
            "postgresql": "CREATE TABLE t (n INTEGER PRIMARY KEY, a REAL)",
            "mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a FLOAT)",
        },
    ),
    Case(
        4,
        "bytes longer than the target's column",
        {
            "sqlite": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BLOB);"
            " INSERT INTO t VALUES (1, zeroblob(70000))",
            "postgresql": """CREATE TABLE t (n INTEGER PRIMARY KEY, a BYTEA);
                INSERT INTO t VALUES (1, decode(repeat('00', 70000), 'hex'))""",
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY, a LONGBLOB);
                INSERT INTO t VALUES (1, repeat(x'00', 70000))""",
        },
        {"* > *": refused("value-too-large", says=["t.a 1"])},
        there={"mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a BLOB)"},
    ),
]
