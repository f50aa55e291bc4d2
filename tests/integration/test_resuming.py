"""Who goes on with a migration: the same version, from the same source, into the same schemas, exactly once.

That it goes on from anywhere is in ``test_interruption.py``; here is when it must not, and what it must not
do again.
"""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from migration import RolledBack, Stopped, open_database
from migration import origin as origin_module
from migration import service as service_module
from migration.checkpoint import CHECKPOINTS, WHOLE_RUN, read_checkpoints
from migration.database import Database
from migration.errors import PlanChanged
from migration.progress import Step
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved, small_chunks, taken_back

CHUNK_ROWS, CHUNK_BYTES = 10, 300

# In the order in which they are loaded.
FIRST, MIDDLE, LAST = "a_keyed", "b_keyless", "c_keyed"
TABLES = f"""
    CREATE TABLE {FIRST} (id INTEGER PRIMARY KEY, v TEXT);
    CREATE TABLE {MIDDLE} (v TEXT, n INTEGER);
    CREATE TABLE {LAST} (id INTEGER PRIMARY KEY, v TEXT);
"""
ROWS = "".join(
    f"INSERT INTO {FIRST} VALUES ({n}, 'v{n:040}'); INSERT INTO {LAST} VALUES ({n * 2}, 'w{n:040}');"
    f"INSERT INTO {MIDDLE} VALUES ({'NULL' if n % 3 else repr('twice' * 8)}, {n // 4});"
    for n in range(1, 81)
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_chunks(monkeypatch, CHUNK_ROWS, CHUNK_BYTES)
    return made(tmp_path / "source.db", TABLES + ROWS)


async def stopped_in(source: Path | str, target: Path | str, table: str, **options: Any) -> None:
    """Begin a migration, and stop it when some rows of a table are copied and committed."""

    def stop(step: Step) -> None:
        if step.phase == "copy" and step.table == table and step.done < step.total:
            job.cancel()

    job = asyncio.ensure_future(moved(source, target, progress=stop, **options))
    service = await job
    assert isinstance(service.error, Stopped), service.error
    assert await is_begun(target)


async def is_begun(target: Path | str) -> bool:
    async with open_database(target) as database, database.control() as connection:
        return bool(await read_checkpoints(connection))


async def assert_same_rows(source: Path | str, target: str) -> None:
    here = f"sqlite:///{source}" if isinstance(source, Path) else source
    for table in (FIRST, MIDDLE, LAST):
        ours, theirs = [await oracle.rows(url, f"SELECT * FROM {table}") for url in (here, target)]
        assert Counter(ours) == Counter(theirs), table


# --- to whom a checkpoint belongs ---------------------------------------------------------------------


async def refusal(source: Path | str, target: str, **options: Any) -> str:
    """Try to go on; return the sentence of the refusal, which has touched nothing."""
    before = await oracle.dump(target)
    service = await moved(source, target, resume=True, **options)
    assert isinstance(service.error, PlanChanged), service.error
    assert service.error.exit_code == 3
    assert "migration rollback" in service.error.next_step
    assert await oracle.dump(target) == before
    return str(service.error)


async def test_it_goes_on_with_nothing_but_what_it_was_begun_with(
    source: Path, tmp_path: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another source, version, choice, or schema on either side: each refused, with both values."""
    target = fresh_database(engine)
    await oracle.run(target, "CREATE TABLE own (id integer)")
    before = await oracle.dump(target)
    await stopped_in(source, target, LAST)

    # The same schema and the same rows: it is another source nevertheless.
    twin = tmp_path / "twin.db"
    shutil.copy2(source, twin)
    said = await refusal(twin, target)
    assert "another source" in said
    assert str(source) in said
    assert str(twin) in said

    with monkeypatch.context() as newer:
        newer.setattr(origin_module, "__version__", "99.1")
        said = await refusal(source, target)
    assert "version" in said
    assert "this is 99.1" in said

    said = await refusal(source, target, types={f"{LAST}.v": "varchar(40)"})
    assert "another plan" in said

    await oracle.run(target, "CREATE TABLE somebodys (id integer)")
    assert "another schema of the target" in await refusal(source, target)
    await oracle.run(target, "DROP TABLE somebodys")

    await oracle.run(target, f"ALTER TABLE {FIRST} ADD COLUMN late integer")
    assert "other columns in the tables it has made" in await refusal(source, target)
    await oracle.run(target, f"ALTER TABLE {FIRST} DROP COLUMN late")

    with closing(sqlite3.connect(source)) as connection:
        connection.execute(f"ALTER TABLE {LAST} ADD COLUMN late TEXT")
        said = await refusal(source, target)
        connection.execute(f"ALTER TABLE {LAST} DROP COLUMN late")
        connection.commit()
    assert "another schema of the source" in said

    # A person may call the file otherwise.
    renamed = source.rename(tmp_path / "renamed.db")
    assert (await moved(renamed, target, resume=True)).error is None
    await assert_same_rows(renamed, target)
    for table in (FIRST, MIDDLE, LAST):
        await oracle.run(target, f"DROP TABLE {table}")
    assert await oracle.dump(target) == before


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
async def test_a_server_is_known_again_by_its_own_number(
    source: Path, fresh_database: FreshDatabase, engine: str, tmp_path: Path
) -> None:
    """A database of the same schema and rows beside it is another one, by whatever name it is reached."""
    server, beside = fresh_database(engine), fresh_database(engine)
    for url in (server, beside):
        assert (await moved(source, url)).error is None
    target = f"sqlite:///{tmp_path / 'target.db'}"
    await stopped_in(server, target, LAST)
    assert "another source" in await refusal(beside, target)
    elsewhere = server.replace("127.0.0.1", "localhost")
    assert elsewhere != server
    assert (await moved(elsewhere, target, resume=True)).error is None
    await assert_same_rows(server, target)


async def test_checkpoints_of_a_version_that_kept_less_are_refused_and_can_be_undone(
    source: Path, postgresql_url: str
) -> None:
    before = await oracle.dump(postgresql_url)
    await stopped_in(source, postgresql_url, LAST)
    async with open_database(postgresql_url) as database, database.changing() as connection:
        run = json.loads((await read_checkpoints(connection))[WHOLE_RUN].position or "")
        del run["origin"]
        changed = CHECKPOINTS.update().where(CHECKPOINTS.c.table_name == WHOLE_RUN)
        await connection.execute(changed.values(position=json.dumps(run)))
    assert "by version unknown" in await refusal(source, postgresql_url)
    await taken_back(source, postgresql_url)
    assert await oracle.dump(postgresql_url) == before


# --- what is done is done -------------------------------------------------------------------------------


class Scans:
    """Counts the rows that were read of each table of the source to be copied, and from where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: Counter[str] = Counter()
        self.begins: dict[str, str | None] = {}
        snapshot, scans = Database.snapshot, self

        @asynccontextmanager
        async def counted(database: Database) -> AsyncIterator[Any]:
            async with snapshot(database) as opened:
                scan = opened.scan

                async def counting(table: Any, columns: Any, **how: Any) -> AsyncIterator[Any]:
                    is_copied = how.get("in_order", False) and database.is_source
                    if is_copied:
                        scans.begins[table.name] = how["after"]
                    async for scanned in scan(table, columns, **how):
                        scans.rows[table.name] += scanned.batch.num_rows * is_copied
                        yield scanned

                opened.scan = counting  # type: ignore[method-assign]
                yield opened

        monkeypatch.setattr(Database, "snapshot", counted)


async def test_what_was_copied_is_not_read_again_to_be_copied(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = fresh_database(engine)
    await stopped_in(source, target, LAST)
    scans = Scans(monkeypatch)
    assert (await moved(source, target, resume=True)).error is None
    assert scans.begins.keys() == {LAST}
    assert scans.begins[LAST] is not None
    assert 0 < scans.rows[LAST] < 80
    await assert_same_rows(source, target)


MOVED_ABOUT = {
    "sqlite": "VACUUM",
    "postgresql": f"VACUUM FULL {MIDDLE};",
    "mariadb": f"OPTIMIZE TABLE {MIDDLE};",
}


async def test_rows_without_a_key_go_once_although_they_have_moved_about_meanwhile(
    source: Path, fresh_database: FreshDatabase, engine: str, tmp_path: Path
) -> None:
    """Whatever a row's place is in its engine, it is not where to go on."""
    server = f"sqlite:///{source}" if engine == "sqlite" else fresh_database(engine)
    if engine != "sqlite":
        assert (await moved(source, server)).error is None
    # Gaps, which are closed by what comes.
    await oracle.run(server, f"DELETE FROM {MIDDLE} WHERE n < 3")
    target = f"sqlite:///{tmp_path / 'target.db'}"
    await stopped_in(server, target, MIDDLE)
    await oracle.run(server, MOVED_ABOUT[engine])
    service = await moved(server, target, resume=True)
    assert service.error is None, service.error
    await assert_same_rows(server, target)


# --- a source that has changed --------------------------------------------------------------------------


UPDATED = (f"UPDATE {FIRST} SET v = 'changed' WHERE id = 3", "may have changed")
ADDED = (f"INSERT INTO {FIRST} VALUES (0, 'added')", f"has changed.*{FIRST}: 80 rows then, 81 now")
DELETED = (f"DELETE FROM {MIDDLE} WHERE n = 7", f"has changed.*{MIDDLE}: 80 rows then, 76 now")


@pytest.mark.parametrize(
    ("engine", "change", "said"),
    [
        ("sqlite", *UPDATED),
        ("sqlite", *ADDED),
        ("sqlite", *DELETED),
        ("postgresql", *UPDATED),
        ("mariadb", *DELETED),
    ],
)
async def test_a_source_that_has_changed_between_the_runs_is_told_by_the_proof(
    source: Path, fresh_database: FreshDatabase, engine: str, change: str, said: str, tmp_path: Path
) -> None:
    """The engine is the source's."""
    server = f"sqlite:///{source}" if engine == "sqlite" else fresh_database(engine)
    if engine != "sqlite":
        assert (await moved(source, server)).error is None
    target = f"sqlite:///{tmp_path / 'target.db'}"
    await stopped_in(server, target, LAST)
    await oracle.run(server, change)
    service = await moved(server, target, resume=True)
    assert isinstance(service.error, RolledBack)
    assert service.error.exit_code == 5
    assert "not equal" in str(service.error)
    assert re.search(said, str(service.error)), service.error
    assert not await is_begun(target)


async def test_a_source_that_has_not_changed_is_not_blamed(
    source: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stopped_in(source, postgresql_url, LAST)
    await oracle.run(postgresql_url, f"UPDATE {FIRST} SET v = 'damaged' WHERE id = 3")
    service = await moved(source, postgresql_url, resume=True)
    assert isinstance(service.error, RolledBack)
    assert "not equal" in str(service.error)
    assert "changed since" not in str(service.error)


# --- canaries -------------------------------------------------------------------------------------------


async def test_canary_without_looking_whose_it_is_another_source_is_mixed_in(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then only the proof stands between two sources, and it does."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    await stopped_in(source, target, LAST)
    twin = tmp_path / "twin.db"
    shutil.copy(source, twin)
    with closing(sqlite3.connect(twin)) as connection:
        connection.execute(f"UPDATE {FIRST} SET v = 'another' WHERE id = 3")
        connection.commit()
    monkeypatch.setattr(service_module, "check_same_origin", lambda *_: None)
    service = await moved(twin, target, resume=True)
    assert isinstance(service.error, RolledBack)


async def test_canary_a_row_number_is_no_place_to_go_on_from(source: Path) -> None:
    """What the tests above rest on: rows of a file do move about."""
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(f"DELETE FROM {MIDDLE} WHERE n < 3")
        connection.commit()
        before = connection.execute(f"SELECT rowid, * FROM {MIDDLE}").fetchall()
        connection.execute("VACUUM")
        assert connection.execute(f"SELECT rowid, * FROM {MIDDLE}").fetchall() != before
