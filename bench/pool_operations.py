"""How long a connection takes; and what the layer above the driver costs."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.operation import Operation, operation, registered
from bench.operations import MESSAGE_PAGE, ONE
from bench.subject import Subject

HELD_S = 0.02
"""A request that thinks between its statements keeps its connection; twenty-five such need five or six."""


async def _released(connection: AsyncConnection) -> int:
    await connection.close()
    return 1


@operation(rounds_real=2_000, after=_released, group="pool")
async def pool_checkout(subject: Subject, _number: int) -> AsyncConnection:
    """Take a connection from the pool; giving it back is not timed.

    The pool's own checkout event fires after the wait, so the await itself is what is timed.
    """
    with subject.waiting.counted():
        return await subject.engine.connect()


async def _used_and_released(connection: AsyncConnection) -> int:
    try:
        rows = len((await connection.execute(ONE)).all())
        await asyncio.sleep(HELD_S)
        return rows
    finally:
        await connection.close()


pool_checkout_25_agents = registered(
    Operation(
        "pool_checkout_25_agents",
        pool_checkout.function,
        rounds_small=50,
        rounds_real=1_250,
        after=_used_and_released,
        agents=25,
        group="pool",
    )
)
"""The same when twenty-five agents want the twenty connections; its tail shows what the mean hides."""


@operation(rounds_real=1_000, group="driver")
async def driver_select_one(subject: Subject, _number: int) -> int:
    """SELECT 1 by the driver alone: no pool, no SQLAlchemy."""
    return len(await asked_of_the_driver(subject, ONE, {}))


@operation(rounds_real=1_000, group="driver")
async def driver_get_messages(subject: Subject, number: int) -> int:
    """A page of messages by the driver alone; `core_get_messages` is the same through SQLAlchemy."""
    return len(await asked_of_the_driver(subject, MESSAGE_PAGE, _page_values(subject, number)))


@operation(rounds_real=1_000, group="driver")
async def core_get_messages(subject: Subject, number: int) -> int:
    """A page of messages through the pool and SQLAlchemy Core."""
    async with subject.connection() as connection:
        return len((await connection.execute(MESSAGE_PAGE, _page_values(subject, number))).all())


def _page_values(subject: Subject, number: int) -> dict[str, Any]:
    asked = subject.reference
    return {"session": asked.session(number), "me": asked.agent(number), "skipped": 0}


@cache
def _compiled(statement: sa.Select[Any], dialect: sa.Dialect) -> Any:
    return statement.compile(dialect=dialect)


async def asked_of_the_driver(subject: Subject, statement: sa.Select[Any], values: dict[str, Any]) -> Any:
    """Run the text of a statement by the driver's own call, on one connection that stays."""
    compiled = _compiled(statement, subject.engine.dialect)
    given = compiled.construct_params(values)
    listed = [given[name] for name in compiled.positiontup or ()]
    driver = subject.driver
    if subject.backend == "sqlite":
        return await driver.execute_fetchall(compiled.string, listed)
    if subject.backend == "postgresql":
        return await driver.fetch(compiled.string, *listed)
    async with driver.cursor() as cursor:
        await cursor.execute(compiled.string, listed)
        return await cursor.fetchall()
