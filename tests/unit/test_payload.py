"""Plans and proofs as data: whatever is in them can be written as JSON, and nothing is cut."""

from __future__ import annotations

import json

import pytest

from migration.difference import CheckResult, Difference, Report, TableComparison
from migration.digest import Digest
from migration.errors import RolledBack
from migration.model import Check, Column, ForeignKey, Index, IndexPart, Kind, Table, Unique, View
from migration.payload import (
    accept_flags,
    counted,
    error_as_data,
    hazard_as_data,
    how_to_accept,
    in_words,
    plan_as_data,
    report_as_data,
    to_accept,
)
from migration.plan import ColumnPlan, Hazard, Plan, Severity, TablePlan

BLOCKING = Hazard("nul-in-text", Severity.BLOCKING, "Texts hold a NUL", "t", "v", 1, ("id=1: a\\0b",))
VIEW = Hazard("view-not-carried", Severity.HAZARD, "v will not be there", "v")
OWN_ROWS = Hazard("target-rows", Severity.HAZARD, "The target holds rows", "my table", count=3)
MEND_FIRST = "Mend first what cannot be accepted, in t.v"
OR_SET_ASIDE = f"{MEND_FIRST}, or set these rows aside with --reject-to FILE"
TOO_LONG = Hazard("name-too-long", Severity.BLOCKING, "The name is too long", "t", "v")
NOTICE = Hazard("time-forms", Severity.NOTICE, "Written as text", "t", "w", 5)


def plan(*hazards: Hazard) -> Plan:
    source = Table("t", (Column("key", Kind.TEXT, "TEXT"),))
    target = Table(
        "t", (Column("key_name", Kind.TEXT, nullable=False),), ("key_name",),
        (Unique("once", ("key_name",)),), (Check(None, "key_name <> ''"),),
        (ForeignKey("fk", ("key_name",), "other", ("id",)),), (Index("by_key", (IndexPart("key_name"),)),),
    )  # fmt: skip
    column = ColumnPlan(source.columns[0], target.columns[0], Kind.TEXT)
    tables = (TablePlan(source, target, (column,), is_new=True, key=("key",), row_count=7, next_number=8),)
    return Plan(tables, (View("seen", "SELECT 1"),), hazards=hazards, left_out={"own": "kept"})


def test_a_plan_as_data_tells_everything_that_will_be_made() -> None:
    told = json.loads(json.dumps(plan_as_data(plan(VIEW), ())))
    (table,) = told["tables"]
    assert (table["source"], table["target"], table["is_new"], table["rows"]) == ("t", "t", True, 7)
    assert table["columns"] == [{"source": "key", "declared": "TEXT", "target": "key_name", "kind": "text"}]
    assert (table["key"], table["next_number"], table["primary_key"]) == (["key"], 8, ["key_name"])
    assert (table["unique"], table["checks"], table["indexes"]) == (
        [["key_name"]],
        ["key_name <> ''"],
        ["by_key"],
    )
    assert table["foreign_keys"] == ["fk (key_name) -> other(id)"]
    assert (told["views"], told["left_out"]) == (["seen"], {"own": "kept"})
    assert told["to_accept"] == ["view-not-carried"]


def test_a_hazard_as_data_has_its_count_and_its_examples() -> None:
    told = hazard_as_data(BLOCKING)
    assert (told["severity"], told["count"], told["examples"]) == ("blocking", 1, ("id=1: a\\0b",))
    json.dumps(told)


def test_what_cannot_be_accepted_is_not_offered() -> None:
    hazards = plan(BLOCKING, VIEW, OWN_ROWS, NOTICE)
    assert to_accept(hazards, ()) == ["target-rows:my table=target", "view-not-carried"]
    assert to_accept(hazards, ("view-not-carried:v",)) == ["target-rows:my table=target"]
    assert to_accept(plan(NOTICE), ()) == []


@pytest.mark.parametrize(
    ("hazards", "accept", "sentence"),
    [
        ((), (), ""),
        ((NOTICE,), (), ""),
        ((BLOCKING,), (), OR_SET_ASIDE),
        ((BLOCKING, TOO_LONG), (), MEND_FIRST),
        ((VIEW,), (), "Accept the rest by name: --accept view-not-carried"),
        ((VIEW,), ("view-not-carried",), ""),
        (
            (BLOCKING, OWN_ROWS),
            (),
            f"{OR_SET_ASIDE}. Accept the rest by name: --accept 'target-rows:my table=target'",
        ),
    ],
)
def test_what_to_do_is_told_as_it_is_typed(
    hazards: tuple[Hazard, ...], accept: tuple[str, ...], sentence: str
) -> None:
    assert how_to_accept(plan(*hazards), accept) == sentence


def test_names_with_spaces_are_quoted_for_the_shell() -> None:
    assert accept_flags(["a", "b c"]) == "--accept a --accept 'b c'"


def test_an_error_as_data_says_how_it_ended() -> None:
    told = error_as_data(RolledBack("It failed", where="t", done="It was put back"))
    assert told == {"name": "RolledBack", "exit_code": 5, "sentence": "It failed (t). It was put back."}


def report() -> Report:
    sample = Difference("changed value", "t", "id=1", "v", "a", "b")
    table = TableComparison("t", Digest(3, 1), Digest(3, 2), changed_count=30, samples=(sample,))
    check = CheckResult("row counts", 5, 2, (Difference("row count", "u", source="1", target="2"),))
    return Report(("t",), (table,), (check,), ("views: The server is gone.",), {"own": "kept"})


def test_a_report_as_data_has_exact_numbers_and_says_it_in_words() -> None:
    told = report_as_data(report())
    assert json.loads(json.dumps(told)) == told
    # Thirty rows, two row counts, one thing that could not be looked at.
    assert (told["validation_passed"], told["verdict"], told["error_count"]) == (False, "differs", 33)
    assert told["errors"] == in_words(report()) == [
        "row count in u: source 1, target 2",
        "changed value in t.v [id=1]: source a, target b",
        "views: The server is gone.",
    ]  # fmt: skip
    assert told["checks"] == [{"name": "row counts", "looked_at": 5, "differences": 2}]
    assert told["left_out"] == {"own": "kept"}
    (table,) = told["tables"]
    assert (table["equal"], table["changed"], table["source_rows"], table["target_rows"]) == (False, 30, 3, 3)
    assert (table["source_digest"], table["target_digest"]) == (f"{1:064x}", f"{2:064x}")
    assert table["samples"][0]["key"] == "id=1"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1_000, "1,000 rows")]
)
def test_numbers_agree_with_their_nouns(count: int, words: str) -> None:
    assert counted(count, "row") == words
