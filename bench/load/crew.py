"""All agents of one process: their database, and what was counted of them. Lives on the event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from bench.burden import Burden
from bench.catalogue import OPERATIONS, Operation
from bench.load.agent import Agent, own_view
from bench.load.ledger import WRITTEN_BY, Ledger, Memory, Remembered
from bench.load.tally import SECOND_NS, Mark, Tally
from bench.subject import Subject, open_subject
from bench.tables import TOKENS
from migration.redaction import redact

NUMBER_STEP = 1_009
"""Between the numbers of two calls of one process; the processes take turns. It is prime, so that calls still
take turns with all sessions, memories and lengths of messages; and there are never so many processes."""

DRAIN_S_MAX = 30.0
"""A call that takes longer than this after the end of the run is in doubt."""

ERROR_CHARACTERS = 300


@dataclass(frozen=True)
class Orders:
    """What a process is told before its agents begin.

    Attributes
    ----------
    base
        First of the numbers of this run's calls: no other run has used any above it.
    rate
        Calls per second that each agent's timetable asks for, on average.
    place, places
        Which of the processes this is, and how many there are.
    """

    url: str
    base: int
    seed: int = 1
    rate: float = 10.0
    place: int = 0
    places: int = 1


@dataclass(frozen=True)
class Finished:
    """One call, as Locust's own statistics want it."""

    operation: str
    took_ms: float
    rows: int
    error: str = ""


class Crew:
    """The agents of one process. Make it, enter `opened`, let agents live, `take` what was counted."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.mark: Mark | None = None
        self.finished: deque[Finished] = deque()
        self._tallies: dict[tuple[Mark, str], Tally] = {}
        self._ledger = Ledger()
        self._errors: dict[str, int] = {}
        self._calls = 0
        self._agents: dict[Agent, asyncio.Task[None]] = {}
        self._agent_count = 0
        self._stack = AsyncExitStack()
        self._subject: Subject | None = None
        self._identities: list[tuple[str, str]] = []
        self._burden = Burden()
        self._is_stopping = False

    @property
    def subject(self) -> Subject:
        """The open database."""
        assert self._subject is not None, "the crew was not opened"
        return self._subject

    async def open(self) -> None:
        """Open the database and learn who the agents are."""
        self._subject = await self._stack.enter_async_context(open_subject(self.orders.url))
        tokens = self.subject.reference.token_ids
        async with self.subject.connection() as connection:
            rows = (await connection.execute(sa.select(TOKENS.c.token_id, TOKENS.c.agent_id))).all()
        names = {row.token_id: row.agent_id for row in rows}
        self._identities = [(names[token], token) for token in tokens]
        # Each process refreshes tokens of its own: of two that refresh one, one finds it gone.
        own = list(self.subject.refreshable)[self.orders.place :: self.orders.places]
        self.subject.refreshable.clear()
        self.subject.refreshable.extend(own)
        self._ledger.tokens_given = set(own)
        # What was there before is not looked through again and again while calls are timed.
        gc.collect()
        gc.freeze()
        self._burden = Burden()

    async def hire(self, weights: Mapping[str, int]) -> Agent:
        """Give one more agent, with an identity, a seed and a mix of its own."""
        count, self._agent_count = self._agent_count, self._agent_count + 1
        index = count * self.orders.places + self.orders.place
        name, token = self._identities[index % len(self._identities)]
        mix = {OPERATIONS[operation]: weight for operation, weight in weights.items() if weight}
        view = own_view(self.subject, name, token)
        return Agent(view, mix, rate=self.orders.rate, seed=f"{self.orders.seed}-{index}")

    async def live(self, agent: Agent) -> None:
        """Let an agent live until it is told to stop."""
        if self._is_stopping:
            return
        task = asyncio.current_task()
        assert task is not None
        self._agents[agent] = task
        try:
            await agent.live(self._make, self._drop)
        finally:
            del self._agents[agent]

    async def stop(self) -> None:
        """Tell all agents to stop and wait until their calls have ended; what hangs is cut off, in doubt."""
        self._is_stopping = True
        tasks = list(self._agents.values())
        for agent in list(self._agents):
            agent.stop()
        if tasks:
            _, hanging = await asyncio.wait(tasks, timeout=DRAIN_S_MAX)
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        self._ledger.tokens_kept = set(self.subject.refreshable)

    async def close(self) -> None:
        """Close the pool."""
        await self._stack.aclose()
        gc.unfreeze()

    async def take(self) -> dict[str, Any]:
        """Give what was counted since it was last taken, as plain values; nothing is ever given twice."""
        tallies, self._tallies = self._tallies, {}
        ledger, self._ledger = self._ledger, Ledger()
        errors, self._errors = self._errors, {}
        return {
            "tallies": [
                [mark.stage, mark.agents, name, tally.as_message()] for (mark, name), tally in tallies.items()
            ],
            "ledger": ledger.as_message(),
            "errors": errors,
            "mark": None if self.mark is None else [self.mark.stage, self.mark.agents],
            "now": self.now(),
        }

    def now(self) -> dict[str, float]:
        """Tell how things stand: the pool, who waits, and this process's share of the machine."""
        waiting = self.subject.waiting
        pool: Any = self.subject.engine.pool
        return {
            "agents": len(self._agents),
            "pool_in_use": pool.checkedout(),
            "pool_waiting": waiting.now,
            "most_waiting_tasks": waiting.most,
            "starved_waits": waiting.starved,
            **self._burden.counters(),
        }

    def put(self, mark: Mark | None) -> None:
        """Say what is measured from now on. With a new mark, the watch on the machine begins anew."""
        if mark is not None and mark != self.mark:
            self.subject.waiting.most = self.subject.waiting.starved = 0
            self._burden = Burden()
        self.mark = mark

    def _tally(self, mark: Mark, operation: Operation) -> Tally:
        return self._tallies.setdefault((mark, operation.name), Tally())

    def _drop(self, operation: Operation) -> None:
        if self.mark is not None:
            self._tally(self.mark, operation).dropped += 1

    async def _make(self, subject: Subject, operation: Operation, due_ns: int, late: bool) -> None:
        """Make one call and keep what came of it; the clock runs around the operation and nothing else."""
        number = self.orders.base + NUMBER_STEP * self._calls + self.orders.place
        self._calls += 1
        mark, began_ns = self.mark, time.time_ns()
        started_ns = time.monotonic_ns()
        try:
            outcome = await operation.function(subject, number)
        except BaseException as error:
            took_ns = time.monotonic_ns() - started_ns
            self._failed(operation, number, mark, took_ns, error)
            if not isinstance(error, Exception):
                raise
            return
        ended_ns = time.monotonic_ns()
        rows = outcome if operation.after is None else await operation.after(outcome)
        if operation.name in WRITTEN_BY:
            self._ledger.told.setdefault(operation.name, []).append(number)
        if operation.name == "set_memory":
            memory = memory_of(subject, number)
            self._ledger.remembered.append(Remembered(number, memory, began_ns, time.time_ns()))
        took_ns = ended_ns - started_ns
        if mark is not None:
            since_due_ns = max(took_ns, ended_ns - due_ns)
            self._tally(mark, operation).add(took_ns, since_due_ns, began_ns // SECOND_NS, rows, late=late)
            self.finished.append(Finished(operation.name, took_ns / 1e6, rows))

    def _failed(
        self, operation: Operation, number: int, mark: Mark | None, took_ns: int, error: BaseException
    ) -> None:
        self._ledger.in_doubt.setdefault(operation.name, []).append(number)
        told = f"{operation.name}: {error_text(error)}"
        self._errors[told] = self._errors.get(told, 0) + 1
        if mark is not None:
            self._tally(mark, operation).failed += 1
        self.finished.append(Finished(operation.name, took_ns / 1e6, 0, error_text(error)))


def memory_of(subject: Subject, number: int) -> Memory:
    """Tell which memory `operations.set_memory` writes in the call of this number."""
    asked = subject.reference
    session = None if number % 3 == 0 else asked.session(number)
    return asked.agent(number), session, f"measured.{number % 200}"


def error_text(error: BaseException) -> str:
    """Tell what a driver said in one line, without the statement, its values, or a password."""
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split()) or "no message"
    return redact(f"{type(cause).__name__}: {text}")[:ERROR_CHARACTERS]


def with_place(orders: Orders, place: int, places: int) -> Orders:
    """Give the orders to one of several processes."""
    if not 0 <= place < NUMBER_STEP:
        raise ValueError(f"there can be {NUMBER_STEP} processes, and this would be number {place + 1}")
    return replace(orders, place=place, places=max(places, place + 1, 1))
