"""Agents on a database: twenty-five of them, or as many as you like, each with a timetable of its own.

`nox -s load` opens Locust's page with these classes; `nox -s load -- --headless --run-time 60s` is the gate.
A class of your own needs a mix and nothing else.
"""

from __future__ import annotations

import bench.load.patching  # noqa: F401  isort: skip  first, before anything of Locust

from typing import ClassVar

from locust import User, task

from bench.load.buckets import use_fine_buckets
from bench.load.events import worker
from bench.load.options import SEARCHES, WEIGHTS, WRITES, mix_heavy_in, mix_of

use_fine_buckets()

HEAVY = 5
"""How many times as common the operations are that a class is heavy in."""


class _Working(User):
    """Lives on the event loop; the greenlet that Locust gave it only waits."""

    abstract = True
    is_usual: ClassVar[bool] = False
    mix: ClassVar[dict[str, int]] = WEIGHTS

    @task
    def live(self) -> None:
        """Work until the run ends."""
        worker().live(chosen_mix(self))


def chosen_mix(user: _Working) -> dict[str, int]:
    """Give the class's own mix, or that of --mix."""
    return mix_of(user.environment.parsed_options.mix) or dict(user.mix)


class Agent(_Working):
    """Everything that the reference application's agents do, as often as they do it."""

    is_usual = True


class ReadingAgent(_Working):
    """Mostly reads: pages of messages, memories, tokens."""

    mix: ClassVar[dict[str, int]] = mix_heavy_in(
        ("authenticate", "get_messages", "get_memory", "list_memory"), HEAVY
    )


class WritingAgent(_Working):
    """Mostly writes."""

    mix: ClassVar[dict[str, int]] = mix_heavy_in(WRITES, HEAVY)


class SearchingAgent(_Working):
    """Mostly searches."""

    mix: ClassVar[dict[str, int]] = mix_heavy_in(SEARCHES, HEAVY)
