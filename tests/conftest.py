"""Fixtures every test may use.

====================  ======================================================================
``sqlite_path``       a path for a SQLite file that does not exist yet
``sqlite_url``        its URL
``postgresql_url``    the URL of an empty PostgreSQL database, dropped after the test
``backend_url``       an empty database's URL, once for each engine: for the conformance suite
``fresh_database``    a function: engine -> URL of one more empty database (two of one engine, a pair, ...)
``servers``           the run's servers, for tests of the servers themselves
====================  ======================================================================

A server that cannot be had skips its tests and says why; ``--require-backends all`` (or a comma list) makes
that a failure. CI always sets it: a green run must not have tested half of the engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from migration.servers import ServerUnavailable
from tests.servers import ENGINES, SERVER_ENGINES, Servers

# How long a generated example takes says something about the machine, and nothing about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

SERVERS = pytest.StashKey[Servers]()

FreshDatabase = Callable[[str], str]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backends",
        default="",
        metavar="ENGINES",
        help=f"fail, do not skip, when one of these has no server: all, or a list of {', '.join(ENGINES)}",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SERVERS] = Servers()
    required_engines(config)


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
    return set(ENGINES) if "all" in words else words


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Say which servers this run uses, and start them, as soon as it is known which tests will run."""
    required = required_engines(config)
    used = [name for name in SERVER_ENGINES if name in required or any(_uses(item, name) for item in items)]
    return [f"{name}: {_description(config.stash[SERVERS], name)}" for name in used]


def _uses(item: pytest.Item, engine: str) -> bool:
    """Tell whether a test asks for a server of this engine by one of the fixtures below."""
    names = getattr(item, "fixturenames", ())
    if "backend_url" in names:
        return bool(item.callspec.params.get("engine") == engine)  # type: ignore[attr-defined]
    return "fresh_database" in names


def _description(servers: Servers, engine: str) -> str:
    server = servers.get(engine)
    if isinstance(server, ServerUnavailable):
        return f"none, its tests are skipped or fail: {server}"
    return f"{server.version}, from {server.origin}"


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    return request.config.stash[SERVERS]


@pytest.fixture
def fresh_database(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> Iterator[FreshDatabase]:
    with ExitStack() as databases:

        def make(engine: str) -> str:
            if engine not in SERVER_ENGINES:
                number = sum(1 for _ in tmp_path.glob("fresh-*"))
                folder = tmp_path / f"fresh-{number}"
                folder.mkdir()
                return f"{engine}:///{folder / 'database.db'}"
            server = servers.get(engine)
            if isinstance(server, ServerUnavailable):
                if engine in required_engines(request.config):
                    pytest.fail(f"--require-backends: {server}", pytrace=False)
                pytest.skip(str(server))
            return databases.enter_context(servers.fresh_database(engine))

        yield make


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "source.db"


@pytest.fixture
def sqlite_url(sqlite_path: Path) -> str:
    return f"sqlite:///{sqlite_path}"


@pytest.fixture
def postgresql_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("postgresql")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn."""
    return str(request.param)


@pytest.fixture
def backend_url(engine: str, fresh_database: FreshDatabase) -> str:
    return fresh_database(engine)
