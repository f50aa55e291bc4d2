"""The clock: one place to read it, one way to write a moment down."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration import clock

PACKAGE = Path(clock.__file__).parent
READS_A_CLOCK = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "time_ns", "monotonic_ns"}


def test_now_is_the_present_in_utc() -> None:
    before = datetime.now(UTC)
    moment = clock.now()
    assert before <= moment <= datetime.now(UTC)
    assert moment.utcoffset() == timedelta(0)


def test_monotonic_never_goes_backwards() -> None:
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_a_stamp_is_in_utc_to_the_microsecond() -> None:
    summer = timezone(timedelta(hours=2))
    assert clock.stamp(datetime(2024, 5, 6, 1, 2, 3, 4, summer)) == "2024-05-05T23:02:03.000004Z"


def test_a_stamp_without_microseconds_is_as_long_as_any_other() -> None:
    assert clock.stamp(datetime(2024, 5, 6, tzinfo=UTC)) == "2024-05-06T00:00:00.000000Z"


@given(*[st.datetimes(timezones=st.just(UTC))] * 2)
def test_stamps_sort_as_their_moments_do(one: datetime, other: datetime) -> None:
    assert (clock.stamp(one) < clock.stamp(other)) == (one < other)


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        clock.stamp(datetime(2024, 5, 6))  # noqa: DTZ001 - the very thing that is refused.


def clock_readings(source: str) -> list[int]:
    """Return the lines at which a module reads a clock by itself."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in READS_A_CLOCK
        and isinstance(node.value, ast.Name)
        and node.value.id in {"time", "datetime", "date"}
    ]


@pytest.mark.parametrize("reading", ["time.time()", "datetime.now(UTC)", "time.monotonic()", "date.today()"])
def test_canary_a_module_that_reads_a_clock_is_noticed(reading: str) -> None:
    assert clock_readings(f"value = {reading}") == [1]


def test_only_the_clock_reads_a_clock() -> None:
    # Servers for tests are started and waited for; nothing of that is ever written down.
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "servers" not in path.relative_to(PACKAGE).parts and clock_readings(path.read_text("utf-8"))
    }
    assert readers == {"clock.py"}
