"""The sides of a comparison, resident processes that take turns: never two at once.

The base, the head and the base's twin each have a process of their own for one group; the next group has
fresh ones, because where a process lies in memory makes it faster or slower for all its life.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

from bench.gate.times import Thresholds, TimeVerdict, judge_time

ANSWER_SECONDS_MAX = 60.0
"""A block takes milliseconds, a start a second; a process that says nothing for this long hangs."""

IDLE_LOOK_SECONDS = 0.1

SIDES = ("base", "head", "twin")
"""The twin is the base once more: what differs between those two is the machine."""

COMPARED_WITH = {"head": ("base", "twin"), "twin": ("base",)}
"""The head is compared with both copies of the base: what one of them happened to scatter counts for half."""

_WORKER = Path(__file__).with_name("worker.py")


class SideFailed(Exception):
    """A side's process ended or hangs; the message holds its last words."""


@dataclass(frozen=True)
class Side:
    """What one side runs: its checkout, and its database.

    `injected` is executed work that the study adds to an operation; empty in every gate.
    """

    tree: Path
    url: str = field(repr=False)
    injected: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Group:
    """What one fresh group of processes has shown of one operation.

    Attributes
    ----------
    rounds_us
        For each round two blocks of the base, two of the head and two of its twin, in microseconds: what is
        judged is what is kept, and the last digits of a clock are not worth their room.
    ran_us, waited_us
        How long the process's threads ran in each block, and were ready and did not run.
    facts
        What was injected, as it was measured; empty in every gate.
    """

    calls: int
    rounds_us: list[tuple[int, ...]]
    ran_us: list[tuple[int, ...]]
    waited_us: list[tuple[int, ...]]
    facts: Mapping[str, float] = field(default_factory=dict)

    def log_ratio(self, side: str) -> float:
        """Give the middle of the log-ratios of each block to the base's of the same half round.

        Against two copies it is the mean of the two middles: each is as likely above as below zero where all
        sides run the same, which the mean of the copies' own times would not be.
        """
        return fmean(self._middle(side, other) for other in COMPARED_WITH[side])

    def _middle(self, side: str, other: str) -> float:
        over, under = 2 * SIDES.index(side), 2 * SIDES.index(other)
        return median(
            math.log(one[over + half] / one[under + half]) for one in self.rounds_us for half in (0, 1)
        )


HEARD = ("took_ns", "ran_ns", "waited_ns")
"""What a side tells of each block."""

Recording = dict[str, list[Group]]
"""Operation -> its groups, in the order in which they ran."""


class Worker:
    """One resident process; :meth:`ask` waits for its answer."""

    def __init__(self, side: Side, core: int | None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(side.tree), "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            # Only the checkout's own packages: not the folder that the file lies in.
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=side.tree,
        )
        self._answers = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._answers.register(self._process.stdout, selectors.EVENT_READ)
        self.send({"url": side.url, "core": core})

    def send(self, question: Mapping[str, Any]) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SideFailed(self._last_words()) from None

    def receive(self) -> dict[str, Any]:
        """Wait for the answer."""
        assert self._process.stdout is not None
        if not self._answers.select(ANSWER_SECONDS_MAX):
            raise SideFailed(f"no answer within {ANSWER_SECONDS_MAX:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise SideFailed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        self.send(question)
        return self.receive()

    def close(self) -> None:
        """End the process."""
        self._answers.close()
        self._process.kill()
        self._process.communicate()

    def _last_words(self) -> str:
        _, complaint = self._process.communicate(timeout=ANSWER_SECONDS_MAX)
        return complaint.decode("utf-8", "replace").strip().rpartition("\n")[2] or "its process ended"


@contextmanager
def _workers(sides: Mapping[str, Side], turn: int) -> Iterator[tuple[dict[str, Worker], dict[str, set[str]]]]:
    """Start one process for each side, whichever first by turns, and give what each can do."""
    order = [SIDES[(turn + place) % len(SIDES)] for place in range(len(SIDES))]
    core = idlest_core()
    with ExitStack() as stack:
        workers = {}
        for name in order:
            workers[name] = Worker(sides[name], core)
            stack.callback(workers[name].close)
        able = {}
        for name in order:
            operations = workers[name].receive()["operations"]
            able[name] = {operation for operation, reason in operations.items() if not reason}
        yield workers, able


def idlest_core() -> int | None:
    """Give the processor that has the least to do; None where a process cannot be kept on one.

    All sides run on the same one: they never run at once, and what disturbs one disturbs the others alike.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    shares = psutil.cpu_percent(IDLE_LOOK_SECONDS, percpu=True)
    allowed = [core for core in sorted(os.sched_getaffinity(0)) if core < len(shares)]
    return min(allowed, key=lambda core: shares[core], default=None)


def able_operations(sides: Mapping[str, Side]) -> dict[str, set[str]]:
    """Give what each side can do on its database; this is also the test that each side starts at all."""
    with _workers(sides, 0) as (_, able):
        return able


def record(
    sides: Mapping[str, Side],
    operations: Sequence[str],
    thresholds: Thresholds,
    *,
    told: Callable[[str], None] = lambda _: None,
    clock_s: Callable[[], float] = time.monotonic,
) -> Recording:
    """Record groups until everything is decided, or the groups or the time are at their end.

    What is decided at a look is measured no further.
    """
    recording: Recording = {operation: [] for operation in operations}
    began_s = clock_s()
    open_still = list(operations)
    for number in range(max(thresholds.looks)):
        if clock_s() - began_s > thresholds.seconds_max:
            break
        one_group(sides, open_still, thresholds, recording, number)
        if number + 1 in thresholds.looks:
            open_still = [
                name for name in open_still if not _is_decided(recording[name], thresholds, len(operations))
            ]
            told(f"after {number + 1} groups and {clock_s() - began_s:.0f} s undecided: {len(open_still)}")
        if not open_still:
            break
    return recording


def _is_decided(groups: Sequence[Group], thresholds: Thresholds, benchmarks: int) -> bool:
    log_ratios = [group.log_ratio("head") for group in groups]
    return judge_time(log_ratios, thresholds, benchmarks).verdict is not TimeVerdict.UNPROVED


def one_group(
    sides: Mapping[str, Side],
    operations: Sequence[str],
    thresholds: Thresholds,
    recording: Recording,
    number: int,
) -> None:
    """Add one group of fresh processes to the recording."""
    with _workers(sides, number) as (workers, _):
        for operation in operations:
            first = next(iter(recording[operation]), None)
            recording[operation].append(_recorded(sides, workers, operation, thresholds, first))


def _recorded(
    sides: Mapping[str, Side],
    workers: Mapping[str, Worker],
    operation: str,
    thresholds: Thresholds,
    first_group: Group | None,
) -> Group:
    block_ns = thresholds.block_ms * 1e6
    calls, facts = 1, {}
    for name, worker in workers.items():
        answer = worker.ask(do="warm up", operation=operation, block_ns=block_ns)
        if name == "base":
            # Every group does the same as the first.
            calls = first_group.calls if first_group else int(answer["calls"])
    for name, worker in workers.items():
        if sides[name].injected:
            known = {"amount": first_group.facts["amount"]} if first_group else {}
            question = {**sides[name].injected, **known}
            facts = worker.ask(do="inject", operation=operation, calls=calls, **question)
    orders = list(permutations(SIDES))
    heard: dict[str, list[tuple[int, ...]]] = {name: [] for name in HEARD}
    for number in range(thresholds.rounds):
        order = orders[number % len(orders)]
        answers: dict[str, list[dict[str, int]]] = {name: [] for name in SIDES}
        # There and back: what the machine drifts by meanwhile falls on all sides alike.
        for half, turn in enumerate((order, order[::-1])):
            first = (2 * number + half) * calls
            for name in turn:
                answer = workers[name].ask(do="block", operation=operation, first=first, calls=calls)
                answers[name].append(answer)
        for what, rounds in heard.items():
            rounds.append(tuple(round(answer[what] / 1e3) for name in SIDES for answer in answers[name]))
    return Group(calls, heard["took_ns"], heard["ran_ns"], heard["waited_ns"], facts)
