"""Fixtures of the benchmarks, and the report at the end.

=================  =====================================================================================
``backend``        each engine's name in turn
``subject``        the backend's reference database behind a pool, ready to be measured
``measure``        a function: times an operation, hands it to pytest-benchmark and to the report
``report``         what this session found; prints a table and names its JSON file at the end
``fresh_url``      a function: engine -> URL of one more empty database
=================  =====================================================================================

How a sample gets into pytest-benchmark: it can only time plain calls, and a plain call that runs the event
loop would put the loop's own costs into every sample. So the samples are taken inside the loop first; then
pytest-benchmark times, by the documented `pedantic` and the documented `timer` setting, a call that moves a
clock of ours forward by one sample each (`replay.ReplayClock`). Its statistics, its JSON and its comparison
then see exactly the durations that were measured, and nothing private of it is touched.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.budgets import read_budgets
from bench.dataset import DatasetKey, cached
from bench.judge import Judgement
from bench.loading import load_postgresql
from bench.measurement import measured
from bench.operations import Operation
from bench.record import Run, commit_of, machine_fingerprint
from bench.reference import TABLES
from bench.replay import CLOCK
from bench.report import Report
from bench.stopwatch import take_samples
from bench.subject import Subject, open_subject
from migration.servers import ServerUnavailable, fresh_database, throwaway_server

BACKENDS = ("sqlite", "postgresql")
"""Every backend that is measured. Adding an engine adds its name here and its script in `reference`."""

REPORT = pytest.StashKey[Report]()

Measure = Callable[[Operation, Subject], Awaitable[tuple[Judgement, ...]]]
Entered = TypeVar("Entered")
FreshUrl = Callable[[str], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of databases")
    group.addoption("--bench-scale", type=float, default=1.0, help="scale of the reference data (1.0)")
    group.addoption(
        "--bench-seed", type=int, default=1, help="seed of the reference data and of the pauses (1)"
    )
    group.addoption("--copy-rows", type=int, default=100_000, help="messages to copy (100000)")
    group.addoption("--bench-results", type=Path, default=None, help="folder for the JSON (results/runs)")
    try:
        group.addoption(
            "--require-backends",
            default="",
            metavar="ENGINES",
            help="fail, do not skip, without these; or all",
        )
    except ValueError:
        # The tests bring the same option, with the same meaning, when both are run at once.
        assert parser is not None


def pytest_configure(config: pytest.Config) -> None:
    run = Run(
        started_at=datetime.now(UTC),
        commit=commit_of(config.rootpath),
        machine=machine_fingerprint(),
        engines={},
        scale=config.getoption("--bench-scale"),
        seed=config.getoption("--bench-seed"),
    )
    folder = config.getoption("--bench-results") or config.rootpath / "results" / "runs"
    config.stash[REPORT] = Report(run, read_budgets(), folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.path is None:
        return
    terminalreporter.section("measured and judged")
    terminalreporter.write(report.rendered(colour=terminalreporter.hasmarkup))
    terminalreporter.write_line(f"Written to {report.path}")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash[REPORT]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def dataset(request: pytest.FixtureRequest) -> Path:
    config = request.config
    return cached(DatasetKey(config.getoption("--bench-scale"), config.getoption("--bench-seed"), TABLES))


@pytest.fixture(scope="session")
def server_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of its own for what outlives a test; the tests' loops come and go."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def fresh_url(
    request: pytest.FixtureRequest,
    server_loop: asyncio.AbstractEventLoop,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FreshUrl]:
    required = {word.strip() for word in str(request.config.getoption("--require-backends")).split(",")}
    servers: dict[str, str | ServerUnavailable] = {}
    with ExitStack() as stack:

        def server_url(engine: str) -> str:
            if engine not in servers:
                try:
                    server = stack.enter_context(held(server_loop, throwaway_server(engine)))
                    servers[engine] = server.url
                except ServerUnavailable as unavailable:
                    servers[engine] = unavailable
            found = servers[engine]
            if isinstance(found, str):
                return found
            if required & {"all", engine}:
                pytest.fail(f"--require-backends: {found}", pytrace=False)
            pytest.skip(str(found))

        def make(engine: str) -> str:
            if engine == "sqlite":
                return f"sqlite:///{tmp_path_factory.mktemp('fresh') / 'database.db'}"
            return stack.enter_context(held(server_loop, fresh_database(engine, server_url(engine))))

        yield make


@contextmanager
def held(loop: asyncio.AbstractEventLoop, manager: AbstractAsyncContextManager[Entered]) -> Iterator[Entered]:
    """Enter an asynchronous context manager from synchronous code; one task enters and leaves it."""
    entered: asyncio.Future[Entered] = loop.create_future()
    leave = asyncio.Event()

    async def hold() -> None:
        try:
            async with manager as value:
                entered.set_result(value)
                await leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    holding = loop.create_task(hold())
    value = loop.run_until_complete(entered)
    try:
        yield value
    finally:
        leave.set()
        loop.run_until_complete(holding)


@pytest.fixture(scope="session")
def filled_url(
    dataset: Path,
    fresh_url: FreshUrl,
    server_loop: asyncio.AbstractEventLoop,
) -> Callable[[str], str]:
    """A function: engine -> URL of the filled reference database, filled when it is first asked for."""
    filled: dict[str, str] = {}

    def fill_once(engine: str) -> str:
        if engine not in filled:
            url = fresh_url(engine)
            if engine == "sqlite":
                # A copy: the ready file is shared with other runs.
                shutil.copyfile(dataset, url.removeprefix("sqlite:///"))
            else:
                server_loop.run_until_complete(load_postgresql(dataset, url))
            filled[engine] = url
        return filled[engine]

    return fill_once


@pytest.fixture
def subject_url(backend: str, filled_url: Callable[[str], str]) -> str:
    return filled_url(backend)


@pytest.fixture
async def subject(subject_url: str, report: Report) -> AsyncIterator[Subject]:
    async with open_subject(subject_url) as opened:
        report.add_engine(opened.described)
        yield opened


@pytest.fixture
def measure(benchmark: BenchmarkFixture, report: Report) -> Measure:
    async def measure_and_judge(operation: Operation, subject: Subject) -> tuple[Judgement, ...]:
        # With --benchmark-disable the benchmark is a test that it still works: small, and nothing is judged.
        rounds = operation.rounds_small if benchmark.disabled else operation.rounds_real
        samples = await take_samples(operation, subject, rounds, seed=report.run.seed)
        measurement = measured(operation.name, subject.backend, samples.durations_ns, samples.row_count)
        CLOCK.load(samples.durations_ns)
        benchmark.pedantic(CLOCK.advance, rounds=len(samples.durations_ns))  # type: ignore[no-untyped-call]
        return () if benchmark.disabled else report.add_measurement(measurement)

    return measure_and_judge
