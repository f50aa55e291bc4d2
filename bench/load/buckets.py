"""Locust's own statistics, made fine enough for databases: its buckets are whole milliseconds."""

from __future__ import annotations

from typing import Any

import locust.stats

DIGITS = 3


def bucket(response_time: float) -> float:
    """Round to three digits, so that 0.2513 ms is 0.251 and 2,513 ms are 2,510."""
    return float(f"{response_time:.{DIGITS}g}")


def use_fine_buckets() -> None:
    """Let Locust's percentiles, its page and its JSON tell microseconds."""
    stats: Any = locust.stats
    stats.bucket_response_time = bucket
