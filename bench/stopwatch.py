"""Times an operation inside the event loop, where its users wait for it.

A stopwatch around `asyncio.run` or `run_until_complete` adds 10 to 300 microseconds to each sample, and one
that is handed a coroutine function times the making of a coroutine. So the clock is read in the coroutine
that awaits.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.operations import Operation
from bench.subject import Subject

WARM_UP_SHARE = 0.05
"""Share of the rounds that run first and are forgotten: connections, prepared statements, caches."""

THINK_TIME_S = 0.1
"""Mean pause of one of several agents. Without pauses they run in phase and measure their own queue; with a
fifth of this, twenty-five of them keep the one event loop busy and measure that."""


@dataclass(frozen=True)
class Samples:
    """Durations of single calls in the order of their ends, and the rows that all of them saw."""

    durations_ns: tuple[int, ...]
    row_count: int


async def take_samples(
    operation: Operation,
    subject: Subject,
    rounds: int,
    *,
    seed: int = 1,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Samples:
    """Call the operation this many times and time each call; its agents share the rounds among them."""
    durations_ns: list[int] = []
    row_count = 0

    async def one_call(number: int) -> tuple[int, int]:
        started_ns = clock_ns()
        outcome = await operation.function(subject, number)
        elapsed_ns = clock_ns() - started_ns
        return elapsed_ns, outcome if operation.after is None else await operation.after(outcome)

    async def one_agent(agent: int) -> None:
        nonlocal row_count
        pauses = random.Random(seed * 1_000 + agent)
        for number in range(agent, rounds, operation.agents):
            if operation.agents > 1:
                await asyncio.sleep(pauses.expovariate(1 / THINK_TIME_S))
            elapsed_ns, rows = await one_call(number)
            durations_ns.append(elapsed_ns)
            row_count += rows

    for number in range(max(1, round(rounds * WARM_UP_SHARE))):
        await one_call(number)
    with _settled_memory():
        async with asyncio.TaskGroup() as agents:
            for agent in range(operation.agents):
                agents.create_task(one_agent(agent))
    return Samples(tuple(durations_ns), row_count)


@contextmanager
def _settled_memory() -> Iterator[None]:
    """Keep what was there before out of the garbage collector's rounds; what the calls leave stays in them.

    A test process holds hundreds of thousands of objects that a server does not, and looking through them
    takes tens of milliseconds: a tail that belongs to the test runner.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
