"""How a road to a throw-away server is chosen, and what the keeper of a server does: no server needed."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import os
import pwd
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound, NotFound
from testcontainers.core import container as testcontainers_container
from testcontainers.core.config import ConnectionMode

from migration.backends.mariadb_server import RECIPE as MARIADB_RECIPE
from migration.backends.mariadb_server import MariadbRecipe
from migration.backends.mysql_server import RECIPE as MYSQL_RECIPE
from migration.backends.postgresql_server import RECIPE, PostgresqlRecipe
from migration.servers import (
    ServerUnavailable,
    container,
    keeper,
    load_recipe,
    programs,
    reaper,
    throwaway_server,
)
from migration.servers.recipe import RoadClosed

OWNER = os.getppid()
"""The keeper's owner is its parent; in these tests the keeper is the test's own process."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVER", "POSTGRESQL_URL", "POSTGRESQL_IMAGE"):
        monkeypatch.delenv(f"MIGRATION_BENCH_{name}", raising=False)
    monkeypatch.delenv("DOCKER_HOST", raising=False)


# --- choosing -----------------------------------------------------------------------------------------------


async def test_an_unknown_road_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", "bicycle")
    with pytest.raises(ServerUnavailable, match="'bicycle'.*environment, container, local, embedded"):
        async with throwaway_server("postgresql"):
            pass


async def test_a_forced_road_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", "environment")
    with pytest.raises(ServerUnavailable, match="URL is not set") as caught:
        async with throwaway_server("postgresql"):
            pass
    assert "container" not in str(caught.value)


def test_an_engine_without_a_recipe_is_named_with_the_file_to_add() -> None:
    with pytest.raises(ServerUnavailable, match="for basalt.*migration/backends/basalt_server.py"):
        load_recipe("basalt")


def test_a_missing_driver_is_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    monkeypatch.delitem(sys.modules, "migration.backends.postgresql_server")
    with pytest.raises(ServerUnavailable, match="asyncpg, which is not installed.*pip install asyncpg"):
        load_recipe("postgresql")


# --- programs -----------------------------------------------------------------------------------------------


def make_programs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in RECIPE.programs:
        (folder / name).touch(mode=0o755)
    return folder


def test_programs_on_the_path_come_first_then_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9.6", "15", "notes"):
        make_programs(tmp_path / version / "bin")
    monkeypatch.setattr(PostgresqlRecipe, "usual_folders", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert programs.find_local_programs(RECIPE).paths["initdb"].parent == tmp_path / "15" / "bin"
    monkeypatch.setenv("PATH", str(make_programs(tmp_path / "mine")))
    assert programs.find_local_programs(RECIPE).paths["initdb"].parent == tmp_path / "mine"


def test_programs_of_which_one_is_missing_are_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make_programs(tmp_path / "15" / "bin") / "initdb").unlink()
    monkeypatch.setattr(PostgresqlRecipe, "usual_folders", (f"{tmp_path}/*/bin",))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RoadClosed, match="initdb and postgres are neither on PATH nor in"):
        programs.find_local_programs(RECIPE)


def test_programs_of_one_server_may_lie_apart_where_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("bin", "mariadb-install-db"), ("sbin", "mariadbd")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(MariadbRecipe, "usual_folders", (f"{tmp_path}/sbin",))
    found = programs.find_local_programs(MARIADB_RECIPE).paths
    assert found == {
        "mariadb-install-db": tmp_path / "bin" / "mariadb-install-db",
        "mariadbd": tmp_path / "sbin" / "mariadbd",
    }


def test_a_server_that_no_wheel_brings_is_not_looked_for_in_one() -> None:
    with pytest.raises(RoadClosed, match="no wheel brings"):
        programs.find_wheel_programs(MARIADB_RECIPE)


def test_a_socket_whose_path_would_be_too_long_is_left_out(tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in MARIADB_RECIPE.programs}
    command = MARIADB_RECIPE.serve_command(paths, tmp_path / ("x" * 120), 1)
    assert "--socket=" in command


def test_mysql_is_prepared_and_served_by_one_program(tmp_path: Path) -> None:
    paths = {"mysqld": tmp_path / "mysqld"}
    prepare = MYSQL_RECIPE.prepare_command(paths, tmp_path)
    serve = MYSQL_RECIPE.serve_command(paths, tmp_path, 4711)
    assert prepare[:3] == [str(tmp_path / "mysqld"), "--no-defaults", "--initialize-insecure"]
    assert f"--datadir={tmp_path / 'data'}" in prepare
    assert {"--bind-address=127.0.0.1", "--port=4711", f"--init-file={tmp_path / 'password'}"} <= set(serve)


def test_without_the_wheel_its_road_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RoadClosed, match="extra `embedded` is not installed"):
        programs.find_wheel_programs(RECIPE)


def test_whoever_is_not_root_runs_the_server_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert programs._account_for(RECIPE) == programs._Account(None, None)


def test_root_runs_the_server_as_the_engines_user_or_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        "postgres": SimpleNamespace(pw_uid=101, pw_gid=104),
        "nobody": SimpleNamespace(pw_uid=9, pw_gid=9),
    }
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known[name])
    assert programs._account_for(RECIPE) == programs._Account(101, 104)
    del known["postgres"]
    assert programs._account_for(RECIPE) == programs._Account(9, 9)
    del known["nobody"]
    with pytest.raises(RoadClosed, match="refuses to run as root"):
        programs._account_for(RECIPE)


def test_a_folder_that_cannot_be_filled_closes_the_road(tmp_path: Path) -> None:
    with pytest.raises(RoadClosed, match="cannot be filled"):
        programs._lay_out(RECIPE, programs.Programs({}), tmp_path / "missing", 1, "password")


def test_a_program_that_cannot_be_run_is_known_as_such(tmp_path: Path) -> None:
    assert programs._can_run(Path("/bin/true"), programs._Account())
    assert not programs._can_run(Path("/bin/false"), programs._Account())
    assert not programs._can_run(tmp_path / "missing", programs._Account())


# --- containers, with a pretended Docker engine -------------------------------------------------------------


class PretendedLibraryClient:
    """The library's view of the engine."""

    mode = ConnectionMode.docker_host
    has_ended = False

    def get_connection_mode(self) -> ConnectionMode:
        return self.mode

    def host(self) -> str:
        return "localhost"

    def port(self, container_id: str, port: int) -> str:
        if self.has_ended:
            raise ConnectionError("Port mapping is not available")
        return str(port + 10_000)


class PretendedContainer:
    """Remembers what it was made of, and whether it was stopped."""

    latest: PretendedContainer
    stopped = False

    is_running = True

    def __init__(
        self, image: str, command: str, env: dict[str, str], ports: list[int], labels: dict[str, str]
    ) -> None:
        self.image, self.command, self.env, self.labels = image, command, env, labels
        self.ports: dict[str, Any] = {str(port): None for port in ports}
        PretendedContainer.latest = self

    def get_docker_client(self) -> PretendedLibraryClient:
        return PretendedLibraryClient()

    def get_wrapped_container(self) -> Any:
        status = "running" if self.is_running else "exited"
        return SimpleNamespace(reload=lambda: None, status=status, id="b3a5a1t")

    def get_logs(self) -> tuple[bytes, bytes]:
        return b"starting\n", b"the disk is made of cheese\n"

    def start(self) -> PretendedContainer:
        return self

    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    def stop(self) -> None:
        self.stopped = True


class EndedContainer(PretendedContainer):
    """Ended before anybody could connect."""

    is_running = False


class MissingImage(PretendedContainer):
    """Has no image and nowhere to get it from."""

    def start(self) -> PretendedContainer:
        raise ImageNotFound("manifest unknown")


class PretendedClient:
    """A Docker client whose engine answers."""

    closed = 0

    def ping(self) -> bool:
        return True

    def close(self) -> None:
        PretendedClient.closed += 1


@pytest.fixture
def docker_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket on which something listens, a client for it, and a reaper that only notes what it is told."""

    async def version(self: PostgresqlRecipe, url: str) -> str:
        return "18.0"

    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setenv("MIGRATION_BENCH_SERVER", "container")
        monkeypatch.setattr(docker, "from_env", lambda timeout: PretendedClient())
        monkeypatch.setattr(testcontainers_container, "DockerContainer", PretendedContainer)
        monkeypatch.setattr(PostgresqlRecipe, "version", version)
        told = tmp_path / "told"
        (tmp_path / "reaper.py").write_text(f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())")
        monkeypatch.setattr(reaper, "__file__", str(tmp_path / "reaper.py"))
        yield told


def words_told(told: Path) -> list[str]:
    """Return what the reaper was told."""
    return told.read_text().splitlines()


async def test_a_container_is_served_and_stopped(docker_engine: Path) -> None:
    closed_before = PretendedClient.closed
    async with throwaway_server("postgresql") as server:
        made = PretendedContainer.latest
        assert (server.origin, server.version) == ("container", "18.0")
        assert server.url == f"postgresql://postgres:{made.env['POSTGRES_PASSWORD']}@127.0.0.1:15432/postgres"
        assert (made.image, made.ports) == (RECIPE.image, {"5432": ("127.0.0.1", None)})
        assert shlex.split(made.command) == RECIPE.image_arguments()
        value = made.labels[reaper.LABEL]
        assert not made.stopped
    assert made.stopped
    assert PretendedClient.closed == closed_before + 1
    assert words_told(docker_engine) == [value, reaper.SETTLED]


async def test_the_environment_may_name_another_image(
    docker_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIGRATION_BENCH_POSTGRESQL_IMAGE", "my/own:image")
    async with throwaway_server("postgresql"):
        assert PretendedContainer.latest.image == "my/own:image"


async def test_an_image_that_cannot_be_pulled_closes_the_road(
    docker_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testcontainers_container, "DockerContainer", MissingImage)
    with pytest.raises(
        ServerUnavailable, match=r"the image postgres:\S+ cannot be started: manifest unknown"
    ):
        async with throwaway_server("postgresql"):
            pass


async def test_a_container_that_cannot_be_started_is_cleared_away(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testcontainers_container, "DockerContainer", MissingImage)
    with pytest.raises(ServerUnavailable):
        async with throwaway_server("postgresql"):
            pass
    assert words_told(docker_engine)[1:] == [reaper.SETTLED]


async def test_a_container_inside_another_is_published_where_that_one_can_reach_it(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretendedLibraryClient, "mode", ConnectionMode.gateway_ip)
    async with throwaway_server("postgresql"):
        assert PretendedContainer.latest.ports == {"5432": None}


async def test_a_container_that_ends_by_itself_leaves_its_last_words(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testcontainers_container, "DockerContainer", EndedContainer)
    with pytest.raises(ServerUnavailable, match="ended: starting the disk is made of cheese"):
        async with throwaway_server("postgresql"):
            pass
    assert PretendedContainer.latest.stopped


async def test_a_container_that_ends_while_it_is_asked_for_its_port_is_known_to_have_ended(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretendedLibraryClient, "has_ended", True)
    with pytest.raises(ServerUnavailable, match="ended: starting"):
        async with throwaway_server("postgresql"):
            pass


async def test_a_container_in_the_same_network_is_reached_at_its_own_port(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretendedLibraryClient, "mode", ConnectionMode.bridge_ip)
    async with throwaway_server("postgresql") as server:
        assert server.url.endswith(":5432/postgres")


async def test_a_reaper_that_does_not_end_is_ended(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_engine.with_name("reaper.py").write_text("import time; time.sleep(3600)")
    monkeypatch.setattr(container, "WATCH_SECONDS_MAX", 0.2)
    async with throwaway_server("postgresql"):
        pass


async def test_cancelled_while_it_starts_a_container_is_left_to_the_reaper(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class SlowContainer(PretendedContainer):
        def start(self) -> PretendedContainer:
            begun.set()
            go_on.wait(10)
            return self

    async def hold() -> None:
        async with throwaway_server("postgresql"):
            pass

    monkeypatch.setattr(testcontainers_container, "DockerContainer", SlowContainer)
    task = asyncio.create_task(hold())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert words_told(docker_engine) == [PretendedContainer.latest.labels[reaper.LABEL]]


class PretendedEngine:
    """A Docker engine whose containers come and go."""

    def __init__(self, *found: list[Any]) -> None:
        self.found = list(found)
        self.containers = self
        self.filters: list[Any] = []
        self.is_closed = False

    def list(self, **filters: Any) -> list[Any]:
        self.filters.append(filters["filters"])
        return self.found.pop(0) if self.found else []

    def close(self) -> None:
        self.is_closed = True


class PretendedLeftOver:
    """A container that is left over, and may be gone when it is to be removed."""

    def __init__(self, *, is_gone: bool = False) -> None:
        self.is_gone, self.removed = is_gone, False

    def remove(self, *, force: bool, v: bool) -> None:
        if self.is_gone:
            raise NotFound("no such container")
        self.removed = True


def test_the_reaper_waits_for_a_container_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "LOOK_SECONDS", 0.01)
    left = PretendedLeftOver()
    engine = PretendedEngine([], [], [left, PretendedLeftOver(is_gone=True)])
    assert reaper.reap(engine, "mine", is_settled=False) == 2
    assert left.removed
    assert engine.filters == [{"label": f"{reaper.LABEL}=mine"}] * 3


def test_the_reaper_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "LOOK_SECONDS_MAX", 0.0)
    assert reaper.reap(PretendedEngine(), "mine", is_settled=False) == 0


@pytest.mark.parametrize(("words", "looks"), [("mine\nsettled\n", 1), ("mine\n", 2)])
def test_the_reaper_looks_once_when_all_is_settled(
    words: str, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "LOOK_SECONDS", 0.01)
    engine = PretendedEngine([], [PretendedLeftOver()])
    monkeypatch.setattr(docker, "from_env", lambda: engine)
    monkeypatch.setattr(sys, "stdin", io.StringIO(words))
    reaper.main()
    assert len(engine.filters) == looks
    assert engine.is_closed


async def test_without_the_library_the_containers_road_is_closed(
    docker_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "testcontainers.core.container", None)
    with pytest.raises(ServerUnavailable, match=r"testcontainers\S* is not installed"):
        async with throwaway_server("postgresql"):
            pass


async def test_without_the_package_the_containers_road_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", "container")
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(ServerUnavailable, match="the Python package docker is not installed"):
        async with throwaway_server("postgresql"):
            pass


def test_an_engine_elsewhere_is_left_to_the_client() -> None:
    container._knock("tcp://127.0.0.1:1")


# --- the keeper ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "server"
    folder.mkdir()
    return folder


def job_for(folder: Path, serve: str = "exec sleep 3600", prepare: str = "exit 0") -> keeper.Job:
    return keeper.Job(
        folder=str(folder),
        prepare=["/bin/sh", "-c", prepare],
        serve=["/bin/sh", "-c", serve],
        stop_signal=signal.SIGINT,
    )


def closed_pipe() -> int:
    """The reading end of a pipe whose other end is closed."""
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def keep(job: keeper.Job, *, owner: int = OWNER) -> str:
    pipe = closed_pipe()
    try:
        return keeper.keep(job, pipe, owner)
    finally:
        os.close(pipe)


def test_a_job_survives_its_journey_through_the_pipe(folder: Path) -> None:
    assert keeper.read_job(job_for(folder).line()) == job_for(folder)


def test_a_closed_pipe_stops_the_server_and_removes_the_folder(folder: Path) -> None:
    proof = folder.parent / "proof"
    stopped = f"trap 'echo stopped >{proof}; exit 0' INT; echo up >{proof}; while :; do sleep 0.05; done"
    reading, writing = os.pipe()
    with subprocess.Popen(["/bin/sh", "-c", f"sleep 1; : {proof}"], pass_fds=[writing]):
        # Whoever holds the other end last closes it: here a process that ends after a second.
        os.close(writing)
        assert keeper.keep(job_for(folder, serve=stopped), reading, OWNER) == ""
    os.close(reading)
    assert proof.read_text() == "stopped\n"
    assert not folder.exists()


def test_words_on_the_pipe_are_not_its_end(folder: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"hello")
    assert keeper.keep(job_for(folder, serve="sleep 0.5; echo by itself"), reading, OWNER) == "by itself"
    os.close(writing)
    os.close(reading)


def test_a_vanished_owner_ends_the_server_although_the_pipe_is_open(folder: Path) -> None:
    reading, writing = os.pipe()
    assert keeper.keep(job_for(folder), reading, owner=-1) == ""
    os.close(writing)
    os.close(reading)
    assert not folder.exists()


def test_a_server_that_ends_by_itself_leaves_its_last_words(folder: Path) -> None:
    reading, writing = os.pipe()
    assert keeper.keep(job_for(folder, serve="echo no such port; exit 1"), reading, OWNER) == "no such port"
    os.close(writing)
    os.close(reading)
    assert not folder.exists()


def test_a_failed_preparation_leaves_its_last_words_and_starts_nothing(folder: Path) -> None:
    proof = folder.parent / "proof"
    job = job_for(folder, prepare="echo disk full; exit 3", serve=f"touch {proof}")
    assert keep(job) == "disk full"
    assert not proof.exists()


def test_a_preparation_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PREPARE_SECONDS_MAX", 0.2)
    assert "timed out" in keep(job_for(folder, prepare="exec sleep 3600"))
    assert not folder.exists()


def test_a_server_that_ignores_the_signal_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "STOP_SECONDS_MAX", 0.3)
    reading, writing = os.pipe()
    with subprocess.Popen(["/bin/sleep", "0.5"], pass_fds=[writing]):
        os.close(writing)
        begun = time.monotonic()
        assert keeper.keep(job_for(folder, serve="trap '' INT; exec sleep 3600"), reading, OWNER) == ""
    os.close(reading)
    assert time.monotonic() - begun < 5


def test_a_program_that_does_not_exist_is_said_to_be_missing(folder: Path) -> None:
    job = keeper.Job(folder=str(folder), prepare=["/no/such/program"], serve=[], stop_signal=signal.SIGINT)
    assert "/no/such/program" in keep(job)


def test_a_folder_that_does_not_exist_is_said_to_be_missing(folder: Path) -> None:
    assert "missing" in keep(job_for(folder / "missing"))


def test_the_keeper_gives_a_server_nothing_of_the_callers_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATA", "/somewhere/else")
    assert keep(job_for(folder, prepare="echo data is ${PGDATA:-unset}; exit 1")) == "data is unset"


def test_the_keepers_program_reads_its_job_and_writes_the_last_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = closed_pipe()
    line = job_for(folder, prepare="echo prepared badly; exit 1").line()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(line), fileno=lambda: pipe))
    before = signal.getsignal(signal.SIGTERM)
    try:
        keeper.main()
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(pipe)
    assert capsys.readouterr().out == "prepared badly"


def test_a_terminated_keeper_still_stops_its_server_and_removes_the_folder(folder: Path) -> None:
    up = folder.parent / "up"
    command = [sys.executable, "-I", "-S", keeper.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(job_for(folder, serve=f"echo $$ >{up}; exec sleep 3600").line())
        process.stdin.flush()
        while not up.exists() or not up.read_text():
            time.sleep(0.05)
        process.terminate()
        assert process.wait(10) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(up.read_text()), 0)
    assert not folder.exists()
