"""How long each request takes, from asking the pool for a connection to having the rows."""

import pytest

from bench.catalogue import OPERATIONS, in_group
from bench.conftest import Measure
from bench.judge import assert_not_broken
from bench.replay import CLOCK
from bench.subject import Subject

pytestmark = pytest.mark.benchmark(group="queries", timer=CLOCK.now_s)


@pytest.mark.parametrize("name", in_group("queries", "driver"))
async def test_query(name: str, subject: Subject, measure: Measure) -> None:
    assert_not_broken(await measure(OPERATIONS[name], subject))
