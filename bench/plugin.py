"""A pytest plugin: benchmarks in anybody's own tests, with the same stopwatch and the same verdicts.

::

    @pytest.mark.budget(p95_ms=30)
    async def test_orders_are_found_quickly(backend, operation_timer):
        await fill(backend.url)
        async with open_subject(backend.url) as subject:
            await operation_timer(find_orders, subject)

``backend`` is each engine in turn that ``--budget-backends`` names (sqlite, if it names none), with the URL
of a new, empty database. ``operation_timer`` calls an async function of a subject and a number many times and
returns the measurement; a budget that is certainly broken fails the test, one that is unproved is told at the
end. A test with a budget that measures nothing fails too.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.judge import Judgement
    from bench.measurement import Measurement

KNOWN_BACKENDS = ("sqlite", "postgresql", "mariadb")
STATISTICS = {"p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99", "mean_ms": "mean"}
"""What the marker understands; a maximum has no upper bound, so no budget on it can ever be met."""

ROUNDS = 1_000

UNPROVED = pytest.StashKey[list[str]]()
MEASURED = pytest.StashKey[int]()

OperationTimer = Callable[..., Awaitable["Measurement"]]


@dataclass(frozen=True)
class FreshBackend:
    """An engine with a new, empty database on it."""

    name: str
    url: str


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's one option."""
    parser.getgroup("budgets of databases").addoption(
        "--budget-backends",
        default="sqlite",
        metavar="BACKENDS",
        help=f"engines that the fixture `backend` gives in turn: {', '.join(KNOWN_BACKENDS)}, or all",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        f"budget({', '.join(f'{name}=...' for name in STATISTICS)}): limits of what the test measures",
    )
    config.stash[UNPROVED] = []


@pytest.fixture(params=KNOWN_BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[FreshBackend]:
    """Give each engine that was asked for, in turn, with a new, empty database."""
    from migration.servers import ServerUnavailable, fresh_database, throwaway_server

    name = str(request.param)
    asked = str(request.config.getoption("--budget-backends"))
    if asked != "all" and name not in asked.split(","):
        pytest.skip(f"--budget-backends is {asked}")
    async with AsyncExitStack() as stack:
        if name == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield FreshBackend(name, f"sqlite:///{Path(folder) / 'database.db'}")
            return
        try:
            server = await stack.enter_async_context(throwaway_server(name))
        except ServerUnavailable as unavailable:
            pytest.skip(str(unavailable))
        yield FreshBackend(name, await stack.enter_async_context(fresh_database(name, server.url)))


@pytest.fixture
def operation_timer(request: pytest.FixtureRequest) -> OperationTimer:
    """Give a function that measures an operation and holds it against the test's budgets."""
    from bench.operation import Operation
    from bench.stopwatch import take_samples

    async def time_operation(
        function: Any, subject: Any = None, *, rounds: int = ROUNDS, agents: int = 1
    ) -> Measurement:
        name = getattr(function, "__name__", request.node.name)
        operation = (
            function
            if isinstance(function, Operation)
            else Operation(name, function, 5, rounds, agents=agents)
        )
        samples = await take_samples(operation, subject, rounds)
        request.node.stash[MEASURED] = request.node.stash.get(MEASURED, 0) + 1
        measurement = samples.measurement(operation, subject, "", operation.agents)
        judge_by_marker(request, measurement)
        return measurement

    return time_operation


def judge_by_marker(request: pytest.FixtureRequest, measurement: Measurement) -> tuple[Judgement, ...]:
    """Fail when a budget of the test is certainly broken; remember what is unproved."""
    from bench.budgets import EVERY, Budget
    from bench.judge import Verdict, assert_not_broken, judged_measurement

    budgets = [
        Budget(
            f"{name} of {request.node.name}",
            (EVERY,),
            STATISTICS[name],
            "ms",
            limit,
            agents=(measurement.agents,),
        )
        for marker in request.node.iter_markers("budget")
        for name, limit in limits_of(marker).items()
    ]
    judgements = judged_measurement(measurement, budgets)
    assert_not_broken(judgements)
    request.config.stash[UNPROVED] += [
        judged.sentence() for judged in judgements if judged.verdict is Verdict.UNPROVED
    ]
    return judgements


def limits_of(marker: pytest.Mark) -> dict[str, float]:
    """Read the marker; a name that it does not know is an error, never a limit that is not kept."""
    if marker.args or not marker.kwargs or set(marker.kwargs) - set(STATISTICS):
        raise pytest.UsageError(f"budget understands {', '.join(STATISTICS)}, and needs one of them")
    return {name: float(limit) for name, limit in marker.kwargs.items()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that has a budget and measured nothing: it would look as if the budget were kept."""
    yield
    for marker in item.iter_markers("budget"):
        limits_of(marker)
        if not item.stash.get(MEASURED, 0):
            pytest.fail("the test has a budget, and nothing was measured by operation_timer", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell which budgets are unproved: neither an alarm nor a pass."""
    if sentences := config.stash[UNPROVED]:
        terminalreporter.section("budgets that are unproved")
        for sentence in sentences:
            terminalreporter.write_line(sentence)
