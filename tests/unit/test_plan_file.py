"""A plan file says what was chosen, can be changed by hand, and refuses what it cannot mean."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from migration.choice import Options, schema_fingerprints
from migration.errors import UsageError
from migration.model import Column, Kind, Schema, Table
from migration.plan import ColumnPlan, Hazard, Plan, Severity, TablePlan
from migration.plan_file import SavedPlan, read_plan_file, write_plan_file

NOTES = Table(
    "notes", (Column("id", Kind.INTEGER), Column('b"o.dy', Kind.TEXT, size=9), Column("any", Kind.ANY))
)
PLAN = Plan(
    tables=(
        TablePlan(
            NOTES,
            NOTES,
            tuple(ColumnPlan(column, column, column.kind) for column in NOTES.columns),
            is_new=True,
        ),
    ),
    hazards=(
        Hazard("trigger-not-carried", Severity.HAZARD, "It\nstays\x00behind", "notes"),
        Hazard("target-rows", Severity.HAZARD, "It holds rows", "others"),
        Hazard("nul-in-text", Severity.BLOCKING, "It holds a NUL", "notes", "body"),
        Hazard("time-forms", Severity.NOTICE, "As it should be", "notes", "at"),
    ),
    left_out={"audit": "left out on request"},
)
OPTIONS = Options(
    mapping={"notes": "remarks", 'notes.b"o.dy': "remarks.ünï"},
    types={"notes.id": "decimal(9,0)"},
    tables=("no*",),
    excluded=("audit", "\x7f"),
    accept=("value-changed:notes.id",),
)
MADE_FOR = schema_fingerprints(Schema((NOTES,)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    write_plan_file(path, PLAN, OPTIONS, MADE_FOR, ("sqlite:///a.db", "postgresql://u:***@h/d"))
    return path


def test_what_was_chosen_comes_back(path: Path) -> None:
    saved = read_plan_file(path)
    assert saved == SavedPlan(
        tables=OPTIONS.tables,
        excluded=OPTIONS.excluded,
        accept=OPTIONS.accept,
        mapping=OPTIONS.mapping,
        types=OPTIONS.types,
        made_for=MADE_FOR,
    )
    assert saved.under(Options()) == dataclasses.replace(OPTIONS, made_for=MADE_FOR)


def test_only_its_owner_can_read_it_and_none_is_written_over(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    with pytest.raises(UsageError, match="there already"):
        write_plan_file(path, PLAN, OPTIONS, MADE_FOR, ("a", "b"))
    assert path.read_text() == before


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_plan_file(tmp_path / "none" / "plan.toml", PLAN, OPTIONS, MADE_FOR, ("a", "b"))


def test_every_hazard_that_would_be_asked_for_stands_ready_to_be_accepted(path: Path) -> None:
    text = path.read_text()
    assert "time-forms" not in text
    assert '# "nul-in-text' not in text
    assert "nul-in-text cannot be accepted" in text
    freed = re.sub(r'^    # (".*",)$', r"    \1", text, flags=re.MULTILINE)
    path.write_text(freed)
    accept = read_plan_file(path).accept
    assert accept == (
        "value-changed:notes.id",
        "trigger-not-carried:notes",
        "target-rows:others=source",
        "target-rows:others=target",
    )
    assert PLAN.hazards[0].accepted_by(accept)


def test_a_type_that_nobody_chose_stands_ready_to_be_changed(path: Path) -> None:
    text = path.read_text()
    assert '"notes.any"' not in text
    path.write_text(text.replace('# "notes.b\\"o.dy" = "varchar(9)"', '"notes.b\\"o.dy" = "text"'))
    assert read_plan_file(path).types == {"notes.id": "decimal(9,0)", 'notes.b"o.dy': "text"}


def test_options_win_over_the_file(path: Path) -> None:
    options = Options(
        tables=("other",), mapping={"notes": "n"}, types={"notes.id": "text"}, accept=("x",), resume=True
    )
    found = read_plan_file(path).under(options)
    assert (found.tables, found.excluded, found.resume) == (("other",), OPTIONS.excluded, True)
    assert found.mapping == {**OPTIONS.mapping, "notes": "n"}
    assert found.types == {"notes.id": "text"}
    assert found.accept == ("value-changed:notes.id", "x")
    assert "" not in found.made_for, "other tables have another schema as a whole"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 1", "version = 2", "has version 2"),
        ("version = 1", "", "has version None"),
        ("version = 1", "version = ", "is no TOML.*line 3"),
        ("[choose]", "[chose]", "line 8: there is no chose"),
        ("exclude_tables", "exclude", r"line 11: there is no choose\.exclude"),
        ('tables = ["no*"]', 'tables = "no*"', "line 10: tables is no list"),
        ('tables = ["no*"]', "tables = [1]", "line 10: tables is no list"),
        ('"decimal(9,0)"', "9", r"notes\.id is no text"),
        ('"decimal(9,0)"', '"string"', r"does not understand 'string' for notes\.id"),
        ("[schema.tables]", "[schema.table]", r"there is no schema\.table"),
        ("fingerprint =", "finger =", r"there is no schema\.finger"),
    ],
)
def test_what_no_plan_file_holds_is_refused_with_its_place(
    path: Path, old: str, new: str, words: str
) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError, match=words):
        read_plan_file(path)


def test_a_key_that_is_spelled_in_another_way_is_named_without_its_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('version = 1\n[types]\n"n\\u006Ftes.id" = 9\n')
    with pytest.raises(UsageError, match=r"key notes\.id: notes\.id is no text"):
        read_plan_file(path)


@pytest.mark.parametrize(
    "text", ["version = 1\nmap = 1", "version = 1\nschema = []", "version = 1\n[schema]\ntables = {}"]
)
def test_a_section_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match="line 2"):
        read_plan_file(path)


def test_a_file_of_a_few_words_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('version = 1\n[choose]\ntables = ["notes"]\n')
    assert read_plan_file(path) == SavedPlan(tables=("notes",))


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan_file(tmp_path / "none.toml")
    path = tmp_path / "bytes.toml"
    path.write_bytes(os.urandom(8) + b"\xff\xfe")
    with pytest.raises(UsageError, match="is no TOML"):
        read_plan_file(path)
