"""How long each request takes while 25, 50 and 100 agents do all of them, each on a timetable of its own."""

import pytest

from bench.conftest import MeasureMix
from bench.judge import assert_not_broken
from bench.replay import CLOCK
from bench.subject import Subject

pytestmark = pytest.mark.benchmark(group="concurrency", timer=CLOCK.now_s)


@pytest.mark.parametrize("agents", [25, 50, 100])
async def test_agents(agents: int, subject: Subject, measure_mix: MeasureMix) -> None:
    assert_not_broken(await measure_mix(subject, agents))
