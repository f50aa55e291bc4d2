"""How it ends is told by the exit code, and no secret is told by anything."""

from tests.cases import Pointer

COMMAND = "tests/integration/test_cli.py"
SERVICE = "tests/integration/test_service.py"

CASES = [
    Pointer(
        25,
        "every ending has its exit code",
        (
            f"{COMMAND}::test_migrate_verify_diff_and_log_tell_one_story",
            f"{COMMAND}::test_verify_names_what_differs_and_counts_it",
            f"{COMMAND}::test_a_command_that_nobody_knows_is_a_usage_error",
            f"{COMMAND}::test_a_file_that_is_missing_is_refused",
            f"{COMMAND}::test_a_migration_that_fails_after_writing_ends_with_5_and_the_target_as_it_was",
        ),
    ),
    Pointer(
        25,
        "no secret is shown",
        (
            f"{COMMAND}::test_no_secret_is_told_anywhere",
            f"{SERVICE}::test_no_secret_is_in_the_log",
            "tests/unit/test_redaction.py::test_no_spelling_of_a_password_survives",
        ),
    ),
    Pointer(
        25,
        "what is written is its owner's alone",
        (
            f"{SERVICE}::test_the_audit_log_tells_the_whole_story_and_ends_with_the_proof",
            "tests/integration/test_backup.py::test_a_backup_is_its_owners_only_and_its_manifest_tells_what_it_is",
        ),
    ),
]
