"""A clock that shows durations measured earlier, so that pytest-benchmark counts them as its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class ReplayClock:
    """Stands still, except that `advance` moves it by the next duration it was loaded with."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._durations_ns: Iterator[int] = iter(())

    def load(self, durations_ns: Iterable[int]) -> None:
        """Take the durations to show, and start again at zero."""
        self._now_s = 0.0
        self._durations_ns = iter(tuple(durations_ns))

    def advance(self) -> None:
        """Let the next duration pass: the call that pytest-benchmark believes it times."""
        self._now_s += next(self._durations_ns) * 1e-9

    def now_s(self) -> float:
        """Tell the time, in seconds as pytest-benchmark wants it."""
        return self._now_s


CLOCK = ReplayClock()
"""The one clock of a session: pytest-benchmark learns its timer while tests are collected."""
