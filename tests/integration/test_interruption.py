"""A migration that is stopped or killed anywhere goes on where it was: no row twice, none missing.

Where it is stopped is drawn from a seeded ``Random``; another seed tries other places.
"""

# ruff: noqa: ASYNC240 - the files here are small, and nothing else waits for the loop.

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from migration import DataMigrationService, Options, RolledBack, Stopped, open_database
from migration import undo as undo_module
from migration.checkpoint import read_checkpoints
from migration.errors import HazardsNotAccepted, PlanChanged, Refused, TargetLocked
from migration.progress import Step
from tests import oracle
from tests.conftest import FreshDatabase
from tests.moving import made, moved, small_chunks, taken_back

SEED = 20240507
# Chunks of so few rows that every table has several boundaries, and of so few bytes that they are cut too.
CHUNK_ROWS, CHUNK_BYTES = 40, 4_000

TABLES = """
    CREATE TABLE keyed (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT, other TEXT REFERENCES worded (word));
    CREATE TABLE worded (word TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID;
    CREATE TABLE keyless (v TEXT, n INTEGER);
    CREATE TABLE paired (a INTEGER NOT NULL, b TEXT NOT NULL, v REAL, PRIMARY KEY (a, b));
    CREATE TABLE vacant (id INTEGER PRIMARY KEY, v TEXT);
    CREATE VIEW few AS SELECT id FROM keyed WHERE id < 5;
    CREATE INDEX keyed_by_v ON keyed (v);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO keyed SELECT i * 3, 'v' || i, NULL FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120)
    INSERT INTO worded SELECT 'word ' || (i * 7919 % 1000), i FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO keyless SELECT CASE WHEN i % 3 THEN 'twice' END, i / 4 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
    INSERT INTO paired SELECT i / 10, 'b' || (i % 10), i / 7.0 FROM n;
"""  # fmt: skip
NAMES = ("keyed", "worded", "keyless", "paired", "vacant")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_chunks(monkeypatch, CHUNK_ROWS, CHUNK_BYTES)
    return made(tmp_path / "source.db", TABLES)


async def assert_same_rows(source: Path | str, target: str) -> None:
    """Every row as often as it is in the source, told by both engines' own drivers."""
    here = f"sqlite:///{source}" if isinstance(source, Path) else source
    for table in NAMES:
        query = f"SELECT * FROM {table}"
        ours, theirs = await oracle.rows(here, query), await oracle.rows(target, query)
        assert Counter(ours) == Counter(theirs), table


async def until_proved(source: Path | str, target: str) -> DataMigrationService:
    """Go on with a migration, or begin it anew where nothing had been written."""
    return await moved(source, target, resume=await is_begun(target))


async def stopped_at(source: Path | str, target: str, number: int, **options: Any) -> DataMigrationService:
    """Begin a migration and ask it to stop at the n-th sign of progress."""
    seen = 0

    def stop(step: Step) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            job.cancel()

    job = asyncio.ensure_future(moved(source, target, progress=stop, **options))
    return await job


async def steps_of(source: Path | str, target: str) -> list[Step]:
    steps: list[Step] = []
    service = await moved(source, target, progress=steps.append)
    assert service.error is None, service.error
    return steps


def drawn(count: int, of: int) -> list[int]:
    return sorted(Random(SEED).sample(range(1, of + 1), min(count, of)))


# --- stopped on request -------------------------------------------------------------------------------------


async def test_stopped_anywhere_it_goes_on_and_is_proved(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    steps = await steps_of(source, fresh_database(engine))
    for number in drawn(6, len(steps)):
        target = fresh_database(engine)
        service = await stopped_at(source, target, number)
        where = f"stopped at step {number} of {len(steps)}, {steps[number - 1]}"
        assert isinstance(service.error, Stopped), where
        assert service.error.exit_code == 4
        resumed = await until_proved(source, target)
        assert resumed.error is None, where
        await assert_same_rows(source, target)


async def test_stopped_anywhere_on_the_way_back_it_goes_on_and_is_proved(
    source: Path, fresh_database: FreshDatabase
) -> None:
    server = fresh_database("postgresql")
    assert (await moved(source, server)).error is None
    steps = await steps_of(server, fresh_database("sqlite"))
    for number in drawn(5, len(steps)):
        target = fresh_database("sqlite")
        service = await stopped_at(server, target, number)
        assert isinstance(service.error, Stopped), steps[number - 1]
        assert (await until_proved(server, target)).error is None, steps[number - 1]
        await assert_same_rows(server, target)


async def test_stopped_again_and_again_it_arrives(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    random = Random(SEED)
    service = await stopped_at(source, target, 20)
    for _ in range(5):
        assert isinstance(service.error, Stopped)
        resume = await is_begun(target)
        service = await stopped_at(source, target, random.randint(5, 60), resume=resume)
    assert (await until_proved(source, target)).error is None
    await assert_same_rows(source, target)


async def is_begun(target: str) -> bool:
    async with open_database(target) as database, database.control() as connection:
        return bool(await read_checkpoints(connection))


async def test_stopped_between_signs_of_progress_it_goes_on_too(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    """Asked at any turn of the event loop: in the middle of a transaction, of a COPY, of closing."""
    random = Random(SEED)
    for turns in sorted(random.randint(1, 1_500) for _ in range(6)):
        target = fresh_database(engine)
        job = asyncio.ensure_future(moved(source, target))
        for _ in range(turns):
            await asyncio.sleep(0)
            if job.done():
                break
        job.cancel()
        try:
            service = await job
        except asyncio.CancelledError:
            # Before the lock was had: nothing had begun.
            pass
        else:
            assert service.error is None or isinstance(service.error, Stopped), f"after {turns} turns"
            if service.error is None:
                continue
        assert (await until_proved(source, target)).error is None, f"after {turns} turns"
        await assert_same_rows(source, target)


@pytest.mark.parametrize("step", ["_prepare", "_finish", "_close"])
async def test_stopped_in_a_step_that_is_one_transaction_it_is_left_in_one_state(
    step: str, source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = fresh_database(engine)
    original = getattr(DataMigrationService, step)
    job: asyncio.Future[DataMigrationService]

    async def stop_inside(self: DataMigrationService, *arguments: Any) -> None:
        job.cancel()
        await original(self, *arguments)

    monkeypatch.setattr(DataMigrationService, step, stop_inside)
    job = asyncio.ensure_future(moved(source, target))
    service = await job
    monkeypatch.setattr(DataMigrationService, step, original)
    if step == "_close":
        # All was proved already, and nothing is left to go on with.
        assert service.error is None
    else:
        assert isinstance(service.error, Stopped)
        assert "What was copied is kept" in service.error.done
        assert (await moved(source, target, resume=True)).error is None
    assert not await is_begun(target)
    await assert_same_rows(source, target)


async def test_stopped_before_anything_was_written_it_says_so(source: Path, postgresql_url: str) -> None:
    before = await oracle.dump(postgresql_url)
    service = await stopped_at(source, postgresql_url, 1)
    assert isinstance(service.error, Stopped)
    assert "Nothing was written" in str(service.error)
    assert await oracle.dump(postgresql_url) == before


async def test_stopped_it_says_how_to_go_on_and_refuses_to_begin_anew(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    steps = await steps_of(source, fresh_database(engine))
    service = await stopped_at(source, target, first_of("copy", steps) + 3)
    assert isinstance(service.error, Stopped)
    assert "--resume" in service.error.next_step
    assert "migration rollback" in service.error.next_step
    again = await moved(source, target)
    assert isinstance(again.error, Refused)
    assert "interrupted migration" in str(again.error)
    async with open_database(source, is_source=True) as ours, open_database(target) as theirs:
        with pytest.raises(Refused, match="interrupted migration"):
            await DataMigrationService(ours, theirs).make_plan()
        plan = await DataMigrationService(ours, theirs, options=Options(resume=True)).make_plan()
    assert len(plan.tables) == len(NAMES)


def first_of(phase: str, steps: list[Step]) -> int:
    return next(number for number, step in enumerate(steps, 1) if step.phase == phase)


async def test_there_is_nothing_to_go_on_with_in_a_target_that_nobody_began(
    source: Path, postgresql_url: str
) -> None:
    service = await moved(source, postgresql_url, resume=True)
    assert isinstance(service.error, Refused)
    assert "nothing to resume" in str(service.error)
    with pytest.raises(Refused, match="nothing to undo"):
        await taken_back(source, postgresql_url)


async def test_it_does_not_go_on_once_the_schema_of_the_source_has_changed_but_can_be_undone(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    await oracle.run(target, "CREATE TABLE own (id integer); INSERT INTO own VALUES (1)")
    before = await oracle.dump(target)
    steps = await steps_of(source, fresh_database(engine))
    await stopped_at(source, target, first_of("copy", steps) + 3)
    begun = await oracle.dump(target)
    await oracle.run(f"sqlite:///{source}", "ALTER TABLE keyed ADD COLUMN late TEXT")
    service = await moved(source, target, resume=True)
    assert isinstance(service.error, PlanChanged)
    assert "migration rollback" in service.error.next_step
    assert await oracle.dump(target) == begun
    await taken_back(source, target)
    assert await oracle.dump(target) == before


async def test_it_can_be_undone_when_the_source_is_gone(
    source: Path, tmp_path: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    await oracle.run(target, "CREATE TABLE own (id integer)")
    before = await oracle.dump(target)
    steps = await steps_of(source, fresh_database(engine))
    await stopped_at(source, target, first_of("prove target", steps) + 1)
    source.unlink()
    await taken_back(source, target)
    assert await oracle.dump(target) == before


async def test_rows_that_changed_in_the_source_meanwhile_are_noticed(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    steps = await steps_of(source, fresh_database(engine))
    done = [number for number, step in enumerate(steps, 1) if step.phase == "copy" and step.table == "paired"]
    await stopped_at(source, target, done[0])
    # A row that has been copied already, by the order of load.
    await oracle.run(
        f"sqlite:///{source}", "UPDATE keyed SET v = 'changed' WHERE id = 3; DELETE FROM keyless"
    )
    service = await moved(source, target, resume=True)
    assert isinstance(service.error, RolledBack)
    assert "not equal" in str(service.error)
    assert not await is_begun(target)
    assert (await moved(source, target)).error is None
    await assert_same_rows(source, target)


async def test_into_tables_with_rows_of_their_own_it_goes_on_or_back_all_the_same(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    """Rows that were put aside are there until nobody needs them."""
    accept = ("target-rows:keyed=source", "target-rows:worded=source")
    steps = await steps_of(source, fresh_database(engine))
    for number in drawn(5, len(steps)):
        target = fresh_database(engine)
        await oracle.run(
            target,
            "CREATE TABLE worded (word varchar(20) PRIMARY KEY, n bigint);"
            "CREATE TABLE keyed (id bigint PRIMARY KEY, v text, other varchar(20) REFERENCES worded (word));"
            "INSERT INTO worded VALUES ('mine', 1); INSERT INTO keyed VALUES (4711, 'mine', 'mine')",
        )
        before = await oracle.dump(target)
        service = await stopped_at(source, target, number, accept=accept)
        assert isinstance(service.error, Stopped), steps[number - 1]
        if number % 2 and await is_begun(target):
            await taken_back(source, target)
            assert await oracle.dump(target) == before
        elif await is_begun(target):
            forgotten = await moved(source, target, resume=True)
            assert isinstance(forgotten.error, HazardsNotAccepted)
            assert (await moved(source, target, resume=True, accept=accept)).error is None
            await assert_same_rows(source, target)


async def test_stopped_while_it_is_undone_it_can_only_be_undone(
    source: Path, fresh_database: FreshDatabase, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = fresh_database(engine)
    await oracle.run(
        target, "CREATE TABLE vacant (id bigint PRIMARY KEY, v text); INSERT INTO vacant VALUES (1, 'own')"
    )
    before = await oracle.dump(target)
    accept = ("target-rows:vacant=source",)
    steps = await steps_of(source, fresh_database(engine))
    await stopped_at(source, target, first_of("prove target", steps), accept=accept)
    drop_new = undo_module.drop_new

    async def stop(*arguments: Any) -> None:
        # Rows are put back, tables are still there.
        job.cancel()
        await asyncio.sleep(0)
        await drop_new(*arguments)

    monkeypatch.setattr(undo_module, "drop_new", stop)
    job = asyncio.ensure_future(taken_back(source, target))
    with pytest.raises(Stopped, match="was being undone"):
        await job
    monkeypatch.setattr(undo_module, "drop_new", drop_new)
    service = await moved(source, target, accept=accept, resume=True)
    assert isinstance(service.error, Refused)
    assert "was being undone" in str(service.error)
    await taken_back(source, target)
    assert await oracle.dump(target) == before


# --- killed -------------------------------------------------------------------------------------------------

CHILD = """
import asyncio, sys
from tests.moving import limits, moved
for module, limit, value in limits({rows}, {size}):
    setattr(module, limit, value)
source, target, resume = sys.stdin.readline().split()
def tell(step):
    print(step.phase, flush=True)
service = asyncio.run(moved(source, target, progress=tell, resume=resume == "True"))
print("ended", service.error, flush=True)
"""


async def killed_at(source: Path, target: str, number: int, *, resume: bool) -> list[str]:
    """Migrate in a process of its own and kill it at the n-th sign of progress; return what it had said."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD.format(rows=CHUNK_ROWS, size=CHUNK_BYTES),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{source} {target} {resume}\n".encode())
    said: list[str] = []
    while line := await child.stdout.readline():
        said.append(line.decode().strip())
        if len(said) == number:
            child.send_signal(signal.SIGKILL)
            break
    await child.wait()
    return said


async def unlocked(target: str) -> None:
    """Wait until the server has noticed that the process is gone, with its lock and its sessions."""
    if oracle.engine_of(target) == "sqlite":
        return
    for _ in range(400):
        if await oracle.rows(target, OTHERS[oracle.engine_of(target)]) == [(0,)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a killed process still has sessions")


OTHERS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}
"""How many sessions a database has besides the one that asks."""


async def test_killed_at_any_moment_it_goes_on_and_is_proved(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    steps = await steps_of(source, fresh_database(engine))
    begins = first_of("copy", steps)
    target = fresh_database(engine)
    random = Random(SEED)
    # In the middle of the copy, then somewhere later, then somewhere in whatever is left.
    said = await killed_at(source, target, begins + random.randint(1, 8), resume=False)
    assert not said[-1].startswith("ended"), said
    for _ in range(2):
        await unlocked(target)
        said = await killed_at(source, target, random.randint(begins, len(steps) // 2), resume=True)
        assert not said[-1].startswith("ended"), said
    await unlocked(target)
    service = await moved(source, target, resume=True)
    assert service.error is None, service.error
    await assert_same_rows(source, target)


async def test_killed_it_can_be_taken_back(source: Path, fresh_database: FreshDatabase, engine: str) -> None:
    target = fresh_database(engine)
    await oracle.run(
        target, "CREATE TABLE vacant (id bigint PRIMARY KEY, v text); INSERT INTO vacant VALUES (1, 'own')"
    )
    before = await oracle.dump(target)
    steps = await steps_of(source, fresh_database(engine))
    child = CHILD.replace("resume=resume", "accept=('target-rows:vacant=source',), resume=resume")
    assert child != CHILD
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", child.format(rows=CHUNK_ROWS, size=CHUNK_BYTES),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{source} {target} False\n".encode())
    for _ in range(first_of("copy", steps) + 4):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await unlocked(target)
    assert await oracle.dump(target) != before
    await taken_back(source, target)
    assert await oracle.dump(target) == before


async def test_the_lock_goes_with_the_process(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    async with open_database(target) as database, database.lock():
        service = await moved(source, target)
        assert isinstance(service.error, TargetLocked)
    assert (await moved(source, target)).error is None


async def test_canary_a_row_copied_twice_is_not_called_proved(
    source: Path, fresh_database: FreshDatabase, engine: str
) -> None:
    target = fresh_database(engine)
    steps = await steps_of(source, fresh_database(engine))
    await stopped_at(source, target, first_of("prove source", steps))
    if engine == "sqlite":
        with closing(sqlite3.connect(oracle.path_of(target))) as connection:
            connection.execute("INSERT INTO keyless SELECT * FROM keyless LIMIT 1")
            connection.commit()
    else:
        await oracle.run(target, "INSERT INTO keyless SELECT * FROM keyless LIMIT 1")
    service = await moved(source, target, resume=True)
    assert isinstance(service.error, RolledBack)
    assert "keyless" in str(service.error)
