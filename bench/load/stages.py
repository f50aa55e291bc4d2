"""What shapes of load do, second by second, without a clock of their own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load.tally import Mark, Ordered, Tally
from bench.measurement import QUANTILES

LIMIT_MS = 30.0
"""What the user allows any operation at p99; see `budgets.toml`."""

SETTLE_SHARE = 0.2
"""Of a stage's time; new agents open connections first."""

CALLS_MIN = 100
"""Of an operation: the p99 of fewer is its slowest call or the one before."""


@dataclass(frozen=True)
class Stage:
    """A number of agents for some seconds; measured under its name, or not at all."""

    agents: int
    seconds: float
    name: str = ""
    is_measured: bool = True


@dataclass
class Stages:
    """Goes through stages one after another."""

    stages: Sequence[Stage]
    put: Callable[[Mark | None], None]
    _marked: Mark | None = None

    def agents_at(self, elapsed_s: float) -> int | None:
        """Give the number of agents for this second, and mark what is measured; None at the end."""
        for stage in self.stages:
            if elapsed_s < stage.seconds:
                settled = elapsed_s >= SETTLE_SHARE * stage.seconds
                self._mark(Mark(stage.name, stage.agents) if stage.is_measured and settled else None)
                return stage.agents
            elapsed_s -= stage.seconds
        return None

    def _mark(self, mark: Mark | None) -> None:
        if mark != self._marked:
            self._marked = mark
            self.put(mark)


@dataclass
class KneeSearch:
    """Finds the highest number of agents whose every operation stays below the limit at p99.

    It doubles the agents until a step is too much, and then halves the gap, as often as it is told to.
    """

    first: int = 25
    most: int = 1_600
    halvings: int = 2
    good: int = 0
    bad: int | None = None
    steps: list[tuple[int, float]] = field(default_factory=list)

    def next_agents(self) -> int | None:
        """Give the number of agents to try next; None when the knee is known well enough."""
        if self.bad is None:
            wanted = self.good * 2 or self.first
            return wanted if wanted <= self.most else None
        middle = (self.good + self.bad) // 2
        if not self.good or not self.halvings or middle in {self.good, self.bad}:
            return None
        self.halvings -= 1
        return middle

    def tried(self, agents: int, p99_ms: float) -> None:
        """Take the result of a step: the slowest operation's p99."""
        self.steps.append((agents, p99_ms))
        if p99_ms < LIMIT_MS:
            self.good = max(self.good, agents)
        else:
            self.bad = agents if self.bad is None else min(self.bad, agents)

    def sentence(self) -> str:
        """Tell the knee in a sentence."""
        tried = ", ".join(f"{agents}: {p99_ms:.1f} ms" for agents, p99_ms in self.steps)
        if not self.good:
            return f"no number of agents that was tried stayed below {LIMIT_MS:g} ms at p99 ({tried})"
        beyond = "more were not tried" if self.bad is None else f"{self.bad} are too many"
        return f"the knee: {self.good} agents stay below {LIMIT_MS:g} ms at p99, {beyond} ({tried})"


def slowest_p99_ms(tallies: dict[tuple[Mark, str], Tally], mark: Mark) -> float:
    """Give the p99 of the slowest operation of a step; of all calls where each was called too seldom."""
    own = [tally for (at, _), tally in tallies.items() if at == mark and tally.calls]
    often = [tally for tally in own if tally.calls >= CALLS_MIN]
    if not often:
        whole = Tally()
        for tally in own:
            whole.merge(tally)
        often = [whole] if whole.calls else []
    return max((_p99_ms(tally) for tally in often), default=float("inf"))


def _p99_ms(tally: Tally) -> float:
    ordered = Ordered(tally.service)
    return ordered[round(QUANTILES["p99"] * (len(ordered) - 1))] / 1e6
