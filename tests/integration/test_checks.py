"""Every check of a finished migration has a fault that it sees, and says so when it could not look.

A check that has never been seen to fail proves nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from sqlalchemy.engine import make_url

from migration import DataMigrationService, MigrationValidator, open_database
from migration import checks as checks_module
from migration.checks import AFTER_CLOSING, AFTER_CONTENT, COUNT_CHECKS, SCHEMA_CHECKS, Check
from migration.plan import Plan
from migration.servers import ServerUnavailable
from tests import oracle
from tests.conftest import required_engines
from tests.faults import CONTENT, FAULTS, SHOP, Fault
from tests.line import line_to
from tests.servers import ENGINES, Servers

SEED = 20240506
CHECKS = (*SCHEMA_CHECKS, *COUNT_CHECKS, *AFTER_CONTENT, *AFTER_CLOSING)
# Checks that look at nothing themselves: what they compare was read before.
COMPARING_ONLY = {
    "check_tables", "check_columns", "check_indexes", "check_foreign_keys",
    "check_left_behind", "check_timestamps",
}  # fmt: skip
# Opens a connection of its own, and so outlives the others.
ANEW = {"check_sequences"}


# What keeps foreign keys from being looked at, for one session.
HELD_BACK = {
    "sqlite": "",
    "postgresql": "SET session_replication_role = replica;",
    "mariadb": "SET foreign_key_checks = 0;",
}


def name_of(check: Check) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")


@dataclass
class Shop:
    """A shop that was moved, and how: the source, a pattern of the moved target, and the plan."""

    engine: str
    source: Path
    pattern: str
    plan: Plan
    folder: Path

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[str]:
        """Give the URL of a copy of the target, for damaging it."""
        if self.engine == "sqlite":
            copy = self.folder / "copy.db"
            shutil.copyfile(oracle.path_of(self.pattern), copy)
            yield f"sqlite:///{copy}"
            return
        url = make_url(self.pattern).set(database="shop_copy")
        if self.engine != "postgresql":
            await oracle.run(self.pattern, "DROP DATABASE IF EXISTS shop_copy; CREATE DATABASE shop_copy")
            copy = url.render_as_string(hide_password=False)
            try:
                await oracle.run(copy, await oracle.dump(self.pattern))
                yield copy
            finally:
                await oracle.run(self.pattern, "DROP DATABASE shop_copy")
            return
        await oracle.run(self.pattern, "DROP DATABASE IF EXISTS shop_copy WITH (FORCE)")
        admin = make_url(self.pattern).set(database="postgres").render_as_string(hide_password=False)
        await oracle.run(admin, f'CREATE DATABASE shop_copy TEMPLATE "{make_url(self.pattern).database}"')
        try:
            yield url.render_as_string(hide_password=False)
        finally:
            await oracle.run(admin, "DROP DATABASE shop_copy WITH (FORCE)")

    @asynccontextmanager
    async def validator(self, url: str, **options: object) -> AsyncIterator[MigrationValidator]:
        async with open_database(self.source, is_source=True) as ours, open_database(url) as theirs:
            yield MigrationValidator(ours, theirs, plan=self.plan, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=ENGINES)
def shop(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """The shop, moved once into each engine."""
    engine = str(request.param)
    folder = tmp_path_factory.mktemp("shop")
    source = folder / "source.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.executescript(SHOP)
    with ExitStack() as stack:
        if engine == "sqlite":
            pattern = f"sqlite:///{folder / 'pattern.db'}"
        else:
            server = servers.get(engine)
            if isinstance(server, ServerUnavailable):
                if engine in required_engines(request.config):
                    pytest.fail(str(server), pytrace=False)
                pytest.skip(str(server))
            pattern = stack.enter_context(servers.fresh_database(engine))

        async def move() -> Plan:
            async with open_database(source, is_source=True) as ours, open_database(pattern) as theirs:
                service = DataMigrationService(ours, theirs)
                await service.migrate()
            assert service.plan is not None
            return service.plan

        yield Shop(engine, source, pattern, asyncio.run(move()), folder)


async def both_halves(validator: MigrationValidator) -> None:
    await validator.validate_schema_compatibility()
    await validator.validate_data_integrity()


# --- canaries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_canary_each_fault_is_seen_by_the_check_it_is_meant_for(shop: Shop, fault: Fault) -> None:
    script = fault.script(shop.engine, Random(SEED))
    if script is None:
        pytest.skip(f"{shop.engine} cannot suffer that")
    async with shop.copy() as url, shop.validator(url) as validator:
        await oracle.run(url, script)
        await both_halves(validator)
    report = validator.report
    assert report.verdict == "differs"
    seen = {check.name: [sample.what for sample in check.samples] for check in report.checks}
    seen[CONTENT] = [sample.what for table in report.tables for sample in table.samples]
    assert fault.what in seen[fault.check], validator.validation_errors


async def test_an_intact_copy_trips_no_check(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        assert await validator.validate_schema_compatibility()
        assert await validator.validate_data_integrity()
        assert validator.report.verdict == "proved"
        assert validator.validation_errors == []
        assert {check.name for check in validator.report.checks} == {name_of(check) for check in CHECKS}


def test_every_check_is_run() -> None:
    written = {
        check for name, check in inspect.getmembers(checks_module, inspect.iscoroutinefunction)
        if name.startswith("check_")
    }  # fmt: skip
    assert written == set(CHECKS)


def test_every_check_has_a_fault() -> None:
    # Whether a column was left behind is decided by the plan; its fault is tried below.
    assert {fault.check for fault in FAULTS} | {"left behind"} == {name_of(check) for check in CHECKS} | {
        CONTENT
    }


async def test_canary_a_column_that_nobody_accepted_to_lose_is_a_difference(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as planned:
        await oracle.run(url, "ALTER TABLE notes DROP COLUMN weight")
        # Without a plan nothing was accepted, and the plan made of the damaged target knows of no column.
        validator = MigrationValidator(planned.source, planned.target)
        assert not await validator.validate_data_integrity()
    assert [str(found) for found in validator.report.differences] == ["missing column in notes.weight"]
    assert validator.report.verdict == "differs"


async def test_canary_rows_of_a_table_that_was_left_out_may_not_refer_to_nothing_either(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        await oracle.run(
            url, "CREATE TABLE own (id bigint REFERENCES customers (id)); INSERT INTO own VALUES (5)"
        )
        assert await validator.validate_data_integrity()
        await oracle.run(url, HELD_BACK[shop.engine] + "INSERT INTO own VALUES (4711)")
        assert not await validator.validate_data_integrity()
    assert "rows that refer to nothing in own" in validator.validation_errors[0]


async def test_damage_is_counted_exactly_and_named_in_part(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        await oracle.run(url, "UPDATE orders SET amount = amount + 1 WHERE id <= 50")
        assert not await validator.validate_data_integrity()
    (orders,) = [table for table in validator.report.tables if table.table == "orders"]
    assert orders.changed_count == 50
    assert len(orders.samples) <= 20
    assert orders.missing_count == orders.extra_count == 0


async def test_what_is_mended_is_proved_again(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        await oracle.run(url, "UPDATE orders SET amount = 11 WHERE id = 1")
        assert not await validator.validate_data_integrity()
        await oracle.run(url, "UPDATE orders SET amount = 10 WHERE id = 1")
        assert await validator.validate_data_integrity()


# --- could not look -----------------------------------------------------------------------------------------


async def terminate(url: str) -> None:
    """End every session of a database but our own."""
    for (session,) in await oracle.rows(url, SESSIONS[oracle.engine_of(url)]):
        await oracle.run(url, f"{ENDS[oracle.engine_of(url)]} {session}")


SESSIONS = {
    "postgresql": "SELECT '(' || pid || ')' FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT id FROM information_schema.processlist"
    " WHERE db = database() AND id <> connection_id()",
}
ENDS = {"postgresql": "SELECT pg_terminate_backend", "mariadb": "KILL SOFT"}
SERVED = ["postgresql", "mariadb"]
"""Engines with sessions that somebody else can end."""


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("shop", SERVED, indirect=True)
async def test_a_check_whose_connection_died_could_not_look_and_found_nothing(
    shop: Shop, check: Check
) -> None:
    async with shop.copy() as url, shop.validator(url) as validator, validator._proof() as proof:
        # Open, and used, so that the pool holds a dead connection too.
        await validator.target.facts()
        await terminate(url)
        await validator._run([check], proof)
    report = validator.report
    assert report.difference_count == 0
    assert report.differences == ()
    if check.__name__ not in COMPARING_ONLY | ANEW:
        assert report.verdict == "could not look"
        (reason,) = report.could_not_look
        assert reason.startswith(name_of(check))
        assert "lost" in reason or "closed" in reason


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_a_server_that_is_gone_could_not_be_asked_for_numbers(shop: Shop) -> None:
    async with (
        shop.copy() as url,
        line_to(url) as (line, through),
        shop.validator(through) as validator,
        validator._proof() as proof,
    ):
        line.cut()
        await validator._run(AFTER_CLOSING, proof)
    assert validator.report.difference_count == 0
    (reason,) = validator.report.could_not_look
    assert reason.startswith("sequences")


@pytest.mark.parametrize("shop", SERVED, indirect=True)
async def test_a_connection_that_dies_while_rows_are_read_proves_nothing_and_finds_nothing(
    shop: Shop,
) -> None:
    killed = asyncio.Event()

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(shop.copy())

        def kill(step: object) -> None:
            if not killed.is_set():
                killed.set()
                # In a thread with a loop of its own, since this is called in the middle of ours.
                killer = asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(terminate(url)))
                killers.append(killer)

        killers: list[asyncio.Future[None]] = []
        validator = await stack.enter_async_context(shop.validator(url, progress=kill))
        async with validator._proof() as proof:
            await validator._compare(proof)
            await asyncio.gather(*killers)
            await validator._run(COUNT_CHECKS, proof)
    assert validator.report.difference_count == 0
    assert not validator.report.proved
    assert validator.report.verdict == "could not look"


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_a_table_that_may_not_be_read_could_not_be_looked_at(shop: Shop) -> None:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(shop.copy())
        role = await stack.enter_async_context(role_without(url, "orders"))
        validator = await stack.enter_async_context(shop.validator(role))
        await both_halves(validator)
    report = validator.report
    assert report.difference_count == 0
    assert report.verdict == "could not look"
    assert any("permission" in reason for reason in report.could_not_look)


@asynccontextmanager
async def role_without(url: str, table: str) -> AsyncIterator[str]:
    """Give the URL of a role that may read every table but one."""
    await oracle.run(
        url,
        "CREATE ROLE narrow LOGIN PASSWORD 'narrow'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO narrow;"
        f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO narrow; REVOKE SELECT ON {table} FROM narrow",
    )
    try:
        narrow = make_url(url).set(username="narrow", password="narrow")
        yield narrow.render_as_string(hide_password=False)
    finally:
        await oracle.run(url, "DROP OWNED BY narrow; DROP ROLE narrow")


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
async def test_a_file_with_a_hole_could_not_be_looked_at(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        path = oracle.path_of(url)
        # The schema is on the first page; what the tables hold is gone.
        page = 4096
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(page)
            file.write(os.urandom(size - page))
        assert not await validator.validate_data_integrity()
    assert validator.report.difference_count == 0
    assert validator.report.verdict == "could not look"
    assert len([reason for reason in validator.report.could_not_look if "damaged" in reason]) >= 3


@pytest.mark.parametrize("shop", SERVED, indirect=True)
async def test_what_could_not_be_looked_at_once_can_be_looked_at_later(shop: Shop) -> None:
    async with shop.copy() as url, shop.validator(url) as validator:
        async with validator._proof() as proof:
            await terminate(url)
            await validator._run(COUNT_CHECKS, proof)
        assert validator.report.verdict == "could not look"
        assert await validator.validate_data_integrity()
        assert validator.report.could_not_look == ()
