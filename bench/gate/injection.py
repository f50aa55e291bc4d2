"""Work that the study adds to an operation: executed, never a multiplied number.

How much of it makes up the wanted share is found by measuring, in the very process that will be measured, and
what it really came to is written down beside every result.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from statistics import median
from typing import Any

from bench.operation import Operation
from bench.subject import Subject

Extra = Callable[[Subject, int], Awaitable[None]]
Unit = Callable[[Subject, int], Awaitable[None]]

TRIES = 7
"""Pairs of a block and its extra work; the median of their ratios is the share."""

TRIES_TO_FIND = 21
"""The amount is found once and used in every group: what it is off by is off in the whole run."""

ADJUSTMENTS = 4
"""How often the amount is put right; what it came to in the end is what is written down."""

AMOUNT_FIRST = 40


async def _rows(subject: Subject, amount: int) -> None:
    """Read rows that nobody asked for."""
    await subject.driver.execute_fetchall("SELECT content FROM messages LIMIT ?", [amount])


async def _index(subject: Subject, amount: int) -> None:
    """Look something up without its index, among so many rows."""
    await subject.driver.execute_fetchall(
        "SELECT count(*) FROM agent_memory NOT INDEXED WHERE id <= ? AND agent_id = 'nobody'", [amount * 10]
    )


async def _trip(subject: Subject, amount: int) -> None:
    """Ask the database once more, and again."""
    for _ in range(amount):
        await subject.driver.execute_fetchall("SELECT 1")


async def _sleep(_subject: Subject, amount: int) -> None:
    """Sleep so many microseconds, in the way of everything else."""
    time.sleep(amount / 1e6)  # noqa: ASYNC251  the defect that is injected


UNITS: Mapping[str, Unit] = {"rows": _rows, "index": _index, "trip": _trip, "sleep": _sleep}
"""What can be injected, by name."""


async def prepared(
    operation: Operation, subject: Subject, asked: Mapping[str, Any]
) -> tuple[Extra, dict[str, float]]:
    """Give the work to add to each block, and the share that it was measured to be."""
    unit, calls = UNITS[asked["kind"]], int(asked["calls"])

    async def plain() -> None:
        for number in range(calls):
            outcome = await operation.function(subject, number)
            if operation.after is not None:
                await operation.after(outcome)

    async def share_of(amount: int, tries: int = TRIES) -> float:
        ratios = []
        for _ in range(tries):
            block_ns = await _cost_ns(plain)
            ratios.append(await _cost_ns(partial(unit, subject, amount)) / block_ns)
        return median(ratios)

    amount = int(asked.get("amount", 0)) or await _found(
        partial(share_of, tries=TRIES_TO_FIND), asked["share"]
    )

    async def extra(subject: Subject, _calls: int) -> None:
        await unit(subject, amount)

    return extra, {"asked": asked["share"], "measured": await share_of(amount), "amount": amount}


async def _found(share_of: Callable[[int], Awaitable[float]], wanted: float) -> int:
    """Find the amount that makes up the wanted share, along the line through what was measured last."""
    little, much = 1, AMOUNT_FIRST
    share_little, share_much = await share_of(little), await share_of(much)
    for _ in range(ADJUSTMENTS):
        slope = (share_much - share_little) / (much - little)
        if slope <= 0:
            break
        amount = max(1, round(little + (wanted - share_little) / slope))
        if amount in {little, much}:
            break
        if amount > much:
            little, share_little = much, share_much
        much, share_much = amount, await share_of(amount)
    return max(1, much if abs(share_much - wanted) < abs(share_little - wanted) else little)


async def _cost_ns(work: Callable[[], Awaitable[None]]) -> int:
    began_ns = time.perf_counter_ns()
    await work()
    return time.perf_counter_ns() - began_ns
