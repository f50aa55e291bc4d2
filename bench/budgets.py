"""The limits the user set, read from `budgets.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

EVERY = "*"
"""In place of an operation's name: all of them."""


@dataclass(frozen=True)
class Budget:
    """One limit on one statistic of some operations; either `at_most` or `at_least` is set.

    The operation `*` is every one of them. With `backends`, it speaks of these only; without, of all.
    `agents` tells how many at a time it is meant for.
    """

    name: str
    operations: tuple[str, ...]
    statistic: str
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    backends: tuple[str, ...] = ()
    agents: tuple[int, ...] = (1,)

    def speaks_of(self, operation: str, backend: str, agents: int = 1) -> bool:
        """Tell whether results of this operation on this backend are held against it."""
        return (
            (operation in self.operations or EVERY in self.operations)
            and (not self.backends or backend in self.backends)
            and agents in self.agents
        )

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError(f"budget {self.name!r} must have at_most or at_least, and not both")


def read_budgets() -> tuple[Budget, ...]:
    """Give every budget of the package."""
    return parsed_budgets(resources.files("bench").joinpath("budgets.toml").read_text(encoding="utf-8"))


def parsed_budgets(text: str) -> tuple[Budget, ...]:
    """Read budgets from TOML text; a misspelt key is an error, never an unlimited budget."""
    entries: list[dict[str, Any]] = tomllib.loads(text)["budgets"]
    return tuple(as_budget(entry) for entry in entries)


def as_budget(entry: dict[str, Any]) -> Budget:
    """Make a budget of what TOML or JSON says about it."""
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Budget(**{**entry, **lists})
