"""Throw-away servers, real ones: they start, answer, and are gone afterwards whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncmy
import asyncpg
import psutil
import pytest
from sqlalchemy import make_url

from migration.backends.postgresql_server import RECIPE, PostgresqlRecipe
from migration.servers import (
    ServerUnavailable,
    ThrowawayServer,
    fresh_database,
    keeper,
    load_recipe,
    programs,
    recipe,
    throwaway_server,
)
from migration.servers.recipe import RoadClosed
from tests.conftest import required_engines
from tests.servers import Servers

ROOT = Path(__file__).resolve().parents[2]

GONE_SECONDS_MAX = 30.0
"""The keeper looks five times a second and gives a server ten seconds to stop."""

KILLED_OWNER = """
import asyncio, sys
from migration.servers import throwaway_server

async def main():
    async with throwaway_server(sys.argv[1]):
        print("ready", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@dataclass(frozen=True)
class Traces:
    """What a running server leaves on the machine: its processes and its folder."""

    processes: list[psutil.Process]
    folder: Path

    def are_gone(self) -> bool:
        return not any(process.is_running() for process in self.processes) and not self.folder.exists()


@pytest.fixture(params=["local", "embedded"])
def road(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each road that serves programs of this machine, if it can be gone here."""
    find = {"local": programs.find_local_programs, "embedded": programs.find_wheel_programs}[request.param]
    try:
        find(RECIPE)
    except RoadClosed as closed:
        pytest.skip(f"the road {request.param} is closed here: {closed}")
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", request.param)
    return str(request.param)


@asynccontextmanager
async def traced_server(engine: str = "postgresql") -> AsyncIterator[tuple[ThrowawayServer, Traces]]:
    """Start a server and note which processes and which folder came with it."""
    before = set(psutil.Process().children(recursive=True))
    async with throwaway_server(engine) as server:
        yield server, traces_among(set(psutil.Process().children(recursive=True)) - before)


def data_folder(command: list[str]) -> Path | None:
    """Return where a server keeps its data, by its command."""
    if "-D" in command:
        return Path(command[command.index("-D") + 1])
    named = [word for word in command if word.startswith("--datadir=")]
    return Path(named[0].partition("=")[2]) if named else None


def traces_among(processes: set[psutil.Process]) -> Traces:
    """Pick the keeper and the server's main process; those that serve one connection come and go."""
    keepers, servers, folders = [], [], []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            if keeper.__file__ in command:
                keepers.append(process)
            elif data := data_folder(command):
                servers.append(process)
                folders.append(data.parent)
    [folder] = folders
    assert len(keepers) == 1
    return Traces([*keepers, *servers], folder)


async def test_a_server_answers_and_is_gone_afterwards(road: str) -> None:
    async with traced_server() as (server, traces):
        connection = await asyncpg.connect(server.url)
        assert (await connection.fetchval("SHOW server_version")).startswith(server.version)
        assert await connection.fetchval("SHOW server_encoding") == "UTF8"
        assert await connection.fetchval("SELECT datcollate FROM pg_database LIMIT 1") == "C"
        await connection.close()
        assert server.origin == {"local": "local binaries", "embedded": "embedded wheel"}[road]
        assert traces.processes
        assert traces.folder.is_dir()
        assert not traces.are_gone()
    assert traces.are_gone()


async def test_a_server_never_runs_as_root(road: str) -> None:
    async with traced_server() as (_, traces):
        servers = [process for process in traces.processes if process.name() == "postgres"]
        assert servers
        assert all(process.uids().effective != 0 for process in servers)


async def test_nobody_enters_without_the_password(road: str) -> None:
    async with traced_server() as (server, traces):
        wrong = make_url(server.url).set(password="wrong").render_as_string(hide_password=False)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
        password = make_url(server.url).password
        assert password
        assert password not in repr(server)
        assert not any(password in word for process in traces.processes for word in process.cmdline())
        assert stat.S_IMODE((traces.folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE(traces.folder.stat().st_mode) == 0o700


async def test_a_server_is_gone_after_an_error_inside_the_block() -> None:
    with pytest.raises(ZeroDivisionError):
        async with traced_server() as (_, traces):
            raise ZeroDivisionError
    assert traces.are_gone()


async def test_a_server_is_gone_after_cancellation() -> None:
    started: asyncio.Future[Traces] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with traced_server() as (_, traces):
            started.set_result(traces)
            await asyncio.sleep(3600)

    task = asyncio.create_task(hold())
    traces = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert traces.are_gone()


async def test_a_server_with_open_connections_stops_without_waiting_for_them() -> None:
    async with throwaway_server("postgresql") as server:
        connection = await asyncpg.connect(server.url)
        begun = time.monotonic()
    assert time.monotonic() - begun < programs.STOP_SECONDS_MAX / 2
    connection.terminate()


def test_a_killed_owner_leaves_neither_process_nor_folder(road: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_OWNER, "postgresql"], stdout=subprocess.PIPE, cwd=ROOT
    ) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            traces = traces_among(set(psutil.Process(owner.pid).children(recursive=True)))
            assert not traces.are_gone()
        finally:
            owner.kill()
    limit = time.monotonic() + GONE_SECONDS_MAX
    while not traces.are_gone() and time.monotonic() < limit:
        time.sleep(0.1)
    assert traces.are_gone()


# --- a server of another engine -----------------------------------------------------------------------------


@pytest.fixture
def mariadb(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a server that is there only as programs of this machine, in two folders."""
    try:
        programs.find_local_programs(load_recipe("mariadb"))
    except RoadClosed as closed:
        if "mariadb" in required_engines(request.config):
            pytest.fail(f"required, but {closed}", pytrace=False)
        pytest.skip(f"the road local is closed here: {closed}")
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", "local")
    return "mariadb"


async def test_its_programs_may_lie_in_different_folders(mariadb: str) -> None:
    recipe = load_recipe(mariadb)
    async with traced_server(mariadb) as (server, traces):
        assert server.origin == "local binaries"
        assert server.version == await recipe.version(server.url)
        assert all(
            process.uids().effective != 0 for process in traces.processes if "mariadbd" in process.name()
        )
        assert (traces.folder / "socket").is_socket()
        async with fresh_database(mariadb, server.url) as url:
            assert make_url(url).database != make_url(server.url).database
            assert await recipe.version(url) == server.version
    assert traces.are_gone()


async def test_its_password_is_needed_and_in_no_command(mariadb: str) -> None:
    recipe = load_recipe(mariadb)
    async with traced_server(mariadb) as (server, traces):
        wrong = make_url(server.url).set(password="wrong").render_as_string(hide_password=False)
        with pytest.raises(recipe.not_ready, match="Access denied"):
            await recipe.version(wrong)
        password = make_url(server.url).password
        assert password
        assert not any(password in word for process in traces.processes for word in process.cmdline())
        assert stat.S_IMODE((traces.folder / "password").stat().st_mode) == 0o600


async def test_its_database_is_dropped_together_with_who_is_still_connected(mariadb: str) -> None:
    async with throwaway_server(mariadb) as server:
        async with fresh_database(mariadb, server.url) as url:
            parts = make_url(url)
            lingering = await asyncmy.connect(
                host=parts.host,
                port=parts.port,
                user=parts.username,
                password=parts.password,
                database=parts.database,
            )
            async with lingering.cursor() as cursor:
                # A transaction that has read a table keeps anybody from dropping it.
                await cursor.execute("CREATE TABLE t (id int)")
                await cursor.execute("BEGIN")
                await cursor.execute("SELECT * FROM t")
        assert parts.database not in await mariadb_databases(server.url)
        lingering.close()


async def mariadb_databases(url: str) -> set[str]:
    parts = make_url(url)
    connection = await asyncmy.connect(
        host=parts.host, port=parts.port, user=parts.username, password=parts.password
    )
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("SHOW DATABASES")
            return {name for (name,) in await cursor.fetchall()}
    finally:
        await connection.ensure_closed()


def test_its_killed_owner_leaves_neither_process_nor_folder(mariadb: str) -> None:
    command = [sys.executable, "-c", KILLED_OWNER, mariadb]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            traces = traces_among(set(psutil.Process(owner.pid).children(recursive=True)))
        finally:
            owner.kill()
    limit = time.monotonic() + GONE_SECONDS_MAX
    while not traces.are_gone() and time.monotonic() < limit:
        time.sleep(0.1)
    assert traces.are_gone()


# --- a server somebody named --------------------------------------------------------------------------------


@pytest.fixture
def named_url(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> str:
    """The run's own server, named in the environment."""
    server = servers.get("postgresql")
    if isinstance(server, ServerUnavailable):
        pytest.skip(str(server))
    monkeypatch.delenv("MIGRATION_BENCH_SERVER", raising=False)
    monkeypatch.setenv("MIGRATION_BENCH_POSTGRESQL_URL", server.url)
    return server.url


async def database_names(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {record["datname"] for record in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


async def test_a_named_server_lends_a_database_and_gets_it_back(named_url: str) -> None:
    async with throwaway_server("postgresql") as server:
        name = make_url(server.url).database
        assert server.origin == "environment"
        assert name in await database_names(named_url)
        # Somebody who is still connected must not keep the database alive.
        lingering = await asyncpg.connect(server.url)
    assert name not in await database_names(named_url)
    lingering.terminate()


async def test_a_named_server_that_does_not_answer_is_not_replaced_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MIGRATION_BENCH_SERVER", raising=False)
    monkeypatch.setenv(
        "MIGRATION_BENCH_POSTGRESQL_URL", f"postgresql://me:secret@127.0.0.1:{programs._free_port()}/x"
    )
    with pytest.raises(ServerUnavailable) as caught:
        async with throwaway_server("postgresql"):
            pass
    assert "environment: postgresql://me:***@127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "container" not in str(caught.value)


async def test_a_named_server_that_lends_no_database_says_so(
    named_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(named_url)
    await connection.execute("CREATE ROLE visitor LOGIN PASSWORD 'visitor'")
    try:
        visitor = make_url(named_url).set(username="visitor", password="visitor")
        monkeypatch.setenv("MIGRATION_BENCH_POSTGRESQL_URL", visitor.render_as_string(hide_password=False))
        with pytest.raises(ServerUnavailable, match="permission denied to create database"):
            async with throwaway_server("postgresql"):
                pass
    finally:
        await connection.execute("DROP ROLE visitor")
        await connection.close()


# --- roads that are closed, and programs that misbehave -----------------------------------------------------


async def test_without_any_road_the_error_names_each_and_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MIGRATION_BENCH_SERVER", raising=False)
    monkeypatch.delenv("MIGRATION_BENCH_POSTGRESQL_URL", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(PostgresqlRecipe, "usual_folders", (f"{tmp_path}/*/bin",))
    monkeypatch.setattr(PostgresqlRecipe, "wheel_folders", lambda self: [])
    with pytest.raises(ServerUnavailable) as caught:
        async with throwaway_server("postgresql"):
            pass
    message = str(caught.value)
    assert "environment: MIGRATION_BENCH_POSTGRESQL_URL is not set" in message
    assert "container: no Docker engine answers" in message
    assert "local: initdb and postgres are neither on PATH nor in" in message
    assert "embedded: the extra `embedded` is not installed" in message
    assert "pip install 'migration-bench[postgresql,embedded]'" in message
    assert caught.value.exit_code == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as somebody else")
async def test_a_wheel_that_the_servers_account_cannot_reach_is_copied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = RECIPE.wheel_folders()
    if not wheel:
        pytest.skip("the extra `embedded` is not installed")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for folder in wheel:
        (private / folder.name).symlink_to(folder)
    here = [private / folder.name for folder in wheel]
    monkeypatch.setattr(PostgresqlRecipe, "wheel_folders", lambda self: here)
    monkeypatch.setenv("MIGRATION_BENCH_SERVER", "embedded")
    async with traced_server() as (_, traces):
        assert (traces.folder / "programs" / wheel[0].name / RECIPE.wheel_programs / "postgres").is_file()
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert traces.are_gone()


async def test_a_port_taken_in_the_meantime_is_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        ports = [other.getsockname()[1], programs._free_port()]
        free = ports[1]
        monkeypatch.setattr(programs, "_free_port", lambda: ports.pop(0))
        async with throwaway_server("postgresql") as server:
            assert make_url(server.url).port == free


Pretended = Callable[[str, str], programs.Programs]


@pytest.fixture
def pretended() -> Iterator[Pretended]:
    """Make server programs out of shell scripts, in a folder that every account can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pretended-"))
    folder.chmod(0o755)

    def make(initdb: str, postgres: str) -> programs.Programs:
        for name, script in (("initdb", initdb), ("postgres", postgres)):
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        return programs.Programs({name: folder / name for name in ("initdb", "postgres")})

    yield make
    shutil.rmtree(folder)


async def test_the_programs_own_words_are_the_reason(pretended: Pretended) -> None:
    broken = pretended("echo the disk is made of cheese >&2; exit 1", "exit 0")
    with pytest.raises(RoadClosed, match="the disk is made of cheese"):
        async with programs.from_programs("test", RECIPE, lambda _: broken):
            pass


async def test_a_server_that_never_answers_is_given_up(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "START_SECONDS_MAX", 1.0)
    silent = pretended("exit 0", "exec sleep 3600")
    with pytest.raises(RoadClosed, match=r"no answer within 1 s: .*Connect call failed"):
        async with programs.from_programs("test", RECIPE, lambda _: silent):
            pass


class ReadyAtOnce(PostgresqlRecipe):
    """Believes every server to be ready."""

    async def version(self, url: str) -> str:
        return "0"


async def test_a_keeper_that_does_not_end_in_time_is_ended_with_its_server(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "STOP_SECONDS_MAX", 0.5)
    stubborn = pretended("exit 0", "trap '' INT; exec sleep 3600")
    before = set(psutil.Process().children(recursive=True))
    async with programs.from_programs("test", ReadyAtOnce(), lambda _: stubborn):
        await asyncio.sleep(1.0)
        new = [child for child in psutil.Process().children(recursive=True) if child not in before]
        assert "sleep" in {child.name() for child in new}
    _, alive = psutil.wait_procs(new, timeout=5)
    assert not alive
