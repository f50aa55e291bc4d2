"""A run while it goes on, for the web page: cheap enough to be asked every second. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.budgets import Budget, read_budgets
from bench.burden import OWN_CPU_SHARE_MAX, doubt_of
from bench.judge import Verdict, judge
from bench.load.run import LoadRun
from bench.load.tally import Mark, Ordered, Tally
from bench.load.verdict import budgets_for
from bench.measurement import QUANTILES, quantile_bounds

SHOWN = ("p50", "p95", "p99")
HISTORY_SHOWN = 120


def state_of(run: LoadRun | None, locust_state: str, agents: int) -> dict[str, Any]:
    """Give everything that the page shows, as plain values."""
    if run is None:
        return {"state": locust_state, "agents": agents, "operations": [], "history": [], "failures": []}
    newest = {mark for mark, _ in run.tallies}
    mark = run.mark if run.mark is not None else max(newest, key=lambda one: one.agents, default=None)
    operations = [] if mark is None else operations_of(run, mark)
    return {
        "state": "judged" if run.exit is not None else locust_state,
        "agents": agents,
        "scenario": run.scenario,
        "backend": run.prepared["backend"],
        "version": run.prepared["engine"]["version"],
        "stage": "" if mark is None else mark.stage,
        "is_measuring": run.mark is not None,
        "doubt": "" if mark is None else doubt_of(run.shares(mark), agents=max(2, agents)),
        "operations": operations,
        "counts": {str(one): sum(op["verdict"] == one for op in operations) for one in Verdict},
        "standing": run.standing(),
        "history": list(run.history)[-HISTORY_SHOWN:],
        "errors": run.errors,
        "acknowledged": run.ledger.acknowledged_count,
        "count": None if run.count is None else run.count.sentence(),
        "failures": run.failures,
        "exit": None if run.exit is None else int(run.exit),
        "has_files": run.path is not None,
    }


def operations_of(run: LoadRun, mark: Mark) -> list[dict[str, Any]]:
    """Give each operation's quantiles and verdict in the stage that is measured now."""
    budgets = budgets_for({mark.agents}, read_budgets(), run.prepared["backend"])
    return [
        _operation(name, tally, mark, budgets, run)
        for (at, name), tally in sorted(run.tallies.items(), key=lambda one: one[0][1])
        if at == mark and tally.calls
    ]


def _operation(
    name: str, tally: Tally, mark: Mark, budgets: Sequence[Budget], run: LoadRun
) -> dict[str, Any]:
    ordered, due = Ordered(tally.service), Ordered(tally.since_due)
    verdict, limit_ms = Verdict.UNPROVED, None
    for budget in budgets:
        if budget.speaks_of(name, run.prepared["backend"], mark.agents) and budget.statistic in QUANTILES:
            limit_ms = budget.at_most
            bounded = quantile_bounds(ordered, QUANTILES[budget.statistic]).scaled(1e-6)
            verdict = _doubted(judge(bounded, budget), run, mark)
    return {
        "name": name,
        "calls": len(ordered),
        **{f"{one}_ms": _quantile_ms(ordered, one) for one in SHOWN},
        "since_due_p99_ms": _quantile_ms(due, "p99"),
        "late": tally.late,
        "dropped": tally.dropped,
        "failed": tally.failed,
        "limit_ms": limit_ms,
        "verdict": str(verdict),
    }


def _doubted(verdict: Verdict, run: LoadRun, mark: Mark) -> Verdict:
    shares = run.shares(mark)
    busy = shares.get("own_cpu_share", 0.0) > OWN_CPU_SHARE_MAX
    if busy or (verdict is Verdict.BROKEN and doubt_of(shares, agents=max(2, mark.agents))):
        return Verdict.UNPROVED
    return verdict


def _quantile_ms(ordered: Ordered, name: str) -> float:
    return ordered[max(0, math.ceil(QUANTILES[name] * len(ordered)) - 1)] / 1e6
