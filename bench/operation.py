"""What an operation is, and the decorator that makes one of a function; for ours and for anybody's.

An operation is an async function of a subject and the number of the call. It returns the number of rows that
it saw: work that was optimised away or that changed shows in that number. The clock runs around the function
and around nothing else (see `stopwatch`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.subject import Subject

Function = Callable[[Subject, int], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """One thing to measure, as a value.

    Attributes
    ----------
    function
        What is timed; given the subject and the number of the call, it returns the number of rows it saw.
    rounds_small, rounds_real
        Calls when it runs as a test, so that it cannot rot, and when it is measured.
    after
        Runs untimed with what the function returned, and returns the number of rows in its place.
    agents
        Tasks that do it at the same time, each with pauses of its own.
    group
        The suite it belongs to.
    weight
        Its share of what an agent does, beside the other operations; 0 leaves it out of the mix.
    impossible
        Tells why it cannot be done on a subject (an engine without it, an index that is not there), or None.
    """

    name: str
    function: Function
    rounds_small: int
    rounds_real: int
    after: Callable[[Any], Awaitable[int]] | None = None
    agents: int = 1
    group: str = "own"
    weight: int = 0
    impossible: Callable[[Subject], str | None] = lambda _: None


OPERATIONS: dict[str, Operation] = {}
"""Every operation by name, in the order in which they were made."""


def operation(
    *,
    rounds_small: int = 5,
    rounds_real: int = 1_000,
    after: Callable[[Any], Awaitable[int]] | None = None,
    group: str = "own",
    weight: int = 0,
    impossible: Callable[[Subject], str | None] = lambda _: None,
) -> Callable[[Function], Operation]:
    """Make an operation of a function, under the function's name."""

    def decorate(function: Function) -> Operation:
        name = getattr(function, "__name__")  # noqa: B009  a Callable has no name as far as types know
        return registered(
            Operation(
                name,
                function,
                rounds_small,
                rounds_real,
                after,
                group=group,
                weight=weight,
                impossible=impossible,
            )
        )

    return decorate


def registered(new: Operation) -> Operation:
    """Put an operation into the list; a name is there once."""
    if new.name in OPERATIONS:
        raise ValueError(f"there are two operations called {new.name!r}")
    OPERATIONS[new.name] = new
    return new


def in_group(*groups: str) -> list[str]:
    """Give the names of a suite's operations."""
    return [name for name, one in OPERATIONS.items() if one.group in groups]
