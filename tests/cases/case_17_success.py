"""Success is only ever the outcome of a proof: whatever is missing, extra or changed is told by name."""

from tests.cases import Pointer, Told

SERVICE = "tests/integration/test_service.py"
COLUMNS = "n INTEGER PRIMARY KEY, a VARCHAR(40)"

CASES = [
    Told(17, "a row is missing", COLUMNS, ["1, 'x'", "2, 'y'"], ["1, 'x'"], differs=True),
    Told(17, "all rows are missing", COLUMNS, ["1, 'x'"], [], differs=True),
    Told(17, "a row is there too much", COLUMNS, ["1, 'x'"], ["1, 'x'", "2, 'y'"], differs=True),
    Told(17, "one value is another", COLUMNS, ["1, 'x'", "2, 'y'"], ["1, 'x'", "2, 'z'"], differs=True),
    Told(17, "nothing is there, on both sides", COLUMNS, [], [], differs=False),
    Pointer(
        17,
        "damage after the copy is seen, and undone",
        (
            f"{SERVICE}::test_a_failure_into_a_new_schema_leaves_it_empty",
            f"{SERVICE}::test_a_proof_that_could_not_look_is_told_from_one_that_found_something",
        ),
    ),
]
