"""Fixtures every test may use.

====================  ======================================================================
``sqlite_path``       a path for a SQLite file that does not exist yet
``sqlite_url``        its URL
``postgresql_url``    the URL of an empty PostgreSQL database, dropped after the test
``mariadb_url``       the same of MariaDB
``backend_url``       an empty database's URL, once for each engine: for the conformance suite
``fresh_database``    a function: engine -> URL of one more empty database (two of one engine, a pair, ...)
``contained``         the name of each server in turn, which comes out of a container
``servers``           the run's servers, for tests of the servers themselves
====================  ======================================================================

A server that cannot be had skips its tests and says why; ``--require-backends all`` (or a comma list) makes
that a failure, and so does ``--require-containers`` for Docker. CI always sets the first, and the second
where an engine can be started: a green run must not have tested half of the engines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from migration.servers import ServerUnavailable
from tests.containers.engine import only_containers
from tests.containers.images import IMAGES, ImageUnavailable
from tests.servers import BACKENDS, CONTAINED, ENGINES, SERVER_ENGINES, Servers

# How long a generated example takes says something about the machine, and nothing about the code. Everybody
# gets the same examples, so that what failed once fails for whoever looks into it; a seed gives others.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize="MIGRATION_BENCH_SEED" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")

DESCRIPTIONS = pytest.StashKey[dict[str, str]]()
SERVERS = pytest.StashKey[Servers]()

TEST_SECONDS_MAX = 180
"""The longest tests take half a minute; one that takes longer than this hangs."""

FreshDatabase = Callable[[str], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backends",
        default="",
        metavar="ENGINES",
        help=f"fail, do not skip, when one of these has no server: all, or a list of {', '.join(ENGINES)}",
    )
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail, do not skip, when there is no Chromium for the tests of the report's page",
    )
    parser.addoption(
        "--require-containers",
        action="store_true",
        help="fail, do not skip, when there is no Docker engine for the tests of containers",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = Servers()
    config.stash[DESCRIPTIONS] = {}
    required_engines(config)
    config.addinivalue_line(
        "markers",
        f"every_server: run it also on the servers that only a container brings: {', '.join(CONTAINED)}",
    )
    if config.pluginmanager.has_plugin("xdist") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Workers(config.stash[DESCRIPTIONS]))


def pytest_unconfigure(config: pytest.Config) -> None:
    # After all fixtures: a test that failed in its tear-down must not leave a server behind.
    if SERVERS in config.stash:
        config.stash[SERVERS].close()


def required_engines(config: pytest.Config) -> set[str]:
    """Return the engines that must not be skipped."""
    words = {word.strip() for word in str(config.getoption("--require-backends")).split(",") if word.strip()}
    if unknown := words - {"all", *ENGINES}:
        raise pytest.UsageError(
            f"--require-backends: {', '.join(sorted(unknown))}: know only all, {', '.join(ENGINES)}"
        )
    contained = CONTAINED if config.getoption("--require-containers") else ()
    return {*contained, *(ENGINES if "all" in words else words)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask of each engine in turn what is asked of engines."""
    own = [names for mark in metafunc.definition.iter_markers("parametrize") for names in mark.args[:1]]
    if "engine" in metafunc.fixturenames and not any("engine" in names for names in own):
        marked = metafunc.definition.get_closest_marker("every_server") is not None
        contained = [engine for engine in CONTAINED if engine in SERVER_ENGINES] if marked else []
        metafunc.parametrize("engine", [*ENGINES, *contained], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test a limit, after which it fails and tells what each thread was doing."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS_MAX, method="signal"))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Note which servers this process has used."""
    config = session.config
    config.stash[DESCRIPTIONS].update(config.stash[SERVERS].descriptions())
    if hasattr(config, "workeroutput"):
        config.workeroutput["servers"] = config.stash[DESCRIPTIONS]


class Workers:
    """Gathers from the processes of a parallel run which servers they have used."""

    def __init__(self, descriptions: dict[str, str]) -> None:
        self._descriptions = descriptions

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._descriptions.update(getattr(node, "workeroutput", {}).get("servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which servers were used, and which of those that were asked for there are none of."""
    for engine, description in sorted(config.stash[DESCRIPTIONS].items()):
        terminalreporter.write_line(f"{engine}: {description}")


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    return request.config.stash[SERVERS]


@pytest.fixture
def fresh_database(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> Iterator[FreshDatabase]:
    with ExitStack() as databases:

        def make(engine: str) -> str:
            if engine not in BACKENDS:
                number = sum(1 for _ in tmp_path.glob("fresh-*"))
                folder = tmp_path / f"fresh-{number}"
                folder.mkdir()
                return f"{engine}:///{folder / 'database.db'}"
            server = servers.get(engine)
            if isinstance(server, ServerUnavailable):
                if engine in required_engines(request.config):
                    pytest.fail(f"required, but {server}", pytrace=False)
                pytest.skip(str(server))
            return databases.enter_context(servers.fresh_database(engine))

        yield make


@pytest.fixture(params=IMAGES)
def contained(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of each server in turn, which comes out of a container of our own image."""
    try:
        with only_containers(request.param):
            yield request.param
    except ImageUnavailable as unavailable:
        if request.config.getoption("--require-containers"):
            pytest.fail(f"--require-containers: {unavailable}", pytrace=False)
        request.config.stash[DESCRIPTIONS]["containers"] = f"none, their tests are skipped: {unavailable}"
        pytest.skip(f"no container can be run here: {unavailable}")


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


@pytest.fixture
def sqlite_url(sqlite_path: Path) -> str:
    return f"sqlite:///{sqlite_path}"


@pytest.fixture
def postgresql_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("postgresql")


@pytest.fixture
def mariadb_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("mariadb")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn."""
    return str(request.param)


@pytest.fixture
def backend_url(engine: str, fresh_database: FreshDatabase) -> str:
    return fresh_database(engine)
