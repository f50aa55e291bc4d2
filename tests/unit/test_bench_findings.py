"""The lines of the findings' table: only what differs by more than the machine's unrest."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bench.findings import lines
from bench.measurement import measured
from bench.record import Run


def run(**means_ns: int) -> Run:
    found = tuple(measured(name, "sqlite", [mean] * 50, 1) for name, mean in means_ns.items())
    return Run(datetime(2026, 1, 1, tzinfo=UTC), None, {}, {}, 10, 1, found)


def test_what_became_faster_or_slower_is_told_and_what_stayed_is_not() -> None:
    table = list(
        lines(run(a=9_000_000, b=1_000_000, c=1_000_000), run(a=3_000_000, b=1_100_000, c=2_000_000))
    )

    assert [line.split(",")[0] for line in table[2:]] == ["| a", "| c"]
    assert table[2].endswith("| mean 9.00 ms, p99 9.0 | mean 3.00 ms, p99 3.0 | 3.0 |")


def test_runs_of_different_scales_are_not_compared() -> None:
    with pytest.raises(ValueError, match="scales differ"):
        list(lines(replace(run(a=1), scale=1), run(a=1)))
