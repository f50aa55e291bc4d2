"""More and more agents until an operation's p99 passes 30 ms; the highest number that did not is the knee.

Each number of agents works for --stage-time seconds. The run's verdicts are those of twenty-five agents.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import ClassVar

from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here
from locust import LoadTestShape

from bench.load.events import lead
from bench.load.options import AGENTS
from bench.load.stages import SETTLE_SHARE, KneeSearch, slowest_p99_ms
from bench.load.tally import Mark
from bench.measurement import Figure

SPAWN_RATE = 100.0


class Ramp(LoadTestShape):
    """Doubles the agents until it is too much, then halves the gap; --agents is where it begins."""

    use_common_options: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.reset_time()

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()
        self._search: KneeSearch | None = None
        self._agents: int | None = None
        self._step_began_s = 0.0
        self._is_marked = False

    def tick(self) -> tuple[int, float] | None:
        """Give the number of agents for this second."""
        options = self.runner.environment.parsed_options
        now_s = self.get_run_time()
        if self._search is None:
            self._search = KneeSearch(first=options.num_users or AGENTS)
            self._begin_step(now_s)
        elapsed_s = now_s - self._step_began_s
        if self._agents is not None and elapsed_s >= options.stage_time:
            run = lead().run
            tallies = {} if run is None else run.tallies
            self._search.tried(self._agents, slowest_p99_ms(tallies, Mark("", self._agents)))
            self._begin_step(now_s)
        elif not self._is_marked and elapsed_s >= SETTLE_SHARE * options.stage_time:
            lead().put(Mark("", self._agents or 1))
            self._is_marked = True
        if self._agents is None:
            self._end()
            return None
        return self._agents, SPAWN_RATE

    def _begin_step(self, now_s: float) -> None:
        assert self._search is not None
        self._agents, self._step_began_s, self._is_marked = self._search.next_agents(), now_s, False
        lead().put(None)

    def _end(self) -> None:
        run = lead().run
        if run is not None and self._search is not None:
            # What is beyond the knee is meant to be too much.
            run.judged_agents = ()
            run.extra_figures.append(Figure("knee", "load", "", "agents", (float(self._search.good),)))
            run.remarks.append(self._search.sentence())
