"""Rows that cannot go: set aside whole, accounted for by the proof, and brought in once they were mended."""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from migration import MigrationValidator, Refused, RolledBack, Stopped, cli, open_database
from migration import load_rejects as load_rejects_module
from migration import setting_aside as setting_aside_module
from migration.clock import now
from migration.difference import Report
from migration.errors import Differs, Rejected, RejectsUnusable
from migration.journal import Journal
from migration.load_rejects import Loading, load_rejects
from migration.progress import Step
from migration.rejects import RejectedRows
from tests import oracle
from tests.moving import made, moved, small_chunks, taken_back

SCRIPT = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, boss INTEGER REFERENCES people (id));
CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER REFERENCES people (id), body TEXT, raw BLOB);
CREATE TABLE loose (word TEXT, number REAL);
CREATE TABLE clean (id INTEGER PRIMARY KEY AUTOINCREMENT, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
INSERT INTO people VALUES (1, 'a', NULL), (2, 'b' || char(0), 1), (3, 'c', 4), (4, 'd', 2), (5, 'e', 5);
INSERT INTO notes VALUES (1, 1, 'fine', x'00'), (2, 3, 'refers', NULL);
INSERT INTO notes VALUES (3, NULL, char(0), x'ff'), (4, NULL, '', NULL);
INSERT INTO loose VALUES ('w', 1.5), ('w' || char(0), 1.5), ('w' || char(0), 1.5);
INSERT INTO loose VALUES (CAST(x'66ff' AS TEXT), -0.0);
INSERT INTO clean VALUES (9, '2024-01-01 00:00:00');
"""
# By table: the ids that cannot go, or how many rows without one.
PEOPLE, NOTES, LOOSE = [2, 3, 4], [2, 3], 3
COUNT = len(PEOPLE) + len(NOTES) + LOOSE


@pytest.fixture
def source(sqlite_path: Path) -> Path:
    return made(sqlite_path, SCRIPT)


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    return tmp_path / "rejects.jsonl"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit logs are written where the command is run."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kept(path: Path, table: str) -> list[Any]:
    return [line["row"] for line in lines(path)[1:] if line["table"] == table]


def change(path: Path, edit: Callable[[list[Any]], Any]) -> None:
    """Change a file by hand."""
    found = lines(path)
    edit(found)
    path.write_text("".join(json.dumps(line) + "\n" for line in found))


def mend(found: list[Any]) -> None:
    for line in found[1:]:
        for name, value in line["row"].items():
            if isinstance(value, str):
                line["row"][name] = value.replace("\0", "!")
            elif isinstance(value, dict) and "text-hex" in value:
                line["row"][name] = "f?"


async def ids(url: str, table: str) -> list[int]:
    return sorted(row[0] for row in await oracle.rows(url, f"SELECT id FROM {table}"))


async def verified(source: Path, target: str, rejects: Path | None) -> Report:
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        validator = MigrationValidator(ours, theirs, rejects=rejects)
        await validator.validate_schema_compatibility()
        await validator.validate_data_integrity()
        return validator.report


async def loaded(path: Path, target: str) -> Loading:
    async with open_database(target) as theirs:
        return await load_rejects(RejectedRows(path), theirs, Journal(now, ()))


async def assert_set_aside(target: str, rejects: Path) -> None:
    """Look at the target and the file without asking the product."""
    assert await ids(target, "people") == [1, 5]
    assert await ids(target, "notes") == [1, 4]
    assert await oracle.rows(target, "SELECT word, number FROM loose") == [("w", 1.5)]
    assert sorted(row["id"] for row in kept(rejects, "people")) == PEOPLE
    assert sorted(row["id"] for row in kept(rejects, "notes")) == NOTES
    assert len(kept(rejects, "loose")) == LOOSE


async def test_without_a_file_nothing_goes(source: Path, postgresql_url: str) -> None:
    service = await moved(source, postgresql_url)
    assert isinstance(service.error, Refused)
    assert await oracle.rows(postgresql_url, "SELECT relname FROM pg_class WHERE relname = 'notes'") == []


async def test_rows_that_cannot_go_are_set_aside_whole_and_never_called_proved(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert isinstance(service.error, Rejected)
    assert (service.error.exit_code, str(rejects) in service.error.sentence()) == (1, True)
    await assert_set_aside(postgresql_url, rejects)
    assert kept(rejects, "notes")[-1] == {"id": 3, "person": None, "body": "\0", "raw": {"hex": "ff"}}
    assert kept(rejects, "loose")[-1] == {"word": {"text-hex": "66ff"}, "number": -0.0}
    reasons = {(line["table"], line["key"].get("id")): line["reasons"] for line in lines(rejects)[1:]}
    assert reasons["people", 2] == [{"column": "name", "reason": "nul-in-text"}]
    assert reasons["people", 4] == [{"column": "boss", "reason": "refers-to-rejected"}]
    assert reasons["notes", 2] == [{"column": "person", "reason": "refers-to-rejected"}]
    assert rejects.stat().st_mode & 0o777 == 0o600
    report = service.report
    assert report is not None
    assert (report.verdict, report.proved, report.accounted) == (f"rejected {COUNT}", False, True)
    assert [entry["message"] for entry in service.migration_log][-1] == "rejected"
    # The target is finished: nothing of ours is left in it.
    assert (
        await oracle.rows(postgresql_url, "SELECT relname FROM pg_class WHERE relname LIKE 'migration%'")
        == []
    )
    plan = service.plan
    assert plan is not None
    aside = {
        (hazard.name, hazard.table): hazard.count
        for hazard in plan.hazards
        if hazard.severity.value == "set aside"
    }
    assert aside["refers-to-rejected", "people"] == 2
    assert aside["nul-in-text", "loose"] == 2


async def test_where_every_row_can_go_the_file_is_empty_and_it_is_proved(
    postgresql_url: str, tmp_path: Path, rejects: Path
) -> None:
    source = made(
        tmp_path / "good.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (1, 'x');",
    )
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert service.error is None
    assert service.report is not None
    assert (service.report.verdict, len(lines(rejects))) == ("proved", 1)


async def test_rows_too_wide_for_a_schema_that_is_there_are_set_aside(
    postgresql_url: str, tmp_path: Path, rejects: Path
) -> None:
    source = made(
        tmp_path / "wide.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, n INTEGER);"
        "INSERT INTO t VALUES (1, 'short', 1), (2, 'too long', 1), (3, 'é', 3000000000);"
        "INSERT INTO t VALUES (4, NULL, 1), (5, 'x', 'y');",
    )
    await oracle.run(
        postgresql_url, "CREATE TABLE t (id bigint PRIMARY KEY, v varchar(5) NOT NULL, n integer)"
    )
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert isinstance(service.error, Rejected)
    assert await oracle.rows(postgresql_url, "SELECT * FROM t") == [(1, "short", 1)]
    reasons = {line["key"]["id"]: [one["reason"] for one in line["reasons"]] for line in lines(rejects)[1:]}
    assert reasons == {
        2: ["value-too-large"],
        3: ["value-too-large"],
        4: ["null-not-allowed"],
        5: ["value-not-convertible"],
    }


async def test_a_text_of_too_many_bytes_is_set_aside_and_goes_in_when_there_is_room(
    fresh_database: Callable[[str], str], tmp_path: Path, rejects: Path
) -> None:
    target = fresh_database("mariadb")
    source = made(
        tmp_path / "long.db",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);"
        "INSERT INTO t VALUES (1, 'short'), (2, replace(hex(zeroblob(20000)), '00', 'x😀'));",
    )
    await oracle.run(target, "CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    service = await moved(source, target, reject_to=rejects)
    assert isinstance(service.error, Rejected), service.error
    assert await ids(target, "t") == [1]
    assert [line["reasons"] for line in lines(rejects)[1:]] == [
        [{"column": "v", "reason": "value-too-large"}]
    ]
    assert (await loaded(rejects, target)).misfit_count == 1
    await oracle.run(target, "ALTER TABLE t MODIFY v longtext")
    assert (await loaded(rejects, target)).loaded == {"t": 1}
    assert (await verified(source, target, None)).verdict == "proved"


async def test_references_of_several_columns_are_followed_and_one_null_refers_to_nothing(
    postgresql_url: str, tmp_path: Path, rejects: Path
) -> None:
    source = made(
        tmp_path / "pairs.db",
        "CREATE TABLE parents (a INTEGER, b TEXT, v TEXT, PRIMARY KEY (a, b));"
        "CREATE TABLE children (id INTEGER PRIMARY KEY, a INTEGER, b TEXT,"
        " FOREIGN KEY (a, b) REFERENCES parents (a, b));"
        "INSERT INTO parents VALUES (1, 'x', char(0)), (1, 'y', ''), (2, 'x', '');"
        "INSERT INTO children VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 1, NULL), (4, NULL, 'x'), (5, 2, 'x');",
    )
    service = await moved(source, postgresql_url, reject_to=rejects, accept=("primary-key-not-carried",))
    assert isinstance(service.error, Rejected), service.error
    assert [row["id"] for row in kept(rejects, "children")] == [1]
    reason = [line["reasons"] for line in lines(rejects)[1:] if line["table"] == "children"]
    assert reason == [[{"column": "a, b", "reason": "refers-to-rejected"}]]
    assert await ids(postgresql_url, "children") == [2, 3, 4, 5]


async def test_names_that_differ_lead_to_the_same_file_and_back(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    mapping = {"people": "persons", "people.name": "persons.called", "notes.person": "notes.who"}
    service = await moved(source, postgresql_url, reject_to=rejects, mapping=mapping)
    assert isinstance(service.error, Rejected), service.error
    assert await ids(postgresql_url, "persons") == [1, 5]
    assert sorted(row["id"] for row in kept(rejects, "notes")) == NOTES
    change(rejects, mend)
    assert (await loaded(rejects, postgresql_url)).loaded_count == COUNT
    found = await oracle.rows(postgresql_url, "SELECT called FROM persons WHERE id = 2")
    assert found == [("b!",)]


async def test_what_no_row_can_help_keeps_everything_from_going(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await oracle.run(postgresql_url, "CREATE TABLE clean (id bigint, at timestamptz, must text NOT NULL)")
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert isinstance(service.error, Refused)
    assert "column-without-source" in service.error.sentence()
    assert not rejects.exists()


async def test_a_number_that_is_none_is_set_aside_where_it_cannot_be_held(
    postgresql_url: str, tmp_path: Path, rejects: Path
) -> None:
    await oracle.run(
        postgresql_url,
        "CREATE TABLE t (id bigint PRIMARY KEY, v double precision, at timestamptz);"
        "INSERT INTO t VALUES (1, 'NaN', '2024-05-06 07:08:09.123456+02'), (2, 1.5, NULL)",
    )
    target = tmp_path / "target.db"
    service = await moved(postgresql_url, target, reject_to=rejects)
    assert isinstance(service.error, Rejected)
    ((row,),) = [kept(rejects, "t")]
    assert row == {"id": 1, "v": {"real": "NaN"}, "at": {"time": "2024-05-06 05:08:09.123456Z"}}
    change(rejects, lambda found: found[1]["row"].update(v=2.0))
    assert (await loaded(rejects, f"sqlite:///{target}")).loaded == {"t": 1}
    found = await oracle.rows(f"sqlite:///{target}", "SELECT id, v FROM t ORDER BY id")
    assert found == [(1, 2.0), (2, 1.5)]


# --- the proof --------------------------------------------------------------------------------------


async def test_verify_accounts_for_the_file(source: Path, postgresql_url: str, rejects: Path) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    assert (await verified(source, postgresql_url, rejects)).verdict == f"rejected {COUNT}"
    assert (await verified(source, postgresql_url, None)).verdict == "differs"


def shorten(found: list[Any]) -> None:
    del found[-1]


def double(found: list[Any]) -> None:
    found.append(found[-1])


def alter(found: list[Any]) -> None:
    next(line for line in found if line["table"] == "notes" and line["key"]["id"] == 3)["row"]["raw"] = {
        "hex": "fe"
    }


@pytest.mark.parametrize("edit", [shorten, double, alter, mend])
async def test_canary_a_file_that_was_altered_is_seen(
    edit: Callable[[list[Any]], None], source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    before = lines(rejects)[0]
    change(rejects, lambda found: edit(found[1:]) if edit is alter else edit(found))
    if edit is alter:
        change(rejects, lambda found: alter([{"table": "", "key": {}}, *found[1:]]))
    assert lines(rejects)[0] == before
    assert (await verified(source, postgresql_url, rejects)).verdict == "differs"


@pytest.mark.parametrize(
    "damage",
    [
        "INSERT INTO notes VALUES (3, NULL, 'written nevertheless', NULL)",
        "INSERT INTO loose VALUES ('w', 1.5)",
        "DELETE FROM notes WHERE id = 4",
        "UPDATE notes SET body = 'x' WHERE id = 4",
    ],
)
async def test_canary_a_target_that_is_not_the_rest_is_seen(
    damage: str, source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    await oracle.run(postgresql_url, damage)
    report = await verified(source, postgresql_url, rejects)
    assert report.verdict == "differs"
    assert report.difference_count


async def test_canary_a_row_lost_on_the_way_to_the_file_is_seen_and_taken_back(
    source: Path, postgresql_url: str, rejects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = setting_aside_module.RejectFile.add

    def forgetful(self: Any, table: Any, chunk: Any, rows: Any, reasons: Any) -> int:
        return add(self, table, chunk, rows, reasons[:-1])

    monkeypatch.setattr(setting_aside_module.RejectFile, "add", forgetful)
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert isinstance(service.error, RolledBack)
    assert await oracle.rows(postgresql_url, "SELECT relname FROM pg_class WHERE relname = 'notes'") == []


async def test_a_file_that_is_gone_was_not_looked_at(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    rejects.unlink()
    assert (await verified(source, postgresql_url, rejects)).verdict == "could not look"


# --- stopping and going on --------------------------------------------------------------------------


async def stopped_at(table: str, done: int, source: Path, target: str, rejects: Path | None) -> None:
    def stop(step: Step) -> None:
        if (step.phase, step.table) == ("copy", table) and step.done >= done:
            raise asyncio.CancelledError

    service = await moved(source, target, progress=stop, reject_to=rejects)
    assert isinstance(service.error, Stopped)


@pytest.mark.parametrize(
    ("table", "done"), [("clean", 0), ("loose", 1), ("people", 1), ("people", 2), ("notes", 1)]
)
async def test_who_goes_on_has_every_rejected_row_once(
    table: str,
    done: int,
    source: Path,
    postgresql_url: str,
    rejects: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_chunks(monkeypatch, 1, 1)
    await stopped_at(table, done, source, postgresql_url, rejects)
    service = await moved(source, postgresql_url, resume=True, reject_to=rejects)
    assert isinstance(service.error, Rejected)
    await assert_set_aside(postgresql_url, rejects)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from migration import DataMigrationService, Options, copy, open_database
from migration.backends import sqlite_rows
from migration.rejects import RejectFile

copy.CHUNK_BYTES = sqlite_rows.BATCH_ROWS = 1

async def main(source, target, rejects, count):
    real, left = RejectFile.flush, [int(count)]

    def killed(self):
        real(self)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    RejectFile.flush = killed
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        await DataMigrationService(ours, theirs, options=Options(reject_to=Path(rejects))).migrate_data()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("count", [3, 6, 9])
async def test_a_kill_between_the_file_and_the_commit_loses_no_row_and_doubles_none(
    count: int, source: Path, postgresql_url: str, rejects: Path
) -> None:
    arguments = [sys.executable, "-c", KILLED, source, postgresql_url, rejects, str(count)]
    root = str(Path(__file__).parents[2])
    killed = await asyncio.to_thread(
        subprocess.run, [*map(str, arguments)], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    service = await moved(source, postgresql_url, resume=True, reject_to=rejects)
    assert isinstance(service.error, Rejected), service.error
    await assert_set_aside(postgresql_url, rejects)


async def test_a_run_goes_on_with_its_own_file_and_no_other(
    source: Path, postgresql_url: str, rejects: Path, tmp_path: Path, fresh_database: Callable[[str], str]
) -> None:
    await stopped_at("people", 1, source, postgresql_url, rejects)
    without = await moved(source, postgresql_url, resume=True)
    assert isinstance(without.error, Refused)
    assert "begun with --reject-to" in without.error.sentence()
    missing = await moved(source, postgresql_url, resume=True, reject_to=tmp_path / "none.jsonl")
    assert isinstance(missing.error, RejectsUnusable)
    other = tmp_path / "other.jsonl"
    await moved(source, fresh_database("postgresql"), reject_to=other)
    wrong = await moved(source, postgresql_url, resume=True, reject_to=other)
    assert isinstance(wrong.error, RejectsUnusable)
    await taken_back(source, postgresql_url)


async def test_a_run_begun_without_a_file_goes_on_without_one(
    postgresql_url: str, rejects: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 1, 1)
    source = made(
        tmp_path / "good.db", "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2);"
    )
    await stopped_at("t", 1, source, postgresql_url, None)
    service = await moved(source, postgresql_url, resume=True, reject_to=rejects)
    assert isinstance(service.error, Refused)
    assert "begun without --reject-to" in service.error.sentence()
    assert not rejects.exists()


async def test_a_file_that_is_there_is_refused_before_anything_is_touched(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    rejects.write_text("mine")
    service = await moved(source, postgresql_url, reject_to=rejects)
    assert isinstance(service.error, RejectsUnusable)
    assert service.error.exit_code == 3
    assert rejects.read_text() == "mine"
    assert await oracle.rows(postgresql_url, "SELECT relname FROM pg_class WHERE relname = 'notes'") == []


# --- bringing them in -------------------------------------------------------------------------------


async def test_what_was_mended_goes_in_and_goes_in_once(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    change(rejects, mend)
    first = await loaded(rejects, postgresql_url)
    assert (first.loaded_count, first.already_count, first.misfit_count) == (COUNT, 0, 0)
    assert await ids(postgresql_url, "people") == [1, 2, 3, 4, 5]
    assert await ids(postgresql_url, "notes") == [1, 2, 3, 4]
    found = await oracle.rows(postgresql_url, "SELECT word, count(*) FROM loose GROUP BY word ORDER BY word")
    assert sorted(found) == [("f?", 1), ("w", 1), ("w!", 2)]
    second = await loaded(rejects, postgresql_url)
    assert (second.loaded_count, second.already_count, second.misfit_count) == (0, COUNT, 0)
    assert len(await oracle.rows(postgresql_url, "SELECT * FROM loose")) == 4


async def test_what_still_does_not_fit_is_named_and_keeps_nothing_else_out(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    await oracle.run(postgresql_url, "INSERT INTO people VALUES (4, 'somebody else', 1)")
    await oracle.run(postgresql_url, "ALTER TABLE notes ADD CHECK (body <> '!')")

    def edit(found: list[Any]) -> None:
        mend(found)
        found.append({"table": "loose", "row": {"word": "\0", "number": 1.0}})

    change(rejects, edit)
    loading = await loaded(rejects, postgresql_url)
    misfits = {(misfit.table, misfit.key): misfit.reason for misfit in loading.misfits}
    assert misfits["people", "id=4"] == "another row has this key"
    assert misfits["loose", r"word='\x00', number=1.0"] == "nul-in-text in word"
    assert "violates check constraint" in misfits["notes", "id=3"]
    assert (loading.loaded, loading.misfit_count) == ({"loose": 3, "people": 2, "notes": 1}, 3)
    assert await ids(postgresql_url, "notes") == [1, 2, 4]


async def test_nothing_goes_in_that_would_refer_to_nothing(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    loading = await loaded(rejects, postgresql_url)
    assert loading.loaded == {"loose": 0, "people": 0, "notes": 0}
    reasons = {(misfit.table, misfit.key): misfit.reason for misfit in loading.misfits}
    assert (
        reasons["people", "id=3"] == reasons["notes", "id=2"] == "refers to a row that is not there of people"
    )
    assert await ids(postgresql_url, "people") == [1, 5]


async def test_a_target_that_has_no_such_table_or_column_is_refused(
    source: Path, postgresql_url: str, rejects: Path, fresh_database: Callable[[str], str]
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    with pytest.raises(Refused, match="has no table loose"):
        await loaded(rejects, fresh_database("postgresql"))
    await oracle.run(postgresql_url, "ALTER TABLE loose RENAME COLUMN word TO other")
    with pytest.raises(Refused, match=r"has no column loose\.word"):
        await loaded(rejects, postgresql_url)


async def test_rows_are_not_loaded_into_a_migration_that_is_under_way(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    await stopped_at("people", 1, source, postgresql_url, rejects)
    with pytest.raises(Refused, match="interrupted migration"):
        await loaded(rejects, postgresql_url)


async def test_canary_a_row_that_is_changed_on_its_way_in_is_seen(
    source: Path, postgresql_url: str, rejects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moved(source, postgresql_url, reject_to=rejects)
    change(rejects, mend)
    carried = load_rejects_module._Table._carried

    def spoilt(self: Any, batch: Any) -> Any:
        rows = carried(self, batch)
        if self._plan.target.name != "loose":
            return rows
        words = pa.array(["spoilt"] * rows.num_rows)
        return pa.RecordBatch.from_arrays([words, *rows.columns[1:]], names=rows.schema.names)

    monkeypatch.setattr(load_rejects_module._Table, "_carried", spoilt)
    with pytest.raises(Differs, match="not what was read back"):
        await loaded(rejects, postgresql_url)


# --- the command ------------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


def test_the_command_says_how_many_were_set_aside_and_what_to_do(
    source: Path, postgresql_url: str, rejects: Path
) -> None:
    dry = run("migrate", source, postgresql_url, "--reject-to", rejects, "--dry-run")
    assert (dry.exit_code, "set aside" in dry.stdout, rejects.exists()) == (0, True, False)
    result = run("migrate", source, postgresql_url, "--reject-to", rejects, "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["verdict"], data["report"]["rejected_count"]) == (
        1,
        f"rejected {COUNT}",
        COUNT,
    )
    assert not data["report"]["validation_passed"]
    assert "migration load-rejects" in result.stderr
    shown = run("verify", source, postgresql_url, "--rejects", rejects)
    assert (shown.exit_code, f"rejected {COUNT}" in shown.stdout) == (1, True)
    again = run("load-rejects", rejects, postgresql_url)
    assert (again.exit_code, "still cannot go" in again.stderr) == (1, True)
    change(rejects, mend)
    last = run("load-rejects", rejects, postgresql_url, "--json")
    assert (last.exit_code, json.loads(last.stdout)["loaded_count"]) == (0, COUNT)
    assert (
        run("load-rejects", rejects, postgresql_url).stdout
        == f"loaded 0, there already {COUNT}, still not fitting 0\n"
    )


def test_a_file_that_is_none_is_refused(tmp_path: Path, rejects: Path) -> None:
    rejects.write_text("{}\n")
    result = run("load-rejects", rejects, tmp_path / "target.db")
    assert (result.exit_code, "this is no file of rejected rows" in result.stderr) == (3, True)


def test_the_original_is_not_touched(source: Path, postgresql_url: str, rejects: Path) -> None:
    before = source.read_bytes()
    run("migrate", source, postgresql_url, "--reject-to", rejects)
    assert source.read_bytes() == before
    with closing(sqlite3.connect(source)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
