"""Agents keep working on the source while it is migrated: their p99 before, during and after.

The migration goes into a new database of --migrate-to (postgresql, where nothing is named), in a process of
its own. It copies and proves one snapshot of the source. What agents write after that is not in it: this
shows what a migration costs those who work.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import Any, ClassVar

import gevent
from agents import Agent, ReadingAgent, SearchingAgent, WritingAgent  # noqa: F401  Locust looks for them here
from locust import LoadTestShape, events

from bench.load.events import lead
from bench.load.keeping import KeeperFailed
from bench.load.options import AGENTS
from bench.load.stages import SETTLE_SHARE
from bench.load.tally import Mark

BEFORE, DURING, AFTER = "before", "during", "after"
END = ""


@events.init_command_line_parser.add_listener
def _choose_a_target(parser: Any) -> None:
    """Have a target when none is named."""
    parser.set_defaults(migrate_to="postgresql")


class DuringMigration(LoadTestShape):
    """--stage-time seconds before and after; between them, as long as the migration takes."""

    use_common_options: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.reset_time()

    def reset_time(self) -> None:
        """Begin anew."""
        super().reset_time()
        self._stage = BEFORE
        self._began_s = 0.0
        self._is_marked = False

    def tick(self) -> tuple[int, float] | None:
        """Give the number of agents for this second: always the same."""
        options = self.runner.environment.parsed_options
        agents = options.num_users or AGENTS
        elapsed_s = self.get_run_time() - self._began_s
        if self._stage == BEFORE and elapsed_s >= options.stage_time:
            self._go_to(DURING, agents)
            gevent.spawn(self._migrate, agents)
        elif self._stage == AFTER and elapsed_s >= options.stage_time:
            self._stage = END
        elif self._stage == BEFORE and not self._is_marked and elapsed_s >= SETTLE_SHARE * options.stage_time:
            self._is_marked = True
            lead().put(Mark(BEFORE, agents))
        return None if self._stage == END else (agents, float(agents))

    def _migrate(self, agents: int) -> None:
        run = lead().run
        assert run is not None
        try:
            run.add_migration(lead().keeping.ask("migrate"))
        except KeeperFailed as error:
            run.failures.append(f"the migration: {error}")
        self._go_to(AFTER, agents)

    def _go_to(self, stage: str, agents: int) -> None:
        self._stage, self._began_s = stage, self.get_run_time()
        lead().put(Mark(stage, agents))
