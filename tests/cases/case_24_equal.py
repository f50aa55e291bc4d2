"""What some verifiers call different, and is equal: values are compared, not their spelling or order."""

from tests.cases import Told

KEYS = [
    "'a-b', 1",
    "'ab', 2",
    "'a_b', 3",
    "'B', 4",
    "'b', 5",
    "'é', 6",
    "'z', 7",
    "'A B', 8",
    "'10', 9",
    "'9', 10",
]
DIGITS = "12345678901234567890123456789012345678"
BINARY = {
    "*": "k VARCHAR(60) NOT NULL PRIMARY KEY, a INTEGER",
    "mariadb": "k VARCHAR(60) CHARACTER SET utf8mb4"
    " COLLATE utf8mb4_nopad_bin NOT NULL PRIMARY KEY, a INTEGER",
}

CASES = [
    Told(24, "keys that collations order otherwise, in another order", BINARY, KEYS,
         KEYS[::-1], differs=False),
    Told(24, "decimals of one size", "n INTEGER PRIMARY KEY, a DECIMAL(10,2)", ["1, 12.50", "2, 0"],
         ["1, 12.5", "2, 0.00"], differs=False),
    Told(24, "decimals of two sizes", {
        "sqlite": "n INTEGER PRIMARY KEY, a NUMERIC", "postgresql": "n INTEGER PRIMARY KEY, a NUMERIC(10,2)",
        "mariadb": "n INTEGER PRIMARY KEY, a DECIMAL(12,4)"}, ["1, .75", "2, -3.50"], ["1, 0.75", "2, -3.5"],
        differs=False),
    Told(24, "keys of 38 digits", {
        "sqlite": "k TEXT NOT NULL PRIMARY KEY, a INTEGER",
        "postgresql": "k NUMERIC(38) PRIMARY KEY, a INTEGER",
        "mariadb": "k DECIMAL(38) PRIMARY KEY, a INTEGER"}, [f"'{DIGITS}', 1", "'5', 2"],
        [f"'{DIGITS}', 1", "'5', 2"],
        differs=False),
    Told(24, "integers of two widths", {
        "sqlite": "n INTEGER PRIMARY KEY, a INT", "postgresql": "n BIGINT PRIMARY KEY, a SMALLINT",
        "mariadb": "n INTEGER PRIMARY KEY, a BIGINT"}, ["1, 7", "2, -7"], ["2, -7", "1, 7"], differs=False),
    Told(24, "JSON in another order", {
        "sqlite": "n INTEGER PRIMARY KEY, a JSON", "postgresql": "n INTEGER PRIMARY KEY, a JSONB",
        "mariadb": "n INTEGER PRIMARY KEY, a JSON"}, ["""1, '{"a": 1, "b": [1.0, null]}'"""],
        ["""1, '{"b":[1.00,null],"a":1}'"""], differs=False,
        # Two files hold two texts.
        otherwise="sqlite > sqlite"),
    Told(24, "one moment in two zones", {
        "sqlite": "n INTEGER PRIMARY KEY, a TIMESTAMPTZ", "postgresql": "n INTEGER PRIMARY KEY,"
        " a TIMESTAMPTZ"},
        ["1, '2024-03-31 02:30:00+02:00'"], ["1, '2024-03-31T00:30:00Z'"], differs=False,
        engines=("sqlite", "postgresql"),
        otherwise="sqlite > sqlite"),
]  # fmt: skip
