"""The stopwatch times what it says: inside the loop, around the operation and around nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.budgets import read_budgets
from bench.catalogue import OPERATIONS, Operation
from bench.judge import assert_not_broken, judged_measurement
from bench.measurement import measured
from bench.replay import CLOCK, ReplayClock
from bench.stopwatch import take_mix, take_samples
from bench.subject import Subject

NO_SUBJECT = cast(Subject, None)
FIFTY_MS_IN_NS = 50_000_000


class ManualClock:
    """A clock that moves only when an operation moves it."""

    def __init__(self) -> None:
        self.now_ns = 1_000

    def __call__(self) -> int:
        return self.now_ns


async def sleeps_50_ms(_subject: Subject, _number: int) -> int:
    await asyncio.sleep(0.05)
    return 1


async def test_a_coroutine_that_sleeps_50_ms_is_reported_as_50_ms() -> None:
    """Timing the making of the coroutine would report two microseconds."""
    samples = await take_samples(Operation("sleep", sleeps_50_ms, 3, 3), NO_SUBJECT, rounds=3)

    measurement = measured("sleep", "none", samples.durations_ns, samples.row_count)
    # A timer may fire a clock tick early, and never more.
    assert measurement.latency_ms("p50").value > 49
    assert measurement.row_count == 3


async def test_exactly_the_operation_is_timed() -> None:
    clock = ManualClock()

    async def moves_the_clock(_subject: Subject, number: int) -> int:
        clock.now_ns += FIFTY_MS_IN_NS
        await asyncio.sleep(0)
        return number

    async def takes_its_time(outcome: Any) -> int:
        clock.now_ns += 1_000 * FIFTY_MS_IN_NS
        return int(outcome)

    operation = Operation("exact", moves_the_clock, 4, 4, after=takes_its_time)
    samples = await take_samples(operation, NO_SUBJECT, rounds=4, clock_ns=clock)

    assert samples.durations_ns == (FIFTY_MS_IN_NS,) * 4
    assert samples.row_count == 0 + 1 + 2 + 3


async def test_agents_share_the_rounds_and_run_at_the_same_time() -> None:
    running: set[int] = set()
    at_once: list[int] = []

    async def overlaps(_subject: Subject, number: int) -> int:
        running.add(number)
        at_once.append(len(running))
        await asyncio.sleep(0.02)
        running.discard(number)
        return 1

    samples = await take_samples(Operation("crowd", overlaps, 1, 1, agents=20), NO_SUBJECT, rounds=60)

    assert len(samples.durations_ns) == samples.row_count == 60
    assert max(at_once) > 1


async def test_a_failing_operation_fails_the_benchmark() -> None:
    async def breaks(_subject: Subject, _number: int) -> int:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await take_samples(Operation("breaks", breaks, 1, 1), NO_SUBJECT, rounds=3)


@pytest.mark.benchmark(timer=CLOCK.now_s)
async def test_pytest_benchmark_sees_the_durations_that_were_measured(benchmark: BenchmarkFixture) -> None:
    durations_ns = (50_000_000, 50_000_000, 80_000_000)
    CLOCK.load(durations_ns)
    benchmark.pedantic(CLOCK.advance, rounds=len(durations_ns))

    if not benchmark.disabled:
        assert benchmark.stats.stats.rounds == 3
        assert benchmark.stats.stats.mean == pytest.approx(0.06)
        assert benchmark.stats.stats.max == pytest.approx(0.08)


def test_a_replayed_clock_stands_still_between_durations() -> None:
    clock = ReplayClock()
    clock.load([2_000_000_000, 3_000_000_000])

    assert clock.now_s() == clock.now_s() == 0
    clock.advance()
    assert clock.now_s() == clock.now_s() == pytest.approx(2)
    clock.advance()
    assert clock.now_s() == pytest.approx(5)


async def test_an_operation_that_became_too_slow_fails_its_benchmark() -> None:
    """The whole road from the stopwatch to the failure: the canary of every latency budget."""
    clock = ManualClock()

    async def became_slow(_subject: Subject, _number: int) -> int:
        clock.now_ns += 31_000_000
        return 1

    for name, operation in OPERATIONS.items():
        slow = Operation(name, became_slow, 1, operation.rounds_real)
        samples = await take_samples(slow, NO_SUBJECT, slow.rounds_real, clock_ns=clock)
        judgements = judged_measurement(measured(name, "none", samples.durations_ns), read_budgets())
        with pytest.raises(AssertionError, match="'any query' is broken"):
            assert_not_broken(judgements)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_each_operation_takes_enough_samples_to_prove_its_budgets(operation: Operation) -> None:
    fast = measured(operation.name, "none", [1_000] * operation.rounds_real, agents=operation.agents)

    assert {judgement.verdict for judgement in judged_measurement(fast, read_budgets())} <= {"met"}


async def test_agents_do_the_operations_by_weight_and_leave_out_what_has_none() -> None:
    async def quick(_subject: Subject, _number: int) -> int:
        return 1

    often, seldom, never = (Operation(f"w{weight}", quick, 1, 1, weight=weight) for weight in (9, 1, 0))
    seen = await take_mix([often, seldom, never], NO_SUBJECT, agents=10, calls=200)

    assert set(seen) == {"w9", "w1"}
    assert len(seen["w9"].durations_ns) + len(seen["w1"].durations_ns) == 200
    assert len(seen["w9"].durations_ns) > 4 * len(seen["w1"].durations_ns)


async def test_a_stall_is_seen_in_the_time_since_each_call_was_due() -> None:
    """The canary of coordinated omission: one call in fifty holds its agent up, and the next are late."""

    async def stalls(_subject: Subject, number: int) -> int:
        if number % 50 == 0:
            await asyncio.sleep(1.0)
        return 1

    seen = await take_mix([Operation("stalls", stalls, 1, 1, weight=1)], NO_SUBJECT, agents=1, calls=60)

    counters = seen["stalls"].counters
    assert counters["late_calls"] > 3
    service_p90_ms = sorted(seen["stalls"].durations_ns)[53] / 1e6
    assert counters["since_due_p99_ms"] > 10 * service_p90_ms
