"""Characters beyond the first 65,536, and texts that look alike: kept exactly."""

from tests.cases import Case, asked, carried, refused

TEXTS = [
    "👩‍👩‍👧",
    "\U0010ffff",
    "🏳️‍🌈",
    "é",
    "e\u0301",
    "ﷺ",
    "\u202eabc",
    "\u0001",
    "\ufeffx",
    "日本語",
    "\u00a0",
]
ROWS = ", ".join(f"({at}, '{text}', '{text}')" for at, text in enumerate(TEXTS))

CASES = [
    Case(
        11,
        "emoji, the last code point, composed and decomposed",
        {
            "*": f"""CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT, b VARCHAR(40) NOT NULL UNIQUE);
            INSERT INTO t VALUES {ROWS}"""
        },
        {"* > *": carried()},
    ),
    Case(
        11,
        "emoji into a column of three bytes a character",
        {
            "*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40));"
            " INSERT INTO t VALUES (1, '👍'), (2, '日本')"
        },
        {"* > *": refused("value-too-large", says=["t.a 1", "n=1"])},
        there={"mariadb": "CREATE TABLE t (n INTEGER PRIMARY KEY, a VARCHAR(40) CHARACTER SET utf8mb3)"},
    ),
    Case(
        11,
        "a column of three bytes a character",
        {
            "mariadb": """CREATE TABLE t (n INTEGER PRIMARY KEY,
                a VARCHAR(40) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin);
            INSERT INTO t VALUES (1, '日本'), (2, 'é')"""
        },
        {"* > mariadb": carried(), "* > *": asked("collation-not-carried", says=["utf8mb3_bin"])},
    ),
]
