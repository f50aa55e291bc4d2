"""How a road to a throw-away server is chosen, and what the keeper of a server does: no server needed."""

from __future__ import annotations

import importlib.util
import io
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from testcontainers.core import container as testcontainers_container

from migration.backends.postgresql_server import RECIPE, PostgresqlRecipe
from migration.servers import ServerUnavailable, container, keeper, load_recipe, programs, throwaway_server
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
    with pytest.raises(ServerUnavailable, match=r"asyncpg, which is not installed.*\[postgresql,embedded\]"):
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
    monkeypatch.setattr(PostgresqlRecipe, "usual_folders", f"{tmp_path}/*/bin")
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert programs.find_local_programs(RECIPE).folder == tmp_path / "15" / "bin"
    monkeypatch.setenv("PATH", str(make_programs(tmp_path / "mine")))
    assert programs.find_local_programs(RECIPE).folder == tmp_path / "mine"


def test_programs_of_which_one_is_missing_are_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make_programs(tmp_path / "15" / "bin") / "initdb").unlink()
    monkeypatch.setattr(PostgresqlRecipe, "usual_folders", f"{tmp_path}/*/bin")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RoadClosed, match="initdb and postgres are neither on PATH nor in"):
        programs.find_local_programs(RECIPE)


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
        programs._lay_out(RECIPE, programs.Programs(tmp_path), tmp_path / "missing", 1, "password")


def test_a_program_that_cannot_be_run_is_known_as_such(tmp_path: Path) -> None:
    assert programs._can_run(Path("/bin/true"), programs._Account())
    assert not programs._can_run(Path("/bin/false"), programs._Account())
    assert not programs._can_run(tmp_path / "missing", programs._Account())


# --- containers, with a pretended Docker engine -------------------------------------------------------------


class PretendedContainer:
    """Remembers what it was made of, and whether it was stopped."""

    latest: PretendedContainer
    stopped = False

    def __init__(self, image: str, env: dict[str, str], ports: list[int]) -> None:
        self.image, self.env, self.ports = image, env, ports
        PretendedContainer.latest = self

    def start(self) -> PretendedContainer:
        return self

    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    def get_exposed_port(self, port: int) -> str:
        return str(port + 10_000)

    def stop(self) -> None:
        self.stopped = True


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
def docker_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A socket on which something listens, and a client for it."""

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
        yield


async def test_a_container_is_served_and_stopped(docker_engine: None) -> None:
    closed_before = PretendedClient.closed
    async with throwaway_server("postgresql") as server:
        made = PretendedContainer.latest
        assert (server.origin, server.version) == ("container", "18.0")
        assert server.url == f"postgresql://postgres:{made.env['POSTGRES_PASSWORD']}@127.0.0.1:15432/postgres"
        assert (made.image, made.ports) == (RECIPE.image, [5432])
        assert not made.stopped
    assert made.stopped
    assert PretendedClient.closed == closed_before + 1


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
