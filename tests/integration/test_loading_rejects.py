"""A file of rejected rows that is loaded into tables other than those it was made for, or not to its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from migration import Stopped, commands, open_database
from migration import load_rejects as load_rejects_module
from migration.clock import now
from migration.journal import Journal
from migration.load_rejects import load_rejects
from migration.model import Column, ForeignKey, Kind, Table
from migration.plan import ColumnPlan, Plan, TablePlan
from migration.rejects import Reason, RejectedRows, RejectFile
from migration.setting_aside import _reference
from migration.traits import Traits
from tests import oracle
from tests.moving import made

TRAITS = Traits("any", None, True, True, False, True, True, None)
COLUMNS = Column("id", Kind.INTEGER), Column("other", Kind.TEXT), Column("stays", Kind.TEXT)
NOTES = TablePlan(
    Table("notes", COLUMNS),
    Table("notes", COLUMNS[:2]),
    tuple(ColumnPlan(column, column, column.kind) for column in COLUMNS[:2]),
    is_new=False,
    key=("id",),
)


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    """Two rows, of which one refers to something; one of their columns went nowhere."""
    file = RejectFile.create(tmp_path / "rejects.jsonl", Plan((NOTES,)), TRAITS, ("run", "source", "target"))
    arrays = [pa.array([1, 2]), pa.array(["a", None], pa.string()), pa.array(["x", "y"])]
    batch = pa.RecordBatch.from_arrays(arrays, names=["0", "1", "2"])
    file.add(NOTES, None, batch, [[Reason("other", "nul-in-text")]] * 2)
    file.flush()
    return tmp_path / "rejects.jsonl"


async def test_a_row_that_refers_to_a_table_that_is_not_there_stays_and_a_column_that_goes_nowhere_too(
    tmp_path: Path, rejects: Path
) -> None:
    target = made(
        tmp_path / "target.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, other TEXT REFERENCES gone (x))"
    )
    async with open_database(target) as theirs:
        loading = await load_rejects(RejectedRows(rejects), theirs, Journal(now, ()))
    assert loading.loaded == {"notes": 1}
    assert [(misfit.key, misfit.reason) for misfit in loading.misfits] == [
        ("id=1", "refers to a row that is not there of gone")
    ]
    assert await oracle.rows(f"sqlite:///{target}", "SELECT * FROM notes") == [(2, None)]


async def test_stopped_while_it_loads_it_has_loaded_whole_tables_and_can_be_asked_again(
    tmp_path: Path, rejects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = made(tmp_path / "target.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, other TEXT)")
    audit = tmp_path / "audit.jsonl"
    write = load_rejects_module._Table._write
    job: asyncio.Future[Any]

    async def stop(self: Any, batches: Any) -> None:
        job.cancel()
        await write(self, batches)

    monkeypatch.setattr(load_rejects_module._Table, "_write", stop)
    job = asyncio.ensure_future(commands.loaded(rejects, str(target), audit))
    with pytest.raises(Stopped, match="Stopped on request") as stopped:
        await job
    assert stopped.value.done == "Each table of the file is loaded whole, or not at all"
    assert "no row goes in twice" in stopped.value.next_step
    found = len(await oracle.rows(f"sqlite:///{target}", "SELECT * FROM notes"))
    assert found in (0, 2)
    monkeypatch.setattr(load_rejects_module._Table, "_write", write)
    again = await commands.loaded(rejects, str(target), audit)
    assert (again.loaded_count, again.already_count) == (2 - found, found)
    assert await oracle.rows(f"sqlite:///{target}", "SELECT * FROM notes ORDER BY id") == [
        (1, "a"),
        (2, None),
    ]
    assert audit.read_text().count('"loading rejects"') == 2


def planned(table: Table, *written: str) -> TablePlan:
    columns = [column for column in table.columns if column.name in written]
    return TablePlan(table, table, tuple(ColumnPlan(c, c, c.kind) for c in columns), is_new=False)


def test_a_row_hangs_on_another_only_where_both_go_with_the_columns_that_tie_them() -> None:
    child = Table("child", (Column("id", Kind.INTEGER), Column("a", Kind.INTEGER)))
    parent = Table("parent", (Column("id", Kind.INTEGER), Column("b", Kind.TEXT)))
    key = ForeignKey(None, ("a",), "parent", ("id",))
    whole = planned(child, "id", "a"), planned(parent, "id", "b")
    tied = _reference(*whole, key)
    assert tied is not None
    assert tied.key == ("parent", ("id",))
    # The rows that it would refer to are only in the target, or what refers to them comes from no row.
    assert _reference(whole[0], None, key) is None
    assert _reference(planned(child, "id"), whole[1], key) is None
    assert _reference(whole[0], planned(parent, "b"), key) is None
