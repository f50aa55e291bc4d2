"""What was counted of one operation: histograms of a thousandth's precision that merge without loss.

Averages of percentiles are no percentiles. So workers never send any: they send counts by duration, and the
sum of two tallies is the tally that one process would have made of all calls. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from hdrh.histogram import HdrHistogram

from bench.measurement import (
    BATCHES,
    BATCHES_STUDENT_T,
    HISTOGRAM_DIGITS,
    HISTOGRAM_HIGHEST_NS,
    HISTOGRAM_LOWEST_NS,
    QUANTILES,
    Bounded,
    Measurement,
    quantile_bounds,
)

KEPT_BITS = 11
"""Of each duration: HDR's own slots at three digits, so that a slot here is a slot there."""

SECOND_NS = 1_000_000_000

Counts = dict[int, int]


def slot(duration_ns: int) -> int:
    """Give the longest duration that is counted together with this one; less than a thousandth longer."""
    shift = max(0, duration_ns.bit_length() - KEPT_BITS)
    return max(HISTOGRAM_LOWEST_NS, ((duration_ns >> shift) + 1 << shift) - 1 if shift else duration_ns)


@dataclass(frozen=True)
class Mark:
    """What is measured just now: a stage, and the number of agents. Without a mark nothing is."""

    stage: str = ""
    agents: int = 1


@dataclass
class Tally:
    """Calls of one operation in one stage.

    Attributes
    ----------
    service
        Calls by how long the call itself took, measured in the coroutine that made it.
    since_due
        The same calls by the time since the timetable asked for them: a stall cannot hide what it held up.
    late, dropped, failed
        Calls that were made after their time; that were so late that they were not made; that raised.
    seconds
        Number and total duration of the calls that ended in each second of the run.
    """

    service: Counts = field(default_factory=dict)
    since_due: Counts = field(default_factory=dict)
    rows: int = 0
    late: int = 0
    dropped: int = 0
    failed: int = 0
    slowest_ns: int = 0
    seconds: dict[int, list[int]] = field(default_factory=dict)

    def add(self, duration_ns: int, since_due_ns: int, second: int, rows: int, *, late: bool) -> None:
        """Count a call that came to its end."""
        key = slot(duration_ns)
        self.service[key] = self.service.get(key, 0) + 1
        key = slot(since_due_ns)
        self.since_due[key] = self.since_due.get(key, 0) + 1
        self.rows += rows
        self.late += late
        self.slowest_ns = max(self.slowest_ns, duration_ns)
        within = self.seconds.setdefault(second, [0, 0])
        within[0] += 1
        within[1] += duration_ns

    @property
    def calls(self) -> int:
        """Calls that came to their end."""
        return sum(self.service.values())

    def merge(self, other: Tally) -> None:
        """Add what another one has counted."""
        for mine, theirs in ((self.service, other.service), (self.since_due, other.since_due)):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for second, (count, total_ns) in other.seconds.items():
            within = self.seconds.setdefault(second, [0, 0])
            within[0] += count
            within[1] += total_ns
        self.rows += other.rows
        self.late += other.late
        self.dropped += other.dropped
        self.failed += other.failed
        self.slowest_ns = max(self.slowest_ns, other.slowest_ns)

    def as_message(self) -> dict[str, Any]:
        """Give it as plain values, for another process."""
        return {
            "service": list(self.service.items()),
            "since_due": list(self.since_due.items()),
            "seconds": [[second, *within] for second, within in self.seconds.items()],
            "rows": self.rows,
            "late": self.late,
            "dropped": self.dropped,
            "failed": self.failed,
            "slowest_ns": self.slowest_ns,
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Tally:
        """Read it back."""
        return cls(
            **{
                **message,
                "service": dict(message["service"]),
                "since_due": dict(message["since_due"]),
                "seconds": {second: [count, total] for second, count, total in message["seconds"]},
            }
        )

    def measurement(self, operation: str, backend: str, **facts: Any) -> Measurement:
        """Sum it up with the bounds that so many calls allow; a tally without calls is an error."""
        ordered = Ordered(self.service)
        if not len(ordered):
            raise ValueError(f"{operation} on {backend} has no calls; nothing can be said about it")
        statistics = {name: quantile_bounds(ordered, share) for name, share in QUANTILES.items()}
        statistics["max"] = Bounded(self.slowest_ns, self.slowest_ns, None)
        statistics["mean"] = mean_by_seconds(self.seconds)
        counters = {**facts.pop("counters", {}), **self.counters()}
        return Measurement(
            operation,
            backend,
            len(ordered),
            self.rows,
            statistics,
            histogram_of(self.service),
            counters=counters,
            **facts,
        )

    def counters(self) -> dict[str, float]:
        """Tell what is no duration of a call itself."""
        due = Ordered(self.since_due)
        quantiles = {
            f"since_due_{name}_ms": due[math.ceil(share * len(due)) - 1] / 1e6
            for name, share in QUANTILES.items()
            if len(due) and name != "p99.9"
        }
        counted = {"late_calls": self.late, "dropped_calls": self.dropped, "failed_calls": self.failed}
        return {**counted, **quantiles}


class Ordered(Sequence[int]):
    """All durations of some counts in order, as if each had a place of its own."""

    def __init__(self, counts: Counts) -> None:
        self._keys = np.array(sorted(counts), dtype=np.int64)
        self._ends = np.cumsum(np.array([counts[int(key)] for key in self._keys], dtype=np.int64))

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        """Give the duration in this place of the order."""
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return int(self._keys[np.searchsorted(self._ends, place, side="right")])


def histogram_of(counts: Counts) -> str:
    """Write counts as an HDR histogram in its own compressed text form."""
    histogram = HdrHistogram(HISTOGRAM_LOWEST_NS, HISTOGRAM_HIGHEST_NS, HISTOGRAM_DIGITS)
    for key, count in counts.items():
        histogram.record_value(min(key, HISTOGRAM_HIGHEST_NS), count)
    return str(histogram.encode().decode("ascii"))


def mean_by_seconds(seconds: Mapping[int, Sequence[int]]) -> Bounded:
    """Bound the mean by the means of twenty stretches of the run; a run too short for them bounds nothing."""
    count = sum(within[0] for within in seconds.values())
    mean = sum(within[1] for within in seconds.values()) / count
    stretches = list(_stretches([seconds[second] for second in sorted(seconds)]))
    if len(stretches) < BATCHES:
        return Bounded(mean, 0.0, None)
    margin = BATCHES_STUDENT_T * float(np.std(stretches, ddof=1)) / math.sqrt(BATCHES)
    return Bounded(mean, max(0.0, mean - margin), mean + margin)


def _stretches(seconds: Sequence[Sequence[int]]) -> Iterator[float]:
    """Yield the means of twenty stretches of equal length in time, where there are so many seconds."""
    if len(seconds) < BATCHES:
        return
    for stretch in np.array_split(np.array(seconds, dtype=np.float64), BATCHES):
        yield float(stretch[:, 1].sum() / stretch[:, 0].sum())
