"""Killed between any two statements that make or drop something, a migration goes on or is taken back.

Where what makes tables takes part in transactions, that is the server's doing. Elsewhere every statement
leaves a state of its own, and each of those must be one that the next run knows.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from migration import DataMigrationService, Options, RolledBack, making, open_database
from migration import rollback as rollback_module
from migration import service as service_module
from migration.checkpoint import CHECKPOINTS, read_checkpoints
from migration.errors import Differs, PlanChanged, Refused, RollbackFailed
from migration.model import Schema
from tests import oracle
from tests.conftest import FreshDatabase
from tests.death import Death, Killed
from tests.moving import made, moved, taken_back

COMING = """
    CREATE TABLE parents (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE);
    CREATE TABLE children (
        id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES parents (id), size INTEGER);
    CREATE TABLE kept (id INTEGER PRIMARY KEY, v TEXT);
    CREATE INDEX by_size ON children (size DESC);
    CREATE VIEW families AS SELECT parents.id, size FROM parents JOIN children ON parent = parents.id;
    INSERT INTO parents VALUES (1, 'a'), (5, 'b');
    INSERT INTO children VALUES (1, 1, 10), (2, 5, 20);
    INSERT INTO kept VALUES (1, 'theirs');
"""
OWN = """
    CREATE TABLE kept (id bigint PRIMARY KEY, v text);
    INSERT INTO kept VALUES (1, 'ours'), (2, 'ours too');
    CREATE TABLE mine (id bigint PRIMARY KEY);
"""
ACCEPT = ("target-rows:kept=source",)
CLEARED = {
    "postgresql": "DROP SCHEMA public CASCADE; CREATE SCHEMA public;",
    "mariadb": 'DROP DATABASE "{name}"; CREATE DATABASE "{name}"; USE "{name}";',
}
"""What empties a database, where it is not a file."""


@pytest.fixture
def death(monkeypatch: pytest.MonkeyPatch) -> Death:
    return Death(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made(tmp_path / "source.db", COMING)


async def begin_anew(url: str) -> None:
    """Bring a target to what it is before every migration here."""
    if oracle.engine_of(url) == "sqlite":
        for path in oracle.path_of(url).parent.iterdir():
            path.unlink()
    script = CLEARED.get(oracle.engine_of(url), "").format(name=make_url(url).database)
    await oracle.run(url, script + OWN)


async def is_begun(url: str) -> bool:
    async with open_database(url) as database, database.control() as connection:
        return bool(await read_checkpoints(connection))


async def told(url: str) -> str:
    """Dump a database less an empty table of checkpoints, which says that nothing was begun."""
    if oracle.engine_of(url) != "mariadb" or CHECKPOINTS.name not in await oracle.tables(url):
        return await oracle.dump(url)
    await oracle.run(url, f"DROP TABLE {CHECKPOINTS.name}")
    return await oracle.dump(url)


async def assert_arrived(source: Path, url: str) -> None:
    for table in ("parents", "children", "kept", "families"):
        query = f"SELECT * FROM {table}"
        ours = await oracle.rows(f"sqlite:///{source}", query)
        assert Counter(ours) == Counter(await oracle.rows(url, query)), table
    assert not await is_begun(url)


async def differ(*_: object) -> None:
    raise Differs("It is said to differ")


async def died(source: Path, url: str, death: Death, where: str, at: int) -> bool:
    """Migrate until death comes; tell whether it came."""
    await begin_anew(url)
    module = rollback_module if where == "undo" else service_module
    with death.within(module, where, at=at):
        try:
            service = await moved(source, url, accept=ACCEPT)
        except Killed:
            return True
    assert service.error is None or where == "undo", service.error
    return False


async def statements_of(source: Path, url: str, death: Death, where: str) -> int:
    assert not await died(source, url, death, where, 0)
    assert death.count > 0, "the function has another name now"
    return death.count


def chosen(count: int, engine: str) -> list[int]:
    """All of them where each leaves a state of its own; else the first, the last, and one between."""
    return list(range(1, count + 1)) if engine == "mariadb" else sorted({1, count // 2 + 1, count})


@pytest.mark.parametrize("where", ["make_room", "make_rest"])
async def test_killed_while_it_makes_things_it_goes_on_or_is_taken_back(
    source: Path, fresh_database: FreshDatabase, engine: str, where: str, death: Death
) -> None:
    url = fresh_database(engine)
    await begin_anew(url)
    before = await oracle.dump(url)
    for number, at in enumerate(chosen(await statements_of(source, url, death, where), engine)):
        # Both where no transaction makes one state of several, and the one or the other elsewhere.
        ways = (False, True) if engine == "mariadb" and where == "make_room" else (bool(number % 2),)
        for goes_on in ways:
            assert await died(source, url, death, where, at)
            begun, about = await is_begun(url), f"at statement {at} of {where}, begun or not"
            if begun and not goes_on:
                await taken_back(source, url)
            elif begun or goes_on:
                service = await moved(source, url, accept=ACCEPT, resume=begun)
                assert service.error is None, (about, service.error)
                await assert_arrived(source, url)
                continue
            assert await told(url) == before, about


async def test_killed_while_it_is_undone_it_is_undone_again(
    source: Path,
    fresh_database: FreshDatabase,
    engine: str,
    death: Death,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = fresh_database(engine)
    await begin_anew(url)
    before = await oracle.dump(url)
    monkeypatch.setattr(DataMigrationService, "_prove", differ)
    for at in chosen(await statements_of(source, url, death, "undo"), engine):
        assert await died(source, url, death, "undo", at)
        if await is_begun(url):
            await taken_back(source, url)
        # Rows of which nothing is expected any more may be there for want of two drops in one.
        await oracle.run(url, "DROP TABLE IF EXISTS migration_bench_saved_0")
        assert await told(url) == before, f"at statement {at}"


async def test_killed_while_it_cleans_up_it_has_arrived(
    source: Path, fresh_database: FreshDatabase, engine: str, death: Death
) -> None:
    url = fresh_database(engine)
    for at in chosen(await statements_of(source, url, death, "drop_traces"), engine):
        assert await died(source, url, death, "drop_traces", at)
        if await is_begun(url):
            service = await moved(source, url, accept=ACCEPT, resume=True)
            assert service.error is None, service.error
        await assert_arrived(source, url)
        # What is left is in nobody's way.
        assert (await moved(source, url, accept_all=True, accept=all_from("source"))).error is None
        assert not [name for name in await oracle.tables(url) if name.startswith("migration_bench")]


def all_from(winner: str) -> tuple[str, ...]:
    return tuple(f"target-rows:{table}={winner}" for table in ("parents", "children", "kept"))


async def test_what_a_killed_run_had_not_begun_is_nobodys_to_undo(
    source: Path, fresh_database: FreshDatabase, engine: str, death: Death
) -> None:
    url = fresh_database(engine)
    await statements_of(source, url, death, "make_room")
    assert await died(source, url, death, "make_room", 1)
    assert not await is_begun(url)
    with pytest.raises(Refused, match="nothing to undo"):
        await taken_back(source, url)


async def test_a_table_that_somebody_has_filled_meanwhile_is_not_dropped_with_those_of_a_killed_run(
    source: Path, mariadb_url: str, death: Death
) -> None:
    """Until rooms are made nothing was copied, so rows in a table of that name are somebody's."""
    count = await statements_of(source, mariadb_url, death, "make_room")
    # The last one says that all is made.
    assert await died(source, mariadb_url, death, "make_room", count)
    await oracle.run(mariadb_url, "INSERT INTO parents VALUES (77, 'somebody')")
    async with open_database(source, is_source=True) as ours, open_database(mariadb_url) as theirs:
        service = DataMigrationService(ours, theirs, options=Options(accept=ACCEPT))
        with pytest.raises(RollbackFailed, match="the schema other than before"):
            await service.take_back()
    assert await oracle.rows(mariadb_url, "SELECT id FROM parents") == [(77,)]


async def test_a_table_that_somebody_makes_between_plan_and_room_refuses_with_nothing_touched(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = fresh_database(engine)
    await begin_anew(url)
    note_before = service_module.note_before

    async def intrude(*arguments: Any) -> Any:
        await oracle.run(url, "CREATE TABLE parents (id bigint); INSERT INTO parents VALUES (77)")
        before.append(await oracle.dump(url))
        return await note_before(*arguments)

    before: list[str] = []
    monkeypatch.setattr(service_module, "note_before", intrude)
    service = await moved(source, url, accept=ACCEPT)
    assert isinstance(service.error, PlanChanged), service.error
    assert "parents" in str(service.error)
    assert [await oracle.dump(url)] == before


async def test_canary_what_is_made_without_looking_what_is_there_cannot_be_gone_on_with(
    source: Path, mariadb_url: str, death: Death, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = await statements_of(source, mariadb_url, death, "make_rest")
    assert await died(source, mariadb_url, death, "make_rest", count)
    rest = making._rest
    monkeypatch.setattr(making, "_rest", lambda target, plan, there: rest(target, plan, Schema()))
    service = await moved(source, mariadb_url, accept=ACCEPT, resume=True)
    assert isinstance(service.error, RolledBack)


async def test_canary_death_comes_and_is_not_survived(
    source: Path, fresh_database: FreshDatabase, engine: str, death: Death
) -> None:
    url = fresh_database(engine)
    assert await died(source, url, death, "make_rest", 1)
    assert await is_begun(url)
    assert death.count >= 1
