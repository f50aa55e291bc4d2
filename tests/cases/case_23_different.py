"""What some verifiers call equal, and is not."""

from tests.cases import Told

TEXTS = "n INTEGER PRIMARY KEY, a VARCHAR(40), b VARCHAR(40)"
ANYTHING = "k VARCHAR(40), a VARCHAR(40)"
NUMBERS = "n INTEGER PRIMARY KEY, a DECIMAL(30,10)"


def different(name: str, columns: str, ours: list[str], theirs: list[str]) -> Told:
    return Told(23, name, {"*": columns, "mariadb": columns.replace(
        "VARCHAR(40)", "VARCHAR(40) CHARACTER SET utf8mb4"
        " COLLATE utf8mb4_nopad_bin")}, ours, theirs, differs=True)  # fmt: skip


CASES = [
    different("a separator that moves", TEXTS, ["1, 'x|y', 'z'"], ["1, 'x', 'y|z'"]),
    different("a comma that moves", TEXTS, ["1, 'x,y', 'z'"], ["1, 'x', 'y,z'"]),
    different("NULL and the text <null>", TEXTS, ["1, NULL, 'z'"], ["1, '<null>', 'z'"]),
    different("NULL and the text NULL", TEXTS, ["1, NULL, 'z'"], ["1, 'NULL', 'z'"]),
    different("NULL and the empty text", TEXTS, ["1, NULL, 'z'"], ["1, '', 'z'"]),
    different("NULL in one column and in the other", TEXTS, ["1, NULL, 'z'"], ["1, 'z', NULL"]),
    different(
        "two copies of one row and of another", ANYTHING, ["'a', 'x'", "'a', 'x'"], ["'b', 'y'", "'b', 'y'"]
    ),
    different(
        "four rows that cancel",
        ANYTHING,
        ["'a', 'x'", "'a', 'y'", "'b', 'x'", "'b', 'y'"],
        ["'a', 'x'", "'a', 'x'", "'b', 'y'", "'b', 'y'"],
    ),
    different("rows whose key is NULL", ANYTHING, ["NULL, 'x'", "NULL, 'y'"], ["NULL, 'x'", "NULL, 'z'"]),
    different("a row whose key is NULL is missing", ANYTHING, ["'a', 'x'", "NULL, 'y'"], ["'a', 'x'"]),
    different("a space at the end", TEXTS, ["1, 'a ', 'z'"], ["1, 'a', 'z'"]),
    different("upper and lower case", TEXTS, ["1, 'Alice', 'z'"], ["1, 'alice', 'z'"]),
    different("an accent", TEXTS, ["1, 'café', 'z'"], ["1, 'cafe', 'z'"]),
    different("composed and decomposed", TEXTS, ["1, 'é', 'z'"], ["1, 'e\u0301', 'z'"]),
    different(
        "the last digit of thirty",
        TEXTS,
        ["1, '12345678901234567890.0000000001', ''"],
        ["1, '12345678901234567890.0000000002', ''"],
    ),
    different("the last digit of a decimal", NUMBERS, ["1, 0.0000000001"], ["1, 0.0000000002"]),
    different(
        "the last bit of a double",
        "n INTEGER PRIMARY KEY, a DOUBLE PRECISION",
        ["1, 0.30000000000000004"],
        ["1, 0.3"],
    ),
    different(
        "large integers that one double stands for",
        "n INTEGER PRIMARY KEY, a BIGINT",
        ["1, 9007199254740993"],
        ["1, 9007199254740992"],
    ),
]
