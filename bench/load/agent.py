"""One agent: who it is, when it does something, and what. Its whole life is one coroutine.

An agent keeps a timetable of random pauses. A call that is due while the one before it still runs is late: it
is made at once, counted, and its time since it was due is kept beside its own. A call that is too late is
dropped and counted: an agent that cannot keep up does not owe an hour of calls.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace

from bench.asked import Asked
from bench.operation import Operation
from bench.subject import Subject

DROPPED_AFTER_S = 5.0
"""What is later than this is not made any more."""

FIRST = "authenticate"
"""What an agent does before anything else."""

Make = Callable[[Subject, Operation, int, bool], Awaitable[None]]
"""Makes one call that was due at a moment (of the monotonic clock, in ns), late or not."""


@dataclass(frozen=True)
class OwnAsked(Asked):
    """What an agent asks for: as everybody, but with its own token, its own name, and its own memories."""

    me: str = ""

    def agent(self, number: int) -> str:  # noqa: ARG002  every call speaks for the same agent
        """Give the agent's own name, whatever the number of the call."""
        return self.me


def own_view(subject: Subject, name: str, token: str) -> Subject:
    """Give the subject as one agent sees it; pool, counters and the writers' queue stay the same for all."""
    asked = subject.reference
    given = {one.name: getattr(asked, one.name) for one in fields(Asked)}
    own = tuple(memory for memory in asked.memories if memory[0] == name)
    view = OwnAsked(**{**given, "token_ids": (token,), "memories": own or asked.memories}, me=name)
    return replace(subject, asked=view)


class Agent:
    """Works until it is told to stop; a call that it has begun, it ends."""

    def __init__(self, subject: Subject, mix: Mapping[Operation, int], *, rate: float, seed: str) -> None:
        self.subject = subject
        self.dropped = 0
        self._operations, self._weights = list(mix), list(mix.values())
        self._rate = rate
        self._chance = random.Random(seed)
        self._stopping = False
        self._pause: asyncio.Future[None] | None = None

    def stop(self) -> None:
        """Tell it to stop: at once where it pauses, else after its call."""
        self._stopping = True
        _wake(self._pause)

    def _has_to_stop(self) -> bool:
        return self._stopping

    async def live(self, make: Make, on_drop: Callable[[Operation], None]) -> None:
        """Do one thing after another, by the timetable."""
        due_s = time.monotonic()
        first = next((one for one in self._operations if one.name == FIRST), None)
        while not self._has_to_stop():
            due_s += self._chance.expovariate(self._rate)
            operation = first or self._chance.choices(self._operations, self._weights)[0]
            ahead_s = due_s - time.monotonic()
            if ahead_s > 0:
                await self._rest(ahead_s)
            elif -ahead_s > DROPPED_AFTER_S:
                on_drop(operation)
                continue
            if self._has_to_stop():
                return
            first = None
            await make(self.subject, operation, round(due_s * 1e9), ahead_s <= 0)

    async def _rest(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        alarm = loop.call_later(seconds, _wake, self._pause)
        try:
            await self._pause
        finally:
            alarm.cancel()
            self._pause = None


def _wake(pause: asyncio.Future[None] | None) -> None:
    if pause is not None and not pause.done():
        pause.set_result(None)
