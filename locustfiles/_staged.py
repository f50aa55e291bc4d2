"""What shapes of several stages share; Locust does not take this file for a scenario of its own."""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import Any, ClassVar

from locust import LoadTestShape

from bench.load.events import lead
from bench.load.options import AGENTS
from bench.load.stages import Stage, Stages


class Staged(LoadTestShape):
    """One stage after the other, each measured once it has settled; a scenario says which."""

    abstract: ClassVar[bool] = True
    use_common_options: ClassVar[bool] = True
    _stages: Stages | None = None

    def planned(self, agents: int, options: Any) -> list[Stage]:
        """Give the stages for the usual number of agents."""
        raise NotImplementedError

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()
        self._stages = None

    def tick(self) -> tuple[int, float] | None:
        """Give the number of agents for this second, and how many may come in one."""
        options = self.runner.environment.parsed_options
        planned = self.planned(options.num_users or AGENTS, options)
        self._stages = self._stages or Stages(planned, lead().put)
        agents = self._stages.agents_at(self.get_run_time())
        return None if agents is None else (agents, float(max(stage.agents for stage in planned)))
