"""Tallies of a whole run to measurements and verdicts, and both to an exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum

from bench.budgets import Budget
from bench.burden import OWN_CPU_SHARE_MAX, doubt_of
from bench.catalogue import OPERATIONS
from bench.judge import Judgement, Verdict, judged_measurement
from bench.load.tally import Mark, Tally
from bench.measurement import Measurement

AGENTS_MEANT = 25
"""The number of agents that the budgets of a crowd name; they hold for any crowd that load makes."""


class Exit(IntEnum):
    """What a run of load ends with."""

    MET = 0
    BROKEN = 1
    MISUSE = 2
    UNPROVED = 7


def budgets_for(agents: Iterable[int], budgets: Iterable[Budget], backend: str) -> tuple[Budget, ...]:
    """Give the budgets of a crowd, for these numbers of agents too; "25 and more" is what the user said.

    Budgets of operations that agents do not do are left out: their silence would say nothing.
    """
    asked = [(name, backend) for name, operation in OPERATIONS.items() if operation.weight]
    counts = tuple(sorted({*agents, AGENTS_MEANT}))
    return tuple(
        replace(budget, agents=counts)
        for budget in budgets
        if AGENTS_MEANT in budget.agents and any(budget.speaks_of(*one, AGENTS_MEANT) for one in asked)
    )


def measurements_of(
    tallies: Mapping[tuple[Mark, str], Tally], backend: str, shares_at: Mapping[Mark, Mapping[str, float]]
) -> list[Measurement]:
    """Sum up every operation in every stage; `shares_at` tells how busy the machine was in each."""
    found = []
    for (mark, name), tally in tallies.items():
        if not tally.calls:
            continue
        operation, shares = OPERATIONS[name], dict(shares_at.get(mark, {}))
        found.append(
            tally.measurement(
                name,
                backend,
                stage=mark.stage,
                agents=mark.agents,
                group=operation.group,
                about=(operation.function.__doc__ or "").partition("\n")[0],
                counters=shares,
                # Even one agent of load is driven by a generator that may be the bottleneck.
                doubt=doubt_of(shares, agents=max(2, mark.agents)),
            )
        )
    return found


def judged(measurements: Sequence[Measurement], budgets: Sequence[Budget]) -> tuple[Judgement, ...]:
    """Judge them; nothing is proved, and nothing broken, when the load generator was the bottleneck.

    A generator that is always busy makes fewer calls than it says: what it calls quick was asked of a
    database with less to do.
    """
    found: list[Judgement] = []
    for measurement in measurements:
        is_busy = measurement.counters.get("own_cpu_share", 0.0) > OWN_CPU_SHARE_MAX
        own = judged_measurement(measurement, budgets)
        found += [replace(one, verdict=Verdict.UNPROVED) for one in own] if is_busy else own
    return tuple(found)


def exit_of(judgements: Sequence[Judgement], failures: Sequence[str]) -> Exit:
    """Give the exit code: failures and broken budgets first, then what nothing was proved of."""
    if failures or any(one.verdict is Verdict.BROKEN for one in judgements):
        return Exit.BROKEN
    if not judgements or any(one.verdict is Verdict.UNPROVED for one in judgements):
        return Exit.UNPROVED
    return Exit.MET
