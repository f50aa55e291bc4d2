"""The road through containers, run for real: images of our own, the product's code unchanged."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from sqlalchemy import make_url

from migration.servers import ServerUnavailable, fresh_database, load_recipe, reaper, throwaway_server

ROOT = Path(__file__).resolve().parents[2]

SECONDS_MAX = 60.0
"""The reaper looks twice a second, and the engine takes a moment to end a server."""

KILLED_OWNER = """
import asyncio, sys
from migration.servers import throwaway_server

async def main():
    async with throwaway_server(sys.argv[1]):
        print("ready", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def containers_of(pid: int) -> list[Any]:
    """Return the containers of that process."""
    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": reaper.LABEL}, ignore_removed=True)
        return [each for each in found if each.labels[reaper.OWNER_LABEL] == str(pid)]
    finally:
        client.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return when it is so; fail when it never is."""
    limit = time.monotonic() + SECONDS_MAX
    while not is_so():
        assert time.monotonic() < limit
        time.sleep(0.2)


async def test_a_container_serves_and_is_gone_afterwards(contained: str) -> None:
    async with throwaway_server(contained) as server:
        assert server.origin == "container"
        assert server.version == await load_recipe(contained).version(server.url)
        [ours] = containers_of(os.getpid())
        [bindings] = [each for each in ours.ports.values() if each]
        assert {int(binding["HostPort"]) for binding in bindings} == {make_url(server.url).port}
        async with fresh_database(contained, server.url) as url:
            assert await load_recipe(contained).version(url) == server.version
    assert containers_of(os.getpid()) == []


async def test_nobody_enters_without_the_password(contained: str) -> None:
    recipe = load_recipe(contained)
    async with throwaway_server(contained) as server:
        wrong = make_url(server.url).set(password="wrong").render_as_string(hide_password=False)
        with pytest.raises(recipe.not_ready, match="(?i)password"):
            await recipe.version(wrong)


async def test_a_container_that_cannot_begin_says_why(
    contained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(load_recipe(contained)), "image_environment", lambda self, password: {})
    with pytest.raises(ServerUnavailable, match=r"_(PASSWORD|DATABASE): parameter"):
        async with throwaway_server(contained):
            pass
    assert containers_of(os.getpid()) == []


def test_a_killed_owner_leaves_no_container(contained: str) -> None:
    command = [sys.executable, "-c", KILLED_OWNER, contained]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"ready\n"
            assert len(containers_of(owner.pid)) == 1
        finally:
            owner.kill()
    wait_until(lambda: containers_of(owner.pid) == [])


# --- a whole rehearsal --------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT NOT NULL, photo BLOB)")
        rows = [(number, f"note {number}", bytes([number % 256])) for number in range(1000)]
        connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)
        connection.commit()
    return path


def rehearsal(source: Path, server: str) -> list[str]:
    return [sys.executable, "-m", "migration", "rehearse", str(source), "--on", server]


def test_a_rehearsal_in_a_container_proves_every_row_and_leaves_nothing(contained: str, source: Path) -> None:
    command = [*rehearsal(source, contained), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        told = json.loads(process.communicate()[0])
    assert process.returncode == 0, told["error"]
    assert told["verdict"] == "proved"
    assert [(table["table"], table["target_rows"]) for table in told["report"]["tables"]] == [("notes", 1000)]
    assert re.fullmatch(rf"{contained} [\d.]+ \(container\), thrown away", told["server"])
    assert containers_of(process.pid) == []


def test_a_rehearsal_that_is_killed_leaves_no_container(contained: str, source: Path) -> None:
    with subprocess.Popen(rehearsal(source, contained), stdout=subprocess.PIPE, cwd=ROOT) as process:
        wait_until(lambda: containers_of(process.pid) != [] or process.poll() is not None)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    wait_until(lambda: containers_of(process.pid) == [])
