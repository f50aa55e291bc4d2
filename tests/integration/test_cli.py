"""The command, as a person or a script meets it: what it prints where, how it ends, and what it never tells.

Most of it runs in a process of its own; what only needs the words runs in this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from migration import backup, cli
from migration.audit import Audit
from migration.backends import BATCH_ROWS
from migration.clock import now
from tests import oracle
from tests.faults import SHOP
from tests.moving import made

ROOT = Path(__file__).parents[2]
# No command takes nearly as long; a test that meets this limit has found something that hangs.
SECONDS_MAX = 60
ESCAPE = "\x1b"
PASSWORD = "p@ss:w/o%rd-1"
# What of it must not be seen anywhere: as it is, as it is typed, and the pieces a parser makes of it.
SPELLINGS = (PASSWORD, "p%40ss%3Aw%2Fo%25rd-1", "ss:w", "w/o%", "w%2Fo")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "source.db", SHOP)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit logs are written where the command is run."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


def child_of(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "migration", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip


def run(*arguments: object, exit_code: int = 0) -> tuple[str, str]:
    """Run the command in a process of its own and return what it printed on stdout and stderr."""
    child = child_of(*arguments)
    out, err = child.communicate(timeout=SECONDS_MAX)
    assert child.returncode == exit_code, f"exit {child.returncode}\n{out}\n{err}"
    assert ESCAPE not in out + err
    return out, err


def here(*arguments: object, exit_code: int = 0) -> Result:
    """Run the command in this process."""
    result = CliRunner().invoke(cli.app, [*map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == exit_code, result.output
    assert ESCAPE not in result.output
    return result


def sentence_of(result: Result) -> str:
    """Return the one line that says how it ended."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("migration: ")]
    assert line.endswith(".")
    return line


def dump(url: str) -> str:
    return asyncio.run(oracle.dump(url))


def sql(url: str, script: str) -> None:
    asyncio.run(oracle.run(url, script))


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    return asyncio.run(oracle.rows(url, statement))


# --- each command, in a process of its own ------------------------------------------------------------------


def test_migrate_verify_diff_and_log_tell_one_story(source: Path, postgresql_url: str) -> None:
    out, err = run("migrate", source, postgresql_url)
    assert "proved: 300 rows in 3 tables" in out
    assert err == ""
    assert query(postgresql_url, "SELECT count(*) FROM orders") == [(200,)]
    out, _ = run("verify", source, postgresql_url)
    assert "proved" in out
    assert len([line for line in out.splitlines() if "equal" in line and "│" in line]) == 3
    out, err = run("diff", source, postgresql_url, exit_code=1)
    assert "customers.joined" in out
    assert "The schemas differ in" in err
    out, _ = run("log", "migration-audit.jsonl")
    assert "The chain of hashes is whole." in out
    assert Path("migration-audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_migrate_prints_nothing_but_json_when_told_to(source: Path, tmp_path: Path) -> None:
    out, err = run("migrate", source, tmp_path / "target.db", "--json", "--backup", tmp_path / "backups")
    told = json.loads(out)
    assert err == ""
    assert told["verdict"] == "proved"
    assert told["error"] is None
    assert told["report"]["validation_passed"] is True
    assert told["report"]["error_count"] == 0
    assert {table["table"] for table in told["report"]["tables"]} == {"customers", "orders", "notes"}
    assert told["audit"] == "migration-audit.jsonl"
    files = [path for path in (tmp_path / "backups").rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_rehearse_moves_into_a_server_that_is_thrown_away(source: Path, postgresql_url: str) -> None:
    sql(f"sqlite:///{source}", "CREATE VIEW odd AS SELECT * FROM notes WHERE body GLOB 'n*'")
    before = source.read_bytes()
    told = json.loads(run("rehearse", source, "--json")[0])
    assert told["verdict"] == "proved"
    assert told["to_accept"] == ["view-not-carried"]
    assert told["server"].startswith("postgresql ")
    assert source.read_bytes() == before
    assert not list(Path().iterdir())


def test_selftest_passes_and_says_what_it_saw() -> None:
    out, err = run("selftest")
    assert "intact copy: proved" in out
    assert "damaged copy: differs: changed value in transfers.note [id=1234]" in out
    assert "passed: the damage was seen, and nothing else" in out
    assert err == ""


def test_a_command_that_nobody_knows_is_a_usage_error() -> None:
    assert "No such command" in run("teleport", exit_code=2)[1]
    assert "argument" in run("migrate", exit_code=2)[1].lower()


# --- what it prints -----------------------------------------------------------------------------------------


def test_version() -> None:
    assert here("--version").stdout.startswith("migration-bench ")


def test_every_command_has_help_and_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    group = typer.main.get_command(cli.app)
    names = set(group.commands)  # type: ignore[attr-defined]
    moving, keeping = {"rehearse", "migrate", "verify", "diff", "load-rejects"}, {"backup", "restore"}
    assert names == moving | keeping | {"rollback", "log", "selftest"}
    for name in names:
        assert group.commands[name].help, name  # type: ignore[attr-defined]
        assert re.search(rf"migration {name}\b", readme), f"README.md does not tell of {name}"


def test_the_self_test_can_be_read_by_machines() -> None:
    told = json.loads(here("selftest", "--json").stdout)
    assert (told["intact"], told["damaged"], told["difference"]["column"]) == ("proved", "differs", "note")


def test_a_dry_run_prints_the_plan_and_touches_nothing(source: Path, postgresql_url: str) -> None:
    sql(postgresql_url, "CREATE TABLE notes (body text); INSERT INTO notes VALUES ('mine')")
    before = dump(postgresql_url)
    refused = here("migrate", source, postgresql_url, "--dry-run", exit_code=3)
    assert "column-left-behind" in refused.stdout
    assert "--accept column-left-behind --accept target-rows:notes=target" in sentence_of(refused)
    told = json.loads(here("migrate", source, postgresql_url, "--dry-run", "--json", exit_code=3).stdout)
    assert told["to_accept"] == ["column-left-behind", "target-rows:notes=target"]
    assert {table["target"] for table in told["tables"]} == {"customers", "orders", "notes"}
    accepted = here("migrate", source, postgresql_url, "--dry-run", "--accept", "column-left-behind",
                    "--accept", "target-rows:notes=source")  # fmt: skip
    assert "accepted" in accepted.stdout
    assert dump(postgresql_url) == before


def test_a_rehearsal_says_what_a_migration_would_ask_for(source: Path, postgresql_url: str) -> None:
    sql(f"sqlite:///{source}", "CREATE VIEW odd AS SELECT * FROM notes WHERE body GLOB 'n*'")
    out = here("rehearse", source).stdout
    assert "A migration would ask for: --accept view-not-carried" in out
    assert "Rehearsed on postgresql" in out
    assert "side by side: python -m bench compare SOURCE TARGET" in out


def test_verify_names_what_differs_and_counts_it(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    here("migrate", source, target)
    sql(f"sqlite:///{target}", "UPDATE orders SET amount = 1 WHERE id = 7")
    differs = here("verify", source, target, exit_code=1)
    assert "1 difference was found" in sentence_of(differs)
    assert "changed value" in differs.stdout
    assert "differs: 1 difference" in differs.stdout
    sql(f"sqlite:///{target}", "DELETE FROM orders WHERE id = 8")
    told = json.loads(here("verify", source, target, "--json", exit_code=1).stdout)
    assert told["verdict"] == "differs"
    assert told["error"]["exit_code"] == 1
    # The changed value, the missing row, and the number of rows.
    assert told["report"]["error_count"] == 3


def test_two_sides_swapped_are_seen_to_be_equal_and_two_sources_to_differ(
    source: Path, tmp_path: Path
) -> None:
    target, other = tmp_path / "target.db", made(tmp_path / "other.db", SHOP)
    here("migrate", source, target)
    here("verify", target, source)
    # Photos are random in each shop.
    assert "200 differences were found" in sentence_of(here("verify", source, other, exit_code=1))


def test_verify_that_could_not_look_does_not_say_that_it_differs(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    here("migrate", source, target)
    with target.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(target.stat().st_size - 4096))
    result = here("verify", source, target, exit_code=1)
    assert "Not everything could be read" in sentence_of(result)
    assert "Could not look" in result.stdout
    assert "differs" not in result.stdout


def test_equal_schemas_say_the_same(source: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.db"
    shutil.copyfile(source, same)
    assert here("diff", source, same).stdout == "The schemas say the same.\n"
    assert json.loads(here("diff", source, same, "--json").stdout) == []
    sql(f"sqlite:///{same}", "DROP INDEX orders_by_customer")
    told = json.loads(here("diff", source, same, "--json", exit_code=1).stdout)
    assert [found["what"] for found in told] == ["missing index"]
    assert "The schemas differ in 1 place." in sentence_of(here("diff", source, same, exit_code=1))


def test_a_log_that_was_changed_is_told(source: Path, tmp_path: Path) -> None:
    here("migrate", source, tmp_path / "target.db")
    audit = Path("migration-audit.jsonl")
    told = json.loads(here("log", audit, "--json").stdout)
    assert told["whole"] is True
    assert told["events"][-1]["name"] == "proved"
    lines = audit.read_text().splitlines(keepends=True)
    audit.write_text("".join([lines[0], lines[1].replace("orders", "others"), *lines[2:]]))
    changed = here("log", audit, exit_code=1)
    assert "The audit log is not what was written" in sentence_of(changed)
    assert "Line 2" in changed.stdout
    assert json.loads(here("log", audit, "--json", exit_code=1).stdout)["whole"] is False
    # A log that is broken is not gone on with.
    assert "audit log" in sentence_of(here("migrate", source, tmp_path / "new.db", exit_code=3))


def test_a_backup_and_what_is_restored_from_it_say_what_they_hold(source: Path, tmp_path: Path) -> None:
    told = here("backup", source, tmp_path / "backups").stdout
    assert "300 rows in 3 tables: backed up, and read to the end" in told
    *_, path, digest = told.splitlines()
    assert digest.startswith("sha256 ")
    data = json.loads(here("restore", path, tmp_path / "new.db", "--json").stdout)
    assert (data["restored"], data["rows"], f"sha256 {data['sha256']}") == (True, 300, digest)
    assert dump(f"sqlite:///{tmp_path / 'new.db'}") == dump(f"sqlite:///{source}")


def test_a_backup_of_another_form_or_of_more_than_one_moment_is_told_aside(
    mariadb_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql(mariadb_url, "CREATE TABLE t (f float, v int); INSERT INTO t VALUES (16777216, 1)")
    reason = "A dump would round f, of type float, to six digits"
    result = here("backup", mariadb_url, tmp_path / "backups")
    assert f"The backup is of this program's own form: {reason}" in result.stderr
    assert reason not in result.stdout
    result = here("migrate", mariadb_url, tmp_path / "one.db", "--backup", tmp_path / "backups")
    assert f"was backed up in this program's own form: {reason}" in result.stderr
    sql(mariadb_url, "ALTER TABLE t DROP COLUMN f")
    read = backup._read_anew

    async def write_meanwhile(making: Any) -> Any:
        await oracle.run(mariadb_url, "INSERT INTO t VALUES (2)")
        return await read(making)

    monkeypatch.setattr(backup, "_read_anew", write_meanwhile)
    result = here("migrate", mariadb_url, tmp_path / "two.db", "--backup", tmp_path / "backups")
    assert "was written to while it was backed up: t" in result.stderr
    # The moment that goes was taken before.
    assert "The source was written to while it was copied" in result.stdout
    assert query(f"sqlite:///{tmp_path / 'two.db'}", "SELECT v FROM t") == [(1,)]


# --- what it refuses ----------------------------------------------------------------------------------------


def test_what_is_no_database_is_refused(source: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("This is no database. " * 100)
    assert "not a SQLite database" in sentence_of(here("migrate", text, tmp_path / "new.db", exit_code=3))
    assert "not a SQLite database" in sentence_of(here("migrate", source, text, exit_code=3))
    assert text.read_text().startswith("This is no database.")
    assert not list(tmp_path.glob("new.db*"))


def test_a_file_that_is_missing_is_refused(source: Path, tmp_path: Path) -> None:
    for command in ("migrate", "verify", "diff"):
        missing = here(command, tmp_path / "missing.db", tmp_path / "new.db", exit_code=3)
        assert "There is no such file" in sentence_of(missing)
    assert "There is no such file" in sentence_of(here("rehearse", tmp_path / "missing.db", exit_code=3))
    assert "There is no such file" in sentence_of(here("diff", source, tmp_path / "missing.db", exit_code=3))
    nowhere = here("migrate", source, tmp_path / "no" / "folder.db", exit_code=3)
    assert "no" in sentence_of(nowhere)
    assert "audit" in sentence_of(here("log", tmp_path / "missing.jsonl", exit_code=3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "source.db"]


@pytest.mark.parametrize("word", ["", "oracle://here/there", "postgresql://u@h:port/d"])
def test_what_is_no_url_is_a_usage_error(word: str, source: Path) -> None:
    for sides in ((word, source), (source, word)):
        result = here("verify", *sides, exit_code=2)
        assert "Nothing was touched" in sentence_of(result)
    told = json.loads(here("migrate", source, word, "--json", exit_code=2).stdout)
    assert told["error"]["exit_code"] == 2


@pytest.mark.parametrize("word", ["nonsense", "=", "a=", "=b", "missing=other", "notes.missing=notes.other"])
def test_a_mapping_that_means_nothing_is_a_usage_error(word: str, source: Path, tmp_path: Path) -> None:
    for command in (("migrate",), ("migrate", "--dry-run"), ("verify",)):
        result = here(*command, source, tmp_path / "new.db", "--map", word, exit_code=2)
        assert word.partition("=")[0] in sentence_of(result)
    assert not list(tmp_path.glob("new.db*"))


def test_a_target_that_is_not_empty_is_refused_until_somebody_says_who_wins(
    source: Path, postgresql_url: str
) -> None:
    sql(postgresql_url, "CREATE TABLE notes (body text, weight float8); INSERT INTO notes VALUES ('mine', 1)")
    before = dump(postgresql_url)
    refused = here("migrate", source, postgresql_url, exit_code=3)
    assert "--accept target-rows:notes=target" in sentence_of(refused)
    assert dump(postgresql_url) == before
    here("migrate", source, postgresql_url, "--accept", "target-rows:notes=target")
    assert query(postgresql_url, "SELECT * FROM notes") == [("mine", 1.0)]


def test_two_migrations_into_one_file_are_refused_the_second_time(source: Path, tmp_path: Path) -> None:
    here("migrate", source, tmp_path / "target.db")
    again = here("migrate", source, tmp_path / "target.db", exit_code=3)
    assert "target-rows" in sentence_of(again)


def test_a_server_that_nobody_runs_is_unreachable(source: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    result = here("migrate", source, f"postgresql://user:{'secret-word'}@127.0.0.1:{port}/db", exit_code=3)
    assert "No server can be reached" in sentence_of(result)
    assert "secret-word" not in result.output


@contextmanager
def black_hole() -> Iterator[int]:
    """Listen, accept, and never say a word."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    accepted.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    for one in accepted:
        one.close()


def test_a_server_that_never_answers_does_not_keep_anybody_waiting_for_ever(source: Path) -> None:
    with black_hole() as port:
        _, err = run("migrate", source, f"postgresql://user:word@127.0.0.1:{port}/db", exit_code=3)
    assert "no answer within 10 seconds" in err


def test_a_wrong_password_is_refused(source: Path, postgresql_url: str) -> None:
    wrong = make_url(postgresql_url).set(password="not-the-password").render_as_string(hide_password=False)
    before = dump(postgresql_url)
    result = here("migrate", source, wrong, exit_code=3)
    assert "Wrong password" in sentence_of(result)
    assert "not-the-password" not in result.output
    assert dump(postgresql_url) == before


def test_a_target_without_permission_is_refused(source: Path, postgresql_url: str) -> None:
    with role(postgresql_url, "word") as narrow:
        sql(postgresql_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        before = dump(postgresql_url)
        assert "permission" in sentence_of(here("migrate", source, narrow, exit_code=3))
        assert dump(postgresql_url) == before


@contextmanager
def role(url: str, password: str, rights: str = "") -> Iterator[str]:
    name = f"cli_{make_url(url).database}"
    sql(url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {rights}")
    try:
        yield make_url(url).set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        sql(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_source_that_a_writer_has_locked_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from migration.backends import sqlite_rows

    for module in [
        module for name, module in sys.modules.items() if name.startswith(sqlite_rows.__package__ or "")
    ]:
        if hasattr(module, "BUSY_MS"):
            monkeypatch.setattr(module, "BUSY_MS", 200)
    with closing(sqlite3.connect(source, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        result = here("migrate", source, tmp_path / "new.db", exit_code=3)
    assert "holds a lock" in sentence_of(result)
    assert not list(tmp_path.glob("new.db*"))


# --- how it is stopped --------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A source of some batches, so that there is a middle to be stopped in."""
    return made(tmp_path / "large.db", f"""
        CREATE TABLE rows (id INTEGER PRIMARY KEY, v TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {4 * BATCH_ROWS})
        INSERT INTO rows SELECT i, 'value ' || i FROM n;
    """)  # fmt: skip


def wait_for_event(name: str, child: subprocess.Popen[str]) -> None:
    """Wait until the audit log tells of an event."""
    audit = Path("migration-audit.jsonl")
    while child.poll() is None:
        if audit.exists() and f'"name":"{name}"' in audit.read_text():
            return
    out, err = child.communicate()
    raise AssertionError(f"ended before {name}: {out}{err}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_it_with_its_state_kept_and_resume_goes_on(
    number: signal.Signals, large: Path, postgresql_url: str
) -> None:
    child = child_of("migrate", large, postgresql_url)
    wait_for_event("prepared", child)
    child.send_signal(number)
    out, err = child.communicate(timeout=SECONDS_MAX)
    assert child.returncode == 4, out + err
    assert "Stopped on request" in err
    assert "--resume" in err
    assert "migration rollback" in err
    assert "Traceback" not in err
    if number is signal.SIGINT:
        assert "proved" in here("migrate", large, postgresql_url, "--resume").stdout
    else:
        before = here("rollback", postgresql_url)
        assert "undone: the target is what it was before, which was verified" in before.stdout
        assert query(postgresql_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_a_signal_before_anything_was_written_says_that_nothing_was(large: Path, tmp_path: Path) -> None:
    child = child_of("verify", large, large)
    # It is reading by the time it has the file open.
    while not any(str(large) == file.path for file in psutil.Process(child.pid).open_files()):
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=SECONDS_MAX)
    assert child.returncode == 4, out + err
    assert "Nothing was changed" in err


def test_there_is_nothing_to_roll_back_in_a_target_that_nobody_began(
    source: Path, postgresql_url: str
) -> None:
    assert "nothing to undo" in sentence_of(here("rollback", postgresql_url, exit_code=3))
    assert "nothing to resume" in sentence_of(
        here("migrate", source, postgresql_url, "--resume", exit_code=3)
    )


def test_a_migration_that_fails_after_writing_ends_with_5_and_the_target_as_it_was(
    tmp_path: Path, postgresql_url: str
) -> None:
    source = made(tmp_path / "refused.db", "CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('a'), ('b')")
    sql(postgresql_url, "CREATE TABLE t (v text CHECK (v <> 'b'))")
    before = dump(postgresql_url)
    result = here("migrate", source, postgresql_url, "--json", exit_code=5)
    assert "put back as it was, which was verified" in sentence_of(result)
    assert json.loads(result.stdout)["error"]["name"] == "RolledBack"
    assert dump(postgresql_url) == before


def test_a_rehearsal_that_is_stopped_keeps_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch, postgresql_url: str
) -> None:
    from migration import DataMigrationService
    from migration.errors import Stopped

    async def stop(self: DataMigrationService) -> None:
        raise Stopped("Stopped on request", next_step="Go on with --resume")

    monkeypatch.setattr(DataMigrationService, "migrate", stop)
    result = here("rehearse", source, exit_code=4)
    assert "Nothing is kept of a rehearsal" in sentence_of(result)
    assert "--resume" not in sentence_of(result)


# --- what it never tells ------------------------------------------------------------------------------------


def test_no_secret_is_told_anywhere(source: Path, postgresql_url: str, tmp_path: Path) -> None:
    seen: list[str] = []
    with role(postgresql_url, PASSWORD, "SUPERUSER") as target:
        before = set(psutil.pids())
        child = child_of("migrate", source, target, "--backup", tmp_path / "backups", "--accept", "nothing")
        while child.poll() is None:
            seen += [" ".join(_arguments(pid)) for pid in set(psutil.pids()) - before - {child.pid}]
        seen += child.communicate(timeout=SECONDS_MAX)
        sql(target, "UPDATE orders SET amount = 1 WHERE id = 7")
        for command in ("verify", "diff", "migrate"):
            result = here(command, source, target, exit_code=3 if command == "migrate" else 1)
            seen += [result.stdout, result.stderr]
        wrong = target.replace("postgresql://", "postgresql://wrong_")
        seen.append(here("migrate", source, wrong, exit_code=3).output)
    seen.append(Path("migration-audit.jsonl").read_text())
    seen += [path.read_text(errors="replace") for path in (tmp_path / "backups").rglob("*.json")]
    assert any("***" in text for text in seen)
    for spelling in SPELLINGS:
        assert not [text for text in seen if spelling in text], spelling


def _arguments(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_a_password_that_was_not_escaped_is_not_told_either(source: Path) -> None:
    typed = f"postgresql://user:{PASSWORD}@127.0.0.1:1/db"
    for command in ("migrate", "verify"):
        result = here(command, source, typed, exit_code=2)
        for spelling in SPELLINGS:
            assert spelling not in result.output, spelling
        assert "rd-1" not in result.output


def test_a_mistake_of_the_program_itself_ends_with_70_and_tells_no_secret(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stumble(*_: object) -> None:
        raise ZeroDivisionError(f"in the middle of postgresql://user:{PASSWORD}@host/db")

    monkeypatch.setattr(cli, "verified", stumble)
    monkeypatch.setattr(
        sys, "argv", ["migration", "verify", str(source), f"postgresql://user:{PASSWORD}@host/db"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "This is a mistake in migration-bench itself, ZeroDivisionError. Please report it." in err
    assert "stumble" in err
    for spelling in SPELLINGS:
        assert spelling not in err


def test_a_log_that_somebody_else_writes_to_is_refused(source: Path, tmp_path: Path) -> None:
    async def held() -> tuple[str, str]:
        async with await Audit.open(Path("migration-audit.jsonl"), clock=now, run="other"):
            return await asyncio.to_thread(run, "migrate", source, tmp_path / "new.db", exit_code=3)

    _, err = asyncio.run(held())
    assert "audit log" in err
    assert not (tmp_path / "new.db").exists()


def test_progress_is_drawn_for_who_watches_and_only_there(source: Path, tmp_path: Path) -> None:
    """In a terminal of its own: bars on it, results too, in colours."""
    import pty

    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "migration", "migrate", str(source), str(tmp_path / "target.db")],
        stdout=follower, stderr=follower, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    try:
        while data := os.read(leader, 65_536):
            seen += data
    except OSError:
        pass  # The terminal is gone with the child.
    finally:
        os.close(leader)
    assert child.wait(SECONDS_MAX) == 0
    text = seen.decode()
    assert ESCAPE in text
    assert "copy: all" in text
    assert "proved: 300 rows" in text
