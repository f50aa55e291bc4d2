"""Measurement x Budget -> Verdict: pure, and careful in both directions.

A budget is broken only when even the favourable bound is beyond the limit, and met only when even the
unfavourable bound is within it. What lies between is unproved: neither an alarm nor a pass, and the remedy is
more samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from bench.budgets import Budget
from bench.measurement import Bounded, Figure, Measurement


class Verdict(StrEnum):
    """What is known about one budget."""

    MET = "met"
    BROKEN = "broken"
    UNPROVED = "unproved"


@dataclass(frozen=True)
class Judgement:
    """A verdict, with the budget and the bounds that it follows from."""

    budget: Budget
    operation: str
    backend: str
    bounded: Bounded
    verdict: Verdict
    stage: str = ""
    agents: int = 1
    doubt: str = ""

    def sentence(self) -> str:
        """Tell the verdict with its figures, for people."""
        budget = self.budget
        limit = (
            f"at most {budget.at_most:g}" if budget.at_most is not None else f"at least {budget.at_least:g}"
        )
        upper = "without upper bound" if self.bounded.upper is None else f"{self.bounded.upper:.3g}"
        crowd = f", {self.agents} agents" if self.agents > 1 else ""
        place = f"{self.backend} {self.stage}".strip() + crowd
        doubted = f"; {self.doubt}" if self.doubt and self.verdict is Verdict.UNPROVED else ""
        return (
            f"{self.operation} on {place}: budget {budget.name!r} is {self.verdict}; "
            f"{budget.statistic} is {self.bounded.value:.3g} {budget.unit} "
            f"(between {self.bounded.lower:.3g} and {upper}), the limit is {limit} {budget.unit}{doubted}"
        )


def judge(bounded: Bounded, budget: Budget) -> Verdict:
    """Hold one bounded estimate against one limit."""
    if budget.at_most is not None:
        within = bounded.upper is not None and bounded.upper < budget.at_most
        beyond = bounded.lower > budget.at_most
    else:
        assert budget.at_least is not None
        within = bounded.lower >= budget.at_least
        beyond = bounded.upper is not None and bounded.upper < budget.at_least
    if beyond:
        return Verdict.BROKEN
    return Verdict.MET if within else Verdict.UNPROVED


def judged_measurement(measurement: Measurement, budgets: Iterable[Budget]) -> tuple[Judgement, ...]:
    """Judge a measurement by every budget that names its operation and a latency."""
    return tuple(
        _judgement(measurement, measurement.latency_ms(budget.statistic), budget)
        for budget in budgets
        if budget.speaks_of(measurement.operation, measurement.backend, measurement.agents)
        and budget.statistic in measurement.statistics_ns
    )


def judged_figure(figure: Figure, budgets: Iterable[Budget]) -> tuple[Judgement, ...]:
    """Judge a figure by every budget that names its operation and its name."""
    return tuple(
        _judgement(figure, figure.bounded(), budget)
        for budget in budgets
        if budget.speaks_of(figure.operation, figure.backend) and budget.statistic == figure.name
    )


def worst(judgements: Iterable[Judgement]) -> Verdict | None:
    """Give the verdict that a reader must know of, or None where nothing was judged."""
    found = {judgement.verdict for judgement in judgements}
    by_gravity = (Verdict.BROKEN, Verdict.UNPROVED, Verdict.MET)
    return next((verdict for verdict in by_gravity if verdict in found), None)


def assert_not_broken(judgements: Iterable[Judgement]) -> None:
    """Fail when a budget is certainly exceeded; what is unproved stands in the table and fails nothing."""
    broken = [judgement.sentence() for judgement in judgements if judgement.verdict is Verdict.BROKEN]
    if broken:
        raise AssertionError("\n".join(broken))


def _judgement(subject: Measurement | Figure, bounded: Bounded, budget: Budget) -> Judgement:
    verdict = judge(bounded, budget)
    if isinstance(subject, Measurement) and subject.doubt and verdict is Verdict.BROKEN:
        # Too slow on a machine that was busy with something else says nothing of the database.
        verdict = Verdict.UNPROVED
    if isinstance(subject, Figure):
        return Judgement(budget, subject.operation, subject.backend, bounded, verdict)
    return Judgement(
        budget=budget,
        operation=subject.operation,
        backend=subject.backend,
        bounded=bounded,
        verdict=verdict,
        stage=subject.stage,
        agents=subject.agents,
        doubt=subject.doubt,
    )
