"""A crowd arrives at once: the usual agents, four times as many, and the usual ones again.

What it tells: whether the extra agents are served, and whether the usual ones are as quick afterwards.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import ClassVar

from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here
from locust import LoadTestShape

from bench.load.events import lead
from bench.load.options import AGENTS
from bench.load.stages import Stage, Stages

CROWD = 4
"""Times as many agents."""


class Spike(LoadTestShape):
    """Before, during, after; --agents is the usual number, --stage-time the seconds of each."""

    use_common_options: ClassVar[bool] = True
    _stages: Stages | None = None

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()
        self._stages = None

    def tick(self) -> tuple[int, float] | None:
        """Give the number of agents for this second."""
        options = self.runner.environment.parsed_options
        usual = options.num_users or AGENTS
        self._stages = self._stages or Stages(
            [
                Stage(usual, options.stage_time, "before"),
                Stage(usual * CROWD, options.stage_time, "during"),
                Stage(usual, options.stage_time, "after"),
            ],
            lead().put,
        )
        agents = self._stages.agents_at(self.get_run_time())
        return None if agents is None else (agents, float(usual * CROWD))
