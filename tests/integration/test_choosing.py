"""Moving some tables, under other names and as other types; and the plan file that keeps such a choice."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from migration import MigrationValidator, Stopped, UsageError, cli, open_database
from migration.audit import read_audit
from migration.choice import Choice
from migration.errors import PlanChanged
from migration.progress import Step
from tests import oracle
from tests.moving import made, moved, small_chunks

SCRIPT = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE notes (id INTEGER PRIMARY KEY, person INTEGER REFERENCES people (id), body TEXT, amount REAL);
CREATE TABLE audit_log (id INTEGER PRIMARY KEY, what TEXT);
CREATE VIEW named AS SELECT body, name FROM notes JOIN people ON people.id = person;
INSERT INTO people VALUES (1, 'a'), (2, 'b');
INSERT INTO notes VALUES (1, 1, 'x', 1.5), (2, 2, 'longer', 2.0), (3, 1, NULL, NULL);
INSERT INTO audit_log VALUES (1, 'x\u00e9');
"""


@pytest.fixture
def source(sqlite_path: Path) -> Path:
    return made(sqlite_path, SCRIPT)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit logs are written where the command is run."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


async def names(url: str) -> list[str]:
    found = await oracle.rows(
        url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    )
    return sorted(str(name) for (name,) in found)


async def test_what_is_left_out_stays_and_is_named_wherever_somebody_looks(
    source: Path, postgresql_url: str, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    service = await moved(source, postgresql_url, excluded=("audit_*",), audit_path=log)
    assert service.error is None
    assert await names(postgresql_url) == ["named", "notes", "people"]
    assert service.plan is not None
    assert service.report is not None
    left_out = {"audit_log": "left out on request"}
    assert service.plan.left_out == service.report.left_out == left_out
    events = {event.name: event.details for event in (await read_audit(log)).events}
    assert events["plan"]["left_out"] == left_out


async def test_a_foreign_key_to_a_table_that_stays_is_a_hazard_and_so_is_a_view_on_it(
    source: Path, postgresql_url: str
) -> None:
    service = await moved(source, postgresql_url, tables=("notes",))
    assert service.plan is not None
    hazards = {hazard.name: hazard.sentence for hazard in service.plan.hazards}
    assert "people is left out on request" in hazards["foreign-key-not-carried"]
    assert "view-not-carried" in hazards
    assert await names(postgresql_url) == []
    accept = ("foreign-key-not-carried", "view-not-carried")
    service = await moved(source, postgresql_url, tables=("notes",), accept=accept)
    assert service.error is None
    assert await names(postgresql_url) == ["notes"]
    assert sorted(service.report.left_out) == ["audit_log", "people"]  # type: ignore[union-attr]


async def test_a_foreign_key_is_kept_where_the_target_has_the_table(
    source: Path, postgresql_url: str
) -> None:
    assert (
        await moved(source, postgresql_url, tables=("people",), accept=("view-not-carried",))
    ).error is None
    again = await moved(source, postgresql_url, excluded=("people", "audit_log"))
    assert again.error is None
    keys = await oracle.rows(
        postgresql_url, "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
    )
    assert keys == [("people",)]
    assert again.report is not None
    assert again.report.left_out == dict.fromkeys(("audit_log", "people"), "left out on request")


REMARKS = {"notes": "remarks"}
CHOSEN: dict[str, Any] = {"excluded": ("audit_log",), "mapping": REMARKS}


async def test_a_validator_looks_at_what_was_chosen(source: Path, postgresql_url: str) -> None:
    await moved(source, postgresql_url, accept=("view-not-carried",), **CHOSEN)
    async with open_database(source, is_source=True) as ours, open_database(postgresql_url) as theirs:
        assert await MigrationValidator(ours, theirs, choice=Choice(**CHOSEN)).validate_data_integrity()
        assert not await MigrationValidator(ours, theirs, mapping=REMARKS).validate_data_integrity()


def test_verify_and_diff_look_at_what_was_chosen(source: Path, postgresql_url: str) -> None:
    asyncio.run(moved(source, postgresql_url, accept=("view-not-carried",), **CHOSEN))
    same = ("--map", "notes=remarks", "--table", "people", "--table", "notes")
    result = run("verify", source, postgresql_url, *same)
    # The view could not be carried beside a mapping.
    assert "Left out: audit_log" in result.stdout
    assert "audit_log" not in run("diff", source, postgresql_url, *same, "--json").stdout
    same += ("--exclude-table", "named")
    assert run("verify", source, postgresql_url, *same).exit_code == 0
    asyncio.run(oracle.run(postgresql_url, "UPDATE remarks SET body = 'y' WHERE id = 1"))
    assert run("verify", source, postgresql_url, *same).exit_code == 1


@pytest.mark.parametrize(
    ("chosen", "declared"),
    [
        ("varchar(6)", "character varying(6)"),
        ("text", "text"),
        ("json", "jsonb"),
    ],
)
async def test_a_column_of_a_new_table_gets_the_type_that_was_chosen(
    chosen: str, declared: str, source: Path, postgresql_url: str
) -> None:
    if chosen == "json":
        with closing(sqlite3.connect(source)) as file:
            file.execute("UPDATE notes SET body = json_quote(body)")
            file.commit()
    service = await moved(source, postgresql_url, types={"notes.body": chosen})
    assert service.error is None
    (found,) = await oracle.rows(
        postgresql_url,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'notes'::regclass AND attname = 'body'",
    )
    assert found == (declared,)


@pytest.mark.parametrize(
    ("types", "hazard", "count"),
    [
        ({"notes.body": "varchar(5)"}, "value-too-large", 1),
        ({"notes.body": "bigint"}, "value-not-convertible", 2),
        ({"notes.amount": "bigint"}, "value-not-convertible", 1),
        ({"notes.amount": "decimal(3,0)"}, "value-too-large", 1),
        ({"notes.amount": "text"}, "value-changed", 2),
    ],
)
async def test_values_that_cannot_become_the_chosen_type_are_known_before(
    types: dict[str, str], hazard: str, count: int, source: Path, postgresql_url: str
) -> None:
    service = await moved(source, postgresql_url, types=types)
    assert service.plan is not None
    assert [(found.name, found.count) for found in service.plan.refused(())] == [(hazard, count)]
    assert await names(postgresql_url) == []


async def test_a_type_is_chosen_for_a_file_too(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    service = await moved(source, target, types={"notes.amount": "text"}, accept=("value-changed",))
    assert service.error is None
    found = await oracle.rows(f"sqlite:///{target}", "SELECT typeof(amount) FROM notes WHERE id = 1")
    assert found == [("text",)]


async def test_a_type_is_not_chosen_for_a_table_that_is_there(source: Path, postgresql_url: str) -> None:
    await oracle.run(postgresql_url, "CREATE TABLE notes (id bigint)")
    service = await moved(source, postgresql_url, types={"notes.body": "text"})
    assert isinstance(service.error, UsageError)


async def test_a_resumed_run_has_the_choices_it_was_begun_with(
    source: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 1, 1)
    choice: dict[str, Any] = {"excluded": ("audit_log",), "types": {"notes.body": "varchar(9)"}}

    def stop(step: Step) -> None:
        if (step.phase, step.table) == ("copy", "notes"):
            raise asyncio.CancelledError

    stopped = await moved(source, postgresql_url, progress=stop, **choice)
    assert isinstance(stopped.error, Stopped)
    for other in ({}, {"types": choice["types"]}, {"excluded": ("audit_log",)}):
        again = await moved(source, postgresql_url, resume=True, **other)
        assert isinstance(again.error, PlanChanged)
    assert (await moved(source, postgresql_url, resume=True, **choice)).error is None


def test_a_plan_is_saved_changed_by_hand_and_carried_out(
    source: Path, postgresql_url: str, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    chosen = ("--table", "notes", "--exclude-table", "named")
    result = run("migrate", source, postgresql_url, *chosen, "--dry-run", "--save-plan", plan)
    assert (result.exit_code, plan.stat().st_mode & 0o777) == (3, 0o600)
    assert asyncio.run(names(postgresql_url)) == []
    assert (run("migrate", source, postgresql_url, "--plan", plan)).exit_code == 3
    text = plan.read_text()
    assert '# "notes.body" = "text"' in text
    text = text.replace('# "notes.body" = "text"', '"notes.body" = "varchar(8)"')
    hazard = '"foreign-key-not-carried:notes",'
    assert f"# {hazard}" in text
    plan.write_text(text.replace(f"# {hazard}", hazard))
    result = run("migrate", source, postgresql_url, "--plan", plan)
    assert (result.exit_code, asyncio.run(names(postgresql_url))) == (0, ["notes"])
    assert (run("verify", source, postgresql_url, "--plan", plan)).exit_code == 0
    assert (run("diff", source, postgresql_url, "--plan", plan)).exit_code == 1
    with closing(sqlite3.connect(source)) as file:
        file.execute("ALTER TABLE notes ADD COLUMN more TEXT")
    result = run("verify", source, postgresql_url, "--plan", plan)
    assert (result.exit_code, "notes has changed" in result.stderr) == (3, True)


def test_no_secret_is_in_a_plan_file(source: Path, postgresql_url: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    assert (run("migrate", source, postgresql_url, "--dry-run", "--save-plan", plan)).exit_code == 0
    password = postgresql_url.partition("://")[2].partition("@")[0].partition(":")[2]
    if password:
        assert password not in plan.read_text()
    assert "postgresql://" in plan.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--type", "notes.body"), "--type does not understand 'notes.body'"),
        (("--type", "notes.body=string"), "varchar(CHARACTERS)"),
        (("--type", "notes.nothing=text"), "notes.body"),
        (("--table", "nothing"), "audit_log, notes, people"),
        (("--exclude-table", "nothing*"), "audit_log"),
        (("--plan", "nothing.toml"), "cannot be read"),
        (("--save-plan", "plan.toml"), "--dry-run"),
    ],
)
def test_a_choice_that_means_nothing_is_a_usage_error(
    arguments: tuple[str, str], words: str, source: Path, tmp_path: Path
) -> None:
    result = run("migrate", source, tmp_path / "target.db", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "target.db").exists() or not (tmp_path / "target.db").stat().st_size


def test_a_server_to_rehearse_on_that_is_none_is_refused_with_those_there_are(source: Path) -> None:
    result = run("rehearse", source, "--on", "nothing")
    assert result.exit_code == 2
    assert "Name one of: postgresql" in result.stderr


def test_a_rehearsal_takes_choices_too(source: Path, servers: Any) -> None:
    result = run("rehearse", source, "--on", "postgresql", "--exclude-table", "audit_log", "--json")
    assert result.exit_code == 0
    data = json.loads(result.stdout)
    assert data["plan"]["left_out"] == {"audit_log": "left out on request"}
    assert data["server"].startswith("postgresql")
