"""Times an operation inside the event loop, where its users wait for it.

A stopwatch around `asyncio.run` or `run_until_complete` adds 10 to 300 microseconds to each sample, and one
that is handed a coroutine function times the making of a coroutine. So the clock is read in the coroutine
that awaits.
"""

from __future__ import annotations

import asyncio
import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.burden import Burden, doubt_of
from bench.measurement import Measurement, measured
from bench.operation import Operation
from bench.subject import Subject
from bench.waiting import Waiting

WARM_UP_SHARE = 0.05
"""Share of the rounds that run first and are forgotten: connections, prepared statements, caches."""

WARM_UP_MIX_S = 1.0
"""The mix is warm when every agent has had a connection and every statement was prepared on most of them."""

THINK_TIME_S = 0.1
"""Mean pause of one of several agents. Without pauses they run in phase and measure their own queue; with a
fifth of this, twenty-five of them keep the one event loop busy and measure that."""


MIX_CALLS = {25: 12_650, 50: 4_000, 100: 4_000}
"""Calls of all agents together. A p99 has an upper bound from 528 samples on, and the rarest operation of the
mix is a twenty-third of it; with more than twenty-five agents, which no budget judges, only the common ones
are that sure."""


@dataclass(frozen=True)
class Samples:
    """What was seen of one operation.

    Attributes
    ----------
    durations_ns
        Of single calls, in the order of their ends.
    row_count
        The rows that all of them saw.
    counters
        What else was counted meanwhile, by name with the unit last.
    doubt
        Why slow samples would prove nothing; else empty.
    """

    durations_ns: tuple[int, ...]
    row_count: int
    counters: Mapping[str, float] = field(default_factory=dict)
    doubt: str = ""

    def measurement(
        self, operation: Operation, subject: Subject, stage: str = "", agents: int = 1
    ) -> Measurement:
        """Sum them up."""
        return measured(
            operation.name,
            getattr(subject, "backend", "none"),
            self.durations_ns,
            self.row_count,
            stage=stage,
            agents=agents,
            counters=self.counters,
            doubt=self.doubt,
            group=operation.group,
            about=(operation.function.__doc__ or "").partition("\n")[0],
        )


Clock = Callable[[], int]


async def one_call(operation: Operation, subject: Subject, number: int, clock_ns: Clock) -> tuple[int, int]:
    """Time one call; what comes after it is not timed."""
    started_ns = clock_ns()
    outcome = await operation.function(subject, number)
    elapsed_ns = clock_ns() - started_ns
    return elapsed_ns, outcome if operation.after is None else await operation.after(outcome)


async def take_samples(
    operation: Operation,
    subject: Subject,
    rounds: int,
    *,
    seed: int = 1,
    clock_ns: Clock = time.perf_counter_ns,
) -> Samples:
    """Call the operation this many times and time each call; its agents share the rounds among them."""
    durations_ns: list[int] = []
    row_count = 0

    async def one_agent(agent: int) -> None:
        nonlocal row_count
        pauses = random.Random(seed * 1_000 + agent)
        for number in range(agent, rounds, operation.agents):
            if operation.agents > 1:
                await asyncio.sleep(pauses.expovariate(1 / THINK_TIME_S))
            elapsed_ns, rows = await one_call(operation, subject, number, clock_ns)
            durations_ns.append(elapsed_ns)
            row_count += rows

    for number in range(max(1, round(rounds * WARM_UP_SHARE))):
        await one_call(operation, subject, number, clock_ns)
    if operation.agents > 1:
        # Each agent once, all at once: the pool then has opened every connection that it will need.
        await asyncio.gather(
            *(one_call(operation, subject, one, clock_ns) for one in range(operation.agents))
        )
    with _settled_memory(), _watched(subject) as counters:
        async with asyncio.TaskGroup() as agents:
            for agent in range(operation.agents):
                agents.create_task(one_agent(agent))
    return Samples(tuple(durations_ns), row_count, counters, doubt_of(counters, agents=operation.agents))


@dataclass
class _Seen:
    """What the agents saw of one operation of their mix."""

    durations_ns: list[int] = field(default_factory=list)
    since_due_ns: list[int] = field(default_factory=list)
    row_count: int = 0
    late: int = 0


async def take_mix(
    operations: Sequence[Operation],
    subject: Subject,
    *,
    agents: int,
    calls: int,
    seed: int = 1,
    clock_ns: Clock = time.perf_counter_ns,
) -> dict[str, Samples]:
    """Let agents do the operations in turns, by weight, each on a timetable of its own.

    A call that is due while the agent still waits for the one before is late: it is made at once and
    counted, and its time since it was due is kept beside its own time. Otherwise a stall would hide the
    calls that it held up.
    """
    share = math.gcd(*(operation.weight for operation in operations)) or 1
    pack = [operation for operation in operations for _ in range(operation.weight // share)]
    seen = {operation.name: _Seen() for operation in operations}
    measuring = False

    async def one_agent(agent: int, last: int) -> None:
        chance = random.Random(seed * 1_000 + agent)
        due_ns = clock_ns()
        dealt: list[Operation] = []
        for number in range(agent, last, agents):
            due_ns += round(chance.expovariate(1 / THINK_TIME_S) * 1e9)
            # A shuffled pack, not a throw of the dice: the rarest comes as often as was counted on.
            if not dealt:
                dealt = chance.sample(pack, len(pack))
            operation = dealt.pop()
            ahead_s = (due_ns - clock_ns()) / 1e9
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            elapsed_ns, rows = await one_call(operation, subject, number, clock_ns)
            if measuring:
                kept = seen[operation.name]
                kept.durations_ns.append(elapsed_ns)
                kept.since_due_ns.append(max(elapsed_ns, clock_ns() - due_ns))
                kept.row_count += rows
                kept.late += ahead_s <= 0

    async def all_agents(total: int) -> None:
        async with asyncio.TaskGroup() as group:
            for agent in range(agents):
                group.create_task(one_agent(agent, total))

    await all_agents(round(agents * max(1.0, WARM_UP_MIX_S / THINK_TIME_S * min(1.0, calls / 1_000))))
    measuring = True
    with _settled_memory(), _watched(subject) as counters:
        await all_agents(calls)
    doubt = doubt_of(counters, agents=agents)
    return {
        name: Samples(tuple(kept.durations_ns), kept.row_count, counters | _lateness(kept), doubt)
        for name, kept in seen.items()
        if kept.durations_ns
    }


def _lateness(seen: _Seen) -> dict[str, float]:
    ordered = sorted(seen.since_due_ns)
    return {"late_calls": seen.late, "since_due_p99_ms": ordered[int(0.99 * (len(ordered) - 1))] / 1e6}


@contextmanager
def _watched(subject: Subject) -> Iterator[dict[str, float]]:
    """Count waiting, and what the machine left us; the counters are there when the block has ended."""
    counters: dict[str, float] = {}
    # A function that needs no database is timed too; nothing is waited for there.
    waiting: Waiting = getattr(subject, "waiting", Waiting())
    waiting.most = waiting.starved = 0
    burden = Burden()
    began_s = time.perf_counter()
    yield counters
    counters["took_s"] = time.perf_counter() - began_s
    counters.update(burden.counters())
    counters.update({"most_waiting_tasks": waiting.most, "starved_waits": waiting.starved})


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
