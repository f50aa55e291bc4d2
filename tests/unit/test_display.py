"""What a person is shown: every number, every name, and nothing that a name could turn into colours."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from migration.audit import AuditReading, Event, Problem
from migration.difference import CheckResult, Difference, Report, TableComparison
from migration.digest import Digest
from migration.display import (
    progress_bars,
    show_backup,
    show_differences,
    show_hazards,
    show_log,
    show_misfits,
    show_plan,
    show_report,
    verdict_line,
)
from migration.load_rejects import Misfit
from migration.manifest import BackupMade, Contents
from migration.model import Column, ForeignKey, Index, IndexPart, Kind, Schema, Table, Uncarried, Unique, View
from migration.plan import ColumnPlan, Hazard, Plan, Severity, TablePlan
from migration.progress import Step

ODD_NAME = "[bold]odd[/bold]"


class Paper:
    """A console that is no terminal, and what was printed on it."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=160, force_terminal=is_terminal, color_system=None)

    @property
    def text(self) -> str:
        return self._file.getvalue()


@pytest.fixture
def paper() -> Paper:
    return Paper()


def table(name: str) -> Table:
    column = Column("id", Kind.INTEGER, nullable=False)
    return Table(
        name, (column,), ("id",), uniques=(Unique(None, ("id",)),),
        indexes=(Index("by_id", (IndexPart("id"),)),),
        foreign_keys=(ForeignKey(None, ("id",), "other", ("id",)),),
    )  # fmt: skip


def plan(*hazards: Hazard) -> Plan:
    new, there = table(ODD_NAME), table("there")
    column = ColumnPlan(new.columns[0], new.columns[0], Kind.INTEGER)
    return Plan(
        tables=(
            TablePlan(new, new, (column,), is_new=True, row_count=1_234_567),
            TablePlan(there, there, (column,), is_new=False),
        ),
        views=(View("[red]view", "SELECT 1"),),
        hazards=hazards,
    )


def compared(name: str, source: Digest, target: Digest, **counts: int) -> TableComparison:
    return TableComparison(name, source, target, **counts)  # type: ignore[arg-type]


SAME = compared("t", Digest(1, 5), Digest(1, 5))


def test_a_plan_shows_every_table_with_its_numbers_and_names_as_they_are(paper: Paper) -> None:
    show_plan(paper.console, plan(), ())
    (row,) = [line for line in paper.text.splitlines() if ODD_NAME in line]
    assert "1,234,567" in row
    assert "(new)" in row
    # One column; a key, a rule and an index; a foreign key.
    assert [cell.strip() for cell in row.strip("│").split("│")][3:] == ["1", "3", "1"]
    assert "(there already)" in paper.text
    assert "Views: [red]view" in paper.text
    assert "Nothing would be lost or changed." in paper.text


def test_hazards_show_what_they_ask_and_whether_it_was_accepted(paper: Paper) -> None:
    hazards = [
        Hazard("nul-in-text", Severity.BLOCKING, "Texts hold a NUL", "t", "v", 1_000, ("id=1: [b]x",)),
        Hazard("time-rounded", Severity.HAZARD, "Times are finer", "t", "w", 2),
        Hazard("view-not-carried", Severity.HAZARD, "v will not be there", "v"),
        Hazard("time-forms", Severity.NOTICE, "Written as text", "t", "x"),
    ]
    show_hazards(paper.console, hazards, ("time-rounded",))
    rows = {line.split("│")[2].strip(): line for line in paper.text.splitlines() if line.startswith("│")}
    assert "blocking" in rows["nul-in-text"]
    assert "t.v" in rows["nul-in-text"]
    assert "1,000" in rows["nul-in-text"]
    assert "id=1: [b]x" in paper.text
    assert "accepted" in rows["time-rounded"]
    assert "hazard" in rows["view-not-carried"]
    assert "notice" in rows["time-forms"]


def test_a_proof_shows_both_sides_of_every_table_and_every_check(paper: Paper) -> None:
    report = Report(
        ("t",), (SAME,), (CheckResult("tables", 3),), left_out={"own": "the target [b]keeps[/b] its rows"}
    )
    show_report(paper.console, report)
    assert "equal" in paper.text
    assert "Checks: tables 3/3" in paper.text
    assert "Left out: own (the target [b]keeps[/b] its rows)" in paper.text
    assert "proved: 1 row in 1 table; every column" in paper.text
    assert "is equal, but for what was left out" in paper.text


def test_a_proof_shows_what_was_set_aside_and_only_then(paper: Paper) -> None:
    whole = TableComparison("t", Digest(3, 5), Digest(3, 5))
    show_report(paper.console, Report(("t",), (whole,)))
    assert "set aside" not in paper.text
    part = TableComparison("t", Digest(1_003, 5), Digest(2, 3), rejected=Digest(1_001, 2))
    show_report(paper.console, Report(("t",), (part,)))
    assert "1,001" in paper.text
    assert "rejected 1001: so many of 1,003 rows are set aside" in paper.text


def test_rows_that_still_do_not_fit_are_shown_with_their_exact_number(paper: Paper) -> None:
    show_misfits(paper.console, [], 0)
    assert paper.text == ""
    show_misfits(paper.console, [Misfit(ODD_NAME, "id=1", "nul-in-text in v")], 1_234)
    for word in ("1,234 in all, 1 shown", ODD_NAME, "id=1", "nul-in-text in v"):
        assert word in paper.text


def test_differences_are_shown_with_their_exact_number(paper: Paper) -> None:
    samples = (Difference("changed value", "t", "id=1", "v", "[b]a", "b"),)
    damaged = TableComparison("t", Digest(2, 1), Digest(2, 2), changed_count=1_500, samples=samples)
    show_report(paper.console, Report(("t",), (damaged,), could_not_look=("content of u: [b]gone",)))
    assert "Differences: 1,500 in all, 1 shown" in paper.text
    assert "[b]a" in paper.text
    assert "differs" in paper.text
    assert "Could not look: content of u: [b]gone" in paper.text
    assert "differs: 1,500 differences" in paper.text


def test_a_proof_shows_what_somebody_ought_to_know_beside_it(paper: Paper) -> None:
    show_report(paper.console, Report(("t",), (SAME,), notes=("The source was written to: [b]t",)))
    assert "The source was written to: [b]t" in paper.text.splitlines()


def test_a_backup_shows_what_it_holds_and_what_it_does_not(paper: Paper) -> None:
    things = [Uncarried("function", "[b]f", "is code"), Uncarried("procedure", "p", "is code")]
    contents = {"t": Contents(1_234, "ab" * 32, 5_678), ODD_NAME: Contents(None, None, None)}
    backup = BackupMade(
        *(Path("b"), Path("b.json"), "00", 1, {"t": ("id",), ODD_NAME: ("id",)}, "database", "engine", "now"),
        schema=Schema(uncarried=tuple(things)), contents=contents, lacking=("procedure p",),
    )  # fmt: skip
    show_backup(paper.console, backup, "read to the end")
    (row,) = [line for line in paper.text.splitlines() if line.startswith("│ t")]
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["t", "1,234", "5,678", "ab" * 6]
    for line in (
        "1,234 rows in 2 tables: read to the end",
        "Not in it: procedure p",
        f"Written to meanwhile: {ODD_NAME}",
        "Held, and not compared by rows: function [b]f",
    ):
        assert line in paper.text.splitlines()
    whole = Paper()
    show_backup(whole.console, replace(backup, lacking=(), contents={}, schema=Schema()), "read to the end")
    assert not [word for word in ("Not in it", "meanwhile", "not compared") if word in whole.text]


def test_no_difference_is_no_table(paper: Paper) -> None:
    show_differences(paper.console, (), 0)
    assert paper.text == ""


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (
            Report(("t",), (SAME,)),
            "proved: 1 row in 1 table; every column of both sides was read and is equal",
        ),
        (
            Report(("t", "u"), (SAME, compared("u", Digest(1_999, 5), Digest(1_999, 5)))),
            "proved: 2,000 rows in 2 tables; every column of both sides was read and is equal",
        ),
        (Report((), checks=(CheckResult("tables", 1, 1),)), "differs: 1 difference"),
        (Report((), checks=(CheckResult("tables", 2, 2),)), "differs: 2 differences"),
        (
            Report((), could_not_look=("a",)),
            "could not look: 1 thing could not be read, so nothing is proved",
        ),
        (
            Report((), could_not_look=("a", "b")),
            "could not look: 2 things could not be read, so nothing is proved",
        ),
    ],
)
def test_the_verdict_counts_in_good_grammar(report: Report, line: str) -> None:
    assert verdict_line(report) == line


def test_a_log_shows_its_events_and_what_is_odd_about_it(paper: Paper) -> None:
    event = Event(1, "2024-05-06T07:08:09Z", "run", "plan", {"tables": "[b]t"}, "0", "1")
    show_log(paper.console, AuditReading((event,), ()))
    assert "1 event" in paper.text
    assert "tables=[b]t" in paper.text
    assert "The chain of hashes is whole." in paper.text
    broken = Paper()
    show_log(broken.console, AuditReading((), (Problem(2, "does not follow", breaks_chain=True),)))
    assert "0 events" in broken.text
    assert "Line 2: does not follow" in broken.text
    assert "whole" not in broken.text


def test_nobody_watches_a_pipe(paper: Paper) -> None:
    with progress_bars(paper.console) as progress:
        progress(Step("copy", "t", 1, 2))
    assert paper.text == ""


def test_a_terminal_shows_a_bar_for_the_table_in_work_and_one_for_the_phase() -> None:
    terminal = Paper(is_terminal=True)
    with progress_bars(terminal.console) as progress:
        for done in (0, 500, 1_000):
            progress(Step("copy", ODD_NAME, done, 1_000))
        progress(Step("copy", "second", 1, 4))
        bars = progress._bars  # type: ignore[attr-defined]
        found = {task.description: (task.completed, task.total, task.visible) for task in bars.tasks}
        bars.refresh()
    assert found["copy: all"] == (1_001, 1_004, True)
    assert found["copy: second"] == (1, 4, True)
    # What is done is put away.
    assert [visible for name, (_, _, visible) in found.items() if "odd" in name] == [False]
    assert "rows/s" in terminal.text or "copy: all" in terminal.text
