"""A column, or a table, that has another name in the target goes where the user says."""

from tests.cases import Case, Then, asked, carried, refused

BUILD = {
    "*": """CREATE TABLE memory (id INTEGER PRIMARY KEY, "key" VARCHAR(40) NOT NULL, value VARCHAR(40));
    INSERT INTO memory VALUES (1, 'a', 'x'), (2, 'b', 'y')"""
}
THERE = {
    "*": "CREATE TABLE memory (id INTEGER PRIMARY KEY, key_name VARCHAR(40) NOT NULL, value VARCHAR(40))"
}

CASES = [
    Case(
        30,
        "a column that is called otherwise and is mapped",
        BUILD,
        {"* > *": carried()},
        there=THERE,
        mapping={"memory.key": "memory.key_name"},
        then=[Then("SELECT key_name FROM memory ORDER BY id", [("a",), ("b",)])],
    ),
    Case(
        30,
        "a column that is called otherwise and is not mapped",
        BUILD,
        {"* > *": refused("column-without-source", says=["key_name", "column-left-behind memory.key 2"])},
        there=THERE,
    ),
    Case(
        30,
        "a table that is called otherwise",
        BUILD,
        {"* > *": carried()},
        mapping={"memory": "remembered", "memory.value": "remembered.content"},
        then=[Then("SELECT content FROM remembered ORDER BY id", [("x",), ("y",)])],
    ),
    Case(
        30,
        "a column that stays behind",
        {"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER, b INTEGER); INSERT INTO t VALUES (1, 2, 3)"},
        {"* > *": asked("column-left-behind", says=["t.b 1"])},
        there={"*": "CREATE TABLE t (n INTEGER PRIMARY KEY, a INTEGER)"},
    ),
]
