"""How long a search takes: compared in the client, by reading, by an index of texts."""

import pytest

from bench.catalogue import OPERATIONS, in_group
from bench.conftest import Measure
from bench.judge import assert_not_broken
from bench.replay import CLOCK
from bench.subject import Subject

pytestmark = pytest.mark.benchmark(group="search", timer=CLOCK.now_s)


@pytest.mark.parametrize("name", in_group("search"))
async def test_search(name: str, subject: Subject, measure: Measure) -> None:
    assert_not_broken(await measure(OPERATIONS[name], subject))
