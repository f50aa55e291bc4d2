"""How long a connection from the pool takes, alone and when twenty-five agents want twenty connections."""

import pytest

from bench.catalogue import OPERATIONS, in_group
from bench.conftest import Measure
from bench.judge import assert_not_broken
from bench.replay import CLOCK
from bench.subject import Subject

pytestmark = pytest.mark.benchmark(group="pool", timer=CLOCK.now_s)


@pytest.mark.parametrize("name", in_group("pool"))
async def test_pool(name: str, subject: Subject, measure: Measure) -> None:
    assert_not_broken(await measure(OPERATIONS[name], subject))
