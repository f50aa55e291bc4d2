"""One side of a comparison of times: a process that runs blocks of calls when it is told to.

It is the same file for both sides, run by its path with the side's own checkout on the path, so that base and
head differ in what they do and not in how it is timed. It speaks lines of JSON; the block's time is taken
here, inside the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.catalogue import OPERATIONS
from bench.operation import Operation
from bench.subject import Subject, open_subject

WARM_UP_CALLS = 12

_THREADS = Path("/proc/self/task")

Extra = Callable[[Subject, int], Awaitable[None]]


async def one_call(operation: Operation, subject: Subject, number: int) -> None:
    """Do it once."""
    outcome = await operation.function(subject, number)
    if operation.after is not None:
        await operation.after(outcome)


async def timed_block(
    operation: Operation, subject: Subject, first: int, calls: int, extra: Extra | None = None
) -> dict[str, int]:
    """Give the nanoseconds that this many calls take together, and what the threads did meanwhile."""
    if calls > 1:
        # Caches hold what another process did meanwhile; a call that is not timed puts that right.
        await one_call(operation, subject, first)
    ran_ns, waited_ns = processor_ns()
    began_ns = time.perf_counter_ns()
    for number in range(first, first + calls):
        await one_call(operation, subject, number)
    if extra is not None:
        await extra(subject, calls)
    took_ns = time.perf_counter_ns() - began_ns
    ran_until_ns, waited_until_ns = processor_ns()
    return {"took_ns": took_ns, "ran_ns": ran_until_ns - ran_ns, "waited_ns": waited_until_ns - waited_ns}


def processor_ns() -> tuple[int, int]:
    """Give how long this process's threads ran, and were ready and did not, so far; 0 where nobody counts."""
    ran_ns = waited_ns = 0
    try:
        for thread in _THREADS.iterdir():
            ran, waited, _ = (thread / "schedstat").read_bytes().split()
            ran_ns, waited_ns = ran_ns + int(ran), waited_ns + int(waited)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return 0, 0
    return ran_ns, waited_ns


async def warm_up(operation: Operation, subject: Subject, block_ns: float) -> int:
    """Run it until everything is in place, and give the number of calls that fill a block."""
    durations_ns = []
    for number in range(WARM_UP_CALLS):
        began_ns = time.perf_counter_ns()
        await one_call(operation, subject, number)
        durations_ns.append(time.perf_counter_ns() - began_ns)
    # A quarter are faster than this: what other programs cost is not the operation's.
    typical_ns = sorted(durations_ns)[len(durations_ns) // 4]
    return max(1, round(block_ns / max(1, typical_ns)))


async def serve(url: str) -> None:
    """Answer lines until there are no more."""
    extras: dict[str, Extra] = {}
    async with open_subject(url, keeps_writes=False) as subject:
        _answer({"operations": {name: one.impossible(subject) for name, one in OPERATIONS.items()}})
        # Nothing else wants the loop while it waits here, so it may wait without it.
        while line := sys.stdin.readline():
            asked: dict[str, Any] = json.loads(line)
            operation = OPERATIONS[asked["operation"]]
            if asked["do"] == "warm up":
                calls = await warm_up(operation, subject, asked["block_ns"])
                gc.collect()
                gc.freeze()
                _answer({"calls": calls})
            elif asked["do"] == "inject":
                from bench.gate.injection import prepared

                extras[operation.name], facts = await prepared(operation, subject, asked)
                _answer(facts)
            else:
                extra = extras.get(operation.name)
                _answer(await timed_block(operation, subject, asked["first"], asked["calls"], extra))


def _answer(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    where = json.loads(sys.stdin.readline())
    if where["core"] is not None:
        os.sched_setaffinity(0, {where["core"]})
    asyncio.run(serve(where["url"]))
