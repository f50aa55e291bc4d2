"""The usual agents for a long time: what grows or becomes slower shows between its first and last third.

Give the time by --run-time; without it, it is an hour.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import ClassVar

from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here
from locust import LoadTestShape

from bench.load.events import lead
from bench.load.options import AGENTS
from bench.load.stages import Stage, Stages

USUAL_S = 3_600.0


class Soak(LoadTestShape):
    """Thirds: the first is "before", the last "after", and what is between is measured apart."""

    use_common_options: ClassVar[bool] = True
    _stages: Stages | None = None

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()
        self._stages = None

    def tick(self) -> tuple[int, float] | None:
        """Give the number of agents for this second."""
        options = self.runner.environment.parsed_options
        agents = options.num_users or AGENTS
        third = float(options.run_time or USUAL_S) / 3
        self._stages = self._stages or Stages(
            [Stage(agents, third, name) for name in ("before", "", "after")], lead().put
        )
        now = self._stages.agents_at(self.get_run_time())
        return None if now is None else (now, float(agents))
