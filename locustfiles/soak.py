"""The usual agents for a long time: what grows or becomes slower shows between its first and last third.

Give the time by --run-time; without it, it is an hour.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import Any, ClassVar

from _staged import Staged
from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here

from bench.load.stages import Stage

USUAL_S = 3_600.0


class Soak(Staged):
    """Thirds: the first is "before", the last "after", and what is between is measured apart."""

    abstract: ClassVar[bool] = False

    def planned(self, agents: int, options: Any) -> list[Stage]:
        """Give three stages of a third of the time."""
        third = float(options.run_time or USUAL_S) / 3
        return [Stage(agents, third, name) for name in ("before", "", "after")]
