"""A target that holds rows of its own: nothing is written until the user says whose rows stay."""

from tests.cases import Case, Then, asked, carried

BUILD = {
    "*": """CREATE TABLE schema_version (version INTEGER PRIMARY KEY, description VARCHAR(40));
    INSERT INTO schema_version VALUES (3, 'theirs'), (2, 'older');
    CREATE TABLE t (n INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)"""
}
THERE = {
    "*": """CREATE TABLE schema_version (version INTEGER PRIMARY KEY, description VARCHAR(40));
    INSERT INTO schema_version VALUES (3, 'ours'); CREATE TABLE t (n INTEGER PRIMARY KEY)"""
}

CASES = [
    Case(
        29,
        "the source's rows win",
        BUILD,
        {"* > *": asked("target-rows:schema_version=source", says=["holds 1 rows of its own"])},
        there=THERE,
        then=[Then("SELECT * FROM schema_version ORDER BY version", [(2, "older"), (3, "theirs")])],
    ),
    Case(
        29,
        "the target's rows win",
        BUILD,
        {"* > *": carried()},
        there=THERE,
        accept=("target-rows:schema_version=target",),
        then=[Then("SELECT * FROM schema_version", [(3, "ours")]), Then("SELECT n FROM t", [(1,)])],
    ),
]
