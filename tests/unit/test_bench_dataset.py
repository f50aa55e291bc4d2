"""The made-up rows: the same everywhere, legal on every engine, and stored in the forms of real files."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from bench.dataset import (
    CACHE_VARIABLE,
    ROWS_AT_SCALE_1,
    DatasetKey,
    cache_folder,
    cached,
    fill,
    messages_only,
)
from bench.reference import TABLES

SMALL = 0.01


def fingerprint(path: Path, tables: tuple[str, ...] = TABLES) -> dict[str, str]:
    """Hash every row of every table, with the storage class of each value."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: hashlib.sha256(
                repr(connection.execute(f"SELECT * FROM {table}").fetchall()).encode()
            ).hexdigest()
            for table in tables
        }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "small.db"
    fill(path, SMALL, seed=1)
    return path


def storage_classes(path: Path, table: str, column: str) -> Counter[str]:
    with closing(sqlite3.connect(path)) as connection:
        return Counter(row[0] for row in connection.execute(f"SELECT typeof({column}) FROM {table}"))


def test_same_scale_and_seed_give_the_same_rows(small: Path, tmp_path: Path) -> None:
    fill(tmp_path / "again.db", SMALL, seed=1)

    assert fingerprint(tmp_path / "again.db") == fingerprint(small)


def test_another_seed_gives_other_rows_in_every_filled_table(small: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other.db", SMALL, seed=2)

    before, after = fingerprint(small), fingerprint(tmp_path / "other.db")
    assert [table for table in ROWS_AT_SCALE_1 if before[table] == after[table]] == []


def test_row_counts_follow_the_scale(small: Path) -> None:
    with closing(sqlite3.connect(small)) as connection:
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ROWS_AT_SCALE_1
        }

    assert counts == {table: rows * SMALL for table, rows in ROWS_AT_SCALE_1.items()}


def test_no_row_points_to_a_row_that_is_not_there(small: Path) -> None:
    with closing(sqlite3.connect(small)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_one_table_alone_has_the_rows_it_has_in_the_whole(small: Path, tmp_path: Path) -> None:
    fill(tmp_path / "alone.db", SMALL, seed=1, tables=("messages",))

    assert fingerprint(tmp_path / "alone.db", ("messages",))["messages"] == fingerprint(small)["messages"]


def test_one_table_alone_has_no_foreign_key_and_no_index(tmp_path: Path) -> None:
    fill(tmp_path / "alone.db", SMALL, seed=1, tables=("messages",))

    with closing(sqlite3.connect(tmp_path / "alone.db")) as connection:
        assert connection.execute("PRAGMA foreign_key_list(messages)").fetchall() == []
        assert connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'").fetchall() == []


def test_values_have_the_storage_forms_of_real_files(small: Path) -> None:
    assert set(storage_classes(small, "messages", "timestamp")) == {"real"}
    assert set(storage_classes(small, "sessions", "updated_at")) == {"real", "text"}
    assert set(storage_classes(small, "agent_memory", "updated_at")) == {"text"}
    assert set(storage_classes(small, "agent_memory", "expires_at")) == {"real", "null"}
    assert set(storage_classes(small, "audit_log", "timestamp")) == {"text"}
    assert set(storage_classes(small, "secure_tokens", "encrypted_jwt")) == {"blob"}
    with closing(sqlite3.connect(small)) as connection:
        forms = Counter(len(text) for (text,) in connection.execute("SELECT updated_at FROM agent_memory"))
    # "2026-03-09 00:06:16" after an update, "2026-03-09T00:06:16.348630+00:00" before it.
    assert set(forms) == {19, 32}


def test_a_few_sessions_hold_most_of_the_messages(small: Path) -> None:
    with closing(sqlite3.connect(small)) as connection:
        sizes = [
            row[0]
            for row in connection.execute("SELECT count(*) FROM messages GROUP BY session_id ORDER BY 1 DESC")
        ]

    assert sizes[0] > 3 * sizes[len(sizes) // 2]


def test_some_messages_answer_an_earlier_one_of_their_session(small: Path) -> None:
    with closing(sqlite3.connect(small)) as connection:
        answers, astray = connection.execute(
            "SELECT count(*), sum(parent.id >= child.id OR parent.session_id <> child.session_id)"
            " FROM messages child JOIN messages parent ON parent.id = child.parent_message_id"
        ).fetchone()

    assert answers > 100
    assert astray == 0


def test_the_searched_word_is_there_and_rare(small: Path) -> None:
    with closing(sqlite3.connect(small)) as connection:
        found, total = connection.execute(
            "SELECT sum(content LIKE '%test%'), count(*) FROM messages"
        ).fetchone()

    assert 10 <= found < total / 10


def test_a_data_set_is_made_once_and_then_found(tmp_path: Path) -> None:
    key = DatasetKey(SMALL, 1, TABLES)
    made = cached(key, tmp_path)
    first_written = made.stat().st_mtime_ns

    assert cached(key, tmp_path) == made
    assert made.stat().st_mtime_ns == first_written
    assert (tmp_path / ".gitignore").read_text() == "*\n"


def test_every_part_of_the_key_makes_another_file() -> None:
    keys = [
        DatasetKey(1, 1, TABLES),
        DatasetKey(2, 1, TABLES),
        DatasetKey(1, 2, TABLES),
        messages_only(1_000),
    ]

    assert len({key.digest() for key in keys}) == len(keys)


def test_a_number_of_messages_is_kept_exactly() -> None:
    assert messages_only(123_457).rows("messages") == 123_457


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))

    assert cache_folder() == tmp_path
