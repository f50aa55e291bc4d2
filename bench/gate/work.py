"""What an operation costs whatever the clock says, and what became of it: pure.

Counted exactly, so any difference is a verdict, until somebody accepts it by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNTED_CALLS = 20
"""Calls that a count is the sum of: each asks for something else, so that several paths are taken."""


@dataclass(frozen=True)
class Acceptance:
    """Who wrote a cost into the baseline, when, and why."""

    who: str
    when: str
    why: str


@dataclass(frozen=True)
class Work:
    """What :data:`COUNTED_CALLS` calls of an operation cost on one engine.

    Attributes
    ----------
    counters
        Statements, round trips, rows, steps, pages: by name.
    plan
        What the engine does, one line for each access, sorted; no estimates and no figures in it.
    """

    counters: Mapping[str, int]
    plan: tuple[str, ...] = ()
    accepted: Acceptance | None = None

    def differences(self, other: Work) -> tuple[str, ...]:
        """Tell in words how the other one differs; empty when it is the same work."""
        told = [
            f"{name} {_figure(self.counters.get(name))} -> {_figure(other.counters.get(name))}"
            for name in sorted({*self.counters, *other.counters})
            if self.counters.get(name) != other.counters.get(name)
        ]
        told += [f"the plan lost “{line}”" for line in self.plan if line not in other.plan]
        told += [f"the plan got “{line}”" for line in other.plan if line not in self.plan]
        return tuple(told)

    def is_like(self, other: Work) -> bool:
        """Tell whether both are the same work, as a renamed operation's would be."""
        return not self.differences(other)


def _figure(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"
