"""Cases for which a process is killed, a line cut or memory measured: they have tests of their own."""

from tests.cases import Pointer

INTERRUPTION = "tests/integration/test_interruption.py"
PERFORMANCE = "tests/performance/test_migration_performance.py"
CONFORMANCE = "tests/integration/test_conformance.py"
COMMAND = "tests/integration/test_cli.py"

CASES = [
    Pointer(
        18,
        "a retry goes on at the right place",
        (
            f"{INTERRUPTION}::test_stopped_anywhere_it_goes_on_and_is_proved",
            f"{INTERRUPTION}::test_killed_at_any_moment_it_goes_on_and_is_proved",
            "tests/integration/test_copy.py::test_it_goes_on_after_any_chunk_without_losing_or_repeating_a_row",
        ),
    ),
    Pointer(
        19,
        "a resume doubles no row",
        (
            f"{INTERRUPTION}::test_stopped_again_and_again_it_arrives",
            f"{INTERRUPTION}::test_into_tables_with_rows_of_their_own_it_goes_on_or_back_all_the_same",
            f"{INTERRUPTION}::test_canary_a_row_copied_twice_is_not_called_proved",
        ),
    ),
    Pointer(
        20,
        "every wait has an end, and a request to stop is heard",
        (
            f"{COMMAND}::test_a_server_that_never_answers_does_not_keep_anybody_waiting_for_ever",
            f"{COMMAND}::test_a_signal_stops_it_with_its_state_kept_and_resume_goes_on",
            f"{COMMAND}::test_a_signal_before_anything_was_written_says_that_nothing_was",
        ),
    ),
    Pointer(
        21,
        "memory is bounded by bytes",
        (
            f"{PERFORMANCE}::test_memory_does_not_grow_with_the_table",
            f"{CONFORMANCE}::TestBatches::test_one_huge_row_among_small_ones_does_not_make_the_others_huge",
            f"{CONFORMANCE}::TestBatches::test_batches_are_bounded_by_bytes",
            f"{CONFORMANCE}::TestRows::test_a_very_wide_table_is_read_whole",
        ),
    ),
    Pointer(22, "rows go in bulk", (f"{PERFORMANCE}::test_round_trips_do_not_grow_with_the_rows",)),
]
