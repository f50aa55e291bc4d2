"""Whether slow samples prove anything: what the machine, its host, or the measuring itself took."""

from __future__ import annotations

import pytest

from bench.burden import STOLEN_SHARE_MAX, WAITING_SHARE_MAX, Burden, doubt_of


def test_a_machine_left_alone_raises_no_doubt() -> None:
    counters = {"waited_for_cpu_share": 0.02, "stolen_cpu_share": 0.0, "own_cpu_share": 0.5}

    assert doubt_of(counters, agents=25) == ""


@pytest.mark.parametrize(
    ("counters", "agents", "said"),
    [
        ({"waited_for_cpu_share": WAITING_SHARE_MAX + 0.01}, 1, "this process waited 26% of its time"),
        ({"stolen_cpu_share": STOLEN_SHARE_MAX + 0.01}, 1, "host was busy: it took 2.0% of the processors'"),
        ({"machine_cpu_share": 0.95}, 1, "the machine was busy: 95% of all processors"),
        ({"own_cpu_share": 0.97}, 25, "the load generator itself was the bottleneck"),
    ],
)
def test_canary_each_reason_to_doubt_is_told(counters: dict[str, float], agents: int, said: str) -> None:
    assert said in doubt_of(counters, agents=agents)


def test_waiting_on_a_machine_that_is_mostly_idle_is_no_doubt() -> None:
    """Threads of one process wait for one another."""
    waited = {"waited_for_cpu_share": 0.33}

    assert doubt_of({**waited, "idle_cpu_share": 0.77}, agents=25) == ""
    assert "this process waited 33%" in doubt_of({**waited, "idle_cpu_share": 0.2}, agents=25)


def test_one_caller_may_keep_a_core_busy() -> None:
    assert doubt_of({"own_cpu_share": 1.0}, agents=1) == ""


def test_what_is_counted_are_shares() -> None:
    counted = Burden().counters()

    assert {"own_cpu_share", "stolen_cpu_share", "idle_cpu_share"} <= set(counted)
    assert 0 <= counted["stolen_cpu_share"] <= 1
    assert 0 <= counted["idle_cpu_share"] <= 1
