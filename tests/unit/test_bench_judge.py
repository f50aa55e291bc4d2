"""Verdicts; and for each budget of the package a canary that breaks it and expects the alarm."""

from __future__ import annotations

import pytest

from bench.budgets import EVERY, Budget, parsed_budgets, read_budgets
from bench.catalogue import OPERATIONS
from bench.copying import COPY_FIGURES
from bench.judge import Judgement, Verdict, judge, judged_figure, judged_measurement, worst
from bench.measurement import STATISTICS, Bounded, Figure, measured

AT_MOST_30 = Budget("any query", ("select_one",), "p99", "ms", at_most=30)
AT_LEAST_HALF = Budget("speed", ("copy",), "share", "x", at_least=0.5)
SAMPLE_COUNT = 1_000


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (10, 29.9, Verdict.MET),
        (10, 30, Verdict.UNPROVED),
        (29, 31, Verdict.UNPROVED),
        (10, None, Verdict.UNPROVED),
        (30, 40, Verdict.UNPROVED),
        (30.1, 40, Verdict.BROKEN),
        (30.1, None, Verdict.BROKEN),
    ],
)
def test_a_limit_from_above(lower: float, upper: float | None, verdict: Verdict) -> None:
    assert judge(Bounded(lower, lower, upper), AT_MOST_30) is verdict


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (0.5, 0.6, Verdict.MET),
        (0.5, None, Verdict.MET),
        (0.49, 0.6, Verdict.UNPROVED),
        (0.3, 0.5, Verdict.UNPROVED),
        (0.3, 0.49, Verdict.BROKEN),
    ],
)
def test_a_limit_from_below(lower: float, upper: float | None, verdict: Verdict) -> None:
    assert judge(Bounded(lower, lower, upper), AT_LEAST_HALF) is verdict


def results_at(budget: Budget, value: float) -> set[Verdict]:
    """Judge made-up results that all have this value, for each operation the budget names."""
    judgements: list[Judgement] = []
    backend = budget.backends[0] if budget.backends else "any"
    for name in budget.operations:
        if budget.statistic in STATISTICS:
            samples = [round(value * 1e6)] * SAMPLE_COUNT
            measurement = measured(name, backend, samples, agents=budget.agents[-1])
            judgements += judged_measurement(measurement, [budget])
        else:
            judgements += judged_figure(
                Figure(budget.statistic, name, backend, budget.unit, (value,)), [budget]
            )
    assert len(judgements) == len(budget.operations)
    return {judgement.verdict for judgement in judgements}


@pytest.mark.parametrize("budget", read_budgets(), ids=lambda budget: budget.name)
def test_each_alarm_rings_when_its_limit_is_passed_and_not_before(budget: Budget) -> None:
    limit, worse = (budget.at_most, 1.01) if budget.at_least is None else (budget.at_least, 0.99)
    assert limit is not None

    assert results_at(budget, limit * worse) == {Verdict.BROKEN}
    assert results_at(budget, limit / worse) == {Verdict.MET}


@pytest.mark.parametrize("budget", read_budgets(), ids=lambda budget: budget.name)
def test_each_budget_speaks_of_something_that_is_measured(budget: Budget) -> None:
    """A misspelt name would be a budget that is never judged."""
    latencies = set(budget.operations) <= {*OPERATIONS, EVERY} and budget.statistic in STATISTICS
    figures = set(budget.operations) == {"copy_messages"} and budget.statistic in COPY_FIGURES

    assert latencies or figures


def test_a_few_slow_calls_of_many_do_not_break_a_p99() -> None:
    samples = [1_000_000] * 1_990 + [100_000_000] * 10

    verdicts = [
        judged.verdict for judged in judged_measurement(measured("select_one", "any", samples), [AT_MOST_30])
    ]
    assert verdicts == [Verdict.UNPROVED]


def test_other_operations_are_not_judged() -> None:
    assert judged_measurement(measured("empty", "any", [1] * 100), [AT_MOST_30]) == ()


def test_a_budget_for_one_backend_says_nothing_of_another() -> None:
    here = Budget("here", ("copy",), "share", "x", at_least=0.5, backends=("here",))

    (judgement,) = judged_figure(Figure("share", "copy", "here", "x", (0.1,)), [here])
    assert judgement.verdict is Verdict.BROKEN
    assert judged_figure(Figure("share", "copy", "there", "x", (0.1,)), [here]) == ()


def test_a_budget_for_a_crowd_says_nothing_of_one_alone() -> None:
    crowd = Budget("crowd", (EVERY,), "p99", "ms", at_most=30, agents=(25,))
    slow = [100_000_000] * SAMPLE_COUNT

    assert judged_measurement(measured("any", "any", slow), [crowd]) == ()
    (judgement,) = judged_measurement(measured("any", "any", slow, agents=25), [crowd])
    assert judgement.verdict is Verdict.BROKEN
    assert "any on any, 25 agents: budget 'crowd' is broken" in judgement.sentence()


def test_what_is_too_slow_on_a_busy_machine_is_unproved_and_says_why() -> None:
    slow = measured("select_one", "any", [31_000_000] * SAMPLE_COUNT, doubt="the machine was busy")

    (judgement,) = judged_measurement(slow, [AT_MOST_30])
    assert judgement.verdict is Verdict.UNPROVED
    assert judgement.sentence().endswith("the limit is at most 30 ms; the machine was busy")


def test_what_is_fast_enough_on_a_busy_machine_is_met() -> None:
    fast = measured("select_one", "any", [1_000_000] * SAMPLE_COUNT, doubt="the machine was busy")

    (judgement,) = judged_measurement(fast, [AT_MOST_30])
    assert judgement.verdict is Verdict.MET


def test_the_gravest_verdict_is_the_one_to_know() -> None:
    def judgement(verdict: Verdict) -> Judgement:
        return Judgement(AT_MOST_30, "any", "any", Bounded(1, 1, 1), verdict)

    assert worst(map(judgement, Verdict)) is Verdict.BROKEN
    assert worst([judgement(Verdict.MET), judgement(Verdict.UNPROVED)]) is Verdict.UNPROVED
    assert worst([]) is None


def test_a_verdict_is_told_with_its_figures() -> None:
    (judgement,) = judged_measurement(
        measured("select_one", "sqlite", [31_000_000] * SAMPLE_COUNT), [AT_MOST_30]
    )

    assert judgement.sentence() == (
        "select_one on sqlite: budget 'any query' is broken; p99 is 31 ms (between 31 and 31), "
        "the limit is at most 30 ms"
    )


def test_a_budget_without_a_limit_or_with_two_is_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        Budget("nothing", ("any",), "p99", "ms")
    with pytest.raises(ValueError, match="not both"):
        Budget("both", ("any",), "p99", "ms", at_most=1, at_least=1)


def test_a_misspelt_key_is_an_error_and_not_an_unlimited_budget() -> None:
    with pytest.raises(TypeError, match="at_moost"):
        parsed_budgets('budgets = [{name="a", operations=["b"], statistic="p99", unit="ms", at_moost=1}]')
