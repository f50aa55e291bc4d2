"""The only place that reads a clock, so that a test can be any moment it likes.

Whatever needs the time takes a :data:`Clock`; :func:`now` is the real one. Rates and limits use
:func:`monotonic`, because a wall clock can be put back in the middle of a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the present moment, in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return seconds that never go backwards; only differences mean anything."""
    return time.monotonic()


def stamp(moment: datetime) -> str:
    """Write a moment in UTC to the microsecond; all stamps are equally long and sort as their times do.

    Raises
    ------
    ValueError
        When the moment has no time zone: it could be any of twenty-four hours.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
