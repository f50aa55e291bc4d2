"""The second road: a container, when a Docker engine answers."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migration.servers import reaper
from migration.servers.recipe import (
    Recipe,
    RoadClosed,
    ServerEnded,
    ThrowawayServer,
    version_when_ready,
    words_of,
)

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

DOCKER_HOST_USUAL = "unix:///var/run/docker.sock"
"""Where a Docker engine listens unless the environment says otherwise."""

DOCKER_PING_SECONDS_MAX = 3
"""A Docker engine on this machine answers at once; longer means that there is none worth waiting for."""

WATCH_SECONDS_MAX = 30.0
"""Longer than the reaper looks for a container."""

LOG_CHARACTERS_MAX = 1000
"""As much of a container's log as fits into an error message."""

LOOPBACK = ("localhost", "127.0.0.1")
"""Names of this machine by which the library calls a Docker engine that is here."""

RUNNING = ("created", "running")
"""What the engine calls a container whose process may still answer."""


@asynccontextmanager
async def from_container(engine: str, recipe: Recipe) -> AsyncIterator[ThrowawayServer]:
    """Start a container of the engine's image; it is gone afterwards, even if this process is killed."""
    image = os.environ.get(f"MIGRATION_BENCH_{engine.upper()}_IMAGE", recipe.image)
    await asyncio.to_thread(_find_engine)
    password, value = secrets.token_urlsafe(24), secrets.token_hex(8)
    async with _watched(value) as watch:
        try:
            container = await asyncio.to_thread(_start_container, recipe, image, password, value)
        except RoadClosed:
            watch.say_settled()
            raise
        try:
            url = recipe.url(*_address(container, recipe.image_port), password)
            version = await version_when_ready(recipe, url, lambda: _is_running(container))
            yield ThrowawayServer(url, "container", version)
        except ServerEnded as ended:
            words = await asyncio.to_thread(_last_words, container)
            raise RoadClosed(f"the container of {image} ended: {words}") from ended
        finally:
            await asyncio.to_thread(container.stop)
            watch.say_settled()


@dataclass
class _Watch:
    """The reaper's process, and the one word it understands."""

    process: asyncio.subprocess.Process

    def say_settled(self) -> None:
        """Say that no container will be made any more: what is still there goes at once."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{reaper.SETTLED}\n".encode())


@asynccontextmanager
async def _watched(value: str) -> AsyncIterator[_Watch]:
    """Have somebody remove the container of that label, should we not do it ourselves.

    In a session of its own: Ctrl-C at the terminal reaches only us, and we then remove it in good order.
    """
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-P", reaper.__file__], stdin=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    process.stdin.write(f"{value}\n".encode())
    try:
        yield _Watch(process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), WATCH_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()


def _find_engine() -> None:
    """Return when a Docker engine answers, or say why none does."""
    try:
        import docker
        from docker.errors import DockerException
    except ModuleNotFoundError as error:
        raise RoadClosed(f"the Python package {error.name} is not installed") from error
    try:
        _knock(os.environ.get("DOCKER_HOST") or DOCKER_HOST_USUAL)
        client = docker.from_env(timeout=DOCKER_PING_SECONDS_MAX)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        raise RoadClosed(f"no Docker engine answers: {words_of(error)}") from error


def _start_container(recipe: Recipe, image: str, password: str, value: str) -> DockerContainer:
    """Return a running container, or say why there is none."""
    try:
        from docker.errors import DockerException
        from testcontainers.core.config import testcontainers_config
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.exceptions import ContainerConnectException, ContainerStartException
    except ModuleNotFoundError as error:
        raise RoadClosed(f"the Python package {error.name} is not installed") from error
    # Its watchman is a second image; ours is `reaper.py`.
    testcontainers_config.ryuk_disabled = True
    try:
        container = DockerContainer(
            image,
            command=shlex.join(recipe.image_arguments()),
            env=recipe.image_environment(password),
            ports=[recipe.image_port],
            labels={reaper.LABEL: value, reaper.OWNER_LABEL: str(os.getpid())},
        )
        if _is_here(container):
            # Nobody else on the network has any business with it.
            ports: dict[str, Any] = container.ports
            ports[str(recipe.image_port)] = ("127.0.0.1", None)
        return container.start()
    except (DockerException, ContainerStartException, ContainerConnectException, OSError) as error:
        raise RoadClosed(f"the image {image} cannot be started: {words_of(error)}") from error


def _is_here(container: DockerContainer) -> bool:
    """Tell whether containers publish their ports on this machine, and not only inside another container."""
    from testcontainers.core.config import ConnectionMode

    client = container.get_docker_client()
    return client.get_connection_mode() == ConnectionMode.docker_host and client.host() in LOOPBACK


def _address(container: DockerContainer, port: int) -> tuple[str, int]:
    """Return the host and the port at which that port of the container is reached.

    The library's own `get_exposed_port` would wait two minutes for a container that has ended already.
    """
    client = container.get_docker_client()
    if not _is_running(container):
        raise ServerEnded
    host = container.get_container_host_ip()
    if not client.get_connection_mode().use_mapped_port:
        return host, port
    try:
        return host, int(client.port(container.get_wrapped_container().id, port))
    except ConnectionError as error:
        # Without a mapping it ended a moment ago.
        raise ServerEnded from error


def _is_running(container: DockerContainer) -> bool:
    """Tell whether the container's process is still there."""
    inner = container.get_wrapped_container()
    inner.reload()
    return bool(inner.status in RUNNING)


def _last_words(container: DockerContainer) -> str:
    """Return the end of what the container printed, in one line."""
    printed = b"".join(container.get_logs()).decode(errors="replace")
    return " ".join(printed.split())[-LOG_CHARACTERS_MAX:]


def _knock(host: str) -> None:
    """Raise OSError when nobody listens on the engine's Unix socket; other addresses are left to the client.

    The client would find out as well, but it leaves its socket open when it does.
    """
    scheme, _, path = host.partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(DOCKER_PING_SECONDS_MAX)
            probe.connect(path)
