"""The nouns: what they find, what they leave out, and names that are equal exactly when values are."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from migration.model import (
    ARROW_TYPES,
    Column,
    ColumnProfile,
    ForeignKey,
    Kind,
    Schema,
    Table,
    Trigger,
    View,
    fingerprint,
)
from migration.progress import Step, silent

ID = Column("id", Kind.INTEGER, nullable=False)
NAME = Column("name", Kind.TEXT)
USERS = Table("users", (ID, NAME), primary_key=("id",))
SCHEMA = Schema((USERS, Table("log", (NAME,))), (View("v", "SELECT 1"),), (Trigger("t", "users"),))


def test_every_kind_has_a_canonical_type_and_all_fields_of_any_are_apart() -> None:
    assert set(ARROW_TYPES) == set(Kind)
    assert pa.types.is_struct(ARROW_TYPES[Kind.ANY])


def test_tables_and_columns_are_found_by_name_or_missed_by_name() -> None:
    assert SCHEMA.table("users").column("name") is NAME
    assert SCHEMA.has("log")
    assert not SCHEMA.has("Users")
    with pytest.raises(KeyError, match=r"users\.nothing"):
        USERS.column("nothing")
    with pytest.raises(KeyError, match="nobody"):
        SCHEMA.table("nobody")


def test_a_key_names_a_row_only_if_it_is_never_null() -> None:
    assert USERS.key == ("id",)
    assert dataclasses.replace(USERS, primary_key=("id", "name")).key == ()
    assert dataclasses.replace(USERS, primary_key=()).key == ()


def test_a_table_is_left_out_with_its_triggers_and_a_view_by_its_name() -> None:
    assert SCHEMA.without(frozenset({"users", "v"})) == Schema((Table("log", (NAME,)),))
    assert SCHEMA.without(frozenset()) == SCHEMA


def test_a_profile_counts_nulls_among_the_storage_classes() -> None:
    assert ColumnProfile(Kind.TEXT, {"null": 3, "text": 1}).null_count == 3
    assert ColumnProfile(Kind.TEXT).null_count == 0


def test_equal_values_have_equal_fingerprints_and_others_have_others() -> None:
    key = ForeignKey(None, ("a",), "users", ("id",))
    values = [
        USERS,
        dataclasses.replace(USERS, name="Users"),
        dataclasses.replace(USERS, columns=(NAME, ID)),
        dataclasses.replace(USERS, foreign_keys=(key,)),
        dataclasses.replace(USERS, foreign_keys=(dataclasses.replace(key, on_delete="CASCADE"),)),
        dataclasses.replace(USERS, columns=(ID, dataclasses.replace(NAME, kind=Kind.JSON))),
        SCHEMA,
        {"a": 1},
        {"a": "1"},
        ("ab", "c"),
        ("a", "bc"),
        Kind.TEXT,
        None,
    ]
    names = [fingerprint(value) for value in values]
    assert len(set(names)) == len(values)
    assert names[0] == fingerprint(Table("users", (ID, NAME), primary_key=("id",)))
    assert all(len(name) == 32 for name in names)


def test_neither_the_order_of_a_dictionary_nor_that_of_a_set_changes_a_fingerprint() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"x", "y", "z"}) == fingerprint(frozenset(["z", "y", "x"]))


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    """Hashes of strings differ from process to process; a run is resumed in another one."""
    code = "from migration.model import fingerprint as f; print(f({'a': {'x', 'y', 'z'}, 'b': ('c', None)}))"
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {fingerprint({"a": {"x", "y", "z"}, "b": ("c", None)})}


def test_silent_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(Step("look", "users", 1, 2))
    assert capsys.readouterr() == ("", "")
