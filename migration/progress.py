"""How far a job is, told to whoever wants to show it; nothing here prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """Rows of one table done in one phase of the walk; ``total`` is what is expected."""

    phase: str
    table: str
    done: int
    total: int


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """Show nothing."""
