"""Fixtures of the benchmarks, and the report at the end.

===============  =======================================================================================
``place``        each backend in turn, before and after a migration of the same data
``subject``      the place's reference database behind a pool, ready to be measured
``measure``      a function: times an operation, hands it to pytest-benchmark and to the report
``measure_mix``  a function: lets agents do everything at once, and does the same with each operation
``report``       what this session found; prints a table and names its JSON file at the end
``fresh_url``    a function: backend -> URL of one more empty database
===============  =======================================================================================

How a sample gets into pytest-benchmark: it can only time plain calls, and a plain call that runs the event
loop would put the loop's own costs into every sample. So the samples are taken inside the loop first; then
pytest-benchmark times, by the documented `pedantic` and the documented `timer` setting, a call that moves a
clock of ours forward by one sample each (`replay.ReplayClock`). Its statistics, its JSON and its comparison
then see exactly the durations that were measured, and nothing private of it is touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.budgets import read_budgets
from bench.catalogue import OPERATIONS, Operation
from bench.dataset import DatasetKey, cached
from bench.histograms import write_histograms
from bench.judge import Judgement
from bench.places import BACKENDS, Place, chosen, fill, held, places
from bench.record import Run, commit_of, library_versions, machine_fingerprint, machine_load
from bench.reference import TABLES
from bench.replay import CLOCK
from bench.report import Report
from bench.stopwatch import MIX_CALLS, take_mix, take_samples
from bench.subject import Subject, open_subject
from bench.tuning import tune_server
from migration.servers import ServerUnavailable, fresh_database, throwaway_server

REPORT = pytest.StashKey[Report]()

Measure = Callable[[Operation, Subject], Awaitable[tuple[Judgement, ...]]]
MeasureMix = Callable[[Subject, int], Awaitable[tuple[Judgement, ...]]]
FreshUrl = Callable[[str], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of databases")
    group.addoption("--bench-scale", type=float, default=1.0, help="scale of the reference data (1.0)")
    group.addoption(
        "--bench-seed", type=int, default=1, help="seed of the reference data and of the pauses (1)"
    )
    group.addoption("--bench-backends", default="", help=f"all, or some of {', '.join(BACKENDS)}")
    group.addoption(
        "--bench-untuned", action="store_true", help="leave out the indexes that the findings recommend"
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
        budgets=read_budgets(),
        libraries=library_versions(),
        load=machine_load(),
    )
    folder = config.getoption("--bench-results") or config.rootpath / "results" / "runs"
    config.stash[REPORT] = Report(run, run.budgets, folder)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        found = places(backends_of(metafunc.config))
        metafunc.parametrize("place", found, ids=str, scope="session")


def backends_of(config: pytest.Config) -> tuple[str, ...]:
    """Give the backends that this session measures."""
    try:
        return chosen(config.getoption("--bench-backends"))
    except ValueError as error:
        raise pytest.UsageError(f"--bench-backends: {error}") from error


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.path is None:
        return
    terminalreporter.section("measured and judged")
    terminalreporter.write(report.rendered(colour=terminalreporter.hasmarkup))
    terminalreporter.write_line(f"Written to {report.path}")
    folder = write_histograms(report.run.measurements, report.path)
    terminalreporter.write_line(f"HDR histograms in {folder}")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash[REPORT]


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

        def server_url(backend: str) -> str:
            if backend not in servers:
                try:
                    server = stack.enter_context(held(server_loop, throwaway_server(backend)))
                    servers[backend] = server.url
                    if server.origin != "environment" and not request.config.getoption("--bench-untuned"):
                        server_loop.run_until_complete(tune_server(backend, server.url))
                except ServerUnavailable as unavailable:
                    servers[backend] = unavailable
            found = servers[backend]
            if isinstance(found, str):
                return found
            if required & {"all", backend}:
                pytest.fail(f"--require-backends: {found}", pytrace=False)
            pytest.skip(str(found))

        def make(backend: str) -> str:
            if backend == "sqlite":
                return f"sqlite:///{tmp_path_factory.mktemp('fresh') / 'database.db'}"
            return stack.enter_context(held(server_loop, fresh_database(backend, server_url(backend))))

        yield make


@pytest.fixture(scope="session")
def filled_url(
    request: pytest.FixtureRequest,
    dataset: Path,
    fresh_url: FreshUrl,
    server_loop: asyncio.AbstractEventLoop,
    report: Report,
) -> Callable[[Place], str]:
    """A function: place -> URL of the filled reference database, filled when it is first asked for."""
    filled: dict[Place, str] = {}
    untuned = bool(request.config.getoption("--bench-untuned"))

    def fill_once(place: Place) -> str:
        if place not in filled:
            url = fresh_url(place.backend)
            outcome = server_loop.run_until_complete(fill(place, url, dataset, tuned=not untuned))
            if outcome is not None:
                report.add_migration(outcome.migration("sqlite", place.backend))
            filled[place] = url
        return filled[place]

    return fill_once


@pytest.fixture
def subject_url(place: Place, filled_url: Callable[[Place], str]) -> str:
    return filled_url(place)


@pytest.fixture
async def subject(subject_url: str, report: Report) -> AsyncIterator[Subject]:
    async with open_subject(subject_url) as opened:
        report.add_engine(opened.described)
        yield opened


@pytest.fixture
def measure(benchmark: BenchmarkFixture, report: Report, place: Place) -> Measure:
    async def measure_and_judge(operation: Operation, subject: Subject) -> tuple[Judgement, ...]:
        if reason := operation.impossible(subject):
            pytest.skip(f"{operation.name} on {place}: {reason}")
        # With --benchmark-disable the benchmark is a test that it still works: small, and nothing is judged.
        rounds = operation.rounds_small if benchmark.disabled else operation.rounds_real
        samples = await take_samples(operation, subject, rounds, seed=report.run.seed)
        replay(benchmark, samples.durations_ns)
        if benchmark.disabled:
            return ()
        return report.add_measurement(samples.measurement(operation, subject, place.stage, operation.agents))

    return measure_and_judge


@pytest.fixture
def measure_mix(benchmark: BenchmarkFixture, report: Report, place: Place) -> MeasureMix:
    async def measure_and_judge(subject: Subject, agents: int) -> tuple[Judgement, ...]:
        mixed = [operation for operation in OPERATIONS.values() if operation.weight]
        calls = 2 * agents if benchmark.disabled else MIX_CALLS.get(agents, 5_000)
        seen = await take_mix(mixed, subject, agents=agents, calls=calls, seed=report.run.seed)
        replay(benchmark, [duration for samples in seen.values() for duration in samples.durations_ns])
        if benchmark.disabled:
            return ()
        judgements: list[Judgement] = []
        for name, samples in seen.items():
            measurement = samples.measurement(OPERATIONS[name], subject, place.stage, agents)
            judgements += report.add_measurement(measurement)
        return tuple(judgements)

    return measure_and_judge


def replay(benchmark: BenchmarkFixture, durations_ns: tuple[int, ...] | list[int]) -> None:
    """Let pytest-benchmark see the durations that were measured."""
    CLOCK.load(durations_ns)
    benchmark.pedantic(CLOCK.advance, rounds=len(durations_ns))  # type: ignore[no-untyped-call]
