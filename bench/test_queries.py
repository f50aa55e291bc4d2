"""How long each query takes, from asking the pool for a connection to having the rows."""

import pytest

from bench.conftest import Measure
from bench.judge import assert_not_broken
from bench.operations import OPERATIONS
from bench.replay import CLOCK
from bench.subject import Subject

QUERIES = ("empty", "select_one", "session_count", "latest_messages", "agent_memory", "like_search")

pytestmark = pytest.mark.benchmark(group="queries", timer=CLOCK.now_s)


@pytest.mark.parametrize("name", QUERIES)
async def test_query(name: str, subject: Subject, measure: Measure) -> None:
    assert_not_broken(await measure(OPERATIONS[name], subject))
