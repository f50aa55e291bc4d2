"""The file of rejected rows: made once, gone on with only by the run that began it, read with care."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from migration.errors import RejectsUnusable
from migration.model import Column, Kind, Table
from migration.plan import ColumnPlan, Plan, TablePlan
from migration.rejects import ROWS_AT_ONCE, Reason, RejectedRows, RejectFile, scanned_columns
from migration.traits import Traits

TRAITS = Traits("any", None, True, True, False, True, True, None)


def planned(name: str, key: tuple[str, ...] = ("id",)) -> TablePlan:
    columns = (Column("id", Kind.INTEGER), Column("stays", Kind.TEXT), Column("body", Kind.TEXT))
    written = tuple(ColumnPlan(column, column, column.kind) for column in (columns[0], columns[2]))
    return TablePlan(Table(name, columns), Table(name, columns), written, is_new=False, key=key)


NOTES, LOOSE = planned("notes"), planned("loose", ())
PLAN = Plan((NOTES, LOOSE))


def made(path: Path) -> RejectFile:
    return RejectFile.create(path, PLAN, TRAITS, ("run", "source", "target"))


def add(file: RejectFile, table: TablePlan, chunk: str | None, *rows: Sequence[Any]) -> None:
    """Add rows of id, body and what stays behind."""
    arrays = [
        pa.array([row[at] for row in rows], kind)
        for at, kind in enumerate((pa.int64(), pa.string(), pa.string()))
    ]
    batch = pa.RecordBatch.from_arrays(arrays, names=["0", "1", "2"])
    file.add(table, chunk, batch, [[Reason("body", "nul-in-text")] for _ in rows])
    file.flush()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rejects.jsonl"


def test_a_row_is_kept_whole_with_its_key_and_the_reason(path: Path) -> None:
    assert [column.column.name for column in scanned_columns(NOTES)] == ["id", "body", "stays"]
    file = made(path)
    add(file, NOTES, "5", (7, "a\0b", "here"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines(path)[1] == {
        "table": "notes",
        "chunk": "5",
        "key": {"id": 7},
        "reasons": [{"column": "body", "reason": "nul-in-text"}],
        "row": {"id": 7, "body": "a\0b", "stays": "here"},
    }
    rejected = RejectedRows(path)
    ((read, arrays),) = rejected.batches("notes")
    assert (rejected.counts, len(read)) == ({"notes": 1}, 1)
    assert [array.to_pylist() for array in arrays] == [[7], ["a\0b"], ["here"]]
    assert [column.target for column in rejected.tables["notes"].columns] == ["id", "body", None]


def test_a_file_that_is_there_is_not_touched(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(RejectsUnusable, match="is there already"):
        made(path)
    assert path.read_text() == "mine"


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RejectsUnusable, match="is there already"):
        made(path)


def test_who_goes_on_drops_the_rows_of_chunks_that_were_not_committed(path: Path) -> None:
    file = made(path)
    add(file, NOTES, None, (1, "x", "kept"))
    add(file, NOTES, "1", (2, "x", "copied again"), (3, "x", "copied again"))
    add(file, LOOSE, None, (4, "x", "copied again"), (4, "x", "copied again"))
    with path.open("ab") as torn:
        torn.write(b'{"table": "loose", "chu')
    again = RejectFile.reopen(path, file.name, {"notes": "1", "loose": None})
    assert [line["row"]["stays"] for line in lines(path)[1:]] == ["kept"]
    add(again, LOOSE, None, (4, "x", "new"), (4, "x", "new"))
    assert RejectedRows(path).counts == {"notes": 1, "loose": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_rows_of_a_finished_table_stay(path: Path) -> None:
    file = made(path)
    add(file, LOOSE, None, (4, "x", "kept"))
    RejectFile.reopen(path, file.name, {"notes": None})
    assert RejectedRows(path).counts == {"loose": 1}


def test_a_file_that_was_taken_away_is_not_made_anew(path: Path) -> None:
    file = made(path)
    path.unlink()
    with pytest.raises(RejectsUnusable, match="no such file"):
        add(file, NOTES, None, (1, "x", "y"))
    assert not path.exists()


def test_the_file_of_another_run_is_not_gone_on_with(path: Path) -> None:
    made(path)
    before = path.read_bytes()
    with pytest.raises(RejectsUnusable, match="is of another run"):
        RejectFile.reopen(path, "another", {"notes": None})
    assert path.read_bytes() == before


def test_a_file_that_is_gone_cannot_be_gone_on_with(path: Path) -> None:
    with pytest.raises(RejectsUnusable, match="no such file"):
        RejectFile.reopen(path, "any", {})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "holds a line that is no JSON"),
        ("[]", "line 2: this is no row"),
        ('{"table": "notes"}', "line 2: this is no row"),
        ('{"table": "other", "row": {}}', "line 2: the file knows no table 'other'"),
        ('{"table": "notes", "row": {"id": 1}}', "line 2: the row has no body"),
        ('{"table": "notes", "row": {"id": "1", "body": "", "stays": ""}}', "line 2: id: '1' is no integer"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(path: Path, line: str, words: str) -> None:
    made(path)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RejectsUnusable, match=words):
        list(RejectedRows(path).batches("notes"))


@pytest.mark.parametrize(
    "text", ["", "{}\n", "[]\n", '{"migration_rejects": 1}\n', '{"migration_rejects": 2, "tables": []}\n']
)
def test_what_is_no_file_of_rejected_rows_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(RejectsUnusable, match="line 1|no JSON"):
        RejectedRows(path)


def test_many_rows_come_in_batches_in_their_order(path: Path) -> None:
    file = made(path)
    add(file, NOTES, None, *[(number, "x", "y") for number in range(ROWS_AT_ONCE + 1)])
    add(file, LOOSE, None, (1, "x", "y"))
    batches = list(RejectedRows(path).batches("notes"))
    assert [len(read) for read, _ in batches] == [ROWS_AT_ONCE, 1]
    assert [number for _, arrays in batches for number in arrays[0].to_pylist()] == list(
        range(ROWS_AT_ONCE + 1)
    )


def test_a_file_that_cannot_be_written_again_stays_as_it_was(tmp_path: Path) -> None:
    # As long as a name may be: none beside it can be longer.
    path = tmp_path / ("x" * 255)
    file = made(path)
    before = path.read_bytes()
    with pytest.raises(RejectsUnusable, match="name too long"):
        RejectFile.reopen(path, file.name, {"notes": None})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
