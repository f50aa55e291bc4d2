"""What load counts and judges, without any load: tallies, ledgers, verdicts, stages."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from bench.budgets import read_budgets
from bench.catalogue import OPERATIONS
from bench.judge import Verdict
from bench.load.__main__ import arguments
from bench.load.ledger import WRITTEN_BY, Ledger, Present, Remembered, counted
from bench.load.live import operations_of
from bench.load.options import WRITES, asked_by, mix_of
from bench.load.run import LoadRun
from bench.load.stages import KneeSearch, Stage, Stages, slowest_p99_ms
from bench.load.tally import Mark, Tally, slot
from bench.load.verdict import Exit, budgets_for, exit_of, judged, measurements_of
from bench.measurement import Measurement, measured
from migration.errors import Refused, UsageError

SECOND = 1_000_000_000


def durations(count: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [round(chance.lognormvariate(0, 1) * 1e6) for _ in range(count)]


def tally_of(samples: list[int]) -> Tally:
    tally = Tally()
    for place, sample in enumerate(samples):
        tally.add(sample, 2 * sample, place * 60 // len(samples), 1, late=False)
    return tally


def as_told(tally: Tally) -> Tally:
    return Tally.from_message(tally.as_message())


def test_a_tally_says_what_all_samples_say_to_a_thousandth() -> None:
    samples = durations(5_000)
    found = tally_of(samples).measurement("authenticate", "none")
    exact = measured("authenticate", "none", samples)

    for name in ("p50", "p95", "p99", "p99.9", "mean", "max"):
        for bound in ("value", "lower", "upper"):
            one, other = (getattr(it.statistics_ns[name], bound) for it in (found, exact))
            if name != "mean" or bound == "value":
                assert one == (other and pytest.approx(other, rel=1e-3)), (name, bound)
    assert found.sample_count == exact.sample_count == 5_000
    assert found.counters["since_due_p99_ms"] == pytest.approx(
        2e-6 * exact.statistics_ns["p99"].value, rel=2e-3
    )


def test_merged_tallies_are_the_tally_of_all_calls() -> None:
    samples = durations(4_000)
    whole = tally_of(samples)
    parts = [Tally() for _ in range(3)]
    for place, sample in enumerate(samples):
        parts[place % 3].add(sample, 2 * sample, place * 60 // 4_000, 1, late=False)
    merged = Tally()
    for part in parts:
        merged.merge(as_told(part))

    assert merged == whole
    assert merged.measurement("audit", "none") == whole.measurement("audit", "none")


def test_canary_the_mean_of_percentiles_is_not_the_percentile() -> None:
    quick, slow = tally_of([SECOND // 1_000] * 900), tally_of([SECOND // 10] * 100)
    p95 = [part.measurement("audit", "none").statistics_ns["p95"].value for part in (quick, slow)]
    quick.merge(slow)

    assert quick.measurement("audit", "none").statistics_ns["p95"].value == pytest.approx(p95[1], rel=1e-3)
    assert sum(p95) / 2 < 0.6 * p95[1]


@pytest.mark.parametrize("duration", [1, 2_047, 2_048, 2_049, 123_456_789, 3_600_000_000_000])
def test_a_slot_is_never_below_its_durations_and_less_than_a_thousandth_above(duration: int) -> None:
    assert duration <= slot(duration) <= duration * 1.001


# --- ledgers ------------------------------------------------------------------------------------------------


def a_ledger() -> Ledger:
    return Ledger(
        told={"add_message": [1, 2], "audit": [3], "create_session": [5], "set_memory": [7, 9]},
        remembered=[
            Remembered(7, ("me", None, "measured.7"), 0, 10),
            Remembered(9, ("me", None, "measured.7"), 20, 30),
        ],
        tokens_given={"old", "kept"},
        tokens_kept={"new", "kept"},
    )


def what_it_says() -> Present:
    return Present(
        numbers={
            "messages": Counter([1, 2]),
            "audit_log": Counter([1, 2, 3]),
            "sessions": Counter([5]),
        },
        memories={("me", None, "measured.7"): {9}},
        tokens={"new", "kept", "another"},
    )


def test_what_was_told_and_is_there_is_sound() -> None:
    count = counted(Ledger.from_message(a_ledger().as_message()), what_it_says())

    assert count.is_sound
    assert count.acknowledged == 6
    assert count.sentence() == "6 acknowledged writes, every one of them is there"


def lose_a_message(present: Present) -> None:
    del present.numbers["messages"][2]


def lose_half_of_a_transaction(present: Present) -> None:
    del present.numbers["audit_log"][2]


def lose_a_session(present: Present) -> None:
    present.numbers["sessions"].clear()


def lose_an_update(present: Present) -> None:
    present.memories["me", None, "measured.7"] = {7}


def lose_a_memory(present: Present) -> None:
    present.memories.clear()


def lose_a_token(present: Present) -> None:
    present.tokens.discard("new")


@pytest.mark.parametrize(
    "lose",
    [
        lose_a_message,
        lose_half_of_a_transaction,
        lose_a_session,
        lose_an_update,
        lose_a_memory,
        lose_a_token,
    ],
)
def test_canary_a_lost_write_is_named(lose: object) -> None:
    present = what_it_says()
    lose(present)  # type: ignore[operator]

    count = counted(a_ledger(), present)

    assert (count.lost, count.untold, count.repeated) == (1, 0, 0)
    assert count.samples[0].startswith("lost: ")


def test_canary_a_write_that_nobody_was_told_of_is_named() -> None:
    present = what_it_says()
    present.numbers["audit_log"][77] += 1
    present.tokens.add("old")

    count = counted(a_ledger(), present)

    assert (count.lost, count.untold, count.repeated) == (0, 2, 0)
    assert "nobody was told of: audit_log, call 77" in count.samples


def test_canary_a_write_that_was_made_twice_is_named() -> None:
    present = what_it_says()
    present.numbers["messages"][1] += 1

    assert counted(a_ledger(), present).samples == ("repeated: messages, call 1",)


def test_a_call_that_failed_may_have_been_written_or_not() -> None:
    ledger, present = a_ledger(), what_it_says()
    ledger.in_doubt = {"audit": [78], "refresh_token": [80], "set_memory": [81]}
    present.tokens.add("old")
    for there in (True, False):
        present.numbers["audit_log"][78] = int(there)
        present.numbers["audit_log"] += Counter()
        assert counted(ledger, present).is_sound
    present.memories["me", None, "measured.7"] = {81}
    assert counted(ledger, present).is_sound


def test_memories_that_expire_may_be_gone_and_of_two_at_once_either_may_be_the_last() -> None:
    ledger, present = a_ledger(), what_it_says()
    ledger.remembered = [
        Remembered(8, ("me", None, "measured.8"), 0, 10),
        Remembered(13, ("me", None, "measured.13"), 0, 10),
        Remembered(15, ("me", None, "measured.13"), 5, 12),
    ]
    for last in (13, 15):
        present.memories = {("me", None, "measured.13"): {last}}
        assert counted(ledger, present).is_sound


def test_every_operation_of_the_mix_that_writes_is_counted() -> None:
    # A new one must be named in the ledger, or in the second list.
    reads = {"authenticate", "get_messages", "get_memory", "list_memory", "search_context"}
    reads |= {"search_by_sender", "search_by_timerange"}
    mixed = {name for name, one in OPERATIONS.items() if one.weight and one.group != "own"}

    assert mixed == set(WRITTEN_BY) | reads
    assert set(WRITES) == set(WRITTEN_BY)


# --- verdicts -----------------------------------------------------------------------------------------------


def a_measurement(milliseconds: float, agents: int = 25, busy: float = 0.5) -> Measurement:
    tallies = {(Mark("", agents), "authenticate"): tally_of([round(milliseconds * 1e6)] * 1_000)}
    return measurements_of(tallies, "none", {Mark("", agents): {"own_cpu_share": busy}})[0]


@pytest.mark.parametrize("agents", [5, 25, 500])
def test_the_budgets_of_a_crowd_hold_for_any_number_of_agents(agents: int) -> None:
    budgets = budgets_for([agents], read_budgets(), "none")

    quick = judged([a_measurement(1, agents)], budgets)
    slow = judged([a_measurement(50, agents)], budgets)

    assert [one.verdict for one in quick] == [Verdict.MET]
    assert [one.verdict for one in slow] == [Verdict.BROKEN]
    assert (exit_of(quick, []), exit_of(slow, [])) == (Exit.MET, Exit.BROKEN)


def test_there_is_no_verdict_when_the_generator_was_the_bottleneck() -> None:
    budgets = budgets_for([25], read_budgets(), "none")
    for milliseconds in (1, 50):
        busy = judged([a_measurement(milliseconds, busy=0.91)], budgets)
        assert [one.verdict for one in busy] == [Verdict.UNPROVED]
        assert exit_of(busy, []) is Exit.UNPROVED


def test_nothing_measured_is_no_pass_and_a_failure_outweighs_every_verdict() -> None:
    met = judged([a_measurement(1)], budgets_for([25], read_budgets(), "none"))

    assert exit_of((), []) is Exit.UNPROVED
    assert exit_of(met, ["a write is lost"]) is Exit.BROKEN


def a_run(milliseconds: float) -> LoadRun:
    asked = asked_by(Flags())
    run = LoadRun(asked, {"backend": "none", "engine": {"version": "1"}}, "agents", 1)
    run.mark = Mark("", 25)
    run.tallies[run.mark, "audit"] = tally_of([round(milliseconds * 1e6)] * 1_000)
    return run


@pytest.mark.parametrize(("milliseconds", "verdict"), [(1, "met"), (50, "broken")])
def test_the_page_says_what_the_run_will_say(milliseconds: float, verdict: str) -> None:
    run = a_run(milliseconds)
    assert [one["verdict"] for one in operations_of(run, Mark("", 25))] == [verdict]
    run.shares_at[Mark("", 25)] = {"one": {"own_cpu_share": 0.2}, "another": {"own_cpu_share": 0.95}}
    assert [one["verdict"] for one in operations_of(run, Mark("", 25))] == ["unproved"]


# --- flags --------------------------------------------------------------------------------------------------


class Flags:
    backend, url, let_agents_write, migrate_to, results = "sqlite", "", False, "", "results/runs"
    scale, seed, rate, mix, warm_up = 1.0, 1, 10.0, "", 2.0


def test_a_database_of_ones_own_is_written_to_only_when_that_is_said() -> None:
    flags = Flags()
    flags.url = "postgresql://me:secret@host/app"
    with pytest.raises(Refused, match="--let-agents-write") as refused:
        asked_by(flags)
    assert "secret" not in str(refused.value)
    flags.let_agents_write = True
    assert asked_by(flags).url == flags.url


@pytest.mark.parametrize("text", ["nothing=1", "audit", "audit=x", "audit=0"])
def test_a_mix_that_cannot_be_understood_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--mix"):
        mix_of(text)


def test_a_mix_is_read() -> None:
    assert mix_of(" audit=2, get_messages=3 ") == {"audit": 2, "get_messages": 3}


def test_the_page_is_for_this_machine_alone_and_a_worker_listens_to_nobody() -> None:
    started = arguments([])
    assert started[:2] == ["-f", started[1]]
    assert started[1].endswith("agents.py")
    assert started[started.index("--web-host") + 1] == "127.0.0.1"
    assert "--class-picker" in started
    assert "--web-host" not in arguments(["--worker"])
    assert arguments(["ramp", "--headless"])[1].endswith("ramp.py")


# --- shapes -------------------------------------------------------------------------------------------------


def test_stages_follow_each_other_and_are_measured_once_they_have_settled() -> None:
    marks: list[Mark | None] = []
    stages = Stages([Stage(25, 10, "before"), Stage(100, 10, "during")], marks.append)

    assert [stages.agents_at(second) for second in (0, 1, 3, 9, 10, 13, 20)] == [
        *[25] * 4,
        *[100] * 2,
        None,
    ]
    assert marks == [Mark("before", 25), None, Mark("during", 100)]


def test_the_knee_is_the_highest_number_of_agents_that_stayed_below_the_limit() -> None:
    search, tried = KneeSearch(), []
    while (agents := search.next_agents()) is not None:
        tried.append(agents)
        search.tried(agents, 5.0 if agents <= 130 else 45.0)

    assert tried == [25, 50, 100, 200, 150, 125]
    assert search.good == 125
    assert search.sentence().startswith("the knee: 125 agents stay below 30 ms at p99, 150 are too many")


def test_there_may_be_no_knee() -> None:
    search = KneeSearch()
    search.tried(search.next_agents() or 0, 31.0)
    assert search.next_agents() is None
    assert "no number of agents" in search.sentence()


def test_the_slowest_operation_decides_and_seldom_ones_are_taken_together() -> None:
    mark = Mark("", 25)
    often = {(mark, "audit"): tally_of([1_000_000] * 500), (mark, "authenticate"): tally_of([10_000_000])}
    assert slowest_p99_ms(often, mark) == pytest.approx(1, rel=1e-3)
    often[mark, "get_messages"] = tally_of([40_000_000] * 200)
    assert slowest_p99_ms(often, mark) == pytest.approx(40, rel=1e-3)
    assert slowest_p99_ms(often, Mark("", 50)) == float("inf")
