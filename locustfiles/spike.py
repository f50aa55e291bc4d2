"""A crowd arrives at once: the usual agents, four times as many, and the usual ones again.

What it tells: whether the extra agents are served, and whether the usual ones are as quick afterwards.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import Any, ClassVar

from _staged import Staged
from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here

from bench.load.stages import Stage

CROWD = 4
"""Times as many agents."""


class Spike(Staged):
    """Before, during, after; --agents is the usual number, --stage-time the seconds of each."""

    abstract: ClassVar[bool] = False

    def planned(self, agents: int, options: Any) -> list[Stage]:
        """Give the usual number, the crowd, and the usual number again."""
        return [
            Stage(agents, options.stage_time, "before"),
            Stage(agents * CROWD, options.stage_time, "during"),
            Stage(agents, options.stage_time, "after"),
        ]
