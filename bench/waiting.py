"""Who waits for a connection or for the one writer: counted, as a mean hides that one of them starves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

STARVED_S = 0.03
"""A wait that is as long as the budget of a whole query."""


@dataclass
class Waiting:
    """Counts: those who wait now, the most of them at once, and the waits that were too long."""

    now: int = 0
    most: int = 0
    starved: int = 0

    def came(self) -> float:
        """Count one more, and give the moment."""
        self.now += 1
        self.most = max(self.most, self.now)
        return time.perf_counter()

    def went(self, waited_s: float) -> None:
        """Count one less, that waited for so long."""
        self.now -= 1
        self.starved += waited_s > STARVED_S

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the caller as waiting until the block ends."""
        came_s = self.came()
        try:
            yield
        finally:
            self.went(time.perf_counter() - came_s)
