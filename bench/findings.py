"""What the findings are worth on this machine: `python -m bench.findings UNTUNED.json TUNED.json`.

Two runs of the same suites, one of them with `--bench-untuned`, give the lines of README's table: every
operation that became faster or slower by more than the machine's own unrest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.measurement import Measurement
from bench.record import Run, read_run

NOTABLE = 1.25
"""Two runs of the same differ by less on a quiet machine."""


def lines(untuned: Run, tuned: Run) -> Iterator[str]:
    """Give a Markdown table of what differs notably in the mean, the greatest gain first."""
    if untuned.scale != tuned.scale:
        raise ValueError(f"the scales differ: {untuned.scale} and {tuned.scale}")
    before = {_key(one): one for one in untuned.measurements}
    pairs = [(before[_key(one)], one) for one in tuned.measurements if _key(one) in before]
    notable = [pair for pair in pairs if not 1 / NOTABLE < _gain(*pair) < NOTABLE]
    yield f"| scale {tuned.scale:g}: operation | agents | before | after | times |"
    yield "|---|---|---|---|---|"
    for old, new in sorted(notable, key=lambda pair: -_gain(*pair)):
        place = f"{new.operation}, {new.backend} {new.stage}"
        yield f"| {place} | {new.agents} | {_shown(old)} | {_shown(new)} | {_gain(old, new):.1f} |"


def _key(one: Measurement) -> tuple[str, str, str, int]:
    return one.operation, one.backend, one.stage, one.agents


def _gain(old: Measurement, new: Measurement) -> float:
    return old.statistics_ns["mean"].value / max(1.0, new.statistics_ns["mean"].value)


def _shown(one: Measurement) -> str:
    return f"mean {one.latency_ms('mean').value:.2f} ms, p99 {one.latency_ms('p99').value:.1f}"


if __name__ == "__main__":
    first, second = (read_run(Path(name)) for name in sys.argv[1:])
    print("\n".join(lines(first, second)))
